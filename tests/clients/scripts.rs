//! One piece of work in six languages: log in, upload, list, download, resume both ways, rename, delete, a whole tree there and back.
//!
//! Gets: the scripts beside this file; README.md has their words. Gives: the same bytes on both sides, the TLS version that was asked for, how uploads ended.
//! Never: a client option that lowers what is checked; PHP alone checks no certificate, because it cannot.

use std::path::PathBuf;

use serde_json::Value;

use crate::kit::{self, Node, PASSWORD, Run, Tree, USER, contents, random_bytes};
use crate::need;

/// How a client ends its uploads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    CloseNotify,
    Fin,
}

/// What a script is told, and what is expected of it.
struct Script {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    version: &'static str,
    mode: &'static str,
    ends: Ends,
    /// Whether its data connections resume the control connection's session.
    resumes: bool,
}

#[test]
fn plain_ftplib_works_with_tls_12() {
    need!("python3");
    kit::test(120, || python("plain", "1.2", "explicit").run());
}

#[test]
fn plain_ftplib_works_with_tls_13() {
    need!("python3");
    kit::test(120, || python("plain", "1.3", "explicit").run());
}

#[test]
fn plain_ftplib_works_with_implicit_tls() {
    need!("python3");
    kit::test(120, || python("plain", "1.3", "implicit").run());
}

#[test]
fn resuming_ftplib_works_with_tls_12() {
    need!("python3");
    kit::test(120, || python("reuse", "1.2", "explicit").run());
}

#[test]
fn resuming_ftplib_works_with_tls_13() {
    need!("python3");
    kit::test(120, || python("reuse", "1.3", "explicit").run());
}

#[test]
fn resuming_ftplib_works_with_implicit_tls() {
    need!("python3");
    kit::test(120, || python("reuse", "1.2", "implicit").run());
}

#[test]
fn aioftp_works_with_tls_12() {
    kit::test(120, || aioftp("1.2", "explicit"));
}

#[test]
fn aioftp_works_with_tls_13() {
    kit::test(120, || aioftp("1.3", "explicit"));
}

#[test]
fn aioftp_works_with_implicit_tls() {
    kit::test(120, || aioftp("1.3", "implicit"));
}

#[test]
fn perl_works_with_tls_12() {
    kit::test(120, || perl("1.2", "explicit"));
}

#[test]
fn perl_works_with_tls_13() {
    kit::test(120, || perl("1.3", "explicit"));
}

#[test]
fn perl_works_with_implicit_tls() {
    kit::test(120, || perl("1.3", "implicit"));
}

#[test]
fn ruby_works_with_tls_12() {
    need!("ruby");
    kit::test(120, || ruby("1.2").run());
}

#[test]
fn ruby_works_with_tls_13() {
    need!("ruby");
    kit::test(120, || ruby("1.3").run());
}

/// Ruby reads nothing while it uploads. A ticket that waits for it unread makes its kernel answer with a reset, and the end of a large file is lost.
#[test]
fn ruby_keeps_large_uploads_in_every_session() {
    need!("ruby");
    kit::test(120, || {
        let (node, local) = (Node::start(), prepared());
        let bytes = random_bytes(40_000_000);
        local.write("up.bin", &bytes);
        local.write("half.bin", &bytes[..20_000_000]);
        for _ in 0..3 {
            ruby("1.3").work(&node, &local);
            std::fs::remove_dir_all(node.root.join("tree")).unwrap();
            std::fs::remove_dir_all(local.join("back")).unwrap();
            std::fs::remove_file(node.root.join("kept.bin")).unwrap();
        }
    });
}

#[test]
fn php_works_with_tls_12() {
    need!("php");
    kit::test(120, || php("1.2"));
}

#[test]
fn php_works_with_tls_13() {
    need!("php");
    kit::test(120, || php("1.3"));
}

#[test]
fn basic_ftp_works_with_tls_12() {
    need!("node");
    kit::test(120, || basic_ftp("1.2", "explicit"));
}

#[test]
fn basic_ftp_works_with_tls_13() {
    need!("node");
    kit::test(120, || basic_ftp("1.3", "explicit"));
}

#[test]
fn basic_ftp_works_with_implicit_tls() {
    need!("node");
    kit::test(120, || basic_ftp("1.3", "implicit"));
}

#[test]
fn suppaftp_works_with_tls_12() {
    kit::test(120, || suppaftp("1.2", "explicit"));
}

#[test]
fn suppaftp_works_with_tls_13() {
    kit::test(120, || suppaftp("1.3", "explicit"));
}

#[test]
fn suppaftp_works_with_implicit_tls() {
    kit::test(120, || suppaftp("1.3", "implicit"));
}

fn python(kind: &str, version: &'static str, mode: &'static str) -> Script {
    let script = Script::new("python3", "ftplib_client.py", version, mode);
    Script { arguments: [script.arguments, vec![kind.to_owned()]].concat(), resumes: kind == "reuse", ..script }
}

fn aioftp(version: &'static str, mode: &'static str) {
    let libraries = tool("python");
    if !libraries.join("aioftp").is_dir() {
        return kit::skip("aioftp is not in target/tools");
    }
    let environment = vec![("PYTHONPATH", libraries.display().to_string())];
    Script { environment, ..Script::new("python3", "aioftp_client.py", version, mode) }.run();
}

fn perl(version: &'static str, mode: &'static str) {
    if !kit::have("perl") || Run::new("perl", ["-MIO::Socket::SSL", "-MNet::FTP", "-e1"]).run().code != Some(0) {
        return kit::skip("perl with IO::Socket::SSL is not installed");
    }
    Script::new("perl", "net_ftp.pl", version, mode).run();
}

fn ruby(version: &'static str) -> Script {
    Script::new("ruby", "net_ftp.rb", version, "explicit")
}

fn php(version: &'static str) {
    if Run::new("php", ["-r", "exit((int)!function_exists('ftp_ssl_connect'));"]).run().code != Some(0) {
        return kit::skip("php without ftp_ssl_connect");
    }
    // The extension has no setting for the version of TLS.
    let tree = Tree::new();
    let config = format!(
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\nMinProtocol = TLSv{version}\nMaxProtocol = TLSv{version}\n"
    );
    let environment = vec![("OPENSSL_CONF", tree.write("openssl.cnf", config.as_bytes()).display().to_string())];
    Script { environment, ..Script::new("php", "ftp.php", version, "explicit") }.run();
}

fn basic_ftp(version: &'static str, mode: &'static str) {
    let libraries = tool("node/node_modules");
    if !libraries.join("basic-ftp").is_dir() {
        return kit::skip("basic-ftp is not in target/tools");
    }
    let environment = vec![("NODE_PATH", libraries.display().to_string())];
    Script { environment, resumes: true, ..Script::new("node", "basic_ftp.js", version, mode) }.run();
}

fn suppaftp(version: &'static str, mode: &'static str) {
    let program = tool("suppaftp/debug/suppaftp-client");
    if !program.is_file() {
        return kit::skip("the client of suppaftp is not in target/tools");
    }
    let resumes = version == "1.2";
    Script { program: program.display().to_string(), arguments: Vec::new(), resumes, ..Script::new("", "suppaftp", version, mode) }.run();
}

impl Script {
    fn new(program: &str, file: &str, version: &'static str, mode: &'static str) -> Self {
        let path = super::wire::beside(file);
        Self {
            program: program.to_owned(),
            arguments: vec![path.display().to_string()],
            environment: Vec::new(),
            version,
            mode,
            ends: Ends::CloseNotify,
            resumes: false,
        }
    }

    /// Runs it against a node with the defaults, and looks at what it left on both sides.
    fn run(self) {
        let (node, local) = (Node::start(), prepared());
        self.work(&node, &local);
        self.judge(&node);
    }

    fn work(&self, node: &Node, local: &Tree) {
        let port = if self.mode == "implicit" { node.implicit.port() } else { node.explicit.port() };
        let told = [&port.to_string(), &node.pki.ca.display().to_string(), USER, PASSWORD, self.version, self.mode, &local.path().display().to_string()];
        let arguments = self.arguments.iter().cloned().chain(told.map(str::to_owned));
        let mut run = Run::new(&self.program, arguments).seconds(100);
        for (name, value) in &self.environment {
            run = run.env(name, value);
        }
        let output = run.run();
        let done: Vec<String> = output.text().lines().filter_map(|line| line.strip_prefix("ok ").map(str::to_owned)).collect();
        assert_eq!(done, WORK, "{} stopped there:\n{}\n{}", self.program, output.text(), output.stderr);
        output.ok();
        assert_eq!(contents(&local.join("tree")), contents(&node.root.join("tree")), "the tree on the server");
        assert_eq!(contents(&local.join("tree")), contents(&local.join("back")), "the tree that came back");
        kit::same_file(node.root.join("kept.bin"), &local.read("up.bin").unwrap(), "the upload that was resumed");
        assert_eq!(kit::entries(&node.root), 2, "what was deleted is gone: {:?}", contents(&node.root));
    }

    /// Looks into the log: the version of TLS, resumption, the ends of uploads.
    fn judge(&self, node: &Node) {
        let lines: Vec<Value> = node.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let handshakes: Vec<&Value> = lines.iter().filter(|line| line["event"] == "handshake").collect();
        let version = self.version;
        assert!(!handshakes.is_empty() && handshakes.iter().all(|line| line["version"] == version), "not {version} alone: {handshakes:#?}");
        let data: Vec<&&Value> = handshakes.iter().filter(|line| line["channel"] == "data").collect();
        let resumed = data.iter().filter(|line| line["resumed"] != "full").count();
        eprintln!("{} {} {}: {resumed} of {} data connections resumed", self.arguments.last().unwrap_or(&self.program), self.version, self.mode, data.len());
        assert!(!self.resumes || resumed == data.len(), "{resumed} of {} data connections resumed", data.len());
        let uploads: Vec<&Value> = lines.iter().filter(|line| line["event"] == "transfer_ended" && line["direction"] == "upload").collect();
        let end = if self.ends == Ends::Fin { "fin" } else { "close_notify" };
        assert!(uploads.len() > 8 && uploads.iter().all(|line| line["end"] == end && line["result"] == "complete"), "not all ended by {end}: {uploads:#?}");
    }
}

/// Where `tests/run` puts what no distribution has.
fn tool(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(name)
}

/// What the scripts find: a file, its first half, a tree.
fn prepared() -> Tree {
    let local = Tree::new();
    let bytes = random_bytes(1_000_003);
    local.write("up.bin", &bytes);
    local.write("half.bin", &bytes[..500_001]);
    local.write("tree/empty", b"");
    local.write("tree/with space.txt", b"text\r\nwith line ends\n\n");
    local.write("tree/deep/er/and deeper/ünïcode ☃ 🎉.bin", &random_bytes(70_000));
    local.write("tree/deep/100%25 'quoted' [1] #2.txt", b"%s");
    for index in 0..6 {
        local.write(&format!("tree/many/{index}"), &random_bytes(1000 * index));
    }
    local
}

/// The words of the scripts, in order.
const WORK: [&str; 9] = ["login", "upload", "list", "download", "resume-down", "resume-up", "rename", "delete", "recursive"];
