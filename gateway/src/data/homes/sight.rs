//! Which homes a node sees: the members that stay and answer.
//!
//! Gets: the members, who did not answer this node, what others say of the silent. Gives: the home of a user or an address, and a name for the set of homes.
//! A port is granted only between two nodes that see the same homes, so one that is silent to somebody is no home to anybody: two homes of one client at a
//! time would give two of its sessions the same port.
//! Never: doubts a member for longer than 1.5 s after it answered; calls most of the members silent: it stands aside itself then.

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
    /// To this node itself.
    own: HashMap<Incarnation, Doubt>,
    /// To others, by their own words.
    told: HashMap<Incarnation, Instant>,
    /// What was seen last, of these members and with this in mind.
    last: Option<(Arc<[Node]>, Arc<Seen>)>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    until: Instant,
    /// It answers again. What is left of the doubt others have as well.
    over: bool,
}

impl Suspects {
    /// It did not answer just now.
    pub(super) fn add(&mut self, node: Incarnation, now: Instant) {
        if self.own.insert(node, Doubt { until: now + SUSPECT, over: false }).is_none() {
            self.last = None;
        }
    }

    fn answered(&mut self, node: Incarnation) {
        if let Some(doubt) = self.own.get_mut(&node) {
            doubt.over = true;
        }
    }

    /// Somebody else says so. Whether it is news.
    fn adopt(&mut self, silent: Silent, now: Instant) -> bool {
        let until = now + Duration::from_millis(silent.left.into()).min(SUSPECT);
        if until <= now {
            return false;
        }
        let known = self.told.get(&silent.node).copied();
        self.told.insert(silent.node, known.map_or(until, |known| known.max(until)));
        if known.is_none() {
            self.last = None;
        }
        known.is_none()
    }

    pub(super) fn contains(&self, node: Incarnation) -> bool {
        self.own.contains_key(&node) || self.told.contains_key(&node)
    }

    /// When the next one may be a home again.
    pub(super) fn until(&self) -> Option<Instant> {
        self.own.values().map(|doubt| doubt.until).chain(self.told.values().copied()).min()
    }

    /// Whether most of the members are silent to this node: then the trouble is here, and it stands aside itself.
    fn is_troubled(&self, members: &[Node]) -> bool {
        let missed = members.iter().filter(|node| !node.reachable || self.own.contains_key(&node.incarnation)).count();
        missed * 2 > members.len()
    }

    /// What `to` is told by `me`: who is silent to this node, or that it is in trouble. What this node was told it does not tell on, or two would keep each
    /// other in doubt; but to the silent one, whom the one that misses it may not reach.
    fn tell(&self, members: &[Node], (me, to): (Incarnation, Incarnation), now: Instant) -> Vec<Silent> {
        let left = |until: Instant| u32::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX);
        if self.is_troubled(members) {
            return vec![Silent { node: me, left: left(now + SUSPECT) }];
        }
        let until = |node: &Node| match self.own.get(&node.incarnation) {
            Some(doubt) => Some(doubt.until),
            // It answers no heartbeat of this node, whatever others say.
            None if !node.reachable => Some(now + SUSPECT),
            None => self.told.get(&node.incarnation).copied().filter(|_| node.incarnation == to),
        };
        let told = members.iter().filter_map(|node| Some(Silent { node: node.incarnation, left: left(until(node)?) }));
        told.filter(|silent| silent.left > 0).collect()
    }

    fn sweep(&mut self, now: Instant) {
        let known = (self.own.len(), self.told.len());
        self.own.retain(|_, doubt| doubt.until > now);
        self.told.retain(|_, until| *until > now);
        if (self.own.len(), self.told.len()) != known {
            self.last = None;
        }
    }

    /// The homes, and whether they were looked for anew.
    fn look(&mut self, members: &Arc<[Node]>, me: Incarnation, now: Instant) -> (Arc<Seen>, bool) {
        self.sweep(now);
        if let Some((of, seen)) = &self.last
            && Arc::ptr_eq(of, members)
        {
            return (seen.clone(), false);
        }
        let homes = self.homes_of(members, me);
        let seen = Arc::new(Seen { digest: digest_of(&homes), homes });
        self.last = Some((members.clone(), seen.clone()));
        (seen, true)
    }

    /// Members that may be homes: those that stay and answer; without any those that answer, and then all.
    fn homes_of(&self, members: &[Node], me: Incarnation) -> Vec<Node> {
        let troubled = self.is_troubled(members);
        let answers = |node: &&Node| match troubled {
            // Others see those that this node misses.
            true => node.incarnation != me && !self.told.contains_key(&node.incarnation),
            false => node.reachable && !self.contains(node.incarnation),
        };
        let some = |which: &dyn Fn(&&Node) -> bool| Some(members.iter().filter(which).cloned().collect::<Vec<_>>()).filter(|homes| !homes.is_empty());
        let stay = some(&|node| !node.draining && answers(node));
        stay.or_else(|| some(&answers)).unwrap_or_else(|| members.to_vec())
    }
}

impl Desk {
    /// The home of a user or an address, as this node sees the members.
    pub(super) fn home(&self, key: &[u8]) -> Option<Node> {
        self.look().homes.iter().max_by_key(|node| weight(node.incarnation, key)).cloned()
    }

    /// The homes. When they are others than before, everything is told anew.
    pub(super) fn look(&self) -> Arc<Seen> {
        let now = Instant::now();
        let mut suspects = self.suspects();
        let members = self.0.cluster.members();
        let (seen, anew) = suspects.look(&members, self.0.cluster.incarnation(), now);
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

    /// What a node is told of the silent.
    pub(super) fn silent(&self, to: Incarnation) -> Vec<Silent> {
        self.suspects().tell(&self.0.cluster.members(), (self.0.cluster.incarnation(), to), Instant::now())
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
                let own = suspects.own.iter().filter(|(_, doubt)| !doubt.over).map(|(node, _)| *node).collect::<HashSet<_>>();
                (own, suspects.told.keys().copied().collect::<HashSet<_>>())
            };
            let all = !own.is_empty() || members.iter().any(|node| !node.reachable);
            let (own, others) = (&own, members.iter().filter(|node| node.incarnation != me && (all || silent.contains(&node.incarnation))));
            let ask = others.map(|node| async move {
                let letter = self.letter(node.incarnation, Word::Look);
                let answer = self.0.cluster.ask_json::<Answer>(node, HOME, &letter, PATIENCE).await;
                if let Ok(Answer::Looked { silent }) = &answer
                    && self.learn(node.incarnation, silent)
                {
                    return;
                }
                match answer {
                    _ if !own.contains(&node.incarnation) => {}
                    Ok(_) | Err(AskError::Refused(_)) => self.suspects().answered(node.incarnation),
                    Err(_) => self.suspects().add(node.incarnation, Instant::now()),
                }
            });
            join_all(ask).await;
        }
    }

    /// What a node answers of the silent. Whether it stands aside itself: it may reach nobody, so whoever hears that passes it on.
    pub(super) fn learn(&self, from: Incarnation, silent: &[Silent]) -> bool {
        let aside = silent.iter().any(|silent| silent.node == from);
        if aside {
            self.suspects().add(from, Instant::now());
            self.look();
        } else {
            self.adopt(silent);
        }
        aside
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
        let all = [node(false, true), node(false, true), node(true, true), node(true, true), node(true, true)];
        let (mut suspects, me, now) = (Suspects::default(), all[4].incarnation, Instant::now());
        let homes = |suspects: &Suspects| {
            let homes = suspects.homes_of(&all, me);
            homes.iter().map(|home| all.iter().position(|one| one == home).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(homes(&suspects), [0, 1]);
        suspects.add(all[0].incarnation, now);
        assert_eq!(homes(&suspects), [1]);
        suspects.adopt(Silent { node: all[1].incarnation, left: 9 }, now);
        assert_eq!(homes(&suspects), [2, 3, 4], "one that drains is better than none");
        (2..5).for_each(|place| _ = suspects.adopt(Silent { node: all[place].incarnation, left: 9 }, now));
        assert_eq!(homes(&suspects), [0, 1, 2, 3, 4], "all are as good as one another");
        let reversed: Vec<Node> = all.iter().rev().cloned().collect();
        assert_eq!(digest_of(&all), digest_of(&reversed));
        assert_ne!(digest_of(&all), digest_of(&all[1..]));
    }

    #[test]
    fn who_misses_most_members_stands_aside_and_calls_nobody_silent() {
        let (all, now) = ([node(false, true), node(false, true), node(false, false)], Instant::now());
        let [me, other, deaf] = [0, 1, 2].map(|place| all[place].incarnation);
        let mut suspects = Suspects::default();
        let silent = |suspects: &Suspects, to| suspects.tell(&all, (me, to), now).iter().map(|silent| silent.node).collect::<Vec<_>>();
        assert_eq!((silent(&suspects, other), suspects.homes_of(&all, me)), (vec![deaf], all[..2].to_vec()));
        suspects.add(other, now);
        assert_eq!(silent(&suspects, other), [me], "two of three are silent: it is this node");
        assert_eq!(suspects.homes_of(&all, me), all[1..], "as everybody else sees them");
        suspects.sweep(now + SUSPECT);
        suspects.adopt(Silent { node: other, left: 100 }, now);
        assert_eq!((silent(&suspects, deaf), silent(&suspects, other)), (vec![deaf], vec![other, deaf]), "hearsay goes to the silent one alone");
    }

    #[test]
    fn what_is_seen_is_looked_for_again_when_members_or_silent_ones_change() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let members: Arc<[Node]> = [node(false, true), node(false, true)].into();
        let me = members[1].incarnation;
        let (seen, anew) = suspects.look(&members, me, now);
        assert!(anew && seen.homes.len() == 2);
        assert!(!suspects.look(&members, me, now).1);
        suspects.add(members[0].incarnation, now);
        let (seen, anew) = suspects.look(&members, me, now);
        assert!(anew && seen.homes == members[1..]);
        suspects.add(members[0].incarnation, now + PROBE);
        assert!(!suspects.look(&members, me, now + SUSPECT).1, "it was silent again");
        suspects.answered(members[0].incarnation);
        assert!(suspects.contains(members[0].incarnation), "others still doubt it");
        assert!(suspects.look(&members, me, now + SUSPECT + PROBE).1);
        let fewer: Arc<[Node]> = members[..1].into();
        assert_eq!(suspects.look(&fewer, me, now).0.homes, members[..1]);
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
