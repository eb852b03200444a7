//! Digests over a real socket: every way of asking, every range, every refusal, against Python's hashlib and zlib.
//!
//! Gets: files on the disk and files that were uploaded. Gives: exact replies; what was read, seen by metric and not by time.
//! Never: computes an expected value with the code under test.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use crate::kit::{self, Client, Node, Options, Run, random_bytes, users_file};
use crate::need;

/// Verbs and Python's names.
const CHECKSUMS: [(&str, &str); 6] = [("XCRC", "crc32"), ("XMD5", "md5"), ("XSHA", "sha1"), ("XSHA1", "sha1"), ("XSHA256", "sha256"), ("XSHA512", "sha512")];
const HASHES: [(&str, &str); 5] = [("CRC32", "crc32"), ("MD5", "md5"), ("SHA-1", "sha1"), ("SHA-256", "sha256"), ("SHA-512", "sha512")];

/// Starts and ends.
type Ranges = Vec<(u64, u64)>;

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

/// What Python computes of parts of files.
pub(super) fn expected(questions: &[(&Path, u64, u64)]) -> Vec<Value> {
    let questions: Vec<Value> = questions.iter().map(|(file, start, end)| serde_json::json!({ "file": file, "start": start, "end": end })).collect();
    let out = Run::new("python3", ["-c", PYTHON]).input(serde_json::to_vec(&questions).unwrap()).seconds(300).run().ok();
    serde_json::from_slice(&out.stdout).unwrap()
}

pub(super) fn session(node: &Node) -> Client {
    Client::ready(node)
}

/// The reply without its code.
pub(super) fn text(client: &mut Client, command: &str) -> String {
    client.command(command).text
}

/// A file with a byte here and there, and holes between.
pub(super) fn sparse(path: &Path, size: u64) {
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
        let files: [(&str, &str, Ranges); 7] = [
            ("empty", "empty", vec![]),
            ("one", "/one", vec![(0, 1)]),
            ("twelve.txt", "./twelve.txt", vec![(0, 12), (0, 1), (11, 12), (4, 9)]),
            ("link", "link", vec![(6, 12)]),
            ("five", "five", vec![(0, 5 << 20), (1, (5 << 20) - 1), (262_143, 262_145), (5_242_879, 5_242_880)]),
            ("dir with blanks/ä €\u{1f600} \"q\".bin", "dir with blanks/ä €\u{1f600} \"\"q\"\".bin", vec![(7, 4 << 20)]),
            ("sparse", "sparse", sparse_ranges(large)),
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
                every_part(&mut client, name, quoted, (start, end), &part);
            }
        }
        // Whatever was asked for twice was read once, but for what was too young at first.
        let computed = node.metric("ftps_gateway_digests_total", &["source=\"cache\"", "result=\"done\""]).unwrap();
        assert!(computed > 20.0, "{computed}");
    });
}

/// Where 31 bits end, too, if the file is so large.
fn sparse_ranges(large: u64) -> Ranges {
    let mut ranges = vec![(large / 2 - 10, large / 2 + 10), (large - 1, large)];
    ranges.extend((large > 1 << 31).then_some(((1 << 31) - 5, (1 << 31) + 5)));
    ranges
}

fn every_part(client: &mut Client, name: &str, quoted: &str, (start, end): (&u64, &u64), part: &Value) {
    for (verb, algorithm) in CHECKSUMS {
        let value = part[algorithm].as_str().unwrap().to_uppercase();
        assert_eq!(text(client, &format!("{verb} \"{quoted}\" {start} {end}")), format!("213 {value}"), "{verb} {name} {start} {end}");
    }
    for (word, algorithm) in HASHES {
        client.command(&format!("OPTS HASH {word}")).is(200);
        client.command(&format!("RANG {start} {}", end - 1)).is(350);
        let value = part[algorithm].as_str().unwrap();
        assert_eq!(text(client, &format!("HASH {name}")), format!("213 {word} {start}-{} {value} {name}", end - 1));
    }
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
        std::fs::write(at("empty"), b"").unwrap();
        for kind in ["TYPE A", "TYPE I"] {
            client.command(kind).is(200);
            CHECKSUMS.iter().for_each(|(verb, _)| every_wrong_range(&mut client, verb));
        }
        for (command, reply) in [
            ("MD5", "501 Invalid number of parameters"),
            ("HASH ", "501 Invalid number of parameters"),
            ("HASH file 0 5", "550 file 0 5: No such file or directory"),
            ("RANG 0 10", "350 Restarting at 0. End Byte range at 10."),
            ("HASH file", "501 HASH: end exceeds file size"),
            ("HASH none", "550 none: No such file or directory"),
            ("OPTS HASH SHA512", "501 Unsupported algorithm"),
            ("XSHA384 file", "500 Unknown command"),
        ] {
            assert_eq!(text(&mut client, command), reply, "{command}");
        }
        assert_eq!(text(&mut client, "XCRC large 1 1025").len(), "213 12345678".len(), "a part of a large file may be small");
        who_may_not(&node);
    });
}

/// A user without the permission, one with one algorithm, and one who has not logged in.
fn who_may_not(node: &Node) {
    let mut lister = Client::session_of(node, &kit::Tls::new(kit::Version::Tls13), "lister");
    assert_eq!(text(&mut lister, "XCRC file"), "550 file: Operation not permitted");
    assert_eq!(text(&mut lister, "HASH file"), "552 file: Operation not permitted");
    let mut robot = Client::session_of(node, &kit::Tls::new(kit::Version::Tls13), "robot");
    assert!(robot.command("FEAT").text.contains(" HASH CRC32*;\n XCRC\n MLST"), "{}", robot.command("FEAT").text);
    robot.command("XMD5 file").is(500);
    robot.command("HELP XMD5").is(502);
    robot.command("XCRC file").is(213);
    let mut stranger = Client::connect(node, &kit::Tls::new(kit::Version::Tls13));
    stranger.secure();
    assert_eq!(text(&mut stranger, "XCRC file"), "530 Please login with USER and PASS");
    assert_eq!(text(&mut stranger, "HASH"), "530 Please login with USER and PASS");
}

/// Of a file of ten bytes and of an empty one.
fn every_wrong_range(client: &mut Client, verb: &str) {
    for (arguments, reply) in [
        (" file 0 11", ": end exceeds file size"),
        (" file 0 9223372036854775807", ": end exceeds file size"),
        (" file 6 5", " requires end (5) greater than start (6)"),
        (" file 5 5", " requires end (5) greater than start (5)"),
        (" \"file\" 10 10", " requires end (10) greater than start (10)"),
        (" empty 0 0", " requires end (0) greater than start (0)"),
        (" empty 0 1", ": end exceeds file size"),
        (" file x 5", " requires a start greater than or equal to 0"),
        (" file -1 5", " requires a start greater than or equal to 0"),
        (" file 5 y", " requires an end greater than 0"),
        (" file 5 -1", " requires an end greater than 0"),
        (" file 0 18446744073709551615", " requires an end greater than 0"),
        (" file 0 18446744073709551616", " requires an end greater than 0"),
    ] {
        assert_eq!(text(client, &format!("{verb}{arguments}")), format!("501 {verb}{reply}"), "{verb}{arguments}");
    }
    for arguments in ["", " ", " file 5", " \"file\" 5", " file name.txt"] {
        assert_eq!(text(client, &format!("{verb}{arguments}")), "501 Invalid number of parameters", "{verb}{arguments}");
    }
    assert_eq!(text(client, &format!("{verb} file 0 10 and more")), text(client, &format!("{verb} file")), "words behind a range mean nothing");
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
