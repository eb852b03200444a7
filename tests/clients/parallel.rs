//! Eight control connections of one program with one TLS cache: most data connections show a sibling's session, and every byte still lands where it belongs.
//!
//! Gets: curl -Z, rclone, lftp and a rustls client; TLS 1.2 and 1.3; eight data ports, and one. Gives: files of one size with different contents, by hash.
//! Never: counts on sizes or names: only a hash tells one of these files from another.

use crate::kit::{self, Node, Options, Tree, Version, contents, parallel};
use crate::need;

/// A round trip of a whole directory: from `up` to the node's root, from there to `down`.
type Transfers = fn(&Node, &Tree, Version, usize);

#[test]
fn curl_with_eight_transfers_at_once() {
    need!("curl");
    kit::test(400, || matrix(parallel::curl));
}

#[test]
fn rclone_with_eight_transfers_at_once() {
    need!("rclone");
    kit::test(400, || matrix(parallel::rclone));
}

#[test]
fn lftp_with_eight_transfers_at_once() {
    need!("lftp");
    kit::test(400, || matrix(parallel::lftp));
}

#[test]
fn rustls_with_one_cache_and_eight_sessions() {
    kit::test(400, || matrix(parallel::rustls));
}

fn matrix(client: Transfers) {
    for ports in ["0/8", "0/1"] {
        for version in [Version::Tls12, Version::Tls13] {
            let (node, local) = (Node::with(Options::default().set("data", &format!("{{ ports: {ports:?} }}"))), Tree::new());
            for index in 0..files() {
                local.write_random(&format!("up/{index}.bin"), SIZE);
            }
            std::fs::create_dir(local.join("down")).unwrap();
            client(&node, &local, version, files());
            assert_eq!(contents(&local.join("up")), contents(&node.root), "uploaded, {version:?}, {ports} ports");
            assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {version:?}, {ports} ports");
        }
    }
}

/// Of each client, version and number of ports.
fn files() -> usize {
    if kit::full() { 100 } else { 24 }
}

const SIZE: u64 = 60_000;
