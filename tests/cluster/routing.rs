//! Data connections that come to another node than their session's: by ticket, by session ID, by lease; carried there and back, with every kind of end.
//!
//! Gets: clusters whose balancer sends control connections to one node and data connections to another, or each where it likes. Gives: that bytes, proofs,
//! uploads' ends and refusals are what they are on one node.
//! Never: a store: what is said here holds without one.

use std::time::Duration;

use crate::kit::{self, Client, Cluster, Data, Pick, Setup, Tls, Version, random_bytes, same, same_file};

/// Control connections to node 0, data connections to node 1.
fn apart(setup: Setup) -> Cluster {
    let cluster = Cluster::with(Setup { nodes: 2, ..setup });
    cluster.settle();
    cluster.balancer.pick(Pick::Fixed { control: 0, data: 1 });
    cluster
}

fn outcomes(cluster: &Cluster, node: usize, outcome: &str) -> f64 {
    cluster.node(node).metric("ftps_gateway_data_connections_total", &[&format!("\"{outcome}\"")]).unwrap_or_default()
}

#[test]
fn tickets_session_ids_and_leases_find_their_session() {
    kit::test(120, || {
        let bytes = random_bytes(700_000);
        for (tls, reuse) in [(Tls::new(Version::Tls13), "require"), (Tls::new(Version::Tls12), "require"), (Tls::session_ids(), "require")] {
            let cluster = apart(Setup::default().key("data", "tls_reuse", reuse));
            let mut client = Client::session(&cluster, &tls);
            for name in ["/a", "/b"] {
                client.put(&format!("STOR {name}"), &bytes).is(226);
                same_file(cluster.root.join(&name[1..]), &bytes, name);
                same(&client.get(&format!("RETR {name}")), &bytes, name);
            }
            assert!(client.list("LIST").contains(" b"));
            assert_eq!(outcomes(&cluster, 1, "relayed"), 5.0);
            assert_eq!(outcomes(&cluster, 0, "from_peer"), 5.0);
            kit::eventually(20, "relays end", || cluster.metric("ftps_gateway_relay_active", &[]) == 0.0);
            let carried = cluster.node(1).metric("ftps_gateway_relay_bytes_total", &[]).unwrap();
            assert!(carried > 2_800_000.0, "{carried}");
            assert_eq!(cluster.metric("ftps_gateway_relay_errors_total", &[]), 0.0);
        }
    });
}

#[test]
fn connections_without_proof_find_the_lease() {
    kit::test(120, || {
        let cluster = apart(Setup::default());
        let bytes = random_bytes(100_000);
        let (tls, plain) = (Tls::new(Version::Tls13), Tls::new(Version::Tls13));
        let mut client = Client::session(&cluster, &tls);
        let mut data = Data::connect(client.epsv(), &plain);
        client.command("STOR /a").is(150);
        data.handshake().unwrap();
        data.write(&bytes).unwrap();
        data.finish();
        client.expect(226);
        same_file(cluster.root.join("a"), &bytes, "a");
        assert_eq!(outcomes(&cluster, 1, "relayed"), 1.0);
        // Once it has shown proof, a connection without is refused, also over the relay.
        same(&client.get("RETR /a"), &bytes, "a");
        let mut data = Data::connect(client.epsv(), &Tls::new(Version::Tls13));
        client.line("RETR /a");
        let _ = data.handshake();
        client.expect(150);
        client.expect(425);
    });
}

#[test]
fn every_end_of_an_upload_is_what_it_is_on_one_node() {
    kit::test(120, || {
        let cluster = apart(Setup::default());
        let bytes = random_bytes(300_000);
        let upload = |end: fn(Data)| {
            let mut client = Client::ready(&cluster);
            let mut data = client.begin("STOR /cut");
            data.handshake().unwrap();
            data.write(&bytes).unwrap();
            end(data);
            client.reply().code
        };
        assert_eq!(upload(Data::reset), 426);
        assert!(!cluster.root.join("cut").exists(), "a reset leaves nothing");
        assert_eq!(upload(Data::finish), 226);
        same_file(cluster.root.join("cut"), &bytes, "close_notify");
        std::fs::remove_file(cluster.root.join("cut")).unwrap();
        assert_eq!(upload(Data::fin), 226, "auto takes a FIN between records");
        same_file(cluster.root.join("cut"), &bytes, "FIN");
        assert_eq!(cluster.metric("ftps_gateway_uploads_unclean_end_total", &[]), 1.0);
    });
}

#[test]
fn a_node_that_dies_hurts_only_what_it_carries() {
    kit::test(120, || {
        for killed in [0, 1] {
            let mut cluster = apart(Setup::default());
            let old = random_bytes(1000);
            std::fs::write(cluster.root.join("target"), &old).unwrap();
            let mut client = Client::ready(&cluster);
            let mut data = client.begin("STOR /target");
            data.handshake().unwrap();
            data.write(&random_bytes(500_000)).unwrap();
            // So that the first half is in the temporary.
            std::thread::sleep(Duration::from_millis(200));
            cluster.kill(killed);
            if killed == 1 {
                // The relay: the session says so and goes on.
                client.expect(426);
                cluster.balancer.pick(Pick::Fixed { control: 0, data: 0 });
                let fresh = random_bytes(2000);
                client.put("STOR /other", &fresh).is(226);
                same_file(cluster.root.join("other"), &fresh, "other");
            } else {
                assert!(client.try_reply().is_err(), "the owner is gone");
                assert!(data.write(&random_bytes(8 << 20)).is_err() || data.read_some().is_err(), "and the relayed connection with it");
            }
            same_file(cluster.root.join("target"), &old, "nothing comes under the final name");
        }
    });
}

#[test]
fn a_draining_node_gets_its_data_connections_and_one_that_carries_waits() {
    kit::test(120, || {
        let mut cluster = apart(Setup::default().key("drain", "timeout", "60s").key("drain", "idle", "20s"));
        cluster.add();
        cluster.settle();
        let bytes = random_bytes(400_000);
        let mut client = Client::ready(&cluster);
        // The owner drains: the session goes on, over the other nodes.
        cluster.drain(0);
        cluster.balancer.pick(Pick::Fixed { control: 1, data: 1 });
        client.put("STOR /a", &bytes).is(226);
        // The one that carries a download drains too: it stays until that has ended.
        let mut data = client.begin("RETR /a");
        data.handshake().unwrap();
        let mut came = data.read_some().unwrap();
        cluster.drain(1);
        std::thread::sleep(Duration::from_millis(500));
        came.extend(data.read_to_end().unwrap());
        data.finish();
        client.expect(226);
        same(&came, &bytes, "a");
        assert_eq!(cluster.gone(1, 60), Some(0));
        cluster.balancer.pick(Pick::Fixed { control: 2, data: 2 });
        same(&client.get("RETR /a"), &bytes, "over the third");
        client.command("QUIT").is(221);
        assert_eq!(cluster.gone(0, 60), Some(0));
    });
}
