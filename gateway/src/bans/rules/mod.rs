//! Rules: who does something too often is banned.
//!
//! Gets: every event of the node, synchronously, and what other nodes counted. Gives: trips, at once, so that the next connection of a flood is refused.
//! Never: waits, counts whom `bans.never` protects, bans an address that stands for many clients (that becomes a dry run), or grows under a flood.

pub mod event;
mod window;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use self::event::RuleEvent;
use self::window::Windows;
use super::ban::{Ban, Term};
use super::target::{Target, host};
use crate::observe::event::{BanSource, Event};
use crate::observe::{Sink, Subject};

/// One of `bans.rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What is counted.
    pub event: RuleEvent,
    /// How often.
    pub count: u32,
    /// Within which time.
    pub within: Duration,
    /// How long the ban lasts.
    pub ban: Term,
    /// Who is banned.
    pub scope: Scope,
    /// What the client is told; `None`: `bans.message`.
    pub message: Option<String>,
    /// Only says what it would do.
    pub dry_run: bool,
    /// Longer each time.
    pub escalate: Option<Escalate>,
}

/// `escalate:` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalate {
    /// Each ban is so many times as long as the one before.
    pub factor: u32,
    /// And never longer than this.
    pub max: Duration,
}

/// Who is banned by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The address, or the IPv6 /64.
    Host,
    /// The user, from wherever.
    User,
    /// The user from this address.
    UserAtHost,
    /// The class of the address (`bans.classes`).
    Class,
}

/// A rule that has counted enough.
#[derive(Clone, Debug)]
pub struct Trip {
    /// Who is to be banned.
    pub target: Target,
    /// How long.
    pub term: Term,
    /// Name of the event.
    pub reason: &'static str,
    /// What was counted, in words.
    pub evidence: String,
    /// What the client is told, if the rule says it.
    pub message: Option<String>,
    /// Only to be said.
    pub dry_run: bool,
}

/// What rules ask of the room.
pub trait House: Send + Sync {
    /// Whether this address is never banned: loopback, peers, balancers, `bans.never`.
    fn spares(&self, ip: IpAddr) -> bool;
    /// Whether this user is never banned.
    fn spares_user(&self, user: &str) -> bool;
    /// Whether this address stands for many clients.
    fn is_hidden(&self, ip: IpAddr) -> bool;
    /// The class of an address.
    fn class_of(&self, ip: IpAddr) -> Option<Box<str>>;
    /// A rule has counted enough.
    fn trip(&self, trip: Trip);
}

/// What one node counted for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increment {
    /// Which rule.
    pub rule: u64,
    /// Who.
    pub target: Target,
    /// How often.
    pub times: u32,
}

/// One rule's counters, for `GET /bans/counters`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counter {
    /// Its event.
    pub event: &'static str,
    /// Its threshold.
    pub count: u32,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// Events that counted on this node.
    pub counted: u64,
    /// How often it tripped on this node.
    pub tripped: u64,
}

/// All rules, a [`Sink`]. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rules(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rules: ArcSwap<Vec<Counting>>,
    house: OnceLock<Arc<dyn House>>,
    /// Whether there is somebody to tell.
    shares: AtomicBool,
    pending: Mutex<HashMap<(u64, Target), u32>>,
}

/// A rule with its counts.
struct Counting {
    rule: Rule,
    /// The same on every node that has this rule.
    id: u64,
    windows: Mutex<Windows>,
    /// How often a target was banned, and until when that is remembered (Unix ms).
    repeats: Mutex<HashMap<Target, (u32, u64)>>,
    counted: AtomicU64,
    tripped: AtomicU64,
}

impl Rules {
    /// Rules of a configuration; those that did not change go on counting.
    pub fn set(&self, rules: &[Rule]) {
        let before = self.0.rules.load_full();
        if before.iter().map(|counting| &counting.rule).eq(rules) {
            return;
        }
        self.0.rules.store(Arc::new(rules.iter().cloned().map(Counting::new).collect()));
    }

    /// Whom they ask and tell. Said once; until then nothing trips.
    pub fn live_in(&self, house: Arc<dyn House>) {
        let _ = self.0.house.set(house);
    }

    /// Whether other nodes are told what is counted here.
    pub fn share(&self, yes: bool) {
        self.0.shares.store(yes, Ordering::Relaxed);
    }

    /// What was counted since the last time.
    pub fn take_pending(&self) -> Vec<Increment> {
        let pending = std::mem::take(&mut *lock(&self.0.pending));
        pending.into_iter().map(|((rule, target), times)| Increment { rule, target, times }).collect()
    }

    /// What another node counted.
    pub fn add(&self, increments: &[Increment], now: Instant) {
        let rules = self.0.rules.load();
        for increment in increments {
            if let Some(counting) = rules.iter().find(|counting| counting.id == increment.rule) {
                self.count(counting, &increment.target, increment.times, now, "over several nodes");
            }
        }
    }

    /// A ban came into the book: its target begins anew, and a rule that escalates remembers it.
    pub fn note(&self, ban: &Ban) {
        if ban.source != BanSource::Rule {
            return;
        }
        for counting in self.0.rules.load().iter().filter(|counting| counting.rule.event.name() == &*ban.reason) {
            lock(&counting.windows).reset(&ban.target);
            counting.remember(ban);
        }
    }

    /// Counters of every rule.
    pub fn counters(&self) -> Vec<Counter> {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counter = |counting: &Counting| Counter {
            event: counting.rule.event.name(),
            count: counting.rule.count,
            dry_run: counting.rule.dry_run,
            counted: number(&counting.counted),
            tripped: number(&counting.tripped),
        };
        self.0.rules.load().iter().map(counter).collect()
    }

    fn see(&self, subject: Subject<'_>, event: &Event<'_>, now: Instant) {
        let Some(house) = self.0.house.get() else { return };
        let kinds = RuleEvent::of(event, subject.user);
        if kinds == [None; 3] {
            return;
        }
        let ip = subject.peer.map(|peer| peer.ip().to_canonical());
        if ip.is_some_and(|ip| house.spares(ip)) {
            return;
        }
        for counting in self.0.rules.load().iter().filter(|counting| kinds.contains(&Some(counting.rule.event))) {
            let Some(target) = counting.rule.target(ip, subject.user, &**house) else { continue };
            counting.counted.fetch_add(1, Ordering::Relaxed);
            self.count(counting, &target, 1, now, "on this node");
            self.tell_others(counting.id, target);
        }
    }

    fn tell_others(&self, rule: u64, target: Target) {
        if !self.0.shares.load(Ordering::Relaxed) {
            return;
        }
        let mut pending = lock(&self.0.pending);
        let room = pending.len() < PENDING;
        match pending.get_mut(&(rule, target.clone())) {
            Some(times) => *times = times.saturating_add(1),
            // A flood: what is counted here counts here.
            None if room => drop(pending.insert((rule, target), 1)),
            None => {}
        }
    }

    fn count(&self, counting: &Counting, target: &Target, times: u32, now: Instant, place: &str) {
        let sum = {
            let mut windows = lock(&counting.windows);
            let sum = windows.add(target, times, now);
            if sum >= counting.rule.count {
                windows.reset(target);
            }
            sum
        };
        if sum < counting.rule.count {
            return;
        }
        let Some(house) = self.0.house.get() else { return };
        counting.tripped.fetch_add(1, Ordering::Relaxed);
        let hidden = match target {
            Target::Network(net) | Target::UserAtHost(_, net) => house.is_hidden(net.addr()),
            Target::User(_) | Target::Class(_) | Target::Certificate(_) => false,
        };
        let Rule { event, within, message, dry_run, .. } = &counting.rule;
        house.trip(Trip {
            target: target.clone(),
            term: counting.term(target),
            reason: event.name(),
            evidence: format!(
                "{sum} × {} within {} s, {place}{}",
                event.name(),
                within.as_secs_f64(),
                if hidden { "; the address stands for many clients" } else { "" }
            ),
            message: message.clone(),
            dry_run: *dry_run || hidden,
        });
    }
}

impl Sink for Rules {
    fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        self.see(subject, event, Instant::now());
    }
}

impl Rule {
    /// Whom the rule would ban for what this client did.
    fn target(&self, ip: Option<IpAddr>, user: Option<&str>, house: &dyn House) -> Option<Target> {
        let spared = |user: &&str| !house.spares_user(user) && user.len() <= super::ban::TEXT;
        match self.scope {
            Scope::Host => ip.map(Target::host),
            Scope::User => user.filter(spared).map(|user| Target::User(user.into())),
            Scope::UserAtHost => Some(Target::UserAtHost(user.filter(spared)?.into(), host(ip?))),
            Scope::Class => house.class_of(ip?).map(Target::Class),
        }
    }
}

impl Counting {
    fn new(rule: Rule) -> Self {
        let text = format!("{} {} {:?} {:?}", rule.event.name(), rule.count, rule.within, rule.scope);
        let id = Sha256::digest(text).iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
        let windows = Mutex::new(Windows::new(rule.within, Instant::now()));
        Self { rule, id, windows, repeats: Mutex::default(), counted: AtomicU64::new(0), tripped: AtomicU64::new(0) }
    }

    /// How long the next ban of this target lasts.
    fn term(&self, target: &Target) -> Term {
        let (Term::For(first), Some(Escalate { factor, max })) = (self.rule.ban, self.rule.escalate) else { return self.rule.ban };
        let times = lock(&self.repeats).get(target).map_or(0, |(times, _)| *times);
        let grown = factor.checked_pow(times).and_then(|factor| first.checked_mul(factor)).unwrap_or(max);
        Term::For(grown.min(max))
    }

    fn remember(&self, ban: &Ban) {
        let Some(Escalate { max, .. }) = self.rule.escalate else { return };
        let mut repeats = lock(&self.repeats);
        if repeats.len() >= REPEATS {
            // Those whose time is over, or else everybody: who comes again begins with the first term.
            repeats.retain(|_, (_, until)| *until > ban.created);
            if repeats.len() >= REPEATS {
                repeats.clear();
            }
        }
        let (times, until) = repeats.entry(ban.target.clone()).or_default();
        *times = if *until < ban.created { 1 } else { times.saturating_add(1) };
        *until = ban.ends.saturating_add(u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rules({})", self.0.rules.load().len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Targets that wait to be told to other nodes.
const PENDING: usize = 8_192;
/// Targets that a rule with `escalate` remembers.
const REPEATS: usize = 32_768;

#[cfg(test)]
mod tests;
