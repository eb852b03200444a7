//! How soon a ban is true everywhere: asked for on one node, seen at the doors and in the sessions of the others. 20 bans for each kind of store, 200 in full.
//!
//! Gets: three nodes with Redis, with memcached, with their peers alone. Gives: times from the call to the refusal, to the end of a living session, to the first welcome after the unban.
//! Never: the node's own clock or word; a history of all doors is judged as well.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::admin::{joined, tokens};
use super::history::{Doors, History, client};
use crate::kit::{self, Client, Cluster, Server, Setup, Tell, Tls, Tree, Version};

/// Three nodes that believe their balancer, and take bans of `root`.
pub(super) fn three(tree: &Tree, store: Option<String>) -> (Cluster, Doors) {
    let setup = Setup { nodes: 3, tell: Tell::public(2), store, ..Setup::default() };
    let cluster = Cluster::with(setup.key("admin", "tokens_file", &tokens(tree)).key("bans", "rules", "[]").key("log", "level", "info"));
    joined(&cluster, 3);
    let doors = Doors { nodes: (0..3).map(|node| cluster.node(node).explicit).collect(), from: cluster.balancer.ip };
    (cluster, doors)
}

fn session(doors: &Doors, node: usize, who: Ipv4Addr) -> Client {
    let mut client = Client::open_from(doors.nodes[node], &Tls::new(Version::Tls13), doors.from);
    client.send(&doors.header(node, who)).expect("the balancer's header");
    client.expect(220);
    client.secure();
    client.login("demo");
    client
}

/// Of one kind of wait, in the order of their length.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn part(&mut self, of_hundred: usize) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() * of_hundred).div_ceil(100).max(1) - 1]
    }

    /// Says p50, p99 and the longest, and holds them to the promise.
    fn hold(&mut self, what: &str) {
        let (p50, p99, most) = (self.part(50), self.part(99), self.part(100));
        eprintln!("{what}: {} times, p50 {p50:.1?}, p99 {p99:.1?}, longest {most:.1?}", self.0.len());
        assert!(p99 <= Duration::from_secs(1), "{what}: p99 {p99:?}");
        // The default run may have a build beside it.
        let most = Duration::from_millis(if kit::full() { 20 } else { 150 });
        assert!(p50 <= most, "{what}: p50 {p50:?}");
    }
}

fn spreads(name: &str, store: Option<&Server>) {
    let tree = Tree::new();
    let (cluster, doors) = three(&tree, store.map(Server::url));
    let history = History::default();
    let (mut doors_shut, mut sessions_ended, mut answers, mut doors_open) = (Times::default(), Times::default(), Times::default(), Times::default());
    for number in 0..bans() {
        let (who, by) = (client(number), number as usize % 3);
        let others: Vec<usize> = (0..3).filter(|node| *node != by).collect();
        let living: Vec<Client> = others.iter().map(|node| session(&doors, *node, who)).collect();
        let node = (by, cluster.node(by));
        let asked = Instant::now();
        std::thread::scope(|scope| {
            let ends = living.into_iter().map(|mut living| {
                scope.spawn(move || {
                    living.expect(421);
                    asked.elapsed()
                })
            });
            let ends: Vec<_> = ends.collect();
            let shuts: Vec<_> = others.iter().map(|other| scope.spawn(|| doors.until(&history, *other, who, false, asked))).collect();
            let said = history.ban(node, who, 3600);
            assert_eq!((said.state.as_str(), said.nodes), ("everywhere", 3));
            answers.0.push(said.answered - said.asked);
            sessions_ended.0.extend(ends.into_iter().map(|end| end.join().expect("a session that ends")));
            doors_shut.0.extend(shuts.into_iter().map(|shut| shut.join().expect("a door that shuts")));
        });
        let asked = Instant::now();
        std::thread::scope(|scope| {
            let opens: Vec<_> = others.iter().map(|other| scope.spawn(|| doors.until(&history, *other, who, true, asked))).collect();
            assert_eq!(history.unban(node, who).state, "everywhere");
            doors_open.0.extend(opens.into_iter().map(|open| open.join().expect("a door that opens")));
        });
    }
    eprintln!("{name}: {}", history.holds());
    sessions_ended.hold(&format!("{name}: a living session ended"));
    doors_shut.hold(&format!("{name}: a new connection refused"));
    answers.hold(&format!("{name}: the call answered"));
    doors_open.hold(&format!("{name}: let in after the unban"));
}

#[test]
fn a_ban_is_true_everywhere_within_a_second_with_redis() {
    kit::test(400, || {
        let Some(server) = Server::redis() else { return };
        spreads("redis", Some(&server));
    });
}

#[test]
fn a_ban_is_true_everywhere_within_a_second_with_memcached() {
    kit::test(400, || {
        let Some(server) = Server::memcached() else { return };
        spreads("memcached", Some(&server));
    });
}

#[test]
fn a_ban_is_true_everywhere_within_a_second_with_peers_alone() {
    kit::test(400, || spreads("peers alone", None));
}

fn bans() -> u32 {
    if kit::full() { 200 } else { 20 }
}
