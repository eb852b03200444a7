//! Commands at their edges: every length around powers of two, numbers out of range, passwords of half a megabyte, ports that run out.
//!
//! Gets: lines that no client sends. Gives: one reply to each, with no side effect, and a session that goes on.
//! Never: a parser's own tests, which are beside the code.

use std::time::{Duration, Instant};

use crate::kit::{self, Client, Node, Options, Run, Tls, Version, connect, contents};
use crate::need;

/// Whatever the size of a server's buffer is, the tail of a line is no command.
#[test]
fn a_line_of_any_length_is_one_line() {
    kit::test(180, || {
        let node = Node::start();
        let lengths = (4..=17).flat_map(|power| [-3_i32, -2, -1, 0, 1, 2].map(|step| usize::try_from((1 << power) + step).unwrap()));
        let mut client = Client::ready(&node);
        for (number, length) in lengths.enumerate() {
            if number % 2 == 0 {
                client = Client::ready(&node);
            }
            let mut line = b"CWD ".to_vec();
            line.resize(length.max(10), b'x');
            // A server that cuts at `length` reads this as its next line.
            line.extend(b"MKD tail\r\n");
            client.send(&line).unwrap();
            client.expect_one_of(&[500, 501, 550, 553]);
            client.command("PWD").is(257);
        }
        assert!(contents(&node.root).is_empty(), "{:?}", contents(&node.root));
    });
}

#[test]
fn numbers_out_of_range_are_refused_and_forgotten() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("file"), b"0123456789").unwrap();
        let mut client = Client::ready(&node);
        for number in [
            "-1",
            "-9223372036854775808",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            "0x10",
            "1e3",
            "١",
        ] {
            client.command(&format!("REST {number}")).is(501);
            client.command(&format!("ALLO {number}")).one_of(&[501, 504]);
            assert_eq!(client.get("RETR file"), b"0123456789", "REST {number}");
        }
        // In range, and beyond the end of the file.
        for number in ["11", "9223372036854775807"] {
            for verb in ["RETR", "STOR"] {
                client.command(&format!("REST {number}")).is(350);
                client.epsv();
                client.command(&format!("{verb} file")).one_of(&[501, 550, 554]);
            }
        }
        // Space is not taken because somebody announces it.
        client.command("ALLO 9223372036854775807").one_of(&[200, 202, 452, 552]);
        client.epsv();
        client.command("STOR other").one_of(&[452, 552]);
        client.put("STOR other", b"small").is(226);
        assert_eq!(std::fs::read(node.root.join("file")).unwrap(), b"0123456789");
        client.command("MODE Z").is(504);
        assert!(!client.command("FEAT").text.contains("MODE Z"));
    });
}

/// It is refused before it is hashed, whatever its length.
#[test]
fn a_password_of_half_a_megabyte_costs_nothing() {
    kit::test(60, || {
        let node = Node::start();
        for length in [1_025, 4_000, 500_000] {
            let mut client = Client::implicit(&node, &tls());
            client.command("USER demo").is(331);
            let began = Instant::now();
            client.send(&[b"PASS ", &b"x".repeat(length)[..], b"\r\n"].concat()).unwrap();
            client.expect_one_of(&[500, 501, 530]);
            assert!(began.elapsed() < Duration::from_secs(10), "{length}: {:?}", began.elapsed());
        }
        let mut client = Client::implicit(&node, &tls());
        client.send(b"USER de\0mo\r\n").unwrap();
        client.expect(501);
        assert_eq!(node.metric("ftps_gateway_logins_total", &["\"success\""]), Some(0.0));
    });
}

/// Sixty sessions of one client hold all eight ports; each still gets its turn, and so does somebody else.
#[test]
fn sixty_holders_of_ports_keep_nobody_out() {
    kit::test(120, || {
        let options = Options { users: kit::users_file(&[("demo", "/", "all"), ("other", "/", "all")]), ..Options::default() };
        let node = Node::with(options.set("limits", "{ data_timeout: 2s, logins_per_minute_per_ip: 1000, sessions_per_ip: 200, sessions_per_user: 100 }"));
        std::fs::write(node.root.join("file"), b"served").unwrap();
        let mut holders: Vec<Client> = (0..60).map(|_| Client::ready(&node)).collect();
        holders.iter_mut().for_each(|client| client.line("EPSV"));
        let answers: Vec<u16> = holders.iter_mut().map(|client| client.expect_one_of(&[229, 425]).code).collect();
        assert!(answers.iter().filter(|code| **code == 229).count() >= 8, "{answers:?}");
        assert_eq!(Client::session_of(&node, &tls(), "other").get("RETR file"), b"served", "another user");
        kit::eventually(30, "the ports are free again", || {
            holders.iter_mut().all(|client| client.command("EPSV").code == 229 && client.command("ABOR").code == 226)
        });
        for client in holders.iter_mut().step_by(10) {
            assert_eq!(client.get("RETR file"), b"served");
        }
    });
}

/// No key exchange without forward secrecy, no cipher but an AEAD.
#[test]
fn openssl_finds_no_weak_cipher() {
    need!("openssl");
    kit::test(120, || {
        let node = Node::start();
        let offered = |arguments: &[&str]| {
            let address = format!("localhost:{}", node.implicit.port());
            let all = ["s_client", "-connect", &address, "-CAfile"].map(str::to_owned).into_iter();
            let all = all.chain([node.pki.ca.display().to_string()]).chain(arguments.iter().map(|argument| (*argument).to_owned()));
            Run::new("openssl", all).input("QUIT\r\n").run().text()
        };
        let strong = offered(&["-tls1_2", "-cipher", "ECDHE+AESGCM"]);
        assert!(strong.contains("ECDHE") && strong.contains("GCM"), "{strong}");
        for weak in ["kRSA", "AES128-SHA", "ECDHE+AES:!AESGCM", "kDHE", "CAMELLIA", "aNULL", "eNULL"] {
            let text = offered(&["-tls1_2", "-cipher", &format!("{weak}:@SECLEVEL=0")]);
            assert!(!text.contains("220 "), "{weak}: {text}");
        }
    });
}

/// Half a request on the sidecar, a byte now and then: the probes answer all the time, and it is closed.
#[test]
fn slow_requests_to_the_sidecar_are_cut() {
    kit::test(90, || {
        use std::io::{Read, Write};
        let node = Node::start();
        let mut slow: Vec<_> = (0..50).map(|_| connect(node.metrics).unwrap()).collect();
        for sock in &mut slow {
            sock.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            sock.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        }
        assert_eq!(node.get(node.metrics, "/livez").status, 200);
        for sock in &mut slow {
            let mut rest = Vec::new();
            // Closed or reset by the server; a deadline of ours would be an error of another kind.
            if let Err(error) = sock.read_to_end(&mut rest) {
                assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
            }
            assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
        }
        assert_eq!(node.get(node.metrics, "/livez").status, 200);
    });
}

fn tls() -> Tls {
    Tls::new(Version::Tls13)
}
