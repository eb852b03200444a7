//! Runs `tests/transcripts/*.txt` over the bare machine, whole segments and byte by byte.
//!
//! Gets: the files; their format stands in `tests/transcripts/README`. Gives: a failure with file, line, what was expected and what came.
//! Never: a socket. `D:` lines are for the run over a real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;

use super::io::{
    Account, Action, DataRefusal, FileError, Input, Job, ListForm, LoginRefusal, Opening, Outcome, PassiveError, Permissions, StoreMode, Transfer, TransferEnd,
};
use super::{Machine, Mode, Rules};
use crate::command::{TransferType, UserName};
use crate::listing::{Entry, EntryKind};
use crate::machine::io::EndReason;
use crate::path::{VirtualPath, WirePath};
use crate::time::Timestamp;

#[test]
fn every_transcript_holds() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|x| x == "txt")).collect();
    files.sort();
    assert!(files.len() >= 10, "transcripts are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for drip in [false, true] {
            Run::new(&name, drip).file(&text);
        }
    }
}

struct Run {
    place: String,
    file: String,
    drip: bool,
    machine: Machine,
    /// Lines of replies polled and not yet expected.
    lines: VecDeque<String>,
    /// Bytes of `C:` and `B:` lines not yet given.
    bytes: Vec<u8>,
    /// Commands answered and final replies written must be the same in the end.
    finals: usize,
    answered: usize,
    greetings: usize,
}

impl Run {
    fn new(file: &str, drip: bool) -> Self {
        let (lines, bytes) = (VecDeque::new(), Vec::new());
        Self { place: String::new(), file: file.to_owned(), drip, machine: machine(&[]), lines, bytes, finals: 0, answered: 0, greetings: 0 }
    }

    fn file(&mut self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            self.place = format!("{}:{}{}: {line}", self.file, number + 1, if self.drip { " (byte by byte)" } else { "" });
            let (kind, rest) = (line.get(..2).unwrap_or(line), line.get(2..).unwrap_or("").strip_prefix(' ').unwrap_or(""));
            match kind {
                "" | "D:" => {}
                _ if line.starts_with('#') => {}
                "C:" => {
                    self.bytes.extend_from_slice(&unescape(rest));
                    self.bytes.extend_from_slice(b"\r\n");
                }
                "B:" => self.bytes.extend_from_slice(&unescape(rest)),
                "S:" => self.reply_line(rest),
                "J:" => self.job(rest),
                "A:" => self.action(rest),
                "> " => self.directive(line[2..].trim()),
                _ => panic!("{}: unknown kind of line", self.place),
            }
        }
        self.done();
    }

    fn directive(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        self.feed();
        match words[0] {
            "session" => {
                self.done();
                self.machine = machine(&words[1..]);
            }
            "tls" => {
                self.action("start-tls");
                self.machine.input(Input::Secured);
            }
            "secured" => self.machine.input(Input::Secured),
            "login" => self.log_in(words.get(1).copied().unwrap_or("all")),
            "closed" => self.action(&format!("close {}", words[1])),
            "end" => self.machine.input(Input::End(end_reason(words[1]))),
            "end-when-idle" => self.machine.input(Input::EndWhenIdle(end_reason(words[1]))),
            "bare" => {}
            _ => panic!("{}: unknown directive", self.place),
        }
    }

    /// AUTH TLS to PASS, unchecked.
    fn log_in(&mut self, permissions: &str) {
        let place = std::mem::take(&mut self.place);
        let script = [
            "S: 220 FTPS gateway ready",
            "C: AUTH TLS",
            "S: 234*",
            "> tls",
            "C: PBSZ 0",
            "S: 200*",
            "C: PROT P",
            "S: 200*",
            "C: USER demo",
            "S: 331*",
            "C: PASS demo-password",
        ];
        for line in script {
            self.place = format!("{place} ({line})");
            match line.split_at(2) {
                ("C:", rest) => self.bytes.extend_from_slice(format!("{}\r\n", rest.trim()).as_bytes()),
                ("S:", rest) => self.reply_line(rest.trim()),
                _ => self.directive("tls"),
            }
        }
        self.job(&format!("login demo = login {permissions}"));
        self.reply_line("230 Logged in");
        self.place = place;
    }

    fn feed(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        self.nothing_left();
        let bytes = std::mem::take(&mut self.bytes);
        let size = if self.drip { 1 } else { bytes.len() };
        bytes.chunks(size).for_each(|chunk| self.machine.input(Input::Bytes(chunk)));
    }

    fn poll(&mut self) -> Option<Action> {
        self.feed();
        loop {
            match self.machine.poll() {
                Some(Action::Answered { .. }) => self.answered += 1,
                other => return other,
            }
        }
    }

    fn reply_line(&mut self, expected: &str) {
        if self.lines.is_empty() {
            match self.poll() {
                Some(Action::Reply(reply)) => {
                    let unsolicited = [220, 421].contains(&reply.code());
                    self.greetings += usize::from(unsolicited);
                    self.finals += usize::from(!reply.is_preliminary());
                    let mut out = Vec::new();
                    reply.write(&mut out);
                    let text = String::from_utf8(out).unwrap();
                    self.lines.extend(text.strip_suffix("\r\n").unwrap().split("\r\n").map(str::to_owned));
                }
                other => panic!("{}: got {other:?}", self.place),
            }
        }
        let got = self.lines.pop_front().unwrap();
        let fits = expected.strip_suffix('*').map_or_else(|| got == expected, |start| got.starts_with(start));
        assert!(fits, "{}: got {got}", self.place);
    }

    fn job(&mut self, text: &str) {
        let Some((expected, outcome)) = text.split_once(" = ") else {
            self.feed();
            return self.give(text);
        };
        match self.poll() {
            Some(Action::Run(job)) => assert_eq!(describe(&job), expected, "{}", self.place),
            other => panic!("{}: got {other:?}", self.place),
        }
        self.give(outcome);
    }

    fn give(&mut self, text: &str) {
        let input = if let Some(rest) = text.strip_prefix("opened") {
            let unique = rest.trim().strip_prefix('/').map(|_| virtual_path(rest.trim()));
            Input::Opened(Opening { size: rest.trim().parse().ok(), unique })
        } else if text == "running" {
            return;
        } else {
            Input::Done(outcome(text).unwrap_or_else(|| panic!("{}: no such outcome", self.place)))
        };
        self.machine.input(input);
    }

    fn action(&mut self, expected: &str) {
        let got = self.poll();
        let name = match &got {
            Some(Action::StartTls) => "start-tls".to_owned(),
            Some(Action::AbortTransfer) => "abort-transfer".to_owned(),
            Some(Action::DropDataPort) => "drop-data-port".to_owned(),
            Some(Action::LoggedOut) => "logged-out".to_owned(),
            Some(Action::Close(cause)) => format!("close {cause:?}"),
            Some(Action::Reply(_) | Action::Run(_) | Action::Answered { .. }) | None => format!("{got:?}"),
        };
        assert_eq!(name, expected, "{}", self.place);
    }

    fn nothing_left(&mut self) {
        assert!(self.lines.is_empty(), "{}: before it came {:?}", self.place, self.lines);
        while let Some(action) = self.machine.poll() {
            let Action::Answered { .. } = action else { panic!("{}: before it came {action:?}", self.place) };
            self.answered += 1;
        }
    }

    fn done(&mut self) {
        self.feed();
        self.nothing_left();
        assert!(
            self.answered <= self.finals && self.finals <= self.answered + self.greetings,
            "{}: {} answered, {} final replies",
            self.place,
            self.answered,
            self.finals
        );
        (self.answered, self.finals, self.greetings) = (0, 0, 0);
    }
}

fn machine(words: &[&str]) -> Machine {
    let mut rules = Rules::new(IpAddr::from([192, 0, 2, 7]));
    rules.active = words.contains(&"active");
    rules.certificate_login = words.contains(&"certificate");
    if words.contains(&"ipv6") {
        rules.peer = "2001:db8::7".parse().unwrap();
    }
    Machine::new(rules, if words.contains(&"implicit") { Mode::Implicit } else { Mode::Explicit })
}

/// What a job asks, in words.
fn describe(job: &Job) -> String {
    match job {
        Job::Login { user, password, host } => {
            let host = host.as_ref().map(|host| format!(" host {}", host.as_str())).unwrap_or_default();
            format!("login {user}{host}{}", if password.is_some() { "" } else { " by-certificate" })
        }
        Job::CheckDirectory(path) => format!("enter {}", text(path)),
        Job::MakeDirectory(path) => format!("mkdir {}", text(path)),
        Job::RemoveDirectory(path) => format!("rmdir {}", text(path)),
        Job::Delete(path) => format!("delete {}", text(path)),
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

fn virtual_path(text: &str) -> VirtualPath {
    VirtualPath::root().resolve(&WirePath::new(text.as_bytes()).unwrap()).unwrap()
}

fn outcome(text: &str) -> Option<Outcome> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match name {
        "ok" => Outcome::Ok,
        "failed" => Outcome::Failed(file_error(rest)?),
        "login" => Outcome::Login(Ok(Account { user: UserName::new(b"demo")?, permissions: permissions(rest)? })),
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
        "transfer" => Outcome::Transfer(transfer_end(rest)?),
        _ => return None,
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

fn end_reason(text: &str) -> EndReason {
    use EndReason::{Banned, IdleTimeout, Internal, Kicked, LoginTimeout, SessionMax, Shutdown, UserChanged};
    let all = [Shutdown, IdleTimeout, LoginTimeout, Kicked, Banned, UserChanged, SessionMax, Internal];
    all.into_iter().find(|reason| format!("{reason:?}") == text).unwrap()
}

/// `\xNN` and `\\`; `\*N*text` repeats a text.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        if let Some(hex) = after.strip_prefix('x') {
            out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else if let Some(repeat) = after.strip_prefix('*') {
            let mut parts = repeat.splitn(3, '*');
            let (times, what) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap());
            (0..times).for_each(|_: u32| out.extend_from_slice(what.as_bytes()));
            rest = parts.next().unwrap();
        } else {
            out.push(b'\\');
            rest = after.strip_prefix('\\').unwrap_or(after);
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
