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

use super::fault::Fault;
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
        let read = if self.ended { Ok(true) } else { self.read(most, out, &mut used) };
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
