//! A home that is silent to some nodes and not to others: at no time do two homes give one port to two sessions.
//!
//! Gets: four nodes, one data port, two sessions of one client (or of one address) on two of them. Gives: each connection at the session it was made for.
//! Never: hurries: a node that freezes may cost a wait of some seconds, and no transfer.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::kit::{self, Client, Cluster, Data, Pick, Setup, Tls, Tree, Version, contents, parallel};
use crate::need;

/// What both sessions have in common, and so which home keeps them off one port.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Common {
    Client,
    Address,
}

#[test]
fn a_port_that_a_frozen_home_gave_to_one_session_is_given_to_no_sibling() {
    kit::test(180, || frozen(Common::Client));
}

#[test]
fn a_port_that_a_frozen_home_leased_to_one_session_is_leased_to_no_other() {
    kit::test(180, || frozen(Common::Address));
}

#[test]
fn a_home_that_answers_too_late_keeps_no_port() {
    kit::test(180, || {
        let cluster = Cluster::with(Setup { nodes: 4, ports: 1, ..Setup::default() }.key("data", "tls_reuse", "off"));
        cluster.settle();
        let home = home_of(&cluster, &of_address(&cluster));
        let others: Vec<usize> = (0..4).filter(|number| *number != home).collect();
        let mut sessions = [0, 1].map(|place| {
            cluster.balancer.pick(Pick::Fixed { control: others[place], data: others[2] });
            Client::session(&cluster, &Tls::new(Version::Tls13))
        });
        for round in 0..3 {
            cluster.freeze(home);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(600));
                    cluster.thaw(home);
                });
                // It hears of this wish when the wish is granted elsewhere.
                sessions[0].patience(Duration::from_secs(20));
                let to = sessions[0].epsv();
                carry(&mut sessions[0], to, &Tls::new(Version::Tls13), Common::Address, "first");
            });
            sessions[1].patience(Duration::from_secs(20));
            let began = Instant::now();
            let to = sessions[1].epsv();
            assert!(began.elapsed() < Duration::from_secs(8), "round {round}: {:?}", began.elapsed());
            carry(&mut sessions[1], to, &Tls::new(Version::Tls13), Common::Address, "second");
        }
    });
}

#[test]
fn nodes_that_stand_still_for_half_a_second_now_and_then_stop_no_transfer() {
    need!("lftp");
    kit::test(300, || {
        for ports in [1, 8] {
            let cluster = Cluster::with(Setup { ports, ..Setup::default() }.key("limits", "bandwidth_per_session", "40000B"));
            cluster.settle();
            let local = Tree::new();
            (0..FILES).for_each(|index| drop(local.write_random(&format!("up/{index}.bin"), 60_000)));
            std::fs::create_dir(local.join("down")).unwrap();
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Silent for longer than a home may be, each in turn, and back before anybody thinks that it is gone.
                    for number in (0..3).cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                        cluster.freeze(number);
                        std::thread::sleep(Duration::from_millis(500));
                        cluster.thaw(number);
                        std::thread::sleep(Duration::from_millis(700));
                    }
                });
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| parallel::lftp(&cluster, &local, Version::Tls13, FILES)));
                over.store(true, Ordering::Relaxed);
                ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
            });
            assert_eq!(contents(&local.join("up")), contents(&cluster.root), "uploaded, {ports} ports");
            assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {ports} ports");
        }
    });
}

const FILES: usize = 24;

fn frozen(common: Common) {
    let policy = if common == Common::Client { "require" } else { "off" };
    let cluster = Cluster::with(Setup { nodes: 4, ports: 1, ..Setup::default() }.key("data", "tls_reuse", policy));
    cluster.settle();
    let home = home_of(&cluster, &if common == Common::Client { kit::USER.to_owned() } else { of_address(&cluster) });
    let others: Vec<usize> = (0..4).filter(|number| *number != home).collect();
    let mine = Tls::new(Version::Tls13);
    let its = if common == Common::Client { mine.clone() } else { Tls::new(Version::Tls13) };
    let session = |control, tls: &Tls| {
        cluster.balancer.pick(Pick::Fixed { control, data: others[2] });
        Client::session(&cluster, tls)
    };
    let (mut first, mut second) = (session(others[0], &mine), session(others[1], &its));
    first.put("STOR former", b"former").is(226);
    second.put("STOR former", b"former").is(226);
    let to = first.epsv();
    cluster.freeze(home);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let (second, its) = (&mut second, &its);
        let waiting = scope.spawn(move || {
            // The only port is taken: it waits for its turn.
            second.patience(Duration::from_secs(20));
            let to = second.epsv();
            carry(second, to, its, common, "second");
        });
        // Long enough for the home to be missed and another one to be asked.
        std::thread::sleep(Duration::from_millis(1500));
        carry(&mut first, to, &mine, common, "first");
        waiting.join().expect("the second one is served");
    });
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    // It comes back: what it gave away before is no reason to refuse.
    cluster.thaw(home);
    for (client, tls) in [(&mut first, &mine), (&mut second, &its)] {
        let to = client.epsv();
        carry(client, to, tls, common, "third");
    }
    for name in ["first", "second", "third"] {
        assert_eq!(std::fs::read_to_string(cluster.root.join(name)).unwrap(), name);
    }
}

/// Each session uploads its own name.
fn carry(client: &mut Client, to: std::net::SocketAddr, tls: &Tls, common: Common, name: &str) {
    let plain = Tls::new(Version::Tls13);
    let mut connection = Data::connect(to, if common == Common::Client { tls } else { &plain });
    client.command(&format!("STOR {name}")).is(150);
    connection.handshake().expect("it reaches its session");
    connection.write(name.as_bytes()).unwrap();
    connection.finish();
    client.expect(226);
}

/// The key of the one address that the nodes see, the balancer's.
fn of_address(cluster: &Cluster) -> String {
    let [a, b, c, _] = cluster.address(0).octets();
    format!("\0{a}.{b}.{c}.1")
}

/// The node that is the home of a user or an address: the greatest SHA-256 of its start and the name, as ARCHITECTURE.md says.
pub fn home_of(cluster: &Cluster, key: &str) -> usize {
    let start = |number: usize| {
        let name = format!("\"node\":\"node-{number}\"");
        let from = cluster.node(usize::from(number == 0)).logged(&["member_joined", &name]);
        let text = from.split("\"incarnation\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an incarnation").to_owned();
        ftps_gateway::observe::id::Ulid::parse(&text).expect("a start").to_bytes()
    };
    let weight = |number: &usize| Sha256::new().chain_update(start(*number)).chain_update(key).finalize();
    (0..cluster.nodes().count()).max_by_key(weight).expect("nodes")
}
