//! Ways out of the home: spellings of `..`, links, races of links, pipes and devices, modes that give rights, other file systems.
//!
//! Gets: a canary outside of the home, a user who may do everything inside. Gives: the canary, unread and untouched.
//! Never: a server that stands because a file does.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::kit::{self, Client, Node, Options, Run, Tls, Tree, Version};

const CANARY: &[u8] = b"nobody may read this\n";

#[test]
fn no_spelling_leads_out_of_the_home() {
    kit::test(180, || {
        let (outside, node) = caged();
        let before = everything(&outside);
        let mut client = reusing(&node);
        for spelling in spellings() {
            // What one spelling rightly removes, the next one finds again.
            plant(&node.root);
            for verb in
                ["CWD", "RETR", "STOR", "APPE", "MKD", "RMD", "DELE", "SIZE", "MDTM", "MLST", "LIST", "NLST", "RNFR", "SITE CHMOD 777", "MFMT 20200101000000"]
            {
                attempt(&mut client, verb, &spelling);
            }
            client.command("CWD /").is(250);
            client.command("RNFR mine").is(350);
            client.send(&[b"RNTO ", &spelling[..], b"\r\n"].concat()).unwrap();
            // Where it is a plain name of the home it may have worked: back.
            if client.reply().code == 250 {
                client.send(&[b"RNFR ", &spelling[..], b"\r\n"].concat()).unwrap();
                client.expect(350);
                client.command("RNTO mine").is(250);
            }
        }
        assert_eq!(everything(&outside), before, "what is outside is as it was");
    });
}

/// One command with a path; no byte of the canary, and whatever it made inside does no harm.
fn attempt(client: &mut Client, verb: &str, spelling: &[u8]) {
    let line = [verb.as_bytes(), b" ", spelling, b"\r\n"].concat();
    if !matches!(verb, "RETR" | "STOR" | "APPE" | "LIST" | "NLST") {
        client.send(&line).unwrap();
        let reply = client.reply();
        assert!(reply.code < 600 && !reply.text.contains("canary"), "{verb}: {}", reply.text);
        return;
    }
    let mut data = client.dial();
    client.send(&line).unwrap();
    if client.expect_one_of(&[150, 450, 501, 550, 553]).code != 150 {
        return;
    }
    data.handshake().unwrap();
    if matches!(verb, "STOR" | "APPE") {
        data.write(b"overwritten").unwrap();
        data.finish();
    } else {
        let bytes = data.read_to_end().unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary") && bytes != CANARY, "{verb} {}", String::from_utf8_lossy(spelling));
        data.finish();
    }
    client.reply();
}

/// Every way of writing "the file beside the home" that a server has fallen for.
fn spellings() -> Vec<Vec<u8>> {
    let plain = [
        "..",
        "../",
        "../canary",
        "/../canary",
        "/..//canary",
        "//../canary",
        "./../canary",
        "inside/../../canary",
        "inside/./.././../canary",
        "inside/../../../canary",
        ".../canary",
        "....//canary",
        "..//..//canary",
        "..\\canary",
        "\\..\\canary",
        "inside\\..\\..\\canary",
        "..;/canary",
        "%2e%2e/canary",
        "%2e%2e%2fcanary",
        "..%2fcanary",
        "..%5ccanary",
        "%252e%252e/canary",
        "..%00/canary",
        "~/canary",
        "~root/canary",
        "/proc/self/root/etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        "out",
        "out/",
        "out/canary",
        "out/../canary",
        "far",
        "far/canary",
        "loop",
        "loop/canary",
        "inside/up/canary",
        "inside/up/../canary",
        "dangling",
        "file:///etc/passwd",
        "..\u{2215}canary",
        "\u{ff0e}\u{ff0e}/canary",
        "..\u{202e}/canary",
        "-la ../canary",
    ];
    let mut all: Vec<Vec<u8>> = plain.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.extend([b"..\xc0\xafcanary".to_vec(), b"\xc0\xae\xc0\xae/canary".to_vec(), b"../".repeat(200), [&b"../".repeat(40)[..], b"canary"].concat()]);
    all
}

/// Somebody swaps a directory for a link to the outside, thousands of times, while a client reads and writes through it.
#[test]
fn a_link_that_is_swapped_during_access_leads_nowhere() {
    kit::test(120, || {
        let (outside, node) = caged();
        std::fs::create_dir(node.root.join("swap")).unwrap();
        std::fs::write(node.root.join("swap/canary"), b"inside").unwrap();
        symlink(outside.path(), node.root.join("swap2")).unwrap();
        let before = everything(&outside);
        let over = AtomicBool::new(false);
        let (mut swaps, mut reads, mut writes) = (0_u64, 0, 0);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let (one, other) = (node.root.join("swap"), node.root.join("swap2"));
                let mut count = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                    count += 1;
                }
                count
            });
            let _stop = Stop(&over);
            let mut client = reusing(&node);
            let end = Instant::now() + Duration::from_secs(8);
            while Instant::now() < end {
                let mut data = client.dial();
                if client.command("RETR swap/canary").code == 150 {
                    data.handshake().unwrap();
                    assert_eq!(data.read_to_end().unwrap(), b"inside", "a file outside of the home was read");
                    data.finish();
                    client.expect(226);
                    reads += 1;
                }
                let mut data = client.dial();
                if client.command("STOR swap/new").code == 150 {
                    data.handshake().unwrap();
                    data.write(b"new").unwrap();
                    data.finish();
                    // It may be a link again when the file gets its name.
                    writes += u32::from(client.reply().code == 226);
                }
                client.command("DELE swap/new");
            }
            over.store(true, Ordering::Relaxed);
            swaps = swapper.join().unwrap();
        });
        eprintln!("{swaps} swaps, {reads} reads and {writes} writes inside");
        assert!(swaps > 1000 && reads > 0 && writes > 0, "{swaps} {reads} {writes}");
        assert_eq!(everything(&outside), before, "what is outside is as it was");
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A pipe blocks whoever opens it, a device may do anything: neither is opened, and forty sessions that try keep nobody waiting.
#[test]
fn only_regular_files_are_opened() {
    kit::test(90, || {
        let node = Node::start();
        for (name, kind) in [("fifo", rustix::fs::FileType::Fifo), ("socket", rustix::fs::FileType::Socket)] {
            rustix::fs::mknodat(CWD, node.root.join(name), kind, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0).unwrap();
        }
        std::fs::write(node.root.join("file"), b"served").unwrap();
        let mut names = vec!["fifo", "socket"];
        // Without the right to make one there is none to be tried.
        if rustix::fs::mknodat(CWD, node.root.join("zero"), rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::RUSR, rustix::fs::makedev(1, 5)).is_ok() {
            names.push("zero");
        }
        let mut sessions: Vec<Client> = (0..40).map(|_| Client::ready(&node)).collect();
        for client in &mut sessions {
            client.epsv();
            client.line("RETR fifo");
        }
        assert_eq!(Client::ready(&node).get("RETR file"), b"served");
        sessions.iter_mut().for_each(|client| drop(client.expect(550)));
        let mut client = sessions.pop().unwrap();
        for name in names {
            for verb in ["RETR", "APPE"] {
                client.epsv();
                client.command(&format!("{verb} {name}")).is(550);
            }
            client.command(&format!("SITE CHMOD 777 {name}")).is(550);
            client.command(&format!("SIZE {name}")).one_of(&[213, 550]);
        }
    });
}

#[test]
fn no_mode_beyond_0777_can_be_set() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("tool"), b"#!/bin/sh\n").unwrap();
        let mut client = Client::ready(&node);
        for command in [
            "SITE CHMOD 6777 tool",
            "SITE CHMOD 4755 tool",
            "SITE CHMOD 2755 tool",
            "SITE CHMOD 1777 tool",
            "MFF UNIX.mode=6755; tool",
            "SITE UMASK 000",
            "SITE EXEC tool",
            "SITE CPFR tool",
        ] {
            client.command(command).one_of(&[200, 213, 500, 501, 502, 504, 550]);
            let mode = std::fs::metadata(node.root.join("tool")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7000, 0, "{command}: {mode:o}");
        }
    });
}

/// Nothing is copied behind a rename, and no link is followed by it.
#[test]
fn a_rename_to_another_file_system_is_550() {
    kit::test(60, || {
        let node = Node::start();
        let mounted = node.root.join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m", "none"].map(str::to_owned).into_iter().chain([mounted.display().to_string()]);
        if Run::new("mount", mount).run().code != Some(0) {
            return kit::skip("mounting a small tmpfs needs root");
        }
        let _unmount = Unmount(&mounted);
        std::fs::write(node.root.join("file"), b"stays").unwrap();
        let mut client = Client::ready(&node);
        client.command("RNFR file").is(350);
        client.command("RNTO mounted/file").is(550);
        assert!(!mounted.join("file").exists());
        assert_eq!(std::fs::read(node.root.join("file")).unwrap(), b"stays");
    });
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// A session that shows its TLS session again and again, although most of its data connections come to nothing.
fn reusing(node: &Node) -> Client {
    Client::session(node, &Tls::new(Version::Tls12))
}

/// A node whose user is at home below its root, and the root's surroundings with the canary. Links lead out of the home in every way.
fn caged() -> (Tree, Node) {
    let outside = Tree::new();
    outside.write("canary", CANARY);
    let mut options = Options { root: Some(outside.join("root")), ..Options::default() };
    options.users = kit::users_file(&[("demo", "/home", "all")]);
    let mut node = Node::with(options);
    let home = outside.join("root/home");
    std::fs::create_dir_all(home.join("inside")).unwrap();
    std::fs::write(home.join("mine"), b"mine").unwrap();
    std::fs::write(outside.join("root/canary"), CANARY).unwrap();
    plant(&home);
    node.root = home;
    (outside, node)
}

/// Links that lead out of the home in every way.
fn plant(home: &Path) {
    for (link, to) in [("out", ".."), ("far", "../.."), ("loop", "loop"), ("inside/up", "../.."), ("dangling", "../nothing")] {
        let _ = symlink(to, home.join(link));
    }
}

/// Contents, mode and time of a file.
type Facts = (Vec<u8>, u32, i64);

/// All that is outside of the home: names, contents, modes and times.
fn everything(outside: &Tree) -> (BTreeSet<PathBuf>, Vec<Facts>) {
    let names = ["", "root"].map(|directory| std::fs::read_dir(outside.join(directory)).unwrap().map(|entry| entry.unwrap().path()));
    let facts = |name| {
        let facts = std::fs::metadata(outside.join(name)).unwrap();
        (std::fs::read(outside.join(name)).unwrap(), facts.mode(), facts.mtime())
    };
    // The node's own name for its storage comes when it comes.
    let names = names.into_iter().flatten().filter(|path| !path.ends_with(".ftps-gateway.id"));
    (names.collect(), ["canary", "root/canary"].map(facts).into())
}
