//! Gauges that only another room knows: set at each scrape, from closures of `node`.
//!
//! Gets: numbers. Gives: series. Never: asks anybody itself.

use super::{Metrics, gauge};
use crate::observe::peers::Census;
use crate::observe::sets::{NodeState, RelayWay};
use crate::observe::stores::Function;

impl Metrics {
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

    /// Which functions have their store, whether one stands in for another, and how many writes wait; for [`Metrics::on_scrape`].
    pub fn set_stores(&self, up: &[(Function, bool)], degraded: bool, waiting: usize) {
        up.iter().for_each(|(function, up)| self.0.stores.set(*function, *up));
        self.0.stores.set_whole(degraded, waiting);
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
