//! The closed sets that events speak in: listeners, outcomes, reasons. Every one of them may become a label.
//!
//! Gets: nothing. Gives: enums without text, each variant with what it stands for.
//! Never: a value that a client can choose.

use ftps_proto::machine::io::{CloseCause, DataRefusal, EndReason, FileError};

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
    /// Its address is banned.
    Banned,
}

/// What is wrong with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyTrouble {
    /// `listen.proxy_protocol_from` names the peer, and no header came.
    Missing,
    /// It is none as the protocol has them.
    Malformed,
    /// Longer than 4 KiB.
    TooLong,
    /// It was not whole within 5 s.
    Timeout,
    /// The connection ended within it.
    Closed,
    /// Too many headers are awaited already.
    TooMany,
    /// A header from a peer that `listen.proxy_protocol_from` does not name.
    NotListed,
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
    /// Brought to a session of another node.
    Relayed,
    /// Another node brought it to a session of this one.
    FromPeer,
    /// Its ticket or session ID belongs to a session that waits for nothing here.
    NotWaiting,
    /// No proof, and nobody leases this port to its address.
    NoOwner,
    /// It could be that of more than one session, or a node that may know did not answer.
    Unsure,
    /// The node of its session cannot be reached.
    Unreachable,
    /// No ClientHello in time, or something else.
    NoHello,
    /// Closed or reset without a byte: somebody looked whether we listen.
    Probe,
}

/// Why a relayed data connection ended otherwise than by both sides' own ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayTrouble {
    /// The client's side was reset or broke.
    Client,
    /// The owner's side was reset or broke.
    Owner,
    /// No byte moved.
    Stalled,
    /// The owner's node cannot be reached.
    Connect,
    /// The owner's node did not answer in time, or not as a peer does.
    Answer,
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
    ClusterSessions,
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
    BandwidthPerSession,
    BandwidthPerUser,
}

/// Where a digest came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestSource {
    /// The file was read for it.
    Computed,
    /// This node remembered it.
    Cache,
    /// Another node, or this one before a restart, had put it into the store.
    Shared,
    /// The file was being read for somebody else.
    Coalesced,
}

/// What became of a question for a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestResult {
    /// Answered.
    Done,
    /// No such file, no permission, too large, a range that is none.
    Refused,
    /// The file changed while it was read.
    Changed,
    /// Too many are waited for.
    Busy,
    /// Nobody waits any more.
    Cancelled,
    /// The file system failed.
    Failed,
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

/// Where a banned client was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanStage {
    /// At the door, by its address.
    Accept,
    /// At its login.
    Login,
    /// With a data connection.
    Data,
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

/// Why this side cut a running transfer: `transfers_cut_total{reason}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutReason {
    /// `drain.timeout` passed, or a second signal came.
    Drain,
    /// An administrator ended the session.
    Kicked,
    /// The client was banned.
    Banned,
    /// The user was removed, disabled or changed.
    UserChanged,
    /// The client left its replies unread for `limits.write_timeout`.
    WriteTimeout,
    /// A fault of ours.
    Fault,
}

impl CutReason {
    /// Of the end of a session; `None`: its client ended it, or it could not end with a transfer.
    pub fn of(reason: CloseReason) -> Option<Self> {
        match reason {
            CloseReason::Cut | CloseReason::Machine(CloseCause::Ended(EndReason::Shutdown)) => Some(Self::Drain),
            CloseReason::Machine(CloseCause::Ended(EndReason::Kicked)) => Some(Self::Kicked),
            CloseReason::Machine(CloseCause::Banned | CloseCause::Ended(EndReason::Banned)) => Some(Self::Banned),
            CloseReason::Machine(CloseCause::Ended(EndReason::UserChanged)) => Some(Self::UserChanged),
            CloseReason::WriteTimeout => Some(Self::WriteTimeout),
            CloseReason::Panicked | CloseReason::Machine(CloseCause::Ended(EndReason::Internal)) => Some(Self::Fault),
            CloseReason::ClientClosed
            | CloseReason::Probe
            | CloseReason::ConnectionLost
            | CloseReason::HandshakeFailed
            | CloseReason::Machine(
                CloseCause::Quit
                | CloseCause::StarttlsInjection
                | CloseCause::ForeignProtocol
                | CloseCause::TooManyErrors
                | CloseCause::TooManyLogins
                | CloseCause::Ended(EndReason::IdleTimeout | EndReason::LoginTimeout | EndReason::SessionMax | EndReason::TicketsSpent),
            ) => None,
        }
    }
}

/// Why a session ended: exactly one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The session machine closed it.
    Machine(CloseCause),
    /// The client closed its connection without QUIT.
    ClientClosed,
    /// The connection ended without a byte from the client, or was a balancer's own: a health check.
    Probe,
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
