//! Listening sockets: bound once, accepting for as long as the node lives.
//!
//! Gets: addresses. Gives: connections with the address they came from, IPv4-mapped addresses folded.
//! Never: gives up on an error of accept(2), spins on one, or decides about a connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use ftps_proto::machine::io::fold;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// A listening socket that survives errors of accept(2).
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Binds and listens. `[::]` takes IPv4 too, and becomes `0.0.0.0` on a machine without IPv6. Port 0 is one of the kernel's choice.
///
/// # Errors
/// What the system says: the address is in use, not of this machine, or not allowed.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    match listen(address, backlog) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && without_ipv6(&error) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), backlog)
        }
        answer => answer,
    }
}

/// Sets what every connection of a client needs: no delay for short replies, and probes that find dead peers behind balancers and NAT.
/// Connections inherit it from the socket they were accepted on (tcp(7)), which saves each five system calls.
///
/// # Errors
/// The connection is gone.
pub fn tune(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_PROBES))
}

impl Listener {
    /// Accepts on this socket.
    pub fn new(socket: TcpListener) -> Self {
        Self(socket)
    }

    /// Where it listens, with the port the kernel chose.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection. An error is given to `failed` and accept(2) is tried again: at once when only one connection was lost, else after 100 ms.
    /// May be dropped at any time without losing a connection.
    pub async fn accept(&self, failed: impl Fn(&io::Error)) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, peer)) => return (stream, fold(peer)),
                Err(error) => {
                    failed(&error);
                    if let Some(pause) = pause_after(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Only `[::]` is dual-stack; an address of its own takes what is sent to it.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted node binds although connections of its former life are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// No IPv6 in the kernel (socket fails) or switched off by sysctl (bind fails).
fn without_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// How long to wait after an error of accept(2). `None`: only the connection in question is lost, the next one may be fine (accept(2), "Error handling").
/// Anything else would come again at once: no descriptors (EMFILE, ENFILE), no memory (ENOMEM, ENOBUFS), or something nobody thought of.
fn pause_after(error: &io::Error) -> Option<Duration> {
    let lost = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NOPROTOOPT,
        Errno::NONET,
        Errno::TIMEDOUT,
        Errno::CONNRESET,
    ];
    let known = Errno::from_io_error(error).is_some_and(|errno| lost.contains(&errno));
    (!known).then_some(BACK_OFF)
}

const BACK_OFF: Duration = Duration::from_millis(100);
/// Below the idle timeouts of common balancers and NAT tables (60 s and more).
const KEEPALIVE_AFTER: Duration = Duration::from_secs(45);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::net::Ipv6Addr;

    use super::*;

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
    }

    #[tokio::test]
    async fn any_address_takes_ipv4_and_folds_it() {
        let listener = Listener::new(bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0), 16).unwrap());
        let port = listener.local_addr().unwrap().port();
        let client = soon(TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let (stream, peer) = soon(listener.accept(|error| panic!("{error}"))).await;
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(peer.is_ipv4());
        // Inherited from the listening socket.
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let first = bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), 16).unwrap();
        assert_eq!(bind(first.local_addr().unwrap(), 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_port_can_be_bound_again_at_once() {
        let first = Listener::new(bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), 16).unwrap());
        let address = first.local_addr().unwrap();
        let client = soon(TcpStream::connect(address)).await.unwrap();
        // The server closes first, so that TIME_WAIT is on its side.
        drop(soon(first.accept(|_| ())).await);
        drop(first);
        drop(client);
        bind(address, 16).unwrap();
    }

    #[test]
    fn only_errors_that_would_come_again_are_waited_for() {
        let pause = |errno: Errno| pause_after(&errno.into());
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::BADF, Errno::INVAL] {
            assert_eq!(pause(errno), Some(BACK_OFF), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::HOSTUNREACH] {
            assert_eq!(pause(errno), None, "{errno}");
        }
    }

    #[test]
    fn only_missing_ipv6_falls_back() {
        assert!(without_ipv6(&Errno::AFNOSUPPORT.into()) && without_ipv6(&Errno::ADDRNOTAVAIL.into()));
        assert!(!without_ipv6(&Errno::ADDRINUSE.into()) && !without_ipv6(&Errno::ACCESS.into()));
    }
}
