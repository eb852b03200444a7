//! One user's home: every operation on files that is done in one go.
//!
//! Gets: virtual paths. Gives: facts, changes, and the openings of `dir`, `read` and `plan`.
//! Never: follows a path out of the home, shows or touches an upload under way, or retries for ever.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ftps_proto::command::SetFact;
use ftps_proto::listing::{Entry, EntryKind};
use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use ftps_proto::time::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::fs::{chmodat, fstat, fstatvfs, renameat, statat, unlinkat, utimensat};
use rustix::io::Errno;

use super::CHUNK;
use super::fault::{Fault, timed};
use super::resolve::{Beneath, split};
use super::root::Shared;
use super::temporary::is_hidden;

/// A user's home. All functions make system calls that may block; see [`super::blocking`].
pub struct Tree {
    pub(super) shared: Arc<Shared>,
    path: VirtualPath,
    home: ArcSwap<Beneath>,
    /// The device that the home was on when it was opened first.
    device: u64,
}

impl Tree {
    /// `identity`: that of `home`.
    pub(super) fn new(shared: Arc<Shared>, path: VirtualPath, home: Beneath, identity: (u64, u64)) -> Self {
        Self { shared, path, home: ArcSwap::from_pointee(home), device: identity.0 }
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

    /// Removes an empty directory; a link to one is not a directory. An upload that was aborted just now may still be on its way out: that is waited for.
    ///
    /// # Errors
    /// `NotEmpty` (also when an upload runs in it), `NotADirectory`, and what the system says.
    pub fn remove_directory(&self, path: &VirtualPath) -> Result<(), FileError> {
        let end = Instant::now() + LEAVING;
        loop {
            match self.unlink("rmdir", path, AtFlags::REMOVEDIR) {
                Err(FileError::NotEmpty) if Instant::now() < end && self.looks_empty(path) => std::thread::sleep(LEAVING / 50),
                done => return done,
            }
        }
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

    /// Sets facts of a file or directory, all or none: modification time, permission bits (those beyond 0777 cannot be set).
    ///
    /// # Errors
    /// `NotRegular` for anything else, and what the system says.
    pub fn set_facts(&self, path: &VirtualPath, facts: &[SetFact]) -> Result<(), FileError> {
        let operation = if facts.iter().any(|fact| matches!(fact, SetFact::UnixMode(_))) { "chmod" } else { "utimens" };
        self.attempt(operation, |home| {
            let (file, stat) = open_plain(home, path)?;
            let set = facts.iter().try_for_each(|fact| set_fact(&file, &stat, *fact));
            if set.is_err() && facts.len() > 1 {
                // What was set is set back; where that fails too, nothing can be done.
                let before = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
                let _ = set_mode(&file, stat.st_mode & 0o7777);
                let _ = set_modified(&file, before);
            }
            Ok(set?)
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

    /// Where the home is, from the root on.
    pub(super) fn place(&self) -> &VirtualPath {
        &self.path
    }

    /// Whether this tree's home is that directory.
    pub(super) fn is_at(&self, identity: (u64, u64)) -> bool {
        self.home.load().identity() == Ok(identity)
    }

    /// The device that the home was on when it was opened first.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Whether it still stands on the storage's settings of today.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Does `work` in the home, which is opened anew when a file server has forgotten it (ESTALE); says what went wrong.
    pub(super) fn attempt<T>(&self, operation: &'static str, work: impl FnMut(&Beneath) -> Result<T, Fault>) -> Result<T, FileError> {
        timed(operation, &self.shared.observer, || self.work(work)).map_err(|fault| fault.tell(operation, &self.shared.observer))
    }

    fn work<T>(&self, mut work: impl FnMut(&Beneath) -> Result<T, Fault>) -> Result<T, Fault> {
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
            return Err(fault);
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

    /// Whether a directory has no entry but uploads under way.
    fn looks_empty(&self, path: &VirtualPath) -> bool {
        let look = |home: &Beneath| {
            let directory = home.open(visible(path)?, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
            let mut buffer = Vec::with_capacity(NAMES);
            let mut names = RawDir::new(&directory, buffer.spare_capacity_mut());
            while let Some(name) = names.next() {
                let name = name?;
                if !matches!(name.file_name().to_bytes(), b"." | b"..") && !is_hidden(name.file_name().to_bytes()) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.attempt("readdir", look).unwrap_or(false)
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

/// [`open_regular`] without waiting: what is no regular file within the home's mount, and in the kernel's memory, is none here.
pub(super) fn open_regular_now(home: &Beneath, path: &VirtualPath) -> Option<(OwnedFd, Stat)> {
    let file = home.open_now(visible(path).ok()?, OFlags::RDONLY, false)?;
    let stat = fstat(&file).ok()?;
    FileType::from_raw_mode(stat.st_mode).is_file().then_some((file, stat))
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

fn set_fact(file: &OwnedFd, stat: &Stat, fact: SetFact) -> Result<(), Errno> {
    match fact {
        SetFact::Modify(time) => set_modified(file, time),
        SetFact::UnixMode(mode) => {
            // A directory keeps its set-group-id and sticky bits, as chmod(1) does; a file loses all three.
            let keep = if FileType::from_raw_mode(stat.st_mode).is_dir() { 0o7000 } else { 0 };
            set_mode(file, (stat.st_mode & keep) | (mode & 0o777))
        }
    }
}

fn set_modified(file: &OwnedFd, time: Timestamp) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
    };
    utimensat(file, "", &times, AtFlags::EMPTY_PATH)
}

fn set_mode(file: &OwnedFd, mode: u32) -> Result<(), Errno> {
    // fchmod refuses a descriptor that was opened without the right to read; this link is that very descriptor, so nothing can come between.
    chmodat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode), AtFlags::empty())
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

/// How long a directory that looks empty is waited for.
const LEAVING: Duration = Duration::from_millis(500);
/// Names read at a time, in bytes.
const NAMES: usize = 4096;
/// How often a home is opened anew within one operation.
const STALE_MOST: usize = 2;
/// Largest file whose size in TYPE A is counted: about a third of a second.
const ASCII_SIZE_MOST: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::scratch::{Scratch, observer, path};
    use super::super::{Config, Storage};
    use super::*;
    use crate::observe::id::Incarnation;

    fn mode(scratch: &Scratch, name: &str) -> u32 {
        std::fs::metadata(scratch.at(name)).unwrap().permissions().mode() & 0o7777
    }

    fn planted() -> (Scratch, Arc<Tree>) {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        scratch.directory("outside");
        scratch.file("home/sub/file", b"one\ntwo\r\nthree");
        scratch.file("outside/file", b"secret");
        symlink("sub/file", scratch.at("home/link")).unwrap();
        symlink("sub", scratch.at("home/dirlink")).unwrap();
        symlink("../outside", scratch.at("home/out")).unwrap();
        symlink("nowhere", scratch.at("home/dangling")).unwrap();
        let tree = scratch.tree();
        (scratch, tree)
    }

    #[test]
    fn facts_follow_links_inside() {
        let (_scratch, tree) = planted();
        let entry = tree.entry(&path("/link")).unwrap();
        assert_eq!((&entry.name[..], entry.kind, entry.size), (&b"/link"[..], EntryKind::File, 14));
        assert_eq!(entry.unique, tree.entry(&path("/sub/file")).unwrap().unique);
        assert!(entry.modified.seconds > 1_700_000_000);
        assert_eq!(tree.entry(&path("/")).unwrap().kind, EntryKind::Directory);
        assert_eq!(tree.entry(&path("/dirlink/file")).unwrap().kind, EntryKind::File);
        let failures = ["/none", "/dangling", "/out", "/out/file", "/link/x"].map(|name| tree.entry(&path(name)).unwrap_err());
        assert_eq!(failures, [FileError::NotFound, FileError::NotFound, FileError::Denied, FileError::Denied, FileError::NotADirectory]);
        assert_eq!(tree.ascii_size(&path("/link")), Ok(15));
        assert_eq!(tree.ascii_size(&path("/sub")), Err(FileError::IsADirectory));
        assert!(tree.available(&path("/sub")).unwrap() > 0);
    }

    #[test]
    fn directories_are_made_entered_and_removed() {
        let (scratch, tree) = planted();
        tree.make_directory(&path("/new")).unwrap();
        assert_eq!(mode(&scratch, "home/new"), 0o750);
        assert_eq!(tree.make_directory(&path("/new")), Err(FileError::Exists));
        assert_eq!(tree.make_directory(&path("/")), Err(FileError::Exists));
        assert_eq!(tree.make_directory(&path("/none/new")), Err(FileError::NotFound));
        assert_eq!(tree.make_directory(&path("/out/new")), Err(FileError::Denied));
        for enter in ["/", "/new", "/dirlink"] {
            tree.check_directory(&path(enter)).unwrap();
        }
        assert_eq!(tree.check_directory(&path("/link")), Err(FileError::NotADirectory));
        assert_eq!(tree.check_directory(&path("/out")), Err(FileError::Denied));
        assert_eq!(tree.remove_directory(&path("/sub")), Err(FileError::NotEmpty));
        assert_eq!(tree.remove_directory(&path("/dirlink")), Err(FileError::NotADirectory));
        assert_eq!(tree.remove_directory(&path("/")), Err(FileError::Denied));
        tree.remove_directory(&path("/new")).unwrap();
        assert!(!scratch.at("home/new").exists());
    }

    #[test]
    fn deleting_takes_the_link_and_not_what_it_leads_to() {
        let (scratch, tree) = planted();
        for link in ["/link", "/out", "/dangling"] {
            tree.check_exists(&path(link)).unwrap();
            tree.remove_file(&path(link)).unwrap();
        }
        assert_eq!(tree.check_exists(&path("/link")), Err(FileError::NotFound));
        assert_eq!(tree.remove_file(&path("/sub")), Err(FileError::IsADirectory));
        assert_eq!(tree.remove_file(&path("/")), Err(FileError::Denied));
        assert_eq!(scratch.text("outside/file"), "secret");
        assert_eq!(scratch.text("home/sub/file").len(), 14);
    }

    #[test]
    fn renames_as_the_system_does() {
        let (scratch, tree) = planted();
        scratch.file("home/other", b"other");
        scratch.directory("home/empty");
        let rename = |from: &str, to: &str| tree.rename(&path(from), &path(to));
        rename("/other", "/sub/file").unwrap();
        assert_eq!(scratch.text("home/sub/file"), "other");
        assert_eq!(rename("/sub/file", "/empty"), Err(FileError::IsADirectory));
        assert_eq!(rename("/empty", "/sub/file"), Err(FileError::NotADirectory));
        assert_eq!(rename("/empty", "/sub"), Err(FileError::NotEmpty));
        assert_eq!(rename("/sub", "/sub/below"), Err(FileError::BadName));
        assert_eq!(rename("/sub/file", "/out/file"), Err(FileError::Denied));
        assert_eq!(rename("/out/file", "/stolen"), Err(FileError::Denied));
        assert_eq!(rename("/", "/x"), Err(FileError::Denied));
        assert_eq!(rename("/none", "/x"), Err(FileError::NotFound));
        rename("/sub", "/empty").unwrap();
        assert_eq!(scratch.text("home/empty/file"), "other");
        assert_eq!(scratch.text("outside/file"), "secret");
    }

    #[test]
    fn attributes_are_set_on_files_and_directories_only() {
        let (scratch, tree) = planted();
        let time = Timestamp { seconds: 1_000_000_000, nanos: 123_000_000 };
        let set = |name: &str, fact| tree.set_facts(&path(name), &[fact]);
        set("/link", SetFact::Modify(time)).unwrap();
        assert_eq!(tree.entry(&path("/sub/file")).unwrap().modified, time);
        set("/link", SetFact::UnixMode(0o6700)).unwrap();
        assert_eq!(mode(&scratch, "home/sub/file"), 0o700);
        set("/sub/file", SetFact::UnixMode(0)).unwrap();
        set("/sub/file", SetFact::UnixMode(0o644)).unwrap();
        assert_eq!(mode(&scratch, "home/sub/file"), 0o644);
        std::fs::set_permissions(scratch.at("home/sub"), std::fs::Permissions::from_mode(0o2755)).unwrap();
        set("/sub", SetFact::UnixMode(0o700)).unwrap();
        assert_eq!(mode(&scratch, "home/sub"), 0o2700);
        assert_eq!(set("/out/file", SetFact::UnixMode(0o777)), Err(FileError::Denied));
        assert_eq!(set("/out", SetFact::Modify(time)), Err(FileError::Denied));
        let _socket = std::os::unix::net::UnixListener::bind(scratch.at("home/socket")).unwrap();
        assert_eq!(set("/socket", SetFact::UnixMode(0o777)), Err(FileError::NotRegular));
    }

    #[test]
    fn of_several_facts_all_are_set_or_none() {
        let (scratch, tree) = planted();
        let (good, never) = (Timestamp { seconds: 1_000_000_000, nanos: 0 }, Timestamp { seconds: 0, nanos: 2_000_000_000 });
        let before = (mode(&scratch, "home/sub/file"), tree.entry(&path("/sub/file")).unwrap().modified);
        let facts = [SetFact::Modify(good), SetFact::UnixMode(0o600), SetFact::Modify(never)];
        assert!(tree.set_facts(&path("/sub/file"), &facts).is_err());
        assert_eq!((mode(&scratch, "home/sub/file"), tree.entry(&path("/sub/file")).unwrap().modified), before);
        tree.set_facts(&path("/sub/file"), &facts[..2]).unwrap();
        assert_eq!((mode(&scratch, "home/sub/file"), tree.entry(&path("/sub/file")).unwrap().modified), (0o600, good));
    }

    #[test]
    fn a_directory_waits_for_an_upload_that_is_on_its_way_out() {
        let (scratch, tree) = planted();
        tree.make_directory(&path("/d")).unwrap();
        let name = format!("home/d/.ftps-gateway.{}.0.part", Incarnation::now());
        scratch.file(&name, b"half");
        assert_eq!(tree.remove_directory(&path("/d")), Err(FileError::NotEmpty), "it stays");
        let leaving = scratch.at(&name);
        let leaves = std::thread::spawn(move || {
            std::thread::sleep(LEAVING / 10);
            std::fs::remove_file(leaving).unwrap();
        });
        assert_eq!(tree.remove_directory(&path("/d")), Ok(()));
        leaves.join().unwrap();
    }

    #[test]
    fn uploads_under_way_do_not_exist() {
        let (scratch, tree) = planted();
        let name = format!(".ftps-gateway.{}.0.part", Incarnation::now());
        scratch.file(&format!("home/{name}"), b"half");
        for name in [name.clone(), name.to_ascii_uppercase()] {
            let hidden = path(&format!("/{name}"));
            assert_eq!(tree.entry(&hidden), Err(FileError::NotFound));
            assert_eq!(tree.check_exists(&hidden), Err(FileError::NotFound));
            assert_eq!(tree.remove_file(&hidden), Err(FileError::NotFound));
            assert_eq!(tree.make_directory(&hidden), Err(FileError::NotFound));
            assert_eq!(tree.rename(&hidden, &path("/x")), Err(FileError::NotFound));
            assert_eq!(tree.rename(&path("/sub/file"), &hidden), Err(FileError::NotFound));
            assert_eq!(tree.open_read(&hidden, 0).unwrap_err(), FileError::NotFound);
            assert_eq!(tree.set_facts(&hidden, &[SetFact::UnixMode(0o777)]), Err(FileError::NotFound));
            assert_eq!(tree.plan_store(&hidden, ftps_proto::machine::io::StoreMode::Replace, None).unwrap_err(), FileError::NotFound);
        }
        assert_eq!(scratch.text(&format!("home/{name}")), "half");
    }

    #[test]
    fn names_of_any_bytes_and_of_255_of_them() {
        let (scratch, tree) = planted();
        let odd = VirtualPath::root().join(b"\xff\xfe caf\xe9 \"quoted\" %2e%2e").unwrap();
        let long = VirtualPath::root().join(&[b'n'; 255]).unwrap();
        for name in [&odd, &long] {
            tree.make_directory(name).unwrap();
            tree.check_directory(name).unwrap();
            tree.remove_directory(name).unwrap();
        }
        assert_eq!(scratch.names("home").len(), 5);
    }

    #[test]
    fn a_home_without_links_follows_none() {
        let (scratch, _) = planted();
        let config = Config { symlinks: super::super::Symlinks::Never, ..scratch.config() };
        let tree = Storage::open(config, Incarnation::now(), observer().0).unwrap().tree(&path("/home")).unwrap();
        assert_eq!(tree.entry(&path("/link")).unwrap_err(), FileError::Loop);
        assert_eq!(tree.check_directory(&path("/dirlink")), Err(FileError::Loop));
        tree.entry(&path("/sub/file")).unwrap();
    }

    #[test]
    fn a_home_that_is_gone_is_no_fault_of_the_disk() {
        let scratch = Scratch::new();
        scratch.directory("home");
        let (observer, said) = observer();
        let tree = Storage::open(scratch.config(), Incarnation::now(), observer).unwrap().tree(&path("/home")).unwrap();
        std::fs::remove_dir(scratch.at("home")).unwrap();
        assert_eq!(tree.make_directory(&path("/x")), Err(FileError::NotFound));
        assert!(said.take().is_empty());
    }
}
