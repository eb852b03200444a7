//! The digests that all nodes share: read and written through the store, and what still has to stand for two seconds first.
//!
//! Gets: keys and digests. Gives: what any node has computed of the same state. Never: lets a question wait longer than the store's deadline.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftps_proto::path::VirtualPath;
use ftps_store::key::Kind;
use ftps_store::stats::Statistics;
use ftps_store::tiers::Reach;
use ftps_store::vault::Vault;
use ftps_store::wire::{Reader, Writer};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::SETTLED;
use super::cache::Remembered;
use super::hash::Values;
use super::key::Key;
use crate::storage::{self, Identity, Storage, Tree};

/// The store's part.
#[derive(Debug, Default)]
pub struct Shared {
    /// `None`: nothing is shared.
    store: Option<(Vault, Storage)>,
    /// Found, or written, when it is needed first.
    id: OnceCell<String>,
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

impl super::Digests {
    /// Whether their store is away, or they have none.
    pub fn has_lost_their_store(&self) -> bool {
        self.0.shared.store.as_ref().is_none_or(|(vault, _)| vault.is_degraded())
    }

    /// What this node asked the cluster's digests; memory answers.
    pub fn questions(&self) -> Statistics {
        self.0.shared.store.as_ref().map(|(vault, _)| vault.statistics_of(Kind::Digest)).unwrap_or_default()
    }
}

impl Shared {
    /// Through this store, for this storage.
    pub fn new(vault: Vault, storage: Storage) -> Self {
        Self { store: Some((vault, storage)), ..Self::default() }
    }

    /// Whether there is a store for digests.
    pub(super) fn is_there(&self) -> bool {
        self.store.is_some()
    }

    /// What any node has put.
    pub(super) async fn find(&self, key: &Key) -> Option<Remembered> {
        let (vault, id) = self.open().await?;
        read(&vault.get(Kind::Digest, &key.to_bytes(id)).await?)
    }

    /// For all nodes, for so long.
    pub(super) async fn put(&self, key: &Key, remembered: &Remembered, ttl: Duration) {
        if let (Some((vault, id)), Some(body)) = (self.open().await, write(remembered)) {
            vault.put(Kind::Digest, &key.to_bytes(id), &body, Some(ttl)).await;
        }
    }

    /// Rises when the cluster's digests are cleared, by any node.
    pub(super) fn generation(&self) -> u64 {
        self.store.as_ref().map_or(0, |(vault, _)| vault.generation(Kind::Digest))
    }

    /// Makes the digests of all nodes unreachable. `None`: there is no store.
    pub(super) async fn clear(&self) -> Option<Reach> {
        let (vault, _) = self.store.as_ref()?;
        Some(vault.clear(ftps_store::generation::Cache::Digests).await)
    }

    /// The same after another node has done so.
    pub(super) async fn follow(&self) -> Option<Reach> {
        let (vault, _) = self.store.as_ref()?;
        Some(vault.follow(ftps_store::generation::Cache::Digests).await)
    }

    /// What this node asked of the store, and what the store as a whole has.
    pub(super) async fn statistics(&self) -> Option<(Statistics, Statistics)> {
        let (vault, _) = self.store.as_ref()?;
        Some((vault.statistics_of(Kind::Digest), vault.statistics().await.0))
    }

    /// The store and the storage's id; without an id nothing can be shared.
    async fn open(&self) -> Option<(&Vault, &str)> {
        let (vault, files) = self.store.as_ref()?;
        let looked = self.id.get_or_try_init(|| {
            let files = files.clone();
            async move { storage::blocking(move || Ok(files.id())).await.ok().flatten().ok_or(()) }
        });
        looked.await.ok().map(|id| (vault, id.as_str()))
    }

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

/// Milliseconds since 1970, then the digest.
fn write(remembered: &Remembered) -> Option<Vec<u8>> {
    let computed = remembered.computed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut body = Writer::new(BODY_MOST);
    body.u64(u64::try_from(computed.as_millis()).unwrap_or(u64::MAX)).bytes(&remembered.value);
    body.finish().ok()
}

fn read(body: &[u8]) -> Option<Remembered> {
    let mut body = Reader::new(body);
    let computed = UNIX_EPOCH.checked_add(Duration::from_millis(body.u64().ok()?))?;
    let value = body.bytes(BODY_MOST).ok()?.to_vec();
    body.end().ok()?;
    Some(Remembered { value, computed })
}

/// The longest digest has 64 bytes.
const BODY_MOST: usize = 96;
/// Uploads that wait; each holds a path and its digests.
const LATER_MOST: usize = 10_000;
/// Files looked at in one hop to the pool.
const BATCH: usize = 64;
const TOGETHER: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written() {
        let remembered = Remembered { value: vec![7; 64], computed: UNIX_EPOCH + Duration::from_millis(1_800_000_000_123) };
        let body = write(&remembered).unwrap();
        assert_eq!(read(&body), Some(remembered));
        for cut in 0..body.len() {
            assert_eq!(read(&body[..cut]), None);
        }
        assert_eq!(read(&[body, vec![0]].concat()), None);
    }
}
