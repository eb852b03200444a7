//! One user's home: every operation on files that is done in one go.
//!
//! Gets: virtual paths. Gives: facts, changes, and the openings of `dir`, `read` and `plan`.
//! Never: follows a path out of the home, shows or touches an upload under way, or retries for ever.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ftps_proto::listing::{Entry, EntryKind};
use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use ftps_proto::time::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::fs::{chmodat, fstat, fstatvfs, renameat, statat, unlinkat, utimensat};
use rustix::io::Errno;

use super::CHUNK;
use super::fault::Fault;
use super::resolve::{Beneath, split};
use super::root::Shared;
use super::temporary::is_hidden;

/// A user's home. All functions make system calls that may block; see [`super::blocking`].
pub struct Tree {
    pub(super) shared: Arc<Shared>,
    path: VirtualPath,
    home: ArcSwap<Beneath>,
}

impl Tree {
    pub(super) fn new(shared: Arc<Shared>, path: VirtualPath, home: Beneath) -> Self {
        Self { shared, path, home: ArcSwap::from_pointee(home) }
    }

    /// What `path` is, links followed. The entry's name is the whole virtual path, as MLST shows it.
    ///
    /// # Errors
    /// `NotFound` (also for a dangling link), `Denied` (also for a link that leads out).
    pub fn entry(&self, path: &VirtualPath) -> Result<Entry, FileError> {
        self.attempt("stat", |home| {
            let file = home.open(visible(path)?, OFlags::PATH)?;
            let mut entry = blank(path.as_bytes());
            describe(&fstat(&file)?, &mut entry);
            Ok(entry)
        })
    }

    /// Whether there is something to rename or delete at `path`: a link that leads nowhere is something, too.
    ///
    /// # Errors
    /// `NotFound`, `Denied`.
    pub fn check_exists(&self, path: &VirtualPath) -> Result<(), FileError> {
        if path.is_root() {
            return Ok(());
        }
        self.attempt("stat", |home| {
            let (parent, name) = home.open_parent(visible(path)?)?;
            statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(())
        })
    }

    /// Whether `path` is a directory that can be entered.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `Denied`.
    pub fn check_directory(&self, path: &VirtualPath) -> Result<(), FileError> {
        self.attempt("stat", |home| {
            // The trailing `/.` asks for the right to search the directory itself.
            let inside = [visible(path)?, b"/."].concat();
            home.open(&inside, OFlags::PATH | OFlags::DIRECTORY)?;
            Ok(())
        })
    }

    /// Makes a directory with `storage.dir_mode`.
    ///
    /// # Errors
    /// `Exists`, `NotFound` (its parent), and what the system says.
    pub fn make_directory(&self, path: &VirtualPath) -> Result<(), FileError> {
        if path.is_root() {
            return Err(FileError::Exists);
        }
        self.attempt("mkdir", |home| {
            let (parent, name) = home.open_parent(visible(path)?)?;
            Ok(self.shared.make_directory(&parent, name)?)
        })
    }

    /// Removes an empty directory; a link to one is not a directory.
    ///
    /// # Errors
    /// `NotEmpty` (also when an upload runs in it), `NotADirectory`, and what the system says.
    pub fn remove_directory(&self, path: &VirtualPath) -> Result<(), FileError> {
        self.unlink("rmdir", path, AtFlags::REMOVEDIR)
    }

    /// Removes a file, or a link itself.
    ///
    /// # Errors
    /// `IsADirectory`, and what the system says.
    pub fn remove_file(&self, path: &VirtualPath) -> Result<(), FileError> {
        self.unlink("unlink", path, AtFlags::empty())
    }

    /// Renames, also into another directory; replaces what the system lets it replace (a file by a file, an empty directory by a directory).
    ///
    /// # Errors
    /// `CrossDevice` across file systems (nothing is copied), `Denied` for the home itself, and what the system says.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> Result<(), FileError> {
        if from.is_root() || to.is_root() {
            return Err(FileError::Denied);
        }
        self.attempt("rename", |home| {
            let (from_parent, from_name) = home.open_parent(visible(from)?)?;
            let (to_parent, to_name) = home.open_parent(visible(to)?)?;
            Ok(renameat(&from_parent, from_name, &to_parent, to_name)?)
        })
    }

    /// Sets the modification time of a file or directory.
    ///
    /// # Errors
    /// `NotRegular` for anything else, and what the system says.
    pub fn set_modified(&self, path: &VirtualPath, time: Timestamp) -> Result<(), FileError> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
        };
        self.attempt("utimens", |home| {
            let (file, _) = open_plain(home, path)?;
            Ok(utimensat(&file, "", &times, AtFlags::EMPTY_PATH)?)
        })
    }

    /// Sets the permission bits of a file or directory; those beyond 0777 cannot be set.
    ///
    /// # Errors
    /// `NotRegular` for anything else, and what the system says.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), FileError> {
        self.attempt("chmod", |home| {
            let (file, stat) = open_plain(home, path)?;
            // A directory keeps its set-group-id and sticky bits, as chmod(1) does; a file loses all three.
            let keep = if FileType::from_raw_mode(stat.st_mode).is_dir() { 0o7000 } else { 0 };
            let mode = Mode::from_raw_mode((stat.st_mode & keep) | (mode & 0o777));
            // fchmod refuses a descriptor that was opened without the right to read; this link is that very descriptor, so nothing can come between.
            Ok(chmodat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), mode, AtFlags::empty())?)
        })
    }

    /// Bytes that may still be written where `path` lies.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    pub fn available(&self, path: &VirtualPath) -> Result<u64, FileError> {
        self.attempt("statvfs", |home| Ok(available(&home.open(visible(path)?, OFlags::PATH)?)?))
    }

    /// The size in TYPE A: every LF without a CR before it counts as two bytes. Reads the whole file.
    ///
    /// # Errors
    /// `NotRegular`; `Denied` for files over 256 MiB, which RFC 3659 §4 lets a server refuse; and what the system says.
    pub fn ascii_size(&self, path: &VirtualPath) -> Result<u64, FileError> {
        self.attempt("read", |home| {
            let (file, stat) = open_regular(home, path)?;
            if size(&stat) > ASCII_SIZE_MOST {
                return Err(FileError::Denied.into());
            }
            Ok(count_ascii(&file)?)
        })
    }

    /// Whether this tree's home is the directory that was opened just now.
    pub(super) fn is_at(&self, opened: &Beneath) -> bool {
        let same = |one: Stat, other: Stat| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
        matches!((fstat(self.home.load().directory()), fstat(opened.directory())), (Ok(one), Ok(other)) if same(one, other))
    }

    /// Does `work` in the home, which is opened anew when a file server has forgotten it (ESTALE); says what went wrong.
    pub(super) fn attempt<T>(&self, operation: &'static str, mut work: impl FnMut(&Beneath) -> Result<T, Fault>) -> Result<T, FileError> {
        let mut tries = 0;
        loop {
            let fault = match work(&self.home.load()) {
                Ok(done) => return Ok(done),
                Err(Fault::System(Errno::STALE)) if tries < STALE_MOST => match self.shared.home(&self.path) {
                    Ok(home) => {
                        tries += 1;
                        self.home.store(Arc::new(home));
                        continue;
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            return Err(fault.tell(operation, &self.shared.observer));
        }
    }

    /// Says what went wrong outside of [`Tree::attempt`].
    pub(super) fn tell(&self, operation: &'static str, fault: impl Into<Fault>) -> FileError {
        fault.into().tell(operation, &self.shared.observer)
    }

    /// The home as it is now.
    pub(super) fn home(&self) -> Arc<Beneath> {
        self.home.load_full()
    }

    fn unlink(&self, operation: &'static str, path: &VirtualPath, flags: AtFlags) -> Result<(), FileError> {
        if path.is_root() {
            return Err(FileError::Denied);
        }
        self.attempt(operation, |home| {
            let (parent, name) = home.open_parent(visible(path)?)?;
            Ok(unlinkat(&parent, name, flags)?)
        })
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("home", &self.path).finish_non_exhaustive()
    }
}

/// What openat2 gets for `path`; an upload under way does not exist.
pub(super) fn visible(path: &VirtualPath) -> Result<&[u8], FileError> {
    let relative = path.relative();
    if is_hidden(split(relative).1) { Err(FileError::NotFound) } else { Ok(relative) }
}

/// Opens a regular file for reading.
pub(super) fn open_regular(home: &Beneath, path: &VirtualPath) -> Result<(OwnedFd, Stat), Fault> {
    let file = home.open(visible(path)?, OFlags::RDONLY)?;
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        FileType::Directory => Err(FileError::IsADirectory.into()),
        _ => Err(FileError::NotRegular.into()),
    }
}

/// Opens a file or directory for attributes only, which needs no right to read it.
fn open_plain(home: &Beneath, path: &VirtualPath) -> Result<(OwnedFd, Stat), Fault> {
    let file = home.open(visible(path)?, OFlags::PATH)?;
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => Ok((file, stat)),
        _ => Err(FileError::NotRegular.into()),
    }
}

/// Free bytes on the file system of an open file.
pub(super) fn available(file: &OwnedFd) -> Result<u64, Errno> {
    let space = fstatvfs(file)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// A file's size; the kernel's is never negative.
pub(super) fn size(stat: &Stat) -> u64 {
    stat.st_size.unsigned_abs()
}

/// An entry of which only the name is known.
pub(super) fn blank(name: &[u8]) -> Entry {
    Entry { name: name.to_vec(), kind: EntryKind::Other, size: 0, modified: Timestamp::default(), mode: 0, links: 1, unique: 0 }
}

/// Everything but the name.
pub(super) fn describe(stat: &Stat, entry: &mut Entry) {
    entry.kind = kind(FileType::from_raw_mode(stat.st_mode));
    entry.size = size(stat);
    // The nanoseconds are below 1e9 by the system's promise.
    entry.modified = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    entry.mode = stat.st_mode & 0o7777;
    entry.links = stat.st_nlink;
    entry.unique = stat.st_ino;
}

/// A link that was not followed is `Other`.
pub(super) fn kind(file_type: FileType) -> EntryKind {
    match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink | FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => EntryKind::Other,
    }
}

fn count_ascii(file: &OwnedFd) -> Result<u64, Errno> {
    let mut buffer = vec![0_u8; CHUNK];
    let (mut total, mut before) = (0_u64, 0_u8);
    loop {
        let n = match rustix::io::read(file, &mut buffer[..]) {
            Err(Errno::INTR) => continue,
            done => done?,
        };
        if n == 0 {
            return Ok(total);
        }
        for byte in &buffer[..n] {
            total += 1 + u64::from(*byte == b'\n' && before != b'\r');
            before = *byte;
        }
    }
}

/// How often a home is opened anew within one operation.
const STALE_MOST: usize = 2;
/// Largest file whose size in TYPE A is counted: about a third of a second.
const ASCII_SIZE_MOST: u64 = 256 << 20;
