//! A file as digests see it: open, and with all that tells its state from every other.
//!
//! Gets: a path of a [`Tree`], or an upload that has just got its name. Gives: the file's [`Identity`], and its bytes from a descriptor that stays.
//! Never: names a device number (it differs from mount to mount), or takes a file that is not regular.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fstat, makedev, statx};
use rustix::io::Errno;

use super::plan::Version;
use super::read::read_at;
use super::tree::{Tree, visible};

/// What tells one state of a file from every other state and file, on every node that mounts the same storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// From the storage's root, not from the home.
    pub path: VirtualPath,
    /// 0 where `storage.stable_inodes` is false.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Seconds and nanoseconds of the last write.
    pub modified: (i64, u32),
    /// Seconds and nanoseconds of the last change, also of attributes.
    pub changed: (i64, u32),
}

/// An upload that has its name: what its file was at that moment. Empty when that could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed(pub(super) Option<Version>);

/// An open file.
pub struct Stored {
    tree: Arc<Tree>,
    file: OwnedFd,
    path: VirtualPath,
}

/// A file that is read for a download: whether it is still what it was.
#[derive(Clone)]
pub struct Seen {
    pub(super) tree: Arc<Tree>,
    pub(super) file: Arc<OwnedFd>,
    pub(super) version: Version,
}

/// What was found under a name.
#[derive(Debug)]
pub enum Found {
    /// A regular file, and what it is now.
    File(Stored, Identity),
    /// A device.
    Device,
}

impl Tree {
    /// Opens what a digest is asked of. May block.
    ///
    /// # Errors
    /// `IsADirectory`, `NotRegular`, and what the system says.
    pub fn open_stored(self: &Arc<Self>, path: &VirtualPath) -> Result<Found, FileError> {
        self.attempt("open", |home| {
            // Opened for its name alone first: opening a device may do something.
            let named = home.open(visible(path)?, OFlags::PATH)?;
            match FileType::from_raw_mode(fstat(&named)?.st_mode) {
                FileType::RegularFile => {}
                FileType::Directory => return Err(FileError::IsADirectory.into()),
                FileType::CharacterDevice | FileType::BlockDevice => return Ok(Found::Device),
                FileType::Fifo | FileType::Socket | FileType::Symlink | FileType::Unknown => return Err(FileError::NotRegular.into()),
            }
            let file = home.open(visible(path)?, OFlags::RDONLY)?;
            let Some(version) = Version::now(&file)? else { return Err(FileError::NotRegular.into()) };
            let identity = self.identify(path, &version);
            Ok(Found::File(Stored { tree: self.clone(), file, path: path.clone() }, identity))
        })
    }

    /// What the regular file at `path` is now; `None` when there is none, or it cannot be seen. May block.
    pub fn identity(&self, path: &VirtualPath) -> Option<Identity> {
        let file = self.home().open(visible(path).ok()?, OFlags::PATH).ok()?;
        Version::now(&file).ok()?.map(|version| self.identify(path, &version))
    }

    /// What an upload to `path` has become.
    pub fn landed(&self, path: &VirtualPath, landed: Landed) -> Option<Identity> {
        landed.0.map(|version| self.identify(path, &version))
    }

    /// The path from the storage's root.
    pub fn from_root(&self, path: &VirtualPath) -> VirtualPath {
        // A home that is too deep for a path below it has no files there.
        path.components().try_fold(self.place().clone(), |whole, component| whole.join(component)).unwrap_or_else(|_| path.clone())
    }

    fn identify(&self, path: &VirtualPath, version: &Version) -> Identity {
        Identity {
            path: self.from_root(path),
            inode: if self.shared.config.stable_inodes { version.inode } else { 0 },
            size: version.size,
            modified: time(version.modified),
            changed: time(version.changed),
        }
    }
}

impl Version {
    /// What a regular file is now, for its server and not for this kernel's memory (FUSE and NFS keep attributes for a second and more). `None`: it is not
    /// regular.
    pub(super) fn now(file: &OwnedFd) -> Result<Option<Self>, Errno> {
        let stat = statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS)?;
        let version = Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
        };
        Ok(FileType::from_raw_mode(stat.stx_mode.into()).is_file().then_some(version))
    }
}

impl Stored {
    /// What the file is now, by its descriptor: also after another one took its name. May block.
    ///
    /// # Errors
    /// What the system says.
    pub fn identity(&self) -> Result<Identity, FileError> {
        let version = Version::now(&self.file).map_err(|errno| self.tree.tell("stat", errno))?.ok_or(FileError::NotRegular)?;
        Ok(self.tree.identify(&self.path, &version))
    }

    /// Reads once; 0 at the end. May block.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FileError> {
        read_at(&self.file, buffer, offset).map_err(|errno| self.tree.tell("read", errno))
    }
}

impl Seen {
    /// What the file at `path` is, if it is the same as when it was opened. May block.
    pub fn unchanged(&self, path: &VirtualPath) -> Option<Identity> {
        let now = Version::now(&self.file).ok().flatten();
        (now == Some(self.version)).then(|| self.tree.identify(path, &self.version))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The nanoseconds are below 1e9 by the system's promise.
fn time((seconds, nanos): (i64, u64)) -> (i64, u32) {
    (seconds, u32::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::machine::io::StoreMode;

    use super::super::scratch::{Scratch, path};
    use super::*;

    fn found(tree: &Arc<Tree>, name: &str) -> (Stored, Identity) {
        match tree.open_stored(&path(name)).unwrap() {
            Found::File(stored, identity) => (stored, identity),
            Found::Device => panic!("a device"),
        }
    }

    #[test]
    fn an_upload_lands_as_what_is_found_afterwards() {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        let tree = scratch.tree();
        for (mode, name) in [(StoreMode::Replace, "/sub/file"), (StoreMode::Append, "/sub/file"), (StoreMode::Unique, "/sub/file")] {
            let plan = tree.plan_store(&path(name), mode, None).unwrap();
            let name = plan.unique().cloned().unwrap_or(path(name));
            let landed = plan.store(b"some bytes").unwrap();
            let identity = tree.landed(&name, landed).unwrap();
            let (stored, now) = found(&tree, std::str::from_utf8(name.as_bytes()).unwrap());
            assert_eq!((&identity, Some(&identity)), (&now, tree.identity(&name).as_ref()), "{mode:?}");
            assert!(identity.path.as_bytes().starts_with(b"/home/sub/file") && identity.inode > 0);
            assert_eq!(stored.identity().unwrap(), now);
        }
    }

    #[test]
    fn a_change_of_any_kind_is_another_state() {
        let scratch = Scratch::new();
        scratch.directory("home");
        scratch.file("home/file", b"one");
        let tree = scratch.tree();
        let (stored, first) = found(&tree, "/file");
        std::thread::sleep(std::time::Duration::from_millis(20));
        tree.set_facts(&path("/file"), &[ftps_proto::command::SetFact::UnixMode(0o600)]).unwrap();
        let second = stored.identity().unwrap();
        assert!(second.changed > first.changed && second.modified == first.modified);
        tree.rename(&path("/file"), &path("/other")).unwrap();
        assert_ne!(tree.identity(&path("/other")).unwrap().path, first.path);
        assert_eq!(tree.identity(&path("/file")), None);
        let mut buffer = [0; 8];
        assert_eq!((stored.read_at(&mut buffer, 1), &buffer[..2]), (Ok(2), &b"ne"[..]));
    }

    #[test]
    fn what_is_no_file_has_no_digest() {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        std::os::unix::fs::symlink("../outside", scratch.at("home/out")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, scratch.at("home/fifo"), fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let tree = scratch.tree();
        for (name, error) in [("/sub", FileError::IsADirectory), ("/none", FileError::NotFound), ("/out", FileError::Denied), ("/fifo", FileError::NotRegular)]
        {
            assert_eq!(tree.open_stored(&path(name)).unwrap_err(), error, "{name}");
        }
    }
}
