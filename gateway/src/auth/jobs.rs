//! Hashing, a bounded number at a time and within a bounded memory.
//!
//! Gets: a stored hash, a password, who asks. Gives: whether they fit, when it is their turn. Never: hashes on a worker of the runtime.

use std::net::IpAddr;
use std::time::Duration;

use ftps_proto::command::Password;
use tokio::sync::oneshot;

use super::hash::PasswordHash;
use super::memory;
use super::queue::Queue;

/// Computes hashes.
pub(super) struct Jobs(Queue);

impl Jobs {
    /// So many at a time, whatever they take. With `None` one for each core, as many as fit into a quarter of the memory, at least one.
    pub(super) fn new(at_a_time: Option<usize>) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let quarter = || memory::bound().map_or(u32::MAX, |bytes| u32::try_from(bytes / 4 / 1024).unwrap_or(u32::MAX));
        Self(match at_a_time {
            Some(turns) => Queue::new(turns, u32::MAX),
            None => Queue::new(cores(), quarter()),
        })
    }

    /// Hashes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Whether the password has this hash; `None` when too many wait already, or after [`LONGEST_WAIT`].
    /// A hash that has begun keeps its turn to the end, even if nobody waits for it any longer.
    pub(super) async fn verify(&self, hash: &PasswordHash, password: &Password, peer: IpAddr) -> Option<bool> {
        let turn = tokio::time::timeout(LONGEST_WAIT, self.0.turn(peer, hash.memory())).await.ok()??;
        let (hash, password) = (hash.clone(), password.clone());
        let (tell, told) = oneshot::channel();
        // Not on the blocking pool, all of which a hung mount can hold: who has a home elsewhere still logs in.
        let job = move || {
            let right = hash.verify(&password);
            drop(turn);
            // Nobody waits any longer: that is fine.
            let _ = tell.send(right);
        };
        // Without a thread nobody logs in.
        std::thread::Builder::new().name("password".into()).spawn(job).ok()?;
        told.await.ok()
    }

    /// Takes a turn, so that others have to wait.
    #[cfg(test)]
    pub(super) async fn block(&self) -> Option<super::queue::Turn> {
        self.0.turn(std::net::Ipv4Addr::LOCALHOST.into(), 1).await
    }
}

/// Longer than a full queue of hashes of the recommended cost takes on one core.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use argon2::Params;

    use super::super::hash::make_hash_with;
    use super::*;

    /// A hung mount takes every thread of the blocking pool.
    #[test]
    fn hashes_while_the_blocking_pool_is_stuck() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        let (free, stuck) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            drop(tokio::task::spawn_blocking(move || stuck.recv()));
            let password = Password::new(b"right").unwrap();
            let hash = PasswordHash::parse(&make_hash_with(&password, Params::new(8, 1, 1, None).unwrap()).unwrap()).unwrap();
            let jobs = Jobs::new(Some(1));
            let right = jobs.verify(&hash, &password, "192.0.2.1".parse().unwrap());
            assert_eq!(tokio::time::timeout(Duration::from_secs(20), right).await.expect("in time"), Some(true));
        });
        drop(free);
    }
}
