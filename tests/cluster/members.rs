//! Membership of real processes: joins through one common peer, goodbyes, kills, restarts, frozen nodes, secrets that change, names, strangers.
//!
//! Gets: [`Cluster`] on static peers. Gives: that each node's metrics and log say who is there, and soon.
//! Never: a session or a file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::{self, Cluster, Node, Server, Setup, random_bytes};

/// Waits until each running node counts that many members.
fn all_see(cluster: &Cluster, count: usize) {
    kit::eventually(60, &format!("every node sees {count}"), || cluster.nodes().all(|node| seen(node, "live") == count));
}

fn seen(node: &Node, state: &str) -> usize {
    node.metric("ftps_gateway_cluster_nodes", &[&format!("state=\"{state}\"")]).unwrap_or_default() as usize
}

fn departures(cluster: &Cluster, reason: &str) -> f64 {
    cluster.metric("ftps_gateway_cluster_departures_total", &[&format!("reason=\"{reason}\"")])
}

fn refused(node: &Node, reason: &str) -> f64 {
    node.metric("ftps_gateway_cluster_peer_refused_total", &[&format!("reason=\"{reason}\"")]).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn nodes_find_each_other_through_the_store_alone() {
    kit::test(240, || {
        for server in [Server::redis(), Server::memcached()] {
            let Some(server) = server else { continue };
            let mut cluster = Cluster::with(Setup { nodes: 3, store: Some(server.url()), ..Setup::default() }.key("cluster", "peers", "[]"));
            all_see(&cluster, 3);
            // They know each other now, and need the store no more.
            server.freeze();
            cluster.kill(2);
            all_see(&cluster, 2);
            server.thaw();
            cluster.restart(2);
            all_see(&cluster, 3);
        }
    });
}

#[test]
fn nodes_join_leave_die_and_return() {
    kit::test(240, || {
        let mut cluster = Cluster::start(3);
        all_see(&cluster, 3);
        cluster.node(0).logged(&["member_joined", "node-2"]);
        // SIGTERM: it says goodbye.
        cluster.drain(2);
        assert_eq!(cluster.gone(2, 30), Some(0));
        all_see(&cluster, 2);
        assert_eq!((departures(&cluster, "left"), departures(&cluster, "silent")), (2.0, 0.0));
        // Its next start is a new member.
        cluster.restart(2);
        all_see(&cluster, 3);
        // SIGKILL: it is silent. The promise is 4 s; a busy machine gets more.
        cluster.kill(2);
        all_see(&cluster, 2);
        assert_eq!(departures(&cluster, "silent"), 2.0);
        cluster.restart(2);
        all_see(&cluster, 3);
        // Killed and back within that time: the new start takes the old one's place.
        cluster.kill(1);
        cluster.restart(1);
        all_see(&cluster, 3);
        kit::eventually(30, "the former start is replaced or forgotten", || departures(&cluster, "replaced") + departures(&cluster, "silent") >= 2.0);
        // Who stands still is forgotten, and back when it goes on, without a restart.
        cluster.freeze(0);
        kit::eventually(60, "the frozen node is forgotten", || [1, 2].iter().all(|node| seen(cluster.node(*node), "live") == 2));
        cluster.thaw(0);
        all_see(&cluster, 3);
    });
}

#[test]
fn one_common_peer_is_enough_and_it_may_be_gone_later() {
    kit::test(120, || {
        let setup = Setup { nodes: 1, ..Setup::default() };
        let mut cluster = Cluster::with(setup);
        let first = cluster.peer(0);
        cluster.also("cluster", "peers", &format!("[\"{first}\"]"));
        cluster.add();
        cluster.add();
        all_see(&cluster, 3);
        cluster.kill(0);
        all_see(&cluster, 2);
    });
}

#[test]
fn peers_are_found_by_name() {
    kit::test(120, || {
        // `localhost` is a name that every machine resolves. One node is there, and finds itself; the other asks for it.
        let mut cluster = Cluster::with(Setup { nodes: 1, ..Setup::default() }.key("listen", "peer", "\"127.0.0.1:0\"").key("cluster", "advertise", "null"));
        let port = cluster.node(0).peer.expect("it has a peer port").port();
        cluster.also("cluster", "peers", &format!("[\"dns+localhost:{port}\", \"dns+no-such-name.invalid:7121\"]"));
        cluster.add();
        all_see(&cluster, 2);
        cluster.node(1).logged(&["cannot look up", "no-such-name.invalid"]);
    });
}

#[test]
fn a_secret_is_replaced_while_the_nodes_run() {
    kit::test(240, || {
        let cluster = Cluster::start(2);
        all_see(&cluster, 2);
        let old = std::fs::read_to_string(&cluster.secret).unwrap();
        let new = hex(&random_bytes(32));
        std::fs::write(&cluster.secret, format!("{new}\n{old}")).unwrap();
        cluster.nodes().for_each(|node| node.signal(Signal::HUP));
        let reloads = || cluster.metric("ftps_gateway_reloads_total", &["what=\"config\"", "result=\"success\""]);
        kit::eventually(60, "both have read it", || reloads() >= 4.0);
        std::fs::write(&cluster.secret, format!("{new}\n")).unwrap();
        cluster.nodes().for_each(|node| node.signal(Signal::HUP));
        kit::eventually(60, "both have read it again", || reloads() >= 6.0);
        std::thread::sleep(Duration::from_secs(6));
        all_see(&cluster, 2);
        assert_eq!(departures(&cluster, "silent"), 0.0, "nobody was lost on the way");
    });
}

#[test]
fn a_node_with_another_secret_is_no_member() {
    kit::test(120, || {
        let mut cluster = Cluster::start(1);
        let other = cluster.file("other-secret", format!("{}\n", hex(&random_bytes(32))).as_bytes());
        cluster.also("cluster", "secret_file", &format!("{other:?}"));
        cluster.add();
        kit::eventually(60, "the stranger is counted", || refused(cluster.node(0), "no_common_secret") > 0.0);
        assert!(cluster.nodes().all(|node| seen(node, "live") == 1));
    });
}

#[test]
fn strangers_at_the_peer_port_are_bounded_and_counted() {
    kit::test(180, || {
        let cluster = Cluster::start(2);
        all_see(&cluster, 2);
        let port = cluster.peer(0);
        let say = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(port).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        };
        assert!(say(b"GET /peer/v1/beat HTTP/1.1\r\n\r\n").is_empty());
        assert!(!say(b"CPOST /peer/v1/beat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").starts_with(b"HTTP"));
        say(&[b"C".as_slice(), &random_bytes(4000)].concat());
        // More half-open ones than there are places: none of them keeps a peer out for longer than its deadline.
        let silent: Vec<TcpStream> = (0..600).filter_map(|_| TcpStream::connect(port).ok()).collect();
        kit::eventually(60, "those beyond the bound are refused", || refused(cluster.node(0), "too_many") > 0.0);
        kit::eventually(60, "the others are closed by their deadline", || refused(cluster.node(0), "timeout") >= 400.0);
        drop(silent);
        for reason in ["first_byte", "not_tls"] {
            assert!(refused(cluster.node(0), reason) > 0.0, "{reason}");
        }
        all_see(&cluster, 2);
    });
}
