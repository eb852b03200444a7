//! The leases of a node: how many places of the cluster it may give away without asking anybody. Pure: time is an argument.
//!
//! A place is a session in all, of an address or of a user. Without a lease a node gives away its *free share*, so that hardly any login asks; beyond that it has what
//! the home of the key leased to it. Gets: answers and recalls of homes, members that come and go. Gives: yes, no, or whom to ask about.
//! Never: gives more than the whole limit by its own count, keeps a lease for longer than 10 s after its home last spoke of it, or more than 65,536.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Source;
use crate::observe::event::Limit;
use crate::observe::id::Incarnation;

/// What is counted over the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Key {
    /// `limits.cluster_sessions`.
    All,
    /// `limits.sessions_per_ip`.
    Source(Source),
    /// `limits.sessions_per_user`, or the user's own.
    User(Box<str>),
}

/// A place that is to be asked for: so many of the key are taken here, and so many may be in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) used: usize,
    pub(super) limit: usize,
}

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// A limit is reached.
    Reached(Limit),
    /// It may be another node's; ask the home.
    Ask(Wish, Limit),
}

/// What a home says: so many may be taken in all by the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) most: usize,
    /// There is none left.
    pub(super) full: bool,
    /// The recall that this is newer than.
    pub(super) epoch: u64,
}

/// A home asks how many of a key are taken, and wants back the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recall {
    pub(super) key: Key,
    pub(super) limit: usize,
    pub(super) epoch: u64,
}

/// Places that go back to their home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Return {
    pub(super) key: Key,
    pub(super) epoch: u64,
    pub(super) count: usize,
}

/// What homes have leased to this node.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Members of the cluster, this node among them.
    members: usize,
    /// Until then somebody may be new and not know what is scarce: nothing is given away unasked.
    unsettled: Option<Instant>,
    held: HashMap<Key, Lease>,
    /// Keys of which a place was freed.
    freed: HashSet<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    most: usize,
    limit: usize,
    until: Instant,
    /// Until then it is not asked again.
    full: Option<Instant>,
    /// `None`: nobody answered, and this node goes by its own count.
    home: Option<Incarnation>,
    epoch: u64,
    recalled: Instant,
}

impl Key {
    /// What decides the home.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::All => b"all".to_vec(),
            Self::Source(source) => [&b"ip"[..], &source.0.to_be_bytes()].concat(),
            Self::User(name) => [&b"user"[..], name.as_bytes()].concat(),
        }
    }
}

impl Leases {
    /// So many nodes are the cluster now.
    pub(super) fn set_members(&mut self, members: usize, now: Instant) {
        if members > self.members {
            self.unsettled = Some(now + SETTLE);
        }
        self.members = members;
    }

    /// Whether one more place of this key may be taken.
    pub(super) fn may(&self, key: Key, used: usize, limit: usize, reached: Limit, now: Instant) -> Result<(), Short> {
        if used >= limit {
            return Err(Short::Reached(reached));
        }
        // With nobody else, or nobody else in reach, the own count is all there is.
        if self.members <= 1 {
            return Ok(());
        }
        match self.held.get(&key).filter(|lease| lease.until > now) {
            Some(lease) if used < lease.most => Ok(()),
            Some(Lease { full: Some(until), .. }) if *until > now => Err(Short::Reached(reached)),
            None if self.unsettled.is_none_or(|until| until <= now) && used < free_share(limit, self.members) => Ok(()),
            Some(_) | None => Err(Short::Ask(Wish { key, used, limit }, reached)),
        }
    }

    /// A home has answered a question that was sent then.
    pub(super) fn granted(&mut self, wish: &Wish, home: Incarnation, grant: Grant, sent: Instant, now: Instant) {
        let overtaken = self.held.get(&wish.key).is_some_and(|lease| if lease.home == Some(home) { lease.epoch > grant.epoch } else { lease.recalled > sent });
        if !overtaken {
            let full = grant.full.then_some(now + FULL);
            let lease = Lease { most: grant.most, limit: wish.limit, until: now + LEASE, full, home: Some(home), epoch: grant.epoch, recalled: sent };
            self.hold(&wish.key, lease);
        }
    }

    /// A home wants back what is not taken, and counts what is.
    pub(super) fn recall(&mut self, recall: &Recall, used: usize, home: Incarnation, now: Instant) {
        let lease = Lease { most: used, limit: recall.limit, until: now + LEASE, full: None, home: Some(home), epoch: recall.epoch, recalled: now };
        self.hold(&recall.key, lease);
    }

    /// No home answers.
    pub(super) fn alone(&mut self, wish: &Wish, now: Instant) {
        let lease = Lease { most: wish.limit, limit: wish.limit, until: now + ALONE, full: None, home: None, epoch: 0, recalled: now };
        self.hold(&wish.key, lease);
    }

    /// A place is free again.
    pub(super) fn freed(&mut self, key: Key) {
        if self.held.contains_key(&key) {
            self.freed.insert(key);
        }
    }

    /// What goes back to homes, by what is taken of each key now. Leases that are over are forgotten.
    pub(super) fn returns(&mut self, used: impl Fn(&Key) -> usize, now: Instant) -> Vec<(Incarnation, Return)> {
        let mut returns = Vec::new();
        for key in std::mem::take(&mut self.freed) {
            let Some(lease) = self.held.get_mut(&key) else { continue };
            let (used, home) = (used(&key), lease.home);
            lease.full = None;
            if let Some(home) = home.filter(|_| lease.most > used) {
                let count = lease.most - used;
                lease.most = used;
                returns.push((home, Return { key, epoch: lease.epoch, count }));
            }
        }
        self.held.retain(|_, lease| lease.until > now);
        returns
    }

    /// Keys that are taken here and of which no home has spoken for a while: it may be gone, and the next one has to be told before other nodes forget what is scarce.
    pub(super) fn unspoken(&self, used: impl Fn(&Key) -> usize, now: Instant) -> Vec<Wish> {
        let quiet = self.held.iter().filter(|(_, lease)| lease.home.is_some() && lease.until.saturating_duration_since(now) < LEASE - SPOKEN);
        let wish = |(key, lease): (&Key, &Lease)| Wish { key: key.clone(), used: used(key), limit: lease.limit };
        quiet.map(wish).filter(|wish| wish.used > 0).take(TOLD).collect()
    }

    fn hold(&mut self, key: &Key, lease: Lease) {
        if self.held.len() < MOST || self.held.contains_key(key) {
            self.held.insert(key.clone(), lease);
        }
    }
}

/// What each node may give away unasked: half of the limit, split over all; one each while that is not more than the limit. A home counts it with the first question.
fn free_share(limit: usize, members: usize) -> usize {
    if limit < members { 0 } else { (limit / (2 * members)).max(1) }
}

/// A lease is over so long after its home last spoke of it, which it does every [`super::home::EVERY`] while any node has taken a place.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// After a member came: longer than it takes homes to count everything again.
const SETTLE: Duration = Duration::from_secs(6);
/// After a home said that there is none left; a place that is freed here ends it.
const FULL: Duration = Duration::from_millis(100);
/// By its own count, until homes are tried again.
const ALONE: Duration = Duration::from_secs(2);
/// A home that did not speak for so long may be gone.
const SPOKEN: Duration = Duration::from_secs(6);
/// New homes told at a time.
const TOLD: usize = 200;
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn wish(used: usize) -> Wish {
        Wish { key: Key::All, used, limit: 9 }
    }

    fn leases(members: usize) -> Leases {
        Leases { members, ..Leases::default() }
    }

    fn may(leases: &Leases, used: usize, limit: usize, now: Instant) -> char {
        match leases.may(Key::All, used, limit, Limit::Sessions, now) {
            Ok(()) => 'y',
            Err(Short::Reached(_)) => 'n',
            Err(Short::Ask(..)) => 'a',
        }
    }

    #[test]
    fn a_node_on_its_own_goes_by_its_own_count() {
        let now = Instant::now();
        assert_eq!((may(&leases(1), 4, 5, now), may(&leases(1), 5, 5, now)), ('y', 'n'));
    }

    #[test]
    fn the_free_share_is_given_unasked_and_never_sums_up_to_more_than_the_limit() {
        let now = Instant::now();
        assert_eq!((may(&leases(3), 2, 20, now), may(&leases(3), 3, 20, now), may(&leases(3), 20, 20, now)), ('y', 'a', 'n'));
        assert_eq!((may(&leases(3), 0, 3, now), may(&leases(3), 0, 2, now)), ('y', 'a'));
        for (limit, members) in (1..200).flat_map(|limit| (1..70).map(move |members| (limit, members))) {
            assert!(free_share(limit, members) * members <= limit, "{limit} over {members}");
        }
    }

    #[test]
    fn nothing_is_given_away_unasked_until_a_new_member_has_heard_what_is_scarce() {
        let (mut leases, start) = (leases(0), Instant::now());
        leases.set_members(3, start);
        assert_eq!((may(&leases, 0, 20, start), may(&leases, 0, 20, start + SETTLE)), ('a', 'y'));
        leases.set_members(2, start + SETTLE);
        assert_eq!(may(&leases, 0, 20, start + SETTLE), 'y', "one that goes changes nothing");
    }

    #[test]
    fn a_lease_holds_until_it_is_used_up_returned_or_over() {
        let (mut leases, start, home) = (leases(3), Instant::now(), Incarnation::now());
        leases.granted(&wish(0), home, Grant { most: 4, full: false, epoch: 1 }, start, start);
        assert_eq!((may(&leases, 3, 9, start), may(&leases, 4, 9, start)), ('y', 'a'));
        leases.granted(&wish(0), home, Grant { most: 4, full: true, epoch: 1 }, start, start);
        assert_eq!((may(&leases, 4, 9, start), may(&leases, 4, 9, start + FULL)), ('n', 'a'));
        leases.freed(Key::All);
        assert_eq!(leases.returns(|_| 2, start), [(home, Return { key: Key::All, epoch: 1, count: 2 })]);
        assert_eq!((may(&leases, 1, 9, start), may(&leases, 2, 9, start)), ('y', 'a'));
        assert_eq!(leases.returns(|_| 2, start), []);
        assert_eq!((leases.unspoken(|_| 2, start), leases.unspoken(|_| 0, start + SPOKEN * 2)), (Vec::new(), Vec::new()));
        assert_eq!(leases.unspoken(|_| 2, start + SPOKEN * 2), [wish(2)]);
        assert_eq!(may(&leases, 0, 9, start + LEASE), 'y', "the free share again");
        leases.returns(|_| 0, start + LEASE);
        assert!(leases.held.is_empty());
    }

    #[test]
    fn an_answer_that_a_recall_has_overtaken_counts_for_nothing() {
        let (mut leases, start) = (leases(3), Instant::now());
        let (home, other, later) = (Incarnation::now(), Incarnation::now(), start + Duration::from_millis(5));
        leases.recall(&Recall { key: Key::All, limit: 9, epoch: 7 }, 1, home, later);
        leases.granted(&wish(1), home, Grant { most: 4, full: false, epoch: 6 }, start, later);
        assert_eq!(may(&leases, 1, 9, later), 'a', "the home has counted one");
        leases.granted(&wish(1), other, Grant { most: 4, full: false, epoch: 9 }, start, later);
        assert_eq!(may(&leases, 1, 9, later), 'a', "another one was asked before the recall");
        leases.granted(&wish(1), home, Grant { most: 2, full: false, epoch: 7 }, start, later);
        assert_eq!(may(&leases, 1, 9, later), 'y', "asked before, answered after it");
        leases.alone(&wish(1), later);
        assert_eq!((may(&leases, 8, 9, later), may(&leases, 8, 9, later + ALONE)), ('y', 'a'));
    }
}
