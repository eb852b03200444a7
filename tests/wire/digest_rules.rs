//! What may be asked of digests and what may not: each key of `digests`, devices, files that change while they are read, anonymous.
//!
//! Gets: a node for each configuration. Gives: exact replies, and what was computed, by metric.
//! Never: trusts a key that has no effect on the wire.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::digests::{expected, session, text};
use crate::kit::{self, Client, Node, Options, Run, Tls, Version, eventually, random_bytes, users_file};
use crate::need;

/// The ways of asking whose faults have codes of their own, with the code for a fault of each.
fn three(codes: [u16; 3], name: &str) -> [(String, u16); 3] {
    ["XSHA256", "MD5", "HASH"].map(|verb| format!("{verb} {name}")).into_iter().zip(codes).collect::<Vec<_>>().try_into().unwrap()
}

fn computed(node: &Node, algorithm: &str) -> f64 {
    node.metric("ftps_gateway_digest_bytes_total", &[&format!("algorithm=\"{algorithm}\"")]).unwrap()
}

fn answered(node: &Node, source: &str) -> f64 {
    node.metric("ftps_gateway_digests_total", &[&format!("source=\"{source}\""), "result=\"done\""]).unwrap()
}

#[test]
fn each_key_of_digests_has_its_effect() {
    need!("python3");
    kit::test(60, || {
        let users = users_file(&[("demo", "/", "all"), ("partner", "/", "all")]).replace("name: partner,", "name: partner, class: partners,");
        let digests = "{ algorithms: [crc32, sha1, sha512], default: sha512, max_size: 1MiB, cache: { entries: 2, max_age: 4s }, at_upload: [crc32, md5], \
                       at_download: [sha512, sha256], rules: [{ class: partners, max_size: 10B }, { path: /narrow, algorithms: [crc32] }] }";
        let node = Node::with(Options { users, ..Options::default() }.set("digests", digests));
        std::fs::create_dir(node.root.join("narrow")).unwrap();
        let mut client = session(&node);
        // algorithms, default
        assert!(client.command("FEAT").text.contains("\n HASH CRC32;SHA-1;SHA-512*;\n XCRC\n XSHA\n XSHA1\n XSHA512\n"), "{}", client.command("FEAT").text);
        for command in ["MD5 file", "XMD5 file", "XSHA256 file"] {
            client.command(command).is(500);
        }
        client.command("OPTS HASH MD5").is(501);
        assert_eq!(text(&mut client, "OPTS HASH"), "200 SHA-512");
        // at_upload: what nobody may ask for is not computed either
        let bytes = random_bytes(1000);
        client.put("STOR file", &bytes).is(226);
        node.logged(&["transfer_ended", "/file", "\"algorithm\":\"crc32\""]);
        assert_eq!(["crc32", "md5", "sha1"].map(|algorithm| computed(&node, algorithm)), [1000.0, 0.0, 0.0]);
        let path = node.root.join("file");
        let values = expected(&[(&path, 0, 1000)]).remove(0);
        assert_eq!(text(&mut client, "XCRC file"), format!("213 {}", values["crc32"].as_str().unwrap().to_uppercase()));
        assert_eq!(answered(&node, "cache"), 1.0);
        // max_size, of an upload and of a question
        client.put("STOR large", &vec![7; (1 << 20) + 1]).is(226);
        let line = node.logged(&["transfer_ended", "/large"]);
        assert!(!line.contains("\"digest\""), "{line}");
        client.command("XCRC large").is(550);
        client.command("XCRC large 1 1048577").is(213);
        // rules: class, path
        let mut partner = Client::session_of(&node, &Tls::new(Version::Tls13), "partner");
        assert_eq!(text(&mut partner, "XCRC file 0 11"), "550 file: Operation not permitted");
        partner.command("XCRC file 0 10").is(213);
        client.put("STOR narrow/file", b"narrow").is(226);
        client.command("XCRC narrow/file").is(213);
        assert_eq!(text(&mut client, "XSHA1 narrow/file"), "550 narrow/file: Operation not permitted");
        // at_download
        std::thread::sleep(Duration::from_millis(2100));
        let before = computed(&node, "sha512");
        assert!(client.get("RETR file") == bytes);
        assert_eq!((computed(&node, "sha512") - before, computed(&node, "sha256")), (1000.0, 0.0));
        // cache: entries, max_age
        assert!(node.metric("ftps_gateway_digest_cache_entries", &[]) <= Some(2.0));
        let cached = answered(&node, "cache");
        assert_eq!(text(&mut client, "XSHA512 file"), format!("213 {}", values["sha512"].as_str().unwrap().to_uppercase()));
        assert_eq!(answered(&node, "cache"), cached + 1.0);
        std::thread::sleep(Duration::from_millis(4100));
        let read = answered(&node, "computed");
        client.command("XSHA512 file").is(213);
        assert_eq!(answered(&node, "computed"), read + 1.0, "what is too old is computed anew");
    });
}

#[test]
fn a_cache_of_none_remembers_nothing() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("digests", "{ cache: { entries: 0 }, at_upload: [sha256] }"));
        let mut client = session(&node);
        client.put("STOR file", b"bytes").is(226);
        node.logged(&["transfer_ended", "/file", "\"algorithm\":\"sha256\""]);
        client.put("APPE file", b"more").is(226);
        std::thread::sleep(Duration::from_millis(2500));
        for _ in 0..2 {
            client.command("XSHA256 file").is(213);
        }
        assert_eq!((answered(&node, "computed"), answered(&node, "cache")), (2.0, 0.0));
        assert_eq!(computed(&node, "sha256"), 5.0 + 9.0 + 9.0, "nothing is read in the background either: it would be thrown away");
    });
}

#[test]
fn devices_are_refused_unread() {
    kit::test(30, || {
        let node = Node::start();
        for (name, minor) in [("null", "3"), ("zero", "5"), ("full", "7"), ("random", "8"), ("urandom", "9")] {
            if Run::new("mknod", [node.root.join(name).to_str().unwrap(), "c", "1", minor]).run().code != Some(0) {
                return kit::skip("no devices can be made here");
            }
        }
        let mut client = session(&node);
        for name in ["null", "zero", "full", "random", "urandom"] {
            for (command, code) in three([550, 550, 556], name) {
                assert_eq!(text(&mut client, &command), format!("{code} {name}: Operation not permitted"));
            }
        }
        assert_eq!(computed(&node, "sha256"), 0.0);
    });
}

#[test]
fn a_file_that_changes_is_450_and_one_that_shrinks_550() {
    kit::test(120, || {
        let node = Node::start();
        let path = node.root.join("moving");
        let mut client = session(&node);
        for (command, shrinks) in [("XSHA512", false), ("MD5", false), ("HASH", false), ("XMD5", true), ("MD5", true), ("HASH", true)] {
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(1 << 30).unwrap();
            client.send(format!("{command} moving\r\n").as_bytes()).unwrap();
            eventually(10, "it is read", || node.metric("ftps_gateway_digest_queue", &[]) == Some(1.0));
            std::thread::sleep(Duration::from_millis(50));
            if shrinks {
                file.set_len(5).unwrap();
            } else {
                file.write_at(b"x", 0).unwrap();
            }
            let expected =
                if shrinks { "550 moving: The file became shorter while it was read" } else { "450 moving: The file changed while it was read, try again" };
            while client.silent(Duration::from_secs(1)) {}
            assert_eq!(client.reply().text, expected, "{command}");
        }
    });
}

#[test]
fn anonymous_asks_for_none_unless_it_may() {
    kit::test(60, || {
        for (permissions, codes) in [("", [550, 550, 552]), (", permissions: [list, read, digest]", [213, 251, 213])] {
            let users = format!("{{ files: [users.yaml], anonymous: {{ enabled: true{permissions} }} }}");
            let node = Node::with(Options::default().set("users", &users));
            std::fs::create_dir(node.root.join("pub")).unwrap();
            std::fs::write(node.root.join("pub/file"), b"for all").unwrap();
            let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
            client.command("USER anonymous").is(331);
            client.command("PASS me@example.org").is(230);
            for (command, code) in three(codes, "file") {
                client.command(&command).is(code);
            }
            assert_eq!(computed(&node, "sha256") > 0.0, codes[0] == 213);
        }
    });
}
