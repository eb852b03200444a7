//! The one table of replies: from reason to code and text (RFC 959 §4.2).
//!
//! Gets: a reason, numbers and checked paths. Gives: the code, and the bytes of the reply in its single-line or multi-line form.
//! Never: carries a byte of the client, except checked paths (257, 150 FILE:, MFMT, MLST, STAT) and the account's own name.

mod lines;
mod rows;

use std::net::SocketAddrV4;

use crate::addr::{Family, write_epsv, write_port};
use crate::command::SetFact;
use crate::listing::{FactSet, write_number};
use crate::machine::io::{DataRefusal, EndReason, FileError, PassiveError};
use crate::path::VirtualPath;
use crate::time::Timestamp;
use crate::verbs::Verb;

pub use lines::{Features, Status};
pub use rows::{Refusal, RefusedAtDoor, Success};

use lines::{SITE_HELP, close, many, open, put, surrounded, write_fact_names, write_facts_set, write_help};
use rows::{data_row, end_text, file_row, passive_row};

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
    /// 214: all verbs.
    Help,
    /// 214: one verb.
    HelpVerb(Verb),
    /// 214: SITE HELP.
    SiteHelp,
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
            Self::End(_) | Self::Refused(_) => 421,
            Self::Opening(_) | Self::OpeningUnique(_) => 150,
            Self::EnteringPassive(_) => 227,
            Self::EnteringExtendedPassive(_) => 229,
            Self::WorkingDirectory(_) | Self::DirectoryMade(_) => 257,
            Self::Number(_) | Self::Modified(_) | Self::FactsSet(..) | Self::Listing(_) => 213,
            Self::Facts(..) => 250,
            Self::Who(_) | Self::FactsChosen(_) => 200,
            Self::Features(_) | Self::Status(_) => 211,
            Self::Help | Self::HelpVerb(_) | Self::SiteHelp => 214,
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
            Self::Help => write_help(code, out),
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
                write_fact_names(*set, false, out);
                // RFC 3659 §7.9: without a fact nothing follows, not even the space.
                out.truncate(out.trim_ascii_end().len());
            }
            Self::HelpVerb(verb) => {
                put(out, "Syntax: ");
                put(out, verb.name());
                put(out, " ");
                put(out, verb.syntax());
            }
            Self::Facts(..) | Self::Listing(_) | Self::Who(_) | Self::Features(_) | Self::Status(_) | Self::Help | Self::SiteHelp => {}
        }
    }
}
