//! The digests that this node remembers: so many, for so long, the least used one goes first.
//!
//! Gets: keys and digests with the time they were computed. Gives: a digest that is young enough.
//! Never: refuses a new one because it is full, or knows whether the file is still the same: that is in the key.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::key::Key;

/// A digest and when it was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) value: Vec<u8>,
    pub(super) computed: SystemTime,
}

/// Bounded memory.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    most: usize,
    max_age: Duration,
    entries: HashMap<Arc<Key>, (u64, Remembered)>,
    /// By when they were used last.
    order: BTreeMap<u64, Arc<Key>>,
    turn: u64,
    /// Of the cluster's caches.
    generation: u64,
}

impl Cache {
    /// At most `most` entries, none older than `max_age`. Those that are too many go now.
    pub(super) fn bound(&self, most: usize, max_age: Duration) {
        self.with(|inner| {
            (inner.most, inner.max_age) = (most, max_age);
            inner.shrink();
        });
    }

    /// What is remembered.
    pub(super) fn find(&self, key: &Key, now: SystemTime) -> Option<Remembered> {
        self.with(|inner| {
            let (key, (turn, found)) = inner.entries.get_key_value(key)?;
            let (key, turn, found) = (key.clone(), *turn, found.clone());
            inner.order.remove(&turn);
            if !is_young(found.computed, inner.max_age, now) {
                inner.entries.remove(&key);
                return None;
            }
            inner.place(key, found.clone());
            Some(found)
        })
    }

    /// Remembers one.
    pub(super) fn insert(&self, key: Key, remembered: Remembered) {
        self.with(|inner| {
            if inner.most == 0 {
                return;
            }
            if let Some((turn, _)) = inner.entries.remove(&key) {
                inner.order.remove(&turn);
            }
            inner.place(Arc::new(key), remembered);
            inner.shrink();
        });
    }

    /// Forgets one.
    pub(super) fn forget(&self, key: &Key) {
        self.with(|inner| {
            if let Some((turn, _)) = inner.entries.remove(key) {
                inner.order.remove(&turn);
            }
        });
    }

    /// Forgets all when the generation is another one than the last time: somebody has cleared the caches of the cluster.
    pub(super) fn renew(&self, generation: u64) {
        self.with(|inner| {
            if std::mem::replace(&mut inner.generation, generation) != generation {
                inner.entries.clear();
                inner.order.clear();
            }
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.with(|inner| inner.entries.len())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn place(&mut self, key: Arc<Key>, remembered: Remembered) {
        self.turn += 1;
        self.order.insert(self.turn, key.clone());
        self.entries.insert(key, (self.turn, remembered));
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.most {
            let Some((_, key)) = self.order.pop_first() else { return };
            self.entries.remove(&key);
        }
    }
}

/// A clock that was set back makes nothing old.
pub(super) fn is_young(computed: SystemTime, max_age: Duration, now: SystemTime) -> bool {
    now.duration_since(computed).is_ok_and(|age| age < max_age) || now < computed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::key::tests::key;
    use super::*;

    fn remembered(byte: u8, computed: SystemTime) -> Remembered {
        Remembered { value: vec![byte], computed }
    }

    #[test]
    fn the_least_used_goes_when_it_is_full() {
        let (cache, now) = (Cache::default(), SystemTime::now());
        cache.bound(3, Duration::from_secs(60));
        for name in ["/a", "/b", "/c"] {
            cache.insert(key(name), remembered(1, now));
        }
        assert!(cache.find(&key("/a"), now).is_some());
        cache.insert(key("/d"), remembered(2, now));
        cache.insert(key("/d"), remembered(3, now));
        assert_eq!(cache.len(), 3);
        assert_eq!(cache.find(&key("/b"), now), None);
        assert_eq!(cache.find(&key("/d"), now), Some(remembered(3, now)));
        cache.forget(&key("/d"));
        cache.bound(1, Duration::from_secs(60));
        assert_eq!(cache.len(), 1);
        cache.bound(0, Duration::from_secs(60));
        cache.insert(key("/e"), remembered(1, now));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn ten_thousand_pass_through_a_hundred() {
        let (cache, now) = (Cache::default(), SystemTime::now());
        cache.bound(100, Duration::from_secs(60));
        for index in 0..10_000 {
            let key = key(&format!("/{index}"));
            cache.insert(key.clone(), remembered(7, now));
            assert!(cache.find(&key, now).is_some() && cache.len() <= 100);
        }
    }

    #[test]
    fn age_counts_from_the_computation() {
        let (cache, now) = (Cache::default(), SystemTime::now());
        cache.bound(3, Duration::from_secs(60));
        cache.insert(key("/a"), remembered(1, now - Duration::from_secs(59)));
        assert!(cache.find(&key("/a"), now).is_some());
        assert_eq!(cache.find(&key("/a"), now + Duration::from_secs(1)), None, "a use does not make it younger");
        assert_eq!(cache.len(), 0);
    }
}
