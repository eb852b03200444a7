//! The control connection: lines that are too long, bytes that do not belong there, commands that come early or during a transfer.
//!
//! Gets: bytes as an attacker or an odd client sends them. Gives: one reply for each command, in order, and no side effect of a refused one.
//! Never: a reply that mirrors what was sent.

use std::time::Duration;

use crate::kit::{self, Client, Node, Options, Tls, Version, contents, random_bytes};

#[test]
fn an_over_long_line_is_500_and_no_part_of_it_runs() {
    kit::test(120, || {
        let node = Node::start();
        for length in [8_193, 8_200, 10_000, 16_380, 16_384, 32_768, 65_536, 100_000] {
            let mut client = Client::ready(&node);
            let line = [vec![b'A'; length], b"MKD tail\r\n".to_vec()].concat();
            client.send(&line).unwrap();
            client.expect(500);
            client.command("PWD").is(257);
            assert!(contents(&node.root).is_empty(), "{length}: {:?}", contents(&node.root));
        }
    });
}

#[test]
fn the_third_over_long_line_closes() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        let line = [&vec![b'A'; 20_000][..], b"\r\n"].concat();
        client.send(&[&line[..], &line, &line, b"MKD a\r\n"].concat()).unwrap();
        client.expect(500);
        client.expect(500);
        let rest = client.rest();
        assert!(!rest.contains("257"), "{rest:?}");
        assert!(contents(&node.root).is_empty());
    });
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    kit::test(120, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("NOOP").is(200);
        let before = node.pss_kib();
        let piece = vec![b'A'; 1 << 20];
        // It may be closed half-way: that is an answer too.
        let sent = (0..32).take_while(|_| client.send(&piece).is_ok()).count();
        let grown = node.pss_kib().saturating_sub(before);
        assert!(grown < 8 << 10, "{grown} KiB more after {sent} MiB without a newline");
        Client::ready(&node).command("NOOP").is(200);
    });
}

#[test]
fn telnet_commands_inside_a_line_are_stripped() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        let patterns: [&[u8]; 9] = [
            b"\xff\xf4\xff\xf2NOOP\r\n",
            b"\xff\xf4\xf2NOOP\r\n",
            b"NO\xff\xf1OP\r\n",
            b"\xff\xfb\x01NOOP\r\n",
            b"\xff\xfd\x06NOOP\r\n",
            b"\xff\xfe\x01\xff\xfc\x02NOOP\r\n",
            b"\xff\xf6NOOP\r\n",
            b"NOOP\xff\xf1\r\n",
            b"NOOP\r\xff\xf1\n",
        ];
        for pattern in patterns {
            client.send(pattern).unwrap();
            let reply = client.reply();
            assert!(reply.code == 200, "{pattern:x?}: {}", reply.text);
        }
        // Negotiations without end count as a line without end.
        client.send(&b"\xff\xfb\x01".repeat(20_000)).unwrap();
        client.command("PWD").one_of(&[257, 500]);
        client.command("PWD").is(257);
    });
}

#[test]
fn an_escaped_0xff_is_a_byte_of_the_name() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.send(b"MKD a\xff\xffb\r\n").unwrap();
        client.expect(257);
        let names: Vec<_> = std::fs::read_dir(&node.root).unwrap().map(|entry| std::os::unix::ffi::OsStringExt::into_vec(entry.unwrap().file_name())).collect();
        assert_eq!(names, [b"a\xffb".to_vec()]);
    });
}

#[test]
fn control_bytes_in_paths_are_501_and_not_mirrored() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        for byte in [0x00, 0x01, 0x07, 0x08, 0x09, 0x0b, 0x1b, 0x7f] {
            for verb in ["MKD", "CWD", "DELE", "RNFR", "SIZE", "MLST"] {
                client.send(&[verb.as_bytes(), b" mark\x41", &[byte], b"b\r\n"].concat()).unwrap();
                let reply = client.reply();
                assert_eq!(reply.code, 501, "{verb} {byte:#x}: {:?}", reply.text);
                assert!(!reply.text.contains("mark"), "{:?}", reply.text);
            }
        }
        // A NUL does not cut a name short, a bare CR does not end a line.
        client.send(b"MKD a\0b\r\n").unwrap();
        client.expect(501);
        client.send(b"MKD a\rb\r\n").unwrap();
        client.expect(501);
        assert!(contents(&node.root).is_empty(), "{:?}", contents(&node.root));
    });
}

#[test]
fn names_with_line_ends_on_disk_forge_no_listing_line() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("good"), b"1").unwrap();
        std::fs::write(node.root.join("bad\r\n-rw-r--r-- 1 ftp ftp 1 Jan  1  2020 forged"), b"1").unwrap();
        std::fs::write(node.root.join("bad\nforged"), b"1").unwrap();
        let mut client = Client::ready(&node);
        for command in ["LIST", "NLST", "MLSD", "LIST -a"] {
            let list = client.list(command);
            assert!(list.contains("good"), "{command}: {list:?}");
            assert!(list.lines().all(|line| !line.ends_with("forged") || line.contains("bad")), "{command}: {list:?}");
            assert_eq!(list.matches('\n').count(), list.matches("\r\n").count(), "{command}: bare line ends in {list:?}");
        }
    });
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.send(b"MKD a\r\nCWD a\r\nPWD\r\nMKD b\r\nCWD b\r\nPWD\r\nCDUP\r\nRMD b\r\nTYPE A\r\nXYZZY\r\nNOOP\r\n").unwrap();
        let codes: Vec<u16> = (0..11).map(|_| client.reply().code).collect();
        assert_eq!(codes, [257, 250, 257, 257, 250, 257, 250, 250, 200, 500, 200]);
        assert_eq!(contents(&node.root).into_keys().collect::<Vec<_>>(), ["a/"]);
    });
}

#[test]
fn a_whole_login_can_be_pipelined_inside_tls() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        client.send(b"USER demo\r\nPASS demo-password\r\nPBSZ 0\r\nPROT P\r\nTYPE I\r\nPWD\r\n").unwrap();
        let codes: Vec<u16> = (0..6).map(|_| client.reply().code).collect();
        assert_eq!(codes, [331, 230, 200, 200, 200, 257]);
    });
}

#[test]
fn thousands_of_unread_replies_stop_the_reader_not_the_node() {
    kit::test(120, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("NOOP").is(200);
        let before = node.pss_kib();
        let sent = std::thread::spawn(move || {
            client.socket().set_write_timeout(Some(Duration::from_secs(3))).unwrap();
            let many = b"NOOP\r\n".repeat(10_000);
            (0..20).take_while(|_| client.send(&many).is_ok()).count()
        });
        sent.join().unwrap();
        let grown = node.pss_kib().saturating_sub(before);
        assert!(grown < 8 << 10, "{grown} KiB more with unread replies");
        Client::ready(&node).command("NOOP").is(200);
    });
}

#[test]
fn abor_during_a_download_is_426_then_226() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("big"), random_bytes(16 << 20)).unwrap();
        let mut client = Client::ready(&node);
        for abort in [&b"ABOR\r\n"[..], b"\xff\xf4\xff\xf2ABOR\r\n"] {
            let mut data = client.begin("RETR big");
            data.handshake().unwrap();
            data.read_some().unwrap();
            client.send(abort).unwrap();
            client.expect(426);
            client.expect(226);
            assert!(data.read_to_end().is_err(), "an aborted download does not end like a whole one");
        }
        client.command("ABOR").is(226);
        assert_eq!(client.list("NLST").trim_end(), "big");
    });
}

#[test]
fn stat_and_noop_are_answered_during_a_transfer() {
    kit::test(60, || {
        let node = Node::start();
        let bytes = random_bytes(8 << 20);
        std::fs::write(node.root.join("big"), &bytes).unwrap();
        let mut client = Client::ready(&node);
        let mut data = client.begin("RETR big");
        data.handshake().unwrap();
        let first = data.read_some().unwrap();
        client.command("STAT").one_of(&[211, 213]);
        let rest = data.read_to_end().unwrap();
        data.finish();
        client.expect(226);
        assert!([first, rest].concat() == bytes, "the bytes are whole");
    });
}

#[test]
fn three_unknown_commands_before_login_close() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::connect(&node, &Tls::new(Version::Tls13));
        client.send(b"XYZZY\r\nPLUGH\r\nXYZZY\r\nNOOP\r\n").unwrap();
        client.expect(500);
        client.expect(500);
        let rest = client.rest();
        assert!(!rest.contains("200"), "{rest:?}");
    });
}

#[test]
fn three_wrong_passwords_close() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        for _ in 0..2 {
            client.command("USER demo").is(331);
            client.command("PASS wrong").is(530);
        }
        client.command("USER nobody").is(331);
        let last = client.command("PASS wrong");
        last.one_of(&[421, 530]);
        client.rest();
        assert!(node.metric("ftps_gateway_logins_total", &[]).is_some_and(|count| count >= 3.0));
    });
}

#[test]
fn a_session_without_login_ends_at_its_deadline_whatever_it_says() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("limits", "{ login_timeout: 2s }"));
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        let ended = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            client.send(b"NOOP\r\n").is_err() || client.try_reply().map_or(true, |reply| reply.code == 421)
        });
        assert!(ended, "NOOP does not extend the login deadline");
    });
}

#[test]
fn an_idle_session_is_told_421() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("limits", "{ idle_timeout: 1s }"));
        let mut client = Client::ready(&node);
        client.expect(421);
        client.rest();
    });
}

/// `limits.login_timeout` counts from `REIN` then, not from the connection, which is long past.
#[test]
fn rein_gives_time_for_another_login() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("limits", "{ login_timeout: 2s, sessions_per_ip: 1000 }"));
        let mut client = Client::ready(&node);
        std::thread::sleep(Duration::from_millis(2_200));
        client.command("REIN").is(220);
        client.command("NOOP").is(200);
        client.login(kit::USER);
        client.command("PWD").is(257);
        client.command("REIN").is(220);
        // And no more time than that.
        client.expect(421);
    });
}

/// A link that leads nowhere can be deleted, so it can be renamed too.
#[test]
fn a_dangling_link_can_be_renamed() {
    kit::test(60, || {
        let node = Node::start();
        std::os::unix::fs::symlink("nowhere", node.root.join("link")).unwrap();
        let mut client = Client::ready(&node);
        client.command("RNFR link").is(350);
        client.command("RNTO other").is(250);
        assert!(node.root.join("other").symlink_metadata().unwrap().is_symlink());
    });
}
