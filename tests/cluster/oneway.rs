//! One node cannot reach others, which reach it: all nodes have to see the same homes all the same.
//!
//! Gets: root, iproute2 and nftables. Gives: clients with a session on each node, all served, wherever their homes are.
//! The one that is not reached learns of it by the third one alone; the one that reaches nobody serves no client with several sessions, and hinders none.
//! Never: a rule outside of the test's own namespaces.

use std::time::{Duration, Instant};

use super::namespaces::{NODES, Net, possible};
use super::partition::{enter, rules};
use crate::kit::{self, Client, Node, Options, Tls, Tree, Version, users_file};

#[test]
fn a_node_that_cannot_reach_others_keeps_nobody_from_a_port() {
    if !possible() {
        return;
    }
    kit::test(200, || {
        let Some(net) = Net::new() else { return kit::skip("this machine makes no network namespaces, or takes no nat rules") };
        if !enter(&net.space("c")) {
            return kit::skip("this machine lets no thread into a network namespace");
        }
        let tree = Tree::new();
        tree.write("secret", "0123456789abcdef".repeat(4).as_bytes());
        let nodes: Vec<Node> = (0..NODES).map(|number| start(&net, &tree, number)).collect();
        kit::eventually(30, "each node knows two others", || {
            nodes.iter().all(|node| node.log().iter().filter(|line| line.contains("member_joined")).count() >= 2)
        });
        // First one, then, with two of three, most of the members: whoever misses those stands aside itself.
        for (round, (missed, served)) in [(2, &[0, 1, 2][..]), (1, &[1, 2][..])].into_iter().enumerate() {
            let drop = format!("chain output {{ type filter hook output priority 0; ip daddr {} tcp dport {PEER} drop; }}", net.node(missed));
            rules((&net, &tree), 0, &format!("table inet cut{missed} {{\n{drop}\n}}"));
            // It misses the other one, which stays a member, for that one calls.
            kit::eventually(30, "the node says that it cannot reach the other one", || {
                nodes[0].log().iter().filter(|line| line.contains("\"unreachable\"")).count() > round
            });
            let slowest = std::thread::scope(|scope| {
                let nodes: Vec<&Node> = served.iter().map(|number| &nodes[*number]).collect();
                let serve = |number| {
                    scope.spawn({
                        let nodes = nodes.clone();
                        move || serve(&nodes, &user(number))
                    })
                };
                let clients: Vec<_> = (0..CLIENTS).map(serve).collect();
                clients.into_iter().map(|client| client.join().expect("served")).max()
            });
            eprintln!("slowest EPSV on {served:?} while node 0 misses {} of 3: {slowest:?}", round + 1);
            assert!(slowest < Some(Duration::from_secs(5)), "{slowest:?}");
        }
    });
}

/// A session of one client on each node, in turn; gives the longest time for a port.
fn serve(nodes: &[&Node], user: &str) -> Duration {
    let tls = Tls::new(Version::Tls13);
    let mut sessions: Vec<Client> = nodes.iter().map(|node| Client::session_of(*node, &tls, user)).collect();
    let mut slowest = Duration::ZERO;
    for round in 0..6 {
        for (place, session) in sessions.iter_mut().enumerate() {
            session.patience(Duration::from_secs(20));
            let began = Instant::now();
            let to = session.epsv();
            slowest = slowest.max(began.elapsed());
            let mut connection = kit::Data::connect(to, &tls);
            session.command(&format!("STOR {round}-{place}")).is(150);
            connection.handshake().expect("it reaches its session");
            connection.write(user.as_bytes()).expect("it takes bytes");
            connection.finish();
            session.expect(226);
        }
    }
    slowest
}

fn user(number: usize) -> String {
    format!("u{number}")
}

fn start(net: &Net, tree: &Tree, number: u8) -> Node {
    let ip = net.node(number);
    let users: Vec<(String, String)> = (0..CLIENTS).map(|number| (user(number), format!("/{}", user(number)))).collect();
    let users = users_file(&users.iter().map(|(name, home)| (name.as_str(), home.as_str(), "all")).collect::<Vec<_>>());
    let peers: Vec<String> = (0..NODES).map(|other| format!("\"{}:{PEER}\"", net.node(other))).collect();
    let (state, secret) = (tree.join(&format!("state-{number}")), tree.join("secret"));
    let through = ["ip", "netns", "exec", &net.space(&number.to_string())].map(str::to_owned).into();
    let options = Options { users, root: Some(tree.join("files")), through, ..Options::default() };
    let options = options
        .set("node", &format!("{{ name: node-{number}, state_dir: {state:?} }}"))
        .set("listen", &format!("{{ explicit: [\"{ip}:2121\"], implicit: [], admin: \"127.0.0.1:9440\", peer: \"{ip}:{PEER}\" }}"))
        .set("data", "{ ports: \"50000-50007\" }")
        .set("log", "{ format: json, level: info }")
        .set("cluster", &format!("{{ secret_file: {secret:?}, peers: [{}] }}", peers.join(", ")));
    Node::with(options)
}

const PEER: u16 = 9443;
/// Enough for homes on each of the nodes.
const CLIENTS: usize = 6;
