//! The way in from HTTP: probes and metrics (the API follows).

use std::net::SocketAddr;

/// `listen:`, the HTTP part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `listen.admin`: API and page, and metrics and probes unless `metrics` is set.
    pub admin: SocketAddr,
    /// `listen.metrics`: `/metrics` and probes only.
    pub metrics: Option<SocketAddr>,
}
