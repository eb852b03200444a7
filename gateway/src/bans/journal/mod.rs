//! The journal: the book on the disk of this node, sealed, so that a restart forgets nothing.
//!
//! Gets: changes. Gives: whether they are on the disk; at the start, everything that was written and can be opened.
//! Never: stops a ban because it cannot write (it is told and counted), trusts what it reads (what does not open is counted and left out), or writes into
//! a file of an earlier start: each start begins a new one, and a snapshot takes the place of the old ones now and then.

mod files;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use ftps_store::seal::Keyring;
use tokio::sync::oneshot;

use self::files::Files;
use super::ban::Change;

/// The keys that seal now, and all that open.
pub type Keys = Arc<dyn Fn() -> Keyring + Send + Sync>;
/// One part of the book, for a snapshot.
pub type Contents = Arc<dyn Fn(usize) -> Vec<Change> + Send + Sync>;

/// Writes changes down. Dropping it ends its thread when all is written.
#[derive(Debug)]
pub struct Journal {
    orders: Sender<Order>,
    state: Arc<State>,
}

/// What the journal says about itself.
#[derive(Debug, Default)]
pub struct State {
    /// Writes that failed.
    failed: AtomicU64,
    /// Frames or records that were damaged or sealed under a secret that is gone.
    unreadable: AtomicU64,
    broken: AtomicBool,
}

#[derive(Debug)]
struct Order {
    changes: Vec<Change>,
    done: Option<oneshot::Sender<bool>>,
}

impl State {
    /// Writes that failed so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Damaged parts that were left out at the start.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Whether the last write failed: what is banned now is not on this disk.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Journal {
    /// Reads all that is there and begins a new file. A directory that cannot be used makes a journal that says so with each write.
    pub fn open(directory: &Path, name: &str, keys: Keys, mut each: impl FnMut(Change)) -> (Self, Writer) {
        let state = Arc::new(State::default());
        let files = Files::open(directory.join("bans"), name, keys, state.clone(), &mut each);
        let (orders, received) = channel();
        (Self { orders, state }, Writer { files, orders: received })
    }

    /// Writes changes down and waits until they are on the disk. Says whether they are.
    pub async fn append(&self, changes: Vec<Change>) -> bool {
        let (done, told) = oneshot::channel();
        self.orders.send(Order { changes, done: Some(done) }).is_ok() && told.await.unwrap_or(false)
    }

    /// Writes changes down; nobody waits for it.
    pub fn note(&self, changes: Vec<Change>) {
        let _ = self.orders.send(Order { changes, done: None });
    }

    /// How it is.
    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }
}

/// The journal's own thread, not started yet: a snapshot needs the book, which is made of what was read.
#[derive(Debug)]
pub struct Writer {
    files: Files,
    orders: Receiver<Order>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut self, contents: Contents) -> io::Result<()> {
        std::thread::Builder::new().name("ban-journal".into()).spawn(move || self.run(&contents)).map(drop)
    }

    fn run(&mut self, contents: &Contents) {
        loop {
            let orders: Vec<Order> = match self.orders.recv_timeout(RETRY) {
                // What came while the last write was waited for goes together: one fdatasync for all.
                Ok(first) => std::iter::once(first).chain(self.orders.try_iter().take(TOGETHER)).collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !orders.is_empty() {
                let written = self.files.append(orders.iter().flat_map(|order| &order.changes));
                orders.into_iter().filter_map(|order| order.done).for_each(|done| _ = done.send(written));
            }
            self.files.tidy(contents);
        }
    }
}

/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(5);
/// Orders of one write.
const TOGETHER: usize = 10_000;

#[cfg(test)]
mod tests;
