//! The one enum of what happens: from an event come its metric, its log line, its rule count and its history.
//!
//! Gets: built by every room. Gives: values with closed sets for everything that may become a label.
//! Never: carries a secret. User, path and address are for the log only, never for a label.

use std::net::SocketAddr;
use std::time::Duration;

use ftps_proto::machine::io::{CloseCause, DataRefusal, FileError, LoginRefusal};
use ftps_proto::verbs::Verb;

use super::id::{SessionId, TransferId};

/// Whom an event is about. Everything may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The session.
    pub session: Option<SessionId>,
    /// The true address of the client.
    pub peer: Option<SocketAddr>,
    /// The user, once logged in (or tried, for failed logins).
    pub user: Option<&'a str>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The node serves.
    Ready,
    /// The node drains: no new sessions.
    Draining,
    /// A connection came in on a listener.
    Accepted {
        /// Which listener.
        listener: Listener,
    },
    /// A connection was refused before it became a session.
    Refused {
        /// Which listener.
        listener: Listener,
        /// Why.
        reason: RefuseReason,
    },
    /// accept(2) failed and is tried again after a pause.
    AcceptFailed {
        /// Which listener.
        listener: Listener,
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// A TLS handshake finished.
    Handshake {
        /// Control or data.
        channel: Channel,
        /// The protocol version.
        version: TlsVersion,
        /// Full or resumed, and by what.
        resumed: Resumed,
        /// From the first byte of the ClientHello.
        took: Duration,
    },
    /// A TLS handshake failed.
    HandshakeFailed {
        /// Control or data.
        channel: Channel,
        /// Why.
        reason: HandshakeFailure,
        /// The words of the TLS library, for the log.
        detail: &'a str,
    },
    /// A user logged in.
    LoggedIn {
        /// With a password, a certificate, or without either.
        method: LoginMethod,
        /// The user's class, for the log.
        class: Option<&'a str>,
        /// Time for the check.
        took: Duration,
    },
    /// A login was refused.
    LoginRefused {
        /// What the client was told.
        refusal: LoginRefusal,
        /// What was the case, for the log and the metric.
        why: LoginFault,
    },
    /// A command was answered for good.
    Command {
        /// The verb; `None` for one we do not know.
        verb: Option<Verb>,
        /// The code of the final reply.
        code: u16,
        /// From the line to the final reply.
        took: Duration,
    },
    /// A passive port was announced.
    PassiveOpened {
        /// The port.
        port: u16,
    },
    /// A data connection arrived and was delivered or not.
    DataConnection {
        /// What became of it.
        outcome: DataOutcome,
    },
    /// A data connection was refused by the session.
    DataRefused {
        /// Why.
        refusal: DataRefusal,
    },
    /// A transfer began: its file is open and `150` is out.
    TransferStarted {
        /// Its id.
        id: TransferId,
        /// Which way.
        direction: Direction,
        /// The virtual path.
        path: &'a [u8],
    },
    /// A transfer ended.
    TransferEnded {
        /// Its id.
        id: TransferId,
        /// Which way.
        direction: Direction,
        /// The virtual path.
        path: &'a [u8],
        /// How.
        result: TransferResult,
        /// Bytes on the data connection.
        bytes: u64,
        /// From `150` to the end.
        took: Duration,
        /// Whether line ends were converted (TYPE A).
        ascii: bool,
        /// Whether the data connection proved its session.
        proven: bool,
        /// How the client ended its upload.
        end: StreamEnd,
    },
    /// A file was changed other than by a transfer (delete, rename, mkdir, rmdir, attributes).
    FileChanged {
        /// The verb.
        verb: Verb,
        /// The virtual path.
        path: &'a [u8],
        /// The new path of a rename.
        to: Option<&'a [u8]>,
    },
    /// The file system answered with an error that is not the client's doing.
    StorageFailed {
        /// What was tried.
        operation: &'static str,
        /// The kind that the client sees.
        kind: FileError,
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// A limit was reached.
    LimitHit {
        /// Which.
        limit: Limit,
    },
    /// A session ended.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Its life.
        took: Duration,
    },
    /// A left-over upload of a dead node was removed, or counted.
    Swept {
        /// How many files.
        files: u64,
    },
    /// A configuration, users or certificate file was read again.
    Reloaded {
        /// What.
        what: Reloadable,
        /// The error, when it was refused and the old state stays.
        error: Option<&'a str>,
    },
    /// A panic ended a task; the session was closed.
    Panicked,
}

/// A listener, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Listener {
    Explicit,
    Implicit,
    Data,
}

/// Why a connection did not become a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// `listen.allow_from` does not name its network.
    NotAllowed,
    /// `limits.sessions`, `limits.sessions_per_ip` or the early random drop.
    Limit,
    /// The node drains.
    Draining,
}

/// Control or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Channel {
    Control,
    Data,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// How a handshake came to its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumed {
    /// Not resumed.
    Full,
    /// By a ticket (TLS 1.2 or 1.3).
    Ticket,
    /// By a TLS 1.2 session ID.
    SessionId,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The first bytes are no TLS record.
    NotTls,
    /// No common version, cipher suite, group or signature scheme.
    NoCommonParameters,
    /// An application protocol other than `ftp` was asked for (ALPACA).
    Alpn,
    /// The client refused our certificate.
    CertificateRefused,
    /// The client's certificate was missing or refused.
    ClientCertificate,
    /// The connection ended in the middle.
    Closed,
    /// It took longer than its deadline.
    Timeout,
    /// Anything else.
    Other,
}

/// How a user logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LoginMethod {
    Password,
    Certificate,
    Anonymous,
}

/// What was the case when a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LoginFault {
    UnknownUser,
    WrongPassword,
    EmptyPassword,
    Disabled,
    Expired,
    WrongNetwork,
    CertificateMissing,
    Banned,
    Limit,
    QueueFull,
    HomeUnavailable,
}

/// What became of an incoming data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataOutcome {
    /// Delivered to a session of this node.
    Local,
    /// Delivered to a session by its lease, without proof.
    Leased,
    /// Its ticket or session ID belongs to a session that waits for nothing here.
    NotWaiting,
    /// No proof, and nobody leases this port to its address.
    NoOwner,
    /// No ClientHello in time, or none at all.
    NoHello,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Direction {
    Upload,
    Download,
    List,
}

/// How a transfer ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TransferResult {
    Complete,
    Failed(FileError),
    NoConnection(DataRefusal),
    Broken,
    Stalled,
    Aborted,
}

/// How a client ended its side of the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamEnd {
    /// With close_notify, as RFC 8446 §6.1 demands.
    CloseNotify,
    /// With a bare FIN that `upload_end: auto` accepted.
    Fin,
    /// Not at all, or not looked at (downloads).
    Open,
}

/// A limit that was reached; the names are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Limit {
    Sessions,
    SessionsPerIp,
    SessionsPerUser,
    LoginsPerMinutePerIp,
    LoginTimeout,
    IdleTimeout,
    StallTimeout,
    DataTimeout,
    WriteTimeout,
    SessionMax,
    Line,
    PasswordJobs,
}

/// Whom a ban is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BanKind {
    Host,
    Network,
    User,
    UserAtHost,
    Class,
    Certificate,
}

/// Who made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanSource {
    /// A person, through the API.
    Admin,
    /// A rule.
    Rule,
}

/// What can be read again without a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reloadable {
    Config,
    Users,
    Certificates,
}

/// Why a session ended: exactly one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The session machine closed it.
    Machine(CloseCause),
    /// The client closed its connection without QUIT.
    ClientClosed,
    /// The connection was reset or broke.
    ConnectionLost,
    /// The TLS handshake on the control connection failed.
    HandshakeFailed,
    /// A reply was not read within `limits.write_timeout`.
    WriteTimeout,
    /// A panic.
    Panicked,
    /// The node's deadline for draining passed.
    Cut,
}
