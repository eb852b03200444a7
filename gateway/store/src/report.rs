//! What the store tells whoever watches it: every operation, every loss and return, and what an operator should know.
//!
//! Gets: calls from the guarded store and the tiers. Gives: one small trait that the gateway's observing room implements.
//! Never: knows metrics or logs, carries a key or a value.

use std::time::Duration;

use crate::error::{Failure, StoreError};
use crate::key::Kind;
use crate::seal::OpenError;

/// The kinds of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// In this process.
    Memory,
    /// A segment that the processes of one host share.
    Shm,
    /// Redis: single, with Sentinel, or a cluster.
    Redis,
    /// One or more memcached servers.
    Memcached,
}

impl BackendKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Shm, Self::Redis, Self::Memcached];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shm => "shm",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        }
    }

    /// Whether other hosts see it.
    pub fn is_networked(self) -> bool {
        matches!(self, Self::Redis | Self::Memcached)
    }
}

/// Where in the tiers a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The configured store.
    Main,
    /// What answers while that one is away.
    Fallback,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Main, Self::Fallback];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Fallback => "fallback",
        }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read one value.
    Get,
    /// Read several values in one round trip.
    MultiGet,
    /// Write.
    Put,
    /// Write if nothing is there.
    PutIfAbsent,
    /// Write if nobody else has.
    PutIfVersion,
    /// Write and wait for replicas.
    PutConfirmed,
    /// Read and delete in one.
    Take,
    /// Delete.
    Delete,
    /// Count.
    Incr,
    /// Publish a message.
    Publish,
    /// Ask whether the store is there.
    Probe,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 11] = [
        Self::Get,
        Self::MultiGet,
        Self::Put,
        Self::PutIfAbsent,
        Self::PutIfVersion,
        Self::PutConfirmed,
        Self::Take,
        Self::Delete,
        Self::Incr,
        Self::Publish,
        Self::Probe,
    ];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::MultiGet => "multi_get",
            Self::Put => "put",
            Self::PutIfAbsent => "put_if_absent",
            Self::PutIfVersion => "put_if_version",
            Self::PutConfirmed => "put_confirmed",
            Self::Take => "take",
            Self::Delete => "delete",
            Self::Incr => "incr",
            Self::Publish => "publish",
            Self::Probe => "probe",
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A value was there (for a multi-get: at least one).
    Hit,
    /// None was.
    Miss,
    /// It was done.
    Done,
    /// A condition did not hold, so nothing was written.
    Refused,
    /// It failed.
    Failed(Failure),
}

impl Outcome {
    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed(failure) => failure.word(),
        }
    }
}

/// One finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Of which backend.
    pub backend: BackendKind,
    /// In which tier.
    pub tier: Tier,
    /// What it was.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// Something an operator should know. Told once for each change, not for each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The store is there (again): `server` of it, when it has several.
    Up {
        /// Number of the server in the URL, from 0.
        server: usize,
    },
    /// The store is away.
    Down {
        /// Number of the server in the URL, from 0.
        server: usize,
        /// Why.
        error: StoreError,
    },
    /// The store drops values when it is full: sessions and bans may vanish early.
    Evicts {
        /// The name of its policy.
        policy: String,
    },
    /// A server of the store dropped values for want of room since it was last asked, whoever wrote them.
    Evicted {
        /// Number of the server in the URL, from 0.
        server: usize,
        /// How many.
        values: u64,
    },
    /// Writes that waited for the store's return were dropped, because too many waited.
    Dropped {
        /// How many since the store went away.
        writes: u64,
    },
    /// Writes that waited for the store's return are in it now.
    CaughtUp {
        /// How many.
        writes: u64,
    },
    /// The shared segment was damaged (truncated, foreign bytes) and begins anew, empty.
    SegmentReset,
}

/// Learns of everything. Called synchronously: an implementation counts and returns.
pub trait Report: Send + Sync {
    /// An operation ended.
    fn operation(&self, finished: &Finished);
    /// Something changed.
    fn notice(&self, backend: BackendKind, tier: Tier, notice: &Notice);
    /// A value was there and does not open: foreign, altered, or of another version.
    fn rejected(&self, kind: Kind, reason: OpenError);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Report for Silent {
    fn operation(&self, _: &Finished) {}
    fn notice(&self, _: BackendKind, _: Tier, _: &Notice) {}
    fn rejected(&self, _: Kind, _: OpenError) {}
}
