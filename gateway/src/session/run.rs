//! The loop of a session: what the machine wants is done, what happens is told to the machine.
//!
//! Gets: control bytes, messages, steps of the work, deadlines. Gives: the reason it ended.
//! Never: decides about FTP (the machine does), waits without a deadline.

mod ending;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ftps_proto::machine::Machine;
use ftps_proto::machine::io::{Action, CloseCause, DataRefusal, EndReason, Input, Job, Outcome, Transfer, TransferEnd};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::control::{Control, Turn};
use super::digest::Tap;
use super::login::Admittance;
use super::paced::Speed;
use super::record::Record;
use super::said::{answered, note};
use super::transfer::{Opened, Terms};
use super::work::{Brought, Done, Step, Work};
use super::{Carried, Ended, digest, files, listing, login, parting, transfer};
use crate::data::channel::Channel;
use crate::data::clients::Client;
use crate::data::stream::DataStream;
use crate::data::waits::Member;
use crate::live::Message;
use crate::observe::event::{CloseReason, Limit};
use crate::observe::{Event, Subject};

/// A secured connection.
pub struct Session {
    control: Control<TlsStream<TcpStream>>,
    machine: Machine,
    carried: Carried,
    channel: Channel,
    work: Work,
    /// What the login brought; `None` before it.
    account: Option<Box<Admittance>>,
    /// The running transfer's record.
    record: Option<Box<Record>>,
    /// Of the control connection's ClientHello.
    fingerprint: [u8; 32],
    /// Grows with every read of the control connection.
    spoken: Arc<AtomicU64>,
    /// When the time for the login began: with the connection, or with `REIN`.
    nameless: Instant,
    /// When the last command came or the last job ended.
    active: Instant,
    /// When the command that is being answered came.
    asked: Instant,
    /// Its client has no ticket left: it ends with the next reply.
    parting: bool,
    /// Whether `limits.session_max` was said already.
    aged: bool,
    /// Why it ends, from the moment that is certain.
    ending: Option<CloseReason>,
}

enum Happened {
    Turn(Turn),
    Message(Message),
    Step(Step),
    Deadline(Deadline),
}

#[derive(Clone, Copy)]
enum Deadline {
    Login,
    Idle,
    Write,
    Age,
}

impl Session {
    /// A session whose handshake is done.
    pub(super) fn new(control: Control<TlsStream<TcpStream>>, machine: Machine, carried: Carried, fingerprint: [u8; 32]) -> Self {
        let channel = carried.channel(fingerprint);
        let now = Instant::now();
        let nameless = Instant::from_std(carried.identity.since);
        let (work, spoken) = (Work::Idle, Arc::default());
        Self {
            control,
            machine,
            carried,
            channel,
            work,
            account: None,
            record: None,
            fingerprint,
            spoken,
            nameless,
            active: now,
            asked: now,
            parting: false,
            aged: false,
            ending: None,
        }
    }

    /// Serves until the end.
    pub async fn run(mut self: Box<Self>) -> Ended {
        loop {
            if let Some(cause) = self.obey() {
                self.ending.get_or_insert(CloseReason::Machine(cause));
                self.stop_work();
                let patience = self.carried.settings.limits.write_timeout;
                if cause == CloseCause::Ended(EndReason::TicketsSpent) {
                    parting::part(&mut self.control, patience, &mut self.channel).await;
                } else {
                    self.control.close(patience).await;
                }
                return CloseReason::Machine(cause);
            }
            let happened = self.wait().await;
            // What runs still ends with this value.
            if let Some(reason) = self.tell(happened) {
                self.ending.get_or_insert(reason);
                if matches!(reason, CloseReason::ClientClosed) {
                    // PHP warns its script of a server that does not answer close_notify with its own.
                    self.stop_work();
                    self.control.close(self.carried.settings.limits.write_timeout).await;
                }
                return reason;
            }
        }
    }

    /// Does all that the machine wants now.
    fn obey(&mut self) -> Option<CloseCause> {
        while let Some(action) = self.control.next(&mut self.machine) {
            match action {
                Action::Reply(reply) => {
                    note(&self.carried, &reply);
                    self.control.queue(&reply);
                }
                Action::Answered { verb, code } => {
                    verb.into_iter().for_each(|verb| self.channel.note_command(verb));
                    let user = self.account.as_ref().map(|account| account.user.name.as_str());
                    answered(&self.carried, user, verb, code, self.asked.elapsed());
                }
                Action::Run(job) => self.begin(job),
                Action::AbortTransfer => self.abort(),
                Action::AbortDigest => self.machine.input(digest::stop(&mut self.work)),
                Action::DropDataPort => self.channel.close(),
                Action::LoggedOut => self.log_out(),
                Action::Close(cause) => return Some(cause),
                // TLS stands; the machine's tests hold that it is not asked for twice.
                Action::StartTls => {}
            }
        }
        None
    }

    async fn wait(&mut self) -> Happened {
        let (at, deadline) = self.deadline();
        let Self { control, machine, carried, channel, work, .. } = self;
        let read = machine.wants_input() && !control.backlogged();
        tokio::select! {
            step = work.step(channel) => Happened::Step(step),
            turn = control.turn(read) => Happened::Turn(turn),
            message = carried.inbox.recv() => Happened::Message(message),
            () = sleep_until(at) => Happened::Deadline(deadline),
        }
    }

    /// Tells the machine what happened; a reason when the connection is gone without it.
    fn tell(&mut self, happened: Happened) -> Option<Ended> {
        match happened {
            Happened::Turn(Turn::Read(bytes)) if bytes.is_empty() => return Some(CloseReason::ClientClosed),
            Happened::Turn(Turn::Read(bytes)) => {
                self.active = Instant::now();
                self.asked = self.active;
                self.spoken.fetch_add(1, Ordering::Relaxed);
                self.machine.input(Input::Bytes(&bytes));
            }
            Happened::Turn(Turn::Flushed) => {}
            Happened::Turn(Turn::Failed) => return Some(CloseReason::ConnectionLost),
            Happened::Message(Message::End(reason)) => {
                self.ending.get_or_insert(CloseReason::Machine(CloseCause::Ended(reason)));
                self.machine.input(if reason == EndReason::Banned { self.carried.banned() } else { Input::End(reason) });
            }
            // A draining node says it again each second.
            Happened::Message(Message::EndWhenIdle(EndReason::Shutdown))
                if self.account.is_some() && self.active.elapsed() < self.carried.settings.drain_idle => {}
            Happened::Message(Message::EndWhenIdle(reason)) => self.machine.input(Input::EndWhenIdle(reason)),
            Happened::Message(Message::LastOrders(reason)) => self.machine.input(Input::EndAtCommand(reason)),
            Happened::Message(Message::Data(arrival)) => self.channel.arrive(*arrival),
            Happened::Step(step) => self.advance(step),
            Happened::Deadline(deadline) => return self.expired(deadline),
        }
        None
    }

    fn begin(&mut self, job: Job) {
        self.work = match job {
            Job::Login { user, password, host: _ } => login::start(&self.carried, self.fingerprint, user, password),
            Job::CheckHost(name) => login::host(&self.carried, &name),
            Job::Passive { family, pasv } => transfer::passive(&mut self.channel, &self.carried, family, pasv),
            Job::Active(address) => {
                self.channel.connect_to(address);
                Work::Job(Box::pin(async { Outcome::Ok.into() }))
            }
            Job::Who => listing::who(&self.carried, self.account.as_deref()),
            Job::Transfer(wanted) => self.open(wanted),
            Job::Digest { path, algorithm, range } => digest::start(&self.carried, self.account.as_deref(), path, algorithm, range),
            job => files::start(job, &self.carried, self.account.as_deref()),
        };
    }

    fn open(&mut self, wanted: Transfer) -> Work {
        let Some(account) = &self.account else { return files::refused() };
        self.record = Some(Box::new(Record::new(&wanted)));
        transfer::open(wanted, account)
    }

    /// The work made a step.
    fn advance(&mut self, step: Step) {
        self.active = Instant::now();
        match step {
            Step::Done(done) => {
                let outcome = self.bring(done);
                self.machine.input(Input::Done(outcome));
            }
            Step::Opened(Ok(opened)) => {
                self.machine.input(Input::Opened(opened.opening()));
                self.started(&opened);
                self.work = Work::Connecting(opened);
            }
            Step::Opened(Err(error)) => self.ended(TransferEnd::Failed(error)),
            Step::Connected(connected) => {
                let (opened, stream) = *connected;
                self.pump(opened, stream);
            }
            // The channel has said it.
            Step::Refused(refusal) => {
                self.part_if(refusal == DataRefusal::SessionReuseRequired && self.channel.is_spent());
                self.ended(TransferEnd::NoConnection(refusal));
            }
            Step::Pumped(end) => {
                self.part_if(self.channel.runs_dry());
                self.ended(end);
            }
        }
    }

    fn part_if(&mut self, spent: bool) {
        if spent && !self.parting {
            self.parting = true;
            parting::announce(&mut self.machine, &self.carried);
        }
    }

    /// Takes what a job brought; the outcome for the machine.
    fn bring(&mut self, done: Done) -> Outcome {
        match done.brought {
            Brought::Nothing => {}
            Brought::Admittance(admittance, client, member) => self.log_in(admittance, &client, member),
            Brought::Wait(ip, wait) => return Outcome::Passive(SocketAddr::new(ip, self.channel.wait_on(wait))),
        }
        done.outcome
    }

    fn pump(&mut self, opened: Opened, stream: DataStream) {
        let (Some(record), Some(account)) = (&mut self.record, &self.account) else { return };
        record.proven = stream.proven();
        let policy = account.user.upload_end.unwrap_or(self.carried.settings.upload_end);
        let terms = Terms { policy, ended_cleanly_before: self.channel.has_ended_cleanly(), spoken: self.spoken.clone() };
        let speed = Speed::new(&self.carried, account.permit.pace());
        let tap = opened.moves().and_then(|moves| Tap::of(&self.carried, account, record, moves));
        self.work = transfer::pump(opened, stream, self.carried.settings.limits.stall_timeout, record.progress.clone(), terms, (speed, tap));
    }

    fn log_in(&mut self, admittance: Box<Admittance>, client: &Client, member: Member) {
        self.carried.permit.logged_in();
        self.carried.membership.set_user(Some((admittance.user.name.as_str(), admittance.user.class.as_deref())));
        let policy = admittance.user.tls_reuse.unwrap_or(self.carried.settings.tls_reuse);
        self.channel.log_in(client, member, policy);
        self.carried.keys.claim();
        // The users may have been replaced since the password was checked; from here on "end those of user …" finds this session.
        if !self.carried.house.login.may_stay(&admittance.user) {
            self.machine.input(Input::End(EndReason::UserChanged));
        } else if self.carried.house.bans.of_session(self.carried.membership.entry()).is_some() {
            self.machine.input(self.carried.banned());
        }
        self.account = Some(admittance);
    }

    /// `REIN`: whoever has logged in once gets the whole time for another login.
    fn log_out(&mut self) {
        self.carried.permit.logged_out();
        self.carried.membership.set_user(None);
        self.channel.log_out();
        self.account = None;
        self.nameless = Instant::now();
    }

    /// The next deadline and what it is about.
    fn deadline(&self) -> (Instant, Deadline) {
        let limits = &self.carried.settings.limits;
        let since = Instant::from_std(self.carried.identity.since);
        let mut next = if self.account.is_none() {
            (self.nameless + limits.login_timeout, Deadline::Login)
        } else if self.machine.is_idle() {
            (self.active + limits.idle_timeout, Deadline::Idle)
        } else {
            // A job or transfer runs and has deadlines of its own.
            (Instant::now() + FAR, Deadline::Idle)
        };
        if let Some(waiting) = self.control.waiting_since() {
            next = earlier(next, (waiting + limits.write_timeout, Deadline::Write));
        }
        if !self.aged {
            next = earlier(next, (since + limits.session_max, Deadline::Age));
        }
        next
    }

    fn expired(&mut self, deadline: Deadline) -> Option<Ended> {
        let limit = match deadline {
            Deadline::Login => Limit::LoginTimeout,
            Deadline::Idle => Limit::IdleTimeout,
            Deadline::Write => Limit::WriteTimeout,
            Deadline::Age => Limit::SessionMax,
        };
        match deadline {
            Deadline::Login => self.machine.input(Input::End(EndReason::LoginTimeout)),
            Deadline::Idle if !self.machine.is_idle() => return None,
            Deadline::Idle => self.machine.input(Input::End(EndReason::IdleTimeout)),
            Deadline::Age => {
                self.aged = true;
                self.machine.input(Input::EndWhenIdle(EndReason::SessionMax));
            }
            Deadline::Write => {}
        }
        self.event(&Event::LimitHit { limit });
        matches!(deadline, Deadline::Write).then_some(CloseReason::WriteTimeout)
    }

    fn event(&self, event: &Event<'_>) {
        let user = self.account.as_ref().map(|account| account.user.name.as_str());
        self.carried.house.observer.event(Subject { user, ..self.carried.subject() }, event);
    }
}

fn earlier(one: (Instant, Deadline), other: (Instant, Deadline)) -> (Instant, Deadline) {
    if other.0 < one.0 { other } else { one }
}

/// Later than any other deadline.
const FAR: Duration = Duration::from_secs(3600);
