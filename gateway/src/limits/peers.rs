//! Limits between nodes: leases asked of homes, counted again and returned; what was spent of logins and speed, told to all.
//!
//! Gets: wishes that this node's leases do not cover, calls of other nodes, the members. Gives: leases, counts, shares.
//! Never: refuses because nobody answers: then each node goes by its own count. Waits longer than 200 ms for a home, and for two at most.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::home::{Has, Table, Verdict};
use super::leases::{Grant, Key, Recall, Return, Wish};
use super::{Limits, Source, lock};
use crate::cluster::{AskError, Handlers, Member, Refused};
use crate::observe::id::Incarnation;

/// A wish on its way to a home.
#[derive(Debug, Serialize, Deserialize)]
struct Take {
    key: Key,
    used: usize,
    limit: usize,
}

/// What a node has spent of what is counted by time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Spent {
    /// Attempts to log in since the last time; below zero when more were given back.
    logins: Vec<(Source, i32)>,
    speeds: Vec<Speed>,
}

/// How fast a user with a limit moves bytes on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Speed {
    pub(super) user: Box<str>,
    /// Bytes a second.
    pub(super) rate: u64,
    /// It could be more.
    pub(super) wants_more: bool,
}

impl Limits {
    /// Answers the other nodes.
    pub fn answer(&self, handlers: &mut Handlers) {
        let limits = self.clone();
        handlers.on_json(TAKE, WORD, move |caller, Take { key, used, limit }: Take| {
            let limits = limits.clone();
            async move { limits.grant(caller.incarnation, &Wish { key, used, limit }).await.ok_or(Refused::NotNow) }
        });
        let limits = self.clone();
        handlers.on_json(RECALL, WORDS, move |caller, recalls: Vec<Recall>| {
            let taken: Vec<usize> = recalls.iter().map(|recall| limits.recalled(caller.incarnation, recall)).collect();
            async move { Ok::<_, Refused>(taken) }
        });
        let limits = self.clone();
        handlers.on_json(RETURN, WORDS, move |caller, returns: Vec<Return>| {
            returns.iter().for_each(|back| limits.table().returned(caller.incarnation, back));
            async move { Ok::<_, Refused>(()) }
        });
        let limits = self.clone();
        handlers.on_json(SPENT, WORDS, move |caller, spent: Spent| {
            limits.hear(caller.incarnation, spent);
            async move { Ok::<_, Refused>(()) }
        });
    }

    /// What goes on by itself. Runs until it is dropped.
    pub async fn run(&self) {
        let cluster = &self.0.cluster;
        if cluster.is_alone() {
            return;
        }
        let mut often = tokio::time::interval(OFTEN);
        often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 0_u64.. {
            often.tick().await;
            let members = cluster.members();
            let now = Instant::now();
            lock(&self.0.sessions).set_members(members.len(), now);
            lock(&self.0.logins).set_members(members.len());
            self.give_back(&members, now);
            self.tell_spent(round.is_multiple_of(SPEEDS), now);
            if round.is_multiple_of(COUNTS) {
                self.table().sweep(now);
                self.count_again(now);
                for wish in lock(&self.0.sessions).unspoken(now) {
                    let limits = self.clone();
                    tokio::spawn(async move {
                        limits.lease(&wish).await;
                        lock(&limits.0.sessions).freed(wish.key);
                    });
                }
            }
        }
    }

    /// Asks the home for a place. Whatever the answer, or when there is none, this node knows more than before.
    pub(super) async fn lease(&self, wish: &Wish) {
        for _ in 0..HOMES {
            let Some(home) = self.home(&wish.key) else { break };
            let sent = Instant::now();
            let grant = if home.incarnation == self.0.cluster.incarnation() {
                self.grant(home.incarnation, wish).await
            } else {
                let take = Take { key: wish.key.clone(), used: wish.used, limit: wish.limit };
                self.0.cluster.ask_json(&home, TAKE, &take, PATIENCE).await.ok()
            };
            if let Some(grant) = grant {
                return lock(&self.0.sessions).granted(wish, home.incarnation, grant, sent);
            }
            self.suspects().insert(home.incarnation, Instant::now() + SUSPECT);
        }
        lock(&self.0.sessions).alone(wish);
    }

    /// Answers a wish as the home of its key; `None` when the others do not answer in time.
    async fn grant(&self, node: Incarnation, wish: &Wish) -> Option<Grant> {
        let deadline = Instant::now() + DECIDE;
        while Instant::now() < deadline {
            let members: Vec<Incarnation> = self.0.cluster.members().iter().map(|member| member.incarnation).collect();
            let counted = self.0.counted.notified();
            tokio::pin!(counted);
            counted.as_mut().enable();
            let verdict = self.table().take(node, wish, &members, Instant::now());
            match verdict {
                Verdict::Say(grant) => return Some(grant),
                Verdict::Wait => _ = tokio::time::timeout_at(deadline.into(), counted).await,
                Verdict::Recall(epoch) => {
                    let recall = Recall { key: wish.key.clone(), limit: wish.limit, epoch };
                    let answers = self.ask_all(&[recall], Some(node)).await;
                    let answers: Vec<(Incarnation, Has)> = answers.into_iter().filter_map(|(node, has)| Some((node, *has.first()?))).collect();
                    self.table().recalled(node, wish, &answers, &members, Instant::now());
                    self.0.counted.notify_waiters();
                }
            }
        }
        None
    }

    /// Asks all nodes how many they have taken of some keys; but for one.
    async fn ask_all(&self, recalls: &[Recall], but: Option<Incarnation>) -> Vec<(Incarnation, Vec<Has>)> {
        let (cluster, me) = (&self.0.cluster, self.0.cluster.incarnation());
        let members = cluster.members();
        let asked = members.iter().filter(|member| Some(member.incarnation) != but).map(|member| async move {
            if member.incarnation == me {
                return (me, recalls.iter().map(|recall| Has::Taken(self.recalled(me, recall))).collect());
            }
            let has = match cluster.ask_json::<Vec<usize>>(member, RECALL, &recalls, COUNTING).await {
                Ok(taken) if taken.len() == recalls.len() => taken.into_iter().map(Has::Taken).collect(),
                Err(AskError::Elsewhere) => vec![Has::Ended; recalls.len()],
                Err(AskError::Unreachable(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => vec![Has::Ended; recalls.len()],
                Ok(_) | Err(_) => vec![Has::Silent; recalls.len()],
            };
            (member.incarnation, has)
        });
        join_all(asked.collect::<Vec<_>>()).await
    }

    /// Asks everybody again about what is taken.
    fn count_again(&self, now: Instant) {
        let due = self.table().due(now);
        for some in due.chunks(TOGETHER).map(<[Recall]>::to_vec) {
            let limits = self.clone();
            tokio::spawn(async move {
                let members: Vec<Incarnation> = limits.0.cluster.members().iter().map(|member| member.incarnation).collect();
                let answers = limits.ask_all(&some, None).await;
                for (place, recall) in some.iter().enumerate() {
                    let of_key: Vec<(Incarnation, Has)> = answers.iter().filter_map(|(node, has)| Some((*node, *has.get(place)?))).collect();
                    limits.table().counted(&recall.key, &of_key, &members, Instant::now());
                }
                limits.0.counted.notify_waiters();
            });
        }
    }

    fn recalled(&self, home: Incarnation, recall: &Recall) -> usize {
        lock(&self.0.sessions).recall(recall, home)
    }

    /// Brings freed places back to their homes.
    fn give_back(&self, members: &[Member], now: Instant) {
        let returns = lock(&self.0.sessions).returns(now);
        for home in members {
            let of_home: Vec<Return> = returns.iter().filter(|(id, _)| *id == home.incarnation).map(|(_, back)| back.clone()).collect();
            if home.incarnation == self.0.cluster.incarnation() {
                of_home.iter().for_each(|back| self.table().returned(home.incarnation, back));
            } else if !of_home.is_empty() {
                let (cluster, home) = (self.0.cluster.clone(), home.clone());
                // What does not arrive is found with the next count.
                tokio::spawn(async move { cluster.ask_json::<()>(&home, RETURN, &of_home, TELLING).await });
            }
        }
    }

    /// Tells all nodes what clients spent here.
    fn tell_spent(&self, speeds: bool, now: Instant) {
        let logins = lock(&self.0.logins).spent();
        let speeds = if speeds { lock(&self.0.sessions).speeds(SPEED_EVERY, now) } else { Vec::new() };
        if !logins.is_empty() || !speeds.is_empty() {
            let (cluster, spent) = (self.0.cluster.clone(), Spent { logins, speeds });
            tokio::spawn(async move { cluster.ask_all_json::<()>(SPENT, &spent, TELLING).await });
        }
    }

    fn hear(&self, node: Incarnation, spent: Spent) {
        let now = Instant::now();
        for (source, count) in spent.logins {
            lock(&self.0.logins).spent_elsewhere(source, count, now);
        }
        for speed in &spent.speeds {
            lock(&self.0.sessions).hear_speed(node, speed, now);
        }
    }

    /// The home of a key: of the members that stay and answer.
    fn home(&self, key: &Key) -> Option<Member> {
        let (members, me, now) = (self.0.cluster.members(), self.0.cluster.incarnation(), Instant::now());
        let mut suspects = self.suspects();
        suspects.retain(|_, until| *until > now);
        let answers = |member: &&Member| member.incarnation == me || (member.reachable && !suspects.contains_key(&member.incarnation));
        let good: Vec<&Member> = members.iter().filter(answers).collect();
        let staying: Vec<&Member> = good.iter().copied().filter(|member| !member.draining).collect();
        let bytes = key.bytes();
        let weight = |member: &&Member| -> [u8; 32] { Sha256::new().chain_update(member.incarnation.0.to_bytes()).chain_update(&bytes).finalize().into() };
        if staying.is_empty() { good } else { staying }.into_iter().max_by_key(weight).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }

    fn suspects(&self) -> MutexGuard<'_, super::Suspects> {
        lock(&self.0.suspects)
    }
}

const TAKE: &str = "limits/take";
const RECALL: &str = "limits/recall";
const RETURN: &str = "limits/return";
const SPENT: &str = "limits/spent";
/// Longest bodies: of one wish, of many words.
const WORD: usize = 4 << 10;
const WORDS: usize = 4 << 20;
/// Keys of one recall.
const TOGETHER: usize = 4_096;
/// Between two tellings; of speeds and counts every so many of them.
const OFTEN: Duration = Duration::from_millis(50);
const SPEEDS: u64 = 10;
const SPEED_EVERY: Duration = Duration::from_millis(500);
const COUNTS: u64 = 20;
/// For a home to answer; it asks the others meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);
const DECIDE: Duration = Duration::from_millis(180);
const COUNTING: Duration = Duration::from_millis(120);
const TELLING: Duration = Duration::from_secs(1);
/// Homes that are asked when one is silent, and how long that one is none.
const HOMES: usize = 2;
const SUSPECT: Duration = Duration::from_secs(5);
