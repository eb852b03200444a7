//! How a session becomes secret: AUTH TLS with something behind it, clear text, ALPN, the implicit port.
//!
//! Gets: bytes in orders that no honest client sends. Gives: a closed connection, and nothing executed.
//! Never: takes "it closed later" for safe: what was answered is looked at too.

use std::time::Duration;

use crate::kit::{self, Client, Node, PASSWORD, Run, Tls, USER, Version, connect};
use crate::need;

#[test]
fn a_command_in_the_segment_of_auth_tls_closes() {
    kit::test(60, || {
        let node = Node::start();
        for tail in ["USER demo\r\n", "USER demo\r\nPASS demo-password\r\n", "FEAT\r\n", "NOOP\n", "\r\n", "Q", "\0"] {
            let answer = sent_along(&node, format!("AUTH TLS\r\n{tail}").as_bytes());
            assert_eq!(answer, "", "closed without a reply after {tail:?}");
        }
        kit::eventually(5, "the injection is counted", || node.metric("ftps_gateway_sessions_closed_total", &["starttls"]).is_some_and(|count| count >= 7.0));
        still_serves(&node);
    });
}

#[test]
fn a_client_hello_in_the_segment_of_auth_tls_closes() {
    kit::test(60, || {
        let node = Node::start();
        let hello = Client::hello(&Tls::new(Version::Tls13));
        assert_eq!(sent_along(&node, &[b"AUTH TLS\r\n", &hello[..]].concat()), "", "a hello alone");
        assert_eq!(sent_along(&node, &[b"AUTH TLS\r\n", &hello[..1]].concat()), "", "its first byte");
        assert_eq!(sent_along(&node, &[b"AUTH TLS\r\nUSER demo\r\n", &hello[..]].concat()), "", "a command and a hello");
        still_serves(&node);
    });
}

#[test]
fn injected_commands_byte_by_byte_are_not_executed() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::connect(&node, &Tls::new(Version::Tls13));
        for byte in b"AUTH TLS\r\nUSER demo\r\nPASS demo-password\r\nFEAT\r\n" {
            if client.send(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // The server may have said 234 before the next byte came; after it there is only TLS.
        let answer = client.rest();
        assert!(!answer.contains("331") && !answer.contains("230") && !answer.contains("211"), "executed: {answer:?}");
        assert!(node.metric("ftps_gateway_logins_total", &["result=\"ok\""]).unwrap_or(0.0) == 0.0, "nobody logged in");
        still_serves(&node);
    });
}

#[test]
fn a_command_between_234_and_the_hello_is_not_executed() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::connect(&node, &Tls::new(Version::Tls13));
        client.command("AUTH TLS").is(234);
        client.line("USER demo");
        let answer = client.rest();
        assert!(!answer.contains("331"), "executed: {answer:?}");
        still_serves(&node);
    });
}

#[test]
fn what_was_said_in_clear_is_forgotten_after_the_handshake() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::connect(&node, &Tls::new(Version::Tls13));
        assert!(client.command("USER demo").code >= 500, "clear-text USER");
        client.secure();
        client.command(&format!("PASS {PASSWORD}")).is(503);
        client.login(USER);
    });
}

#[test]
fn a_slow_handshake_after_234_succeeds() {
    kit::test(60, || {
        let node = Node::start();
        let tls = Tls::new(Version::Tls13);
        let mut client = Client::connect(&node, &tls);
        client.command("AUTH TLS").is(234);
        let mut conn = rustls::ClientConnection::new(tls.config.clone(), Tls::server_name()).unwrap();
        let mut hello = Vec::new();
        conn.write_tls(&mut hello).unwrap();
        for byte in hello {
            client.send(&[byte]).unwrap();
        }
        let mut sock = client.socket().try_clone().unwrap();
        while conn.is_handshaking() {
            conn.complete_io(&mut sock).unwrap();
        }
    });
}

#[test]
fn clear_text_login_does_not_exist() {
    kit::test(60, || {
        let node = Node::start();
        let tls = Tls::new(Version::Tls13);
        let mut client = Client::connect(&node, &tls);
        client.command("USER demo").is(530);
        client.command(&format!("PASS {PASSWORD}")).one_of(&[503, 530]);
        for line in ["LIST", "PASV", "EPSV", "RETR a", "STOR a", "MKD a", "DELE a", "CWD /", "PWD", "SIZE a", "STAT /"] {
            // Three unknown commands would close; these are known and refused.
            let reply = Client::connect(&node, &tls).command(line);
            assert!((500..600).contains(&reply.code), "{line}: {}", reply.text);
        }
        client.command("NOOP").is(200);
        assert!(kit::contents(&node.root).is_empty(), "nothing was made");
    });
}

#[test]
fn clear_data_channels_and_ccc_are_refused() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("PROT C").is(534);
        client.command("CCC").is(533);
        client.command("AUTH TLS").one_of(&[503, 534]);
        assert_eq!(client.list("NLST"), "");
    });
}

#[test]
fn another_application_protocol_is_refused() {
    kit::test(60, || {
        let node = Node::start();
        for version in [Version::Tls12, Version::Tls13] {
            for protocols in [&["http/1.1"][..], &["h2", "http/1.1"], &["smtp"]] {
                let mut client = Client::open(node.implicit, &Tls::with_alpn(version, protocols));
                assert!(client.handshake().is_err(), "{version:?} {protocols:?} on the implicit port");
                let mut client = Client::connect(&node, &Tls::with_alpn(version, protocols));
                client.command("AUTH TLS").is(234);
                assert!(client.handshake().is_err(), "{version:?} {protocols:?} after AUTH TLS");
            }
            let mut client = Client::implicit(&node, &Tls::with_alpn(version, &["h2", "ftp"]));
            assert_eq!(client.alpn().as_deref(), Some(&b"ftp"[..]));
            client.login(USER);
        }
    });
}

#[test]
fn control_connections_resume() {
    kit::test(60, || {
        let node = Node::start();
        for (name, tls) in [("1.3 ticket", Tls::new(Version::Tls13)), ("1.2 ticket", Tls::new(Version::Tls12)), ("1.2 session ID", Tls::session_ids())] {
            let mut first = Client::session(&node, &tls);
            assert!(!first.resumed(), "{name}: the first is a full handshake");
            first.command("NOOP").is(200);
            let second = Client::session(&node, &tls);
            assert!(second.resumed(), "{name}: the second resumes");
        }
    });
}

#[test]
fn openssl_shakes_hands_with_both_versions_and_no_older_one() {
    need!("openssl");
    kit::test(120, || {
        let node = Node::start();
        let authority = node.pki.ca.display().to_string();
        for (port, start) in [(node.explicit.port(), Some("ftp")), (node.implicit.port(), None)] {
            for (flag, works) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_1", false)] {
                let target = format!("localhost:{port}");
                let mut arguments = vec!["s_client", "-connect", &target, "-CAfile", &authority, "-verify_return_error", flag, "-quiet", "-crlf"];
                // Old versions need it even to be offered.
                arguments.extend(["-cipher", "DEFAULT:@SECLEVEL=0"]);
                arguments.extend(start.map(|protocol| ["-starttls", protocol]).into_iter().flatten());
                let script = format!("USER {USER}\nPASS {PASSWORD}\nPBSZ 0\nPWD\nQUIT\n");
                let output = Run::new("openssl", arguments).input(script).seconds(30).run();
                let text = output.text();
                let served = ["331 ", "230 ", "200 ", "257 \"/\"", "221 "].iter().all(|part| text.contains(part));
                assert_eq!(served, works, "{flag} {start:?}: {text}\n{}", output.stderr);
            }
        }
    });
}

#[test]
fn http_on_the_control_port_closes() {
    kit::test(60, || {
        let node = Node::start();
        for verb in ["GET / HTTP/1.1", "POST /login HTTP/1.1", "PUT /a HTTP/1.1", "HEAD / HTTP/1.0", "OPTIONS * HTTP/1.1", "EHLO a", "HELO a"] {
            let mut client = Client::connect(&node, &Tls::new(Version::Tls13));
            client.line(&format!("{verb}\r\nHost: localhost\r\n\r\nUSER demo"));
            let answer = client.rest();
            assert!(!answer.contains("localhost") && !answer.contains("331"), "{verb}: {answer:?}");
        }
        // The same inside TLS, on the implicit port.
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        client.line("GET /hello.txt HTTP/1.1");
        client.rest();
        still_serves(&node);
    });
}

#[test]
fn clear_text_on_the_implicit_port_closes() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::open(node.implicit, &Tls::new(Version::Tls13));
        client.line("USER demo");
        let answer = client.rest();
        assert!(!answer.contains("331") && !answer.contains("220"), "{answer:?}");
        drop(connect(node.implicit).unwrap());
        still_serves(&node);
    });
}

/// Sends bytes in one segment after the greeting; gives all that comes until the server closes.
fn sent_along(node: &Node, bytes: &[u8]) -> String {
    let mut client = Client::connect(node, &Tls::new(Version::Tls13));
    client.send(bytes).unwrap();
    client.rest()
}

fn still_serves(node: &Node) {
    Client::ready(node).command("PWD").is(257);
}
