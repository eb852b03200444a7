//! How much room there is for files.
//!
//! Gets: nothing. Gives: size and room of the file system below the root.
//! Never: says that there is room where it cannot know.

use rustix::fs::{OFlags, fstatvfs};

use super::root::Storage;
use crate::observe::metrics::Space;

impl Storage {
    /// Of the file system of the root; `None` when it does not answer. May block, as long as a file server is silent.
    pub fn space(&self) -> Option<Space> {
        let root = self.shared().root().open(b".", OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let found = fstatvfs(root).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Space { size: bytes(found.f_blocks), free: bytes(found.f_bavail), inodes: found.f_favail })
    }
}
