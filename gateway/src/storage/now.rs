//! What can be done without waiting: small work that spares its caller the way to the blocking pool and back, which costs more than the work.
//!
//! Gets: the paths that the waiting functions get. Gives: the same results, or `None`: ask the function that may wait, which also says every error.
//! Only names that the kernel has in memory (openat2, RESOLVE_CACHED) on a file system of this kernel, within one mount.
//! Never: asks a disk or a server.

use std::sync::Arc;

use ftps_proto::machine::io::{FileError, StoreMode};
use ftps_proto::path::VirtualPath;
use rustix::fs::OFlags;

use super::medium::Medium;
use super::plan::StorePlan;
use super::read::Reader;
use super::resolve::{Beneath, split};
use super::root::Storage;
use super::tree::{Tree, open_regular_now, visible};

impl Storage {
    /// [`Storage::tree`], at once.
    pub fn tree_now(&self, home: &VirtualPath) -> Option<Arc<Tree>> {
        let shared = self.shared();
        let opened = shared.root().open_now(home.relative(), OFlags::PATH | OFlags::DIRECTORY, true)?;
        self.share(&shared, home, Beneath::new(opened, shared.config.symlinks)).ok()
    }
}

impl Tree {
    /// [`Tree::open_read`], at once. The first bytes are read when they come at once, too.
    pub fn open_read_now(self: &Arc<Self>, path: &VirtualPath, offset: u64) -> Option<Reader> {
        let medium = self.medium_now()?;
        let (file, stat) = open_regular_now(&self.home(), path)?;
        Reader::begin_now(self, file, &stat, offset, medium)
    }

    /// [`Tree::plan_store`], at once: only in memory, since the directory of a disk has to be searched for a new name. Such a plan can be stored at once,
    /// too.
    pub fn plan_store_now(self: &Arc<Self>, path: &VirtualPath, mode: StoreMode, announced: Option<u64>) -> Option<Result<StorePlan, FileError>> {
        if mode != StoreMode::Replace || self.medium_now()? != Medium::Memory {
            return None;
        }
        self.home().open_now(split(visible(path).ok()?).0, OFlags::PATH | OFlags::DIRECTORY, false)?;
        Some(self.plan_store(path, mode, announced).map(StorePlan::in_memory))
    }

    /// What is behind the home, if that is known and does not make us wait.
    fn medium_now(&self) -> Option<Medium> {
        match self.shared.media.known(self.device())? {
            Medium::Network | Medium::Unknown => None,
            local => Some(local),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::scratch::{Scratch, path};
    use super::*;

    #[tokio::test]
    async fn does_at_once_what_the_kernel_remembers_and_nothing_else() {
        let scratch = Scratch::under("/dev/shm".as_ref());
        scratch.directory("home/sub");
        scratch.directory("outside");
        scratch.file("outside/file", b"secret");
        scratch.file("home/sub/file", b"bytes");
        std::os::unix::fs::symlink("../outside/file", scratch.at("home/link")).unwrap();
        let tree = scratch.tree();
        assert!(tree.open_read_now(&path("/sub/file"), 0).is_none(), "nothing is known of the device yet");
        tree.open_read(&path("/sub/file"), 0).unwrap();
        let mut reader = tree.open_read_now(&path("/sub/file"), 2).unwrap();
        assert_eq!(reader.read().await.unwrap(), b"tes");
        for refused in ["/sub", "/none", "/link", "/sub/.ftps-gateway.0.part/x"] {
            assert!(tree.open_read_now(&path(refused), 0).is_none(), "{refused}");
        }
        assert!(tree.open_read_now(&path("/sub/file"), 6).is_none(), "an offset beyond the end");

        let plan = tree.plan_store_now(&path("/sub/new"), StoreMode::Replace, None).unwrap().unwrap();
        assert!(plan.is_in_memory());
        plan.store(b"new").unwrap();
        assert_eq!(scratch.text("home/sub/new"), "new");
        assert!(tree.plan_store_now(&path("/none/new"), StoreMode::Replace, None).is_none());
        assert!(tree.plan_store_now(&path("/sub/new"), StoreMode::Append, None).is_none());
    }

    #[test]
    fn a_home_is_shared_whichever_way_it_was_opened() {
        let scratch = Scratch::new();
        let storage = scratch.storage();
        assert!(storage.tree_now(&path("/new")).is_none(), "it has to be made");
        let tree = storage.tree(&path("/new")).unwrap();
        assert!(Arc::ptr_eq(&tree, &storage.tree_now(&path("/new")).unwrap()));
        drop(tree);
        let tree = storage.tree_now(&path("/new")).unwrap();
        assert!(Arc::ptr_eq(&tree, &storage.tree(&path("/new")).unwrap()));
    }
}
