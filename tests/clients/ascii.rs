//! TYPE A: CR LF on the wire, LF on the disk, whatever the pieces in which the bytes come; TYPE I touches nothing.
//!
//! Gets: text with every combination of line ends, cut everywhere. Gives: hashes of both sides.
//! Never: a byte lost or added that is no line end.

use sha2::{Digest, Sha256};

use super::wire::{get, put};
use crate::kit::{self, Client, Node, random_bytes};

#[test]
fn text_becomes_the_disks_and_back() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        for (wire, disk, back) in CASES {
            client.command("TYPE A").is(200);
            put(&mut client, "STOR", b"text", wire).is(226);
            assert_eq!(std::fs::read(node.root.join("text")).unwrap(), disk, "{:?} on the disk", String::from_utf8_lossy(wire));
            assert_eq!(get(&mut client, "RETR", b"text").unwrap(), back, "{:?} back", String::from_utf8_lossy(wire));
            let size = format!("213 {}", back.len());
            assert_eq!(client.command("SIZE text").text, size, "{:?}: SIZE is what RETR sends", String::from_utf8_lossy(wire));
            client.command("TYPE I").is(200);
            assert_eq!(get(&mut client, "RETR", b"text").unwrap(), disk);
        }
    });
}

#[test]
fn a_large_text_keeps_its_hash_both_ways() {
    kit::test(120, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        // Lines of every length, so that ends fall on every place of a buffer.
        let mut disk = Vec::new();
        for index in 0..9_000_usize {
            disk.extend(random_bytes(index % 701).into_iter().map(|byte| b' ' + byte % 90));
            disk.push(b'\n');
        }
        let wire = disk.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect::<Vec<u8>>();
        client.command("TYPE A").is(200);
        put(&mut client, "STOR", b"text", &wire).is(226);
        assert_eq!(sum(&std::fs::read(node.root.join("text")).unwrap()), sum(&disk), "on the disk");
        assert_eq!(sum(&get(&mut client, "RETR", b"text").unwrap()), sum(&wire), "back");
        put(&mut client, "APPE", b"text", &wire).is(226);
        assert_eq!(sum(&std::fs::read(node.root.join("text")).unwrap()), sum(&disk.repeat(2)), "appended");
    });
}

#[test]
fn a_line_end_cut_in_two_is_one_line_end() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("TYPE A").is(200);
        let mut data = client.begin("STOR text");
        data.handshake().unwrap();
        for piece in [&b"one\r"[..], b"\n", b"two", b"\r", b"\r", b"\nthree\r", b"x", b"\r"] {
            // One record each.
            data.write(piece).unwrap();
        }
        data.finish();
        client.expect(226);
        assert_eq!(std::fs::read(node.root.join("text")).unwrap(), b"one\ntwo\r\nthree\rx\r");
    });
}

fn sum(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// On the wire, on the disk, on the wire again.
const CASES: [(&[u8], &[u8], &[u8]); 9] = [
    (b"", b"", b""),
    (b"\r\n", b"\n", b"\r\n"),
    (b"one\r\ntwo\r\n", b"one\ntwo\n", b"one\r\ntwo\r\n"),
    (b"no end", b"no end", b"no end"),
    (b"bare\nlf", b"bare\nlf", b"bare\r\nlf"),
    (b"bare\rcr", b"bare\rcr", b"bare\rcr"),
    (b"\r\r\n", b"\r\n", b"\r\n"),
    (b"\n\r\n\r", b"\n\n\r", b"\r\n\r\n\r"),
    (b"\0\xff\x1a\r\n", b"\0\xff\x1a\n", b"\0\xff\x1a\r\n"),
];
