//! What the tests against the real binary share: nodes, clusters, clients, trees of files, deadlines.
//!
//! Gets: the binary that cargo built. Gives: [`Node`], [`Client`], runners of curl, lftp, Python and openssl.
//! Never: a fixed port, a process that outlives its test, a wait without a deadline, a skip that is not counted.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod balancer;
mod certified;
mod client;
mod cluster;
mod data;
mod look;
mod node;
pub mod parallel;
pub mod programs;
mod responder;
mod secure;
mod servers;
mod tools;
mod tree;

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use balancer::{Balancer, Pick, Tell, header};
pub use certified::{Authority, Certified};
pub use client::{Client, Reply, connect};
pub use cluster::{Cluster, Setup};
pub use data::Data;
pub use look::{Item, Monitor};
pub use node::{Entrance, Http, Node, Options, PASSWORD, USER, binary, users_file};
pub use responder::Responder;
pub use secure::{Pki, Tls, Version};
pub use servers::Server;
pub use tools::{Output, Run, curl, have, lftp, python, rclone};
pub use tree::{Tree, contents, entries, random_bytes, same, same_file, sha256};

/// Runs the body of a test under a deadline: when it passes, the test's processes are killed and the test fails.
pub fn test(seconds: u64, body: impl FnOnce() + Send + 'static) {
    let id = NEXT_TEST.fetch_add(1, Ordering::Relaxed);
    let (done, finished) = channel();
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        TEST.set(id);
        let result = catch_unwind(AssertUnwindSafe(body));
        let _ = done.send(());
        result
    });
    let thread = thread.expect("a thread for the test");
    match finished.recv_timeout(Duration::from_secs(seconds)) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(cause)) | Err(cause) => {
                // Once more below the logs of the nodes: whoever sees only the end of a long report sees why.
                let words = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
                eprintln!("--- {name} failed: {}", words.unwrap_or("no words").chars().take(WORDS_SHOWN).collect::<String>());
                resume_unwind(cause)
            }
        },
        Err(RecvTimeoutError::Timeout) => {
            kill_processes_of(id);
            panic!("{name} did not end within {seconds} s");
        }
    }
}

/// Says that a test could not run here. `tests/run` counts it as skipped, not as passed.
#[allow(clippy::print_stdout, reason = "who runs cargo test alone shall see it too")]
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let line = format!("SKIPPED test {name}: {reason}\n");
    print!("{line}");
    let Some(path) = std::env::var_os("FTPS_TEST_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skipped tests");
}

/// Leaves the test, counted as skipped, when a program is missing.
#[macro_export]
macro_rules! need {
    ($($program:literal),+) => {
        $(if !$crate::kit::have($program) {
            return $crate::kit::skip(concat!($program, " is not installed"));
        })+
    };
}

/// Whether the long versions run: `tests/run full`.
pub fn full() -> bool {
    std::env::var_os("FTPS_TEST_FULL").is_some_and(|value| value == "1")
}

/// Waits until `condition` holds; fails with `what` when it does not within `seconds`.
pub fn eventually(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that the running test started; killed when the test's deadline passes.
pub fn register(pid: u32) {
    lock().push((TEST.get(), pid));
}

/// The process is about to be waited for: its id may soon belong to another.
pub fn unregister(pid: u32) {
    lock().retain(|(_, other)| *other != pid);
}

fn kill_processes_of(test: u64) {
    for (_, pid) in lock().iter().filter(|(owner, _)| *owner == test) {
        signal(*pid, rustix::process::Signal::KILL);
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, signal);
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(u64, u32)>> {
    PROCESSES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a panic that is repeated, in characters.
const WORDS_SHOWN: usize = 1_000;

static NEXT_TEST: AtomicU64 = AtomicU64::new(1);
static PROCESSES: Mutex<Vec<(u64, u32)>> = Mutex::new(Vec::new());
thread_local! {
    static TEST: Cell<u64> = const { Cell::new(0) };
}
