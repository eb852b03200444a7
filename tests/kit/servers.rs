//! Redis and memcached for tests: started on a free port of the loopback, ended with their value.
//!
//! Gets: nothing. Gives: a URL for `store.url`, and a process that a test may freeze, kill and start again.
//! Never: a service of the machine, a fixed port, a process found by name.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Tree, have, register, signal, skip, unregister};

/// A running server.
pub struct Server {
    port: u16,
    scheme: &'static str,
    arguments: Vec<String>,
    child: Child,
    tree: Tree,
}

impl Server {
    /// redis-server without persistence; `None`, and the test counts as skipped, when it is not installed.
    pub fn redis() -> Option<Self> {
        Self::redis_with(&[])
    }

    /// The same with more arguments.
    pub fn redis_with(arguments: &[&str]) -> Option<Self> {
        let all = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"];
        Self::start("redis-server", "redis", &[&all[..], arguments].concat(), "--port")
    }

    /// A Sentinel that watches the Redis on this port, under the name `main`.
    pub fn sentinel(primary: u16) -> Option<Self> {
        let tree = Tree::new();
        let text = format!(
            "bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        );
        let file = tree.write("sentinel.conf", text.as_bytes()).display().to_string();
        Self::start_in(tree, "redis-server", "redis", &[&file, "--sentinel"], "--port")
    }

    /// memcached; `None`, and the test counts as skipped, when it is not installed.
    pub fn memcached() -> Option<Self> {
        Self::memcached_with(&[])
    }

    /// The same with more arguments.
    pub fn memcached_with(arguments: &[&str]) -> Option<Self> {
        let all = ["-l", "127.0.0.1", "-U", "0", "-u", "root"];
        Self::start("memcached", "memcached", &[&all[..], arguments].concat(), "-p")
    }

    /// For `store.url`.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis` or `memcached`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// SIGSTOP: connections stay, answers do not come. Returns when every thread has stopped.
    pub fn freeze(&self) {
        signal(self.child.id(), Signal::STOP);
        let stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        super::eventually(10, "the store stops", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads").flatten();
            threads.map(|thread| std::fs::read_to_string(thread.path().join("stat"))).all(|stat| stat.is_ok_and(stopped))
        });
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal(self.child.id(), Signal::CONT);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        unregister(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its port, empty.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.scheme, &self.arguments, &self.tree);
        assert!(answers(&mut self.child, self.port), "{} starts again", self.scheme);
    }

    fn start(program: &'static str, scheme: &'static str, arguments: &[&str], port_flag: &str) -> Option<Self> {
        Self::start_in(Tree::new(), program, scheme, arguments, port_flag)
    }

    fn start_in(tree: Tree, program: &'static str, scheme: &'static str, arguments: &[&str], port_flag: &str) -> Option<Self> {
        if !have(program) {
            skip(&format!("{program} is not installed"));
            return None;
        }
        // Another process may take the port between looking and listening: then once more.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
            let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            all.extend([port_flag.to_owned(), port.to_string()]);
            let mut child = spawn(scheme, &all, &tree);
            if answers(&mut child, port) {
                return Some(Self { port, scheme, arguments: all, child, tree });
            }
            unregister(child.id());
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{program} does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(scheme: &str, arguments: &[String], tree: &Tree) -> Child {
    let program = if scheme == "redis" { "redis-server" } else { scheme };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(tree.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("the server");
    register(child.id());
    child
}

fn answers(child: &mut Child, port: u16) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && child.try_wait().expect("its status").is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // It may have been another's port all along.
            std::thread::sleep(Duration::from_millis(50));
            return child.try_wait().expect("its status").is_none();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
