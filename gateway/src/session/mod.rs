//! What one connection owns: the stages Greeting → Secured → Session, the loop, the handlers.
//!
//! Gets: an admitted connection. Gives: exactly one `CloseReason`.
//! Never: shares itself. One task owns a session; others post to its inbox or read its entry in `live`.

mod control;
mod digest;
mod files;
mod greeting;
mod listing;
mod login;
mod paced;
mod parting;
mod record;
mod run;
mod said;
mod transfer;
mod work;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ftps_proto::hello::ClientHello;
use ftps_proto::machine::io::{EndReason, Input};
use ftps_proto::proof::{ReusePolicy, UploadEnd};

use crate::auth::{CertificateIdentity, Login};
use crate::bans::Bans;
use crate::cluster::Cluster;
use crate::data::Spenders;
use crate::data::announce::Announcer;
use crate::data::channel::{Channel, Hides, Setup};
use crate::data::clients::Client;
use crate::data::homes::desk::Desk;
use crate::data::peers::Peers;
use crate::data::waits::{Member, Waits};
use crate::digest::Digests;
use crate::limits::{self, Limits, Permit};
use crate::live::{Inbox, Live, Membership};
use crate::observe::event::{CloseReason, Listener};
use crate::observe::id::SessionId;
use crate::observe::{Observer, Subject};
use crate::storage::Storage;
use crate::tls::{SessionKeys, Staples, Tls};
use rustls::ServerConfig;

pub use greeting::Greeting;
pub use run::Session;

/// What all sessions of a node share.
#[derive(Debug)]
pub struct House {
    /// What the configuration says about sessions; swapped whole on reload, acts for new sessions.
    pub settings: Arc<ArcSwap<Settings>>,
    /// Who may not come.
    pub bans: Bans,
    /// Limits and their counts.
    pub limits: Limits,
    /// Who is here.
    pub live: Live,
    /// The other nodes.
    pub cluster: Cluster,
    /// Users and passwords.
    pub login: Login,
    /// Files.
    pub storage: Storage,
    /// Digests of files.
    pub digests: Digests,
    /// Certificates, tickets, sessions.
    pub tls: Tls,
    /// What is stapled to the certificates.
    pub staples: Staples,
    /// What data connections share.
    pub data: Data,
    /// Where events go.
    pub observer: Observer,
}

/// What data connections of all sessions share.
#[derive(Debug)]
pub struct Data {
    /// Who waits on which port.
    pub waits: Waits,
    /// Clients that spend each ticket.
    pub spenders: Spenders,
    /// What PASV says.
    pub announcer: Announcer,
    /// The way to sessions of other nodes; `None` without any.
    pub peers: Option<Peers>,
    /// The homes of clients among the nodes; `None` in a cluster of one.
    pub homes: Option<Desk>,
}

impl Data {
    /// A session has logged in: it may wait for data from now on, and its client's home knows. `keys` prove it, also for siblings when it has ended.
    pub async fn enter(&self, session: SessionId, client: &Client, keys: Arc<SessionKeys>) -> Member {
        let mut member = self.waits.join(session, client.clone(), keys.clone());
        if let Some(homes) = &self.homes {
            homes.enter(&mut member, session, client, keys).await;
        }
        member
    }
}

/// What the configuration says about sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `data.tls_reuse`, unless the user has one.
    pub tls_reuse: ReusePolicy,
    /// `data.upload_end`, unless the user has one.
    pub upload_end: UploadEnd,
    /// `data.active`.
    pub active: bool,
    /// `drain.idle`: without a command before a draining node says 421.
    pub drain_idle: std::time::Duration,
    /// Deadlines.
    pub limits: limits::Config,
}

/// What is known about a session from its first moment.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub id: SessionId,
    /// The client's true address.
    pub peer: SocketAddr,
    /// Our own address of its control connection.
    pub local: SocketAddr,
    /// The address the client connected to, when a balancer has told it.
    pub destination: Option<SocketAddr>,
    /// Where it came in.
    pub listener: Listener,
    /// When it was accepted.
    pub since: Instant,
}

/// What every stage of a connection carries on.
#[derive(Debug)]
pub struct Carried {
    /// Who.
    pub identity: Identity,
    /// The share of the limits, held until close.
    pub permit: Permit,
    /// The entry in the list of sessions.
    pub membership: Membership,
    /// What others tell this session.
    pub inbox: Inbox,
    /// TLS secrets of this session.
    pub keys: Arc<SessionKeys>,
    /// The certificate that the client showed in the handshake.
    pub certificate: Option<Arc<CertificateIdentity>>,
    /// The host that the client asked for in the handshake (SNI).
    pub server_name: Option<String>,
    /// The configuration at the start of the session.
    pub settings: Arc<Settings>,
    /// What all sessions share.
    pub house: Arc<House>,
}

impl Carried {
    /// Whom events of this session are about, before login.
    pub fn subject(&self) -> Subject<'static> {
        Subject { session: Some(self.identity.id), peer: Some(self.identity.peer), user: None }
    }

    /// The data connections of this session. `fingerprint`: of the control connection's ClientHello.
    fn channel(&self, fingerprint: [u8; 32]) -> Channel {
        let (id, house, keys) = (self.identity.id, self.house.clone(), self.keys.clone());
        let checking = (house.clone(), keys.clone());
        Channel::new(Setup {
            session: self.identity.id,
            peer: self.identity.peer,
            local: self.identity.local,
            fingerprint,
            config: Box::new(move |hello| {
                let (house, keys) = (house.clone(), keys.clone());
                Box::pin(async move { data_config(&house, id, &keys, hello).await })
            }),
            check: Box::new(move |connection| checking.0.tls.check_data(&checking.1, connection)),
            hides: self.hides(),
            waits: self.house.data.waits.clone(),
            homes: self.house.data.homes.clone(),
            data_timeout: self.settings.limits.data_timeout,
            spenders: self.house.data.spenders.clone(),
            observer: self.house.observer.clone(),
        })
    }

    /// What the machine is told when this session is ended by a ban.
    fn banned(&self) -> Input<'static> {
        match self.house.bans.of_session(self.membership.entry()) {
            Some(found) => Input::Banned(found.words),
            // Removed meanwhile.
            None => Input::End(EndReason::Banned),
        }
    }

    /// The address that tells the session's client from others: all hidden ones are one.
    fn address(&self) -> IpAddr {
        let ip = self.identity.peer.ip();
        if self.house.limits.hides(ip) { Ipv6Addr::UNSPECIFIED.into() } else { ip }
    }

    fn hides(&self) -> Hides {
        let limits = self.house.limits.clone();
        Box::new(move |ip| limits.hides(ip))
    }

    /// What is left of `limits.login_timeout`.
    pub fn until_login(&self) -> Duration {
        self.settings.limits.login_timeout.saturating_sub(self.identity.since.elapsed())
    }
}

/// What a data connection with this hello may resume: this session, and others of its client. Of one on another node that the hello shows, the proof is fetched.
async fn data_config(house: &House, id: SessionId, keys: &Arc<SessionKeys>, hello: &ClientHello) -> Arc<ServerConfig> {
    let siblings = || house.data.waits.siblings(id).into_iter().filter_map(|sibling| house.tls.living(sibling)).collect::<Vec<_>>();
    let mut known = siblings();
    if let Some(homes) = &house.data.homes
        && let Some(token) = house.tls.unproven(hello, keys, &known)
    {
        homes.borrow(id, token).await;
        known = siblings();
    }
    house.tls.for_data(keys, &known)
}

/// A stage ended the connection.
pub type Ended = CloseReason;
