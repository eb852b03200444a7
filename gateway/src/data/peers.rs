//! The way to sessions of other nodes: asking whose a data connection is, handing it over, carrying its bytes.
//!
//! Gets: the cluster, its secrets. Gives: what the peers know, in 200 ms; connections to owners; relays.
//! Never: decides whose a connection is (`route` does), asks a store, keeps a relay whose node has drained to its end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ftps_store::seal::Keyring;
use ftps_store::vault::Crypto;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::clients::Client;
use super::header::{Header, Nonce};
use super::waits::Landed;
use crate::cluster::{AskError, Cluster, Member};
use crate::net::splice::{Broken, Carried, Pipes, relay};
use crate::observe::event::RelayTrouble;
use crate::observe::id::{Incarnation, SessionId, Ulid};
use crate::observe::{Event, Observer, Subject};
use crate::tls::Family;

/// The other nodes, for data connections. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    cluster: Cluster,
    crypto: Crypto,
    idle: Box<dyn Fn() -> Duration + Send + Sync>,
    observer: Observer,
    pipes: Pipes,
    relays: Mutex<Relays>,
    ended: Notify,
}

#[derive(Default)]
struct Relays {
    running: HashMap<u64, Arc<Carried>>,
    serial: u64,
    to_owner: u64,
    to_client: u64,
}

/// What a peer is asked: who waits on `port` and is meant by `by`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) port: u16,
    /// How long ago the connection came there.
    pub(super) waited: Duration,
    pub(super) by: By,
}

/// What a connection shows of its owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// A session, or a living one of its family.
    Session { session: SessionId, family: Family },
    /// A TLS 1.2 session ID.
    TlsId { id: Vec<u8> },
    /// Nothing: the lease of this address.
    Address { ip: IpAddr },
    /// A session of this client.
    Client { client: Client },
}

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What is shown lives here, whether it waits or not.
    pub(super) alive: bool,
    /// Who gets the connection.
    pub(super) owner: Option<SessionId>,
    /// It holds the lease.
    pub(super) lease: bool,
    /// What is shown lives here and does not wait on that port: a sibling on another node may.
    #[serde(default)]
    pub(super) client: Option<Client>,
    /// What is shown has ended; this session of the same client lives.
    #[serde(default)]
    pub(super) stand_in: Option<(Incarnation, SessionId)>,
}

/// What all peers say.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) by_member: Vec<(Member, Answer)>,
    /// One that may know did not answer.
    pub(super) unsure: bool,
}

/// What the owner's node says of a connection that is brought to it.
pub(super) enum Offer {
    /// Its session takes it; bytes may flow.
    Taken(TcpStream),
    /// It belongs to a session of the same client, there.
    Elsewhere(Incarnation, SessionId),
    /// The session lives and waits for nothing on that port.
    NotWaiting,
    /// There is no such session any more.
    Unknown,
}

/// A data connection on its way to the session of another node.
pub struct Relay {
    pub(super) client: TcpStream,
    pub(super) owner: TcpStream,
    pub(super) session: SessionId,
    pub(super) peer: SocketAddr,
    pub(super) peers: Peers,
}

impl Peers {
    /// Reaches the members of `cluster`; headers are sealed under the secrets of now. `idle`: how long nothing may move on a relay.
    pub fn new(cluster: Cluster, crypto: Crypto, idle: impl Fn() -> Duration + Send + Sync + 'static, observer: Observer) -> Self {
        let idle = Box::new(idle);
        Self(Arc::new(Shared { cluster, crypto, idle, observer, pipes: Pipes::default(), relays: Mutex::default(), ended: Notify::new() }))
    }

    /// Relays that run, and bytes since the start: to owners, to clients.
    pub fn carried(&self) -> (usize, u64, u64) {
        let relays = self.relays();
        let sum = |ended: u64, of: fn(&Carried) -> &AtomicU64| relays.running.values().map(|one| of(one).load(Ordering::Relaxed)).sum::<u64>() + ended;
        (relays.running.len(), sum(relays.to_owner, |one| &one.to_owner), sum(relays.to_client, |one| &one.to_client))
    }

    /// Waits until no relay runs.
    pub async fn empty(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.relays().running.is_empty() {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn ring(&self) -> Keyring {
        self.0.crypto.keyring()
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.0.cluster.incarnation()
    }

    /// The live member of this start.
    pub(super) fn member(&self, incarnation: Incarnation) -> Option<Member> {
        self.0.cluster.members().iter().find(|member| member.incarnation == incarnation).cloned()
    }

    /// Asks all peers at once.
    pub(super) async fn ask(&self, landed: Landed, by: By) -> Answers {
        let mut answers = Answers::default();
        let question = Question { port: landed.port, waited: landed.at.elapsed(), by };
        for (member, answer) in self.0.cluster.ask_all_json::<Answer>(OWNER, &question, PATIENCE).await {
            match answer {
                Ok(answer) => answers.by_member.push((member, answer)),
                // Nobody is there, so nobody waits there; or it is another start, which knows nothing of what came before.
                Err(AskError::Unreachable(_) | AskError::Elsewhere) => {}
                Err(AskError::NoCommonSecret | AskError::Silent | AskError::Refused(_) | AskError::Broken(_)) => answers.unsure = true,
            }
        }
        answers
    }

    /// Brings a connection to a member: 16 random bytes from there, the sealed header from here, a verdict from there.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer as a peer does.
    pub(super) async fn offer(&self, member: &Member, header: &Header) -> Result<Offer, RelayTrouble> {
        if !member.reachable {
            // It does not answer heartbeats of this node either; whoever connects waits for us.
            return Err(RelayTrouble::Connect);
        }
        let mut stream = self.0.cluster.connect_data(member, CONNECT).await.map_err(|_| RelayTrouble::Connect)?;
        let answer = async {
            let mut nonce = Nonce::default();
            stream.read_exact(&mut nonce).await.ok()?;
            let frame = header.seal(&self.ring(), today(), &nonce).ok()?;
            stream.write_all(&frame).await.ok()?;
            Some(match stream.read_u8().await.ok()? {
                TAKEN => Offer::Taken(stream),
                NOT_WAITING => Offer::NotWaiting,
                UNKNOWN => Offer::Unknown,
                ELSEWHERE => Offer::Elsewhere(Incarnation(id(&mut stream).await?), SessionId(id(&mut stream).await?)),
                _ => return None,
            })
        };
        timeout(CONNECT, answer).await.ok().flatten().ok_or(RelayTrouble::Answer)
    }

    /// Says that a connection could not be brought to its owner.
    pub(super) fn failed(&self, subject: Subject<'_>, trouble: RelayTrouble) {
        self.0.observer.event(subject, &Event::RelayEnded { trouble: Some(trouble), to_owner: 0, to_client: 0, took: Duration::ZERO });
    }

    fn relays(&self) -> MutexGuard<'_, Relays> {
        self.0.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}

impl Relay {
    /// Carries bytes until both sides have ended.
    pub async fn run(self) {
        let Self { client, owner, session, peer, peers } = self;
        let running = Running::begin(peers.clone());
        let since = Instant::now();
        let broken = relay(client, owner, &peers.0.pipes, &running.carried, (peers.0.idle)()).await.err();
        let trouble = broken.map(|broken| match broken {
            Broken::Client => RelayTrouble::Client,
            Broken::Owner => RelayTrouble::Owner,
            Broken::Stalled => RelayTrouble::Stalled,
        });
        let bytes = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (to_owner, to_client) = (bytes(&running.carried.to_owner), bytes(&running.carried.to_client));
        let subject = Subject { session: Some(session), peer: Some(peer), user: None };
        peers.0.observer.event(subject, &Event::RelayEnded { trouble, to_owner, to_client, took: since.elapsed() });
    }
}

/// A relay among those that run; its bytes stay counted when it ends.
struct Running {
    peers: Peers,
    serial: u64,
    carried: Arc<Carried>,
}

impl Running {
    fn begin(peers: Peers) -> Self {
        let carried = Arc::<Carried>::default();
        let mut relays = peers.relays();
        relays.serial += 1;
        let serial = relays.serial;
        relays.running.insert(serial, carried.clone());
        drop(relays);
        Self { peers, serial, carried }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut relays = self.peers.relays();
        relays.running.remove(&self.serial);
        relays.to_owner += self.carried.to_owner.load(Ordering::Relaxed);
        relays.to_client += self.carried.to_client.load(Ordering::Relaxed);
        drop(relays);
        self.peers.0.ended.notify_waiters();
    }
}

async fn id(stream: &mut TcpStream) -> Option<Ulid> {
    stream.read_u128().await.ok().map(|id| Ulid::from_bytes(id.to_be_bytes()))
}

/// The UTC day, which chooses the key of a header; both sides need not agree on it, since the header names it.
fn today() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    u32::try_from(seconds / 86_400).unwrap_or(u32::MAX)
}

/// The path of the question.
pub(super) const OWNER: &str = "data/owner";
/// Verdicts of an owner's node.
pub(super) const TAKEN: u8 = b'+';
pub(super) const NOT_WAITING: u8 = b'-';
pub(super) const UNKNOWN: u8 = b'?';
/// Followed by 16 bytes each of the node's start and the session.
pub(super) const ELSEWHERE: u8 = b'>';

/// For the peers to answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// For a connection to a member, and for its verdict.
const CONNECT: Duration = Duration::from_secs(2);
