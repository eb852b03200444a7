//! How often one source may try to log in: a token bucket for each.
//!
//! Gets: sources that try, with the time. Gives: yes or no.
//! Never: keeps more than two generations of 32,768 sources; a source that did not try for a minute has a full bucket and need not be kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Source;

/// The buckets. A bucket that is used moves to the young generation; each minute, or when it is full, the young one becomes the old one and the former
/// old one is forgotten. So a flood of new sources can make us forget others early, but cannot make us large.
#[derive(Debug)]
pub(super) struct Logins {
    per_minute: f64,
    young: HashMap<Source, Bucket>,
    old: HashMap<Source, Bucket>,
    turned: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Logins {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.into(), young: HashMap::new(), old: HashMap::new(), turned: None }
    }

    pub(super) fn set(&mut self, per_minute: u32) {
        self.per_minute = per_minute.into();
    }

    /// Takes a token of this source, if it has one.
    pub(super) fn attempt(&mut self, source: Source, now: Instant) -> bool {
        let mut bucket = self.bucket(source, now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        self.young.insert(source, bucket);
        allowed
    }

    /// Puts a token back.
    pub(super) fn give_back(&mut self, source: Source, now: Instant) {
        let mut bucket = self.bucket(source, now);
        bucket.tokens = (bucket.tokens + 1.0).min(self.per_minute);
        self.young.insert(source, bucket);
    }

    /// The bucket as it is now.
    fn bucket(&mut self, source: Source, now: Instant) -> Bucket {
        self.turn(now);
        let known = self.young.get(&source).or_else(|| self.old.get(&source)).copied();
        let bucket = known.unwrap_or(Bucket { tokens: self.per_minute, at: now });
        let since = now.saturating_duration_since(bucket.at);
        let tokens = (bucket.tokens + since.as_secs_f64() / MINUTE.as_secs_f64() * self.per_minute).min(self.per_minute);
        Bucket { tokens, at: now }
    }

    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= MINUTE || self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.turned = Some(now);
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Sources of one generation.
const GENERATION: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> Source {
        Source::from(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn a_bucket_is_refilled_evenly_and_holds_one_minute() {
        let (mut logins, start) = (Logins::new(6), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((0..10).filter(|_| logins.attempt(source(1), at(0))).count(), 6);
        assert!(!logins.attempt(source(1), at(9)));
        assert!(logins.attempt(source(1), at(20)) && !logins.attempt(source(1), at(20)));
        assert_eq!((0..100).filter(|_| logins.attempt(source(1), at(4000))).count(), 6);
        logins.give_back(source(1), at(4000));
        assert!(logins.attempt(source(1), at(4000)) && !logins.attempt(source(1), at(4000)));
        (0..100).for_each(|_| logins.give_back(source(2), at(4000)));
        assert_eq!((0..100).filter(|_| logins.attempt(source(2), at(4000))).count(), 6, "never more than a minute's worth");
    }

    #[test]
    fn a_source_that_goes_on_is_remembered_over_generations() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        let tries = (0..600).filter(|second| logins.attempt(source(1), start + Duration::from_secs(*second))).count();
        assert_eq!(tries, 10, "one a minute, although it tries each second");
    }

    #[test]
    fn a_flood_of_sources_stays_within_two_generations() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        (0..200_000).for_each(|number| assert!(logins.attempt(source(number), start)));
        assert!(logins.young.len() + logins.old.len() <= 2 * GENERATION);
        assert!(!logins.attempt(source(199_999), start), "who came last is known");
    }

    #[test]
    fn old_sources_are_forgotten() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        (0..100).for_each(|number| assert!(logins.attempt(source(number), start)));
        assert!(logins.attempt(source(7), start + MINUTE));
        assert!(logins.attempt(source(7), start + 2 * MINUTE));
        assert_eq!(logins.young.len() + logins.old.len(), 2, "one source, in both generations");
    }
}
