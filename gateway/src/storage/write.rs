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

use super::fault::{Fault, timed};
use super::plan::{Keep, Version};
use super::read::read_at;
use super::stored::Landed;
use super::temporary::Temporary;
use super::tree::Tree;
use super::{CHUNK, Fsync, blocking};

/// An upload under way. Dropped without a commit, it leaves nothing.
pub struct Writer {
    /// `None` only while a commit runs or after it.
    upload: Option<Arc<Upload>>,
    waiting: Waiting,
    /// Where the next buffer goes.
    position: u64,
    /// The buffer that the pool writes just now.
    running: Option<JoinHandle<Written>>,
    /// A write failed: there is nothing to commit any more.
    failed: Option<FileError>,
    /// Whether writing waits for nothing (tmpfs), so that the pool is not needed.
    at_once: bool,
}

/// A buffer that was written, or not.
type Written = (Vec<u8>, Result<(), FileError>);

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

/// Whoever waits for an upload. When nobody does any more (ABOR, a session that ends), the upload gets no name: late, it could take the place of a newer
/// one that was answered with 226.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<AtomicBool>);

/// The temporary and what becomes of it: everything here blocks, and runs on the pool.
pub(super) struct Upload {
    tree: Arc<Tree>,
    temporary: Temporary,
    name: Vec<u8>,
    landing: Landing,
    keep: Option<Keep>,
    /// Whether the kept part of the old file is in. One operation runs at a time, so this needs no more than to be shared.
    kept: AtomicBool,
    /// Nobody wants this upload any more: stop copying, and take no name.
    given_up: Arc<AtomicBool>,
    mode: u32,
}

impl Writer {
    /// Bytes go behind the first `position` ones.
    pub(super) fn new(upload: Upload, waiting: Waiting, position: u64, at_once: bool) -> Self {
        Self { upload: Some(Arc::new(upload)), waiting, position, running: None, failed: None, at_once }
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
        if self.at_once {
            let mut buffer = buffer;
            upload.write(&buffer, position).inspect_err(|error| self.failed = Some(*error))?;
            buffer.clear();
            return Ok(buffer);
        }
        self.running = Some(spawn_blocking(move || {
            let mut buffer = buffer;
            let written = upload.write(&buffer, position);
            buffer.clear();
            (buffer, written)
        }));
        Ok(recycled)
    }

    /// Waits for the last buffer, syncs by `storage.fsync`, and gives the file its name. When the future is dropped before the rename, nothing appears; at
    /// that very moment the whole file may.
    ///
    /// # Errors
    /// What the system says; `Busy` when APPE or REST finds the old file changed; `Exists` for STOU. Then nothing has changed.
    pub async fn commit(mut self) -> Result<Landed, FileError> {
        self.settle().await?;
        let Some(upload) = self.upload.take() else { return Err(FileError::Io) };
        if self.at_once { upload.commit() } else { blocking(move || upload.commit()).await }
    }

    async fn settle(&mut self) -> Result<Vec<u8>, FileError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        // The handle stays in its place while it is awaited: a dropped future loses no error.
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let ended = running.await;
        self.running = None;
        let result = ended.map_err(|_| FileError::Io).and_then(|(buffer, written)| written.map(|()| buffer));
        // A file with a hole must never get its name, whoever asks for it afterwards.
        self.failed = self.failed.or(result.as_ref().err().copied());
        result
    }

    /// Throws the upload away, and returns when its temporary and the space it took are gone: whoever is told of a full disk then has it back. A writer
    /// that is dropped does the same later, on the pool.
    pub async fn discard(mut self) {
        if let Some(running) = self.running.take() {
            self.waiting.end();
            // Whether it could be written matters no longer.
            let _ = running.await;
        }
        if let Some(upload) = self.upload.take() {
            let _ = blocking(move || {
                drop(upload);
                Ok(())
            })
            .await;
        }
    }

    /// Removes the temporary, on the pool: freeing the blocks of a large file takes its time.
    fn give_up(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        self.waiting.end();
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

impl Waiting {
    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

impl Upload {
    /// Makes the temporary in `directory`, to become `name` there.
    pub(super) fn create(
        tree: Arc<Tree>,
        directory: OwnedFd,
        name: Vec<u8>,
        landing: Landing,
        keep: Option<Keep>,
        mode: u32,
        waiting: &Waiting,
    ) -> Result<Self, FileError> {
        let temporary =
            timed("create", &tree.shared.observer, || Temporary::create(directory, &tree.shared.names)).map_err(|errno| tree.tell("create", errno))?;
        let kept = AtomicBool::new(keep.is_none());
        Ok(Self { tree, temporary, name, landing, keep, kept, given_up: waiting.0.clone(), mode })
    }

    /// Writes all of `bytes` at `position`; before the first ones, the part of the old file that is kept.
    pub(super) fn write(&self, bytes: &[u8], position: u64) -> Result<(), FileError> {
        let work = || {
            self.copy_kept()?;
            Ok(write_all(self.temporary.file(), bytes, position)?)
        };
        timed("write", &self.tree.shared.observer, work).map_err(|fault: Fault| self.tree.tell("write", fault))
    }

    /// Gives the file its name.
    pub(super) fn commit(&self) -> Result<Landed, FileError> {
        timed("commit", &self.tree.shared.observer, || self.finish()).map_err(|fault| self.tree.tell("commit", fault))?;
        // What it is under its name: a rename changes the time of the last change.
        Ok(Landed(Version::now(self.temporary.file()).ok().flatten()))
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
        // Opened before the rename, so that a directory that may not be read fails the upload while nothing has changed.
        let directory = match shared.config.fsync {
            Fsync::Always => Some(openat(self.temporary.directory(), ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?),
            Fsync::Auto | Fsync::Never => None,
        };
        self.check_wanted()?;
        match self.landing {
            Landing::Over => self.rename(&stat)?,
            Landing::If(version) => {
                self.check_unchanged(version)?;
                self.rename(&stat)?;
            }
            Landing::New => {
                self.link(&stat)?;
                // Its first name goes at once: that, too, is a change of the file.
                self.temporary.remove();
            }
        }
        if let Some(directory) = directory {
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
            Ok(()) => return Ok(()),
            // As with rename: a NFS server whose first answer was lost has given the name to our file already.
            Err(Errno::EXIST) if self.is_named(stat) => return Ok(()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use ftps_proto::command::SetFact;
    use ftps_proto::machine::io::StoreMode;
    use ftps_proto::path::VirtualPath;

    use super::super::scratch::{Scratch, observer, path};
    use super::super::{Config, Storage};
    use super::*;
    use crate::observe::id::Incarnation;

    fn scratch() -> (Scratch, Arc<Tree>) {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        scratch.directory("outside");
        let tree = scratch.tree();
        (scratch, tree)
    }

    fn store(tree: &Arc<Tree>, name: &str, mode: StoreMode, bytes: &[u8]) -> Result<(), FileError> {
        tree.plan_store(&path(name), mode, None)?.store(bytes).map(drop)
    }

    /// Waits until only these names are in the directory: what a dropped writer leaves is removed on the pool.
    async fn settles(scratch: &Scratch, directory: &str, names: &[&str]) {
        for _ in 0..500 {
            if scratch.names(directory) == names {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} in {directory}, not {names:?}", scratch.names(directory));
    }

    /// The pool is busy when the session ends: what it does later must not take the name, which a newer upload may have by then.
    #[test]
    fn a_commit_that_nobody_waits_for_takes_no_name() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (scratch, tree) = scratch();
            let plan = || tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap();
            let (writer, small) = (plan().begin().unwrap(), plan());
            let (free, busy) = std::sync::mpsc::channel::<()>();
            let pool = spawn_blocking(move || busy.recv());
            let moment = Duration::from_millis(20);
            assert!(tokio::time::timeout(moment, writer.commit()).await.is_err());
            assert!(tokio::time::timeout(moment, small.upload(b"old".to_vec())).await.is_err());
            drop(free);
            pool.await.unwrap().unwrap_err();
            plan().upload(b"new".to_vec()).await.unwrap();
            settles(&scratch, "home", &["file", "sub"]).await;
            assert_eq!(std::fs::read(scratch.at("home/file")).unwrap(), b"new");
        });
    }

    #[tokio::test]
    async fn a_plan_has_no_side_effect_and_an_upload_no_name_until_it_is_whole() {
        let (scratch, tree) = scratch();
        let plan = tree.plan_store(&path("/file"), StoreMode::Replace, Some(1000)).unwrap();
        assert_eq!(scratch.names("home"), ["sub"]);
        let mut writer = plan.begin().unwrap();
        let names = scratch.names("home");
        assert!(names.len() == 2 && names[0].starts_with(".ftps-gateway."), "{names:?}");
        assert_eq!(std::fs::metadata(scratch.at("home").join(&names[0])).unwrap().permissions().mode() & 0o777, 0o600);
        let mut buffer = b"hello ".to_vec();
        for word in ["new ", "world", ""] {
            buffer = writer.write(buffer).await.unwrap();
            assert!(buffer.is_empty());
            buffer.extend_from_slice(word.as_bytes());
        }
        assert!(!scratch.at("home/file").exists());
        writer.commit().await.unwrap();
        assert_eq!(scratch.text("home/file"), "hello new world");
        assert_eq!(std::fs::metadata(scratch.at("home/file")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(scratch.names("home"), ["file", "sub"]);
    }

    #[tokio::test]
    async fn large_uploads_arrive_byte_by_byte_and_keep_the_old_mode() {
        let (scratch, tree) = scratch();
        scratch.file("home/file", b"old");
        std::fs::set_permissions(scratch.at("home/file"), std::fs::Permissions::from_mode(0o604)).unwrap();
        let mut writer = tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().begin().unwrap();
        let mut expected = Vec::new();
        let mut buffer = Vec::new();
        for round in 0..40_u8 {
            buffer.resize(CHUNK - usize::from(round) * 100, round);
            expected.extend_from_slice(&buffer);
            buffer = writer.write(buffer).await.unwrap();
        }
        writer.commit().await.unwrap();
        assert!(std::fs::read(scratch.at("home/file")).unwrap() == expected);
        assert_eq!(std::fs::metadata(scratch.at("home/file")).unwrap().permissions().mode() & 0o777, 0o604);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_upload_leaves_nothing() {
        let (scratch, tree) = scratch();
        scratch.file("home/file", b"old");
        let begin = || tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().begin().unwrap();
        drop(begin());
        let mut writer = begin();
        writer.write(vec![1; CHUNK]).await.unwrap();
        drop(writer);
        let mut writer = begin();
        let aborted = tokio::spawn(async move {
            loop {
                writer.write(vec![2; CHUNK]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        aborted.abort();
        settles(&scratch, "home", &["file", "sub"]).await;
        assert_eq!(scratch.text("home/file"), "old");
    }

    #[test]
    fn a_runtime_that_goes_down_leaves_nothing() {
        let (scratch, tree) = scratch();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.spawn(async move {
            let mut writer = tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().begin().unwrap();
            writer.write(vec![1; CHUNK]).await.unwrap();
            std::future::pending::<()>().await;
        });
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while scratch.names("home").len() < 2 && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        runtime.shutdown_timeout(Duration::from_secs(5));
        assert_eq!(scratch.names("home"), ["sub"]);
    }

    #[test]
    fn restart_and_append_keep_the_first_bytes() {
        let (scratch, tree) = scratch();
        scratch.file("home/file", b"0123456789");
        store(&tree, "/file", StoreMode::Restart(4), b"xx").unwrap();
        assert_eq!(scratch.text("home/file"), "0123xx");
        store(&tree, "/file", StoreMode::Append, b"yy").unwrap();
        store(&tree, "/file", StoreMode::Append, b"").unwrap();
        assert_eq!(scratch.text("home/file"), "0123xxyy");
        store(&tree, "/file", StoreMode::Restart(8), b"!").unwrap();
        assert_eq!(scratch.text("home/file"), "0123xxyy!");
        store(&tree, "/new", StoreMode::Append, b"new").unwrap();
        assert_eq!(scratch.text("home/new"), "new");
        for (name, offset) in [("/file", 10), ("/none", 1), ("/file", u64::MAX)] {
            assert_eq!(tree.plan_store(&path(name), StoreMode::Restart(offset), None).unwrap_err(), FileError::BadOffset);
        }
    }

    #[tokio::test]
    async fn an_interrupted_append_changes_nothing_and_a_lost_race_is_said() {
        let (scratch, tree) = scratch();
        scratch.file("home/log", b"first\n");
        let mut writer = tree.plan_store(&path("/log"), StoreMode::Append, None).unwrap().begin().unwrap();
        writer.write(b"cut".to_vec()).await.unwrap();
        drop(writer);
        assert_eq!(scratch.text("home/log"), "first\n");
        let one = tree.plan_store(&path("/log"), StoreMode::Append, None).unwrap();
        let other = tree.plan_store(&path("/log"), StoreMode::Append, None).unwrap();
        one.store(b"second\n").unwrap();
        assert_eq!(other.store(b"third\n"), Err(FileError::Busy));
        let absent = tree.plan_store(&path("/fresh"), StoreMode::Append, None).unwrap();
        scratch.file("home/fresh", b"theirs");
        assert_eq!(absent.store(b"ours"), Err(FileError::Busy));
        assert_eq!((scratch.text("home/log").as_str(), scratch.text("home/fresh").as_str()), ("first\nsecond\n", "theirs"));
        settles(&scratch, "home", &["fresh", "log", "sub"]).await;
    }

    #[test]
    fn a_large_append_copies_all_of_the_old_file() {
        let (scratch, tree) = scratch();
        let old: Vec<u8> = (0..3 * CHUNK + 5).map(|i| (i % 251) as u8).collect();
        scratch.file("home/file", &old);
        store(&tree, "/file", StoreMode::Append, b"end").unwrap();
        assert!(std::fs::read(scratch.at("home/file")).unwrap() == [&old[..], b"end"].concat());
        // Between two file systems copy_file_range gives up, as it does on old kernels and some FUSE: reads and writes do it then.
        let source = if Path::new("/dev/shm").is_dir() { Scratch::under(Path::new("/dev/shm")) } else { Scratch::new() };
        source.file("old", &old);
        let keep = Keep { source: std::fs::File::open(source.at("old")).unwrap().into(), length: old.len() as u64 - 1 };
        let home = std::fs::File::open(scratch.at("home")).unwrap().into();
        let waiting = Waiting::default();
        let upload = Upload::create(tree, home, b"copy".to_vec(), Landing::Over, Some(keep), 0o600, &waiting).unwrap();
        upload.write(b"end", old.len() as u64 - 1).unwrap();
        upload.commit().unwrap();
        assert!(std::fs::read(scratch.at("home/copy")).unwrap() == [&old[..old.len() - 1], b"end"].concat());
    }

    /// What a client of a NFS server does when the answer to its first try was lost.
    #[test]
    fn a_name_taken_by_the_same_file_is_taken_well() {
        let (scratch, tree) = scratch();
        let home = std::fs::File::open(scratch.at("home")).unwrap().into();
        let waiting = Waiting::default();
        let upload = Upload::create(tree, home, b"new".to_vec(), Landing::New, None, 0o600, &waiting).unwrap();
        let stat = fstat(upload.temporary.file()).unwrap();
        upload.link(&stat).unwrap();
        upload.link(&stat).unwrap();
        drop(upload);
        assert_eq!(scratch.names("home"), ["new", "sub"]);
    }

    #[test]
    fn unique_names_are_new_and_clobber_nobody() {
        let (scratch, tree) = scratch();
        let long = format!("/{}", "é".repeat(127));
        let mut seen = std::collections::HashSet::new();
        for (hint, begins) in
            [("/", "/upload."), ("/sub", "/sub/upload."), ("/report.txt", "/report.txt."), (long.as_str(), "/é"), ("/report.txt", "/report.txt.")]
        {
            let plan = tree.plan_store(&path(hint), StoreMode::Unique, None).unwrap();
            let name = plan.unique().unwrap().clone();
            let text = String::from_utf8(name.as_bytes().to_vec()).unwrap();
            assert!(text.starts_with(begins) && name.name().unwrap().len() <= 255 && seen.insert(text.clone()), "{text}");
            plan.store(text.as_bytes()).unwrap();
            assert_eq!(scratch.text(&format!("home{text}")), text);
        }
        let plan = tree.plan_store(&path("/x"), StoreMode::Unique, None).unwrap();
        let name = format!("home{}", String::from_utf8_lossy(plan.unique().unwrap().as_bytes()));
        scratch.file(&name, b"theirs");
        assert_eq!(plan.store(b"ours"), Err(FileError::Exists));
        assert_eq!(scratch.text(&name), "theirs");
        assert!(scratch.names("home").iter().all(|name| !name.ends_with(".part")));
    }

    #[test]
    fn links_are_written_through_inside_and_refused_outside() {
        let (scratch, tree) = scratch();
        scratch.file("home/sub/file", b"old");
        scratch.file("outside/file", b"secret");
        symlink("sub/file", scratch.at("home/link")).unwrap();
        symlink("../link", scratch.at("home/sub/back")).unwrap();
        symlink("sub/made", scratch.at("home/dangling")).unwrap();
        store(&tree, "/sub/back", StoreMode::Replace, b"new").unwrap();
        store(&tree, "/dangling", StoreMode::Replace, b"made").unwrap();
        store(&tree, "/link", StoreMode::Append, b"!").unwrap();
        assert_eq!((scratch.text("home/sub/file").as_str(), scratch.text("home/sub/made").as_str()), ("new!", "made"));
        assert!(scratch.at("home/link").is_symlink());
        symlink("../outside/file", scratch.at("home/out")).unwrap();
        symlink("../outside", scratch.at("home/outdir")).unwrap();
        symlink(scratch.at("outside/file"), scratch.at("home/absolute")).unwrap();
        symlink("circle", scratch.at("home/circle")).unwrap();
        symlink("sub", scratch.at("home/dir")).unwrap();
        symlink("sub/..", scratch.at("home/dots")).unwrap();
        let plan = |name: &str| tree.plan_store(&path(name), StoreMode::Replace, None).map(drop);
        for name in ["/out", "/outdir/file", "/absolute", "/outdir/new"] {
            assert_eq!(plan(name), Err(FileError::Denied), "{name}");
        }
        assert_eq!(plan("/circle"), Err(FileError::Loop));
        assert_eq!([plan("/dir"), plan("/dots"), plan("/outdir")], [Err(FileError::IsADirectory), Err(FileError::IsADirectory), Err(FileError::Denied)]);
        assert_eq!((scratch.text("outside/file").as_str(), scratch.names("outside").len()), ("secret", 1));
    }

    #[test]
    fn refuses_before_anything_is_written() {
        let (scratch, tree) = scratch();
        rustix::fs::mknodat(rustix::fs::CWD, scratch.at("home/fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let plan = |name: &str, announced| tree.plan_store(&path(name), StoreMode::Replace, announced).map(drop);
        assert_eq!(plan("/sub", None), Err(FileError::IsADirectory));
        assert_eq!(plan("/", None), Err(FileError::IsADirectory));
        assert_eq!(plan("/none/file", None), Err(FileError::NotFound));
        assert_eq!(plan("/fifo", None), Err(FileError::NotRegular));
        assert_eq!(plan("/fifo/file", None), Err(FileError::NotADirectory));
        assert_eq!(plan("/file", Some(u64::MAX)), Err(FileError::NoSpace));
        assert_eq!(scratch.names("home"), ["fifo", "sub"]);
    }

    #[test]
    fn a_file_or_directory_that_is_protected_is_not_replaced() {
        if rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED a_file_or_directory_that_is_protected_is_not_replaced: root may do anything");
            return;
        }
        let (scratch, tree) = scratch();
        scratch.file("home/file", b"protected");
        let protect = |name: &str, mode| std::fs::set_permissions(scratch.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        protect("home/file", 0o444);
        protect("home/sub", 0o555);
        let plan = |name: &str| tree.plan_store(&path(name), StoreMode::Replace, None).map(drop);
        assert_eq!([plan("/file"), plan("/sub/new"), plan("/new")], [Err(FileError::Denied), Err(FileError::Denied), Ok(())]);
        protect("home/sub", 0o666);
        assert_eq!([tree.check_directory(&path("/sub")), plan("/sub/new")], [Err(FileError::Denied), Err(FileError::Denied)]);
        tree.set_facts(&path("/sub"), &[SetFact::UnixMode(0o700)]).unwrap();
        // What cannot be read can still be made readable by its owner.
        protect("home/file", 0);
        assert_eq!(tree.open_read(&path("/file"), 0).unwrap_err(), FileError::Denied);
        tree.set_facts(&path("/file"), &[SetFact::UnixMode(0o600)]).unwrap();
        assert_eq!((plan("/file"), scratch.text("home/file").as_str()), (Ok(()), "protected"));
        protect("home", 0o555);
        let refused = Storage::open(Config { root: scratch.at("home"), ..scratch.config() }, Incarnation::now(), observer().0).unwrap_err();
        protect("home", 0o755);
        assert!(refused.to_string().contains("chown"), "{refused}");
    }

    #[test]
    fn names_of_255_bytes_and_of_any_bytes() {
        let (scratch, tree) = scratch();
        for name in [vec![b'n'; 255], b"\xff\xfe caf\xe9".to_vec()] {
            let target = VirtualPath::root().join(&name).unwrap();
            tree.plan_store(&target, StoreMode::Replace, None).unwrap().store(b"x").unwrap();
            tree.plan_store(&target, StoreMode::Append, None).unwrap().store(b"y").unwrap();
            assert_eq!(tree.entry(&target).unwrap().size, 2);
        }
        assert_eq!(scratch.names("home").len(), 3);
    }

    #[test]
    fn always_syncs_directories_too_and_never_syncs_nothing() {
        let (scratch, _) = scratch();
        for fsync in [Fsync::Always, Fsync::Never] {
            let config = Config { fsync, ..scratch.config() };
            let tree = Storage::open(config, Incarnation::now(), observer().0).unwrap().tree(&path("/home")).unwrap();
            store(&tree, "/file", StoreMode::Replace, format!("{fsync:?}").as_bytes()).unwrap();
            assert_eq!(scratch.text("home/file"), format!("{fsync:?}"));
        }
    }

    /// A tmpfs of 4 MiB, if this process may mount one.
    struct Small(Scratch);

    impl Small {
        fn mount() -> Option<Self> {
            let scratch = Scratch::new();
            let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(scratch.at(".")).output();
            mounted.is_ok_and(|output| output.status.success()).then(|| Self(scratch))
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.at(".")).status();
        }
    }

    #[tokio::test]
    async fn a_full_disk_leaves_the_old_file() {
        let Some(small) = Small::mount() else {
            eprintln!("SKIPPED a_full_disk_leaves_the_old_file: may not mount a tmpfs");
            return;
        };
        let scratch = &small.0;
        scratch.directory("home");
        scratch.file("home/file", b"old");
        let (observer, said) = observer();
        let tree = Storage::open(scratch.config(), Incarnation::now(), observer).unwrap().tree(&path("/home")).unwrap();
        for mode in [StoreMode::Replace, StoreMode::Append] {
            let mut writer = tree.plan_store(&path("/file"), mode, None).unwrap().begin().unwrap();
            let mut error = None;
            for _ in 0..40 {
                if let Err(kind) = writer.write(vec![7; CHUNK]).await {
                    error = Some(kind);
                    break;
                }
            }
            assert_eq!(error, Some(FileError::NoSpace));
            assert_eq!(writer.write(vec![7; CHUNK]).await, Err(FileError::NoSpace), "it stays failed");
            drop(writer);
            settles(scratch, "home", &["file"]).await;
            assert_eq!(scratch.text("home/file"), "old");
        }
        assert!(said.take().iter().all(|said| said == "failed write NoSpace"));
        assert_eq!(tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().store(&vec![7; 5 << 20]), Err(FileError::NoSpace));
        assert_eq!(tree.plan_store(&path("/file"), StoreMode::Replace, Some(5 << 20)).unwrap_err(), FileError::NoSpace);
        // A name is gone a moment before its space is: the pool closes the file after it.
        let mut stored = Err(FileError::NoSpace);
        for _ in 0..200 {
            stored = store(&tree, "/file", StoreMode::Replace, b"fits");
            if stored.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        stored.unwrap();
        assert_eq!((scratch.text("home/file").as_str(), scratch.names("home").len()), ("fits", 1));
    }

    #[test]
    fn another_file_system_below_is_not_renamed_into() {
        let Some(small) = Small::mount() else {
            eprintln!("SKIPPED another_file_system_below_is_not_renamed_into: may not mount a tmpfs");
            return;
        };
        // The home is the directory that the small file system is mounted in.
        let mount = small.0.at(".").canonicalize().unwrap();
        let name = Path::new(mount.file_name().unwrap()).to_str().unwrap().to_owned();
        let root = mount.parent().unwrap();
        let config = Config { root: root.to_owned(), ..small.0.config() };
        let tree = Storage::open(config, Incarnation::now(), observer().0).unwrap().tree(&VirtualPath::root()).unwrap();
        let beside = format!("{name}.beside");
        store(&tree, &format!("/{beside}"), StoreMode::Replace, b"x").unwrap();
        let moved = tree.rename(&path(&format!("/{beside}")), &path(&format!("/{name}/x")));
        store(&tree, &format!("/{name}/file"), StoreMode::Replace, b"below").unwrap();
        tree.remove_file(&path(&format!("/{beside}"))).unwrap();
        assert_eq!((moved, small.0.text("file").as_str()), (Err(FileError::CrossDevice), "below"));
    }
}
