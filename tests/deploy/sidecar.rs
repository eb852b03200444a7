//! The sidecar as it is operated: TLS and certificates of administrators, tokens that come and go while it serves, the audit as a file.
//!
//! Gets: a real node, curl. Gives: a verdict on who gets in, and on what is written about it.
//! Never: a restart between two states of a file.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use serde_json::Value;

use crate::kit::{self, Authority, Node, Options, Output, PASSWORD, Run, Tree, USER, binary};
use crate::need;

/// curl at the admin listener; `-f` is not given: a refusal is an answer.
fn curl(node: &Node, scheme: &str, path: &str, more: &[&str]) -> Output {
    let url = format!("{scheme}://localhost:{}{path}", node.admin.port());
    let ca = node.pki.ca.display().to_string();
    let told = ["-sS", "--max-time", "20", "--cacert", &ca, "-w", "\n%{http_code}"].into_iter().chain(more.iter().copied()).chain([url.as_str()]);
    Run::new("curl", told).run()
}

fn status(output: &Output) -> u16 {
    output.text().rsplit('\n').next().and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn body(output: &Output) -> Value {
    output.text().rsplit_once('\n').and_then(|(body, _)| serde_json::from_str(body).ok()).unwrap_or(Value::Null)
}

fn token(name: &str, scopes: &str) -> String {
    let digest = ftps_gateway::admin::access::Token::digest(&format!("{name}-token-0123456789"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("  - {{ name: {name}, sha256: \"{hex}\", scopes: [{scopes}] }}\n")
}

fn bearer(name: &str) -> String {
    format!("Authorization: Bearer {name}-token-0123456789")
}

#[test]
fn administrators_come_by_certificate_or_token_over_tls_alone() {
    need!("curl");
    kit::test(120, || {
        let (ours, others) = (Authority::new("admins"), Authority::new("somebody"));
        let tree = Tree::new();
        let write = |name: &str, text: &str| tree.write(name, text.as_bytes()).display().to_string();
        let shown =
            |name: &str, certified: &kit::Certified| (write(&format!("{name}.pem"), &certified.certificate), write(&format!("{name}.key"), &certified.key));
        let ops = shown("ops", &ours.issue("ops", 1));
        let guest = shown("guest", &ours.issue("guest", 2));
        let expired = shown("expired", &ours.issue_until("ops", 3, 2021));
        let stranger = shown("stranger", &others.issue("ops", 1));
        let text = format!("tokens:\n{}certificates:\n  - {{ name: night-shift, subject: \"cn:ops\", scopes: [read, bans] }}\n", token("looker", "read"));
        let files = [("admins.pem", ours.pem.as_bytes()), ("tokens.yaml", text.as_bytes())];
        let admin = "{ tokens_file: tokens.yaml, tls: { cert: cert.pem, key: key.pem, client_ca: admins.pem } }";
        let node = Node::with_files(Options::default().set("admin", admin), &files);
        let by = |(certificate, key): &(String, String), path: &str| curl(&node, "https", path, &["--cert", certificate, "--key", key]);
        // Without TLS nobody hears anything.
        let plain = curl(&node, "http", "/api/v1/version", &["-H", &bearer("looker")]);
        assert_ne!(status(&plain), 200, "{}", plain.text());
        // By token, by certificate, with the scopes of each.
        assert_eq!(status(&curl(&node, "https", "/api/v1/sessions", &["-H", &bearer("looker")])), 200);
        let me = by(&ops, "/api/v1/token");
        assert_eq!((status(&me), body(&me)["name"].as_str()), (200, Some("night-shift")), "{}{}", me.text(), me.stderr);
        let refused = by(&ops, "/api/v1/audit");
        assert_eq!((status(&refused), body(&refused)["type"].as_str()), (403, Some("/problems/out-of-scope")));
        let unknown = by(&guest, "/api/v1/sessions");
        assert_eq!((status(&unknown), body(&unknown)["type"].as_str()), (401, Some("/problems/unauthorized")), "of our authority, but nobody knows it");
        // Who has a token may come without a certificate; who shows a wrong one comes not at all.
        for wrong in [&expired, &stranger] {
            let output = by(wrong, "/api/v1/version");
            assert!(output.code != Some(0) && status(&output) == 0, "{}{}", output.text(), output.stderr);
        }
        // `ctl` comes the same way.
        let (url, ca) = (format!("https://localhost:{}", node.admin.port()), node.pki.ca.display().to_string());
        let ctl = |more: &[&str]| Run::new(binary(), ["ctl", "--url", &url, "--ca", &ca].into_iter().chain(more.iter().copied())).run();
        let me = ctl(&["--cert", &ops.0, "--key", &ops.1, "token"]);
        assert!(me.code == Some(0) && me.text().contains("name: night-shift"), "{}{}", me.text(), me.stderr);
        assert_eq!(ctl(&["--cert", &ops.0, "--key", &ops.1, "config"]).code, Some(3), "out of scope");
        assert_eq!(ctl(&["--cert", &stranger.0, "--key", &stranger.1, "nodes"]).code, Some(4), "the handshake fails");
        assert_eq!(ctl(&["nodes"]).code, Some(2), "neither token nor certificate");
        // So does the doctor, who needs neither.
        let host = format!("localhost:{}", node.explicit.port());
        let doctor = Run::new(binary(), ["doctor", &host, "--user", USER, "--ca", &ca, "--url", &url]).input(format!("{PASSWORD}\n")).run();
        assert!(doctor.code == Some(0) && doctor.text().lines().any(|line| line.starts_with("ok    store ")), "{}{}", doctor.text(), doctor.stderr);
        // Probes need neither.
        assert_eq!(status(&curl(&node, "https", "/readyz", &[])), 200);
        assert_eq!(status(&curl(&node, "https", "/", &[])), 200, "the page");
    });
}

#[test]
fn probes_and_scrapes_by_the_address_of_the_pod_are_answered_and_by_a_foreign_name_are_not() {
    kit::test(60, || {
        // The address that leads out of this machine; nothing is sent.
        let outward = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
        let Some(ip) = outward.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified()) else {
            return kit::skip("this machine has no address but loopback");
        };
        let listen = r#"{ explicit: ["127.0.0.1:0"], implicit: [], admin: "0.0.0.0:0", metrics: "0.0.0.0:0" }"#;
        let node = Node::with(Options::default().set("listen", listen).set("admin", "{ insecure_ok: true }"));
        let (admin, metrics) = (SocketAddr::new(ip, node.admin.port()), SocketAddr::new(ip, node.metrics.port()));
        let ask = |to: SocketAddr, path: &str, host: &str| {
            let mut stream = TcpStream::connect(to).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.30\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        // As the kubelet asks, with the pod's address for a name.
        for path in ["/livez", "/readyz", "/startupz", "/readyz?verbose", "/metrics"] {
            assert_eq!(ask(admin, path, &admin.to_string()), "200", "{path}");
            assert_eq!(ask(admin, path, "gateway.evil.example"), "421", "{path}: a page of somebody else, whose name was bent here");
            // No Host is foreign where nobody has anything to lose.
            assert_eq!(ask(metrics, path, "gateway-0.gateway-headless:7123"), "200", "{path}");
        }
        assert_eq!(ask(metrics, "/api/v1/version", &metrics.to_string()), "404", "metrics and probes alone");
        assert!(node.metric("ftps_gateway_admin_auth_failures_total", &["reason=\"host\""]) >= Some(5.0));
    });
}

#[test]
fn tokens_come_and_go_while_the_node_serves_and_a_broken_file_changes_nothing() {
    kit::test(120, || {
        let tree = Tree::new();
        let (one, two, read) = (token("one", "read"), token("two", "read"), |text: &str| format!("tokens:\n{text}"));
        let file = tree.write("tokens.yaml", read(&one).as_bytes());
        let node = Node::with(Options::default().set("admin", &format!("{{ tokens_file: {file:?} }}")));
        let may = |name: &str| status(&curl(&node, "http", "/api/v1/version", &["-H", &bearer(name)]));
        assert_eq!((may("one"), may("two")), (200, 401));
        // Both for a while: rotation. Each look at the file is at most some seconds apart, and each guess counts.
        tree.write("tokens.yaml", read(&format!("{one}{two}")).as_bytes());
        node.logged(&["\"reloaded\"", "\"config\""]);
        assert_eq!((may("one"), may("two")), (200, 200));
        tree.write("tokens.yaml", b"tokens:\n  - { name: one, sha256: short, scopes: [read] }\n");
        node.logged(&["\"reloaded\"", "\"error\"", "sha256"]);
        assert_eq!((may("one"), may("two")), (200, 200), "all or nothing");
        tree.write("tokens.yaml", read(&two).as_bytes());
        kit::eventually(20, "the file is read again", || node.metric("ftps_gateway_config_last_reload_successful", &[]) == Some(1.0));
        assert_eq!((may("one"), may("two")), (401, 200), "what is taken out is taken back at once");
    });
}

#[test]
fn the_audit_is_a_file_of_its_own_where_the_configuration_says_so() {
    kit::test(120, || {
        let tree = Tree::new();
        let file = tree.write("tokens.yaml", format!("tokens:\n{}{}", token("root", "admin"), token("looker", "read")).as_bytes());
        let log = "{ format: json, level: info, audit: audit.jsonl }";
        let node = Node::with(Options::default().set("admin", &format!("{{ tokens_file: {file:?} }}")).set("log", log));
        let levels = ["-X", "PUT", "-H", "Content-Type: application/json", "-d", "{\"default\": \"info\", \"rooms\": {\"tls\": \"warn\"}}"];
        let put = |name: &str| status(&curl(&node, "http", "/api/v1/log-level", &[&levels[..], &["-H", &bearer(name)]].concat()));
        assert_eq!((put("root"), put("looker")), (200, 403));
        assert_eq!(status(&curl(&node, "http", "/api/v1/sessions", &["-H", &bearer("root")])), 200);
        let path = node.tree.join("audit.jsonl");
        let lines = || -> Vec<Value> { std::fs::read_to_string(&path).unwrap_or_default().lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
        kit::eventually(10, "both are written", || lines().len() == 2);
        let (done, refused) = (&lines()[0], &lines()[1]);
        assert_eq!((done["actor"].as_str(), done["result"].as_str(), done["status"].as_u64()), (Some("root"), Some("done"), Some(200)), "{done}");
        assert_eq!((done["method"].as_str(), done["path"].as_str()), (Some("PUT"), Some("/log-level")), "{done}");
        assert_eq!(
            (refused["actor"].as_str(), refused["result"].as_str(), refused["status"].as_u64()),
            (Some("looker"), Some("refused"), Some(403)),
            "{refused}"
        );
        // The same record in the API, and a line in the log.
        let answer = curl(&node, "http", "/api/v1/audit", &["-H", &bearer("root")]);
        assert!(body(&answer)["items"].as_array().unwrap().iter().any(|item| item["id"] == done["id"] && item["path"] == done["path"]), "{}", answer.text());
        node.logged(&["\"audit\"", "/log-level", "root"]);
        // A rotation, as logrotate does it.
        std::fs::rename(&path, node.tree.join("audit.1")).unwrap();
        assert_eq!(put("root"), 200);
        kit::eventually(10, "the new file has the new line", || lines().len() == 1);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("token-0123"));
    });
}
