//! What the crate promises, shown on every backend: one conformance suite, and the faults of each.
//!
//! Gets: this crate, redis-server and memcached where they are installed. Gives: tests that end, on free ports, in directories of their own.
//! Never: a fixed port, a process left behind, or a missing program passed off as success.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod conformance;
mod memcached;
mod redis;
mod servers;
mod shm;
mod tiers;
mod vault;

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::key::Kind;
use crate::location::Location;
use crate::report::{BackendKind, Finished, Notice, Report, Tier};
use crate::seal::OpenError;
use crate::store::{Options, Store, TlsFiles};

/// The deadline of operations in tests of deadlines.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// A directory that goes with its test.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ftps-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Remembers what a store reported.
#[derive(Default)]
pub struct Heard {
    notices: Mutex<Vec<(BackendKind, Tier, Notice)>>,
    finished: Mutex<Vec<Finished>>,
    rejected: Mutex<Vec<(Kind, OpenError)>>,
}

impl Heard {
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().iter().map(|(_, _, notice)| notice.clone()).collect()
    }

    pub fn downs(&self) -> Vec<Failure> {
        let failure = |notice| if let Notice::Down { error, .. } = notice { Some(error.failure) } else { None };
        self.notices().into_iter().filter_map(failure).collect()
    }

    pub fn rejected(&self) -> Vec<(Kind, OpenError)> {
        self.rejected.lock().unwrap().clone()
    }

    pub fn finished(&self) -> Vec<Finished> {
        self.finished.lock().unwrap().clone()
    }
}

impl Report for Heard {
    fn operation(&self, finished: &Finished) {
        self.finished.lock().unwrap().push(*finished);
    }

    fn notice(&self, backend: BackendKind, tier: Tier, notice: &Notice) {
        self.notices.lock().unwrap().push((backend, tier, notice.clone()));
    }

    fn rejected(&self, kind: Kind, reason: OpenError) {
        self.rejected.lock().unwrap().push((kind, reason));
    }
}

/// Options with a report that remembers, and a deadline that a loaded machine keeps.
pub fn options(dir: &Path) -> (Options, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let options = Options { timeout: DEADLINE, state_dir: dir.to_owned(), tls: TlsFiles::default(), report: heard.clone(), tier: Tier::Main };
    (options, heard)
}

/// Opens a store and waits until it is there.
pub async fn open(url: &str, dir: &Path) -> (Store, Arc<Heard>) {
    let (mut options, heard) = options(dir);
    // A loaded machine must not fail a test that is not about deadlines.
    options.timeout = Duration::from_secs(5);
    let store = Store::open(&Location::parse(url).unwrap(), &options).unwrap();
    assert!(store.wait_up(Duration::from_secs(20)).await, "{url} is not there: {:?}", heard.notices());
    (store, heard)
}

/// Runs a test under a deadline, on a runtime of its own.
pub fn run(seconds: u64, body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(seconds), body).await.expect("the test ends in time") });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Says that a test could not run here; counted as skipped, not as passed.
#[allow(clippy::print_stdout, reason = "who runs cargo test alone shall see it too")]
pub fn skip(reason: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let line = format!("SKIPPED test {name}: {reason}\n");
    // A test that needs two servers misses both: it is skipped once.
    if !SAID.lock().unwrap().insert(name) {
        return;
    }
    print!("{line}");
    let Some(path) = std::env::var_os("FTPS_TEST_SKIPS") else { return };
    std::fs::OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}

/// Waits until `condition` holds.
pub async fn eventually(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
