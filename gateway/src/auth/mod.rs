//! Who is: users, passwords, and the one question whether somebody may log in.
//!
//! Gets: users (from users files, or one made in memory), a name, a password, an address. Gives: the user, or why not.
//! Never: tells a client which of user and password was wrong, by words or by time; hashes more at once than `limits.password_jobs`.

mod certificate;
mod changes;
mod expiry;
mod hash;
mod jobs;
mod login;
mod memory;
mod queue;
mod recent;
mod scheme;
mod user;

use std::path::PathBuf;

use ftps_proto::machine::io::Permissions;
use ftps_proto::path::VirtualPath;

pub use certificate::{CertificateIdentity, CertificateName};
pub use changes::Changes;
pub use expiry::parse_expiry;
pub use hash::{BadHash, PasswordHash, make_hash};
pub use login::{Admitted, Attempt, Login};
pub use user::{User, Users};

/// `users:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `users.files`.
    pub files: Vec<PathBuf>,
    /// `users.anonymous`; `None` while it is not enabled.
    pub anonymous: Option<Anonymous>,
}

/// What the users `anonymous` and `ftp`, who need no password, find (RFC 1635).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// `users.anonymous.home`.
    pub home: VirtualPath,
    /// `users.anonymous.permissions`.
    pub permissions: Permissions,
}
