//! Where files live: one root descriptor, virtual paths, atomic uploads.
//!
//! Gets: a user's home and virtual paths. Gives: a [`Tree`] for the home, and through it entries, [`Listing`]s, [`Reader`]s and [`Writer`]s.
//! Never: opens a path that leaves the home, blocks an async worker on a disk, or lets a half-written file stand under its final name.
//!
//! Start in `tree`; `resolve` alone turns paths into descriptors. What is not async may block: async callers run it with [`blocking`], if `now` did not
//! do it already.
//! This is the local backend (any POSIX file system, NFS and SMB too); another one would stand behind the same tree, reader and plan.

mod dir;
mod fault;
mod id;
mod medium;
mod now;
mod plan;
mod read;
mod resolve;
mod root;
mod space;
mod stored;
mod sweep;
mod temporary;
mod tree;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use ftps_proto::machine::io::FileError;

pub use dir::{Detail, Listing};
pub use fault::error_kind;
pub use plan::StorePlan;
pub use read::Reader;
pub use root::{OpenError, Storage};
pub use stored::{Found, Identity, Landed, Seen, Stored};
pub use sweep::Sweep;
pub use tree::Tree;
pub use write::Writer;

/// `storage:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `storage.root`: the directory that holds all homes.
    pub root: PathBuf,
    /// `storage.fsync`: before the rename of an upload.
    pub fsync: Fsync,
    /// `storage.file_mode`.
    pub file_mode: u32,
    /// `storage.dir_mode`.
    pub dir_mode: u32,
    /// `storage.symlinks`.
    pub symlinks: Symlinks,
    /// `storage.id`: `None` is found, or written, below the root.
    pub id: Option<String>,
    /// `storage.stable_inodes`: a file has one inode number on every node and for its life.
    pub stable_inodes: bool,
    /// `storage.sweep_after`: age at which a left-over upload of a dead node is removed.
    pub sweep_after: Duration,
}

/// `storage.fsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// On network file systems, where errors may come late.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `storage.symlinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Followed as long as they stay inside the user's home.
    Inside,
    /// Refused.
    Never,
}

/// Runs work that may wait for a disk on the blocking pool.
///
/// # Errors
/// What the work says; [`FileError::Io`] when it panicked or the runtime is going down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, FileError> + Send + 'static) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(FileError::Io))
}

/// Bytes that one read, one write and one copy step move at once, at most.
pub const CHUNK: usize = 256 * 1024;

#[cfg(test)]
mod scratch;
