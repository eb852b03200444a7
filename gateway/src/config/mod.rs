//! Raw YAML → located tree → checked [`Config`]; every error at once, each with line, key and what to write.

use std::time::Duration;

use crate::{admin, auth, conn, data, limits, observe, storage, tls};

/// A checked configuration. Values that are not in the file have their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `node.name`.
    pub node_name: String,
    /// `listen`, the FTP part.
    pub conn: conn::Config,
    /// `listen`, the HTTP part.
    pub admin: admin::Config,
    /// `data`.
    pub data: data::Config,
    /// `tls`.
    pub tls: tls::Config,
    /// `users`.
    pub auth: auth::Config,
    /// `storage`.
    pub storage: storage::Config,
    /// `limits`.
    pub limits: limits::Config,
    /// `log`.
    pub log: observe::LogConfig,
    /// `drain`.
    pub drain: Drain,
}

/// `drain:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// `drain.delay`: new sessions are still served after SIGTERM.
    pub delay: Duration,
    /// `drain.idle`: without a command before 421.
    pub idle: Duration,
    /// `drain.timeout`: what still runs then is cut.
    pub timeout: Duration,
}
