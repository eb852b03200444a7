//! Uploads of clients that use each TLS ticket once, as RFC 8446 §C.4 asks: curl 7.88. Its tickets of uploads are held back, so it has none for the next one.
//!
//! Gets: curl and rclone with many small files, `auto` and `require`. Gives: every file, but one that an unknown client loses to `require`, with a clear 425.
//! Never: part of a file, whatever is refused.

use crate::kit::{self, Node, Options, Output, Tree, contents, curl, rclone};
use crate::need;

#[test]
fn curl_uploads_with_the_defaults_and_loses_nothing() {
    need!("curl");
    kit::test(200, || {
        // With `auto` each upload waits a moment for one with proof.
        let count = if kit::full() { 100 } else { 16 };
        let (node, local) = (Node::start(), files(count, 50_000));
        upload(&node, &local, count).ok();
        assert_eq!(contents(&local.join("many")), contents(&node.root));
    });
}

#[test]
fn require_costs_an_unknown_single_use_client_one_upload_and_a_known_one_nothing() {
    need!("curl");
    kit::test(200, || {
        for size in [500, 50_000, 3_000_000] {
            // The limit of logins is the default: a session that ends for want of tickets costs none.
            let limits = "{ sessions_per_ip: 1000, sessions_per_user: 1000 }";
            let node = Node::with(Options::default().set("data", "{ ports: \"0/8\", tls_reuse: require }").set("limits", limits));
            let count = if size < 1_000_000 { 100 } else { 8 };
            let local = files(count, size);
            std::fs::write(node.root.join("1.bin"), "the old file").unwrap();
            let output = upload(&node, &local, count);
            let (sent, stored) = (contents(&local.join("many")), contents(&node.root));
            let lost: Vec<_> = sent.keys().filter(|name| stored.get(*name) != sent.get(*name)).collect();
            assert_eq!(lost, ["1.bin"], "the second upload of the run, and no other; {size} bytes: {}", output.stderr);
            kit::same_file(node.root.join("1.bin"), b"the old file", "nothing is destroyed");
            assert_eq!(refused(&node), 1.0);
            node.logged(&["STOR", "\"code\":425"]);
            if size < 1_000_000 {
                assert_eq!(output.stderr.matches("server did not report OK, got 425").count(), 1, "{}", output.stderr);
            }
            upload(&node, &local, count).ok();
            assert_eq!(sent, contents(&node.root), "it is known now");
            assert_eq!(refused(&node), 1.0);
        }
    });
}

#[test]
fn a_single_use_client_that_renames_its_uploads_is_sent_away_once_at_most() {
    need!("curl");
    kit::test(120, || {
        let (node, local) = (Node::with(Options::default().set("data", "{ ports: \"0/8\", tls_reuse: require }")), files(4, 50_000));
        let rename = |name: &str| {
            let (from, to, source) = (format!("-RNFR {name}.part"), format!("-RNTO {name}"), format!("many/{name}"));
            let arguments = ["--tlsv1.3", "-Q", &from, "-Q", &to, "-T", &source];
            curl(&node, false, &arguments, &format!("/{name}.part")).at(local.path()).run().code
        };
        assert_eq!(rename("0.bin"), Some(0), "one upload, one rename: nothing is known and nothing is in the way");
        upload(&node, &local, 4);
        assert_eq!(refused(&node), 1.0);
        let codes = ["1.bin", "2.bin", "3.bin"].map(rename);
        assert_eq!((codes[1], codes[2]), (Some(0), Some(0)), "it is sent away with its upload once: {codes:?}");
    });
}

#[test]
fn rclone_uploads_with_the_defaults_and_with_require_and_loses_nothing() {
    need!("rclone");
    kit::test(200, || {
        for reuse in ["auto", "require"] {
            let node = Node::with(Options::default().set("data", &format!("{{ ports: \"0/8\", tls_reuse: {reuse} }}")));
            let local = files(100, 50_000);
            rclone(&node, false, &["copy", "many", ":ftp:/"]).at(local.path()).run().ok();
            assert_eq!(contents(&local.join("many")), contents(&node.root), "{reuse}");
            assert_eq!(refused(&node), 0.0, "{reuse}");
        }
    });
}

fn files(count: u64, size: u64) -> Tree {
    let local = Tree::new();
    (0..count).for_each(|index| drop(local.write_random(&format!("many/{index}.bin"), size + index)));
    local
}

fn upload(node: &Node, local: &Tree, count: u64) -> Output {
    curl(node, false, &["--tlsv1.3", "-T", &format!("many/[0-{}].bin", count - 1)], "/").at(local.path()).seconds(150).run()
}

fn refused(node: &Node) -> f64 {
    node.metric("ftps_gateway_data_refused_total", &["reason=\"session_reuse_required\""]).unwrap_or_default()
}
