//! Membership over time, without a socket: joins, silence, returns, goodbyes, doubles.
//!
//! Gets: calls and answers at times of the test's choice. Gives: who is a member, and what was said.
//! Never: sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::observe::id::Ulid;

fn node(number: u8, start: u8) -> Member {
    let mut id = [0; 16];
    (id[5], id[15]) = (start, number);
    Member {
        name: format!("node-{number}"),
        incarnation: Incarnation(Ulid::from_bytes(id)),
        address: SocketAddr::from(([192, 0, 2, number], 7121)),
        draining: false,
        version: "1".into(),
        lines: Vec::new(),
        reachable: true,
    }
}

fn beat(me: &Member, known: &[&Member]) -> Beat {
    Beat { me: me.clone(), known: known.iter().map(|member| (*member).clone()).collect(), clock: 0 }
}

fn names(members: &Members) -> Vec<String> {
    members.live().iter().map(|member| member.name.to_string()).collect()
}

/// Calls `other` twice a second for `how_long`.
fn keep(members: &mut Members, other: &Member, from: Instant, how_long: Duration) -> (Instant, Vec<Change>) {
    let (mut now, mut changes) = (from, Vec::new());
    while now < from + how_long {
        now += BEAT;
        changes.extend(members.tick(now));
        changes.extend(members.answered(other.address, &beat(other, &[]), now));
    }
    (now, changes)
}

#[test]
fn a_node_that_answers_joins_and_is_said_once() {
    let (a, b, start) = (node(1, 1), node(2, 2), Instant::now());
    let mut members = Members::new(a, start);
    assert_eq!(members.answered(b.address, &beat(&b, &[]), start), [Change::Joined(b.clone())]);
    assert_eq!(members.called(&beat(&b, &[]), start), []);
    assert_eq!(names(&members), ["node-1", "node-2"]);
    let draining = Member { draining: true, ..b };
    assert_eq!(members.called(&beat(&draining, &[]), start), [Change::Facts]);
    assert!(members.live()[1].draining);
}

#[test]
fn hearsay_is_an_address_to_call_and_no_member() {
    let (a, b, c, start) = (node(1, 1), node(2, 2), node(3, 3), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[&c]), start);
    assert_eq!(names(&members), ["node-1", "node-2"]);
    assert_eq!(members.due(start), [b.address, c.address]);
    // Where nobody was found is tried less often.
    assert_eq!(members.due(start + BEAT), [b.address]);
    assert_eq!(members.due(start + SEARCH), [b.address, c.address]);
    members.answered(c.address, &beat(&c, &[]), start);
    assert_eq!(names(&members), ["node-1", "node-2", "node-3"]);
}

#[test]
fn who_is_silent_is_forgotten_and_looked_for_and_may_return() {
    let (a, b, c, start) = (node(1, 1), node(2, 2), node(3, 3), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[]), start);
    let (now, changes) = keep(&mut members, &c, start, FORGET - BEAT);
    assert_eq!(changes, [Change::Joined(c.clone())]);
    assert_eq!(names(&members), ["node-1", "node-2", "node-3"], "not yet");
    let (now, changes) = keep(&mut members, &c, now, BEAT);
    assert_eq!(changes, [Change::Left(b.clone(), Departure::Silent)]);
    // Others may not have noticed: their word does not bring it back, its own does.
    members.called(&beat(&c, &[&b]), now);
    assert_eq!(names(&members), ["node-1", "node-3"]);
    assert!(members.due(now).contains(&b.address), "it may only have been cut off");
    assert_eq!(members.answered(b.address, &beat(&b, &[]), now), [Change::Joined(b)]);
}

#[test]
fn a_node_that_stood_still_itself_forgets_nobody() {
    let (a, b, start) = (node(1, 1), node(2, 2), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[]), start);
    assert_eq!(members.tick(start + FORGET * 10), []);
    assert_eq!(names(&members), ["node-1", "node-2"]);
}

#[test]
fn a_goodbye_counts_at_once_and_a_late_call_does_not_undo_it() {
    let (a, b, start) = (node(1, 1), node(2, 2), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[]), start);
    assert_eq!(members.left(b.incarnation, start), [Change::Left(b.clone(), Departure::Left)]);
    assert_eq!(members.left(b.incarnation, start), []);
    assert_eq!(members.called(&beat(&b, &[]), start + BEAT), []);
    assert_eq!(names(&members), ["node-1"]);
    // The next start of it is another node.
    let again = node(2, 3);
    assert_eq!(members.called(&beat(&again, &[]), start + BEAT), [Change::Joined(again)]);
}

#[test]
fn a_restarted_node_takes_the_place_of_its_former_self() {
    let (a, b, start) = (node(1, 1), node(2, 2), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[]), start);
    let again = node(2, 9);
    assert_eq!(members.called(&beat(&again, &[]), start), [Change::Left(b.clone(), Departure::Replaced), Change::Joined(again)]);
    assert_eq!(members.called(&beat(&b, &[]), start), [], "what the former one sent before its end");
    assert_eq!(members.live().len(), 2);
}

#[test]
fn an_earlier_node_at_the_address_of_a_later_one_is_not_taken() {
    let (a, b, start) = (node(1, 1), node(2, 5), Instant::now());
    let mut members = Members::new(a, start);
    members.called(&beat(&b, &[]), start);
    let other = Member { address: b.address, ..node(3, 3) };
    assert_eq!(members.called(&beat(&other, &[]), start), [Change::Clash(b, other.clone())]);
    assert_eq!(members.called(&beat(&other, &[]), start), []);
    assert_eq!(names(&members), ["node-1", "node-2"]);
}

#[test]
fn a_node_that_calls_but_does_not_answer_is_said_once_and_stays() {
    let (a, b, start) = (node(1, 1), node(2, 2), Instant::now());
    let mut members = Members::new(a, start);
    let (mut now, mut changes) = (start, Vec::new());
    while now < start + FORGET * 3 {
        changes.extend(members.tick(now));
        changes.extend(members.called(&beat(&b, &[]), now));
        now += BEAT;
    }
    let unreachable = Member { reachable: false, ..b.clone() };
    assert_eq!(changes, [Change::Joined(b.clone()), Change::Unreachable(unreachable.clone())]);
    assert_eq!(members.live()[1], unreachable);
    assert_eq!(members.answered(b.address, &beat(&b, &[]), now), [Change::Reachable(b)]);
}

#[test]
fn two_of_one_name_are_said_when_both_live_on() {
    let (a, twin, start) = (node(1, 1), Member { name: "node-1".into(), ..node(2, 2) }, Instant::now());
    let mut members = Members::new(a, start);
    let (_, changes) = keep(&mut members, &twin, start, FORGET * 4);
    assert!(matches!(changes.as_slice(), [Change::Joined(_), Change::Twins(_, _)]), "{changes:?}");
    assert_eq!(members.live().len(), 2);
}

#[test]
fn this_node_is_recognised_at_whatever_address_it_answers() {
    let (a, start) = (node(1, 1), Instant::now());
    let mut members = Members::new(a.clone(), start);
    let other: SocketAddr = "198.51.100.1:7121".parse().unwrap();
    assert!(members.list([a.address, other]));
    assert!(!members.list([other, a.address]));
    assert_eq!(members.due(start), [other]);
    assert_eq!(members.answered(other, &beat(&a, &[]), start), []);
    assert_eq!(members.due(start + SEARCH), []);
    assert_eq!(members.live().len(), 1);
}

#[test]
fn members_are_bounded_and_so_is_what_is_said_of_them() {
    let (a, start) = (node(1, 1), Instant::now());
    let mut members = Members::new(a, start);
    for number in 0..u16::try_from(MOST).unwrap() * 2 {
        let [high, low] = number.to_be_bytes();
        let mut other = node(low, 2 + high);
        other.address = SocketAddr::from(([192, 0, high, low], 7121));
        let many: Vec<Member> = (0..=255).map(|low| Member { address: SocketAddr::from(([198, 51, high, low], 1)), ..node(low, 99) }).collect();
        members.called(&beat(&other, &many.iter().collect::<Vec<_>>()), start);
    }
    assert_eq!(members.live().len(), MOST + 1);
    assert!(members.hints.len() <= MOST);
    let text = serde_json::to_vec(&members.beat(0)).unwrap();
    assert!(text.len() < 256 * 1024, "{}", text.len());
}
