//! Bans while stores and nodes fail: before, during and after each fault somebody is banned and unbanned, every door is knocked at all the time, and the history is judged.
//!
//! Gets: three nodes with Redis, with memcached, with their peers alone, behind PROXY headers. Gives: a verdict for each kind of store over all faults in a row.
//! Never: a fault that is not undone, a client that is banned twice, a node's own word for who is banned.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::everywhere::three;
use super::history::{History, Said, Watch, client};
use crate::kit::{self, Cluster, Server, Tree};

/// Nodes, doors that are knocked at, and what was seen.
struct Field {
    watch: Watch,
    cluster: Cluster,
    history: History,
    next: u32,
    _tree: Tree,
}

impl Field {
    fn new(store: Option<String>) -> Self {
        let tree = Tree::new();
        let (cluster, doors) = three(&tree, store);
        let history = History::default();
        // Nobody bans them.
        [1, 2].iter().for_each(|number| history.know(Ipv4Addr::new(198, 19, 0, *number)));
        Self { watch: Watch::start(&doors, &history), cluster, history, next: 0, _tree: tree }
    }

    fn ban(&mut self, by: usize) -> (Ipv4Addr, Said) {
        let who = client(self.next);
        self.next += 1;
        let said = self.history.ban((by, self.cluster.node(by)), who, 3600);
        (who, said)
    }

    fn unban(&self, by: usize, who: Ipv4Addr) -> Said {
        self.history.unban((by, self.cluster.node(by)), who)
    }

    /// Bans before and during a fault, and unbans during it.
    fn through(&mut self, what: &str, by: usize, fault: impl FnOnce(&mut Self), heal: impl FnOnce(&mut Self)) {
        let before = self.ban(by).1;
        let (freed, _) = self.ban((by + 1) % 3);
        fault(self);
        let during = self.ban(by).1;
        let unbanned = self.unban(by, freed);
        heal(self);
        std::thread::sleep(SETTLED);
        let word = |said: &Said| format!("{} {}/{} stored {:?}", said.state, said.acknowledged, said.nodes, said.stored);
        eprintln!("{what}: ban before: {}; during: {}; unban during: {}", word(&before), word(&during), word(&unbanned));
    }

    /// SIGKILL, and the same node again.
    fn restart(&mut self, node: usize, empty: bool) {
        if empty {
            std::fs::remove_dir_all(self.cluster.state_dir(node)).expect("its state");
        }
        self.cluster.restart(node);
        // What a node missed it learns before it takes its first client.
        self.history.back(node, Duration::ZERO);
    }

    fn killed_and_restarted(&mut self) {
        for node in 0..3 {
            self.through("a node killed and restarted", (node + 1) % 3, |field| field.cluster.kill(node), |field| field.restart(node, false));
        }
        self.through("a node replaced by one with an empty state directory", 1, |field| field.cluster.kill(2), |field| field.restart(2, true));
        self.through("a node frozen", 2, |field| field.cluster.freeze(0), Self::thawed);
        let all_again = |field: &mut Self| {
            (0..3).for_each(|node| field.cluster.kill(node));
            (0..3).for_each(|node| field.restart(node, false));
        };
        self.through("all nodes restarted with their state", 0, all_again, |_| {});
    }

    fn thawed(&mut self) {
        self.cluster.thaw(0);
        self.history.back(0, Duration::from_secs(2));
    }

    fn judge(self, name: &str) {
        drop(self.watch);
        eprintln!("{name}: {}", self.history.holds());
    }
}

#[test]
fn a_ban_outlives_every_fault_of_nodes_with_peers_alone() {
    kit::test(300, || {
        let mut field = Field::new(None);
        field.killed_and_restarted();
        field.judge("peers alone");
    });
}

/// Faults of a store besides those of the nodes.
fn with_store(mut server: Server) {
    let mut field = Field::new(Some(server.url()));
    field.through("the store flushed", 0, |_| server.flush(), |_| {});
    field.through("the store killed", 1, |_| server.kill(), |_| {});
    server.restart();
    field.through("the store back and empty", 2, |_| {}, |_| {});
    field.through("the store frozen", 0, |_| server.freeze(), |_| server.thaw());
    field.through("the store full of other things", 1, |_| fill(&server), |_| {});
    field.killed_and_restarted();
    // The store holds everything again, and is all that is left.
    kit::eventually(60, "a ban is in the store", || field.ban(0).1.stored == Some(true));
    std::thread::sleep(Duration::from_secs(12));
    let from_the_store = |field: &mut Field| {
        (0..3).for_each(|node| field.cluster.kill(node));
        (0..3).for_each(|node| field.restart(node, true));
    };
    field.through("all nodes replaced, the store kept", 1, from_the_store, |_| {});
    field.judge(server.scheme());
}

/// More than it takes, so that it forgets. memcached evicts among items of about one size: others have to be as large as a ban's.
fn fill(server: &Server) {
    let is_redis = server.scheme() == "redis";
    if is_redis {
        for words in [["maxmemory", "3mb"], ["maxmemory-policy", "allkeys-lru"]] {
            assert_eq!(server.cli(&["CONFIG", "SET", words[0], words[1]]), ["OK"]);
        }
    }
    let sizes: BTreeSet<usize> = if is_redis { BTreeSet::from([16 << 10]) } else { server.items_of("ban").iter().map(|item| item.value.len()).collect() };
    let count = if is_redis { 768 } else { 30_000 / sizes.len().max(1) };
    for size in sizes {
        let value = vec![b'x'; size];
        (0..count).for_each(|number| server.set(&format!("ftps-gateway:other:kind:{number:028x}{size:04}"), &value));
    }
    let evicted = server.evictions();
    assert!(evicted > 100, "{evicted} items evicted");
}

#[test]
fn a_ban_outlives_every_fault_with_redis() {
    kit::test(400, || {
        let Some(server) = Server::redis() else { return };
        with_store(server);
    });
}

#[test]
fn a_ban_outlives_every_fault_with_memcached() {
    kit::test(400, || {
        let Some(server) = Server::memcached_with(&["-m", "4"]) else { return };
        with_store(server);
    });
}

#[test]
fn a_failover_that_lost_a_ban_loses_it_nowhere() {
    kit::test(300, || {
        let Some(mut primary) = Server::redis() else { return };
        let Some(replica) = Server::redis_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
        kit::eventually(30, "the replica follows", || replica.cli(&["INFO", "replication"]).concat().contains("master_link_status:up"));
        let Some(sentinel) = Server::sentinel(primary.port()) else { return };
        let mut field = Field::new(Some(format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port())));
        field.through(
            "a failover that lost the write",
            0,
            |_| replica.freeze(),
            |_| {
                primary.kill();
                replica.thaw();
                kit::eventually(60, "the replica leads", || replica.role() == "master");
            },
        );
        field.through("after the failover", 1, |_| {}, |_| {});
        // What the new primary never saw it gets from the nodes: then it is all that is left.
        kit::eventually(60, "the new primary takes bans", || field.ban(0).1.stored == Some(true));
        std::thread::sleep(Duration::from_secs(12));
        let from_the_store = |field: &mut Field| {
            (0..3).for_each(|node| field.cluster.kill(node));
            (0..3).for_each(|node| field.restart(node, true));
        };
        field.through("all nodes replaced, the new primary kept", 1, from_the_store, |_| {});
        field.judge("redis+sentinel");
    });
}

/// After a fault, for the knocks that show what holds then.
const SETTLED: Duration = Duration::from_millis(2500);
