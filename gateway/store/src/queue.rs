//! Writes that wait for the store's return: the last one of each key, within bounds.
//!
//! Gets: writes with their end. Gives: them back in order, without those that have ended.
//! Never: grows over its bounds (the oldest write goes, and is counted), or does I/O.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// One write that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Write this, to live until then.
    Put(Vec<u8>, Option<Instant>),
    /// Delete.
    Delete,
}

/// The writes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    writes: HashMap<String, (u64, Late)>,
    order: BTreeMap<u64, String>,
    turn: u64,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    /// Adds a write; an older one of the same key is forgotten.
    pub(crate) fn push(&mut self, key: &str, late: Late) {
        self.remove(key);
        self.turn += 1;
        self.bytes += cost(key, &late);
        self.order.insert(self.turn, key.to_owned());
        self.writes.insert(key.to_owned(), (self.turn, late));
        while self.writes.len() > WRITES || self.bytes > BYTES {
            let Some(oldest) = self.order.first_key_value().map(|(_, key)| key.clone()) else { break };
            self.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// The oldest write that still means something, and its number. It waits on until [`Queue::finish`].
    pub(crate) fn first(&mut self, now: Instant) -> Option<(String, u64, Late)> {
        loop {
            let key = self.order.first_key_value().map(|(_, key)| key.clone())?;
            let (turn, late) = self.writes.get(&key)?;
            if !matches!(late, Late::Put(_, Some(end)) if *end <= now) {
                return Some((key, *turn, late.clone()));
            }
            self.remove(&key);
        }
    }

    /// A write was done: it waits no more, unless a newer one of its key does.
    pub(crate) fn finish(&mut self, key: &str, turn: u64) {
        if self.writes.get(key).is_some_and(|(waiting, _)| *waiting == turn) {
            self.remove(key);
        }
    }

    /// A write failed again: it goes behind the others, unless a newer one of its key waits.
    pub(crate) fn put_back(&mut self, key: &str, turn: u64) {
        if self.writes.get(key).is_some_and(|(waiting, _)| *waiting == turn)
            && let Some(late) = self.remove(key)
        {
            self.push(key, late);
        }
    }

    /// Replaces the write that waits for this key. False: none does.
    pub(crate) fn replace(&mut self, key: &str, late: Late) -> bool {
        let waits = self.writes.contains_key(key);
        if waits {
            self.push(key, late);
        }
        waits
    }

    /// What waits for this key.
    pub(crate) fn waiting(&self, key: &str) -> Option<&Late> {
        self.writes.get(key).map(|(_, late)| late)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// How many were dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn remove(&mut self, key: &str) -> Option<Late> {
        let (turn, late) = self.writes.remove(key)?;
        self.order.remove(&turn);
        self.bytes -= cost(key, &late);
        Some(late)
    }
}

fn cost(key: &str, late: &Late) -> usize {
    let value = match late {
        Late::Put(value, _) => value.len(),
        Late::Delete => 0,
    };
    2 * key.len() + value + OVERHEAD
}

/// Most writes that wait.
const WRITES: usize = 20_000;
/// Most bytes of them.
const BYTES: usize = 16 << 20;
const OVERHEAD: usize = 200;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_write_of_a_key_counts_and_order_is_kept() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push("a", Late::Put(vec![1], None));
        queue.push("b", Late::Put(vec![2], None));
        queue.push("a", Late::Delete);
        assert!(queue.replace("b", Late::Put(vec![9], None)) && !queue.replace("c", Late::Delete));
        queue.push("ended", Late::Put(vec![3], Some(now)));
        queue.push("alive", Late::Put(vec![4], Some(now + Duration::from_secs(9))));
        let (key, turn, _) = queue.first(now).unwrap();
        assert_eq!(key, "a");
        queue.put_back("a", turn);
        let mut order = Vec::new();
        while let Some((key, turn, _)) = queue.first(now) {
            queue.finish(&key, turn);
            order.push(key);
        }
        assert_eq!(order, ["b", "alive", "a"]);
        assert_eq!((queue.len(), queue.bytes, queue.take_dropped()), (0, 0, 0));
    }

    #[test]
    fn a_newer_write_outlives_the_end_of_an_older_one() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push("a", Late::Put(vec![1], None));
        let (_, turn, _) = queue.first(now).unwrap();
        queue.push("a", Late::Put(vec![2], None));
        queue.finish("a", turn);
        queue.put_back("a", turn);
        assert_eq!(queue.waiting("a"), Some(&Late::Put(vec![2], None)));
    }

    #[test]
    fn bounds_hold_and_what_goes_is_counted() {
        let mut queue = Queue::default();
        for n in 0..WRITES + 10 {
            queue.push(&n.to_string(), Late::Delete);
        }
        assert_eq!((queue.len(), queue.take_dropped()), (WRITES, 10));
        for n in 0..1000 {
            queue.push(&format!("big{n}"), Late::Put(vec![0; 60_000], None));
            assert!(queue.bytes <= BYTES);
        }
        assert!(queue.take_dropped() > 0 && queue.waiting("big999").is_some() && queue.waiting("big0").is_none());
    }
}
