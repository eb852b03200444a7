//! curl, lftp and Python's ftplib: up, down, list, resume, append, rename, delete, byte for byte.
//!
//! Gets: the clients of the distribution. Gives: the same files on both sides, over TLS 1.2 and 1.3, explicit and implicit.
//! Never: a client that was told to look away: all of them check the certificate.

use crate::kit::{self, Node, Tree, contents, curl, lftp, python, sha256};
use crate::need;

#[test]
fn curl_works_over_explicit_tls_13() {
    need!("curl");
    kit::test(120, || curl_round_trip(false, &["--tlsv1.3"]));
}

#[test]
fn curl_works_over_explicit_tls_12() {
    need!("curl");
    kit::test(120, || curl_round_trip(false, &["--tlsv1.2", "--tls-max", "1.2"]));
}

#[test]
fn curl_works_over_implicit_tls_13() {
    need!("curl");
    kit::test(120, || curl_round_trip(true, &["--tlsv1.3"]));
}

#[test]
fn curl_works_over_implicit_tls_12() {
    need!("curl");
    kit::test(120, || curl_round_trip(true, &["--tlsv1.2", "--tls-max", "1.2"]));
}

#[test]
fn curl_moves_a_large_file_both_ways() {
    need!("curl");
    kit::test(600, || {
        let (node, local) = (Node::start(), Tree::new());
        let sum = local.write_random("large.bin", large());
        let (source, target) = (local.join("large.bin"), local.join("back.bin"));
        curl(&node, false, &["-T", source.to_str().unwrap()], "/large.bin").seconds(300).run().ok();
        assert_eq!(sha256(node.root.join("large.bin")), sum, "uploaded");
        curl(&node, false, &["-o", target.to_str().unwrap()], "/large.bin").seconds(300).run().ok();
        assert_eq!(sha256(target), sum, "downloaded");
    });
}

#[test]
fn curl_resumes_an_upload() {
    need!("curl");
    kit::test(60, || {
        let (node, local) = (Node::start(), Tree::new());
        let bytes = kit::random_bytes(3_000_000);
        let source = local.write("whole.bin", &bytes);
        for version in ["1.2", "1.3"] {
            std::fs::write(node.root.join("whole.bin"), &bytes[..1_000_001]).unwrap();
            // curl asks for the size and appends what is missing.
            let versions = [&format!("--tlsv{version}"), "--tls-max", version];
            curl(&node, false, &[&versions[..], &["-C", "-", "-T", source.to_str().unwrap()]].concat(), "/whole.bin").run().ok();
            kit::same_file(node.root.join("whole.bin"), &bytes, "on disk");
        }
    });
}

#[test]
fn curl_uploads_many_files_in_one_session() {
    need!("curl");
    kit::test(60, || {
        let (node, local) = (Node::start(), Tree::new());
        for index in 0..20 {
            local.write_random(&format!("many/{index}.bin"), 1024 * index);
        }
        curl(&node, false, &["--fail-early", "--ftp-create-dirs", "-T", "many/{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19}.bin"], "/many/")
            .at(local.path())
            .run()
            .ok();
        assert_eq!(contents(&local.join("many")), contents(&node.root.join("many")));
    });
}

#[test]
fn eight_parallel_curl_transfers_keep_their_bytes() {
    need!("curl");
    kit::test(180, || {
        let (node, local) = (Node::start(), Tree::new());
        for index in 0..8 {
            local.write_random(&format!("up/{index}.bin"), 1_000_000 + 7919 * index);
        }
        std::fs::create_dir_all(local.join("down")).unwrap();
        let at_once = |arguments: fn(usize) -> [String; 2]| {
            std::thread::scope(|scope| {
                for index in 0..8 {
                    let (node, local) = (&node, &local);
                    scope.spawn(move || {
                        let [flag, file] = arguments(index);
                        curl(node, false, &[&flag, &file], &format!("/{index}.bin")).at(local.path()).run().ok();
                    });
                }
            });
        };
        at_once(|index| ["-T".to_owned(), format!("up/{index}.bin")]);
        assert_eq!(contents(&local.join("up")), contents(&node.root), "uploaded");
        at_once(|index| ["-o".to_owned(), format!("down/{index}.bin")]);
        assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded");
    });
}

#[test]
fn lftp_mirrors_up_and_down_over_tls_13() {
    need!("lftp");
    kit::test(180, || lftp_mirror(false, "NORMAL:-VERS-ALL:+VERS-TLS1.3"));
}

#[test]
fn lftp_mirrors_up_and_down_over_tls_12() {
    need!("lftp");
    kit::test(180, || lftp_mirror(false, "NORMAL:-VERS-ALL:+VERS-TLS1.2"));
}

#[test]
fn lftp_mirrors_over_implicit_tls() {
    need!("lftp");
    kit::test(180, || lftp_mirror(true, "NORMAL"));
}

#[test]
fn lftp_works_on_files_and_directories_over_tls_13() {
    need!("lftp");
    kit::test(120, || lftp_round_trip("NORMAL:-VERS-ALL:+VERS-TLS1.3"));
}

#[test]
fn lftp_works_on_files_and_directories_over_tls_12() {
    need!("lftp");
    kit::test(120, || lftp_round_trip("NORMAL:-VERS-ALL:+VERS-TLS1.2"));
}

#[test]
fn lftp_moves_a_large_file_both_ways() {
    need!("lftp");
    kit::test(600, || {
        let (node, local) = (Node::start(), Tree::new());
        let sum = local.write_random("large.bin", large());
        lftp(&node, false, "put large.bin; get large.bin -o back.bin; quit").at(local.path()).seconds(500).run().ok();
        assert_eq!(sha256(node.root.join("large.bin")), sum, "uploaded");
        assert_eq!(sha256(local.join("back.bin")), sum, "downloaded");
    });
}

#[test]
fn python_reuses_its_session_over_tls_13() {
    need!("python3");
    kit::test(120, || python_round_trip("ftplib_client.py", "1.3", 8));
}

#[test]
fn python_reuses_its_session_over_tls_12() {
    need!("python3");
    kit::test(120, || python_round_trip("ftplib_client.py", "1.2", 8));
}

fn curl_round_trip(implicit: bool, version: &[&str]) {
    let (node, local) = (Node::start(), Tree::new());
    let run = |arguments: &[&str], path: &str| curl(&node, implicit, &[version, arguments].concat(), path).run().ok().stdout;
    let bytes = kit::random_bytes(1_500_003);
    let source = local.write("a.bin", &bytes);
    let source = source.to_str().unwrap();
    run(&["--ftp-create-dirs", "-T", source], "/new/dir/a.bin");
    kit::same_file(node.root.join("new/dir/a.bin"), &bytes, "uploaded");
    assert!(run(&[], "/new/dir/a.bin") == bytes, "downloaded");
    assert!(run(&["-C", "500001"], "/new/dir/a.bin") == bytes[500_001..], "resumed");
    assert!(run(&["-r", "10-29"], "/new/dir/a.bin") == bytes[10..30], "a range");
    let list = String::from_utf8(run(&[], "/new/dir/")).unwrap();
    assert!(list.lines().count() == 1 && list.contains(" 1500003 ") && list.trim_end().ends_with(" a.bin"), "LIST: {list:?}");
    assert_eq!(String::from_utf8(run(&["-l"], "/new/dir/")).unwrap().trim_end(), "a.bin", "NLST");
    run(&["-a", "-T", source], "/new/dir/a.bin");
    kit::same_file(node.root.join("new/dir/a.bin"), &[&bytes[..], &bytes[..]].concat(), "appended");
    run(&["-Q", "-RNFR /new/dir/a.bin", "-Q", "-RNTO /new/b.bin", "-Q", "-RMD /new/dir"], "/");
    assert!(node.root.join("new/b.bin").exists() && !node.root.join("new/dir").exists(), "renamed and removed");
    run(&["-Q", "-DELE /new/b.bin", "-Q", "-RMD /new", "-Q", "-MKD /left"], "/");
    assert_eq!(contents(&node.root).into_keys().collect::<Vec<_>>(), ["left/"], "deleted");
}

/// Up, list, resumed both ways, renamed, deleted.
fn lftp_round_trip(priority: &str) {
    let (node, local) = (Node::start(), Tree::new());
    let sum = local.write_random("a.bin", 700_001);
    let half = local.read("a.bin").unwrap()[..300_000].to_vec();
    local.write("part.bin", &half);
    std::fs::write(node.root.join("begun.bin"), &half).unwrap();
    let script = format!(
        "set ssl:priority {priority}; mkdir -p one/two; put -O one/two a.bin; get -c one/two/a.bin -o part.bin; put -c a.bin -o begun.bin; \
         mv one/two/a.bin one/b.bin; rmdir one/two; cls -1 one > names; rm one/b.bin; rmdir one; cls -1 > left; quit"
    );
    lftp(&node, false, &script).at(local.path()).run().ok();
    assert_eq!(sha256(local.join("part.bin")), sum, "a download resumed");
    assert_eq!(sha256(node.root.join("begun.bin")), sum, "an upload resumed");
    assert_eq!(local.read("names").as_deref(), Some(&b"one/b.bin\n"[..]));
    assert_eq!(local.read("left").as_deref(), Some(&b"begun.bin\n"[..]), "the others are removed");
    assert_eq!(contents(&node.root).len(), 1, "{:?}", contents(&node.root));
}

fn lftp_mirror(implicit: bool, priority: &str) {
    let (node, local) = (Node::start(), Tree::new());
    local.write("up/empty", b"");
    local.write("up/with space/and ünïcode.txt", "text\r\nwith line ends\n".as_bytes());
    local.write_random("up/deep/er/big.bin", 2_000_000);
    for index in 0..12 {
        local.write_random(&format!("up/many/{index}"), 100 * index);
    }
    std::fs::create_dir_all(local.join("up/nothing in here")).unwrap();
    let settings = format!("set ssl:priority {priority}; ");
    lftp(&node, implicit, &format!("{settings} mirror -R --parallel=3 up /tree; quit")).at(local.path()).run().ok();
    assert_eq!(contents(&local.join("up")), contents(&node.root.join("tree")), "mirrored up");
    lftp(&node, implicit, &format!("{settings} mirror --parallel=3 /tree down; quit")).at(local.path()).run().ok();
    assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "mirrored down");
    // A second run has no file to move: sizes are told as they are.
    let again = lftp(&node, implicit, &format!("{settings} mirror -R --dry-run --ignore-time up /tree; quit")).at(local.path()).run().ok();
    assert!(!again.text().contains("put ") && !again.text().contains("get "), "nothing is left to move: {}", again.text());
}

#[test]
fn openssl_s_client_does_it_all_over_tls_12() {
    need!("openssl");
    need!("python3");
    kit::test(120, || python_round_trip("openssl_client.py", "1.2", 9));
}

#[test]
fn openssl_s_client_does_it_all_over_tls_13() {
    need!("openssl");
    need!("python3");
    kit::test(120, || python_round_trip("openssl_client.py", "1.3", 9));
}

/// A client in Python that transfers over this many data connections.
fn python_round_trip(script: &str, version: &str, connections: u32) {
    let (node, local) = (Node::start(), Tree::new());
    let digest = local.write_random("up.bin", 1_000_003);
    let directory = local.path().display().to_string();
    let text = python(&node, script, &[version, &directory]).run().ok().text();
    let resumed = text.trim().strip_prefix("ok resumed=").and_then(|count| count.parse::<u32>().ok()).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(resumed, connections, "every data connection resumed the control connection's session");
    if script == "openssl_client.py" {
        assert_eq!(sha256(local.join("down.bin")), digest, "downloaded");
    }
    assert!(contents(&node.root).is_empty(), "it has tidied up");
}

/// 1 GiB in `tests/run full`.
fn large() -> u64 {
    if kit::full() { 1 << 30 } else { 32 << 20 }
}
