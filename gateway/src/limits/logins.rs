//! How often one source may try to log in: a token bucket for each, which all nodes draw from.
//!
//! Each node has all buckets. What it takes it tells the others every 50 ms; between two tellings it takes at most its slice of what is there, so that all together pass
//! the limit by one for each other node at most. Gets: sources that try, with the time; what was spent elsewhere. Gives: yes, no or a moment later.
//! Never: keeps more than two generations of 32,768 sources; a source that did not try for a minute has a full bucket and need not be kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Source;

/// The buckets. A bucket that is used moves to the young generation; each minute, or when it is full, the young one becomes the old one and the former
/// old one is forgotten. So a flood of new sources can make us forget others early, but cannot make us large.
#[derive(Debug)]
pub(super) struct Logins {
    per_minute: f64,
    /// Nodes of the cluster, this one among them.
    members: usize,
    /// What was taken since the last telling.
    round: HashMap<Source, i32>,
    young: HashMap<Source, Bucket>,
    old: HashMap<Source, Bucket>,
    turned: Option<Instant>,
}

/// Whether an attempt is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Allowed,
    /// This node's slice is taken, others may have left theirs: ask again after the next telling.
    Later,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Logins {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.into(), members: 1, round: HashMap::new(), young: HashMap::new(), old: HashMap::new(), turned: None }
    }

    pub(super) fn set(&mut self, per_minute: u32) {
        self.per_minute = per_minute.into();
    }

    /// So many nodes are the cluster now.
    pub(super) fn set_members(&mut self, members: usize) {
        self.members = members.max(1);
    }

    /// Takes a token of this source, if it has one.
    pub(super) fn attempt(&mut self, source: Source, now: Instant) -> Attempt {
        let mut bucket = self.bucket(source, now);
        let spent = self.round.get(&source).map_or(0.0, |spent| f64::from((*spent).max(0)));
        let slice = ((bucket.tokens + spent) / self.members as f64).ceil().max(1.0);
        let attempt = if bucket.tokens < 1.0 {
            Attempt::Refused
        } else if self.members > 1 && spent >= slice {
            Attempt::Later
        } else {
            bucket.tokens -= 1.0;
            self.note(source, 1);
            Attempt::Allowed
        };
        self.young.insert(source, bucket);
        attempt
    }

    /// Puts a token back.
    pub(super) fn give_back(&mut self, source: Source, now: Instant) {
        self.note(source, -1);
        self.spent_elsewhere(source, -1, now);
    }

    /// What was taken since this was asked last, for the other nodes. A new round begins.
    pub(super) fn spent(&mut self) -> Vec<(Source, i32)> {
        std::mem::take(&mut self.round).into_iter().filter(|(_, count)| *count != 0).collect()
    }

    /// Another node has taken so many tokens, or put them back.
    pub(super) fn spent_elsewhere(&mut self, source: Source, count: i32, now: Instant) {
        let mut bucket = self.bucket(source, now);
        bucket.tokens = (bucket.tokens - f64::from(count)).clamp(-self.per_minute, self.per_minute);
        self.young.insert(source, bucket);
    }

    fn note(&mut self, source: Source, count: i32) {
        if self.members > 1 && (self.round.len() < GENERATION || self.round.contains_key(&source)) {
            *self.round.entry(source).or_default() += count;
        }
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

    fn allowed(logins: &mut Logins, source: Source, now: Instant) -> bool {
        logins.attempt(source, now) == Attempt::Allowed
    }

    fn source(number: u32) -> Source {
        Source::from(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn a_bucket_is_refilled_evenly_and_holds_one_minute() {
        let (mut logins, start) = (Logins::new(6), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((0..10).filter(|_| allowed(&mut logins, source(1), at(0))).count(), 6);
        assert!(!allowed(&mut logins, source(1), at(9)));
        assert!(allowed(&mut logins, source(1), at(20)) && !allowed(&mut logins, source(1), at(20)));
        assert_eq!((0..100).filter(|_| allowed(&mut logins, source(1), at(4000))).count(), 6);
        logins.give_back(source(1), at(4000));
        assert!(allowed(&mut logins, source(1), at(4000)) && !allowed(&mut logins, source(1), at(4000)));
        (0..100).for_each(|_| logins.give_back(source(2), at(4000)));
        assert_eq!((0..100).filter(|_| allowed(&mut logins, source(2), at(4000))).count(), 6, "never more than a minute's worth");
    }

    #[test]
    fn a_source_that_goes_on_is_remembered_over_generations() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        let tries = (0..600).filter(|second| allowed(&mut logins, source(1), start + Duration::from_secs(*second))).count();
        assert_eq!(tries, 10, "one a minute, although it tries each second");
    }

    #[test]
    fn a_flood_of_sources_stays_within_two_generations() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        (0..200_000).for_each(|number| assert!(allowed(&mut logins, source(number), start)));
        assert!(logins.young.len() + logins.old.len() <= 2 * GENERATION);
        assert!(!allowed(&mut logins, source(199_999), start), "who came last is known");
    }

    #[test]
    fn old_sources_are_forgotten() {
        let (mut logins, start) = (Logins::new(1), Instant::now());
        (0..100).for_each(|number| assert!(allowed(&mut logins, source(number), start)));
        assert!(allowed(&mut logins, source(7), start + MINUTE));
        assert!(allowed(&mut logins, source(7), start + 2 * MINUTE));
        assert_eq!(logins.young.len() + logins.old.len(), 2, "one source, in both generations");
    }

    #[test]
    fn nodes_that_tell_each_other_pass_the_limit_by_one_for_each_other_node_at_most() {
        for (limit, count) in [(60, 3), (7, 3), (2, 5), (1, 2)] {
            let (mut nodes, start): (Vec<Logins>, _) = ((0..count).map(|_| Logins::new(limit)).collect(), Instant::now());
            nodes.iter_mut().for_each(|node| node.set_members(count));
            let mut all = 0;
            for _ in 0..100 {
                for node in &mut nodes {
                    all += (0..100).take_while(|_| allowed(node, source(1), start)).count();
                }
                let spent: Vec<_> = nodes.iter_mut().map(Logins::spent).collect();
                for (place, node) in nodes.iter_mut().enumerate() {
                    let others = spent.iter().enumerate().filter(|(other, _)| *other != place).flat_map(|(_, spent)| spent);
                    others.for_each(|(source, count)| node.spent_elsewhere(*source, *count, start));
                }
            }
            assert!((limit as usize..limit as usize + count).contains(&all), "{all} of {limit} over {count}");
            assert!(nodes.iter_mut().all(|node| node.attempt(source(1), start) == Attempt::Refused));
        }
    }

    #[test]
    fn one_node_alone_of_many_gets_the_whole_limit_slice_by_slice() {
        let (mut node, start) = (Logins::new(60), Instant::now());
        node.set_members(3);
        let slices: Vec<usize> = (0..20)
            .map(|_| {
                let taken = (0..100).take_while(|_| allowed(&mut node, source(1), start)).count();
                node.spent();
                taken
            })
            .collect();
        assert_eq!((slices[0], slices.iter().sum::<usize>()), (20, 60), "{slices:?}");
        node.give_back(source(1), start);
        assert_eq!(node.spent(), [(source(1), -1)]);
    }
}
