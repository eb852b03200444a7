//! Which homes a node sees: the members that stay and answer.
//!
//! Gets: the members, who did not answer this node, what others say of the silent. Gives: the home of a user or an address, and a name for the set of homes.
//! A port is granted only between two nodes that see the same homes, so one that is silent to somebody is no home to anybody: two homes of one client at a
//! time would give two of its sessions the same port.
//! Never: doubts a member for longer than 1.5 s after it answered; spreads the word when more than half of the members are silent to it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::desk::{Desk, PATIENCE};
use super::words::{Answer, HOME, Letter, Silent, Word};
use crate::cluster::{AskError, Member as Node};
use crate::observe::id::Incarnation;

/// The homes as a node sees them.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) homes: Vec<Node>,
    /// Equal for equal sets.
    pub(super) digest: u64,
}

/// Members that were silent, and until when others stand in for them.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    until: HashMap<Incarnation, Instant>,
    /// Those of them that were silent to this node itself: it asks again whether they answer.
    own: HashSet<Incarnation>,
    /// What was seen last, of these members and with this in mind.
    last: Option<(Arc<[Node]>, Arc<Seen>)>,
}

impl Suspects {
    /// It did not answer just now.
    pub(super) fn add(&mut self, node: Incarnation, now: Instant) {
        self.own.insert(node);
        if self.until.insert(node, now + SUSPECT).is_none() {
            self.last = None;
        }
    }

    /// It answers. Those who have heard of its silence go on for what is left of their time, and so does this node.
    fn answered(&mut self, node: Incarnation) {
        self.own.remove(&node);
    }

    /// Somebody else says so. Whether it is news.
    fn adopt(&mut self, silent: Silent, now: Instant) -> bool {
        let until = now + Duration::from_millis(silent.left.into()).min(SUSPECT);
        if until <= now {
            return false;
        }
        match self.until.entry(silent.node) {
            Entry::Occupied(mut known) => {
                let until = until.max(*known.get());
                known.insert(until);
                false
            }
            Entry::Vacant(vacant) => {
                vacant.insert(until);
                self.last = None;
                true
            }
        }
    }

    pub(super) fn contains(&self, node: Incarnation) -> bool {
        self.until.contains_key(&node)
    }

    /// When the next one may be a home again.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    fn sweep(&mut self, now: Instant) {
        let known = self.until.len();
        self.until.retain(|_, until| *until > now);
        if self.until.len() != known {
            self.own.retain(|node| self.until.contains_key(node));
            self.last = None;
        }
    }

    /// The homes, and whether they were looked for anew.
    fn look(&mut self, members: &Arc<[Node]>, now: Instant) -> (Arc<Seen>, bool) {
        self.sweep(now);
        if let Some((of, seen)) = &self.last
            && Arc::ptr_eq(of, members)
        {
            return (seen.clone(), false);
        }
        let homes = homes_of(members, self);
        let seen = Arc::new(Seen { digest: digest_of(&homes), homes });
        self.last = Some((members.clone(), seen.clone()));
        (seen, true)
    }
}

impl Desk {
    /// The home of a user or an address, as this node sees the members.
    pub(super) fn home(&self, key: &[u8]) -> Option<Node> {
        self.look().homes.iter().max_by_key(|node| weight(node.incarnation, key)).cloned()
    }

    /// Members that may be homes: those that stay and answer; without any those that answer, and then all. When they are others than before, everything is
    /// told anew.
    pub(super) fn look(&self) -> Arc<Seen> {
        let now = Instant::now();
        let mut suspects = self.suspects();
        let members = self.0.cluster.members();
        let (seen, anew) = suspects.look(&members, now);
        if anew {
            let all: Vec<Incarnation> = members.iter().map(|member| member.incarnation).collect();
            // Under the lock of the suspects, so that no older look comes after this one.
            if self.table().set_members(seen.digest, &all, now) {
                self.0.anew.notify_one();
            }
        }
        seen
    }

    /// A word to a node, with what this one sees.
    pub(super) fn letter(&self, to: Incarnation, word: Word) -> Letter {
        Letter { digest: self.look().digest, silent: self.silent(to), word }
    }

    /// What a node is told of the silent: who is silent to this node itself. What this node was told it does not tell on, or two would keep each other in doubt;
    /// but to the silent one, whom nobody else may reach. Nothing when most of the members are silent: then the trouble is here.
    pub(super) fn silent(&self, to: Incarnation) -> Vec<Silent> {
        let (members, now) = (self.0.cluster.members(), Instant::now());
        let suspects = self.suspects();
        let left = |until: Instant| u32::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX);
        let mut told = Vec::new();
        for node in members.iter().map(|member| member.incarnation) {
            if let Some(until) = suspects.until.get(&node).filter(|_| node == to || suspects.own.contains(&node)) {
                told.push(Silent { node, left: left(*until) });
            }
        }
        // They answer no heartbeat of this node, whatever others say.
        let deaf = members.iter().filter(|node| !node.reachable && !suspects.own.contains(&node.incarnation));
        told.extend(deaf.map(|node| Silent { node: node.incarnation, left: left(now + SUSPECT) }));
        told.retain(|silent| silent.left > 0);
        if told.len() * 2 > members.len() { Vec::new() } else { told }
    }

    /// Asks those that were silent to this node again and again, until they answer or are no members. Reminds all others of them, and of those that answer no
    /// heartbeat; and the silent ones themselves, whoever missed them. Runs until it is dropped.
    pub(super) async fn probe(&self) {
        let me = self.0.cluster.incarnation();
        loop {
            sleep(PROBE).await;
            let members = self.0.cluster.members();
            let (own, silent) = {
                let suspects = self.suspects();
                (suspects.own.clone(), suspects.until.keys().copied().collect::<HashSet<_>>())
            };
            let all = !own.is_empty() || members.iter().any(|node| !node.reachable);
            let (own, others) = (&own, members.iter().filter(|node| node.incarnation != me && (all || silent.contains(&node.incarnation))));
            let ask = others.map(|node| async move {
                let letter = self.letter(node.incarnation, Word::Look);
                let answer = self.0.cluster.ask_json::<Answer>(node, HOME, &letter, PATIENCE).await;
                match answer {
                    _ if !own.contains(&node.incarnation) => {}
                    Ok(_) | Err(AskError::Refused(_)) => self.suspects().answered(node.incarnation),
                    Err(_) => self.suspects().add(node.incarnation, Instant::now()),
                }
            });
            join_all(ask).await;
        }
    }

    /// What another node says of the silent.
    pub(super) fn adopt(&self, silent: &[Silent]) {
        let (members, now) = (self.0.cluster.members(), Instant::now());
        let mut suspects = self.suspects();
        let known = silent.iter().filter(|silent| members.iter().any(|member| member.incarnation == silent.node));
        if known.filter(|silent| suspects.adopt(**silent, now)).count() > 0 {
            self.0.anew.notify_one();
        }
    }
}

fn homes_of(members: &[Node], suspects: &Suspects) -> Vec<Node> {
    let answers = |node: &&Node| node.reachable && !suspects.contains(node.incarnation);
    let some = |which: &dyn Fn(&&Node) -> bool| Some(members.iter().filter(which).cloned().collect::<Vec<_>>()).filter(|homes| !homes.is_empty());
    let stay = some(&|node| !node.draining && answers(node));
    stay.or_else(|| some(&answers)).unwrap_or_else(|| members.to_vec())
}

fn digest_of(homes: &[Node]) -> u64 {
    let mut ids: Vec<_> = homes.iter().map(|node| node.incarnation.0.to_bytes()).collect();
    ids.sort_unstable();
    let digest = ids.iter().fold(Sha256::new(), |digest, id| digest.chain_update(id)).finalize();
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// The highest weight is the home (rendezvous hashing): a member that goes or comes moves only what was or will be its own.
pub(super) fn weight(node: Incarnation, key: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(node.0.to_bytes()).chain_update(key).finalize().into()
}

/// The key of an address, which is no user's name.
pub(super) fn address_key(ip: IpAddr) -> Vec<u8> {
    format!("\0{ip}").into_bytes()
}

/// A home that was silent is no home for that long, and for as long as it stays silent.
const SUSPECT: Duration = Duration::from_millis(1500);
/// Between two questions whether it is; twice this and the time for the answer are less than the above, so that others are reminded in time.
const PROBE: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn node(draining: bool, reachable: bool) -> Node {
        let incarnation = Incarnation::now();
        Node { name: "n".into(), incarnation, address: "192.0.2.1:1".parse().unwrap(), draining, version: String::new(), lines: Vec::new(), reachable }
    }

    #[test]
    fn homes_are_those_that_stay_and_answer_or_the_next_best() {
        let all = [node(false, true), node(false, true), node(true, true), node(false, false)];
        let mut suspects = Suspects::default();
        let homes = |suspects: &Suspects| homes_of(&all, suspects).iter().map(|home| all.iter().position(|one| one == home).unwrap()).collect::<Vec<_>>();
        assert_eq!(homes(&suspects), [0, 1]);
        let now = Instant::now();
        suspects.add(all[0].incarnation, now);
        assert_eq!(homes(&suspects), [1]);
        suspects.add(all[1].incarnation, now);
        assert_eq!(homes(&suspects), [2], "one that drains is better than none");
        suspects.add(all[2].incarnation, now);
        assert_eq!(homes(&suspects), [0, 1, 2, 3], "all are as good as one another");
        let reversed: Vec<Node> = all.iter().rev().cloned().collect();
        assert_eq!(digest_of(&all), digest_of(&reversed));
        assert_ne!(digest_of(&all), digest_of(&all[1..]));
    }

    #[test]
    fn what_is_seen_is_looked_for_again_when_members_or_silent_ones_change() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let members: Arc<[Node]> = [node(false, true), node(false, true)].into();
        let (seen, anew) = suspects.look(&members, now);
        assert!(anew && seen.homes.len() == 2);
        assert!(!suspects.look(&members, now).1);
        suspects.add(members[0].incarnation, now);
        let (seen, anew) = suspects.look(&members, now);
        assert!(anew && seen.homes == members[1..]);
        suspects.add(members[0].incarnation, now + PROBE);
        assert!(!suspects.look(&members, now + SUSPECT).1, "it was silent again");
        suspects.answered(members[0].incarnation);
        assert!(suspects.own.is_empty() && suspects.contains(members[0].incarnation), "others still doubt it");
        assert!(suspects.look(&members, now + SUSPECT + PROBE).1);
        let fewer: Arc<[Node]> = members[..1].into();
        assert_eq!(suspects.look(&fewer, now).0.homes, members[..1]);
    }

    #[test]
    fn what_others_say_of_the_silent_ends_with_their_own_doubt() {
        let (mut suspects, one, now) = (Suspects::default(), Incarnation::now(), Instant::now());
        assert!(suspects.adopt(Silent { node: one, left: 300 }, now) && suspects.contains(one));
        assert!(!suspects.adopt(Silent { node: one, left: 200 }, now), "no news");
        assert_eq!(suspects.until(), Some(now + Duration::from_millis(300)));
        let now = now + Duration::from_millis(300);
        suspects.sweep(now);
        assert!(!suspects.contains(one));
        assert!(!suspects.adopt(Silent { node: one, left: 0 }, now), "over before it came");
        assert!(suspects.adopt(Silent { node: one, left: u32::MAX }, now));
        assert_eq!(suspects.until(), Some(now + SUSPECT), "nobody is believed for longer");
        suspects.sweep(now + SUSPECT);
        assert_eq!(suspects.until(), None);
    }
}
