//! Lines of LIST, NLST and MLSD from entries.

use crate::machine::io::Permissions;
use crate::time::Timestamp;

/// One name in a directory and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last component, as bytes; for MLST the path as the client will see it.
    pub name: Vec<u8>,
    /// File, directory or other.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Hard links.
    pub links: u64,
    /// A number that is the same for the same file (inode).
    pub unique: u64,
}

/// What an entry is, after symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EntryKind {
    File,
    Directory,
    /// The listed directory itself (`type=cdir`).
    Current,
    /// A socket, a device, a pipe, a link that leads nowhere or outside.
    Other,
}

/// Which facts MLSD and MLST show; OPTS MLST chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactSet {
    /// `type`.
    pub kind: bool,
    /// `size`.
    pub size: bool,
    /// `modify`.
    pub modify: bool,
    /// `perm`.
    pub perm: bool,
    /// `unique`.
    pub unique: bool,
    /// `UNIX.mode`.
    pub unix_mode: bool,
}

/// Appends an `ls -l` line with CR LF. `now` decides between time of day and year (RFC 959 says nothing; as ls and every client expect).
/// Returns false, and appends nothing, for a name that cannot be listed (control bytes).
pub fn write_long(_entry: &Entry, _now: Timestamp, _out: &mut Vec<u8>) -> bool {
    false
}

/// Appends the name with CR LF; see [`write_long`] for the result.
pub fn write_name(_name: &[u8], _out: &mut Vec<u8>) -> bool {
    false
}

/// Appends `fact=value;… name` with CR LF (RFC 3659 §7.2); see [`write_long`] for the result.
pub fn write_facts(_entry: &Entry, _set: FactSet, _permissions: Permissions, _out: &mut Vec<u8>) -> bool {
    false
}

/// Appends a number in decimal.
pub fn write_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
