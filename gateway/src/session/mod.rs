//! What one connection owns: the stages Greeting → Secured → Session, the loop, the handlers.
//!
//! Gets: an admitted connection. Gives: exactly one `CloseReason`.
//! Never: shares itself. One task owns a session; others post to its inbox or read its entry in `live`.

mod control;
mod files;
mod greeting;
mod listing;
mod login;
mod run;
mod transfer;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ftps_proto::machine::Rules;
use tokio::sync::mpsc;

use crate::auth::Login;
use crate::data::Hub;
use crate::limits::{self, Limits, Permit};
use crate::live::{Live, Membership, Message};
use crate::observe::event::{CloseReason, Listener};
use crate::observe::id::SessionId;
use crate::observe::{Observer, Subject};
use crate::storage::Storage;
use crate::tls::{SessionKeys, Tls};

pub use greeting::Greeting;
pub use run::Session;

/// What all sessions of a node share.
#[derive(Debug)]
pub struct House {
    /// What the configuration says about sessions; swapped whole on reload, acts for new sessions.
    pub settings: ArcSwap<Settings>,
    /// Limits and their counts.
    pub limits: Arc<Limits>,
    /// Who is here.
    pub live: Live,
    /// Users and passwords.
    pub login: Login,
    /// Files.
    pub storage: Storage,
    /// Certificates, tickets, sessions.
    pub tls: Arc<Tls>,
    /// Data ports.
    pub data: Arc<Hub>,
    /// Where events go.
    pub observer: Observer,
}

/// What the configuration says about sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the machine.
    pub rules: Arc<Rules>,
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
    /// The address the client connected to.
    pub local: SocketAddr,
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
    pub inbox: mpsc::Receiver<Message>,
    /// TLS secrets of this session.
    pub keys: Arc<SessionKeys>,
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

    /// What is left of `limits.login_timeout`.
    pub fn until_login(&self) -> Duration {
        self.settings.limits.login_timeout.saturating_sub(self.identity.since.elapsed())
    }
}

/// A stage ended the connection.
pub type Ended = CloseReason;
