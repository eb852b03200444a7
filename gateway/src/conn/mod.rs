//! The way in from FTP: accepted → known (PROXY header) → admitted.
//!
//! Gets: listening sockets. Gives: connections that may go on, each with its true address and its permits.
//! Never: reads a byte of FTP or TLS.

mod accept;
mod admission;

use std::net::SocketAddr;

use ipnet::IpNet;

pub use accept::{Accepted, Known, Unknown, accept};
pub use admission::{Admission, Admitted, Refused};

/// `listen:`, the FTP part.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `listen.explicit`: AUTH TLS first.
    pub explicit: Vec<SocketAddr>,
    /// `listen.implicit`: TLS from the first byte. Empty: off.
    pub implicit: Vec<SocketAddr>,
    /// `listen.proxy_protocol_from`: balancers whose connections, also for data, begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// `listen.allow_from`: networks that may connect at all; empty: any.
    pub allow_from: Vec<IpNet>,
}
