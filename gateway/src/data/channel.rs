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
use std::task::Poll;
use std::time::Duration;

use ftps_proto::hello::{HelloReader, Progress};
use ftps_proto::machine::io::{DataRefusal, PassiveError};
use ftps_proto::proof::{self, Offered, Origin, ReusePolicy, Verdict};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::active;
use super::buffers::Buffers;
use super::clients::Client;
use super::handshake::{self, Failed, Finished};
use super::spenders::Spenders;
use super::stream::{DataStream, Past};
use super::waits::{Member, Wait, Waits};
use crate::net::Arrival;
use crate::observe::event::{Channel as Which, DataOutcome, HandshakeFailure, Resumed};
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
    /// others, and a full handshake leaves the client with nothing that could prove it later.
    pub config: Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    /// Who waits where, on this node.
    pub waits: Waits,
    /// `limits.data_timeout`.
    pub data_timeout: Duration,
    /// Clients that spend each ticket.
    pub spenders: Spenders,
    /// Buffers for uploads.
    pub buffers: Buffers,
    /// Is told of handshakes and refusals.
    pub observer: Observer,
}

/// The data connection of one session, over its life.
pub struct Channel {
    setup: Arc<Setup>,
    past: Arc<Past>,
    policy: ReusePolicy,
    member: Option<Member>,
    state: State,
}

enum State {
    /// No PASV, EPSV, PORT or EPRT since the last transfer.
    Closed,
    /// A port is announced, or an active connection is being made.
    Open { port: Option<u16>, arrivals: mpsc::Sender<Arrival>, reception: AbortOnDropHandle<Result<DataStream, DataRefusal>> },
    /// PORT or EPRT: the connection is made when the transfer begins.
    Active(SocketAddr),
}

impl Channel {
    /// Closed, nobody logged in.
    pub fn new(setup: Setup) -> Self {
        Self { setup: Arc::new(setup), past: Arc::default(), policy: ReusePolicy::default(), member: None, state: State::Closed }
    }

    /// The session logs in, before the reply to PASS. `policy`: the user's own, or `data.tls_reuse`.
    pub fn log_in(&mut self, client: Client, policy: ReusePolicy) {
        self.policy = policy;
        self.member = Some(self.setup.waits.join(self.setup.session, client));
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
        let lease = proof::wants_lease(self.policy, self.has_proven() && !self.past.held_back.load(Ordering::Relaxed), HIDDEN);
        async move { setup.waits.open(setup.session, setup.peer.ip(), lease).await }
    }

    /// Waits on that port from now on, for `limits.data_timeout`. Returns the port, for the reply. Needs a tokio runtime.
    pub fn wait_on(&mut self, wait: Wait) -> u16 {
        let port = wait.port();
        let (arrivals, incoming) = mpsc::channel(CANDIDATES);
        let leased = wait.leased();
        let reception = Reception::new(self, Some(wait), leased, incoming);
        self.state = State::Open { port: Some(port), arrivals, reception: AbortOnDropHandle::new(tokio::spawn(reception.passive())) };
        self.setup.tell(&Event::PassiveOpened { port });
        port
    }

    /// PORT or EPRT: the transfer will connect there. The machine has checked the address; `active` checks it again.
    pub fn connect_to(&mut self, address: SocketAddr) {
        self.state = State::Active(address);
    }

    /// A connection for this session. One that nobody waits for any more is closed and counted.
    pub fn arrive(&mut self, arrival: Arrival) {
        let delivered = match &self.state {
            State::Open { port: Some(port), arrivals, .. } if *port == arrival.port => arrivals.try_send(arrival).is_ok(),
            State::Open { .. } | State::Active(_) | State::Closed => false,
        };
        if !delivered {
            self.setup.tell(&Event::DataConnection { outcome: DataOutcome::NotWaiting });
        }
    }

    /// The connection for the transfer that begins; once. Cancel safe. Says [`Event::DataRefused`] itself.
    ///
    /// # Errors
    /// Why there is none: the reply is 425.
    pub async fn established(&mut self) -> Result<DataStream, DataRefusal> {
        if let State::Active(address) = self.state {
            self.begin_active(address);
        }
        let State::Open { reception, .. } = &mut self.state else {
            self.setup.tell(&Event::DataRefused { refusal: DataRefusal::NoPort });
            return Err(DataRefusal::NoPort);
        };
        let result = reception.await;
        self.state = State::Closed;
        result.unwrap_or_else(|_| {
            self.setup.tell(&Event::Panicked);
            Err(DataRefusal::Handshake)
        })
    }

    /// Forgets port, address and connection.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Whether a data connection ever proved this session.
    pub fn has_proven(&self) -> bool {
        self.past.proven.load(Ordering::Relaxed)
    }

    /// Whether this session ever ended an upload with close_notify.
    pub fn has_ended_cleanly(&self) -> bool {
        self.past.ended_cleanly.load(Ordering::Relaxed)
    }

    fn begin_active(&mut self, address: SocketAddr) {
        let (arrivals, incoming) = mpsc::channel(1);
        // We made the connection ourselves, to the control connection's own address: as good as a lease.
        let reception = Reception::new(self, None, true, incoming);
        self.state = State::Open { port: None, arrivals, reception: AbortOnDropHandle::new(tokio::spawn(reception.active(address))) };
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel")
    }
}

impl Setup {
    fn tell(&self, event: &Event<'_>) {
        self.observer.event(Subject { session: Some(self.session), peer: Some(self.peer), user: None }, event);
    }
}

/// One wait for one connection, in a task of its own, so that handshakes go on while the session does something else.
struct Reception {
    setup: Arc<Setup>,
    past: Arc<Past>,
    policy: ReusePolicy,
    leased: bool,
    /// Given up when this ends: with the proof at the latest.
    _wait: Option<Wait>,
    incoming: mpsc::Receiver<Arrival>,
    deadline: Instant,
    /// What the client is told at the deadline.
    why: DataRefusal,
    candidates: Vec<Candidate>,
    /// One without proof from a client that could not have any; taken at the deadline, when none with proof has come.
    spare: Option<Finished>,
}

type Candidate = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A candidate's end.
struct Done {
    ip: IpAddr,
    /// Its ClientHello looks like the control connection's.
    looks_alike: bool,
    took: Duration,
    result: Result<Finished, Failed>,
}

impl Reception {
    fn new(channel: &Channel, wait: Option<Wait>, leased: bool, incoming: mpsc::Receiver<Arrival>) -> Self {
        Self {
            setup: channel.setup.clone(),
            past: channel.past.clone(),
            policy: channel.policy,
            leased,
            _wait: wait,
            incoming,
            deadline: Instant::now() + channel.setup.data_timeout,
            why: DataRefusal::Timeout,
            candidates: Vec::new(),
            spare: None,
        }
    }

    async fn active(mut self, address: SocketAddr) -> Result<DataStream, DataRefusal> {
        match active::connect(address, self.setup.peer.ip(), self.setup.local.ip()).await {
            Ok(arrival) => self.admit(arrival),
            Err(refusal) => {
                self.setup.tell(&Event::DataRefused { refusal });
                return Err(refusal);
            }
        }
        self.passive().await
    }

    async fn passive(mut self) -> Result<DataStream, DataRefusal> {
        loop {
            tokio::select! {
                biased;
                done = first_done(&mut self.candidates) => if let Some(stream) = self.judge(done) {
                    self.dismiss();
                    return Ok(stream);
                },
                Some(arrival) = self.incoming.recv() => self.admit(arrival),
                () = sleep_until(self.deadline) => return match self.spare.take() {
                    Some(spare) => Ok(self.start_anew(spare)),
                    None => Err(self.give_up()),
                },
            }
        }
    }

    /// Starts a handshake. When four run already, the oldest goes: one that takes its time must not keep the rightful one out.
    fn admit(&mut self, arrival: Arrival) {
        if self.candidates.len() == CANDIDATES {
            drop(self.candidates.remove(0));
            self.setup.tell(&Event::HandshakeFailed {
                channel: Which::Data,
                reason: HandshakeFailure::Closed,
                detail: "too many connections for one transfer",
            });
        }
        self.candidates.push(Box::pin(candidate(self.setup.clone(), arrival)));
    }

    fn judge(&mut self, done: Done) -> Option<DataStream> {
        let origin = if done.ip == self.setup.peer.ip() { Origin::Same } else { Origin::Other };
        let likely = origin == Origin::Same && done.looks_alike;
        let finished = match done.result {
            Ok(finished) => finished,
            Err(Failed { reason, detail }) => {
                self.setup.tell(&Event::HandshakeFailed { channel: Which::Data, reason, detail: &detail });
                self.doubt(likely, DataRefusal::Handshake);
                return None;
            }
        };
        let Finished { version, resumed, .. } = finished;
        self.setup.tell(&Event::Handshake { channel: Which::Data, version, resumed, took: done.took });
        let offered = if resumed == Resumed::Full { Offered::Nothing } else { Offered::Own };
        // OpenSSL resumes a TLS 1.3 session once, and Ruby never reads the next ticket, which comes at the end of an upload.
        let stranded = likely && self.past.proven.load(Ordering::Relaxed) && self.past.held_back.load(Ordering::Relaxed);
        let shown_before = self.past.proven.load(Ordering::Relaxed) && !stranded;
        match proof::decide(proof::Arrival { shown_before, offered, origin, leased: self.leased }, self.policy) {
            Verdict::Proven => {
                self.past.proven.store(true, Ordering::Relaxed);
                Some(self.take(finished, true))
            }
            Verdict::Unproven if stranded && self.spare.is_none() => {
                self.spare = Some(finished);
                self.deadline = self.deadline.min(Instant::now() + RIGHTFUL);
                None
            }
            Verdict::Unproven if stranded => {
                handshake::refuse(finished);
                None
            }
            Verdict::Unproven => Some(self.take(finished, false)),
            Verdict::Refuse(_) => {
                handshake::refuse(finished);
                self.refused(likely);
                None
            }
        }
    }

    fn take(&self, finished: Finished, proven: bool) -> DataStream {
        let early = self.setup.spenders.contains(self.setup.fingerprint);
        DataStream::new(finished, proven, early, self.past.clone(), self.setup.buffers.clone())
    }

    /// A client lost its only ticket by an upload, and nobody else showed proof: the session is again one that has never shown any.
    fn start_anew(&mut self, spare: Finished) -> DataStream {
        self.past.proven.store(false, Ordering::Relaxed);
        self.past.held_back.store(false, Ordering::Relaxed);
        self.dismiss();
        self.take(spare, false)
    }

    /// A finished handshake without the proof that policy demands.
    fn refused(&mut self, likely: bool) {
        self.setup.tell(&Event::DataRefused { refusal: DataRefusal::SessionReuseRequired });
        if likely && self.past.proven.load(Ordering::Relaxed) && self.past.held_back.load(Ordering::Relaxed) {
            self.setup.spenders.insert(self.setup.fingerprint);
        }
        self.doubt(likely, DataRefusal::SessionReuseRequired);
    }

    /// A candidate was none. `likely`: it was the client itself (its address, its TLS library), which now waits for an answer, so the rest of the wait is
    /// short, but long enough for the rightful one if it was somebody behind the same NAT. A stranger's failure changes nothing.
    fn doubt(&mut self, likely: bool, why: DataRefusal) {
        if !likely {
            return;
        }
        if self.why != DataRefusal::SessionReuseRequired {
            self.why = why;
        }
        self.deadline = self.deadline.min(Instant::now() + GRACE);
    }

    /// One is taken: the others were copies or strangers.
    fn dismiss(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.setup.tell(&Event::DataRefused { refusal: DataRefusal::SessionReuseRequired });
            handshake::refuse(spare);
        }
        for candidate in self.candidates.drain(..) {
            drop(candidate);
            self.setup.tell(&Event::HandshakeFailed { channel: Which::Data, reason: HandshakeFailure::Closed, detail: "another connection finished first" });
        }
    }

    fn give_up(&mut self) -> DataRefusal {
        // A refused session was counted when it was refused.
        if self.why != DataRefusal::SessionReuseRequired {
            self.setup.tell(&Event::DataRefused { refusal: self.why });
        }
        self.why
    }
}

async fn candidate(setup: Arc<Setup>, arrival: Arrival) -> Done {
    let (ip, since) = (arrival.peer.ip(), arrival.since);
    // Who relays a connection sends its bytes only, so the hello is read again.
    let Progress::Done(hello) = HelloReader::new().push(&arrival.read) else {
        let failed = Failed { reason: HandshakeFailure::NotTls, detail: "no ClientHello".into() };
        return Done { ip, looks_alike: false, took: since.elapsed(), result: Err(failed) };
    };
    let looks_alike = Sha256::digest(&hello.fingerprint)[..] == setup.fingerprint;
    let result = handshake::run(arrival, &hello, (setup.config)()).await;
    Done { ip, looks_alike, took: since.elapsed(), result }
}

/// The first candidate that ends, taken out. Never, when there is none.
async fn first_done(candidates: &mut Vec<Candidate>) -> Done {
    poll_fn(|context| {
        for place in 0..candidates.len() {
            if let Poll::Ready(done) = candidates[place].as_mut().poll(context) {
                drop(candidates.remove(place));
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}

/// Handshakes that run side by side for one transfer.
const CANDIDATES: usize = 4;

/// How much longer a connection is waited for when one that was probably the client's own has failed.
const GRACE: Duration = Duration::from_secs(3);

/// How long a client whose only ticket was lost waits for the case that somebody else with its address and its TLS library pretended to be it.
const RIGHTFUL: Duration = Duration::from_secs(1);

/// Whether addresses of clients are hidden by a balancer. One node alone cannot tell.
const HIDDEN: bool = false;
