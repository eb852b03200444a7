//! Closed sets as labels: every enum that may become a label of a metric, with the word for each of its variants.
//!
//! Gets: the enums of `event` and of `ftps_proto`. Gives: all values, a word for each, a place in a table for each.
//! Never: a label from anything a client says. A variant without a word does not compile.

use ftps_proto::machine::io::{CloseCause, DataRefusal, EndReason, FileError, LoginRefusal};
use ftps_proto::verbs::Verb;

use super::event::{
    Channel, CloseReason, DataOutcome, Direction, HandshakeFailure, Limit, Listener, LoginFault, LoginMethod, RefuseReason, Reloadable, Resumed, StreamEnd,
    TlsVersion, TransferResult,
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
closed_set!(RefuseReason { NotAllowed = "not_allowed", Limit = "limit", Draining = "draining" });
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
closed_set!(DataOutcome { Local = "local", Leased = "leased", NotWaiting = "not_waiting", NoOwner = "no_owner", NoHello = "no_hello" });
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
    [Machine(CloseCause::Ended(EndReason::Internal))] = "internal",
    [Machine(CloseCause::StarttlsInjection)] = "starttls_injection",
    [Machine(CloseCause::ForeignProtocol)] = "foreign_protocol",
    [Machine(CloseCause::TooManyErrors)] = "too_many_errors",
    [Machine(CloseCause::TooManyLogins)] = "too_many_logins",
    [Machine(CloseCause::Banned)] = "login_banned",
    [ClientClosed] = "client_closed",
    [ConnectionLost] = "connection_lost",
    [HandshakeFailed] = "handshake_failed",
    [WriteTimeout] = "write_timeout",
    [Panicked] = "panicked",
    [Cut] = "cut",
});
#[rustfmt::skip]
closed_set!(Verb {
    Abor = "ABOR", Acct = "ACCT", Allo = "ALLO", Appe = "APPE", Auth = "AUTH", Avbl = "AVBL", Ccc = "CCC", Cdup = "CDUP", Clnt = "CLNT",
    Csid = "CSID", Cwd = "CWD", Dele = "DELE", Eprt = "EPRT", Epsv = "EPSV", Feat = "FEAT", Help = "HELP", Host = "HOST", Lang = "LANG",
    List = "LIST", Mdtm = "MDTM", Mff = "MFF", Mfmt = "MFMT", Mkd = "MKD", Mlsd = "MLSD", Mlst = "MLST", Mode = "MODE", Nlst = "NLST",
    Noop = "NOOP", Opts = "OPTS", Pass = "PASS", Pasv = "PASV", Pbsz = "PBSZ", Port = "PORT", Prot = "PROT", Pwd = "PWD", Quit = "QUIT",
    Rein = "REIN", Rest = "REST", Retr = "RETR", Rmd = "RMD", Rnfr = "RNFR", Rnto = "RNTO", Site = "SITE", Size = "SIZE", Stat = "STAT",
    Stor = "STOR", Stou = "STOU", Stru = "STRU", Syst = "SYST", Type = "TYPE", User = "USER",
});

/// How a connection began: `connections_total{outcome}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Accepted,
    Refused(RefuseReason),
}

nested_set!(Admission {
    [Accepted] = "accepted",
    [Refused(RefuseReason::NotAllowed)] = "not_allowed",
    [Refused(RefuseReason::Limit)] = "limit",
    [Refused(RefuseReason::Draining)] = "draining",
});
impl Size for Admission {
    const SIZE: usize = 1 + RefuseReason::SIZE;
}

/// A command as a label: a known verb, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(pub(super) Option<Verb>);

impl Label for Command {
    fn all() -> Vec<Self> {
        Verb::all().into_iter().map(Some).chain([None]).map(Self).collect()
    }

    fn label(self) -> &'static str {
        self.0.map_or("other", Label::label)
    }

    fn index(self) -> usize {
        self.0.map_or(Verb::SIZE, Label::index)
    }
}

/// The class of a final reply: `commands_total{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyClass {
    Done,
    More,
    Later,
    Refused,
}

closed_set!(ReplyClass { Done = "2xx", More = "3xx", Later = "4xx", Refused = "5xx" });

impl ReplyClass {
    /// Of a code. Final replies are 2xx to 5xx (RFC 959 §4.2); anything else would be a fault and counts as 5xx.
    pub(super) fn of(code: u16) -> Self {
        match code / 100 {
            2 => Self::Done,
            3 => Self::More,
            4 => Self::Later,
            _ => Self::Refused,
        }
    }
}

/// What kind of work a command is: `command_duration_seconds{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Auth,
    List,
    Transfer,
    File,
    Other,
}

closed_set!(Work { Auth = "auth", List = "list", Transfer = "transfer", File = "file", Other = "other" });

impl Work {
    /// Of a verb.
    pub(super) fn of(verb: Option<Verb>) -> Self {
        use Verb::{
            Abor, Acct, Allo, Appe, Auth, Avbl, Ccc, Cdup, Clnt, Csid, Cwd, Dele, Eprt, Epsv, Feat, Help, Host, Lang, List, Mdtm, Mff, Mfmt, Mkd, Mlsd, Mlst,
            Mode, Nlst, Noop, Opts, Pass, Pasv, Pbsz, Port, Prot, Pwd, Quit, Rein, Rest, Retr, Rmd, Rnfr, Rnto, Site, Size, Stat, Stor, Stou, Stru, Syst, Type,
            User,
        };
        let Some(verb) = verb else { return Self::Other };
        match verb {
            Acct | Auth | Ccc | Host | Pass | Pbsz | Prot | Rein | User => Self::Auth,
            List | Mlsd | Mlst | Nlst | Stat => Self::List,
            Appe | Retr | Stor | Stou => Self::Transfer,
            Avbl | Cdup | Cwd | Dele | Mdtm | Mff | Mfmt | Mkd | Rmd | Rnfr | Rnto | Site | Size => Self::File,
            Abor | Allo | Clnt | Csid | Eprt | Epsv | Feat | Help | Lang | Mode | Noop | Opts | Pasv | Port | Pwd | Quit | Rest | Stru | Syst | Type => {
                Self::Other
            }
        }
    }
}

/// `success` or `failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
}

closed_set!(Verdict { Success = "success", Failure = "failure" });

/// How a transfer ended: `transfers_total{result}`. The kind of a failure is in `storage_errors_total` and `data_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    Failed,
    NoConnection,
    Broken,
    Stalled,
    Aborted,
}

closed_set!(Ending {
    Complete = "complete",
    Failed = "failed",
    NoConnection = "no_connection",
    Broken = "broken",
    Stalled = "stalled",
    Aborted = "aborted",
});

impl From<TransferResult> for Ending {
    fn from(result: TransferResult) -> Self {
        match result {
            TransferResult::Complete => Self::Complete,
            TransferResult::Failed(_) => Self::Failed,
            TransferResult::NoConnection(_) => Self::NoConnection,
            TransferResult::Broken => Self::Broken,
            TransferResult::Stalled => Self::Stalled,
            TransferResult::Aborted => Self::Aborted,
        }
    }
}

/// What was tried on the file system: `storage_errors_total{op}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Open,
    Read,
    Write,
    Create,
    Sync,
    Close,
    Commit,
    Rename,
    Delete,
    MakeDirectory,
    RemoveDirectory,
    Stat,
    List,
    Attributes,
    Sweep,
    Other,
}

closed_set!(Operation {
    Open = "open",
    Read = "read",
    Write = "write",
    Create = "create",
    Sync = "sync",
    Close = "close",
    Commit = "commit",
    Rename = "rename",
    Delete = "delete",
    MakeDirectory = "mkdir",
    RemoveDirectory = "rmdir",
    Stat = "stat",
    List = "list",
    Attributes = "attributes",
    Sweep = "sweep",
    Other = "other",
});

impl Operation {
    /// Of the word in the event; one that is not in the table counts as `other`.
    pub(super) fn of(word: &str) -> Self {
        Self::all().into_iter().find(|one| one.label() == word).unwrap_or(Self::Other)
    }
}

/// What the file system said: `storage_errors_total{kind}`. Coarser than [`FileError`]: what an operator acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NoSpace,
    Quota,
    ReadOnly,
    Busy,
    Denied,
    Io,
}

closed_set!(Trouble { NoSpace = "no_space", Quota = "quota", ReadOnly = "read_only", Busy = "busy", Denied = "denied", Io = "io" });

impl From<FileError> for Trouble {
    fn from(kind: FileError) -> Self {
        match kind {
            FileError::NoSpace => Self::NoSpace,
            FileError::Quota => Self::Quota,
            FileError::ReadOnly => Self::ReadOnly,
            FileError::Busy => Self::Busy,
            FileError::Denied => Self::Denied,
            FileError::NotFound
            | FileError::Exists
            | FileError::NotADirectory
            | FileError::IsADirectory
            | FileError::NotEmpty
            | FileError::NotRegular
            | FileError::BadName
            | FileError::CrossDevice
            | FileError::Loop
            | FileError::BadOffset
            | FileError::Io => Self::Io,
        }
    }
}

/// What a session does: `sessions{state}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    Preauth,
    Idle,
    Transfer,
}

closed_set!(SessionState { Preauth = "preauth", Idle = "idle", Transfer = "transfer" });

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use super::*;

    fn sound<L: Label + PartialEq + std::fmt::Debug>() {
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
        sound::<Channel>();
        sound::<TlsVersion>();
        sound::<Resumed>();
        sound::<HandshakeFailure>();
        sound::<LoginMethod>();
        sound::<LoginRefusal>();
        sound::<LoginFault>();
        sound::<DataOutcome>();
        sound::<DataRefusal>();
        sound::<Direction>();
        sound::<StreamEnd>();
        sound::<Limit>();
        sound::<Reloadable>();
        sound::<FileError>();
        sound::<CloseReason>();
        sound::<Verb>();
        sound::<Admission>();
        sound::<Command>();
        sound::<ReplyClass>();
        sound::<Work>();
        sound::<Verdict>();
        sound::<Ending>();
        sound::<Operation>();
        sound::<Trouble>();
        sound::<SessionState>();
    }

    #[test]
    fn combinations_are_numbered_without_gaps() {
        type Three = (Channel, TlsVersion, Resumed);
        let words = Three::words();
        assert_eq!(words.len(), Three::count());
        assert_eq!(words[(Channel::Data, TlsVersion::Tls12, Resumed::SessionId).index()], ["data", "1.2", "cache"]);
        assert_eq!(Admission::all().len(), Admission::SIZE);
    }

    #[test]
    fn classes_of_replies_and_operations() {
        assert_eq!(ReplyClass::of(226), ReplyClass::Done);
        assert_eq!(ReplyClass::of(999), ReplyClass::Refused);
        assert_eq!(Operation::of("rename"), Operation::Rename);
        assert_eq!(Operation::of("whatever a room made up"), Operation::Other);
    }
}
