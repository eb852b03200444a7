//! The one interface to all backends: an enum, not a trait, because the set is closed.
//!
//! Gets: checked keys and values. Gives: what one backend does with them, and what it can do at all.
//! Never: a deadline, a count or a second try; those stand around it (`store`).

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::sync::{broadcast, mpsc};

use crate::error::{Failure, StoreError};
use crate::memcached::Memcached;
use crate::memory::Memory;
use crate::redis::Redis;
use crate::report::BackendKind;
use crate::shm::Shm;
use crate::step::{Answer, Step};

/// Which writing of a value it is. Equal versions mean equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version([u8; VERSION]);

impl Version {
    /// By what the value is. SHA-1, because Redis computes it in scripts; our values are sealed with random nonces, so nobody can choose two alike.
    pub(crate) fn of(value: &[u8]) -> Self {
        let mut version = [0; VERSION];
        version.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, value).as_ref());
        Self(version)
    }

    /// By a number that the server counts.
    pub(crate) fn numbered(number: u64) -> Self {
        let mut version = [0; VERSION];
        version[..8].copy_from_slice(&number.to_be_bytes());
        Self(version)
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub(crate) fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(2 * VERSION), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// A value and which writing of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// For a write that must not undo another one.
    pub version: Version,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Other hosts see its values.
    pub networked: bool,
    /// Other processes of this host see its values, and they outlive this process.
    pub shared: bool,
    /// Messages reach subscribers at once. Without it: poll a value.
    pub publish: bool,
    /// A write can wait until replicas have it.
    pub confirm: bool,
    /// It counts its entries.
    pub counts_entries: bool,
    /// The longest value.
    pub value_max: usize,
    /// Lifetimes are rounded up to this.
    pub ttl_step: Duration,
}

/// What a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody published this.
    Payload {
        /// Where.
        channel: String,
        /// What.
        payload: Vec<u8>,
    },
    /// Messages may have been lost: read the values anew. Also the first message of a subscription, once it stands.
    Gap,
}

/// A running subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription(Source);

#[derive(Debug)]
enum Source {
    Local { receiver: broadcast::Receiver<Message>, wanted: HashSet<String>, begun: bool },
    Remote { receiver: mpsc::Receiver<Message>, _task: Task },
}

impl Subscription {
    pub(crate) fn local(receiver: broadcast::Receiver<Message>, wanted: &[String]) -> Self {
        Self(Source::Local { receiver, wanted: wanted.iter().cloned().collect(), begun: false })
    }

    pub(crate) fn remote(receiver: mpsc::Receiver<Message>, task: tokio::task::JoinHandle<()>) -> Self {
        Self(Source::Remote { receiver, _task: Task(task) })
    }

    /// The next message. Waits for it without a deadline; `None` when the store is gone for good.
    pub async fn next(&mut self) -> Option<Message> {
        let (receiver, wanted, begun) = match &mut self.0 {
            Source::Remote { receiver, .. } => return receiver.recv().await,
            Source::Local { receiver, wanted, begun } => (receiver, wanted, begun),
        };
        if !std::mem::replace(begun, true) {
            return Some(Message::Gap);
        }
        loop {
            match receiver.recv().await {
                Ok(Message::Payload { channel, payload }) if wanted.contains(&channel) => return Some(Message::Payload { channel, payload }),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(Message::Gap),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One of the backends.
#[derive(Debug)]
pub(crate) enum Backend {
    Memory(Memory),
    Shm(Shm),
    Redis(Redis),
    Memcached(Memcached),
}

impl Backend {
    pub(crate) fn kind(&self) -> BackendKind {
        match self {
            Self::Memory(_) => BackendKind::Memory,
            Self::Shm(_) => BackendKind::Shm,
            Self::Redis(_) => BackendKind::Redis,
            Self::Memcached(_) => BackendKind::Memcached,
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let (millis, second) = (Duration::from_millis(1), Duration::from_secs(1));
        let local =
            Capabilities { networked: false, shared: false, publish: false, confirm: false, counts_entries: true, value_max: VALUE_MAX, ttl_step: millis };
        let remote = Capabilities { networked: true, shared: true, counts_entries: false, ..local };
        match self {
            Self::Memory(_) => Capabilities { publish: true, ..local },
            Self::Shm(_) => Capabilities { shared: true, ..local },
            Self::Redis(redis) => Capabilities { publish: true, confirm: redis.can_confirm(), ..remote },
            Self::Memcached(_) => Capabilities { ttl_step: second, ..remote },
        }
    }

    /// How many servers it has, each with a circuit of its own.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Self::Memcached(memcached) => memcached.servers(),
            Self::Memory(_) | Self::Shm(_) | Self::Redis(_) => 1,
        }
    }

    /// Which of its servers holds a key.
    pub(crate) fn lane(&self, key: &str) -> usize {
        match self {
            Self::Memcached(memcached) => memcached.server_of(key),
            Self::Memory(_) | Self::Shm(_) | Self::Redis(_) => 0,
        }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.get(key)),
            Self::Shm(shm) => shm.get(key),
            Self::Redis(redis) => redis.get(key).await,
            Self::Memcached(memcached) => memcached.get(key).await,
        }
    }

    /// All keys must be of one lane.
    pub(crate) async fn multi_get(&self, lane: usize, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.get(key)).collect()),
            Self::Shm(shm) => keys.iter().map(|key| shm.get(key)).collect(),
            Self::Redis(redis) => redis.multi_get(keys).await,
            Self::Memcached(memcached) => memcached.multi_get(lane, keys).await,
        }
    }

    pub(crate) async fn versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        if let Self::Memcached(memcached) = self {
            return memcached.versioned(key).await;
        }
        let value = self.get(key).await?;
        Ok(value.map(|value| Versioned { version: Version::of(&value), value }))
    }

    pub(crate) async fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        match self {
            Self::Redis(redis) => redis.put(key, value, ttl).await,
            Self::Memcached(memcached) => memcached.put(key, value, ttl).await,
            Self::Memory(_) | Self::Shm(_) => self.flag(key, &Step::Put { value, ttl }).await,
        }
    }

    pub(crate) async fn put_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        match self {
            Self::Redis(redis) => redis.put_if_absent(key, value, ttl).await,
            Self::Memcached(memcached) => memcached.put_if_absent(key, value, ttl).await,
            Self::Memory(_) | Self::Shm(_) => self.flag(key, &Step::PutIfAbsent { value, ttl }).await,
        }
    }

    pub(crate) async fn put_if_version(&self, key: &str, expected: Option<&Version>, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        match self {
            Self::Redis(redis) => redis.put_if_version(key, expected, value, ttl).await,
            Self::Memcached(memcached) => memcached.put_if_version(key, expected, value, ttl).await,
            Self::Memory(_) | Self::Shm(_) => self.flag(key, &Step::PutIfVersion { expected, value, ttl }).await,
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        match self {
            Self::Redis(redis) => redis.delete(key).await,
            Self::Memcached(memcached) => memcached.delete(key).await,
            Self::Memory(_) | Self::Shm(_) => self.flag(key, &Step::Delete).await,
        }
    }

    pub(crate) async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Redis(redis) => redis.take(key).await,
            Self::Memcached(memcached) => memcached.take(key).await,
            Self::Memory(_) | Self::Shm(_) => match self.step(key, &Step::Take).await? {
                Answer::Value(value) => Ok(value),
                Answer::Flag(_) | Answer::Count(_) => Ok(None),
            },
        }
    }

    pub(crate) async fn incr(&self, key: &str, by: u64, ttl: Option<Duration>) -> Result<u64, StoreError> {
        match self {
            Self::Redis(redis) => redis.incr(key, by, ttl).await,
            Self::Memcached(memcached) => memcached.incr(key, by, ttl).await,
            Self::Memory(_) | Self::Shm(_) => match self.step(key, &Step::Incr { by, ttl }).await? {
                Answer::Count(count) => Ok(count),
                Answer::Flag(_) | Answer::Value(_) => Err(Failure::Garbled.into()),
            },
        }
    }

    /// Writes, and says how many replicas have it when `wait` is over or `replicas` of them have.
    pub(crate) async fn put_confirmed(&self, key: &str, value: &[u8], ttl: Option<Duration>, replicas: u32, wait: Duration) -> Result<u32, StoreError> {
        match self {
            Self::Redis(redis) => redis.put_confirmed(key, value, ttl, replicas, wait).await,
            Self::Memory(_) | Self::Shm(_) | Self::Memcached(_) => Err(Failure::Unsupported.into()),
        }
    }

    pub(crate) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.publish(channel, payload);
                Ok(())
            }
            Self::Redis(redis) => redis.publish(channel, payload).await,
            Self::Shm(_) | Self::Memcached(_) => Err(Failure::Unsupported.into()),
        }
    }

    pub(crate) fn subscribe(&self, channels: &[String]) -> Result<Subscription, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.subscribe(channels)),
            Self::Redis(redis) => Ok(redis.subscribe(channels)),
            Self::Shm(_) | Self::Memcached(_) => Err(Failure::Unsupported.into()),
        }
    }

    /// Connects if it is not connected, and asks whether the server is there. Only this connects anew: no other operation waits for a connection.
    pub(crate) async fn probe(&self, lane: usize) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Shm(_) => Ok(()),
            Self::Redis(redis) => redis.probe().await,
            Self::Memcached(memcached) => memcached.probe(lane).await,
        }
    }

    /// Values that a server has dropped for want of room since it was started; `None`: it does not say.
    pub(crate) async fn evictions(&self, lane: usize) -> Option<u64> {
        match self {
            Self::Memory(_) | Self::Shm(_) => None,
            Self::Redis(redis) => redis.evictions().await,
            Self::Memcached(memcached) => memcached.evictions(lane).await,
        }
    }

    /// Gives up the connection, so that the next probe resolves the name, finds the primary and logs in anew.
    pub(crate) fn disconnect(&self, lane: usize) {
        match self {
            Self::Memory(_) | Self::Shm(_) => {}
            Self::Redis(redis) => redis.disconnect(),
            Self::Memcached(memcached) => memcached.disconnect(lane),
        }
    }

    pub(crate) fn is_connected(&self, lane: usize) -> bool {
        match self {
            Self::Memory(_) | Self::Shm(_) => true,
            Self::Redis(redis) => redis.is_connected(),
            Self::Memcached(memcached) => memcached.is_connected(lane),
        }
    }

    async fn flag(&self, key: &str, step: &Step<'_>) -> Result<bool, StoreError> {
        Ok(match self.step(key, step).await? {
            Answer::Flag(flag) => flag,
            Answer::Value(_) | Answer::Count(_) => false,
        })
    }

    async fn step(&self, key: &str, step: &Step<'_>) -> Result<Answer, StoreError> {
        match self {
            Self::Memory(memory) => memory.apply(key, step),
            Self::Shm(shm) => shm.apply(key, step).await,
            Self::Redis(_) | Self::Memcached(_) => Err(Failure::Unsupported.into()),
        }
    }
}

/// Longest value that every backend takes.
pub const VALUE_MAX: usize = 64 * 1024;
const VERSION: usize = 20;
