//! The root directory, checked at start, and the homes below it.
//!
//! Gets: the configuration, the node's incarnation. Gives: a [`Storage`], and from it one shared [`Tree`] for each home in use.
//! Never: starts on a kernel that cannot keep resolution inside a directory.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use rustix::fs::{Access, AtFlags, Mode, OFlags, Stat, accessat, fchmod, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::fault::Fault;
use super::medium::{Media, Medium};
use super::resolve::Beneath;
use super::sweep::Round;
use super::temporary::Names;
use super::tree::Tree;
use super::{Config, Fsync};
use crate::observe::Observer;
use crate::observe::id::Incarnation;

/// All files of all users. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<ArcSwap<Shared>>,
    homes: Arc<Mutex<HashMap<VirtualPath, Weak<Tree>>>>,
    round: Arc<Mutex<Round>>,
}

/// What every tree, reader and writer has in common.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) names: Arc<Names>,
    pub(super) observer: Observer,
    root: ArcSwap<Beneath>,
    pub(super) media: Media,
}

/// Why the storage cannot be used. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such directory.
    #[error("storage.root {0} does not exist: create it, mount the volume there, or name another directory")]
    Missing(PathBuf),
    /// Something else is there.
    #[error("storage.root {0} is not a directory: name the directory that holds the users' homes")]
    NotADirectory(PathBuf),
    /// This process may not read, enter or change it.
    #[error("storage.root {0} cannot be read, entered and written by this process (user {1}): give it to that user (chown), or set fsGroup on Kubernetes")]
    NotWritable(PathBuf, u32),
    /// The kernel, or a seccomp profile, lacks what keeps paths inside.
    #[error(
        "openat2(2) is not usable here ({0}): it needs Linux 5.6, and a seccomp profile that allows it (RuntimeDefault of containerd 1.5, Docker 20.10.6 or later)"
    )]
    Openat2(io::Error),
    /// Anything else.
    #[error("storage.root {0} cannot be opened ({1}): check the path and the volume")]
    Other(PathBuf, io::Error),
}

impl Storage {
    /// Opens the root and checks that it can be used. May block.
    ///
    /// # Errors
    /// The root is missing, no directory, not writable (a file system mounted read-only is taken as intended), or openat2 is not there.
    pub fn open(config: Config, node: Incarnation, observer: Observer) -> Result<Self, OpenError> {
        let root = open_root(&config)?;
        root.probe().map_err(|errno| OpenError::Openat2(errno.into()))?;
        let names = Arc::new(Names::new(node));
        let shared = Shared { config, names, observer, root: ArcSwap::from_pointee(root), media: Media::default() };
        Ok(Self { shared: Arc::new(ArcSwap::from_pointee(shared)), homes: Arc::default(), round: Arc::default() })
    }

    /// Sessions that log in from now on have these modes, links and syncs; the root, its id and the age of left-overs act at the next start.
    pub fn set(&self, config: &Config) {
        let old = self.shared();
        let config = Config { root: old.config.root.clone(), id: old.config.id.clone(), sweep_after: old.config.sweep_after, ..config.clone() };
        if config == old.config {
            return;
        }
        let root = ArcSwap::from_pointee(old.root().with(config.symlinks));
        let shared = Shared { config, names: old.names.clone(), observer: old.observer.clone(), root, media: Media::default() };
        self.shared.store(Arc::new(shared));
    }

    /// The user's home, a path below the root, made if it is missing. One descriptor serves all sessions of one home. May block.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn tree(&self, home: &VirtualPath) -> Result<Arc<Tree>, FileError> {
        let shared = self.shared();
        let opened = shared.home(home).map_err(|fault| fault.tell("home", &shared.observer))?;
        self.share(&shared, home, opened).map_err(|errno| Fault::from(errno).tell("home", &shared.observer))
    }

    /// The tree of this home, opened just now: the one that sessions have already, or a new one. Does not block.
    pub(super) fn share(&self, shared: &Arc<Shared>, home: &VirtualPath, opened: Beneath) -> Result<Arc<Tree>, Errno> {
        let identity = opened.identity()?;
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        // A home that was moved away and made anew is another directory: who is in the old one stays there.
        if let Some(tree) = homes.get(home).and_then(Weak::upgrade).filter(|tree| tree.is_at(identity) && tree.is_of(shared)) {
            return Ok(tree);
        }
        let tree = Arc::new(Tree::new(shared.clone(), home.clone(), opened, identity));
        homes.retain(|_, tree| tree.strong_count() > 0);
        homes.insert(home.clone(), Arc::downgrade(&tree));
        Ok(tree)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.load_full()
    }

    pub(super) fn round(&self) -> &Mutex<Round> {
        &self.round
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("root", &self.shared().config.root).finish_non_exhaustive()
    }
}

impl Shared {
    /// The root as it is now.
    pub(super) fn root(&self) -> Arc<Beneath> {
        self.root.load_full()
    }

    /// Opens a home, made if missing; the root anew if the server forgot it (ESTALE after a NFS server changed its export).
    pub(super) fn home(&self, home: &VirtualPath) -> Result<Beneath, Fault> {
        match self.open_or_make(home) {
            Err(Errno::STALE) => {
                let root = open_root(&self.config).map_err(|_| Errno::STALE)?;
                self.root.store(Arc::new(root));
                Ok(self.open_or_make(home)?)
            }
            done => Ok(done?),
        }
    }

    fn open_or_make(&self, home: &VirtualPath) -> Result<Beneath, Errno> {
        let root = self.root();
        let open = || root.open(home.relative(), OFlags::PATH | OFlags::DIRECTORY);
        let opened = match open() {
            Err(Errno::NOENT) => {
                self.make_all(&root, home.relative())?;
                open()
            }
            done => done,
        }?;
        Ok(Beneath::new(opened, self.config.symlinks))
    }

    fn make_all(&self, root: &Beneath, path: &[u8]) -> Result<(), Errno> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (parent, name) = root.open_parent(&path[..end])?;
            match self.make_directory(&parent, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Makes a directory with exactly `dir_mode`, whatever the umask; a set-group-id bit that it inherits stays.
    pub(super) fn make_directory(&self, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let mode = self.config.dir_mode & 0o777;
        mkdirat(parent, name, Mode::from_raw_mode(mode))?;
        // Not without the right to read what we made, or when it is gone already: then the umask's word stands.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(made) = openat(parent, name, flags, Mode::empty()) {
            let now = fstat(&made)?.st_mode & 0o7777;
            if now & 0o777 != mode {
                fchmod(&made, Mode::from_raw_mode((now & 0o7000) | mode))?;
            }
        }
        Ok(())
    }

    /// Whether an upload to this file is synced before it gets its name.
    ///
    /// fsync is also where late errors come out: NFS, SMB and FUSE report at close(2) what they could not report at write(2), but an fsync that succeeded
    /// leaves nothing to flush, so that the close after it cannot fail. (A checked close cannot be written in safe Rust.)
    pub(super) fn syncs(&self, file: impl AsFd, stat: &Stat) -> Result<bool, Errno> {
        match self.config.fsync {
            Fsync::Always => Ok(true),
            Fsync::Never => Ok(false),
            Fsync::Auto => Ok(self.media.of(file, stat.st_dev)? == Medium::Network),
        }
    }
}

fn open_root(config: &Config) -> Result<Beneath, OpenError> {
    let path = &config.root;
    let said = |errno| match errno {
        Errno::NOENT => OpenError::Missing(path.clone()),
        Errno::NOTDIR => OpenError::NotADirectory(path.clone()),
        Errno::ACCESS => not_writable(path),
        other => OpenError::Other(path.clone(), other.into()),
    };
    let directory = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(said)?;
    match accessat(&directory, ".", Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()) {
        Ok(()) | Err(Errno::ROFS) => Ok(Beneath::new(directory, config.symlinks)),
        Err(errno) => Err(said(errno)),
    }
}

fn not_writable(path: &Path) -> OpenError {
    OpenError::NotWritable(path.to_owned(), rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::PermissionsExt;

    use super::super::scratch::{Scratch, observer, path};
    use super::*;

    fn open(scratch: &Scratch, root: &str) -> Result<Storage, OpenError> {
        Storage::open(Config { root: scratch.at(root), ..scratch.config() }, Incarnation::now(), observer().0)
    }

    #[test]
    fn says_what_is_wrong_with_the_root() {
        let scratch = Scratch::new();
        scratch.file("file", b"");
        assert!(matches!(open(&scratch, "missing"), Err(OpenError::Missing(_))));
        let error = open(&scratch, "file").unwrap_err();
        assert!(matches!(error, OpenError::NotADirectory(_)) && error.to_string().contains("storage.root"), "{error}");
        open(&scratch, ".").unwrap();
    }

    #[test]
    fn makes_homes_and_shares_them() {
        let scratch = Scratch::new();
        let storage = scratch.storage();
        let tree = storage.tree(&path("/a/b/c")).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(std::fs::metadata(scratch.at(made)).unwrap().permissions().mode() & 0o7777, 0o750, "{made}");
        }
        assert!(Arc::ptr_eq(&tree, &storage.tree(&path("/a/b/c")).unwrap()));
        assert!(!Arc::ptr_eq(&tree, &storage.tree(&path("/a/b")).unwrap()));
        storage.tree(&path("/")).unwrap();
        // A home that was moved away is made anew; who is in it stays in it.
        std::fs::rename(scratch.at("a"), scratch.at("old")).unwrap();
        let anew = storage.tree(&path("/a/b/c")).unwrap();
        assert!(!Arc::ptr_eq(&tree, &anew));
        tree.make_directory(&path("/here")).unwrap();
        assert!(scratch.at("old/b/c/here").is_dir());
        scratch.file("plain", b"");
        assert_eq!(storage.tree(&path("/plain")).unwrap_err(), FileError::NotADirectory);
        assert_eq!(storage.tree(&path("/plain/below")).unwrap_err(), FileError::NotADirectory);
    }

    #[test]
    fn a_home_behind_a_link_that_leads_out_is_refused() {
        let scratch = Scratch::new();
        scratch.directory("root");
        scratch.directory("outside");
        std::os::unix::fs::symlink("../outside", scratch.at("root/link")).unwrap();
        let storage = open(&scratch, "root").unwrap();
        assert_eq!(storage.tree(&path("/link")).unwrap_err(), FileError::Denied);
        assert_eq!(storage.tree(&path("/link/new")).unwrap_err(), FileError::Denied);
        assert!(scratch.names("outside").is_empty());
    }
}
