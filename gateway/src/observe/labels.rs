//! Closed sets as labels: every enum that may become a label of a metric, with the word for each of its variants.
//!
//! Gets: the enums of `event` and of `ftps_proto`. Gives: all values, a word for each, a place in a table for each.
//! Never: a label from anything a client says. A variant without a word does not compile.

use ftps_proto::digest::Algorithm;
use ftps_proto::machine::io::{CloseCause, DataRefusal, EndReason, FileError, LoginRefusal};
use ftps_proto::verbs::Verb;

use super::event::{
    BanKind, BanSource, BanStage, Channel, CloseReason, CutReason, DataOutcome, DigestResult, DigestSource, Direction, Event, HandshakeFailure, Limit,
    Listener, LoginFault, LoginMethod, ProxyTrouble, RefuseReason, RelayTrouble, Reloadable, Resumed, StreamEnd, TlsVersion,
};

/// A value of a closed set.
pub trait Label: Copy + 'static {
    /// All values, each once.
    fn all() -> Vec<Self>;
    /// Its word: lower case with underscores (verbs: as on the wire).
    fn label(self) -> &'static str;
    /// Its place: `all()[index]` is this value.
    fn index(self) -> usize;
}

/// The labels of one metric: a [`Label`], or a tuple of them.
pub trait Labels: Copy {
    /// How many combinations there are.
    fn count() -> usize;
    /// The words of every combination, in the order of [`Labels::index`].
    fn words() -> Vec<Vec<&'static str>>;
    /// The place of this combination.
    fn index(self) -> usize;
}

impl<A: Label> Labels for A {
    fn count() -> usize {
        A::all().len()
    }

    fn words() -> Vec<Vec<&'static str>> {
        A::all().into_iter().map(|one| vec![one.label()]).collect()
    }

    fn index(self) -> usize {
        Label::index(self)
    }
}

impl<A: Label, B: Label + Size> Labels for (A, B) {
    fn count() -> usize {
        A::all().len() * B::SIZE
    }

    fn words() -> Vec<Vec<&'static str>> {
        A::all().into_iter().flat_map(|a| B::all().into_iter().map(move |b| vec![a.label(), b.label()])).collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::SIZE + self.1.index()
    }
}

impl<A: Label, B: Label + Size, C: Label + Size> Labels for (A, B, C) {
    fn count() -> usize {
        A::all().len() * B::SIZE * C::SIZE
    }

    fn words() -> Vec<Vec<&'static str>> {
        let pairs = <(A, B)>::words();
        pairs.into_iter().flat_map(|pair| C::all().into_iter().map(move |c| pair.iter().copied().chain([c.label()]).collect())).collect()
    }

    fn index(self) -> usize {
        (self.0, self.1).index() * C::SIZE + self.2.index()
    }
}

impl<A: Label, B: Label + Size, C: Label + Size, D: Label + Size> Labels for (A, B, C, D) {
    fn count() -> usize {
        <(A, B, C)>::count() * D::SIZE
    }

    fn words() -> Vec<Vec<&'static str>> {
        let triples = <(A, B, C)>::words();
        triples.into_iter().flat_map(|words| D::all().into_iter().map(move |d| words.iter().copied().chain([d.label()]).collect())).collect()
    }

    fn index(self) -> usize {
        (self.0, self.1, self.2).index() * D::SIZE + self.3.index()
    }
}

/// A [`Label`] whose number of values is known when it is compiled, so that a look-up is a multiplication.
pub trait Size {
    /// The number of values.
    const SIZE: usize;
}

/// From one list: the table of all values and an exhaustive match, so that neither can miss a variant. Enums without fields only.
macro_rules! closed_set {
    ($type:ty { $($variant:ident = $label:literal),+ $(,)? }) => {
        impl Label for $type {
            fn all() -> Vec<Self> {
                vec![$(Self::$variant),+]
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label),+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl Size for $type {
            const SIZE: usize = [$(Self::$variant),+].len();
        }
    };
}

/// The same for enums with fields of closed sets: each value in brackets. A look-up is a search, so only for what is rare.
macro_rules! nested_set {
    ($type:ty { $([$($value:tt)+] = $label:literal),+ $(,)? }) => {
        impl Label for $type {
            fn all() -> Vec<Self> {
                vec![$(Self::$($value)+),+]
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$($value)+ => $label),+
                }
            }

            fn index(self) -> usize {
                const ALL: &[$type] = &[$(<$type>::$($value)+),+];
                ALL.iter().position(|one| *one == self).unwrap_or_default()
            }
        }
    };
}

closed_set!(Listener { Explicit = "explicit", Implicit = "implicit", Data = "data" });
closed_set!(RefuseReason { NotAllowed = "not_allowed", Limit = "limit", Draining = "draining", Banned = "banned" });
closed_set!(ProxyTrouble {
    Missing = "missing",
    Malformed = "malformed",
    TooLong = "too_long",
    Timeout = "timeout",
    Closed = "closed",
    TooMany = "too_many",
    NotListed = "not_listed",
});
closed_set!(Channel { Control = "control", Data = "data" });
closed_set!(TlsVersion { Tls12 = "1.2", Tls13 = "1.3" });
closed_set!(Resumed { Full = "full", Ticket = "ticket", SessionId = "cache" });
closed_set!(HandshakeFailure {
    NotTls = "not_tls",
    NoCommonParameters = "no_common_parameters",
    Alpn = "alpn",
    CertificateRefused = "certificate_refused",
    ClientCertificate = "client_certificate",
    Closed = "closed",
    Timeout = "timeout",
    Other = "other",
});
closed_set!(LoginMethod { Password = "password", Certificate = "certificate", Anonymous = "anonymous" });
closed_set!(LoginRefusal {
    Incorrect = "incorrect",
    PasswordNeeded = "password_needed",
    Banned = "banned",
    TooMany = "too_many",
    Unavailable = "unavailable",
});
closed_set!(LoginFault {
    UnknownUser = "unknown_user",
    WrongPassword = "wrong_password",
    EmptyPassword = "empty_password",
    Disabled = "disabled",
    Expired = "expired",
    WrongNetwork = "wrong_network",
    CertificateMissing = "certificate_missing",
    Banned = "banned",
    Limit = "limit",
    QueueFull = "queue_full",
    HomeUnavailable = "home_unavailable",
});
closed_set!(RelayTrouble { Client = "client", Owner = "owner", Stalled = "stalled", Connect = "connect", Answer = "answer" });
closed_set!(DataOutcome { Local = "local", Leased = "leased", Relayed = "relayed", FromPeer = "from_peer", NotWaiting = "not_waiting", NoOwner = "no_owner", Unsure = "unsure", Unreachable = "unreachable", NoHello = "no_hello", Probe = "probe" });
closed_set!(DataRefusal {
    Timeout = "timeout",
    NoPort = "no_port",
    SessionReuseRequired = "session_reuse_required",
    Handshake = "handshake",
    Connect = "connect",
});
closed_set!(Direction { Upload = "upload", Download = "download", List = "list" });
closed_set!(StreamEnd { CloseNotify = "close_notify", Fin = "fin", Open = "open" });
closed_set!(Limit {
    Sessions = "sessions",
    ClusterSessions = "cluster_sessions",
    SessionsPerIp = "sessions_per_ip",
    SessionsPerUser = "sessions_per_user",
    LoginsPerMinutePerIp = "logins_per_minute_per_ip",
    LoginTimeout = "login_timeout",
    IdleTimeout = "idle_timeout",
    StallTimeout = "stall_timeout",
    DataTimeout = "data_timeout",
    WriteTimeout = "write_timeout",
    SessionMax = "session_max",
    Line = "line",
    PasswordJobs = "password_jobs",
    BandwidthPerSession = "bandwidth_per_session",
    BandwidthPerUser = "bandwidth_per_user",
});
closed_set!(BanKind {
    Host = "host",
    Network = "network",
    User = "user",
    UserAtHost = "user_at_host",
    Class = "class",
    Certificate = "certificate",
});
closed_set!(BanStage { Accept = "accept", Login = "login", Data = "data" });
closed_set!(BanSource { Admin = "admin", Rule = "rule" });
closed_set!(CutReason {
    Drain = "drain",
    Kicked = "kicked",
    Banned = "banned",
    UserChanged = "user_changed",
    WriteTimeout = "write_timeout",
    Fault = "fault",
});
closed_set!(Reloadable { Config = "config", Users = "users", Certificates = "certificates" });
closed_set!(FileError {
    NotFound = "not_found",
    Denied = "denied",
    Exists = "exists",
    NotADirectory = "not_a_directory",
    IsADirectory = "is_a_directory",
    NotEmpty = "not_empty",
    NotRegular = "not_regular",
    BadName = "bad_name",
    NoSpace = "no_space",
    Quota = "quota",
    CrossDevice = "cross_device",
    Loop = "loop",
    Busy = "busy",
    BadOffset = "bad_offset",
    ReadOnly = "read_only",
    Io = "io",
});
nested_set!(CloseReason {
    [Machine(CloseCause::Quit)] = "quit",
    [Machine(CloseCause::Ended(EndReason::Shutdown))] = "shutdown",
    [Machine(CloseCause::Ended(EndReason::IdleTimeout))] = "idle_timeout",
    [Machine(CloseCause::Ended(EndReason::LoginTimeout))] = "login_timeout",
    [Machine(CloseCause::Ended(EndReason::Kicked))] = "kicked",
    [Machine(CloseCause::Ended(EndReason::Banned))] = "banned",
    [Machine(CloseCause::Ended(EndReason::UserChanged))] = "user_changed",
    [Machine(CloseCause::Ended(EndReason::SessionMax))] = "session_max",
    [Machine(CloseCause::Ended(EndReason::TicketsSpent))] = "tickets_spent",
    [Machine(CloseCause::Ended(EndReason::Internal))] = "internal",
    [Machine(CloseCause::StarttlsInjection)] = "starttls_injection",
    [Machine(CloseCause::ForeignProtocol)] = "foreign_protocol",
    [Machine(CloseCause::TooManyErrors)] = "too_many_errors",
    [Machine(CloseCause::TooManyLogins)] = "too_many_logins",
    [Machine(CloseCause::Banned)] = "login_banned",
    [ClientClosed] = "client_closed",
    [Probe] = "probe",
    [ConnectionLost] = "connection_lost",
    [HandshakeFailed] = "handshake_failed",
    [WriteTimeout] = "write_timeout",
    [Panicked] = "panicked",
    [Cut] = "cut",
});
closed_set!(Algorithm { Crc32 = "crc32", Md5 = "md5", Sha1 = "sha1", Sha256 = "sha256", Sha512 = "sha512" });
closed_set!(DigestSource { Computed = "computed", Cache = "cache", Shared = "shared", Coalesced = "coalesced" });
closed_set!(DigestResult { Done = "done", Refused = "refused", Changed = "changed", Busy = "busy", Cancelled = "cancelled", Failed = "failed" });
#[rustfmt::skip]
impl Label for Verb {
    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    fn label(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Size for Verb {
    const SIZE: usize = Self::ALL.len();
}

impl Event<'_> {
    /// Its name in snake case: `event` in a log line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Accepted { .. } => "accepted",
            Self::Probed { .. } => "probed",
            Self::ProxyRefused { .. } => "proxy_refused",
            Self::Refused { .. } => "refused",
            Self::AcceptFailed { .. } => "accept_failed",
            Self::Handshake { .. } => "handshake",
            Self::HandshakeFailed { .. } => "handshake_failed",
            Self::LoggedIn { .. } => "logged_in",
            Self::LoginRefused { .. } => "login_refused",
            Self::Command { .. } => "command",
            Self::PassiveOpened { .. } => "passive_opened",
            Self::RelayEnded { .. } => "relay_ended",
            Self::PrivateAnnounced { .. } => "private_announced",
            Self::PassiveRefused { .. } => "passive_refused",
            Self::DataReady { .. } => "data_ready",
            Self::DataConnection { .. } => "data_connection",
            Self::DataRefused { .. } => "data_refused",
            Self::TransferStarted { .. } => "transfer_started",
            Self::TransferEnded { .. } => "transfer_ended",
            Self::TransferCut { .. } => "transfer_cut",
            Self::TransferDigest { .. } => "transfer_digest",
            Self::Digest { .. } => "digest",
            Self::Hashed { .. } => "hashed",
            Self::FileChanged { .. } => "file_changed",
            Self::StorageFailed { .. } => "storage_failed",
            Self::StorageDone { .. } => "storage_done",
            Self::LimitHit { .. } => "limit_hit",
            Self::AddressesHidden { .. } => "addresses_hidden",
            Self::Closed { .. } => "closed",
            Self::Swept { .. } => "swept",
            Self::Reloaded { .. } => "reloaded",
            Self::Sidecar(sidecar) => sidecar.name(),
            Self::Banned { .. } => "banned",
            Self::Unbanned { .. } => "unbanned",
            Self::BanRefused { .. } => "ban_refused",
            Self::BanArrived { .. } => "ban_arrived",
            Self::Peer(peer) => peer.name(),
            Self::Staple(staple) => staple.name(),
            Self::Panicked => "panicked",
        }
    }
}

pub(super) use {closed_set, nested_set};

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use super::*;

    pub(in crate::observe) fn sound<L: Label + PartialEq + std::fmt::Debug>() {
        let mut words = HashSet::new();
        for (place, one) in L::all().into_iter().enumerate() {
            assert_eq!(one.index(), place, "{one:?} is not at its place");
            assert!(words.insert(one.label()), "{one:?} shares its word");
            assert!(one.label().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'), "{one:?}");
        }
    }

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<Listener>();
        sound::<RefuseReason>();
        sound::<ProxyTrouble>();
        sound::<Channel>();
        sound::<TlsVersion>();
        sound::<Resumed>();
        sound::<HandshakeFailure>();
        sound::<LoginMethod>();
        sound::<LoginRefusal>();
        sound::<LoginFault>();
        sound::<DataOutcome>();
        sound::<RelayTrouble>();
        sound::<DataRefusal>();
        sound::<Direction>();
        sound::<StreamEnd>();
        sound::<Limit>();
        sound::<Reloadable>();
        sound::<CutReason>();
        sound::<FileError>();
        sound::<BanKind>();
        sound::<BanSource>();
        sound::<BanStage>();
        sound::<CloseReason>();
        sound::<Verb>();
    }

    #[test]
    fn combinations_are_numbered_without_gaps() {
        type Three = (Channel, TlsVersion, Resumed);
        let words = Three::words();
        assert_eq!(words.len(), Three::count());
        assert_eq!(words[(Channel::Data, TlsVersion::Tls12, Resumed::SessionId).index()], ["data", "1.2", "cache"]);
    }
}
