//! The one table of replies: from reason to code and text (RFC 959 §4.2).
//!
//! Gets: a reason, numbers and checked paths. Gives: the code, and the bytes of the reply in its single-line or multi-line form.
//! Never: carries a byte of the client, except checked paths (257, 150 FILE:, MFMT, MLST, STAT, digests) and the account's own name.

mod digest;
mod lines;
mod rows;

use std::net::SocketAddrV4;

use crate::addr::{Family, write_epsv, write_port};
use crate::command::SetFact;
use crate::digest::{Algorithm, Algorithms, DigestFault, Form, Range};
use crate::listing::{FactSet, write_number};
use crate::machine::io::{DataRefusal, EndReason, FileError, PassiveError};
use crate::path::{VirtualPath, WirePath};
use crate::time::Timestamp;
use crate::verbs::Verb;

pub use lines::{Features, Status};
pub use rows::{Refusal, RefusedAtDoor, Success};

use lines::{SITE_HELP, close, many, open, put, surrounded, write_facts_set, write_help};
use rows::{data_row, end_text, file_row, passive_row};

/// What an operator lets a client be told: one line without control characters, at most 400 letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Box<str>);

impl Words {
    /// These words, as far as they fit.
    pub fn new(text: &str) -> Self {
        Self(text.chars().filter(|char| !char.is_control()).take(WORDS).collect())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A reply. [`Reply::write`] gives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Something went well; fixed text.
    Ok(Success),
    /// A command was refused by the machine; fixed text.
    No(Refusal),
    /// A file operation failed.
    File(FileError),
    /// No passive port. The family is that of the control connection (RFC 2428 §2 wants it named).
    Passive(PassiveError, Family),
    /// No data connection, or it was not taken.
    Data(DataRefusal),
    /// The server ends the session: 421.
    End(EndReason),
    /// Refused before it became a session: 421.
    Refused(RefusedAtDoor),
    /// Banned, at the door or in the middle of a session: 421.
    Banned(Words),
    /// Banned, at the login: 530.
    BannedLogin(Words),
    /// 150 with the bytes that follow, when known: curl and Python's ftplib read `(n bytes)`.
    Opening(Option<u64>),
    /// 150 with the name STOU chose (RFC 1123 §4.1.2.9).
    OpeningUnique(VirtualPath),
    /// 227.
    EnteringPassive(SocketAddrV4),
    /// 229.
    EnteringExtendedPassive(u16),
    /// 257: the working directory.
    WorkingDirectory(VirtualPath),
    /// 257: a directory was made.
    DirectoryMade(VirtualPath),
    /// 213 with a number: SIZE, AVBL.
    Number(u64),
    /// 213 with a time: MDTM.
    Modified(Timestamp),
    /// 213 `Modify=…; path`: MFMT, MFF.
    FactsSet(Vec<SetFact>, VirtualPath),
    /// 250 of MLST: the path and its line of facts, without line end.
    Facts(VirtualPath, Vec<u8>),
    /// 213 of STAT with a path: listing lines without line ends.
    Listing(Vec<Vec<u8>>),
    /// 200 of SITE WHO: lines without line ends.
    Who(Vec<Vec<u8>>),
    /// 211 of FEAT.
    Features(Features),
    /// 200 of OPTS MLST (RFC 3659 §7.9).
    FactsChosen(FactSet),
    /// 211 of STAT without a path.
    Status(Status),
    /// 214: all verbs, of those about digests the ones that are offered.
    Help(Algorithms),
    /// 214: one verb.
    HelpVerb(Verb),
    /// 214: SITE HELP.
    SiteHelp,
    /// 213 of XCRC and its like.
    Checksum(Vec<u8>),
    /// 251 of MD5, with the name as it came.
    Md5(WirePath, Vec<u8>),
    /// 213 of HASH, with the name as it came.
    Hash {
        /// Which.
        algorithm: Algorithm,
        /// First byte.
        start: u64,
        /// Last one of RANG, else the size.
        end: u64,
        /// The digest.
        digest: Vec<u8>,
        /// The name.
        path: WirePath,
    },
    /// No digest; the code depends on who asks.
    NoDigest {
        /// Who.
        form: Form,
        /// The name as it came.
        path: WirePath,
        /// Why.
        fault: DigestFault,
    },
    /// 200 of OPTS HASH.
    HashChosen(Algorithm),
    /// 350 of RANG.
    RangeSet(Option<Range>),
    /// 501: a range whose start is no number.
    BadStart(Verb),
    /// 501: a range whose end is no number.
    BadEnd(Verb),
}

impl Reply {
    /// The three digits.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Ok(success) => success.row().0,
            Self::No(refusal) => refusal.row().0,
            Self::File(error) => file_row(*error).0,
            Self::Passive(error, family) => passive_row(*error, *family).0,
            Self::Data(refusal) => data_row(*refusal).0,
            Self::End(_) | Self::Refused(_) | Self::Banned(_) => 421,
            Self::BannedLogin(_) => 530,
            Self::Opening(_) | Self::OpeningUnique(_) => 150,
            Self::EnteringPassive(_) => 227,
            Self::EnteringExtendedPassive(_) => 229,
            Self::WorkingDirectory(_) | Self::DirectoryMade(_) => 257,
            Self::Number(_) | Self::Modified(_) | Self::FactsSet(..) | Self::Listing(_) => 213,
            Self::Facts(..) => 250,
            Self::Checksum(_) | Self::Hash { .. } => 213,
            Self::Md5(..) => 251,
            Self::NoDigest { form, fault, .. } => digest::code(*form, *fault),
            Self::HashChosen(_) => 200,
            Self::RangeSet(_) => 350,
            Self::BadStart(_) | Self::BadEnd(_) => 501,
            Self::Who(_) | Self::FactsChosen(_) => 200,
            Self::Features(_) | Self::Status(_) => 211,
            Self::Help(_) | Self::HelpVerb(_) | Self::SiteHelp => 214,
        }
    }

    /// Whether another reply to the same command follows (1xx, RFC 959 §4.2).
    pub const fn is_preliminary(&self) -> bool {
        self.code() < 200
    }

    /// Appends the reply with its line ends.
    pub fn write(&self, out: &mut Vec<u8>) {
        let code = self.code();
        match self {
            Self::Facts(path, facts) => {
                open(code, b"Listing ", out);
                out.extend_from_slice(path.as_bytes());
                // RFC 3659 §7.2: exactly one space before the facts.
                out.extend_from_slice(b"\r\n ");
                out.extend_from_slice(facts);
                out.extend_from_slice(b"\r\n");
                close(code, "End", out);
            }
            Self::Listing(lines) => many(code, "Status follows:", lines, "End of status", out),
            Self::Who(lines) => many(code, "Your sessions:", lines, "End", out),
            Self::Features(features) => features.write(code, out),
            Self::Status(status) => status.write(code, out),
            Self::Help(algorithms) => write_help(code, *algorithms, out),
            Self::SiteHelp => many(code, "SITE commands:", &SITE_HELP, "End", out),
            other => {
                write_number(u64::from(code), out);
                out.push(b' ');
                other.write_text(out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The text of a single-line reply; nothing for the others.
    fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ok(success) => put(out, success.row().1),
            Self::No(refusal) => put(out, refusal.row().1),
            Self::File(error) => put(out, file_row(*error).1),
            Self::Passive(error, family) => put(out, passive_row(*error, *family).1),
            Self::Data(refusal) => put(out, data_row(*refusal).1),
            Self::End(reason) => put(out, end_text(*reason)),
            Self::Refused(reason) => put(out, reason.text()),
            Self::Banned(words) | Self::BannedLogin(words) => put(out, words.as_str()),
            Self::Opening(None) => put(out, "Opening data connection"),
            Self::Opening(Some(size)) => surrounded(out, "Opening data connection (", *size, " bytes)"),
            Self::OpeningUnique(path) => {
                put(out, "FILE: ");
                out.extend_from_slice(path.as_bytes());
            }
            Self::EnteringPassive(address) => {
                put(out, "Entering Passive Mode (");
                write_port(*address, out);
                put(out, ").");
            }
            Self::EnteringExtendedPassive(port) => {
                put(out, "Entering Extended Passive Mode (");
                write_epsv(*port, out);
                put(out, ")");
            }
            Self::WorkingDirectory(path) => {
                path.write_quoted(out);
                put(out, " is the current directory");
            }
            Self::DirectoryMade(path) => {
                path.write_quoted(out);
                put(out, " created");
            }
            Self::Number(number) => write_number(*number, out),
            Self::Modified(time) => time.write(out),
            Self::FactsSet(facts, path) => write_facts_set(facts, path, out),
            Self::FactsChosen(set) => {
                put(out, "MLST OPTS ");
                set.write_chosen(out);
                // RFC 3659 §7.9: without a fact nothing follows, not even the space.
                out.truncate(out.trim_ascii_end().len());
            }
            Self::HelpVerb(verb) => {
                put(out, "Syntax: ");
                put(out, verb.name());
                put(out, " ");
                put(out, verb.syntax());
            }
            Self::Checksum(digest) => digest::write_hex(digest, true, out),
            Self::Md5(path, digest) => digest::write_md5(path, digest, out),
            Self::Hash { algorithm, start, end, digest, path } => digest::write_hash(*algorithm, (*start, *end), digest, path, out),
            Self::NoDigest { form, path, fault } => digest::write_fault(*form, path, *fault, out),
            Self::HashChosen(algorithm) => put(out, algorithm.name()),
            Self::RangeSet(range) => digest::write_range(*range, out),
            Self::BadStart(verb) => digest::write_bad_start(*verb, out),
            Self::BadEnd(verb) => digest::write_bad_end(*verb, out),
            Self::Facts(..) | Self::Listing(_) | Self::Who(_) | Self::Features(_) | Self::Status(_) | Self::Help(_) | Self::SiteHelp => {}
        }
    }
}

/// Letters that a line of an operator may have.
const WORDS: usize = 400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::command::{TransferType, UserName};
    use crate::path::WirePath;

    /// RFC 959 §4.2: `code-text`, lines that do not begin with the code and a space, `code text`; all end with CR LF, no other control byte.
    #[test]
    fn every_reply_has_the_form_of_one() {
        for reply in samples() {
            let mut out = b"before".to_vec();
            reply.write(&mut out);
            let text = out.strip_prefix(b"before").unwrap();
            let text = std::str::from_utf8(text).unwrap();
            assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").chars().any(char::is_control), "{text:?}");
            let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            let code = reply.code().to_string();
            let (last, others) = lines.split_last().unwrap();
            assert!(last.starts_with(&format!("{code} ")) && last.len() > 4, "{text:?}");
            for (index, line) in others.iter().enumerate() {
                let first = index == 0 && line.starts_with(&format!("{code}-"));
                assert!(first || !line.starts_with(|c: char| c.is_ascii_digit()) && !line.is_empty(), "{text:?}");
            }
            assert!((100..600).contains(&reply.code()));
            assert_eq!(reply.is_preliminary(), reply.code() < 200);
        }
    }

    #[test]
    fn addresses_sizes_and_names_are_where_clients_look() {
        assert_eq!(text(&Reply::EnteringPassive("192.0.2.1:50001".parse().unwrap())), "227 Entering Passive Mode (192,0,2,1,195,81).\r\n");
        assert_eq!(text(&Reply::EnteringExtendedPassive(50001)), "229 Entering Extended Passive Mode (|||50001|)\r\n");
        assert_eq!(text(&Reply::Opening(Some(12))), "150 Opening data connection (12 bytes)\r\n");
        assert_eq!(text(&Reply::OpeningUnique(path("/a/b"))), "150 FILE: /a/b\r\n");
        assert_eq!(text(&Reply::WorkingDirectory(path("/a \"b\""))), "257 \"/a \"\"b\"\"\" is the current directory\r\n");
        assert_eq!(text(&Reply::Modified(Timestamp::from_unix(0, 5))), "213 19700101000000\r\n");
        assert_eq!(text(&Reply::Number(u64::MAX)), "213 18446744073709551615\r\n");
    }

    #[test]
    fn a_forged_listing_line_does_not_get_out() {
        let lines = vec![b"213 End".to_vec(), b"a\r\n213 End".to_vec(), b"213-x".to_vec(), Vec::new(), b"ok".to_vec()];
        assert_eq!(text(&Reply::Listing(lines)), "213-Status follows:\r\n 213 End\r\n 213-x\r\n \r\nok\r\n213 End of status\r\n");
    }

    #[test]
    fn the_door_closes_with_421() {
        for reason in [RefusedAtDoor::TooManySessions, RefusedAtDoor::Draining, RefusedAtDoor::NotAllowed] {
            assert!(text(&Reply::Refused(reason)).starts_with("421 "));
        }
    }

    fn text(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().resolve(&WirePath::new(text.as_bytes()).unwrap()).unwrap()
    }

    fn wire(text: &str) -> WirePath {
        WirePath::new(text.as_bytes()).unwrap()
    }

    fn samples() -> Vec<Reply> {
        let facts = FactSet { kind: true, size: false, modify: true, perm: false, unique: true, unix_mode: false };
        let status = |user: Option<&[u8]>| Reply::Status(Status { user: user.and_then(UserName::new), kind: TransferType::Ascii, private: user.is_some() });
        vec![
            Reply::Ok(Success::Greeting),
            Reply::No(Refusal::LoginIncorrect),
            Reply::File(FileError::NoSpace),
            Reply::Passive(PassiveError::Family, Family::Ipv6),
            Reply::Data(DataRefusal::NoPort),
            Reply::End(EndReason::Shutdown),
            Reply::Refused(RefusedAtDoor::Draining),
            Reply::Banned(Words::new("You are\r\n banned")),
            Reply::BannedLogin(Words::new(&"x".repeat(1000))),
            Reply::Opening(None),
            Reply::Opening(Some(0)),
            Reply::OpeningUnique(path("/x")),
            Reply::EnteringPassive("192.0.2.1:1".parse().unwrap()),
            Reply::EnteringExtendedPassive(1),
            Reply::WorkingDirectory(path("/")),
            Reply::DirectoryMade(path("/x")),
            Reply::Number(0),
            Reply::Modified(Timestamp::default()),
            Reply::FactsSet(vec![SetFact::UnixMode(0o7), SetFact::Modify(Timestamp::default())], path("/x")),
            Reply::Facts(path("/226 x"), b"type=file; /226 x".to_vec()),
            Reply::Listing(vec![b"1".to_vec()]),
            Reply::Listing(Vec::new()),
            Reply::Who(vec![b"200 x".to_vec()]),
            Reply::Features(Features { active: true, facts, digests: Algorithms::ALL, hash: Some(Algorithm::Sha1) }),
            Reply::FactsChosen(facts),
            status(None),
            status(Some(b"demo")),
            Reply::Help(Algorithms::ALL),
            Reply::Help(Algorithms::NONE),
            Reply::HelpVerb(Verb::Syst),
            Reply::SiteHelp,
            Reply::Checksum(vec![1, 2, 255, 0]),
            Reply::Md5(wire("a b"), vec![0xab; 16]),
            Reply::Hash { algorithm: Algorithm::Sha1, start: 0, end: 5, digest: vec![1; 20], path: wire("213 x") },
            Reply::NoDigest { form: Form::Hash, path: wire("x"), fault: DigestFault::Changed },
            Reply::NoDigest { form: Form::Checksum(Verb::Xcrc), path: wire("x"), fault: DigestFault::Order(Range { start: 6, end: 5 }) },
            Reply::HashChosen(Algorithm::Sha512),
            Reply::RangeSet(None),
            Reply::RangeSet(Some(Range { start: 0, end: 5 })),
            Reply::BadStart(Verb::Xcrc),
            Reply::BadEnd(Verb::Xmd5),
        ]
    }
}
