//! The cluster as Kubernetes has it: each node a network namespace of its own, and nftables that choose a node at random for each connection.
//!
//! Gets: root, iproute2 and nftables. Gives: transfers whose control and data connections go to whatever node, by hash.
//! Never: a namespace or a rule that outlives its test, or one of another test.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kit::{self, Node, Options, Pki, Run, Tree, contents, have, users_file};

pub(super) const NODES: u8 = 3;

/// Namespaces of one test: nodes 10.77.N.11 and on, a balancer's address 10.77.N.1 in the namespace of the clients.
pub(super) struct Net {
    tag: String,
    pub(super) octet: u8,
    made: Vec<String>,
}

impl Net {
    /// `None`: this machine or this user cannot make namespaces.
    pub(super) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("fg{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let octet = u8::try_from(std::process::id() % 250).unwrap_or(0);
        let mut net = Self { tag, octet, made: Vec::new() };
        let client = net.space("c");
        if !net.ip(&["netns", "add", &client]) {
            return None;
        }
        net.made.push(client.clone());
        net.ip(&["-n", &client, "link", "set", "lo", "up"]);
        net.ip(&["-n", &client, "link", "add", "name", "br0", "type", "bridge"]);
        net.ip(&["-n", &client, "addr", "add", &format!("10.77.{octet}.1/24"), "dev", "br0"]);
        net.ip(&["-n", &client, "link", "set", "br0", "up"]);
        for number in 0..NODES {
            let space = net.space(&number.to_string());
            assert!(net.ip(&["netns", "add", &space]));
            net.made.push(space.clone());
            let (inside, outside) = ("eth0", format!("v{number}"));
            net.ip(&["-n", &client, "link", "add", &outside, "type", "veth", "peer", "name", inside, "netns", &space]);
            net.ip(&["-n", &client, "link", "set", &outside, "master", "br0"]);
            net.ip(&["-n", &client, "link", "set", &outside, "up"]);
            net.ip(&["-n", &space, "link", "set", "lo", "up"]);
            net.ip(&["-n", &space, "addr", "add", &format!("{}/24", net.node(number)), "dev", inside]);
            net.ip(&["-n", &space, "link", "set", inside, "up"]);
        }
        net.balance().then_some(net)
    }

    /// A Service of Kubernetes in iptables mode does this: the address is nobody's, each connection goes to a random node, the source is masqueraded.
    fn balance(&self) -> bool {
        let nodes: Vec<String> = (0..NODES).map(|number| format!("{number} : {}", self.node(number))).collect();
        let rules = format!(
            "table ip balance {{
              chain out {{ type nat hook output priority -100; ip daddr 10.77.{0}.100 dnat to numgen random mod {NODES} map {{ {1} }}; }}
              chain post {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
            }}",
            self.octet,
            nodes.join(", ")
        );
        let file = std::env::temp_dir().join(format!("{}.nft", self.tag));
        std::fs::write(&file, rules).expect("the rules");
        let done = self.ip(&["netns", "exec", &self.space("c"), "nft", "-f", &file.display().to_string()]);
        let _ = std::fs::remove_file(file);
        done
    }

    pub(super) fn space(&self, what: &str) -> String {
        format!("{}-{what}", self.tag)
    }

    pub(super) fn node(&self, number: u8) -> String {
        format!("10.77.{}.{}", self.octet, 11 + number)
    }

    fn ip(&self, arguments: &[&str]) -> bool {
        Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
    }
}

/// Whether there is what a [`Net`] needs; if not, the test is skipped.
pub(super) fn possible() -> bool {
    let missing = match rustix::process::geteuid().is_root() {
        _ if !have("ip") || !have("nft") => "iproute2 or nftables is not installed",
        false => "network namespaces need root",
        true => return true,
    };
    kit::skip(missing);
    false
}

impl Drop for Net {
    fn drop(&mut self) {
        for space in std::mem::take(&mut self.made) {
            self.ip(&["netns", "del", &space]);
        }
    }
}

#[test]
fn a_service_that_chooses_at_random_loses_no_transfer() {
    if !possible() {
        return;
    }
    kit::test(400, || {
        let Some(net) = Net::new() else { return kit::skip("this machine makes no network namespaces, or takes no nat rules") };
        let tree = Tree::new();
        let door = format!("10.77.{}.100", net.octet);
        let pki = Pki::write_hosts(&tree, &[&door]);
        tree.write("secret", "0123456789abcdef".repeat(4).as_bytes());
        let nodes: Vec<Node> = (0..NODES).map(|number| start(&net, &tree, number)).collect();
        // They find each other.
        kit::eventually(30, "each node knows two others", || {
            nodes.iter().all(|node| node.log().iter().filter(|line| line.contains("member_joined")).count() >= 2)
        });
        let sessions: Vec<(Tree, String)> = (0..SESSIONS).map(|number| (local(), format!("s{number}"))).collect();
        std::thread::scope(|scope| {
            for (number, (local, user)) in sessions.iter().enumerate() {
                let (space, door, ca) = (net.space("c"), door.clone(), pki.ca.display().to_string());
                scope.spawn(move || {
                    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kit/trees.py").display().to_string();
                    let (version, count) = (if number.is_multiple_of(2) { "1.2" } else { "1.3" }, files().to_string());
                    let (password, directory) = (format!("{user}-password"), local.path().display().to_string());
                    let told = ["netns", "exec", &space, "python3", &script, &door, "2121", &ca, user, &password, version, &directory, &count, "reusing"];
                    assert_eq!(Run::new("ip", told).seconds(300).run().ok().text().trim(), "ok");
                });
            }
        });
        for (local, user) in &sessions {
            assert_eq!(contents(&local.join("up")), contents(&tree.join("files").join(user)), "{user}, up");
            assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "{user}, down");
        }
        let relayed = nodes.iter().filter(|node| node.log().iter().any(|line| line.contains("\"outcome\":\"relayed\""))).count();
        assert!(relayed > 0, "no connection came to another node than its session's: the test shows nothing");
    });
}

fn start(net: &Net, tree: &Tree, number: u8) -> Node {
    let ip = net.node(number);
    let users: Vec<(String, String)> = (0..SESSIONS).map(|number| (format!("s{number}"), format!("/s{number}"))).collect();
    let users = users_file(&users.iter().map(|(name, home)| (name.as_str(), home.as_str(), "all")).collect::<Vec<_>>());
    let peers: Vec<String> = (0..NODES).map(|other| format!("\"{}:9443\"", net.node(other))).collect();
    let (state, secret) = (tree.join(&format!("state-{number}")), tree.join("secret"));
    let options = Options {
        users,
        root: Some(tree.join("files")),
        through: ["ip", "netns", "exec", &net.space(&number.to_string())].map(str::to_owned).into(),
        ..Options::default()
    };
    let options = options
        .set("node", &format!("{{ name: node-{number}, state_dir: {state:?} }}"))
        .set("listen", &format!("{{ explicit: [\"{ip}:2121\"], implicit: [], admin: \"127.0.0.1:9440\", peer: \"{ip}:9443\" }}"))
        .set("tls", &format!("{{ certificates: [{{ cert: {:?}, key: {:?} }}] }}", tree.join("cert.pem"), tree.join("key.pem")))
        .set("data", &format!("{{ ports: \"50000-50007\", tls_reuse: require, public_address: \"10.77.{}.100\" }}", net.octet))
        .set("cluster", &format!("{{ secret_file: {secret:?}, peers: [{}] }}", peers.join(", ")));
    Node::with(options)
}

fn local() -> Tree {
    let local = Tree::new();
    (0..files()).for_each(|index| drop(local.write_random(&format!("up/{index}.bin"), 50_000)));
    std::fs::create_dir(local.join("down")).expect("a directory");
    local
}

const SESSIONS: usize = 12;

/// Of each session, up and down: 60 of 60 in each direction, or 600.
fn files() -> usize {
    if kit::full() { 50 } else { 5 }
}
