//! The life of a node: ready, probed, counted, told to end.
//!
//! Gets: signals, probes, configurations. Gives: exit codes, metrics and log lines that say what happened.
//! Never: a password, a path or a user as a label.

use std::time::Duration;

use rustix::process::Signal;

use crate::kit::{self, Client, Node, Options, PASSWORD, Run, Tls, Tree, Version, binary, random_bytes};

#[test]
fn the_ready_line_names_the_actual_addresses() {
    kit::test(60, || {
        let listen = r#"{ explicit: ["127.0.0.1:0", "127.0.0.1:0"], implicit: [], admin: "127.0.0.1:0", metrics: "127.0.0.1:0" }"#;
        let node = Node::with(Options::default().set("listen", listen));
        assert_ne!(node.explicit.port(), 0);
        assert_ne!(node.admin, node.metrics);
        assert_eq!(node.data_ports.len(), 8);
        assert!(!node.data_ports.contains(&0));
        assert_eq!(node.get(node.metrics, "/metrics").status, 200);
        assert_eq!(node.get(node.metrics, "/livez").status, 200);
        Client::ready(&node).command("NOOP").is(200);
    });
}

#[test]
fn sigterm_and_sigint_end_with_0() {
    kit::test(60, || {
        for which in [Signal::TERM, Signal::INT] {
            let mut node = Node::start();
            let mut client = Client::ready(&node);
            client.command("NOOP").is(200);
            node.signal(which);
            client.expect(421);
            client.rest();
            assert_eq!(node.wait(15), Some(0), "{which:?}");
        }
    });
}

#[test]
fn a_draining_node_finishes_its_transfer() {
    kit::test(60, || {
        let mut node = Node::with(Options::default().set("drain", "{ delay: 0s, idle: 0s, timeout: 30s }"));
        let bytes = random_bytes(1 << 20);
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&bytes[..1000]).unwrap();
        node.signal(Signal::TERM);
        node.logged(&["drain"]);
        data.write(&bytes[1000..]).unwrap();
        data.finish();
        client.expect(226);
        assert_eq!(node.wait(20), Some(0));
        kit::same_file(node.root.join("a"), &bytes, "on disk");
    });
}

#[test]
fn a_draining_node_lets_sessions_work_until_they_are_idle() {
    kit::test(60, || {
        let mut node = Node::with(Options::default().set("drain", "{ delay: 0s, idle: 2s, timeout: 50s }"));
        let mut client = Client::ready(&node);
        node.signal(Signal::TERM);
        node.logged(&["drain"]);
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(500));
            client.put("STOR a", b"bytes").is(226);
        }
        client.expect(421);
        assert_eq!(node.wait(20), Some(0));
    });
}

#[test]
fn sigterm_serves_new_sessions_for_the_delay_and_sigint_does_not() {
    kit::test(60, || {
        for (which, served) in [(Signal::TERM, true), (Signal::INT, false)] {
            let node = Node::with(Options::default().set("drain", "{ delay: 4s, idle: 30s, timeout: 30s }"));
            let mut client = Client::ready(&node);
            node.signal(which);
            node.logged(&["drain"]);
            let greeting = Client::open(node.explicit, &Tls::new(Version::Tls13)).reply();
            greeting.is(if served { 220 } else { 421 });
            assert_eq!(node.get(node.admin, "/readyz").status, 503, "not ready at once");
            assert_eq!(node.get(node.admin, "/livez").status, 200, "alive to the end");
            kit::eventually(20, "new sessions are refused", || Client::open(node.explicit, &Tls::new(Version::Tls13)).reply().code == 421);
            client.put("STOR a", b"bytes").is(226);
        }
    });
}

#[test]
fn after_last_orders_what_runs_may_end_and_the_next_command_is_421() {
    kit::test(60, || {
        let mut node = Node::with(Options::default().set("drain", "{ delay: 0s, idle: 60s, timeout: 16s }"));
        let bytes = random_bytes(1 << 20);
        let (mut idle, mut busy) = (Client::ready(&node), Client::ready(&node));
        let mut data = busy.begin("STOR a");
        data.handshake().unwrap();
        data.write(&bytes[..1000]).unwrap();
        node.signal(Signal::TERM);
        node.logged(&["drain"]);
        idle.put("STOR b", b"served until then").is(226);
        kit::eventually(30, "last orders", || node.log().iter().any(|line| line.contains("last orders")));
        assert!(idle.silent(Duration::from_millis(200)), "nobody is ended without asking");
        idle.command("NOOP").is(421);
        idle.rest();
        data.write(&bytes[1000..]).unwrap();
        data.finish();
        busy.expect(226);
        busy.command("EPSV").is(421);
        busy.rest();
        assert_eq!(node.wait(20), Some(0));
        kit::same_file(node.root.join("a"), &bytes, "on disk");
    });
}

#[test]
fn a_transfer_that_outlives_the_drain_is_cut_and_leaves_nothing() {
    kit::test(60, || {
        let mut node = Node::with(Options::default().set("drain", "{ delay: 0s, idle: 0s, timeout: 2s }"));
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&random_bytes(500_000)).unwrap();
        node.signal(Signal::TERM);
        client.expect(421);
        assert_eq!(node.wait(20), Some(0));
        node.logged(&["drain.timeout has passed", "\"sessions\":1"]);
        node.logged(&["transfer", "aborted"]);
        node.logged(&["transfer cut", "\"reason\":\"drain\""]);
        assert!(kit::contents(&node.root).is_empty(), "nothing of the cut upload is left");
    });
}

#[test]
fn a_second_signal_cuts() {
    kit::test(60, || {
        let mut node = Node::with(Options::default().set("drain", "{ delay: 0s, idle: 60s, timeout: 60s }"));
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        node.signal(Signal::TERM);
        node.logged(&["drain"]);
        node.signal(Signal::TERM);
        assert!(node.wait(10).is_some(), "it ends by itself");
        node.logged(&["transfer cut", "\"reason\":\"drain\""]);
        assert!(kit::contents(&node.root).is_empty(), "nothing of the cut upload is left");
    });
}

#[test]
fn a_taken_port_is_69_and_said() {
    kit::test(60, || {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (tree, port) = (Tree::new(), taken.local_addr().unwrap().port());
        tree.write("users.yaml", kit::users_file(&[("demo", "/", "all")]).as_bytes());
        std::fs::create_dir(tree.join("files")).unwrap();
        let text = format!(
            "listen: {{ explicit: [\"127.0.0.1:{port}\"], implicit: [], admin: \"127.0.0.1:0\" }}\ndata: {{ ports: 0/1 }}\n\
             users: {{ files: [users.yaml] }}\nstorage: {{ root: files }}\n"
        );
        let file = tree.write("config.yaml", text.as_bytes()).display().to_string();
        let output = Run::new(binary(), ["serve", "--config", &file]).seconds(20).run();
        assert_eq!(output.code, Some(69), "{}", output.stderr);
        assert!(output.stderr.contains(&port.to_string()) || output.text().contains(&port.to_string()), "{}", output.stderr);
    });
}

#[test]
fn probes_answer_and_metrics_count() {
    kit::test(60, || {
        let node = Node::start();
        for probe in ["/livez", "/readyz", "/startupz"] {
            assert_eq!(node.get(node.admin, probe).status, 200, "{probe}");
        }
        let metric = |name: &str, labels: &[&str]| node.metric(&format!("ftps_gateway_{name}"), labels).unwrap_or_else(|| panic!("no {name} {labels:?}"));
        let zero = [("logins_total", ""), ("transfers_total", ""), ("panics_total", ""), ("sessions_closed_total", "")];
        for (name, label) in zero {
            assert_eq!(metric(name, &[label]), 0.0, "{name} from the start");
        }
        let mut client = Client::ready(&node);
        client.put("STOR a", &[7; 1000]).is(226);
        client.get("RETR a");
        client.list("LIST");
        assert_eq!(metric("sessions", &[]), 1.0);
        client.command("QUIT").is(221);
        client.rest();
        kit::eventually(10, "the session is counted as closed", || metric("sessions_closed_total", &["quit"]) == 1.0);
        assert_eq!(metric("sessions", &[]), 0.0);
        assert_eq!(metric("logins_total", &["password"]), 1.0);
        assert_eq!(metric("transfers_total", &["direction=\"upload\"", "complete"]), 1.0);
        assert_eq!(metric("transfers_total", &["direction=\"download\"", "complete"]), 1.0);
        assert_eq!(metric("transfer_bytes_total", &["direction=\"upload\""]), 1000.0);
        assert_eq!(metric("tls_handshakes_total", &["channel=\"control\"", "full"]), 1.0);
        assert_eq!(metric("tls_handshakes_total", &["channel=\"data\"", "ticket"]), 3.0);
        assert_eq!(metric("commands_total", &["command=\"STOR\"", "2xx"]), 1.0);
        assert_eq!(metric("data_wait_seconds_count", &[]), 3.0);
        for op in ["create", "write", "commit", "list"] {
            assert!(metric("storage_op_duration_seconds_count", &[&format!("op=\"{op}\"")]) >= 1.0, "{op}");
        }
        assert_eq!(metric("transfers_cut_total", &[]), 0.0, "whoever leaves by himself is not cut");
        assert!(metric("cluster_secret_generation", &[]) > 0.0);
        assert_eq!(metric("panics_total", &[]), 0.0);
    });
}

#[test]
fn metrics_and_logs_hold_no_text_that_they_must_not() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("STOR mallory-file", b"x").is(226);
        let mut wrong = Client::implicit(&node, &Tls::new(Version::Tls13));
        wrong.command("USER mallory-user").is(331);
        wrong.command("PASS mallory-password").is(530);
        wrong.command("MALLORY-VERB").one_of(&[500, 502]);
        let text = node.get(node.metrics, "/metrics").body;
        assert!(!text.to_lowercase().contains("mallory"), "client text in a label");
        assert!(text.lines().filter(|line| !line.starts_with('#')).count() <= 2_500, "series");
        node.logged(&["mallory-user"]);
        let log = node.log().join("\n");
        assert!(!log.contains("mallory-password") && !log.contains(PASSWORD), "a password in the log");
    });
}

#[test]
fn every_line_of_a_session_carries_its_id() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("STOR a", b"x").is(226);
        client.command("QUIT").is(221);
        client.rest();
        let closed: serde_json::Value = serde_json::from_str(&node.logged(&["\"session\"", "closed"])).unwrap();
        let id = closed["session"].as_str().unwrap();
        assert!(id.starts_with("s_") && id.len() == 28, "{id}");
        let lines = node.log();
        assert!(lines.iter().filter(|line| line.contains(id)).count() >= 4, "{lines:#?}");
        for line in lines.iter().filter(|line| !line.trim().is_empty()) {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        }
    });
}

#[test]
fn control_bytes_of_clients_do_not_reach_a_text_log_raw() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        client.send(b"USER a\x1b[31mred\x07\r\n").unwrap();
        assert!(client.reply().code >= 300);
        client.send("USER \u{202e}evil\u{2028}line\r\n".as_bytes()).unwrap();
        client.reply();
        client.command("PASS x");
        std::thread::sleep(Duration::from_millis(200));
        assert!(node.log().iter().all(|line| line.chars().all(|char| !char.is_control())), "{:#?}", node.log());
    });
}

#[test]
fn a_left_over_of_a_dead_node_is_swept_when_it_is_old() {
    kit::test(60, || {
        let mut node = Node::start();
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR a");
        data.handshake().unwrap();
        data.write(&random_bytes(2_000_000)).unwrap();
        kit::eventually(10, "the temporary is there", || kit::contents(&node.root).len() == 1);
        node.stop(Signal::KILL, 10);
        assert_eq!(kit::contents(&node.root).len(), 1, "a killed node cannot clean up");
        std::thread::sleep(Duration::from_millis(1500));
        let storage = format!("{{ root: {:?}, sweep_after: 1s }}", node.root);
        let next = Node::with(Options { root: Some(node.root.clone()), ..Options::default() }.set("storage", &storage));
        kit::eventually(20, "the left-over is swept", || kit::contents(&next.root).is_empty());
    });
}

#[test]
fn every_change_of_a_file_is_in_the_log() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        client.put("STOR a", b"x").is(226);
        for (command, code) in
            [("MKD d", 257), ("RNFR a", 350), ("RNTO d/b", 250), ("MFMT 20200101000000 d/b", 213), ("DELE d/b", 250), ("DELE d/b", 550), ("RMD d", 250)]
        {
            client.command(command).is(code);
        }
        node.logged(&["file_changed", "RNTO", "\"/a\"", "\"/d/b\"", "\"demo\""]);
        node.logged(&["file_changed", "RMD", "\"/d\""]);
        let count = |what: &str| node.log().iter().filter(|line| line.contains("file_changed") && line.contains(what)).count();
        assert_eq!([count("MKD"), count("MFMT"), count("DELE"), count("")], [1, 1, 1, 5], "what failed changed nothing");
    });
}

#[test]
fn a_node_without_a_certificate_says_so_and_serves() {
    kit::test(60, || {
        let mut options = Options::default();
        options.sections.remove("tls");
        let node = Node::with(options);
        node.logged(&["warn", "self-signed", "tls.certificates"]);
        let ready = node.get(node.admin, "/readyz?verbose");
        assert!(ready.status == 200 && ready.body.contains("[!] certificate: self-signed"), "{}", ready.body);
        // Named later, it is taken, and the word back.
        let config = String::from_utf8(node.tree.read("config.yaml").unwrap()).unwrap();
        node.tree.write("config.yaml", format!("{config}tls: {{ certificates: [{{ cert: cert.pem, key: key.pem }}] }}\n").as_bytes());
        kit::eventually(20, "no word of a self-signed certificate", || !node.get(node.admin, "/readyz?verbose").body.contains("self-signed"));
        Client::ready(&node).command("NOOP").is(200);
    });
}
