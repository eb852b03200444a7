//! PROXY protocol: a balancer says whose connections it brings, on control, implicit and data ports, and nobody else may.
//!
//! Gets: a balancer that writes headers of both versions, clients at addresses of the loopback network, connections made by hand. Gives: who the gateway takes them for.
//! Never: trusts the gateway's word alone: what it announces is used, what it refuses is looked at from outside.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::kit::{self, Client, Cluster, Entrance, Node, Options, Setup, Tell, Tls, Version, header, random_bytes, same};

#[test]
fn both_versions_name_the_client_on_every_port() {
    kit::test(120, || {
        for version in [1, 2] {
            let setup = Setup { nodes: 1, tell: Tell::public(version), ..Setup::default() };
            let cluster = Cluster::with(setup.key("data", "public_address", "auto"));
            let bytes = random_bytes(100_000);
            let mut explicit = Client::session(&cluster, &Tls::new(Version::Tls12));
            explicit.put("STOR /a", &bytes).is(226);
            assert_eq!(explicit.pasv().ip(), cluster.node(0).explicit.ip(), "no private destination for a public client");
            let mut implicit = Client::implicit_from(&cluster, &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, 77));
            implicit.login("demo");
            same(&implicit.get("RETR /a"), &bytes, "down");
            let node = cluster.node(0);
            node.logged(&["\"transfer_ended\"", "203.0.113.1:"]);
            node.logged(&["\"transfer_ended\"", "203.0.113.77:"]);
            assert_eq!(node.metric("ftps_gateway_proxy_protocol_errors_total", &[]), Some(0.0));
        }
    });
}

#[test]
fn pasv_announces_where_the_client_connected_to() {
    kit::test(60, || {
        // Neighbours: a private destination is no trouble for them.
        let cluster = Cluster::with(Setup { nodes: 1, tell: Tell::truth(2), ..Setup::default() }.key("data", "public_address", "auto"));
        let mut client = Client::ready(&cluster);
        assert_eq!(client.pasv().ip(), IpAddr::V4(cluster.balancer.ip));
        assert_eq!(cluster.metric("ftps_gateway_pasv_private_address_total", &[]), 0.0);
    });
}

#[test]
fn a_private_address_told_to_a_public_client_is_said() {
    kit::test(60, || {
        let cluster = Cluster::with(Setup { nodes: 1, tell: Tell::public(2), ..Setup::default() }.key("data", "public_address", "auto"));
        let node = cluster.node(0);
        let degraded = |node: &Node| node.get(node.metrics, "/readyz?verbose").body.contains("data.public_address");
        assert!(!degraded(node));
        let mut client = Client::ready(&cluster);
        for _ in 0..3 {
            client.pasv();
        }
        assert_eq!(node.metric("ftps_gateway_pasv_private_address_total", &[]), Some(3.0));
        kit::eventually(20, "the readiness detail says it", || degraded(node));
        let warnings = node.log().iter().filter(|line| line.contains("\"private_announced\"") && line.to_lowercase().contains("\"warn\"")).count();
        assert_eq!(warnings, 1, "once");
    });
}

#[test]
fn a_header_is_required_from_balancers_and_refused_from_others() {
    kit::test(120, || {
        let cluster = Cluster::with(Setup { nodes: 1, tell: Tell::truth(2), ..Setup::default() });
        let node = cluster.node(0);
        let data = SocketAddr::new(node.explicit.ip(), cluster.data_ports().start);
        let (balancer, stranger) = (cluster.balancer.ip, Ipv4Addr::LOCALHOST);
        let errors = |reason: &str| node.metric("ftps_gateway_proxy_protocol_errors_total", &[reason]).unwrap_or_default();
        let v1 = header(1, SocketAddr::from(([203, 0, 113, 9], 9)), node.explicit);
        let v2 = header(2, SocketAddr::from(([203, 0, 113, 9], 9)), node.explicit);
        for (number, to) in [node.explicit, node.implicit, data].into_iter().enumerate() {
            let seen = f64::from(u32::try_from(number).unwrap() + 1);
            assert_eq!(answer(balancer, to, b"USER demo\r\n"), "", "{to}");
            kit::eventually(20, "counted as missing", || errors("missing") >= seen);
            assert_eq!(answer(balancer, to, &v1[..20]), "", "{to}");
            kit::eventually(20, "counted as closed within", || errors("closed") >= seen);
            for header in [&v1, &v2] {
                let said = answer(stranger, to, header);
                assert!(said.is_empty() || (to == node.explicit && said.starts_with("220 ") && !said.contains("221")), "{to}: {said}");
            }
            kit::eventually(20, "counted as not listed", || errors("not_listed") >= 2.0 * seen);
        }
        // A direct client, without a header, is served all the same.
        drop(Client::connect(node, &Tls::new(Version::Tls13)));
        // The probes and the API are nobody's to lie to.
        assert_eq!(node.get(node.admin, "/livez").status, 200);
    });
}

#[test]
fn health_checks_are_silent() {
    kit::test(60, || {
        let cluster = Cluster::with(Setup { nodes: 1, tell: Tell::truth(2), ..Setup::default() }.key("log", "level", "info"));
        let node = cluster.node(0);
        let data = SocketAddr::new(node.explicit.ip(), cluster.data_ports().start);
        let before = node.log().len();
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let stranger = Ipv4Addr::LOCALHOST;
        let checks = [
            (node.explicit, &local[..]),
            (node.implicit, local),
            (data, local),
            (node.explicit, b"PROXY UNKNOWN\r\n"),
            (node.explicit, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0QUIT\r\n"),
        ];
        for (to, sent) in checks {
            answer(cluster.balancer.ip, to, sent);
        }
        for to in [node.explicit, node.implicit, data] {
            answer(cluster.balancer.ip, to, b"");
            answer(stranger, to, b"");
            // By a reset, as HAProxy does it.
            let checking = dial(stranger, to);
            socket2::SockRef::from(&checking).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let counted = |name: &str, labels: &[&str]| node.metric(name, labels).unwrap_or_default();
        kit::eventually(20, "balancers that looked are counted", || counted("ftps_gateway_connections_total", &["\"probe\""]) == 3.0);
        kit::eventually(20, "control connections without a word too", || counted("ftps_gateway_sessions_closed_total", &["\"probe\""]) == 8.0);
        kit::eventually(20, "and data connections", || counted("ftps_gateway_data_connections_total", &["\"probe\""]) == 3.0);
        assert_eq!(counted("ftps_gateway_tls_handshake_failures_total", &[]), 0.0);
        assert_eq!(node.log().len(), before, "{:#?}", &node.log()[before..]);
    });
}

#[test]
fn the_true_address_decides_who_may_connect() {
    kit::test(60, || {
        let tell = Tell::Header { version: 2, addresses: Arc::new(|client, here| (SocketAddr::from(([198, 51, 100, 1], client.port())), here)) };
        let cluster = Cluster::with(Setup { nodes: 1, tell, ..Setup::default() }.key("listen", "allow_from", "[127.0.0.0/8]"));
        let mut client = Client::open(cluster.explicit(), &Tls::new(Version::Tls13));
        client.expect(421);
        let node = cluster.node(0);
        drop(TcpStream::connect((cluster.balancer.ip, cluster.data_ports().start)).unwrap());
        kit::eventually(20, "refused on both", || node.metric("ftps_gateway_connections_total", &["\"not_allowed\""]) == Some(2.0));
    });
}

#[test]
fn ipv6_works_with_epsv() {
    kit::test(60, || {
        let setup = |reuse: &str| {
            let listen = r#"{ explicit: ["[::1]:0"], implicit: ["[::1]:0"], admin: "127.0.0.1:0" }"#;
            Options::default().set("listen", listen).set("data", &format!("{{ ports: \"0/2\", tls_reuse: {reuse} }}"))
        };
        let bytes = random_bytes(200_000);
        for reuse in ["require", "auto"] {
            let node = Node::with(setup(reuse));
            let mut client = Client::session(&node, &Tls::new(Version::Tls13));
            client.command("PASV").is(425);
            client.put("STOR /six", &bytes).is(226);
            same(&client.get("RETR /six"), &bytes, reuse);
            assert!(client.epsv().is_ipv6());
            node.logged(&["\"transfer_ended\"", "[::1]:"]);
        }
    });
}

/// What the gateway says to a peer at `from` that sends these bytes and closes its side.
fn answer(from: Ipv4Addr, to: SocketAddr, sent: &[u8]) -> String {
    let mut stream = dial(from, to);
    // Who is refused may be reset meanwhile.
    let _ = stream.write_all(sent);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came);
    String::from_utf8_lossy(&came).into_owned()
}

fn dial(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(20)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.into()
}
