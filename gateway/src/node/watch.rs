//! Notices that files have changed, by looking at them.
//!
//! Looking is all there is, since it is needed anyway: Kubernetes swaps a symbolic link above the directory, and file servers tell nobody, so that a watch
//! of the kernel would see neither. A stat of some files every two seconds costs microseconds.
//! Gets: paths. Gives: whether what they lead to is something else than before. Never: takes a file that was only touched for a changed one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Files and what they were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<PathBuf, Seen>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    stamp: Option<Stamp>,
    /// SHA-256; `None`: it cannot be read.
    contents: Option<[u8; 32]>,
}

/// Device, inode, size, time of the last change of contents and of anything.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Watch {
    /// Looks at these files for the first time. Blocks.
    pub(super) fn of(files: BTreeSet<PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), Seen::at(&file))).collect())
    }

    /// The files.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// Whether the contents of any are others than at the last look. Not `deep`: contents are read only where stat(2) tells of a change. Blocks.
    pub(super) fn look(&mut self, deep: bool) -> bool {
        let mut changed = false;
        for (file, seen) in &mut self.0 {
            if !deep && stamp(file) == seen.stamp {
                continue;
            }
            let now = Seen::at(file);
            changed |= now.contents != seen.contents;
            *seen = now;
        }
        changed
    }
}

impl Seen {
    fn at(file: &Path) -> Self {
        // Before the contents: a change in between is then seen at the next look.
        let stamp = stamp(file);
        Self { stamp, contents: fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into()) }
    }
}

/// Symbolic links are followed: what counts is where they lead.
fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.size(), (found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_change_is_seen_once_and_a_touch_is_none() {
        let directory = std::env::temp_dir().join(format!("ftps-gateway-watch-{}", std::process::id()));
        fs::create_dir_all(directory.join("one")).unwrap();
        fs::create_dir_all(directory.join("two")).unwrap();
        let (file, absent) = (directory.join("now/file"), directory.join("absent"));
        fs::write(directory.join("one/file"), "a").unwrap();
        fs::write(directory.join("two/file"), "b").unwrap();
        std::os::unix::fs::symlink("one", directory.join("now")).unwrap();
        let mut watch = Watch::of([file.clone(), absent.clone()].into());
        assert!(!watch.look(false) && !watch.look(true));
        fs::write(&file, "a").unwrap();
        assert!(!watch.look(false), "the same contents again");
        // As Kubernetes does it: a new link takes the place of the old one.
        std::os::unix::fs::symlink("two", directory.join("next")).unwrap();
        fs::rename(directory.join("next"), directory.join("now")).unwrap();
        assert!(watch.look(false) && !watch.look(false));
        fs::write(&absent, "").unwrap();
        assert!(watch.look(false));
        fs::remove_file(&absent).unwrap();
        assert!(watch.look(false) && !watch.look(true));
        fs::remove_dir_all(directory).unwrap();
    }
}
