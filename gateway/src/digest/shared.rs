//! The digests that all nodes share: read and written through the store, and what still has to stand for two seconds first.
//!
//! Gets: keys and digests. Gives: what any node has computed of the same state. Never: lets a question wait longer than the store's deadline.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ftps_proto::path::VirtualPath;
use tokio::time::Instant;

use super::SETTLED;
use super::cache::Remembered;
use super::hash::Values;
use super::key::Key;
use crate::storage::{Identity, Tree};

/// The store's part.
#[derive(Debug, Default)]
pub struct Shared {
    waiting: Mutex<Waiting>,
}

/// Digests of a state that we have made ourselves; they are shared if it stands.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) tree: Arc<Tree>,
    pub(super) path: VirtualPath,
    pub(super) identity: Identity,
    pub(super) values: Values,
    pub(super) computed: SystemTime,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<(Instant, Later)>,
    /// Somebody takes batches.
    attended: bool,
}

impl Shared {
    /// Whether there is a store for digests.
    pub(super) fn is_there(&self) -> bool {
        false
    }

    /// What any node has put.
    pub(super) async fn find(&self, _key: &Key) -> Option<Remembered> {
        None
    }

    /// For all nodes, for so long.
    pub(super) async fn put(&self, _key: &Key, _remembered: &Remembered, _ttl: Duration) {}

    /// Keeps it for two seconds. `None`: too many wait, this one is not shared. Else whether the caller has to begin to take batches.
    pub(super) fn push(&self, later: Later) -> Option<bool> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.queue.len() >= LATER_MOST {
            return None;
        }
        waiting.queue.push_back((Instant::now() + SETTLED, later));
        Some(!std::mem::replace(&mut waiting.attended, true))
    }

    /// The next ones and when their time has come; `None`: nothing waits, and the next [`Shared::push`] says so.
    pub(super) fn next_batch(&self) -> Option<(Instant, Vec<Later>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = waiting.queue.front().map(|(due, _)| *due) else {
            waiting.attended = false;
            return None;
        };
        let together = waiting.queue.iter().take(BATCH).take_while(|(due, _)| *due < first + TOGETHER).count();
        let batch = waiting.queue.drain(..together).map(|(_, later)| later).collect();
        Some((first + TOGETHER, batch))
    }
}

/// Uploads that wait; each holds a path and its digests.
const LATER_MOST: usize = 10_000;
/// Files looked at in one hop to the pool.
const BATCH: usize = 64;
const TOGETHER: Duration = Duration::from_millis(20);
