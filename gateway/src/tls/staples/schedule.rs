//! When a responder is asked again: at half of what is left of a response, and after failures at growing intervals.
//!
//! Gets: the time as an argument, what came of the last question, a random number. Gives: whether it is time, for this node among the others.
//! Never: reads a clock, or asks more often than every few seconds, whatever a responder says.

use std::time::{Duration, Instant};

/// When one certificate is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    due: Instant,
    /// In a row.
    failures: u32,
    /// Somebody wants a response of now, not one that another node has.
    anew: bool,
}

impl Schedule {
    /// Due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { due: now, failures: 0, anew: false }
    }

    /// A response is there for as long as `left`; `random` is any number, so that the nodes of many clusters do not ask at once.
    pub(super) fn succeed(&mut self, now: Instant, left: Duration, random: u8) {
        let half = left / 2;
        *self = Self { due: now + (half - half / 10 * u32::from(random) / 255).max(SOONEST), failures: 0, anew: false };
    }

    /// There is none. It is asked again after 5 s, 10 s, 20 s and so on, a quarter of an hour at most.
    pub(super) fn fail(&mut self, now: Instant, random: u8) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.due = now + pause + pause / 4 * u32::from(random) / 255;
        self.failures = self.failures.saturating_add(1);
    }

    /// Due at once, and what others have is not enough.
    pub(super) fn want_anew(&mut self, now: Instant) {
        *self = Self { due: now, failures: 0, anew: true };
    }

    /// Whether something should come.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Whether what others have is enough.
    pub(super) const fn takes_others(&self) -> bool {
        !self.anew
    }

    /// Whether this node is to ask the responder itself. The first of the cluster does when it is due; the others when those before them should have, long ago.
    pub(super) fn may_ask(&self, now: Instant, place: usize) -> bool {
        let turn = TURN.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        self.due.checked_add(turn).is_some_and(|mine| now >= mine)
    }

    /// Until it is due.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }
}

/// Between two questions, however short a response lives.
const SOONEST: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// How long each node waits for the one before it: longer than a responder may take.
const TURN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_response_is_renewed_when_half_of_it_is_left() {
        let now = Instant::now();
        for (random, least, most) in [(0, DAY / 2, DAY / 2), (128, DAY / 2 - DAY / 20, DAY / 2), (255, DAY / 2 - DAY / 20, DAY / 2 - DAY / 21)] {
            let mut schedule = Schedule::new(now);
            assert!(schedule.is_due(now));
            schedule.succeed(now, DAY, random);
            let left = schedule.left(now);
            assert!((least..=most).contains(&left), "{random}: {left:?}");
            assert!(!schedule.is_due(now + left - Duration::from_secs(1)) && schedule.is_due(now + left));
        }
        let mut short = Schedule::new(now);
        short.succeed(now, Duration::from_secs(2), 255);
        assert_eq!(short.left(now), SOONEST);
    }

    #[test]
    fn failures_make_the_pauses_grow_and_a_success_ends_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        let pauses: Vec<u64> = std::iter::repeat_with(|| {
            schedule.fail(now, 0);
            schedule.left(now).as_secs()
        })
        .take(20)
        .collect();
        assert_eq!(pauses[..5], [5, 10, 20, 40, 80]);
        assert_eq!(pauses[19], 900);
        schedule.fail(now, 255);
        assert_eq!(schedule.left(now).as_secs(), 900 + 225);
        schedule.succeed(now, DAY, 0);
        schedule.fail(now, 0);
        assert_eq!(schedule.left(now).as_secs(), 5);
    }

    #[test]
    fn the_first_asks_and_the_others_only_when_it_has_not() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        let turns = |schedule: &Schedule, at: Instant| [0, 1, 2].map(|place| schedule.may_ask(at, place));
        assert_eq!(turns(&schedule, now), [true, false, false]);
        assert_eq!(turns(&schedule, now + TURN), [true, true, false]);
        assert_eq!(turns(&schedule, now + 2 * TURN), [true; 3]);
        assert!(schedule.takes_others());
        schedule.want_anew(now + DAY);
        assert_eq!((turns(&schedule, now + DAY), schedule.takes_others()), ([true, false, false], false));
        schedule.succeed(now, DAY, 0);
        assert!(schedule.takes_others());
    }
}
