//! One log line for each event: its level, its room, its words and its fields.
//!
//! Gets: events, synchronously. Gives: lines with the session's id, and everything a client said in escaped fields of its own.
//! Never: `error` for what a peer did; a secret (events carry none); a line for [`Event::Ready`], which is said by [`LogHandle::ready`] with its addresses.

use std::time::Duration;

use ftps_proto::machine::io::LoginRefusal;

use super::event::{CloseReason, DataOutcome, Direction, Event, LoginFault, StreamEnd, Subject, TransferResult};
use super::id::TransferId;
use super::labels::Label;
use super::line::Line;
use super::log::LogHandle;
use super::ready::ADDRESSES_HIDDEN;
use super::sets::{Command, Ending, Trouble};
use super::{LogLevel, Sink};

/// Writes events to the log.
#[derive(Clone, Debug)]
pub struct LogSink(LogHandle);

impl LogSink {
    /// A sink that writes to this log.
    pub fn new(log: LogHandle) -> Self {
        Self(log)
    }
}

impl Sink for LogSink {
    fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        let (level, room, message) = words(event);
        // Most events are commands at `debug`: they end here.
        if level == LogLevel::Off || !self.0.enabled(room, level) {
            return;
        }
        let session = subject.session.as_ref().map(|session| session as &dyn std::fmt::Display);
        let mut line = self.0.line(level, room, session, message);
        line.text("event", event.name());
        if let Some(peer) = subject.peer {
            line.shown("peer", peer);
        }
        if let Some(user) = subject.user {
            line.text("user", user);
        }
        fields(&mut line, event);
        self.0.write(line);
    }
}

/// Level, room and message of an event.
// long: one arm for each event, and each is short.
pub(super) fn words(event: &Event<'_>) -> (LogLevel, &'static str, &'static str) {
    use LogLevel::{Debug, Error, Info, Off, Trace, Warn};
    match event {
        Event::Ready => (Off, "node", "ready"),
        Event::Draining => (Info, "node", "draining: no new sessions"),
        Event::Accepted { .. } => (Debug, "conn", "connection accepted"),
        Event::Probed { .. } => (Debug, "conn", "health check"),
        Event::ProxyRefused { .. } => (Info, "conn", "connection refused: listen.proxy_protocol_from and what its peer sends disagree"),
        Event::Refused { .. } => (Info, "conn", "connection refused"),
        Event::AcceptFailed { .. } => (Warn, "conn", "cannot accept connections, trying again"),
        Event::Handshake { .. } => (Debug, "tls", "handshake finished"),
        Event::HandshakeFailed { .. } => (Info, "tls", "handshake failed"),
        Event::LoggedIn { .. } => (Info, "auth", "logged in"),
        Event::LoginRefused { refusal: LoginRefusal::PasswordNeeded, .. } => (Debug, "auth", "password needed"),
        // The user can do nothing about it, the operator can.
        Event::LoginRefused { why: LoginFault::HomeUnavailable | LoginFault::QueueFull, .. } => (Warn, "auth", "login refused"),
        Event::LoginRefused { .. } => (Info, "auth", "login refused"),
        Event::Command { .. } => (Debug, "session", "command"),
        Event::PassiveOpened { .. } => (Debug, "data", "passive port announced"),
        Event::PrivateAnnounced { first: true, .. } => {
            (Warn, "data", "PASV tells a public client a private address, which it will hardly reach: write the public one in data.public_address")
        }
        Event::PrivateAnnounced { first: false, .. } => (Debug, "data", "PASV tells a public client a private address"),
        Event::PassiveRefused { .. } => (Info, "data", "no port is free for this client: data.ports has too few, or it opens more connections than it uses"),
        Event::DataReady { .. } => (Debug, "data", "data connection taken"),
        Event::DataConnection { outcome: DataOutcome::Probe } => (Debug, "data", "health check"),
        Event::RelayEnded { trouble: None, .. } => (Debug, "data", "relayed data connection ended"),
        Event::RelayEnded { trouble: Some(_), .. } => (Info, "data", "relayed data connection broke"),
        Event::DataConnection { outcome: DataOutcome::Local | DataOutcome::Leased | DataOutcome::Relayed | DataOutcome::FromPeer } => {
            (Debug, "data", "data connection delivered")
        }
        Event::DataConnection { .. } => (Info, "data", "data connection not delivered"),
        Event::DataRefused { .. } => (Info, "data", "data connection refused"),
        Event::TransferStarted { .. } => (Debug, "session", "transfer started"),
        Event::TransferEnded { .. } => (Info, "session", "transfer ended"),
        Event::TransferCut { .. } => (Info, "session", "transfer cut"),
        Event::TransferDigest { .. } => (Info, "digest", "digest of a transfer"),
        Event::Digest { .. } => (Info, "digest", "digest"),
        Event::Hashed { .. } => (Debug, "digest", "hashed"),
        Event::FileChanged { .. } => (Info, "storage", "file changed"),
        Event::StorageFailed { kind, .. } => (storage_level(Trouble::from(*kind)), "storage", "file system error"),
        Event::StorageDone { .. } => (Trace, "storage", "file system call"),
        Event::LimitHit { .. } => (Info, "limits", "limit reached"),
        Event::AddressesHidden { addresses: [] } => (Info, "limits", "clients come from addresses of their own: limits by address hold"),
        Event::AddressesHidden { .. } => (Warn, "limits", ADDRESSES_HIDDEN),
        Event::Closed { reason: CloseReason::Probe, .. } => (Debug, "session", "health check"),
        Event::Closed { .. } => (Info, "session", "session closed"),
        Event::Swept { files: 0 } => (Debug, "storage", "no left-over uploads"),
        Event::Swept { .. } => (Info, "storage", "left-over uploads removed"),
        Event::Reloaded { error: None, .. } => (Info, "config", "read again"),
        Event::Reloaded { error: Some(_), .. } => (Error, "config", "not taken: the former state stays"),
        Event::Sidecar(sidecar) => {
            let (level, message) = sidecar.words();
            (level, "admin", message)
        }
        Event::Banned { dry_run: true, .. } => (Info, "bans", "would be banned"),
        Event::Banned { .. } => (Info, "bans", "banned"),
        Event::Unbanned { .. } => (Info, "bans", "bans removed"),
        Event::BanRefused { .. } => (Info, "bans", "a banned client was refused"),
        Event::BanArrived { .. } => (Debug, "bans", "a ban came from another node"),
        Event::Peer(peer) => {
            let (level, message) = peer.words();
            (level, "cluster", message)
        }
        Event::Staple(staple) => {
            let (level, message) = staple.words();
            (level, "tls", message)
        }
        Event::Panicked => (Error, "node", "a task panicked; its session is closed"),
    }
}

/// A full disk is for the operator to mend soon, a failing one now.
fn storage_level(trouble: Trouble) -> LogLevel {
    match trouble {
        Trouble::NoSpace | Trouble::Quota | Trouble::Busy => LogLevel::Warn,
        Trouble::ReadOnly | Trouble::Denied | Trouble::Io => LogLevel::Error,
    }
}

/// The fields of an event.
// long: one arm for each event, and each is short.
pub(super) fn fields(line: &mut Line, event: &Event<'_>) {
    match *event {
        Event::Ready | Event::Draining | Event::Panicked => {}
        Event::Peer(ref peer) => peer.fields(line),
        Event::Staple(ref staple) => staple.fields(line),
        Event::Sidecar(ref sidecar) => sidecar.fields(line),
        Event::Accepted { listener } | Event::Probed { listener } => line.text("listener", listener.label()),
        Event::ProxyRefused { listener, trouble } => line.texts(&[("listener", listener.label()), ("reason", trouble.label())]),
        Event::RelayEnded { trouble, to_owner, to_client, took } => {
            trouble.into_iter().for_each(|trouble| line.text("reason", trouble.label()));
            line.number("to_owner", to_owner);
            line.number("to_client", to_client);
            line.millis("took_ms", took);
        }
        Event::PrivateAnnounced { ip, .. } => line.shown("address", ip),
        Event::Refused { listener, reason } => line.texts(&[("listener", listener.label()), ("reason", reason.label())]),
        Event::AcceptFailed { listener, error } => line.texts(&[("listener", listener.label()), ("error", &error.to_string())]),
        Event::Handshake { channel, version, resumed, took } => {
            timed(line, &[("channel", channel.label()), ("version", version.label()), ("resumed", resumed.label())], took);
        }
        Event::HandshakeFailed { channel, reason, detail } => line.texts(&[("channel", channel.label()), ("reason", reason.label()), ("detail", detail)]),
        Event::LoggedIn { method, class, took } => {
            line.text("method", method.label());
            class.into_iter().for_each(|class| line.text("class", class));
            line.millis("took_ms", took);
        }
        Event::LoginRefused { refusal, why } => line.texts(&[("refusal", refusal.label()), ("reason", why.label())]),
        Event::Command { verb, code, took } => {
            line.text("command", Command(verb).label());
            line.number("code", code.into());
            line.millis("took_ms", took);
        }
        Event::PassiveOpened { port } => line.number("port", port.into()),
        Event::PassiveRefused { lease } => line.flag("lease", lease),
        Event::DataReady { waited } => line.millis("waited_ms", waited),
        Event::DataConnection { outcome } => line.text("outcome", outcome.label()),
        Event::DataRefused { refusal } => line.text("reason", refusal.label()),
        Event::TransferStarted { id, direction, path } => transfer(line, id, direction, path),
        Event::TransferEnded { id, direction, path, result, bytes, took, ascii, proven, end, digest } => {
            transfer(line, id, direction, path);
            ending(line, result, end);
            line.number("bytes", bytes);
            line.text("type", if ascii { "ascii" } else { "image" });
            line.flag("proven", proven);
            if let Some((algorithm, value)) = digest {
                line.texts(&[("algorithm", algorithm.label()), ("digest", &hex(value))]);
            }
            line.millis("took_ms", took);
        }
        Event::TransferCut { reason } => line.text("reason", reason.label()),
        Event::TransferDigest { id, path, algorithm, digest } => {
            line.shown("transfer", id);
            line.bytes("path", path);
            line.texts(&[("algorithm", algorithm.label()), ("digest", &hex(digest))]);
        }
        Event::Digest { algorithm, path, source, result, took } => {
            line.bytes("path", path);
            timed(line, &[("algorithm", algorithm.label()), ("source", source.label()), ("result", result.label())], took);
        }
        Event::Hashed { algorithm, bytes, took } => {
            line.text("algorithm", algorithm.label());
            line.number("bytes", bytes);
            took.into_iter().for_each(|took| line.millis("took_ms", took));
        }
        Event::FileChanged { verb, path, to } => {
            line.text("command", verb.label());
            line.bytes("path", path);
            to.into_iter().for_each(|to| line.bytes("to", to));
        }
        Event::StorageFailed { operation, kind, error } => {
            line.texts(&[("operation", operation), ("kind", kind.label()), ("error", &error.to_string())]);
        }
        Event::StorageDone { operation, took } => timed(line, &[("operation", operation)], took),
        Event::LimitHit { limit } => line.text("limit", limit.label()),
        Event::AddressesHidden { addresses } => {
            line.text("addresses", &addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        }
        Event::Closed { reason, took } => timed(line, &[("reason", reason.label())], took),
        Event::Swept { files } => line.number("files", files),
        Event::Banned { id, kind, source, dry_run: _, target, reason, sessions } => {
            line.shown("ban", id);
            line.texts(&[("kind", kind.label()), ("source", source.label()), ("target", target), ("reason", reason)]);
            line.number("sessions", sessions as u64);
        }
        Event::Unbanned { bans, author } => {
            line.number("bans", bans);
            line.text("author", author);
        }
        Event::BanRefused { id, kind, stage, listener } => {
            line.shown("ban", id);
            line.texts(&[("kind", kind.label()), ("stage", stage.label())]);
            listener.into_iter().for_each(|listener| line.text("listener", listener.label()));
        }
        Event::BanArrived { took } => line.millis("took_ms", took),
        Event::Reloaded { what, error } => {
            line.text("what", what.label());
            error.into_iter().for_each(|error| line.text("error", error));
        }
    }
}

fn timed(line: &mut Line, words: &[(&str, &str)], took: Duration) {
    line.texts(words);
    line.millis("took_ms", took);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn transfer(line: &mut Line, id: TransferId, direction: Direction, path: &[u8]) {
    line.shown("transfer", id);
    line.text("direction", direction.label());
    line.bytes("path", path);
}

fn ending(line: &mut Line, result: TransferResult, end: StreamEnd) {
    line.texts(&[("result", Ending::from(result).label()), ("end", end.label())]);
    match result {
        TransferResult::Failed(kind) => line.text("error", kind.label()),
        TransferResult::NoConnection(refusal) => line.text("error", refusal.label()),
        TransferResult::Complete | TransferResult::Broken | TransferResult::Stalled | TransferResult::Aborted => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::machine::io::FileError;
    use ftps_proto::verbs::Verb;
    use serde_json::Value;

    use super::super::event::{Channel, HandshakeFailure, LoginFault, LoginMethod};
    use super::super::id::SessionId;
    use super::super::output::tests::Paper;
    use super::super::{LogConfig, LogFormat};
    use super::*;

    /// The lines of these events, at this level.
    fn said(level: LogLevel, session: SessionId, events: &[Event<'_>]) -> Vec<Value> {
        let paper = Paper::default();
        let log = LogHandle::new(&LogConfig { format: LogFormat::Json, level: vec![(None, level)], transfer_log: None, audit: None }, paper.clone()).unwrap();
        let sink = LogSink::new(log.clone());
        for event in events {
            sink.event(Subject { session: Some(session), peer: Some("203.0.113.7:4711".parse().unwrap()), user: Some("al\"ice\n") }, event);
        }
        log.flush();
        paper.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_has_session_peer_user_and_event() {
        let session = SessionId::now();
        let lines =
            said(LogLevel::Info, session, &[Event::LoggedIn { method: LoginMethod::Password, class: Some("partners"), took: Duration::from_millis(80) }]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["session"], session.to_string());
        assert_eq!((lines[0]["peer"].as_str(), lines[0]["user"].as_str()), (Some("203.0.113.7:4711"), Some("al\"ice\n")));
        assert_eq!((lines[0]["event"].as_str(), lines[0]["room"].as_str(), lines[0]["level"].as_str()), (Some("logged_in"), Some("auth"), Some("info")));
        assert_eq!(lines[0]["took_ms"], 80.0);
    }

    #[test]
    fn what_a_peer_does_is_never_an_error() {
        let events = [
            Event::HandshakeFailed { channel: Channel::Control, reason: HandshakeFailure::NotTls, detail: "GET /" },
            Event::LoginRefused { refusal: LoginRefusal::Incorrect, why: LoginFault::WrongPassword },
            Event::Command { verb: None, code: 500, took: Duration::ZERO },
        ];
        let lines = said(LogLevel::Debug, SessionId::now(), &events);
        assert_eq!(lines.len(), events.len());
        assert!(lines.iter().all(|line| line["level"] != "error" && line["level"] != "warn"), "{lines:?}");
    }

    #[test]
    fn commands_are_for_debug_and_ready_is_said_elsewhere() {
        let command = Event::Command { verb: Some(Verb::Noop), code: 200, took: Duration::ZERO };
        assert!(said(LogLevel::Info, SessionId::now(), std::slice::from_ref(&command)).is_empty());
        assert_eq!(said(LogLevel::Debug, SessionId::now(), &[command])[0]["command"], "NOOP");
        assert!(said(LogLevel::Trace, SessionId::now(), &[Event::Ready]).is_empty());
    }

    #[test]
    fn a_path_that_is_no_text_is_shown_and_a_failed_transfer_says_why() {
        let ended = Event::TransferEnded {
            id: TransferId::now(),
            direction: Direction::Upload,
            path: b"/a\xff\r\nb",
            result: TransferResult::Failed(FileError::NoSpace),
            bytes: 7,
            took: Duration::from_secs(1),
            ascii: false,
            proven: true,
            end: StreamEnd::CloseNotify,
            digest: Some((ftps_proto::digest::Algorithm::Crc32, &[0xab, 0, 1, 0xff])),
        };
        let lines = said(LogLevel::Info, SessionId::now(), &[ended]);
        assert_eq!(lines[0]["path"], "/a\\xff\r\nb");
        assert_eq!((lines[0]["result"].as_str(), lines[0]["error"].as_str(), lines[0]["bytes"].as_u64()), (Some("failed"), Some("no_space"), Some(7)));
        assert_eq!((lines[0]["algorithm"].as_str(), lines[0]["digest"].as_str()), (Some("crc32"), Some("ab0001ff")));
        assert_eq!((lines[0]["proven"].as_bool(), lines[0]["end"].as_str()), (Some(true), Some("close_notify")));
    }
}
