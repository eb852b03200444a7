//! Programs with eight control connections at once: `up` of a tree to the root of a node or cluster, and from there to `down`.
//!
//! Gets: an entrance, a tree with `up/0.bin` and so on, and an empty `down`. Gives: nothing but files; whoever asks compares them.
//! Never: tries a transfer twice.

use std::sync::Mutex;

use super::{Client, Entrance, Tls, Tree, Version};

/// curl -Z: connections are made at once, most show a sibling's session.
pub fn curl(node: &impl Entrance, local: &Tree, version: Version, files: usize) {
    let tls: &[&str] = if version == Version::Tls12 { &["--tls-max", "1.2"] } else { &["--tlsv1.3"] };
    let parallel = ["-Z", "--parallel-immediate", "--parallel-max", "8", "--fail-early"];
    let last = files - 1;
    let run =
        |arguments: &[&str], path: &str| super::curl(node, false, &[tls, &parallel[..], arguments].concat(), path).at(local.path()).seconds(200).run().ok();
    run(&["-T", &format!("up/[0-{last}].bin")], "/");
    run(&["-o", "down/#1.bin"], &format!("/[0-{last}].bin"));
}

/// rclone copy with eight transfers.
pub fn rclone(node: &impl Entrance, local: &Tree, version: Version, _files: usize) {
    let tls: &[&str] = if version == Version::Tls12 { &["--ftp-disable-tls13"] } else { &[] };
    let run = |arguments: &[&str]| {
        super::rclone(node, false, &[tls, &["--transfers", "8", "--retries", "1"], arguments].concat()).at(local.path()).seconds(200).run().ok()
    };
    run(&["copy", "up", ":ftp:/"]);
    run(&["copy", ":ftp:/", "down"]);
}

/// lftp mirror with eight transfers; each of its sessions has TLS sessions of its own.
pub fn lftp(node: &impl Entrance, local: &Tree, version: Version, _files: usize) {
    let priority = if version == Version::Tls12 { "NORMAL:-VERS-ALL:+VERS-TLS1.2" } else { "NORMAL:-VERS-ALL:+VERS-TLS1.3" };
    let script = format!("set ssl:priority {priority}; mirror -R -P 8 up /; mirror -P 8 / down; quit");
    super::lftp(node, false, &script).at(local.path()).seconds(200).run().ok();
}

/// Eight sessions take what is next from one list; all of them keep their TLS sessions in one place.
pub fn rustls(node: &(impl Entrance + Sync), local: &Tree, version: Version, files: usize) {
    let tls = Tls::new(version);
    let each = |work: &(dyn Fn(&mut Client, &str) + Sync)| {
        let left = Mutex::new((0..files).collect::<Vec<_>>());
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
