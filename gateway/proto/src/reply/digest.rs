//! Replies about digests, in the words and codes of ProFTPD's mod_digest: each way of asking has codes of its own for the same fault.
//!
//! Gets: digests, checked names, reasons. Gives: codes and texts.
//! Never: holds a byte of the client but the checked name that it asked for.

use crate::digest::{Algorithm, DigestFault, Form, Range};
use crate::listing::write_number;
use crate::machine::io::FileError;
use crate::path::WirePath;
use crate::verbs::Verb;

use super::lines::put;
use super::rows::file_row;

/// The code for a fault.
pub(super) const fn code(form: Form, fault: DigestFault) -> u16 {
    match fault {
        DigestFault::File(FileError::NotRegular | FileError::IsADirectory) => by_form(form, 550, 504, 553),
        DigestFault::File(error) => file_row(error).0,
        DigestFault::NotPermitted => by_form(form, 550, 550, 556),
        DigestFault::Off => by_form(form, 550, 550, 552),
        DigestFault::EndBeyond | DigestFault::Order(_) => 501,
        DigestFault::Changed | DigestFault::Busy => 450,
        DigestFault::Shrunk => 550,
        DigestFault::Aborted => 426,
    }
}

const fn by_form(form: Form, checksum: u16, md5: u16, hash: u16) -> u16 {
    match form {
        Form::Checksum(_) => checksum,
        Form::Md5 => md5,
        Form::Hash => hash,
    }
}

/// The text for a fault.
pub(super) fn write_fault(form: Form, path: &WirePath, fault: DigestFault, out: &mut Vec<u8>) {
    let text = match fault {
        DigestFault::EndBeyond => {
            put(out, verb(form).name());
            return put(out, ": end exceeds file size");
        }
        DigestFault::Order(Range { start, end }) => {
            put(out, verb(form).name());
            put(out, " requires end (");
            write_number(end, out);
            put(out, ") greater than start (");
            write_number(start, out);
            return put(out, ")");
        }
        DigestFault::Aborted => return put(out, "Digest aborted"),
        DigestFault::File(FileError::NotRegular | FileError::IsADirectory) => "Not a regular file",
        DigestFault::File(error) => file_row(error).1,
        DigestFault::NotPermitted | DigestFault::Off => "Operation not permitted",
        DigestFault::Changed => "The file changed while it was read, try again",
        DigestFault::Shrunk => "The file became shorter while it was read",
        DigestFault::Busy => "Too many digests are asked for, try again later",
    };
    out.extend_from_slice(path.as_bytes());
    put(out, ": ");
    put(out, text);
}

pub(super) fn write_md5(path: &WirePath, digest: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(path.as_bytes());
    put(out, " ");
    write_hex(digest, true, out);
}

pub(super) fn write_hash(algorithm: Algorithm, (start, end): (u64, u64), digest: &[u8], path: &WirePath, out: &mut Vec<u8>) {
    put(out, algorithm.name());
    put(out, " ");
    write_number(start, out);
    put(out, "-");
    write_number(end, out);
    put(out, " ");
    write_hex(digest, false, out);
    put(out, " ");
    out.extend_from_slice(path.as_bytes());
}

/// draft-bryan-ftp-range §4.4.
pub(super) fn write_range(range: Option<Range>, out: &mut Vec<u8>) {
    let Some(Range { start, end }) = range else { return put(out, "Byte range reset") };
    put(out, "Restarting at ");
    write_number(start, out);
    put(out, ". End Byte range at ");
    write_number(end - 1, out);
    put(out, ".");
}

pub(super) fn write_bad_start(verb: Verb, out: &mut Vec<u8>) {
    put(out, verb.name());
    put(out, " requires a start greater than or equal to 0");
}

pub(super) fn write_bad_end(verb: Verb, out: &mut Vec<u8>) {
    put(out, verb.name());
    put(out, if matches!(verb, Verb::Rang) { " requires an end greater than or equal to 0" } else { " requires an end greater than 0" });
}

pub(super) fn write_hex(digest: &[u8], upper: bool, out: &mut Vec<u8>) {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    out.extend(digest.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]));
}

const fn verb(form: Form) -> Verb {
    match form {
        Form::Checksum(verb) => verb,
        Form::Md5 => Verb::Md5,
        Form::Hash => Verb::Hash,
    }
}
