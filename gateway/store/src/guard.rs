//! What stands before a backend: deadline, circuit breaker, count and report; and the task that connects.
//!
//! Gets: operations as futures. Gives: their result, or a failure within the deadline.
//! Never: connects within an operation, sends a key or value that not every backend takes, or asks a server that is known to be away.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::backend::{Backend, VALUE_MAX};
use crate::breaker::{Breaker, Turn};
use crate::error::{Failure, StoreError};
use crate::report::{Finished, Notice, Operation, Outcome, Report, Tier};
use crate::stats::Counters;

/// A backend and what stands before it.
pub(crate) struct Guard {
    pub(crate) backend: Backend,
    pub(crate) breakers: Vec<Breaker>,
    pub(crate) timeout: Duration,
    pub(crate) report: Arc<dyn Report>,
    pub(crate) tier: Tier,
    pub(crate) counters: Counters,
    /// Wakes the prober of a server.
    pub(crate) doubts: Vec<Notify>,
    /// How many servers are up.
    pub(crate) up: watch::Sender<usize>,
}

/// What probes of one server remember.
#[derive(Default)]
struct Seen {
    /// It has been said once that it is away, or there.
    told: bool,
    /// Values that it had dropped at the last look.
    evicted: Option<u64>,
}

impl Guard {
    /// Runs one operation on the server of `key`, under the deadline, and tells how it ended. `value` is only checked.
    pub(crate) async fn run<T>(
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
        if let Backend::Shm(shm) = &self.backend
            && result.is_err()
            && shm.take_reset()
        {
            self.notice(&Notice::SegmentReset);
        }
        let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.failure), outcome);
        self.counters.count(operation, outcome);
        self.report.operation(&Finished { backend: self.backend.kind(), tier: self.tier, operation, outcome, took: start.elapsed() });
        result
    }

    fn admit(&self, lane: usize, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        check_key(key)?;
        // No backend tells an empty value from none.
        if value.is_some_and(|value| value.is_empty() || value.len() > VALUE_MAX) {
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
        self.notice(&Notice::Down { server: lane, error: error.clone() });
        self.up.send_modify(|up| *up = up.saturating_sub(1));
    }

    fn notice(&self, notice: &Notice) {
        self.report.notice(self.backend.kind(), self.tier, notice);
    }

    /// Asks one server that is away. A probe may take longer than an operation: nobody waits for it.
    async fn probe(&self, lane: usize, seen: &mut Seen) {
        let start = Instant::now();
        let result = tokio::time::timeout(PROBE_TIMEOUT, self.backend.probe(lane)).await.unwrap_or_else(|_| Err(Failure::Timeout.into()));
        let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.failure), |()| Outcome::Done);
        self.report.operation(&Finished { backend: self.backend.kind(), tier: self.tier, operation: Operation::Probe, outcome, took: start.elapsed() });
        match result {
            Ok(()) => {
                if self.breakers[lane].success() == Turn::Closed {
                    self.notice(&Notice::Up { server: lane });
                    self.up.send_modify(|up| *up += 1);
                }
                seen.told = true;
                self.look_for_evictions(lane, seen).await;
                if let Backend::Redis(redis) = &self.backend
                    && let Some(policy) = redis.take_evicting_policy()
                {
                    self.notice(&Notice::Evicts { policy });
                }
            }
            Err(error) => {
                self.backend.disconnect(lane);
                // Who finds out says it: an operation, this probe of a quiet store, or the very first one.
                if self.breakers[lane].trip() == Turn::Opened {
                    self.tell_down(lane, &error);
                } else if !seen.told {
                    self.notice(&Notice::Down { server: lane, error });
                }
                seen.told = true;
            }
        }
    }

    /// Says how many values a server dropped for want of room since the last look. What it dropped before the first one is not ours to tell.
    async fn look_for_evictions(&self, lane: usize, seen: &mut Seen) {
        let found = tokio::time::timeout(PROBE_TIMEOUT, self.backend.evictions(lane)).await.ok().flatten();
        let Some(all) = found else { return };
        // A server that was started anew begins at 0 again.
        let values = seen.evicted.map_or(0, |before| all.checked_sub(before).unwrap_or(all));
        seen.evicted = Some(all);
        if values > 0 {
            self.notice(&Notice::Evicted { server: lane, values });
        }
    }

    /// Connects one server when it is away: at once when an operation finds out, then each second. Asks a quiet one now and then whether it still is there.
    pub(crate) async fn keep_probing(self: Arc<Self>, lane: usize) {
        let mut seen = Seen::default();
        loop {
            self.probe(lane, &mut seen).await;
            let probed = Instant::now();
            if self.breakers[lane].admits() {
                let _ = tokio::time::timeout(PROBE_QUIET, self.doubts[lane].notified()).await;
                // A server that answers probes and fails operations is not asked at once again: each time would cost somebody a deadline.
                if self.breakers[lane].admits() || probed.elapsed() >= PROBE_EVERY {
                    continue;
                }
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// Counts the values of a multi-get beyond the one that its outcome counted.
    pub(crate) fn count_rest(&self, found: &[Option<Vec<u8>>]) {
        let hits = found.iter().flatten().count() as u64;
        let misses = found.len() as u64 - hits;
        self.counters.count_more(hits.saturating_sub(1), if hits == 0 { misses.saturating_sub(1) } else { misses });
    }
}

/// What all backends take: printable ASCII without spaces, at most 250 bytes (memcached).
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(Failure::Key.into()) }
}

/// Longest key, in bytes.
pub const KEY_MAX: usize = 250;
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_QUIET: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
