//! A balancer that hides the clients' addresses: limits by address must not shut all of them out, and it must be said.
//!
//! Gets: sessions of five users from one loopback address. Gives: limits by address that are suspended, metric, readiness detail, log.
//! Never: ten minutes of waiting; the window is tested beside the code.

use std::net::Ipv4Addr;

use crate::kit::{self, Client, Data, Node, Options, Tls, Version, users_file};

const USERS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn limits_by_address_are_suspended_while_a_balancer_hides_the_clients() {
    kit::test(120, || {
        let mut options = Options::default().set("limits", "{ sessions_per_ip: 20, logins_per_minute_per_ip: 21, sessions_per_user: 6 }");
        options.users = users_file(&USERS.map(|user| (user, "/", "all")));
        let node = Node::with(options);
        let mut held: Vec<Client> = (0..19).map(|number| session(&node, USERS[number % 5])).collect();
        assert_eq!(node.metric("ftps_gateway_source_address_hidden", &[]), Some(0.0));
        held.push(session(&node, "e"));
        assert_eq!(node.metric("ftps_gateway_source_address_hidden", &[]), Some(1.0));
        let ready = node.get(node.metrics, "/readyz?verbose");
        assert!(ready.status == 200 && ready.body.contains("limits and rules by address are suspended"), "{}", ready.body);
        assert!(!ready.body.contains("127.0.0.1"), "no address in a probe: {}", ready.body);
        node.logged(&["addresses_hidden", "\"127.0.0.1\"", "\"warn\""]);
        // More sessions and logins than any one address may have; by user they stay limited.
        held.extend((0..10).map(|number| session(&node, USERS[number % 5])));
        let mut seventh = Client::implicit(&node, &tls());
        seventh.command("USER a").is(331);
        seventh.command("PASS a-password").one_of(&[421, 530]);
        assert_eq!(hits(&node, "sessions_per_ip") + hits(&node, "logins_per_minute_per_ip"), 0.0);
        assert_eq!(hits(&node, "sessions_per_user"), 1.0);
        // A second address may be the balancer's too. A third one shows that clients can be told apart after all.
        held.truncate(25);
        kit::eventually(10, "five sessions are gone", || node.metric("ftps_gateway_sessions", &["\"idle\""]) == Some(25.0));
        Client::implicit_from(&node, &tls(), Ipv4Addr::new(127, 0, 0, 77)).login("e");
        assert_eq!(node.metric("ftps_gateway_source_address_hidden", &[]), Some(1.0));
        Client::implicit_from(&node, &tls(), Ipv4Addr::new(127, 0, 0, 78)).login("e");
        assert_eq!(node.metric("ftps_gateway_source_address_hidden", &[]), Some(0.0));
        assert!(!node.get(node.metrics, "/readyz?verbose").body.contains("suspended"));
        Client::open(node.explicit, &tls()).expect(421);
        assert_eq!(hits(&node, "sessions_per_ip"), 1.0);
    });
}

/// Behind one address everybody looks like everybody else: only TLS tells whose a data connection is.
#[test]
fn a_hidden_address_is_no_proof() {
    kit::test(120, || {
        let users = users_file(&["a", "b", "c", "d", "e", "p"].map(|user| (user, "/", "all")));
        let users = users.replace("name: p,", "name: p, tls_reuse: prefer,");
        let node = Node::with(Options { users, ..Options::default() });
        std::fs::write(node.root.join("file"), b"served").unwrap();
        // TLS sessions of its own for each data connection: it proves nothing.
        let plain = |user: &str| {
            let mut client = session(&node, user);
            let mut data = Data::connect(client.epsv(), &tls());
            client.command("RETR file").is(150);
            let came = data.handshake().and_then(|()| data.read_to_end());
            (client.expect_one_of(&[226, 425]).code, came.unwrap_or_default())
        };
        assert_eq!(plain("a"), (226, b"served".to_vec()), "its own address is taken");
        let held: Vec<Client> = (0..20).map(|number| session(&node, USERS[number % 5])).collect();
        assert_eq!(node.metric("ftps_gateway_source_address_hidden", &[]), Some(1.0));
        assert_eq!(plain("a"), (425, Vec::new()));
        assert_eq!(plain("p"), (226, b"served".to_vec()), "by tls_reuse: prefer");
        assert_eq!(session(&node, "a").get("RETR file"), b"served", "with proof");
        drop(held);
    });
}

fn session(node: &Node, user: &str) -> Client {
    Client::session_of(node, &tls(), user)
}

fn hits(node: &Node, limit: &str) -> f64 {
    node.metric("ftps_gateway_limits_hit_total", &[&format!("\"{limit}\"")]).unwrap()
}

fn tls() -> Tls {
    Tls::new(Version::Tls13)
}
