//! Whole trees: rclone syncs and checks, wget fetches recursively, lftp mirrors odd names, curl takes a list.
//!
//! Gets: trees with names of all kinds. Gives: the same trees on both sides, and nothing left to do in a second run.
//! Never: a setting that makes the gateway easier to talk to.

use crate::kit::{self, Node, PASSWORD, Run, Tree, USER, contents, curl, lftp, random_bytes, rclone};
use crate::need;

#[test]
fn rclone_syncs_over_explicit_tls() {
    need!("rclone");
    kit::test(170, || rclone_round_trip(false, &[]));
}

#[test]
fn rclone_syncs_over_implicit_tls() {
    need!("rclone");
    kit::test(170, || rclone_round_trip(true, &[]));
}

#[test]
fn rclone_syncs_over_tls_12() {
    need!("rclone");
    // rclone has a switch against 1.3, whose tickets it never reads on an upload.
    kit::test(170, || rclone_round_trip(false, &["--ftp-disable-tls13"]));
}

#[test]
fn wget_fetches_recursively_over_explicit_tls() {
    need!("wget");
    kit::test(120, || wget(false, &[]));
}

#[test]
fn wget_fetches_recursively_over_implicit_tls() {
    need!("wget");
    kit::test(120, || wget(true, &[]));
}

#[test]
fn wget_fetches_recursively_over_tls_12() {
    need!("wget");
    kit::test(120, || wget(false, &["--secure-protocol=TLSv1_2"]));
}

#[test]
fn wget_resumes() {
    need!("wget");
    kit::test(60, || {
        let (node, local) = (Node::start(), Tree::new());
        let bytes = random_bytes(2_000_003);
        std::fs::write(node.root.join("a.bin"), &bytes).unwrap();
        for version in ["--secure-protocol=TLSv1_2", "--secure-protocol=TLSv1_3"] {
            local.write("a.bin", &bytes[..700_000]);
            wget_run(&node, false, &["-c", version], "/a.bin").at(local.path()).run().ok();
            assert!(local.read("a.bin").as_deref() == Some(&bytes[..]), "{version}");
        }
    });
}

#[test]
fn lftp_mirrors_odd_names() {
    need!("lftp");
    kit::test(120, || {
        let (node, local) = (Node::start(), tree());
        for name in ODD {
            local.write(&format!("up/odd/{name}"), name.as_bytes());
        }
        lftp(&node, false, "mirror -R up /tree; mirror /tree back; quit").at(local.path()).run().ok();
        assert_eq!(contents(&local.join("up")), contents(&node.root.join("tree")), "up");
        assert_eq!(contents(&local.join("up")), contents(&local.join("back")), "down");
        lftp(&node, false, "rm -r /tree/odd; rm -r /tree/many; quit").at(local.path()).run().ok();
        assert!(!node.root.join("tree/odd").exists() && !node.root.join("tree/many").exists(), "{:?}", contents(&node.root));
    });
}

#[test]
fn curl_reaches_odd_names() {
    need!("curl");
    kit::test(60, || {
        let (node, local) = (Node::start(), Tree::new());
        let source = local.write("source", b"bytes");
        for name in ODD {
            let path: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            curl(&node, false, &["-T", source.to_str().unwrap()], &format!("/{path}")).run().ok();
            assert_eq!(std::fs::read(node.root.join(name)).ok().as_deref(), Some(&b"bytes"[..]), "{name:?}");
            assert_eq!(curl(&node, false, &[], &format!("/{path}")).run().ok().stdout, b"bytes", "{name:?}");
        }
        // An encoded line end is refused, by curl or by us, and is no second command.
        let output = curl(&node, false, &[], "/a%0D%0ADELE%20%23").run();
        assert_ne!(output.code, Some(0));
        assert_eq!(kit::entries(&node.root), ODD.len());
    });
}

fn rclone_round_trip(implicit: bool, told: &[&str]) {
    let (node, local) = (Node::start(), tree());
    let run = |arguments: &[&str]| rclone(&node, implicit, &[told, arguments].concat()).at(local.path()).run().ok();
    run(&["sync", "up", ":ftp:/tree"]);
    assert_eq!(contents(&local.join("up")), contents(&node.root.join("tree")), "synced up");
    run(&["check", "--download", "up", ":ftp:/tree"]);
    run(&["sync", ":ftp:/tree", "back"]);
    assert_eq!(contents(&local.join("up")), contents(&local.join("back")), "synced down");
    let again = run(&["sync", "--size-only", "-v", "up", ":ftp:/tree"]);
    assert!(!again.stderr.contains("Copied"), "nothing is left to copy: {}", again.stderr);
    std::fs::remove_dir_all(local.join("up/many")).unwrap();
    std::fs::rename(local.join("up/deep"), local.join("up/moved")).unwrap();
    run(&["sync", "--create-empty-src-dirs", "up", ":ftp:/tree"]);
    assert_eq!(contents(&local.join("up")), contents(&node.root.join("tree")), "synced again, with deletions");
    run(&["moveto", ":ftp:/tree/with space.txt", ":ftp:/tree/moved space.txt"]);
    assert!(node.root.join("tree/moved space.txt").is_file());
    run(&["purge", ":ftp:/tree"]);
    assert!(contents(&node.root).is_empty(), "{:?}", contents(&node.root));
}

fn wget(implicit: bool, arguments: &[&str]) {
    let (node, local) = (Node::start(), tree());
    std::fs::rename(local.join("up"), node.root.join("up")).unwrap();
    let kind = if implicit { "--ftps-implicit" } else { "-nH" };
    wget_run(&node, implicit, &[&["-r", "-nH", kind], arguments].concat(), "/up/").at(local.path()).run().ok();
    let files = |tree: std::collections::BTreeMap<String, String>| tree.into_iter().filter(|(name, _)| !name.ends_with('/')).collect::<Vec<_>>();
    assert_eq!(files(contents(&node.root.join("up"))), files(contents(&local.join("up"))));
}

fn wget_run(node: &Node, implicit: bool, arguments: &[&str], path: &str) -> Run {
    let ca = format!("--ca-certificate={}", node.pki.ca.display());
    let (user, password) = (format!("--ftp-user={USER}"), format!("--ftp-password={PASSWORD}"));
    let port = if implicit { node.implicit.port() } else { node.explicit.port() };
    let url = format!("ftps://localhost:{port}{path}");
    let told = ["-nv", "--tries=1", "--timeout=20", "--restrict-file-names=nocontrol", &ca, &user, &password];
    Run::new("wget", told.into_iter().chain(arguments.iter().copied()).chain([url.as_str()]))
}

fn tree() -> Tree {
    let local = Tree::new();
    local.write("up/empty", b"");
    local.write("up/with space.txt", b"text\r\nwith line ends\n");
    local.write("up/deep/er/ünïcode ☃.bin", &random_bytes(1_200_000));
    for index in 0..20 {
        local.write(&format!("up/many/{index}"), &random_bytes(100 * index));
    }
    local
}

/// Names that a URL or a script has to write with care.
const ODD: [&str; 14] = ["a b", "100%", "%2e", "#1", "quo\"te", "quo'te", "back\\slash", "-dash", "semi;colon", "[x]", "{y}", "é", "e\u{301}", "\u{1F389}"];
