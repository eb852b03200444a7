//! What rules can count: mod_ban's events that have a meaning here, and what it has no word for.
//!
//! Gets: events of the gateway. Gives: which of the countable ones they are. Never: counts what is nobody's doing: a connection that a probe opens and
//! closes, a client that is refused because it is banned already.

use ftps_proto::machine::io::{CloseCause, DataRefusal, LoginRefusal};
use ftps_proto::verbs::Verb;

use crate::observe::event::{Channel, CloseReason, DataOutcome, Event, HandshakeFailure, Limit, Listener, LoginFault};

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum RuleEvent {
    LoginFailed,
    MaxLoginAttempts,
    MaxLoginAttemptsFromUser,
    EmptyPassword,
    RootLogin,
    LoginRate,
    ClientConnectRate,
    MaxClientsPerHost,
    MaxClientsPerUser,
    MaxLoginsPerMinute,
    TimeoutIdle,
    TimeoutLogin,
    BadProtocol,
    UnhandledCommand,
    TlsHandshake,
    TlsFailure,
    ForeignSession,
    BounceAttempt,
    PathProbing,
}

use RuleEvent::{
    BadProtocol, BounceAttempt, ClientConnectRate, EmptyPassword, ForeignSession, LoginFailed, LoginRate, MaxClientsPerHost, MaxClientsPerUser,
    MaxLoginAttempts, MaxLoginAttemptsFromUser, MaxLoginsPerMinute, PathProbing, RootLogin, TimeoutIdle, TimeoutLogin, TlsFailure, TlsHandshake,
    UnhandledCommand,
};

/// Each with its name and mod_ban's names for it.
pub const ALL: &[(RuleEvent, &str, &[&str])] = &[
    (LoginFailed, "login_failed", &[]),
    (MaxLoginAttempts, "max_login_attempts", &["MaxLoginAttempts"]),
    (MaxLoginAttemptsFromUser, "max_login_attempts_from_user", &["MaxLoginAttemptsFromUser"]),
    (EmptyPassword, "empty_password", &["EmptyPassword"]),
    (RootLogin, "root_login", &["RootLogin"]),
    (LoginRate, "login_rate", &["LoginRate"]),
    (ClientConnectRate, "client_connect_rate", &["ClientConnectRate"]),
    (MaxClientsPerHost, "max_clients_per_host", &["MaxClientsPerHost", "MaxConnectionsPerHost"]),
    (MaxClientsPerUser, "max_clients_per_user", &["MaxClientsPerUser"]),
    (MaxLoginsPerMinute, "max_logins_per_minute", &[]),
    (TimeoutIdle, "timeout_idle", &["TimeoutIdle"]),
    (TimeoutLogin, "timeout_login", &["TimeoutLogin"]),
    (BadProtocol, "bad_protocol", &["BadProtocol"]),
    (UnhandledCommand, "unhandled_command", &["UnhandledCommand"]),
    (TlsHandshake, "tls_handshake", &["TLSHandshake"]),
    (TlsFailure, "tls_failure", &[]),
    (ForeignSession, "foreign_session", &[]),
    (BounceAttempt, "bounce_attempt", &[]),
    (PathProbing, "path_probing", &[]),
];

/// Events of mod_ban that nothing here can be, and why.
pub const WITHOUT_MEANING: &[(&str, &str)] = &[
    ("AnonRejectPasswords", "anonymous users may send any password"),
    ("MaxClientsPerClass", "classes have no limit of their own"),
    ("MaxHostsPerUser", "the addresses of a user are not limited; write max_clients_per_user"),
    ("MaxCommandRate", "commands are not limited by rate"),
    ("TimeoutNoTransfer", "no session ends because it transfers nothing; write timeout_idle"),
];

impl RuleEvent {
    /// Its name.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(one, ..)| *one == self).map_or("", |(_, name, _)| name)
    }

    /// From its name, or mod_ban's.
    pub fn parse(text: &str) -> Option<Self> {
        ALL.iter().find(|(_, name, others)| *name == text || others.contains(&text)).map(|(one, ..)| *one)
    }

    /// What an event is to rules, and for which user: at most three things.
    pub(super) fn of(event: &Event<'_>, user: Option<&str>) -> [Option<Self>; 3] {
        let root = (user == Some(ROOT)).then_some(RootLogin);
        let one = |one| [Some(one), None, None];
        match event {
            Event::LoginRefused { refusal: LoginRefusal::Incorrect, why } => {
                [Some(LoginFailed), (*why == LoginFault::EmptyPassword).then_some(EmptyPassword), root]
            }
            Event::LoggedIn { .. } => [Some(LoginRate), root, None],
            Event::Accepted { listener: Listener::Explicit | Listener::Implicit } => one(ClientConnectRate),
            Event::LimitHit { limit } => match limit {
                Limit::SessionsPerIp => one(MaxClientsPerHost),
                Limit::SessionsPerUser => one(MaxClientsPerUser),
                Limit::LoginsPerMinutePerIp => one(MaxLoginsPerMinute),
                Limit::IdleTimeout => one(TimeoutIdle),
                Limit::LoginTimeout => one(TimeoutLogin),
                _ => [None; 3],
            },
            Event::Closed { reason: CloseReason::Machine(CloseCause::TooManyLogins), .. } => [Some(MaxLoginAttempts), Some(MaxLoginAttemptsFromUser), None],
            Event::Closed { reason: CloseReason::Machine(CloseCause::ForeignProtocol), .. } => one(BadProtocol),
            Event::Handshake { channel: Channel::Control, .. } => one(TlsHandshake),
            Event::HandshakeFailed { channel: Channel::Control, reason, .. } => match reason {
                // A probe that opens an implicit port and closes it, and a client that was cut off.
                HandshakeFailure::Closed => [None; 3],
                HandshakeFailure::NotTls => [Some(BadProtocol), Some(TlsFailure), None],
                _ => one(TlsFailure),
            },
            Event::Command { verb: None, code: 500, .. } => one(UnhandledCommand),
            Event::Command { verb: Some(Verb::Port | Verb::Eprt), code: 501 | 504, .. } => one(BounceAttempt),
            Event::Command { verb: Some(verb), code: 550 | 553, .. } if takes_a_path(*verb) => one(PathProbing),
            Event::DataConnection { outcome: DataOutcome::NotWaiting } => one(ForeignSession),
            Event::DataRefused { refusal: DataRefusal::SessionReuseRequired } => one(ForeignSession),
            _ => [None; 3],
        }
    }
}

fn takes_a_path(verb: Verb) -> bool {
    use Verb::{Appe, Cwd, Dele, List, Mdtm, Mlsd, Mlst, Nlst, Retr, Rmd, Rnfr, Size, Stat, Stor};
    matches!(verb, Appe | Cwd | Dele | List | Mdtm | Mlsd | Mlst | Nlst | Retr | Rmd | Rnfr | Size | Stat | Stor)
}

/// The account that every scanner tries.
const ROOT: &str = "root";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_told_apart_and_the_old_ones_are_known() {
        for (event, name, others) in ALL {
            assert_eq!(event.name(), *name);
            for text in others.iter().chain([name]) {
                assert_eq!(RuleEvent::parse(text), Some(*event));
            }
        }
        assert!(WITHOUT_MEANING.iter().all(|(name, _)| RuleEvent::parse(name).is_none()));
    }

    #[test]
    fn the_table_in_the_architecture_has_every_event() {
        let text = include_str!("../../../ARCHITECTURE.md");
        for (_, name, others) in ALL {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
            assert!(others.iter().all(|other| text.contains(&format!("`{other}`"))), "{name}");
        }
        assert!(WITHOUT_MEANING.iter().all(|(name, _)| text.contains(&format!("`{name}`"))));
    }

    #[test]
    fn a_probe_and_a_banned_client_count_for_nothing() {
        let closed = Event::HandshakeFailed { channel: Channel::Control, reason: HandshakeFailure::Closed, detail: "" };
        let banned = Event::LoginRefused { refusal: LoginRefusal::Banned, why: LoginFault::Banned };
        for event in [closed, banned] {
            assert_eq!(RuleEvent::of(&event, Some("root")), [None; 3], "{event:?}");
        }
        let empty = Event::LoginRefused { refusal: LoginRefusal::Incorrect, why: LoginFault::EmptyPassword };
        assert_eq!(RuleEvent::of(&empty, Some("root")), [Some(LoginFailed), Some(EmptyPassword), Some(RootLogin)]);
    }
}
