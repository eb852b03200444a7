//! Metrics of bans: how many there are, who made them, whom they refuse, how fast they spread.
//!
//! Gets: events, and the book's own numbers at each scrape. Gives: series that exist from the start.
//! Never: a target as a label.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::event::{BanKind, BanSource, BanStage, Event};
use super::family::{Family, Maker};

/// All metrics of bans.
pub(super) struct BanMetrics {
    held: Family<IntGauge, BanSource>,
    removed: IntGauge,
    dropped: IntCounter,
    made: Family<IntCounter, (BanSource, BanKind)>,
    dry_run: IntCounter,
    unmade: IntCounter,
    rejections: Family<IntCounter, (BanStage, BanKind)>,
    propagation: Histogram,
    journal_errors: IntCounter,
    version: IntGauge,
    lost_parts: IntCounter,
}

impl BanMetrics {
    #[rustfmt::skip]
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            held: make.gauges("bans", "Bans in force, by who made them.", &["source"]),
            removed: make.gauge("bans_removed", "Removed bans that are remembered, so that no copy brings them back."),
            dropped: make.counter("bans_dropped_total", "Automatic bans that found no room within bans.max_automatic."),
            made: make.counters("bans_made_total", "Bans that were made on this node.", &["source", "kind"]),
            dry_run: make.counter("bans_dry_run_total", "Bans that a rule would have made."),
            unmade: make.counter("bans_unmade_total", "Bans that were removed on this node."),
            rejections: make.counters("ban_rejections_total", "Banned clients that were refused.", &["stage", "kind"]),
            propagation: make.histogram("ban_propagation_seconds", "From a ban on another node until it holds here.", PROPAGATION_SECONDS),
            version: make.gauge("ban_list_version", "Nodes whose ban books are the same show the same number; it is no count."),
            lost_parts: make.counter("ban_store_parts_lost_total", "Parts of the ban book that the store had and lost, for want of memory or because it was emptied; they are written again."),
            journal_errors: make.counter("ban_journal_errors_total", "Writes of the ban journal that failed, and parts of it that could not be read."),
        }
    }

    pub(super) fn count(&self, event: &Event<'_>) {
        match *event {
            Event::Banned { dry_run: true, .. } => self.dry_run.inc(),
            Event::Banned { source, kind, .. } => self.made.at((source, kind)).inc(),
            Event::Unbanned { bans, .. } => self.unmade.inc_by(bans),
            Event::BanRefused { kind, stage, .. } => self.rejections.at((stage, kind)).inc(),
            Event::BanArrived { took } => self.propagation.observe(took.as_secs_f64()),
            _ => {}
        }
    }

    /// What two equal books have in common, and parts that the store lost.
    pub(super) fn set_copies(&self, version: u32, lost: u64) {
        self.version.set(version.into());
        self.lost_parts.inc_by(lost.saturating_sub(self.lost_parts.get()));
    }

    /// Bans of administrators, of rules, and removed ones.
    pub(super) fn set(&self, [admin, rule, removed]: [i64; 3], dropped: u64, journal_errors: u64) {
        self.held.at(BanSource::Admin).set(admin);
        self.held.at(BanSource::Rule).set(rule);
        self.removed.set(removed);
        self.dropped.inc_by(dropped.saturating_sub(self.dropped.get()));
        self.journal_errors.inc_by(journal_errors.saturating_sub(self.journal_errors.get()));
    }
}

/// 5 ms to 60 s.
const PROPAGATION_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
