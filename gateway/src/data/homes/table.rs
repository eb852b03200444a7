//! What a home knows: the sessions of its clients, wherever they live, who waits on which port, and what ended ones have left.
//!
//! Gets: what nodes say of their sessions, the time. Gives: at most one holder of (client, port) and of (address, port); who is to be told of company.
//! Never: grants while a member may hold what it has not told yet, keeps anything of a node that is gone, grows beyond what it is told and its caps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::words::Everything;
use crate::data::clients::{Client, Clients};
use crate::data::waits::{ClientKey, Keepsake};
use crate::observe::id::{Incarnation, SessionId};

/// What is held at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// Ports of one client: its TLS sessions prove it, the port chooses the session.
    Client(ClientKey),
    /// Ports of one address, for connections without proof.
    Address(IpAddr),
}

/// A session's claim to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) node: Incarnation,
    pub(super) session: SessionId,
    /// Numbers the waits of a node, so that a late release ends nothing newer.
    pub(super) serial: u64,
}

/// A session as its node tells it anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) session: SessionId,
    pub(super) client: Client,
    /// It knows that others of its client live.
    pub(super) company: bool,
    /// The number of its wait and the port.
    pub(super) wait: Option<(u64, u16)>,
}

/// A lease as its node tells it anew.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Leased {
    pub(super) session: SessionId,
    pub(super) ip: IpAddr,
    pub(super) serial: u64,
    pub(super) port: u16,
}

/// Sessions that are to be told that they have company, with their nodes.
pub(super) type Untold = Vec<(Incarnation, SessionId)>;

#[derive(Debug, Default)]
pub(super) struct Table {
    sessions: HashMap<SessionId, Entry>,
    of_client: HashMap<ClientKey, Vec<SessionId>>,
    clients: Clients,
    departed: HashMap<ClientKey, VecDeque<(SessionId, Keepsake)>>,
    departed_of: HashMap<SessionId, ClientKey>,
    held: HashMap<(Slot, u16), Claim>,
    holds: HashMap<SessionId, Vec<(Slot, u16)>>,
    queues: HashMap<Slot, VecDeque<(SessionId, Instant)>>,
    view: View,
}

#[derive(Debug)]
struct Entry {
    node: Incarnation,
    client: ClientKey,
    who: Client,
    told: bool,
    since: Instant,
}

/// The members that may hold something, and whether they have said so.
#[derive(Debug, Default)]
struct View {
    digest: u64,
    members: Vec<Incarnation>,
    changed: Option<Instant>,
    /// The view for which each member has told everything.
    told: HashMap<Incarnation, u64>,
}

impl Table {
    /// The members are these now; `digest` names the set of those that are homes. What gone ones held is free. Whether anything has changed.
    pub(super) fn set_members(&mut self, digest: u64, members: &[Incarnation], now: Instant) -> bool {
        if self.view.digest == digest && self.view.members == members {
            return false;
        }
        let gone: HashSet<Incarnation> = self.view.members.iter().filter(|one| !members.contains(one)).copied().collect();
        if self.view.digest != digest {
            self.view.changed = Some(now);
        }
        (self.view.digest, self.view.members) = (digest, members.to_vec());
        self.view.told.retain(|node, _| members.contains(node));
        if gone.is_empty() {
            return true;
        }
        let lost: Vec<SessionId> = self.sessions.iter().filter(|(_, entry)| gone.contains(&entry.node)).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|session| drop(self.leave(session, None)));
        let held: Vec<SessionId> = self.held.values().filter(|claim| gone.contains(&claim.node)).map(|claim| claim.session).collect();
        held.into_iter().for_each(|session| self.let_go(session, None));
        true
    }

    /// Whether what is granted to one that sees these homes is known to be free: it asks the right home, which knows what all the others hold.
    pub(super) fn agrees(&self, digest: u64, now: Instant) -> bool {
        self.sees(digest) && self.is_settled(now)
    }

    /// Whether these are the homes.
    pub(super) fn sees(&self, digest: u64) -> bool {
        self.view.digest == digest
    }

    /// Whether no member can hold something that is not known here.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        let told = |node: &Incarnation| self.view.told.get(node) == Some(&self.view.digest);
        self.view.members.iter().all(told) || self.view.changed.is_none_or(|changed| now.saturating_duration_since(changed) >= SETTLE)
    }

    /// A session begins. Gives whether others of its client live, and those of them that do not know it yet.
    pub(super) fn join(&mut self, node: Incarnation, session: SessionId, who: Client, now: Instant) -> (bool, Untold) {
        if !self.sessions.contains_key(&session) {
            let client = self.clients.join(session, &who);
            self.sessions.insert(session, Entry { node, client, who, told: false, since: now });
            self.of_client.entry(client).or_default().push(session);
        }
        let untold = self.untold(session);
        let company = self.sessions.get(&session).is_some_and(|entry| self.of_client.get(&entry.client).is_some_and(|all| all.len() > 1));
        (company, untold)
    }

    /// Those of its client that do not know of one another; they count as told from now on. The session itself learns it from the answer.
    fn untold(&mut self, session: SessionId) -> Untold {
        let Some(all) = self.sessions.get(&session).and_then(|entry| self.of_client.get(&entry.client)).filter(|all| all.len() > 1) else { return Vec::new() };
        let mut untold = Vec::new();
        for other in all {
            if let Some(entry) = self.sessions.get_mut(other)
                && !std::mem::replace(&mut entry.told, true)
                && *other != session
            {
                untold.push((entry.node, *other));
            }
        }
        untold
    }

    /// A session has ended; what proves it is kept while others of its client live. Gives what is kept no longer.
    pub(super) fn leave(&mut self, session: SessionId, keepsake: Option<Keepsake>) -> Vec<Keepsake> {
        self.let_go(session, None);
        let Some(Entry { client, who, .. }) = self.sessions.remove(&session) else { return keepsake.into_iter().collect() };
        self.clients.leave(session, &who);
        if let Some(all) = self.of_client.get_mut(&client) {
            all.retain(|other| *other != session);
            if !all.is_empty() {
                return self.keep(client, session, keepsake);
            }
            self.of_client.remove(&client);
        }
        self.queues.remove(&Slot::Client(client));
        let departed = self.departed.remove(&client).unwrap_or_default();
        let forget = |(session, keepsake)| (self.departed_of.remove(&session), keepsake).1;
        departed.into_iter().map(forget).chain(keepsake).collect()
    }

    /// Keeps what a session of a living client has left; for one that was handed over by another home as well.
    pub(super) fn keep(&mut self, client: ClientKey, session: SessionId, keepsake: Option<Keepsake>) -> Vec<Keepsake> {
        let Some(keepsake) = keepsake else { return Vec::new() };
        if self.departed_of.len() >= DEPARTED_IN_ALL || self.departed_of.contains_key(&session) {
            return vec![keepsake];
        }
        let departed = self.departed.entry(client).or_default();
        departed.push_back((session, keepsake));
        self.departed_of.insert(session, client);
        let oldest = if departed.len() > DEPARTED { departed.pop_front() } else { None };
        oldest.into_iter().map(|(session, keepsake)| (self.departed_of.remove(&session), keepsake).1).collect()
    }

    /// The key of this client, if a session of it lives.
    pub(super) fn find(&self, client: &Client) -> Option<ClientKey> {
        self.clients.find(client)
    }

    /// What proves an ended session, for one of the same client.
    pub(super) fn left_by(&self, session: SessionId, client: &Client) -> Option<Keepsake> {
        let key = self.departed_of.get(&session).filter(|key| self.clients.find(client) == Some(**key))?;
        self.departed.get(key)?.iter().find(|(id, _)| *id == session).map(|(_, keepsake)| keepsake.clone())
    }

    /// A living session of the client of an ended one.
    pub(super) fn stand_in(&self, ended: SessionId) -> Option<(Incarnation, SessionId)> {
        let living = self.of_client.get(self.departed_of.get(&ended)?)?.first()?;
        self.sessions.get(living).map(|entry| (entry.node, *living))
    }

    /// Everything that ended sessions have left, with a living client each: for the next home.
    pub(super) fn departed(&self) -> Vec<(Client, SessionId, Keepsake)> {
        let who = |key: &ClientKey| self.of_client.get(key)?.first().and_then(|living| self.sessions.get(living)).map(|entry| entry.who.clone());
        let of = |(key, all): (&ClientKey, &VecDeque<(SessionId, Keepsake)>)| {
            who(key).into_iter().flat_map(|who| all.iter().map(move |(id, keepsake)| (who.clone(), *id, keepsake.clone()))).collect::<Vec<_>>()
        };
        self.departed.iter().flat_map(of).collect()
    }

    /// Who leases a port for connections without proof from this address.
    pub(super) fn lessee(&self, ip: IpAddr, port: u16) -> Option<(Incarnation, SessionId)> {
        self.held.get(&(Slot::Address(ip), port)).map(|claim| (claim.node, claim.session))
    }

    /// The slot of a session that has joined here.
    pub(super) fn slot_of(&self, session: SessionId) -> Option<Slot> {
        self.sessions.get(&session).map(|entry| Slot::Client(entry.client))
    }

    /// The first of `ports` that nobody else holds in this slot; an earlier one of the session is given up. Who asked first goes first: `None` when none is free,
    /// or as many as are free were asked for before. Ask again within a second, or lose the place.
    pub(super) fn reserve(&mut self, slot: Slot, claim: Claim, ports: &[u16], now: Instant) -> Option<u16> {
        self.let_go_of(claim.session, |(held, _)| *held == slot);
        let free: Vec<u16> = ports.iter().copied().filter(|port| !self.held.contains_key(&(slot, *port))).collect();
        let queue = self.queues.entry(slot).or_default();
        queue.retain(|(session, seen)| *session == claim.session || now.saturating_duration_since(*seen) < PLACE);
        let place = queue.iter().position(|(session, _)| *session == claim.session).unwrap_or(queue.len());
        if place < free.len() {
            queue.retain(|(session, _)| *session != claim.session);
            if queue.is_empty() {
                self.queues.remove(&slot);
            }
            self.hold(slot, free[0], claim);
            return Some(free[0]);
        }
        if let Some(mine) = queue.get_mut(place) {
            mine.1 = now;
        } else if queue.len() < QUEUE {
            queue.push_back((claim.session, now));
        }
        None
    }

    /// Ends the claims of a session: all, or those of one number.
    pub(super) fn let_go(&mut self, session: SessionId, serial: Option<u64>) {
        let mine =
            |held: &HashMap<(Slot, u16), Claim>, key: &(Slot, u16)| held.get(key).is_some_and(|claim| serial.is_none_or(|serial| claim.serial == serial));
        let ended: Vec<_> = self.holds.get(&session).into_iter().flatten().filter(|key| mine(&self.held, key)).copied().collect();
        self.let_go_of(session, |key| ended.contains(key));
    }

    fn let_go_of(&mut self, session: SessionId, which: impl Fn(&(Slot, u16)) -> bool) {
        let Some(holds) = self.holds.get_mut(&session) else { return };
        let held = &mut self.held;
        holds.retain(|key| {
            if which(key) {
                held.remove(key);
            }
            !which(key)
        });
        if holds.is_empty() {
            self.holds.remove(&session);
        }
    }

    fn hold(&mut self, slot: Slot, port: u16, claim: Claim) {
        self.held.insert((slot, port), claim);
        self.holds.entry(claim.session).or_default().push((slot, port));
    }

    /// A session that has learned of company says what it waits for. Who is told second may wait on the port of another one already: then nobody gets in the
    /// other's way, since an arrival asks all nodes and is given to none of two.
    pub(super) fn note(&mut self, session: SessionId, serial: u64, port: u16) {
        let Some((node, slot)) = self.sessions.get(&session).map(|entry| (entry.node, Slot::Client(entry.client))) else { return };
        self.let_go_of(session, |(held, _)| *held == slot);
        if !self.held.contains_key(&(slot, port)) {
            self.hold(slot, port, Claim { node, session, serial });
        }
    }

    /// Everything that a node has with this home, in place of what was known of it. Gives who is to be told of company.
    pub(super) fn replace(&mut self, node: Incarnation, all: Everything, now: Instant) -> Untold {
        let Everything { digest, serial, sessions, leases, .. } = all;
        let named: HashSet<SessionId> = sessions.iter().map(|told| told.session).collect();
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.since) >= UNDER_WAY;
        let ended: Vec<SessionId> =
            self.sessions.iter().filter(|(id, entry)| entry.node == node && !named.contains(*id) && is_old(entry)).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|session| drop(self.leave(session, None)));
        let former = self.held.values().filter(|claim| claim.node == node && claim.serial <= serial);
        let former: Vec<(SessionId, u64)> = former.map(|claim| (claim.session, claim.serial)).collect();
        former.into_iter().for_each(|(session, serial)| self.let_go(session, Some(serial)));
        let mut untold = Vec::new();
        for Told { session, client, company, wait } in sessions {
            let (_, others) = self.join(node, session, client, now);
            untold.extend(others);
            if let Some(entry) = self.sessions.get_mut(&session) {
                let crowd = self.of_client.get(&entry.client).is_some_and(|all| all.len() > 1);
                if crowd && !company {
                    untold.push((node, session));
                }
                entry.told = company || crowd;
            }
            if let Some((serial, port)) = wait.filter(|_| !self.holds.contains_key(&session)) {
                self.note(session, serial, port);
            }
        }
        for lease in leases {
            let slot = Slot::Address(lease.ip);
            if !self.held.contains_key(&(slot, lease.port)) {
                self.hold(slot, lease.port, Claim { node, session: lease.session, serial: lease.serial });
            }
        }
        self.view.told.insert(node, digest);
        untold
    }
}

/// After a change of members, until nobody is waited for any more.
const SETTLE: Duration = Duration::from_secs(2);
/// What a node tells is not older than that.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// How long a place in the queue is kept without a question.
const PLACE: Duration = Duration::from_secs(1);
/// Places in the queue of one slot; who comes later has none and is served when the queue is shorter.
const QUEUE: usize = 1024;
/// Ended sessions of one client whose proof is held.
const DEPARTED: usize = 32;
/// Of all clients of a home.
const DEPARTED_IN_ALL: usize = 16_384;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
