//! A ban on one node is a ban on all: told by peers, kept by the store, found again after what was lost.
//!
//! Gets: three nodes with Redis, with memcached, with their peers alone, and a balancer that says who its clients are and whose node a test chooses. Gives: a history of who
//! was let in where and when, and its judge. Never: a node's own word for it: a client is banned where it gets no greeting.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kit::{self, Client, Cluster, Entrance, Pick, Server, Setup, Tell, Tls, Version};

/// 198.18.x.y (RFC 2544) for a client at 127.0.x.y.
fn clients() -> Tell {
    let shifted = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => Ipv4Addr::new(198, 18, ip.octets()[2], ip.octets()[3]),
        std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    Tell::Header { version: 2, addresses: Arc::new(move |client, here| ((shifted(client.ip()), client.port()).into(), here)) }
}

fn cluster(store: Option<&Server>, count: u32, ban: &str) -> Cluster {
    let setup = Setup { nodes: 3, tell: clients(), store: store.map(Server::url), ..Setup::default() };
    Cluster::with(setup.key("bans", "rules", &format!("[{{ event: login_failed, count: {count}, within: 10m, ban: {ban} }}]")))
}

/// A client, by its last two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who(u8, u8);

impl Who {
    fn open(self, cluster: &Cluster, node: usize) -> Client {
        cluster.balancer.pick(Pick::Fixed { control: node, data: node });
        Client::open_from(cluster.explicit(), &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, self.0, self.1))
    }

    fn secured(self, cluster: &Cluster, node: usize) -> Client {
        let mut client = self.open(cluster, node);
        client.expect(220);
        client.secure();
        client
    }

    fn is_let_in(self, cluster: &Cluster, node: usize) -> bool {
        let code = self.open(cluster, node).reply().code;
        assert!([220, 421].contains(&code), "{code}");
        code == 220
    }

    /// A wrong password.
    fn fail(self, cluster: &Cluster, node: usize) {
        let mut client = self.secured(cluster, node);
        client.command("USER demo").is(331);
        let code = client.command("PASS wrong").code;
        assert!([421, 530].contains(&code), "{code}");
    }

    fn is_refused_on(self, cluster: &Cluster, nodes: &[usize], seconds: u64) -> Duration {
        let begun = Instant::now();
        for node in nodes {
            kit::eventually(seconds, &format!("{self:?} is refused on node {node}"), || !self.is_let_in(cluster, *node));
        }
        begun.elapsed()
    }
}

/// A ban on node 0 ends a session on node 1 and holds on all.
fn spreads(cluster: &Cluster, who: Who) {
    let mut living = who.secured(cluster, 1);
    living.login("demo");
    who.fail(cluster, 0);
    let begun = Instant::now();
    assert_eq!(living.reply().code, 421);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    who.is_refused_on(cluster, &[0, 1, 2], 5);
    assert!(Who(who.0, who.1 ^ 128).is_let_in(cluster, 2), "its neighbour");
}

#[test]
fn failures_on_three_nodes_are_counted_together() {
    kit::test(180, || {
        let cluster = cluster(None, 5, "1h");
        let who = Who(1, 7);
        for node in [0, 1, 2, 0] {
            who.fail(&cluster, node);
        }
        assert!((0..3).all(|node| who.is_let_in(&cluster, node)));
        who.fail(&cluster, 1);
        who.is_refused_on(&cluster, &[0, 1, 2], 5);
        assert_eq!(cluster.metric("ftps_gateway_bans_made_total", &["source=\"rule\""]), 1.0, "one node made one ban");
    });
}

#[test]
fn a_ban_holds_on_all_nodes_and_outlives_them_with_peers_alone() {
    kit::test(240, || {
        let mut cluster = cluster(None, 1, "1h");
        spreads(&cluster, Who(1, 1));
        // A node that was killed knows it from its journal, a new one from its peers, one that stood still from whoever asks it.
        cluster.kill(2);
        Who(1, 2).fail(&cluster, 0);
        cluster.restart(2);
        Who(1, 1).is_refused_on(&cluster, &[2], 1);
        Who(1, 2).is_refused_on(&cluster, &[2], 1);
        let new = cluster.add();
        Who(1, 1).is_refused_on(&cluster, &[new], 1);
        cluster.freeze(1);
        Who(1, 3).fail(&cluster, 0);
        Who(1, 3).is_refused_on(&cluster, &[0, 2, new], 5);
        std::thread::sleep(Duration::from_secs(6));
        cluster.thaw(1);
        let took = Who(1, 3).is_refused_on(&cluster, &[1], 10);
        assert!(took < Duration::from_secs(4), "after the thaw: {took:?}");
        for node in 0..=new {
            cluster.kill(node);
        }
        for node in 0..=new {
            cluster.restart(node);
        }
        for who in [Who(1, 1), Who(1, 2), Who(1, 3)] {
            who.is_refused_on(&cluster, &[0, 1, 2, new], 1);
        }
    });
}

/// With a store that is emptied, killed and started again, while nodes come and go.
fn with_store(mut server: Server) {
    let mut cluster = cluster(Some(&server), 1, "1h");
    spreads(&cluster, Who(2, 1));
    // Empty again: nodes write what it lost. Then all nodes lose their state and take it from there.
    server.restart();
    Who(2, 2).fail(&cluster, 0);
    Who(2, 2).is_refused_on(&cluster, &[0, 1, 2], 5);
    std::thread::sleep(Duration::from_secs(12));
    for node in 0..3 {
        cluster.kill(node);
        std::fs::remove_dir_all(cluster.state_dir(node)).unwrap();
    }
    cluster.restart(1);
    for who in [Who(2, 1), Who(2, 2)] {
        who.is_refused_on(&cluster, &[1], 1);
    }
    // While it is away, peers are enough; a frozen one holds up nobody.
    server.freeze();
    Who(2, 3).fail(&cluster, 1);
    Who(2, 3).is_refused_on(&cluster, &[1], 2);
    let begun = Instant::now();
    cluster.restart(0);
    assert!(begun.elapsed() < Duration::from_secs(20));
    for who in [Who(2, 1), Who(2, 2), Who(2, 3)] {
        who.is_refused_on(&cluster, &[0], 2);
    }
    server.thaw();
    server.kill();
    Who(2, 4).fail(&cluster, 0);
    Who(2, 4).is_refused_on(&cluster, &[0, 1], 5);
}

#[test]
fn a_ban_outlives_all_nodes_in_redis_and_redis_in_the_nodes() {
    kit::test(300, || {
        let Some(server) = Server::redis() else { return };
        with_store(server);
    });
}

#[test]
fn a_ban_outlives_all_nodes_in_memcached_and_memcached_in_the_nodes() {
    kit::test(300, || {
        let Some(server) = Server::memcached() else { return };
        with_store(server);
    });
}

#[test]
fn what_a_stranger_writes_into_the_store_changes_nothing_and_is_counted() {
    kit::test(240, || {
        for server in [Server::redis(), Server::memcached()].into_iter().flatten() {
            let cluster = cluster(Some(&server), 1, "1h");
            Who(4, 1).fail(&cluster, 0);
            Who(4, 1).is_refused_on(&cluster, &[0, 1, 2], 5);
            kit::eventually(20, "the store has a copy", || server.items_of("ban").len() >= 2);
            let items = server.items_of("ban");
            // Garbage, a ban of everybody in no envelope, and the value of another key.
            let forged = [&b"\x01\0\0\0\0"[..], b"{\"target\":{\"cidr\":\"0.0.0.0/0\"},\"duration\":\"permanent\"}", &items[0].value];
            for (number, bytes) in forged.into_iter().enumerate() {
                let before = cluster.metric("ftps_gateway_shared_store_rejected_values_total", &["kind=\"ban\""]);
                for item in items.iter().skip(usize::from(number == 2)) {
                    server.set(&item.key, bytes);
                }
                kit::eventually(30, "it is counted", || cluster.metric("ftps_gateway_shared_store_rejected_values_total", &["kind=\"ban\""]) > before);
                assert!((0..3).all(|node| !Who(4, 1).is_let_in(&cluster, node) && Who(4, 2).is_let_in(&cluster, node)));
                let whole = || server.items_of("ban").iter().all(|item| item.value != bytes || (number == 2 && item.key == items[0].key));
                kit::eventually(40, "the store has the truth again", whole);
            }
            // And back to an old state of the store: what came since is not lost.
            Who(4, 3).fail(&cluster, 1);
            Who(4, 3).is_refused_on(&cluster, &[0, 1, 2], 5);
            for item in &items {
                server.set(&item.key, &item.value);
            }
            std::thread::sleep(Duration::from_secs(3));
            assert!((0..3).all(|node| !Who(4, 3).is_let_in(&cluster, node)));
        }
    });
}

#[test]
fn a_ban_that_ends_lets_its_client_in_on_every_node() {
    kit::test(180, || {
        let cluster = cluster(None, 1, "8s");
        let who = Who(3, 1);
        who.fail(&cluster, 0);
        who.is_refused_on(&cluster, &[0, 1, 2], 5);
        for node in 0..3 {
            kit::eventually(20, "it is let in again", || who.is_let_in(&cluster, node));
        }
        assert!((0..3).all(|node| who.is_let_in(&cluster, node)), "and stays in");
    });
}
