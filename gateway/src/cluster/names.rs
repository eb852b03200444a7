//! Where peers may be: `cluster.peers`, names among them looked up again and again; and where they reach this node.
//!
//! Gets: addresses and names. Gives: addresses to call, and the address of this node that routes to them.
//! Never: forgets the addresses of a name because a look-up failed; waits longer than 2 s for one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use ftps_proto::machine::io::fold;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// One entry of `cluster.peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `IP:PORT`.
    At(SocketAddr),
    /// `dns+NAME:PORT`: every address of the name.
    Name(String, u16),
}

/// `cluster.advertise`: the port may be left to `listen.peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The address.
    pub ip: IpAddr,
    /// The port, when it is another one than that of `listen.peer`.
    pub port: Option<u16>,
}

/// The entries with what they were last found to be.
#[derive(Debug)]
pub(super) struct Names(Vec<(Peer, Vec<SocketAddr>, bool)>);

impl Names {
    /// Nothing looked up yet.
    pub(super) fn new(peers: &[Peer]) -> Self {
        let known = |peer: &Peer| match peer {
            Peer::At(address) => vec![*address],
            Peer::Name(..) => Vec::new(),
        };
        Self(peers.iter().map(|peer| (peer.clone(), known(peer), false)).collect())
    }

    /// All addresses.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().flat_map(|(_, addresses, _)| addresses).copied().collect()
    }

    /// Looks names up. A name that cannot be found is said once and keeps its last addresses.
    pub(super) async fn resolve(&mut self) {
        for (peer, addresses, failed) in &mut self.0 {
            let Peer::Name(name, port) = peer else { continue };
            match timeout(LOOK_UP, lookup_host((name.as_str(), *port))).await {
                Ok(Ok(found)) => {
                    *addresses = found.map(fold).take(MOST).collect();
                    addresses.sort_unstable();
                    addresses.dedup();
                    *failed = false;
                }
                Ok(Err(_)) | Err(_) => {
                    let why = "cannot look up this entry of cluster.peers; its last addresses stay";
                    if !std::mem::replace(failed, true) {
                        tracing::warn!(name = name.as_str(), "{why}");
                    }
                }
            }
        }
    }
}

/// The address of this node that packets to `target` would carry. Nothing is sent.
pub(super) fn routes_to(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Where peers reach this node: `cluster.advertise`, else an address of its own in `listen.peer`, else the one that routes to the first of `targets`, else the
/// one of the default route.
pub(super) fn advertised(wanted: Option<Advertise>, listens: SocketAddr, targets: &[SocketAddr]) -> SocketAddr {
    if let Some(Advertise { ip, port }) = wanted {
        return SocketAddr::new(ip, port.unwrap_or(listens.port()));
    }
    if !listens.ip().is_unspecified() {
        return listens;
    }
    let targets = targets.iter().copied().chain([ANYWHERE]);
    let ip = targets.filter_map(routes_to).next().unwrap_or(Ipv4Addr::LOCALHOST.into());
    SocketAddr::new(ip, listens.port())
}

/// An address of nobody (RFC 5737): the way there is the default route.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
/// For one name.
const LOOK_UP: Duration = Duration::from_secs(2);
/// Addresses of one name.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_wins_then_the_socket_then_the_route() {
        let wanted = |port| Some(Advertise { ip: [10, 0, 0, 5].into(), port });
        assert_eq!(advertised(wanted(Some(9)), at("[::]:7121"), &[]), at("10.0.0.5:9"));
        assert_eq!(advertised(wanted(None), at("[::]:7121"), &[]), at("10.0.0.5:7121"));
        assert_eq!(advertised(None, at("127.3.0.1:7121"), &[at("127.0.0.1:1")]), at("127.3.0.1:7121"));
        assert_eq!(advertised(None, at("0.0.0.0:7121"), &[at("127.0.0.1:1")]), at("127.0.0.1:7121"));
    }

    #[tokio::test]
    async fn a_name_gives_all_its_addresses_and_keeps_them_when_it_is_not_found_again() {
        let mut names = Names::new(&[Peer::At(at("192.0.2.9:1")), Peer::Name("localhost".to_owned(), 7121)]);
        assert_eq!(names.addresses(), [at("192.0.2.9:1")]);
        names.resolve().await;
        let found = names.addresses();
        assert!(found.contains(&at("127.0.0.1:7121")) || found.contains(&at("[::1]:7121")), "{found:?}");
        names.0[1].0 = Peer::Name("no-such-name.invalid".to_owned(), 7121);
        names.resolve().await;
        assert_eq!(names.addresses(), found);
    }
}
