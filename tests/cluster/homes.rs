//! Programs with several control connections, each on whatever node: one TLS cache, one client, and every byte lands where it belongs.
//!
//! Gets: three and five nodes behind a random balancer that hides its clients, eight data ports and one. Gives: files of one size with different contents, by hash.
//! Never: counts on sizes or names: only a hash tells one of these files from another.

use crate::kit::{self, Cluster, Server, Setup, Tree, Version, contents, parallel};
use crate::need;

type Transfers = fn(&Cluster, &Tree, Version, usize);

#[test]
fn curl_with_eight_transfers_over_the_nodes() {
    need!("curl");
    kit::test(400, || matrix(parallel::curl));
}

#[test]
fn rclone_with_eight_transfers_over_the_nodes() {
    need!("rclone");
    kit::test(400, || matrix(parallel::rclone));
}

#[test]
fn lftp_with_eight_transfers_over_the_nodes() {
    need!("lftp");
    kit::test(400, || matrix(parallel::lftp));
}

#[test]
fn rustls_with_one_cache_and_eight_sessions_over_the_nodes() {
    kit::test(400, || matrix(parallel::rustls));
}

fn matrix(client: Transfers) {
    let Some(server) = Server::redis() else { return };
    for (nodes, ports) in [(3, 8), (3, 1), (5, 8), (5, 1)] {
        let cluster = Cluster::with(Setup { nodes, ports, store: Some(server.url()), ..Setup::default() });
        cluster.settle();
        for version in [Version::Tls12, Version::Tls13] {
            round(&cluster, client, version, &format!("{version:?}, {nodes} nodes, {ports} ports"));
        }
    }
}

/// Up, down, compared, cleared.
fn round(cluster: &Cluster, client: Transfers, version: Version, what: &str) {
    let local = Tree::new();
    for index in 0..files() {
        local.write_random(&format!("up/{index}.bin"), SIZE);
    }
    std::fs::create_dir(local.join("down")).unwrap();
    client(cluster, &local, version, files());
    assert_eq!(contents(&local.join("up")), contents(&cluster.root), "uploaded, {what}");
    assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {what}");
    contents(&cluster.root).keys().for_each(|name| std::fs::remove_file(cluster.root.join(name)).unwrap());
}

/// Of each client, version and number of ports.
fn files() -> usize {
    if kit::full() { 63 } else { 16 }
}

const SIZE: u64 = 60_000;
