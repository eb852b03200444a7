//! What a store has done since it was opened, as numbers.
//!
//! Gets: one count for each operation. Gives: a snapshot; `None` where a backend cannot know.
//! Never: a list of keys, or a question to a store that would cost it a walk through all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::report::{Operation, Outcome};

/// A snapshot, since this process opened the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Values that were found.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
    /// Values written.
    pub stores: u64,
    /// Values deleted or taken.
    pub deletes: u64,
    /// Operations that failed, those not sent (store away) included.
    pub errors: u64,
    /// Values found after their end. `None`: the backend drops them unseen.
    pub expired: Option<u64>,
    /// Values dropped early for want of room. `None`: the backend does not say.
    pub evicted: Option<u64>,
    /// Values there now, of all processes that share it. `None`: the backend cannot count ours.
    pub entries: Option<u64>,
}

impl std::ops::Add for Statistics {
    type Output = Self;

    /// Counts of two stores together; what one of them cannot count is not known.
    fn add(self, other: Self) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            stores: self.stores + other.stores,
            deletes: self.deletes + other.deletes,
            errors: self.errors + other.errors,
            expired: both(self.expired, other.expired),
            evicted: both(self.evicted, other.evicted),
            entries: both(self.entries, other.entries),
        }
    }
}

/// Counts operations of one store.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    stores: AtomicU64,
    deletes: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    /// Counts one operation that ended.
    pub(crate) fn count(&self, operation: Operation, outcome: Outcome) {
        match outcome {
            Outcome::Hit => add(&self.hits, 1),
            Outcome::Miss => add(&self.misses, 1),
            Outcome::Failed(_) => add(&self.errors, 1),
            Outcome::Done | Outcome::Refused => {}
        }
        match (operation, outcome) {
            (Operation::Put | Operation::PutIfAbsent | Operation::PutIfVersion | Operation::PutConfirmed | Operation::Incr, Outcome::Done) => {
                add(&self.stores, 1)
            }
            (Operation::Take, Outcome::Hit) | (Operation::Delete, Outcome::Done) => add(&self.deletes, 1),
            _ => {}
        }
    }

    /// Counts a value that was there and could not be used.
    pub(crate) fn count_error(&self) {
        add(&self.errors, 1);
    }

    /// Counts the values of a multi-get beyond the one that its outcome counts.
    pub(crate) fn count_more(&self, hits: u64, misses: u64) {
        add(&self.hits, hits);
        add(&self.misses, misses);
    }

    /// The numbers so far; what only a backend knows is missing.
    pub(crate) fn snapshot(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            hits: read(&self.hits),
            misses: read(&self.misses),
            stores: read(&self.stores),
            deletes: read(&self.deletes),
            errors: read(&self.errors),
            expired: None,
            evicted: None,
            entries: None,
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
