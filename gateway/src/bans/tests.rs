//! Three nodes in one process over real peer links: what administrators do, and how far it has come.
//!
//! Gets: ports of the kernel's choice, directories of their own. Gives: answers of the functions behind the API, and what each node then says of a client.
//! Never: a claim about processes; `tests/cluster` has those.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use ftps_store::location::Location;
use ftps_store::report::{Silent, Tier};
use ftps_store::seal::Secrets;
use ftps_store::store::{Options, Store, TlsFiles};
use ftps_store::tiers::Tiers;
use ftps_store::vault::Crypto;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::{self, Handlers, Peer};
use crate::net::listener::bind;
use crate::observe::id::{BanId, SessionId};

const WAIT: Duration = Duration::from_secs(10);

struct Node {
    bans: Bans,
    cluster: Cluster,
    live: Live,
    stop: CancellationToken,
    directory: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn node(name: &str, peers: &[SocketAddr]) -> Node {
    let secrets = Secrets::new(&[&[1; 32]]).unwrap();
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 64).unwrap();
    let address = listener.local_addr().unwrap();
    let identity = cluster::Identity { name: name.to_owned(), incarnation: Incarnation::now() };
    let peers = peers.iter().copied().map(Peer::At).collect();
    let config = cluster::Config { name: "test".to_owned(), secret_file: None, listen: address, advertise: None, peers };
    let observer = Observer::new(vec![]);
    let cluster = Cluster::new(identity, &config, &secrets, address, None, observer.clone()).unwrap();
    let directory = std::env::temp_dir().join(format!("ftps-gateway-bans-{name}-{}-{}", std::process::id(), address.port()));
    let crypto = Crypto::new("test", &secrets).unwrap();
    let options = Options { timeout: WAIT, state_dir: directory.clone(), tls: TlsFiles::default(), report: Arc::new(Silent), tier: Tier::Main };
    let store = Store::open(&Location::parse("memory:").unwrap(), &options).unwrap();
    let vault = Vault::new(Arc::new(Tiers::new(store, None, Arc::new(Silent))), crypto.clone(), Arc::new(Silent));
    let (rules, live, stop, mut handlers) = (Rules::default(), Live::default(), CancellationToken::new(), Handlers::default());
    let config = Config {
        rules: Vec::new(),
        never_networks: vec!["192.0.2.0/24".parse().unwrap()],
        never_users: vec!["backup".to_owned()],
        classes: vec![("partners".to_owned(), vec!["198.51.100.0/24".parse().unwrap()])],
        message: "No %a".to_owned(),
        implicit_reply: false,
        max_automatic: 100,
    };
    let parts = Parts {
        config: &config,
        balancers: &["10.0.0.0/8".parse().unwrap()],
        classes: &["staff".to_owned()],
        directory: &directory,
        name,
        keys: Arc::new(move || crypto.keyring()),
        rules,
        live: live.clone(),
        cluster: cluster.clone(),
        vault,
        observer,
        hidden: Box::new(|_| false),
    };
    let bans = Bans::open(parts).unwrap();
    bans.answer(&mut handlers);
    tokio::spawn(cluster.clone().run(listener, handlers, stop.clone()));
    let (running, until) = (bans.clone(), stop.clone());
    tokio::spawn(async move { until.run_until_cancelled(running.run()).await });
    Node { bans, cluster, live, stop, directory }
}

async fn three() -> [Node; 3] {
    let a = node("a", &[]);
    let (b, c) = (node("b", &[a.cluster.me().address]), node("c", &[a.cluster.me().address]));
    for one in [&a, &b, &c] {
        let mut members = one.cluster.watch();
        tokio::time::timeout(WAIT, members.wait_for(|members| members.len() == 3)).await.unwrap().unwrap();
    }
    [a, b, c]
}

fn request(kind: &str, text: &str, duration: &str) -> Request {
    Request { target: BTreeMap::from([(kind.to_owned(), text.to_owned())]), duration: Some(duration.to_owned()), ..Request::default() }
}

fn is_banned(node: &Node, ip: &str) -> bool {
    node.bans.of_address(ip.parse().unwrap()).is_some()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_and_its_removal_hold_on_all_nodes_and_the_answer_says_so() {
    let nodes = three().await;
    let [a, b, c] = &nodes;
    let (_membership, _inbox) = b.live.join(SessionId::now(), "203.0.113.7:4711".parse().unwrap());
    let dry = a.bans.add(&Request { dry_run: true, ..request("ip", "203.0.113.7", "1h") }, "ops", WAIT).await.unwrap();
    assert!(dry.dry_run && nodes.iter().all(|node| !is_banned(node, "203.0.113.7")));
    let added = a.bans.add(&request("ip", "203.0.113.7", "1h"), "ops", WAIT).await.unwrap();
    let all = Propagation { acknowledged: 3, nodes: 3, silent: vec![], state: Spread::Everywhere, unwritten: vec![], stored: None };
    assert_eq!((&added.propagation, added.sessions_ended), (&all, 1));
    assert!(nodes.iter().all(|node| is_banned(node, "203.0.113.7") && !is_banned(node, "203.0.113.8")));
    assert_eq!(b.bans.of_address("203.0.113.7".parse().unwrap()).unwrap().words.as_str(), "No 203.0.113.7");
    let id = BanId::parse(&added.ban.id).unwrap();
    let replayed = Change::Ban(read(&c.bans.0.book).find(id).unwrap().clone());
    let removed = b.bans.remove(id, "ops", WAIT).await.unwrap();
    assert_eq!((removed.removed.len(), &removed.propagation), (1, &all));
    assert!(nodes.iter().all(|node| !is_banned(node, "203.0.113.7")));
    assert!(b.bans.remove(id, "ops", WAIT).await.is_none());
    // Told again by somebody who has not heard of its removal.
    assert_eq!(c.bans.arrived(vec![replayed]), 0);
    assert!(!is_banned(c, "203.0.113.7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_named_and_a_new_one_learns_before_it_serves() {
    let [a, b, c] = three().await;
    c.stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let added = a.bans.add(&request("cidr", "203.0.113.0/24", "permanent"), "ops", Duration::from_millis(800)).await.unwrap();
    let Propagation { acknowledged, nodes, silent, state, .. } = added.propagation;
    assert_eq!((acknowledged, nodes, silent.as_slice(), state), (2, 3, ["c".to_owned()].as_slice(), Spread::Pending));
    assert!(is_banned(&b, "203.0.113.9") && !is_banned(&c, "203.0.113.9"));
    let d = node("d", &[a.cluster.me().address]);
    d.bans.fill(WAIT).await;
    assert!(is_banned(&d, "203.0.113.9"));
    // What one of them lost it finds again by comparing.
    let forgotten = d.bans.list(&Filter { limit: 1, ..Filter::default() }).bans.remove(0);
    let place = BanId::parse(&forgotten.id).unwrap();
    *d.bans.0.book() = Book::new(100);
    assert!(d.bans.get(place).is_none());
    eventually("the book is whole again", || is_banned(&d, "203.0.113.9")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_banned_is_refused_with_its_reason() {
    let one = node("one", &[]);
    let words = |request: Request| {
        let bans = one.bans.clone();
        async move { bans.add(&request, "ops", WAIT).await.map(|added| added.ban.id).unwrap_err().to_string() }
    };
    for (request, part) in [
        (request("cidr", "203.0.113.7/24", "1h"), "without bits behind the prefix"),
        (request("cidr", "0.0.0.0/0", "1h"), "needs \"force\": true"),
        (request("cidr", "::/0", "1h"), "needs \"force\": true"),
        (request("class", "friends", "1h"), "there is no class \"friends\""),
        (request("ip", "203.0.113.7", "-1h"), "duration has to be"),
        (request("ip", "203.0.113.7", "0s"), "duration has to be"),
        (Request { duration: None, ..request("ip", "203.0.113.7", "") }, "duration has to be"),
        (Request { target: BTreeMap::new(), ..request("ip", "", "1h") }, "exactly one of"),
        (request("ip", "127.0.0.1", "1h"), "is never banned"),
        (request("ip", "10.1.2.3", "1h"), "is never banned"),
        (request("ip", "192.0.2.9", "1h"), "is never banned"),
        (request("user", "backup", "1h"), "is never banned"),
    ] {
        let said = words(request.clone()).await;
        assert!(said.contains(part), "{request:?}: {said}");
    }
    let forced = Request { force: true, ..request("cidr", "0.0.0.0/0", "1h") };
    one.bans.add(&forced, "ops", WAIT).await.unwrap();
    assert!(is_banned(&one, "203.0.113.7"));
    for spared in ["127.0.0.1", "10.1.2.3", "192.0.2.9"] {
        assert!(!is_banned(&one, spared), "{spared}");
    }
    one.bans.add(&request("class", "partners", "1h"), "ops", WAIT).await.unwrap();
    one.bans.add(&request("class", "staff", "1h"), "ops", WAIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_paged_and_an_export_can_be_imported() {
    let one = node("one", &[]);
    for number in 0..7 {
        one.bans.add(&request("ip", &format!("203.0.113.{number}"), "1h"), "ops", WAIT).await.unwrap();
        // Ids of one millisecond have no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    one.bans.add(&request("user", "alice", "permanent"), "eve", WAIT).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = one.bans.list(&Filter { after, limit: 3, ..Filter::default() });
        assert_eq!(page.total, 8);
        seen.extend(page.bans.into_iter().map(|ban| ban.target.into_values().next().unwrap()));
        let Some(next) = page.next else { break };
        after = BanId::parse(&next);
    }
    assert_eq!((seen.len(), seen[0].as_str(), seen[7].as_str()), (8, "203.0.113.0", "alice"));
    let by = |filter: Filter| one.bans.list(&Filter { limit: 100, ..filter }).bans.len();
    assert_eq!(by(Filter { text: Some("eve".into()), ..Filter::default() }), 1);
    assert_eq!(by(Filter { ip: "203.0.113.3".parse().ok(), ..Filter::default() }), 1);
    let who = Who { user: Some("alice"), ..Who::default() };
    assert_eq!(one.bans.check(&who).unwrap().author, "eve");
    let lines: String = one.bans.export().collect();
    let other = node("other", &[]);
    let imported = other.bans.import(&lines, false, "ops", WAIT).await;
    assert_eq!((imported.imported, imported.skipped, imported.errors.len()), (8, 0, 0));
    assert!(is_banned(&other, "203.0.113.3") && other.bans.check(&who).is_some());
    let again = other.bans.import(&lines, false, "ops", WAIT).await;
    assert_eq!((again.imported, again.skipped), (0, 8));
    let wrong = other.bans.import("{\"target\":{\"ip\":\"203.0.113.200\"},\"duration\":\"1h\"}\nnonsense\n", false, "ops", WAIT).await;
    assert_eq!((wrong.imported, wrong.errors.keys().copied().collect::<Vec<_>>()), (0, vec![2]));
    assert!(!is_banned(&other, "203.0.113.200"), "all or nothing");
    let all = other.bans.remove_where(&Filter::default(), "ops", WAIT).await;
    assert_eq!((all.removed.len(), other.bans.list(&Filter { limit: 9, ..Filter::default() }).total), (8, 0));
}
