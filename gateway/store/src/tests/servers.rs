//! Real servers for tests: started on a free port of the loopback, ended by their process number.
//!
//! Gets: arguments. Gives: a port and a process that dies with its value.
//! Never: a service of the machine, a fixed port, a process found by name.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Dir;

/// A running server.
pub struct Server {
    pub port: u16,
    pub dir: Dir,
    child: Child,
    program: String,
    arguments: Vec<String>,
}

impl Server {
    /// redis-server without persistence, with further arguments.
    pub fn redis(arguments: &[&str]) -> Option<Self> {
        let dir = Dir::new();
        let home = dir.path().display().to_string();
        let common = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "log", "--dir", &home];
        let all = common.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        Self::start("redis-server", "--port", all, dir)
    }

    /// memcached, with further arguments.
    pub fn memcached(arguments: &[&str]) -> Option<Self> {
        let common = ["-l", "127.0.0.1", "-U", "0", "-u", "root"];
        let all = common.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        Self::start("memcached", "-p", all, Dir::new())
    }

    /// A Sentinel for the primary `name`.
    pub fn sentinel(name: &str, primary: u16) -> Option<Self> {
        let dir = Dir::new();
        let file = dir.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
        );
        std::fs::write(&file, text).unwrap();
        let home = dir.path().display().to_string();
        let arguments = [file.to_str().unwrap(), "--sentinel", "--logfile", "log", "--dir", &home].map(str::to_owned).to_vec();
        Self::start("redis-server", "--port", arguments, dir)
    }

    fn start(program: &str, port_flag: &str, arguments: Vec<String>, dir: Dir) -> Option<Self> {
        if !have(program) {
            super::skip(&format!("{program} is not installed"));
            return None;
        }
        // Another process may take the port between looking and listening: then once more.
        for _ in 0..5 {
            let port = free_port();
            // The configuration file of a Sentinel comes first, so the port goes last.
            let mut all = arguments.clone();
            all.extend([port_flag.to_owned(), port.to_string()]);
            let mut server = Self { port, child: spawn(program, &all, dir.path()), dir: Dir::new(), program: program.to_owned(), arguments: all };
            if server.answers() {
                server.dir = dir;
                return Some(server);
            }
        }
        panic!("{program} does not start: {}", std::fs::read_to_string(dir.path().join("log")).unwrap_or_default());
    }

    /// Starts it again on its port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.program, &self.arguments, self.dir.path());
        assert!(self.answers(), "{} starts again", self.program);
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP. Returns when every thread has stopped: until then one may still answer.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let end = Instant::now() + Duration::from_secs(10);
        let stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        loop {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
            if threads.map(|thread| std::fs::read_to_string(thread.path().join("stat"))).all(|stat| stat.is_ok_and(stopped)) {
                return;
            }
            assert!(Instant::now() < end, "{} stops", self.program);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks Redis by its own client: what a test needs to see from outside.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn answers(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                // It may have been another's port all along.
                std::thread::sleep(Duration::from_millis(50));
                return self.child.try_wait().unwrap().is_none();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn have(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

fn spawn(program: &str, arguments: &[String], directory: &Path) -> Child {
    Command::new(program).args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
