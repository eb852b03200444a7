//! 226 means the whole file is there; anything less leaves nothing under the final name and the old file unharmed.
//!
//! Gets: uploads that are cut in every way. Gives: no 226, no part of a file, a session that goes on where it can.
//! Never: looks at the final name only: nothing may show in a listing either.

use std::path::Path;

use rustix::process::Signal;

use crate::kit::{self, Client, Node, Options, PASSWORD, Reply, Run, Tls, Tree, USER, Version, random_bytes};
use crate::need;

/// The file that was there before.
const OLD: &[u8] = b"the old file\n";

/// How an upload ends badly.
type Cut = fn(kit::Data);

#[test]
fn an_upload_cut_by_reset_keeps_nothing() {
    kit::test(60, || cut_everywhere(|data| data.reset()));
}

#[test]
fn an_upload_cut_inside_a_record_keeps_nothing() {
    kit::test(60, || {
        cut_everywhere(|mut data| {
            let sealed = data.seal(&random_bytes(10_000));
            data.raw(&sealed[..sealed.len() - 7]).unwrap();
            data.fin();
        });
    });
}

#[test]
fn a_bare_fin_keeps_nothing_when_close_notify_is_demanded() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("data", r#"{ ports: "0/8", upload_end: strict }"#));
        cut_one(&node, Version::Tls13, 300_000, |data| data.fin());
        cut_one(&node, Version::Tls12, 300_000, |data| data.fin());
        cut_one(&node, Version::Tls13, 0, |data| data.fin());
    });
}

#[test]
fn a_bare_fin_counts_as_the_end_only_for_clients_that_never_end_well() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        let bytes = random_bytes(200_000);
        let mut data = client.begin("STOR fin.bin");
        data.handshake().unwrap();
        data.write(&bytes).unwrap();
        data.fin();
        client.expect(226);
        kit::same_file(node.root.join("fin.bin"), &bytes, "on disk");
        // Once this session has ended an upload well, a bare FIN is a cut.
        client.put("STOR well.bin", &bytes).is(226);
        let mut data = client.begin("STOR cut.bin");
        data.handshake().unwrap();
        data.write(&bytes).unwrap();
        data.fin();
        client.expect(426);
        assert!(!node.root.join("cut.bin").exists());
    });
}

#[test]
fn an_upload_that_ended_with_a_bare_fin_says_so_and_is_counted() {
    kit::test(60, || {
        for version in [Version::Tls12, Version::Tls13] {
            let node = Node::start();
            let count = || node.metric("ftps_gateway_uploads_unclean_end_total", &[]);
            let (mut client, bytes) = (Client::session(&node, &Tls::new(version)), random_bytes(200_000));
            // As often as it likes, and when it has announced the size and reaches it.
            for announced in ["NOOP", "ALLO 200000", "ALLO 100000"] {
                client.command(announced).is(200);
                let mut data = client.begin("STOR fin.bin");
                data.handshake().unwrap();
                data.write(&bytes).unwrap();
                data.fin();
                client.expect(226);
                kit::same_file(node.root.join("fin.bin"), &bytes, announced);
            }
            kit::eventually(10, "three are counted", || count() == Some(3.0));
            node.logged(&["transfer_ended", "\"/fin.bin\"", "\"end\":\"fin\"", "\"complete\""]);
            client.put("STOR well.bin", &bytes).is(226);
            node.logged(&["transfer_ended", "\"/well.bin\"", "\"end\":\"close_notify\""]);
            assert_eq!(count(), Some(3.0));
        }
    });
}

#[test]
fn a_client_that_is_killed_in_its_upload_keeps_nothing_though_its_data_ends_first() {
    kit::test(120, || {
        let node = Node::start();
        for version in [Version::Tls12, Version::Tls13] {
            for (delay, reset) in [(0, false), (0, true), (150, false), (300, true), (500, false)] {
                std::fs::write(node.root.join("a"), OLD).unwrap();
                let mut client = Client::session(&node, &Tls::new(version));
                let mut data = client.begin("STOR a");
                data.handshake().unwrap();
                data.write(&random_bytes(100_000)).unwrap();
                // On a record boundary, with nothing announced: by itself this would be an end.
                data.half_close();
                std::thread::sleep(std::time::Duration::from_millis(delay));
                if reset {
                    client.reset()
                } else {
                    drop(client)
                }
                kit::eventually(20, "the upload is over", || node.metric("ftps_gateway_transfers_active", &["upload"]) == Some(0.0));
                only_the_old_file(&node, "a");
            }
        }
        assert_eq!(node.metric("ftps_gateway_uploads_unclean_end_total", &[]), Some(0.0));
    });
}

#[test]
fn a_client_that_speaks_within_a_second_of_a_bare_fin_has_not_ended_with_it() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("a"), OLD).unwrap();
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&random_bytes(100_000)).unwrap();
        data.half_close();
        std::thread::sleep(std::time::Duration::from_millis(200));
        client.line("NOOP");
        client.expect(426);
        client.expect(200);
        only_the_old_file(&node, "a");
    });
}

#[test]
fn a_bare_fin_before_the_announced_size_keeps_nothing() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.command("ALLO 500000").one_of(&[200, 202]);
        let mut data = client.begin("STOR short.bin");
        data.handshake().unwrap();
        data.write(&random_bytes(200_000)).unwrap();
        data.fin();
        client.expect(426);
        only(&node.root, &[]);
    });
}

#[test]
fn an_appended_file_cut_in_the_middle_is_as_it_was() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("a"), OLD).unwrap();
        for command in ["APPE a", "STOR a"] {
            let mut client = Client::ready(&node);
            if command == "STOR a" {
                client.command("REST 5").is(350);
            }
            let mut data = client.begin(command);
            data.handshake().unwrap();
            data.write(&random_bytes(300_000)).unwrap();
            data.reset();
            client.expect(426);
            kit::same_file(node.root.join("a"), OLD, command);
        }
    });
}

#[test]
fn append_and_restart_give_the_bytes_in_order() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("APPE new", b"one ").is(226);
        client.put("APPE new", b"two ").is(226);
        assert_eq!(client.get("RETR new"), b"one two ");
        client.command("REST 4").is(350);
        client.put("STOR new", b"three").is(226);
        assert_eq!(client.get("RETR new"), b"one three");
        client.command("REST 4").is(350);
        assert_eq!(client.get("RETR new"), b"three");
        client.command("REST 100").is(350);
        let data = client.dial();
        client.command("RETR new").is(554);
        drop(data);
    });
}

#[test]
fn a_client_that_dies_in_its_upload_leaves_nothing() {
    need!("curl");
    kit::test(60, || {
        let (node, local) = (Node::start(), Tree::new());
        local.write_random("a.bin", 30_000_000);
        std::fs::write(node.root.join("a.bin"), OLD).unwrap();
        let authority = node.pki.ca.display().to_string();
        let (login, url) = (format!("{USER}:{PASSWORD}"), format!("ftp://localhost:{}/a.bin", node.explicit.port()));
        let arguments = ["-sS", "--ssl-reqd", "--cacert", &authority, "-u", &login, "--limit-rate", "2M", "-T", "a.bin", &url];
        let mut client = Run::new("curl", arguments).at(local.path()).spawn();
        kit::eventually(20, "the upload runs", || node.metric("ftps_gateway_transfers_active", &["upload"]).is_some_and(|count| count > 0.0));
        client.kill().unwrap();
        client.wait().unwrap();
        kit::eventually(20, "the upload is over", || node.metric("ftps_gateway_transfers_active", &["upload"]) == Some(0.0));
        only_the_old_file(&node, "a.bin");
    });
}

#[test]
fn a_killed_node_leaves_the_old_file_and_shows_no_part() {
    kit::test(60, || {
        let mut node = Node::start();
        std::fs::write(node.root.join("a"), OLD).unwrap();
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&random_bytes(1_000_000)).unwrap();
        node.stop(Signal::KILL, 10);
        assert!(client.try_reply().is_err(), "no 226 from a dead node");
        kit::same_file(node.root.join("a"), OLD, "on disk");
        // Its left-over is hidden from the clients of the next node.
        let next = Node::with(Options { root: Some(node.root.clone()), ..Options::default() });
        let mut client = Client::ready(&next);
        for command in ["NLST", "NLST -a", "LIST -a", "MLSD"] {
            let list = client.list(command);
            let names: Vec<_> = list
                .lines()
                .filter(|line| !line.contains("dir"))
                .map(|line| line.rsplit(' ').next().unwrap())
                .filter(|name| !matches!(*name, "." | ".."))
                .collect();
            assert_eq!(names, ["a"], "{command}: {list}");
        }
    });
}

#[test]
fn a_full_disk_is_452_and_the_session_goes_on() {
    kit::test(60, || {
        let Some(disk) = SmallDisk::mount() else { return kit::skip("mounting a small tmpfs needs root") };
        let node = Node::with(Options { root: Some(disk.0.path().to_owned()), ..Options::default() });
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        client.put("STOR old", OLD).is(226);
        for command in ["STOR old", "STOR new", "APPE old"] {
            let mut data = client.begin(command);
            data.handshake().unwrap();
            // The server may stop reading when the disk is full.
            let _ = data.write(&random_bytes(6 << 20));
            data.finish();
            client.expect(452);
            only(disk.0.path(), &["old"]);
            kit::same_file(disk.0.join("old"), OLD, command);
        }
        client.put("STOR small", b"fits").is(226);
        assert_eq!(client.get("RETR small"), b"fits");
    });
}

#[test]
fn an_aborted_upload_keeps_nothing() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("a"), OLD).unwrap();
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&random_bytes(100_000)).unwrap();
        let ended: Reply = client.command("ABOR");
        ended.is(426);
        client.expect(226);
        drop(data);
        only_the_old_file(&node, "a");
        client.put("STOR a", b"new").is(226);
    });
}

#[test]
fn a_second_upload_of_one_name_wins_whole() {
    kit::test(60, || {
        let node = Node::start();
        let (mut one, mut two) = (Client::ready(&node), Client::ready(&node));
        let (first, second) = (random_bytes(500_000), random_bytes(400_000));
        let mut data = one.begin("STOR a");
        data.handshake().unwrap();
        data.write(&first[..250_000]).unwrap();
        two.put("STOR a", &second).is(226);
        kit::same_file(node.root.join("a"), &second, "on disk");
        data.write(&first[250_000..]).unwrap();
        data.finish();
        one.expect(226);
        kit::same_file(node.root.join("a"), &first, "on disk");
        only(&node.root, &["a"]);
    });
}

fn cut_everywhere(cut: Cut) {
    let node = Node::start();
    for version in [Version::Tls12, Version::Tls13] {
        for sent in [0, 1, 16_384, 1_000_000] {
            cut_one(&node, version, sent, cut);
        }
    }
    kit::eventually(10, "no upload runs", || node.metric("ftps_gateway_transfers_active", &["upload"]) == Some(0.0));
}

/// An upload over an old file, and one under a new name, both cut.
fn cut_one(node: &Node, version: Version, sent: usize, cut: Cut) {
    for name in ["old", "new"] {
        let mut client = Client::session(node, &Tls::new(version));
        std::fs::write(node.root.join("old"), OLD).unwrap();
        let mut data = client.begin(&format!("STOR {name}"));
        data.handshake().unwrap();
        data.write(&random_bytes(sent)).unwrap();
        cut(data);
        client.expect(426);
        only_the_old_file(node, "old");
        assert_eq!(client.list("NLST").trim_end(), "old", "{version:?} {sent}");
    }
}

fn only_the_old_file(node: &Node, name: &str) {
    only(&node.root, &[name]);
    kit::same_file(node.root.join(name), OLD, "the old file");
}

/// These names and no other, at once; a hidden temporary may take a moment longer to go.
fn only(directory: &Path, names: &[&str]) {
    let (hidden, seen): (Vec<_>, Vec<_>) = kit::contents(directory).into_keys().partition(|name| name.starts_with(".ftps-gateway."));
    assert_eq!(seen, names, "names under the root");
    if !hidden.is_empty() {
        kit::eventually(5, &format!("{hidden:?} is removed"), || hidden.iter().all(|name| !directory.join(name).exists()));
    }
}

/// A tmpfs of 4 MiB.
struct SmallDisk(Tree);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let tree = Tree::new();
        let path = tree.path().display().to_string();
        let done = rustix::process::geteuid().is_root()
            && kit::have("mount")
            && Run::new("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", &path]).run().code == Some(0);
        done.then(|| Self(tree))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The node may still hold it: detached, it goes with the last descriptor.
        Run::new("umount", ["-l", &self.0.path().display().to_string()]).run();
    }
}
