//! `doctor`, against nodes that are well and nodes that are not: each fault in words, with the one thing to change.
//!
//! Gets: real nodes. Gives: what the doctor prints for a person and for a script, and its exit code.
//! Never: a fault that the test only pretends.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::kit::{self, Node, Options, Output, PASSWORD, Pki, Run, Tree, USER, binary};

#[test]
fn a_healthy_node_is_well() {
    kit::test(60, || {
        let node = Node::start();
        let url = format!("http://{}", node.admin);
        let output = doctor(&host(&node), &["--ca", node.pki.ca.to_str().unwrap(), "--url", &url]);
        let text = output.text();
        assert_eq!(output.code, Some(0), "{text}\n{}", output.stderr);
        assert!(text.ends_with("\nNothing is wrong.\n"), "{text}");
        let subjects =
            ["connection", "certificate", "login", "TLS sessions", "client address", "data address", "upload", "data connections", "clock", "files", "node"];
        for subject in subjects {
            assert!(text.lines().any(|line| line.starts_with(&format!("ok    {subject} "))), "{subject}: {text}");
        }
        assert!(text.contains("8 of 8 reached their session, 8 resumed"), "{text}");
        assert!(kit::contents(&node.root).is_empty(), "its file is removed again");
        // Implicit TLS, for a script.
        let implicit = doctor(&format!("localhost:{}", node.implicit.port()), &["--implicit", "--ca", node.pki.ca.to_str().unwrap(), "-o", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&implicit.stdout).expect("JSON");
        assert_eq!((implicit.code, &json["well"]), (Some(0), &serde_json::json!(true)), "{json}");
    });
}

#[test]
fn a_wrong_announced_address_is_named_with_the_right_one() {
    kit::test(60, || {
        // Nobody listens there.
        let node = Node::with(Options::default().set("data", r#"{ ports: "0/8", public_address: 127.0.0.9 }"#));
        let output = doctor(&host(&node), &["--ca", node.pki.ca.to_str().unwrap()]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   data address      PASV announces 127.0.0.9:"), "{text}");
        assert!(text.contains("→  set data.public_address to 127.0.0.1\n"), "{text}");
        // The rest works by EPSV, and is not blamed.
        assert!(text.contains("ok    data connections"), "{text}");
        assert!(text.ends_with("\nOne thing is wrong.\n"), "{text}");
    });
}

#[test]
fn a_certificate_for_another_name_gets_no_password() {
    kit::test(60, || {
        let tree = Tree::new();
        Pki::write_named(&tree, "ftps.example");
        let file = |name: &str| format!("{:?}", tree.join(name));
        let tls = format!("{{ certificates: [{{ cert: {}, key: {} }}] }}", file("ftps.example.pem"), file("ftps.example.key"));
        let node = Node::with(Options::default().set("tls", &tls));
        let output = doctor(&host(&node), &["--ca", node.pki.ca.to_str().unwrap()]);
        let text = output.text();
        assert!(text.contains("BAD   certificate       it is for ftps.example, not for localhost"), "{text}");
        assert!(text.contains("the password was not sent"), "{text}");
    });
}

#[test]
fn an_unknown_authority_gets_no_password() {
    kit::test(60, || {
        let node = Node::start();
        let output = doctor(&host(&node), &[]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   certificate") && text.contains("use --ca FILE here"), "{text}");
        assert!(text.contains("the password was not sent"), "{text}");
        let logins = node.metric("ftps_gateway_logins_total", &[]).unwrap_or_default();
        assert!(logins < 0.5, "{logins} logins");
    });
}

#[test]
fn an_expired_certificate_is_named() {
    kit::test(60, || {
        // A node refuses to start with an expired certificate; this one expires while it runs.
        let tree = Tree::new();
        let until = SystemTime::now() + Duration::from_secs(4);
        let (cert, key) = ends_at(until);
        let (cert, key) = (tree.write("own.pem", cert.as_bytes()), tree.write("own.key", key.as_bytes()));
        let node = Node::with(Options::default().set("tls", &format!("{{ certificates: [{{ cert: {cert:?}, key: {key:?} }}] }}")));
        std::thread::sleep(until.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_millis(1500));
        let output = doctor(&host(&node), &["--ca", cert.to_str().unwrap(), "--insecure"]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   certificate       it expired on "), "{text}");
        assert!(text.contains("→  renew it"), "{text}");
        // Told to, it looks on.
        assert!(text.contains("ok    data connections"), "{text}");
    });
}

#[test]
fn a_node_that_cannot_resume_is_named() {
    kit::test(60, || {
        let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }], session_lifetime: 1ms }";
        let node = Node::with(Options::default().set("tls", tls));
        let output = doctor(&host(&node), &["--ca", node.pki.ca.to_str().unwrap()]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   TLS sessions") && text.contains("→  look at tls.session_lifetime"), "{text}");
    });
}

#[test]
fn nobody_there_and_no_login_are_told_apart() {
    kit::test(60, || {
        let node = Node::start();
        let ca = node.pki.ca.to_str().unwrap().to_owned();
        let wrong = run(&host(&node), &["--ca", &ca], "wrong");
        assert!(wrong.text().contains("BAD   login") && wrong.code == Some(1), "{}", wrong.text());
        let nobody = doctor("localhost:1", &[]);
        assert!(nobody.text().contains("BAD   connection") && nobody.code == Some(1), "{}", nobody.text());
        let implicit = doctor(&format!("localhost:{}", node.explicit.port()), &["--implicit", "--ca", &ca]);
        assert!(implicit.text().contains("leave --implicit out"), "{}", implicit.text());
        let usage = doctor("a:b:c", &[]);
        assert_eq!(usage.code, Some(64), "{}", usage.stderr);
    });
}

fn host(node: &Node) -> String {
    format!("localhost:{}", node.explicit.port())
}

fn doctor(host: &str, more: &[&str]) -> Output {
    run(host, more, PASSWORD)
}

fn run(host: &str, more: &[&str], password: &str) -> Output {
    let arguments = ["doctor", host, "--user", USER].into_iter().chain(more.iter().copied());
    Run::new(binary(), arguments).input(format!("{password}\n")).run()
}

/// A certificate for localhost that signs itself and ends then, and its key.
fn ends_at(until: SystemTime) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}
