//! The clients people have, behind a random balancer: each transfer reaches its session, whatever node takes the connection.
//!
//! Gets: three and five nodes, eight data ports and one, TLS 1.2 and 1.3, addresses hidden and visible. Gives: files of one size with different contents, by hash.
//! Never: counts on sizes or names: only a hash tells one of these files from another.

use crate::kit::{self, Cluster, Pick, Server, Setup, Tell, Tree, Version, contents, programs};
use crate::need;

type Program = fn(&Cluster, &Tree, Version, usize) -> bool;

/// With what each shows of its session.
const PROGRAMS: [(&str, Program); 6] = [
    ("curl", programs::curl),
    ("lftp", programs::lftp),
    ("wget", programs::wget),
    ("rclone", programs::rclone),
    ("Python", programs::ftplib),
    ("basic-ftp", programs::basic_ftp),
];

/// Without.
const PLAIN: [(&str, Program); 2] = [("plain Python", programs::plain_ftplib), ("Perl", programs::net_ftp)];

#[test]
fn three_nodes_with_eight_data_ports() {
    need!("curl", "lftp", "wget", "rclone", "python3", "node");
    kit::test(600, || matrix(3, 8));
}

#[test]
fn three_nodes_with_one_data_port() {
    need!("curl", "lftp", "wget", "rclone", "python3", "node");
    kit::test(600, || matrix(3, 1));
}

#[test]
fn five_nodes_with_eight_data_ports() {
    need!("curl", "lftp", "wget", "rclone", "python3", "node");
    kit::test(600, || matrix(5, 8));
}

#[test]
fn five_nodes_with_one_data_port() {
    need!("curl", "lftp", "wget", "rclone", "python3", "node");
    kit::test(600, || matrix(5, 1));
}

fn matrix(nodes: usize, ports: u16) {
    let Some(server) = Server::redis() else { return };
    let cluster = Cluster::with(Setup { nodes, ports, store: Some(server.url()), ..Setup::default() });
    cluster.settle();
    for version in [Version::Tls12, Version::Tls13] {
        PROGRAMS.iter().for_each(|(name, program)| round(&cluster, *program, version, &format!("{name}, {version:?}")));
    }
    let relayed = cluster.metric("ftps_gateway_data_connections_total", &["outcome=\"relayed\""]);
    assert!(relayed > 20.0, "only {relayed} came to another node than their session's: the test shows nothing");
}

#[test]
fn clients_without_a_session_where_addresses_are_hidden_and_policy_prefers() {
    need!("python3", "perl");
    kit::test(300, || {
        let cluster = Cluster::with(Setup::default().key("data", "tls_reuse", "prefer"));
        cluster.settle();
        for version in [Version::Tls12, Version::Tls13] {
            PLAIN.iter().for_each(|(name, program)| round(&cluster, *program, version, &format!("{name}, {version:?}")));
        }
    });
}

#[test]
fn clients_without_a_session_where_addresses_are_told() {
    need!("python3", "perl");
    kit::test(300, || {
        let listen = "[\"127.0.0.0/8\"]";
        let cluster = Cluster::with(Setup { tell: Tell::truth(2), ..Setup::default() }.key("listen", "proxy_protocol_from", listen));
        cluster.settle();
        cluster.balancer.pick(Pick::Random);
        for version in [Version::Tls12, Version::Tls13] {
            PLAIN.iter().for_each(|(name, program)| round(&cluster, *program, version, &format!("{name}, {version:?}")));
        }
    });
}

/// Up, down, compared, cleared.
fn round(cluster: &Cluster, program: Program, version: Version, what: &str) {
    let local = Tree::new();
    for index in 0..files() {
        local.write_random(&format!("up/{index}.bin"), SIZE);
    }
    std::fs::create_dir(local.join("down")).unwrap();
    if !program(cluster, &local, version, files()) {
        return kit::skip(&format!("{what}: the program is not here"));
    }
    assert_eq!(contents(&local.join("up")), contents(&cluster.root), "uploaded, {what}");
    assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {what}");
    contents(&cluster.root).keys().for_each(|name| std::fs::remove_file(cluster.root.join(name)).unwrap());
}

/// Of each program, TLS version, number of nodes and of ports: up and down some 100 transfers of each program, or 1,000.
fn files() -> usize {
    if kit::full() { 63 } else { 7 }
}

const SIZE: u64 = 40_000;
