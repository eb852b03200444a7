//! Seven floods at one node with its default limits, one after the other: memory stays where it was, a client that behaves is served all the time.
//!
//! Gets: a flood from an address of its own. Gives: the node's share of memory at its highest, the replies to NOOP of somebody else, limits by name.
//! Never: a bound on time that a busy machine would break; what was measured is printed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kit::{self, Client, Node, Options, Tls, USER, Version, random_bytes};

/// What all floods together may take, in KiB.
const MOST: u64 = 10 << 10;
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const LISTED: usize = 30_000;

#[test]
fn floods_take_no_memory_and_nobodys_time() {
    kit::test(420, || {
        // The defaults, but for what a tester needs: several sessions of one user behind one address.
        let node = Node::with(Options::default().set("limits", "{ logins_per_minute_per_ip: 1000, sessions_per_user: 50 }"));
        std::fs::create_dir(node.root.join("many")).unwrap();
        (0..LISTED).for_each(|index| drop(std::fs::File::create(node.root.join(format!("many/name-{index:05}"))).unwrap()));
        warm_up(&node);
        let watch = Watch::default();
        let before = node.pss_kib();
        std::thread::scope(|scope| {
            let noops = scope.spawn(|| watch.noops(&node));
            scope.spawn(|| watch.memory(&node));
            let _stop = Stop(&watch.over);
            for (what, flood) in FLOODS {
                watch.highest.store(0, Ordering::Relaxed);
                let began = Instant::now();
                flood(&node);
                // The next one comes from the same address, whose limit those that left must not fill.
                kit::eventually(20, "those without a login have left", || node.metric("ftps_gateway_sessions", &["\"preauth\""]) == Some(0.0));
                watch.highest.fetch_max(node.pss_kib(), Ordering::Relaxed);
                let grown = watch.highest.load(Ordering::Relaxed).saturating_sub(before);
                eprintln!("{what}: {grown} KiB more at most, {:?}", began.elapsed());
                assert!(grown < MOST, "{what}: {grown} KiB more than the {before} KiB before");
            }
            watch.over.store(true, Ordering::Relaxed);
            let mut times = noops.join().unwrap();
            times.sort();
            let p99 = times[times.len() * 99 / 100];
            eprintln!("NOOP of another client: {} replies, median {:?}, p99 {p99:?}", times.len(), times[times.len() / 2]);
            assert!(times.len() > 50 && p99 < Duration::from_secs(5), "p99 {p99:?} of {}", times.len());
        });
        for limit in ["sessions_per_ip", "line"] {
            assert!(node.metric("ftps_gateway_limits_hit_total", &[&format!("\"{limit}\"")]).unwrap() >= 1.0, "{limit} is named");
        }
        assert_eq!(node.metric("ftps_gateway_panics_total", &[]), Some(0.0));
    });
}

type Flood = fn(&Node);
const FLOODS: [(&str, Flood); 6] = [
    ("400 silent connections", silent_connections),
    ("200,000 unread NOOPs", unread_noops),
    ("a line of 32 MiB", endless_line),
    ("60 wrong logins at once", wrong_logins),
    ("1,500 PASV", many_ports),
    ("12 stalled listings", stalled_listings),
];

/// Fifty of one address are held, the others sent away; nobody else is.
fn silent_connections(node: &Node) {
    let held: Vec<_> = (0..400).filter_map(|_| bare(node.explicit)).collect();
    kit::eventually(60, "the rest is refused", || node.metric("ftps_gateway_limits_hit_total", &["\"sessions_per_ip\""]).unwrap() >= 340.0);
    drop(Client::ready(node));
    drop(held);
}

fn unread_noops(node: &Node) {
    let mut client = attacker(node);
    client.socket().set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let many = b"NOOP\r\n".repeat(10_000);
    // The node stops to read when it has 16 KiB of replies; the rest is the kernel's, here and there.
    let _ = (0..20).take_while(|_| client.send(&many).is_ok()).count();
    std::thread::sleep(Duration::from_secs(3));
}

fn endless_line(node: &Node) {
    let mut client = attacker(node);
    let piece = vec![b'A'; 1 << 20];
    let _ = (0..32).take_while(|_| client.send(&piece).is_ok()).count();
    // An end of it, in a session that may be gone.
    let _ = client.send(b"\r\n");
    kit::eventually(60, "it is too long", || node.metric("ftps_gateway_limits_hit_total", &["\"line\""]).unwrap() >= 1.0);
}

fn wrong_logins(node: &Node) {
    let together = Barrier::new(45);
    std::thread::scope(|scope| {
        for number in 0..45 {
            let together = &together;
            scope.spawn(move || {
                let mut client = Client::implicit_from(node, &tls(), ATTACKER);
                together.wait();
                client.command(if number % 2 == 0 { "USER demo" } else { "USER nobody" }).is(331);
                // With a second try of some, sixty.
                for _ in 0..=usize::from(number % 3 == 0) {
                    client.command("PASS wrong").one_of(&[421, 503, 530]);
                    client.command("USER demo").one_of(&[331, 421]);
                }
            });
        }
    });
}

/// And the last one of them still works.
fn many_ports(node: &Node) {
    let mut client = attacker(node);
    for number in 0..1500 {
        let command = if number % 2 == 0 { "PASV" } else { "EPSV" };
        client.command(command).one_of(&[227, 229, 425]);
    }
    assert!(!client.get("NLST").is_empty());
    drop(Client::ready(node).get("NLST"));
}

fn stalled_listings(node: &Node) {
    let mut sessions: Vec<Client> = (0..12).map(|_| attacker(node)).collect();
    let data: Vec<_> = sessions
        .iter_mut()
        .map(|client| {
            let mut data = client.begin("LIST many");
            data.handshake().unwrap();
            data
        })
        .collect();
    // Long enough for a server that collects what it lists.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(Client::ready(node).list("NLST many").lines().count(), LISTED);
    drop((data, sessions));
}

/// What is done once in a process's life is no growth: threads, code, the first of everything.
fn warm_up(node: &Node) {
    let mut sessions: Vec<Client> = (0..12).map(|_| Client::ready(node)).collect();
    for client in &mut sessions {
        assert_eq!(client.list("LIST many").lines().count(), LISTED);
        client.put("STOR warm", &random_bytes(200_000)).is(226);
        client.command("DELE warm").is(250);
        client.command("XYZZY").is(500);
    }
}

/// What is seen of the node while it is flooded.
#[derive(Default)]
struct Watch {
    over: AtomicBool,
    highest: AtomicU64,
}

/// Ends the watch also when a flood fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Every 20 ms a NOOP; how long each took.
    fn noops(&self, node: &Node) -> Vec<Duration> {
        let (mut client, mut times) = (Client::ready(node), Vec::new());
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.command("NOOP").is(200);
            times.push(asked.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        times
    }

    fn memory(&self, node: &Node) {
        while !self.over.load(Ordering::Relaxed) {
            self.highest.fetch_max(node.pss_kib(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A session from the attacker's address.
fn attacker(node: &Node) -> Client {
    let mut client = Client::implicit_from(node, &tls(), ATTACKER);
    client.login(USER);
    client
}

/// A TCP connection from the attacker's address; `None` when it was closed at once.
fn bare(to: SocketAddr) -> Option<std::net::TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ATTACKER, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(20)).ok()?;
    Some(socket.into())
}

fn tls() -> Tls {
    Tls::new(Version::Tls13)
}
