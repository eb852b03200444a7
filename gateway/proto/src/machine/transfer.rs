//! Data connections and what moves over them: PASV to EPRT, RETR to MLSD, ABOR.
//!
//! Gets: the commands, [`super::io::Opening`] and ends of transfers. Gives: one transfer job at a time, `150`, the final reply.
//! Never: starts a transfer without a way for its data, or without PROT P. A transfer command, also a refused one, uses its data port up.

use std::net::SocketAddr;

use crate::addr::Family;
use crate::command::{Command, EpsvForm, ListArguments, TransferType};
use crate::path::{VirtualPath, WirePath};
use crate::reply::{Refusal, Reply, Success};
use crate::verbs::Verb;

use super::Machine;
use super::intake::Queued;
use super::io::{Action, DataRefusal, EndReason, FileError, Job, ListForm, Opening, Permissions, StoreMode, Transfer, TransferEnd, fold};
use super::outcome::Pending;

/// Which upload was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    Store,
    Append,
    Unique,
}

impl Machine {
    pub(super) fn passive(&mut self) {
        if self.settings.only_epsv {
            return self.refuse(Refusal::OnlyEpsv);
        }
        self.passive_port(None, true);
    }

    pub(super) fn extended_passive(&mut self, form: EpsvForm) {
        match form {
            EpsvForm::Any => self.passive_port(None, false),
            EpsvForm::Family(family) => self.passive_port(Some(family), false),
            EpsvForm::Unknown => self.refuse(Refusal::UnknownFamily),
            // RFC 2428 §4: from now on every other way to set up a data connection is refused.
            EpsvForm::All => {
                self.settings.only_epsv = true;
                self.succeed(Success::OnlyExtendedPassive);
            }
        }
    }

    /// PORT and EPRT; `Err` is a family that does not exist. Only to the client itself, never to a port of a service (RFC 2577 §3).
    pub(super) fn active(&mut self, address: Result<SocketAddr, ()>) {
        if self.settings.only_epsv {
            return self.refuse(Refusal::OnlyEpsv);
        }
        if !self.rules.active {
            return self.refuse(Refusal::ActiveOff);
        }
        let Ok(address) = address.map(fold) else { return self.refuse(Refusal::UnknownFamily) };
        if address.ip() != self.rules.peer.to_canonical() {
            return self.refuse(Refusal::ForeignAddress);
        }
        if address.port() < 1024 {
            return self.refuse(Refusal::PrivilegedPort);
        }
        self.drop_data_port();
        self.run(Job::Active(address), Pending::Active);
    }

    pub(super) fn retrieve(&mut self, wire: &WirePath, offset: u64) {
        if self.restart_in_text(offset) {
            return;
        }
        if let Some(path) = self.transfer_path(Some(wire), |may| may.read) {
            let kind = self.settings.kind;
            self.transfer(Transfer::Retrieve { path, offset, kind });
        }
    }

    /// STOR after REST changes a file in place, so it needs `append` besides `write`. REST goes with no other upload.
    pub(super) fn store(&mut self, wire: Option<&WirePath>, upload: Upload, restart: u64) {
        let announced = self.settings.announced.take();
        if self.restart_in_text(restart) {
            return;
        }
        let mode = match (upload, restart) {
            (Upload::Store, 0) => StoreMode::Replace,
            (Upload::Store, offset) => StoreMode::Restart(offset),
            (Upload::Append, 0) => StoreMode::Append,
            (Upload::Unique, 0) => StoreMode::Unique,
            (Upload::Append | Upload::Unique, _) => return self.refuse_transfer(Refusal::RestartNotHere),
        };
        let path = self.transfer_path(wire, |may| match mode {
            StoreMode::Replace | StoreMode::Unique => may.write,
            StoreMode::Restart(_) => may.write && may.append,
            StoreMode::Append => may.append,
        });
        if let Some(path) = path {
            let kind = self.settings.kind;
            // Clients disagree whether ALLO before APPE or REST counts the whole file, so there it says nothing.
            let announced = announced.filter(|_| matches!(mode, StoreMode::Replace | StoreMode::Unique));
            self.transfer(Transfer::Store { path, mode, kind, announced });
        }
    }

    pub(super) fn list(&mut self, form: ListForm, arguments: ListArguments) {
        let glob = arguments.path.as_ref().and_then(WirePath::split_glob);
        let (wire, pattern) = match glob {
            Some((directory, pattern)) => (Some(directory), Some(pattern)),
            None => (arguments.path.clone(), None),
        };
        if let Some(path) = self.transfer_path(wire.as_ref(), |may| may.list) {
            self.transfer(Transfer::List { path, pattern, form, arguments });
        }
    }

    pub(super) fn list_facts(&mut self, wire: Option<WirePath>) {
        if let Some(path) = self.transfer_path(wire.as_ref(), |may| may.list) {
            let form = ListForm::Facts(self.settings.facts);
            self.transfer(Transfer::List { path, pattern: None, form, arguments: ListArguments { path: wire, ..ListArguments::default() } });
        }
    }

    /// ABOR with nothing to abort: the waiting data port is given up (RFC 959 §4.1.3: the server closes the data connection).
    pub(super) fn abort_nothing(&mut self) {
        self.drop_data_port();
        self.succeed(Success::AbortDone);
    }

    /// `150`: the file or directory is open, its permissions and range are fine.
    pub(super) fn opened(&mut self, opening: Opening) {
        let Some(Pending::Transfer { opened, ascii, .. }) = &mut self.pending else { return };
        if std::mem::replace(opened, true) {
            return;
        }
        // A size in TYPE A would be wrong by every line end; clients take it at its word.
        let size = opening.size.filter(|_| !*ascii);
        let reply = opening.unique.map_or(Reply::Opening(size), Reply::OpeningUnique);
        self.push(Action::Reply(reply));
    }

    /// The transfer's final reply. An ABOR that waits gets its own later, in its turn.
    pub(super) fn transfer_ended(&mut self, end: TransferEnd) {
        match end {
            TransferEnd::Complete { .. } if self.end == Some(EndReason::TicketsSpent) => self.succeed(Success::LastTransfer),
            TransferEnd::Complete { .. } => self.succeed(Success::TransferComplete),
            // RFC 3659 §7.2.1 has a code of its own for a path that is there and no directory.
            TransferEnd::Failed(FileError::NotADirectory) if self.verb == Some(Verb::Mlsd) => self.refuse(Refusal::NotADirectory),
            TransferEnd::Failed(error) => self.answer(Reply::File(error)),
            TransferEnd::NoConnection(DataRefusal::SessionReuseRequired) if self.end == Some(EndReason::TicketsSpent) => self.refuse(Refusal::TicketsSpent),
            TransferEnd::NoConnection(refusal) => self.answer(Reply::Data(refusal)),
            TransferEnd::Broken => self.refuse(Refusal::TransferBroken),
            TransferEnd::Stalled => self.refuse(Refusal::TransferStalled),
            TransferEnd::Aborted => self.refuse(Refusal::TransferAborted),
        }
    }

    /// What is looked at while a transfer runs: ABOR anywhere in the queue, STAT at its head (RFC 959 §4.1.3). False: nothing to do.
    pub(super) fn watch_transfer(&mut self) -> bool {
        let Some(Pending::Transfer { aborted, .. }) = &mut self.pending else { return false };
        if !*aborted && self.intake.holds_abort() {
            *aborted = true;
            self.push(Action::AbortTransfer);
            return true;
        }
        if self.intake.next_if(|queued| matches!(queued, Queued::Command(Command::Stat(None)))).is_none() {
            return false;
        }
        // Not `answer`: the command without a final reply is still the transfer.
        let reply = Reply::Ok(Success::TransferRuns);
        let code = reply.code();
        self.push(Action::Reply(reply));
        self.push(Action::Answered { verb: Some(Verb::Stat), code });
        true
    }

    fn passive_port(&mut self, family: Option<Family>, pasv: bool) {
        self.drop_data_port();
        self.run(Job::Passive { family, pasv }, Pending::Passive { pasv });
    }

    /// The path of a transfer that may begin; a refusal is answered, and takes the data port with it: the client will set up a new one, and a
    /// connection that waited for this file must not carry another.
    fn transfer_path(&mut self, wire: Option<&WirePath>, permission: impl Fn(&Permissions) -> bool) -> Option<VirtualPath> {
        let cwd = &self.settings.cwd;
        let path = wire.map_or_else(|| Ok(cwd.clone()), |wire| cwd.resolve(wire));
        let granted = self.account().is_some_and(|account| permission(&account.permissions));
        let refusal = match path {
            _ if !self.settings.private => Refusal::ProtNotPrivate,
            _ if !granted => Refusal::PermissionDenied,
            Err(_) => Refusal::BadPath,
            Ok(_) if !self.settings.data_port => Refusal::NoDataPort,
            Ok(path) => return Some(path),
        };
        self.refuse_transfer(refusal);
        None
    }

    /// REST was given in TYPE I, but the transfer would be in TYPE A: refused.
    fn restart_in_text(&mut self, offset: u64) -> bool {
        let wrong = offset > 0 && self.settings.kind == TransferType::Ascii;
        if wrong {
            self.refuse_transfer(Refusal::RestartNeedsImage);
        }
        wrong
    }

    fn refuse_transfer(&mut self, refusal: Refusal) {
        self.settings.announced = None;
        self.drop_data_port();
        self.refuse(refusal);
    }

    fn transfer(&mut self, transfer: Transfer) {
        self.settings.announced = None;
        // The session has it now: the job takes the data connection along.
        self.settings.data_port = false;
        let ascii = matches!(&transfer, Transfer::Retrieve { kind: TransferType::Ascii, .. });
        self.run(Job::Transfer(transfer), Pending::Transfer { opened: false, aborted: false, ascii });
    }
}
