//! One backend, guarded: every operation has a deadline, stands behind the circuit breaker of its server, is counted and reported.
//!
//! Gets: keys of `key::Names`, sealed values. Gives: the backend's answer, or a failure within the deadline.
//! Never: connects in an operation (a task of its own does, at once and then each second), or asks a server that is known to be away.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::backend::{Backend, Capabilities, Subscription, Task, Version, Versioned};
use crate::breaker::{Breaker, Turn};
use crate::error::{Failure, StoreError};
use crate::location::Location;
use crate::memcached::Memcached;
use crate::memory::Memory;
use crate::redis::Redis;
use crate::report::{BackendKind, Finished, Notice, Operation, Outcome, Report, Tier};
pub use crate::shm::SegmentError;
use crate::shm::Shm;
use crate::stats::{Counters, Statistics};

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Longest time of an operation; `store.timeout`. The default is 200 ms.
    pub timeout: Duration,
    /// Where a segment without a path of its own goes.
    pub state_dir: PathBuf,
    /// For `rediss:`.
    pub tls: TlsFiles,
    /// Who learns of operations.
    pub report: Arc<dyn Report>,
    /// Where in the tiers it stands.
    pub tier: Tier,
}

/// PEM texts of `store.tls`.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// Who signs the store's certificate; `None`: the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain and its key.
    pub client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

/// Why a store cannot be opened. A store that is merely away can.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// `store.tls` without TLS.
    #[error("store.tls is set, but store.url is not a rediss:// one: write rediss:// or remove store.tls")]
    TlsUnused,
    /// TLS material that is none.
    #[error("store.tls cannot be used: {0}")]
    Tls(String),
    /// More memory than there can be.
    #[error("size= is more than this machine can address")]
    Size,
}

/// A store. Dropping it ends its task and its connections.
pub struct Store {
    inner: Arc<Inner>,
    _probers: Vec<Task>,
}

struct Inner {
    backend: Backend,
    breakers: Vec<Breaker>,
    timeout: Duration,
    report: Arc<dyn Report>,
    tier: Tier,
    counters: Counters,
    /// Wakes the prober of a server.
    doubts: Vec<Notify>,
    /// How many servers are up.
    up: watch::Sender<usize>,
}

impl Store {
    /// Opens it. A networked store is away until its first probe, which starts now, has answered; wait with [`Store::wait_up`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// What can never work; not that a server is away.
    pub fn open(location: &Location, options: &Options) -> Result<Self, OpenError> {
        let tls = &options.tls;
        if (tls.ca.is_some() || tls.client.is_some()) && !location.is_tls() {
            return Err(OpenError::TlsUnused);
        }
        let backend = match location {
            Location::Memory { size } => Backend::Memory(Memory::new(usize::try_from(*size).map_err(|_| OpenError::Size)?)),
            Location::Shm { directory, size } => Backend::Shm(Shm::open(directory.as_ref().unwrap_or(&options.state_dir), *size)?),
            Location::Redis(redis) => Backend::Redis(Redis::new(redis, tls, options.timeout).map_err(|error| OpenError::Tls(error.to_string()))?),
            Location::Memcached { servers } => Backend::Memcached(Memcached::new(servers.clone(), options.timeout)),
        };
        let networked = backend.kind().is_networked();
        let breakers: Vec<_> = (0..backend.lanes()).map(|_| if networked { Breaker::open() } else { Breaker::closed() }).collect();
        let up = watch::Sender::new(if networked { 0 } else { breakers.len() });
        let doubts = breakers.iter().map(|_| Notify::new()).collect();
        let (report, counters) = (options.report.clone(), Counters::default());
        let inner = Arc::new(Inner { backend, breakers, timeout: options.timeout, report, tier: options.tier, counters, doubts, up });
        let lanes = if networked { inner.breakers.len() } else { 0 };
        let probers = (0..lanes).map(|lane| Task(tokio::spawn(inner.clone().keep_probing(lane)))).collect();
        Ok(Self { inner, _probers: probers })
    }

    /// Which kind it is.
    pub fn kind(&self) -> BackendKind {
        self.inner.backend.kind()
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.backend.capabilities()
    }

    /// Whether all of its servers are there.
    pub fn is_up(&self) -> bool {
        self.inner.breakers.iter().all(Breaker::admits)
    }

    /// Waits until all of its servers are there, at most `most`. Says whether they are.
    pub async fn wait_up(&self, most: Duration) -> bool {
        let all = self.inner.breakers.len();
        let mut up = self.inner.up.subscribe();
        let reached = tokio::time::timeout(most, up.wait_for(|up| *up == all)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// Sees when servers come and go: how many are up.
    pub fn watch_up(&self) -> watch::Receiver<usize> {
        self.inner.up.subscribe()
    }

    /// The value.
    ///
    /// # Errors
    /// As every operation: [`Failure::Absent`] at once when the store is away, else what went wrong within the deadline.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.run(Operation::Get, key, None, self.inner.backend.get(key), hit).await
    }

    /// The values of several keys in one round trip to each server. What a server that is away holds is `None`.
    ///
    /// # Errors
    /// When no server answered.
    pub async fn multi_get(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let backend = &self.inner.backend;
        let asked = (0..self.inner.breakers.len()).filter_map(|lane| {
            let places: Vec<usize> = (0..keys.len()).filter(|place| backend.lane(&keys[*place]) == lane).collect();
            let first = *places.first()?;
            Some(async move {
                let names: Vec<&str> = places.iter().map(|place| keys[*place].as_str()).collect();
                let found = self.inner.run(Operation::MultiGet, &keys[first], None, backend.multi_get(lane, &names), any_hit).await;
                (places, found)
            })
        });
        let mut values = vec![None; keys.len()];
        let (mut failed, mut answered) = (None, false);
        for (places, found) in join_all(asked).await {
            match found {
                Ok(found) => {
                    answered = true;
                    self.inner.count_rest(&found);
                    places.into_iter().zip(found).for_each(|(place, value)| values[place] = value);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(values),
        }
    }

    /// The value and its version, for [`Store::put_if_version`].
    ///
    /// # Errors
    /// As every operation.
    pub async fn versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.run(Operation::Get, key, None, self.inner.backend.versioned(key), hit).await
    }

    /// Writes, to live for `ttl` (`None`: until it is deleted or evicted).
    ///
    /// # Errors
    /// As every operation, and [`Failure::Size`].
    pub async fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), StoreError> {
        self.inner.run(Operation::Put, key, Some(value), self.inner.backend.put(key, value, ttl), done).await.map(drop)
    }

    /// Writes if nothing is there. Says whether it wrote.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        self.inner.run(Operation::PutIfAbsent, key, Some(value), self.inner.backend.put_if_absent(key, value, ttl), done).await
    }

    /// Writes if what is there has this version (`None`: if nothing is there). Says whether it wrote.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_if_version(&self, key: &str, expected: Option<&Version>, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        let work = self.inner.backend.put_if_version(key, expected, value, ttl);
        self.inner.run(Operation::PutIfVersion, key, Some(value), work, done).await
    }

    /// Reads, lets `change` make the next value (`None`: leave it), writes it unless somebody else was faster, then tries again. Gives what is there now.
    ///
    /// # Errors
    /// As [`Store::put`], and [`Failure::Conflict`] when others were faster 16 times.
    pub async fn update<F>(&self, key: &str, ttl: Option<Duration>, mut change: F) -> Result<Option<Vec<u8>>, StoreError>
    where
        F: FnMut(Option<&[u8]>) -> Option<Vec<u8>> + Send,
    {
        for _ in 0..UPDATES {
            let current = self.versioned(key).await?;
            let Some(next) = change(current.as_ref().map(|current| current.value.as_slice())) else {
                return Ok(current.map(|current| current.value));
            };
            if self.put_if_version(key, current.as_ref().map(|current| &current.version), &next, ttl).await? {
                return Ok(Some(next));
            }
        }
        Err(Failure::Conflict.into())
    }

    /// Writes and waits, at most `wait` and the deadline, until `replicas` replicas have it. Gives how many have.
    ///
    /// # Errors
    /// As [`Store::put`]; [`Failure::Unsupported`] without the capability.
    pub async fn put_confirmed(&self, key: &str, value: &[u8], ttl: Option<Duration>, replicas: u32, wait: Duration) -> Result<u32, StoreError> {
        let work = self.inner.backend.put_confirmed(key, value, ttl, replicas, wait.min(self.inner.timeout / 2));
        self.inner.run(Operation::PutConfirmed, key, Some(value), work, |_| Outcome::Done).await
    }

    /// Deletes. Says whether something was there.
    ///
    /// # Errors
    /// As every operation.
    pub async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        self.inner.run(Operation::Delete, key, None, self.inner.backend.delete(key), done).await
    }

    /// Reads and deletes: of all that ask at once, one gets it.
    ///
    /// # Errors
    /// As every operation.
    pub async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.run(Operation::Take, key, None, self.inner.backend.take(key), hit).await
    }

    /// Adds to a counter that lives for `ttl` from its first step. Gives its value.
    ///
    /// # Errors
    /// As every operation.
    pub async fn incr(&self, key: &str, by: u64, ttl: Option<Duration>) -> Result<u64, StoreError> {
        self.inner.run(Operation::Incr, key, None, self.inner.backend.incr(key, by, ttl), |_| Outcome::Done).await
    }

    /// Tells all subscribers of a channel, on all nodes.
    ///
    /// # Errors
    /// As every operation; [`Failure::Unsupported`] without the capability.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), StoreError> {
        self.inner.run(Operation::Publish, channel, Some(payload), self.inner.backend.publish(channel, payload), |()| Outcome::Done).await
    }

    /// Listens to channels. Stands again by itself after an outage and says [`crate::backend::Message::Gap`] then.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] without the capability.
    pub fn subscribe(&self, channels: &[String]) -> Result<Subscription, StoreError> {
        self.inner.backend.subscribe(channels)
    }

    /// What it did so far. Reads a whole segment once when it is shared memory; asks no server.
    pub async fn statistics(&self) -> Statistics {
        let mut numbers = self.inner.counters.snapshot();
        let (entries, expired, evicted) = match &self.inner.backend {
            Backend::Memory(memory) => {
                let (entries, expired, evicted) = memory.numbers();
                (Some(entries), expired, evicted)
            }
            Backend::Shm(shm) => shm.numbers().await,
            Backend::Redis(_) | Backend::Memcached(_) => return numbers,
        };
        (numbers.entries, numbers.expired, numbers.evicted) = (entries, Some(expired), Some(evicted));
        numbers
    }

    /// How many of its operations failed because the segment was damaged and began anew.
    pub fn segment_resets(&self) -> u64 {
        match &self.inner.backend {
            Backend::Shm(shm) => shm.resets(),
            Backend::Memory(_) | Backend::Redis(_) | Backend::Memcached(_) => 0,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("backend", &self.kind()).field("tier", &self.inner.tier).field("up", &self.is_up()).finish()
    }
}

impl Inner {
    async fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        value: Option<&[u8]>,
        work: impl Future<Output = Result<T, StoreError>>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let lane = self.backend.lane(key);
        let result = match self.admit(lane, key, value) {
            Err(error) => Err(error),
            Ok(()) => tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(Failure::Timeout.into())),
        };
        self.judge(lane, &result);
        let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.failure), outcome);
        self.counters.count(operation, outcome);
        self.report.operation(&Finished { backend: self.backend.kind(), tier: self.tier, operation, outcome, took: start.elapsed() });
        result
    }

    fn admit(&self, lane: usize, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        check_key(key)?;
        // No backend tells an empty value from none.
        if value.is_some_and(|value| value.is_empty() || value.len() > crate::backend::VALUE_MAX) {
            return Err(Failure::Size.into());
        }
        if self.breakers.get(lane).is_some_and(Breaker::admits) { Ok(()) } else { Err(Failure::Absent.into()) }
    }

    fn judge<T>(&self, lane: usize, result: &Result<T, StoreError>) {
        let Some(breaker) = self.breakers.get(lane).filter(|_| self.backend.kind().is_networked()) else { return };
        match result {
            Ok(_) => breaker.answered(),
            Err(error) => {
                let lost = error.failure.is_outage() && !self.backend.is_connected(lane);
                let turn = if lost { breaker.trip() } else { breaker.failure(error.failure) };
                if turn == Turn::Opened {
                    self.tell_down(lane, error);
                    self.doubts[lane].notify_one();
                }
            }
        }
    }

    fn tell_down(&self, lane: usize, error: &StoreError) {
        self.up.send_modify(|up| *up = up.saturating_sub(1));
        self.notice(&Notice::Down { server: lane, error: error.clone() });
    }

    fn notice(&self, notice: &Notice) {
        self.report.notice(self.backend.kind(), self.tier, notice);
    }

    /// Asks one server that is away. A probe may take longer than an operation: nobody waits for it.
    async fn probe(&self, lane: usize, told: &mut bool) {
        let start = Instant::now();
        let result = tokio::time::timeout(PROBE_TIMEOUT, self.backend.probe(lane)).await.unwrap_or_else(|_| Err(Failure::Timeout.into()));
        let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.failure), |()| Outcome::Done);
        self.report.operation(&Finished { backend: self.backend.kind(), tier: self.tier, operation: Operation::Probe, outcome, took: start.elapsed() });
        match result {
            Ok(()) => {
                if self.breakers[lane].success() == Turn::Closed {
                    self.up.send_modify(|up| *up += 1);
                    self.notice(&Notice::Up { server: lane });
                }
                *told = true;
                if let Backend::Redis(redis) = &self.backend
                    && let Some(policy) = redis.take_evicting_policy()
                {
                    self.notice(&Notice::Evicts { policy });
                }
            }
            Err(error) => {
                self.backend.disconnect(lane);
                // Away from the start: say it once. Later the operation that found out says it.
                if !std::mem::replace(told, true) {
                    self.notice(&Notice::Down { server: lane, error });
                }
            }
        }
    }

    /// Connects one server when it is away: at once when an operation finds out, then each second.
    async fn keep_probing(self: Arc<Self>, lane: usize) {
        let mut told = false;
        loop {
            if self.breakers[lane].admits() {
                self.doubts[lane].notified().await;
            }
            self.probe(lane, &mut told).await;
            // A server that answers probes and fails operations must not make this spin.
            tokio::time::sleep(if self.breakers[lane].admits() { PROBE_PAUSE } else { PROBE_EVERY }).await;
        }
    }

    /// Counts the values of a multi-get beyond the one that its outcome counted.
    fn count_rest(&self, found: &[Option<Vec<u8>>]) {
        let hits = found.iter().flatten().count() as u64;
        let misses = found.len() as u64 - hits;
        self.counters.count_more(hits.saturating_sub(1), if hits == 0 { misses.saturating_sub(1) } else { misses });
    }
}

fn hit<T>(found: &Option<T>) -> Outcome {
    if found.is_some() { Outcome::Hit } else { Outcome::Miss }
}

fn any_hit(found: &Vec<Option<Vec<u8>>>) -> Outcome {
    if found.iter().any(Option::is_some) { Outcome::Hit } else { Outcome::Miss }
}

fn done(flag: &bool) -> Outcome {
    if *flag { Outcome::Done } else { Outcome::Refused }
}

/// What all backends take: printable ASCII without spaces, at most 250 bytes (memcached).
fn check_key(key: &str) -> Result<(), StoreError> {
    if (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(Failure::Key.into()) }
}

/// Longest key, in bytes.
pub const KEY_MAX: usize = 250;
/// The default of [`Options::timeout`].
pub const TIMEOUT: Duration = Duration::from_millis(200);
const UPDATES: usize = 16;
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
