//! What is answered from what the machine knows: FEAT, OPTS, HELP, LANG, TYPE, MODE, STRU, ALLO, REST, STAT, SITE.
//!
//! Gets: the commands. Gives: replies and settings; SITE and STAT of a path go on as jobs.
//! Never: names a version or a host.

use crate::command::{LangTag, Opts, SetFact, Site, TransferType};
use crate::path::WirePath;
use crate::reply::{Features, Refusal, Reply, Status, Success};
use crate::verbs::Verb;

use super::Machine;
use super::io::Job;
use super::outcome::Pending;

impl Machine {
    pub(super) fn features(&mut self) {
        let features = Features { active: self.rules.active, facts: self.settings.facts, digests: self.offer().algorithms, hash: self.hash_algorithm() };
        self.answer(Reply::Features(features));
    }

    /// Names are bytes, so UTF8 is neither on nor off and both are fine (RFC 2640 §3.1).
    pub(super) fn options(&mut self, options: Opts) {
        match options {
            Opts::Utf8(_) => self.succeed(Success::Utf8),
            Opts::Mlst(set) => {
                self.settings.facts = set;
                self.answer(Reply::FactsChosen(set));
            }
            Opts::Hash | Opts::ChooseHash(_) | Opts::UnknownHash | Opts::HashWords => self.hash_options(&options),
            Opts::Unknown => self.refuse(Refusal::UnknownOption),
        }
    }

    pub(super) fn help(&mut self, topic: Option<Option<Verb>>) {
        match topic {
            None => self.answer(Reply::Help(self.offer().algorithms)),
            Some(Some(verb)) if !self.unoffered(verb) => self.answer(Reply::HelpVerb(verb)),
            Some(_) => self.refuse(Refusal::NoSuchCommand),
        }
    }

    pub(super) fn language(&mut self, tag: LangTag) {
        match tag {
            LangTag::English => self.succeed(Success::Language),
            LangTag::Unknown => self.refuse(Refusal::UnsupportedArgument),
        }
    }

    pub(super) fn set_type(&mut self, kind: TransferType) {
        let success = match kind {
            TransferType::Ascii => Success::TypeAscii,
            TransferType::Image => Success::TypeImage,
            TransferType::Unknown => return self.refuse(Refusal::UnsupportedArgument),
        };
        self.settings.kind = kind;
        self.succeed(success);
    }

    /// MODE and STRU have one value each.
    pub(super) fn supported(&mut self, supported: bool, success: Success) {
        if supported { self.succeed(success) } else { self.refuse(Refusal::UnsupportedArgument) }
    }

    /// Nothing is reserved: the size is what the upload that follows has to reach.
    pub(super) fn allocate(&mut self, size: u64) {
        if self.permitted(|may| may.write) {
            self.settings.announced = Some(size);
            self.succeed(Success::Allocated);
        }
    }

    /// A position in TYPE A would be one in converted bytes, which no file has; 0 always holds.
    pub(super) fn restart_at(&mut self, offset: u64) {
        if offset > 0 && self.settings.kind == TransferType::Ascii {
            return self.refuse(Refusal::RestartNeedsImage);
        }
        self.settings.restart = offset;
        self.succeed(Success::RestartAt);
    }

    pub(super) fn status(&mut self, path: Option<&WirePath>) {
        let Some(wire) = path else {
            let user = self.account().map(|account| account.user.clone());
            return self.answer(Reply::Status(Status { user, kind: self.settings.kind, private: self.settings.private }));
        };
        if self.permitted(|may| may.list)
            && let Some(path) = self.resolve(wire)
        {
            self.run(Job::ListOnControl(path), Pending::Listing);
        }
    }

    pub(super) fn site(&mut self, site: Site) {
        match site {
            Site::Chmod { mode, path } => {
                self.change_attributes(&path, Success::ModeChanged, |path| Job::SetFacts { path, facts: vec![SetFact::UnixMode(mode)] })
            }
            Site::Utime { time, path } => self.change_attributes(&path, Success::TimeChanged, |path| Job::SetModified { path, time }),
            Site::Who => self.run(Job::Who, Pending::Who),
            Site::Help => self.answer(Reply::SiteHelp),
            Site::Unknown => self.refuse(Refusal::UnknownSite),
        }
    }

    fn change_attributes(&mut self, wire: &WirePath, success: Success, job: impl FnOnce(crate::path::VirtualPath) -> Job) {
        if self.permitted(|may| may.attributes)
            && let Some(path) = self.resolve(wire)
        {
            self.run(job(path), Pending::Reply(Reply::Ok(success)));
        }
    }
}
