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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn time(bytes: &str) -> Timestamp {
        Timestamp::parse(bytes.as_bytes()).unwrap()
    }

    fn entry(name: &str, kind: EntryKind, size: u64, mode: u32) -> Entry {
        Entry { name: name.into(), kind, size, modified: time("20261120120339"), mode, links: 1, unique: 0x2a }
    }

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn long_lines_look_like_ls() {
        let now = time("20261121000000");
        for (entry, line) in [
            (entry("name", EntryKind::File, 200_000, 0o644), "-rw-r--r--   1 ftp      ftp      200000 Nov 20 12:03 name\r\n"),
            (entry(" a b ", EntryKind::Directory, 4096, 0o755), "drwxr-xr-x   1 ftp      ftp      4096 Nov 20 12:03  a b \r\n"),
            (entry(".", EntryKind::Current, 0, 0o1777), "drwxrwxrwt   1 ftp      ftp      0 Nov 20 12:03 .\r\n"),
            (entry("s", EntryKind::Other, u64::MAX, 0o6000), "s--S--S---   1 ftp      ftp      18446744073709551615 Nov 20 12:03 s\r\n"),
            (entry("x", EntryKind::File, 1, 0o4755), "-rwsr-xr-x   1 ftp      ftp      1 Nov 20 12:03 x\r\n"),
            (Entry { links: 12, ..entry("d", EntryKind::Directory, 1, 0) }, "d---------  12 ftp      ftp      1 Nov 20 12:03 d\r\n"),
            (Entry { links: 1234, ..entry("d", EntryKind::Directory, 1, 0) }, "d--------- 1234 ftp      ftp      1 Nov 20 12:03 d\r\n"),
            (Entry { modified: time("20241105000000"), ..entry("old", EntryKind::File, 1, 0o600) }, "-rw-------   1 ftp      ftp      1 Nov  5  2024 old\r\n"),
        ] {
            assert_eq!(text(|out| assert!(write_long(&entry, now, out))), line);
        }
    }

    #[test]
    fn facts_follow_rfc_3659() {
        let file = entry("a b", EntryKind::File, 5, 0o640);
        let directory = entry("d", EntryKind::Directory, 4096, 0o2750);
        for (entry, set, may, line) in [
            (&file, FactSet::ALL, Permissions::ALL, "type=file;size=5;modify=20261120120339;perm=adfrw;unique=2a;UNIX.mode=0640; a b\r\n"),
            (&directory, FactSet::ALL, Permissions::ALL, "type=dir;modify=20261120120339;perm=cdeflmp;unique=2a;UNIX.mode=02750; d\r\n"),
            (&file, FactSet::ALL, Permissions::READ_ONLY, "type=file;size=5;modify=20261120120339;perm=r;unique=2a;UNIX.mode=0640; a b\r\n"),
            (&directory, FactSet { kind: true, perm: true, ..FactSet::NONE }, Permissions::READ_ONLY, "type=dir;perm=el; d\r\n"),
            (&file, FactSet::NONE, Permissions::ALL, " a b\r\n"),
            (
                &Entry { kind: EntryKind::Current, ..directory.clone() },
                FactSet { kind: true, perm: true, ..FactSet::NONE },
                Permissions::ALL,
                "type=cdir;perm=celmp; d\r\n",
            ),
            (
                &Entry { kind: EntryKind::Other, ..file.clone() },
                FactSet { kind: true, size: true, perm: true, ..FactSet::NONE },
                Permissions::ALL,
                "type=OS.unix=special;perm=df; a b\r\n",
            ),
            (&file, FactSet::ALL, Permissions::default(), "type=file;size=5;modify=20261120120339;perm=;unique=2a;UNIX.mode=0640; a b\r\n"),
        ] {
            assert_eq!(text(|out| assert!(write_facts(entry, set, may, out))), line);
        }
    }

    #[test]
    fn each_permission_gives_its_letters() {
        let none = Permissions::default();
        for (may, file, directory) in [
            (Permissions { list: true, ..none }, "", "el"),
            (Permissions { read: true, ..none }, "r", ""),
            (Permissions { write: true, ..none }, "w", "c"),
            (Permissions { append: true, ..none }, "a", ""),
            (Permissions { delete: true, ..none }, "d", "p"),
            (Permissions { rename: true, ..none }, "f", "f"),
            (Permissions { mkdir: true, ..none }, "", "m"),
            (Permissions { rmdir: true, ..none }, "", "dp"),
            (Permissions { attributes: true, digest: true, ..none }, "", ""),
        ] {
            assert_eq!(text(|out| write_permissions(EntryKind::File, may, out)), file, "{may:?}");
            assert_eq!(text(|out| write_permissions(EntryKind::Directory, may, out)), directory, "{may:?}");
        }
    }

    #[test]
    fn a_name_that_could_forge_a_line_is_not_listed() {
        for name in ["", "a\r\nb", "a\nb", "a\0", "\u{1b}[2J", "a\u{7f}", "\t"] {
            let entry = entry(name, EntryKind::File, 1, 0o644);
            let mut out = b"before".to_vec();
            assert!(!write_long(&entry, entry.modified, &mut out));
            assert!(!write_facts(&entry, FactSet::ALL, Permissions::ALL, &mut out));
            assert!(!write_name(&entry.name, &mut out));
            assert_eq!(out, b"before", "{name:?}");
        }
        assert_eq!(text(|out| assert!(write_name("\u{e4} b".as_bytes(), out))), "\u{e4} b\r\n");
    }

    #[test]
    fn chosen_facts_are_read_and_written() {
        for (list, chosen, feature) in [
            ("type;size;modify;perm;unique;UNIX.mode;", "type;size;modify;perm;unique;UNIX.mode;", "MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;"),
            ("Modify;TYPE", "type;modify;", "MLST type*;size;modify*;perm;unique;UNIX.mode;"),
            ("", "", "MLST type;size;modify;perm;unique;UNIX.mode;"),
            ("media-type;;;x;unix.MODE;", "UNIX.mode;", "MLST type;size;modify;perm;unique;UNIX.mode*;"),
        ] {
            let set = FactSet::parse(list.as_bytes());
            assert_eq!(text(|out| set.write_chosen(out)), chosen);
            assert_eq!(text(|out| set.write_feature(out)), feature);
            assert_eq!(FactSet::parse(chosen.as_bytes()), set);
        }
        assert_eq!(FactSet::default(), FactSet::ALL);
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(text(|out| write_number(number, out)), number.to_string());
            assert_eq!(text(|out| write_hex(number, out)), format!("{number:x}"));
        }
    }
}
