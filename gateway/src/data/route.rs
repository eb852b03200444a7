//! Whose is this data connection: reads its ClientHello, nothing more, and hands it to the session that waits for it.
//!
//! Gets: accepted connections. Gives: [`Arrival`]s to inboxes; one outcome for each.
//! Never: delivers on a guess, starts TLS, keeps a connection that nobody waits for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ftps_proto::hello::{ClientHello, HelloReader, Progress};
use ftps_proto::proxy;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::waits::Waits;
use crate::live::Live;
use crate::net::Arrival;
use crate::observe::event::{DataOutcome, Listener, ProxyTrouble};
use crate::observe::id::{Incarnation, SessionId};
use crate::observe::{Event, Observer, Subject};
use crate::tls::{Family, Route, Tls};

/// Brings data connections to sessions. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    waits: Waits,
    live: Live,
    shown: Shown,
    observer: Observer,
}

/// The session, and its family, that a ClientHello's tickets or session ID name, by this node's own seal. Not a proof yet: anybody can copy a ClientHello.
pub type Shown = Arc<dyn Fn(&ClientHello) -> Option<(SessionId, Family)> + Send + Sync>;

/// What `tls` opens, as long as this start of this node issued it: what another issued is no session of ours.
pub fn shown_by(tls: Tls, incarnation: Incarnation) -> Shown {
    Arc::new(move |hello| match tls.route(hello) {
        Route::Owner { incarnation: issuer, session, family } => (issuer == incarnation).then_some((session, family)),
        Route::Elsewhere { session, family } => Some((session, family)),
        Route::Unknown => None,
    })
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    To(SessionId, DataOutcome),
    Nowhere(DataOutcome),
}

impl Router {
    /// Routes by `shown` first, then by the waits of `waits`, to the sessions of `live`.
    pub fn new(waits: Waits, live: Live, shown: Shown, observer: Observer) -> Self {
        Self { waits, live, shown, observer }
    }

    /// Takes one connection through, 10 s at most. `port`: the data port it came to; `peer`: its true address.
    pub async fn receive(&self, stream: TcpStream, peer: SocketAddr, port: u16) {
        let (session, outcome) = match read_hello(stream, peer, port).await {
            Err(NoHello::Silent) => (None, DataOutcome::Probe),
            Err(NoHello::Proxy) => {
                let event = Event::ProxyRefused { listener: Listener::Data, trouble: ProxyTrouble::NotListed };
                return self.observer.event(Subject { session: None, peer: Some(peer), user: None }, &event);
            }
            Err(NoHello::Other) => (None, DataOutcome::NoHello),
            Ok((arrival, hello)) => self.deliver(arrival, &hello),
        };
        self.observer.event(Subject { session, peer: Some(peer), user: None }, &Event::DataConnection { outcome });
    }

    fn deliver(&self, arrival: Arrival, hello: &ClientHello) -> (Option<SessionId>, DataOutcome) {
        match self.way((self.shown)(hello), arrival.peer.ip(), arrival.port) {
            Way::Nowhere(outcome) => (None, outcome),
            Way::To(session, outcome) => match self.live.deliver(session, arrival) {
                Ok(()) => (Some(session), outcome),
                // Gone meanwhile, or its inbox is full.
                Err(_closed) => (Some(session), DataOutcome::NotWaiting),
            },
        }
    }

    /// A living session that is shown decides alone: whoever shows one that waits elsewhere gets no lease besides. A dead one
    /// stands for its family; without a living session of that it is no proof, and the lease decides.
    fn way(&self, shown: Option<(SessionId, Family)>, ip: IpAddr, port: u16) -> Way {
        match shown.and_then(|(session, family)| self.waits.living(session, family)) {
            Some(session) => self.waits.owner_for(port, session).map_or(Way::Nowhere(DataOutcome::NotWaiting), |owner| Way::To(owner, DataOutcome::Local)),
            None => self.waits.unproven_owner(ip, port).map_or(Way::Nowhere(DataOutcome::NoOwner), |owner| Way::To(owner, DataOutcome::Leased)),
        }
    }
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

/// Room for what nearly every client sends at first: 250 to 1,800 bytes.
const FIRST_READ: usize = 2048;
