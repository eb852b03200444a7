//! The forms of the keys about other nodes: the cluster's name, where they are, where they reach this one.
//!
//! Gets: one node. Gives: types of the room `cluster`, or what is wrong. Never: asks a name server.

use std::net::{IpAddr, SocketAddr};

use super::forms::{Fault, list, scalar};
use super::problem::Checked;
use super::rules::is_host_name;
use super::tree::{Node, Value};
use crate::cluster::{Advertise, Peer};

/// `cluster.name`: it becomes part of names in the store.
pub(super) fn cluster_name(node: &Node) -> Checked<String> {
    scalar(node, "is not a cluster name; write 1 to 63 letters, digits, '-', '_' or '.'", |scalar| {
        let fits = (1..=63).contains(&scalar.text.len()) && scalar.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits { Ok(scalar.text.clone()) } else { Err(Fault::Form) }
    })
}

/// `cluster.advertise`: `IP:PORT`, or an address alone, or null.
pub(super) fn advertise(node: &Node) -> Checked<Option<Advertise>> {
    if node.value == Value::Null {
        return Ok(None);
    }
    scalar(node, "is not an address that peers can reach; write IP:PORT, for example \"10.0.0.5:7121\", or \"${POD_IP}\"", |scalar| {
        let (ip, port) = match scalar.text.parse::<SocketAddr>() {
            Ok(address) => (address.ip(), Some(address.port())),
            Err(_) => (scalar.text.trim_matches(['[', ']']).parse::<IpAddr>().map_err(|_| Fault::Form)?, None),
        };
        let reachable = !ip.is_unspecified() && !ip.is_multicast() && port != Some(0);
        if reachable { Ok(Some(Advertise { ip, port })) } else { Err(Fault::Said("cannot be connected to; write the address that peers reach".into())) }
    })
}

/// `cluster.peers`.
pub(super) fn peers(node: &Node) -> Checked<Vec<Peer>> {
    list(node, "is not a list of peers; write [\"dns+gateway-headless:7121\"], or [\"10.0.0.5:7121\"]", peer)
}

fn peer(node: &Node) -> Checked<Peer> {
    scalar(node, "is not a peer; write IP:PORT, or dns+NAME:PORT for every address of a name", |scalar| {
        let Some(named) = scalar.text.strip_prefix("dns+") else {
            let address: SocketAddr = scalar.text.parse().map_err(|_| Fault::Form)?;
            return if address.port() == 0 { Err(Fault::Form) } else { Ok(Peer::At(address)) };
        };
        let (name, port) = named.rsplit_once(':').ok_or(Fault::Form)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(Fault::Form)?;
        if is_host_name(name) { Ok(Peer::Name(name.to_owned(), port)) } else { Err(Fault::Form) }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::config::tree::parse;

    #[test]
    fn an_address_may_leave_the_port_to_the_listener() {
        let read = |text: &str| advertise(&parse(text).unwrap());
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("'10.0.0.5:7'").unwrap(), Some(Advertise { ip: [10, 0, 0, 5].into(), port: Some(7) }));
        for ip in ["10.0.0.5", "'fd00::5'", "'[fd00::5]'"] {
            assert_eq!(read(ip).unwrap().unwrap().port, None, "{ip}");
        }
        for wrong in ["'0.0.0.0:7121'", "name:7121", "'[::]'", "'10.0.0.5:0'", "''"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_is_an_address_or_a_name() {
        let read = |text: &str| peers(&parse(text).unwrap());
        assert_eq!(
            read("['10.0.0.5:7121', 'dns+gateway-headless.ftp.svc.cluster.local:7121']").unwrap(),
            [Peer::At("10.0.0.5:7121".parse().unwrap()), Peer::Name("gateway-headless.ftp.svc.cluster.local".to_owned(), 7121)]
        );
        for wrong in ["[gateway:7121]", "['10.0.0.5']", "['dns+gateway']", "['dns+gateway:0']", "['dns+:7121']", "['10.0.0.5:0']", "a"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
