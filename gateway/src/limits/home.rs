//! What a node leases as the home of a key: who holds how many places of it. Pure: time and members are arguments.
//!
//! A home needs no memory to be right: whatever it does not know, because it is new, because a node is new or because too long nobody asked, it asks of all nodes (a
//! *recall*), which then hold exactly what they have taken. While any place of a key is taken it does so every few seconds, so that what was lost is found. Gets: wishes, what nodes answered, what they returned. Gives: leases that sum up to the limit at most.
//! Never: keeps what a node held that is no member any more, or more than 65,536 keys; who is forgotten is asked again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::leases::{Grant, Key, Recall, Return, Wish};
use crate::observe::id::Incarnation;

/// All keys that this node is asked about.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Key, Entry>,
    epoch: u64,
}

#[derive(Debug)]
struct Entry {
    limit: usize,
    /// What each node may have taken.
    granted: HashMap<Incarnation, Granted>,
    /// Who was asked with the last recall.
    members: Vec<Incarnation>,
    epoch: u64,
    recalled: Option<Instant>,
    /// Since when a recall is under way.
    recalling: Option<Instant>,
    asked: Instant,
}

/// What a node was told, by a grant or a recall.
#[derive(Clone, Copy, Debug)]
struct Granted {
    most: usize,
    when: Instant,
    /// The number of that grant or recall: a return that left before it counts for nothing.
    epoch: u64,
}

/// What becomes of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer.
    Say(Grant),
    /// All other nodes have to be asked, under this number; then again.
    Recall(u64),
    /// They are being asked; then again.
    Wait,
}

/// What a node answered to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// So many are taken.
    Taken(usize),
    /// Nobody knows: what it had counts on.
    Silent,
    /// Its process has ended.
    Ended,
}

impl Table {
    /// A node wishes for a place.
    pub(super) fn take(&mut self, node: Incarnation, wish: &Wish, members: &[Incarnation], now: Instant) -> Verdict {
        self.make_room(now);
        let new = || Entry { limit: wish.limit, granted: HashMap::new(), members: Vec::new(), epoch: 0, recalled: None, recalling: None, asked: now };
        let entry = self.entries.entry(wish.key.clone()).or_insert_with(new);
        (entry.asked, entry.limit) = (now, wish.limit);
        // Whoever recalls may be cut before it is done.
        if entry.recalling.is_some_and(|since| now.saturating_duration_since(since) < RECALLING) {
            return Verdict::Wait;
        }
        entry.granted.retain(|node, _| members.contains(node));
        let age = entry.recalled.map(|when| now.saturating_duration_since(when));
        if age.is_some_and(|age| age < FRESH) && members.iter().all(|member| entry.members.contains(member)) {
            let mine = entry.granted.get(&node).map_or(0, |granted| granted.most).max(wish.used);
            let others: usize = entry.granted.iter().filter(|(other, _)| **other != node).map(|(_, granted)| granted.most).sum();
            let left = wish.limit.saturating_sub(mine + others);
            let full = left == 0;
            if !full || age.is_some_and(|age| age < AGAIN) {
                self.epoch += 1;
                let more = if full { 0 } else { (left / (2 * members.len().max(1))).max(1) };
                let granted = Granted { most: mine + more, when: now, epoch: self.epoch };
                entry.granted.insert(node, granted);
                return Verdict::Say(Grant { most: granted.most, full, epoch: granted.epoch });
            }
        }
        self.epoch += 1;
        (entry.epoch, entry.recalling) = (self.epoch, Some(now));
        Verdict::Recall(self.epoch)
    }

    /// All other nodes were asked, for the wish of this one.
    pub(super) fn recalled(&mut self, node: Incarnation, wish: &Wish, answers: &[(Incarnation, Has)], members: &[Incarnation], now: Instant) {
        if let Some(entry) = self.entries.get_mut(&wish.key) {
            // What it was granted a moment ago may still be on its way to it.
            let under_way = entry.granted.get(&node).filter(|granted| now.saturating_duration_since(granted.when) < UNDER_WAY);
            let most = under_way.map_or(0, |granted| granted.most).max(wish.used);
            entry.granted.insert(node, Granted { most, when: now, epoch: entry.epoch });
        }
        self.counted(&wish.key, answers, members, now);
    }

    /// Nodes were asked how many of a key they have taken.
    pub(super) fn counted(&mut self, key: &Key, answers: &[(Incarnation, Has)], members: &[Incarnation], now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        for (node, has) in answers {
            match has {
                Has::Taken(used) => _ = entry.granted.insert(*node, Granted { most: *used, when: now, epoch: entry.epoch }),
                Has::Ended => _ = entry.granted.remove(node),
                Has::Silent => {}
            }
        }
        (entry.recalled, entry.recalling, entry.members) = (Some(now), None, members.to_vec());
    }

    /// What all nodes have to be asked about now, because places of it are taken and it is some time ago.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Recall> {
        let mut due = Vec::new();
        for (key, entry) in &mut self.entries {
            let old = entry.recalled.is_some_and(|when| now.saturating_duration_since(when) >= EVERY);
            if old && entry.recalling.is_none() && entry.granted.values().any(|granted| granted.most > 0) {
                self.epoch += 1;
                (entry.epoch, entry.recalling) = (self.epoch, Some(now));
                due.push(Recall { key: key.clone(), limit: entry.limit, epoch: entry.epoch });
            }
        }
        due
    }

    /// A node gives places back.
    pub(super) fn returned(&mut self, node: Incarnation, back: &Return) {
        let granted = self.entries.get_mut(&back.key).and_then(|entry| entry.granted.get_mut(&node));
        // One that crossed a grant or a recall says what was true before it; what it meant is found with the next recall.
        if let Some(granted) = granted.filter(|granted| granted.epoch == back.epoch) {
            granted.most = granted.most.saturating_sub(back.count);
        }
    }

    /// Forgets keys of which nothing is taken and that nobody asks about, and recalls that were cut.
    pub(super) fn sweep(&mut self, now: Instant) {
        let since = |when: Instant| now.saturating_duration_since(when);
        self.entries.retain(|_, entry| {
            entry.recalling = entry.recalling.filter(|when| since(*when) < RECALLING);
            since(entry.asked) < FORGOTTEN || entry.granted.values().any(|granted| granted.most > 0)
        });
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < MOST {
            return;
        }
        self.sweep(now);
        if self.entries.len() >= MOST {
            self.entries.clear();
        }
    }
}

/// How long the answers to a recall hold: less than the leases that they made ([`super::leases::LEASE`]), or a node would be back at its free share unseen.
pub(super) const FRESH: Duration = Duration::from_secs(8);
/// Between two recalls of a key of which places are taken.
pub(super) const EVERY: Duration = Duration::from_secs(4);
/// Between two recalls of a key of which nothing is left.
const AGAIN: Duration = Duration::from_millis(250);
const RECALLING: Duration = Duration::from_secs(1);
const UNDER_WAY: Duration = Duration::from_secs(1);
const FORGOTTEN: Duration = Duration::from_secs(30);
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::limits::leases::{Leases, Short};
    use crate::observe::event::Limit;

    fn wish(used: usize, limit: usize) -> Wish {
        Wish { key: Key::User("alice".into()), used, limit }
    }

    #[test]
    fn a_new_home_asks_everybody_first_and_again_when_a_node_is_new_or_time_has_passed() {
        let (mut table, start) = (Table::default(), Instant::now());
        let [a, b, c] = [0; 3].map(|_| Incarnation::now());
        assert_eq!(table.take(a, &wish(1, 5), &[a, b], start), Verdict::Recall(1));
        assert_eq!(table.take(b, &wish(0, 5), &[a, b], start), Verdict::Wait);
        table.recalled(a, &wish(1, 5), &[(b, Has::Taken(2))], &[a, b], start);
        assert_eq!(table.take(a, &wish(1, 5), &[a, b], start), Verdict::Say(Grant { most: 2, full: false, epoch: 2 }));
        assert_eq!(table.take(b, &wish(2, 5), &[a, b], start), Verdict::Say(Grant { most: 3, full: false, epoch: 3 }));
        assert_eq!(table.take(b, &wish(3, 5), &[a, b], start), Verdict::Say(Grant { most: 3, full: true, epoch: 4 }));
        assert_eq!(table.take(b, &wish(3, 5), &[a, b, c], start), Verdict::Recall(5), "a node is new");
        table.recalled(b, &wish(3, 5), &[(a, Has::Silent), (c, Has::Taken(0))], &[a, b, c], start);
        assert_eq!(table.take(c, &wish(0, 5), &[a, b, c], start), Verdict::Say(Grant { most: 0, full: true, epoch: 6 }), "what the silent one had counts on");
        assert_eq!(table.take(c, &wish(0, 5), &[b, c], start), Verdict::Say(Grant { most: 1, full: false, epoch: 7 }), "it is no member any more");
        assert_eq!(table.take(c, &wish(1, 5), &[b, c], start + FRESH), Verdict::Recall(8));
        table.sweep(start + FRESH + FORGOTTEN);
        assert_eq!(table.entries.len(), 1, "places of it are taken");
        table.counted(&wish(0, 0).key, &[(a, Has::Ended), (b, Has::Taken(0)), (c, Has::Taken(0))], &[b, c], start);
        table.sweep(start + FRESH + FORGOTTEN);
        assert!(table.entries.is_empty());
    }

    #[test]
    fn what_is_returned_is_free_at_once_and_a_return_that_crossed_a_grant_or_a_recall_counts_for_nothing() {
        let (mut table, now) = (Table::default(), Instant::now());
        let [a, b] = [0; 2].map(|_| Incarnation::now());
        table.take(a, &wish(2, 2), &[a, b], now);
        table.recalled(a, &wish(2, 2), &[(b, Has::Taken(0))], &[a, b], now);
        let full = |epoch| Verdict::Say(Grant { most: 0, full: true, epoch });
        assert_eq!(table.take(b, &wish(0, 2), &[a, b], now), full(2));
        table.returned(a, &Return { key: wish(0, 0).key, epoch: 0, count: 1 });
        assert_eq!(table.take(b, &wish(0, 2), &[a, b], now), full(3));
        table.returned(a, &Return { key: wish(0, 0).key, epoch: 1, count: 1 });
        assert_eq!(table.take(b, &wish(0, 2), &[a, b], now), Verdict::Say(Grant { most: 1, full: false, epoch: 4 }));
        // Its place goes back and it asks again; what it is granted overtakes the return.
        let late = Return { key: wish(0, 0).key, epoch: 4, count: 1 };
        table.returned(a, &Return { epoch: 1, ..late.clone() });
        assert_eq!(table.take(b, &wish(0, 2), &[a, b], now), Verdict::Say(Grant { most: 2, full: false, epoch: 5 }));
        table.returned(b, &late);
        assert_eq!(table.take(a, &wish(0, 2), &[a, b], now), full(6), "both are still the other's");
    }

    /// Nodes with leases and a home, with answers that are lost or late, sessions that come and go anywhere: never more than the limit while nobody is cut off, and in the
    /// end exactly the limit.
    #[test]
    // long: a model, its steps and what they are held to.
    fn random_steps_never_pass_the_limit_and_use_all_of_it() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |most: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % most as u64).unwrap()
        };
        for round in 0..300 {
            let (limit, count, key) = (1 + next(40), 2 + next(4), wish(0, 0).key);
            let ids: Vec<Incarnation> = (0..count).map(|_| Incarnation::now()).collect();
            let mut nodes: Vec<(Leases, usize)> = ids.iter().map(|_| (Leases::default(), 0)).collect();
            nodes.iter_mut().for_each(|(leases, _)| leases.set_members(count, Instant::now()));
            let (mut table, mut now, mut under_way) = (Table::default(), Instant::now(), Vec::new());
            let try_one = |nodes: &mut Vec<(Leases, usize)>, table: &mut Table, node: usize, lost: bool, now: Instant| {
                for _ in 0..4 {
                    let used = nodes[node].1;
                    match nodes[node].0.may(key.clone(), used, limit, Limit::SessionsPerUser, now) {
                        Ok(()) => {
                            nodes[node].1 += 1;
                            return true;
                        }
                        Err(Short::Reached(_)) => return false,
                        Err(Short::Ask(wish, _)) => {
                            let mut verdict = table.take(ids[node], &wish, &ids, now);
                            if let Verdict::Recall(epoch) = verdict {
                                let mut answers = Vec::new();
                                for other in (0..count).filter(|other| *other != node) {
                                    let used = nodes[other].1;
                                    nodes[other].0.recall(&Recall { key: key.clone(), limit, epoch }, used, ids[0], now);
                                    answers.push((ids[other], Has::Taken(used)));
                                }
                                table.recalled(ids[node], &wish, &answers, &ids, now);
                                verdict = table.take(ids[node], &wish, &ids, now);
                            }
                            let Verdict::Say(grant) = verdict else { panic!("{verdict:?}") };
                            if lost {
                                return false;
                            }
                            nodes[node].0.granted(&wish, ids[0], grant, now, now);
                        }
                    }
                }
                false
            };
            let ask_all = |nodes: &mut Vec<(Leases, usize)>, table: &mut Table, now: Instant| {
                for recall in table.due(now) {
                    let has = |(node, id): (&mut (Leases, usize), &Incarnation)| {
                        node.0.recall(&recall, node.1, ids[0], now);
                        (*id, Has::Taken(node.1))
                    };
                    let answers: Vec<_> = nodes.iter_mut().zip(&ids).map(has).collect();
                    table.counted(&recall.key, &answers, &ids, now);
                }
            };
            for _ in 0..400 {
                ask_all(&mut nodes, &mut table, now);
                now += Duration::from_millis(next(300) as u64);
                let node = next(count);
                match next(6) {
                    // A return arrives, in whatever order.
                    5 if !under_way.is_empty() => {
                        let (from, back): (usize, Return) = under_way.swap_remove(next(under_way.len()));
                        table.returned(ids[from], &back);
                    }
                    0..3 => _ = try_one(&mut nodes, &mut table, node, next(10) == 0, now),
                    3 if nodes[node].1 > 0 => {
                        nodes[node].1 -= 1;
                        nodes[node].0.freed(key.clone());
                    }
                    _ => {
                        let used = nodes[node].1;
                        let returns = nodes[node].0.returns(|_| used, now);
                        under_way.extend(returns.into_iter().filter(|_| next(10) > 0).map(|(_, back)| (node, back)));
                    }
                }
                let all: usize = nodes.iter().map(|(_, used)| used).sum();
                assert!(all <= limit, "round {round}: {all} of {limit} over {count}");
            }
            // Whatever was lost: a recall finds it again.
            for step in 0..limit * 4 {
                ask_all(&mut nodes, &mut table, now);
                now += AGAIN + Duration::from_millis(120);
                try_one(&mut nodes, &mut table, step % count, false, now);
            }
            assert_eq!(nodes.iter().map(|(_, used)| used).sum::<usize>(), limit, "round {round} over {count}");
        }
    }
}
