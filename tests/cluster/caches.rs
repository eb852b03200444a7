//! The caches of the cluster through the admin API: counted as the store counts, and cleared on all nodes at once.
//!
//! Gets: three nodes over a real Redis and a real memcached. Gives: what resumes, what does not, what is hashed again. Never: a clearing that is waited for.

use serde_json::Value;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Client, Cluster, Node, Server, Setup, Tls, Tree, random_bytes};

#[test]
fn redis_forgets_what_the_api_clears() {
    kit::test(120, || cleared(Server::redis()));
}

#[test]
fn memcached_forgets_what_the_api_clears() {
    kit::test(120, || cleared(Server::memcached()));
}

fn cleared(server: Option<Server>) {
    let Some(server) = server else { return };
    let tree = Tree::new();
    let cluster = Cluster::with(Setup { store: Some(server.url()), ..Setup::default() }.key("admin", "tokens_file", &tokens(&tree)));
    joined(&cluster, 3);
    let tls = [0; 4].map(|_| Tls::session_ids());
    let mut living = Client::session(cluster.node(0), &tls[0]);
    drop(Client::session(cluster.node(1), &tls[1]));
    assert!(Client::session(cluster.node(2), &tls[1]).resumed());
    drop(Client::session(cluster.node(2), &tls[3]));
    living.put("STOR /file", &random_bytes(1000)).is(226);
    let counts = |node: &Node, what: &str| sum(&ask(node, "GET", "/cache/sessions", "looker", None).body, what);
    assert_eq!((counts(cluster.node(0), "stores"), counts(cluster.node(1), "hits")), (3, 1), "of all nodes, whoever is asked");

    let answer = ask(cluster.node(0), "DELETE", "/cache/sessions", "root", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let reaches: Vec<_> = answer.body["items"].as_array().unwrap().iter().filter_map(|node| node["reach"].as_str()).collect();
    assert_eq!(reaches, ["cluster"; 3]);
    // At once, on every node, whether it had the session in memory, could find it in the store, or made it.
    for (number, tls) in [(0, &tls[1]), (1, &tls[0]), (2, &tls[3])] {
        assert!(!Client::session(cluster.node(number), tls).resumed(), "node {number}");
    }
    // A session that lives still proves its data connections.
    living.put("STOR /file", &random_bytes(1000)).is(226);
    // What is made from now on is shared as before.
    drop(Client::session(cluster.node(0), &tls[2]));
    assert!(Client::session(cluster.node(1), &tls[2]).resumed() && Client::session(cluster.node(2), &tls[2]).resumed());
    assert_eq!(ask(cluster.node(1), "DELETE", "/cache/sessions", "looker", None).status, 403);

    digests(&cluster, &mut living);
}

fn digests(cluster: &Cluster, living: &mut Client) {
    let held = |node: &Node| sum(&ask(node, "GET", "/cache/digests", "looker", None).body, "entries");
    living.command("XMD5 /file").is(213);
    assert!(held(cluster.node(1)) > 0);
    let answer = ask(cluster.node(2), "DELETE", "/cache/digests", "root", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(held(cluster.node(1)), 0, "on every node");
    living.command("XMD5 /file").is(213);
}

fn sum(list: &Value, what: &str) -> u64 {
    list["items"].as_array().expect("a list").iter().filter_map(|one| one[what].as_u64()).sum()
}
