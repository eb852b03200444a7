//! Whether an upload could be stored, and where: everything that can be known before its first byte.
//!
//! Gets: a path, a [`StoreMode`], the announced size. Gives: a [`StorePlan`] that pins the directory and the old file by descriptor.
//! Never: has a side effect. The temporary comes with [`StorePlan::begin`], after the data connection has proved itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ftps_proto::machine::io::{FileError, StoreMode};
use ftps_proto::path::VirtualPath;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::blocking;
use super::fault::Fault;
use super::resolve::{Beneath, split};
use super::stored::Landed;
use super::temporary::is_hidden;
use super::tree::{Tree, available, size, visible};
use super::write::{Landing, Upload, Waiting, Writer};
use crate::observe::id::Ulid;

/// An upload that is allowed to begin. Holds descriptors, no name on disk.
///
/// APPE and REST copy the old file's first bytes into the new one, so that an interrupted one leaves the old file as it was and readers never see half of
/// it. A file that somebody else changes meanwhile is not overwritten: the commit fails with `Busy`, and none of their bytes are lost. The price is the
/// copy (free where extents are shared: XFS, btrfs, NFS 4.2), and that a broken upload leaves nothing to resume from.
#[derive(Debug)]
pub struct StorePlan {
    tree: Arc<Tree>,
    place: Place,
    unique: Option<VirtualPath>,
    landing: Landing,
    keep: Option<Keep>,
    mode: u32,
    in_memory: bool,
}

/// A directory, a name in it, and the regular file that has it now.
#[derive(Debug)]
struct Place {
    directory: OwnedFd,
    name: Vec<u8>,
    old: Option<Stat>,
}

/// The part of the old file that the new one begins with.
#[derive(Debug)]
pub(super) struct Keep {
    /// The old file.
    pub(super) source: OwnedFd,
    /// Its first bytes to be kept; more than 0.
    pub(super) length: u64,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified: (i64, u64),
    pub(super) changed: (i64, u64),
}

impl Tree {
    /// Checks an upload: the directory is there and may be written, the target is no directory and nothing special, the offset is inside the old file, the
    /// announced size fits. A link at the end of the path is followed, as far as it stays inside. May block; has no side effect.
    ///
    /// For `Unique`, `path` is a directory or the hinted name; see [`StorePlan::unique`].
    ///
    /// # Errors
    /// `IsADirectory`, `NotRegular`, `NotFound` (the directory), `Denied`, `ReadOnly`, `BadOffset`, `NoSpace`, `BadName`, `Loop`, and what the system says.
    pub fn plan_store(self: &Arc<Self>, path: &VirtualPath, mode: StoreMode, announced: Option<u64>) -> Result<StorePlan, FileError> {
        let unique = match mode {
            StoreMode::Unique => Some(self.choose(path)?),
            StoreMode::Replace | StoreMode::Restart(_) | StoreMode::Append => None,
        };
        self.attempt("store", |home| {
            let place = locate(home, unique.as_ref().unwrap_or(path))?;
            accessat(&place.directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?;
            if place.old.is_some() {
                // A rename needs no right to the file it replaces; the client is promised one (550 on a read-only file).
                accessat(&place.directory, &place.name[..], Access::WRITE_OK, AtFlags::empty())?;
            }
            if announced.is_some_and(|bytes| available(&place.directory).is_ok_and(|free| bytes > free)) {
                return Err(FileError::NoSpace.into());
            }
            let (landing, keep) = place.landing(mode)?;
            let mode = place.old.map_or(self.shared.config.file_mode, |old| old.st_mode) & 0o777;
            Ok(StorePlan { tree: self.clone(), place, unique: unique.clone(), landing, keep, mode, in_memory: false })
        })
    }

    /// A name for STOU: `<hint>.<ulid>`. 80 random bits: nobody has it, and nobody guesses it before the upload is whole.
    fn choose(&self, path: &VirtualPath) -> Result<VirtualPath, FileError> {
        let (directory, hint) = match self.check_directory(path) {
            Ok(()) => (path.clone(), &b"upload"[..]),
            Err(_) => (path.parent(), path.name().unwrap_or(b"upload")),
        };
        let suffix = format!(".{}", Ulid::now());
        let mut hint = &hint[..hint.len().min(NAME_MOST - suffix.len())];
        // No half a character at the cut.
        if let Err(cut) = std::str::from_utf8(hint)
            && cut.error_len().is_none()
        {
            hint = &hint[..cut.valid_up_to()];
        }
        directory.join(&[hint, suffix.as_bytes()].concat()).map_err(|_| FileError::BadName)
    }
}

impl StorePlan {
    /// The name that STOU chose.
    pub fn unique(&self) -> Option<&VirtualPath> {
        self.unique.as_ref()
    }

    /// Whether nothing of it waits: see [`Tree::plan_store_now`].
    #[cfg(test)]
    pub(super) fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    pub(super) fn in_memory(self) -> Self {
        Self { in_memory: true, ..self }
    }

    /// The first side effect: makes the temporary. May block.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(self) -> Result<Writer, FileError> {
        let (kept, at_once) = (self.kept(), self.in_memory);
        let waiting = Waiting::default();
        Ok(Writer::new(self.open(&waiting)?, waiting, kept, at_once))
    }

    /// The whole of a small upload in one hop to the pool: temporary, bytes, commit. When the future is dropped: as [`Writer::commit`].
    ///
    /// # Errors
    /// What the system says; then nothing has changed.
    pub async fn upload(self, bytes: Vec<u8>) -> Result<Landed, FileError> {
        if self.in_memory {
            // Nothing of it waits: the hop would cost more than the work.
            return self.store(&bytes);
        }
        let kept = self.kept();
        let waiting = Arc::new(Waiting::default());
        // Only this future keeps it: dropped, it tells the pool.
        let told = Arc::downgrade(&waiting);
        blocking(move || {
            let upload = self.open(told.upgrade().as_deref().ok_or(FileError::Io)?)?;
            upload.write(&bytes, kept)?;
            upload.commit()
        })
        .await
    }

    /// Bytes of the old file that the new one begins with: what the client sends comes behind them.
    pub fn kept(&self) -> u64 {
        self.keep.as_ref().map_or(0, |keep| keep.length)
    }

    fn open(self, waiting: &Waiting) -> Result<Upload, FileError> {
        let Place { directory, name, old: _ } = self.place;
        Upload::create(self.tree, directory, name, self.landing, self.keep, self.mode, waiting)
    }

    pub(super) fn store(self, bytes: &[u8]) -> Result<Landed, FileError> {
        let (kept, waiting) = (self.kept(), Waiting::default());
        let upload = self.open(&waiting)?;
        upload.write(bytes, kept)?;
        upload.commit()
    }
}

impl Place {
    fn landing(&self, mode: StoreMode) -> Result<(Landing, Option<Keep>), Fault> {
        let kept = match mode {
            StoreMode::Unique => return Ok((Landing::New, None)),
            StoreMode::Replace | StoreMode::Restart(0) => return Ok((Landing::Over, None)),
            StoreMode::Restart(offset) => Some(offset),
            StoreMode::Append => None,
        };
        if self.old.is_none() {
            return if kept.is_some() { Err(FileError::BadOffset.into()) } else { Ok((Landing::If(None), None)) };
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source = openat(&self.directory, &self.name[..], flags, Mode::empty())?;
        let stat = fstat(&source)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(FileError::NotRegular.into());
        }
        let length = kept.unwrap_or(size(&stat));
        if length > size(&stat) {
            return Err(FileError::BadOffset.into());
        }
        Ok((Landing::If(Some(Version::of(&stat))), (length > 0).then_some(Keep { source, length })))
    }
}

impl Version {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: size(stat),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Where a new file of this name belongs. Links are followed as the kernel follows them, one at a time, because a rename would replace the link itself; each
/// step is resolved beneath the home again.
fn locate(home: &Beneath, path: &VirtualPath) -> Result<Place, Fault> {
    let mut path = visible(path)?.to_vec();
    for _ in 0..LINKS_MOST {
        let (directory, name) = home.open_parent(&path)?;
        match name {
            b"" | b"." | b".." => return Err(FileError::IsADirectory.into()),
            hidden if is_hidden(hidden) => return Err(FileError::NotFound.into()),
            _ => {}
        }
        let old = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        match old.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None | Some(FileType::RegularFile) => return Ok(Place { directory, name: name.to_vec(), old }),
            Some(FileType::Directory) => return Err(FileError::IsADirectory.into()),
            Some(FileType::Symlink) if home.refuses_links() => return Err(FileError::Loop.into()),
            Some(FileType::Symlink) => {}
            Some(FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown) => {
                return Err(FileError::NotRegular.into());
            }
        }
        let target = readlinkat(&directory, name, Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            return Err(FileError::Denied.into());
        }
        path = [split(&path).0, b"/", &target].concat();
    }
    Err(FileError::Loop.into())
}

/// NAME_MAX of every file system we know (linux/limits.h).
const NAME_MOST: usize = 255;
/// Links followed at the end of a path; the kernel's own limit is 40 for a whole path.
const LINKS_MOST: usize = 8;
