//! What goes into the session machine and what comes out of it.
//!
//! Gets: bytes of the control connection, outcomes of jobs, the server's own wishes. Gives: replies, jobs, orders to the socket.
//! Never: a socket or a file; a job names what is wanted, the session does it.

use std::net::{IpAddr, SocketAddr};

use crate::addr::Family;
use crate::command::{HostName, ListArguments, Password, SetFact, TransferType, UserName};
use crate::digest::{Algorithm, DigestFault, Offer, Range};
use crate::listing::{Entry, FactSet};
use crate::path::VirtualPath;
use crate::reply::{Reply, Words};
use crate::time::Timestamp;
use crate::verbs::Verb;

pub use super::permissions::Permissions;

/// Something that happened to the session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived on the control connection (clear text before `AUTH TLS`, else decrypted).
    Bytes(&'a [u8]),
    /// The TLS handshake that [`Action::StartTls`] asked for, or the implicit one, has finished.
    Secured,
    /// The running job ended. There is one job at a time; its outcome comes exactly once.
    Done(Outcome),
    /// The file or directory of the running transfer is open and allowed: time for `150`.
    Opened(Opening),
    /// The server ends the session: the reply for this reason, then close.
    End(EndReason),
    /// The client was banned: 421 with these words, then close.
    Banned(Words),
    /// The server wants the session gone at its next idle point (drain, `limits.session_max`); until then it goes on.
    EndWhenIdle(EndReason),
    /// Last orders: what runs may end, but the next command is answered with the reply for this reason, then close.
    EndAtCommand(EndReason),
}

/// Something the session has to do. Actions are polled in order, none may be skipped.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Append this reply to the write buffer.
    Reply(Reply),
    /// A command has its final reply, which was the action before: for metrics and the idle clock. Greetings and a 421 that answers no command have none.
    Answered {
        /// The verb; `None` for one we do not know and for over-long lines.
        verb: Option<Verb>,
        /// The code of the final reply.
        code: u16,
    },
    /// Flush the replies, then run the TLS handshake on the control connection.
    StartTls,
    /// Start this job. No other is running.
    Run(Job),
    /// Stop the running transfer; its [`Outcome::Transfer`] must still be given (with `Aborted` unless it had already ended).
    AbortTransfer,
    /// Stop the running digest; its [`Outcome::Digest`] must still be given (with `Aborted` unless it had already ended).
    AbortDigest,
    /// Forget the passive port or active address that is waiting: `REIN`, a failed check, or a new `PASV` replaces it.
    DropDataPort,
    /// The login is over or back to the start (`REIN`): forget the account.
    LoggedOut,
    /// Flush, send close_notify, close. The last action: running jobs are to be stopped, their outcomes are no longer wanted.
    Close(CloseCause),
}

/// One thing to do outside of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Check user and password. Answer: [`Outcome::Login`]. `password` is `None` after `USER` when [`crate::machine::Rules::certificate_login`] is set and the
    /// question is whether the certificate alone logs in.
    Login {
        /// Who.
        user: UserName,
        /// With what.
        password: Option<Password>,
        /// The virtual host asked for by `HOST`, if any.
        host: Option<HostName>,
    },
    /// Is this a host that is served here, and the one that TLS was started for (RFC 7151)? Answer: [`Outcome::Ok`] or [`Outcome::Failed`].
    CheckHost(HostName),
    /// Is this a directory the user may enter? Answer: [`Outcome::Ok`] or [`Outcome::Failed`].
    CheckDirectory(VirtualPath),
    /// Make a directory. Answer: Ok or Failed.
    MakeDirectory(VirtualPath),
    /// Remove an empty directory. Answer: Ok or Failed.
    RemoveDirectory(VirtualPath),
    /// Delete a file. Answer: Ok or Failed.
    Delete(VirtualPath),
    /// Does it exist (RNFR)? Answer: Ok or Failed.
    CheckExists(VirtualPath),
    /// Rename. Answer: Ok or Failed.
    Rename {
        /// Old name.
        from: VirtualPath,
        /// New name.
        to: VirtualPath,
    },
    /// Facts of one path (SIZE, MDTM, MLST). Answer: [`Outcome::Entry`] or Failed.
    Stat(VirtualPath),
    /// Size in TYPE A, with every bare LF counted as two bytes. Answer: [`Outcome::Size`] or Failed.
    AsciiSize(VirtualPath),
    /// Set the modification time. Answer: Ok or Failed.
    SetModified {
        /// The file.
        path: VirtualPath,
        /// The time.
        time: Timestamp,
    },
    /// Set facts. Answer: Ok or Failed.
    SetFacts {
        /// The file.
        path: VirtualPath,
        /// In the order given.
        facts: Vec<SetFact>,
    },
    /// Free bytes where this path lies. Answer: [`Outcome::Size`] or Failed.
    Available(VirtualPath),
    /// The user's own sessions (SITE WHO). Answer: [`Outcome::Lines`].
    Who,
    /// Get a passive port. Answer: [`Outcome::Passive`] or [`Outcome::PassiveFailed`].
    Passive {
        /// The protocol family wanted; `None`: that of the control connection.
        family: Option<Family>,
        /// `PASV`: the answer must be IPv4.
        pasv: bool,
    },
    /// Remember the address for an active connection (already allowed by the machine). Answer: Ok.
    Active(SocketAddr),
    /// A directory over the control connection (`STAT path`). Answer: [`Outcome::Lines`] or Failed. At most 1,000 entries.
    ListOnControl(VirtualPath),
    /// Compute, or remember, a digest. Answer: [`Outcome::Digest`].
    Digest {
        /// The file.
        path: VirtualPath,
        /// Which digest.
        algorithm: Algorithm,
        /// Of which bytes; `None`: of all.
        range: Option<Range>,
    },
    /// Move data. First [`Input::Opened`] (or a failed [`Outcome::Transfer`]), then [`Outcome::Transfer`].
    Transfer(Transfer),
}

/// A transfer over a data connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// RETR.
    Retrieve {
        /// The file.
        path: VirtualPath,
        /// First byte, from REST.
        offset: u64,
        /// Whether line ends are converted.
        kind: TransferType,
    },
    /// STOR, APPE, STOU.
    Store {
        /// The file; for STOU the directory, or the hinted name.
        path: VirtualPath,
        /// Where the bytes go.
        mode: StoreMode,
        /// Whether line ends are converted.
        kind: TransferType,
        /// The size ALLO announced, if it was given for this transfer.
        announced: Option<u64>,
    },
    /// LIST, NLST, MLSD.
    List {
        /// The directory or file. A glob, if any, is in `pattern`.
        path: VirtualPath,
        /// `*` and `?` in the last component.
        pattern: Option<Vec<u8>>,
        /// How lines look.
        form: ListForm,
        /// The arguments of LIST and NLST.
        arguments: ListArguments,
    },
}

/// Where the bytes of an upload go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// STOR: a new file takes the place of an old one when it is complete.
    Replace,
    /// STOR after REST n (n > 0): the old file's first n bytes are kept.
    Restart(u64),
    /// APPE.
    Append,
    /// STOU: a new name.
    Unique,
}

/// Form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// `ls -l` lines.
    Long,
    /// Names only.
    Names,
    /// RFC 3659 facts.
    Facts(FactSet),
}

/// The transfer's source or target is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Size to be sent, when known.
    pub size: Option<u64>,
    /// The name STOU chose.
    pub unique: Option<VirtualPath>,
}

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Could not be done.
    Failed(FileError),
    /// Login: an account, or why not.
    Login(Result<Account, LoginRefusal>),
    /// Login: banned. 530 with these words, then close.
    Banned(Words),
    /// Facts of one path.
    Entry(Entry),
    /// A number of bytes.
    Size(u64),
    /// Lines for a multi-line reply; names are checked already.
    Lines(Vec<Vec<u8>>),
    /// Where to connect.
    Passive(SocketAddr),
    /// No passive port.
    PassiveFailed(PassiveError),
    /// A digest, and the first byte behind those it is of; or why there is none.
    Digest(Result<(Vec<u8>, u64), DigestFault>),
    /// How the transfer ended.
    Transfer(TransferEnd),
}

/// What a login gives the machine: what it needs to decide, nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The canonical name.
    pub user: UserName,
    /// What the user may do.
    pub permissions: Permissions,
    /// Which digests it may ask for.
    pub offer: Offer,
}

/// Why a login was refused. The reply is 530 with one text for all but the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// Unknown user, wrong password, disabled, expired, wrong network: one reply for all.
    Incorrect,
    /// After `USER`, when a certificate might have been enough: a password is needed. Answered 331.
    PasswordNeeded,
    /// Banned.
    Banned,
    /// Too many sessions or logins of this user or address.
    TooMany,
    /// The password queue is full or the user's home cannot be opened: try later.
    Unavailable,
}

/// Why a file operation failed; the reply table turns it into code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileError {
    /// 550 No such file or directory.
    NotFound,
    /// 550 Permission denied (also a path that leaves the root).
    Denied,
    /// 550 File exists.
    Exists,
    /// 550 Not a directory.
    NotADirectory,
    /// 550 Is a directory.
    IsADirectory,
    /// 550 Directory not empty.
    NotEmpty,
    /// 550 Not a regular file.
    NotRegular,
    /// 553 name too long or not allowed.
    BadName,
    /// 452 No space left.
    NoSpace,
    /// 552 Quota exceeded.
    Quota,
    /// 550 across file systems.
    CrossDevice,
    /// 550 too many links.
    Loop,
    /// 450 busy, or changed while read.
    Busy,
    /// 554 restart offset beyond the end.
    BadOffset,
    /// 550 Read-only file system.
    ReadOnly,
    /// 451 any other error of the file system.
    Io,
}

/// Why there is no passive port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassiveError {
    /// All ports wait for other transfers of this client: 425, try again.
    Busy,
    /// PASV on an IPv6 connection without an IPv4 address to announce: 425, use EPSV.
    NoIpv4,
    /// EPSV for a family that the control connection does not use: 522.
    Family,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEnd {
    /// All bytes sent, or received, committed and renamed: 226.
    Complete {
        /// Bytes on the data connection.
        bytes: u64,
    },
    /// The file could not be opened, read or written; before `150` or after.
    Failed(FileError),
    /// No data connection within `limits.data_timeout`, or it was refused: 425.
    NoConnection(DataRefusal),
    /// The data connection broke, or the upload did not end cleanly: 426, nothing kept.
    Broken,
    /// No byte within `limits.stall_timeout`: 426.
    Stalled,
    /// ABOR: 426, then its own 226.
    Aborted,
}
/// Why a data connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataRefusal {
    /// None came.
    Timeout,
    /// No PASV, EPSV, PORT or EPRT before.
    NoPort,
    /// It came without the TLS session that policy demands.
    SessionReuseRequired,
    /// The TLS handshake failed.
    Handshake,
    /// Active mode: could not connect.
    Connect,
}

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The node stops or drains: 421.
    Shutdown,
    /// `limits.idle_timeout`: 421.
    IdleTimeout,
    /// `limits.login_timeout`: 421.
    LoginTimeout,
    /// An administrator ended it: 421.
    Kicked,
    /// Banned while connected: 421.
    Banned,
    /// The user was removed, disabled or changed: 421.
    UserChanged,
    /// `limits.session_max`: 421.
    SessionMax,
    /// The client has no ticket left and policy demands proof: a new connection gets new ones. Told before the transfer's outcome, whose reply says so; nothing
    /// more is written: curl takes a connection with something to read for a living one, and loses its next file to it.
    TicketsSpent,
    /// A fault of ours: 421.
    Internal,
}

/// Why the machine closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// QUIT.
    Quit,
    /// The server ended it.
    Ended(EndReason),
    /// Bytes came along with AUTH TLS: closed without a reply.
    StarttlsInjection,
    /// An HTTP, SMTP or other foreign verb.
    ForeignProtocol,
    /// Three unknown commands before login, or the third over-long line.
    TooManyErrors,
    /// Three failed logins.
    TooManyLogins,
    /// A login was refused with a ban.
    Banned,
}

/// An address and port for replies; IPv4-mapped addresses are folded.
pub fn fold(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four @ IpAddr::V4(_) => four,
    };
    SocketAddr::new(ip, address.port())
}
