//! A node: the real binary as a process, with a directory, users and a certificate of its own.
//!
//! Gets: [`Options`]. Gives: where it listens, what it logs, what it uses, how it ended.
//! Never: leaves the process running, or takes a port that was not given by the kernel.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher;
use rustix::process::Signal;
use serde_json::Value;

use super::{Pki, Tree, eventually, register, signal, unregister};

/// The user every node knows, unless [`Options::users`] says otherwise.
pub const USER: &str = "demo";
/// Its password.
pub const PASSWORD: &str = "demo-password";

/// What a node is told.
pub struct Options {
    /// Top-level sections of the configuration, as YAML flow values.
    pub sections: BTreeMap<&'static str, String>,
    /// The users file.
    pub users: String,
    /// Where the files lie; by default `files` in the node's own directory.
    pub root: Option<PathBuf>,
    /// More files beside the configuration: name and text.
    pub files: Vec<(&'static str, String)>,
    /// Environment variables.
    pub environment: Vec<(&'static str, String)>,
    /// A program and its arguments that become the node: a network namespace, fewer capabilities.
    pub through: Vec<String>,
}

/// Where clients come in: a node, or the balancer of a cluster.
pub trait Entrance {
    /// Where AUTH TLS is spoken.
    fn explicit(&self) -> SocketAddr;
    /// Where TLS is spoken from the first byte.
    fn implicit(&self) -> SocketAddr;
    /// The authority to trust.
    fn ca(&self) -> &Path;
    /// The host that clients are told, for which the certificate is good.
    fn host(&self) -> String;
}

/// A running node.
pub struct Node {
    /// `config.yaml`, `users.yaml`, certificates.
    pub tree: Tree,
    pub pki: Pki,
    /// `storage.root`.
    pub root: PathBuf,
    /// Where AUTH TLS is spoken.
    pub explicit: SocketAddr,
    /// Where TLS is spoken from the first byte.
    pub implicit: SocketAddr,
    /// The HTTP sidecar.
    pub admin: SocketAddr,
    /// Where metrics and probes are.
    pub metrics: SocketAddr,
    /// `listen.peer`, if it has one.
    pub peer: Option<SocketAddr>,
    pub data_ports: Vec<u16>,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// An answer of the sidecar.
pub struct Http {
    pub status: u16,
    pub body: String,
}

impl Default for Options {
    fn default() -> Self {
        let sections = [
            ("node", "{ name: test, state_dir: state }"),
            ("listen", r#"{ explicit: ["127.0.0.1:0"], implicit: ["127.0.0.1:0"], admin: "127.0.0.1:0" }"#),
            ("data", r#"{ ports: "0/8" }"#),
            ("tls", "{ certificates: [{ cert: cert.pem, key: key.pem }] }"),
            ("users", "{ files: [users.yaml] }"),
            // Every test comes from one address and tries passwords as it likes.
            ("limits", "{ logins_per_minute_per_ip: 100000, sessions_per_ip: 1000, sessions_per_user: 1000 }"),
            ("drain", "{ delay: 0s, idle: 0s, timeout: 5s }"),
            ("log", "{ format: json, level: debug }"),
        ];
        Self {
            sections: sections.map(|(name, value)| (name, value.to_owned())).into(),
            users: users_file(&[(USER, "/", "all")]),
            root: None,
            files: Vec::new(),
            environment: Vec::new(),
            through: Vec::new(),
        }
    }
}

impl Options {
    /// Says a section anew.
    pub fn set(mut self, section: &'static str, value: &str) -> Self {
        self.sections.insert(section, value.to_owned());
        self
    }
}

impl Node {
    /// Starts one with the defaults.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts one; fails, with its log, when it is not ready within 20 s.
    pub fn with(options: Options) -> Self {
        Self::with_files(options, &[])
    }

    /// The same, with more files beside its configuration.
    pub fn with_files(options: Options, files: &[(&str, &[u8])]) -> Self {
        let tree = Tree::new();
        files.iter().for_each(|(name, bytes)| drop(tree.write(name, bytes)));
        let pki = Pki::write(&tree);
        let root = options.root.unwrap_or_else(|| tree.join("files"));
        std::fs::create_dir_all(&root).expect("the root");
        tree.write("users.yaml", options.users.as_bytes());
        for (name, text) in &options.files {
            tree.write(name, text.as_bytes());
        }
        let mut config: String = options.sections.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        if !options.sections.contains_key("storage") {
            config.push_str(&format!("storage: {{ root: {:?} }}\n", root));
        }
        let file = tree.write("config.yaml", config.as_bytes());
        let mut words = options.through.iter().map(String::as_str).chain([binary()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command.args(["serve", "--config"]).arg(&file).envs(options.environment).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary");
        register(child.id());
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect_output(child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"), &lines);
        let ready = wait_for_ready(&mut child, &lines);
        let address = |name: &str| parse(ready[name].as_str());
        let first = |name: &str| parse(ready[name][0].as_str());
        let admin = address("admin").expect("`admin` in the ready line");
        Self {
            explicit: first("explicit").expect("`explicit` in the ready line"),
            implicit: first("implicit").unwrap_or(admin),
            metrics: address("metrics").unwrap_or(admin),
            peer: address("peer"),
            data_ports: ready["data_ports"].as_array().into_iter().flatten().filter_map(Value::as_u64).filter_map(|port| u16::try_from(port).ok()).collect(),
            admin,
            tree,
            pki,
            root,
            child,
            lines,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Waits for its end; gives the exit code, `None` when a signal ended it.
    pub fn wait(&mut self, seconds: u64) -> Option<i32> {
        let mut status = None;
        eventually(seconds, "the node ends", || {
            status = self.child.try_wait().expect("the node's status");
            status.is_some()
        });
        unregister(self.child.id());
        status.and_then(|status| status.code())
    }

    /// Sends a signal and waits.
    pub fn stop(&mut self, which: Signal, seconds: u64) -> Option<i32> {
        self.signal(which);
        self.wait(seconds)
    }

    /// What it wrote so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line that contains all of `parts`.
    pub fn logged(&self, parts: &[&str]) -> String {
        let mut found = None;
        eventually(10, &format!("a log line with {parts:?} in {:#?}", self.log()), || {
            found = self.log().into_iter().find(|line| parts.iter().all(|part| line.contains(part)));
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// `GET` on an address of it.
    pub fn get(&self, address: SocketAddr, path: &str) -> Http {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("the sidecar");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not HTTP: {text}"));
        Http { status, body: text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default() }
    }

    /// The sum of all series of a metric whose labels contain all of `labels`; `None` when there is none.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.get(self.metrics, "/metrics").body;
        let mut sum = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (metric, with) = series.split_once('{').unwrap_or((series, ""));
            if metric == name && labels.iter().all(|label| with.contains(label)) {
                sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().expect("a number"));
            }
        }
        sum
    }

    /// Its proportional share of memory in KiB. Pages of files are left out: its share of those of the program grows by megabytes when the node of another test ends.
    pub fn pss_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("smaps_rollup");
        let of = |what: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(what)).expect("a line of it");
            line.trim().trim_end_matches("kB").trim().parse().expect("a number")
        };
        of("Pss_Anon:") + of("Pss_Shmem:")
    }

    /// CPU time that it has used so far, in ms.
    pub fn cpu_ms(&self) -> u64 {
        let all = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        // utime and stime, in clock ticks, which Linux gives to programs as hundredths of a second.
        let fields: Vec<&str> = all.rsplit(") ").next().expect("a state").split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
        (ticks(11) + ticks(12)) * 10
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map(Iterator::count).unwrap_or(0)
    }
}

impl Entrance for Node {
    fn explicit(&self) -> SocketAddr {
        self.explicit
    }

    fn implicit(&self) -> SocketAddr {
        self.implicit
    }

    fn ca(&self) -> &Path {
        &self.pki.ca
    }

    fn host(&self) -> String {
        "localhost".to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        unregister(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("--- log of the node ---\n{}", log[log.len().saturating_sub(LINES_SHOWN)..].join("\n"));
        }
    }
}

/// A users file: name, home and permissions of each. The password of `demo` is `demo-password`, and so on.
pub fn users_file(users: &[(&str, &str, &str)]) -> String {
    let cheap = argon2::Params::new(64, 1, 1, None).expect("parameters");
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
    let entry = |(name, home, permissions): &(&str, &str, &str)| {
        let hash: argon2::password_hash::phc::PasswordHash = hasher.hash_password(format!("{name}-password").as_bytes()).expect("a hash");
        format!("  - {{ name: {name}, password: \"{hash}\", home: {home}, permissions: {permissions} }}\n")
    };
    format!("users:\n{}", users.iter().map(entry).collect::<String>())
}

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_ftps-gateway")
}

fn parse(text: Option<&str>) -> Option<SocketAddr> {
    text.and_then(|text| text.parse().ok())
}

fn collect_output(stdout: ChildStdout, stderr: ChildStderr, lines: &Arc<Mutex<Vec<String>>>) {
    fn copy(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }
    copy(stdout, lines.clone());
    copy(stderr, lines.clone());
}

fn wait_for_ready(child: &mut Child, lines: &Arc<Mutex<Vec<String>>>) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let log = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ready = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["event"] == "ready");
        if let Some(ready) = ready {
            return ready;
        }
        if let Some(status) = child.try_wait().expect("the node's status") {
            unregister(child.id());
            std::thread::sleep(Duration::from_millis(50));
            panic!("the node ended with {status} before it was ready:\n{}", lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
        }
        if Instant::now() >= end {
            let _ = child.kill();
            panic!("the node was not ready within 20 s:\n{}", log.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Of a failed test's log.
const LINES_SHOWN: usize = 500;
