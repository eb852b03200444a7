//! Gauges that only another room knows: set at each scrape, from closures of `node`.
//!
//! Gets: numbers. Gives: series. Never: asks anybody itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGaugeVec;

use super::{Metrics, gauge};
use crate::observe::family::Maker;
use crate::observe::peers::Census;
use crate::observe::ready::Part;
use crate::observe::sets::{CacheResult, NodeState, PortState, RelayWay};
use crate::observe::staples::StapleCensus;
use crate::observe::stores::Function;

/// Which configuration is in force: nodes of one cluster that show different ones have drifted apart.
pub(super) struct ConfigInfo {
    all: IntGaugeVec,
    now: Mutex<String>,
}

impl ConfigInfo {
    /// Nothing is known yet.
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let all = make.gauge_of_one_label("config_info", "The configuration in force, without what is the node's own; always 1.", "hash");
        let info = Self { all, now: Mutex::default() };
        info.set("none");
        info
    }

    fn set(&self, hash: &str) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != hash {
            self.all.reset();
            self.all.with_label_values(&[hash]).set(1);
            hash.clone_into(&mut now);
        }
    }
}

/// How much room there is for files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that this process may still write.
    pub free: u64,
    /// Files that it may still make.
    pub inodes: u64,
}

impl Metrics {
    /// A hash of the configuration in force.
    pub fn set_config(&self, hash: &str) {
        self.0.table.config_info.set(hash);
    }

    /// The staples of this node; for [`Metrics::on_scrape`].
    pub fn set_staples(&self, census: &StapleCensus) {
        self.0.table.staples.set(census);
    }

    /// Room on the file system.
    pub fn set_space(&self, space: Space) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let table = &self.0.table;
        table.storage_size.set(whole(space.size));
        table.storage_free.set(whole(space.free));
        table.storage_free_inodes.set(whole(space.inodes));
    }

    /// Control connections that resumed a session of another node, sessions in memory, the ticket key that seals and since when; for [`Metrics::on_scrape`].
    pub fn set_tls(&self, elsewhere: u64, sessions: usize, sealing: Option<(u32, u64)>) {
        let table = &self.0.table;
        table.resumed_elsewhere.inc_by(elsewhere.saturating_sub(table.resumed_elsewhere.get()));
        table.session_cache.set(gauge(sessions));
        let (generation, since) = sealing.unwrap_or_default();
        table.ticket_generation.set(generation.into());
        table.ticket_rotated.set(i64::try_from(since).unwrap_or(i64::MAX));
    }

    /// Data ports that somebody waits on, all of them, and waits under a lease; for [`Metrics::on_scrape`].
    pub fn set_waits(&self, pending: usize, ports: usize, leases: usize) {
        let table = &self.0.table;
        table.data_ports.at(PortState::Pending).set(gauge(pending));
        table.data_ports.at(PortState::Free).set(gauge(ports.saturating_sub(pending)));
        table.data_leases.set(gauge(leases));
    }

    /// Files that are read or wait for a digest, and digests that are remembered; for [`Metrics::on_scrape`].
    pub fn set_digests(&self, waiting: usize, remembered: usize) {
        self.0.table.digest_queue.set(gauge(waiting));
        self.0.table.digest_cache.set(gauge(remembered));
    }

    /// Data connections carried for other nodes, and their bytes since the start; for [`Metrics::on_scrape`].
    pub fn set_relays(&self, active: usize, to_owner: u64, to_client: u64) {
        self.0.table.relay_active.set(gauge(active));
        for (way, bytes) in [(RelayWay::ToOwner, to_owner), (RelayWay::ToClient, to_client)] {
            let counter = self.0.table.relay_bytes.at(way);
            counter.inc_by(bytes.saturating_sub(counter.get()));
        }
    }

    /// The ban book: bans of administrators and of rules, removed ones, automatic ones that found no room, faults of the journal; for [`Metrics::on_scrape`].
    pub fn set_bans(&self, admin: usize, rule: usize, removed: usize, dropped: u64, journal_errors: u64) {
        self.0.table.bans.set([gauge(admin), gauge(rule), gauge(removed)], dropped, journal_errors);
    }

    /// What the ban books of two nodes have in common when they are the same, and parts of it that the store lost so far; for [`Metrics::on_scrape`].
    pub fn set_ban_copies(&self, version: u32, lost: u64) {
        self.0.table.bans.set_copies(version, lost);
    }

    /// What works less well than it should; for [`Metrics::on_scrape`].
    pub fn set_degraded(&self, parts: &[(Part, bool)]) {
        parts.iter().for_each(|(part, degraded)| self.0.table.degraded.at(*part).set(i64::from(*degraded)));
    }

    /// How many servers of each function's store are used and how many are away, whether one store stands in for another, and how many writes wait; for
    /// [`Metrics::on_scrape`].
    pub fn set_stores(&self, circuits: &[(Function, (usize, usize))], degraded: bool, waiting: usize) {
        circuits.iter().for_each(|(function, circuits)| self.0.stores.set(*function, *circuits));
        self.0.stores.set_whole(degraded, waiting);
    }

    /// The stores were degraded for so much longer.
    pub fn stores_degraded_for(&self, time: Duration) {
        self.0.stores.degraded_for(time);
    }

    /// From a message's publication to its arrival; for [`Metrics::on_scrape`].
    pub fn set_pubsub_lag(&self, lag: Duration) {
        self.0.stores.set_pubsub_lag(lag);
    }

    /// Lines of the audit's own file that were lost so far; for [`Metrics::on_scrape`].
    pub fn set_audit_dropped(&self, lines: u64) {
        self.0.table.sidecar.set_dropped(lines);
    }

    /// What this node asked the cluster's session cache so far: found, not found, written, failed or not usable; for [`Metrics::on_scrape`].
    pub fn set_session_cache(&self, hits: u64, misses: u64, stores: u64, errors: u64) {
        for (result, count) in [(CacheResult::Hit, hits), (CacheResult::Miss, misses), (CacheResult::Stored, stores), (CacheResult::Error, errors)] {
            let counter = self.0.table.session_cache_ops.at(result);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// What the secrets that seal on two nodes have in common when they are the same; for [`Metrics::on_scrape`].
    pub fn set_secret_generation(&self, generation: u32) {
        self.0.table.secret_generation.set(generation.into());
    }

    /// The members of the cluster, when another one last answered, and how far clocks are apart; for [`Metrics::on_scrape`].
    pub fn set_cluster(&self, census: &Census) {
        for (state, count) in [(NodeState::Live, census.live), (NodeState::Draining, census.draining), (NodeState::Unreachable, census.unreachable)] {
            self.0.table.cluster_nodes.at(state).set(gauge(count));
        }
        self.0.table.cluster_heartbeat.set(census.heartbeat);
        self.0.table.cluster_skew.set(census.skew.as_secs_f64());
    }
}
