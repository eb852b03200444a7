//! How much anybody may have: permits for sessions, deadlines.

use std::time::Duration;

/// `limits:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `limits.sessions`: on this node.
    pub sessions: usize,
    /// `limits.sessions_per_ip`.
    pub sessions_per_ip: usize,
    /// `limits.sessions_per_user`.
    pub sessions_per_user: usize,
    /// `limits.logins_per_minute_per_ip`.
    pub logins_per_minute_per_ip: u32,
    /// `limits.login_timeout`: from accept to a login; NOOP does not extend it.
    pub login_timeout: Duration,
    /// `limits.idle_timeout`: without a command and without a transfer.
    pub idle_timeout: Duration,
    /// `limits.stall_timeout`: no byte on the data connection.
    pub stall_timeout: Duration,
    /// `limits.data_timeout`: from PASV to proof.
    pub data_timeout: Duration,
    /// `limits.write_timeout`: a reply that is not read.
    pub write_timeout: Duration,
    /// `limits.session_max`: 421 at an idle point after it.
    pub session_max: Duration,
    /// `limits.line`: longest command line in bytes after login (half of it, at most 4 KiB, before).
    pub line: usize,
    /// `limits.password_jobs`: password hashes computed at a time; `None` is `auto`, the number of cores.
    pub password_jobs: Option<usize>,
}
