//! Whose is this data connection: reads its ClientHello, nothing more, and hands it to the session that waits for it, on whichever node.
//!
//! By ticket no peer is asked, by session ID and without proof all are, in 200 ms; no store ever.
//! Gets: accepted connections. Gives: [`Arrival`]s to inboxes, or a [`Relay`]; one outcome for each.
//! Never: delivers on a guess, starts TLS, keeps a connection that nobody waits for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ftps_proto::hello::{ClientHello, HelloReader, Progress};
use ftps_proto::proxy;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::clients::Client;
use super::header::Header;
use super::homes::desk::Desk;
use super::peers::{By, Offer, Peers, Relay};
use super::waits::{Landed, Unproven, Waits};
use crate::cluster::Member;
use crate::live::Live;
use crate::net::Arrival;
use crate::observe::event::{DataOutcome, Listener, ProxyTrouble, RelayTrouble};
use crate::observe::id::{Incarnation, SessionId};
use crate::observe::{Event, Observer, Subject};
use crate::tls::{Family, Route, Tls};

/// Brings data connections to sessions. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    pub(super) waits: Waits,
    pub(super) live: Live,
    pub(super) shown: Shows,
    pub(super) observer: Observer,
    /// `None`: a cluster of one.
    pub(super) peers: Option<Peers>,
    pub(super) homes: Option<Desk>,
}

/// Whose session a ClientHello's tickets or session ID name, by the cluster's own seal. Not a proof yet: anybody can copy a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shown {
    /// One of this start of this node, or one that is known here.
    Here { session: SessionId, family: Family },
    /// One of another start of a node.
    There { incarnation: Incarnation, session: SessionId, family: Family },
    /// Nothing that opens.
    Nothing,
}

/// Reads what a hello shows.
pub type Shows = Arc<dyn Fn(&ClientHello) -> Shown + Send + Sync>;

/// What `tls` opens.
pub fn shown_by(tls: Tls, incarnation: Incarnation) -> Shows {
    Arc::new(move |hello| match tls.route(hello) {
        Route::Owner { incarnation: issuer, session, family } if issuer == incarnation => Shown::Here { session, family },
        Route::Owner { incarnation, session, family } => Shown::There { incarnation, session, family },
        Route::Elsewhere { session, family } => Shown::Here { session, family },
        Route::Unknown => Shown::Nothing,
    })
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    To(SessionId, DataOutcome),
    Over(Member, SessionId, Family),
    Nowhere(DataOutcome),
}

impl Router {
    /// Routes by `shown` first, then by the waits of `waits`, to the sessions of `live`, or of `peers`.
    pub fn new(waits: Waits, live: Live, shown: Shows, observer: Observer, peers: Option<Peers>, homes: Option<Desk>) -> Self {
        Self { waits, live, shown, observer, peers, homes }
    }

    /// Takes one connection to its session, some 10 s at most. `port`: the data port it came to; `peer`: its true address. What is to be carried to another
    /// node is given back: that may take hours.
    pub async fn receive(&self, stream: TcpStream, peer: SocketAddr, port: u16) -> Option<Relay> {
        let (session, outcome, relay) = match read_hello(stream, peer, port).await {
            Err(NoHello::Silent) => (None, DataOutcome::Probe, None),
            Err(NoHello::Proxy) => {
                let event = Event::ProxyRefused { listener: Listener::Data, trouble: ProxyTrouble::NotListed };
                self.observer.event(Subject { session: None, peer: Some(peer), user: None }, &event);
                return None;
            }
            Err(NoHello::Other) => (None, DataOutcome::NoHello, None),
            Ok((arrival, hello)) => self.go(arrival, &hello).await,
        };
        self.observer.event(Subject { session, peer: Some(peer), user: None }, &Event::DataConnection { outcome });
        relay
    }

    /// To the inbox of a session of this node; `false`: it has gone. A full inbox is a flood of others, which must not cost the rightful connection its place:
    /// it is tried again for a second.
    async fn deliver(&self, session: SessionId, mut arrival: Arrival) -> bool {
        for _ in 0..TRIES {
            match self.live.deliver(session, arrival) {
                Ok(()) => return true,
                Err(undelivered) => arrival = undelivered,
            }
            if !self.live.has(session) {
                return false;
            }
            sleep(AGAIN).await;
        }
        false
    }

    /// Goes the way, and where it leads on from there: a session may have ended, or its sibling be the one that waits. When several sessions of a client end at once,
    /// who stands in for them is under way to their home: a connection that nobody waits for is looked up again before it is closed.
    async fn go(&self, arrival: Arrival, hello: &ClientHello) -> (Option<SessionId>, DataOutcome, Option<Relay>) {
        let (ip, landed) = (arrival.peer.ip(), Landed { port: arrival.port, at: arrival.since });
        let mut way = self.way(hello, ip, landed).await;
        let mut again = LOOKED_UP;
        for _ in 0..OFFERS + LOOKED_UP {
            let (member, session, family) = match way {
                Way::Nowhere(DataOutcome::NotWaiting) if again > 0 && self.peers.is_some() => {
                    again -= 1;
                    sleep(BREATH).await;
                    way = self.way(hello, ip, landed).await;
                    continue;
                }
                Way::Nowhere(outcome) => return (None, outcome, None),
                Way::To(session, outcome) => {
                    let outcome = if self.deliver(session, arrival).await { outcome } else { DataOutcome::NotWaiting };
                    return (Some(session), outcome, None);
                }
                Way::Over(member, session, family) => (member, session, family),
            };
            let Some(peers) = &self.peers else { return (None, DataOutcome::NoOwner, None) };
            let Arrival { read, peer, port, since, .. } = &arrival;
            let header = Header { session, family, port: *port, peer: *peer, waited: since.elapsed(), read: read.clone() };
            way = match peers.offer(&member, &header).await {
                Ok(Offer::Taken(owner)) => {
                    let relay = Relay { client: arrival.stream, owner, session, peer: arrival.peer, peers: peers.clone() };
                    return (Some(session), DataOutcome::Relayed, Some(relay));
                }
                Ok(Offer::Elsewhere(incarnation, session)) => self.to_session(incarnation, session),
                Ok(Offer::NotWaiting) => Way::Nowhere(DataOutcome::NotWaiting),
                Ok(Offer::Unknown) => self.by_family(session, family, ip, landed).await,
                Err(trouble) => {
                    peers.failed(Subject { session: Some(session), peer: Some(*peer), user: None }, trouble);
                    // A node that is gone has no sessions; one that is silent may.
                    match trouble {
                        RelayTrouble::Connect => self.by_family(session, family, ip, landed).await,
                        _ => Way::Nowhere(DataOutcome::Unreachable),
                    }
                }
            };
        }
        (None, DataOutcome::Unsure, None)
    }

    /// A living session that is shown decides alone: whoever shows one that waits elsewhere gets no lease besides. A dead one
    /// stands for its family; without a living session of that it is no proof, and the lease decides.
    async fn way(&self, hello: &ClientHello, ip: IpAddr, landed: Landed) -> Way {
        match (self.shown)(hello) {
            Shown::Here { session, family } => match self.waits.living(session, family) {
                Some(living) => self.by_living(living, landed).await,
                None => self.by_family(session, family, ip, landed).await,
            },
            Shown::There { incarnation, session, family } => match self.peers.as_ref().and_then(|peers| peers.member(incarnation)) {
                Some(member) => Way::Over(member, session, family),
                None => self.by_family(session, family, ip, landed).await,
            },
            Shown::Nothing => match hello.resumable_id() {
                Some(id) => self.by_tls_id(id.to_vec(), ip, landed).await,
                None => self.by_address(ip, landed).await,
            },
        }
    }

    /// A session that lives here is shown: it, or the one of its client that waits on that port.
    async fn by_living(&self, living: SessionId, landed: Landed) -> Way {
        if let Some(owner) = self.waits.owner_for(landed, living) {
            return Way::To(owner, DataOutcome::Local);
        }
        self.sibling(living, landed).await.map_or(Way::Nowhere(DataOutcome::NotWaiting), |(member, session)| over(member, session))
    }

    /// The only session of the same client that waits on that port on another node.
    pub(super) async fn sibling(&self, living: SessionId, landed: Landed) -> Option<(Member, SessionId)> {
        let client = self.waits.client(living)?;
        self.waits_there(client, landed).await.ok()?
    }

    /// The only session of this client that waits on that port on another node; an error when two do.
    async fn waits_there(&self, client: Client, landed: Landed) -> Result<Option<(Member, SessionId)>, DataOutcome> {
        let Some(peers) = &self.peers else { return Ok(None) };
        let answers = peers.ask(landed, By::Client { client }).await;
        let mut owners = answers.by_member.into_iter().filter_map(|(member, answer)| Some((member, answer.owner?)));
        match (owners.next(), owners.next()) {
            (owner, None) => Ok(owner),
            (_, Some(_)) => Err(DataOutcome::Unsure),
        }
    }

    /// Something is shown that lives on another node and does not wait there: the only one of its client that does, on any node.
    async fn by_client(&self, client: Client, landed: Landed) -> Way {
        let here = self.waits.owner_of_client(landed, &client);
        match (here, self.waits_there(client, landed).await) {
            (Some(owner), Ok(None)) => Way::To(owner, DataOutcome::Local),
            (None, Ok(Some((member, session)))) => over(member, session),
            (None, Ok(None)) => Way::Nowhere(DataOutcome::NotWaiting),
            (_, _) => Way::Nowhere(DataOutcome::Unsure),
        }
    }

    /// A session is shown that does not live where it was: a living one of its family, here or on any node; else the lease.
    async fn by_family(&self, session: SessionId, family: Family, ip: IpAddr, landed: Landed) -> Way {
        if let Some(living) = self.waits.living(session, family) {
            return self.by_living(living, landed).await;
        }
        if let Some((incarnation, living)) = self.stand_in(session) {
            return self.by_stand_in(incarnation, living, landed).await;
        }
        match self.asked(landed, By::Session { session, family }).await {
            Some(way) => way,
            None => self.by_address(ip, landed).await,
        }
    }

    /// What this home knows of an ended session: a living one of its client.
    pub(super) fn stand_in(&self, ended: SessionId) -> Option<(Incarnation, SessionId)> {
        self.homes.as_ref().and_then(|homes| homes.stand_in(ended))
    }

    async fn by_stand_in(&self, incarnation: Incarnation, living: SessionId, landed: Landed) -> Way {
        let member = self.peers.as_ref().and_then(|peers| peers.member(incarnation));
        match member {
            Some(member) if Some(incarnation) != self.peers.as_ref().map(Peers::incarnation) => over(member, living),
            _ => self.by_living(living, landed).await,
        }
    }

    /// A session ID of TLS 1.2 that is not known here: who holds it knows; else the lease.
    async fn by_tls_id(&self, id: Vec<u8>, ip: IpAddr, landed: Landed) -> Way {
        match self.asked(landed, By::TlsId { id }).await {
            Some(way) => way,
            None => self.by_address(ip, landed).await,
        }
    }

    /// What the peers say of something shown. `None`: it lives nowhere.
    async fn asked(&self, landed: Landed, by: By) -> Option<Way> {
        let answers = self.peers.as_ref()?.ask(landed, by).await.by_member;
        let mut owners = answers.iter().filter_map(|(member, answer)| Some((member, answer.owner?)));
        match (owners.next(), owners.next()) {
            (Some((member, session)), None) => Some(over(member.clone(), session)),
            (Some(_), Some(_)) => Some(Way::Nowhere(DataOutcome::Unsure)),
            (None, _) => {
                if let Some(client) = answers.iter().find_map(|(_, answer)| answer.client.clone()) {
                    return Some(self.by_client(client, landed).await);
                }
                match answers.iter().find_map(|(_, answer)| answer.stand_in) {
                    Some((incarnation, living)) => Some(self.by_stand_in(incarnation, living, landed).await),
                    None => answers.iter().any(|(_, answer)| answer.alive).then_some(Way::Nowhere(DataOutcome::NotWaiting)),
                }
            }
        }
    }

    /// Nothing is shown, and a node is silent that may hold the lease: the connection waits until it answers or is no member any more, or is closed.
    async fn by_address(&self, ip: IpAddr, landed: Landed) -> Way {
        let until = Instant::now() + SURE;
        loop {
            match self.leased(ip, landed).await {
                Way::Nowhere(DataOutcome::Unsure) if Instant::now() < until => sleep(ASK_AGAIN).await,
                way => return way,
            }
        }
    }

    /// Nothing is shown: the one lease of this address on that port in the whole cluster; without a lease the only one that waits, who can say so to its client.
    async fn leased(&self, ip: IpAddr, landed: Landed) -> Way {
        let here = self.waits.unproven_owner(ip, landed);
        if let Some(way) = self.by_lessee(here, ip, landed).await {
            return way;
        }
        let here_way = |owner: Option<Unproven>| owner.map_or(Way::Nowhere(DataOutcome::NoOwner), |one| Way::To(one.session, DataOutcome::Leased));
        let Some(peers) = &self.peers else { return here_way(here) };
        let answers = peers.ask(landed, By::Address { ip }).await;
        if answers.unsure {
            return Way::Nowhere(DataOutcome::Unsure);
        }
        let there = |lease: bool| {
            answers.by_member.iter().filter(move |(_, answer)| answer.lease == lease).filter_map(|(member, answer)| Some((member, answer.owner?)))
        };
        for lease in [true, false] {
            let here = here.filter(|one| one.lease == lease);
            match (here, there(lease).next(), here.iter().count() + there(lease).count()) {
                (_, _, 0) => {}
                (here @ Some(_), _, 1) => return here_way(here),
                (None, Some((member, session)), 1) => return over(member.clone(), session),
                _ => return Way::Nowhere(DataOutcome::Unsure),
            }
        }
        Way::Nowhere(DataOutcome::NoOwner)
    }

    /// The home of the address knows the lease, whoever else is silent.
    async fn by_lessee(&self, here: Option<Unproven>, ip: IpAddr, landed: Landed) -> Option<Way> {
        let (peers, homes) = (self.peers.as_ref()?, self.homes.as_ref()?);
        let (incarnation, session) = homes.lessee(ip, landed.port).await?;
        if incarnation == peers.incarnation() {
            return here.filter(|one| one.lease && one.session == session).map(|one| Way::To(one.session, DataOutcome::Leased));
        }
        peers.member(incarnation).map(|member| over(member, session))
    }

    fn to_session(&self, incarnation: Incarnation, session: SessionId) -> Way {
        let peers = self.peers.as_ref();
        if peers.is_some_and(|peers| peers.incarnation() == incarnation) {
            return Way::To(session, DataOutcome::Local);
        }
        let member = peers.and_then(|peers| peers.member(incarnation));
        member.map_or(Way::Nowhere(DataOutcome::Unreachable), |member| over(member, session))
    }
}

/// To a session that is known to wait there: nobody else of its family is meant.
fn over(member: Member, session: SessionId) -> Way {
    Way::Over(member, session, Family(session.0))
}

/// Why there is no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHello {
    /// Closed or reset without a byte: a health check.
    Silent,
    /// A PROXY header, from whom none is expected.
    Proxy,
    /// No TLS, closed in the middle, or 10 s passed.
    Other,
}

/// Reads as far as the end of the ClientHello.
pub(super) async fn read_hello(mut stream: TcpStream, peer: SocketAddr, port: u16) -> Result<(Arrival, ClientHello), NoHello> {
    let since = Instant::now();
    let mut reader = HelloReader::new();
    let mut read = Vec::new();
    loop {
        read.reserve(FIRST_READ);
        let seen = read.len();
        let count = timeout_at(since + DEADLINE, stream.read_buf(&mut read)).await.map_err(|_| NoHello::Other)?;
        if matches!(count, Ok(0) | Err(_)) {
            return Err(if read.is_empty() { NoHello::Silent } else { NoHello::Other });
        }
        match reader.push(&read[seen..]) {
            Progress::Done(hello) => return Ok((Arrival { stream, read, peer, port, since }, hello)),
            Progress::More => {}
            Progress::Fault(_) if proxy::is_header(&read) => return Err(NoHello::Proxy),
            Progress::Fault(_) => return Err(NoHello::Other),
        }
    }
}

/// From accept to a whole ClientHello.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often, and after what time, a full inbox is tried again.
const TRIES: usize = 100;
const AGAIN: Duration = Duration::from_millis(10);

/// How long a lease is asked for, and how often: a silent node is no member after 4 s, and nobody need be asked but those that answer.
const SURE: Duration = Duration::from_secs(6);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Room for what nearly every client sends at first: 250 to 1,800 bytes.
const FIRST_READ: usize = 2048;

/// Nodes that one connection is brought to at most: the session's, its sibling's, and one more when a session ends meanwhile.
const OFFERS: usize = 4;

/// How often a connection that nobody waits for is looked up again, and what lies between.
const LOOKED_UP: usize = 4;
const BREATH: Duration = Duration::from_millis(25);
