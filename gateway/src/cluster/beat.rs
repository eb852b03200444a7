//! The heartbeat: every member calls every other one twice a second, and addresses where somebody may be every two seconds.
//!
//! Gets: the members, `cluster.peers`. Gives: who lives, by their own answers; goodbyes.
//! Never: waits for one peer before it calls the next, or calls one again that still owes its answer.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::link::Question;
use super::members::{BEAT, Beat, FORGET};
use super::names::{Names, advertised};
use super::{AskError, Caller, Cluster, Handlers, Refused};
use crate::observe::id::Incarnation;

/// How far the clocks of the members are from ours.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    skews: HashMap<Incarnation, (i64, Instant)>,
    heard: u64,
}

impl Clocks {
    /// The widest difference.
    pub(super) fn widest(&self) -> Duration {
        let fresh = self.skews.values().filter(|(_, when)| when.elapsed() < FORGET * 2);
        Duration::from_millis(fresh.map(|(skew, _)| skew.unsigned_abs()).max().unwrap_or(0))
    }

    /// When a member last answered, in Unix seconds.
    pub(super) fn heartbeat(&self) -> i64 {
        i64::try_from(self.heard / 1000).unwrap_or(i64::MAX)
    }

    /// A member's clock, read somewhere between `sent` and now.
    fn note(&mut self, member: Incarnation, clock: u64, sent: u64, now: u64) {
        self.skews.retain(|_, (_, when)| when.elapsed() < FORGET * 2);
        let middle = sent / 2 + now / 2;
        let skew = i64::try_from(clock).unwrap_or(i64::MAX).saturating_sub(i64::try_from(middle).unwrap_or(i64::MAX));
        self.skews.insert(member, (skew, Instant::now()));
        self.heard = now;
    }
}

/// Answers beats and goodbyes.
pub(super) fn register(cluster: &Cluster, handlers: &mut Handlers) {
    let answering = cluster.clone();
    handlers.on_json(CALLED, LONGEST, move |_, beat: Beat| {
        let cluster = answering.clone();
        async move { Ok::<_, Refused>(cluster.called(&beat)) }
    });
    let leaving = cluster.clone();
    handlers.on(LEAVE, 0, move |caller: Caller, _| {
        let cluster = leaving.clone();
        async move {
            let mut members = cluster.members_locked();
            let changes = members.left(caller.incarnation, Instant::now());
            cluster.changed(members, &changes);
            Ok(Vec::new())
        }
    });
}

/// Beats, and looks names up, for as long as it is polled.
pub(super) async fn run(cluster: Cluster) {
    tokio::join!(beats(&cluster), look_up(&cluster));
}

async fn beats(cluster: &Cluster) {
    let mut calls = JoinSet::new();
    let mut waiting = HashSet::new();
    let mut clock = interval(BEAT);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = cluster.0.wake.notified() => {}
            Some(answered) = calls.join_next(), if !calls.is_empty() => {
                waiting.remove(&answered.unwrap_or(NOBODY));
                continue;
            }
        }
        let now = Instant::now();
        cluster.0.links.sweep(now);
        let mut members = cluster.members_locked();
        let changes = members.tick(now);
        let addresses = members.due(now);
        cluster.changed(members, &changes);
        for address in addresses {
            if waiting.insert(address) {
                calls.spawn(call(cluster.clone(), address));
            }
        }
    }
}

/// One beat to one address; gives the address back.
async fn call(cluster: Cluster, address: SocketAddr) -> SocketAddr {
    let sent = unix_ms();
    let beat = cluster.members_locked().beat(sent);
    // Strings and numbers always have a JSON form.
    let body = serde_json::to_vec(&beat).unwrap_or_default();
    let answer = cluster.call(address, Question { path: CALLED, body, within: PATIENCE, to: None }).await;
    let answer = answer.and_then(|body| serde_json::from_slice::<Beat>(&body).map_err(|error| AskError::Broken(error.to_string())));
    match answer {
        Ok(beat) => {
            let mut members = cluster.members_locked();
            let changes = members.answered(address, &beat, Instant::now());
            cluster.changed(members, &changes);
            if beat.me.incarnation != cluster.incarnation() {
                cluster.0.clocks.lock().unwrap_or_else(PoisonError::into_inner).note(beat.me.incarnation, beat.clock, sent, unix_ms());
            }
        }
        Err(error) => tracing::debug!(%address, %error, "a peer does not answer"),
    }
    address
}

/// Looks names up again and again; the address of this node may follow from what is found.
async fn look_up(cluster: &Cluster) {
    let shared = &cluster.0;
    let mut names = Names::new(&shared.peers);
    loop {
        cluster.members_locked().list(names.addresses());
        names.resolve().await;
        let found = names.addresses();
        let address = advertised(shared.advertise, shared.listens, &found);
        if !shared.routed && !found.is_empty() && address != cluster.me().address {
            cluster.set_me(|me| me.address = address);
        }
        if cluster.members_locked().list(found) {
            shared.wake.notify_one();
        }
        sleep(RESOLVE).await;
    }
}

impl Cluster {
    /// A peer called: this is what it said, and what we answer.
    fn called(&self, beat: &Beat) -> Beat {
        let mut members = self.members_locked();
        let changes = members.called(beat, Instant::now());
        let answer = members.beat(unix_ms());
        // Whoever is new is called back, to see whether it can be.
        let new = !changes.is_empty();
        self.changed(members, &changes);
        if new {
            self.0.wake.notify_one();
        }
        answer
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// The path of a heartbeat.
const CALLED: &str = "beat";
/// The path of a goodbye.
pub(super) const LEAVE: &str = "leave";
/// Bytes of a heartbeat: 256 members have 300 each.
const LONGEST: usize = 256 * 1024;
/// For an answer; three of them fit into what a silent member is given.
const PATIENCE: Duration = Duration::from_millis(1300);
/// How often names are looked up.
const RESOLVE: Duration = Duration::from_secs(3);
/// Stands for a call that panicked; nobody has this address.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
