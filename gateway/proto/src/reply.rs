//! The one table of replies: from reason to code and text (RFC 959 §4.2).
//!
//! Gets: a reason, numbers and checked paths. Gives: the code, and the bytes of the reply in its single-line or multi-line form.
//! Never: carries a byte of the client, except checked paths (257, 150 FILE:, MFMT, MLST, STAT) and the account's own name.

use std::net::SocketAddrV4;

use crate::addr::{Family, write_epsv, write_port};
use crate::command::{SetFact, TransferType, UserName};
use crate::listing::{FactSet, write_number};
use crate::machine::io::{DataRefusal, EndReason, FileError, PassiveError};
use crate::path::VirtualPath;
use crate::time::Timestamp;
use crate::verbs::Verb;

/// A reply. [`Reply::write`] gives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Something went well; fixed text.
    Ok(Success),
    /// A command was refused by the machine; fixed text.
    No(Refusal),
    /// A file operation failed.
    File(FileError),
    /// No passive port. The family is that of the control connection (RFC 2428 §2 wants it named).
    Passive(PassiveError, Family),
    /// No data connection, or it was not taken.
    Data(DataRefusal),
    /// The server ends the session: 421.
    End(EndReason),
    /// Refused before it became a session: 421.
    Refused(RefusedAtDoor),
    /// 150 with the bytes that follow, when known: curl and Python's ftplib read `(n bytes)`.
    Opening(Option<u64>),
    /// 150 with the name STOU chose (RFC 1123 §4.1.2.9).
    OpeningUnique(VirtualPath),
    /// 227.
    EnteringPassive(SocketAddrV4),
    /// 229.
    EnteringExtendedPassive(u16),
    /// 257: the working directory.
    WorkingDirectory(VirtualPath),
    /// 257: a directory was made.
    DirectoryMade(VirtualPath),
    /// 213 with a number: SIZE, AVBL.
    Number(u64),
    /// 213 with a time: MDTM.
    Modified(Timestamp),
    /// 213 `Modify=…; path`: MFMT, MFF.
    FactsSet(Vec<SetFact>, VirtualPath),
    /// 250 of MLST: the path and its line of facts, without line end.
    Facts(VirtualPath, Vec<u8>),
    /// 213 of STAT with a path: listing lines without line ends.
    Listing(Vec<Vec<u8>>),
    /// 200 of SITE WHO: lines without line ends.
    Who(Vec<Vec<u8>>),
    /// 211 of FEAT.
    Features(Features),
    /// 200 of OPTS MLST (RFC 3659 §7.9).
    FactsChosen(FactSet),
    /// 211 of STAT without a path.
    Status(Status),
    /// 214: all verbs.
    Help,
    /// 214: one verb.
    HelpVerb(Verb),
    /// 214: SITE HELP.
    SiteHelp,
}

impl Reply {
    /// The three digits.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Ok(success) => success.row().0,
            Self::No(refusal) => refusal.row().0,
            Self::File(error) => file_row(*error).0,
            Self::Passive(error, _) => passive_row(*error).0,
            Self::Data(refusal) => data_row(*refusal).0,
            Self::End(_) | Self::Refused(_) => 421,
            Self::Opening(_) | Self::OpeningUnique(_) => 150,
            Self::EnteringPassive(_) => 227,
            Self::EnteringExtendedPassive(_) => 229,
            Self::WorkingDirectory(_) | Self::DirectoryMade(_) => 257,
            Self::Number(_) | Self::Modified(_) | Self::FactsSet(..) | Self::Listing(_) => 213,
            Self::Facts(..) => 250,
            Self::Who(_) | Self::FactsChosen(_) => 200,
            Self::Features(_) | Self::Status(_) => 211,
            Self::Help | Self::HelpVerb(_) | Self::SiteHelp => 214,
        }
    }

    /// Whether another reply to the same command follows (1xx, RFC 959 §4.2).
    pub const fn is_preliminary(&self) -> bool {
        self.code() < 200
    }

    /// Appends the reply with its line ends.
    pub fn write(&self, out: &mut Vec<u8>) {
        let code = self.code();
        match self {
            Self::Facts(path, facts) => {
                open(code, b"Listing ", out);
                out.extend_from_slice(path.as_bytes());
                // RFC 3659 §7.2: exactly one space before the facts.
                out.extend_from_slice(b"\r\n ");
                out.extend_from_slice(facts);
                out.extend_from_slice(b"\r\n");
                close(code, "End", out);
            }
            Self::Listing(lines) => many(code, "Status follows:", lines, "End of status", out),
            Self::Who(lines) => many(code, "Your sessions:", lines, "End", out),
            Self::Features(features) => features.write(code, out),
            Self::Status(status) => status.write(code, out),
            Self::Help => write_help(code, out),
            Self::SiteHelp => many(code, "SITE commands:", &SITE_HELP, "End", out),
            other => {
                write_number(u64::from(code), out);
                out.push(b' ');
                other.write_text(out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The text of a single-line reply; nothing for the others.
    fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ok(success) => put(out, success.row().1),
            Self::No(refusal) => put(out, refusal.row().1),
            Self::File(error) => put(out, file_row(*error).1),
            Self::Passive(PassiveError::Family, family) => put(out, if *family == Family::Ipv4 { PROTOCOL_4 } else { PROTOCOL_6 }),
            Self::Passive(error, _) => put(out, passive_row(*error).1),
            Self::Data(refusal) => put(out, data_row(*refusal).1),
            Self::End(reason) => put(out, end_text(*reason)),
            Self::Refused(reason) => put(out, reason.text()),
            Self::Opening(None) => put(out, "Opening data connection"),
            Self::Opening(Some(size)) => surrounded(out, "Opening data connection (", *size, " bytes)"),
            Self::OpeningUnique(path) => {
                put(out, "FILE: ");
                out.extend_from_slice(path.as_bytes());
            }
            Self::EnteringPassive(address) => {
                put(out, "Entering Passive Mode (");
                write_port(*address, out);
                put(out, ").");
            }
            Self::EnteringExtendedPassive(port) => {
                put(out, "Entering Extended Passive Mode (");
                write_epsv(*port, out);
                put(out, ")");
            }
            Self::WorkingDirectory(path) => {
                path.write_quoted(out);
                put(out, " is the current directory");
            }
            Self::DirectoryMade(path) => {
                path.write_quoted(out);
                put(out, " created");
            }
            Self::Number(number) => write_number(*number, out),
            Self::Modified(time) => time.write(out),
            Self::FactsSet(facts, path) => write_facts_set(facts, path, out),
            Self::FactsChosen(set) => {
                put(out, "MLST OPTS ");
                write_fact_names(*set, false, out);
            }
            Self::HelpVerb(verb) => {
                put(out, "Syntax: ");
                put(out, verb.name());
                put(out, " ");
                put(out, verb.syntax());
            }
            Self::Facts(..) | Self::Listing(_) | Self::Who(_) | Self::Features(_) | Self::Status(_) | Self::Help | Self::SiteHelp => {}
        }
    }
}

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
    AbortDone,
    TransferRuns,
    ModeChanged,
    TimeChanged,
    ModifiedSet,
}

impl Success {
    const fn row(self) -> (u16, &'static str) {
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
    RnfrFirst,
    OnlyEpsv,
    RestartNeedsImage,
    RestartNotHere,
    /// RFC 2428 §2, to EPRT and EPSV: both families are known, the argument is neither.
    UnknownFamily,
    ForeignAddress,
    PrivilegedPort,
    PermissionDenied,
    BadPath,
    NoDataPort,
    TransferBroken,
    TransferStalled,
    TransferAborted,
}

impl Refusal {
    const fn row(self) -> (u16, &'static str) {
        match self {
            Self::NoDataPort => (425, "Use PASV or EPSV first"),
            Self::TransferBroken => (426, "The data connection broke, nothing was kept"),
            Self::TransferStalled => (426, "The data connection stalled, nothing was kept"),
            Self::TransferAborted => (426, "Transfer aborted"),
            Self::LineTooLong => (500, "Line too long"),
            Self::UnknownCommand => (500, "Unknown command"),
            Self::UnknownSite => (500, "Unknown SITE command"),
            Self::MissingArgument => (501, "An argument is missing"),
            Self::BadArgument => (501, "Bad argument"),
            Self::ControlBytes => (501, "Control characters are not allowed"),
            Self::UnknownOption => (501, "Unknown option"),
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
    const fn text(self) -> &'static str {
        match self {
            Self::TooManySessions => "Too many connections, try again later",
            Self::Draining => "The service is restarting, try again",
            Self::NotAllowed => "Your address is not allowed here",
        }
    }
}

/// What FEAT depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// EPRT is offered.
    pub active: bool,
    /// The facts of MLST that are on: they carry a star (RFC 3659 §7.8).
    pub facts: FactSet,
}

impl Features {
    fn write(self, code: u16, out: &mut Vec<u8>) {
        open(code, b"Features:\r\n", out);
        for feature in FEATURES {
            line(out, feature);
        }
        if self.active {
            line(out, "EPRT");
        }
        put(out, " MLST ");
        write_fact_names(self.facts, true, out);
        put(out, "\r\n");
        close(code, "End", out);
    }
}

/// What STAT tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The canonical name of the account.
    pub user: Option<UserName>,
    /// TYPE.
    pub kind: TransferType,
    /// PROT P is on.
    pub private: bool,
}

impl Status {
    fn write(&self, code: u16, out: &mut Vec<u8>) {
        open(code, b"FTPS gateway status:\r\n", out);
        if let Some(user) = &self.user {
            put(out, " Logged in as ");
            put(out, user.as_str());
            put(out, "\r\n");
        }
        line(out, if self.kind == TransferType::Ascii { "TYPE: ASCII, STRU: File, MODE: Stream" } else { "TYPE: Image, STRU: File, MODE: Stream" });
        line(
            out,
            if self.private { "Control and data connections are protected by TLS" } else { "The control connection is protected by TLS, PROT P is missing" },
        );
        line(out, "No transfer is running");
        close(code, "End of status", out);
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn surrounded(out: &mut Vec<u8>, before: &str, number: u64, after: &str) {
    put(out, before);
    write_number(number, out);
    put(out, after);
}

/// A continuation line; its leading space keeps it from looking like the last line (RFC 959 §4.2, RFC 2389 §3.2).
fn line(out: &mut Vec<u8>, text: &str) {
    put(out, " ");
    put(out, text);
    put(out, "\r\n");
}

fn open(code: u16, first: &[u8], out: &mut Vec<u8>) {
    write_number(u64::from(code), out);
    out.push(b'-');
    out.extend_from_slice(first);
}

fn close(code: u16, last: &str, out: &mut Vec<u8>) {
    write_number(u64::from(code), out);
    put(out, " ");
    put(out, last);
    put(out, "\r\n");
}

/// A multi-line reply. Lines that begin with a digit are padded (RFC 959 §4.2); lines with control bytes could forge one and are left out.
fn many<L: AsRef<[u8]>>(code: u16, first: &str, lines: &[L], last: &str, out: &mut Vec<u8>) {
    open(code, first.as_bytes(), out);
    put(out, "\r\n");
    for text in lines.iter().map(AsRef::as_ref).filter(|text| !text.iter().any(u8::is_ascii_control)) {
        if text.first().is_none_or(u8::is_ascii_digit) {
            out.push(b' ');
        }
        out.extend_from_slice(text);
        put(out, "\r\n");
    }
    close(code, last, out);
}

fn write_help(code: u16, out: &mut Vec<u8>) {
    open(code, b"These commands are known:\r\n", out);
    for row in Verb::ALL.chunks(8) {
        for verb in row {
            put(out, " ");
            put(out, verb.name());
        }
        put(out, "\r\n");
    }
    close(code, "HELP command shows one", out);
}

fn write_facts_set(facts: &[SetFact], path: &VirtualPath, out: &mut Vec<u8>) {
    for fact in facts {
        match fact {
            SetFact::Modify(time) => {
                put(out, "Modify=");
                time.write(out);
            }
            SetFact::UnixMode(mode) => put(out, &format!("UNIX.mode={mode:04o}")),
        }
        put(out, ";");
    }
    put(out, " ");
    out.extend_from_slice(path.as_bytes());
}

/// `type*;size*;…`: with `all`, every fact, a star behind those that are on; else only those.
fn write_fact_names(set: FactSet, all: bool, out: &mut Vec<u8>) {
    let facts = [("type", set.kind), ("size", set.size), ("modify", set.modify), ("perm", set.perm), ("unique", set.unique), ("UNIX.mode", set.unix_mode)];
    for (name, on) in facts.into_iter().filter(|(_, on)| all || *on) {
        put(out, name);
        put(out, if all && on { "*;" } else { ";" });
    }
}

const fn file_row(error: FileError) -> (u16, &'static str) {
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

const fn passive_row(error: PassiveError) -> (u16, &'static str) {
    match error {
        PassiveError::Busy => (425, "All data ports are busy, try again later"),
        PassiveError::NoIpv4 => (425, "No IPv4 address here; use EPSV"),
        PassiveError::Family => (522, PROTOCOL_4),
    }
}

const fn data_row(refusal: DataRefusal) -> (u16, &'static str) {
    match refusal {
        DataRefusal::Timeout => (425, "No data connection came in time"),
        DataRefusal::NoPort => Refusal::NoDataPort.row(),
        // RFC 4217 §10: 522, the TLS negotiation failed or was unacceptable. Trying again without a change does not help, so no 4xx.
        DataRefusal::SessionReuseRequired => (522, "The data connection must resume the TLS session of the control connection"),
        DataRefusal::Handshake => (522, "The TLS handshake of the data connection failed"),
        DataRefusal::Connect => (425, "Could not connect to your data address"),
    }
}

const fn end_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Shutdown => "The service is restarting, please connect again",
        EndReason::IdleTimeout => "Idle for too long",
        EndReason::LoginTimeout => "Login took too long",
        EndReason::Kicked => "Ended by the administrator",
        EndReason::Banned => "You are banned",
        EndReason::UserChanged => "Your account has changed, please log in again",
        EndReason::SessionMax => "The session has lasted long enough, please connect again",
        EndReason::Internal => "Internal error",
    }
}

const PROTOCOL_4: &str = "Network protocol not supported, use (1)";
const PROTOCOL_6: &str = "Network protocol not supported, use (2)";
/// What exists, always; RFC 2389 §3.2 wants a space before each. MLST and EPRT depend.
const FEATURES: [&str; 18] = [
    "AUTH TLS",
    "PBSZ",
    "PROT",
    "UTF8",
    "EPSV",
    "SIZE",
    "MDTM",
    "MFMT",
    "MFF Modify;UNIX.mode;",
    "REST STREAM",
    "TVFS",
    "HOST",
    "LANG EN*",
    "AVBL",
    "CLNT",
    "CSID",
    "SITE CHMOD",
    "SITE UTIME",
];
const SITE_HELP: [&str; 4] = [" CHMOD <sp> mode <sp> pathname", " UTIME <sp> YYYYMMDDhhmm[ss] <sp> pathname", " WHO", " HELP"];
