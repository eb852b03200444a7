//! Hashing, a bounded number at a time and within a bounded memory.
//!
//! Gets: a stored hash, a password, who asks. Gives: whether they fit, when it is their turn. Never: hashes on a worker of the runtime.

use std::net::IpAddr;
use std::time::Duration;

use ftps_proto::command::Password;

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
        let job = tokio::task::spawn_blocking(move || {
            let right = hash.verify(&password);
            drop(turn);
            right
        });
        // The job does not panic; if the runtime is ending, nobody logs in.
        job.await.ok()
    }

    /// Takes a turn, so that others have to wait.
    #[cfg(test)]
    pub(super) async fn block(&self) -> Option<super::queue::Turn> {
        self.0.turn(std::net::Ipv4Addr::LOCALHOST.into(), 1).await
    }
}

/// Longer than a full queue of hashes of the recommended cost takes on one core.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
