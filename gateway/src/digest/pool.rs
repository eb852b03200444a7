//! Reads files and computes their digests, on threads of its own: at most so many at a time, turn by turn.
//!
//! Gets: an open file, a range, algorithms, who pays. Gives: the digests, once for all who wait for the same.
//! Never: uses a worker of the runtime, reads on for longer than one chunk when nobody waits any more, or lets one user take all turns.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ftps_proto::digest::{Algorithms, DigestFault, Range};
use ftps_proto::machine::io::FileError;
use tokio::sync::watch;

use super::hash::{Hashers, Values};
use crate::observe::{Event, Observer, Subject};
use crate::storage::{Identity, Stored};

/// What is to be read.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) stored: Stored,
    pub(super) identity: Identity,
    pub(super) range: Range,
    pub(super) algorithms: Algorithms,
    /// Whose turns it takes.
    pub(super) user: Arc<str>,
}

type Answer = Result<Values, DigestFault>;

/// The threads and what waits for them. Dropped, they end.
#[derive(Debug)]
pub(super) struct Pool(Arc<Shared>);

/// Somebody who waits. Dropped, it gives up.
#[derive(Debug)]
pub(super) struct Waiter {
    flight: Arc<Flight>,
    answer: watch::Receiver<Option<Answer>>,
    shared: Arc<Shared>,
    /// Whether the work was there already.
    pub(super) joined: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    observer: Observer,
}

#[derive(Debug, Default)]
struct State {
    /// What waits for its (next) turn.
    queue: VecDeque<Task>,
    /// What somebody waits for, in the queue or in the hands of a thread.
    flights: Vec<Arc<Flight>>,
    closed: bool,
}

/// One reading of one file, for all who wait for it.
#[derive(Debug)]
struct Flight {
    identity: Identity,
    range: Range,
    user: Arc<str>,
    /// Before the first byte is read.
    asked: SystemTime,
    status: Mutex<Status>,
    given_up: AtomicBool,
    answer: watch::Sender<Option<Answer>>,
}

#[derive(Debug)]
struct Status {
    algorithms: Algorithms,
    begun: bool,
    waiting: usize,
}

/// A reading, between two turns.
#[derive(Debug)]
struct Task {
    flight: Arc<Flight>,
    stored: Stored,
    /// `None` until its first turn: others may still add algorithms.
    hashers: Option<Hashers>,
    offset: u64,
    took: Duration,
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn start(threads: usize, observer: Observer) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), observer });
        for number in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("digest-{number}")).spawn(move || shared.work())?;
        }
        Ok(Self(shared))
    }

    /// Waits in line, or joins who waits for the same already.
    ///
    /// # Errors
    /// `Busy`: too many wait.
    pub(super) fn ask(&self, ask: Ask) -> Result<Waiter, DigestFault> {
        let mut state = self.0.state();
        if let Some(flight) = state.flights.iter().find(|flight| flight.admits(&ask)).cloned() {
            return Ok(self.waiter(flight, true));
        }
        let of_user = state.flights.iter().filter(|flight| flight.user == ask.user).count();
        if state.flights.len() >= FLIGHTS_MOST || of_user >= FLIGHTS_OF_USER {
            return Err(DigestFault::Busy);
        }
        let Ask { stored, identity, range, algorithms, user } = ask;
        let status = Mutex::new(Status { algorithms, begun: false, waiting: 0 });
        let flight =
            Arc::new(Flight { identity, range, user, asked: SystemTime::now(), status, given_up: AtomicBool::new(false), answer: watch::Sender::new(None) });
        let waiter = self.waiter(flight.clone(), false);
        flight.status().waiting = 1;
        state.flights.push(flight.clone());
        state.queue.push_back(Task { flight, stored, hashers: None, offset: range.start, took: Duration::ZERO });
        drop(state);
        self.0.wake.notify_one();
        Ok(waiter)
    }

    /// How many readings run or wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.state().flights.len()
    }

    /// How many readings have had a turn.
    #[cfg(test)]
    pub(super) fn begun(&self) -> usize {
        self.0.state().flights.iter().filter(|flight| flight.status().begun).count()
    }

    fn waiter(&self, flight: Arc<Flight>, joined: bool) -> Waiter {
        let answer = flight.answer.subscribe();
        Waiter { flight, answer, shared: self.0.clone(), joined }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_all();
    }
}

impl Waiter {
    /// When the first byte was not yet read.
    pub(super) fn asked(&self) -> SystemTime {
        self.flight.asked
    }

    /// Waits for the digests.
    pub(super) async fn wait(mut self) -> Answer {
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(DigestFault::Busy)),
            // The pool has ended with the node.
            Err(_) => Err(DigestFault::Busy),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let mut status = self.flight.status();
        status.waiting = status.waiting.saturating_sub(1);
        if status.waiting == 0 {
            self.flight.given_up.store(true, Ordering::Relaxed);
            state.flights.retain(|flight| !Arc::ptr_eq(flight, &self.flight));
            state.queue.retain(|task| !Arc::ptr_eq(&task.flight, &self.flight));
            // Another one of the same user may begin.
            self.shared.wake.notify_all();
        }
    }
}

impl Flight {
    /// Whether who asks may wait here; then it does. What has begun gets no more algorithms.
    fn admits(&self, ask: &Ask) -> bool {
        if self.range != ask.range || self.identity != ask.identity {
            return false;
        }
        let mut status = self.status();
        let admits = status.waiting > 0 && (!status.begun || ask.algorithms.without(status.algorithms).is_empty());
        if admits {
            status.algorithms = status.algorithms.or(ask.algorithms);
            status.waiting += 1;
        }
        admits
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: a turn of the task whose turn it is, and so on.
    fn work(&self) {
        // Control connections and transfers go first wherever the cores are all in use. A system that refuses that still computes.
        let _ = rustix::process::nice(NICE);
        let mut buffer = vec![0; CHUNK];
        while let Some(mut task) = self.next() {
            // A panic ends one reading, not the thread that all others wait for.
            let turn = catch_unwind(AssertUnwindSafe(|| task.turn(&mut buffer)));
            match turn.unwrap_or_else(|_| self.panicked()) {
                None if !task.flight.given_up.load(Ordering::Relaxed) => self.state().queue.push_back(task),
                None => self.counted(&task),
                Some(answer) => self.finish(task, answer),
            }
        }
    }

    /// Waits for the first task that may have a turn: one that has begun, or one of a user with less than two that have.
    fn next(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let State { queue, flights, .. } = &mut *state;
            let begun = |user: &str| flights.iter().filter(|flight| *flight.user == *user && flight.status().begun).count();
            let index = queue.iter().position(|task| task.hashers.is_some() || begun(&task.flight.user) < BEGUN_OF_USER);
            if let Some(mut task) = index.and_then(|index| queue.remove(index)) {
                let mut status = task.flight.status();
                status.begun = true;
                let algorithms = status.algorithms;
                drop(status);
                task.hashers.get_or_insert_with(|| Hashers::new(algorithms));
                return Some(task);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn panicked(&self) -> Option<Result<(), DigestFault>> {
        self.observer.event(Subject::default(), &Event::Panicked);
        Some(Err(DigestFault::File(FileError::Io)))
    }

    fn finish(&self, mut task: Task, answer: Result<(), DigestFault>) {
        self.counted(&task);
        let answer = answer.map(|()| task.hashers.take().unwrap_or_default().finish());
        let mut state = self.state();
        state.flights.retain(|flight| !Arc::ptr_eq(flight, &task.flight));
        drop(state);
        task.flight.answer.send_replace(Some(answer));
        // Its user may begin another one.
        self.wake.notify_all();
    }

    fn counted(&self, task: &Task) {
        let (bytes, took) = (task.offset - task.flight.range.start, Some(task.took));
        for algorithm in task.flight.status().algorithms.iter() {
            self.observer.event(Subject::default(), &Event::Hashed { algorithm, bytes, took });
        }
    }
}

impl Task {
    /// Reads and hashes for one turn. `None`: there is more, or nobody waits.
    fn turn(&mut self, buffer: &mut [u8]) -> Option<Result<(), DigestFault>> {
        let began = Instant::now();
        let ended = loop {
            if self.flight.given_up.load(Ordering::Relaxed) {
                break None;
            }
            match self.step(buffer) {
                Ok(true) if began.elapsed() < TURN => {}
                Ok(true) => break None,
                Ok(false) => break Some(self.check()),
                Err(fault) => break Some(Err(fault)),
            }
        };
        self.took += began.elapsed();
        ended
    }

    /// One chunk; false at the end.
    fn step(&mut self, buffer: &mut [u8]) -> Result<bool, DigestFault> {
        let left = self.flight.range.end - self.offset;
        if left == 0 {
            return Ok(false);
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.stored.read_at(&mut buffer[..most], self.offset).map_err(DigestFault::File)?;
        if read == 0 {
            return Err(DigestFault::Shrunk);
        }
        if let Some(hashers) = &mut self.hashers {
            hashers.update(&buffer[..read]);
        }
        self.offset += read as u64;
        Ok(true)
    }

    /// A digest of bytes of which some were there before a change and some after it is of no file.
    fn check(&self) -> Result<(), DigestFault> {
        let (before, now) = (&self.flight.identity, self.stored.identity().map_err(DigestFault::File)?);
        if now.size < self.flight.range.end {
            return Err(DigestFault::Shrunk);
        }
        // Its attributes and its name may have changed; its bytes have not.
        if (now.size, now.modified) == (before.size, before.modified) { Ok(()) } else { Err(DigestFault::Changed) }
    }
}

/// Bytes read at a time: the digest of them takes less than a millisecond.
const CHUNK: usize = 256 * 1024;
/// A turn. With many tasks each comes to its next one after so many of these.
const TURN: Duration = Duration::from_millis(50);
/// Lower than everything else of the node.
const NICE: i32 = 10;
/// Readings of one user that have begun.
const BEGUN_OF_USER: usize = 2;
/// Readings of one user that have begun or wait: each holds a descriptor.
const FLIGHTS_OF_USER: usize = 64;
/// The same for all users.
const FLIGHTS_MOST: usize = 1024;
