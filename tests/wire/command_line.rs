//! The commands of the binary: what they print and how they exit.
//!
//! Gets: arguments, files, stdin. Gives: exit codes 0 and 64, all errors of a configuration at once.
//! Never: a stack of errors without what to write instead.

use std::path::{Path, PathBuf};

use crate::kit::{self, Client, Node, Options, PASSWORD, Run, Tree, binary, users_file};

#[test]
fn check_config_names_every_error_of_the_broken_files() {
    kit::test(120, || {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/broken-config");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&directory).expect("tests/broken-config").map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "yaml") && path.with_extension("txt").exists());
        assert!(files.len() >= 20, "only {} broken files", files.len());
        for file in files {
            check_broken(&directory, &file);
        }
    });
}

#[test]
fn check_config_accepts_what_serve_accepts() {
    kit::test(60, || {
        let node = Node::start();
        let file = node.tree.join("config.yaml").display().to_string();
        Run::new(binary(), ["check-config", &file]).run().ok();
    });
}

#[test]
fn a_missing_or_wrong_configuration_is_64() {
    kit::test(60, || {
        let tree = Tree::new();
        let file = tree.write("config.yaml", b"listen: { explict: [\"127.0.0.1:0\"] }\n").display().to_string();
        for arguments in [["serve", "--config", &file], ["serve", "--config", "/nowhere/config.yaml"]] {
            let output = Run::new(binary(), arguments).seconds(20).run();
            assert_eq!(output.code, Some(64), "{arguments:?}: {}", output.stderr);
            assert!(output.stderr.contains("config.yaml"), "the file is named: {}", output.stderr);
        }
        let output = Run::new(binary(), ["check-config", &file]).run();
        assert_eq!(output.code, Some(64));
        assert!(format!("{}{}", output.text(), output.stderr).contains("explicit"), "the right name is offered: {}{}", output.text(), output.stderr);
    });
}

#[test]
fn usage_errors_are_64_and_help_is_0() {
    kit::test(60, || {
        for arguments in [&["frobnicate"][..], &["serve", "--no-such-flag"], &["check-config"]] {
            assert_eq!(Run::new(binary(), arguments).run().code, Some(64), "{arguments:?}");
        }
        assert!(Run::new(binary(), ["--help"]).run().ok().text().contains("check-config"));
        assert!(Run::new(binary(), ["--version"]).run().ok().text().contains(env!("CARGO_PKG_VERSION")));
        for shell in ["bash", "zsh", "fish"] {
            assert!(Run::new(binary(), ["completions", shell]).run().ok().text().contains("check-config"), "{shell}");
        }
    });
}

#[test]
fn a_hashed_password_logs_in() {
    kit::test(60, || {
        let hash = Run::new(binary(), ["hash-password"]).input(format!("{PASSWORD}\n")).run().ok().text();
        let hash = hash.trim();
        assert!(hash.starts_with("$argon2id$v=19$") && !hash.contains(char::is_whitespace), "{hash}");
        let users = format!("users:\n  - {{ name: demo, password: \"{hash}\", home: /, permissions: all }}\n");
        let node = Node::with(Options { users, ..Options::default() });
        Client::ready(&node).command("PWD").is(257);
        assert_ne!(Run::new(binary(), ["hash-password"]).input("\n").run().code, Some(0), "an empty password is refused");
    });
}

#[test]
fn permissions_of_a_user_hold() {
    kit::test(60, || {
        let users = users_file(&[("demo", "/", "read-only"), ("home", "/inside", "all")]);
        let node = Node::with(Options { users, ..Options::default() });
        std::fs::write(node.root.join("a"), b"a").unwrap();
        let mut reader = Client::ready(&node);
        assert_eq!(reader.get("RETR a"), b"a");
        for line in ["MKD b", "DELE a", "RNFR a", "RMD inside", "APPE a", "STOR c"] {
            let reply = reader.command(line);
            assert!((500..600).contains(&reply.code), "{line}: {}", reply.text);
        }
        let mut home = Client::session_of(&node, &kit::Tls::new(kit::Version::Tls13), "home");
        assert_eq!(home.list("NLST"), "", "a home of its own, made at the first login");
        home.command("CWD ../..").one_of(&[250, 550]);
        home.command("PWD").is(257);
        for path in ["../a", "/../a", "/inside/../../a", "..//../a", "./../a"] {
            home.command(&format!("SIZE {path}")).one_of(&[550, 553]);
        }
        home.put("STOR own", b"mine").is(226);
        assert!(node.root.join("inside/own").exists());
    });
}

#[test]
fn healthcheck_asks_the_probe_of_the_configuration() {
    kit::test(60, || {
        // A port that was free a moment ago: the command reads it from the configuration.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!(r#"{{ explicit: ["127.0.0.1:0"], implicit: [], admin: "127.0.0.1:{port}" }}"#);
        let node = Node::with(Options::default().set("listen", &listen));
        let file = node.tree.join("config.yaml").display().to_string();
        let check = |arguments: &[&str]| Run::new(binary(), arguments).env("FTPS_GATEWAY_CONFIG", &file).seconds(20).run();
        check(&["healthcheck"]).ok();
        check(&["healthcheck", "--ready"]).ok();
        drop(node);
        assert_ne!(check(&["healthcheck"]).code, Some(0), "a dead node is not healthy");
    });
}

/// Every line of the `.txt` beside it is in the output, and the exit code is 64.
fn check_broken(directory: &Path, file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let expected = std::fs::read_to_string(file.with_extension("txt")).unwrap();
    let output = Run::new(binary(), ["check-config", name]).at(directory).seconds(20).run();
    let said = format!("{}{}", output.text(), output.stderr);
    assert_eq!(output.code, Some(64), "{name}: {said}");
    assert!(expected.lines().any(|line| !line.trim().is_empty()), "{name}: nothing is expected");
    for line in expected.lines().filter(|line| !line.trim().is_empty()) {
        assert!(said.contains(line.trim()), "{name}: missing {line:?} in\n{said}");
    }
}
