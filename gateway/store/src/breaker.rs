//! The circuit breaker before one server of a store: an outage costs a few operations, not every one.
//!
//! Gets: how operations ended. Gives: whether the next one may go, and the moment the answer changes.
//! Never: a clock, a lock or a task; who probes is the guarded store.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Failure;

/// Opens after [`OPENS_AFTER`] outages in a row, or at once after a deadline that passed: a frozen store must not cost each login its deadline.
/// While it is open nothing goes through; a probe (at once, then each second) closes it.
#[derive(Debug)]
pub struct Breaker(AtomicU32);

/// What a result did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Same,
    /// It opened just now.
    Opened,
    /// It closed just now.
    Closed,
}

impl Breaker {
    /// Open: nothing goes through until the first probe succeeds.
    pub fn open() -> Self {
        Self(AtomicU32::new(OPENS_AFTER))
    }

    /// Closed, for a backend that is always there.
    pub fn closed() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether an operation may go.
    pub fn admits(&self) -> bool {
        self.0.load(Ordering::Acquire) < OPENS_AFTER
    }

    /// An operation that was admitted, or a probe, reached the store.
    pub fn success(&self) -> Turn {
        if self.0.load(Ordering::Acquire) == 0 {
            return Turn::Same;
        }
        if self.0.swap(0, Ordering::AcqRel) >= OPENS_AFTER { Turn::Closed } else { Turn::Same }
    }

    /// It answered an operation. Unlike a probe this never closes an open breaker: the answer may be older than the outage.
    pub fn answered(&self) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |failures| (failures < OPENS_AFTER).then_some(0));
    }

    /// It failed. Failures that are not outages do not count.
    pub fn failure(&self, failure: Failure) -> Turn {
        if !failure.is_outage() {
            return Turn::Same;
        }
        let weight = if failure == Failure::Timeout { OPENS_AFTER } else { 1 };
        self.add(weight)
    }

    /// Opens now.
    pub fn trip(&self) -> Turn {
        self.add(OPENS_AFTER)
    }

    fn add(&self, weight: u32) -> Turn {
        let grow = |failures: u32| Some(failures.saturating_add(weight).min(OPENS_AFTER));
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, grow).unwrap_or(OPENS_AFTER);
        if before < OPENS_AFTER && before + weight >= OPENS_AFTER { Turn::Opened } else { Turn::Same }
    }
}

/// Outages in a row that open the circuit.
pub const OPENS_AFTER: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_outages_in_a_row_open_it_and_an_answer_between_starts_anew() {
        let breaker = Breaker::closed();
        for _ in 0..4 {
            assert_eq!(breaker.failure(Failure::Away), Turn::Same);
        }
        breaker.answered();
        for _ in 0..4 {
            assert_eq!(breaker.failure(Failure::Garbled), Turn::Same);
        }
        assert!(breaker.admits());
        assert_eq!(breaker.failure(Failure::Denied), Turn::Opened);
        assert!(!breaker.admits());
        assert_eq!(breaker.failure(Failure::Away), Turn::Same);
    }

    #[test]
    fn a_passed_deadline_opens_it_at_once_and_only_a_probe_closes_it() {
        let breaker = Breaker::closed();
        assert_eq!(breaker.failure(Failure::Timeout), Turn::Opened);
        breaker.answered();
        assert!(!breaker.admits());
        assert_eq!(breaker.success(), Turn::Closed);
        assert!(breaker.admits());
        assert_eq!(breaker.success(), Turn::Same);
    }

    #[test]
    fn what_concerns_one_operation_never_opens_it() {
        let breaker = Breaker::closed();
        for failure in Failure::ALL.into_iter().filter(|failure| !failure.is_outage()) {
            for _ in 0..10 {
                assert_eq!(breaker.failure(failure), Turn::Same);
            }
        }
        assert!(breaker.admits());
    }
}
