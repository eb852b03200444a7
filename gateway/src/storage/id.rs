//! The storage's id: which storage this is, whatever path or host it is mounted at.
//!
//! Gets: `storage.id`, or the hidden file below the root. Gives: one id, the same on every node; written once if there is none.
//! Never: changes an id that is there, or waits for another node for more than a second.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat, unlinkat};
use rustix::io::Errno;

use super::read::read_at;
use super::resolve::Beneath;
use super::root::Storage;
use super::temporary::{ID, Temporary};
use crate::observe::id::Ulid;

impl Storage {
    /// The id of this storage; `None` where it has none and none can be written (a read-only mount). May block.
    pub fn id(&self) -> Option<String> {
        let shared = self.shared();
        if let Some(id) = &shared.config.id {
            return Some(id.clone());
        }
        let root = shared.root();
        let mut id = read(&root);
        if id.is_none() {
            write(&root, &shared.names).ok()?;
            id = read(&root);
        }
        id
    }
}

/// A node that cannot link writes the file in two steps: for a moment it is empty.
fn read(root: &Beneath) -> Option<String> {
    for _ in 0..TRIES {
        let file = root.open(ID, OFlags::RDONLY | OFlags::NOFOLLOW).ok()?;
        let mut text = [0; LENGTH];
        if read_at(&file, &mut text, 0).ok()? == LENGTH {
            return String::from_utf8(text.to_vec()).ok();
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// By a link, so that it is never seen half written; where there are no hard links, by O_EXCL. Another node may be first.
fn write(root: &Beneath, names: &super::temporary::Names) -> Result<(), Errno> {
    let id = Ulid::now().to_string();
    let directory: OwnedFd = root.open(b".", OFlags::PATH | OFlags::DIRECTORY)?;
    let temporary = Temporary::create(directory, names)?;
    put(temporary.file(), &id)?;
    match linkat(temporary.directory(), temporary.name(), temporary.directory(), ID, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => return Ok(()),
        Err(_) => {}
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(temporary.directory(), ID, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => put(&file, &id).inspect_err(|_| {
            let _ = unlinkat(temporary.directory(), ID, AtFlags::empty());
        }),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn put(file: impl AsFd, id: &str) -> Result<(), Errno> {
    if rustix::io::write(file, id.as_bytes())? == id.len() { Ok(()) } else { Err(Errno::NOSPC) }
}

/// Digits of a ULID.
const LENGTH: usize = 26;
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::scratch::{Scratch, path};
    use super::super::{Config, Storage};
    use super::*;
    use crate::observe::id::Incarnation;

    #[test]
    fn is_written_once_and_the_same_for_everybody() {
        let scratch = Scratch::new();
        let storages: Vec<Storage> = (0..4).map(|_| scratch.storage()).collect();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = storages.iter().map(|storage| scope.spawn(|| storage.id().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0] && id.len() == LENGTH), "{ids:?}");
        assert_eq!(scratch.storage().id().unwrap(), ids[0]);
        let root = storages[0].tree(&path("/")).unwrap();
        assert_eq!(root.identity(&path("/.FTPS-gateway.id")), None, "no client sees it");
        assert!(scratch.names(".").iter().all(|name| !name.ends_with(".part")));
    }

    #[test]
    fn the_configuration_goes_first() {
        let scratch = Scratch::new();
        let config = Config { id: Some("ours".into()), ..scratch.config() };
        let storage = Storage::open(config, Incarnation::now(), super::super::scratch::observer().0).unwrap();
        assert_eq!(storage.id().as_deref(), Some("ours"));
        assert!(scratch.names(".").is_empty());
    }
}
