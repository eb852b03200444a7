//! Programs with several control connections, each on whatever node: one TLS cache, one client, and every byte lands where it belongs.
//!
//! Gets: three and five nodes behind a random balancer that hides its clients, eight data ports and one. Gives: files of one size with different contents, by hash.
//! Never: counts on sizes or names: only a hash tells one of these files from another.

use std::time::Duration;

use crate::kit::{self, Client, Cluster, Data, Pick, Server, Setup, Tls, Tree, Version, contents, parallel};
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

/// A waits for nothing on one node, B waits on another one, and a third one gets B's data connection, which shows A's session.
#[test]
fn a_siblings_session_is_proof_wherever_it_and_the_connection_are() {
    kit::test(120, || {
        for ports in [8, 1] {
            let cluster = Cluster::with(Setup { ports, ..Setup::default() }.key("data", "tls_reuse", "require"));
            cluster.settle();
            for make in [Tls::session_ids, || Tls::new(Version::Tls12), || Tls::new(Version::Tls13)] {
                for data in [0, 1, 2] {
                    let (one, other) = (make(), make());
                    cluster.balancer.pick(Pick::Fixed { control: 0, data });
                    let mut a = Client::session(&cluster, &one);
                    cluster.balancer.pick(Pick::Fixed { control: 1, data });
                    let mut b = Client::session(&cluster, &other);
                    for sibling in [&one, &other, &one] {
                        let to = b.epsv();
                        let mut connection = Data::connect(to, sibling);
                        b.command("STOR file").is(150);
                        connection.handshake().unwrap();
                        connection.write(b"bytes").unwrap();
                        connection.finish();
                        b.expect(226);
                    }
                    // What the first one leaves behind still proves the second one.
                    a.command("QUIT").is(221);
                    std::thread::sleep(Duration::from_millis(200));
                    let mut connection = Data::connect(b.epsv(), &one);
                    b.command("RETR file").is(150);
                    connection.handshake().unwrap();
                    assert_eq!(connection.read_to_end().unwrap(), b"bytes");
                    b.expect(226);
                }
            }
        }
    });
}

fn matrix(client: Transfers) {
    let Some(server) = Server::redis() else { return };
    for (nodes, ports) in [(3, 8), (3, 1), (5, 8), (5, 1)] {
        let cluster = Cluster::with(Setup { nodes, ports, store: Some(server.url()), ..Setup::default() });
        cluster.settle();
        for version in [Version::Tls12, Version::Tls13] {
            round(&cluster, client, version, &format!("{version:?}, {nodes} nodes, {ports} ports"));
        }
        // curl tries PASV when the connection to what EPSV said is closed: that it got its files is not enough.
        for outcome in ["not_waiting", "no_owner", "unsure", "unreachable"] {
            let lost = cluster.metric("ftps_gateway_data_connections_total", &[&format!("outcome=\"{outcome}\"")]);
            assert_eq!(lost, 0.0, "{outcome}, {nodes} nodes, {ports} ports");
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
