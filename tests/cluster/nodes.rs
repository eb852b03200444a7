//! A cluster as such: nodes that share files, users and certificates, and come and go.
//!
//! Gets: [`Cluster`]. Gives: that any node serves a login, that all serve the same files, that a node drains, dies and comes back under its name.
//! Never: a transfer whose data connection goes to another node than its session; `routing` is about those.

use crate::kit::{self, Client, Cluster, Pick, Tls, Version, random_bytes, same};

#[test]
fn every_node_serves_logins_and_the_same_files() {
    kit::test(120, || {
        let cluster = Cluster::start(3);
        let mut sessions: Vec<Client> = Vec::new();
        let served = |cluster: &Cluster| (0..3).all(|node| cluster.node(node).metric("ftps_gateway_sessions", &[]).unwrap_or_default() > 0.0);
        kit::eventually(60, "each node has a session", || {
            sessions.push(Client::ready(&cluster));
            served(&cluster)
        });
        let bytes = random_bytes(300_000);
        for (number, name) in ["/a", "/b", "/c"].iter().enumerate() {
            cluster.balancer.pick(Pick::Fixed { control: number, data: number });
            Client::ready(&cluster).put(&format!("STOR {name}"), &bytes).is(226);
            let other = (number + 1) % 3;
            cluster.balancer.pick(Pick::Fixed { control: other, data: other });
            same(&Client::ready(&cluster).get(&format!("RETR {name}")), &bytes, name);
        }
    });
}

#[test]
fn a_node_drains_dies_and_comes_back_under_its_name() {
    kit::test(120, || {
        let mut cluster = Cluster::start(2);
        cluster.drain(0);
        assert_eq!(cluster.gone(0, 30), Some(0), "an empty node drains at once");
        (0..5).for_each(|_| drop(Client::ready(&cluster)));
        cluster.restart(0);
        cluster.kill(1);
        let tls = Tls::new(Version::Tls13);
        (0..5).for_each(|_| drop(Client::session(&cluster, &tls)));
        cluster.node(0).logged(&["\"ready\"", "node-0"]);
        cluster.restart(1);
        assert_eq!(cluster.add(), 2);
        assert_eq!(cluster.nodes().count(), 3);
    });
}
