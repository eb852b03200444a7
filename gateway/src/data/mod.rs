//! Data connections: ports, routing, leases, handshakes, the pump.
//!
//! A connection's way: `ports` accepts it, `route` reads its ClientHello and finds its session with `waits`, the session's `channel` runs the handshake and
//! demands the proof, `stream` carries the bytes, `pump` moves them between file and wire. Gives nothing away before the proof.
//! Never: delivers on a guess, opens a file, writes a reply.

pub mod active;
pub mod announce;
pub mod ascii;
pub mod channel;
pub mod clients;
mod handshake;
mod header;
pub mod homes;
pub mod inbound;
mod link;
pub mod peers;
pub mod ports;
pub mod pump;
mod reception;
pub mod route;
mod spenders;
pub mod stream;
pub mod waits;

use std::net::IpAddr;

use ftps_proto::proof::{ReusePolicy, UploadEnd};
use ipnet::IpNet;

pub use spenders::{ClientId, Next, Spenders};

/// `data:`
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `data.ports`.
    pub ports: PortSet,
    /// `data.public_address`.
    pub public_address: PublicAddress,
    /// `data.tls_reuse`.
    pub tls_reuse: ReusePolicy,
    /// `data.upload_end`.
    pub upload_end: UploadEnd,
    /// `data.active`: PORT and EPRT, to the client's own address only.
    pub active: bool,
}

/// `data.ports`: `"50000-50007"`, or `"0/8"` for eight of the kernel's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSet {
    /// First and last port.
    Range(u16, u16),
    /// That many ports of the kernel's choice.
    Any(u16),
}

/// What PASV announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// The environment variable `FTPS_GATEWAY_PUBLIC_ADDRESS`, else the address the control connection came to.
    Auto,
    /// This address.
    Ip(IpAddr),
    /// This name, resolved in the background.
    Name(String),
    /// By the client's network, first match; then the default.
    ByNetwork(Vec<(IpNet, Announce)>, Option<Announce>),
}

/// An address or a name to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Announce {
    Ip(IpAddr),
    Name(String),
}

#[cfg(test)]
mod tests;
