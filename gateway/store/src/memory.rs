//! The reference backend: values in this process, within a budget of bytes, least recently used out first.
//!
//! Gets: steps and reads. Gives: values while they live; messages to subscribers of this process.
//! Never: grows over its budget, keeps an expired value past the next write, or does I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use crate::backend::{Message, Subscription};
use crate::error::{Failure, StoreError};
use crate::step::{Answer, Change, Step, decide};

/// Values of this process.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: usize,
    book: Mutex<Book>,
    channels: broadcast::Sender<Message>,
    expired: AtomicU64,
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Arc<str>, Entry>,
    /// By last use; the first goes first.
    uses: BTreeMap<u64, Arc<str>>,
    /// By end; the use number makes it unique.
    ends: BTreeMap<(Instant, u64), Arc<str>>,
    bytes: usize,
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    used: u64,
    end: Option<(Instant, u64)>,
}

impl Memory {
    /// Empty, for at most `budget` bytes, overhead included.
    pub(crate) fn new(budget: usize) -> Self {
        let (channels, _) = broadcast::channel(CHANNEL);
        Self { budget, book: Mutex::default(), channels, expired: AtomicU64::new(0), evicted: AtomicU64::new(0) }
    }

    /// The live value.
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut book = self.locked();
        self.expire(&mut book, key);
        book.touch(key)?;
        book.entries.get(key).map(|entry| entry.value.clone())
    }

    /// Changes the value.
    pub(crate) fn apply(&self, key: &str, step: &Step<'_>) -> Result<Answer, StoreError> {
        let mut book = self.locked();
        self.sweep(&mut book);
        let (change, answer) = decide(step, book.entries.get(key).map(|entry| entry.value.as_slice()))?;
        match change {
            Change::Keep => {}
            Change::Delete => drop(book.remove(key)),
            Change::Put(value, ttl) => self.store(&mut book, key, value.into_owned(), ttl.and_then(|ttl| Instant::now().checked_add(ttl)))?,
            Change::Replace(value) => {
                let end = book.entries.get(key).and_then(|entry| entry.end).map(|(end, _)| end);
                self.store(&mut book, key, value, end)?;
            }
        }
        Ok(answer)
    }

    /// Tells the subscribers of this process; nobody listening is no error.
    pub(crate) fn publish(&self, channel: &str, payload: &[u8]) {
        let _ = self.channels.send(Message::Payload { channel: channel.to_owned(), payload: payload.to_vec() });
    }

    /// Listens from now on.
    pub(crate) fn subscribe(&self, wanted: &[String]) -> Subscription {
        Subscription::local(self.channels.subscribe(), wanted)
    }

    /// Values there, found expired, evicted.
    pub(crate) fn numbers(&self) -> (u64, u64, u64) {
        let mut book = self.locked();
        self.sweep(&mut book);
        (book.entries.len() as u64, self.expired.load(Ordering::Relaxed), self.evicted.load(Ordering::Relaxed))
    }

    fn store(&self, book: &mut Book, key: &str, value: Vec<u8>, end: Option<Instant>) -> Result<(), StoreError> {
        let cost = cost(key, &value);
        if cost > self.budget {
            return Err(StoreError::new(Failure::Size, format_args!("{} bytes into a store of {}", value.len(), self.budget)));
        }
        book.remove(key);
        while book.bytes + cost > self.budget {
            let Some(oldest) = book.uses.first_key_value().map(|(_, key)| key.clone()) else { break };
            book.remove(&oldest);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        book.insert(key, value, end);
        Ok(())
    }

    /// Drops what has ended.
    fn sweep(&self, book: &mut Book) {
        let now = Instant::now();
        while let Some(key) = book.ends.first_key_value().filter(|((end, _), _)| *end <= now).map(|(_, key)| key.clone()) {
            book.remove(&key);
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn expire(&self, book: &mut Book, key: &str) {
        let ended = |entry: &Entry| entry.end.is_some_and(|(end, _)| end <= Instant::now());
        if book.entries.get(key).is_some_and(ended) {
            book.remove(key);
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn insert(&mut self, key: &str, value: Vec<u8>, end: Option<Instant>) {
        let key: Arc<str> = key.into();
        let used = self.next();
        let end = end.map(|end| (end, used));
        self.bytes += cost(&key, &value);
        self.uses.insert(used, key.clone());
        if let Some(end) = end {
            self.ends.insert(end, key.clone());
        }
        self.entries.insert(key, Entry { value, used, end });
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= cost(key, &entry.value);
        self.uses.remove(&entry.used);
        if let Some(end) = entry.end {
            self.ends.remove(&end);
        }
        Some(entry)
    }

    fn touch(&mut self, key: &str) -> Option<()> {
        let next = self.next();
        let entry = self.entries.get_mut(key)?;
        let name = self.uses.remove(&entry.used)?;
        entry.used = next;
        self.uses.insert(next, name);
        Some(())
    }

    fn next(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

/// What maps and allocations cost for one value, about.
const OVERHEAD: usize = 200;
/// Messages that a slow subscriber may lag behind before it is told of a gap.
const CHANNEL: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;

    fn put(memory: &Memory, key: &str, value: &[u8], ttl: Option<Duration>) {
        memory.apply(key, &Step::Put { value, ttl }).unwrap();
    }

    #[test]
    fn the_budget_holds_and_the_least_used_goes_first() {
        let memory = Memory::new(10 * (OVERHEAD + 101));
        for n in 0..10 {
            put(&memory, &n.to_string(), &[0; 100], None);
        }
        assert!(memory.get("0").is_some());
        put(&memory, "x", &[0; 100], None);
        assert!(memory.get("0").is_some() && memory.get("1").is_none());
        for n in 0..1000 {
            put(&memory, &format!("{n}"), &[0; 100], None);
            assert!(memory.locked().bytes <= memory.budget);
        }
        assert_eq!(memory.apply("big", &Step::Put { value: &[0; 10_000], ttl: None }).unwrap_err().failure, Failure::Size);
    }

    #[test]
    fn ended_values_leave_nothing_behind() {
        let memory = Memory::new(1 << 20);
        for n in 0..100 {
            put(&memory, &n.to_string(), b"v", Some(Duration::from_millis(1)));
        }
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(memory.numbers(), (0, 100, 0));
        let book = memory.locked();
        assert!(book.uses.is_empty() && book.ends.is_empty() && book.bytes == 0);
    }
}
