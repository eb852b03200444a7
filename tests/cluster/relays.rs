//! What it costs that any node takes any data connection: nothing of the store, a pipe only while bytes are in it, some CPU for each byte.
//!
//! Gets: nodes behind a balancer that sends control connections to one and data connections to another. Gives: bytes by hash, counts; figures with `full`.
//! Never: a bound on time; figures are printed, for a person to judge.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::kit::{self, Client, Cluster, Data, Pick, Server, Setup, Tls, Version, have, random_bytes, same, users_file};

/// A node with neither CAP_SYS_RESOURCE nor CAP_SYS_ADMIN has the pipes of an unprivileged user (pipe(7): 16,384 pages for all its pipes).
fn unprivileged() -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    let words = ["setpriv", "--bounding-set", "-sys_resource,-sys_admin", "--inh-caps", "-sys_resource,-sys_admin"];
    have("setpriv").then(|| words.map(str::to_owned).into())
}

#[test]
fn a_thousand_relays_have_the_pipes_of_an_unprivileged_user() {
    kit::test(400, || {
        let Some(through) = unprivileged() else { return kit::skip("setpriv is not installed") };
        let names: Vec<String> = (0..USERS).map(|number| format!("u{number}")).collect();
        let users = users_file(&names.iter().map(|name| (name.as_str(), "/", "all")).collect::<Vec<_>>());
        let setup = Setup { nodes: 2, through, users, ..Setup::default() };
        let setup =
            setup.key("limits", "sessions_per_user", "2000").key("limits", "sessions_per_ip", "2000").key("limits", "logins_per_minute_per_ip", "100000");
        // The last one is read when all others are done.
        let cluster = Cluster::with(setup.key("limits", "stall_timeout", "5m"));
        cluster.settle();
        cluster.balancer.pick(Pick::Fixed { control: 0, data: 1 });
        let bytes = random_bytes(if kit::full() { 4 << 20 } else { 2 << 20 });
        std::fs::write(cluster.root.join("file"), &bytes).unwrap();
        // Each has read its first bytes; the rest waits in the nodes, for a reader that does not come yet.
        let began: Vec<(Client, Data, Vec<u8>)> = std::thread::scope(|scope| {
            let (cluster, names) = (&cluster, &names);
            let some = |worker: usize| {
                let one = move |number: usize| {
                    let mut client = Client::session_of(cluster, &Tls::new(Version::Tls13), &names[number % USERS]);
                    let mut data = client.begin("RETR file");
                    data.handshake().unwrap();
                    let first = data.read_some().unwrap();
                    (client, data, first)
                };
                scope.spawn(move || (worker..relays()).step_by(WORKERS).map(one).collect::<Vec<_>>())
            };
            let workers: Vec<_> = (0..WORKERS).map(some).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a transfer does not begin")).collect()
        });
        assert_eq!(cluster.node(1).metric("ftps_gateway_relay_active", &[]), Some(relays() as f64));
        let pipes = pipes(cluster.node(1).pid());
        // Those of the relays, and a few of the runtime's own.
        assert!(pipes <= 2 * 512 + 16, "{pipes} ends of pipes");
        for (mut client, mut data, mut got) in began {
            got.extend(data.read_to_end().unwrap());
            same(&got, &bytes, "a relayed download");
            data.finish();
            client.expect(226);
        }
        eprintln!("{} relays at once: {pipes} ends of pipes, {} KiB PSS at the end", relays(), cluster.node(1).pss_kib());
    });
}

#[test]
fn slow_uploads_through_relays_all_come_to_their_end() {
    kit::test(400, || {
        let (count, seconds) = if kit::full() { (600, 60) } else { (100, 6) };
        let names: Vec<String> = (0..USERS).map(|number| format!("u{number}")).collect();
        let users = users_file(&names.iter().map(|name| (name.as_str(), "/", "all")).collect::<Vec<_>>());
        let setup = Setup { nodes: 2, users, ..Setup::default() }.key("limits", "bandwidth_per_session", "64KiB").key("limits", "stall_timeout", "20s");
        let setup =
            setup.key("limits", "sessions_per_user", "2000").key("limits", "sessions_per_ip", "2000").key("limits", "logins_per_minute_per_ip", "100000");
        let cluster = Cluster::with(setup);
        cluster.settle();
        cluster.balancer.pick(Pick::Fixed { control: 0, data: 1 });
        let bytes = random_bytes(32 << 10);
        std::thread::scope(|scope| {
            let (cluster, names, bytes) = (&cluster, &names, &bytes);
            for number in 0..count {
                scope.spawn(move || {
                    // Not all at once: what is shown is how they end.
                    std::thread::sleep(Duration::from_millis(10 * number as u64));
                    let version = if number % 2 == 0 { Version::Tls12 } else { Version::Tls13 };
                    let mut client = Client::session_of(cluster, &Tls::new(version), &names[number % USERS]);
                    client.patience(Duration::from_secs(60));
                    let mut data = client.begin(&format!("STOR file-{number}"));
                    data.handshake().unwrap();
                    for _ in 0..2 * seconds {
                        data.write(bytes).unwrap();
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    data.finish();
                    client.expect(226);
                });
            }
        });
        let whole = bytes.repeat(2 * seconds);
        (0..count).for_each(|number| same(&std::fs::read(cluster.root.join(format!("file-{number}"))).unwrap(), &whole, "uploaded"));
    });
}

/// Ends of pipes that a process holds.
fn pipes(pid: u32) -> usize {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn a_data_connection_costs_nothing_of_the_store() {
    kit::test(200, || {
        let Some(server) = Server::redis() else { return };
        let cluster = Cluster::with(Setup { store: Some(server.url()), ..Setup::default() });
        cluster.settle();
        std::fs::write(cluster.root.join("file"), b"bytes").unwrap();
        let monitor = server.monitor();
        // What nodes do anyway, for as long as the transfers may take.
        std::thread::sleep(Duration::from_secs(8));
        let idle = keys(&monitor.lines());
        let kinds: [Kind; 3] = [
            // By ticket on any node; by ID where the session is.
            (|| Tls::new(Version::Tls12), &[0, 1, 2]),
            (|| Tls::new(Version::Tls13), &[0, 1, 2]),
            (Tls::session_ids, &[0]),
        ];
        for (number, (make, nodes)) in kinds.into_iter().enumerate() {
            cluster.balancer.pick(Pick::Fixed { control: 0, data: 0 });
            let mut client = Client::session(&cluster, &make());
            std::thread::sleep(Duration::from_secs(1));
            let before = monitor.lines().len();
            for node in nodes {
                cluster.balancer.pick(Pick::Fixed { control: 0, data: *node });
                (0..20).for_each(|_| same(&client.get("RETR file"), b"bytes", "down"));
            }
            let asked: Vec<String> = keys(&monitor.lines().split_off(before)).difference(&idle).cloned().collect();
            assert!(asked.is_empty(), "kind {number}: {asked:?}");
        }
    });
}

/// Command and key of what clients of a Redis said, without the ids of nodes and times in values.
fn keys(lines: &[String]) -> BTreeSet<String> {
    lines.iter().map(|line| line.split('"').skip(1).step_by(2).take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn direct_and_relayed_bring_the_same_bytes() {
    kit::test(600, || {
        let (size, times): (u64, u32) = if kit::full() { (1 << 30, 200) } else { (32 << 20, 10) };
        let cluster = Cluster::with(Setup { nodes: 2, ..Setup::default() });
        cluster.settle();
        std::fs::write(cluster.root.join("small"), random_bytes(100)).unwrap();
        let large = std::fs::File::create(cluster.root.join("large")).unwrap();
        large.set_len(size).unwrap();
        for (way, data) in [("direct", 0), ("relayed", 1)] {
            cluster.balancer.pick(Pick::Fixed { control: 0, data });
            let mut client = Client::session(&cluster, &Tls::new(Version::Tls13));
            let mut first: Vec<Duration> = (0..times).map(|_| first_byte(&mut client)).collect();
            first.sort_unstable();
            let cpu = || [0, 1].map(|number| cluster.node(number).cpu_ms());
            let before = cpu();
            let mut connection = client.begin("RETR large");
            connection.handshake().unwrap();
            let mut got = 0;
            while got < size {
                let piece = connection.read_some().unwrap();
                assert!(!piece.is_empty() && piece.iter().all(|byte| *byte == 0), "{way}: {got} bytes");
                got += piece.len() as u64;
            }
            connection.finish();
            client.expect(226);
            let (after, gib) = (cpu(), size as f64 / f64::from(1 << 30));
            let used = |number: usize| (after[number] - before[number]) as f64 / 1000.0 / gib;
            let at = |share: usize| first[(first.len() * share / 100).min(first.len() - 1)];
            eprintln!(
                "{way}: first byte of a download {:?} (median), {:?} (p99); {:.2} CPU s/GiB of the owner, {:.2} of the other node",
                at(50),
                at(99),
                used(0),
                used(1)
            );
        }
        assert!(cluster.node(1).metric("ftps_gateway_data_connections_total", &["outcome=\"relayed\""]) >= Some(f64::from(times)));
    });
}

/// From the connection to the first byte of the file.
fn first_byte(client: &mut Client) -> Duration {
    let (to, tls) = (client.epsv(), client.sibling());
    let began = Instant::now();
    let mut connection = Data::connect(to, &tls);
    client.line("RETR small");
    connection.handshake().unwrap();
    assert!(!connection.read_some().unwrap().is_empty());
    let took = began.elapsed();
    connection.finish();
    client.expect(150);
    client.expect(226);
    took
}

/// How a client resumes, and on which nodes that costs nothing.
type Kind = (fn() -> Tls, &'static [usize]);

const USERS: usize = 50;
const WORKERS: usize = 8;

fn relays() -> usize {
    if kit::full() { 1000 } else { 300 }
}
