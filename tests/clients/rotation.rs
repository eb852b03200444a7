//! One control session that outlives tickets and the keys they are sealed with: every transfer still proves itself.
//!
//! Gets: a node whose sessions last 10 s and whose ticket key changes every 5 s, `require`, clients with a transfer every 4 s. Gives: all of them, all resumed.
//! Never: a second control session, which would have new tickets.

use std::time::Duration;

use crate::kit::{self, Client, Node, Options, Run, Tls, Tree, Version, curl, lftp};
use crate::need;

#[test]
fn neither_the_age_of_tickets_nor_new_keys_break_a_living_session() {
    need!("curl", "lftp", "python3");
    kit::test(240, || {
        let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }], session_lifetime: 10s, ticket_rotation: 5s }";
        let node = Node::with(Options::default().set("data", "{ ports: \"0/8\", tls_reuse: require }").set("tls", tls));
        let (local, rounds) = (Tree::new(), if kit::full() { 15 } else { 5 });
        local.write_random("up.bin", 100_000);
        for round in 1..=rounds {
            std::fs::copy(local.join("up.bin"), node.root.join(format!("down-{round}.bin"))).unwrap();
        }
        let clients: [&(dyn Fn() + Sync); 10] = [
            &|| with_python(&node, &local, "1.2", rounds),
            &|| with_python(&node, &local, "1.3", rounds),
            &|| with_lftp(&node, &local, "1.2", rounds),
            &|| with_lftp(&node, &local, "1.3", rounds),
            // curl takes no tickets in TLS 1.2, and its uploads of TLS 1.3 have a test of their own.
            &|| with_curl(&node, &local, &["--tls-max", "1.2", "-o", "curl-id.#1"], "/down-[1-N].bin", rounds),
            &|| with_curl(&node, &local, &["--tls-max", "1.2", "-T", "up.bin"], "/curl-[1-N].bin", rounds),
            &|| with_curl(&node, &local, &["--tlsv1.3", "-o", "curl-13.#1"], "/down-[1-N].bin", rounds),
            &|| with_rustls(&node, &Tls::new(Version::Tls12), "tickets", rounds),
            &|| with_rustls(&node, &Tls::session_ids(), "ids", rounds),
            &|| with_rustls(&node, &Tls::new(Version::Tls13), "13", rounds),
        ];
        std::thread::scope(|scope| clients.iter().for_each(|client| drop(scope.spawn(client))));
        let handshakes = |labels: &[&str]| node.metric("ftps_gateway_tls_handshakes_total", labels).unwrap_or_default();
        assert_eq!(handshakes(&["channel=\"control\""]), clients.len() as f64, "one control session each");
        assert_eq!(handshakes(&["channel=\"data\"", "resumed=\"full\""]), 0.0);
        assert!(handshakes(&["channel=\"data\""]) >= (clients.len() * rounds) as f64);
    });
}

fn with_python(node: &Node, local: &Tree, version: &str, rounds: usize) {
    let script = super::wire::beside("ftplib_paced.py").display().to_string();
    let (port, authority, directory) = (node.explicit.port().to_string(), node.pki.ca.display().to_string(), local.path().display().to_string());
    let (rounds, pace) = (rounds.to_string(), PACE.as_secs().to_string());
    let arguments = [&script, &port, &authority, kit::USER, kit::PASSWORD, version, &directory, &rounds, &pace];
    assert_eq!(Run::new("python3", arguments).seconds(200).run().ok().text().trim(), "ok", "Python, TLS {version}");
}

fn with_lftp(node: &Node, local: &Tree, version: &str, rounds: usize) {
    let round = |round| format!("put up.bin -o lftp-{version}.bin; get lftp-{version}.bin -o lftp-{version}.{round}");
    let pause = format!("; sleep {}; ", PACE.as_secs());
    let work = (0..rounds).map(round).collect::<Vec<_>>().join(&pause);
    let script = format!("set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS{version}; {work}; quit");
    lftp(node, false, &script).at(local.path()).seconds(200).run().ok();
}

fn with_curl(node: &Node, local: &Tree, arguments: &[&str], path: &str, rounds: usize) {
    let rate = format!("{}/m", 60 / PACE.as_secs());
    let path = path.replace("[1-N]", &format!("[1-{rounds}]"));
    curl(node, false, &[&["--rate", &rate, "--fail-early"], arguments].concat(), &path).at(local.path()).seconds(200).run().ok();
}

fn with_rustls(node: &Node, tls: &Tls, name: &str, rounds: usize) {
    let mut client = Client::session(node, tls);
    for round in 0..rounds {
        if round > 0 {
            std::thread::sleep(PACE);
        }
        let bytes = kit::random_bytes(10_000);
        client.put(&format!("STOR rustls-{name}.bin"), &bytes).is(226);
        kit::same(&client.get(&format!("RETR rustls-{name}.bin")), &bytes, name);
    }
}

/// Between two transfers.
const PACE: Duration = Duration::from_secs(4);
