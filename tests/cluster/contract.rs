//! A contract fuzzer against a live node of three: requests that nobody would think of, held against the document that the node itself gives out.
//!
//! Gets: schemathesis, three nodes. Gives: its verdict on every call; and that what it was refused was counted, and that the nodes still serve.
//! Never: a document that is not the node's own.

use std::path::PathBuf;

use serde_json::json;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Client, Cluster, Run, Setup, Tree};

#[test]
fn a_fuzzer_finds_no_answer_that_the_document_does_not_have() {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/schemathesis/bin/schemathesis");
    if !program.is_file() {
        return kit::skip("schemathesis is not there; tests/run fetches it");
    }
    kit::test(420, move || {
        let tree = Tree::new();
        let cluster = Cluster::with(Setup { nodes: 3, ..Setup::default() }.key("admin", "tokens_file", &tokens(&tree)));
        joined(&cluster, 3);
        let _client = Client::ready(&cluster);
        let node = cluster.node(0);
        let document = ask(node, "GET", "/openapi.json", "looker", None).body;
        let file = tree.write("openapi.json", document.to_string().as_bytes()).display().to_string();
        let url = format!("http://{}/api/v1", node.admin);
        let examples = if kit::full() { "200" } else { "20" };
        let told = ["run", &file, "--url", &url, "--max-examples", examples, "--header", "Authorization: Bearer root-token-0123456789", "--checks", CHECKS];
        let arguments = told.into_iter().chain(FLAGS.split(' '));
        let output = Run::new(&program.display().to_string(), arguments).at(tree.path()).seconds(390).run();
        assert_eq!(output.code, Some(0), "{}\n{}", output.text(), output.stderr);
        let text = output.text();
        assert!(text.contains("No issues found"), "{text}");
        let refused = node.metric("ftps_gateway_admin_requests_total", &["class=\"4xx\""]).unwrap();
        assert!(refused > 200.0, "{refused} refusals were counted");
        assert_eq!(cluster.metric("ftps_gateway_admin_requests_total", &["class=\"5xx\""]), 0.0);
        assert_eq!(cluster.metric("ftps_gateway_panics_total", &[]), 0.0);
        goes_on(&cluster);
    });
}

/// Whatever it did, the cluster goes on; what it drained comes back.
fn goes_on(cluster: &Cluster) {
    let node = cluster.node(0);
    joined(cluster, 3);
    for number in 0..3 {
        assert_eq!(ask(node, "POST", &format!("/nodes/node-{number}/undrain"), "root", None).body["state"], json!("ready"));
    }
    let undone = ask(node, "DELETE", "/bans?source=admin", "root", None);
    assert_eq!(undone.body["propagation"]["state"], json!("everywhere"), "{}", undone.body);
    kit::eventually(20, "every node is ready", || cluster.nodes().all(|node| node.get(node.metrics, "/readyz").status == 200));
    Client::ready(cluster).command("NOOP").is(200);
}

/// All that the fuzzer knows but these: what is right by its form may still be refused by its meaning (`positive_data_acceptance`); who may come is what
/// `what_may_not_be_is_a_problem_and_counted` is for, since whoever guesses 20 tokens a minute is not heard any more (`ignored_auth`).
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,\
    negative_data_rejection,missing_required_header,unsupported_method,use_after_free";
/// Events are an answer that goes on and on.
const FLAGS: &str = "--no-color --workers 2 --generation-deterministic --phases examples,coverage,fuzzing --continue-on-failure --warnings off \
    --request-timeout 20 --exclude-path /events";
