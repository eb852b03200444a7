//! Runs `tests/transcripts/*.txt` over the bare machine, whole segments and byte by byte.
//!
//! Gets: the files; their format stands in `tests/transcripts/README`. Gives: a failure with file, line, what was expected and what came.
//! Never: a socket. `D:` lines are for the run over a real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod words;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::digest::Offer;

use super::io::{Action, Input, Opening};
use super::{Machine, Mode, Rules};

use words::{describe, end_reason, outcome, virtual_path};

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
            "last-orders" => self.machine.input(Input::EndAtCommand(end_reason(words[1]))),
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
            Some(Action::AbortDigest) => "abort-digest".to_owned(),
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
    if words.contains(&"no-digests") {
        rules.offer = Offer::default();
    }
    Machine::new(rules, if words.contains(&"implicit") { Mode::Implicit } else { Mode::Explicit })
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
