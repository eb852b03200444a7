//! Eight control connections of one program with one TLS cache: most data connections show a sibling's session, and every byte still lands where it belongs.
//!
//! Gets: curl -Z, rclone, lftp and a rustls client; TLS 1.2 and 1.3; eight data ports, and one. Gives: files of one size with different contents, by hash.
//! Never: counts on sizes or names: only a hash tells one of these files from another.

use std::sync::Mutex;

use super::mirrors::rclone;
use crate::kit::{self, Client, Node, Options, Tls, Tree, Version, contents, curl, lftp};
use crate::need;

/// A round trip of a whole directory: from `up` to the node's root, from there to `down`.
type Transfers = fn(&Node, &Tree, Version);

#[test]
fn curl_with_eight_transfers_at_once() {
    need!("curl");
    kit::test(400, || matrix(with_curl));
}

#[test]
fn rclone_with_eight_transfers_at_once() {
    need!("rclone");
    kit::test(400, || matrix(with_rclone));
}

#[test]
fn lftp_with_eight_transfers_at_once() {
    need!("lftp");
    kit::test(400, || matrix(with_lftp));
}

#[test]
fn rustls_with_one_cache_and_eight_sessions() {
    kit::test(400, || matrix(with_rustls));
}

fn matrix(client: Transfers) {
    for ports in ["0/8", "0/1"] {
        for version in [Version::Tls12, Version::Tls13] {
            let (node, local) = (Node::with(Options::default().set("data", &format!("{{ ports: {ports:?} }}"))), Tree::new());
            for index in 0..files() {
                local.write_random(&format!("up/{index}.bin"), SIZE);
            }
            std::fs::create_dir(local.join("down")).unwrap();
            client(&node, &local, version);
            assert_eq!(contents(&local.join("up")), contents(&node.root), "uploaded, {version:?}, {ports} ports");
            assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {version:?}, {ports} ports");
        }
    }
}

fn with_curl(node: &Node, local: &Tree, version: Version) {
    let tls: &[&str] = if version == Version::Tls12 { &["--tls-max", "1.2"] } else { &["--tlsv1.3"] };
    let parallel = ["-Z", "--parallel-immediate", "--parallel-max", "8", "--fail-early"];
    let last = files() - 1;
    let run = |arguments: &[&str], path: &str| curl(node, false, &[tls, &parallel[..], arguments].concat(), path).at(local.path()).seconds(200).run().ok();
    run(&["-T", &format!("up/[0-{last}].bin")], "/");
    run(&["-o", "down/#1.bin"], &format!("/[0-{last}].bin"));
}

fn with_rclone(node: &Node, local: &Tree, version: Version) {
    let tls: &[&str] = if version == Version::Tls12 { &["--ftp-disable-tls13"] } else { &[] };
    let run =
        |arguments: &[&str]| rclone(node, false, &[tls, &["--transfers", "8", "--retries", "1"], arguments].concat()).at(local.path()).seconds(200).run().ok();
    run(&["copy", "up", ":ftp:/"]);
    run(&["copy", ":ftp:/", "down"]);
}

fn with_lftp(node: &Node, local: &Tree, version: Version) {
    let priority = if version == Version::Tls12 { "NORMAL:-VERS-ALL:+VERS-TLS1.2" } else { "NORMAL:-VERS-ALL:+VERS-TLS1.3" };
    let script = format!("set ssl:priority {priority}; mirror -R -P 8 up /; mirror -P 8 / down; quit");
    lftp(node, false, &script).at(local.path()).seconds(200).run().ok();
}

/// Eight sessions take what is next from one list; all of them keep their TLS sessions in one place.
fn with_rustls(node: &Node, local: &Tree, version: Version) {
    let tls = Tls::new(version);
    let each = |work: &(dyn Fn(&mut Client, &str) + Sync)| {
        let left = Mutex::new((0..files()).collect::<Vec<_>>());
        let next = || left.lock().unwrap().pop();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = Client::session(node, &tls);
                    while let Some(index) = next() {
                        work(&mut client, &format!("{index}.bin"));
                    }
                });
            }
        });
    };
    each(&|client, name| client.put(&format!("STOR {name}"), &local.read(&format!("up/{name}")).unwrap()).is(226));
    each(&|client, name| drop(local.write(&format!("down/{name}"), &client.get(&format!("RETR {name}")))));
}

/// Of each client, version and number of ports.
fn files() -> usize {
    if kit::full() { 100 } else { 24 }
}

const SIZE: u64 = 60_000;
