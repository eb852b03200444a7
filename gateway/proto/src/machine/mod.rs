//! The session machine: what a session knows and decides.
//!
//! Gets: [`Input`] (bytes, outcomes, the server's wishes). Gives: [`Action`]s, polled one by one, and what the session may read of its state.
//! Never: a socket, a file, a clock. One command runs at a time, and only when all actions before it were polled: who does not poll holds it back.

mod digests;
mod dispatch;
mod files;
mod intake;
pub mod io;
mod login;
mod outcome;
mod permissions;
#[cfg(test)]
mod random;
mod service;
mod settings;
#[cfg(test)]
mod transcripts;
mod transfer;

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::addr::Family;
use crate::command::{Command, HostName, UserName};
use crate::digest::Offer;
use crate::path::{VirtualPath, WirePath};
use crate::reply::{Refusal, Reply, Success};
use crate::verbs::Verb;

use self::intake::{Intake, Queued};
use self::io::{Account, Action, CloseCause, EndReason, Input, Job};
use self::outcome::Pending;
use self::settings::Settings;

/// One session's knowledge and decisions.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    mode: Mode,
    stage: Stage,
    intake: Intake,
    actions: VecDeque<Action>,
    /// The verb of the command that has no final reply yet.
    verb: Option<Verb>,
    pending: Option<Pending>,
    login: Login,
    settings: Settings,
    /// PROT P holds from the start: implicit TLS, AUTH SSL.
    private_from_start: bool,
    failed_logins: u32,
    unknown_commands: u32,
    long_lines: u32,
    end: Option<EndReason>,
    /// No command is served any more.
    last_orders: Option<EndReason>,
}

/// What the configuration and the connection say that the machine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The client's true address: an active connection goes nowhere else (RFC 2577 §3).
    pub peer: IpAddr,
    /// Longest command line before login, in bytes.
    pub line_before_login: usize,
    /// Longest command line after login, in bytes (`limits.line`).
    pub line: usize,
    /// PORT and EPRT are taken (`data.active`).
    pub active: bool,
    /// A client certificate may log in without PASS: USER asks [`Job::Login`] without a password.
    pub certificate_login: bool,
    /// Digests before login; afterwards those of the account.
    pub offer: Offer,
    /// So many failed logins close the session.
    pub failed_logins: u32,
}

impl Rules {
    /// The defaults of the configuration, for a client at this address.
    pub const fn new(peer: IpAddr) -> Self {
        Self { peer, line_before_login: 4096, line: 8192, active: false, certificate_login: false, offer: Offer::ALL, failed_logins: 3 }
    }
}

/// When TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With AUTH TLS (RFC 4217).
    Explicit,
    /// Before the greeting.
    Implicit,
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Clear,
    Handshake,
    Secured,
    Closed,
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Nobody,
    Named(UserName),
    /// `by_certificate`: without PASS.
    Account {
        account: Account,
        by_certificate: bool,
    },
}

impl Machine {
    /// Bytes to give to one [`Input::Bytes`] at most; more is taken too, but memory is bounded only by what was given.
    pub const READ_MAX: usize = intake::READ_MAX;

    /// A session that has just connected. Explicit: its greeting waits to be polled. Implicit: it waits for [`Input::Secured`].
    pub fn new(rules: Rules, mode: Mode) -> Self {
        let (stage, private) = match mode {
            Mode::Explicit => (Stage::Clear, false),
            Mode::Implicit => (Stage::Handshake, true),
        };
        let mut machine = Self {
            rules,
            mode,
            stage,
            intake: Intake::new(rules.line_before_login),
            actions: VecDeque::new(),
            verb: None,
            pending: None,
            login: Login::Nobody,
            settings: Settings::new(private),
            private_from_start: private,
            failed_logins: 0,
            unknown_commands: 0,
            long_lines: 0,
            end: None,
            last_orders: None,
        };
        if mode == Mode::Explicit {
            machine.push(Action::Reply(Reply::Ok(Success::Greeting)));
        }
        machine
    }

    /// Takes what happened. Its consequences are to be polled.
    pub fn input(&mut self, input: Input<'_>) {
        if self.stage == Stage::Closed {
            return;
        }
        match input {
            // Between AUTH TLS and the handshake no byte in clear text is ours.
            Input::Bytes(bytes) if self.stage == Stage::Handshake => {
                if !bytes.is_empty() {
                    self.close(CloseCause::StarttlsInjection);
                }
            }
            Input::Bytes(bytes) => self.intake.take(bytes),
            Input::Secured => self.secure(),
            Input::Done(outcome) => self.finish(outcome),
            Input::Opened(opening) => self.opened(opening),
            Input::End(reason) => self.end_now(reason),
            Input::Banned(words) => self.end_with(EndReason::Banned, Reply::Banned(words)),
            Input::EndWhenIdle(reason) => {
                self.end.get_or_insert(reason);
            }
            Input::EndAtCommand(reason) => {
                self.last_orders.get_or_insert(reason);
            }
        }
    }

    /// The next thing to do. Runs the next waiting command when everything before it has been polled. `None`: nothing until the next input.
    pub fn poll(&mut self) -> Option<Action> {
        while self.actions.is_empty() && self.advance() {}
        self.actions.pop_front()
    }

    /// As [`Machine::poll`], but starts no waiting command: for a session whose client leaves its replies unread.
    pub fn poll_begun(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether more bytes of the client are welcome; false while the queue of commands is full (or the handshake, or the end, is near).
    pub fn wants_input(&self) -> bool {
        matches!(self.stage, Stage::Clear | Stage::Secured) && !self.intake.is_full()
    }

    /// Whether a user is logged in.
    pub fn is_logged_in(&self) -> bool {
        self.account().is_some()
    }

    /// Whether nothing runs and nothing waits: no job, no action, no complete command.
    pub fn is_idle(&self) -> bool {
        self.actions.is_empty() && self.pending.is_none() && self.intake.is_idle()
    }

    /// Whether a transfer runs, from its [`Job::Transfer`] to its outcome.
    pub fn transferring(&self) -> bool {
        matches!(self.pending, Some(Pending::Transfer { .. }))
    }

    /// Whether TLS protects the control connection.
    pub fn secured(&self) -> bool {
        self.stage == Stage::Secured
    }

    /// The host that HOST named last.
    pub fn named_host(&self) -> Option<&str> {
        self.settings.host.as_ref().map(HostName::as_str)
    }

    /// Who is logged in.
    pub fn account(&self) -> Option<&Account> {
        match &self.login {
            Login::Account { account, .. } => Some(account),
            Login::Nobody | Login::Named(_) => None,
        }
    }

    /// The working directory.
    pub fn cwd(&self) -> &VirtualPath {
        &self.settings.cwd
    }

    /// One step without input; false when there is none.
    fn advance(&mut self) -> bool {
        if !matches!(self.stage, Stage::Clear | Stage::Secured) {
            return false;
        }
        if self.transferring() {
            return self.watch_transfer();
        }
        if self.pending.is_some() {
            return self.watch_digest();
        }
        if let Some(queued) = self.intake.next() {
            self.execute(queued);
            return true;
        }
        let Some(reason) = self.end else { return false };
        self.end_now(reason);
        true
    }

    /// Runs one command, or answers what is none.
    fn execute(&mut self, queued: Queued) {
        if let Some(reason) = self.last_orders.filter(|_| !matches!(queued, Queued::Command(Command::Quit))) {
            return self.too_late(queued, reason);
        }
        match queued {
            Queued::Command(command) => self.command(command),
            Queued::Fault(fault) => self.fault(fault),
            Queued::TooLong => self.too_long(),
        }
    }

    /// A command after last orders: 421 is its final reply.
    fn too_late(&mut self, queued: Queued, reason: EndReason) {
        self.verb = match queued {
            Queued::Command(command) => Some(dispatch::verb_of(&command)),
            Queued::Fault(fault) => fault.verb(),
            Queued::TooLong => None,
        };
        self.answer(Reply::End(reason));
        self.close(CloseCause::Ended(reason));
    }

    /// TLS is up: the greeting now if it came first; else everything said in clear text is forgotten.
    fn secure(&mut self) {
        if self.stage != Stage::Handshake {
            return;
        }
        self.stage = Stage::Secured;
        self.reset();
        if self.mode == Mode::Implicit {
            self.push(Action::Reply(Reply::Ok(Success::Greeting)));
        }
    }

    /// Back to the state right after the handshake. Counted faults stay: REIN must not buy new attempts.
    fn reset(&mut self) {
        self.login = Login::Nobody;
        self.settings = Settings::new(self.private_from_start);
        self.intake.set_cap(self.rules.line_before_login);
    }

    /// 421 and close. The reply is the final one of the command that runs, if any. Within a handshake nothing can be said.
    fn end_now(&mut self, reason: EndReason) {
        self.end_with(reason, Reply::End(reason));
    }

    fn end_with(&mut self, reason: EndReason, reply: Reply) {
        if self.transferring() {
            self.push(Action::AbortTransfer);
        }
        // The reply before has said it. A 421 behind it would be taken for the answer to the client's next command, see `EndReason::TicketsSpent`.
        if self.stage != Stage::Handshake && (self.pending.is_some() || reason != EndReason::TicketsSpent) {
            if self.pending.is_some() { self.answer(reply) } else { self.push(Action::Reply(reply)) }
        }
        self.close(CloseCause::Ended(reason));
    }

    fn close(&mut self, cause: CloseCause) {
        self.stage = Stage::Closed;
        self.pending = None;
        self.intake.clear();
        self.push(Action::Close(cause));
    }

    /// The final reply of the current command.
    fn answer(&mut self, reply: Reply) {
        let code = reply.code();
        self.push(Action::Reply(reply));
        let verb = self.verb.take();
        self.push(Action::Answered { verb, code });
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.answer(Reply::No(refusal));
    }

    fn succeed(&mut self, success: Success) {
        self.answer(Reply::Ok(success));
    }

    /// Starts a job; `pending` says what its outcome means.
    fn run(&mut self, job: Job, pending: Pending) {
        self.pending = Some(pending);
        self.push(Action::Run(job));
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Where a path leads from the working directory; a path that cannot be is answered.
    fn resolve(&mut self, wire: &WirePath) -> Option<VirtualPath> {
        let path = self.settings.cwd.resolve(wire);
        if path.is_err() {
            self.refuse(Refusal::BadPath);
        }
        path.ok()
    }

    /// Whether the user has a permission; refused with 550 if not, before anything else happens.
    fn permitted(&mut self, permission: impl Fn(&io::Permissions) -> bool) -> bool {
        let granted = self.account().is_some_and(|account| permission(&account.permissions));
        if !granted {
            self.refuse(Refusal::PermissionDenied);
        }
        granted
    }

    /// The protocol family of the control connection.
    fn family(&self) -> Family {
        Family::of(self.rules.peer)
    }

    fn drop_data_port(&mut self) {
        if std::mem::take(&mut self.settings.data_port) {
            self.push(Action::DropDataPort);
        }
    }
}
