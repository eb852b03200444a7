//! The store of a room: the configured one, a local one while that is away, and what it missed once it is back.
//!
//! Gets: keys and sealed values. Gives: values, or none; never an error that a login would have to handle.
//! Never: waits for a store that is away, or loses count of what it could not write.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::{Capabilities, Subscription, Task};
use crate::error::{Failure, StoreError};
use crate::queue::{Late, Queue};
use crate::report::{Notice, Report, Tier};
use crate::stats::Statistics;
use crate::store::Store;

/// How far an answer reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Decided by the configured store: true for all that share it.
    Everywhere,
    /// Decided by the local store, because the configured one is away: true for this host.
    Here,
    /// Nobody could decide.
    Nowhere,
}

/// A main store and its fallback.
///
/// Writes go to both at once. Reads ask the main store, and the local one when that is away or has nothing (it may have been emptied). What needs one truth for all
/// nodes (take, counters, versions) is decided by the main store while it is there, by the local one, for this host alone, while it is not: [`Reach`] says which.
/// A value deleted on one node may live on in the local store of another one until its end: what must be gone everywhere at once gets a new generation.
#[derive(Debug)]
pub struct Tiers {
    shared: Arc<Shared>,
    _catching_up: Option<Task>,
}

struct Shared {
    main: Store,
    fallback: Option<Store>,
    queue: Mutex<Queue>,
    report: Arc<dyn Report>,
}

impl Tiers {
    /// `fallback` is `None` when the main store is local itself. Needs a tokio runtime.
    pub fn new(main: Store, fallback: Option<Store>, report: Arc<dyn Report>) -> Self {
        let networked = main.capabilities().networked;
        let shared = Arc::new(Shared { main, fallback, queue: Mutex::default(), report });
        let task = networked.then(|| Task(tokio::spawn(shared.clone().catch_up())));
        Self { shared, _catching_up: task }
    }

    /// The configured store.
    pub fn main(&self) -> &Store {
        &self.shared.main
    }

    /// Whether the configured store, or one of its servers, is away: the node says `degraded`.
    pub fn is_degraded(&self) -> bool {
        !self.shared.main.is_up()
    }

    /// What the configured store can do.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.main.capabilities()
    }

    /// Writes that wait for the store's return.
    pub fn waiting(&self) -> usize {
        self.shared.queue().len()
    }

    /// The value; an absent store is a miss.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.shared.main.get(key).await {
            Ok(Some(value)) if self.shared.queue().waiting(key).is_none() => Some(value),
            _ => self.shared.local(key).await,
        }
    }

    /// The first value that one of these keys has: the names of one id under several secrets. One round trip.
    pub async fn first_of(&self, keys: &[String]) -> Option<(usize, Vec<u8>)> {
        if let [key] = keys {
            return self.get(key).await.map(|value| (0, value));
        }
        let found = self.shared.main.multi_get(keys).await.unwrap_or_default();
        for (place, value) in found.into_iter().enumerate() {
            if let Some(value) = value.filter(|_| self.shared.queue().waiting(&keys[place]).is_none()) {
                return Some((place, value));
            }
        }
        for (place, key) in keys.iter().enumerate() {
            if let Some(value) = self.shared.local(key).await {
                return Some((place, value));
            }
        }
        None
    }

    /// The values of several keys, in one round trip.
    pub async fn all_of(&self, keys: &[String]) -> Vec<Option<Vec<u8>>> {
        let mut found = self.shared.main.multi_get(keys).await.unwrap_or_default();
        found.resize(keys.len(), None);
        for (key, value) in keys.iter().zip(&mut found) {
            if value.is_none() || self.shared.queue().waiting(key).is_some() {
                *value = self.shared.local(key).await;
            }
        }
        found
    }

    /// Writes to both stores, the local one first: what this node wrote it can read at once. What the main store does not take now it gets when it is back.
    pub async fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Reach {
        let here = match &self.shared.fallback {
            Some(fallback) => fallback.put(key, value, ttl).await.is_ok(),
            None => false,
        };
        let late = || Late::Put(value.to_vec(), ttl.and_then(|ttl| Instant::now().checked_add(ttl)));
        self.shared.write(key, here, late, self.shared.main.put(key, value, ttl)).await
    }

    /// Deletes in both stores, in the main one when it is back if it is away.
    pub async fn delete(&self, key: &str) -> Reach {
        let here = match &self.shared.fallback {
            Some(fallback) => fallback.delete(key).await.is_ok(),
            None => false,
        };
        self.shared.write(key, here, || Late::Delete, async { self.shared.main.delete(key).await.map(drop) }).await
    }

    /// Writes if nothing is there. Says whether it wrote, and for whom that is true.
    pub async fn put_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> (bool, Reach) {
        let main = self.shared.main.put_if_absent(key, value, ttl).await;
        self.shared.decide(main, async |fallback| fallback.put_if_absent(key, value, ttl).await).await
    }

    /// Reads and deletes: of all that ask at once, one gets it.
    pub async fn take(&self, key: &str) -> (Option<Vec<u8>>, Reach) {
        let main = self.shared.main.take(key).await;
        if let (Ok(_), Some(fallback)) = (&main, &self.shared.fallback) {
            // Its copy is spent too.
            let _ = fallback.delete(key).await;
        }
        self.shared.decide(main, async |fallback| fallback.take(key).await).await
    }

    /// Adds to a counter; while the store is away the count is this host's.
    pub async fn incr(&self, key: &str, by: u64, ttl: Option<Duration>) -> (u64, Reach) {
        let main = self.shared.main.incr(key, by, ttl).await;
        self.shared.decide(main, async |fallback| fallback.incr(key, by, ttl).await).await
    }

    /// Reads, lets `change` make the next value, writes it unless somebody else was faster, then tries again. While the store is away: on this host.
    pub async fn update<F>(&self, key: &str, ttl: Option<Duration>, mut change: F) -> (Option<Vec<u8>>, Reach)
    where
        F: FnMut(Option<&[u8]>) -> Option<Vec<u8>> + Send,
    {
        let main = self.shared.main.update(key, ttl, &mut change).await;
        self.shared.decide(main, async |fallback| fallback.update(key, ttl, &mut change).await).await
    }

    /// Like [`Tiers::update`], decided by the configured store or not at all. The local store gets a copy, for the time when the other one is away.
    ///
    /// # Errors
    /// As every operation; [`Failure::Conflict`] when others were faster 16 times.
    pub async fn agree<F>(&self, key: &str, ttl: Option<Duration>, change: F) -> Result<Option<Vec<u8>>, StoreError>
    where
        F: FnMut(Option<&[u8]>) -> Option<Vec<u8>> + Send,
    {
        let agreed = self.shared.main.update(key, ttl, change).await?;
        if let (Some(value), Some(fallback)) = (&agreed, &self.shared.fallback) {
            // A copy for worse days; a local store that refuses it has been counted.
            let _ = fallback.put(key, value, ttl).await;
        }
        Ok(agreed)
    }

    /// Listens to channels of the main store.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] without the capability.
    pub fn subscribe(&self, channels: &[String]) -> Result<Subscription, StoreError> {
        self.shared.main.subscribe(channels)
    }

    /// What both stores did so far; entries are those of the main store.
    pub async fn statistics(&self) -> (Statistics, Option<Statistics>) {
        let fallback = match &self.shared.fallback {
            Some(fallback) => Some(fallback.statistics().await),
            None => None,
        };
        (self.shared.main.statistics().await, fallback)
    }
}

impl Shared {
    async fn local(&self, key: &str) -> Option<Vec<u8>> {
        if let Some(late) = self.queue().waiting(key) {
            return match late {
                Late::Put(value, end) => end.is_none_or(|end| end > Instant::now()).then(|| value.clone()),
                Late::Delete => None,
            };
        }
        self.fallback.as_ref()?.get(key).await.ok().flatten()
    }

    async fn decide<T: Default>(&self, main: Result<T, StoreError>, local: impl AsyncFnOnce(&Store) -> Result<T, StoreError>) -> (T, Reach) {
        if let Ok(value) = main {
            return (value, Reach::Everywhere);
        }
        let Some(fallback) = &self.fallback else { return (T::default(), Reach::Nowhere) };
        local(fallback).await.map_or_else(|_| (T::default(), Reach::Nowhere), |value| (value, Reach::Here))
    }

    /// Writes to the main store, or keeps the write for later. Behind a write of the same key that waits it waits too, so that the older one never comes last.
    async fn write(&self, key: &str, here: bool, late: impl Fn() -> Late, main: impl Future<Output = Result<(), StoreError>>) -> Reach {
        let local = if here { Reach::Here } else { Reach::Nowhere };
        let waits = self.queue().waiting(key).is_some();
        if waits && self.queue().replace(key, late()) {
            return local;
        }
        match main.await {
            Ok(()) => Reach::Everywhere,
            Err(error) => {
                if self.main.capabilities().networked && is_for_later(error.failure) {
                    self.queue().push(key, late());
                }
                local
            }
        }
    }

    /// Brings the store what it missed, each time a server of it comes back and, if writes still wait, every few seconds.
    async fn catch_up(self: Arc<Self>) {
        let mut up = self.main.watch_up();
        loop {
            let _ = tokio::time::timeout(RETRY, up.changed()).await;
            if *up.borrow_and_update() > 0 && self.queue().len() > 0 {
                let written = self.flush().await;
                let dropped = self.queue().take_dropped();
                let told = [(dropped, Notice::Dropped { writes: dropped }), (written, Notice::CaughtUp { writes: written })];
                for (_, notice) in told.into_iter().filter(|(number, _)| *number > 0) {
                    self.report.notice(self.main.kind(), Tier::Main, &notice);
                }
            }
        }
    }

    /// Gives back how many it wrote. Ends at the first that fails again.
    async fn flush(&self) -> u64 {
        let (mut written, mut failed) = (0, 0);
        let most = self.queue().len();
        for _ in 0..most {
            let now = Instant::now();
            let Some((key, turn, late)) = self.queue().first(now) else { break };
            let result = match &late {
                Late::Put(value, end) => self.main.put(&key, value, end.map(|end| end.saturating_duration_since(now))).await,
                Late::Delete => self.main.delete(&key).await.map(drop),
            };
            match result {
                Ok(()) => {
                    written += 1;
                    self.queue().finish(&key, turn);
                }
                Err(error) if is_for_later(error.failure) => {
                    self.queue().put_back(&key, turn);
                    failed += 1;
                    // One server of several may still be away; when all seems lost, wait.
                    if failed >= FAILED_MOST {
                        break;
                    }
                }
                Err(_) => self.queue().finish(&key, turn),
            }
        }
        written
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("main", &self.main).field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

fn is_for_later(failure: Failure) -> bool {
    match failure {
        Failure::Absent | Failure::Timeout | Failure::Away | Failure::Denied | Failure::ReadOnly | Failure::Garbled | Failure::Full => true,
        Failure::Forbidden | Failure::Busy | Failure::Size | Failure::Key | Failure::Conflict | Failure::Unsupported => false,
    }
}

/// Between two attempts to write what still waits.
const RETRY: Duration = Duration::from_secs(2);
/// Failed writes after which catching up pauses.
const FAILED_MOST: usize = 100;
