//! Real clients and tools as processes: run, fed, read, killed at their deadline.
//!
//! Gets: a program and its arguments. Gives: exit code and output.
//! Never: a shell, except for lines that a user is told to paste.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Entrance, Node, PASSWORD, USER, register, unregister};

/// A program to run.
pub struct Run {
    command: Command,
    input: Vec<u8>,
    seconds: u64,
    what: String,
}

/// How it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code, `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    what: String,
}

impl Run {
    /// A program with arguments.
    pub fn new<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C.UTF-8").env("HOME", home());
        Self { command, input: Vec::new(), seconds: 60, what: program.to_owned() }
    }

    /// What it reads.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Where it runs.
    pub fn at(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Another deadline than 60 s.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Starts it; for programs that a test kills.
    pub fn spawn(mut self) -> Child {
        let child = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Output {
        let child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", self.what));
        register(child.id());
        let mut stdin = child.stdin.take().expect("stdin");
        let input = std::mem::take(&mut self.input);
        // A program that does not read its input closes it: no fault of the test.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = collect(child.stdout.take().expect("stdout"));
        let stderr = collect(child.stderr.take().expect("stderr"));
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let status = loop {
            if let Some(status) = child.try_wait().expect("a status") {
                break status;
            }
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                unregister(child.id());
                panic!("{} did not end within {} s: {}", self.what, self.seconds, String::from_utf8_lossy(&stderr.join().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        unregister(child.id());
        drop(feeder.join());
        let stderr = String::from_utf8_lossy(&stderr.join().expect("stderr")).into_owned();
        Output { code: status.code(), stdout: stdout.join().expect("stdout"), stderr, what: self.what }
    }
}

impl Output {
    /// Holds it to exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{} failed:\n{}\n{}", self.what, self.text(), self.stderr);
        self
    }

    /// Its output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Whether a program is there.
pub fn have(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// curl, trusting the tests' authority, logged in. `implicit` chooses `ftps://`. `path` begins with `/`.
pub fn curl(node: &impl Entrance, implicit: bool, arguments: &[&str], path: &str) -> Run {
    let (scheme, address) = if implicit { ("ftps", node.implicit()) } else { ("ftp", node.explicit()) };
    let mut all: Vec<String> = ["-sS", "--ssl-reqd", "--max-time", "300", "--cacert"].map(String::from).into();
    all.push(node.ca().display().to_string());
    all.extend(["-u".to_owned(), format!("{USER}:{PASSWORD}")]);
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    all.push(format!("{scheme}://{}:{}{path}", node.host(), address.port()));
    Run::new("curl", all)
}

/// lftp, trusting the tests' authority, logged in, failing at the first failed command of the script.
pub fn lftp(node: &impl Entrance, implicit: bool, script: &str) -> Run {
    let (scheme, address) = if implicit { ("ftps", node.implicit()) } else { ("ftp", node.explicit()) };
    let settings = format!(
        "set cmd:fail-exit true; set net:max-retries 1; set net:timeout 20; set ftp:ssl-force true; set ftp:ssl-protect-data true; set ssl:ca-file {}; \
         open -u {USER},{PASSWORD} {scheme}://{}:{}; {script}",
        node.ca().display(),
        node.host(),
        address.port()
    );
    Run::new("lftp", ["--norc", "-c", &settings])
}

/// rclone, trusting the tests' authority, logged in, trying nothing twice.
pub fn rclone(node: &impl Entrance, implicit: bool, arguments: &[&str]) -> Run {
    let password = Run::new("rclone", ["obscure", PASSWORD]).run().ok().text();
    let (kind, address) = if implicit { ("--ftp-tls", node.implicit()) } else { ("--ftp-explicit-tls", node.explicit()) };
    let (host, port) = (node.host(), address.port().to_string());
    let told =
        [kind, "--ftp-host", &host, "--ftp-port", &port, "--ftp-user", USER, "--ftp-pass", password.trim(), "--retries", "1", "--low-level-retries", "1"];
    // rclone takes an authority from the environment of Go.
    Run::new("rclone", told.into_iter().chain(arguments.iter().copied())).env("SSL_CERT_FILE", &node.ca().display().to_string()).seconds(150)
}

/// A Python script of `tests/kit` with what it needs to log in: host, port, CA, user, password, then these arguments.
pub fn python(node: &Node, script: &str, arguments: &[&str]) -> Run {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/kit").join(script);
    let mut all = vec![script.display().to_string(), node.explicit.port().to_string(), node.pki.ca.display().to_string()];
    all.extend([USER.to_owned(), PASSWORD.to_owned()]);
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    Run::new("python3", all)
}

/// A home without anybody's `.curlrc` and `.lftprc`.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| std::env::temp_dir().join("ftps-test-no-home"))
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}
