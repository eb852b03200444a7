//! The transfer log that tools of other servers read, and the records in our own.
//!
//! Gets: transfers, a rotation, a reload. Gives: the lines of xferlog(5), the fields of each record.
//! Never: a line that a name broke.

use rustix::process::Signal;

use crate::kit::{self, Client, Node, Options, random_bytes};

#[test]
fn files_that_come_go_and_are_deleted_have_a_line_each() {
    kit::test(60, || {
        let node = Node::with(Options::default().set("log", "{ format: json, level: info, transfer_log: xferlog }"));
        let mut client = Client::ready(&node);
        client.put("STOR a b", &random_bytes(1000)).is(226);
        client.get("RETR a b");
        client.list("LIST");
        client.command("TYPE A").is(200);
        client.put("STOR text", b"one\r\n").is(226);
        client.command("DELE text").is(250);
        client.command("TYPE I").is(200);
        let mut data = client.begin("STOR cut");
        data.handshake().unwrap();
        data.write(&[7; 10]).unwrap();
        data.reset();
        client.expect(426);
        let lines = logged(&node, "xferlog", 5);
        let [up, down, text, deleted, cut] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(up, "127.0.0.1 1000 /a_b b _ i r demo ftp 0 * c");
        assert_eq!(down, "127.0.0.1 1000 /a_b b _ o r demo ftp 0 * c");
        assert_eq!(text, "127.0.0.1 5 /text a _ i r demo ftp 0 * c");
        assert_eq!(deleted, "127.0.0.1 0 /text b _ d r demo ftp 0 * c");
        assert!(cut.ends_with("/cut b _ i r demo ftp 0 * i"), "{cut}");

        // As logrotate does it.
        std::fs::rename(node.tree.join("xferlog"), node.tree.join("xferlog.1")).unwrap();
        client.get("RETR a b");
        assert_eq!(logged(&node, "xferlog", 1), std::slice::from_ref(down));
        assert_eq!(logged(&node, "xferlog.1", 5), lines);

        // Off, and elsewhere, by reload.
        let config = String::from_utf8(node.tree.read("config.yaml").unwrap()).unwrap();
        node.tree.write("config.yaml", config.replace("transfer_log: xferlog", "transfer_log: nowhere/xferlog").as_bytes());
        node.signal(Signal::HUP);
        node.logged(&["reloaded", "error", "log.transfer_log"]);
        node.tree.write("config.yaml", config.replace("transfer_log: xferlog", "transfer_log: other").as_bytes());
        node.signal(Signal::HUP);
        node.logged(&["configuration changed", "log.transfer_log"]);
        client.get("RETR a b");
        assert_eq!(logged(&node, "other", 1), std::slice::from_ref(down));
        assert_eq!(logged(&node, "xferlog", 1).len(), 1);
    });
}

#[test]
fn a_record_has_every_field() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("STOR a", &random_bytes(1000)).is(226);
        client.command("RNFR a").is(350);
        client.command("RNTO b").is(250);
        let record: serde_json::Value = serde_json::from_str(&node.logged(&["transfer_ended"])).unwrap();
        for (field, value) in [("user", "demo"), ("direction", "upload"), ("path", "/a"), ("result", "complete"), ("end", "close_notify"), ("type", "image")] {
            assert_eq!(record[field], value, "{field} in {record}");
        }
        assert!(record["session"].as_str().is_some_and(|id| id.starts_with("s_")) && record["transfer"].as_str().is_some_and(|id| id.starts_with("t_")));
        assert!(record["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")) && record["took_ms"].is_number() && record["time"].is_string());
        assert_eq!((record["bytes"].as_u64(), record["proven"].as_bool()), (Some(1000), Some(true)));
        let renamed: serde_json::Value = serde_json::from_str(&node.logged(&["file_changed"])).unwrap();
        assert_eq!((&renamed["command"], &renamed["path"], &renamed["to"]), (&"RNTO".into(), &"/a".into(), &"/b".into()));
        assert_eq!(renamed["session"], record["session"]);
    });
}

/// The lines of a transfer log from the address on, once there are so many.
fn logged(node: &Node, name: &str, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    kit::eventually(10, &format!("{count} lines in {name}"), || {
        let text = String::from_utf8(node.tree.read(name).unwrap_or_default()).unwrap();
        lines = text.lines().map(|line| line.split_whitespace().skip(6).collect::<Vec<_>>().join(" ")).collect();
        lines.len() == count
    });
    lines
}
