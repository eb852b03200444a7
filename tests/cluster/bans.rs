//! Bans: what rules do on a node behind a balancer that says who its clients are, and whom they spare.
//!
//! Gets: nodes behind a balancer that writes PROXY headers, clients at addresses of their own. Gives: who is refused, with which words, and whose session ends.
//! Never: trusts the gateway's own word: a refused client is one that got no greeting.

use std::net::{Ipv4Addr, SocketAddr};

use crate::kit::{self, Client, Cluster, Reply, Setup, Tell, Tls, Version};

/// Rules as they are written, besides which nothing is banned.
fn ruled(nodes: usize, rules: &str) -> Cluster {
    Cluster::with(Setup { nodes, tell: Tell::public(2), ..Setup::default() }.key("bans", "rules", rules).key("bans", "message", "\"No %a\""))
}

/// A control connection from 127.0.0.N, whom the gateway knows as 203.0.113.N.
fn from(cluster: &Cluster, last: u8) -> Client {
    let to: SocketAddr = kit::Entrance::explicit(cluster);
    Client::open_from(to, &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, last))
}

/// What the door says.
fn door(cluster: &Cluster, last: u8) -> Reply {
    from(cluster, last).reply()
}

fn fail(cluster: &Cluster, last: u8, times: usize) {
    for _ in 0..times {
        let mut client = from(cluster, last);
        client.expect(220);
        client.secure();
        client.command("USER demo").is(331);
        client.command("PASS wrong").is(530);
    }
}

#[test]
fn failed_logins_of_several_connections_ban_their_address_and_end_its_sessions() {
    kit::test(120, || {
        let cluster = ruled(1, "[{ event: login_failed, count: 3, within: 10m, ban: 1h }]");
        let mut living = from(&cluster, 7);
        living.expect(220);
        living.secure();
        living.login("demo");
        fail(&cluster, 7, 2);
        living.command("NOOP").is(200);
        let mut last = from(&cluster, 7);
        last.expect(220);
        last.secure();
        last.command("USER demo").is(331);
        // The one that trips the rule is answered once: by the refusal of its password, or by the end of its session.
        let answer = last.command("PASS wrong");
        assert!([421, 530].contains(&answer.code), "{answer:?}");
        assert_eq!(living.reply(), Reply { code: 421, text: "421 No 203.0.113.7".into() });
        assert_eq!(door(&cluster, 7), Reply { code: 421, text: "421 No 203.0.113.7".into() });
        assert_eq!(door(&cluster, 8).code, 220, "its neighbour");
        let node = cluster.node(0);
        node.logged(&["\"banned\"", "203.0.113.7", "login_failed"]);
        assert_eq!(node.metric("ftps_gateway_bans", &["source=\"rule\""]), Some(1.0));
        assert!(node.metric("ftps_gateway_ban_rejections_total", &["stage=\"accept\"", "kind=\"host\""]) >= Some(1.0));
    });
}

#[test]
fn a_user_is_banned_with_one_reply_and_a_right_password_does_not_lengthen_it() {
    kit::test(120, || {
        let cluster = ruled(1, "[{ event: login_failed, count: 3, within: 10m, ban: 3s, scope: user }]");
        fail(&cluster, 7, 3);
        let mut client = from(&cluster, 9);
        client.expect(220);
        client.secure();
        let begun = std::time::Instant::now();
        client.command("USER demo").is(331);
        assert_eq!(client.command("PASS demo-password"), Reply { code: 530, text: "530 No 203.0.113.9".into() });
        assert!(client.rest().is_empty(), "one reply, then the end");
        kit::eventually(20, "the ban ends by itself although its user tries again and again", || {
            let mut client = from(&cluster, 9);
            client.expect(220);
            client.secure();
            client.command("USER demo").is(331);
            client.command("PASS demo-password").code == 230
        });
        assert!(begun.elapsed().as_secs() < 15);
    });
}

#[test]
fn the_spared_and_probes_are_never_banned() {
    kit::test(180, || {
        let rules = "[{ event: login_failed, count: 1, within: 10m, ban: 1h }, { event: client_connect_rate, count: 500, within: 10m, ban: 1h }, { event: tls_failure, count: 1, within: 10m, ban: 1h }]";
        let setup = Setup { nodes: 1, tell: Tell::public(2), ..Setup::default() };
        let cluster = Cluster::with(setup.key("bans", "rules", rules).key("bans", "never", "{ networks: [\"203.0.113.7/32\"] }").key(
            "limits",
            "logins_per_minute_per_ip",
            "10000",
        ));
        fail(&cluster, 7, 5);
        assert_eq!(door(&cluster, 7).code, 220);
        // Connections that close at once, from a client and from loopback.
        for _ in 0..20 {
            drop(from(&cluster, 8));
            drop(std::net::TcpStream::connect(cluster.node(0).explicit).unwrap());
            drop(std::net::TcpStream::connect(cluster.node(0).implicit).unwrap());
        }
        assert_eq!(door(&cluster, 8).code, 220);
        assert_eq!(cluster.metric("ftps_gateway_bans", &["source=\"rule\""]), 0.0);
        fail(&cluster, 8, 1);
        assert_eq!(door(&cluster, 8).code, 421, "the rule works for others");
    });
}

#[test]
fn a_dry_run_only_says_it_and_an_implicit_client_is_told_if_so_configured() {
    kit::test(120, || {
        let dry = ruled(1, "[{ event: login_failed, count: 1, within: 10m, ban: 1h, dry_run: true }]");
        fail(&dry, 7, 2);
        assert_eq!(door(&dry, 7).code, 220);
        dry.node(0).logged(&["would be banned", "203.0.113.7"]);
        let rules = "[{ event: login_failed, count: 1, within: 10m, ban: 1h, message: \"own %u\" }]";
        let told =
            Cluster::with(Setup { nodes: 1, tell: Tell::public(2), ..Setup::default() }.key("bans", "rules", rules).key("bans", "implicit_reply", "reply"));
        fail(&told, 7, 1);
        let tls = Tls::new(Version::Tls13);
        let mut client = Client::open_from(kit::Entrance::implicit(&told), &tls, Ipv4Addr::new(127, 0, 0, 7));
        client.handshake().unwrap();
        assert_eq!(client.reply(), Reply { code: 421, text: "421 own (none)".into() });
        assert!(client.rest().is_empty());
    });
}
