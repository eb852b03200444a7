//! From a path to a descriptor: the only file that resolves names.
//!
//! Gets: paths relative to a directory, from `VirtualPath`. Gives: descriptors of things beneath that directory.
//! Never: leaves it, by `..`, by an absolute or a magic link, or by a race: the kernel decides (openat2, RESOLVE_BENEATH), no check of ours does.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, makedev, openat2, statx};
use rustix::io::Errno;

use super::Symlinks;

/// A directory that no resolution leaves.
#[derive(Debug)]
pub(super) struct Beneath {
    directory: Arc<OwnedFd>,
    resolve: ResolveFlags,
}

impl Beneath {
    /// Nothing leaves `directory` from now on.
    pub(super) fn new(directory: OwnedFd, symlinks: Symlinks) -> Self {
        Self::below(Arc::new(directory), symlinks)
    }

    /// The same directory under another rule for links.
    pub(super) fn with(&self, symlinks: Symlinks) -> Self {
        Self::below(self.directory.clone(), symlinks)
    }

    fn below(directory: Arc<OwnedFd>, symlinks: Symlinks) -> Self {
        let never = match symlinks {
            Symlinks::Inside => ResolveFlags::empty(),
            Symlinks::Never => ResolveFlags::NO_SYMLINKS,
        };
        Self { directory, resolve: ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | never }
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Whether symbolic links are refused.
    pub(super) fn refuses_links(&self) -> bool {
        self.resolve.contains(ResolveFlags::NO_SYMLINKS)
    }

    /// Opens what `path` leads to. Never creates, never waits for a FIFO's other end, never takes a terminal.
    ///
    /// # Errors
    /// EACCES for a path that leaves the directory; EAGAIN when renames elsewhere kept the kernel from being sure, 64 times in a row.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NONBLOCK | OFlags::NOCTTY };
        for _ in 0..UNSURE_MOST {
            match openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), self.resolve) {
                // A rename or mount raced with `..`, or (open(2)) a lease is being broken.
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(Errno::INTR) => {}
                Err(Errno::XDEV) => return Err(Errno::ACCESS),
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens what `path` leads to if the kernel has all of its names in memory (Linux 5.12); `crossing`: also into another mount. `None` says nothing.
    pub(super) fn open_now(&self, path: &[u8], flags: OFlags, crossing: bool) -> Option<OwnedFd> {
        let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NONBLOCK | OFlags::NOCTTY };
        let within = if crossing { ResolveFlags::empty() } else { ResolveFlags::NO_XDEV };
        openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), self.resolve | ResolveFlags::CACHED | within).ok()
    }

    /// Which directory it is: device and inode, as this kernel knows them, without asking a server.
    pub(super) fn identity(&self) -> Result<(u64, u64), Errno> {
        let stat = statx(&self.directory, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
        Ok((makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
    }

    /// Opens the directory that holds the last component of `path`, for calls that take a directory and a name.
    pub(super) fn open_parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (parent, name) = split(path);
        Ok((self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Whether the kernel keeps the promise: openat2 is there, and refuses to leave.
    ///
    /// # Errors
    /// ENOSYS (Linux before 5.6, or a seccomp profile), EPERM (a seccomp profile), or ENOTSUP when it is there but lets `..` out.
    pub(super) fn probe(&self) -> Result<(), Errno> {
        openat2(&self.directory, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), self.resolve)?;
        match openat2(&self.directory, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), self.resolve) {
            Ok(_) => Err(Errno::NOTSUP),
            Err(_) => Ok(()),
        }
    }
}

/// Parent and last component of a relative path; the parent of a single component is `.`.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".", path),
    }
}

/// How often a resolution is tried again.
const UNSURE_MOST: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::super::scratch::Scratch;
    use super::*;

    fn beneath(scratch: &Scratch, symlinks: Symlinks) -> Beneath {
        let fd = rustix::fs::open(scratch.at("home"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Beneath::new(fd, symlinks)
    }

    fn planted() -> Scratch {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        scratch.directory("outside");
        scratch.file("home/sub/file", b"inside");
        scratch.file("outside/file", b"outside");
        symlink("sub/file", scratch.at("home/link")).unwrap();
        symlink("../home/sub", scratch.at("home/out_and_in")).unwrap();
        symlink("sub/../sub/file", scratch.at("home/dotted")).unwrap();
        symlink("../outside", scratch.at("home/out")).unwrap();
        symlink(scratch.at("outside/file"), scratch.at("home/absolute")).unwrap();
        symlink(scratch.at("home/sub/file"), scratch.at("home/absolute_inside")).unwrap();
        symlink("nowhere", scratch.at("home/dangling")).unwrap();
        symlink("/proc/self/root", scratch.at("home/magic")).unwrap();
        symlink("circle", scratch.at("home/circle")).unwrap();
        scratch
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let scratch = planted();
        let home = beneath(&scratch, Symlinks::Inside);
        home.probe().unwrap();
        for inside in ["link", "sub/file", "dotted"] {
            home.open(inside.as_bytes(), OFlags::RDONLY).unwrap();
        }
        for outside in ["out", "out/file", "out_and_in/file", "absolute", "absolute_inside", "magic/etc/passwd", "..", "sub/../../outside/file", "/etc/passwd"]
        {
            assert_eq!(home.open(outside.as_bytes(), OFlags::RDONLY).unwrap_err(), Errno::ACCESS, "{outside}");
        }
        assert_eq!(home.open(b"dangling", OFlags::RDONLY).unwrap_err(), Errno::NOENT);
        assert_eq!(home.open(b"circle", OFlags::RDONLY).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn links_can_be_refused_altogether() {
        let scratch = planted();
        let home = beneath(&scratch, Symlinks::Never);
        home.probe().unwrap();
        home.open(b"sub/file", OFlags::RDONLY).unwrap();
        for link in ["link", "dotted", "out/file", "dangling"] {
            assert_eq!(home.open(link.as_bytes(), OFlags::RDONLY).unwrap_err(), Errno::LOOP, "{link}");
        }
    }

    /// A directory and a link that leads out change places as fast as they can while files are opened through them.
    #[test]
    fn a_race_of_links_never_leaks() {
        let scratch = planted();
        let home = beneath(&scratch, Symlinks::Inside);
        symlink("../outside", scratch.at("home/swap")).unwrap();
        let stop = AtomicBool::new(false);
        let (mut inside, mut refused, mut swaps) = (0_u32, 0_u32, 0_u32);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, scratch.at("home/sub"), CWD, scratch.at("home/swap"), RenameFlags::EXCHANGE).unwrap();
                    swaps += 1;
                }
                swaps
            });
            let until = Instant::now() + Duration::from_secs(1);
            while Instant::now() < until {
                for path in [&b"sub/file"[..], b"sub/../sub/file", b"swap/file"] {
                    match home.open(path, OFlags::RDONLY) {
                        Ok(fd) => {
                            let mut text = [0_u8; 16];
                            let n = rustix::io::read(&fd, &mut text).unwrap();
                            assert_eq!(&text[..n], b"inside");
                            inside += 1;
                        }
                        Err(Errno::ACCESS | Errno::AGAIN | Errno::NOENT) => refused += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            swaps = swapper.join().unwrap();
        });
        assert!(inside > 0 && refused > 0 && swaps > 0, "{inside} {refused} {swaps}");
    }

    #[test]
    fn splits_at_the_last_slash() {
        assert_eq!(split(b"a"), (&b"."[..], &b"a"[..]));
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
    }
}
