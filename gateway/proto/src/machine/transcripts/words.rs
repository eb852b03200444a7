//! The words of `J:` lines: jobs, outcomes, entries.
//!
//! Gets: a job, or words. Gives: words, or an outcome.
//! Never: guesses; unknown words are `None`.

use crate::command::{TransferType, UserName};
use crate::digest::{Algorithm, DigestFault, Offer, Range};
use crate::listing::{Entry, EntryKind};
use crate::machine::io::{
    Account, DataRefusal, EndReason, FileError, Job, ListForm, LoginRefusal, Outcome, PassiveError, Permissions, StoreMode, Transfer, TransferEnd,
};
use crate::path::{VirtualPath, WirePath};
use crate::time::Timestamp;

/// What a job asks, in words.
pub(super) fn describe(job: &Job) -> String {
    match job {
        Job::Login { user, password, host } => {
            let host = host.as_ref().map(|host| format!(" host {}", host.as_str())).unwrap_or_default();
            format!("login {user}{host}{}", if password.is_some() { "" } else { " by-certificate" })
        }
        Job::CheckDirectory(path) => format!("enter {}", text(path)),
        Job::MakeDirectory(path) => format!("mkdir {}", text(path)),
        Job::RemoveDirectory(path) => format!("rmdir {}", text(path)),
        Job::Delete(path) => format!("delete {}", text(path)),
        Job::CheckHost(name) => format!("host {}", name.as_str()),
        Job::CheckExists(path) => format!("exists {}", text(path)),
        Job::Rename { from, to } => format!("rename {} {}", text(from), text(to)),
        Job::Stat(path) => format!("stat {}", text(path)),
        Job::AsciiSize(path) => format!("ascii-size {}", text(path)),
        Job::SetModified { path, time } => format!("set-modified {} {}", text(path), time.seconds),
        Job::SetFacts { path, facts } => format!("set-facts {} {}", text(path), facts.len()),
        Job::Available(path) => format!("available {}", text(path)),
        Job::Who => "who".to_owned(),
        Job::Passive { family, pasv } => {
            format!("{}{}", if *pasv { "pasv" } else { "epsv" }, family.map(|family| format!(" {}", family.number())).unwrap_or_default())
        }
        Job::Active(address) => format!("active {address}"),
        Job::ListOnControl(path) => format!("stat-list {}", text(path)),
        Job::Digest { path, algorithm, range } => {
            let range = range.map(|Range { start, end }| format!(" {start} {end}")).unwrap_or_default();
            format!("digest {} {}{range}", algorithm.word(), text(path))
        }
        Job::Transfer(transfer) => describe_transfer(transfer),
    }
}

fn describe_transfer(transfer: &Transfer) -> String {
    let ascii = |kind: &TransferType| if *kind == TransferType::Ascii { " ascii" } else { "" };
    match transfer {
        Transfer::Retrieve { path, offset, kind } => format!("retrieve {} at {offset}{}", text(path), ascii(kind)),
        Transfer::Store { path, mode, kind, announced } => {
            let mode = match mode {
                StoreMode::Replace => "replace".to_owned(),
                StoreMode::Restart(offset) => format!("restart {offset}"),
                StoreMode::Append => "append".to_owned(),
                StoreMode::Unique => "unique".to_owned(),
            };
            let announced = announced.map(|size| format!(" announced {size}")).unwrap_or_default();
            format!("store {} {mode}{}{announced}", text(path), ascii(kind))
        }
        Transfer::List { path, pattern, form, arguments } => {
            let form = match form {
                ListForm::Long => "long",
                ListForm::Names => "names",
                ListForm::Facts(_) => "facts",
            };
            let pattern = pattern.as_ref().map(|pattern| format!(" pattern {}", String::from_utf8_lossy(pattern))).unwrap_or_default();
            format!("list {} {form}{pattern}{}", text(path), if arguments.all { " all" } else { "" })
        }
    }
}

fn text(path: &VirtualPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

pub(super) fn virtual_path(text: &str) -> VirtualPath {
    VirtualPath::root().resolve(&WirePath::new(text.as_bytes()).unwrap()).unwrap()
}

pub(super) fn outcome(text: &str) -> Option<Outcome> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match name {
        "ok" => Outcome::Ok,
        "failed" => Outcome::Failed(file_error(rest)?),
        "login" => Outcome::Login(Ok(Account { user: UserName::new(b"demo")?, permissions: permissions(rest)?, offer: Offer::ALL })),
        "refused" => Outcome::Login(Err(match rest {
            "Incorrect" => LoginRefusal::Incorrect,
            "PasswordNeeded" => LoginRefusal::PasswordNeeded,
            "Banned" => LoginRefusal::Banned,
            "TooMany" => LoginRefusal::TooMany,
            "Unavailable" => LoginRefusal::Unavailable,
            _ => return None,
        })),
        "entry" => Outcome::Entry(entry(rest)?),
        "size" => Outcome::Size(rest.parse().ok()?),
        "lines" => Outcome::Lines(rest.split('|').map(|line| line.as_bytes().to_vec()).collect()),
        "passive" => Outcome::Passive(rest.parse().ok()?),
        "no-passive" => Outcome::PassiveFailed(match rest {
            "Busy" => PassiveError::Busy,
            "NoIpv4" => PassiveError::NoIpv4,
            "Family" => PassiveError::Family,
            _ => return None,
        }),
        "digest" => digest(rest)?,
        "transfer" => Outcome::Transfer(transfer_end(rest)?),
        _ => return None,
    })
}

/// `crc32 12`: a digest of zeros up to there; `no Changed`.
fn digest(text: &str) -> Option<Outcome> {
    Some(Outcome::Digest(match text.split_once(' ')? {
        ("no", fault) => Err(digest_fault(fault)?),
        (word, end) => {
            let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.word() == word)?;
            Ok((vec![0xab; algorithm.length()], end.parse().ok()?))
        }
    }))
}

fn digest_fault(text: &str) -> Option<DigestFault> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match name {
        "NotPermitted" => DigestFault::NotPermitted,
        "Off" => DigestFault::Off,
        "EndBeyond" => DigestFault::EndBeyond,
        "Order" => DigestFault::Order(rest.split_once(' ').and_then(|(start, end)| Some(Range { start: start.parse().ok()?, end: end.parse().ok()? }))?),
        "Changed" => DigestFault::Changed,
        "Shrunk" => DigestFault::Shrunk,
        "Busy" => DigestFault::Busy,
        "Aborted" => DigestFault::Aborted,
        error => DigestFault::File(file_error(error)?),
    })
}

fn transfer_end(text: &str) -> Option<TransferEnd> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match name {
        "complete" => TransferEnd::Complete { bytes: rest.parse().ok()? },
        "failed" => TransferEnd::Failed(file_error(rest)?),
        "broken" => TransferEnd::Broken,
        "stalled" => TransferEnd::Stalled,
        "aborted" => TransferEnd::Aborted,
        "no-connection" => TransferEnd::NoConnection(match rest {
            "Timeout" => DataRefusal::Timeout,
            "NoPort" => DataRefusal::NoPort,
            "SessionReuseRequired" => DataRefusal::SessionReuseRequired,
            "Handshake" => DataRefusal::Handshake,
            "Connect" => DataRefusal::Connect,
            _ => return None,
        }),
        _ => return None,
    })
}

fn permissions(text: &str) -> Option<Permissions> {
    Some(match text {
        "all" => Permissions::ALL,
        "read-only" => Permissions::READ_ONLY,
        "none" => Permissions::default(),
        _ => return None,
    })
}

/// `file 12 20260102030405 644`.
fn entry(text: &str) -> Option<Entry> {
    let words: Vec<&str> = text.split(' ').collect();
    let kind = match words[0] {
        "file" => EntryKind::File,
        "directory" => EntryKind::Directory,
        "other" => EntryKind::Other,
        _ => return None,
    };
    let (size, mode) = (words.get(1)?.parse().ok()?, u32::from_str_radix(words.get(3)?, 8).ok()?);
    Some(Entry { name: b"x".to_vec(), kind, size, modified: Timestamp::parse(words.get(2)?.as_bytes())?, mode, links: 1, unique: 77 })
}

fn file_error(text: &str) -> Option<FileError> {
    use FileError::{
        BadName, BadOffset, Busy, CrossDevice, Denied, Exists, Io, IsADirectory, Loop, NoSpace, NotADirectory, NotEmpty, NotFound, NotRegular, Quota, ReadOnly,
    };
    let all = [
        NotFound,
        Denied,
        Exists,
        NotADirectory,
        IsADirectory,
        NotEmpty,
        NotRegular,
        BadName,
        NoSpace,
        Quota,
        CrossDevice,
        Loop,
        Busy,
        BadOffset,
        ReadOnly,
        Io,
    ];
    all.into_iter().find(|error| format!("{error:?}") == text)
}

pub(super) fn end_reason(text: &str) -> EndReason {
    use EndReason::{Banned, IdleTimeout, Internal, Kicked, LoginTimeout, SessionMax, Shutdown, TicketsSpent, UserChanged};
    let all = [Shutdown, IdleTimeout, LoginTimeout, Kicked, Banned, UserChanged, SessionMax, TicketsSpent, Internal];
    all.into_iter().find(|reason| format!("{reason:?}") == text).unwrap()
}
