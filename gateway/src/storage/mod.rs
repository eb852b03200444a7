//! Where files live: one root descriptor, virtual paths, atomic uploads.

use std::path::PathBuf;
use std::time::Duration;

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
