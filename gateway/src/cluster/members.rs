//! Who belongs to the cluster now: decided from who called, who answered and who said goodbye.
//!
//! Gets: calls and answers of nodes, addresses heard of, the time. Gives: the live members, and what changed, each change once.
//! Never: makes a member of hearsay. What others say of a node is an address to call; only the node itself shows that it lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::observe::id::Incarnation;
use crate::observe::peers::Departure;

/// One node, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `node.name`.
    pub name: String,
    /// This start of it.
    pub incarnation: Incarnation,
    /// Where its peers reach it.
    pub address: SocketAddr,
    /// It drains: it takes no new sessions.
    pub draining: bool,
    /// The version of its program.
    pub version: String,
    /// The lines of the secret file that it holds, by their public names, in its order.
    pub lines: Vec<String>,
    /// Whether it answers at its address. What it says of itself is not asked.
    #[serde(skip, default = "yes")]
    pub reachable: bool,
}

/// What a node says in a heartbeat, and what it answers to one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) me: Member,
    /// Members that it knows; to the others, addresses to call.
    pub(super) known: Vec<Member>,
    /// Its clock, in Unix ms.
    pub(super) clock: u64,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Joined(Member),
    Left(Member, Departure),
    /// It lives, for it calls, but does not answer at its address.
    Unreachable(Member),
    Reachable(Member),
    /// Two living nodes have one name.
    Twins(Member, Member),
    /// Two living nodes say the same address: the second one is not taken.
    Clash(Member, Member),
    /// It drains, or holds other secrets: nothing to say, but those who watch are told.
    Facts,
}

/// All that this node knows of the others.
#[derive(Debug)]
pub(super) struct Members {
    me: Member,
    others: BTreeMap<Incarnation, Known>,
    gone: HashMap<Incarnation, Gone>,
    /// Addresses heard of, and until when they are called.
    hints: HashMap<SocketAddr, Instant>,
    /// Addresses of `cluster.peers` and of the store: called as long as they are listed.
    listed: BTreeSet<SocketAddr>,
    /// Addresses at which this node itself answered.
    mine: HashMap<SocketAddr, Instant>,
    /// When an address was called last.
    called: HashMap<SocketAddr, Instant>,
    said: BTreeSet<(Incarnation, Incarnation)>,
    ticked: Instant,
}

#[derive(Debug)]
struct Known {
    member: Member,
    first: Instant,
    heard: Instant,
    answered: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Gone {
    since: Instant,
    /// It comes back with a call or an answer of its own: it was only silent.
    may_return: bool,
}

impl Members {
    /// Nobody else is known.
    pub(super) fn new(me: Member, now: Instant) -> Self {
        let mine = HashMap::from([(me.address, now + FOREVER)]);
        let (others, gone, hints, called) = (BTreeMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self { me, others, gone, hints, listed: BTreeSet::new(), mine, called, said: BTreeSet::new(), ticked: now }
    }

    /// This node.
    pub(super) fn me(&self) -> &Member {
        &self.me
    }

    /// Changes what this node says of itself.
    pub(super) fn set_me(&mut self, change: impl FnOnce(&mut Member)) {
        change(&mut self.me);
    }

    /// The live members, this node among them, oldest start first.
    pub(super) fn live(&self) -> Vec<Member> {
        let mut all: Vec<_> = self.others.values().map(|known| known.member.clone()).chain([self.me.clone()]).collect();
        all.sort_by_key(|member| member.incarnation);
        all
    }

    /// What this node says in a heartbeat.
    pub(super) fn beat(&self, clock: u64) -> Beat {
        let known = self.others.values().filter(|known| known.member.reachable).take(MOST).map(|known| known.member.clone()).collect();
        Beat { me: self.me.clone(), known, clock }
    }

    /// The addresses that are called whether anybody is there or not. Gives whether there are others than before.
    pub(super) fn list(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> bool {
        let listed = addresses.into_iter().take(MOST).collect();
        std::mem::replace(&mut self.listed, listed) != self.listed
    }

    /// Addresses that the store's list names: called for a while. Gives whether one is new.
    pub(super) fn hint(&mut self, addresses: &[SocketAddr], now: Instant) -> bool {
        let mut new = false;
        for address in addresses {
            let room = self.hints.len() < MOST;
            if self.hints.contains_key(address) || room {
                new |= self.hints.insert(*address, now + HINT).is_none();
            }
        }
        new
    }

    /// Addresses to call now: members at each beat, others every two seconds.
    pub(super) fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let members: BTreeSet<_> = self.others.values().map(|known| known.member.address).collect();
        self.mine.retain(|_, until| *until > now);
        let others = self.listed.iter().chain(self.hints.keys()).copied().filter(|address| !members.contains(address) && !self.mine.contains_key(address));
        let rested =
            others.filter(|address| self.called.get(address).is_none_or(|last| now.saturating_duration_since(*last) >= SEARCH)).collect::<BTreeSet<_>>();
        let all: Vec<_> = members.iter().chain(&rested).copied().collect();
        self.called.retain(|_, last| now.saturating_duration_since(*last) < SEARCH);
        self.called.extend(all.iter().map(|address| (*address, now)));
        all
    }

    /// `beat` is what a node said when it was called at `address`.
    pub(super) fn answered(&mut self, address: SocketAddr, beat: &Beat, now: Instant) -> Vec<Change> {
        if beat.me.incarnation == self.me.incarnation {
            self.mine.insert(address, now + FORGET * 8);
            return Vec::new();
        }
        self.mine.remove(&address);
        let mut changes = self.heard(&beat.me, now);
        if let Some(known) = self.others.get_mut(&beat.me.incarnation).filter(|known| known.member.address == address) {
            known.answered = Some(now);
            if !std::mem::replace(&mut known.member.reachable, true) {
                changes.push(Change::Reachable(known.member.clone()));
            }
        }
        self.learn(beat, now);
        changes
    }

    /// `beat` is what a node said when it called us.
    pub(super) fn called(&mut self, beat: &Beat, now: Instant) -> Vec<Change> {
        if beat.me.incarnation == self.me.incarnation {
            return Vec::new();
        }
        let changes = self.heard(&beat.me, now);
        self.learn(beat, now);
        changes
    }

    /// A node said goodbye.
    pub(super) fn left(&mut self, incarnation: Incarnation, now: Instant) -> Vec<Change> {
        self.remove(incarnation, Departure::Left, now).into_iter().collect()
    }

    /// Time passes: who is silent is forgotten.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Change> {
        let pause = now.saturating_duration_since(std::mem::replace(&mut self.ticked, now));
        if pause > STALLED {
            // It was this node that stood still; nobody else is silent for that.
            for known in self.others.values_mut() {
                known.heard += pause;
                known.first += pause;
                known.answered = known.answered.map(|answered| answered + pause);
            }
        }
        self.gone.retain(|_, gone| now.saturating_duration_since(gone.since) < REMEMBER);
        self.hints.retain(|_, until| *until > now);
        let silent: Vec<_> = self.others.iter().filter(|(_, known)| now.saturating_duration_since(known.heard) >= FORGET).map(|(id, _)| *id).collect();
        let mut changes: Vec<_> = silent.into_iter().filter_map(|id| self.remove(id, Departure::Silent, now)).collect();
        for known in self.others.values_mut().filter(|known| known.member.reachable) {
            if now.saturating_duration_since(known.answered.unwrap_or(known.first)) >= FORGET * 2 {
                known.member.reachable = false;
                changes.push(Change::Unreachable(known.member.clone()));
            }
        }
        changes.extend(self.twins(now));
        changes
    }

    /// The node shows that it lives.
    fn heard(&mut self, member: &Member, now: Instant) -> Vec<Change> {
        let id = member.incarnation;
        if self.gone.get(&id).is_some_and(|gone| !gone.may_return) {
            return Vec::new();
        }
        if let Some(known) = self.others.get_mut(&id) {
            known.heard = now;
            let said = Member { reachable: known.member.reachable, ..member.clone() };
            return if std::mem::replace(&mut known.member, said.clone()) == said { Vec::new() } else { vec![Change::Facts] };
        }
        let mut changes = Vec::new();
        let there = self.others.values().find(|known| known.member.address == member.address).map(|known| known.member.clone());
        if let Some(there) = there {
            // The later start took the address over; the former cannot have it any more.
            if there.incarnation > id {
                return if self.said.insert((there.incarnation, id)) { vec![Change::Clash(there, member.clone())] } else { Vec::new() };
            }
            changes.extend(self.remove(there.incarnation, Departure::Replaced, now));
        }
        if self.others.len() >= MOST {
            return changes;
        }
        self.gone.remove(&id);
        let member = Member { reachable: true, ..member.clone() };
        self.others.insert(id, Known { member: member.clone(), first: now, heard: now, answered: None });
        changes.push(Change::Joined(member));
        changes
    }

    fn learn(&mut self, beat: &Beat, now: Instant) {
        for member in beat.known.iter().take(MOST) {
            let known =
                member.incarnation == self.me.incarnation || self.others.contains_key(&member.incarnation) || self.gone.contains_key(&member.incarnation);
            if !known && self.hints.len() < MOST {
                self.hints.insert(member.address, now + HINT);
            }
        }
    }

    fn remove(&mut self, id: Incarnation, why: Departure, now: Instant) -> Option<Change> {
        let known = self.others.remove(&id);
        let may_return = why == Departure::Silent;
        if may_return && let Some(known) = &known {
            // It may only have been cut off: it is looked for.
            self.hints.insert(known.member.address, now + REMEMBER);
        }
        self.gone.insert(id, Gone { since: now, may_return });
        self.said.retain(|(a, b)| *a != id && *b != id);
        known.map(|known| Change::Left(known.member, why))
    }

    /// Two that live side by side for a while, not one that follows the other.
    fn twins(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let settled = |known: &&Known| now.saturating_duration_since(known.first) >= FORGET * 2 && now.saturating_duration_since(known.heard) < FORGET / 2;
        let settled: Vec<&Member> = self.others.values().filter(settled).map(|known| &known.member).chain([&self.me]).collect();
        for (place, one) in settled.iter().enumerate() {
            for other in &settled[place + 1..] {
                let pair = (one.incarnation.min(other.incarnation), one.incarnation.max(other.incarnation));
                if one.name == other.name && self.said.insert(pair) {
                    changes.push(Change::Twins((*one).clone(), (*other).clone()));
                }
            }
        }
        changes
    }
}

fn yes() -> bool {
    true
}

/// How often a node calls the members.
pub(super) const BEAT: Duration = Duration::from_millis(500);
/// Silence after which a member is forgotten.
pub(super) const FORGET: Duration = Duration::from_secs(4);
/// How often an address is called at which nobody was found.
const SEARCH: Duration = Duration::from_secs(2);
/// How long an address that others told is called.
const HINT: Duration = Duration::from_secs(60);
/// How long it is remembered that a node is gone, and a silent one is looked for.
const REMEMBER: Duration = Duration::from_secs(600);
/// A pause between two ticks after which this node was the one that was silent.
const STALLED: Duration = Duration::from_millis(1500);
/// Members of a cluster; beats stay bounded.
const MOST: usize = 256;
const FOREVER: Duration = Duration::from_secs(1 << 30);

#[cfg(test)]
mod tests;
