//! Programs whose transfers take a while, and what happens to the cluster meanwhile: keys change, the store goes, a home dies, nodes come and go.
//!
//! Gets: nodes that hold each session to some speed, behind a random balancer. Gives: every file, by hash, and no transfer that was cut.
//! Never: a second try; a program that fails has failed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::split::home_of;
use crate::kit::{self, Client, Cluster, Server, Setup, Tls, Tree, Version, contents, parallel};
use crate::need;

type Program = fn(&Cluster, &Tree, Version, usize);

/// Each session moves this many bytes a second.
const SPEED: u64 = 40_000;
const SIZE: u64 = 60_000;

fn slow(setup: Setup) -> Cluster {
    let cluster = Cluster::with(setup.key("limits", "bandwidth_per_session", &format!("{SPEED}B")));
    cluster.settle();
    cluster
}

/// Files for eight sessions over that many seconds, in each direction.
fn tree(seconds: u64) -> (Tree, usize) {
    let count = 8 * seconds * SPEED / SIZE;
    let local = Tree::new();
    (0..count).for_each(|index| drop(local.write_random(&format!("up/{index}.bin"), SIZE)));
    std::fs::create_dir(local.join("down")).unwrap();
    (local, usize::try_from(count).unwrap())
}

fn compare(cluster: &Cluster, local: &Tree, what: &str) {
    assert_eq!(contents(&local.join("up")), contents(&cluster.root), "uploaded, {what}");
    assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {what}");
}

/// Runs the program, and `meanwhile` beside it.
fn during(cluster: &Cluster, program: Program, version: Version, seconds: u64, meanwhile: impl FnOnce() + Send) {
    let (local, count) = tree(seconds);
    std::thread::scope(|scope| {
        scope.spawn(meanwhile);
        program(cluster, &local, version, count);
    });
    compare(cluster, &local, &format!("{version:?}"));
}

#[test]
fn ticket_keys_change_every_five_seconds_under_curl() {
    need!("curl");
    kit::test(300, || keys_change(parallel::curl));
}

#[test]
fn ticket_keys_change_every_five_seconds_under_rclone() {
    need!("rclone");
    kit::test(300, || keys_change(parallel::rclone));
}

fn keys_change(program: Program) {
    let Some(server) = Server::redis() else { return };
    let setup = Setup { store: Some(server.url()), ..Setup::default() };
    let cluster = slow(setup.key("tls", "session_lifetime", "10s").key("tls", "ticket_rotation", "5s"));
    // Up and down together are twice that.
    during(&cluster, program, Version::Tls13, if kit::full() { 30 } else { 8 }, || {});
}

#[test]
fn a_store_that_freezes_and_dies_stops_no_transfer() {
    need!("curl");
    kit::test(300, || {
        for version in [Version::Tls12, Version::Tls13] {
            let Some(mut server) = Server::redis() else { return };
            let cluster = slow(Setup { store: Some(server.url()), ..Setup::default() });
            during(&cluster, parallel::curl, version, 5, || {
                std::thread::sleep(Duration::from_secs(2));
                server.freeze();
                std::thread::sleep(Duration::from_secs(4));
                server.kill();
            });
        }
    });
}

#[test]
fn a_home_that_dies_or_freezes_stops_no_transfer() {
    need!("curl");
    kit::test(300, || {
        for freeze in [false, true] {
            let mut cluster = slow(Setup { nodes: 4, ..Setup::default() });
            let home = home_of(&cluster, kit::USER);
            // It carries nothing; all it has is what it knows.
            cluster.balancer.set_used(home, false);
            let (local, count) = tree(6);
            std::thread::scope(|scope| {
                let cluster = &cluster;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_secs(3));
                    let signal = if freeze { rustix::process::Signal::STOP } else { rustix::process::Signal::KILL };
                    cluster.node(home).signal(signal);
                });
                parallel::curl(cluster, &local, Version::Tls13, count);
            });
            compare(&cluster, &local, if freeze { "frozen" } else { "killed" });
            if freeze {
                cluster.node(home).signal(rustix::process::Signal::CONT);
            }
            cluster.kill(home);
        }
    });
}

// long: one story, in the order in which it happens.
#[test]
fn scaling_and_a_rolling_restart_interrupt_nothing() {
    kit::test(if kit::full() { 1500 } else { 600 }, || {
        let Some(server) = Server::redis() else { return };
        let (sessions, seconds) = if kit::full() { (1000, 60) } else { (48, 24) };
        let names: Vec<String> = (0..USERS).map(user).collect();
        let users = kit::users_file(&names.iter().map(|name| (name.as_str(), "/", "all")).collect::<Vec<_>>());
        let setup = Setup { nodes: 3, store: Some(server.url()), users, ..Setup::default() };
        let setup = setup.key("limits", "bandwidth_per_session", "64KiB").key("limits", "sessions_per_user", "2000").key("limits", "sessions_per_ip", "2000");
        let mut cluster = Cluster::with(
            setup.key("limits", "logins_per_minute_per_ip", "100000").key("drain", "delay", "1s").key("drain", "idle", "3s").key("drain", "timeout", "300s"),
        );
        cluster.settle();
        let size = 65_536 * seconds;
        let (bytes, door) = (kit::random_bytes(usize::try_from(size).unwrap()), Door::of(&cluster));
        std::fs::write(cluster.root.join("long.bin"), &bytes).unwrap();
        let (began, moving, told) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let (door, bytes) = (&door, &bytes);
            let (moving, told) = (&moving, &told);
            let wave = |from: usize| {
                let mut all = Vec::new();
                for number in from..from + sessions {
                    all.push(scope.spawn(move || one_long_transfer(door, number, bytes, moving)));
                    // Not all at once: what is shown here is how they end.
                    kit::eventually(120, "transfers begin", || moving.load(Ordering::Relaxed) + AT_ONCE > number);
                }
                // Bytes move in each of them before anything changes.
                kit::eventually(120, "all transfers run", || moving.load(Ordering::Relaxed) >= from + sessions);
                all
            };
            let mut all = wave(0);
            let batches: Vec<_> = (0..if kit::full() { 50 } else { 8 }).map(|number| scope.spawn(move || batch(door, number, told))).collect();
            cluster.add();
            cluster.add();
            cluster.settle();
            for number in [0, 1, 2] {
                cluster.drain(number);
            }
            for number in [0, 1, 2] {
                // A draining node says what it waits for.
                cluster.node(number).logged(&["\"draining\"", "\"bytes_left\":", "\"estimate_seconds\":"]);
            }
            let relayed = |cluster: &Cluster| cluster.metric("ftps_gateway_data_connections_total", &["outcome=\"relayed\""]);
            kit::eventually(120, "data connections are brought to draining nodes", || relayed(&cluster) > 0.0);
            for number in [0, 1, 2] {
                assert_eq!(cluster.gone(number, 320), Some(0), "node {number}");
            }
            // A rolling restart of those that are left.
            all.extend(wave(sessions));
            for number in [3, 4] {
                cluster.drain(number);
                assert_eq!(cluster.gone(number, 320), Some(0), "node {number}");
                cluster.restart(number);
            }
            let after = began.elapsed();
            all.into_iter().for_each(|one| one.join().expect("a transfer was interrupted"));
            let files: usize = batches.into_iter().map(|one| one.join().expect("a batch was interrupted")).sum();
            let told = told.load(Ordering::Relaxed);
            assert!(told > 0, "no batch was told to go elsewhere: the test shows nothing");
            eprintln!("twice {sessions} transfers of {seconds} s, {files} files in batches that met 421 {told} times; the nodes were changed within {after:?}");
        });
    });
}

/// Where the cluster is entered, while its nodes change.
struct Door {
    explicit: std::net::SocketAddr,
    implicit: std::net::SocketAddr,
    ca: std::path::PathBuf,
    host: String,
}

impl Door {
    fn of(cluster: &Cluster) -> Self {
        use kit::Entrance;
        Self { explicit: cluster.explicit(), implicit: cluster.implicit(), ca: cluster.ca().to_owned(), host: cluster.host() }
    }
}

impl kit::Entrance for Door {
    fn explicit(&self) -> std::net::SocketAddr {
        self.explicit
    }

    fn implicit(&self) -> std::net::SocketAddr {
        self.implicit
    }

    fn ca(&self) -> &std::path::Path {
        &self.ca
    }

    fn host(&self) -> String {
        self.host.clone()
    }
}

fn one_long_transfer(door: &Door, number: usize, bytes: &[u8], moving: &AtomicUsize) {
    let version = if number.is_multiple_of(2) { Version::Tls13 } else { Version::Tls12 };
    let mut client = Client::session_of(door, &Tls::new(version), &user(number));
    client.patience(Duration::from_secs(90));
    if number.is_multiple_of(3) {
        let mut data = client.begin(&format!("STOR up-{number}.bin"));
        data.handshake().unwrap();
        moving.fetch_add(1, Ordering::Relaxed);
        for piece in bytes.chunks(32_768) {
            data.write(piece).unwrap();
            // A little slower than it may be: what waits in the kernel's buffers of a thousand uploads would fill the memory it has for TCP.
            std::thread::sleep(Duration::from_millis(550));
        }
        data.finish();
        client.expect(226);
    } else {
        let mut data = client.begin("RETR long.bin");
        data.patience(Duration::from_secs(90));
        data.handshake().unwrap();
        moving.fetch_add(1, Ordering::Relaxed);
        kit::same(&data.read_to_end().unwrap(), bytes, "a long download");
        data.finish();
        client.expect(226);
    }
}

/// Twenty files in one session; one that is told 421 between two files goes on in a new one, as every client does. Gives the files.
fn batch(door: &Door, number: usize, told: &AtomicUsize) -> usize {
    let tls = Tls::new(Version::Tls13);
    let session = || {
        let mut client = Client::session_of(door, &tls, &user(number));
        client.patience(Duration::from_secs(90));
        client
    };
    let (count, mut client) = (if kit::full() { 40 } else { 20 }, session());
    for index in 0..count {
        let (name, bytes) = (format!("batch-{number}-{index}.bin"), kit::random_bytes(30_000));
        while client.command("NOOP").code == 421 {
            told.fetch_add(1, Ordering::Relaxed);
            client = session();
        }
        client.put(&format!("STOR {name}"), &bytes).is(226);
        kit::same(&client.get(&format!("RETR {name}")), &bytes, &name);
        // Now and then for longer than drain.idle.
        std::thread::sleep(Duration::from_millis(if index % 4 == 3 { 4_000 } else { 200 }));
    }
    count
}

/// Users of the long transfers: one client has its data ports only, and a thousand that wait at once need more.
const USERS: usize = 50;
/// Transfers that begin at the same time.
const AT_ONCE: usize = 16;

fn user(number: usize) -> String {
    format!("user{}", number % USERS)
}
