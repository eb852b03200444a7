//! Rules over events: who is counted, who is spared, what trips.
//!
//! Gets: events with a time. Gives: the trips of a house that writes them down. Never: a clock that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ftps_proto::machine::io::LoginRefusal;

use super::*;
use crate::observe::event::{LoginFault, LoginMethod};
use crate::observe::id::BanId;

#[derive(Default)]
struct Notes(Mutex<Vec<Trip>>);

impl House for Notes {
    fn spares(&self, ip: IpAddr) -> bool {
        ip.is_loopback()
    }

    fn spares_user(&self, user: &str) -> bool {
        user == "service"
    }

    fn is_hidden(&self, ip: IpAddr) -> bool {
        ip == IpAddr::from([10, 0, 0, 1])
    }

    fn class_of(&self, ip: IpAddr) -> Option<Box<str>> {
        (ip == IpAddr::from([198, 51, 100, 1])).then(|| "partners".into())
    }

    fn trip(&self, trip: Trip) {
        lock(&self.0).push(trip);
    }
}

fn rule(scope: Scope) -> Rule {
    let (within, ban) = (Duration::from_secs(600), Term::For(Duration::from_secs(3600)));
    Rule { event: RuleEvent::LoginFailed, count: 5, within, ban, scope, message: None, dry_run: false, escalate: None }
}

fn rules(of: &[Rule]) -> (Rules, Arc<Notes>) {
    let (rules, notes) = (Rules::default(), Arc::new(Notes::default()));
    rules.set(of);
    rules.live_in(notes.clone());
    (rules, notes)
}

const FAILED: Event<'_> = Event::LoginRefused { refusal: LoginRefusal::Incorrect, why: LoginFault::WrongPassword };

fn fail(rules: &Rules, ip: &str, user: &str, times: usize, now: Instant) {
    let subject = Subject { session: None, peer: Some(std::net::SocketAddr::new(ip.parse().unwrap(), 4711)), user: Some(user) };
    (0..times).for_each(|_| rules.see(subject, &FAILED, now));
}

fn tripped(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut *lock(&notes.0)).iter().map(|trip| format!("{}{}", if trip.dry_run { "dry " } else { "" }, trip.target.text())).collect()
}

#[test]
fn five_failures_trip_a_rule_of_five_and_the_next_five_again() {
    let (rules, notes) = rules(&[rule(Scope::Host), rule(Scope::UserAtHost), rule(Scope::Class)]);
    let now = Instant::now();
    fail(&rules, "203.0.113.7", "alice", 4, now);
    assert!(tripped(&notes).is_empty());
    fail(&rules, "203.0.113.7", "alice", 1, now);
    assert_eq!(tripped(&notes), ["203.0.113.7", "alice@203.0.113.7"]);
    fail(&rules, "203.0.113.7", "bob", 4, now);
    assert!(tripped(&notes).is_empty());
    fail(&rules, "198.51.100.1", "bob", 5, now);
    assert_eq!(tripped(&notes), ["198.51.100.1", "bob@198.51.100.1", "partners"]);
    assert_eq!(rules.counters()[0], Counter { event: "login_failed", count: 5, dry_run: false, counted: 14, tripped: 2 });
}

#[test]
fn addresses_of_one_ipv6_network_count_together() {
    let (rules, notes) = rules(&[rule(Scope::Host)]);
    (0..5).for_each(|number| fail(&rules, &format!("2001:db8::{number}"), "alice", 1, Instant::now()));
    assert_eq!(tripped(&notes), ["2001:db8::"]);
}

#[test]
fn the_spared_are_not_counted_and_hidden_addresses_are_a_dry_run() {
    let (rules, notes) = rules(&[rule(Scope::Host), rule(Scope::User)]);
    let now = Instant::now();
    fail(&rules, "127.0.0.1", "alice", 10_000, now);
    fail(&rules, "::ffff:127.0.0.1", "alice", 10_000, now);
    assert!(tripped(&notes).is_empty() && rules.counters()[0].counted == 0);
    fail(&rules, "203.0.113.7", "service", 5, now);
    assert_eq!(tripped(&notes), ["203.0.113.7"], "the user is spared, its address is not");
    fail(&rules, "10.0.0.1", "alice", 5, now);
    assert_eq!(tripped(&notes), ["dry 10.0.0.1", "alice"]);
}

#[test]
fn a_login_and_a_refusal_of_a_banned_client_are_no_failures() {
    let (rules, notes) = rules(&[rule(Scope::Host)]);
    let subject = Subject { session: None, peer: Some("203.0.113.7:1".parse().unwrap()), user: Some("alice") };
    for _ in 0..100 {
        rules.event(subject, &Event::LoggedIn { method: LoginMethod::Password, class: None, took: Duration::ZERO });
        rules.event(subject, &Event::LoginRefused { refusal: LoginRefusal::Banned, why: LoginFault::Banned });
    }
    assert!(tripped(&notes).is_empty());
}

#[test]
fn what_several_nodes_count_is_one_count() {
    let (one, _) = rules(&[rule(Scope::Host)]);
    let (home, notes) = rules(&[rule(Scope::Host)]);
    let now = Instant::now();
    one.share(true);
    fail(&one, "203.0.113.7", "alice", 3, now);
    fail(&home, "203.0.113.7", "alice", 1, now);
    let told = one.take_pending();
    assert_eq!((told.len(), told[0].times, one.take_pending().len()), (1, 3, 0));
    home.add(&told, now);
    assert!(tripped(&notes).is_empty());
    home.add(&[Increment { times: 1, ..told[0].clone() }], now);
    assert_eq!(tripped(&notes), ["203.0.113.7"]);
    // A rule that this node does not have.
    home.add(&[Increment { rule: 1, times: 100, ..told[0].clone() }], now);
    assert!(tripped(&notes).is_empty() && home.take_pending().is_empty());
}

#[test]
fn bans_of_one_who_comes_again_grow_to_their_maximum() {
    let escalate = Some(Escalate { factor: 3, max: Duration::from_secs(86_400) });
    let (rules, notes) = rules(&[Rule { count: 1, escalate, ..rule(Scope::Host) }]);
    let mut created = 1_000_000;
    let mut hours = Vec::new();
    for _ in 0..5 {
        fail(&rules, "203.0.113.7", "alice", 1, Instant::now());
        let trip = lock(&notes.0).pop().unwrap();
        let Term::For(term) = trip.term else { panic!("{trip:?}") };
        hours.push(term.as_secs() / 3600);
        let empty: Arc<str> = "".into();
        let (author, evidence, message) = (empty.clone(), empty.clone(), empty);
        let ends = trip.term.end(created);
        rules.note(&Ban {
            id: BanId::now(),
            target: trip.target,
            source: BanSource::Rule,
            reason: trip.reason.into(),
            author,
            evidence,
            message,
            created,
            ends,
        });
        created = ends + 1;
    }
    assert_eq!(hours, [1, 3, 9, 24, 24]);
}

#[test]
fn unchanged_rules_go_on_counting_after_a_reload() {
    let (rules, notes) = rules(&[rule(Scope::Host)]);
    let now = Instant::now();
    fail(&rules, "203.0.113.7", "alice", 4, now);
    rules.set(&[rule(Scope::Host)]);
    fail(&rules, "203.0.113.7", "alice", 1, now);
    assert_eq!(tripped(&notes), ["203.0.113.7"]);
    rules.set(&[Rule { dry_run: true, count: 2, ..rule(Scope::Host) }]);
    fail(&rules, "203.0.113.7", "alice", 2, now);
    assert_eq!(tripped(&notes), ["dry 203.0.113.7"]);
}
