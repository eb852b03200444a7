//! The other nodes: who they are, asking them, answering them.
//!
//! Gets: secrets, addresses, handlers of the rooms. Gives: the live members and what changes among them; answers of one member or of all, each by a deadline.
//! Never: makes a login, a transfer or a probe wait for another node; a cluster of one has no port, no task and no cost.

mod beat;
mod handlers;
mod keys;
mod link;
mod members;
mod names;
mod port;
mod roster;
mod secrets;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ftps_store::seal::Secrets;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::keys::Keys;
use self::link::{Links, Question};
use self::members::{Change, Members};
use self::roster::Roster;
use crate::observe::id::Incarnation;
use crate::observe::peers::{CallResult, Census, PeerTrouble};
use crate::observe::{Event, Observer, PeerEvent, Subject};

pub use self::handlers::{Caller, DataLink, Handlers, Refused};
pub use self::link::AskError;
pub use self::members::Member;
pub use self::names::{Advertise, Peer};
pub use self::secrets::read_secrets;

/// `cluster:` and `listen.peer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `cluster.name`.
    pub name: String,
    /// `cluster.secret_file`; `None`: a cluster of one.
    pub secret_file: Option<PathBuf>,
    /// `listen.peer`.
    pub listen: SocketAddr,
    /// `cluster.advertise`.
    pub advertise: Option<Advertise>,
    /// `cluster.peers`.
    pub peers: Vec<Peer>,
}

/// Who this node is in its cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `node.name`.
    pub name: String,
    /// This start.
    pub incarnation: Incarnation,
}

/// The cluster, as this node knows it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    identity: Identity,
    /// `cluster.name`.
    name: String,
    observer: Observer,
    /// `None`: a cluster of one.
    keys: ArcSwapOption<Keys>,
    members: Mutex<Members>,
    /// What the store's list of nodes says.
    roster: Mutex<Roster>,
    view: watch::Sender<Arc<[Member]>>,
    links: Links,
    /// Somebody may be new: the next beat comes at once.
    wake: Notify,
    /// The widest difference between a member's clock and ours, in ms, and the last time a beat was answered, in Unix ms.
    clocks: Mutex<beat::Clocks>,
    peers: Vec<Peer>,
    advertise: Option<Advertise>,
    listens: SocketAddr,
    /// The configuration says an address that this node's own follows from: one of the store or of a peer.
    routed: bool,
}

impl Cluster {
    /// A cluster of one: nobody is asked, nobody asks.
    pub fn alone(identity: Identity, observer: Observer) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { name: String::new(), secret_file: None, listen, advertise: None, peers: Vec::new() };
        Self::with(identity, &config, listen, &[], observer)
    }

    /// A member of the cluster that shares `secrets`. `listens`: where its peer port really is; `store`: an address of the store, if it has one.
    ///
    /// # Errors
    /// The library refuses a key; it has no reason to.
    pub fn new(
        identity: Identity,
        config: &Config,
        secrets: &Secrets,
        listens: SocketAddr,
        store: Option<SocketAddr>,
        observer: Observer,
    ) -> Result<Self, rustls::Error> {
        let store: Vec<_> = store.into_iter().collect();
        let cluster = Self::with(identity, config, listens, &store, observer);
        cluster.set_secrets(secrets)?;
        Ok(cluster)
    }

    fn with(identity: Identity, config: &Config, listens: SocketAddr, store: &[SocketAddr], observer: Observer) -> Self {
        let statics = config.peers.iter().filter_map(|peer| match peer {
            Peer::At(address) => Some(*address),
            Peer::Name(..) => None,
        });
        let targets: Vec<_> = store.iter().copied().chain(statics).collect();
        let me = Member {
            name: identity.name.clone(),
            incarnation: identity.incarnation,
            address: names::advertised(config.advertise, listens, &targets),
            draining: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lines: Vec::new(),
            reachable: true,
        };
        let members = Members::new(me, Instant::now());
        let view = watch::Sender::new(members.live().into());
        Self(Arc::new(Shared {
            identity,
            name: config.name.clone(),
            observer,
            keys: ArcSwapOption::empty(),
            members: Mutex::new(members),
            roster: Mutex::default(),
            view,
            links: Links::default(),
            wake: Notify::new(),
            clocks: Mutex::default(),
            peers: config.peers.clone(),
            advertise: config.advertise,
            listens,
            routed: !targets.is_empty(),
        }))
    }

    /// Answers peers at `listener` and keeps the members known, until `stop`. `handlers` are those of all rooms.
    pub async fn run(self, listener: TcpListener, mut handlers: Handlers, stop: CancellationToken) {
        beat::register(&self, &mut handlers);
        let port = port::serve(listener, self.clone(), Arc::new(handlers), stop.clone());
        tokio::join!(port, stop.run_until_cancelled(beat::run(self.clone())));
    }

    /// This node.
    pub fn me(&self) -> Member {
        self.members_locked().me().clone()
    }

    /// This start of this node.
    pub fn incarnation(&self) -> Incarnation {
        self.0.identity.incarnation
    }

    /// The live members, this node among them, oldest start first.
    pub fn members(&self) -> Arc<[Member]> {
        self.0.view.borrow().clone()
    }

    /// The members again, and whenever they change.
    pub fn watch(&self) -> watch::Receiver<Arc<[Member]>> {
        self.0.view.subscribe()
    }

    /// The member that started first leads, where nothing better decides.
    pub fn leads(&self) -> bool {
        self.members().first().is_none_or(|first| first.incarnation == self.incarnation())
    }

    /// The place in the secret file of the line that seals: the first one that every live member holds, those included that only the store's list names; the
    /// last one if there is none.
    pub fn sealing_line(&self) -> usize {
        let members = self.members();
        let roster = self.roster_locked();
        let all: Vec<&Member> = members.iter().chain(roster.live(Instant::now())).collect();
        let all_hold = |line: &String| all.iter().all(|member| member.lines.contains(line));
        self.me().lines.iter().position(all_hold).unwrap_or_else(|| self.oldest_line())
    }

    /// The place of the last line: whoever is a member holds it.
    pub fn oldest_line(&self) -> usize {
        self.me().lines.len().saturating_sub(1)
    }

    /// The secret file was read again. Connections that stand go on.
    ///
    /// # Errors
    /// The library refuses a key; it has no reason to. The old ones stay.
    pub fn set_secrets(&self, secrets: &Secrets) -> Result<(), rustls::Error> {
        let keys = Keys::new(secrets, &self.0.name)?;
        let lines = keys.lines().iter().map(|line| line.name.clone()).collect();
        self.0.keys.store(Some(Arc::new(keys)));
        self.set_me(|me| me.lines = lines);
        Ok(())
    }

    /// The node drains, or does so no longer: peers are told at once.
    pub fn set_draining(&self, draining: bool) {
        self.set_me(|me| me.draining = draining);
    }

    /// Asks one member. The call may have arrived even when there is no answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, member: &Member, path: &str, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, AskError> {
        self.call(member.address, Question { path, body, within, to: Some(member.incarnation) }).await
    }

    /// Like [`Cluster::ask`], with JSON both ways.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_json<R: DeserializeOwned>(&self, member: &Member, path: &str, question: &impl Serialize, within: Duration) -> Result<R, AskError> {
        let body = serde_json::to_vec(question).map_err(|error| AskError::Broken(error.to_string()))?;
        let answer = self.ask(member, path, body, within).await?;
        serde_json::from_slice(&answer).map_err(|error| AskError::Broken(error.to_string()))
    }

    /// Asks all live members but this node, at the same time. Each has an answer or a reason; none is missing.
    pub async fn ask_all(&self, path: &str, body: Vec<u8>, within: Duration) -> Vec<(Member, Result<Vec<u8>, AskError>)> {
        let mut calls = JoinSet::new();
        let me = self.incarnation();
        for member in self.members().iter().filter(|member| member.incarnation != me) {
            let (cluster, member, path, body) = (self.clone(), member.clone(), path.to_owned(), body.clone());
            calls.spawn(async move {
                let answer = cluster.ask(&member, &path, body, within).await;
                (member, answer)
            });
        }
        calls.join_all().await
    }

    /// Like [`Cluster::ask_all`], with JSON both ways.
    pub async fn ask_all_json<R: DeserializeOwned>(&self, path: &str, question: &impl Serialize, within: Duration) -> Vec<(Member, Result<R, AskError>)> {
        let body = serde_json::to_vec(question).unwrap_or_default();
        let read = |answer: Vec<u8>| serde_json::from_slice(&answer).map_err(|error| AskError::Broken(error.to_string()));
        self.ask_all(path, body, within).await.into_iter().map(|(member, answer)| (member, answer.and_then(read))).collect()
    }

    /// A connection to a member for a data connection's bytes; the first byte, `D`, is written.
    ///
    /// # Errors
    /// What the system says, or that the deadline passed.
    pub async fn connect_data(&self, member: &Member, within: Duration) -> std::io::Result<TcpStream> {
        link::connect_data(member.address, within).await
    }

    /// Says goodbye, so that the others need not notice.
    pub async fn leave(&self) {
        self.ask_all(beat::LEAVE, Vec::new(), GOODBYE).await;
    }

    /// Whether this node can have no peers.
    pub fn is_alone(&self) -> bool {
        self.0.keys.load().is_none()
    }

    /// What metrics say about the members.
    pub fn census(&self) -> Census {
        let members = self.members();
        let count = |which: fn(&Member) -> bool| members.iter().filter(|member| which(member)).count();
        let clocks = self.0.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        Census {
            live: count(|member| member.reachable && !member.draining),
            draining: count(|member| member.reachable && member.draining),
            unreachable: count(|member| !member.reachable),
            heartbeat: clocks.heartbeat(),
            skew: clocks.widest(),
        }
    }

    async fn call(&self, address: SocketAddr, question: Question<'_>) -> Result<Vec<u8>, AskError> {
        let Some(keys) = self.0.keys.load_full() else { return Err(AskError::NoCommonSecret) };
        let (since, path) = (Instant::now(), question.path.to_owned());
        let me = [(CALLER_NAME, self.0.identity.name.clone()), (CALLER, self.incarnation().to_string())];
        let answer = self.0.links.ask(address, &keys, &me, question).await;
        let result = answer.as_ref().map_or_else(result_of, |_| CallResult::Ok);
        self.0
            .observer
            .event(Subject { peer: Some(address), ..Subject::default() }, &Event::Peer(PeerEvent::Called { path: &path, result, took: since.elapsed() }));
        answer
    }

    /// What changed is said, and shown to those who watch.
    fn changed(&self, members: MutexGuard<'_, Members>, changes: &[Change]) {
        if !changes.is_empty() {
            let live: Arc<[Member]> = members.live().into();
            self.0.view.send_replace(live);
        }
        drop(members);
        changes.iter().for_each(|change| self.say(change));
    }

    fn say(&self, change: &Change) {
        let event = match change {
            Change::Joined(member) => {
                let (name, address, version) = (member.name.as_str(), member.address, member.version.as_str());
                PeerEvent::Joined { name, incarnation: member.incarnation, address, version }
            }
            Change::Left(member, why) => PeerEvent::Left { name: &member.name, incarnation: member.incarnation, why: *why },
            Change::Unreachable(member) => trouble(member, PeerTrouble::Unreachable, None),
            Change::Reachable(member) => trouble(member, PeerTrouble::ReachableAgain, None),
            Change::Twins(one, other) => trouble(one, PeerTrouble::SameName, Some(other.address)),
            Change::Clash(one, other) => trouble(other, PeerTrouble::SameAddress, Some(one.address)),
            Change::Facts => return,
        };
        self.0.observer.event(Subject::default(), &Event::Peer(event));
    }

    fn set_me(&self, change: impl FnOnce(&mut Member)) {
        let mut members = self.members_locked();
        members.set_me(change);
        self.changed(members, &[Change::Facts]);
        self.0.wake.notify_one();
    }

    fn members_locked(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roster_locked(&self) -> MutexGuard<'_, Roster> {
        self.0.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody may be at these addresses.
    fn call_also(&self, addresses: &[SocketAddr]) {
        if self.members_locked().hint(addresses, Instant::now()) {
            self.0.wake.notify_one();
        }
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.0.keys.load_full()
    }

    fn observer(&self) -> &Observer {
        &self.0.observer
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}

fn trouble(member: &Member, trouble: PeerTrouble, other: Option<SocketAddr>) -> PeerEvent<'_> {
    PeerEvent::Trouble { name: &member.name, address: member.address, trouble, other }
}

fn result_of(error: &AskError) -> CallResult {
    match error {
        AskError::Unreachable(_) => CallResult::Unreachable,
        AskError::NoCommonSecret => CallResult::NoCommonSecret,
        AskError::Silent => CallResult::Silent,
        AskError::Elsewhere => CallResult::Elsewhere,
        AskError::Refused(_) => CallResult::Refused,
        AskError::Broken(_) => CallResult::Broken,
    }
}

/// First byte of a connection for a data connection's bytes.
const DATA: u8 = b'D';
/// First byte of a connection for calls.
const CALL: u8 = b'C';
/// Headers: who calls, its name, whom it means.
const CALLER: &str = "ftps-gateway-from";
const CALLER_NAME: &str = "ftps-gateway-name";
const ANSWERED_BY: &str = "ftps-gateway-to";
/// The status of an answer by somebody else than was asked (421, Misdirected Request).
const ELSEWHERE: u16 = 421;
/// For all members to hear the goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
