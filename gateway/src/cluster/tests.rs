//! Nodes in one process over real sockets: calls, strangers, goodbyes, secrets that rotate.
//!
//! Gets: ports of the kernel's choice. Gives: what a member answers and what a stranger gets.
//! Never: a claim about processes; `tests/cluster` has those.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::listener::bind;
use crate::observe::Sink;

const LONG: Duration = Duration::from_secs(30);
const OLD: &[u8] = &[1; 32];
const NEW: &[u8] = &[2; 32];

/// Counts what is refused at the peer port.
#[derive(Default)]
struct Refusals(Mutex<Vec<&'static str>>);

impl Sink for Refusals {
    fn event(&self, _: Subject<'_>, event: &Event<'_>) {
        if let Event::Peer(PeerEvent::Refused { reason }) = event {
            self.0.lock().unwrap().push(crate::observe::Label::label(*reason));
        }
    }
}

struct Node {
    cluster: Cluster,
    refusals: Arc<Refusals>,
    stop: CancellationToken,
    slow: Arc<AtomicUsize>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn secrets(lines: &[&[u8]]) -> Secrets {
    Secrets::new(lines).unwrap()
}

/// A node on a port of its own that knows these peers.
fn node(name: &str, lines: &[&[u8]], peers: &[SocketAddr]) -> Node {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 64).unwrap();
    let address = listener.local_addr().unwrap();
    let refusals = Arc::new(Refusals::default());
    // Starts of one millisecond have no order.
    std::thread::sleep(Duration::from_millis(2));
    let identity = Identity { name: name.to_owned(), incarnation: Incarnation::now() };
    let config = Config { name: "test".to_owned(), secret_file: None, listen: address, advertise: None, peers: peers.iter().copied().map(Peer::At).collect() };
    let cluster = Cluster::new(identity, &config, &secrets(lines), address, None, Observer::new(vec![refusals.clone()])).unwrap();
    let (stop, slow, mut handlers) = (CancellationToken::new(), Arc::<AtomicUsize>::default(), Handlers::default());
    handlers.on("echo", 100_000, async |_, body| Ok(body));
    handlers.on("who", 0, async |caller: Caller, _| Ok(caller.name.into_bytes()));
    let begun = slow.clone();
    handlers.on("never", 0, move |_, _| {
        begun.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    });
    handlers.on_data(async |mut link: DataLink| {
        drop(link.stranger);
        let mut word = [0; 4];
        link.stream.read_exact(&mut word).await.unwrap();
        link.stream.write_all(&word).await.unwrap();
    });
    tokio::spawn(cluster.clone().run(listener, handlers, stop.clone()));
    Node { cluster, refusals, stop, slow }
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.cluster.me().address
    }

    async fn sees(&self, count: usize) {
        let mut watch = self.cluster.watch();
        tokio::time::timeout(LONG, watch.wait_for(|members| members.len() == count)).await.expect("in time").unwrap();
    }

    /// The member of that name.
    fn member(&self, name: &str) -> Member {
        self.cluster.members().iter().find(|member| member.name == name).unwrap().clone()
    }

    async fn refused(&self, reason: &str) {
        let told = async {
            while !self.refusals.0.lock().unwrap().contains(&reason) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("no {reason} in {:?}", self.refusals.0.lock().unwrap()));
    }
}

#[tokio::test]
async fn one_common_peer_is_enough_for_all_to_know_each_other() {
    let a = node("a", &[OLD], &[]);
    let (b, c) = (node("b", &[OLD], &[a.address()]), node("c", &[OLD], &[a.address()]));
    for node in [&a, &b, &c] {
        node.sees(3).await;
    }
    assert_eq!(a.cluster.members()[0].name, a.cluster.me().name, "the oldest start leads");
    assert!(a.cluster.leads() && !c.cluster.leads());
    // Who says goodbye is forgotten at once, by all.
    c.cluster.leave().await;
    c.stop.cancel();
    a.sees(2).await;
    b.sees(2).await;
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_all_answered() {
    let a = node("a", &[OLD], &[]);
    let b = node("b", &[OLD], &[a.address()]);
    b.sees(2).await;
    let to = b.member("a");
    assert_eq!(b.cluster.ask(&to, "who", Vec::new(), LONG).await.unwrap(), b"b");
    let mut calls = JoinSet::new();
    for number in 0..100_u32 {
        let (cluster, to) = (b.cluster.clone(), to.clone());
        calls.spawn(async move { (number, cluster.ask(&to, "echo", number.to_be_bytes().repeat(1000), LONG).await.unwrap()) });
    }
    for (number, answer) in calls.join_all().await {
        assert!(answer == number.to_be_bytes().repeat(1000));
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_by_kind_and_by_its_deadline() {
    let a = node("a", &[OLD], &[]);
    let b = node("b", &[OLD], &[a.address()]);
    b.sees(2).await;
    let to = b.member("a");
    let ask = |path: &'static str, body: Vec<u8>, within| b.cluster.ask(&to, path, body, within);
    assert!(matches!(ask("nothing", Vec::new(), LONG).await, Err(AskError::Refused(Refused::NotFound))));
    assert!(matches!(ask("echo", vec![0; 100_001], LONG).await, Err(AskError::Refused(Refused::TooLong))));
    assert!(matches!(ask("never", Vec::new(), Duration::from_millis(300)).await, Err(AskError::Silent)));
    assert_eq!(a.slow.load(Ordering::Relaxed), 1);
    let gone = Member { incarnation: Incarnation::now(), ..to.clone() };
    assert!(matches!(b.cluster.ask(&gone, "echo", Vec::new(), LONG).await, Err(AskError::Elsewhere)));
    let closed = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().local_addr().unwrap();
    let nobody = Member { address: closed, ..to.clone() };
    assert!(matches!(b.cluster.ask(&nobody, "echo", Vec::new(), LONG).await, Err(AskError::Unreachable(_))));
    // All are asked, and the silent ones are named.
    let answers = b.cluster.ask_all("never", Vec::new(), Duration::from_millis(200)).await;
    assert!(matches!(answers.as_slice(), [(member, Err(AskError::Silent))] if member.name == to.name));
}

#[tokio::test]
async fn a_secret_is_changed_node_by_node_while_all_stay_members() {
    let a = node("a", &[OLD], &[]);
    let b = node("b", &[OLD], &[a.address()]);
    b.sees(2).await;
    let both: &[&[u8]] = &[NEW, OLD];
    a.cluster.set_secrets(&secrets(both)).unwrap();
    assert_eq!(a.cluster.sealing_line(), 1, "b does not hold the new one yet");
    assert_eq!(a.cluster.ask(&a.member("b"), "echo", vec![7], LONG).await.unwrap(), [7], "the older line is tried next");
    b.cluster.set_secrets(&secrets(both)).unwrap();
    let mut watch = a.cluster.watch();
    tokio::time::timeout(LONG, watch.wait_for(|members| members.iter().all(|member| member.lines.len() == 2))).await.unwrap().unwrap();
    assert_eq!(a.cluster.sealing_line(), 0);
    // The old line goes; whoever has it alone is a stranger.
    a.cluster.set_secrets(&secrets(&[NEW])).unwrap();
    let late = node("late", &[OLD], &[a.address()]);
    a.refused("no_common_secret").await;
    assert_eq!(late.cluster.members().len(), 1);
    assert!(matches!(late.cluster.ask(&a.cluster.me(), "echo", vec![], LONG).await, Err(AskError::NoCommonSecret)));
}

#[tokio::test]
async fn strangers_get_nothing_and_are_counted() {
    let a = node("a", &[OLD], &[]);
    let say = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("closed");
        answer
    };
    assert!(say(b"POST /peer/v1/echo HTTP/1.1\r\nHost: x\r\n\r\n").await.is_empty());
    a.refused("first_byte").await;
    let answer = say(b"CPOST /peer/v1/echo HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    a.refused("not_tls").await;
    // One that says nothing, and one that stops in the middle of its hello.
    assert!(say(b"").await.is_empty());
    assert!(say(b"C\x16\x03\x01\x02\x00\x01").await.is_empty());
    a.refused("timeout").await;
    drop(TcpStream::connect(a.address()).await.unwrap());
    a.refused("closed").await;
    assert_eq!(a.cluster.members().len(), 1);
}

#[tokio::test]
async fn a_data_connection_goes_to_its_handler() {
    let a = node("a", &[OLD], &[]);
    let b = node("b", &[OLD], &[a.address()]);
    b.sees(2).await;
    let mut stream = b.cluster.connect_data(&b.member("a"), LONG).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    tokio::time::timeout(LONG, stream.read_exact(&mut word)).await.unwrap().unwrap();
    assert_eq!(&word, b"ping");
}

#[tokio::test]
async fn a_cluster_of_one_asks_nobody() {
    let identity = Identity { name: "a".to_owned(), incarnation: Incarnation::now() };
    let alone = Cluster::alone(identity, Observer::new(Vec::new()));
    assert_eq!((alone.members().len(), alone.leads(), alone.sealing_line()), (1, true, 0));
    assert!(alone.ask_all("echo", Vec::new(), LONG).await.is_empty());
    assert!(matches!(alone.ask(&alone.me(), "echo", Vec::new(), LONG).await, Err(AskError::NoCommonSecret)));
}
