//! What the tests of this room share: a directory of their own, and an observer that remembers.
//! Gets: nothing. Gives: a tree that is gone after the test. Never: part of the product.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftps_proto::path::{VirtualPath, WirePath};

use super::{Config, Fsync, Storage, Symlinks, Tree};
use crate::observe::id::{Incarnation, Ulid};
use crate::observe::{Event, Observer, Sink, Subject};

/// A directory that is gone at the end of the test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        Self::under(&std::env::temp_dir())
    }

    pub(super) fn under(parent: &Path) -> Self {
        let path = parent.join(format!("ftps-gateway-storage-{}", Ulid::now()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn directory(&self, name: &str) {
        std::fs::create_dir_all(self.at(name)).unwrap();
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.at(name), bytes).unwrap();
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.at(name)).unwrap()).unwrap()
    }

    /// All names in a directory, hidden ones too, sorted.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.at(name)).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(super) fn config(&self) -> Config {
        Config {
            root: self.0.clone(),
            fsync: Fsync::Auto,
            file_mode: 0o640,
            dir_mode: 0o750,
            symlinks: Symlinks::Inside,
            id: None,
            stable_inodes: true,
            sweep_after: Duration::from_secs(24 * 3600),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        Storage::open(self.config(), Incarnation::now(), observer().0).unwrap()
    }

    /// The tree of the home `/home`.
    pub(super) fn tree(&self) -> Arc<Tree> {
        self.storage().tree(&path("/home")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A virtual path.
pub(super) fn path(text: &str) -> VirtualPath {
    VirtualPath::root().resolve(&WirePath::new(text.as_bytes()).unwrap()).unwrap()
}

/// What an observer heard of this room.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Sink for Said {
    fn event(&self, _subject: Subject<'_>, event: &Event<'_>) {
        let text = match event {
            Event::StorageFailed { operation, kind, error: _ } => format!("failed {operation} {kind:?}"),
            Event::Swept { files } => format!("swept {files}"),
            // Every call says it.
            Event::StorageDone { .. } => return,
            _ => "something else".into(),
        };
        self.0.lock().unwrap().push(text);
    }
}

pub(super) fn observer() -> (Observer, Said) {
    let said = Said::default();
    (Observer::new(vec![Arc::new(said.clone())]), said)
}
