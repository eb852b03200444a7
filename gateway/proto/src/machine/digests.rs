//! Digests of files: XCRC to XSHA512, MD5, HASH, RANG, OPTS HASH.
//!
//! Gets: the commands and what became of [`Job::Digest`]. Gives: one digest job at a time, and the replies that ProFTPD's clients know.
//! Never: starts a job for an algorithm that is not offered, or without the permission.

use crate::command::Opts;
use crate::digest::{Algorithm, DigestFault, Form, Named, Offer, Range, is_offered};
use crate::path::{VirtualPath, WirePath};
use crate::reply::{Refusal, Reply};
use crate::verbs::Verb;

use super::Machine;
use super::io::{Action, FileError, Job, Outcome};
use super::outcome::Pending;

/// A digest that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    form: Form,
    algorithm: Algorithm,
    range: Option<Range>,
    /// The name as the client wrote it, for the reply.
    wire: WirePath,
    /// The name within quotes, if there is no file of the whole one.
    quoted: Option<WirePath>,
    /// The session was told to stop.
    aborted: bool,
}

impl Machine {
    /// What this session is offered: by the configuration, from the login on by what it says about the user.
    pub(super) fn offer(&self) -> Offer {
        self.account().map_or(self.rules.offer, |account| account.offer)
    }

    /// What HASH uses: the client's choice while it is offered.
    pub(super) fn hash_algorithm(&self) -> Option<Algorithm> {
        let offer = self.offer();
        self.settings.hash.filter(|chosen| offer.algorithms.contains(*chosen)).or(offer.first())
    }

    /// Whether a verb is one of digests that are off: as good as unknown.
    pub(super) fn unoffered(&self, verb: Verb) -> bool {
        !is_offered(verb, self.offer().algorithms)
    }

    pub(super) fn checksum(&mut self, verb: Verb, path: WirePath, range: Option<Range>) {
        if let Some(algorithm) = Algorithm::of(verb) {
            self.ask(Asked { form: Form::Checksum(verb), algorithm, range, wire: path, quoted: None, aborted: false });
        }
    }

    pub(super) fn md5(&mut self, name: Named) {
        self.ask(Asked { form: Form::Md5, algorithm: Algorithm::Md5, range: None, wire: name.raw, quoted: name.quoted, aborted: false });
    }

    /// `range`: what RANG said just before.
    pub(super) fn hash(&mut self, name: Named, range: Option<Range>) {
        let Some(algorithm) = self.hash_algorithm() else { return self.refuse(Refusal::UnknownCommand) };
        self.ask(Asked { form: Form::Hash, algorithm, range, wire: name.raw, quoted: name.quoted, aborted: false });
    }

    /// RANG is for the next HASH; `RANG 1 0` takes it back (draft-bryan-ftp-range §3).
    pub(super) fn octet_range(&mut self, range: Option<Range>) {
        self.settings.octets = range;
        self.answer(Reply::RangeSet(range));
    }

    /// `OPTS HASH …`.
    pub(super) fn hash_options(&mut self, options: &Opts) {
        let Some(current) = self.hash_algorithm() else { return self.refuse(Refusal::UnknownCommand) };
        match *options {
            Opts::Hash => self.answer(Reply::HashChosen(current)),
            Opts::ChooseHash(algorithm) if self.offer().algorithms.contains(algorithm) => {
                self.settings.hash = Some(algorithm);
                self.answer(Reply::HashChosen(algorithm));
            }
            Opts::HashWords => self.refuse(Refusal::HashWords),
            Opts::ChooseHash(_) | Opts::UnknownHash | Opts::Utf8(_) | Opts::Mlst(_) | Opts::Unknown => self.refuse(Refusal::HashUnsupported),
        }
    }

    fn ask(&mut self, asked: Asked) {
        if !self.account().is_some_and(|account| account.permissions.digest) {
            return self.no_digest(asked.form, asked.wire, DigestFault::Off);
        }
        match self.settings.cwd.resolve(&asked.wire) {
            Ok(path) => self.run_digest(path, asked),
            Err(_) => self.no_digest(asked.form, asked.wire, DigestFault::File(FileError::NotFound)),
        }
    }

    fn run_digest(&mut self, path: VirtualPath, asked: Asked) {
        let job = Job::Digest { path, algorithm: asked.algorithm, range: asked.range };
        self.run(job, Pending::Digest(asked));
    }

    /// The job ended. A name in quotes is looked for when there is none with them.
    pub(super) fn digest_ended(&mut self, asked: Asked, outcome: Outcome) {
        let Asked { form, algorithm, range, wire, quoted, aborted } = asked;
        let fault = match outcome {
            Outcome::Digest(Ok((digest, end))) => {
                let reply = match form {
                    Form::Checksum(_) => Reply::Checksum(digest),
                    Form::Md5 => Reply::Md5(wire, digest),
                    // As it was asked for: without RANG up to the size (ProFTPD), with it both ends included (the draft).
                    Form::Hash => Reply::Hash {
                        algorithm,
                        start: range.map_or(0, |range| range.start),
                        end: range.map_or(end, |range| range.end - 1),
                        digest,
                        path: wire,
                    },
                };
                return self.answer(reply);
            }
            Outcome::Digest(Err(fault)) => fault,
            Outcome::Failed(error) => DigestFault::File(error),
            _ => DigestFault::File(FileError::Io),
        };
        if fault == DigestFault::File(FileError::NotFound)
            && let Some(name) = quoted
            && let Ok(path) = self.settings.cwd.resolve(&name)
        {
            return self.run_digest(path, Asked { form, algorithm, range, wire: name, quoted: None, aborted });
        }
        self.no_digest(form, wire, fault);
    }

    fn no_digest(&mut self, form: Form, path: WirePath, fault: DigestFault) {
        self.answer(Reply::NoDigest { form, path, fault });
    }

    /// While a digest is computed, ABOR anywhere in the queue stops it. False: nothing to do.
    pub(super) fn watch_digest(&mut self) -> bool {
        let Some(Pending::Digest(asked)) = &mut self.pending else { return false };
        if asked.aborted || !self.intake.holds_abort() {
            return false;
        }
        asked.aborted = true;
        self.push(Action::AbortDigest);
        true
    }

    /// RANG is for HASH alone: a transfer that would move all the bytes is not what was asked for.
    pub(super) fn range_with_transfer(&mut self, verb: Verb, range: Option<Range>) -> bool {
        let wrong = range.is_some() && matches!(verb, Verb::Retr | Verb::Stor | Verb::Appe | Verb::Stou);
        if wrong {
            self.drop_data_port();
            self.refuse(Refusal::RangeNotHere);
        }
        wrong
    }
}
