//! Rows of the reply table: each reason has its code and text exactly here.
//!
//! Gets: reasons, all closed sets. Gives: code and text.
//! Never: holds text with variable parts; those are written in the parent module.

use crate::addr::Family;
use crate::machine::io::{DataRefusal, EndReason, FileError, PassiveError};

/// What went well, or waits for the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Success {
    Greeting,
    Goodbye,
    StartTls,
    Pbsz,
    ProtPrivate,
    Host,
    PasswordNeeded,
    LoggedIn,
    /// 232 (RFC 2228 §5.1): the client's certificate logged in, no PASS.
    LoggedInByCertificate,
    PasswordSuperfluous,
    AccountSuperfluous,
    Reinitialized,
    System,
    Noop,
    Noted,
    ClientId,
    Language,
    Utf8,
    TypeAscii,
    TypeImage,
    ModeStream,
    StructureFile,
    Allocated,
    RestartAt,
    DirectoryChanged,
    DirectoryRemoved,
    Deleted,
    RenameReady,
    Renamed,
    ActiveReady,
    OnlyExtendedPassive,
    TransferComplete,
    /// The connection closes behind it.
    LastTransfer,
    AbortDone,
    TransferRuns,
    ModeChanged,
    TimeChanged,
    ModifiedSet,
}

impl Success {
    pub(super) const fn row(self) -> (u16, &'static str) {
        match self {
            Self::Noop => (200, "NOOP ok"),
            Self::Noted => (200, "Noted"),
            Self::ClientId => (200, "Name=FTPS gateway;"),
            Self::Language => (200, "Using English"),
            Self::Utf8 => (200, "UTF8 is always on"),
            Self::Pbsz => (200, "PBSZ=0"),
            Self::ProtPrivate => (200, "Protection level set to P"),
            Self::TypeAscii => (200, "Type set to A"),
            Self::TypeImage => (200, "Type set to I"),
            Self::ModeStream => (200, "Mode set to S"),
            Self::StructureFile => (200, "Structure set to F"),
            Self::Allocated => (200, "ALLO ok"),
            Self::ActiveReady => (200, "Data address accepted"),
            Self::OnlyExtendedPassive => (200, "EPSV ALL ok"),
            Self::ModeChanged => (200, "Mode changed"),
            Self::TimeChanged => (200, "Time changed"),
            Self::PasswordSuperfluous => (202, "No password needed, you are logged in"),
            Self::AccountSuperfluous => (202, "No account needed"),
            Self::TransferRuns => (211, "A transfer is running"),
            // The name of the operating system is what clients choose their LIST parser by, not what we run on.
            Self::System => (215, "UNIX Type: L8"),
            Self::Greeting => (220, "FTPS gateway ready"),
            Self::Host => (220, "Host accepted"),
            Self::Reinitialized => (220, "Ready for a new user"),
            Self::Goodbye => (221, "Goodbye"),
            Self::TransferComplete => (226, "Transfer complete"),
            Self::LastTransfer => (226, "Transfer complete; your TLS tickets are used up, please connect again"),
            Self::AbortDone => (226, "Abort successful"),
            Self::LoggedIn => (230, "Logged in"),
            Self::LoggedInByCertificate => (232, "Logged in by certificate"),
            Self::StartTls => (234, "AUTH TLS successful"),
            Self::DirectoryChanged => (250, "Directory changed"),
            Self::DirectoryRemoved => (250, "Directory removed"),
            Self::Deleted => (250, "File deleted"),
            Self::Renamed => (250, "Renamed"),
            Self::ModifiedSet => (253, "Modification time set"),
            Self::PasswordNeeded => (331, "Password required"),
            Self::RestartAt => (350, "Restart position accepted, now the transfer"),
            Self::RenameReady => (350, "Ready for RNTO"),
        }
    }
}

/// Why the machine refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Refusal {
    LineTooLong,
    UnknownCommand,
    UnknownSite,
    MissingArgument,
    BadArgument,
    ControlBytes,
    UnsupportedArgument,
    UnknownOption,
    NoSuchCommand,
    ActiveOff,
    TlsAlready,
    TlsFirst,
    BadMechanism,
    NotBeforeTls,
    PbszFirst,
    ProtClear,
    ProtUnsupported,
    ProtUnknown,
    Ccc,
    /// RFC 4217 §10: 521 says that the PROT setting is in the way; 522 is for a TLS negotiation on the data connection that failed.
    ProtNotPrivate,
    LoginFirst,
    LoginIncorrect,
    TooManyConnections,
    LoginUnavailable,
    Banned,
    UserFirst,
    AlreadyLoggedIn,
    HostTooLate,
    /// RFC 7151 §3.2.
    UnknownHost,
    RnfrFirst,
    OnlyEpsv,
    RestartNeedsImage,
    RestartNotHere,
    RangeNotHere,
    ParameterCount,
    HashWords,
    HashUnsupported,
    /// RFC 2428 §2, to EPRT and EPSV: both families are known, the argument is neither.
    UnknownFamily,
    ForeignAddress,
    PrivilegedPort,
    PermissionDenied,
    BadPath,
    /// MLSD of a file.
    NotADirectory,
    NoDataPort,
    /// The connection closes behind it.
    TicketsSpent,
    TransferBroken,
    TransferStalled,
    TransferAborted,
}

impl Refusal {
    pub(super) const fn row(self) -> (u16, &'static str) {
        match self {
            Self::NoDataPort => (425, "Use PASV or EPSV first"),
            Self::TicketsSpent => (425, "The data connection must resume a TLS session; your tickets are used up, please connect again"),
            Self::TransferBroken => (426, "The data connection broke, nothing was kept"),
            Self::TransferStalled => (426, "The data connection stalled, nothing was kept"),
            Self::TransferAborted => (426, "Transfer aborted"),
            Self::LineTooLong => (500, "Line too long"),
            Self::UnknownCommand => (500, "Unknown command"),
            Self::UnknownSite => (500, "Unknown SITE command"),
            Self::MissingArgument => (501, "An argument is missing"),
            Self::BadArgument => (501, "Bad argument"),
            Self::ControlBytes => (501, "Control characters are not allowed"),
            Self::ParameterCount => (501, "Invalid number of parameters"),
            Self::HashWords => (501, "OPTS HASH: Wrong number of parameters"),
            Self::HashUnsupported => (501, "Unsupported algorithm"),
            Self::UnknownOption => (501, "Unknown option"),
            Self::NotADirectory => (501, "Not a directory; use MLST"),
            Self::ForeignAddress => (501, "Only your own address is allowed"),
            Self::NoSuchCommand => (502, "Unknown command"),
            Self::ActiveOff => (502, "Active mode is off; use PASV or EPSV"),
            Self::TlsAlready => (503, "TLS is already on"),
            Self::NotBeforeTls => (503, "Use AUTH TLS first"),
            Self::PbszFirst => (503, "Use PBSZ first"),
            Self::UserFirst => (503, "Use USER first"),
            Self::AlreadyLoggedIn => (503, "Already logged in; use REIN first"),
            Self::HostTooLate => (503, "HOST must come before USER"),
            Self::RnfrFirst => (503, "Use RNFR first"),
            Self::OnlyEpsv => (503, "Only EPSV is allowed after EPSV ALL"),
            Self::RestartNotHere => (503, "REST does not go with this command"),
            Self::RangeNotHere => (503, "RANG goes with HASH only; use RANG 1 0"),
            Self::UnknownHost => (504, "No such host here, or not the one TLS was started for"),
            Self::BadMechanism => (504, "Unknown mechanism; use AUTH TLS"),
            Self::ProtUnknown => (504, "Unknown protection level; use PROT P"),
            Self::UnsupportedArgument => (504, "This parameter is not supported"),
            Self::RestartNeedsImage => (504, "REST needs TYPE I"),
            Self::PrivilegedPort => (504, "Ports below 1024 are not allowed"),
            Self::ProtNotPrivate => (521, "Data connections need PROT P"),
            Self::UnknownFamily => (522, "Network protocol not supported, use (1,2)"),
            Self::TlsFirst => (530, "Please use AUTH TLS first"),
            Self::LoginFirst => (530, "Please login with USER and PASS"),
            Self::LoginIncorrect => (530, "Login incorrect."),
            // In the words by which lftp knows that trying later helps (its setting ftp:retry-530).
            Self::TooManyConnections => (530, "Too many connections, try again later"),
            Self::LoginUnavailable => (530, "Login is not possible now, try again later"),
            Self::Banned => (530, "You are banned"),
            Self::Ccc => (533, "The control connection stays protected"),
            Self::ProtClear => (534, "Data connections in clear text are not allowed; use PROT P"),
            Self::ProtUnsupported => (536, "Only PROT P is supported"),
            Self::PermissionDenied => (550, "Permission denied"),
            Self::BadPath => (553, "File name not allowed"),
        }
    }
}

/// Why a connection is refused before it is a session; always 421.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedAtDoor {
    /// `limits.sessions` or `limits.sessions_per_ip`.
    TooManySessions,
    /// The node drains.
    Draining,
    /// `listen.allow_from` does not name the client's network.
    NotAllowed,
}

impl RefusedAtDoor {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::TooManySessions => "Too many connections, try again later",
            Self::Draining => "The service is restarting, try again",
            Self::NotAllowed => "Your address is not allowed here",
        }
    }
}

pub(super) const fn file_row(error: FileError) -> (u16, &'static str) {
    match error {
        FileError::NotFound => (550, "No such file or directory"),
        FileError::Denied => (550, "Permission denied"),
        FileError::Exists => (550, "File exists"),
        FileError::NotADirectory => (550, "Not a directory"),
        FileError::IsADirectory => (550, "Is a directory"),
        FileError::NotEmpty => (550, "Directory not empty"),
        FileError::NotRegular => (550, "Not a regular file"),
        FileError::BadName => (553, "File name not allowed"),
        FileError::NoSpace => (452, "No space left"),
        FileError::Quota => (552, "Quota exceeded"),
        FileError::CrossDevice => (550, "Source and target are on different file systems"),
        FileError::Loop => (550, "Too many links"),
        FileError::Busy => (450, "File is busy, try again later"),
        FileError::BadOffset => (554, "Restart position is beyond the end of the file"),
        FileError::ReadOnly => (550, "Read-only file system"),
        FileError::Io => (451, "Local error, try again later"),
    }
}

pub(super) const fn passive_row(error: PassiveError, family: Family) -> (u16, &'static str) {
    match error {
        PassiveError::Busy => (425, "All data ports are busy, try again later"),
        PassiveError::NoIpv4 => (425, "No IPv4 address here; use EPSV"),
        PassiveError::Family => (522, if matches!(family, Family::Ipv4) { PROTOCOL_4 } else { PROTOCOL_6 }),
    }
}

pub(super) const fn data_row(refusal: DataRefusal) -> (u16, &'static str) {
    match refusal {
        DataRefusal::Timeout => (425, "No data connection came in time"),
        DataRefusal::NoPort => Refusal::NoDataPort.row(),
        // 425 as ProFTPD and vsftpd say it: clients know it, and one that gets a ticket meanwhile succeeds the next time.
        DataRefusal::SessionReuseRequired => (425, "The data connection must resume the TLS session of the control connection"),
        // RFC 4217 §10: the TLS negotiation failed. Trying again without a change does not help, so no 4xx.
        DataRefusal::Handshake => (522, "The TLS handshake of the data connection failed"),
        DataRefusal::Connect => (425, "Could not connect to your data address"),
    }
}

pub(super) const fn end_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Shutdown => "The service is restarting, please connect again",
        EndReason::IdleTimeout => "Idle for too long",
        EndReason::LoginTimeout => "Login took too long",
        EndReason::Kicked => "Ended by the administrator",
        EndReason::Banned => "You are banned",
        EndReason::UserChanged => "Your account has changed, please log in again",
        EndReason::SessionMax => "The session has lasted long enough, please connect again",
        EndReason::TicketsSpent => "Your TLS session tickets are used up, please connect again",
        EndReason::Internal => "Internal error",
    }
}

const PROTOCOL_4: &str = "Network protocol not supported, use (1)";
const PROTOCOL_6: &str = "Network protocol not supported, use (2)";
