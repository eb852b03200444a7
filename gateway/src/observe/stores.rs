//! What stores do: every operation becomes a count and a time, every outage and every return one log line, a value that does not open a count.
//!
//! Gets: reports of the store crate. Gives: metrics by backend, tier, operation and result; words for whoever is on duty.
//! Never: a line for each operation, a key or a value in one.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ftps_store::error::Failure;
use ftps_store::key::Kind;
use ftps_store::report::{BackendKind, Finished, Notice, Operation, Outcome, Report, Tier};
use ftps_store::seal::OpenError;

use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};

use super::Metrics;
use super::family::{Family, Maker};
use super::labels::{Label, Size, closed_set};

/// Counts and says what the stores of this node report.
#[derive(Debug)]
pub struct StoreReport {
    metrics: Metrics,
    /// What has been said and is said again after a while only: refusals of a server that answers.
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    failures: HashSet<(BackendKind, Failure)>,
    rejected: Option<Instant>,
    evicted: Option<Instant>,
}

impl StoreReport {
    /// Counts in these metrics.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, said: Mutex::default() }
    }

    /// Evictions that follow each other are one occurrence, said when it begins.
    fn say_evicted(&self, backend: BackendKind, server: usize, values: u64) {
        let (mut said, now) = (self.said.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if said.evicted.replace(now).is_none_or(|last| now.duration_since(last) >= EPISODE) {
            let backend = backend.word();
            tracing::warn!(
                target: TARGET,
                backend,
                server,
                values,
                "the store drops values because it is full: TLS sessions are resumed less often, parts of the ban book are written again; give it more memory (memcached: -m; Redis: maxmemory)"
            );
        }
    }

    /// An operator can mend these; the first of each kind since the store was last well is a line.
    fn say_failure(&self, finished: &Finished, failure: Failure) {
        let advice = match failure {
            Failure::Forbidden => "allow its user the commands and keys that deploy/docs/store.md names",
            Failure::Full => "give it more memory, or let it evict: sessions and staples may be lost, bans are kept by the nodes",
            Failure::ReadOnly => "name the primary in store.url, or use a Sentinel URL, which follows it",
            Failure::Denied => "check user and password of store.url",
            Failure::Absent
            | Failure::Timeout
            | Failure::Away
            | Failure::Busy
            | Failure::Garbled
            | Failure::Size
            | Failure::Key
            | Failure::Conflict
            | Failure::Unsupported => return,
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.failures.insert((finished.backend, failure)) {
            let (backend, failure, operation) = (finished.backend.word(), failure.word(), finished.operation.word());
            tracing::warn!(target: TARGET, backend, failure, operation, "the store refuses operations; {advice}");
        }
    }
}

impl Report for StoreReport {
    fn operation(&self, finished: &Finished) {
        self.metrics.stores().operation(finished);
        match finished.outcome {
            Outcome::Failed(failure) => self.say_failure(finished, failure),
            Outcome::Hit | Outcome::Miss | Outcome::Done | Outcome::Refused => {}
        }
    }

    fn notice(&self, backend: BackendKind, tier: Tier, notice: &Notice) {
        let (backend_word, tier) = (backend.word(), tier.word());
        match notice {
            Notice::Up { server } => {
                self.said.lock().unwrap_or_else(PoisonError::into_inner).failures.retain(|(known, _)| *known != backend);
                tracing::info!(target: TARGET, backend = backend_word, tier, server, "the store answers");
            }
            Notice::Down { server, error } => {
                self.metrics.stores().lost(backend);
                tracing::warn!(target: TARGET, backend = backend_word, tier, server, error = %error, "the store is away; this node goes on with what it has");
            }
            Notice::Evicts { policy } => {
                tracing::warn!(target: TARGET, backend = backend_word, policy, "the store drops values when it is full; set maxmemory-policy noeviction, or volatile-ttl");
            }
            Notice::Evicted { server, values } => {
                self.metrics.stores().evicted(backend, *values);
                self.say_evicted(backend, *server, *values);
            }
            Notice::Dropped { writes } => {
                tracing::warn!(target: TARGET, backend = backend_word, writes, "writes were dropped while the store was away: clients shake hands in full once");
            }
            Notice::CaughtUp { writes } => tracing::info!(target: TARGET, backend = backend_word, writes, "the store has what it missed"),
            Notice::SegmentReset => tracing::warn!(target: TARGET, tier, "the shared segment was damaged and begins anew, empty"),
        }
    }

    fn rejected(&self, kind: Kind, reason: OpenError) {
        self.metrics.stores().rejected(kind, reason);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.rejected.is_none_or(|last| now.duration_since(last) >= QUIET) {
            said.rejected = Some(now);
            tracing::warn!(target: TARGET, kind = kind.word(), %reason, "a value of the store does not open and counts as none; somebody else writes there, or a secret is missing here");
        }
    }
}

/// What each function of the store is for: `store.sessions` and its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Function {
    Sessions,
    Staples,
    Bans,
    Digests,
}

/// The metrics of stores.
pub(super) struct StoreTable {
    operations: Family<IntCounter, (BackendKind, Tier, Operation, StoreResult)>,
    failures: Family<IntCounter, (BackendKind, Failure)>,
    duration: Family<Histogram, BackendKind>,
    rejected: Family<IntCounter, (Kind, OpenError)>,
    outages: Family<IntCounter, BackendKind>,
    evictions: Family<IntCounter, BackendKind>,
    up: Family<IntGauge, Function>,
    breakers: Family<IntGauge, (Function, Circuit)>,
    degraded: IntGauge,
    degraded_seconds: Counter,
    waiting: IntGauge,
    pubsub_lag: Gauge,
}

impl StoreTable {
    #[rustfmt::skip]
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            operations: make.counters("shared_store_ops_total", "Operations on stores, those included that were not sent because the store was away.", &["store", "tier", "op", "result"]),
            failures: make.counters("shared_store_failures_total", "Failed operations on stores by reason.", &["store", "reason"]),
            duration: make.histograms("shared_store_op_duration_seconds", "Time of operations on stores.", &["store"], STORE_SECONDS),
            rejected: make.counters("shared_store_rejected_values_total", "Values that were there and did not open.", &["kind", "reason"]),
            outages: make.counters("shared_store_outages_total", "How often a server of a store went away.", &["store"]),
            evictions: make.counters("shared_store_evictions_total", "Values that the servers of a store dropped for want of room, whoever wrote them; every node counts the same ones.", &["store"]),
            up: make.gauges("shared_store_up", "1 while the configured store of a function is there.", &["function"]),
            breakers: make.gauges("shared_store_breaker_state", "Servers of the store of a function by the state of their circuit breaker; nothing is sent to an open one.", &["function", "state"]),
            degraded: make.gauge("shared_store_degraded", "1 while a configured store is away, or memory stands in for a segment."),
            degraded_seconds: make.real_counter("shared_store_degraded_seconds_total", "Time with shared_store_degraded at 1."),
            waiting: make.gauge("shared_store_waiting_writes", "Writes that wait for the return of a store."),
            pubsub_lag: make.real_gauge("shared_store_pubsub_lag_seconds", "From the last message that this node published until it heard it itself; 0: none yet, or a store without messages."),
        }
    }

    pub(super) fn operation(&self, finished: &Finished) {
        let result = StoreResult::of(finished.outcome);
        self.operations.at((finished.backend, finished.tier, finished.operation, result)).inc();
        self.duration.at(finished.backend).observe(finished.took.as_secs_f64());
        if let Outcome::Failed(failure) = finished.outcome {
            self.failures.at((finished.backend, failure)).inc();
        }
    }

    pub(super) fn lost(&self, backend: BackendKind) {
        self.outages.at(backend).inc();
    }

    pub(super) fn evicted(&self, backend: BackendKind, values: u64) {
        self.evictions.at(backend).inc_by(values);
    }

    pub(super) fn rejected(&self, kind: Kind, reason: OpenError) {
        self.rejected.at((kind, reason)).inc();
    }

    pub(super) fn set(&self, function: Function, (closed, open): (usize, usize)) {
        self.up.at(function).set(i64::from(open == 0));
        for (state, count) in [(Circuit::Closed, closed), (Circuit::Open, open)] {
            self.breakers.at((function, state)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn degraded_for(&self, time: Duration) {
        self.degraded_seconds.inc_by(time.as_secs_f64());
    }

    pub(super) fn set_pubsub_lag(&self, lag: Duration) {
        self.pubsub_lag.set(lag.as_secs_f64());
    }

    pub(super) fn set_whole(&self, degraded: bool, waiting: usize) {
        self.degraded.set(i64::from(degraded));
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

/// The state of a circuit breaker: `shared_store_breaker_state{state}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    Closed,
    Open,
}

/// How an operation ended, as far as a metric tells it apart; why it failed is a metric of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreResult {
    Hit,
    Miss,
    Done,
    Refused,
    Failed,
}

impl StoreResult {
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Hit => Self::Hit,
            Outcome::Miss => Self::Miss,
            Outcome::Done => Self::Done,
            Outcome::Refused => Self::Refused,
            Outcome::Failed(_) => Self::Failed,
        }
    }
}

closed_set!(Function { Sessions = "sessions", Staples = "staples", Bans = "bans", Digests = "digests" });
closed_set!(Circuit { Closed = "closed", Open = "open" });
closed_set!(StoreResult { Hit = "hit", Miss = "miss", Done = "done", Refused = "refused", Failed = "failed" });
closed_set!(BackendKind { Memory = "memory", Shm = "shm", Redis = "redis", Memcached = "memcached" });
closed_set!(Tier { Main = "main", Fallback = "fallback" });
closed_set!(Operation {
    Get = "get",
    MultiGet = "multi_get",
    Put = "put",
    PutIfAbsent = "put_if_absent",
    PutIfVersion = "put_if_version",
    PutConfirmed = "put_confirmed",
    Take = "take",
    Delete = "delete",
    Incr = "incr",
    Publish = "publish",
    Probe = "probe",
});
closed_set!(Failure {
    Absent = "absent",
    Timeout = "timeout",
    Away = "away",
    Denied = "denied",
    Forbidden = "forbidden",
    ReadOnly = "read_only",
    Full = "full",
    Busy = "busy",
    Garbled = "garbled",
    Size = "size",
    Key = "key",
    Conflict = "conflict",
    Unsupported = "unsupported",
});
closed_set!(Kind { Session = "session", Epochs = "epochs", Staple = "staple", Ban = "ban", Digest = "digest", Member = "member" });
closed_set!(OpenError { Version = "version", KeyUnknown = "key_unknown", Mac = "mac", Size = "size" });

/// 50 µs (shared memory) to `store.timeout` and beyond.
const STORE_SECONDS: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.2, 1.0];
/// The room of these lines.
const TARGET: &str = "ftps_store";
/// Without evictions for this long, the next one is another occurrence.
const EPISODE: Duration = Duration::from_secs(600);
/// Values that do not open are said this often at most.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::super::labels::tests::sound;
    use super::super::metrics::Build;
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<Circuit>();
        sound::<Function>();
    }

    #[test]
    fn evictions_are_counted_and_one_occurrence_is_said_once() {
        let report = StoreReport::new(Metrics::new(Build::default()));
        let evicted = |values| report.notice(BackendKind::Memcached, Tier::Main, &Notice::Evicted { server: 0, values });
        evicted(3);
        let said = |report: &StoreReport| report.said.lock().unwrap_or_else(PoisonError::into_inner).evicted;
        assert!(report.metrics.render().contains("ftps_gateway_shared_store_evictions_total{store=\"memcached\"} 3\n"));
        let first = said(&report);
        evicted(4);
        // Whatever follows within ten minutes is the same one, and makes it longer.
        assert!(first.is_some() && said(&report) >= first);
        assert!(report.metrics.render().contains("ftps_gateway_shared_store_evictions_total{store=\"memcached\"} 7\n"));
    }
}
