//! What the book promises: order and repetition do not matter, nothing removed comes back, bounds hold.
//!
//! Gets: random histories. Gives: equal books. Never: a clock; time is a number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::super::ban::NEVER;
use super::super::ban::tests::ban;
use super::*;
use crate::observe::event::BanSource::{Admin, Rule};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn book(bans: &[Arc<Ban>]) -> Book {
    let mut book = Book::new(1000);
    bans.iter().for_each(|ban| assert!(book.merge(&Change::Ban(ban.clone()), 0)));
    book
}

/// Everything visible, by id.
fn visible(book: &Book) -> BTreeMap<BanId, Option<Arc<Ban>>> {
    let changes = (0..BUCKETS).flat_map(|bucket| book.content(bucket));
    changes.map(|change| (change.id(), if let Change::Ban(ban) = change { Some(ban) } else { None })).collect()
}

/// Small numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

#[test]
fn an_address_has_the_bans_of_all_its_networks() {
    let book = book(&[
        ban("ip", "203.0.113.7", 100, Admin),
        ban("cidr", "198.51.100.0/24", 100, Admin),
        ban("ip", "2001:db8:0:1::9", 100, Admin),
        ban("cidr", "2001:db8:ff00::/40", 100, Admin),
    ]);
    for (address, banned) in [
        ("203.0.113.7", true),
        ("::ffff:203.0.113.7", true),
        ("203.0.113.8", false),
        ("198.51.100.255", true),
        ("198.51.101.0", false),
        ("2001:db8:0:1:ffff::1", true),
        ("2001:db8:0:2::9", false),
        ("2001:db8:ffab::1", true),
    ] {
        assert_eq!(book.of_address(ip(address), 99).is_some(), banned, "{address}");
        assert!(book.of_address(ip(address), 100).is_none(), "its end has come");
    }
}

#[test]
fn users_classes_and_certificates_are_found_by_name() {
    let book = book(&[
        ban("user", "alice", 100, Admin),
        ban("user_at_host", "bob@203.0.113.0/24", 100, Admin),
        ban("class", "partners", 100, Admin),
        ban("certificate", "cn:carol", 100, Admin),
    ]);
    let who = |user, address, classes, certificates| Who { ip: Some(ip(address)), user: Some(user), classes, certificates };
    let carol = ["cn:carol".to_owned()];
    for (who, kind) in [
        (who("alice", "192.0.2.1", &[], &[]), Some("user")),
        (who("Alice", "192.0.2.1", &[], &[]), None),
        (who("bob", "203.0.113.9", &[], &[]), Some("user_at_host")),
        (who("bob", "203.0.112.9", &[], &[]), None),
        (who("dave", "192.0.2.1", &["staff", "partners"], &[]), Some("class")),
        (who("dave", "192.0.2.1", &["staff"], &carol), Some("certificate")),
    ] {
        assert_eq!(book.of(&who, 1).map(|ban| ban.target.key()), kind, "{who:?}");
    }
    assert!(book.bans_classes());
}

#[test]
fn several_bans_of_one_target_are_one_after_the_other() {
    let [first, second, third] = [100, 200, 300].map(|end| ban("ip", "203.0.113.7", end, Admin));
    let mut book = book(&[second.clone(), third.clone(), first.clone()]);
    let target = first.target.clone();
    assert_eq!(book.about(&target).len(), 3);
    assert_eq!(book.of_address(ip("203.0.113.7"), 250).unwrap().id, third.id);
    assert!(book.merge(&Change::Unban { id: third.id, until: 300 }, 10));
    assert_eq!(book.of_address(ip("203.0.113.7"), 150).unwrap().id, second.id);
    assert_eq!(book.sweep(150, 10), 1);
    assert_eq!(book.about(&target), std::slice::from_ref(&second));
    assert!(book.merge(&Change::Unban { id: second.id, until: 200 }, 10));
    assert!(book.of_address(ip("203.0.113.7"), 10).is_none() && book.about(&target).is_empty());
    assert_eq!(book.counts(), Counts { admin: 0, rule: 0, removed: 2, dropped: 0 });
    book.sweep(300, 0);
    assert_eq!((book.counts().removed, book.digests().iter().all(|digest| *digest == 0)), (0, true));
}

#[test]
fn what_was_removed_stays_removed_in_whatever_order_it_is_told() {
    let one = ban("user", "alice", 500, Admin);
    let (added, removed) = (Change::Ban(one.clone()), Change::Unban { id: one.id, until: 500 });
    let mut book = Book::new(10);
    assert!(book.merge(&removed, 1) && !book.merge(&added, 1) && !book.merge(&removed, 1));
    assert!(book.find(one.id).is_none());
    // A replay after the unban's own end meets a ban that has ended too.
    book.sweep(500, 10);
    assert!(!book.merge(&added, 500));
    let mut lasting = Book::new(10);
    assert!(lasting.merge(&Change::Unban { id: one.id, until: NEVER }, 1));
    lasting.sweep(NEVER - 1, 10);
    assert!(!lasting.merge(&added, 1));
}

#[test]
fn merging_is_commutative_associative_and_idempotent() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let targets = [("ip", "203.0.113.7"), ("cidr", "203.0.113.0/24"), ("user", "a"), ("user_at_host", "a@203.0.113.7"), ("ip", "2001:db8::1")];
        let bans: Vec<_> = (0..30)
            .map(|_| {
                let (kind, text) = targets[random.below(targets.len())];
                ban(kind, text, 50 + random.below(100) as u64, if random.below(2) == 0 { Admin } else { Rule })
            })
            .collect();
        let mut changes: Vec<Change> = bans.iter().cloned().map(Change::Ban).collect();
        changes.extend((0..15).map(|_| random.below(bans.len())).map(|place| Change::Unban { id: bans[place].id, until: bans[place].ends }));
        let mut books = [Book::new(1000), Book::new(1000), Book::new(1000)];
        for (number, book) in books.iter_mut().enumerate() {
            let mut order: Vec<usize> = (0..changes.len()).collect();
            (1..order.len()).rev().for_each(|place| order.swap(place, random.below(place + 1)));
            order.iter().for_each(|place| _ = book.merge(&changes[*place], 1));
            // Some come again, and one book learns by the content of the other instead.
            (0..20 * number).for_each(|_| assert!(!book.merge(&changes[random.below(changes.len())], 1)));
        }
        let [first, second, third] = &mut books;
        assert_eq!((visible(first), first.digests(), first.counts()), (visible(second), second.digests(), second.counts()), "seed {seed}");
        let mut learned = Book::new(1000);
        (0..BUCKETS).for_each(|bucket| third.content(bucket).iter().for_each(|change| assert!(learned.merge(change, 1))));
        assert_eq!(learned.digests(), first.digests());
        // And all of them forget alike.
        [&mut *first, second, third, &mut learned].into_iter().for_each(|book| _ = book.sweep(100, 1000));
        assert_eq!((visible(first), learned.digests()), (visible(second), third.digests()));
        for address in ["203.0.113.7", "203.0.113.8", "2001:db8::2"] {
            let of = |book: &Book| book.of_address(ip(address), 100).is_some();
            assert_eq!(
                of(first),
                visible(first).values().flatten().any(
                    |ban| matches!(&ban.target, Target::Network(net) if net.contains(&ip(address)) || net.contains(&ip("2001:db8::")) && address.contains(':'))
                )
            );
            assert_eq!(of(first), of(&learned));
        }
    }
}

#[test]
fn automatic_bans_are_bounded_and_those_of_administrators_are_not() {
    let mut book = Book::new(3);
    let address = |number: u32| std::net::Ipv4Addr::from_bits(number).to_string();
    let rules: Vec<_> = (0..10).map(|number| ban("ip", &address(number), 100 + u64::from(number), Rule)).collect();
    rules.iter().for_each(|ban| _ = book.merge(&Change::Ban(ban.clone()), 1));
    (20..40).for_each(|number| assert!(book.merge(&Change::Ban(ban("ip", &address(number), 2, Admin)), 1)));
    assert_eq!(book.counts(), Counts { admin: 20, rule: 3, removed: 0, dropped: 7 });
    assert!(book.find(rules[9].id).is_some() && book.find(rules[6].id).is_none(), "those that end last stay");
    assert!(!book.merge(&Change::Ban(ban("ip", "192.0.2.1", 50, Rule)), 1), "it would end first");
    book.set_most_automatic(1);
    assert_eq!((book.counts().rule, book.counts().admin), (1, 20));
}

#[test]
fn places_are_used_again() {
    let mut book = Book::new(10);
    for round in 0..1000_u64 {
        let one = ban("ip", "203.0.113.7", round + 2, Admin);
        assert!(book.merge(&Change::Ban(one), round));
        book.sweep(round + 2, 10);
    }
    assert!(book.held.len() <= 3 && book.bans().count() == 0, "{}", book.held.len());
}
