//! What is written for operators works as written: README's configuration, the metrics' names.
//!
//! Gets: README, a scrape. Gives: a configuration that serves, metrics that promtool accepts.
//! Never: an example that is only looked at.

use std::path::PathBuf;

use crate::kit::{self, Client, Node, Run, Tree, binary, random_bytes, users_file};
use crate::need;

#[test]
fn the_configuration_of_readme_is_accepted() {
    kit::test(60, || {
        let tree = Tree::new();
        let blocks = yaml_blocks();
        let config = blocks.iter().find(|block| block.contains("listen:")).expect("README shows a configuration");
        let users = blocks.iter().find(|block| block.starts_with("users:\n")).expect("README shows a users file");
        // What the example names stands beside it.
        kit::Pki::write(&tree);
        std::fs::rename(tree.join("cert.pem"), tree.join("tls.crt")).unwrap();
        std::fs::rename(tree.join("key.pem"), tree.join("tls.key")).unwrap();
        tree.write("users.yaml", users_file(&[("alice", "/alice", "all")]).as_bytes());
        std::fs::create_dir_all(tree.join("srv/ftp")).unwrap();
        let file = tree.write("config.yaml", config.replace("/srv/ftp", "srv/ftp").as_bytes()).display().to_string();
        Run::new(binary(), ["check-config", &file]).run().ok();
        for key in ["name:", "password:", "home:", "permissions:"] {
            assert!(users.contains(key), "README's users file shows {key}");
        }
    });
}

#[test]
fn promtool_accepts_the_metrics() {
    need!("promtool");
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("STOR a", &random_bytes(1000)).is(226);
        client.get("RETR a");
        let text = node.get(node.metrics, "/metrics").body;
        let output = Run::new("promtool", ["check", "metrics"]).input(text).run();
        assert_eq!(output.code, Some(0), "{}{}", output.text(), output.stderr);
    });
}

#[test]
fn every_documented_metric_of_this_node_has_help_and_type() {
    kit::test(60, || {
        let node = Node::start();
        let text = node.get(node.metrics, "/metrics").body;
        let names: std::collections::BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .filter(|name| name.starts_with("ftps_gateway_"))
            .collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let told = |kind: &str| [name, base].iter().any(|name| text.contains(&format!("# {kind} {name} ")));
            assert!(told("HELP") && told("TYPE"), "{name}");
        }
    });
}

/// The fenced YAML blocks of README.
fn yaml_blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("README.md");
    readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}
