//! Bans: what rules do on a node behind a balancer that says who its clients are, and whom they spare.
//!
//! Gets: nodes behind a balancer that writes PROXY headers, clients at addresses of their own. Gives: who is refused, with which words, and whose session ends.
//! Never: trusts the gateway's own word: a refused client is one that got no greeting.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Client, Cluster, Reply, Setup, Tell, Tls, Tree, Version};

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

/// A balancer's own connections, a probe, and a network that is never banned, each as often as that and on all nodes.
#[test]
fn thousands_of_failures_of_the_spared_ban_nobody() {
    kit::test(1200, || {
        let failures = if kit::full() { 10_000 } else { 300 };
        let rule = |event: &str| format!("{{ event: {event}, count: 3, within: 10m, ban: 1h }}");
        let rules: Vec<String> = ["login_failed", "max_login_attempts", "bad_protocol", "tls_failure", "timeout_login"].map(rule).into();
        let setup = Setup { nodes: 3, tell: Tell::public(2), ..Setup::default() };
        let setup = setup.key("bans", "rules", &format!("[{}]", rules.join(", "))).key("bans", "never", "{ networks: [\"203.0.113.0/28\"] }");
        let cluster = Cluster::with(setup.key("log", "level", "warn"));
        let direct = |from: Ipv4Addr, node: usize| Client::open_from(cluster.node(node).explicit, &Tls::new(Version::Tls13), from);
        std::thread::scope(|scope| {
            for thread in 0..WORKERS {
                let cluster = &cluster;
                scope.spawn(move || {
                    for number in (thread..failures).step_by(WORKERS) {
                        // The never-listed network: wrong passwords, three on each connection.
                        if number.is_multiple_of(3) {
                            let mut client = from(cluster, 1 + u8::try_from(number % 13).unwrap());
                            client.expect(220);
                            client.secure();
                            for _ in 0..3 {
                                client.command("USER demo").is(331);
                                client.command("PASS wrong").one_of(&[421, 530]);
                            }
                        }
                        // The balancer itself: no header but nonsense, a header and HTTP, a header and a handshake that is none.
                        let balancer = cluster.balancer.ip;
                        let own = kit::header(2, (balancer, 40_000).into(), cluster.node(0).explicit);
                        for bytes in [
                            &b"GET / HTTP/1.1\r\n\r\n"[..],
                            &[&own[..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
                            &[&own[..], b"AUTH TLS\r\n\x16\x03\x01\0\x05hello"].concat(),
                        ] {
                            let _ = direct(balancer, number % 3).send(bytes);
                        }
                        // A probe: from loopback, without a byte.
                        drop(direct(Ipv4Addr::LOCALHOST, number % 3));
                    }
                });
            }
        });
        assert!(cluster.metric("ftps_gateway_logins_total", &["\"failure\""]) >= failures as f64, "they did fail");
        assert_eq!(cluster.metric("ftps_gateway_bans", &["source=\"rule\""]), 0.0);
        assert_eq!(door(&cluster, 7).code, 220);
        fail(&cluster, 77, 3);
        kit::eventually(10, "the rules work for others", || door(&cluster, 77).code == 421);
    });
}

#[test]
fn whom_a_rule_on_trial_would_have_banned_is_listed_on_every_node() {
    kit::test(120, || {
        let tree = Tree::new();
        let rules = "[{ event: login_failed, count: 2, within: 10m, ban: 1h, dry_run: true }]";
        let setup = Setup { nodes: 2, tell: Tell::public(2), ..Setup::default() };
        let cluster = Cluster::with(setup.key("bans", "rules", rules).key("admin", "tokens_file", &tokens(&tree)));
        joined(&cluster, 2);
        fail(&cluster, 7, 4);
        let targets = |node: usize, query: &str| -> Vec<String> {
            let items = ask(cluster.node(node), "GET", &format!("/bans{query}"), "looker", None).body["items"].as_array().cloned().unwrap_or_default();
            items.iter().filter_map(|ban| ban["target"]["ip"].as_str().map(str::to_owned)).collect()
        };
        kit::eventually(20, "both nodes list it", || (0..2).all(|node| targets(node, "?dry_run=true").contains(&"203.0.113.7".to_owned())));
        assert_eq!(door(&cluster, 7).code, 220);
        assert!(targets(0, "").is_empty() && targets(1, "?dry_run=false").is_empty(), "none is in force");
        // What a removal would remove is told, and stays.
        for last in [1, 2] {
            let body = json!({ "target": { "ip": format!("198.51.100.{last}") }, "duration": "1h" });
            assert_eq!(ask(cluster.node(0), "POST", "/bans", "root", Some(&body)).status, 200);
        }
        let would = ask(cluster.node(1), "DELETE", "/bans?source=admin&dry_run=true", "root", None).body;
        assert_eq!((would["removed"].as_array().map(Vec::len), would["dry_run"].as_bool()), (Some(2), Some(true)), "{would}");
        assert_eq!(targets(0, "").len(), 2);
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

#[test]
fn what_is_no_ban_is_refused_with_what_to_write_instead() {
    kit::test(60, || {
        let tree = Tree::new();
        let cluster = Cluster::with(Setup { nodes: 1, ..Setup::default() }.key("admin", "tokens_file", &tokens(&tree)));
        let target = |kind: &str, text: &str| json!({ kind: text });
        let cases = [
            (target("cidr", "203.0.113.0/33"), json!("1h"), "/target", "is not a network"),
            (target("cidr", "203.0.113.7/24"), json!("1h"), "/target", "without bits behind the prefix"),
            (target("ip", "203.0.113.0/24"), json!("1h"), "/target", "is not an IP address"),
            (target("cidr", "0.0.0.0/0"), json!("1h"), "/target", "needs \"force\": true"),
            (target("cidr", "::/0"), json!("permanent"), "/target", "needs \"force\": true"),
            (target("class", "nobodys"), json!("1h"), "/target", "there is no class"),
            (target("host", "203.0.113.7"), json!("1h"), "/target", "is no kind of target"),
            (json!({}), json!("1h"), "/target", "exactly one of"),
            (target("ip", "203.0.113.7"), json!(null), "/duration", "has to be"),
            (target("ip", "203.0.113.7"), json!("-1h"), "/duration", "more than 0"),
            (target("ip", "203.0.113.7"), json!("0s"), "/duration", "more than 0"),
            (target("ip", "203.0.113.7"), json!("soon"), "/duration", "has to be"),
        ];
        for (target, duration, pointer, words) in cases {
            let body = json!({ "target": target, "duration": duration });
            let answer = ask(cluster.node(0), "POST", "/bans", "root", Some(&body)).body;
            assert_eq!((answer["status"].as_u64(), answer["type"].as_str()), (Some(400), Some("/problems/invalid")), "{body}: {answer}");
            assert!(answer["errors"].to_string().contains(pointer), "{body}: {answer}");
            assert!(answer.to_string().replace("\\\"", "\"").contains(words), "{body}: {answer}");
        }
        assert_eq!(ask(cluster.node(0), "GET", "/bans", "root", None).body["items"], json!([]));
        let wide = json!({ "target": { "cidr": "198.18.0.0/15" }, "duration": "1h", "force": true });
        assert_eq!(ask(cluster.node(0), "POST", "/bans", "root", Some(&wide)).status, 200);
    });
}

/// Failing side by side.
const WORKERS: usize = 16;
