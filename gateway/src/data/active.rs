//! Active mode: connects to the address of PORT or EPRT. We stay the TLS server (RFC 4217 §7).
//!
//! Gets: the address and the control connection's own. Gives: an arrival like any other, its ClientHello read.
//! Never: connects to another host than the client's, or to a port below 1024 (RFC 2577 §3: bounce attack).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ftps_proto::machine::io::DataRefusal;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::route::read_hello;
use crate::net::Arrival;
use crate::net::listener::tune;

/// Connects from `local` to `target`, which must be on the host `client`. 10 s for the connection, 10 s for its ClientHello.
///
/// # Errors
/// `Connect`: refused, unreachable or not allowed. `Handshake`: no ClientHello.
pub(super) async fn connect(target: SocketAddr, client: IpAddr, local: IpAddr) -> Result<Arrival, DataRefusal> {
    if target.ip().to_canonical() != client.to_canonical() || target.port() < FIRST_PORT {
        return Err(DataRefusal::Connect);
    }
    let stream = timeout(DEADLINE, dial(target, local)).await.ok().and_then(Result::ok).ok_or(DataRefusal::Connect)?;
    let port = stream.local_addr().map_err(|_| DataRefusal::Connect)?.port();
    let (arrival, _hello) = read_hello(stream, SocketAddr::new(client, target.port()), port).await.map_err(|_| DataRefusal::Handshake)?;
    Ok(arrival)
}

/// From the address the client knows us by, or its firewall would not let us in; the port is the kernel's choice (20 would need root).
async fn dial(target: SocketAddr, local: IpAddr) -> std::io::Result<TcpStream> {
    let target = SocketAddr::new(target.ip().to_canonical(), target.port());
    let local = local.to_canonical();
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if local.is_ipv4() == target.is_ipv4() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(target).await?;
    tune(&stream)?;
    Ok(stream)
}

/// Below are the ports of services.
const FIRST_PORT: u16 = 1024;

/// For the connection.
const DEADLINE: Duration = Duration::from_secs(10);
