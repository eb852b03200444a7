//! A home that is silent to some nodes and not to others: at no time do two homes give one port to two sessions.
//!
//! Gets: four nodes, one data port, two sessions of one client (or of one address) on two of them. Gives: each connection at the session it was made for.
//! Never: hurries: a node that freezes may cost a wait of some seconds, and no transfer.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::kit::{self, Client, Cluster, Data, Pick, Setup, Tls, Version};

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

fn frozen(common: Common) {
    let policy = if common == Common::Client { "require" } else { "off" };
    let cluster = Cluster::with(Setup { nodes: 4, ports: 1, ..Setup::default() }.key("data", "tls_reuse", policy));
    cluster.settle();
    let [a, b, c, _] = cluster.address(0).octets();
    let key = if common == Common::Client { kit::USER.to_owned() } else { format!("\0{a}.{b}.{c}.1") };
    let home = home_of(&cluster, &key);
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
