//! Who is: users, passwords.

use std::path::PathBuf;

/// `users:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `users.files`.
    pub files: Vec<PathBuf>,
}
