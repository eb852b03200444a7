//! The files of the journal: `NAME.N.journal` and `NAME.N.snapshot`, frames of a length and a sealed batch; N grows.
//!
//! Gets: changes, a book to take a snapshot of. Gives: bytes on the disk; at the start, the changes of every file of this name.
//! Never: needs an order among the files (merging has none), stops at a damaged frame that has a whole length, keeps a file that a snapshot made needless.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ftps_store::key::Kind;
use ftps_store::seal::{OVERHEAD, Purpose};
use rustix::fs::{FlockOperation, flock};

use super::super::ban::{self, Change};
use super::super::parts::BUCKETS;
use super::{Contents, Keys, State};

pub(super) struct Files {
    directory: PathBuf,
    /// Of the node, or with a number behind it when another living process has that one.
    name: String,
    keys: Keys,
    state: Arc<State>,
    lock: Option<File>,
    number: u64,
    file: Option<File>,
    /// Bytes in journals since the last snapshot, and in that.
    written: u64,
    snapshot: Arc<AtomicU64>,
    /// Something is in the book and not on the disk, or there are many files.
    wanted: bool,
    running: Arc<AtomicBool>,
}

impl Files {
    /// Locks a name, reads all files of it, and begins a new one.
    pub(super) fn open(directory: PathBuf, name: &str, keys: Keys, state: Arc<State>, each: &mut impl FnMut(Change)) -> Self {
        let (name, snapshot, running) = (name.to_owned(), Arc::default(), Arc::default());
        let mut files = Self { directory, name, keys, state, lock: None, number: 0, file: None, written: 0, snapshot, wanted: false, running };
        if let Err(error) = files.begin(each) {
            files.failed(&error);
        }
        files
    }

    /// Writes a batch. Says whether it is on the disk.
    pub(super) fn append<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> bool {
        let written = self.frames(changes).and_then(|frames| self.write(&frames));
        match written {
            Ok(()) => {
                self.state.broken.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.failed(&error);
                // What may be half there is left behind with its file; the snapshot has it all.
                (self.file, self.wanted) = (None, true);
                false
            }
        }
    }

    /// Takes a snapshot when the journal has grown, or when something is missing in it.
    pub(super) fn tidy(&mut self, contents: &Contents) {
        let grown = self.written > SMALL + 2 * self.snapshot.load(Ordering::Relaxed);
        if !(self.wanted || grown) || self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        // From here on changes go to a new file; what is in the old ones is in the book already.
        if let Err(error) = self.next() {
            self.running.store(false, Ordering::Release);
            return self.failed(&error);
        }
        let task = Snapshot {
            directory: self.directory.clone(),
            name: self.name.clone(),
            number: self.number,
            keys: self.keys.clone(),
            contents: contents.clone(),
            size: self.snapshot.clone(),
            state: self.state.clone(),
            running: self.running.clone(),
        };
        (self.wanted, self.written) = (false, 0);
        let thread = std::thread::Builder::new().name("ban-snapshot".into());
        if thread.spawn(move || task.run()).is_err() {
            (self.wanted, _) = (true, self.running.store(false, Ordering::Release));
        }
    }

    fn begin(&mut self, each: &mut impl FnMut(Change)) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.take_name()?;
        let old = files_of(&self.directory, &self.name)?;
        for (_, path) in &old {
            if let Err(error) = self.read(path, each) {
                self.state.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, file = %path.display(), "a file of the ban journal cannot be read whole; what was read counts");
            }
        }
        self.number = old.iter().map(|(number, _)| *number).max().unwrap_or(0);
        self.wanted = old.len() > FILES;
        self.next()
    }

    /// The lock is the kernel's: it is gone with the process.
    fn take_name(&mut self) -> io::Result<()> {
        for number in 1..=NAMES {
            let name = if number == 1 { self.name.clone() } else { format!("{}-{number}", self.name) };
            let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.directory.join(format!("{name}.lock")))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                (self.name, self.lock) = (name, Some(lock));
                return Ok(());
            }
        }
        Err(io::Error::other("every journal of this node name is in use"))
    }

    fn read(&mut self, path: &Path, each: &mut impl FnMut(Change)) -> io::Result<()> {
        let mut file = BufReader::new(File::open(path)?);
        let mut left = file.get_ref().metadata()?.len();
        let keyring = (self.keys)();
        while left > 0 {
            let mut head = [0; 4];
            let whole = left >= 4 && {
                file.read_exact(&mut head)?;
                u64::from(u32::from_be_bytes(head)) <= left - 4
            };
            let length = u32::from_be_bytes(head) as usize;
            if !whole || length > FRAME + OVERHEAD {
                // The end that a power cut left. A length that is no length ends the file as well.
                self.state.unreadable.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let mut sealed = vec![0; length];
            file.read_exact(&mut sealed)?;
            left -= 4 + length as u64;
            match keyring.open(PURPOSE, CONTEXT, &sealed) {
                Ok(plain) => {
                    let decoded = ban::decode(&plain);
                    self.state.unreadable.fetch_add(decoded.bad, Ordering::Relaxed);
                    decoded.changes.into_iter().for_each(&mut *each);
                }
                Err(_) => _ = self.state.unreadable.fetch_add(1, Ordering::Relaxed),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<()> {
        self.number += 1;
        let path = self.directory.join(format!("{}.{}.journal", self.name, self.number));
        self.file = Some(OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?);
        File::open(&self.directory)?.sync_all()
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.lock.is_none() {
            return Err(io::Error::other("the journal could not be opened at the start"));
        }
        if self.file.is_none() {
            self.next()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all(frames)?;
        file.sync_data()?;
        self.written += frames.len() as u64;
        Ok(())
    }

    fn frames<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        for batch in ban::encode(changes, FRAME) {
            frame(&self.keys, &batch, &mut frames)?;
        }
        Ok(frames)
    }

    fn failed(&self, error: &io::Error) {
        self.state.failed.fetch_add(1, Ordering::Relaxed);
        if !self.state.broken.swap(true, Ordering::Relaxed) {
            let directory = self.directory.display();
            tracing::warn!(%error, %directory, "the ban journal cannot be written: bans hold in memory, and a restart of this node needs its peers or the store; look at node.state_dir");
        }
    }
}

/// One snapshot, in a thread of its own.
struct Snapshot {
    directory: PathBuf,
    name: String,
    number: u64,
    keys: Keys,
    contents: Contents,
    size: Arc<AtomicU64>,
    state: Arc<State>,
    running: Arc<AtomicBool>,
}

impl Snapshot {
    fn run(&self) {
        match self.write() {
            Ok(size) => {
                self.size.store(size, Ordering::Relaxed);
                self.remove_old();
            }
            Err(error) => {
                self.state.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "no snapshot of the ban journal: it goes on growing");
            }
        }
        self.running.store(false, Ordering::Release);
    }

    fn write(&self) -> io::Result<u64> {
        let (new, path) = (self.path("snapshot.new"), self.path("snapshot"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let (mut size, mut frames, mut changes) = (0, Vec::new(), Vec::new());
        for bucket in 0..BUCKETS {
            changes.extend((self.contents)(bucket));
            if changes.len() < BATCH && bucket + 1 < BUCKETS {
                continue;
            }
            for batch in ban::encode(&changes, FRAME) {
                frame(&self.keys, &batch, &mut frames)?;
            }
            file.write_all(&frames)?;
            size += frames.len() as u64;
            frames.clear();
            changes.clear();
        }
        file.sync_all()?;
        std::fs::rename(new, path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(size)
    }

    /// An error leaves a file that the next start reads and the next snapshot removes.
    fn remove_old(&self) {
        let old = files_of(&self.directory, &self.name).unwrap_or_default();
        let current = self.path("snapshot");
        for (number, path) in old {
            let older = number < self.number || (number == self.number && path != current && path.extension().is_some_and(|end| end == "snapshot"));
            if older {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn path(&self, end: &str) -> PathBuf {
        self.directory.join(format!("{}.{}.{end}", self.name, self.number))
    }
}

/// Journals and snapshots of a name, with their numbers.
fn files_of(directory: &Path, name: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|file| file.to_str()).and_then(|file| {
            let (number, end) = file.strip_prefix(name)?.strip_prefix('.')?.split_once('.')?;
            matches!(end, "journal" | "snapshot").then(|| number.parse().ok()).flatten()
        });
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

fn frame(keys: &Keys, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / 86_400);
    let sealed = (keys)().seal(PURPOSE, u32::try_from(day).unwrap_or(0), CONTEXT, plain).map_err(io::Error::other)?;
    let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&sealed);
    Ok(())
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("name", &self.name).field("number", &self.number).finish_non_exhaustive()
    }
}

const PURPOSE: Purpose = Purpose::Stored(Kind::Ban);
/// No name of a stored value: what is in the journal cannot be brought into the store, nor the other way.
const CONTEXT: &[u8] = b"journal";
/// Plain bytes of a frame.
const FRAME: usize = 256 * 1024;
/// Changes that a snapshot holds in memory at a time.
const BATCH: usize = 5_000;
/// A journal of this size is read in no time.
const SMALL: u64 = 4 << 20;
/// Files that a start finds before it wants a snapshot.
const FILES: usize = 8;
/// Processes of one node name on one host.
const NAMES: u32 = 16;
