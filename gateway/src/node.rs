//! Builds, reloads and drains the node: the only file that knows all rooms.
//!
//! Gets: a checked configuration and users. Gives: a node that serves until it is told to stop.
//! Never: serves a connection itself; `pipeline` does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::Users;
use crate::config::{Config, Problem};

/// Everything a node starts from.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The hash of its text; empty when it has none.
    pub hash: String,
    /// Its file, to be read again on a reload; `None`: quick start.
    pub source: Option<PathBuf>,
    /// The users.
    pub users: Arc<Users>,
    /// Entries of users files that were skipped: to be counted and said.
    pub broken_users: Vec<Problem>,
    /// What to print for a person once it serves, from where it listens and the certificate's fingerprint.
    pub banner: Option<Banner>,
}

/// Makes the words for a person.
pub type Banner = Box<dyn FnOnce(&Ready, &str) -> String + Send>;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// FTP with AUTH TLS.
    pub explicit: Vec<SocketAddr>,
    /// FTP with TLS from the first byte.
    pub implicit: Vec<SocketAddr>,
    /// The admin interface.
    pub admin: SocketAddr,
    /// Metrics and probes, when they have an address of their own.
    pub metrics: Option<SocketAddr>,
    /// Data connections.
    pub data_ports: Vec<u16>,
}

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on: exit code 69.
    #[error("{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something named in the configuration does not work, such as a certificate: exit code 64.
    #[error("{0}")]
    Configuration(String),
    /// Our fault, or the system's: exit code 70.
    #[error("{0}")]
    Fault(String),
}

/// Runs a node until it has drained.
///
/// # Errors
/// Why it does not serve.
pub async fn serve(plan: Plan) -> Result<(), Error> {
    let _ = plan;
    Err(Error::Fault("this build serves nothing".into()))
}
