//! The way in from FTP: listeners, permits, admission.

use std::net::SocketAddr;

use ipnet::IpNet;

/// `listen:`, the FTP part.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `listen.explicit`: AUTH TLS first.
    pub explicit: Vec<SocketAddr>,
    /// `listen.implicit`: TLS from the first byte. Empty: off.
    pub implicit: Vec<SocketAddr>,
    /// `listen.allow_from`: networks that may connect at all; empty: any.
    pub allow_from: Vec<IpNet>,
}
