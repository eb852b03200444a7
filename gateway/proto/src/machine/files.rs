//! Names and facts of files: CWD to RNTO, SIZE, MDTM, MFMT, MFF, MLST, AVBL.
//!
//! Gets: the commands with paths as the client wrote them. Gives: jobs with virtual paths.
//! Never: starts a job that the account's permissions do not cover.

use crate::command::{SetFact, TransferType};
use crate::path::{VirtualPath, WirePath};
use crate::reply::{Refusal, Reply, Success};
use crate::time::Timestamp;

use super::Machine;
use super::io::{Job, Permissions};
use super::outcome::Pending;

impl Machine {
    /// CWD, or CDUP without a path.
    pub(super) fn change_directory(&mut self, path: Option<&WirePath>) {
        if !self.permitted(|may| may.list) {
            return;
        }
        let target = match path {
            Some(wire) => self.resolve(wire),
            None => Some(self.settings.cwd.parent()),
        };
        if let Some(target) = target {
            self.run(Job::CheckDirectory(target.clone()), Pending::Directory(target));
        }
    }

    pub(super) fn make_directory(&mut self, wire: &WirePath) {
        if let Some(path) = self.allowed(wire, |may| may.mkdir) {
            self.run(Job::MakeDirectory(path.clone()), Pending::Reply(Reply::DirectoryMade(path)));
        }
    }

    pub(super) fn remove_directory(&mut self, wire: &WirePath) {
        if let Some(path) = self.below_root(wire, |may| may.rmdir) {
            self.run(Job::RemoveDirectory(path), Pending::Reply(Reply::Ok(Success::DirectoryRemoved)));
        }
    }

    pub(super) fn delete(&mut self, wire: &WirePath) {
        if let Some(path) = self.below_root(wire, |may| may.delete) {
            self.run(Job::Delete(path), Pending::Reply(Reply::Ok(Success::Deleted)));
        }
    }

    pub(super) fn rename_source(&mut self, wire: &WirePath) {
        if let Some(path) = self.below_root(wire, |may| may.rename) {
            self.run(Job::CheckExists(path.clone()), Pending::RenameSource(path));
        }
    }

    /// RNTO must follow RNFR at once (RFC 959 §4.1.3).
    pub(super) fn rename(&mut self, from: Option<VirtualPath>, wire: &WirePath) {
        let Some(from) = from else { return self.refuse(Refusal::RnfrFirst) };
        if let Some(to) = self.below_root(wire, |may| may.rename) {
            self.run(Job::Rename { from, to }, Pending::Reply(Reply::Ok(Success::Renamed)));
        }
    }

    /// The size as it would be sent (RFC 3659 §4): in TYPE A that takes reading the file.
    pub(super) fn size(&mut self, wire: &WirePath) {
        let Some(path) = self.allowed(wire, |may| may.read) else { return };
        if self.settings.kind == TransferType::Ascii {
            self.run(Job::AsciiSize(path), Pending::Number);
        } else {
            self.run(Job::Stat(path), Pending::Size);
        }
    }

    pub(super) fn modified(&mut self, wire: &WirePath) {
        if let Some(path) = self.allowed(wire, |may| may.read) {
            self.run(Job::Stat(path), Pending::Modified);
        }
    }

    /// MFMT, and MDTM with a time. `MDTM 20200101000000 x` may also ask for a file of that whole name: it is looked for first, and answered if it is there.
    pub(super) fn set_modified(&mut self, time: Timestamp, wire: &WirePath, mdtm: Option<&WirePath>) {
        let Some(raw) = mdtm else {
            if let Some(path) = self.allowed(wire, |may| may.attributes) {
                let reply = Reply::FactsSet(vec![SetFact::Modify(time)], path.clone());
                self.run(Job::SetModified { path, time }, Pending::Reply(reply));
            }
            return;
        };
        if !self.permitted(|may| may.read || may.attributes) {
            return;
        }
        let (Some(raw), Some(path)) = (self.settings.cwd.resolve(raw).ok(), self.settings.cwd.resolve(wire).ok()) else {
            return self.refuse(Refusal::BadPath);
        };
        self.run(Job::Stat(raw), Pending::ModifiedOrSet { time, path });
    }

    /// MDTM with a time whose whole argument is no file's name.
    pub(super) fn set_modified_now(&mut self, time: Timestamp, path: VirtualPath) {
        if self.permitted(|may| may.attributes) {
            self.run(Job::SetModified { path, time }, Pending::Reply(Reply::Ok(Success::ModifiedSet)));
        }
    }

    pub(super) fn set_facts(&mut self, facts: Vec<SetFact>, wire: &WirePath) {
        if let Some(path) = self.allowed(wire, |may| may.attributes) {
            let reply = Reply::FactsSet(facts.clone(), path.clone());
            self.run(Job::SetFacts { path, facts }, Pending::Reply(reply));
        }
    }

    /// MLST; without a path: the working directory.
    pub(super) fn facts(&mut self, wire: Option<&WirePath>) {
        if let Some(path) = self.here_or(wire, |may| may.list) {
            self.run(Job::Stat(path.clone()), Pending::Facts(path));
        }
    }

    /// Free space matters to those who may use it.
    pub(super) fn available(&mut self, wire: Option<&WirePath>) {
        if let Some(path) = self.here_or(wire, |may| may.write) {
            self.run(Job::Available(path), Pending::Number);
        }
    }

    /// The path, if the user has the permission and it is one; answered otherwise.
    pub(super) fn allowed(&mut self, wire: &WirePath, permission: impl Fn(&Permissions) -> bool) -> Option<VirtualPath> {
        if self.permitted(permission) { self.resolve(wire) } else { None }
    }

    fn here_or(&mut self, wire: Option<&WirePath>, permission: impl Fn(&Permissions) -> bool) -> Option<VirtualPath> {
        match wire {
            Some(wire) => self.allowed(wire, permission),
            None => self.permitted(permission).then(|| self.settings.cwd.clone()),
        }
    }

    /// As [`Machine::allowed`], and never the user's root: it can be neither removed nor renamed.
    fn below_root(&mut self, wire: &WirePath, permission: impl Fn(&Permissions) -> bool) -> Option<VirtualPath> {
        let path = self.allowed(wire, permission)?;
        if path.is_root() {
            self.refuse(Refusal::PermissionDenied);
            return None;
        }
        Some(path)
    }
}
