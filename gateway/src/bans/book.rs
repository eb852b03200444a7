//! The ban book: who is banned, and which bans were removed. Pure: time is an argument, nothing is asked.
//!
//! Gets: changes, in any order and any number of times. Gives: the ban that an address, user, class or certificate has; what differs from another book.
//! Never: waits, grows by automatic bans beyond its bound, drops a ban of an administrator, or takes a ban back that was removed. Books that saw the
//! same changes are the same (only the bound on automatic bans depends on order; the next comparison of books mends that).

use std::borrow::Borrow;
use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ban::{Ban, Change};
use super::parts::{BUCKETS, Counts, bucket_of, mark};
use super::prefixes::{Bits, Keyed, Prefixes};
use super::target::{Target, half};
use crate::observe::event::BanSource;
use crate::observe::id::BanId;

/// All bans, with every way to find one.
#[derive(Debug)]
pub struct Book {
    held: Vec<Held>,
    free: Vec<u32>,
    /// By the random bits of the id, so that two books can be compared part by part.
    buckets: Vec<Bucket>,
    four: Prefixes<u32>,
    six: Prefixes<u64>,
    users: Names,
    users_at_hosts: Names,
    classes: Names,
    certificates: Names,
    /// Ends of bans by administrators, and of automatic ones, which are dropped from the front when there are too many.
    ends: BTreeSet<(u64, u32)>,
    automatic: BTreeSet<(u64, u32)>,
    removed: BTreeSet<(u64, BanId)>,
    most_automatic: usize,
    /// Automatic bans that found no room.
    dropped: u64,
    texts: HashSet<Arc<str>>,
}

type Names = HashMap<Box<str>, u32>;

/// A place for a ban, and the next one with an equal target.
#[derive(Debug)]
struct Held {
    ban: Option<Arc<Ban>>,
    next: u32,
}

#[derive(Debug)]
struct Bucket {
    entries: HashMap<BanId, Entry, Keyed>,
    digest: u64,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Held(u32),
    /// Removed; remembered until then.
    Gone(u64),
}

/// What a client has shown of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// Its true address.
    pub ip: Option<IpAddr>,
    /// The user it is or wants to be.
    pub user: Option<&'a str>,
    /// The classes of its address and of its user.
    pub classes: &'a [&'a str],
    /// Names of its certificate.
    pub certificates: &'a [String],
}

impl Book {
    /// An empty book for at most so many automatic bans.
    pub fn new(most_automatic: usize) -> Self {
        let keyed = Keyed::random();
        Self {
            held: Vec::new(),
            free: Vec::new(),
            buckets: (0..BUCKETS).map(|_| Bucket { entries: HashMap::with_hasher(keyed), digest: 0 }).collect(),
            four: Prefixes::new(keyed),
            six: Prefixes::new(keyed),
            users: Names::new(),
            users_at_hosts: Names::new(),
            classes: Names::new(),
            certificates: Names::new(),
            ends: BTreeSet::new(),
            automatic: BTreeSet::new(),
            removed: BTreeSet::new(),
            most_automatic,
            dropped: 0,
            texts: HashSet::new(),
        }
    }

    /// Another bound for automatic bans.
    pub fn set_most_automatic(&mut self, most: usize) {
        self.most_automatic = most;
        while self.automatic.len() > most {
            self.drop_first_automatic();
        }
    }

    /// Takes a change. Says whether it was news.
    pub fn merge(&mut self, change: &Change, now: u64) -> bool {
        match change {
            Change::Ban(ban) => self.ban(ban, now),
            Change::Unban { id, until } => self.unban(*id, *until, now),
        }
    }

    /// The ban that an address has, of those by address.
    pub fn of_address(&self, ip: IpAddr, now: u64) -> Option<&Arc<Ban>> {
        match ip.to_canonical() {
            IpAddr::V4(four) => self.four.holding(four.to_bits()).find_map(|first| self.living(first, now)),
            IpAddr::V6(six) => self.six.holding(half(six)).find_map(|first| self.living(first, now)),
        }
    }

    /// The ban that a client has, whatever it is about.
    pub fn of(&self, who: &Who<'_>, now: u64) -> Option<&Arc<Ban>> {
        let name = |names: &Names, name: &str| names.get(name).copied();
        let by_address = || who.ip.and_then(|ip| self.of_address(ip, now));
        let by_user = || who.user.and_then(|user| self.living(name(&self.users, user)?, now));
        let by_class = || who.classes.iter().find_map(|class| self.living(name(&self.classes, class)?, now));
        let by_certificate = || who.certificates.iter().find_map(|shown| self.living(name(&self.certificates, shown)?, now));
        let at_host = || {
            let (user, ip) = (who.user?, who.ip?.to_canonical());
            let mut bans = self.chain(name(&self.users_at_hosts, user)?);
            bans.find(|ban| !ban.has_ended(now) && matches!(&ban.target, Target::UserAtHost(_, net) if net.contains(&ip)))
        };
        by_address().or_else(by_user).or_else(at_host).or_else(by_class).or_else(by_certificate)
    }

    /// Whether any class is banned: without one, nobody has to look for an address's classes.
    pub fn bans_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    /// A ban by its id.
    pub fn find(&self, id: BanId) -> Option<&Arc<Ban>> {
        match self.buckets[bucket_of(id)].entries.get(&id)? {
            Entry::Held(place) => self.held[*place as usize].ban.as_ref(),
            Entry::Gone(_) => None,
        }
    }

    /// The bans of exactly this target.
    pub fn about(&self, target: &Target) -> Vec<Arc<Ban>> {
        let bans = self.first(target).map(|first| self.chain(first).cloned().collect::<Vec<_>>()).unwrap_or_default();
        bans.into_iter().filter(|ban| ban.target == *target).collect()
    }

    /// All bans, in no order.
    pub fn bans(&self) -> impl Iterator<Item = &Arc<Ban>> {
        self.held.iter().filter_map(|held| held.ban.as_ref())
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts { admin: self.ends.len(), rule: self.automatic.len(), removed: self.removed.len(), dropped: self.dropped }
    }

    /// Forgets what has ended, at most `most`; says how many.
    pub fn sweep(&mut self, now: u64, most: usize) -> usize {
        let mut swept = 0;
        while swept < most {
            let ended = [self.ends.first(), self.automatic.first()].into_iter().flatten().find(|(end, _)| *end <= now).copied();
            let Some((_, place)) = ended else { break };
            self.take_out(place);
            swept += 1;
        }
        while let Some((_, id)) = self.removed.first().copied().filter(|(until, _)| *until <= now) {
            self.forget(id);
        }
        swept
    }

    /// What two equal books have in common: one number for each part.
    pub fn digests(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.digest).collect()
    }

    /// The number of one part.
    pub fn digest(&self, bucket: usize) -> u64 {
        self.buckets.get(bucket).map_or(0, |bucket| bucket.digest)
    }

    /// Whether a part holds nothing.
    pub fn is_empty(&self, bucket: usize) -> bool {
        self.buckets.get(bucket).is_none_or(|bucket| bucket.entries.is_empty())
    }

    /// Everything in one part, as the changes that make it.
    pub fn content(&self, bucket: usize) -> Vec<Change> {
        let entries = self.buckets.get(bucket).into_iter().flat_map(|bucket| &bucket.entries);
        let change = |(id, entry): (&BanId, &Entry)| match entry {
            Entry::Held(place) => self.held[*place as usize].ban.clone().map(Change::Ban),
            Entry::Gone(until) => Some(Change::Unban { id: *id, until: *until }),
        };
        entries.filter_map(change).collect()
    }

    fn ban(&mut self, ban: &Arc<Ban>, now: u64) -> bool {
        if ban.has_ended(now) || self.buckets[bucket_of(ban.id)].entries.contains_key(&ban.id) {
            return false;
        }
        if ban.source == BanSource::Rule && self.automatic.len() >= self.most_automatic {
            // The one that ends first makes room, and that may be this one.
            let first = self.automatic.first().map(|(end, _)| *end);
            if first.is_none_or(|end| end >= ban.ends) {
                self.dropped += 1;
                return false;
            }
            self.drop_first_automatic();
        }
        let shared = self.with_shared_texts(ban);
        let place = self.put(shared);
        let bucket = &mut self.buckets[bucket_of(ban.id)];
        bucket.entries.insert(ban.id, Entry::Held(place));
        bucket.digest ^= mark(ban.id, false);
        self.ends_of(ban.source).insert((ban.ends, place));
        true
    }

    fn unban(&mut self, id: BanId, until: u64, now: u64) -> bool {
        let known = self.buckets[bucket_of(id)].entries.get(&id).copied();
        if let Some(Entry::Held(place)) = known {
            self.take_out(place);
        }
        let until = match known {
            Some(Entry::Gone(before)) if before >= until => return false,
            Some(Entry::Gone(before)) => {
                self.removed.remove(&(before, id));
                until
            }
            // The ban may be over, and another node not know it yet.
            Some(Entry::Held(_)) | None if until <= now => return known.is_some(),
            Some(Entry::Held(_)) | None => {
                self.buckets[bucket_of(id)].digest ^= mark(id, true);
                until
            }
        };
        self.removed.insert((until, id));
        self.buckets[bucket_of(id)].entries.insert(id, Entry::Gone(until));
        true
    }

    fn drop_first_automatic(&mut self) {
        if let Some((_, place)) = self.automatic.first().copied() {
            self.take_out(place);
            self.dropped += 1;
        }
    }

    /// Puts a ban into a place and in front of those with an equal target.
    fn put(&mut self, ban: Arc<Ban>) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.held.push(Held { ban: None, next: NONE });
            // Four thousand million bans would be a terabyte.
            u32::try_from(self.held.len() - 1).unwrap_or(NONE)
        });
        let next = match &ban.target {
            Target::Network(IpNet::V4(net)) => self.four.set(net.addr().to_bits().cut(net.prefix_len()), net.prefix_len(), place),
            Target::Network(IpNet::V6(net)) => self.six.set(half(net.addr()).cut(net.prefix_len()), net.prefix_len(), place),
            named => self.names_of(named).and_then(|(names, name)| names.insert(name.into(), place)),
        };
        self.held[place as usize] = Held { ban: Some(ban), next: next.unwrap_or(NONE) };
        place
    }

    /// Takes a ban out of its place and everything that leads to it.
    fn take_out(&mut self, place: u32) {
        let Some(ban) = self.held[place as usize].ban.take() else { return };
        let next = self.held[place as usize].next;
        if self.first(&ban.target) == Some(place) {
            self.lead_to(&ban.target, next);
        } else {
            let mut before = self.first(&ban.target).unwrap_or(NONE);
            while before != NONE && self.held[before as usize].next != place {
                before = self.held[before as usize].next;
            }
            if before != NONE {
                self.held[before as usize].next = next;
            }
        }
        self.ends_of(ban.source).remove(&(ban.ends, place));
        let bucket = &mut self.buckets[bucket_of(ban.id)];
        if bucket.entries.remove(&ban.id).is_some() {
            bucket.digest ^= mark(ban.id, false);
        }
        self.free.push(place);
    }

    fn forget(&mut self, id: BanId) {
        let bucket = &mut self.buckets[bucket_of(id)];
        if let Place::Occupied(entry) = bucket.entries.entry(id)
            && let Entry::Gone(until) = *entry.get()
        {
            entry.remove();
            bucket.digest ^= mark(id, true);
            self.removed.remove(&(until, id));
        }
    }

    /// The first place of those with this target (for a user at hosts: with this user).
    fn first(&self, target: &Target) -> Option<u32> {
        match target {
            Target::Network(IpNet::V4(net)) => self.four.exactly(net.addr().to_bits(), net.prefix_len()),
            Target::Network(IpNet::V6(net)) => self.six.exactly(half(net.addr()), net.prefix_len()),
            Target::User(name) => self.users.get(name).copied(),
            Target::UserAtHost(name, _) => self.users_at_hosts.get(name).copied(),
            Target::Class(name) => self.classes.get(name).copied(),
            Target::Certificate(name) => self.certificates.get(name).copied(),
        }
    }

    /// Makes `next` the first place of a target, or forgets the target when there is none.
    fn lead_to(&mut self, target: &Target, next: u32) {
        match target {
            Target::Network(IpNet::V4(net)) if next == NONE => self.four.remove(net.addr().to_bits(), net.prefix_len()),
            Target::Network(IpNet::V4(net)) => drop(self.four.set(net.addr().to_bits(), net.prefix_len(), next)),
            Target::Network(IpNet::V6(net)) if next == NONE => self.six.remove(half(net.addr()), net.prefix_len()),
            Target::Network(IpNet::V6(net)) => drop(self.six.set(half(net.addr()), net.prefix_len(), next)),
            named => {
                if let Some((names, name)) = self.names_of(named) {
                    if next == NONE {
                        names.remove(name)
                    } else {
                        names.insert(name.into(), next)
                    };
                }
            }
        }
    }

    fn names_of<'a>(&mut self, target: &'a Target) -> Option<(&mut Names, &'a str)> {
        match target {
            Target::Network(_) => None,
            Target::User(name) => Some((&mut self.users, name)),
            Target::UserAtHost(name, _) => Some((&mut self.users_at_hosts, name)),
            Target::Class(name) => Some((&mut self.classes, name)),
            Target::Certificate(name) => Some((&mut self.certificates, name)),
        }
    }

    fn ends_of(&mut self, source: BanSource) -> &mut BTreeSet<(u64, u32)> {
        match source {
            BanSource::Admin => &mut self.ends,
            BanSource::Rule => &mut self.automatic,
        }
    }

    fn chain(&self, first: u32) -> impl Iterator<Item = &Arc<Ban>> {
        let place = |place: u32| (place != NONE).then_some(place);
        std::iter::successors(place(first), move |before| place(self.held[*before as usize].next)).filter_map(|at| self.held[at as usize].ban.as_ref())
    }

    fn living(&self, first: u32, now: u64) -> Option<&Arc<Ban>> {
        self.chain(first).find(|ban| !ban.has_ended(now))
    }

    /// A million bans of one import have one author and one reason: kept once.
    fn with_shared_texts(&mut self, ban: &Arc<Ban>) -> Arc<Ban> {
        if self.texts.len() >= TEXTS {
            self.texts.clear();
        }
        let mut shared = Ban::clone(ban);
        for text in [&mut shared.reason, &mut shared.author, &mut shared.message] {
            let known: &str = (*text).borrow();
            match self.texts.get(known) {
                Some(known) => *text = known.clone(),
                None => drop(self.texts.insert(text.clone())),
            }
        }
        Arc::new(shared)
    }
}

const NONE: u32 = u32::MAX;
/// Different texts that are kept once.
const TEXTS: usize = 10_000;

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
