//! Clear text before TLS: a small file that holds all that a stranger can reach without a handshake.
//!
//! Gets: an admitted connection. Gives: a secured one, or the reason it ended.
//! Never: runs a job; a login in clear text does not exist.

use ftps_proto::machine::io::{Action, EndReason, Input};
use ftps_proto::machine::{Machine, Mode};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::control::{Control, Turn};
use super::{Carried, Ended, Session};
use crate::live::Message;
use crate::observe::event::{Channel, CloseReason, Limit, Listener};
use crate::observe::Event;
use crate::tls::accept;

/// A connection before its TLS handshake.
#[derive(Debug)]
pub struct Greeting {
    stream: TcpStream,
    machine: Machine,
    carried: Carried,
}

impl Greeting {
    /// A connection that was admitted.
    pub fn new(stream: TcpStream, carried: Carried) -> Self {
        let mode = if carried.identity.listener == Listener::Implicit { Mode::Implicit } else { Mode::Explicit };
        let machine = Machine::new(carried.settings.rules.clone(), mode, carried.identity.peer.ip());
        Self { stream, machine, carried }
    }

    /// Greets until `AUTH TLS` (on an implicit listener: at once), then shakes hands.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn secure(mut self) -> Result<Session, Ended> {
        let mut control = Control::new(self.stream);
        if self.carried.identity.listener == Listener::Explicit {
            if let Err(reason) = greet(&mut control, &mut self.machine, &mut self.carried).await {
                if matches!(reason, CloseReason::Machine(_)) {
                    control.close(self.carried.settings.limits.write_timeout).await;
                }
                return Err(reason);
            }
        }
        let stream = handshake(control.into_inner(), &mut self.carried).await?;
        self.machine.input(Input::Secured);
        Ok(Session::new(Control::new(stream), self.machine, self.carried))
    }
}

/// Serves clear text until the machine asks for TLS.
async fn greet(control: &mut Control<TcpStream>, machine: &mut Machine, carried: &mut Carried) -> Result<(), Ended> {
    let deadline = Instant::now() + carried.until_login();
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
            Happened::Turn(Turn::Read(bytes)) if bytes.is_empty() => return Err(CloseReason::ClientClosed),
            Happened::Turn(Turn::Read(bytes)) => machine.input(Input::Bytes(&bytes)),
            Happened::Turn(Turn::Flushed) => {}
            Happened::Turn(Turn::Failed(_)) => return Err(CloseReason::ConnectionLost),
            Happened::Message(Some(Message::End(reason) | Message::EndWhenIdle(reason))) => machine.input(Input::End(reason)),
            // Nobody can have a reason to bring a data connection here; it is closed by being dropped.
            Happened::Message(Some(Message::Data(_)) | None) => {}
            Happened::Deadline => {
                carried.house.observer.event(carried.subject(), &Event::LimitHit { limit: Limit::LoginTimeout });
                machine.input(Input::End(EndReason::LoginTimeout));
            }
        }
    }
}

enum Happened {
    Turn(Turn),
    Message(Option<Message>),
    Deadline,
}

/// Does what the machine wants; true when TLS is to start.
async fn obey(control: &mut Control<TcpStream>, machine: &mut Machine, carried: &Carried) -> Result<bool, Ended> {
    while let Some(action) = machine.poll() {
        match action {
            Action::Reply(reply) => control.queue(&reply),
            Action::Answered { verb, code, .. } => super::run::answered(carried, None, verb, code, std::time::Duration::ZERO),
            Action::StartTls => {
                // RFC 4217 has the client wait for 234. Bytes that are here already were sent before it, in clear, perhaps by somebody in between.
                if control.io().try_read(&mut [0_u8; 1]).is_ok() {
                    return Err(CloseReason::Machine(ftps_proto::machine::io::CloseCause::StarttlsInjection));
                }
                control.flush(carried.until_login()).await.map_err(|_| CloseReason::WriteTimeout)?;
                return Ok(true);
            }
            Action::Close(cause) => return Err(CloseReason::Machine(cause)),
            // Nothing of this exists before TLS; the machine's tests hold it.
            Action::Run(_) | Action::AbortTransfer | Action::DropDataPort | Action::LoggedOut => {}
        }
    }
    Ok(false)
}

async fn handshake(stream: TcpStream, carried: &mut Carried) -> Result<TlsStream<TcpStream>, Ended> {
    let deadline = Instant::now() + carried.until_login().min(HANDSHAKE);
    let observer = carried.house.observer.clone();
    let subject = carried.subject();
    match accept::control(&carried.house.tls, &carried.keys, stream, deadline).await {
        Ok((stream, facts)) => {
            let event = Event::Handshake { channel: Channel::Control, version: facts.version, resumed: facts.resumed, took: facts.took };
            observer.event(subject, &event);
            Ok(stream)
        }
        Err(failed) => {
            let event = Event::HandshakeFailed { channel: Channel::Control, reason: failed.reason, detail: &failed.detail };
            observer.event(subject, &event);
            Err(CloseReason::HandshakeFailed)
        }
    }
}

/// Longest handshake, within what is left for the login.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);
