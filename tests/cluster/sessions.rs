//! TLS sessions of the cluster: what one node made, every other one resumes, by session ID, TLS 1.2 ticket and TLS 1.3 ticket.
//!
//! Gets: nodes over a real Redis and a real memcached. Gives: that resumption never fails, also while keys, secrets and nodes change.
//! Never: a store inside a test's own process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::{self, Client, Cluster, Entrance, Node, Run, Server, Setup, Tls, Version, random_bytes, users_file};
use crate::need;

/// The three ways to resume.
fn kinds() -> [(&'static str, Tls); 3] {
    [("TLS 1.2 session ID", Tls::session_ids()), ("TLS 1.2 ticket", Tls::new(Version::Tls12)), ("TLS 1.3", Tls::new(Version::Tls13))]
}

fn over(server: &Server, nodes: usize) -> Setup {
    Setup { nodes, store: Some(server.url()), ..Setup::default() }
}

#[test]
fn sessions_resume_on_every_node_over_redis() {
    kit::test(300, || resume_everywhere(Server::redis()));
}

#[test]
fn sessions_resume_on_every_node_over_memcached() {
    kit::test(300, || resume_everywhere(Server::memcached()));
}

fn resume_everywhere(server: Option<Server>) {
    let Some(server) = server else { return };
    for nodes in [2, 3] {
        let cluster = Cluster::with(over(&server, nodes));
        for (kind, tls) in kinds() {
            let mut first = Client::session(cluster.node(0), &tls);
            assert!(!first.resumed(), "{kind}");
            for number in (1..nodes).chain([0]) {
                let mut again = Client::session(cluster.node(number), &tls);
                assert!(again.resumed(), "{kind} on node {number} of {nodes}");
                again.command("QUIT").is(221);
            }
            first.command("QUIT").is(221);
        }
    }
}

#[test]
fn sixteen_clients_notice_no_rotation_and_no_restart_over_redis() {
    kit::test(400, || sixteen_clients(Server::redis()));
}

#[test]
fn sixteen_clients_notice_no_rotation_and_no_restart_over_memcached() {
    kit::test(400, || sixteen_clients(Server::memcached()));
}

/// A node's doors, which stay while the node is started again.
struct Door {
    explicit: SocketAddr,
    implicit: SocketAddr,
    ca: PathBuf,
}

impl Entrance for Door {
    fn explicit(&self) -> SocketAddr {
        self.explicit
    }

    fn implicit(&self) -> SocketAddr {
        self.implicit
    }

    fn ca(&self) -> &Path {
        &self.ca
    }

    fn host(&self) -> String {
        "localhost".to_owned()
    }
}

fn sixteen_clients(server: Option<Server>) {
    let Some(server) = server else { return };
    let mut cluster = Cluster::with(over(&server, 3).key("tls", "ticket_rotation", "6s"));
    let door = |node: &Node| RwLock::new(Door { explicit: node.explicit, implicit: node.implicit, ca: node.pki.ca.clone() });
    let doors: Vec<_> = cluster.nodes().map(door).collect();
    let (done, resumed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (doors, done, resumed) = (&doors, &done, &resumed);
            scope.spawn(move || come_again_and_again(number, doors, done, resumed));
        }
        // Two rotations.
        std::thread::sleep(Duration::from_secs(14));
        change_secret(&cluster);
        for (number, door) in doors.iter().enumerate() {
            // A client that has reached the node is let finish; who comes now goes to another one.
            let shut = door.write().expect("no client panicked");
            cluster.drain(number);
            assert_eq!(cluster.gone(number, 60), Some(0));
            cluster.restart(number);
            drop(shut);
            std::thread::sleep(Duration::from_secs(2));
        }
        done.store(true, Ordering::Relaxed);
    });
    let resumed = resumed.load(Ordering::Relaxed);
    assert!(resumed > 16 * 10, "only {resumed} resumptions: the test shows nothing");
    assert_eq!(cluster.metric("ftps_gateway_shared_store_rejected_values_total", &[]), 0.0);
}

/// One client; every session but its first one must be a resumption, on whatever node.
fn come_again_and_again(number: usize, doors: &[RwLock<Door>], done: &AtomicBool, resumed: &AtomicUsize) {
    let (kind, tls) = kinds().into_iter().nth(number % 3).expect("three kinds");
    let mut turn = number;
    let mut first = true;
    while !done.load(Ordering::Relaxed) {
        turn += 1 + usize::from(random_bytes(1)[0]) % 2;
        let Ok(door) = doors[turn % doors.len()].try_read() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut session = Client::session(&*door, &tls);
        assert!(first || session.resumed(), "client {number}, {kind}: a full handshake on node {}", turn % doors.len());
        session.command("QUIT").is(221);
        resumed.fetch_add(usize::from(!first), Ordering::Relaxed);
        first = false;
        drop(door);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A new first line; returns when it seals on every node.
fn change_secret(cluster: &Cluster) {
    let old = std::fs::read_to_string(&cluster.secret).expect("the secret file");
    let new: String = random_bytes(32).iter().map(|byte| format!("{byte:02x}")).collect();
    let fresh = cluster.secret.with_extension("new");
    std::fs::write(&fresh, format!("{new}\n{old}")).expect("the new file");
    std::fs::rename(&fresh, &cluster.secret).expect("its name");
    kit::eventually(60, "the new line seals on every node", || {
        cluster.nodes().all(|node| node.log().iter().any(|line| line.contains("another line of cluster.secret_file seals")))
    });
}

#[test]
fn openssl_resumes_on_the_other_node() {
    need!("openssl");
    kit::test(120, || {
        let Some(server) = Server::redis() else { return };
        let cluster = Cluster::with(over(&server, 2));
        for (name, arguments) in [("id", &["-tls1_2", "-no_ticket"][..]), ("ticket", &["-tls1_2"]), ("tls13", &["-tls1_3"])] {
            let file = cluster.file(&format!("{name}.pem"), b"");
            let session = file.display().to_string();
            openssl(cluster.node(0), arguments, &["-sess_out", &session]);
            let again = openssl(cluster.node(1), arguments, &["-sess_in", &session]);
            assert!(again.contains("Reused, "), "{name}: {again}");
        }
    });
}

/// Logs in by s_client and leaves; gives what it said.
fn openssl(node: &Node, version: &[&str], session: &[&str]) -> String {
    let (target, ca) = (node.explicit.to_string(), node.pki.ca.display().to_string());
    let mut all = vec!["s_client", "-connect", &target, "-starttls", "ftp", "-servername", "localhost", "-CAfile", &ca, "-crlf", "-ign_eof", "-nocommands"];
    all.extend(version.iter().chain(session));
    let output = Run::new("openssl", all).input("USER demo\nPASS demo-password\nQUIT\n").run();
    let text = output.text();
    assert!(text.contains("230 ") && text.contains("221 "), "{text}\n{}", output.stderr);
    text
}

#[test]
fn curl_resumes_on_whatever_node_it_gets() {
    need!("curl");
    kit::test(120, || {
        let Some(server) = Server::redis() else { return };
        let names: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
        let users: Vec<_> = names.iter().map(|name| (name.as_str(), "/", "all")).collect();
        let cluster = Cluster::with(Setup { users: users_file(&users), ..over(&server, 3) });
        Client::session_of(cluster.node(0), &Tls::new(Version::Tls13), "user0").put("STOR /file", b"bytes").is(226);
        let ca = cluster.ca().display().to_string();
        for version in ["1.2", "1.3"] {
            let count = |resumed: &str| cluster.metric("ftps_gateway_tls_handshakes_total", &["channel=\"control\"", resumed]);
            let (full, all) = (count("resumed=\"full\""), count(""));
            // A login each, so that every URL is a session of its own, on a node that the balancer picks.
            let url = |name: &String| format!("ftp://{name}:{name}-password@{}:{}/file", cluster.host(), cluster.explicit().port());
            let arguments = ["-sS", "-I", "--ssl-reqd", "--cacert", &ca, "--tlsv1.2", "--tls-max", version].map(str::to_owned);
            Run::new("curl", arguments.into_iter().chain(names.iter().map(url))).run().ok();
            assert_eq!((count("") - all, count("resumed=\"full\"") - full), (12.0, 1.0), "{version}: sessions, and full handshakes among them");
        }
    });
}

#[test]
fn python_resumes_on_the_other_node() {
    need!("python3");
    kit::test(120, || {
        let Some(server) = Server::memcached() else { return };
        let cluster = Cluster::with(over(&server, 2));
        let script = cluster.file("two_nodes.py", TWO_NODES.as_bytes());
        let ports = [0, 1].map(|number| cluster.node(number).explicit.to_string());
        for version in ["1.2", "1.3"] {
            let ca = cluster.pki.ca.display().to_string();
            let output = Run::new("python3", [script.display().to_string().as_str(), &ports[0], &ports[1], &ca, version]).run().ok();
            assert_eq!(output.text().trim(), "reused True", "{version}");
        }
    });
}

/// ftplib logs in at one node and shows its session at another one.
const TWO_NODES: &str = r#"
import ftplib, ssl, sys
one, other, authority, version = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.check_hostname = False
context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
class Session(ftplib.FTP_TLS):
    def auth_with(self, session):
        self.voidcmd("AUTH TLS")
        self.sock = self.context.wrap_socket(self.sock, server_hostname="localhost", session=session)
        self.file = self.sock.makefile(mode="r", encoding=self.encoding)
def login(address, session):
    ftp = Session(context=context, timeout=30)
    host, port = address.rsplit(":", 1)
    ftp.connect(host, int(port))
    ftp.auth_with(session)
    ftplib.FTP.login(ftp, "demo", "demo-password")
    return ftp
first = login(one, None)
second = login(other, first.sock.session)
print("reused", second.sock.session_reused)
second.quit()
first.quit()
"#;

#[test]
fn sessions_outlive_the_restart_of_a_single_node_with_the_defaults() {
    kit::test(180, || {
        let alone = [("secret_file", "null"), ("peers", "[]"), ("advertise", "null")];
        let setup = alone.into_iter().fold(Setup { nodes: 1, ..Setup::default() }, |setup, (key, value)| setup.key("cluster", key, value));
        let mut cluster = Cluster::with(setup);
        let all = kinds();
        all.iter().for_each(|(_, tls)| drop(Client::session(cluster.node(0), tls)));
        cluster.kill(0);
        cluster.restart(0);
        for (kind, tls) in &all {
            assert!(Client::session(cluster.node(0), tls).resumed(), "{kind} after SIGKILL");
        }
        cluster.drain(0);
        assert_eq!(cluster.gone(0, 60), Some(0));
        cluster.restart(0);
        for (kind, tls) in &all {
            assert!(Client::session(cluster.node(0), tls).resumed(), "{kind} after SIGTERM");
        }
    });
}

#[test]
fn a_session_id_costs_one_read_and_one_write_and_a_ticket_nothing() {
    kit::test(120, || {
        let Some(server) = Server::redis() else { return };
        let cluster = Cluster::with(over(&server, 2));
        let monitor = server.monitor();
        // What nodes do anyway: they look at the generations.
        let nodes_do = || -> std::collections::BTreeSet<String> {
            let before = monitor.lines().len();
            std::thread::sleep(Duration::from_secs(4));
            sessions_in(&monitor.lines().split_off(before)).into_iter().map(|(key, _)| key).collect()
        };
        let idle = std::cell::RefCell::new(nodes_do());
        let done = |before: usize| -> Vec<String> {
            std::thread::sleep(Duration::from_secs(1));
            let lines = monitor.lines().split_off(before);
            sessions_in(&lines).into_iter().filter(|(key, _)| !idle.borrow().contains(key)).map(|(_, command)| command).collect()
        };
        for version in [Version::Tls12, Version::Tls13] {
            let (tls, before) = (Tls::new(version), monitor.lines().len());
            for number in [0, 1, 0, 1] {
                drop(Client::session(cluster.node(number), &tls));
            }
            assert!(done(before).is_empty(), "{version:?}: {:?}", done(before));
        }
        let (tls, before) = (Tls::session_ids(), monitor.lines().len());
        drop(Client::session(cluster.node(0), &tls));
        assert_eq!(done(before), ["SET"], "a full handshake");
        let before = monitor.lines().len();
        assert!(Client::session(cluster.node(1), &tls).resumed());
        assert_eq!(done(before), ["GET"], "a resumption on another node");
        let before = monitor.lines().len();
        assert!(Client::session(cluster.node(1), &tls).resumed());
        assert!(done(before).is_empty(), "memory knows it now: {:?}", done(before));
        // While two lines of the secret live, one question asks for the names of both.
        let (old, new) = (Tls::session_ids(), Tls::session_ids());
        drop(Client::session(cluster.node(0), &old));
        change_secret(&cluster);
        *idle.borrow_mut() = nodes_do();
        let before = monitor.lines().len();
        assert!(Client::session(cluster.node(1), &old).resumed(), "sealed under the old line");
        assert_eq!(done(before), ["MGET"], "two live lines");
        let before = monitor.lines().len();
        drop(Client::session(cluster.node(0), &new));
        assert!(Client::session(cluster.node(1), &new).resumed(), "sealed under the new line");
        assert_eq!(done(before), ["SET", "MGET"], "two live lines");
    });
}

#[test]
fn lftp_resumes_whatever_node_takes_its_data_connections() {
    need!("lftp");
    kit::test(120, || {
        let Some(server) = Server::redis() else { return };
        let cluster = Cluster::with(over(&server, 3).key("data", "tls_reuse", "require"));
        let local = kit::Tree::new();
        (0..20).for_each(|number| drop(local.write_random(&format!("many/{number}.bin"), 50_000)));
        for version in ["1.2", "1.3"] {
            let work =
                format!("set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS{version}; mirror -R many many-{version}; mirror many-{version} back-{version}; quit");
            kit::lftp(&cluster, false, &work).at(local.path()).run().ok();
            assert_eq!(kit::contents(&local.join("many")), kit::contents(&local.join(&format!("back-{version}"))), "TLS {version}");
        }
        let data = |resumed: &str| cluster.metric("ftps_gateway_tls_handshakes_total", &["channel=\"data\"", resumed]);
        assert_eq!(data("resumed=\"full\""), 0.0);
        assert!(data("") >= 80.0, "{}", data(""));
        assert!(cluster.metric("ftps_gateway_data_connections_total", &["outcome=\"relayed\""]) > 0.0, "some came to another node");
    });
}

/// Key and command of each line of MONITOR that is about TLS 1.2 sessions.
fn sessions_in(lines: &[String]) -> Vec<(String, String)> {
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let of = |words: Vec<String>| {
        let key = words.iter().find(|word| word.contains(":session:"))?.clone();
        Some((key, words.first()?.to_uppercase()))
    };
    lines.iter().filter_map(|line| of(quoted(line))).collect()
}
