//! TLS 1.2 sessions that a new control connection may resume by their ID: this process's part of the cluster's cache.
//!
//! Gets: sessions after a full handshake. Gives: them back while they are young enough.
//! Never: grows beyond its caps (entries and bytes; the one unused for longest goes first), waits for anything but its own lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::sessions::Family;
use crate::observe::id::SessionId;

/// A TLS 1.2 session ID as this server makes them.
pub(super) type TlsId = [u8; 32];

/// One session that can be resumed.
#[derive(Clone)]
pub(super) struct Entry {
    /// rustls' own bytes: the session's secret is in them.
    pub(super) tls: Vec<u8>,
    /// When its full handshake was: Unix ms.
    pub(super) issued: u64,
    /// Hash of the client certificate policy it was made under.
    pub(super) policy: [u8; 16],
    /// The session it was made for.
    pub(super) session: SessionId,
    /// That session's family.
    pub(super) family: Family,
    /// The generation of the cluster's cache it belongs to: clearing raises the number.
    pub(super) generation: u64,
    /// It came from the store: another node, or another start of this one, began the session.
    pub(super) fetched: bool,
}

/// The cache. The newest use goes last.
pub(super) struct Cache {
    inner: Mutex<Inner>,
    entries_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<TlsId, (u64, Entry)>,
    by_use: BTreeMap<u64, TlsId>,
    uses: u64,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), entries_max, bytes_max }
    }

    /// Remembers a session; others go when there is no room.
    pub(super) fn put(&self, id: TlsId, entry: Entry) {
        let mut inner = self.lock();
        inner.remove(&id);
        inner.insert(id, entry);
        while inner.entries.len() > self.entries_max || inner.bytes > self.bytes_max {
            let Some((_, oldest)) = inner.by_use.first_key_value().map(|(at, id)| (*at, *id)) else { return };
            inner.remove(&oldest);
        }
    }

    /// The session, if it was made at `not_before` (Unix ms) or later and the cache was not cleared since. Any other one is forgotten.
    pub(super) fn find(&self, id: &TlsId, not_before: u64, generation: u64) -> Option<Entry> {
        let mut inner = self.lock();
        let entry = inner.remove(id).filter(|entry| entry.issued >= not_before && entry.generation >= generation)?;
        inner.insert(*id, entry.clone());
        Some(entry)
    }

    /// Sessions in it.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, id: TlsId, entry: Entry) {
        self.uses += 1;
        self.bytes += entry.tls.len();
        self.by_use.insert(self.uses, id);
        self.entries.insert(id, (self.uses, entry));
    }

    fn remove(&mut self, id: &TlsId) -> Option<Entry> {
        let (used, entry) = self.entries.remove(id)?;
        self.by_use.remove(&used);
        self.bytes -= entry.tls.len();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn entry(issued: u64, size: usize) -> Entry {
        let session = SessionId::now();
        Entry { tls: vec![0; size], issued, policy: [0; 16], session, family: Family(session.0), generation: 0, fetched: false }
    }

    fn sizes(cache: &Cache) -> (usize, usize, usize) {
        let inner = cache.lock();
        (inner.entries.len(), inner.by_use.len(), inner.bytes)
    }

    #[test]
    fn entries_and_bytes_are_capped_and_the_unused_goes_first() {
        let cache = Cache::new(3, 1000);
        for n in 0..3 {
            cache.put([n; 32], entry(0, 10));
        }
        assert!(cache.find(&[0; 32], 0, 0).is_some());
        cache.put([3; 32], entry(0, 10));
        assert!(cache.find(&[1; 32], 0, 0).is_none());
        assert!(cache.find(&[0; 32], 0, 0).is_some());
        cache.put([4; 32], entry(0, 990));
        assert_eq!(sizes(&cache), (2, 2, 1000));
        cache.put([5; 32], entry(0, 1001));
        assert_eq!(sizes(&cache), (0, 0, 0));
    }

    #[test]
    fn the_old_is_a_miss_and_is_forgotten() {
        let cache = Cache::new(3, 1000);
        cache.put([1; 32], entry(500, 10));
        assert!(cache.find(&[1; 32], 500, 0).is_some());
        assert!(cache.find(&[1; 32], 501, 0).is_none());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn what_was_there_before_a_clearing_is_a_miss() {
        let cache = Cache::new(3, 1000);
        cache.put([1; 32], Entry { generation: 4, ..entry(0, 10) });
        assert!(cache.find(&[1; 32], 0, 4).is_some());
        assert!(cache.find(&[1; 32], 0, 5).is_none());
    }

    #[test]
    fn the_same_id_again_replaces() {
        let cache = Cache::new(3, 1000);
        cache.put([1; 32], entry(1, 10));
        cache.put([1; 32], entry(2, 20));
        assert_eq!(sizes(&cache), (1, 1, 20));
        assert_eq!(cache.find(&[1; 32], 0, 0).unwrap().issued, 2);
    }
}
