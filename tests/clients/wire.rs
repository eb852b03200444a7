//! Where the files beside this one are.
//!
//! Gets: a name. Gives: a path.
//! Never: a path of this machine in the tree.

use std::path::PathBuf;

/// A file of `tests/clients`.
pub fn beside(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(name)
}
