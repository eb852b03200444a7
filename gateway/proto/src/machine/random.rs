//! Random sessions: any commands, any pieces, any outcomes, at any time.
//!
//! Gets: a seed. Gives: a failure when a command has not exactly one final reply in its turn, the machine is stuck, or memory grows.
//! Never: differs between runs; the seeds are fixed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::net::IpAddr;

use super::io::{
    Account, Action, CloseCause, DataRefusal, EndReason, FileError, Input, Job, LoginRefusal, Opening, Outcome, PassiveError, Permissions, TransferEnd,
};
use super::{Machine, Mode, Rules, intake};
use crate::command::UserName;
use crate::digest::{DigestFault, Offer};
use crate::listing::{Entry, EntryKind};
use crate::parse::{ParseFault, parse};
use crate::path::VirtualPath;
use crate::time::Timestamp;
use crate::verbs::Verb;

#[test]
fn each_command_has_one_final_reply_in_its_turn() {
    (0..3000).for_each(|seed| Session::new(seed).play(false));
}

#[test]
fn an_end_at_any_time_closes_at_once() {
    (0..3000).for_each(|seed| Session::new(seed).play(true));
}

#[test]
fn a_client_that_never_reads_is_held_back() {
    let mut machine = Machine::new(Rules::new(IpAddr::from([192, 0, 2, 7])), Mode::Explicit);
    let mut taken = 0;
    while machine.wants_input() {
        let chunk = [b"NOOP\r\n".as_slice(); Machine::READ_MAX / 6].concat();
        taken += chunk.len();
        machine.input(Input::Bytes(&chunk));
        assert!(taken <= 2 * Machine::READ_MAX, "more than two reads were wanted");
    }
    assert!(machine.actions.len() <= 1, "commands ran although nothing was polled");
    let answered = std::iter::from_fn(|| machine.poll()).filter(|action| matches!(action, Action::Answered { .. })).count();
    assert_eq!(answered, taken / 6);
    assert!(machine.wants_input() && machine.is_idle());
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

struct Session {
    seed: u64,
    dice: Dice,
    machine: Machine,
    /// Verbs sent and not yet answered, in order.
    sent: VecDeque<Option<Verb>>,
    bytes: VecDeque<u8>,
    running: Option<Job>,
    opened: bool,
    /// The command at the front of `sent` has started a transfer.
    moving: bool,
    log: Vec<String>,
}

impl Session {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut rules = Rules::new(IpAddr::from([192, 0, 2, 7]));
        (rules.active, rules.certificate_login) = (dice.below(2) == 0, dice.below(4) == 0);
        // Lasting sessions are what this is about.
        rules.failed_logins = 1000;
        let mut machine = Machine::new(rules, Mode::Implicit);
        machine.input(Input::Secured);
        Self { seed, dice, machine, sent: VecDeque::new(), bytes: VecDeque::new(), running: None, opened: false, moving: false, log: Vec::new() }
    }

    fn play(mut self, cut: bool) {
        for name in ["USER demo", "PASS x"] {
            self.say(name);
        }
        for _ in 0..300 {
            if self.machine.stage == super::Stage::Closed {
                break;
            }
            match self.dice.below(8) {
                0..=2 => self.line(),
                3..=4 => self.give_bytes(),
                5 => self.give_outcome(),
                6 if cut && self.dice.below(30) == 0 => self.cut(),
                _ => self.poll_some(),
            }
            self.bounded();
        }
        self.drain();
    }

    /// Everything that was sent is answered, unless the session is closed.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            if self.bytes.is_empty() && self.sent.is_empty() || self.machine.stage == super::Stage::Closed {
                break;
            }
            self.give_bytes();
            while self.poll_one() {}
            self.give_outcome();
        }
        while self.poll_one() {}
        let closed = self.machine.stage == super::Stage::Closed;
        assert!(
            closed || (self.sent.is_empty() && self.machine.is_idle() && self.running.is_none()),
            "stuck, {} unanswered: {}",
            self.sent.len(),
            self.story()
        );
    }

    fn line(&mut self) {
        let verb = self.dice.pick(&Verb::ALL);
        let argument = self.dice.pick(&[
            "",
            " x",
            " /dir/y",
            " I",
            " A",
            " 5",
            " 0",
            " P",
            " demo",
            " ALL",
            " CHMOD 644 x",
            " 192,0,2,7,200,1",
            " -la",
            " a\x07b",
            " \"x\"",
            " x 0 5",
            " 0 5",
            " HASH CRC32",
            " 20200102030405 x",
        ]);
        match self.dice.below(20) {
            0 => self.say("XYZZY"),
            1 => self.say(&"x".repeat(9000)),
            2..=4 => ["EPSV", "LIST", "ABOR"].iter().for_each(|line| self.say(line)),
            5..=6 => ["EPSV", "REST 0", "RETR x", "STAT"].iter().for_each(|line| self.say(line)),
            // QUIT ends the game; AUTH, SSH and the like are in the transcripts.
            _ if verb == Verb::Quit => {}
            _ => self.say(&format!("{}{argument}", verb.name())),
        }
    }

    fn say(&mut self, line: &str) {
        self.log.push(line.chars().take(40).collect());
        self.bytes.extend(line.bytes().chain(*b"\r\n"));
        let verb =
            if line.len() > 8192 { None } else { parse(line.as_bytes()).map_or_else(ParseFault::verb, |command| Some(super::dispatch::verb_of(&command))) };
        self.sent.push_back(verb);
    }

    fn give_bytes(&mut self) {
        if !self.machine.wants_input() {
            return;
        }
        let size = match self.dice.below(3) {
            0 => 1,
            1 => 1 + self.dice.below(20),
            _ => Machine::READ_MAX,
        };
        let chunk: Vec<u8> = self.bytes.drain(..size.min(self.bytes.len())).collect();
        self.machine.input(Input::Bytes(&chunk));
    }

    fn poll_some(&mut self) {
        for _ in 0..self.dice.below(6) {
            if !self.poll_one() {
                break;
            }
        }
    }

    fn poll_one(&mut self) -> bool {
        let Some(action) = self.machine.poll() else { return false };
        self.log.push(format!("-> {action:?}").chars().take(80).collect());
        match action {
            Action::Answered { verb, code } => self.answered(verb, code),
            Action::Run(job) => {
                assert!(self.running.is_none(), "two jobs at a time: {}", self.story());
                self.opened = false;
                self.moving = matches!(job, Job::Transfer(_));
                self.running = Some(job);
            }
            Action::AbortTransfer => assert!(matches!(self.running, Some(Job::Transfer(_))), "nothing to abort: {}", self.story()),
            Action::AbortDigest => assert!(matches!(self.running, Some(Job::Digest { .. })), "no digest to abort: {}", self.story()),
            Action::Close(cause) => {
                assert!(matches!(cause, CloseCause::TooManyErrors | CloseCause::Banned | CloseCause::Ended(_)), "closed by {cause:?}: {}", self.story());
                assert!(self.machine.poll().is_none(), "something after Close: {}", self.story());
            }
            Action::Reply(_) | Action::StartTls | Action::DropDataPort | Action::LoggedOut => {}
        }
        true
    }

    fn answered(&mut self, verb: Option<Verb>, code: u16) {
        assert!((200..=599).contains(&code), "{code} is not final: {}", self.story());
        // STAT overtakes the transfer that it asks about, and nothing else.
        let overtakes = self.moving && verb == Some(Verb::Stat) && self.sent.get(1) == Some(&verb);
        let expected = if overtakes { self.sent.remove(1) } else { self.sent.pop_front() };
        self.moving &= overtakes;
        assert_eq!(expected, Some(verb), "{}", self.story());
    }

    fn give_outcome(&mut self) {
        let Some(job) = &self.running else { return };
        if matches!(job, Job::Transfer(_)) && !self.opened && self.dice.below(3) > 0 {
            self.opened = true;
            return self.machine.input(Input::Opened(Opening { size: Some(5), unique: (self.dice.below(2) == 0).then(VirtualPath::root) }));
        }
        let outcome = outcome(job, &mut self.dice);
        self.log.push(format!("<- {outcome:?}").chars().take(80).collect());
        self.running = None;
        self.machine.input(Input::Done(outcome));
    }

    fn cut(&mut self) {
        if self.dice.below(2) == 0 {
            return self.machine.input(Input::EndWhenIdle(EndReason::SessionMax));
        }
        if self.dice.below(200) == 0 {
            return self.machine.input(Input::EndAtCommand(EndReason::Shutdown));
        }
        // A command that has begun and waits for its job must be answered by the 421.
        self.machine.input(Input::End(EndReason::Shutdown));
        while self.poll_one() {}
        assert!(!self.machine.wants_input() && self.machine.poll().is_none());
        self.machine.input(Input::Bytes(b"NOOP\r\n"));
        self.machine.input(Input::Done(Outcome::Ok));
        assert!(self.machine.poll().is_none(), "a closed session spoke: {}", self.story());
    }

    fn bounded(&self) {
        assert!(self.machine.actions.len() <= 8, "actions pile up: {}", self.story());
        assert!(self.machine.intake.held() <= 3 * intake::READ_MAX, "bytes pile up: {}", self.story());
    }

    fn story(&self) -> String {
        format!("seed {}\n{}", self.seed, self.log[self.log.len().saturating_sub(40)..].join("\n"))
    }
}

/// A fitting outcome, a failure, or now and then one that does not fit.
fn outcome(job: &Job, dice: &mut Dice) -> Outcome {
    if dice.below(20) == 0 {
        return if dice.below(2) == 0 { Outcome::Size(7) } else { Outcome::Transfer(TransferEnd::Broken) };
    }
    if dice.below(4) == 0 && !matches!(job, Job::Transfer(_) | Job::Login { .. }) {
        return Outcome::Failed(dice.pick(&[FileError::NotFound, FileError::Io, FileError::Denied]));
    }
    match job {
        Job::Login { .. } if dice.below(5) == 0 => {
            Outcome::Login(Err(dice.pick(&[LoginRefusal::Incorrect, LoginRefusal::TooMany, LoginRefusal::PasswordNeeded])))
        }
        Job::Login { .. } => {
            let permissions = dice.pick(&[Permissions::ALL, Permissions::ALL, Permissions::READ_ONLY]);
            Outcome::Login(Ok(Account { user: UserName::new(b"demo").unwrap(), permissions, offer: dice.pick(&[Offer::ALL, Offer::default()]) }))
        }
        Job::Stat(_) => Outcome::Entry(Entry {
            name: b"x".to_vec(),
            kind: dice.pick(&[EntryKind::File, EntryKind::Directory]),
            size: 5,
            modified: Timestamp::default(),
            mode: 0o644,
            links: 1,
            unique: 1,
        }),
        Job::AsciiSize(_) | Job::Available(_) => Outcome::Size(5),
        Job::Who | Job::ListOnControl(_) => Outcome::Lines(vec![b"211 x".to_vec(), b"a\r\nb".to_vec()]),
        Job::Passive { .. } if dice.below(4) == 0 => Outcome::PassiveFailed(dice.pick(&[PassiveError::Busy, PassiveError::NoIpv4, PassiveError::Family])),
        Job::Passive { .. } => Outcome::Passive(dice.pick(&["192.0.2.1:50000", "[2001:db8::1]:50000"]).parse().unwrap()),
        Job::Transfer(_) => Outcome::Transfer(dice.pick(&[
            TransferEnd::Complete { bytes: 5 },
            TransferEnd::Complete { bytes: 5 },
            TransferEnd::Aborted,
            TransferEnd::NoConnection(DataRefusal::Timeout),
            TransferEnd::Failed(FileError::NotFound),
        ])),
        Job::Digest { algorithm, .. } => {
            Outcome::Digest(dice.pick(&[Ok((vec![7; algorithm.length()], 5)), Err(DigestFault::Changed), Err(DigestFault::Aborted)]))
        }
        Job::CheckDirectory(_)
        | Job::MakeDirectory(_)
        | Job::RemoveDirectory(_)
        | Job::Delete(_)
        | Job::CheckHost(_)
        | Job::CheckExists(_)
        | Job::Rename { .. }
        | Job::SetModified { .. }
        | Job::SetFacts { .. }
        | Job::Active(_) => Outcome::Ok,
    }
}
