//! A store that is away, frozen, full, read-only, locked or mad: logins and transfers go on, the node says so once, and all is well again without a restart.
//!
//! Gets: a real Redis and a real memcached, and what a test does to them. Gives: that a store is speed, never service.
//! Never: a bound that a busy machine breaks; how long a login takes is measured elsewhere.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use super::admin::{ask, tokens};
use crate::kit::{self, Client, Cluster, Node, Server, Setup, Tls, Tree, random_bytes, same};

fn over(url: String) -> Cluster {
    Cluster::with(Setup { nodes: 2, store: Some(url), ..Setup::default() })
}

/// A login and a transfer both ways on each node.
fn works(cluster: &Cluster) {
    let bytes = random_bytes(50_000);
    for node in cluster.nodes() {
        let mut client = Client::session(node, &Tls::session_ids());
        client.put("STOR /file", &bytes).is(226);
        same(&client.get("RETR /file"), &bytes, "a file");
    }
}

/// Whether a session of one node resumes on the other one.
fn shares(cluster: &Cluster) -> bool {
    let tls = Tls::session_ids();
    drop(Client::session(cluster.node(0), &tls));
    Client::session(cluster.node(1), &tls).resumed()
}

fn up(cluster: &Cluster, wanted: bool) {
    let value = f64::from(u8::from(wanted));
    let all = || cluster.nodes().all(|node| node.metric("ftps_gateway_shared_store_up", &["function=\"sessions\""]) == Some(value));
    kit::eventually(60, &format!("every node sees the store: {wanted}"), all);
}

fn lines(node: &Node, part: &str) -> usize {
    node.log().iter().filter(|line| line.contains(part)).count()
}

fn failed(cluster: &Cluster, reason: &str) -> f64 {
    cluster.metric("ftps_gateway_shared_store_failures_total", &[&format!("reason=\"{reason}\"")])
}

/// It is said in readiness, whose answer stays 200.
fn says_degraded(cluster: &Cluster, wanted: bool) {
    let said = |node: &Node| {
        let answer = node.get(node.admin, "/readyz?verbose");
        answer.status == 200 && answer.body.contains("store for sessions") == wanted
    };
    kit::eventually(30, &format!("readiness says degraded: {wanted}"), || cluster.nodes().all(said));
}

/// Bans that only the store knows may be missing: said in readiness, which stays 200, and counted.
fn lacks_bans(cluster: &Cluster, wanted: bool) {
    let said = |node: &Node| {
        let answer = node.get(node.admin, "/readyz?verbose");
        let counted = node.metric("ftps_gateway_degraded", &["what=\"bans\""]) == Some(f64::from(u8::from(wanted)));
        answer.status == 200 && answer.body.contains("[!] bans: the ban book may lack bans of others") == wanted && counted
    };
    kit::eventually(60, &format!("readiness says that bans may be missing: {wanted}"), || cluster.nodes().all(said));
    let line = if wanted { "may lack bans of others" } else { "the ban book is whole" };
    kit::eventually(20, line, || cluster.nodes().all(|node| lines(node, line) == 1));
}

#[test]
fn a_store_that_is_not_there_at_the_start() {
    kit::test(240, || {
        for server in [Server::redis(), Server::memcached()] {
            let Some(mut server) = server else { continue };
            server.kill();
            let cluster = over(server.url());
            works(&cluster);
            up(&cluster, false);
            says_degraded(&cluster, true);
            cluster.nodes().for_each(|node| assert_eq!(lines(node, "this node goes on with what it has"), 1));
            lacks_bans(&cluster, true);
            server.restart();
            up(&cluster, true);
            says_degraded(&cluster, false);
            lacks_bans(&cluster, false);
            assert!(shares(&cluster));
            cluster.nodes().for_each(|node| assert_eq!(lines(node, "the store answers"), 1));
        }
    });
}

#[test]
fn a_store_that_loses_a_part_of_the_ban_book() {
    kit::test(180, || {
        let Some(server) = Server::redis() else { return };
        let tree = Tree::new();
        let setup = Setup { nodes: 1, store: Some(server.url()), ..Setup::default() };
        let cluster = Cluster::with(setup.key("admin", "tokens_file", &tokens(&tree)));
        up(&cluster, true);
        let ban = |last: u8| {
            let body = json!({ "target": { "ip": format!("203.0.113.{last}") }, "duration": "1h" });
            ask(cluster.node(0), "POST", "/bans", "root", Some(&body)).body["propagation"]["stored"].clone()
        };
        assert_eq!(ban(1), true);
        let lost = || cluster.metric("ftps_gateway_ban_store_parts_lost_total", &[]);
        // The head is longer than the part with one ban.
        let part = || server.items_of("ban").into_iter().min_by_key(|item| item.value.len());
        let name = part().expect("a part").key;
        // Deleted again and again until the node knew that the store had it.
        kit::eventually(60, "the loss is seen", || {
            server.cli(&["DEL", &name]);
            std::thread::sleep(Duration::from_secs(1));
            lost() >= 1.0
        });
        kit::eventually(30, "the part is written again", || part().is_some_and(|item| item.key == name));
        assert_eq!(ban(2), false, "a store that loses parts is no second copy");
        let node = cluster.node(0);
        node.logged(&["the store loses parts of the ban book"]);
        kit::eventually(20, "readiness says it", || node.get(node.admin, "/readyz?verbose").body.contains("[!] bans: the store loses parts"));
        // All at once is another thing, said apart; by a node that has looked since it wrote the copy.
        kit::eventually(60, "the loss of all is said", || {
            server.cli(&["FLUSHALL"]);
            std::thread::sleep(Duration::from_secs(4));
            lines(node, "the store has lost its copy of the ban book") >= 1
        });
        kit::eventually(60, "the copy is there again", || server.items_of("ban").len() >= 3);
        assert_eq!(lines(node, "the store loses parts of the ban book"), 1, "once");
    });
}

#[test]
fn a_frozen_redis() {
    kit::test(240, || frozen(Server::redis()));
}

#[test]
fn a_frozen_memcached() {
    kit::test(240, || frozen(Server::memcached()));
}

fn login(cluster: &Cluster, tls: &Tls) -> Duration {
    let began = Instant::now();
    drop(Client::session(cluster.node(0), tls));
    began.elapsed()
}

fn frozen(server: Option<Server>) {
    let Some(server) = server else { return };
    let cluster = over(server.url());
    up(&cluster, true);
    assert!(shares(&cluster));
    let before = login(&cluster, &Tls::session_ids());
    server.freeze();
    let during = Tls::session_ids();
    let first = login(&cluster, &during);
    // 0.2 s and the work of a login; a store that is waited for would take its client's patience, 20 s.
    assert!(first < Duration::from_secs(10), "{first:?}");
    let later = login(&cluster, &Tls::session_ids());
    eprintln!("{}: login {before:?}, first one during a freeze {first:?}, next one {later:?}", server.scheme());
    for _ in 0..5 {
        works(&cluster);
    }
    up(&cluster, false);
    says_degraded(&cluster, true);
    cluster.nodes().for_each(|node| assert_eq!(lines(node, "this node goes on with what it has"), 1, "once, not for each connection"));
    assert!(cluster.nodes().all(|node| node.metric("ftps_gateway_shared_store_outages_total", &[]) == Some(1.0)));
    assert!(cluster.nodes().all(|node| node.metric("ftps_gateway_shared_store_breaker_state", &["function=\"bans\"", "state=\"open\""]) == Some(1.0)));
    kit::eventually(20, "the time is counted", || cluster.metric("ftps_gateway_shared_store_degraded_seconds_total", &[]) > 0.0);
    server.thaw();
    up(&cluster, true);
    kit::eventually(30, "what was missed is brought to the store", || Client::session(cluster.node(1), &during).resumed());
    cluster.nodes().for_each(|node| assert_eq!(lines(node, "the store answers"), 2, "at the start and at the return"));
}

#[test]
fn a_store_that_is_killed_and_comes_back_empty() {
    kit::test(300, || {
        for server in [Server::redis(), Server::memcached()] {
            let Some(mut server) = server else { continue };
            let cluster = over(server.url());
            up(&cluster, true);
            let (tickets, version) = (Tls::new(kit::Version::Tls13), kit::Version::Tls12);
            let older = Tls::new(version);
            [&tickets, &older].into_iter().for_each(|tls| drop(Client::session(cluster.node(0), tls)));
            server.kill();
            works(&cluster);
            up(&cluster, false);
            for tls in [&tickets, &older] {
                assert!(Client::session(cluster.node(1), tls).resumed(), "tickets need no store");
            }
            server.restart();
            up(&cluster, true);
            assert!(shares(&cluster));
            kit::eventually(30, "the nodes bring their ticket keys back", || !server.items_of("epochs").is_empty());
            assert!(Client::session(cluster.node(1), &tickets).resumed());
        }
    });
}

#[test]
fn a_redis_that_is_full_read_only_or_locked() {
    kit::test(300, || {
        let Some(mut server) = Server::redis() else { return };
        let cluster = over(server.url());
        up(&cluster, true);
        let set = |words: &[&str]| assert_eq!(server.cli(words), ["OK"], "{words:?}");
        set(&["CONFIG", "SET", "maxmemory", "1"]);
        works(&cluster);
        assert!(failed(&cluster, "full") >= 1.0);
        set(&["CONFIG", "SET", "maxmemory", "0"]);
        kit::eventually(60, "sessions are shared again", || shares(&cluster));

        set(&["REPLICAOF", "127.0.0.1", "1"]);
        works(&cluster);
        assert!(failed(&cluster, "read_only") >= 1.0);
        set(&["REPLICAOF", "NO", "ONE"]);
        kit::eventually(60, "sessions are shared again", || shares(&cluster));

        // Those who are in stay in; the kill makes them come again.
        set(&["CONFIG", "SET", "requirepass", "changed"]);
        server.kick("changed");
        works(&cluster);
        kit::eventually(30, "the refusal is counted", || failed(&cluster, "denied") >= 1.0);
        up(&cluster, false);
        server.restart();
        up(&cluster, true);
        assert!(shares(&cluster));
    });
}

#[test]
fn something_that_is_no_store_answers_at_its_address() {
    kit::test(240, || {
        for scheme in ["redis", "memcached"] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("its port").port();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    std::thread::spawn(move || {
                        let mut bytes = [0; 512];
                        while stream.read(&mut bytes).is_ok_and(|read| read > 0) && stream.write_all(&random_bytes(300)).is_ok() {}
                    });
                }
            });
            let cluster = over(format!("{scheme}://127.0.0.1:{port}"));
            works(&cluster);
            up(&cluster, false);
            says_degraded(&cluster, true);
            assert!(cluster.metric("ftps_gateway_shared_store_ops_total", &["result=\"failed\""]) >= 1.0);
            cluster.nodes().for_each(|node| assert_eq!(lines(node, "this node goes on with what it has"), 1));
        }
    });
}

#[test]
fn a_failover_by_sentinel() {
    kit::test(240, || {
        let Some(mut primary) = Server::redis() else { return };
        let Some(replica) = Server::redis_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
        kit::eventually(30, "the replica follows", || replica.cli(&["INFO", "replication"]).concat().contains("master_link_status:up"));
        let Some(sentinel) = Server::sentinel(primary.port()) else { return };
        let cluster = over(format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port()));
        up(&cluster, true);
        let tls = Tls::session_ids();
        drop(Client::session(cluster.node(0), &tls));
        kit::eventually(20, "the replica has the session", || !replica.items_of("session").is_empty());
        primary.kill();
        works(&cluster);
        kit::eventually(60, "the replica leads", || replica.role() == "master");
        // The first question to the old primary is a miss; then the new one is asked.
        kit::eventually(60, "sessions are shared again", || shares(&cluster));
        up(&cluster, true);
        assert!(Client::session(cluster.node(1), &tls).resumed(), "made before the failover");
    });
}
