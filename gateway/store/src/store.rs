//! One backend, guarded: every operation has a deadline, stands behind the circuit breaker of its server, is counted and reported.
//!
//! Gets: keys of `key::Names`, sealed values. Gives: the backend's answer, or a failure within the deadline.
//! Never: connects in an operation (a task of its own does, at once and then each second), or asks a server that is known to be away.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::backend::{Backend, Capabilities, Subscription, Task, Version, Versioned};
use crate::breaker::Breaker;
use crate::error::{Failure, StoreError};
pub use crate::guard::KEY_MAX;
use crate::guard::{Guard, check_key};
use crate::location::Location;
use crate::memcached::Memcached;
use crate::memory::Memory;
use crate::redis::Redis;
use crate::report::{BackendKind, Operation, Outcome, Report, Tier};
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
    inner: Arc<Guard>,
    _probers: Vec<Task>,
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
        let inner = Arc::new(Guard { backend, breakers, timeout: options.timeout, report, tier: options.tier, counters, doubts, up });
        let lanes = if networked { inner.breakers.len() } else { 0 };
        let probers = (0..lanes).map(|lane| Task(tokio::spawn(inner.clone().keep_probing(lane)))).collect();
        Ok(Self { inner, _probers: probers })
    }

    /// Opens it; where a segment finds no room or cannot be written, a memory of the same size instead, and the reason, which is a warning.
    ///
    /// # Errors
    /// As [`Store::open`], for what the configuration must mend.
    pub fn open_or_memory(location: &Location, options: &Options) -> Result<(Self, Option<SegmentError>), OpenError> {
        match (Self::open(location, options), location) {
            (Err(OpenError::Segment(error @ (SegmentError::NoRoom { .. } | SegmentError::Held(_) | SegmentError::Io { .. }))), Location::Shm { size, .. }) => {
                Ok((Self::open(&Location::Memory { size: *size }, options)?, Some(error)))
            }
            (other, _) => other.map(|store| (store, None)),
        }
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

    /// How many of its servers operations are sent to, and how many the circuit breaker keeps them from.
    pub fn circuits(&self) -> (usize, usize) {
        let closed = self.inner.breakers.iter().filter(|breaker| breaker.admits()).count();
        (closed, self.inner.breakers.len() - closed)
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
        for attempt in 0..UPDATES {
            let current = self.versioned(key).await?;
            let Some(next) = change(current.as_ref().map(|current| current.value.as_slice())) else {
                return Ok(current.map(|current| current.value));
            };
            if self.put_if_version(key, current.as_ref().map(|current| &current.version), &next, ttl).await? {
                return Ok(Some(next));
            }
            // Those who collided now do not all come back at once.
            tokio::time::sleep(Duration::from_millis(attempt)).await;
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
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("backend", &self.kind()).field("tier", &self.inner.tier).field("up", &self.is_up()).finish()
    }
}

fn hit<T>(found: &Option<T>) -> Outcome {
    if found.is_some() { Outcome::Hit } else { Outcome::Miss }
}

// The guard hands every outcome a reference to the result itself.
#[allow(clippy::ptr_arg)]
fn any_hit(found: &Vec<Option<Vec<u8>>>) -> Outcome {
    if found.iter().any(Option::is_some) { Outcome::Hit } else { Outcome::Miss }
}

fn done(flag: &bool) -> Outcome {
    if *flag { Outcome::Done } else { Outcome::Refused }
}

/// The default of [`Options::timeout`].
pub const TIMEOUT: Duration = Duration::from_millis(200);
const UPDATES: u64 = 16;
