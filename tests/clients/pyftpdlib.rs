//! pyftpdlib's own functional tests, pointed at the gateway.
//!
//! Gets: its source package below `target/tools`, the runner beside this file. Gives: failure when a test that passed fails, or the other way round.
//! Never: a copy of the tests; README.md says which do not hold here, and why.

use std::path::PathBuf;

use serde_json::Value;

use crate::kit::{self, Node, Options, Run};
use crate::need;

#[test]
fn pyftpdlibs_functional_tests_hold() {
    need!("python3");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/pyftpdlib");
    if !source.join("pyftpdlib/test/test_functional.py").is_file() {
        return kit::skip("the source package of pyftpdlib is not in target/tools");
    }
    if Run::new("python3", ["-W", "ignore", "-c", "import asyncore, asynchat"]).run().code != Some(0) {
        return kit::skip("python3 without asyncore");
    }
    kit::test(150, move || {
        let mut options = Options::default()
            .set("listen", r#"{ explicit: ["127.0.0.1:0", "[::]:0"], implicit: [], admin: "127.0.0.1:0" }"#)
            .set("data", r#"{ ports: "0/8", active: true }"#);
        // The user and password that the tests know.
        options.users = format!("users:\n  - {{ name: user, password: \"{}\", home: /, permissions: all }}\n", hash("12345"));
        let node = Node::with(options);
        let ready: Value = node.log().iter().filter_map(|line| serde_json::from_str(line).ok()).find(|line: &Value| line["event"] == "ready").unwrap();
        let port = |index: usize| ready["explicit"][index].as_str().and_then(|address| address.rsplit(':').next()).unwrap().to_owned();
        let runner = super::wire::beside("pyftpdlib_run.py").display().to_string();
        let arguments = [runner, source.display().to_string(), node.pki.ca.display().to_string(), port(0), port(1)];
        let output = Run::new("python3", ["-W".to_owned(), "ignore".to_owned()].into_iter().chain(arguments)).at(&node.root).seconds(140).run();
        eprintln!("{}", output.text());
        output.ok();
    });
}

fn hash(password: &str) -> String {
    let output = Run::new(kit::binary(), ["hash-password"]).input(format!("{password}\n")).run().ok();
    output.text().trim().to_owned()
}
