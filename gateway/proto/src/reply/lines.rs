//! Replies of several lines (RFC 959 §4.2), and the facts lists of FEAT, OPTS MLST and MFF.
//!
//! Gets: lists that are checked. Gives: lines of which only the last looks like a last line.
//! Never: lets a line with control bytes out.

use crate::command::{SetFact, TransferType, UserName};
use crate::digest::{Algorithm, Algorithms, is_offered};
use crate::listing::{FactSet, write_number};
use crate::path::VirtualPath;
use crate::verbs::Verb;

/// What FEAT depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// EPRT is offered.
    pub active: bool,
    /// The facts of MLST that are on: they carry a star (RFC 3659 §7.8).
    pub facts: FactSet,
    /// Digests that may be asked for.
    pub digests: Algorithms,
    /// What HASH uses now: it carries a star.
    pub hash: Option<Algorithm>,
}

impl Features {
    pub(super) fn write(self, code: u16, out: &mut Vec<u8>) {
        open(code, b"Features:\r\n", out);
        for feature in FEATURES {
            line(out, feature);
        }
        if self.active {
            line(out, "EPRT");
        }
        self.write_digests(out);
        put(out, " ");
        self.facts.write_feature(out);
        put(out, "\r\n");
        close(code, "End", out);
    }

    /// `HASH CRC32;SHA-256*;` (draft-bryan-ftpext-hash §3.1), and a line for each verb.
    fn write_digests(self, out: &mut Vec<u8>) {
        let Some(hash) = self.hash else { return };
        put(out, " HASH ");
        for algorithm in self.digests.iter() {
            put(out, algorithm.name());
            put(out, if algorithm == hash { "*;" } else { ";" });
        }
        put(out, "\r\n");
        for verb in DIGESTS.into_iter().filter(|verb| Algorithm::of(*verb).is_some_and(|algorithm| self.digests.contains(algorithm))) {
            line(out, verb.name());
        }
    }
}

/// What STAT tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The canonical name of the account.
    pub user: Option<UserName>,
    /// TYPE.
    pub kind: TransferType,
    /// PROT P is on.
    pub private: bool,
}

impl Status {
    pub(super) fn write(&self, code: u16, out: &mut Vec<u8>) {
        open(code, b"FTPS gateway status:\r\n", out);
        if let Some(user) = &self.user {
            put(out, " Logged in as ");
            put(out, user.as_str());
            put(out, "\r\n");
        }
        line(out, if self.kind == TransferType::Ascii { "TYPE: ASCII, STRU: File, MODE: Stream" } else { "TYPE: Image, STRU: File, MODE: Stream" });
        line(
            out,
            if self.private { "Control and data connections are protected by TLS" } else { "The control connection is protected by TLS, PROT P is missing" },
        );
        line(out, "No transfer is running");
        close(code, "End of status", out);
    }
}

pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn surrounded(out: &mut Vec<u8>, before: &str, number: u64, after: &str) {
    put(out, before);
    write_number(number, out);
    put(out, after);
}

/// A continuation line; its leading space keeps it from looking like the last line (RFC 959 §4.2, RFC 2389 §3.2).
fn line(out: &mut Vec<u8>, text: &str) {
    put(out, " ");
    put(out, text);
    put(out, "\r\n");
}

pub(super) fn open(code: u16, first: &[u8], out: &mut Vec<u8>) {
    write_number(u64::from(code), out);
    out.push(b'-');
    out.extend_from_slice(first);
}

pub(super) fn close(code: u16, last: &str, out: &mut Vec<u8>) {
    write_number(u64::from(code), out);
    put(out, " ");
    put(out, last);
    put(out, "\r\n");
}

/// A multi-line reply. Lines that begin with a digit are padded (RFC 959 §4.2); lines with control bytes could forge one and are left out.
pub(super) fn many<L: AsRef<[u8]>>(code: u16, first: &str, lines: &[L], last: &str, out: &mut Vec<u8>) {
    open(code, first.as_bytes(), out);
    put(out, "\r\n");
    for text in lines.iter().map(AsRef::as_ref).filter(|text| !text.iter().any(u8::is_ascii_control)) {
        if text.first().is_none_or(u8::is_ascii_digit) {
            out.push(b' ');
        }
        out.extend_from_slice(text);
        put(out, "\r\n");
    }
    close(code, last, out);
}

pub(super) fn write_help(code: u16, algorithms: Algorithms, out: &mut Vec<u8>) {
    open(code, b"These commands are known:\r\n", out);
    let known: Vec<Verb> = Verb::ALL.into_iter().filter(|verb| is_offered(*verb, algorithms)).collect();
    for row in known.chunks(8) {
        for verb in row {
            put(out, " ");
            put(out, verb.name());
        }
        put(out, "\r\n");
    }
    close(code, "HELP command shows one", out);
}

pub(super) fn write_facts_set(facts: &[SetFact], path: &VirtualPath, out: &mut Vec<u8>) {
    for fact in facts {
        match fact {
            SetFact::Modify(time) => {
                put(out, "Modify=");
                time.write(out);
            }
            SetFact::UnixMode(mode) => put(out, &format!("UNIX.mode={mode:04o}")),
        }
        put(out, ";");
    }
    put(out, " ");
    out.extend_from_slice(path.as_bytes());
}

/// What exists, always; RFC 2389 §3.2 wants a space before each. MLST and EPRT depend.
const FEATURES: [&str; 18] = [
    "AUTH TLS",
    "PBSZ",
    "PROT",
    "UTF8",
    "EPSV",
    "SIZE",
    "MDTM",
    "MFMT",
    "MFF Modify;UNIX.mode;",
    "REST STREAM",
    "TVFS",
    "HOST",
    "LANG EN*",
    "AVBL",
    "CLNT",
    "CSID",
    "SITE CHMOD",
    "SITE UTIME",
];
const DIGESTS: [Verb; 7] = [Verb::Md5, Verb::Xcrc, Verb::Xmd5, Verb::Xsha, Verb::Xsha1, Verb::Xsha256, Verb::Xsha512];
pub(super) const SITE_HELP: [&str; 4] = [" CHMOD <sp> mode <sp> pathname", " UTIME <sp> YYYYMMDDhhmm[ss] <sp> pathname", " WHO", " HELP"];
