//! From the outcome of a job to the final reply of its command.
//!
//! Gets: what the job was for ([`Pending`]) and how it ended. Gives: the reply and what changes by it.
//! Never: panics at an outcome that does not fit its job; the client gets 451.

use std::net::SocketAddr;

use crate::command::{HostName, UserName};
use crate::listing::{Entry, EntryKind, write_facts};
use crate::path::VirtualPath;
use crate::reply::{Reply, Success};
use crate::time::Timestamp;

use super::Machine;
use super::digests::Asked;
use super::io::{Action, FileError, Outcome, PassiveError, fold};

/// The command that waits for a job.
#[derive(Debug)]
pub(super) enum Pending {
    /// PASS.
    Password,
    /// USER, with a client certificate.
    Certificate(UserName),
    /// HOST.
    Host(HostName),
    /// CWD, CDUP.
    Directory(VirtualPath),
    /// RNFR.
    RenameSource(VirtualPath),
    /// Anything that is answered so when it went well.
    Reply(Reply),
    /// SIZE in TYPE I.
    Size,
    /// MDTM.
    Modified,
    /// MDTM with a time.
    ModifiedOrSet { time: Timestamp, path: VirtualPath },
    /// SIZE in TYPE A, AVBL.
    Number,
    /// MLST.
    Facts(VirtualPath),
    /// STAT with a path.
    Listing,
    /// SITE WHO.
    Who,
    /// PASV, or else EPSV.
    Passive { pasv: bool },
    /// PORT, EPRT.
    Active,
    /// XCRC to HASH.
    Digest(Asked),
    /// RETR to MLSD. `opened`: 150 is out; `aborted`: the session was told to stop; `ascii`: its size is not known.
    Transfer { opened: bool, aborted: bool, ascii: bool },
}

impl Machine {
    pub(super) fn finish(&mut self, outcome: Outcome) {
        let Some(pending) = self.pending.take() else { return };
        match (pending, outcome) {
            (Pending::Password, Outcome::Login(result)) => self.password_checked(result),
            (Pending::Certificate(name), Outcome::Login(result)) => self.certificate_checked(name, result),
            (Pending::Password | Pending::Certificate(_), Outcome::Banned(words)) => self.banned(Reply::BannedLogin(words)),
            (Pending::Host(name), outcome) => self.host_checked(name, outcome == Outcome::Ok),
            (Pending::Directory(path), Outcome::Ok) => {
                self.settings.cwd = path;
                self.succeed(Success::DirectoryChanged);
            }
            (Pending::RenameSource(path), Outcome::Ok) => {
                self.settings.rename_from = Some(path);
                self.succeed(Success::RenameReady);
            }
            (Pending::Reply(reply), Outcome::Ok) => self.answer(reply),
            (Pending::Size, Outcome::Entry(entry)) => self.of_file(&entry, |entry| Reply::Number(entry.size)),
            (Pending::Modified | Pending::ModifiedOrSet { .. }, Outcome::Entry(entry)) => self.of_file(&entry, |entry| Reply::Modified(entry.modified)),
            (Pending::ModifiedOrSet { time, path }, Outcome::Failed(FileError::NotFound)) => self.set_modified_now(time, path),
            (Pending::Number, Outcome::Size(number)) => self.answer(Reply::Number(number)),
            (Pending::Facts(path), Outcome::Entry(entry)) => self.facts_known(path, entry),
            (Pending::Listing, Outcome::Lines(lines)) => self.answer(Reply::Listing(lines)),
            (Pending::Who, Outcome::Lines(lines)) => self.answer(Reply::Who(lines)),
            (Pending::Passive { pasv }, Outcome::Passive(address)) => self.passive_known(pasv, address),
            (Pending::Passive { .. }, Outcome::PassiveFailed(error)) => self.answer(Reply::Passive(error, self.family())),
            (Pending::Active, Outcome::Ok) => {
                self.settings.data_port = true;
                self.succeed(Success::ActiveReady);
            }
            (Pending::Transfer { .. }, Outcome::Transfer(end)) => self.transfer_ended(end),
            (Pending::Digest(asked), outcome) => self.digest_ended(asked, outcome),
            (_, Outcome::Failed(error)) => self.answer(Reply::File(error)),
            // An outcome that does not fit its job is a fault of the session.
            _ => self.answer(Reply::File(FileError::Io)),
        }
    }

    /// SIZE and MDTM are about files (RFC 3659 §3, §4).
    fn of_file(&mut self, entry: &Entry, reply: impl FnOnce(&Entry) -> Reply) {
        match entry.kind {
            EntryKind::File => self.answer(reply(entry)),
            EntryKind::Directory | EntryKind::Current | EntryKind::Other => self.answer(Reply::File(FileError::NotRegular)),
        }
    }

    /// MLST shows the path as the client may use it, whatever name the job knew.
    fn facts_known(&mut self, path: VirtualPath, entry: Entry) {
        let permissions = self.account().map(|account| account.permissions).unwrap_or_default();
        let entry = Entry { name: path.as_bytes().to_vec(), ..entry };
        let mut line = Vec::new();
        if !write_facts(&entry, self.settings.facts, permissions, &mut line) {
            return self.answer(Reply::File(FileError::BadName));
        }
        line.truncate(line.trim_ascii_end().len());
        self.answer(Reply::Facts(path, line));
    }

    fn passive_known(&mut self, pasv: bool, address: SocketAddr) {
        let reply = match (pasv, fold(address)) {
            (true, SocketAddr::V4(four)) => Reply::EnteringPassive(four),
            // The session should have said so; a port that cannot be told is none.
            (true, SocketAddr::V6(_)) => {
                self.push(Action::DropDataPort);
                return self.answer(Reply::Passive(PassiveError::NoIpv4, self.family()));
            }
            (false, address) => Reply::EnteringExtendedPassive(address.port()),
        };
        self.settings.data_port = true;
        self.answer(reply);
    }
}
