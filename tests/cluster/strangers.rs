//! Who has no business at a data port or a peer port of the cluster: nothing for them, everything for the owner, each counted by its reason.
//!
//! Gets: an owner on one node, data connections on another one, strangers of every kind. Gives: what they got, which is nothing. Never: a stranger that is
//! turned away by the balancer: it reaches the node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::kit::{self, Client, Cluster, Data, Pick, Setup, Tls, Version, connect, random_bytes, users_file};

/// The owner's node 0, data connections come to node 1; one data port for everybody.
fn cluster(reuse: &str) -> Cluster {
    let users = users_file(&[(kit::USER, "/", "all"), ("other", "/others", "all")]);
    let setup = Setup { ports: 1, users, ..Setup::default() };
    let cluster = Cluster::with(setup.key("data", "tls_reuse", reuse));
    cluster.settle();
    cluster.balancer.pick(Pick::Fixed { control: 0, data: 1 });
    std::fs::write(cluster.root.join("secret"), random_bytes(100_000)).unwrap();
    cluster
}

fn counted(cluster: &Cluster, metric: &str, reason: &str) -> f64 {
    cluster.metric(metric, &[&format!("\"{reason}\"")])
}

/// What a connection gets that should get nothing.
fn stolen(mut data: Data) -> Vec<u8> {
    data.handshake().and_then(|()| data.read_to_end()).unwrap_or_default()
}

#[test]
fn nothing_is_delivered_without_a_session_of_the_owners_client() {
    kit::test(180, || {
        let cluster = cluster("require");
        let secret = std::fs::read(cluster.root.join("secret")).unwrap();
        let mut owner = Client::session(&cluster, &Tls::new(Version::Tls13));
        let mut other = Client::session_of(&cluster, &Tls::new(Version::Tls13), "other");
        // One that is gone, of yet another client.
        let gone = Tls::new(Version::Tls12);
        Client::session_of(&cluster, &gone, "other").command("QUIT").is(221);
        kit::same(&owner.get("RETR secret"), &secret, "at first");
        other.put("STOR own", b"own").is(226);
        let recorded = Client::hello(&owner.tls);
        let data = owner.begin("RETR secret");
        let to = data.peer();
        for (who, tls) in [("no ticket", Tls::new(Version::Tls13)), ("a foreign ticket", other.sibling()), ("a ticket without a living session", gone.clone())]
        {
            assert!(stolen(Data::connect(to, &tls)).is_empty(), "{who}");
        }
        for number in 0..20 {
            let most = replay(to, &recorded);
            assert!(most < 8_000, "replay {number} got {most} bytes, more than a server's part of a handshake");
        }
        let mut data = data;
        data.handshake().unwrap();
        kit::same(&data.read_to_end().unwrap(), &secret, "the owner is served");
        data.finish();
        owner.expect(226);
        let refused = counted(&cluster, "ftps_gateway_data_refused_total", "session_reuse_required");
        let turned =
            counted(&cluster, "ftps_gateway_data_connections_total", "not_waiting") + counted(&cluster, "ftps_gateway_data_connections_total", "no_owner");
        assert!(refused + turned >= 2.0, "refused {refused}, turned away {turned}");
    });
}

#[test]
fn of_two_that_race_for_one_lease_one_is_served() {
    kit::test(120, || {
        let cluster = cluster("auto");
        let secret = std::fs::read(cluster.root.join("secret")).unwrap();
        for _ in 0..5 {
            let mut owner = Client::session(&cluster, &Tls::new(Version::Tls13));
            let to = owner.epsv();
            owner.command("RETR secret").is(150);
            let race = || stolen(Data::connect(to, &Tls::new(Version::Tls13)));
            let got = std::thread::scope(|scope| [scope.spawn(race), scope.spawn(race)].map(|one| one.join().unwrap()));
            let whole = got.iter().filter(|bytes| **bytes == secret).count();
            assert_eq!((whole, got.iter().filter(|bytes| bytes.is_empty()).count()), (1, 1), "one of them has all, the other one nothing");
            owner.expect(226);
        }
    });
}

#[test]
fn a_forged_or_replayed_header_at_the_peer_port_brings_nothing_in() {
    kit::test(120, || {
        let cluster = cluster("require");
        let mut owner = Client::ready(&cluster);
        let waits = owner.begin("STOR target");
        let peer = cluster.peer(0);
        // What another one has sealed once, for another nonce: bytes of the right length and form are no header either.
        for frame in [vec![0; 200], random_bytes(300), [&[1, 0, 0, 0, 0][..], &random_bytes(180)].concat()] {
            let (mut stream, nonce) = knock(peer);
            assert_ne!(nonce, [0; 16]);
            stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
            let _ = stream.write_all(&frame);
            let _ = stream.write_all(b"bytes for the file");
            let mut verdict = Vec::new();
            let _ = stream.read_to_end(&mut verdict);
            assert!(verdict.is_empty(), "{verdict:?}");
        }
        let (mut stream, _) = knock(peer);
        stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "too long");
        let (one, other) = (knock(peer).1, knock(peer).1);
        assert_ne!(one, other, "a header of before is for another nonce");
        kit::eventually(20, "each is counted", || {
            let refused = |reason| counted(&cluster, "ftps_gateway_cluster_peer_refused_total", reason);
            refused("header_forged") + refused("header_malformed") >= 3.0 && refused("header_size") >= 1.0
        });
        let mut data = waits;
        data.handshake().unwrap();
        data.write(b"the owner's").unwrap();
        data.finish();
        owner.expect(226);
        kit::same_file(cluster.root.join("target"), b"the owner's", "the owner is served");
    });
}

/// A relayed data connection's beginning: what is to be sealed into the header.
fn knock(peer: SocketAddr) -> (TcpStream, [u8; 16]) {
    let mut stream = connect(peer).unwrap();
    stream.write_all(b"D").unwrap();
    let mut nonce = [0; 16];
    stream.read_exact(&mut nonce).unwrap();
    (stream, nonce)
}

/// Sends a ClientHello that was recorded; how many bytes the server answers within a moment.
fn replay(to: SocketAddr, recorded: &[u8]) -> usize {
    let Ok(mut stream) = connect(to) else { return 0 };
    if stream.write_all(recorded).is_err() {
        return 0;
    }
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.len()
}
