//! Digests over a real socket: every way of asking, every range, every refusal, against Python's hashlib and zlib.
//!
//! Gets: files on the disk and files that were uploaded. Gives: exact replies; what was read, seen by metric and not by time.
//! Never: computes an expected value with the code under test.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::{self, Client, Node, Options, Run, eventually, random_bytes, users_file};
use crate::need;

/// Verbs and Python's names.
const CHECKSUMS: [(&str, &str); 6] = [("XCRC", "crc32"), ("XMD5", "md5"), ("XSHA", "sha1"), ("XSHA1", "sha1"), ("XSHA256", "sha256"), ("XSHA512", "sha512")];
const HASHES: [(&str, &str); 5] = [("CRC32", "crc32"), ("MD5", "md5"), ("SHA-1", "sha1"), ("SHA-256", "sha256"), ("SHA-512", "sha512")];

/// All digests of `start..end` of a file, by Python.
const PYTHON: &str = "
import hashlib, json, sys, zlib
out = []
for question in json.load(sys.stdin):
    hashes = {name: hashlib.new(name) for name in ('md5', 'sha1', 'sha256', 'sha512')}
    crc = 0
    with open(question['file'], 'rb') as file:
        file.seek(question['start'])
        left = question['end'] - question['start']
        while left > 0:
            part = file.read(min(left, 1 << 20))
            left -= len(part)
            crc = zlib.crc32(part, crc)
            for one in hashes.values():
                one.update(part)
    answer = {name: one.hexdigest() for name, one in hashes.items()}
    answer['crc32'] = '%08x' % crc
    out.append(answer)
print(json.dumps(out))
";

fn expected(questions: &[(&Path, u64, u64)]) -> Vec<Value> {
    let questions: Vec<Value> = questions.iter().map(|(file, start, end)| serde_json::json!({ "file": file, "start": start, "end": end })).collect();
    let out = Run::new("python3", ["-c", PYTHON]).input(serde_json::to_vec(&questions).unwrap()).seconds(300).run().ok();
    serde_json::from_slice(&out.stdout).unwrap()
}

fn session(node: &Node) -> Client {
    Client::ready(node)
}

/// The reply without its code.
fn text(client: &mut Client, command: &str) -> String {
    client.command(command).text
}

/// A file with a byte here and there, and holes between.
fn sparse(path: &Path, size: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in [(0, &b"begin"[..]), (size / 2, b"middle"), (size - 3, b"end")] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }
}

#[test]
fn every_digest_of_every_file_is_pythons() {
    need!("python3");
    kit::test(if kit::full() { 900 } else { 300 }, || {
        let node = Node::start();
        let at = |name: &str| node.root.join(name);
        std::fs::create_dir(at("dir with blanks")).unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        std::fs::write(at("one"), b"\n").unwrap();
        std::fs::write(at("twelve.txt"), b"hello world\n").unwrap();
        std::fs::write(at("dir with blanks/ä €\u{1f600} \"q\".bin"), random_bytes(5 << 20)).unwrap();
        std::fs::write(at("five"), random_bytes(5 << 20)).unwrap();
        let large = if kit::full() { 3 << 30 } else { 300 << 20 };
        sparse(&at("sparse"), large);
        std::os::unix::fs::symlink("twelve.txt", at("link")).unwrap();
        // Name on the disk, name in a quoted command, ranges.
        let files: [(&str, &str, Vec<(u64, u64)>); 7] = [
            ("empty", "empty", vec![]),
            ("one", "/one", vec![(0, 1)]),
            ("twelve.txt", "./twelve.txt", vec![(0, 12), (0, 1), (11, 12), (4, 9)]),
            ("link", "link", vec![(6, 12)]),
            ("five", "five", vec![(0, 5 << 20), (1, (5 << 20) - 1), (262_143, 262_145), (5_242_879, 5_242_880)]),
            ("dir with blanks/ä €\u{1f600} \"q\".bin", "dir with blanks/ä €\u{1f600} \"\"q\"\".bin", vec![(7, 4 << 20)]),
            ("sparse", "sparse", vec![(large / 2 - 10, large / 2 + 10)]),
        ];
        let mut questions = Vec::new();
        let paths: Vec<_> = files.iter().map(|(name, ..)| at(name)).collect();
        for (path, (_, _, ranges)) in paths.iter().zip(&files) {
            questions.push((path.as_path(), 0, std::fs::metadata(path).unwrap().len()));
            questions.extend(ranges.iter().map(|(start, end)| (path.as_path(), *start, *end)));
        }
        let mut answers = expected(&questions).into_iter();
        let mut client = session(&node);
        for (name, quoted, ranges) in &files {
            let whole = answers.next().unwrap();
            let size = std::fs::metadata(at(name)).unwrap().len();
            for kind in ["TYPE A", "TYPE I"] {
                client.command(kind).is(200);
                every_way(&mut client, name, quoted, size, &whole);
            }
            for (start, end) in ranges {
                let part = answers.next().unwrap();
                for (verb, algorithm) in CHECKSUMS {
                    let value = part[algorithm].as_str().unwrap();
                    assert_eq!(
                        text(&mut client, &format!("{verb} \"{quoted}\" {start} {end}")),
                        format!("213 {}", value.to_uppercase()),
                        "{verb} {name} {start} {end}"
                    );
                }
                for (word, algorithm) in HASHES {
                    client.command(&format!("OPTS HASH {word}")).is(200);
                    client.command(&format!("RANG {start} {}", end - 1)).is(350);
                    let value = part[algorithm].as_str().unwrap();
                    assert_eq!(text(&mut client, &format!("HASH {name}")), format!("213 {word} {start}-{} {value} {name}", end - 1));
                }
            }
        }
        // Whatever was asked for twice was read once, but for what was too young at first.
        let computed = node.metric("ftps_gateway_digests_total", &["source=\"cache\"", "result=\"done\""]).unwrap();
        assert!(computed > 20.0, "{computed}");
    });
}

fn every_way(client: &mut Client, name: &str, quoted: &str, size: u64, whole: &Value) {
    for (verb, algorithm) in CHECKSUMS {
        let value = whole[algorithm].as_str().unwrap().to_uppercase();
        assert_eq!(text(client, &format!("{verb} \"{quoted}\"")), format!("213 {value}"), "{verb} {name}");
        if !quoted.contains([' ', '"']) {
            assert_eq!(text(client, &format!("{} {quoted}", verb.to_lowercase())), format!("213 {value}"), "{verb} {name}");
        }
    }
    let md5 = whole["md5"].as_str().unwrap().to_uppercase();
    assert_eq!(text(client, &format!("MD5 {name}")), format!("251 {name} {md5}"));
    let unquoted = quoted.replace("\"\"", "\"");
    assert_eq!(text(client, &format!("MD5 \"{quoted}\"")), format!("251 {unquoted} {md5}"));
    for (word, algorithm) in HASHES {
        assert_eq!(text(client, &format!("OPTS HASH {word}")), format!("200 {word}"));
        assert_eq!(text(client, &format!("HASH {name}")), format!("213 {word} 0-{size} {} {name}", whole[algorithm].as_str().unwrap()));
    }
}

#[test]
fn every_refusal_has_its_code_and_words() {
    kit::test(60, || {
        let users = users_file(&[("demo", "/home", "all"), ("lister", "/home", "[list, read]"), ("robot", "/home", "all")]);
        let digests = r#"{ max_size: 1KiB, rules: [{ path: /home/off, enabled: false }, { user: robot, algorithms: [crc32] }] }"#;
        let node = Node::with(Options { users, ..Options::default() }.set("digests", digests));
        let at = |name: &str| node.root.join("home").join(name);
        std::fs::create_dir_all(at("off")).unwrap();
        std::fs::create_dir_all(at("dir")).unwrap();
        std::fs::write(at("off/file"), b"1").unwrap();
        std::fs::write(at("large"), vec![7; 1025]).unwrap();
        std::fs::write(at("file"), b"0123456789").unwrap();
        std::fs::write(node.root.join("outside"), b"secret").unwrap();
        std::os::unix::fs::symlink("../outside", at("out")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        Run::new("mkfifo", [at("fifo")]).run().ok();
        let mut client = session(&node);
        for (name, checksum, md5, hash, words) in [
            ("none", 550, 550, 550, "No such file or directory"),
            ("dangling", 550, 550, 550, "No such file or directory"),
            ("dir", 550, 504, 553, "Not a regular file"),
            ("fifo", 550, 504, 553, "Not a regular file"),
            ("out", 550, 550, 550, "Permission denied"),
            ("off/file", 550, 550, 552, "Operation not permitted"),
            ("large", 550, 550, 556, "Operation not permitted"),
        ] {
            for (verb, _) in CHECKSUMS {
                assert_eq!(text(&mut client, &format!("{verb} {name}")), format!("{checksum} {name}: {words}"));
            }
            assert_eq!(text(&mut client, &format!("MD5 {name}")), format!("{md5} {name}: {words}"));
            assert_eq!(text(&mut client, &format!("HASH {name}")), format!("{hash} {name}: {words}"));
        }
        for (command, reply) in [
            ("XCRC file 0 11", "501 XCRC: end exceeds file size"),
            ("XCRC file 6 5", "501 XCRC requires end (5) greater than start (6)"),
            ("XCRC file 5 5", "501 XCRC requires end (5) greater than start (5)"),
            ("XCRC file x 5", "501 XCRC requires a start greater than or equal to 0"),
            ("XCRC file 5 y", "501 XCRC requires an end greater than 0"),
            ("XCRC file 0 18446744073709551615", "501 XCRC requires an end greater than 0"),
            ("XCRC file 5", "501 Invalid number of parameters"),
            ("XCRC", "501 Invalid number of parameters"),
            ("MD5", "501 Invalid number of parameters"),
            ("OPTS HASH SHA512", "501 Unsupported algorithm"),
            ("XSHA384 file", "500 Unknown command"),
        ] {
            assert_eq!(text(&mut client, command), reply, "{command}");
        }
        assert_eq!(text(&mut client, "XCRC large 1 1025").len(), "213 12345678".len(), "a part of a large file may be small");
        let mut lister = Client::session_of(&node, &kit::Tls::new(kit::Version::Tls13), "lister");
        assert_eq!(text(&mut lister, "XCRC file"), "550 file: Operation not permitted");
        assert_eq!(text(&mut lister, "HASH file"), "552 file: Operation not permitted");
        let mut robot = Client::session_of(&node, &kit::Tls::new(kit::Version::Tls13), "robot");
        assert!(robot.command("FEAT").text.contains(" HASH CRC32*;\n XCRC\n MLST"), "{}", robot.command("FEAT").text);
        robot.command("XMD5 file").is(500);
        robot.command("XCRC file").is(213);
        let mut stranger = Client::connect(&node, &kit::Tls::new(kit::Version::Tls13));
        stranger.secure();
        assert_eq!(text(&mut stranger, "XCRC file"), "530 Please login with USER and PASS");
        assert_eq!(text(&mut stranger, "HASH"), "530 Please login with USER and PASS");
    });
}

#[test]
fn digests_that_are_off_do_not_exist() {
    kit::test(30, || {
        let node = Node::with(Options::default().set("digests", "{ enabled: false }"));
        std::fs::write(node.root.join("file"), b"x").unwrap();
        let mut client = session(&node);
        for command in ["XCRC file", "HASH file", "MD5 file", "OPTS HASH", "RANG 0 1", "XCRC"] {
            assert_eq!(text(&mut client, command), "500 Unknown command", "{command}");
        }
        assert!(!client.command("FEAT").text.contains("HASH"));
        client.put("STOR upload", b"bytes").is(226);
        assert_eq!(node.metric("ftps_gateway_digest_bytes_total", &[]), Some(0.0), "nothing is computed of uploads either");
    });
}

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
            eventually(20, "the whole file is read", || hashed(&node) >= before + 1_000_000.0);
            let path = node.root.join(name);
            let answer = &expected(&[(&path, 0, 1_000_000)])[0];
            assert_eq!(text(&mut client, &format!("XSHA256 {name}")), format!("213 {}", answer["sha256"].as_str().unwrap().to_uppercase()));
        }
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
