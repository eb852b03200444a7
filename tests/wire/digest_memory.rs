//! What becomes of digests between two questions: known from uploads, carried over, shared by all who ask, given up.
//!
//! Gets: uploads, downloads, clients that leave. Gives: what was read, by metric and not by time.
//! Never: asserts a time; those are printed as notes.

use std::time::{Duration, Instant};

use super::digests::{expected, session, sparse, text};
use crate::kit::{self, Client, Node, Options, eventually, random_bytes};
use crate::need;

/// Bytes that went through SHA-256.
fn hashed(node: &Node) -> f64 {
    node.metric("ftps_gateway_digest_bytes_total", &["algorithm=\"sha256\""]).unwrap()
}

#[test]
fn what_came_and_went_is_known_without_reading_it() {
    need!("python3");
    kit::test(120, || {
        let node = Node::with(Options::default().set("digests", "{ at_upload: [sha256], at_download: [md5, sha512] }"));
        let mut client = session(&node);
        let bytes = random_bytes(3_000_000);
        let lines = b"one\r\ntwo\r\nthree".repeat(1000);
        client.put("STOR image", &bytes).is(226);
        client.put("APPE new", &bytes).is(226);
        client.command("TYPE A").is(200);
        client.put("STOR text", &lines).is(226);
        client.command("TYPE I").is(200);
        let read = hashed(&node);
        let stored = std::fs::metadata(node.root.join("text")).unwrap().len() as f64;
        assert_eq!(read, 6_000_000.0 + stored, "only what came, as it is stored");
        let names = ["image", "new", "text"];
        let paths = names.map(|name| node.root.join(name));
        let questions: Vec<_> = paths.iter().map(|path| (path.as_path(), 0, std::fs::metadata(path).unwrap().len())).collect();
        let answers = expected(&questions);
        for (name, answer) in names.iter().zip(&answers) {
            assert_eq!(text(&mut client, &format!("XSHA256 {name}")), format!("213 {}", answer["sha256"].as_str().unwrap().to_uppercase()));
            // It stays known under another name, with another mode and another time.
            client.command(&format!("RNFR {name}")).is(350);
            client.command(&format!("RNTO {name}2")).is(250);
            client.command(&format!("SITE CHMOD 600 {name}2")).is(200);
            client.command(&format!("MFMT 20200102030405 {name}2")).is(213);
            client.command(&format!("MFF Modify=20200102030405;UNIX.mode=0640; {name}2")).is(213);
            client.command(&format!("SITE UTIME 202001020304 {name}2")).is(200);
            assert_eq!(text(&mut client, &format!("XSHA256 {name}2")), format!("213 {}", answer["sha256"].as_str().unwrap().to_uppercase()));
        }
        assert_eq!(hashed(&node), read, "no file was read");
        let line = node.logged(&["transfer_ended", "/image", answers[0]["sha256"].as_str().unwrap()]);
        assert!(line.contains("\"algorithm\":\"sha256\""), "{line}");

        // Downloads, of a state that has stood for a while.
        std::thread::sleep(Duration::from_millis(2100));
        assert!(client.get("RETR image2") == bytes);
        client.command("TYPE A").is(200);
        client.get("RETR text2");
        client.command("TYPE I").is(200);
        for (name, answer) in [("image2", &answers[0]), ("text2", &answers[2])] {
            for (verb, algorithm) in [("XMD5", "md5"), ("XSHA512", "sha512")] {
                assert_eq!(text(&mut client, &format!("{verb} {name}")), format!("213 {}", answer[algorithm].as_str().unwrap().to_uppercase()));
            }
        }
        let cached = node.metric("ftps_gateway_digests_total", &["source=\"computed\"", "result=\"done\""]);
        assert_eq!(cached, Some(0.0), "every question was answered from memory");
    });
}

#[test]
fn what_came_in_parts_is_read_afterwards() {
    need!("python3");
    kit::test(60, || {
        let node = Node::start();
        let mut client = session(&node);
        let bytes = random_bytes(1_000_000);
        for (name, second) in [("appended", "APPE appended"), ("resumed", "STOR resumed")] {
            client.put(&format!("STOR {name}"), &bytes[..400_000]).is(226);
            let before = hashed(&node);
            if name == "resumed" {
                client.command("REST 400000").is(350);
            }
            client.put(second, &bytes[400_000..]).is(226);
            let path = node.root.join(name);
            let answer = expected(&[(&path, 0, 1_000_000)])[0]["sha256"].as_str().unwrap().to_owned();
            let line = node.logged(&["transfer_digest", name, &answer]);
            assert!(line.contains("\"transfer\":\"t_") && line.contains("\"algorithm\":\"sha256\""), "{line}");
            assert_eq!(hashed(&node), before + 1_000_000.0, "the whole file, once");
            assert_eq!(text(&mut client, &format!("XSHA256 {name}")), format!("213 {}", answer.to_uppercase()));
            assert_eq!(hashed(&node), before + 1_000_000.0, "what was read is remembered");
            assert_eq!(node.metric("ftps_gateway_digests_total", &["source=\"computed\"", "result=\"done\""]), Some(0.0));
        }
    });
}

/// A log that grows by many small parts is not read anew for each of them.
#[test]
fn a_file_that_grows_is_read_when_it_has_grown() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = session(&node);
        client.put("STOR log", &random_bytes(1_000_000)).is(226);
        for _ in 0..12 {
            client.put("APPE log", b"one more line\n").is(226);
        }
        let size = 1_000_000.0 + 12.0 * 14.0;
        node.logged(&["transfer_digest", "/log"]);
        assert_eq!(hashed(&node), 1_000_000.0 + size, "once when it came, once at the end");
    });
}

#[test]
fn a_part_that_was_fetched_makes_the_whole_known() {
    need!("python3");
    kit::test(60, || {
        let node = Node::with(Options::default().set("digests", "{ at_upload: [], at_download: [sha256] }"));
        let (mut client, path) = (session(&node), node.root.join("file"));
        let bytes = random_bytes(1_000_000);
        std::fs::write(&path, &bytes).unwrap();
        let told = || node.log().iter().filter(|line| line.contains("transfer_digest")).count();
        for part in 1..=3 {
            client.command("REST 999000").is(350);
            assert!(client.get("RETR file") == bytes[999_000..]);
            eventually(20, "the transfer has its digest", || told() == part);
            assert_eq!(hashed(&node), 1_000_000.0, "read once, whoever fetches how many parts");
        }
        let answer = expected(&[(&path, 0, 1_000_000)])[0]["sha256"].as_str().unwrap().to_uppercase();
        assert_eq!(text(&mut client, "XSHA256 file"), format!("213 {answer}"));
        assert_eq!(node.metric("ftps_gateway_digests_total", &["source=\"computed\"", "result=\"done\""]), Some(0.0));
    });
}

#[test]
fn a_changed_file_has_another_digest() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = session(&node);
        let path = node.root.join("file");
        client.put("STOR file", b"first").is(226);
        let mut last = text(&mut client, "XSHA256 file");
        for index in 0..20 {
            // In place, of the same size, mostly within the same second.
            std::fs::write(&path, format!("{index:05}")).unwrap();
            let now = text(&mut client, "XSHA256 file");
            assert_ne!(now, last);
            assert_eq!(text(&mut client, "XSHA256 file"), now);
            last = now;
        }
        client.put("STOR file", b"first").is(226);
        assert_ne!(text(&mut client, "XSHA256 file"), last);
    });
}

#[test]
fn abor_and_a_disconnect_stop_a_digest() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::File::create(node.root.join("huge")).unwrap().set_len(9 << 30).unwrap();
        let mut client = session(&node);
        client.send(b"XSHA512 huge\r\nNOOP\r\n").unwrap();
        assert!(client.silent(Duration::from_millis(300)));
        client.send(b"ABOR\r\n").unwrap();
        let replies: Vec<String> = (0..3).map(|_| client.reply().text).collect();
        assert_eq!(replies, ["426 Digest aborted", "200 NOOP ok", "226 Abort successful"]);
        quiet(&node);
        client.send(b"XSHA512 huge\r\n").unwrap();
        eventually(10, "it is computed", || node.metric("ftps_gateway_digest_queue", &[]) == Some(1.0));
        drop(client);
        let left = Instant::now();
        quiet(&node);
        eprintln!("NOTE digest: all work gone {:?} after the disconnect", left.elapsed());
        assert_eq!(node.metric("ftps_gateway_digests_total", &["result=\"cancelled\""]), Some(2.0));
    });
}

fn quiet(node: &Node) {
    eventually(10, "nothing is computed any more", || node.metric("ftps_gateway_digest_queue", &[]) == Some(0.0));
}

#[test]
fn many_who_ask_for_one_file_wait_for_one_reading() {
    kit::test(300, || {
        let node = Node::start();
        let size: u64 = if kit::full() { 1 << 30 } else { 300 << 20 };
        sparse(&node.root.join("large"), size);
        let mut others = session(&node);
        let mut clients: Vec<Client> = (0..24).map(|_| session(&node)).collect();
        clients.iter_mut().for_each(|client| client.send(b"XSHA512 large\r\n").unwrap());
        let mut waits = Vec::new();
        let mut first = None;
        while first.is_none() {
            let asked = Instant::now();
            others.command("NOOP").is(200);
            waits.push(asked.elapsed());
            std::thread::sleep(Duration::from_millis(5));
            if node.metric("ftps_gateway_digest_queue", &[]) == Some(0.0) && waits.len() > 10 {
                first = Some(clients[0].reply());
            }
        }
        let first = first.unwrap();
        first.is(213);
        for client in &mut clients[1..] {
            assert_eq!(client.reply(), first);
        }
        waits.sort();
        eprintln!("NOTE digest: NOOP of others p50 {:?}, p99 {:?}, {} asked", waits[waits.len() / 2], waits[waits.len() * 99 / 100], waits.len());
        let read = node.metric("ftps_gateway_digest_bytes_total", &["algorithm=\"sha512\""]).unwrap();
        assert_eq!(read, size as f64, "read once");
        let of = |source: &str| node.metric("ftps_gateway_digests_total", &[&format!("source=\"{source}\""), "algorithm=\"sha512\""]).unwrap();
        assert_eq!((of("computed"), of("computed") + of("coalesced") + of("cache")), (1.0, 24.0));
        // Twenty-four that leave while they wait for different parts.
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(format!("XSHA512 large {index} {}\r\n", size - 1).as_bytes()).unwrap();
        }
        eventually(10, "they wait", || node.metric("ftps_gateway_digest_queue", &[]) > Some(10.0));
        drop(clients);
        let left = Instant::now();
        quiet(&node);
        eprintln!("NOTE digest: 24 clients' work gone {:?} after they left", left.elapsed());
    });
}

#[test]
fn a_small_cache_refuses_nothing() {
    kit::test(if kit::full() { 900 } else { 120 }, || {
        let node = Node::with(Options::default().set("digests", "{ cache: { entries: 100 } }"));
        let files = if kit::full() { 10_000 } else { 1_000 };
        let mut client = session(&node);
        for index in 0..files {
            std::fs::write(node.root.join(format!("f{index}")), format!("{index}")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(2100));
        for index in 0..files {
            client.command(&format!("XCRC f{index}")).is(213);
        }
        assert_eq!(node.metric("ftps_gateway_digest_cache_entries", &[]), Some(100.0));
        let before = node.metric("ftps_gateway_digests_total", &["source=\"cache\""]);
        client.command(&format!("XCRC f{}", files - 1)).is(213);
        assert_eq!(node.metric("ftps_gateway_digests_total", &["source=\"cache\""]), before.map(|count| count + 1.0));
    });
}
