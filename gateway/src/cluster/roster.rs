//! The heartbeat in the store: one list of who lives, for nodes to which no entry of `cluster.peers` leads.
//!
//! Gets: the store. Gives: addresses to call, and the secret lines of nodes that only the store connects with this one.
//! Never: makes a member of what the store says (whoever is called and answers becomes one), or lists the store.

use std::collections::BTreeMap;
use std::time::Duration;

use ftps_store::key::Kind;
use ftps_store::vault::Vault;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Cluster;
use super::members::Member;
use crate::observe::id::Incarnation;

/// A node, as it wrote itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    me: Member,
    /// Rises with each beat: who reads it needs no common clock.
    beat: u64,
}

/// What the list said, and since when.
#[derive(Debug, Default)]
pub(super) struct Roster(BTreeMap<Incarnation, Seen>);

#[derive(Debug)]
struct Seen {
    row: Row,
    since: Instant,
}

impl Roster {
    /// Those who beat lately, this node not among them.
    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = &Member> {
        self.0.values().filter(move |seen| now.saturating_duration_since(seen.since) < STALE).map(|seen| &seen.row.me)
    }

    /// Takes in a list. Who is seen for the first time counts as alive: nobody can know better yet.
    fn read(&mut self, rows: Vec<Row>, me: Incarnation, now: Instant) {
        for row in rows.into_iter().filter(|row| row.me.incarnation != me).take(MOST) {
            let same = self.0.get(&row.me.incarnation).is_some_and(|seen| seen.row.beat == row.beat);
            if !same {
                self.0.insert(row.me.incarnation, Seen { row, since: now });
            }
        }
        self.0.retain(|_, seen| now.saturating_duration_since(seen.since) < FORGOTTEN);
    }

    /// The list to write: this node anew, and whoever is not known to have fallen silent.
    fn next(&self, current: Vec<Row>, me: Row, now: Instant) -> Vec<Row> {
        let silent = |row: &Row| {
            let seen = self.0.get(&row.me.incarnation);
            seen.is_some_and(|seen| seen.row.beat == row.beat && now.saturating_duration_since(seen.since) >= STALE)
        };
        let id = me.me.incarnation;
        let others = current.into_iter().filter(|row| row.me.incarnation != id && !silent(row)).take(MOST - 1);
        std::iter::once(me).chain(others).collect()
    }
}

impl Cluster {
    /// Says in the store that this node lives and learns who else does, for as long as it is polled. What the store does not take now it takes later.
    pub async fn beat_in_store(&self, vault: &Vault) {
        let mut clock = interval(BEAT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for beat in 0.. {
            clock.tick().await;
            self.read_roster(vault).await;
            let me = Row { me: self.me(), beat };
            let next = |current: Option<&[u8]>| {
                let rows = current.map(decode).unwrap_or_default();
                serde_json::to_vec(&self.roster_locked().next(rows, me.clone(), Instant::now())).ok()
            };
            if let Err(error) = vault.agree(Kind::Member, ID, Some(LIFE), next).await {
                tracing::debug!(%error, "the store takes no heartbeat");
            }
        }
    }

    /// While nodes seal under different secrets there are several lists.
    async fn read_roster(&self, vault: &Vault) {
        let lists = vault.all(Kind::Member, ID).await;
        let (now, me) = (Instant::now(), self.incarnation());
        let mut roster = self.roster_locked();
        lists.iter().for_each(|list| roster.read(decode(list), me, now));
        let addresses: Vec<_> = roster.live(now).map(|member| member.address).collect();
        drop(roster);
        self.call_also(&addresses);
    }
}

fn decode(body: &[u8]) -> Vec<Row> {
    serde_json::from_slice(body).unwrap_or_default()
}

const ID: &[u8] = b"roster";
/// How often a node writes itself.
const BEAT: Duration = Duration::from_secs(2);
/// Without a beat for so long a node does not live.
const STALE: Duration = Duration::from_secs(10);
/// Then nothing of it is remembered.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The list's own life: it is written anew all the time.
const LIFE: Duration = Duration::from_secs(120);
/// Nodes in the list.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn row(id: Incarnation, beat: u64) -> Row {
        let address = "127.0.0.1:7121".parse().unwrap();
        let lines = vec!["l".to_owned()];
        Row { me: Member { name: "n".to_owned(), incarnation: id, address, draining: false, version: "0".to_owned(), lines, reachable: true }, beat }
    }

    #[test]
    fn who_beats_lives_and_who_fell_silent_is_taken_off_the_list() {
        let (me, other, now) = (Incarnation::now(), Incarnation::now(), Instant::now());
        let mut roster = Roster::default();
        roster.read(vec![row(me, 1), row(other, 7)], me, now);
        assert_eq!(roster.live(now).count(), 1, "others only");
        roster.read(vec![row(other, 8)], me, now + STALE / 2);
        let later = now + STALE;
        assert_eq!(roster.live(later).count(), 1);
        assert_eq!(roster.next(vec![row(me, 1), row(other, 8)], row(me, 2), later).len(), 2);
        let silent = now + STALE * 2;
        assert_eq!(roster.live(silent).count(), 0);
        assert_eq!(roster.next(vec![row(other, 8)], row(me, 2), silent).len(), 1);
        assert_eq!(roster.next(vec![row(other, 9)], row(me, 2), silent).len(), 2, "it has just come back");
        roster.read(Vec::new(), me, now + FORGOTTEN * 2);
        assert!(roster.0.is_empty());
    }

    #[test]
    fn a_list_is_read_back_and_nonsense_is_an_empty_one() {
        let id = Incarnation::now();
        let body = serde_json::to_vec(&vec![row(id, 3)]).unwrap();
        assert_eq!(decode(&body)[0].me.incarnation, id);
        assert!(decode(b"[{]").is_empty() && decode(&[0xff; 9]).is_empty());
    }
}
