//! What is counted of TLS where no event tells it: sessions of other nodes that were resumed here, what is cached, and the key that seals tickets. Clearing the cache.
//!
//! Gets: the state that all connections share. Gives: numbers, for metrics and the API.
//! Never: gives away a key.

use std::sync::atomic::Ordering;

use ftps_store::key::Kind;
use ftps_store::stats::Statistics;
use ftps_store::tiers::Reach;

use super::Tls;

/// The ticket key that seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// Tells it from others; the same on every node that seals with it.
    pub generation: u32,
    /// When it began to seal, in Unix seconds.
    pub since: u64,
}

impl Tls {
    /// Control connections that resumed a session of another node, or of an earlier start of this one.
    pub fn resumed_elsewhere(&self) -> u64 {
        self.0.elsewhere.load(Ordering::Relaxed)
    }

    /// TLS 1.2 sessions that can be resumed by their ID, in this node's memory.
    pub fn cached_sessions(&self) -> usize {
        self.0.cache.len()
    }

    /// What this node asked the cluster's session cache, and what the store as a whole has; entries in memory are [`Tls::cached_sessions`].
    pub async fn session_statistics(&self) -> (Statistics, Statistics) {
        (self.0.vault.statistics_of(Kind::Session), self.0.vault.statistics().await.0)
    }

    /// Forgets all TLS 1.2 sessions that could be resumed by their ID, on this node at once, on the others within about a second. Living sessions keep what
    /// proves them. Says how far it reached.
    pub async fn clear_sessions(&self) -> Reach {
        self.0.vault.clear(ftps_store::generation::Cache::Sessions).await
    }

    /// The same after another node has cleared them.
    pub async fn follow_clearing(&self) -> Reach {
        self.0.vault.follow(ftps_store::generation::Cache::Sessions).await
    }

    /// What this node asked the cluster's session cache; memory answers.
    pub fn session_questions(&self) -> Statistics {
        self.0.vault.statistics_of(Kind::Session)
    }

    /// The ticket key that seals now; `None` before the first one.
    pub fn sealing(&self) -> Option<Sealing> {
        let (id, begins) = self.0.epochs.sealing_id(self.0.now())?;
        let [a, b, c, d, ..] = id;
        Some(Sealing { generation: u32::from_be_bytes([a, b, c, d]), since: begins / 1000 })
    }
}
