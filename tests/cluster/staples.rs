//! OCSP stapling by a cluster: one node asks a real responder, every node staples what came, and what is wrong is said.
//!
//! Gets: `openssl ocsp` as the responder, `openssl s_client` and curl as clients, Redis. Gives: what clients are shown, and how often the responder was asked.
//! Never: a response that the test made itself.

use std::net::SocketAddr;

use serde_json::Value;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Authority, Cluster, Node, Options, Responder, Run, Server, Setup, Tree, binary};
use crate::need;

/// What OpenSSL is shown in a handshake: `good`, `revoked`, or nothing.
fn shown(address: SocketAddr, explicit: bool) -> Option<String> {
    let target = address.to_string();
    let words = ["s_client", "-status", "-connect", &target].into_iter().chain(if explicit { vec!["-starttls", "ftp"] } else { vec![] });
    let text = Run::new("openssl", words).run().text();
    assert!(text.contains("OCSP response:"), "{text}");
    if text.contains("no response sent") {
        return None;
    }
    assert!(text.contains("OCSP Response Status: successful"), "{text}");
    text.lines().find_map(|line| line.trim().strip_prefix("Cert Status: ")).map(str::to_owned)
}

/// Waits until every node shows this.
fn everywhere(cluster: &Cluster, status: Option<&str>) {
    kit::eventually(60, &format!("every node shows {status:?}"), || cluster.nodes().all(|node| shown(node.explicit, true).as_deref() == status));
}

fn staples(node: &Node) -> Vec<Value> {
    ask(node, "GET", "/staples", "looker", None).body["items"].as_array().cloned().unwrap_or_default()
}

/// The files of a chain and its key, and the value of `tls.certificates`.
fn written(tree: &Tree, (chain, key): &(String, String)) -> String {
    let (cert, key) = (tree.write("chain.pem", chain.as_bytes()), tree.write("chain.key", key.as_bytes()));
    format!("[{{ cert: {cert:?}, key: {key:?} }}]")
}

/// Three nodes that know each other; then their certificate is replaced by one that names the responder.
fn cluster(tree: &Tree, responder: &mut Responder, server: Option<&Server>) -> Cluster {
    let plain = Authority::new("Nobody").issue("localhost", 1);
    let certificates = written(tree, &(plain.certificate, plain.key));
    let setup = Setup { store: server.map(Server::url), ..Setup::default() };
    let cluster = Cluster::with(setup.key("tls", "certificates", &certificates).key("admin", "tokens_file", &tokens(tree)));
    joined(&cluster, 3);
    everywhere(&cluster, None);
    assert_eq!(staples(cluster.node(0))[0]["status"], "none");
    assert_eq!(ask(cluster.node(0), "POST", "/staples/refresh", "root", None).status, 409);
    let named = responder.issue(7, &[], false);
    responder.up();
    written(tree, &named);
    cluster
}

#[test]
fn one_node_asks_and_all_staple_by_the_peers_alone() {
    need!("openssl");
    kit::test(180, || {
        let (tree, mut responder) = (Tree::new(), Responder::new());
        let mut cluster = cluster(&tree, &mut responder, None);
        everywhere(&cluster, Some("good"));
        let asked = responder.asked();
        assert_eq!(asked, 1, "one question for all nodes");
        assert_eq!(ask(cluster.node(1), "POST", "/staples/refresh", "looker", None).status, 403);
        let dry = ask(cluster.node(1), "POST", "/staples/refresh?dry_run=true", "root", None).body;
        assert_eq!((dry["nodes"][0].as_str(), responder.asked()), (Some("node-1"), asked), "{dry}");
        let done = ask(cluster.node(1), "POST", "/staples/refresh", "root", None).body;
        assert_eq!(done["nodes"].as_array().map(Vec::len), Some(3), "{done}");
        everywhere(&cluster, Some("good"));
        assert_eq!(shown(cluster.node(1).implicit, false).as_deref(), Some("good"));
        assert_eq!(responder.asked(), asked + 1);
        // Who starts has it from the others.
        let new = cluster.add();
        kit::eventually(60, "a new node staples", || shown(cluster.node(new).explicit, true).is_some());
        assert_eq!(responder.asked(), asked + 1);
        assert_eq!(staples(cluster.node(0)).iter().filter(|one| one["source"] == "peer").count(), 3);
        stays_while_nobody_answers(&cluster, &mut responder);
        revoked(&cluster, &mut responder);
        asked_by_another(&cluster, &mut responder, &tree);
    });
}

/// The node that asks stands still, and the certificate is replaced: another one asks.
fn asked_by_another(cluster: &Cluster, responder: &mut Responder, tree: &Tree) {
    cluster.freeze(0);
    let renewed = responder.issue(8, &[], false);
    responder.up();
    let asked = responder.asked();
    written(tree, &renewed);
    let others = || cluster.nodes().skip(1);
    kit::eventually(60, "the others show its response", || others().all(|node| shown(node.explicit, true).as_deref() == Some("good")));
    assert_eq!(responder.asked(), asked + 1);
    cluster.thaw(0);
    everywhere(cluster, Some("good"));
}

/// The old response stays, and it is said why there is no new one.
fn stays_while_nobody_answers(cluster: &Cluster, responder: &mut Responder) {
    responder.down();
    let done = ask(cluster.node(0), "POST", "/staples/refresh", "root", None).body;
    assert!(done["failed"]["node-0"].as_str().is_some_and(|why| why.contains("localhost: ")), "{done}");
    everywhere(cluster, Some("good"));
    let staples = staples(cluster.node(1));
    let at = |node: &str| staples.iter().find(|one| one["node"] == node).unwrap();
    assert_eq!((at("node-0")["status"].as_str(), at("node-1")["status"].as_str()), (Some("good"), Some("good")));
    assert!(at("node-0")["problem"].as_str().is_some_and(|why| why.contains("http://127.0.0.1:")), "{}", at("node-0"));
    assert!(at("node-1")["problem"].is_null(), "a failure is nobody else's");
    let failed = ["unreachable", "timeout", "http"].map(|result| cluster.metric("ftps_gateway_ocsp_fetches_total", &[&format!("result=\"{result}\"")]));
    assert!(failed.iter().sum::<f64>() >= 1.0);
}

/// A certificate that is revoked is said to be, everywhere, and stays so although other nodes still had something better.
fn revoked(cluster: &Cluster, responder: &mut Responder) {
    responder.revoke(7);
    responder.up();
    assert_eq!(ask(cluster.node(2), "POST", "/staples/refresh", "root", None).status, 200);
    everywhere(cluster, Some("revoked"));
    let node = cluster.node(1);
    kit::eventually(20, "it is degraded", || node.get(node.metrics, "/readyz?verbose").body.contains("is revoked"));
    assert_eq!(node.metric("ftps_gateway_ocsp_response_status", &["status=\"revoked\""]), Some(1.0));
    assert_eq!(node.get(node.metrics, "/readyz").status, 200, "it serves all the same");
    node.logged(&["\"stapled\"", "revoked"]);
    let one = &staples(node)[0];
    assert!(one["revoked_at"].as_str().is_some_and(|at| at.starts_with("2026-11-01T12:00:00")) && one["signer"] == "delegate", "{one}");
}

#[test]
fn a_store_hands_responses_on_and_cannot_forge_them() {
    need!("openssl");
    let Some(server) = Server::redis() else { return };
    kit::test(180, move || {
        let (tree, mut responder) = (Tree::new(), Responder::new());
        let mut cluster = cluster(&tree, &mut responder, Some(&server));
        everywhere(&cluster, Some("good"));
        assert_eq!((cluster.metric("ftps_gateway_ocsp_fetches_total", &[]), responder.asked()), (1.0, 1), "one question for all nodes");
        assert_eq!(cluster.metric("ftps_gateway_ocsp_refresh_leader", &[]), 1.0);
        let items = server.items_of("staple");
        let [item] = &items[..] else { panic!("{items:?}") };
        assert!(item.ttl.is_some_and(|ttl| (6 * 86_400..=7 * 86_400).contains(&ttl)), "until its nextUpdate: {item:?}");
        // Whatever somebody writes there, and whatever is lost there.
        let mut cut = item.value.clone();
        cut.truncate(item.value.len() - 1);
        for poison in [cut, vec![0; 200_000]] {
            server.set(&item.key, &poison);
            let new = cluster.add();
            kit::eventually(60, "a new node staples", || shown(cluster.node(new).explicit, true).as_deref() == Some("good"));
        }
        server.flush();
        let before = responder.asked();
        everywhere(&cluster, Some("good"));
        assert_eq!(responder.asked(), before, "nobody needed it");
        cleared(&cluster, &responder);
    });
}

/// Forgotten on all nodes, and asked for anew by one.
fn cleared(cluster: &Cluster, responder: &Responder) {
    let (before, node) = (responder.asked(), cluster.node(1));
    let held =
        || ask(node, "GET", "/cache/staples", "looker", None).body["items"].as_array().unwrap().iter().filter_map(|one| one["entries"].as_u64()).sum::<u64>();
    assert_eq!(held(), cluster.nodes().count() as u64);
    let answer = ask(node, "DELETE", "/cache/staples", "root", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    kit::eventually(60, "every node has one again", || held() == cluster.nodes().count() as u64);
    everywhere(cluster, Some("good"));
    assert_eq!(responder.asked() - before, 1);
    let ctl = |words: &str| {
        let url = format!("http://{}", node.admin);
        let all = ["ctl", "--url", &url].into_iter().chain(words.split(' '));
        Run::new(binary(), all).env("FTPS_GATEWAY_ADMIN_TOKEN", "root-token-0123456789").run().ok().text()
    };
    let table = ctl("staples");
    assert!(table.starts_with("NODE") && table.matches("localhost").count() == cluster.nodes().count() && table.contains("good"), "{table}");
    assert!(ctl("staples refresh").contains("node-1"));
}

#[test]
fn a_promise_that_is_broken_is_said_and_a_new_certificate_has_its_own_response() {
    need!("openssl", "curl");
    kit::test(120, || {
        let (tree, mut responder) = (Tree::new(), Responder::new());
        let certificates = written(&tree, &responder.issue(1, &[], true));
        let sections = [("tls", format!("{{ certificates: {certificates} }}")), ("admin", format!("{{ tokens_file: {} }}", tokens(&tree)))];
        let mut options = Options::default();
        for (name, value) in &sections {
            options = options.set(name, value);
        }
        // A start waits for no responder.
        let node = Node::with(options);
        let degraded = || node.get(node.metrics, "/readyz?verbose").body.contains("Must-Staple");
        kit::eventually(30, "the broken promise is said", degraded);
        assert_eq!((shown(node.explicit, true), node.metric("ftps_gateway_ocsp_must_staple_missing", &[])), (None, Some(1.0)));
        assert!(node.metric("ftps_gateway_ocsp_staples_total", &["result=\"missing\""]) >= Some(1.0));
        node.logged(&["staple_trouble", "promises a staple"]);
        assert!(doctor(&node, &responder).contains("promises one (Must-Staple) and none came"));
        // It is asked again by itself.
        responder.up();
        kit::eventually(60, "there is a staple", || shown(node.explicit, true).as_deref() == Some("good"));
        kit::eventually(20, "all is well", || !degraded());
        assert_eq!(node.metric("ftps_gateway_ocsp_must_staple_missing", &[]), Some(0.0));
        assert!(doctor(&node, &responder).contains("the certificate is good, until "));
        verified_by_curl(&node, &responder);
        // A new certificate, at the same place.
        let asked = responder.asked();
        let renewed = responder.issue(2, &[], true);
        responder.up();
        written(&tree, &renewed);
        kit::eventually(60, "the new certificate is asked about", || responder.asked() > asked && shown(node.explicit, true).as_deref() == Some("good"));
        assert_eq!(staples(&node)[0]["status"], "good");
        node.logged(&["reloaded", "certificates"]);
    });
}

/// curl verifies the response itself, by the chain, on the control and on the data connection. Neither resumes: a resumed session shows no certificate and no
/// staple, and curl 7.88 misses the staple all the same.
fn verified_by_curl(node: &Node, responder: &Responder) {
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
        let (ca, url) = (responder.ca.display().to_string(), format!("ftp://127.0.0.1:{}/", node.explicit.port()));
        let login = format!("{}:{}", kit::USER, kit::PASSWORD);
        let told = ["-sSv", "--cert-status", "--no-sessionid", "--ssl-reqd", "--cacert", &ca, "-u", &login, &url];
        let words = Run::new("curl", told.iter().chain(version)).run().ok().stderr;
        assert_eq!(words.matches("SSL certificate status: good").count(), 2, "{words}");
    }
}

fn doctor(node: &Node, responder: &Responder) -> String {
    let (target, ca) = (node.explicit.to_string(), responder.ca.display().to_string());
    Run::new(binary(), ["doctor", &target, "--ca", &ca, "--user", kit::USER]).input(kit::PASSWORD).run().text()
}
