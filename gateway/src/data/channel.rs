//! The data connection of one session: from PASV, EPSV, PORT or EPRT to a stream that may move bytes.
//!
//! Gets: ports, arrivals, policy. Gives: the first connection that finished its handshake and is acceptable, or why none was.
//! The handshake does not wait for the command, nor the command for the handshake; a copied ClientHello steals nothing and blocks nothing, because only a
//! finished handshake counts and up to four run side by side.
//! Never: writes a byte before the proof.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use ftps_proto::hello::ClientHello;
use ftps_proto::machine::io::{DataRefusal, PassiveError};
use ftps_proto::proof::{self, ReusePolicy};
use ftps_proto::verbs::Verb;
use rustls::{ServerConfig, ServerConnection};

use super::active;
use super::clients::Client;
use super::homes::desk::Desk;
use super::reception::Reception;
use super::spenders::{ClientId, Next, Spenders};
use super::stream::{DataStream, Past};
use super::waits::{Member, Wait, Waits};
use crate::net::Arrival;
use crate::observe::event::DataOutcome;
use crate::observe::id::SessionId;
use crate::observe::{Event, Observer, Subject};

/// What a session's data connections stand on.
pub struct Setup {
    /// The session.
    pub session: SessionId,
    /// Where its control connection truly comes from.
    pub peer: SocketAddr,
    /// The address its control connection came to.
    pub local: SocketAddr,
    /// SHA-256 of the fingerprint of the control connection's ClientHello.
    pub fingerprint: [u8; 32],
    /// A TLS configuration for one data connection (`Tls::for_data`): tickets and session IDs of this session, and of the one it resumed from, open in it and no
    /// others, and a full handshake leaves the client with nothing that could prove it later. What the hello shows of a sibling on another node is fetched first.
    pub config: Configure,
    /// Whether a connection may be taken after its handshake, as far as the client's certificate goes; else why not.
    pub check: Check,
    /// Whether an address is that of a balancer that hides its clients.
    pub hides: Hides,
    /// Who waits where, on this node.
    pub waits: Waits,
    /// And on the others; `None`: a cluster of one.
    pub homes: Option<Desk>,
    /// `limits.data_timeout`.
    pub data_timeout: Duration,
    /// Clients that spend each ticket, across sessions.
    pub spenders: Spenders,
    /// Is told of handshakes and refusals.
    pub observer: Observer,
}

/// The TLS configuration for a connection with this hello.
pub type Configure = Box<dyn for<'hello> Fn(&'hello ClientHello) -> Pin<Box<dyn Future<Output = Arc<ServerConfig>> + Send + 'hello>> + Send + Sync>;

/// Looks at a finished handshake; else why it does not do.
pub type Check = Box<dyn Fn(&ServerConnection) -> Result<(), String> + Send + Sync>;

/// Looks at an address.
pub type Hides = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The data connection of one session, over its life.
pub struct Channel {
    pub(super) setup: Arc<Setup>,
    pub(super) past: Arc<Past>,
    pub(super) policy: ReusePolicy,
    pub(super) client: ClientId,
    member: Option<Member>,
    state: State,
}

enum State {
    /// No PASV, EPSV, PORT or EPRT since the last transfer.
    Closed,
    /// A port is announced, or an active connection is being made.
    Open { port: Option<u16>, reception: Box<Reception> },
    /// It ended before the transfer began.
    Ended(Box<Result<DataStream, DataRefusal>>),
    /// PORT or EPRT: the connection is made when the transfer begins.
    Active(SocketAddr),
}

impl Channel {
    /// Closed, nobody logged in.
    pub fn new(setup: Setup) -> Self {
        Self { setup: Arc::new(setup), past: Arc::default(), policy: ReusePolicy::default(), client: ClientId::default(), member: None, state: State::Closed }
    }

    /// The session has logged in and joined `member`, before the reply to PASS. `policy`: the user's own, or `data.tls_reuse`.
    pub fn log_in(&mut self, client: &Client, member: Member, policy: ReusePolicy) {
        self.policy = policy;
        self.client = ClientId::from(client);
        self.member = Some(member);
    }

    /// Back to the start (REIN), or the end.
    pub fn log_out(&mut self) {
        self.close();
        self.member = None;
    }

    /// PASV or EPSV: gives up an earlier port and waits up to 10 s for one. The future stands alone; give its result to [`Channel::wait_on`].
    pub fn reserve(&mut self) -> impl Future<Output = Result<Wait, PassiveError>> + Send + use<> {
        self.close();
        let setup = self.setup.clone();
        // A sibling may log in, and use up what they share, while this one waits.
        let lease = proof::wants_lease(self.policy, self.past.shown(true, true), setup.hidden());
        async move {
            let wait = match &setup.homes {
                Some(homes) => homes.open(setup.session, setup.peer.ip(), lease).await,
                None => setup.waits.open(setup.session, setup.peer.ip(), lease).await,
            };
            if let Err(PassiveError::Busy) = wait {
                setup.tell(&Event::PassiveRefused { lease });
            }
            wait
        }
    }

    /// Waits on that port from now on, for `limits.data_timeout`. Returns the port, for the reply. Needs a tokio runtime.
    pub fn wait_on(&mut self, wait: Wait) -> u16 {
        let port = wait.port();
        let leased = wait.leased();
        self.state = State::Open { port: Some(port), reception: Box::new(Reception::new(self, Some(wait), leased)) };
        self.setup.tell(&Event::PassiveOpened { port });
        port
    }

    /// PORT or EPRT: the transfer will connect there. The machine has checked the address; `active` checks it again.
    pub fn connect_to(&mut self, address: SocketAddr) {
        self.state = State::Active(address);
    }

    /// A connection for this session. One that nobody waits for any more is closed and counted.
    pub fn arrive(&mut self, arrival: Arrival) {
        match &mut self.state {
            State::Open { port: Some(port), reception } if *port == arrival.port && reception.since <= arrival.since => reception.admit(arrival),
            State::Open { .. } | State::Ended(_) | State::Active(_) | State::Closed => {
                self.setup.tell(&Event::DataConnection { outcome: DataOutcome::NotWaiting });
            }
        }
    }

    /// Does `work` while handshakes go on. Cancel safe if `work` is.
    pub async fn alongside<T>(&mut self, mut work: impl Future<Output = T> + Unpin) -> T {
        poll_fn(|context| {
            self.go_on(context);
            Pin::new(&mut work).poll(context)
        })
        .await
    }

    /// The connection for the transfer that begins; once. Cancel safe. Says [`Event::DataRefused`] itself.
    ///
    /// # Errors
    /// Why there is none: the reply is 425.
    pub async fn established(&mut self) -> Result<DataStream, DataRefusal> {
        if let State::Active(address) = self.state {
            self.begin_active(address);
        }
        poll_fn(|context| {
            self.go_on(context);
            if matches!(self.state, State::Open { .. }) {
                return Poll::Pending;
            }
            Poll::Ready(match std::mem::replace(&mut self.state, State::Closed) {
                State::Ended(result) => *result,
                State::Open { .. } | State::Active(_) | State::Closed => {
                    self.setup.tell(&Event::DataRefused { refusal: DataRefusal::NoPort });
                    Err(DataRefusal::NoPort)
                }
            })
        })
        .await
    }

    /// Forgets port, address and connection.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Whether a data connection ever proved this session.
    pub fn has_proven(&self) -> bool {
        self.past.proven.load(Ordering::Relaxed)
    }

    /// Whether the client has no ticket left to show: it uses each once, and the last one was kept back during an upload.
    pub fn is_spent(&self) -> bool {
        self.past.spent.load(Ordering::Relaxed)
    }

    /// Whether the client, when its upload is over, has no ticket for a next one although policy will ask for it, and loses nothing by going on in a new session.
    pub fn runs_dry(&self) -> bool {
        let goes_on = || self.past.next() == Next::Transfer && self.setup.spenders.next(self.client) == Some(Next::Transfer);
        proof::insists(self.policy, self.setup.hidden()) && self.past.is_dry() && goes_on()
    }

    /// A command was answered.
    pub fn note_command(&self, verb: Verb) {
        if is_work(verb) {
            self.past.note_work();
        }
    }

    /// A command came when the session had ended because it ran dry.
    pub fn note_too_late(&self, verb: Verb) {
        if is_work(verb) {
            self.setup.spenders.insert(self.client, Next::Other);
        }
    }

    /// Whether this session ever ended an upload with close_notify.
    pub fn has_ended_cleanly(&self) -> bool {
        self.past.ended_cleanly.load(Ordering::Relaxed)
    }

    /// Handshakes make what progress they can.
    fn go_on(&mut self, context: &mut Context<'_>) {
        if let State::Open { reception, .. } = &mut self.state
            && let Poll::Ready(result) = reception.poll(context)
        {
            self.state = State::Ended(Box::new(result));
        }
    }

    fn begin_active(&mut self, address: SocketAddr) {
        // We made the connection ourselves, to the control connection's own address: as good as a lease.
        let mut reception = Reception::new(self, None, true);
        let (client, local) = (self.setup.peer.ip(), self.setup.local.ip());
        reception.dialing = Some(Box::pin(active::connect(address, client, local)));
        self.state = State::Open { port: None, reception: Box::new(reception) };
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel")
    }
}

/// Whether a command between an upload and the next transfer is more than the way there.
const fn is_work(verb: Verb) -> bool {
    use Verb::{Abor, Appe, Eprt, List, Mlsd, Nlst, Port, Quit, Retr, Stor, Stou};
    use Verb::{Allo, Cdup, Cwd, Epsv, Feat, Mkd, Mode, Noop, Opts, Pasv, Pbsz, Prot, Pwd, Rest, Stru, Syst, Type};
    let way = matches!(verb, Allo | Cdup | Cwd | Epsv | Feat | Mkd | Mode | Noop | Opts | Pasv | Pbsz | Prot | Pwd | Rest | Stru | Syst | Type);
    !way && !matches!(verb, Abor | Appe | Eprt | List | Mlsd | Nlst | Port | Quit | Retr | Stor | Stou)
}

impl Setup {
    /// Whether the session's address stands for many clients.
    pub(super) fn hidden(&self) -> bool {
        (self.hides)(self.peer.ip())
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.observer.event(Subject { session: Some(self.session), peer: Some(self.peer), user: None }, event);
    }
}
