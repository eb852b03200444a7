//! One wait for one data connection: handshakes side by side, and the first finished one that policy takes.
//!
//! Gets: arrivals, what the session has shown, policy. Gives: a stream, or why there is none.
//! Never: writes a byte before the proof; a copied ClientHello steals nothing and blocks nothing, because only a finished handshake counts.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use ftps_proto::hello::{HelloReader, Progress};
use ftps_proto::machine::io::DataRefusal;
use ftps_proto::proof::{self, HOLD, Offered, Origin, ReusePolicy, Shown, Verdict};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, Sleep, sleep_until};

use super::channel::{Channel, Setup};
use super::handshake::{self, Failed, Finished};
use super::spenders::{ClientId, Next};
use super::stream::{DataStream, Past};
use super::waits::Wait;
use crate::net::Arrival;
use crate::observe::Event;
use crate::observe::event::{Channel as Which, HandshakeFailure, Resumed, TlsVersion};

/// One wait for one connection. The session polls it whatever else it does, so that handshakes go on; a task of its own would cost each transfer two
/// changes of thread.
pub(super) struct Reception {
    setup: Arc<Setup>,
    past: Arc<Past>,
    policy: ReusePolicy,
    client: ClientId,
    leased: bool,
    /// Given up when this ends: with the proof at the latest.
    wait: Option<Wait>,
    /// The active connection that is being made.
    pub(super) dialing: Option<Dialing>,
    /// Its port was told to nobody before: what came earlier was meant for another wait.
    pub(super) since: Instant,
    deadline: Pin<Box<Sleep>>,
    /// What the client is told at the deadline.
    why: DataRefusal,
    candidates: Vec<Candidate>,
    /// One without proof that may have the transfer, and when.
    held: Option<(Pin<Box<Sleep>>, Box<Finished>)>,
    /// A refused one of a client that has no ticket left. It stays open until the reply that says so: curl, whose upload breaks before, never reads the reply.
    refused: Option<Box<Finished>>,
}

/// A handshake that runs.
struct Candidate {
    run: Pin<Box<dyn Future<Output = Done> + Send>>,
    /// The random bytes of its ClientHello: a copy has the same.
    random: Option<Random>,
}

type Random = [u8; 32];
pub(super) type Dialing = Pin<Box<dyn Future<Output = Result<Arrival, DataRefusal>> + Send>>;

/// A candidate's end.
struct Done {
    ip: IpAddr,
    /// Its ClientHello looks like the control connection's.
    looks_alike: bool,
    /// The ticket it showed, see `Past::note_proof`.
    ticket: Option<u64>,
    took: Duration,
    result: Result<Finished, Failed>,
}

impl Reception {
    pub(super) fn new(channel: &Channel, wait: Option<Wait>, leased: bool) -> Self {
        Self {
            setup: channel.setup.clone(),
            past: channel.past.clone(),
            policy: channel.policy,
            client: channel.client,
            leased,
            wait,
            dialing: None,
            since: Instant::now(),
            deadline: Box::pin(sleep_until(Instant::now() + channel.setup.data_timeout)),
            why: DataRefusal::Timeout,
            candidates: Vec::new(),
            held: None,
            refused: None,
        }
    }

    /// The end of the wait: a connection that is taken, or why none was.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<DataStream, DataRefusal>> {
        if let Some(dialing) = &mut self.dialing
            && let Poll::Ready(dialed) = dialing.as_mut().poll(context)
        {
            self.dialing = None;
            match dialed {
                Ok(arrival) => self.admit(arrival),
                Err(refusal) => {
                    self.setup.tell(&Event::DataRefused { refusal });
                    return Poll::Ready(Err(refusal));
                }
            }
        }
        while let Some(done) = self.first_done(context) {
            if let Some(stream) = self.judge(done) {
                self.dismiss();
                return Poll::Ready(Ok(stream));
            }
        }
        if let Some(held) = &mut self.held
            && held.0.as_mut().poll(context).is_ready()
            && let Some(stream) = self.take_held()
        {
            self.dismiss();
            return Poll::Ready(Ok(stream));
        }
        self.deadline.as_mut().poll(context).map(|()| Err(self.give_up()))
    }

    /// The first candidate that has ended, taken out.
    fn first_done(&mut self, context: &mut Context<'_>) -> Option<Done> {
        (0..self.candidates.len()).find_map(|place| match self.candidates[place].run.as_mut().poll(context) {
            Poll::Ready(done) => {
                drop(self.candidates.remove(place));
                Some(done)
            }
            Poll::Pending => None,
        })
    }

    /// Starts a handshake. When four run already, one goes: what takes its time must not keep the rightful one out. Whoever repeats a ClientHello a thousand
    /// times drives out its own copies, not the rightful one.
    pub(super) fn admit(&mut self, arrival: Arrival) {
        let random = random(&arrival.read);
        if self.candidates.len() == CANDIDATES {
            self.setup.tell(&Event::HandshakeFailed {
                channel: Which::Data,
                reason: HandshakeFailure::Closed,
                detail: "too many connections for one transfer",
            });
            if self.candidates.iter().any(|other| other.random == random) {
                return;
            }
            drop(self.candidates.remove(self.least_likely()));
        }
        self.candidates.push(Candidate { run: Box::pin(candidate(self.setup.clone(), arrival)), random });
    }

    /// A candidate of which another is a copy, else the oldest.
    fn least_likely(&self) -> usize {
        let all = &self.candidates;
        let copied = |place: &usize| all[place + 1..].iter().any(|other| other.random == all[*place].random);
        (0..all.len()).find(copied).unwrap_or(0)
    }

    fn judge(&mut self, done: Done) -> Option<DataStream> {
        let origin = self.origin(done.ip);
        let likely = origin != Origin::Other && done.looks_alike;
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
        let shown = if offered == Offered::Nothing { self.shown(done.looks_alike) } else { Shown::Proof };
        match proof::decide(proof::Arrival { shown, offered, origin, leased: self.leased }, self.policy) {
            Verdict::Proven => {
                self.past.note_proof(done.ticket.filter(|_| version == TlsVersion::Tls13));
                Some(self.take(finished, true))
            }
            Verdict::Unproven => Some(self.take(finished, false)),
            Verdict::UnlessProven => {
                // The first of them; a second one is no more likely.
                self.held.get_or_insert_with(|| (Box::pin(sleep_until(Instant::now() + HOLD)), Box::new(finished)));
                None
            }
            Verdict::Refuse(_) => {
                self.refuse(finished, likely);
                None
            }
        }
    }

    /// Where a connection comes from, as far as its address tells: hidden addresses count as one.
    fn origin(&self, ip: IpAddr) -> Origin {
        match (self.setup.hidden(), ip == self.setup.peer.ip()) {
            (true, same) if same || (self.setup.hides)(ip) => Origin::Hidden,
            (_, true) => Origin::Same,
            (_, false) => Origin::Other,
        }
    }

    fn shown(&self, likely: bool) -> Shown {
        self.past.shown(likely, self.setup.waits.has_siblings(self.setup.session))
    }

    fn take(&self, finished: Finished, proven: bool) -> DataStream {
        if self.wait.is_some() {
            self.setup.tell(&Event::DataReady { waited: self.since.elapsed() });
        }
        // Where policy would take the next connection without proof, or a new session serves the client as well, it does not need its ticket early, and Ruby,
        // which reads nothing on an upload, would lose the end of its file by it: its kernel answers unread bytes with a reset.
        let early = proof::insists(self.policy, self.setup.hidden()) && self.setup.spenders.next(self.client) == Some(Next::Other);
        DataStream::new(finished, proven, early, self.past.clone())
    }

    /// The connection without proof that has the transfer now, since no other has shown proof for [`HOLD`].
    fn take_held(&mut self) -> Option<DataStream> {
        let (_, finished) = self.held.take()?;
        self.spends();
        Some(self.take(*finished, false))
    }

    /// This client uses each ticket once.
    fn spends(&self) {
        self.past.spent.store(true, Ordering::Relaxed);
        self.setup.spenders.insert(self.client, self.past.next());
    }

    /// A finished handshake without the proof that policy demands.
    fn refuse(&mut self, finished: Finished, likely: bool) {
        self.setup.tell(&Event::DataRefused { refusal: DataRefusal::SessionReuseRequired });
        let mut gone = Some(Box::new(finished));
        if likely && self.shown(true) == Shown::Withheld {
            self.spends();
            std::mem::swap(&mut gone, &mut self.refused);
        }
        gone.into_iter().for_each(|one| handshake::refuse(*one));
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
        let soon = Instant::now() + GRACE;
        if soon < self.deadline.deadline() {
            self.deadline.as_mut().reset(soon);
        }
    }

    /// One is taken: the others were copies or strangers.
    fn dismiss(&mut self) {
        if let Some(held) = self.held.take() {
            handshake::refuse(*held.1);
            self.setup.tell(&Event::DataRefused { refusal: DataRefusal::SessionReuseRequired });
        }
        self.refused.take().into_iter().for_each(|one| handshake::refuse(*one));
        for candidate in self.candidates.drain(..) {
            drop(candidate);
            self.setup.tell(&Event::HandshakeFailed { channel: Which::Data, reason: HandshakeFailure::Closed, detail: "another connection finished first" });
        }
    }

    fn give_up(&mut self) -> DataRefusal {
        self.refused.take().into_iter().for_each(|one| handshake::refuse(*one));
        // A refused session was counted when it was refused.
        if self.why != DataRefusal::SessionReuseRequired {
            self.setup.tell(&Event::DataRefused { refusal: self.why });
        }
        self.why
    }
}

/// Where every TLS library puts it: behind the heads of record and message, and the version (RFC 8446 §4.1.2).
fn random(hello: &[u8]) -> Option<Random> {
    hello.get(11..)?.first_chunk().copied()
}

async fn candidate(setup: Arc<Setup>, arrival: Arrival) -> Done {
    let (ip, since) = (arrival.peer.ip(), arrival.since);
    // Who relays a connection sends its bytes only, so the hello is read again.
    let Progress::Done(hello) = HelloReader::new().push(&arrival.read) else {
        let failed = Failed { reason: HandshakeFailure::NotTls, detail: "no ClientHello".into() };
        return Done { ip, looks_alike: false, ticket: None, took: since.elapsed(), result: Err(failed) };
    };
    let looks_alike = Sha256::digest(&hello.fingerprint)[..] == setup.fingerprint;
    let ticket = hello.tickets().next().and_then(|ticket| Sha256::digest(ticket).first_chunk().copied()).map(u64::from_be_bytes);
    let config = (setup.config)(&hello).await;
    let result = handshake::run(arrival, &hello, config).await.and_then(|finished| handshake::check(finished, &setup.check));
    Done { ip, looks_alike, ticket, took: since.elapsed(), result }
}

/// Handshakes that run side by side for one transfer.
const CANDIDATES: usize = 4;

/// How much longer a connection is waited for when one that was probably the client's own has failed.
const GRACE: Duration = Duration::from_secs(3);
