//! The admin API of a cluster, over HTTP and by `ctl`: every call against real nodes, valid against the document, and refused where it must be.
//!
//! Gets: three nodes, a tokens file, promtool. Gives: a verdict on answers, problems, counts and audit.
//! Never: a call of the document that is not made here.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{self, Client, Cluster, Node, Pick, Run, Setup, Tree, binary, random_bytes};
use crate::need;

/// Tokens that the nodes know; `ended` has expired, `afar` is good from elsewhere.
const TOKENS: [(&str, &str, &str); 5] = [
    ("root", "[admin]", ""),
    ("looker", "[read]", ""),
    ("kicker", "[sessions]", ""),
    ("ended", "[admin]", ", expires: 2020-01-01"),
    ("afar", "[admin]", ", from: [\"192.0.2.0/24\"]"),
];

pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Value,
}

/// A request as it stands: whatever is wrong with it is meant so.
fn raw(address: SocketAddr, request: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // A refused body may not be read to its end.
    let _ = stream.write_all(body);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{request}: no answer: {text}"));
    Answer { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

pub(super) fn ask(node: &Node, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
    let text = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    let host = node.admin;
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}-token-0123456789\r\n{kind}Content-Length: {}\r\n\r\n",
        text.len()
    );
    raw(node.admin, &request, text.as_bytes())
}

fn digest(token: &str) -> String {
    ftps_gateway::admin::access::Token::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn tokens(tree: &Tree) -> String {
    let line = |(name, scopes, more): &(&str, &str, &str)| {
        format!("  - {{ name: {name}, sha256: \"{}\", scopes: {scopes}{more} }}\n", digest(&format!("{name}-token-0123456789")))
    };
    let text = format!("tokens:\n{}", TOKENS.iter().map(line).collect::<String>());
    format!("{:?}", tree.write("tokens.yaml", text.as_bytes()))
}

fn cluster(tree: &Tree, nodes: usize) -> Cluster {
    Cluster::with(Setup { nodes, ..Setup::default() }.key("admin", "tokens_file", &tokens(tree)))
}

/// Waits until every node knows all others.
pub(super) fn joined(cluster: &Cluster, nodes: usize) {
    kit::eventually(60, "all nodes are members everywhere", || {
        cluster.nodes().all(|node| ask(node, "GET", "/nodes", "looker", None).body["items"].as_array().map(Vec::len) == Some(nodes))
    });
}

/// Whether a value is what a schema says; what is wrong with it where.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return check(document, document.pointer(name.trim_start_matches('#')).unwrap(), value, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        assert!(any.iter().any(|one| one["type"] == "null" && value.is_null() || one["type"] != "null" && !value.is_null()), "{place}: {value}");
        return any.iter().filter(|one| one["type"] != "null" && !value.is_null()).for_each(|one| check(document, one, value, place));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    let wanted = &schema["type"];
    assert!(wanted.is_null() || is(wanted) || wanted.as_array().is_some_and(|any| any.iter().any(is)), "{place}: {value} is not {wanted}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(name).is_some(), "{place}: {name} is missing in {value}");
    }
    for (name, below) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => check(document, schema, below, &format!("{place}/{name}")),
            None if schema["additionalProperties"].is_object() => check(document, &schema["additionalProperties"], below, &format!("{place}/{name}")),
            None => assert!(schema["properties"].is_null(), "{place}: {name} is not in the document"),
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{place}/{number}"));
    }
}

#[test]
// long: one line for each call of the document.
fn every_call_of_the_document_answers_as_it_says() {
    kit::test(240, || {
        let tree = Tree::new();
        let cluster = cluster(&tree, 3);
        joined(&cluster, 3);
        let document = ask(cluster.node(0), "GET", "/openapi.json", "looker", None).body;
        let mut open: BTreeSet<String> = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            open.extend(methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
        }
        // One session on each node, and a transfer.
        let mut sessions: Vec<Client> = Vec::new();
        for node in 0..3 {
            cluster.balancer.pick(Pick::Fixed { control: node, data: node });
            sessions.push(Client::ready(&cluster));
        }
        sessions[2].put("STOR /a", &random_bytes(5000)).is(226);
        let mut call = |method: &str, path: &str, template: &str, body: Option<Value>| {
            let answer = ask(cluster.node(0), method, path, "root", body.as_ref());
            assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
            assert!(answer.head.contains("x-request-id: e_") && answer.head.contains("cache-control: no-store"), "{}", answer.head);
            let place = format!("/paths/{}/{}/responses/200/content/application~1json/schema", template.replace('/', "~1"), method.to_lowercase());
            check(&document, document.pointer(&place).unwrap_or_else(|| panic!("{place}")), &answer.body, path);
            assert_eq!(answer.body.get("silent").cloned().unwrap_or(json!([])), json!([]), "{path}");
            open.remove(&format!("{method} {template}"));
            answer.body
        };
        let lists =
            ["/nodes", "/certificates", "/staples", "/cache/sessions", "/cache/digests", "/cache/staples", "/config", "/version", "/token", "/openapi.json"];
        lists.into_iter().for_each(|path| drop(call("GET", path, path, None)));
        for (path, template) in [
            ("/sessions?user=demo&limit=2", "/sessions"),
            ("/clients?user=demo", "/clients"),
            ("/transfers?path=/a", "/transfers"),
            ("/audit?limit=5", "/audit"),
        ] {
            call("GET", path, template, None);
        }
        let first = call("GET", "/sessions?limit=2", "/sessions", None);
        let next = first["next"].as_str().expect("a third session");
        let rest = call("GET", &format!("/sessions?limit=2&cursor={next}"), "/sessions", None);
        let all: Vec<&Value> = first["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap()).collect();
        let nodes: BTreeSet<&str> = all.iter().map(|session| session["node"].as_str().unwrap()).collect();
        assert_eq!((all.len(), nodes.len()), (3, 3), "sessions of every node, each once: {all:?}");
        let moved = call("GET", "/transfers?user=demo", "/transfers", None);
        assert_eq!((moved["items"][0]["bytes"].as_u64(), moved["items"][0]["node"].as_str()), (Some(5000), Some("node-2")), "{moved}");
        let client = call("GET", "/clients", "/clients", None)["items"][0].clone();
        assert!(client["sessions"].as_u64() >= Some(3), "one client of three nodes: {client}");
        // Changes.
        let wanted = json!({ "target": { "ip": "203.0.113.7" }, "duration": "1h", "reason": "a test" });
        let made = call("POST", "/bans", "/bans", Some(wanted));
        assert_eq!((made["propagation"]["state"].as_str(), made["propagation"]["nodes"].as_u64()), (Some("everywhere"), Some(3)), "{made}");
        let ban = made["id"].as_str().unwrap();
        assert_eq!(call("GET", "/bans", "/bans", None)["items"][0]["id"], ban);
        assert_eq!(call("GET", &format!("/bans/{ban}"), "/bans/{id}", None)["author"], "root");
        assert_eq!(ask(cluster.node(2), "GET", &format!("/bans/{ban}"), "looker", None).status, 200, "on another node");
        assert_eq!(call("POST", "/bans/check", "/bans/check", Some(json!({ "ip": "203.0.113.7" })))["refused"], true);
        nothing_is_done(&mut call, &cluster, ban);
        assert_eq!(call("DELETE", &format!("/bans/{ban}"), "/bans/{id}", None)["removed"].as_array().unwrap().len(), 1);
        out_and_in(&mut call, cluster.node(1));
        assert_eq!(call("GET", "/bans/counters", "/bans/counters", None)["items"][0]["event"], "login_failed");
        assert_eq!(call("DELETE", "/bans?source=admin", "/bans", None)["removed"].as_array().unwrap().len(), 1);
        let id = all.iter().find(|session| session["node"] == "node-1").unwrap()["id"].as_str().unwrap();
        assert_eq!(call("DELETE", &format!("/sessions/{id}?dry_run=true"), "/sessions/{id}", None)["ended"], 1);
        assert_eq!(call("DELETE", &format!("/sessions/{id}"), "/sessions/{id}", None)["ended"], 1, "on another node");
        sessions[1].expect(421);
        assert_eq!(call("DELETE", "/sessions?user=demo", "/sessions", None)["ended"], 2);
        sessions[0].expect(421);
        let forgotten = call("DELETE", &format!("/clients/{}", client["id"].as_str().unwrap()), "/clients/{id}", None);
        assert!(forgotten["removed"].as_u64() >= Some(1), "{forgotten}");
        assert_eq!(
            call("PUT", "/log-level", "/log-level", Some(json!({ "default": "debug", "rooms": { "tls": "warn" } })))["nodes"].as_array().unwrap().len(),
            3
        );
        assert_eq!(call("POST", "/config/reload", "/config/reload", None)["nodes"].as_array().unwrap().len(), 3);
        call("POST", "/certificates/reload", "/certificates/reload", None);
        call("POST", "/tickets/rotate", "/tickets/rotate", None);
        for cache in ["/cache/sessions", "/cache/digests", "/cache/staples"] {
            assert_eq!(call("DELETE", cache, cache, None)["items"].as_array().unwrap().len(), 3);
        }
        assert_eq!(call("POST", "/config/validate", "/config/validate", Some(json!({})))["valid"], true);
        let verdict = call("POST", "/config/validate", "/config/validate", Some(json!({ "yaml": "limits:\n  lime: 3\n" })));
        let unknown = verdict["problems"].as_array().unwrap().iter().find(|problem| problem["key"] == "limits.lime").expect("the unknown key");
        assert_eq!((verdict["valid"].as_bool(), unknown["line"].as_u64()), (Some(false), Some(2)), "{verdict}");
        assert_eq!(call("POST", "/nodes/node-2/drain", "/nodes/{name}/drain", None)["state"], "draining");
        assert_eq!(cluster.node(2).get(cluster.node(2).metrics, "/readyz").status, 503);
        assert_eq!(call("POST", "/nodes/node-2/undrain", "/nodes/{name}/undrain", None)["state"], "ready");
        assert_eq!(cluster.node(2).get(cluster.node(2).metrics, "/readyz").status, 200);
        let done = call("GET", "/audit?actor=root&limit=1000", "/audit", None);
        let paths: BTreeSet<&str> = done["items"].as_array().unwrap().iter().filter_map(|record| record["path"].as_str()).collect();
        for path in ["/sessions/{id}", "/sessions", "/log-level", "/config/reload", "/tickets/rotate", "/nodes/{name}/drain"] {
            assert!(paths.contains(path), "{path} is not in the audit: {paths:?}");
        }
        // The last needs a responder: `staples` has one.
        open.retain(|call| !["GET /events", "GET /bans/export", "POST /staples/refresh"].contains(&call.as_str()));
        assert!(open.is_empty(), "calls of the document that were not made: {open:?}");
    });
}

#[test]
// long: one line for each refusal.
fn what_may_not_be_is_a_problem_and_counted() {
    kit::test(120, || {
        let tree = Tree::new();
        let cluster = cluster(&tree, 1);
        let node = cluster.node(0);
        let problem = |answer: &Answer, status: u16, slug: &str| {
            assert_eq!((answer.status, answer.body["type"].as_str()), (status, Some(format!("/problems/{slug}").as_str())), "{}", answer.body);
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        };
        problem(&ask(node, "GET", "/nowhere", "root", None), 404, "not-found");
        let answer = ask(node, "PATCH", "/sessions", "root", None);
        problem(&answer, 405, "method-not-allowed");
        assert!(answer.head.contains("allow: get,head,delete"), "{}", answer.head);
        problem(&ask(node, "GET", "/sessions", "guessed", None), 401, "unauthorized");
        assert!(ask(node, "GET", "/sessions", "guessed", None).head.contains("www-authenticate: bearer"));
        problem(&ask(node, "GET", "/sessions", "ended", None), 401, "token-expired");
        problem(&ask(node, "GET", "/sessions", "afar", None), 403, "wrong-network");
        problem(&ask(node, "DELETE", "/sessions?user=x", "looker", None), 403, "out-of-scope");
        problem(&ask(node, "GET", "/audit", "looker", None), 403, "out-of-scope");
        problem(&ask(node, "DELETE", "/sessions", "kicker", None), 400, "invalid");
        problem(&ask(node, "GET", "/sessions?ip=nobody", "looker", None), 400, "invalid");
        problem(&ask(node, "GET", "/sessions?usr=x", "looker", None), 400, "invalid");
        problem(&ask(node, "DELETE", "/sessions/s_0", "kicker", None), 404, "not-found");
        problem(&ask(node, "POST", "/bans", "root", Some(&json!({ "target": { "ip": "203.0.113.7" } }))), 400, "invalid");
        problem(&ask(node, "POST", "/bans", "root", Some(&json!({ "target": { "ip": "127.0.0.1" }, "duration": "1h" }))), 400, "invalid");
        problem(&ask(node, "DELETE", "/bans", "root", None), 400, "invalid");
        problem(&ask(node, "POST", "/bans", "looker", Some(&json!({}))), 403, "out-of-scope");
        problem(&ask(node, "POST", "/nodes/elsewhere/drain", "root", None), 404, "not-found");
        problem(&ask(node, "PUT", "/log-level", "root", Some(&json!({ "default": "loud" }))), 400, "invalid");
        problem(&ask(node, "PUT", "/log-level", "root", Some(&json!({ "default": "info", "more": 1 }))), 400, "invalid");
        let host = node.admin;
        let plain = |line: &str, host: &str, more: &str, body: &[u8]| {
            let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n", body.len());
            raw(node.admin, &head, body)
        };
        let token = "Authorization: Bearer root-token-0123456789\r\n";
        problem(&plain("GET /api/v1/sessions", &host.to_string(), "", b""), 401, "unauthorized");
        problem(&plain("GET /api/v1/sessions", "evil.example", token, b""), 421, "foreign-host");
        problem(&plain("GET /livez", "evil.example", "", b""), 421, "foreign-host");
        problem(&plain("PUT /api/v1/log-level", &host.to_string(), &format!("{token}Content-Type: text/plain\r\n"), b"{}"), 415, "media-type");
        problem(&plain("PUT /api/v1/log-level", &host.to_string(), &format!("{token}Content-Type: application/json\r\n"), b"{"), 400, "invalid");
        problem(
            &plain("PUT /api/v1/log-level", &host.to_string(), &format!("{token}Content-Type: application/json\r\n"), &vec![b' '; 70_000]),
            413,
            "too-large",
        );
        // As the kubelet asks: by the pod's address.
        assert_eq!(plain("GET /readyz", &host.to_string(), "", b"").status, 200);
        for (reason, least) in [("missing", 1.0), ("unknown", 2.0), ("expired", 1.0), ("network", 1.0), ("scope", 2.0), ("host", 2.0)] {
            let counted = node.metric("ftps_gateway_admin_auth_failures_total", &[&format!("reason=\"{reason}\"")]).unwrap();
            assert!(counted >= least, "{reason}: {counted}");
        }
        assert!(node.metric("ftps_gateway_admin_requests_total", &["group=\"unknown\"", "class=\"4xx\""]).unwrap() >= 2.0);
        // Refusals are in the audit, with who it would have been.
        let audit = ask(node, "GET", "/audit?limit=1000", "root", None).body.to_string();
        assert!(audit.contains("\"looker\"") && audit.contains("\"ended\"") && audit.contains("\"refused\"") && !audit.contains("token-0123"), "{audit}");
        // Guessing ends; the one who knows is at another address.
        (0..25).for_each(|_| drop(ask(node, "GET", "/sessions", "guessed", None)));
        let answer = ask(node, "GET", "/sessions", "guessed", None);
        problem(&answer, 429, "too-many-attempts");
        assert!(answer.head.contains("retry-after: 60"), "{}", answer.head);
    });
}

#[test]
fn ctl_shows_tables_follows_events_and_ends_with_its_codes() {
    need!("promtool");
    kit::test(180, || {
        let tree = Tree::new();
        let cluster = cluster(&tree, 2);
        joined(&cluster, 2);
        let file = tree.write("token", b"root-token-0123456789\n").display().to_string();
        let url = format!("http://{}", cluster.node(0).admin);
        let ctl = |arguments: &[&str]| {
            let all = ["ctl", "--url", &url, "--token-file", &file].into_iter().chain(arguments.iter().copied());
            Run::new(binary(), all).run()
        };
        cluster.balancer.pick(Pick::Fixed { control: 1, data: 1 });
        let mut client = Client::ready(&cluster);
        client.put("STOR /x", &random_bytes(2048)).is(226);
        let nodes = ctl(&["nodes"]);
        assert!(nodes.code == Some(0) && nodes.text().contains("node-0") && nodes.text().contains("node-1"), "{}{}", nodes.text(), nodes.stderr);
        assert!(ctl(&["session", "--user", "demo"]).text().contains("node-1"));
        assert!(ctl(&["transfers"]).text().contains("2.0 KiB"));
        let json: Value = serde_json::from_str(&ctl(&["clients", "-o", "json"]).text()).unwrap();
        assert_eq!(json["items"][0]["user"], "demo");
        assert!(ctl(&["nodes", "-o", "yaml"]).text().contains("\"name\": \"node-0\""));
        assert!(ctl(&["drain", "node-1"]).text().contains("state: draining"));
        assert!(ctl(&["undrain", "node-1"]).text().contains("state: ready"));
        assert!(ctl(&["sessions", "kick", "--user", "demo"]).text().contains("ended: 1"));
        client.expect(421);
        assert!(ctl(&["audit"]).text().contains("/sessions"));
        assert_eq!(ctl(&["drain", "nobody"]).code, Some(1));
        assert_eq!(ctl(&["drain"]).code, Some(2), "usage");
        let wrong = tree.write("wrong", b"guess-token-0123456789\n").display().to_string();
        assert_eq!(Run::new(binary(), ["ctl", "nodes", "--url", &url, "--token-file", &wrong]).run().code, Some(3));
        assert_eq!(Run::new(binary(), ["ctl", "nodes", "--url", "http://127.0.0.1:9", "--token-file", &file]).run().code, Some(4));
        // A stream of both nodes.
        let mut stream = TcpStream::connect(cluster.node(0).admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let host = cluster.node(0).admin;
        write!(stream, "GET /api/v1/events?names=logged_in HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer root-token-0123456789\r\n\r\n").unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("from now on") {
            let count = stream.read(&mut buffer).unwrap();
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        for node in 0..2 {
            cluster.balancer.pick(Pick::Fixed { control: node, data: node });
            Client::ready(&cluster);
        }
        while !(text.contains("{\"node\":\"node-0\"") && text.contains("{\"node\":\"node-1\"")) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the stream ended: {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        assert!(text.contains("event: logged_in\n") && !text.contains("event: accepted"), "{text}");
        let scrape = cluster.node(0).get(cluster.node(0).metrics, "/metrics").body;
        let checked = Run::new("promtool", ["check", "metrics"]).input(scrape).run();
        assert_eq!(checked.code, Some(0), "{}{}", checked.text(), checked.stderr);
    });
}

/// Every call with a dry run says what it would do, and does not.
fn nothing_is_done(call: &mut impl FnMut(&str, &str, &str, Option<Value>) -> Value, cluster: &Cluster, ban: &str) {
    let node = cluster.node(0);
    let count = |answer: &Value, list: &str| answer[list].as_array().map(Vec::len);
    let before = ask(node, "GET", "/audit?limit=1000", "root", None).body["items"].as_array().map(Vec::len);
    let removed = call("DELETE", &format!("/bans/{ban}?dry_run=true"), "/bans/{id}", None);
    assert_eq!((removed["removed"][0]["id"].as_str(), removed["dry_run"].as_bool()), (Some(ban), Some(true)), "{removed}");
    assert_eq!(ask(node, "GET", &format!("/bans/{ban}"), "looker", None).status, 200, "it stands");
    assert_eq!(ask(node, "DELETE", "/bans/b_00000000000000000000000000?dry_run=true", "root", None).status, 404);
    assert_eq!(call("POST", "/nodes/node-2/drain?dry_run=true", "/nodes/{name}/drain", None)["state"], "draining");
    assert_eq!(call("POST", "/nodes/node-2/undrain?dry_run=true", "/nodes/{name}/undrain", None)["state"], "ready");
    assert_eq!(cluster.node(2).get(cluster.node(2).metrics, "/readyz").status, 200, "it does not drain");
    assert_eq!(ask(node, "POST", "/nodes/elsewhere/drain?dry_run=true", "root", None).status, 404);
    let loud = json!({ "default": "trace" });
    assert_eq!(count(&call("PUT", "/log-level?dry_run=true", "/log-level", Some(loud)), "nodes"), Some(3));
    for reload in ["/config/reload", "/certificates/reload"] {
        assert_eq!(count(&call("POST", &format!("{reload}?dry_run=true"), reload, None), "nodes"), Some(3));
    }
    let generation = node.metric("ftps_gateway_tls_ticket_key_generation", &[]);
    assert_eq!(count(&call("POST", "/tickets/rotate?dry_run=true", "/tickets/rotate", None), "nodes"), Some(1));
    assert_eq!(node.metric("ftps_gateway_tls_ticket_key_generation", &[]), generation);
    for cache in ["/cache/sessions", "/cache/digests", "/cache/staples"] {
        assert_eq!(count(&call("DELETE", &format!("{cache}?dry_run=true"), cache, None), "items"), Some(3));
    }
    assert_eq!(
        ask(node, "GET", "/audit?limit=1000", "root", None).body["items"].as_array().map(Vec::len).map(|now| now - 2),
        before,
        "only the refusals are on record"
    );
    // What a reload would not take.
    let users = std::fs::read(&cluster.users).unwrap();
    std::fs::write(&cluster.users, b"users: [{ name: nobody, colour: red }]\n").unwrap();
    let refused = ask(node, "POST", "/config/reload?dry_run=true", "root", None);
    std::fs::write(&cluster.users, users).unwrap();
    assert!(refused.status == 409 && refused.body["detail"].as_str().is_some_and(|words| words.contains("colour")), "{}", refused.body);
}

/// A ban comes in, goes out, and is known when it comes in again.
fn out_and_in(mut call: impl FnMut(&str, &str, &str, Option<Value>) -> Value, node: &Node) {
    let line = json!({ "target": { "ip": "203.0.113.99" }, "duration": "1h" });
    assert_eq!(call("POST", "/bans/import?wait=2s", "/bans/import", Some(json!({ "bans": [line] })))["imported"], 1);
    // One ban is one line, which is JSON.
    let exported = ask(node, "GET", "/bans/export", "root", None);
    assert_eq!((exported.status, exported.body["target"]["ip"].as_str()), (200, Some("203.0.113.99")), "{}", exported.body);
    let again = call("POST", "/bans/import", "/bans/import", Some(json!({ "bans": [exported.body] })));
    assert_eq!((again["imported"].as_u64(), again["skipped"].as_u64()), (Some(0), Some(1)), "{again}");
}
