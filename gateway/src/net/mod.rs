//! Sockets below the protocol: listeners with back-off, true origins, arrivals with what was read of them, the small HTTP client.
//!
//! Gets: addresses. Gives: streams. Never: knows FTP, users or sessions.

pub mod http;
pub mod listener;
pub mod origin;
pub mod splice;

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// A data connection that arrived somewhere and was read as far as its ClientHello.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: TcpStream,
    /// What was read so far: the ClientHello, whole, and nothing behind it but what came in the same segment.
    pub read: Vec<u8>,
    /// The client's true address.
    pub peer: SocketAddr,
    /// The data port it came to (its own, not the announced one).
    pub port: u16,
    /// When its first byte was awaited.
    pub since: tokio::time::Instant,
}
