//! The files of a segment: created, locked, checked, made anew when damaged, removed when nobody uses them any more.
//!
//! Gets: a directory and a size. Gives: one data file with its space reserved, and a lock file for each stripe.
//! Never: maps a file (a mapped file that is truncated kills the process), follows a symbolic link, or uses a directory of another user.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use thiserror::Error;

use super::layout::{Geometry, HEADER_USED, LAYOUT, STRIPES};

/// Why there is no segment.
#[derive(Debug, Error)]
pub enum SegmentError {
    /// The size is too small.
    #[error("a shared memory segment of {size} bytes is too small: use at least size={}KiB", least.div_ceil(1024))]
    TooSmall {
        /// What was asked for.
        size: u64,
        /// The least that works, in bytes.
        least: u64,
    },
    /// The file system has not enough room.
    #[error("{} has no room for a segment of {size} bytes: make that file system larger or size= smaller", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        size: u64,
    },
    /// The directory is not ours alone.
    #[error("{} belongs to another user or may be written by others: remove it or name another directory", .0.display())]
    Foreign(PathBuf),
    /// Another process is making it and does not finish.
    #[error("another process holds {} for too long: end it", .0.display())]
    Held(PathBuf),
    /// Anything else that the kernel says.
    #[error("the segment in {} cannot be used: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) geometry: Geometry,
    pub(crate) data: File,
    /// The lock of the process and, inside, of this file description: a file lock does not hold between threads.
    pub(crate) stripes: Vec<Mutex<File>>,
    init: File,
    /// Held shared while the segment is used.
    _alive: File,
}

impl Segment {
    /// Opens the segment of this size in `directory`, or makes it. Removes segments of other sizes and layouts that nobody uses.
    pub(crate) fn open(directory: &Path, size: u64) -> Result<Self, SegmentError> {
        let geometry = Geometry::new(size).map_err(|least| SegmentError::TooSmall { size, least })?;
        let failed = |error| SegmentError::Io { path: directory.to_owned(), error };
        own_directory(directory)?;
        let name = format!("{PREFIX}{LAYOUT}-{size}");
        remove_unused(directory, &name);
        let home = directory.join(name);
        for _ in 0..TRIES {
            own_directory(&home)?;
            let Some(alive) = hold_alive(&home).map_err(failed)? else { continue };
            let file = |name: &str| open_file(&home.join(name)).map_err(failed);
            let stripes = (0..STRIPES).map(|stripe| file(&format!("stripe-{stripe}")).map(Mutex::new)).collect::<Result<_, _>>()?;
            let segment = Self { geometry, data: file("data")?, stripes, init: file("init")?, _alive: alive };
            segment.initialise(&home, INIT_WAIT)?;
            return Ok(segment);
        }
        Err(SegmentError::Held(home))
    }

    /// Whether the file is as long as it must be and says what it is.
    pub(crate) fn is_sound(&self) -> bool {
        let mut header = [0; HEADER_USED];
        let long = self.data.metadata().is_ok_and(|data| data.len() == self.geometry.size);
        long && self.data.read_exact_at(&mut header, 0).is_ok() && header == self.geometry.header()
    }

    /// Begins anew, empty, if it is damaged. False: it was sound, or another process is at it.
    pub(crate) fn repair(&self) -> bool {
        !self.is_sound() && self.initialise(Path::new(""), Duration::ZERO).is_ok()
    }

    fn initialise(&self, home: &Path, wait: Duration) -> Result<(), SegmentError> {
        let failed = |error| SegmentError::Io { path: home.to_owned(), error };
        let end = Instant::now() + wait;
        while let Err(error) = self.init.try_lock() {
            match error {
                TryLockError::WouldBlock if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                TryLockError::WouldBlock => return Err(SegmentError::Held(home.join("init"))),
                TryLockError::Error(error) => return Err(failed(error)),
            }
        }
        let made = if self.is_sound() { Ok(()) } else { self.format() };
        let _ = self.init.unlock();
        made.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => SegmentError::NoRoom { path: home.to_owned(), size: self.geometry.size },
            _ => failed(error),
        })
    }

    /// Empty, with its space reserved: later writes cannot run out of room. The header comes last.
    fn format(&self) -> io::Result<()> {
        self.data.set_len(0)?;
        match fallocate(&self.data, FallocateFlags::empty(), 0, self.geometry.size) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros()?,
            Err(error) => return Err(error.into()),
        }
        self.data.write_all_at(&self.geometry.header(), 0)
    }

    fn write_zeros(&self) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < self.geometry.size {
            let part = usize::try_from(self.geometry.size - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.data.write_all_at(&zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }
}

/// A directory of ours that nobody else may write.
fn own_directory(path: &Path) -> Result<(), SegmentError> {
    let failed = |error| SegmentError::Io { path: path.to_owned(), error };
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(SegmentError::Foreign(path.to_owned())) }
}

fn open_file(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: a FIFO in its place must not hang us; it means nothing for a regular file.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// The file whose shared lock says that the segment is used; `None` when it was removed at the same moment.
fn hold_alive(home: &Path) -> io::Result<Option<File>> {
    let path = home.join(ALIVE);
    let file = match open_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            std::thread::sleep(Duration::from_millis(5));
            return Ok(None);
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let same = |a: &Metadata, b: &Metadata| a.ino() == b.ino() && a.dev() == b.dev();
    let there = std::fs::symlink_metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|ours| same(&there, &ours)));
    Ok(there.then_some(file))
}

/// Segments of other sizes and layouts that no process uses: their memory is wanted back.
fn remove_unused(directory: &Path, keep: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != keep) else { continue };
        let home = directory.join(name);
        // Without that file it is none of ours, or one that is just being made.
        let Ok(alive) = OpenOptions::new().read(true).write(true).open(home.join(ALIVE)) else { continue };
        if alive.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(&home);
        }
    }
}

const PREFIX: &str = "segment-v";
const ALIVE: &str = "alive";
/// How often opening starts over when another process removes the segment meanwhile.
const TRIES: usize = 50;
/// How long another process may take to make the segment.
const INIT_WAIT: Duration = Duration::from_secs(2);
