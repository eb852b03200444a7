//! The page of the sidecar in a real browser, on a cluster that is used: what it shows is what the nodes say, and what is done on it is done everywhere.
//!
//! Gets: chromium, playwright-core, three nodes. Gives: the verdict of `tests/admin/page.js`, and pictures where `FTPS_TEST_PICTURES` says.
//! Never: a stand-in for the API, or a host but the nodes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Client, Cluster, Node, Pick, Run, Setup, Tls, Tree, USER, Version, random_bytes, users_file};
use crate::need;

#[test]
fn the_page_shows_what_the_nodes_say_and_bans_by_click_and_by_keyboard() {
    need!("chromium", "node");
    let library = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/node/node_modules");
    if !library.join("playwright-core").is_dir() {
        return kit::skip("playwright-core is not there; tests/run fetches it");
    }
    kit::test(300, move || {
        let tree = Tree::new();
        let cluster = Cluster::with(Setup { nodes: 3, users: users_file(&[(USER, "/", "all"), ("alice", "/", "all")]), ..Setup::default() }.key(
            "admin",
            "tokens_file",
            &tokens(&tree),
        ));
        joined(&cluster, 3);
        let mut sessions: Vec<Client> = Vec::new();
        for node in 0..3 {
            cluster.balancer.pick(Pick::Fixed { control: node, data: node });
            sessions.push(Client::ready(&cluster));
            sessions[node].put(&format!("STOR /report-{node}.csv"), &random_bytes(300_000 * (node + 1))).is(226);
        }
        sessions[1].get("RETR /report-1.csv");
        for (target, reason) in [(json!({ "ip": "198.51.100.23" }), "tries passwords"), (json!({ "cidr": "192.0.2.0/24" }), "a scanner's network")] {
            let body = json!({ "target": target, "duration": "1d", "reason": reason });
            assert_eq!(ask(cluster.node(1), "POST", "/bans", "root", Some(&body)).status, 200);
        }
        let pictures = std::env::var_os("FTPS_TEST_PICTURES").map_or_else(|| tree.join("pictures"), PathBuf::from);
        std::fs::create_dir_all(&pictures).unwrap();
        let run = script(cluster.node(0), &library, &pictures, tree.path());
        let mut alice = Client::session_of(&cluster, &Tls::new(Version::Tls13), "alice");
        let over = AtomicBool::new(false);
        // What is looked at while it happens.
        let output = std::thread::scope(|scope| {
            scope.spawn(|| used(&cluster, &mut alice, &over));
            let output = run.seconds(240).run();
            over.store(true, Ordering::Relaxed);
            output
        });
        let text = output.text();
        assert!(output.code == Some(0) && !text.contains("NOT OK"), "{text}\n{}", output.stderr);
        for name in [
            "every node has its row",
            "every session has its row",
            "every ban has its row",
            "the ban is removed by click",
            "the ban is removed by keyboard",
            "a session is ended by click",
        ] {
            assert!(text.contains(&format!("ok {name}\n")), "{name}: {text}");
        }
        for picture in ["light-1280", "dark-1280", "light-390", "dark-390"] {
            assert!(std::fs::metadata(pictures.join(format!("{picture}.png"))).unwrap().len() > 10_000, "{picture}");
        }
        // What was done on the page of one node was done on all.
        let left = ask(cluster.node(2), "GET", &format!("/sessions?user={USER}"), "root", None).body;
        assert_eq!(left["items"].as_array().map(Vec::len), Some(2), "{left}");
        let bans = ask(cluster.node(2), "GET", "/bans", "root", None).body;
        assert_eq!(bans["items"].as_array().map(Vec::len), Some(2), "{bans}");
    });
}

/// The script, ready to run. The browser's profile, and what it leaves behind, lie in the test's own directory.
fn script(node: &Node, library: &Path, pictures: &Path, own: &Path) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/admin/page.js");
    let url = format!("http://{}", node.admin);
    let arguments =
        [script.as_os_str(), url.as_ref(), "root-token-0123456789".as_ref(), pictures.as_os_str(), USER.as_ref(), "looker-token-0123456789".as_ref()];
    Run::new("node", arguments).env("NODE_PATH", &library.display().to_string()).env("TMPDIR", &own.display().to_string())
}

/// Somebody uploads, and somebody else tries passwords, until it is over.
fn used(cluster: &Cluster, alice: &mut Client, over: &AtomicBool) {
    let bytes = random_bytes(2_000_000);
    let end = Instant::now() + Duration::from_secs(240);
    while !over.load(Ordering::Relaxed) && Instant::now() < end {
        alice.put("STOR /often", &bytes).is(226);
        let mut guess = Client::connect(cluster, &Tls::new(Version::Tls13));
        guess.secure();
        guess.command("USER mallory").is(331);
        guess.command("PASS guess").is(530);
        std::thread::sleep(Duration::from_millis(400));
    }
}
