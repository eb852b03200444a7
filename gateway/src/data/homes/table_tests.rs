//! What a home promises, by examples and by thousands of random steps against a model.
//!
//! Gets: nothing. Gives: a verdict. Never: time that is not told to the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::observe::id::Ulid;
use crate::tls::Family;

fn someone(user: &str, last: u8) -> Client {
    Client { user: user.into(), ip: IpAddr::from([192, 0, 2, last]), fingerprint: [last; 32], family: Family(Ulid::now()) }
}

fn keepsake(number: u32) -> Keepsake {
    Arc::new(number)
}

fn number(keepsake: &Keepsake) -> u32 {
    *keepsake.downcast_ref().unwrap()
}

fn everything(digest: u64, serial: u64, sessions: Vec<Told>) -> Everything {
    Everything { digest, silent: Vec::new(), serial, sessions, leases: Vec::new() }
}

#[test]
fn the_first_session_is_told_when_the_second_comes_and_only_then() {
    let (mut table, now) = (Table::default(), Instant::now());
    let (a, b) = (Incarnation::now(), Incarnation::now());
    let [one, two, three, other] = [0; 4].map(|_| SessionId::now());
    assert_eq!(table.join(a, one, someone("u", 1), now), (false, Vec::new()));
    assert_eq!(table.join(a, other, someone("v", 1), now), (false, Vec::new()), "another user");
    assert_eq!(table.join(b, two, someone("u", 1), now), (true, vec![(a, one)]));
    assert_eq!(table.join(b, three, someone("u", 1), now), (true, Vec::new()), "all know it");
}

#[test]
fn a_port_has_one_holder_and_who_asked_first_goes_first() {
    let (mut table, now, node) = (Table::default(), Instant::now(), Incarnation::now());
    let sessions = [0; 3].map(|_| SessionId::now());
    sessions.iter().for_each(|session| drop(table.join(node, *session, someone("u", 1), now)));
    let slot = table.slot_of(sessions[0]).unwrap();
    let claim = |place: usize, serial| Claim { node, session: sessions[place], serial };
    assert_eq!(table.reserve(slot, claim(0, 1), &[9], now), Some(9));
    assert_eq!(table.reserve(slot, claim(1, 2), &[9], now), None);
    assert_eq!(table.reserve(slot, claim(2, 3), &[9], now), None);
    table.let_go(sessions[0], Some(7));
    assert_eq!(table.reserve(slot, claim(1, 2), &[9], now), None, "a release of another wait");
    table.let_go(sessions[0], Some(1));
    assert_eq!(table.reserve(slot, claim(2, 3), &[9], now), None, "the other one asked first");
    assert_eq!(table.reserve(slot, claim(1, 2), &[9], now), Some(9));
    table.let_go(sessions[1], None);
    assert_eq!(table.reserve(slot, claim(2, 3), &[9], now), Some(9));
    // Who does not ask again loses the place.
    assert_eq!(table.reserve(slot, claim(0, 4), &[9], now), None);
    table.let_go(sessions[2], None);
    assert_eq!(table.reserve(slot, claim(1, 5), &[9], now), None);
    assert_eq!(table.reserve(slot, claim(1, 5), &[9], now + PLACE), Some(9));
}

#[test]
fn what_ended_sessions_leave_is_for_their_own_client_and_ends_with_it() {
    let (mut table, now, node) = (Table::default(), Instant::now(), Incarnation::now());
    let [one, two, other] = [0; 3].map(|_| SessionId::now());
    table.join(node, one, someone("u", 1), now);
    table.join(node, two, someone("u", 1), now);
    table.join(node, other, someone("v", 1), now);
    assert!(table.leave(one, Some(keepsake(1))).is_empty(), "it is kept");
    assert_eq!(table.left_by(one, &someone("u", 1)).as_ref().map(number), Some(1));
    assert!(table.left_by(one, &someone("v", 1)).is_none() && table.left_by(one, &someone("u", 2)).is_none());
    assert_eq!(table.stand_in(one), Some((node, two)));
    assert_eq!(table.departed().len(), 1);
    assert_eq!(table.leave(two, None).iter().map(number).collect::<Vec<_>>(), [1]);
    assert!(table.left_by(one, &someone("u", 1)).is_none() && table.stand_in(one).is_none());
    for count in 0..DEPARTED as u32 + 5 {
        let session = SessionId::now();
        table.join(node, session, someone("v", 1), now);
        table.leave(session, Some(keepsake(count)));
    }
    assert_eq!(table.departed().len(), DEPARTED);
}

#[test]
fn a_home_waits_for_its_members_but_not_for_ever() {
    let (mut table, now) = (Table::default(), Instant::now());
    let nodes = [0; 2].map(|_| Incarnation::now());
    table.set_members(1, &nodes, now);
    assert!(!table.is_settled(now));
    table.replace(nodes[0], everything(1, 0, Vec::new()), now);
    assert!(!table.is_settled(now));
    table.replace(nodes[1], everything(2, 0, Vec::new()), now);
    assert!(!table.is_settled(now), "it sees others");
    assert!(table.is_settled(now + SETTLE));
    assert!(table.agrees(1, now + SETTLE) && !table.agrees(2, now + SETTLE), "who sees other homes may be at the wrong one");
    table.replace(nodes[1], everything(1, 0, Vec::new()), now);
    assert!(table.is_settled(now));
}

#[test]
fn what_a_node_tells_anew_replaces_what_is_older_and_nothing_newer() {
    let (mut table, now, node) = (Table::default(), Instant::now(), Incarnation::now());
    let [old, new] = [0; 2].map(|_| SessionId::now());
    let later = now + UNDER_WAY;
    table.join(node, old, someone("u", 1), now);
    table.join(node, new, someone("u", 1), later);
    let slot = table.slot_of(old).unwrap();
    table.reserve(slot, Claim { node, session: old, serial: 3 }, &[1], now);
    table.reserve(slot, Claim { node, session: new, serial: 9 }, &[2], now);
    table.replace(node, everything(0, 5, Vec::new()), later);
    assert!(table.slot_of(old).is_none() && table.slot_of(new).is_some());
    let ports: BTreeSet<u16> = table.held.keys().map(|(_, port)| *port).collect();
    assert_eq!(ports, BTreeSet::from([2]));
}

#[test]
fn nothing_is_left_of_a_node_that_is_gone() {
    let (mut table, now) = (Table::default(), Instant::now());
    let [a, b] = [0; 2].map(|_| Incarnation::now());
    table.set_members(1, &[a, b], now);
    let session = SessionId::now();
    table.join(b, session, someone("u", 1), now);
    table.reserve(table.slot_of(session).unwrap(), Claim { node: b, session, serial: 1 }, &[1], now);
    table.reserve(Slot::Address(IpAddr::from([192, 0, 2, 1])), Claim { node: b, session: SessionId::now(), serial: 2 }, &[1], now);
    table.set_members(2, &[a], now);
    assert!(table.sessions.is_empty() && table.held.is_empty() && table.holds.is_empty() && table.of_client.is_empty());
}

/// What the table should know.
struct World {
    table: Table,
    now: Instant,
    random: u64,
    nodes: Vec<Incarnation>,
    living: BTreeMap<SessionId, (Incarnation, usize)>,
    granted: BTreeMap<SessionId, u16>,
}

impl World {
    fn below(&mut self, most: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % most
    }

    fn step(&mut self, step: u64) {
        self.now += Duration::from_millis(20);
        let place = self.below(self.living.len().max(1));
        let picked = self.living.keys().nth(place).copied();
        match (self.below(10), picked) {
            (0..=2, _) => self.join(),
            (3, Some(session)) => {
                self.table.leave(session, Some(keepsake(1)));
                self.living.remove(&session);
                self.granted.remove(&session);
            }
            (4..=6, Some(session)) => self.reserve(session, step),
            (7, Some(session)) => {
                self.table.let_go(session, None);
                self.granted.remove(&session);
            }
            (8, _) if step.is_multiple_of(7) => self.replace_node(step),
            (9, _) => self.tell_anew(step),
            _ => {}
        }
    }

    fn join(&mut self) {
        let (user, place) = (self.below(3), self.below(self.nodes.len()));
        let (session, node) = (SessionId::now(), self.nodes[place]);
        self.table.join(node, session, someone(&format!("u{user}"), 1), self.now);
        self.living.insert(session, (node, user));
    }

    fn reserve(&mut self, session: SessionId, step: u64) {
        let (node, user) = self.living[&session];
        let slot = self.table.slot_of(session).unwrap();
        self.granted.remove(&session);
        if let Some(port) = self.table.reserve(slot, Claim { node, session, serial: step }, &[1, 2, 3], self.now) {
            let clash = self.granted.iter().any(|(other, taken)| *taken == port && self.living[other].1 == user);
            assert!(!clash, "two sessions of one client have a port");
            self.granted.insert(session, port);
        }
    }

    fn replace_node(&mut self, step: u64) {
        let place = self.below(self.nodes.len());
        let dead = std::mem::replace(&mut self.nodes[place], Incarnation::now());
        self.table.set_members(step, &self.nodes, self.now);
        self.living.retain(|_, (node, _)| *node != dead);
        self.granted.retain(|session, _| self.living.contains_key(session));
    }

    fn tell_anew(&mut self, step: u64) {
        let place = self.below(self.nodes.len());
        let node = self.nodes[place];
        let told = |(session, (_, user)): (&SessionId, &(Incarnation, usize))| Told {
            session: *session,
            client: someone(&format!("u{user}"), 1),
            company: true,
            wait: self.granted.get(session).map(|port| (step, *port)),
        };
        let sessions = self.living.iter().filter(|(_, (of, _))| *of == node).map(told).collect();
        self.table.replace(node, everything(step, step, sessions), self.now);
    }

    fn check(&self) {
        let table = &self.table;
        assert_eq!(table.sessions.keys().copied().collect::<BTreeSet<_>>(), self.living.keys().copied().collect());
        assert_eq!(table.held.len(), self.granted.len());
        assert!(table.held.iter().all(|((_, port), claim)| self.granted.get(&claim.session) == Some(port)));
        assert_eq!(table.holds.values().map(Vec::len).sum::<usize>(), table.held.len());
        assert!(table.departed_of.len() <= DEPARTED * 3);
    }
}

/// Random joins, leaves, wishes, releases, node deaths and retellings; after each step no port has two holders of one client, every holder lives, and what is
/// indexed twice agrees.
#[test]
fn thousands_of_random_steps_keep_every_promise() {
    for run in 0..60 {
        let nodes: Vec<Incarnation> = (0..3).map(|_| Incarnation::now()).collect();
        let (table, living, granted) = (Table::default(), BTreeMap::new(), BTreeMap::new());
        let mut world = World { table, now: Instant::now(), random: run, nodes, living, granted };
        world.table.set_members(u64::MAX, &world.nodes, world.now);
        for step in 0..400 {
            world.step(step);
            world.check();
        }
        let World { mut table, living, .. } = world;
        living.keys().for_each(|session| drop(table.leave(*session, None)));
        assert!(table.departed.is_empty() && table.departed_of.is_empty() && table.held.is_empty() && table.queues.len() <= 3);
    }
}
