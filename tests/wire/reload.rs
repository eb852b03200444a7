//! A running node takes what changed, or stays as it was and says why.
//!
//! Gets: files rewritten under a node, links swapped as Kubernetes does it, SIGHUP. Gives: what new and old sessions see of it.
//! Never: a restart.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{self, Client, Node, Options, Pki, Tls, Tree, Version, users_file};

#[test]
fn a_new_user_comes_in_and_a_removed_one_is_ended() {
    kit::test(60, || {
        let users = users_file(&[("demo", "/", "all"), ("gone", "/gone", "all"), ("stays", "/stays", "all")]);
        let node = Node::with(Options { users: users.clone(), ..Options::default() });
        let tls = Tls::new(Version::Tls13);
        let (mut gone, mut stays) = (Client::session_of(&node, &tls, "gone"), Client::session_of(&node, &tls, "stays"));
        // Who stays keeps the very hash: with another one the session would have to end.
        let kept: String = users.lines().filter(|line| !line.contains("name: gone,")).map(|line| format!("{line}\n")).collect();
        let users = kept + users_file(&[("new", "/new", "read-only")]).trim_start_matches("users:\n");
        node.tree.write("users.yaml", users.as_bytes());
        gone.expect(421);
        gone.rest();
        stays.command("NOOP").is(200);
        Client::session_of(&node, &tls, "new").command("MKD a").is(550);
        refused(&node, "gone");
        kit::eventually(5, "the new number of users", || node.metric("ftps_gateway_users_loaded", &[]) == Some(3.0));
        let disabled = users.replace("{ name: stays,", "{ name: stays, enabled: false,");
        node.tree.write("users.yaml", disabled.as_bytes());
        stays.expect(421);
        refused(&node, "stays");
    });
}

#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        assert_eq!(successful(&node), 1.0);
        let (users, config) = (node.tree.read("users.yaml").unwrap(), node.tree.read("config.yaml").unwrap());
        node.tree.write("users.yaml", b"users:\n  - { name: other, password: hunter2, home: / }\n  - { name: second, home: b }\n");
        node.signal(Signal::HUP);
        let line = node.logged(&["reloaded", "error", "users.yaml:2"]);
        assert!(line.contains("users.yaml:3") && line.contains("argon2id") && !line.contains("hunter2"), "every problem and no password: {line}");
        assert_eq!(successful(&node), 0.0);
        client.command("NOOP").is(200);
        Client::ready(&node).command("PWD").is(257);

        // Right users and a configuration with two errors: neither acts.
        let both = users_file(&[("demo", "/", "all"), ("new", "/new", "all")]);
        node.tree.write("users.yaml", both.as_bytes());
        node.tree.write("config.yaml", format!("{}limts: {{}}\nstore: 5\n", String::from_utf8_lossy(&config)).as_bytes());
        node.signal(Signal::HUP);
        let line = node.logged(&["reloaded", "error", "limts"]);
        assert!(line.contains("did you mean limits?") && line.contains("store"), "{line}");
        refused(&node, "new");
        assert_eq!(successful(&node), 0.0);

        node.tree.write("config.yaml", &config);
        node.tree.write("users.yaml", &users);
        kit::eventually(20, "it is right again", || successful(&node) == 1.0);
        client.command("NOOP").is(200);
    });
}

/// All broken files of this repository, one after the other, under one running node.
#[test]
fn none_of_sixty_broken_files_moves_a_running_node() {
    kit::test(300, || {
        let elsewhere = Tree::new();
        let node = Node::with(Options { root: Some(elsewhere.join("")), ..Options::default() });
        for file in std::fs::read_dir(repository("tests/broken-config/files")).unwrap().map(|entry| entry.unwrap().path()) {
            node.tree.write(&format!("files/{}", file.file_name().unwrap().to_string_lossy()), &std::fs::read(&file).unwrap());
        }
        let mut client = Client::ready(&node);
        let (users, config) = (node.tree.read("users.yaml").unwrap(), node.tree.read("config.yaml").unwrap());
        let mut tried = 0;
        for (directory, place) in [("tests/broken-config", "config.yaml"), ("tests/broken-users", "users.yaml")] {
            for file in broken(directory) {
                node.tree.write(place, &std::fs::read(&file).unwrap());
                node.signal(Signal::HUP);
                let told = std::fs::read_to_string(file.with_extension("txt")).unwrap();
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                let reason = told.lines().next().unwrap().replace(&name, place);
                kit::eventually(20, &format!("{name}: {reason}"), || refusals(&node).iter().any(|said| said.contains(&reason)));
                assert_eq!(successful(&node), 0.0, "{name}");
                client.command("NOOP").is(200);
                Client::ready(&node).put("STOR still-here", b"x").is(226);
                tried += 1;
            }
            node.tree.write("config.yaml", &config);
            node.tree.write("users.yaml", &users);
            node.signal(Signal::HUP);
            kit::eventually(20, "it is right again", || successful(&node) == 1.0);
        }
        assert!(tried >= 60, "{tried}");
    });
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn broken(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path: &PathBuf| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    files
}

/// Why reloads were not taken, from the log; paths from the configuration on.
fn refusals(node: &Node) -> Vec<String> {
    let (lines, place) = (node.log(), node.tree.join(""));
    let said = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["event"] == "reloaded");
    said.filter_map(|line| line["error"].as_str().map(|error| error.replace(&place.display().to_string(), ""))).collect()
}

#[test]
fn a_certificate_that_is_swapped_like_a_secret_acts_at_the_next_handshake() {
    kit::test(60, || {
        let tree = Tree::new();
        let secret = |name: &str| {
            let inner = Tree::new();
            let pki = Pki::write_fresh(&inner);
            for (file, path) in [("tls.crt", &pki.cert), ("tls.key", &pki.key)] {
                tree.write(&format!("{name}/{file}"), &std::fs::read(path).unwrap());
            }
        };
        secret("..2026_01");
        symlink("..2026_01", tree.join("..data")).unwrap();
        symlink("..data/tls.crt", tree.join("tls.crt")).unwrap();
        symlink("..data/tls.key", tree.join("tls.key")).unwrap();
        let files = format!("{{ certificates: [{{ cert: {:?}, key: {:?} }}] }}", tree.join("tls.crt"), tree.join("tls.key"));
        let node = Node::with(Options::default().set("tls", &files));
        let tls = Tls::new(Version::Tls13);
        let mut client = Client::session(&node, &tls);
        let before = client.server_certificate();
        secret("..2026_02");
        symlink("..2026_02", tree.join("..next")).unwrap();
        std::fs::rename(tree.join("..next"), tree.join("..data")).unwrap();
        node.logged(&["reloaded", "certificates"]);
        let after = Client::ready(&node).server_certificate();
        assert_ne!(before, after, "the next handshake shows the new one");
        client.put("STOR a", b"over the swap").is(226);
        assert_eq!(client.get("RETR a"), b"over the swap");

        // A key that does not fit: the certificate in use stays.
        tree.write("..2026_02/tls.key", &tree.read("..2026_01/tls.key").unwrap());
        node.logged(&["reloaded", "error", "does not belong to the private key"]);
        assert_eq!(Client::ready(&node).server_certificate(), after);
        assert_eq!(successful(&node), 0.0);
    });
}

#[test]
fn each_key_acts_when_the_reference_says() {
    kit::test(60, || {
        let node = Node::start();
        let mut old = Client::ready(&node);
        let config = String::from_utf8(node.tree.read("config.yaml").unwrap()).unwrap();
        let new = config
            .replace("level: debug", "level: info")
            .replace("name: test", "name: renamed")
            .replace("ports: \"0/8\"", "ports: \"0/8\", active: true")
            .replace("sessions_per_user: 1000", "sessions_per_user: 1000, sessions: 4321");
        assert_eq!(node.log().iter().filter(|line| line.contains("\"NOOP\"")).count(), 0);
        old.command("NOOP").is(200);
        node.logged(&["\"NOOP\"", "debug"]);
        node.tree.write("config.yaml", new.as_bytes());
        node.signal(Signal::HUP);
        let warning = node.logged(&["started again"]);
        assert!(warning.contains("node.name") && !warning.contains("limits"), "what waits for a restart: {warning}");
        node.logged(&["configuration changed", "log.level", "data.active"]);
        // Now: the level, and the limit.
        let before = node.log().iter().filter(|line| line.contains("\"command\"")).count();
        old.command("NOOP").is(200);
        assert_eq!(node.metric("ftps_gateway_sessions_limit", &[]), Some(4321.0));
        // New sessions: PORT.
        old.command("PORT 127,0,0,1,200,1").one_of(&[500, 501, 502, 504, 522, 530]);
        let mut young = Client::ready(&node);
        young.command("PORT 127,0,0,1,200,1").is(200);
        let after = node.log().iter().filter(|line| line.contains("\"command\"")).count();
        assert_eq!(before, after, "commands are logged at debug only");
    });
}

#[test]
fn a_file_of_an_expansion_is_watched() {
    kit::test(60, || {
        let outside = Tree::new();
        let level = outside.write("level", b"debug\n");
        let node = Node::with(Options::default().set("log", &format!("{{ format: json, level: \"${{file:{}}}\" }}", level.display())));
        outside.write("level", b"info\n");
        node.logged(&["configuration changed", "log.level"]);
    });
}

#[test]
fn sighup_without_a_change_is_a_reload_too() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        node.signal(Signal::HUP);
        node.logged(&["reloaded", "config"]);
        client.command("NOOP").is(200);
        assert_eq!(node.metric("ftps_gateway_reloads_total", &["config", "success"]), Some(2.0), "the start and the reload");
    });
}

fn successful(node: &Node) -> f64 {
    node.metric("ftps_gateway_config_last_reload_successful", &[]).unwrap()
}

#[track_caller]
fn refused(node: &Node, user: &str) {
    let mut client = Client::implicit(node, &Tls::new(Version::Tls13));
    client.command(&format!("USER {user}")).is(331);
    client.command(&format!("PASS {user}-password")).is(530);
}
