//! Removes what uploads of dead nodes left behind.
//!
//! Gets: the root, and who is alive. Gives: fewer left-overs, in rounds of bounded work, each going on where the last one stopped.
//! Never: follows a link, touches a file of a living node, or trusts this machine's clock: age is measured by the file system's own.

use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ftps_proto::machine::io::FileError;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat2, statat, unlinkat};
use rustix::io::Errno;

use super::fault::Fault;
use super::root::{Shared, Storage};
use super::temporary::{Temporary, owner};
use crate::observe::id::Incarnation;
use crate::observe::{Event, Subject};

/// What one call has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Left-overs removed.
    pub removed: u64,
    /// Names looked at.
    pub seen: u64,
    /// Whether the round has come to its end; the next call begins a new one.
    pub complete: bool,
}

/// Directories of this round that are still to be looked at, relative to the root.
#[derive(Debug, Default)]
pub(super) struct Round {
    waiting: Vec<Vec<u8>>,
    turn: usize,
}

/// One call's own state.
struct Broom<'a> {
    shared: &'a Shared,
    alive: &'a dyn Fn(Incarnation) -> bool,
    /// The device last asked for its time: what it said, and when.
    clock: Option<(u64, Duration, Instant)>,
    done: Sweep,
}

impl Storage {
    /// Looks at half a million names (and finishes the directory it is in), and removes temporaries that are older than `storage.sweep_after` and whose node is not `alive` (this one always
    /// is). Blocks. Emits [`Event::Swept`] when it removed something. Call it at start, and then each hour, or again at once while it is not complete.
    ///
    /// # Errors
    /// What the system says about the root itself; a directory that cannot be read is passed over.
    pub fn sweep(&self, alive: &dyn Fn(Incarnation) -> bool) -> Result<Sweep, FileError> {
        let shared = self.shared();
        let mut round = self.round().lock().unwrap_or_else(PoisonError::into_inner);
        let mut broom = Broom { shared: &shared, alive, clock: None, done: Sweep::default() };
        if round.waiting.is_empty() {
            round.waiting.push(b".".to_vec());
        }
        let root = shared.root();
        while broom.done.seen < SEEN_MOST
            && let Some(path) = round.waiting.pop()
        {
            let swept = open(root.directory(), &path).and_then(|directory| broom.directory(&directory, &path, &mut round));
            if let Err(errno) = swept
                && path == b"."
            {
                return Err(Fault::from(errno).tell("sweep", &shared.observer));
            }
        }
        broom.done.complete = round.waiting.is_empty();
        if broom.done.removed > 0 {
            shared.observer.event(Subject::default(), &Event::Swept { files: broom.done.removed });
        }
        Ok(broom.done)
    }
}

impl Round {
    /// Remembers a directory. When too many wait, it takes the place of another one, a different one each time, whose turn then comes in a later round.
    fn push(&mut self, path: Vec<u8>) {
        self.turn = self.turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if self.waiting.len() < WAITING_MOST {
            self.waiting.push(path);
        } else {
            let place = (self.turn >> 16) % WAITING_MOST;
            self.waiting[place] = path;
        }
    }
}

impl Broom<'_> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], round: &mut Round) -> Result<(), Errno> {
        let mut buffer = Vec::<u8>::with_capacity(BUFFER);
        let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(item) = raw.next() {
            let item = item?;
            let name = item.file_name().to_bytes();
            self.done.seen += 1;
            match item.file_type() {
                FileType::Directory if !matches!(name, b"." | b"..") => round.push([path, b"/", name].concat()),
                // A few file systems do not say: then the name alone is tried as a directory.
                FileType::Unknown if owner(name).is_none() && !matches!(name, b"." | b"..") => round.push([path, b"/", name].concat()),
                FileType::RegularFile | FileType::Unknown => self.file(directory, name),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, directory: &OwnedFd, name: &[u8]) {
        let Some(node) = owner(name) else { return };
        if node == self.shared.names.node() || (self.alive)(node) {
            return;
        }
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => stat,
            // Another node was faster, or it is none of ours.
            Ok(_) | Err(_) => return,
        };
        // Where no file can be made, none can be removed.
        let Ok(now) = self.time(directory, stat.st_dev) else { return };
        if now.saturating_sub(modified(&stat)) >= self.shared.config.sweep_after && unlinkat(directory, name, AtFlags::empty()).is_ok() {
            self.done.removed += 1;
        }
    }

    /// The time by the clock of the file system (a server's, perhaps): that of a file made just now.
    fn time(&mut self, directory: &OwnedFd, device: u64) -> Result<Duration, Errno> {
        if let Some((known, then, asked)) = self.clock
            && known == device
        {
            return Ok(then + asked.elapsed());
        }
        let probe = Temporary::create(rustix::io::fcntl_dupfd_cloexec(directory, 0)?, &self.shared.names)?;
        let time = modified(&fstat(probe.file())?);
        self.clock = Some((device, time, Instant::now()));
        Ok(time)
    }
}

fn open(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
}

fn modified(stat: &Stat) -> Duration {
    Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Names looked at in one call: a second or so on a local disk.
const SEEN_MOST: u64 = 500_000;
/// Directories remembered at once.
const WAITING_MOST: usize = 65_536;
const BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::SystemTime;

    use super::super::Config;
    use super::super::scratch::{Scratch, observer};
    use super::*;

    /// A left-over of `node` in `directory`, `age` old.
    fn leave(scratch: &Scratch, directory: &str, node: Incarnation, number: u32, age: Duration) -> String {
        let name = format!("{directory}/.ftps-gateway.{node}.{number:x}.part");
        scratch.file(&name, b"half");
        let file = std::fs::File::options().write(true).open(scratch.at(&name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        name
    }

    #[test]
    fn removes_old_left_overs_of_the_dead_only() {
        let scratch = Scratch::new();
        scratch.directory("alice/deep/deeper");
        scratch.directory("bob");
        scratch.directory("outside");
        let (own, dead, living) = (Incarnation::now(), Incarnation::now(), Incarnation::now());
        let day = Duration::from_secs(24 * 3600);
        let gone = [
            leave(&scratch, "alice", dead, 1, day + Duration::from_secs(60)),
            leave(&scratch, "alice/deep/deeper", dead, 2, day * 30),
            leave(&scratch, ".", dead, 3, day * 2),
        ];
        let stays = [
            leave(&scratch, "bob", dead, 4, day - Duration::from_secs(60)),
            leave(&scratch, "bob", living, 5, day * 30),
            leave(&scratch, "bob", own, 6, day * 30),
        ];
        scratch.file("bob/.ftps-gateway.notes.part", b"a user's own");
        std::os::unix::fs::symlink(scratch.at("alice"), scratch.at("bob/link")).unwrap();
        let (observer, said) = observer();
        let storage = Storage::open(Config { sweep_after: day, ..scratch.config() }, own, observer).unwrap();

        let swept = storage.sweep(&|node| node == living).unwrap();
        assert_eq!((swept.removed, swept.complete), (3, true));
        assert!(gone.iter().all(|name| !scratch.at(name).exists()));
        assert!(stays.iter().all(|name| scratch.at(name).exists()));
        assert_eq!(scratch.names("bob").len(), 5, "no probe is left: {:?}", scratch.names("bob"));
        assert_eq!(said.take(), ["swept 3"]);
        assert_eq!(storage.sweep(&|node| node == living).unwrap().removed, 0);
        assert!(said.take().is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut round = Round::default();
        for number in 0..WAITING_MOST + 5_000 {
            round.push(number.to_le_bytes().to_vec());
        }
        assert_eq!(round.waiting.len(), WAITING_MOST);
        let late = round.waiting.iter().filter(|path| path[..] >= *WAITING_MOST.to_le_bytes().as_slice()).count();
        assert!(late > 0);
    }
}
