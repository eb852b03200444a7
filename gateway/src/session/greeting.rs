//! Clear text before TLS: a small file that holds all that a stranger can reach without a handshake.
//!
//! Gets: an admitted connection. Gives: a secured one, or the reason it ended.
//! Never: runs a job; a login in clear text does not exist.

use std::sync::Arc;
use std::time::Duration;

use ftps_proto::machine::io::{Action, CloseCause, EndReason, Input};
use ftps_proto::machine::{Machine, Mode, Rules};
use ftps_proto::proxy;
use ftps_proto::reply::{Reply, Words};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::control::{Control, Turn};
use super::{Carried, Ended, Session};
use crate::auth::CertificateIdentity;
use crate::bans;
use crate::digest::Who;
use crate::live::Message;
use crate::observe::Event;
use crate::observe::event::{Channel, CloseReason, HandshakeFailure, Limit, Listener, ProxyTrouble};
use crate::tls::{self, ClientCertificate, Secured};

/// A connection before its TLS handshake.
#[derive(Debug)]
pub struct Greeting {
    stream: TcpStream,
    machine: Machine,
    carried: Carried,
    /// All that this client is told, behind the handshake.
    banned: Option<Words>,
}

impl Greeting {
    /// A connection that was admitted.
    pub fn new(stream: TcpStream, carried: Carried, banned: Option<Words>) -> Self {
        let mode = if carried.identity.listener == Listener::Implicit { Mode::Implicit } else { Mode::Explicit };
        let rules = Rules {
            line_before_login: (carried.settings.limits.line / 2).min(LINE_BEFORE_LOGIN),
            line: carried.settings.limits.line,
            active: carried.settings.active,
            certificate_login: carried.keys.asks_for_certificate(),
            offer: carried.house.digests.offer(Who::default()),
            ..Rules::new(carried.identity.peer.ip())
        };
        let machine = Machine::new(rules, mode);
        Self { stream, machine, carried, banned }
    }

    /// Greets until `AUTH TLS` (on an implicit listener: at once), then shakes hands.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn secure(mut self) -> Result<Box<Session>, Ended> {
        let mut control = Control::new(self.stream);
        if self.carried.identity.listener == Listener::Explicit
            && let Err(reason) = greet(&mut control, &mut self.machine, &mut self.carried).await
        {
            // Whoever put bytes behind AUTH TLS gets no 234 for it.
            if matches!(reason, CloseReason::Machine(cause) if cause != CloseCause::StarttlsInjection) {
                control.close(self.carried.settings.limits.write_timeout).await;
            }
            return Err(reason);
        }
        if self.carried.identity.listener == Listener::Implicit {
            first_byte(control.io(), &self.carried).await?;
        }
        if let Some(host) = self.machine.named_host() {
            self.carried.keys.set_host(host);
        }
        let Secured { stream, fingerprint, certificate, server_name, .. } = handshake(control.into_inner(), &mut self.carried).await?;
        if let Some(words) = self.banned {
            let mut control = Control::new(stream);
            control.queue(&Reply::Banned(words));
            control.close(self.carried.settings.limits.write_timeout).await;
            return Err(CloseReason::Machine(CloseCause::Ended(EndReason::Banned)));
        }
        self.machine.input(Input::Secured);
        self.carried.certificate = certificate.map(identity);
        if let Some(CertificateIdentity { common_name, alt_names, sha256 }) = self.carried.certificate.as_deref() {
            self.carried.membership.set_certificates(bans::certificate_names(common_name.as_deref(), alt_names, sha256));
        }
        self.carried.server_name = server_name;
        Ok(Box::new(Session::new(Control::new(stream), self.machine, self.carried, fingerprint)))
    }
}

/// Serves clear text until the machine asks for TLS.
async fn greet(control: &mut Control<TcpStream>, machine: &mut Machine, carried: &mut Carried) -> Result<(), Ended> {
    let deadline = Instant::now() + carried.until_login();
    let mut heard = false;
    loop {
        if obey(control, machine, carried).await? {
            return Ok(());
        }
        let happened = tokio::select! {
            turn = control.turn(machine.wants_input() && !control.backlogged()) => Happened::Turn(turn),
            message = carried.inbox.recv() => Happened::Message(message),
            () = sleep_until(deadline) => Happened::Deadline,
        };
        match happened {
            // Whoever says nothing at all only looked whether we listen.
            Happened::Turn(Turn::Read(bytes)) if bytes.is_empty() => return Err(if heard { CloseReason::ClientClosed } else { CloseReason::Probe }),
            Happened::Turn(Turn::Read(bytes)) if !heard && proxy::is_header(&bytes) => return Err(unlisted(carried)),
            Happened::Turn(Turn::Read(bytes)) => {
                heard = true;
                machine.input(Input::Bytes(&bytes));
            }
            Happened::Turn(Turn::Flushed) => {}
            Happened::Turn(Turn::Failed) => return Err(if heard { CloseReason::ConnectionLost } else { CloseReason::Probe }),
            Happened::Message(Message::End(EndReason::Banned)) => machine.input(carried.banned()),
            Happened::Message(Message::End(reason) | Message::EndWhenIdle(reason) | Message::LastOrders(reason)) => machine.input(Input::End(reason)),
            // Nobody can have a reason to bring a data connection here; it is closed by being dropped.
            Happened::Message(Message::Data(_)) => {}
            Happened::Deadline => {
                carried.house.observer.event(carried.subject(), &Event::LimitHit { limit: Limit::LoginTimeout });
                machine.input(Input::End(EndReason::LoginTimeout));
            }
        }
    }
}

enum Happened {
    Turn(Turn),
    Message(Message),
    Deadline,
}

/// Does what the machine wants; true when TLS is to start.
async fn obey(control: &mut Control<TcpStream>, machine: &mut Machine, carried: &Carried) -> Result<bool, Ended> {
    while let Some(action) = control.next(machine) {
        match action {
            Action::Reply(reply) => {
                super::said::note(carried, &reply);
                control.queue(&reply);
            }
            Action::Answered { verb, code } => super::said::answered(carried, None, verb, code, Duration::ZERO),
            Action::StartTls => {
                // RFC 4217 has the client wait for 234. Bytes that are here already were sent before it, in clear, perhaps by somebody in between.
                if control.io().try_read(&mut [0_u8; 1]).is_ok() {
                    return Err(CloseReason::Machine(CloseCause::StarttlsInjection));
                }
                control.flush(carried.until_login()).await.map_err(|_| CloseReason::WriteTimeout)?;
                return Ok(true);
            }
            Action::Close(cause) => return Err(CloseReason::Machine(cause)),
            // Nothing of this exists before TLS; the machine's tests hold it.
            Action::Run(_) | Action::AbortTransfer | Action::AbortDigest | Action::DropDataPort | Action::LoggedOut => {}
        }
    }
    Ok(false)
}

/// Waits for the first byte of an implicit connection and leaves it there: without one it was a health check.
async fn first_byte(stream: &TcpStream, carried: &Carried) -> Result<(), Ended> {
    let mut first = [0; 16];
    match timeout(carried.until_login().min(HANDSHAKE), stream.peek(&mut first)).await {
        Ok(Ok(0) | Err(_)) => Err(CloseReason::Probe),
        Ok(Ok(count)) if proxy::is_header(&first[..count]) => Err(unlisted(carried)),
        // The handshake says what is the case.
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// A PROXY header where none is expected: the balancer's network is not in the configuration.
fn unlisted(carried: &Carried) -> CloseReason {
    let event = Event::ProxyRefused { listener: carried.identity.listener, trouble: ProxyTrouble::NotListed };
    carried.house.observer.event(carried.subject(), &event);
    CloseReason::Machine(CloseCause::ForeignProtocol)
}

/// The handshake, unless the session has to end meanwhile. Nothing can be said within one, so that is a close.
async fn handshake(stream: TcpStream, carried: &mut Carried) -> Result<Secured<TcpStream>, Ended> {
    let began = Instant::now();
    let until_login = carried.until_login();
    let deadline = began + until_login.min(HANDSHAKE);
    let secured = tokio::select! {
        secured = tls::accept(&carried.house.tls, &carried.keys, stream, deadline) => secured,
        reason = carried.inbox.ended() => return Err(CloseReason::Machine(CloseCause::Ended(reason))),
    };
    let event = match &secured {
        Ok(secured) => {
            let tls::Facts { version, resumed, .. } = secured.facts;
            carried.membership.set_tls(version, resumed);
            Event::Handshake { channel: Channel::Control, version, resumed, took: began.elapsed() }
        }
        Err(error) => Event::HandshakeFailed { channel: Channel::Control, reason: error.failure, detail: &error.detail },
    };
    carried.house.observer.event(carried.subject(), &event);
    if until_login < HANDSHAKE && secured.as_ref().is_err_and(|error| error.failure == HandshakeFailure::Timeout) {
        carried.house.observer.event(carried.subject(), &Event::LimitHit { limit: Limit::LoginTimeout });
    }
    secured.map_err(|_| CloseReason::HandshakeFailed)
}

/// What the TLS room has read of a certificate, as the login takes it.
fn identity(certificate: ClientCertificate) -> Arc<CertificateIdentity> {
    let ClientCertificate { common_name, alt_names, sha256 } = certificate;
    Arc::new(CertificateIdentity { common_name, alt_names, sha256 })
}

/// Longest handshake, within what is left for the login.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Longest line before login, in bytes: there is nothing long to say.
const LINE_BEFORE_LOGIN: usize = 4096;
