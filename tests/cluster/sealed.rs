//! What a store sees of TLS sessions: nothing that opens one; and what nodes make of values that somebody spoiled: nothing.
//!
//! Gets: a real Redis and a real memcached, read by their own protocol. Gives: that secrets stay out, lifetimes hold, bad values are misses and counts.
//! Never: trusts the store crate to say what is stored.

use std::time::Duration;

use crate::kit::{self, Client, Cluster, Run, Server, Setup, Tls};
use crate::need;

fn over(server: &Server) -> Cluster {
    Cluster::with(Setup { nodes: 2, store: Some(server.url()), ..Setup::default() }.key("tls", "session_lifetime", "10m"))
}

#[test]
fn redis_sees_no_secret_and_keeps_nothing_too_long() {
    kit::test(120, || secrets_stay_out(Server::redis()));
}

#[test]
fn memcached_sees_no_secret_and_keeps_nothing_too_long() {
    kit::test(120, || secrets_stay_out(Server::memcached()));
}

fn secrets_stay_out(server: Option<Server>) {
    need!("openssl");
    let Some(server) = server else { return };
    let cluster = over(&server);
    let (node, file) = (cluster.node(0), cluster.file("session.pem", b"").display().to_string());
    let (target, ca) = (node.explicit.to_string(), node.pki.ca.display().to_string());
    let all = ["s_client", "-connect", &target, "-starttls", "ftp", "-servername", "localhost", "-CAfile", &ca, "-crlf", "-ign_eof", "-nocommands"];
    let all = all.into_iter().chain(["-tls1_2", "-no_ticket", "-sess_out", &file]);
    Run::new("openssl", all).input("USER demo\nPASS demo-password\nQUIT\n").run();
    let text = Run::new("openssl", ["sess_id", "-in", &file, "-noout", "-text"]).run().ok().text();
    let hex = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(|hex| hex.trim().to_owned());
    let secrets = [hex("Session-ID:").expect("a session ID"), hex("Master-Key:").expect("a master key")];
    // The cluster's secret itself, too.
    let secrets = secrets.into_iter().chain([std::fs::read_to_string(&cluster.secret).expect("the secret").trim().to_uppercase()]);
    let items = server.items();
    let sessions: Vec<_> = items.iter().filter(|item| item.key.contains(":session:")).collect();
    assert!(!sessions.is_empty() && items.iter().any(|item| item.key.contains(":epochs:")), "{items:?}");
    for secret in secrets {
        let raw = unhex(&secret);
        assert!(raw.len() >= 32, "{secret}");
        for form in [raw.clone(), secret.clone().into_bytes(), secret.to_lowercase().into_bytes(), base64(&raw).into_bytes()] {
            let shown = |item: &&kit::Item| contains(&item.value, &form) || contains(item.key.as_bytes(), &form);
            assert!(!items.iter().any(|item| shown(&item)), "a secret is in the store");
        }
    }
    let ten_minutes = |item: &&&kit::Item| item.ttl.is_some_and(|ttl| (500..=600).contains(&ttl));
    assert_eq!(sessions.iter().filter(ten_minutes).count(), 1, "one session, for tls.session_lifetime: {sessions:?}");
    assert!(items.iter().all(|item| item.ttl.is_some()), "nothing lives for ever: {items:?}");
}

#[test]
fn spoiled_values_in_redis_are_misses_and_counts() {
    kit::test(240, || spoiled_values(Server::redis()));
}

#[test]
fn spoiled_values_in_memcached_are_misses_and_counts() {
    kit::test(240, || spoiled_values(Server::memcached()));
}

/// Makes another value of a good one.
type Spoil = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn spoiled_values(server: Option<Server>) {
    let Some(server) = server else { return };
    let cluster = over(&server);
    let session = |tls: &Tls| Client::session(cluster.node(0), tls).command("QUIT").is(221);
    // Another session, whose value is good, but under its own name only.
    session(&Tls::session_ids());
    let other = server.items_of("session").pop().expect("a session").value;
    let spoil: [(&str, Spoil); 7] = [
        ("swapped", Box::new(move |_| other.clone())),
        ("altered", Box::new(|value| value.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == value.len() / 2)).collect())),
        ("truncated", Box::new(|value| value[..value.len() - 1].to_vec())),
        ("one byte", Box::new(|_| vec![1])),
        ("oversized", Box::new(|value| [value, &[0; 700_000]].concat())),
        ("another version", Box::new(|value| [&[9], &value[1..]].concat())),
        ("text", Box::new(|_| b"hello".to_vec())),
    ];
    for (what, spoil) in spoil {
        let before: Vec<String> = server.items_of("session").into_iter().map(|item| item.key).collect();
        let tls = Tls::session_ids();
        session(&tls);
        let item = server.items_of("session").into_iter().find(|item| !before.contains(&item.key)).expect("its value");
        server.set(&item.key, &spoil(&item.value));
        let rejected = || cluster.node(1).metric("ftps_gateway_shared_store_rejected_values_total", &["kind=\"session\""]).unwrap_or_default();
        let counted = rejected();
        let mut full = Client::session(cluster.node(1), &tls);
        assert!(!full.resumed(), "{what}");
        full.put("STOR /file", b"bytes").is(226);
        assert_eq!(rejected(), counted + 1.0, "{what}");
    }
    // Ticket keys likewise: the nodes go on with what they have, and write it again.
    let epochs = server.items_of("epochs").pop().expect("ticket keys");
    server.set(&epochs.key, b"nonsense");
    kit::eventually(30, "the nodes write their ticket keys again", || server.items_of("epochs").iter().any(|item| item.value.len() > 50));
    let tls = Tls::new(kit::Version::Tls13);
    drop(Client::session(cluster.node(0), &tls));
    std::thread::sleep(Duration::from_millis(100));
    assert!(Client::session(cluster.node(1), &tls).resumed());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |at| char::from(LETTERS[(number >> (18 - 6 * at)) as usize & 63])).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
