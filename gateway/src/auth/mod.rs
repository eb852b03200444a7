//! Who is: users, passwords, and the one question whether somebody may log in.
//!
//! Gets: users (from users files, or one made in memory), a name, a password, an address. Gives: the user, or why not.
//! Never: tells a client which of user and password was wrong, by words or by time; hashes more at once than `limits.password_jobs`.

mod expiry;
mod hash;
mod login;
mod recent;
mod user;

use std::path::PathBuf;

pub use expiry::parse_expiry;
pub use hash::{BadHash, PasswordHash, make_hash};
pub use login::Login;
pub use user::{User, Users};

/// `users:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `users.files`.
    pub files: Vec<PathBuf>,
}
