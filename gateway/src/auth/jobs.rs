//! Hashing, a bounded number at a time and within a bounded memory.
//!
//! Gets: a stored hash and a password. Gives: whether they fit, when it is their turn. Never: hashes on a worker of the runtime, or queues without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ftps_proto::command::Password;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hash::PasswordHash;
use super::memory;

/// The turns that there are. First come, first served.
pub(super) struct Jobs {
    turns: Arc<Semaphore>,
    /// Permits of one KiB.
    memory: Arc<Semaphore>,
    /// How many of them there are.
    budget: u32,
    waiting: AtomicUsize,
}

/// The right to hash once.
type Turn = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Jobs {
    /// So many at a time, whatever they take. With `None` one for each core, as many as fit into a quarter of the memory, at least one.
    pub(super) fn new(at_a_time: Option<usize>) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let quarter = || memory::bound().map_or(u32::MAX, |bytes| u32::try_from(bytes / 4 / 1024).unwrap_or(u32::MAX));
        match at_a_time {
            Some(turns) => Self::of(turns, u32::MAX),
            None => Self::of(cores(), quarter()),
        }
    }

    fn of(turns: usize, budget: u32) -> Self {
        let budget = budget.max(1);
        // A count of KiB that fits 32 bits fits the semaphore, whose count has 61.
        let memory = Semaphore::new(usize::try_from(budget).unwrap_or(Semaphore::MAX_PERMITS));
        Self { turns: Arc::new(Semaphore::new(turns)), memory: Arc::new(memory), budget, waiting: AtomicUsize::new(0) }
    }

    /// Hashes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the password has this hash; `None` when too many wait already, or after [`LONGEST_WAIT`].
    /// A hash that has begun keeps its turn to the end, even if nobody waits for it any longer.
    pub(super) async fn verify(&self, hash: &PasswordHash, password: &Password) -> Option<bool> {
        let turn = self.turn(hash.memory()).await?;
        let (hash, password) = (hash.clone(), password.clone());
        let job = tokio::task::spawn_blocking(move || {
            let right = hash.verify(&password);
            drop(turn);
            right
        });
        // The job does not panic; if the runtime is ending, nobody logs in.
        job.await.ok()
    }

    async fn turn(&self, memory: u32) -> Option<Turn> {
        // What is larger than all there is runs alone.
        let memory = memory.clamp(1, self.budget);
        if let Some(turn) = self.free(memory) {
            return Some(turn);
        }
        let _place = Place::take(&self.waiting)?;
        tokio::time::timeout(LONGEST_WAIT, self.next(memory)).await.ok()?
    }

    /// A turn that need not be waited for.
    fn free(&self, memory: u32) -> Option<Turn> {
        let turn = self.turns.clone().try_acquire_owned().ok()?;
        Some((turn, self.memory.clone().try_acquire_many_owned(memory).ok()?))
    }

    async fn next(&self, memory: u32) -> Option<Turn> {
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        Some((turn, self.memory.clone().acquire_many_owned(memory).await.ok()?))
    }

    /// Takes all turns, so that whoever must hash has to wait.
    #[cfg(test)]
    pub(super) async fn block(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(self.turns.available_permits()).unwrap_or(u32::MAX);
        self.turns.clone().acquire_many_owned(all).await.unwrap_or_else(|_| unreachable!("it is never closed"))
    }
}

/// A place in the queue, left when dropped: also when the session that waits is ended.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let free = |count: usize| (count < MAX_WAITING).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Logins that wait for their turn; more of them are an attack.
const MAX_WAITING: usize = 64;
/// Longer than 64 logins with hashes of the recommended cost take on one core.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use argon2::Params;

    use super::*;
    use crate::auth::hash::make_hash_with;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    fn hash(memory: u32) -> PasswordHash {
        PasswordHash::parse(&make_hash_with(&password("right"), Params::new(memory, 1, 1, None).unwrap()).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_empties_again() {
        let (jobs, hash) = (Jobs::new(Some(1)), hash(8));
        let running = jobs.block().await;
        let places: Vec<_> = (0..MAX_WAITING).map(|_| Place::take(&jobs.waiting).unwrap()).collect();
        assert_eq!((jobs.waiting(), jobs.verify(&hash, &password("right")).await), (MAX_WAITING, None));
        drop((places, running));
        assert_eq!((jobs.waiting(), jobs.verify(&hash, &password("right")).await), (0, Some(true)));
    }

    #[tokio::test]
    async fn who_waits_comes_first_and_who_leaves_frees_the_place() {
        let (jobs, hash) = (Jobs::new(Some(1)), hash(8));
        let running = jobs.block().await;
        let right = password("right");
        let mut first = Box::pin(jobs.verify(&hash, &right));
        let mut second = Box::pin(jobs.verify(&hash, &right));
        let now = Duration::from_millis(20);
        assert!(tokio::time::timeout(now, &mut first).await.is_err() && tokio::time::timeout(now, &mut second).await.is_err());
        assert_eq!(jobs.waiting(), 2);
        drop(first);
        assert_eq!(jobs.waiting(), 1);
        drop(running);
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), second).await.unwrap(), Some(true));
    }

    #[tokio::test]
    async fn hashes_run_at_once_only_as_far_as_memory_goes() {
        let jobs = Jobs::of(8, 1000);
        let large = jobs.turn(600).await.unwrap();
        assert!(jobs.free(401).is_none(), "600 + 401 are too much");
        let small = jobs.free(400).unwrap();
        assert!(jobs.free(1).is_none());
        drop((large, small));
        let all = jobs.turn(1 << 20).await.unwrap();
        assert!(jobs.free(1).is_none(), "what is larger than all there is runs alone");
        drop(all);
        assert_eq!((jobs.memory.available_permits(), jobs.turns.available_permits()), (1000, 8), "a turn without memory was given back");
    }
}
