//! PORT and EPRT with `data.active`: to the client's own address, from 1024 on, over TLS that proves itself; off by default.
//!
//! Gets: a listener of the test. Gives: bytes both ways over a connection that the gateway made.
//! Never: a connection to anybody else (RFC 2577 §3).

use std::net::TcpListener;
use std::time::Duration;

use crate::kit::{self, Client, Data, Node, Options, Tls, Tree, Version, lftp};
use crate::need;

fn node() -> Node {
    Node::with(Options::default().set("data", r#"{ ports: "0/8", active: true }"#))
}

#[test]
fn active_transfers_work_in_both_forms_and_versions() {
    kit::test(60, || {
        let node = node();
        for version in [Version::Tls12, Version::Tls13] {
            for extended in [false, true] {
                let mut client = Client::session(&node, &Tls::new(version));
                let mut data = active(&mut client, extended, "STOR file");
                data.write(b"content").unwrap();
                data.finish();
                client.expect(226);
                let mut data = active(&mut client, extended, "RETR file");
                assert!(data.resumed(), "it proves the session");
                assert_eq!(data.read_to_end().unwrap(), b"content");
                data.finish();
                client.expect(226);
            }
        }
    });
}

#[test]
fn active_is_off_by_default() {
    kit::test(30, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("PORT 127,0,0,1,200,1").is(502);
        client.command("EPRT |1|127.0.0.1|51201|").is(502);
        let features = client.command("FEAT").text;
        assert!(!features.contains("EPRT") && features.contains("EPSV"));
    });
}

#[test]
fn only_the_own_address_and_no_service_port() {
    kit::test(30, || {
        let node = node();
        let mut client = Client::ready(&node);
        for foreign in
            ["PORT 127,0,0,2,200,1", "PORT 8,8,8,8,200,1", "PORT 0,0,0,0,200,1", "EPRT |1|127.0.0.2|51201|", "EPRT |2|::1|51201|", "EPRT |2|fe80::1|51201|"]
        {
            client.command(foreign).is(501);
        }
        for service in ["PORT 127,0,0,1,0,25", "PORT 127,0,0,1,3,255", "EPRT |1|127.0.0.1|1023|"] {
            client.command(service).is(504);
        }
        for nonsense in [
            "PORT 127,0,0,1,200",
            "PORT 127,0,0,1,200,256",
            "PORT 127,0,0,1,200,1,1",
            "PORT a,b,c,d,e,f",
            "EPRT 1|127.0.0.1|51201|",
            "EPRT |1|127.0.0.1|65536|",
        ] {
            client.command(nonsense).is(501);
        }
        client.command("EPRT |3|127.0.0.1|51201|").is(522);
        // What was refused left nothing behind.
        client.command("NLST").is(425);
        // The same address, written as IPv6 does it, is the same address.
        client.command("EPRT |2|::ffff:127.0.0.1|51201|").is(200);
    });
}

#[test]
fn an_address_nobody_listens_on_is_an_answer() {
    kit::test(30, || {
        let node = node();
        let mut client = Client::ready(&node);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        client.command(&format!("EPRT |1|127.0.0.1|{port}|")).is(200);
        client.command("NLST").is(150);
        client.expect(425);
        client.command("NOOP").is(200);
    });
}

#[test]
fn lftp_works_in_active_mode() {
    need!("lftp");
    kit::test(60, || {
        let (node, local) = (node(), Tree::new());
        let sum = local.write_random("a.bin", 300_001);
        let script = "set ftp:passive-mode false; put a.bin; get a.bin -o b.bin; cls -1 > names; quit";
        lftp(&node, false, script).at(local.path()).run().ok();
        assert_eq!(kit::sha256(local.join("b.bin")), sum);
        assert_eq!(local.read("names").as_deref(), Some(&b"a.bin\n"[..]));
    });
}

/// PORT or EPRT, the command, and the handshake on what the gateway connects.
fn active(client: &mut Client, extended: bool, command: &str) -> Data {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let order = if extended { format!("EPRT |1|127.0.0.1|{port}|") } else { format!("PORT 127,0,0,1,{},{}", port >> 8, port & 255) };
    client.command(&order).is(200);
    client.command(command).is(150);
    let (sock, _) = listener.accept().unwrap();
    sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut data = Data::over(sock, &client.tls);
    data.handshake().unwrap();
    data
}
