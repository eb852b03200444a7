//! The file an upload goes to until it is whole: named, hidden, and gone when dropped.
//!
//! Gets: a directory, this node's incarnation. Gives: an open new file in it, and the rule by which such names are known and hidden.
//! Never: has a name derived from the final one (so it fits NAME_MAX), is readable by others, or stays when the upload ends early.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::observe::id::{Incarnation, Ulid};

/// A new file beside its final place.
#[derive(Debug)]
pub(super) struct Temporary {
    directory: OwnedFd,
    name: Name,
    file: OwnedFd,
    /// Whether the name is still ours to remove.
    armed: AtomicBool,
}

impl Temporary {
    /// Makes one, mode 0600, in `directory`.
    pub(super) fn create(directory: OwnedFd, names: &Names) -> Result<Self, Errno> {
        for _ in 0..TAKEN_MOST {
            let name = names.next();
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            match openat(&directory, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok(Self { directory, name, file, armed: AtomicBool::new(true) }),
                // Only after a NFS server answered the first try late, or somebody guessed.
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// The open file, for writing.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The directory it is in, by descriptor.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Its name there.
    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Takes its name away; the file may have another one.
    pub(super) fn remove(&self) {
        if self.armed.swap(false, Ordering::Relaxed) {
            // If even this fails, the name stays hidden and a sweep finds it once this node is dead.
            let _ = unlinkat(&self.directory, self.name.as_bytes(), AtFlags::empty());
        }
    }

    /// The name is no longer ours: it was renamed.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Gives out names that no other upload has: `.ftps-gateway.<incarnation>.<number>.part`, 62 bytes at most.
#[derive(Debug)]
pub(super) struct Names {
    node: Incarnation,
    given: AtomicU64,
}

impl Names {
    /// Names of this start of the node.
    pub(super) fn new(node: Incarnation) -> Self {
        Self { node, given: AtomicU64::new(0) }
    }

    /// Whose names these are.
    pub(super) fn node(&self) -> Incarnation {
        self.node
    }

    fn next(&self) -> Name {
        let mut name = Name { bytes: [0; NAME_MOST], length: 0 };
        let mut rest = &mut name.bytes[..];
        // 14 + 26 + 1 + 16 + 5 = 62 bytes: it always fits.
        let _ = write!(rest, "{PREFIX}{}.{:x}{SUFFIX}", self.node, self.given.fetch_add(1, Ordering::Relaxed));
        name.length = NAME_MOST - rest.len();
        name
    }
}

#[derive(Clone, Copy, Debug)]
struct Name {
    bytes: [u8; NAME_MOST],
    length: usize,
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Whether this is the name of an upload under way, or of the storage's id: such names exist for no client, in any case of letters (SMB and casefolded ext4
/// would find them).
pub(super) fn is_hidden(name: &[u8]) -> bool {
    name.first() == Some(&b'.') && (owner(name).is_some() || name.eq_ignore_ascii_case(ID))
}

/// The node start that made a temporary of this name; `None` if it is not one.
pub(super) fn owner(name: &[u8]) -> Option<Incarnation> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    let (rest, suffix) = rest.split_at_checked(rest.len().checked_sub(SUFFIX.len())?)?;
    let (node, number) = rest.split_at_checked(ULID_LENGTH)?;
    let number = number.strip_prefix(b".")?;
    let shaped = prefix.eq_ignore_ascii_case(PREFIX.as_bytes())
        && suffix.eq_ignore_ascii_case(SUFFIX.as_bytes())
        && (1..=16).contains(&number.len())
        && number.iter().all(u8::is_ascii_hexdigit);
    if !shaped {
        return None;
    }
    let digit = |byte: &u8| ALPHABET.iter().position(|symbol| symbol.eq_ignore_ascii_case(byte));
    let value = node.iter().try_fold(0_u128, |value, byte| Some((value << 5) | digit(byte)? as u128))?;
    Some(Incarnation(Ulid::from_bytes(value.to_be_bytes())))
}

/// The file below the root that holds the storage's id.
pub(super) const ID: &[u8] = b".ftps-gateway.id";
const PREFIX: &str = ".ftps-gateway.";
const SUFFIX: &str = ".part";
/// Digits of a ULID.
const ULID_LENGTH: usize = 26;
/// Crockford's base 32, as `observe::id` prints it.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const NAME_MOST: usize = 64;
/// Names tried before giving up.
const TAKEN_MOST: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_distinct_and_known_again() {
        let node = Incarnation::now();
        let names = Names::new(node);
        let (one, two) = (names.next(), names.next());
        assert_ne!(one.as_bytes(), two.as_bytes());
        assert_eq!(owner(one.as_bytes()), Some(node));
        assert!(is_hidden(&one.as_bytes().to_ascii_uppercase()));
        names.given.store(u64::MAX, Ordering::Relaxed);
        let longest = names.next();
        assert_eq!((longest.as_bytes().len(), owner(longest.as_bytes())), (62, Some(node)));
    }

    #[test]
    fn other_names_are_left_alone() {
        let good = format!(".ftps-gateway.{}.1f.part", Incarnation::now());
        assert!(is_hidden(good.as_bytes()));
        let wrong = [
            String::new(),
            ".".into(),
            ".ftps-gateway.part".into(),
            ".ftps-gateway..part".into(),
            ".ftps-gateway.notes.part".into(),
            good.replace(".1f.", "."),
            good.replace(".1f.", ".xy."),
            good.replace(".1f.", ".11111111111111111."),
            good.replace(".part", ".parts"),
            format!("x{good}"),
            good.replace(".ftps-gateway.", ".ftps-gateway.U"),
        ];
        for name in wrong {
            assert!(!is_hidden(name.as_bytes()), "{name}");
        }
    }
}
