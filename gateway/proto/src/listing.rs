//! Lines of LIST, NLST and MLSD from entries.
//!
//! Gets: entries as storage found them. Gives: bytes appended to a listing, all of a line or nothing.
//! Never: writes a name with control bytes (it could forge a line), allocates per line, or shows who owns a file.

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

impl FactSet {
    /// Every fact; the default of a session.
    pub const ALL: Self = Self { kind: true, size: true, modify: true, perm: true, unique: true, unix_mode: true };
    /// No fact: `OPTS MLST` with an empty list.
    pub const NONE: Self = Self { kind: false, size: false, modify: false, perm: false, unique: false, unix_mode: false };

    /// The facts named in `fact;fact;`, in any case; unknown ones are passed over (RFC 3659 §7.9).
    pub fn parse(list: &[u8]) -> Self {
        let mut set = Self::NONE;
        for name in list.split(|&b| b == b';') {
            if let Some((_, field)) = set.fields().into_iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)) {
                *field = true;
            }
        }
        set
    }

    /// Appends `type;size;`, the answer to OPTS MLST; nothing when the set is empty.
    pub fn write_chosen(mut self, out: &mut Vec<u8>) {
        for (name, chosen) in self.fields() {
            if *chosen {
                out.extend_from_slice(name.as_bytes());
                out.push(b';');
            }
        }
    }

    /// Appends `MLST type*;size*;modify;…`, the line of FEAT: every fact there is, with `*` for the chosen ones (RFC 3659 §7.8).
    pub fn write_feature(mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"MLST ");
        for (name, chosen) in self.fields() {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(if *chosen { b"*;" } else { b";" });
        }
    }

    fn fields(&mut self) -> [(&'static str, &mut bool); 6] {
        [
            ("type", &mut self.kind),
            ("size", &mut self.size),
            ("modify", &mut self.modify),
            ("perm", &mut self.perm),
            ("unique", &mut self.unique),
            ("UNIX.mode", &mut self.unix_mode),
        ]
    }
}

impl Default for FactSet {
    fn default() -> Self {
        Self::ALL
    }
}

/// Appends an `ls -l` line with CR LF. `now` decides between time of day and year (RFC 959 says nothing; as ls and every client expect).
/// Returns false, and appends nothing, for a name that cannot be listed (control bytes).
pub fn write_long(entry: &Entry, now: Timestamp, out: &mut Vec<u8>) -> bool {
    if !is_listable(&entry.name) {
        return false;
    }
    out.reserve(LONGEST_FACTS + entry.name.len());
    out.extend_from_slice(&mode_letters(entry.kind, entry.mode));
    out.extend_from_slice(match entry.links {
        0..=9 => b"   ",
        10..=99 => b"  ",
        _ => b" ",
    });
    write_number(entry.links, out);
    out.extend_from_slice(b" ftp      ftp      ");
    write_number(entry.size, out);
    out.push(b' ');
    entry.modified.write_ls(now, out);
    out.push(b' ');
    write_line_end(&entry.name, out);
    true
}

/// Appends the name with CR LF; see [`write_long`] for the result.
pub fn write_name(name: &[u8], out: &mut Vec<u8>) -> bool {
    let listable = is_listable(name);
    if listable {
        write_line_end(name, out);
    }
    listable
}

/// Appends `fact=value;… name` with CR LF (RFC 3659 §7.2); see [`write_long`] for the result.
pub fn write_facts(entry: &Entry, set: FactSet, permissions: Permissions, out: &mut Vec<u8>) -> bool {
    if !is_listable(&entry.name) {
        return false;
    }
    out.reserve(LONGEST_FACTS + entry.name.len());
    if set.kind {
        out.extend_from_slice(match entry.kind {
            EntryKind::File => b"type=file;",
            EntryKind::Directory => b"type=dir;",
            EntryKind::Current => b"type=cdir;",
            EntryKind::Other => b"type=OS.unix=special;",
        });
    }
    // The size of anything but a file means nothing to a client.
    if set.size && entry.kind == EntryKind::File {
        out.extend_from_slice(b"size=");
        write_number(entry.size, out);
        out.push(b';');
    }
    if set.modify {
        out.extend_from_slice(b"modify=");
        entry.modified.write(out);
        out.push(b';');
    }
    if set.perm {
        out.extend_from_slice(b"perm=");
        write_permissions(entry.kind, permissions, out);
        out.push(b';');
    }
    if set.unique {
        out.extend_from_slice(b"unique=");
        write_hex(entry.unique, out);
        out.push(b';');
    }
    if set.unix_mode {
        out.extend_from_slice(b"UNIX.mode=0");
        out.extend_from_slice(&[9, 6, 3, 0].map(|shift| b'0' + (entry.mode >> shift & 7) as u8)[usize::from(entry.mode & 0o7000 == 0)..]);
        out.push(b';');
    }
    out.push(b' ');
    write_line_end(&entry.name, out);
    true
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

/// Whether a name can stand in a listing: not empty, no byte below 0x20 and no 0x7F. Slashes are allowed: MLST shows a path.
pub fn is_listable(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(u8::is_ascii_control)
}

fn write_line_end(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b"\r\n");
}

/// Lower-case hexadecimal: `unique` is opaque to clients.
fn write_hex(number: u64, out: &mut Vec<u8>) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for index in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * index) & 15) as usize]);
    }
}

/// `drwxr-xr-x`. What is neither file nor directory is shown as a socket, which no client tries to fetch.
fn mode_letters(kind: EntryKind, mode: u32) -> [u8; 10] {
    let mut letters = *b"-rwxrwxrwx";
    letters[0] = match kind {
        EntryKind::File => b'-',
        EntryKind::Directory | EntryKind::Current => b'd',
        EntryKind::Other => b's',
    };
    for (index, letter) in letters[1..].iter_mut().enumerate() {
        if mode & (0o400 >> index) == 0 {
            *letter = b'-';
        }
    }
    for (bit, at, with, without) in [(0o4000, 3, b's', b'S'), (0o2000, 6, b's', b'S'), (0o1000, 9, b't', b'T')] {
        if mode & bit != 0 {
            letters[at] = if letters[at] == b'x' { with } else { without };
        }
    }
    letters
}

/// The letters of RFC 3659 §7.5.5. The listed directory itself is not offered for deleting or renaming: it may be the root.
fn write_permissions(kind: EntryKind, may: Permissions, out: &mut Vec<u8>) {
    let (file, current) = (kind == EntryKind::File, kind == EntryKind::Current);
    let directory = current || kind == EntryKind::Directory;
    let delete = if directory { may.rmdir && !current } else { may.delete };
    let letters = [
        (b'a', file && may.append),
        (b'c', directory && may.write),
        (b'd', delete),
        (b'e', directory && may.list),
        (b'f', may.rename && !current),
        (b'l', directory && may.list),
        (b'm', directory && may.mkdir),
        (b'p', directory && (may.delete || may.rmdir)),
        (b'r', file && may.read),
        (b'w', file && may.write),
    ];
    out.extend(letters.into_iter().filter_map(|(letter, granted)| granted.then_some(letter)));
}

/// Room for everything in a line but its name, so that a line grows the buffer at most once.
const LONGEST_FACTS: usize = 160;
