//! Data connections: who gets one, what strangers get, and what happens when nobody comes.
//!
//! Gets: connections of the owner, of another user, of no TLS session at all. Gives: bytes to the owner alone.
//! Never: a stranger's connection that costs the owner its transfer.

use std::time::Duration;

use crate::kit::{self, Client, Data, Node, Options, Tls, Version, connect, random_bytes, users_file};

const SECRET: &[u8] = b"for its owner only\n";

#[test]
fn data_connections_resume_the_control_session() {
    kit::test(60, || {
        let node = strict();
        for (name, tls) in [("1.3 tickets", Tls::new(Version::Tls13)), ("1.2 tickets", Tls::new(Version::Tls12)), ("1.2 session IDs", Tls::session_ids())] {
            let mut client = Client::session(&node, &tls);
            for round in 0..6 {
                let mut data = client.begin("RETR secret");
                data.handshake().unwrap();
                assert!(data.resumed(), "{name}: download {round}");
                assert_eq!(data.read_to_end().unwrap(), SECRET);
                data.finish();
                client.expect(226);
                let mut data = client.begin("STOR copy");
                data.handshake().unwrap();
                assert!(data.resumed(), "{name}: upload {round}");
                data.write(SECRET).unwrap();
                data.finish();
                client.expect(226);
            }
        }
    });
}

#[test]
fn a_stranger_gets_nothing_and_the_owner_is_still_served() {
    kit::test(120, || {
        let node = strict();
        let mut owner = Client::session(&node, &Tls::new(Version::Tls12));
        let mut other = Client::session_of(&node, &Tls::new(Version::Tls13), "other");
        other.command("NOOP").is(200);
        for stranger in [Tls::new(Version::Tls13), Tls::new(Version::Tls12), other.sibling()] {
            let mut data = owner.begin("RETR secret");
            let to = data.peer();
            let mut thief = Data::connect(to, &stranger);
            // One that looks like the owner stays open until the owner has its answer.
            let shaken = thief.handshake();
            data.handshake().unwrap();
            assert_eq!(data.read_to_end().unwrap(), SECRET, "the owner is served after the stranger");
            data.finish();
            owner.expect(226);
            let stolen = shaken.and_then(|()| thief.read_to_end()).unwrap_or_default();
            assert!(stolen.is_empty(), "a stranger read {stolen:?}");
        }
    });
}

#[test]
fn a_stranger_cannot_upload_into_another_session() {
    kit::test(120, || {
        let node = strict();
        let mut owner = Client::session(&node, &Tls::new(Version::Tls12));
        let other = Client::session_of(&node, &Tls::new(Version::Tls12), "other");
        let mut data = owner.begin("STOR target");
        let mut thief = Data::connect(data.peer(), &other.sibling());
        if thief.handshake().is_ok() {
            let _ = thief.write(b"planted");
            thief.finish();
        }
        data.handshake().unwrap();
        data.write(SECRET).unwrap();
        data.finish();
        owner.expect(226);
        kit::same_file(node.root.join("target"), SECRET, "on disk");
    });
}

#[test]
fn bytes_that_are_no_tls_get_nothing() {
    kit::test(60, || {
        let node = strict();
        let mut owner = Client::session(&node, &Tls::new(Version::Tls12));
        let mut data = owner.begin("RETR secret");
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], b"\x16\x03\x01\xff\xff\x01", b""] {
            let mut thief = Data::connect(data.peer(), &Tls::new(Version::Tls13));
            thief.raw(bytes).unwrap();
            thief.half_close();
            let got = thief.raw_rest(Duration::from_secs(5));
            // A TLS alert is all that may come.
            assert!(got.is_empty() || got[0] == 0x15, "{bytes:x?} got {got:x?}");
        }
        data.handshake().unwrap();
        assert_eq!(data.read_to_end().unwrap(), SECRET);
        data.finish();
        owner.expect(226);
    });
}

#[test]
fn nothing_waits_on_a_data_port_before_pasv() {
    kit::test(60, || {
        let node = strict();
        let owner = Client::session(&node, &Tls::new(Version::Tls12));
        assert_eq!(node.data_ports.len(), 8);
        for port in &node.data_ports {
            let mut data = Data::connect(std::net::SocketAddr::new(node.explicit.ip(), *port), &owner.sibling());
            assert!(data.handshake().and_then(|()| data.read_to_end()).unwrap_or_default().is_empty());
        }
        drop(owner);
    });
}

#[test]
fn a_connection_without_proof_is_refused_when_reuse_is_required() {
    kit::test(60, || {
        let node = strict();
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        let to = client.epsv();
        let mut data = Data::connect(to, &Tls::new(Version::Tls12));
        client.line("RETR secret");
        assert!(data.handshake().and_then(|()| data.read_to_end()).unwrap_or_default().is_empty(), "no byte without proof");
        let first = client.reply();
        let last = if first.code == 150 { client.reply() } else { first };
        last.one_of(&[425, 426, 522]);
        client.command("NOOP").is(200);
    });
}

#[test]
fn a_client_that_never_reuses_is_served_from_its_own_address() {
    kit::test(60, || {
        let node = node("auto");
        let mut client = Client::session(&node, &Tls::new(Version::Tls13));
        for _ in 0..3 {
            let to = client.epsv();
            let mut data = Data::connect(to, &Tls::new(Version::Tls13));
            client.command("RETR secret").is(150);
            data.handshake().unwrap();
            assert!(!data.resumed());
            assert_eq!(data.read_to_end().unwrap(), SECRET);
            data.finish();
            client.expect(226);
        }
    });
}

#[test]
fn the_handshake_may_come_before_the_command() {
    kit::test(60, || {
        let node = strict();
        let mut client = Client::ready(&node);
        let mut data = client.dial();
        data.handshake().unwrap();
        assert!(client.silent(Duration::from_millis(300)), "no reply to a connection");
        client.command("RETR secret").is(150);
        assert_eq!(data.read_to_end().unwrap(), SECRET);
        data.finish();
        client.expect(226);
    });
}

#[test]
fn a_data_connection_that_never_comes_is_425() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("limits", "{ data_timeout: 1s }"));
        let mut client = Client::ready(&node);
        client.epsv();
        client.command("LIST").is(150);
        client.expect(425);
        client.command("LIST").one_of(&[425, 503]);
        client.command("NOOP").is(200);
    });
}

#[test]
fn a_refused_command_leaves_the_session_in_order() {
    kit::test(60, || {
        let node = strict();
        let mut client = Client::ready(&node);
        let data = client.dial();
        client.command("RETR missing").is(550);
        drop(data);
        assert_eq!(client.get("RETR secret"), SECRET);
        client.command("PORT 127,0,0,1,10,10").one_of(&[500, 501, 502, 504, 522, 534]);
        client.command("EPRT |1|127.0.0.1|2570|").one_of(&[500, 501, 502, 504, 522, 534]);
        client.command("EPRT |1|127.0.0.1|99999|").one_of(&[501, 502, 522]);
    });
}

#[test]
fn pasv_and_epsv_announce_ports_of_the_pool() {
    kit::test(60, || {
        let node = strict();
        let mut client = Client::ready(&node);
        let (by_epsv, by_pasv) = (client.epsv(), client.pasv());
        assert!(node.data_ports.contains(&by_epsv.port()) && node.data_ports.contains(&by_pasv.port()));
        assert_eq!(by_pasv.ip(), node.explicit.ip());
        client.command("EPSV 1").is(229);
        client.command("EPSV 9").is(522);
        client.command("EPSV ALL").is(200);
        assert!(client.command("PASV").code >= 500, "after EPSV ALL");
    });
}

#[test]
fn a_stalled_transfer_is_cut() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("limits", "{ stall_timeout: 1s }"));
        std::fs::write(node.root.join("big"), random_bytes(64 << 20)).unwrap();
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        let mut data = client.begin("RETR big");
        data.handshake().unwrap();
        client.expect(426);
        drop(data);
        let mut data = client.begin("STOR new");
        data.handshake().unwrap();
        data.write(b"a").unwrap();
        client.expect(426);
        assert!(!node.root.join("new").exists());
    });
}

#[test]
fn two_sessions_move_data_at_once() {
    kit::test(60, || two_at_once(&Tls::new(Version::Tls12), &Tls::new(Version::Tls12)));
}

#[test]
fn two_sessions_with_one_tls_cache_move_data_at_once() {
    kit::test(60, || {
        let tls = Tls::new(Version::Tls12);
        two_at_once(&tls, &tls);
        let ids = Tls::session_ids();
        two_at_once(&ids, &ids);
    });
}
#[test]
fn connections_that_come_and_go_leak_no_descriptor() {
    kit::test(60, || {
        let node = strict();
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        client.get("RETR secret");
        let before = node.descriptors();
        for _ in 0..40 {
            let mut data = client.begin("STOR new");
            data.handshake().unwrap();
            data.reset();
            client.expect(426);
            let stranger = connect(node.explicit).unwrap();
            drop(stranger);
        }
        kit::eventually(20, "the descriptors are given back", || node.descriptors() <= before + 2);
    });
}

/// A download of one session and an upload of another, in each other's way.
fn two_at_once(one: &Tls, two: &Tls) {
    let node = strict();
    let bytes = random_bytes(4 << 20);
    std::fs::write(node.root.join("big"), &bytes).unwrap();
    let (mut one, mut two) = (Client::session(&node, one), Client::session(&node, two));
    let (mut first, mut second) = (one.begin("RETR big"), two.begin("STOR other"));
    second.handshake().unwrap();
    first.handshake().unwrap();
    second.write(&bytes).unwrap();
    kit::same(&first.read_to_end().unwrap(), &bytes, "downloaded");
    second.finish();
    first.finish();
    one.expect(226);
    two.expect(226);
    kit::same_file(node.root.join("other"), &bytes, "uploaded");
}

/// A node with two users and a file of the first, where every data connection must prove its session.
fn strict() -> Node {
    node("require")
}

fn node(reuse: &str) -> Node {
    let options = Options { users: users_file(&[("demo", "/", "all"), ("other", "/", "all")]), ..Options::default() };
    let limits = "{ logins_per_minute_per_ip: 100000, data_timeout: 10s }";
    let node = Node::with(options.set("data", &format!(r#"{{ ports: "0/8", tls_reuse: {reuse} }}"#)).set("limits", limits));
    std::fs::write(node.root.join("secret"), SECRET).unwrap();
    node
}
