//! Listing a directory in batches.
//!
//! Gets: a directory of a [`Tree`]. Gives: its entries, as many at a time as asked for, into buffers that are used again.
//! Never: holds the whole directory, sorts, or shows an upload under way.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ftps_proto::listing::{Entry, EntryKind};
use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat, fstat, statat};
use rustix::io::Errno;

use super::fault::{Fault, timed};
use super::temporary::is_hidden;
use super::tree::{Tree, blank, describe, kind, visible};

/// How much a listing says of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Everything; one stat for each entry.
    Facts,
    /// The name, and the kind as far as the directory itself knows it (a link is `Other`).
    Names,
}

/// An open directory, read from its beginning to its end.
#[derive(Debug)]
pub struct Listing {
    tree: Arc<Tree>,
    directory: OwnedFd,
    /// The directory's path with a slash behind it: links are resolved from the home, because they may lead out of the directory but not of the home.
    path: Vec<u8>,
    detail: Detail,
    ended: bool,
}

impl Tree {
    /// Opens a directory for listing. May block.
    ///
    /// # Errors
    /// `NotADirectory`, `NotFound`, `Denied`, and what the system says.
    pub fn list(self: &Arc<Self>, path: &VirtualPath, detail: Detail) -> Result<Listing, FileError> {
        let directory = self.attempt("list", |home| Ok(home.open(visible(path)?, OFlags::RDONLY | OFlags::DIRECTORY)?))?;
        let path = [path.relative(), b"/"].concat();
        Ok(Listing { tree: self.clone(), directory, path, detail, ended: false })
    }
}

impl Listing {
    /// The directory itself, for `type=cdir`; its name is empty.
    ///
    /// # Errors
    /// What the system says.
    pub fn current(&self) -> Result<Entry, FileError> {
        let mut entry = blank(b"");
        describe(&fstat(&self.directory).map_err(|errno| self.tree.tell("list", errno))?, &mut entry);
        entry.kind = EntryKind::Current;
        Ok(entry)
    }

    /// Puts the next entries into `out`, in place of what is there (whose buffers are used again): at least one if there is one, at most `most`
    /// or 85, whichever is more. False: that was the end. May block; one call is short work for 1,000 entries.
    ///
    /// # Errors
    /// What the system says. An entry that vanishes meanwhile is left out; one that cannot be looked at is `Other`.
    pub fn next(&mut self, most: usize, out: &mut Vec<Entry>) -> Result<bool, FileError> {
        let mut used = 0;
        let read = if self.ended { Ok(true) } else { timed("list", &self.tree.shared.observer, || self.read(most, out, &mut used)) };
        out.truncate(used);
        self.ended = read.map_err(|errno| self.tree.tell("list", errno))?;
        Ok(!self.ended)
    }

    /// One getdents, or more while all that came is hidden. The buffer bounds the number of entries: none is smaller than 24 bytes.
    fn read(&self, most: usize, out: &mut Vec<Entry>, used: &mut usize) -> Result<bool, Errno> {
        let mut buffer = Vec::<u8>::with_capacity(most.saturating_mul(DIRENT_LEAST).clamp(BUFFER_LEAST, BUFFER_MOST));
        let mut scratch = Vec::new();
        let mut raw = RawDir::new(&self.directory, buffer.spare_capacity_mut());
        loop {
            let item = match raw.next() {
                None => return Ok(true),
                Some(Err(Errno::INTR)) => continue,
                // The directory was removed while it was read.
                Some(Err(Errno::NOENT)) => return Ok(true),
                Some(item) => item?,
            };
            let name = item.file_name();
            if !skipped(name.to_bytes()) {
                let entry = slot(out, *used);
                if self.describe(name, item.file_type(), entry, &mut scratch)? {
                    *used += 1;
                }
            }
            if raw.is_buffer_empty() && *used > 0 {
                return Ok(false);
            }
        }
    }

    /// Fills `entry`; false if there is no such entry any more.
    fn describe(&self, name: &CStr, file_type: FileType, entry: &mut Entry, scratch: &mut Vec<u8>) -> Result<bool, Errno> {
        entry.name.clear();
        entry.name.extend_from_slice(name.to_bytes());
        if self.detail == Detail::Names {
            entry.kind = kind(file_type);
            return Ok(true);
        }
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                // A link that leads nowhere or out is shown as what it is: a link's own facts, of no kind.
                describe(&self.follow(name, scratch).unwrap_or(stat), entry);
            }
            Ok(stat) => describe(&stat, entry),
            Err(Errno::NOENT) => return Ok(false),
            // Readable but not searchable, or a mount point of a dead server: the name is all we know.
            Err(Errno::ACCESS | Errno::PERM | Errno::STALE | Errno::IO | Errno::TIMEDOUT | Errno::HOSTDOWN) => {
                let name = std::mem::take(&mut entry.name);
                *entry = Entry { name, ..blank(b"") };
            }
            Err(errno) => return Err(errno),
        }
        Ok(true)
    }

    fn follow(&self, name: &CStr, scratch: &mut Vec<u8>) -> Result<Stat, Fault> {
        scratch.clear();
        scratch.extend_from_slice(&self.path);
        scratch.extend_from_slice(name.to_bytes());
        Ok(fstat(self.tree.home().open(scratch, OFlags::PATH)?)?)
    }
}

fn skipped(name: &[u8]) -> bool {
    matches!(name, b"." | b"..") || is_hidden(name)
}

fn slot(out: &mut Vec<Entry>, used: usize) -> &mut Entry {
    if used == out.len() {
        out.push(blank(b""));
    }
    &mut out[used]
}

/// The smallest record of getdents64: 19 bytes and a name of one byte with its NUL, in steps of 8.
const DIRENT_LEAST: usize = 24;
/// Holds the largest record: FUSE has names of up to 1,024 bytes.
const BUFFER_LEAST: usize = 2048;
const BUFFER_MOST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;
    use std::os::unix::fs::symlink;

    use super::super::scratch::{Scratch, path};
    use super::*;
    use crate::observe::id::Incarnation;

    fn all(tree: &Arc<Tree>, name: &str, detail: Detail) -> Vec<Entry> {
        let mut listing = tree.list(&path(name), detail).unwrap();
        let (mut entries, mut batch) = (Vec::new(), Vec::new());
        while listing.next(10, &mut batch).unwrap() {
            assert!(!batch.is_empty());
            entries.extend(batch.iter().cloned());
        }
        entries.extend(batch.iter().cloned());
        assert_eq!((listing.next(10, &mut batch), batch.len()), (Ok(false), 0));
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    #[test]
    fn shows_each_kind_once_and_no_upload() {
        let scratch = Scratch::new();
        scratch.directory("home/sub/deep");
        scratch.directory("outside");
        scratch.file("home/file", b"12345");
        scratch.file("home/sub/deep/file", b"123");
        scratch.file(&format!("home/.ftps-gateway.{}.7.part", Incarnation::now()), b"");
        symlink("sub", scratch.at("home/inside")).unwrap();
        symlink("../../file", scratch.at("home/sub/deep/up")).unwrap();
        symlink("../outside", scratch.at("home/outside")).unwrap();
        symlink("/etc/passwd", scratch.at("home/passwd")).unwrap();
        symlink("nowhere", scratch.at("home/dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scratch.at("home/socket")).unwrap();
        let tree = scratch.tree();

        let kinds = |entries: Vec<Entry>| entries.into_iter().map(|entry| (String::from_utf8(entry.name).unwrap(), entry.kind)).collect::<Vec<_>>();
        use EntryKind::{Directory, File, Other};
        let expected =
            [("dangling", Other), ("file", File), ("inside", Directory), ("outside", Other), ("passwd", Other), ("socket", Other), ("sub", Directory)];
        assert_eq!(kinds(all(&tree, "/", Detail::Facts)), expected.map(|(name, kind)| (name.to_owned(), kind)));
        let names: Vec<_> = kinds(all(&tree, "/", Detail::Names)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected.map(|(name, _)| name));
        let deep = all(&tree, "/inside/deep", Detail::Facts);
        assert_eq!(deep.iter().map(|entry| (entry.kind, entry.size)).collect::<Vec<_>>(), [(File, 3), (File, 5)]);
        let current = tree.list(&path("/sub"), Detail::Facts).unwrap().current().unwrap();
        assert_eq!((current.kind, current.unique), (EntryKind::Current, tree.entry(&path("/sub")).unwrap().unique));
        let failures = ["/file", "/none", "/outside", "/passwd"].map(|name| tree.list(&path(name), Detail::Facts).unwrap_err());
        assert_eq!(failures, [FileError::NotADirectory, FileError::NotFound, FileError::Denied, FileError::Denied]);
    }

    #[test]
    fn an_empty_directory_ends_at_once() {
        let scratch = Scratch::new();
        scratch.directory("home/empty");
        assert!(all(&scratch.tree(), "/empty", Detail::Facts).is_empty());
    }

    /// No batch is larger than asked for, so what a listing holds does not depend on the directory.
    #[test]
    fn a_hundred_thousand_entries_in_flat_memory() {
        let shared = std::path::Path::new("/dev/shm");
        let scratch = if shared.is_dir() { Scratch::under(shared) } else { Scratch::new() };
        scratch.directory("home");
        for number in 0..100_000_u32 {
            std::fs::File::create(scratch.at(format!("home/file-{number:06}"))).unwrap();
        }
        let mut listing = scratch.tree().list(&path("/"), Detail::Facts).unwrap();
        let (mut batch, mut seen) = (Vec::new(), HashSet::new());
        let mut more = true;
        while more {
            more = listing.next(500, &mut batch).unwrap();
            assert!(batch.len() <= 500);
            seen.extend(batch.iter().map(|entry| entry.unique));
        }
        assert_eq!(seen.len(), 100_000);
        assert!(batch.capacity() <= 1000);
    }

    #[test]
    fn goes_on_while_entries_vanish() {
        let scratch = Scratch::new();
        scratch.directory("home");
        for number in 0..2_000_u32 {
            scratch.file(&format!("home/{number}"), b"");
        }
        let mut listing = scratch.tree().list(&path("/"), Detail::Facts).unwrap();
        let (mut batch, mut seen) = (Vec::new(), 0);
        for number in 0..2_000_u32 {
            std::fs::remove_file(scratch.at(format!("home/{number}"))).unwrap();
            if number % 100 == 0 {
                listing.next(100, &mut batch).unwrap();
                seen += batch.len();
            }
        }
        while listing.next(100, &mut batch).unwrap() {}
        assert!(seen > 0);
    }
}
