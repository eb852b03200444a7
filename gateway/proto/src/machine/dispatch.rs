//! From a command to the function that serves it, and what stands before: TLS first, then login.
//!
//! Gets: one parsed command, or why a line is none. Gives: a call, or the refusal.
//! Never: decides about arguments or permissions; that is next to the command.

use crate::command::Command;
use crate::digest::{Range, RangeFault, is_digest};
use crate::parse::ParseFault;
use crate::path::VirtualPath;
use crate::reply::{Refusal, Reply, Success};
use crate::verbs::{Access, Verb};

use super::io::{CloseCause, ListForm};
use super::transfer::Upload;
use super::{Machine, Stage};

/// What the command before has prepared for this one alone.
struct Prepared {
    /// REST.
    restart: u64,
    /// RNFR.
    rename_from: Option<VirtualPath>,
    /// RANG.
    octets: Option<Range>,
}

impl Machine {
    /// Runs a command, unless it comes too early.
    pub(super) fn command(&mut self, command: Command) {
        let verb = verb_of(&command);
        self.verb = Some(verb);
        let prepared = self.prepared();
        if let Some(refusal) = self.too_early(verb) {
            return self.refuse(refusal);
        }
        // RFC 3659 §5.3 wants the transfer right after REST, but Java's client sends REST, EPSV, RETR, and others set up even more in between. An upload that
        // is meant to go on must not replace the file.
        if matches!(verb, Verb::Pasv | Verb::Epsv | Verb::Port | Verb::Eprt | Verb::Type | Verb::Mode | Verb::Stru | Verb::Allo) {
            self.settings.restart = prepared.restart;
        }
        // Between RANG and HASH the algorithm may still be chosen.
        if matches!(verb, Verb::Opts | Verb::Type) {
            self.settings.octets = prepared.octets;
        }
        if self.range_with_transfer(verb, prepared.octets) {
            return;
        }
        if self.unoffered(verb) {
            return self.refuse(Refusal::UnknownCommand);
        }
        self.dispatch(command, prepared);
    }

    /// Answers a line that is no command. Who is not logged in learns nothing about arguments.
    pub(super) fn fault(&mut self, fault: ParseFault) {
        self.verb = fault.verb();
        self.prepared();
        if let Some(refusal) = fault.verb().and_then(|verb| self.too_early(verb)) {
            return self.refuse(refusal);
        }
        if let Some(verb) = fault.verb().filter(|verb| is_digest(*verb)) {
            return self.digest_fault(verb, fault);
        }
        match fault {
            // A browser or mailer that was led here (ALPACA): not one word to it.
            ParseFault::Unknown { foreign: true } => self.close(CloseCause::ForeignProtocol),
            ParseFault::Unknown { foreign: false } => self.unknown(),
            ParseFault::Missing(_) => self.refuse(Refusal::MissingArgument),
            ParseFault::Syntax(_) | ParseFault::Words(_) | ParseFault::Range(..) => self.refuse(Refusal::BadArgument),
            ParseFault::ControlBytes(_) => self.refuse(Refusal::ControlBytes),
            ParseFault::Unsupported(_) => self.refuse(Refusal::UnsupportedArgument),
        }
    }

    /// Answers an over-long line; the third one closes.
    pub(super) fn too_long(&mut self) {
        self.verb = None;
        self.prepared();
        self.long_lines += 1;
        self.refuse(Refusal::LineTooLong);
        if self.long_lines >= FAULTS {
            self.close(CloseCause::TooManyErrors);
        }
    }

    /// In the words of ProFTPD, when digests are on.
    fn digest_fault(&mut self, verb: Verb, fault: ParseFault) {
        if self.unoffered(verb) {
            return self.refuse(Refusal::UnknownCommand);
        }
        match fault {
            ParseFault::Missing(_) | ParseFault::Words(_) => self.refuse(Refusal::ParameterCount),
            ParseFault::Range(_, RangeFault::Start) => self.answer(Reply::BadStart(verb)),
            ParseFault::Range(_, RangeFault::End) => self.answer(Reply::BadEnd(verb)),
            ParseFault::ControlBytes(_) => self.refuse(Refusal::ControlBytes),
            ParseFault::Unknown { .. } | ParseFault::Syntax(_) | ParseFault::Unsupported(_) => self.refuse(Refusal::BadArgument),
        }
    }

    fn unknown(&mut self) {
        self.refuse(Refusal::UnknownCommand);
        if !self.is_logged_in() {
            self.unknown_commands += 1;
            if self.unknown_commands >= FAULTS {
                self.close(CloseCause::TooManyErrors);
            }
        }
    }

    /// Takes what holds for one command only: whatever that command is, it is the one.
    fn prepared(&mut self) -> Prepared {
        Prepared { restart: std::mem::take(&mut self.settings.restart), rename_from: self.settings.rename_from.take(), octets: self.settings.octets.take() }
    }

    /// Why a verb is not served yet. 530 is the one refusal that RFC 959 §5.4 has for every command and RFC 4217 §4.2 leaves to us; 534 and 536 answer
    /// PROT, 522 a data connection's TLS. PBSZ and PROT have 503 of their own (RFC 2228 §3).
    fn too_early(&self, verb: Verb) -> Option<Refusal> {
        match (verb.access(), self.stage) {
            (Access::Clear, _) | (Access::Secured, Stage::Secured) => None,
            (_, Stage::Secured) => (!self.is_logged_in()).then_some(Refusal::LoginFirst),
            _ if matches!(verb, Verb::Pbsz | Verb::Prot) => Some(Refusal::NotBeforeTls),
            _ => Some(Refusal::TlsFirst),
        }
    }

    fn dispatch(&mut self, command: Command, prepared: Prepared) {
        match command {
            Command::User(name) => self.user(name),
            Command::Pass(password) => self.password(password),
            Command::Acct => self.succeed(Success::AccountSuperfluous),
            Command::Quit => self.quit(),
            Command::Rein => self.reinitialize(),
            Command::Auth(mechanism) => self.auth(mechanism),
            Command::Pbsz => self.buffer_size(),
            Command::Prot(level) => self.protection(level),
            Command::Ccc => self.refuse(Refusal::Ccc),
            Command::Host(name) => self.host(name),
            Command::Feat => self.features(),
            Command::Opts(options) => self.options(options),
            Command::Help(topic) => self.help(topic),
            Command::Syst => self.succeed(Success::System),
            Command::Stat(path) => self.status(path.as_ref()),
            Command::Noop => self.succeed(Success::Noop),
            Command::Clnt => self.succeed(Success::Noted),
            Command::Csid => self.succeed(Success::ClientId),
            Command::Lang(tag) => self.language(tag),
            Command::Type(kind) => self.set_type(kind),
            Command::Mode(stream) => self.supported(stream, Success::ModeStream),
            Command::Stru(file) => self.supported(file, Success::StructureFile),
            Command::Allo(size) => self.allocate(size),
            Command::Pwd => self.answer(Reply::WorkingDirectory(self.settings.cwd.clone())),
            Command::Cwd(path) => self.change_directory(Some(&path)),
            Command::Cdup => self.change_directory(None),
            Command::Mkd(path) => self.make_directory(&path),
            Command::Rmd(path) => self.remove_directory(&path),
            Command::Dele(path) => self.delete(&path),
            Command::Rnfr(path) => self.rename_source(&path),
            Command::Rnto(path) => self.rename(prepared.rename_from, &path),
            Command::Size(path) => self.size(&path),
            Command::Mdtm(path) => self.modified(&path),
            Command::Mfmt { time, path, mdtm } => self.set_modified(time, &path, mdtm.as_ref()),
            Command::Mff { facts, path } => self.set_facts(facts, &path),
            Command::List(arguments) => self.list(ListForm::Long, arguments),
            Command::Nlst(arguments) => self.list(ListForm::Names, arguments),
            Command::Mlsd(path) => self.list_facts(path),
            Command::Mlst(path) => self.facts(path.as_ref()),
            Command::Pasv => self.passive(),
            Command::Epsv(form) => self.extended_passive(form),
            Command::Port(address) => self.active(Ok(address)),
            Command::Eprt(address) => self.active(address),
            Command::Retr(path) => self.retrieve(&path, prepared.restart),
            Command::Stor(path) => self.store(Some(&path), Upload::Store, prepared.restart),
            Command::Appe(path) => self.store(Some(&path), Upload::Append, prepared.restart),
            Command::Stou(hint) => self.store(hint.as_ref(), Upload::Unique, prepared.restart),
            Command::Rest(offset) => self.restart_at(offset),
            Command::Abor => self.abort_nothing(),
            Command::Avbl(path) => self.available(path.as_ref()),
            Command::Site(site) => self.site(site),
            Command::Checksum { verb, path, range } => self.checksum(verb, path, range),
            Command::Md5(name) => self.md5(name),
            Command::Hash(name) => self.hash(name, prepared.octets),
            Command::Rang(range) => self.octet_range(range),
        }
    }
}

pub(super) fn verb_of(command: &Command) -> Verb {
    match command {
        Command::User(_) => Verb::User,
        Command::Pass(_) => Verb::Pass,
        Command::Acct => Verb::Acct,
        Command::Quit => Verb::Quit,
        Command::Rein => Verb::Rein,
        Command::Auth(_) => Verb::Auth,
        Command::Pbsz => Verb::Pbsz,
        Command::Prot(_) => Verb::Prot,
        Command::Ccc => Verb::Ccc,
        Command::Host(_) => Verb::Host,
        Command::Feat => Verb::Feat,
        Command::Opts(_) => Verb::Opts,
        Command::Help(_) => Verb::Help,
        Command::Syst => Verb::Syst,
        Command::Stat(_) => Verb::Stat,
        Command::Noop => Verb::Noop,
        Command::Clnt => Verb::Clnt,
        Command::Csid => Verb::Csid,
        Command::Lang(_) => Verb::Lang,
        Command::Type(_) => Verb::Type,
        Command::Mode(_) => Verb::Mode,
        Command::Stru(_) => Verb::Stru,
        Command::Allo(_) => Verb::Allo,
        Command::Pwd => Verb::Pwd,
        Command::Cwd(_) => Verb::Cwd,
        Command::Cdup => Verb::Cdup,
        Command::Mkd(_) => Verb::Mkd,
        Command::Rmd(_) => Verb::Rmd,
        Command::Dele(_) => Verb::Dele,
        Command::Rnfr(_) => Verb::Rnfr,
        Command::Rnto(_) => Verb::Rnto,
        Command::Size(_) => Verb::Size,
        Command::Mfmt { mdtm: Some(_), .. } | Command::Mdtm(_) => Verb::Mdtm,
        Command::Mfmt { mdtm: None, .. } => Verb::Mfmt,
        Command::Mff { .. } => Verb::Mff,
        Command::List(_) => Verb::List,
        Command::Nlst(_) => Verb::Nlst,
        Command::Mlsd(_) => Verb::Mlsd,
        Command::Mlst(_) => Verb::Mlst,
        Command::Pasv => Verb::Pasv,
        Command::Epsv(_) => Verb::Epsv,
        Command::Port(_) => Verb::Port,
        Command::Eprt(_) => Verb::Eprt,
        Command::Retr(_) => Verb::Retr,
        Command::Stor(_) => Verb::Stor,
        Command::Appe(_) => Verb::Appe,
        Command::Stou(_) => Verb::Stou,
        Command::Rest(_) => Verb::Rest,
        Command::Abor => Verb::Abor,
        Command::Avbl(_) => Verb::Avbl,
        Command::Site(_) => Verb::Site,
        Command::Checksum { verb, .. } => *verb,
        Command::Md5(_) => Verb::Md5,
        Command::Hash(_) => Verb::Hash,
        Command::Rang(_) => Verb::Rang,
    }
}

/// Unknown commands before login, and over-long lines, until the session is closed.
const FAULTS: u32 = 3;
