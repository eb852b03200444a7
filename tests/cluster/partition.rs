//! A cluster that is cut in two: nodes in network namespaces of their own, whose way to peers and store nftables closes. Clients reach all of them all the time.
//!
//! Gets: root, iproute2 and nftables. Gives: a history of bans and unbans on both sides of the cut, judged: what a node missed it applies within 2 s after the heal.
//! Never: a rule outside of the test's own namespaces.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::admin::{ask, tokens};
use super::history::{Doors, History, Watch, client};
use super::namespaces::{NODES, Net, possible};
use crate::kit::{self, Node, Options, Server, Tree};

/// From now on this thread, and what it starts, sees the network of the clients.
pub(super) fn enter(space: &str) -> bool {
    let Ok(file) = std::fs::File::open(format!("/var/run/netns/{space}")) else { return false };
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).is_ok()
}

/// Rules of one node's namespace.
pub(super) fn rules((net, tree): (&Net, &Tree), node: u8, text: &str) {
    let (space, file) = (net.space(&node.to_string()), tree.write("rules.nft", text.as_bytes()).display().to_string());
    let done = Command::new("ip").args(["netns", "exec", &space, "nft", "-f", &file]).output().expect("ip");
    assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Peers neither hear it nor are heard, nor is what else has one of these ports.
fn cut(net: (&Net, &Tree), node: u8, ports: &[u16]) {
    let drops: String = ports.iter().map(|port| format!("tcp dport {port} drop; tcp sport {port} drop; ")).collect();
    let chain = |name: &str| format!("chain {name} {{ type filter hook {name} priority 0; {drops}}}");
    rules(net, node, &format!("table inet cut {{\n{}\n{}\n}}", chain("input"), chain("output")));
}

fn heal(net: (&Net, &Tree), node: u8) {
    rules(net, node, "delete table inet cut\n");
}

fn start(net: &Net, tree: &Tree, number: u8, store: Option<&Server>) -> Node {
    let ip = net.node(number);
    let peers: Vec<String> = (0..NODES).map(|other| format!("\"{}:{PEER}\"", net.node(other))).collect();
    let (state, secret) = (tree.join(&format!("state-{number}")), tree.join("secret"));
    let through = ["ip", "netns", "exec", &net.space(&number.to_string())].map(str::to_owned).into();
    let options = Options { root: Some(tree.join("files")), through, ..Options::default() };
    let options = options
        .set("node", &format!("{{ name: node-{number}, state_dir: {state:?} }}"))
        .set(
            "listen",
            &format!(
                "{{ explicit: [\"{ip}:2121\"], implicit: [], admin: \"{ip}:9440\", peer: \"{ip}:{PEER}\", proxy_protocol_from: [\"10.77.{}.1/32\"] }}",
                net.octet
            ),
        )
        .set("data", "{ ports: \"50000-50007\" }")
        .set("bans", "{ rules: [] }")
        .set("admin", &format!("{{ tokens_file: {}, insecure_ok: true }}", tokens(tree)))
        .set("log", "{ format: json, level: info }")
        .set("cluster", &format!("{{ secret_file: {secret:?}, peers: [{}] }}", peers.join(", ")));
    let url = store.map(|store| format!("{{ url: \"{}://10.77.{}.1:{}\" }}", store.scheme(), net.octet, store.port()));
    Node::with(url.into_iter().fold(options, |options, url| options.set("store", &url)))
}

fn all_know_all(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| ask(node, "GET", "/nodes", "looker", None).body["items"].as_array().map(Vec::len) == Some(nodes.len()))
}

#[test]
fn what_a_node_missed_while_it_was_cut_off_it_applies_within_two_seconds() {
    cut_and_healed("");
}

#[test]
fn what_a_node_missed_while_it_was_cut_off_it_applies_within_two_seconds_with_redis() {
    cut_and_healed("redis");
}

#[test]
fn what_a_node_missed_while_it_was_cut_off_it_applies_within_two_seconds_with_memcached() {
    cut_and_healed("memcached");
}

/// A store in the namespace of the clients, where this thread is.
fn store(scheme: &str, ip: &str) -> Option<Server> {
    match scheme {
        "redis" => Server::redis_with(&["--bind", "127.0.0.1", ip, "--protected-mode", "no"]),
        _ => Server::memcached_with(&["-l", ip]),
    }
}

fn cut_and_healed(scheme: &'static str) {
    if !possible() {
        return;
    }
    kit::test(400, move || {
        let Some(net) = Net::new() else { return kit::skip("this machine makes no network namespaces, or takes no nat rules") };
        if !enter(&net.space("c")) {
            return kit::skip("this machine lets no thread into a network namespace");
        }
        let tree = Tree::new();
        tree.write("secret", "0123456789abcdef".repeat(4).as_bytes());
        let store = (!scheme.is_empty()).then(|| store(scheme, &format!("10.77.{}.1", net.octet)));
        if store.as_ref().is_some_and(Option::is_none) {
            return;
        }
        let store = store.flatten();
        let nodes: Vec<Node> = (0..NODES).map(|number| start(&net, &tree, number, store.as_ref())).collect();
        kit::eventually(30, "each node knows the others", || all_know_all(&nodes));
        let doors = Doors { nodes: nodes.iter().map(|node| node.explicit).collect::<Vec<SocketAddr>>(), from: Ipv4Addr::new(10, 77, net.octet, 1) };
        let history = History::default();
        [1, 2].iter().for_each(|number| history.know(Ipv4Addr::new(198, 19, 0, *number)));
        let watch = Watch::start(&doors, &history);
        for (round, seconds) in ROUNDS.into_iter().enumerate() {
            // From its peers alone, and from the store as well.
            let ports: Vec<u16> = store.iter().filter(|_| round > 0).map(Server::port).chain([PEER]).collect();
            through((&net, &tree), &nodes, &history, (round, &ports), Duration::from_secs(seconds));
        }
        drop(watch);
        eprintln!("cut off and healed, store {scheme:?}: {}", history.holds());
    });
}

/// One cut: of another node each time, shorter and longer than a member may be silent.
fn through(net: (&Net, &Tree), nodes: &[Node], history: &History, (round, ports): (usize, &[u16]), lasts: Duration) {
    let (lost, by) = (round % nodes.len(), (round + 1) % nodes.len());
    let who = |number: u32| client(u32::try_from(round).expect("few rounds") * 10 + number);
    let node = |number: usize| (number, &nodes[number]);
    let freed = [0, 1].map(|number| {
        assert_eq!(history.ban(node(by), who(number), 3600).state, "everywhere");
        who(number)
    });
    cut(net, u8::try_from(lost).expect("few nodes"), ports);
    let early = history.ban(node(by), who(2), 3600);
    assert!(early.silent.contains(&lost) && early.state == "pending", "{early:?}");
    history.unban(node(by), freed[0]);
    std::thread::sleep(lasts);
    // It may be no member any more, and is named all the same: it lets clients in.
    let late = history.ban(node(by), who(3), 3600);
    assert!(late.silent.contains(&lost), "{late:?}");
    // On the other side of the cut.
    let alone = history.ban(node(lost), who(4), 3600);
    assert!(alone.silent.len() == 2 && alone.acknowledged == 1, "{alone:?}");
    history.unban(node(lost), freed[1]);
    heal(net, u8::try_from(lost).expect("few nodes"));
    (0..nodes.len()).for_each(|node| history.back(node, Duration::from_secs(2)));
    std::thread::sleep(Duration::from_millis(3500));
    kit::eventually(30, "each node knows the others again", || all_know_all(nodes));
}

/// The port between nodes.
const PEER: u16 = 9443;
/// How long each cut lasts, besides the calls during it.
const ROUNDS: [u64; 3] = [0, 6, 15];
