//! Writing an upload, and giving it its name when it is whole.
//!
//! Gets: a plan's descriptors, then buffers of bytes. Gives: the complete file under its name, by one rename, or nothing.
//! Never: shows a part of a file, keeps a part of a broken upload, or relies on O_TMPFILE, renameat2 flags or file locks (NFS and SMB lack them).
//!
//! Errors of the disk come out at the next write or at the commit. On NFS and SMB some come out at fsync only, which is why the commit does that there.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ftps_proto::machine::io::FileError;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, copy_file_range, fchmod, fstat, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::fault::Fault;
use super::plan::{Keep, Version};
use super::read::read_at;
use super::temporary::Temporary;
use super::tree::Tree;
use super::{CHUNK, Fsync, blocking};

/// An upload under way. Dropped without a commit, it leaves nothing.
pub struct Writer {
    /// `None` only while a commit runs or after it.
    upload: Option<Arc<Upload>>,
    /// Where the next buffer goes.
    position: u64,
    /// The buffer that the pool writes just now.
    running: Option<JoinHandle<(Vec<u8>, Result<(), FileError>)>>,
}

/// Under which condition the new file gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// In the place of whatever file is there (STOR).
    Over,
    /// Only while the old file is still as it was; `None`: while there is none (APPE, REST).
    If(Option<Version>),
    /// Only if nobody has the name (STOU).
    New,
}

/// The temporary and what becomes of it: everything here blocks, and runs on the pool.
pub(super) struct Upload {
    tree: Arc<Tree>,
    temporary: Temporary,
    name: Vec<u8>,
    landing: Landing,
    keep: Option<Keep>,
    /// Whether the kept part of the old file is in. One operation runs at a time, so this needs no more than to be shared.
    kept: AtomicBool,
    /// Nobody wants this upload any more: stop copying.
    given_up: AtomicBool,
    mode: u32,
}

impl Writer {
    /// Bytes go behind the first `position` ones.
    pub(super) fn new(upload: Upload, position: u64) -> Self {
        Self { upload: Some(Arc::new(upload)), position, running: None }
    }

    /// Writes a buffer, in order, while the caller fills the next one: returns once the buffer before it is written, and gives that one back, cleared (the
    /// first time, one without capacity). So there are two buffers to an upload. 64 to 256 KiB each is best. When the future is dropped before it is
    /// done, the buffer is not written.
    ///
    /// # Errors
    /// Of the buffer before: `NoSpace`, `Quota`, `Io` and what else the system says. Then the upload is over: drop it.
    pub async fn write(&mut self, buffer: Vec<u8>) -> Result<Vec<u8>, FileError> {
        let recycled = self.settle().await?;
        let Some(upload) = self.upload.clone() else { return Err(FileError::Io) };
        let position = self.position;
        self.position += buffer.len() as u64;
        self.running = Some(spawn_blocking(move || {
            let mut buffer = buffer;
            let written = upload.write(&buffer, position);
            buffer.clear();
            (buffer, written)
        }));
        Ok(recycled)
    }

    /// Waits for the last buffer, syncs by `storage.fsync`, and gives the file its name. When the future is dropped, the file may still appear, whole.
    ///
    /// # Errors
    /// What the system says; `Busy` when APPE or REST finds the old file changed; `Exists` for STOU. Then nothing has changed.
    pub async fn commit(mut self) -> Result<(), FileError> {
        self.settle().await?;
        let Some(upload) = self.upload.take() else { return Err(FileError::Io) };
        blocking(move || upload.commit()).await
    }

    async fn settle(&mut self) -> Result<Vec<u8>, FileError> {
        // The handle stays in its place while it is awaited: a dropped future loses no error.
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let ended = running.await;
        self.running = None;
        let result = ended.map_err(|_| FileError::Io).and_then(|(buffer, written)| written.map(|()| buffer));
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Removes the temporary, on the pool: freeing the blocks of a large file takes its time.
    fn give_up(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        upload.given_up.store(true, Ordering::Relaxed);
        match Handle::try_current() {
            // A runtime that goes down drops the closure instead of running it, which removes the temporary all the same.
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(upload))),
            Err(_) => drop(upload),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Upload {
    /// Makes the temporary in `directory`, to become `name` there.
    pub(super) fn create(tree: Arc<Tree>, directory: OwnedFd, name: Vec<u8>, landing: Landing, keep: Option<Keep>, mode: u32) -> Result<Self, FileError> {
        let temporary = Temporary::create(directory, &tree.shared.names).map_err(|errno| tree.tell("create", errno))?;
        let kept = AtomicBool::new(keep.is_none());
        Ok(Self { tree, temporary, name, landing, keep, kept, given_up: AtomicBool::new(false), mode })
    }

    /// Writes all of `bytes` at `position`; before the first ones, the part of the old file that is kept.
    pub(super) fn write(&self, bytes: &[u8], position: u64) -> Result<(), FileError> {
        let work = || {
            self.copy_kept()?;
            Ok(write_all(self.temporary.file(), bytes, position)?)
        };
        work().map_err(|fault: Fault| self.tree.tell("write", fault))
    }

    /// Gives the file its name.
    pub(super) fn commit(&self) -> Result<(), FileError> {
        self.finish().map_err(|fault| self.tree.tell("commit", fault))
    }

    fn finish(&self) -> Result<(), Fault> {
        self.copy_kept()?;
        let file = self.temporary.file();
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        let stat = fstat(file)?;
        let shared = &self.tree.shared;
        if shared.syncs(file, &stat)? {
            fsync(file)?;
        }
        match self.landing {
            Landing::Over => self.rename(&stat)?,
            Landing::If(version) => {
                self.check_unchanged(version)?;
                self.rename(&stat)?;
            }
            Landing::New => self.link(&stat)?,
        }
        if shared.config.fsync == Fsync::Always {
            let directory = openat(self.temporary.directory(), ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            fsync(directory)?;
        }
        Ok(())
    }

    /// A late check: what is changed between it and the rename is lost, but that is microseconds, not the length of an upload.
    fn check_unchanged(&self, version: Option<Version>) -> Result<(), Fault> {
        let now = match statat(self.temporary.directory(), &self.name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(Version::of(&stat)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        if now == version { Ok(()) } else { Err(FileError::Busy.into()) }
    }

    fn rename(&self, stat: &Stat) -> Result<(), Errno> {
        let directory = self.temporary.directory();
        match renameat(directory, self.temporary.name(), directory, &self.name[..]) {
            // A NFS server whose first answer was lost has done it already (RFC 1813 §4.5): the name leads to our file.
            Err(Errno::NOENT) if self.is_named(stat) => {}
            done => done?,
        }
        self.temporary.disarm();
        Ok(())
    }

    fn is_named(&self, stat: &Stat) -> bool {
        let named = statat(self.temporary.directory(), &self.name[..], AtFlags::SYMLINK_NOFOLLOW);
        named.is_ok_and(|named| (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Takes a name that nobody has: link(2) refuses an existing one. Where there are no hard links (SMB, FAT, some FUSE), the name is first taken by an
    /// empty file (O_EXCL), which the rename then replaces.
    fn link(&self, stat: &Stat) -> Result<(), Errno> {
        let directory = self.temporary.directory();
        match linkat(directory, self.temporary.name(), directory, &self.name[..], AtFlags::empty()) {
            // Dropping the temporary removes its first name.
            Ok(()) => return Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(directory, &self.name[..], flags, Mode::RUSR | Mode::WUSR)?;
        self.rename(stat).inspect_err(|_| {
            let _ = unlinkat(directory, &self.name[..], AtFlags::empty());
        })
    }

    fn copy_kept(&self) -> Result<(), Fault> {
        let Some(keep) = self.keep.as_ref().filter(|_| !self.kept.load(Ordering::Relaxed)) else { return Ok(()) };
        let mut offset = self.copy_shared(keep)?;
        let mut buffer = vec![0; if offset < keep.length { CHUNK } else { 0 }];
        while offset < keep.length {
            self.check_wanted()?;
            let most = usize::try_from(keep.length - offset).unwrap_or(CHUNK).min(CHUNK);
            match read_at(&keep.source, &mut buffer[..most], offset)? {
                0 => return Err(FileError::Busy.into()),
                n => {
                    write_all(self.temporary.file(), &buffer[..n], offset)?;
                    offset += n as u64;
                }
            }
        }
        self.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// As much as the kernel or the file server copies by itself; what it does not is left to reads and writes.
    fn copy_shared(&self, keep: &Keep) -> Result<u64, Fault> {
        let (mut from, mut to) = (0, 0);
        while to < keep.length {
            self.check_wanted()?;
            let most = usize::try_from(keep.length - to).unwrap_or(COPY_MOST).min(COPY_MOST);
            match copy_file_range(&keep.source, Some(&mut from), self.temporary.file(), Some(&mut to), most) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
                Err(Errno::DQUOT) => return Err(Errno::DQUOT.into()),
                Err(_) => break,
            }
        }
        Ok(to)
    }

    fn check_wanted(&self) -> Result<(), Fault> {
        if self.given_up.load(Ordering::Relaxed) { Err(FileError::Io.into()) } else { Ok(()) }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut position: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, position) {
            // A file system that takes nothing and says nothing is full.
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => {
                bytes = &bytes[written..];
                position += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Bytes that one call copies: small enough that a given-up upload stops soon.
const COPY_MOST: usize = 64 << 20;
