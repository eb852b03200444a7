//! A cluster: several real nodes on one storage root, one users file and one secret, behind a random balancer.
//!
//! Each node has a loopback address of its own and the same port numbers as its neighbours, as pods have; so has the balancer. Nodes keep a state directory over their restarts.
//! Gets: a [`Setup`]. Gives: the balancer's address to clients, and nodes that a test adds, drains, kills, freezes and starts again.
//! Never: a port that somebody else listens on, or a key of the configuration that this build does not know.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::{Balancer, Entrance, Node, Options, Pki, Tell, Tree, USER, random_bytes, users_file};

/// What a cluster is made of.
pub struct Setup {
    /// Nodes at first.
    pub nodes: usize,
    /// Data ports of each.
    pub ports: u16,
    /// `store.url`; `None`: each node on its own shared memory.
    pub store: Option<String>,
    /// What the balancer tells of its clients.
    pub tell: Tell,
    /// The users file.
    pub users: String,
    /// A program and its arguments that become each node.
    pub through: Vec<String>,
    /// More keys: section, key, value. They win over those of the kit.
    pub keys: Vec<(&'static str, &'static str, String)>,
}

/// A running cluster.
pub struct Cluster {
    pub balancer: Balancer,
    pub pki: Pki,
    /// `storage.root` of all nodes.
    pub root: PathBuf,
    /// The users file of all nodes.
    pub users: PathBuf,
    /// The secret file of all nodes.
    pub secret: PathBuf,
    setup: Setup,
    net: Net,
    nodes: Vec<Option<Node>>,
    // Dropped after the nodes.
    tree: Tree,
}

/// Addresses and ports of one cluster: 127.A.B.1 is the balancer, the nodes follow from .11 on.
#[derive(Clone, Copy)]
struct Net {
    a: u8,
    b: u8,
    first_port: u16,
    data_ports: u16,
}

impl Default for Setup {
    fn default() -> Self {
        Self { nodes: 3, ports: 8, store: None, tell: Tell::Nothing, users: users_file(&[(USER, "/", "all")]), through: Vec::new(), keys: Vec::new() }
    }
}

impl Setup {
    /// One key more, or another value for one.
    pub fn key(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.keys.push((section, key, value.to_owned()));
        self
    }
}

impl Cluster {
    /// Starts that many nodes with the defaults.
    pub fn start(nodes: usize) -> Self {
        Self::with(Setup { nodes, ..Setup::default() })
    }

    /// Starts a cluster; returns when every node is ready.
    pub fn with(setup: Setup) -> Self {
        let tree = Tree::new();
        let (net, balancer) = Net::find(setup.ports, &setup.tell);
        let pki = Pki::write_hosts(&tree, &[&net.balancer().to_string()]);
        let root = tree.join("files");
        std::fs::create_dir_all(&root).expect("the root");
        let users = tree.write("users.yaml", setup.users.as_bytes());
        let secret = tree.write("secret", format!("{}\n", hex(&random_bytes(32))).as_bytes());
        let count = setup.nodes;
        let mut cluster = Self { balancer, pki, root, users, secret, setup, net, nodes: Vec::new(), tree };
        for _ in 0..count {
            cluster.add();
        }
        cluster
    }

    /// One node more. Returns its number.
    pub fn add(&mut self) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Some(Node::with(self.options(number))));
        assert_eq!(self.balancer.add(self.net.node(number)), number);
        number
    }

    /// Another value of a key, for nodes that start from now on.
    pub fn also(&mut self, section: &'static str, key: &'static str, value: &str) {
        self.setup.keys.push((section, key, value.to_owned()));
    }

    /// A file of the test's own beside those of the cluster.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.tree.write(name, bytes)
    }

    /// Waits until every node that runs knows all the others.
    pub fn settle(&self) {
        let count = self.nodes().count() as f64;
        super::eventually(30, "every node knows all others", || {
            self.nodes().all(|node| node.metric("ftps_gateway_cluster_nodes", &["\"live\""]).is_some_and(|live| live >= count))
        });
    }

    /// A node that runs.
    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().unwrap_or_else(|| panic!("node {number} does not run"))
    }

    /// All that run.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// SIGTERM, and no new connection from the balancer: what Kubernetes does to a pod. It goes on until it is empty; [`Cluster::gone`] waits for that.
    pub fn drain(&self, number: usize) {
        self.balancer.set_used(number, false);
        self.node(number).signal(Signal::TERM);
    }

    /// Waits until a node has ended; gives its exit code.
    pub fn gone(&mut self, number: usize, seconds: u64) -> Option<i32> {
        let mut node = self.nodes[number].take().unwrap_or_else(|| panic!("node {number} does not run"));
        node.wait(seconds)
    }

    /// SIGKILL; the balancer notices at once.
    pub fn kill(&mut self, number: usize) {
        self.balancer.set_used(number, false);
        self.node(number).signal(Signal::KILL);
        self.gone(number, 20);
    }

    /// SIGSTOP: its connections stay, answers do not come.
    pub fn freeze(&self, number: usize) {
        self.node(number).signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self, number: usize) {
        self.node(number).signal(Signal::CONT);
    }

    /// Starts a node that has ended again, with its name, addresses and state directory.
    pub fn restart(&mut self, number: usize) {
        assert!(self.nodes[number].is_none(), "node {number} still runs");
        self.nodes[number] = Some(Node::with(self.options(number)));
        self.balancer.set_used(number, true);
    }

    /// The sum of a metric over all nodes that run.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.nodes().filter_map(|node| node.metric(name, labels)).sum()
    }

    /// The state directory of a node.
    pub fn state_dir(&self, number: usize) -> PathBuf {
        self.tree.join(&format!("state-{number}"))
    }

    /// The data ports, the same on all nodes and the balancer.
    pub fn data_ports(&self) -> Range<u16> {
        self.net.data()
    }

    /// The address of a node.
    pub fn address(&self, number: usize) -> Ipv4Addr {
        self.net.node(number)
    }

    /// All ports on which clients come in.
    pub fn ports(&self) -> Vec<u16> {
        [self.net.explicit(), self.net.implicit()].into_iter().chain(self.net.data()).collect()
    }

    /// Where a node takes peer connections.
    pub fn peer(&self, number: usize) -> SocketAddr {
        SocketAddr::from((self.net.node(number), self.net.peer()))
    }

    fn options(&self, number: usize) -> Options {
        let (net, ip, data) = (self.net, self.net.node(number), self.net.data());
        let quoted = |path: &Path| format!("{path:?}");
        let listen = |port: u16| format!("\"{ip}:{port}\"");
        let peers: Vec<String> = (0..LISTED.max(self.setup.nodes)).map(|other| format!("\"{}\"", self.peer(other))).collect();
        let mut keys = vec![
            ("node", "name", format!("node-{number}")),
            ("node", "state_dir", quoted(&self.state_dir(number))),
            ("listen", "explicit", format!("[{}]", listen(net.explicit()))),
            ("listen", "implicit", format!("[{}]", listen(net.implicit()))),
            ("listen", "admin", listen(net.admin())),
            ("listen", "peer", listen(net.peer())),
            ("data", "ports", format!("\"{}-{}\"", data.start, data.end - 1)),
            ("data", "public_address", net.balancer().to_string()),
            ("tls", "certificates", format!("[{{ cert: {}, key: {} }}]", quoted(&self.pki.cert), quoted(&self.pki.key))),
            ("users", "files", format!("[{}]", quoted(&self.users))),
            ("storage", "root", quoted(&self.root)),
            ("cluster", "name", "test".to_owned()),
            ("cluster", "secret_file", quoted(&self.secret)),
            ("cluster", "advertise", listen(net.peer())),
            ("cluster", "peers", format!("[{}]", peers.join(", "))),
        ];
        keys.extend(self.setup.store.iter().map(|url| ("store", "url", format!("{url:?}"))));
        if matches!(self.setup.tell, Tell::Header { .. }) {
            keys.push(("listen", "proxy_protocol_from", format!("[\"{}/32\"]", net.balancer())));
        }
        keys.retain(|(section, key, _)| known(section, key));
        keys.extend(self.setup.keys.iter().cloned());
        Options { sections: sections(keys), through: self.setup.through.clone(), ..Options::default() }
    }
}

impl Entrance for Cluster {
    fn explicit(&self) -> SocketAddr {
        SocketAddr::from((self.balancer.ip, self.net.explicit()))
    }

    fn implicit(&self) -> SocketAddr {
        SocketAddr::from((self.balancer.ip, self.net.implicit()))
    }

    fn ca(&self) -> &Path {
        &self.pki.ca
    }

    fn host(&self) -> String {
        self.balancer.ip.to_string()
    }
}

impl Net {
    /// Addresses that nobody uses, and a balancer on the first of them.
    fn find(data_ports: u16, tell: &Tell) -> (Self, Balancer) {
        for _ in 0..100 {
            let random = u32::from_ne_bytes(random_bytes(4).try_into().expect("four bytes")).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let [a, b, high, low] = random.to_be_bytes();
            // Below the ports that the kernel gives to clients.
            let first_port = 20_000 + u16::from_be_bytes([high, low]) % 10_000;
            let net = Self { a: 16 + a % 224, b, first_port, data_ports };
            let control = [net.explicit(), net.implicit()];
            let data: Vec<u16> = net.data().collect();
            // A server of somebody else on all addresses of this machine shows itself at the balancer's.
            if [net.admin(), net.peer()].iter().any(|port| TcpListener::bind((net.balancer(), *port)).is_err()) {
                continue;
            }
            if let Ok(balancer) = Balancer::start(net.balancer(), &control, &data, tell.clone()) {
                return (net, balancer);
            }
        }
        panic!("no loopback network is free");
    }

    fn balancer(self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.a, self.b, 1)
    }

    fn node(self, number: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.a, self.b, 11 + u8::try_from(number).expect("few nodes"))
    }

    fn explicit(self) -> u16 {
        self.first_port
    }

    fn implicit(self) -> u16 {
        self.first_port + 1
    }

    fn admin(self) -> u16 {
        self.first_port + 2
    }

    fn peer(self) -> u16 {
        self.first_port + 3
    }

    fn data(self) -> Range<u16> {
        self.first_port + 10..self.first_port + 10 + self.data_ports
    }
}

/// Sections as [`Options`] have them: the kit's own, with these keys in them; of two values for one key, the later.
fn sections(keys: Vec<(&'static str, &'static str, String)>) -> BTreeMap<&'static str, String> {
    let mut all = Options::default().sections;
    let mut by_section: BTreeMap<&'static str, BTreeMap<&'static str, String>> = BTreeMap::new();
    for (section, key, value) in keys {
        by_section.entry(section).or_default().insert(key, value);
    }
    for (section, keys) in by_section {
        let mut pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        // Of these sections the cluster says every key itself, of the others only some.
        if !["node", "listen", "data", "tls", "users"].contains(&section)
            && let Some(kit) = all.get(section)
        {
            let inside = kit.trim_matches(['{', '}', ' ']);
            pairs.extend(inside.split(", ").filter(|pair| !keys.contains_key(pair.split(':').next().unwrap_or_default())).map(str::to_owned));
        }
        all.insert(section, format!("{{ {} }}", pairs.join(", ")));
    }
    all
}

/// Whether this build knows a key.
fn known(section: &str, key: &str) -> bool {
    ftps_gateway::config::keys::KEYS.iter().any(|known| known.name == format!("{section}.{key}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Peers that every node is told of, whether they run or not: a test may add nodes.
const LISTED: usize = 5;

static NEXT: AtomicU32 = AtomicU32::new(0);
