//! Shared memory: a file of fixed slots that all processes of a host may use at once, and that outlives them.
//!
//! Gets: steps and reads. Gives: values while they live, least recently used out first within a key's window.
//! Never: waits longer than 5 ms for a lock (the write is dropped and counted), or trusts a slot whose checksum does not fit. Readers take no lock.

mod layout;
mod segment;

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use self::layout::{Class, HEAD, Head, Name, USED};
use self::segment::Segment;
pub use self::segment::SegmentError;
use crate::error::{Failure, StoreError};
use crate::step::{Answer, Change, Step, decide};

/// A segment, opened by this process.
#[derive(Clone, Debug)]
pub(crate) struct Shm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    segment: Segment,
    expired: AtomicU64,
    evicted: AtomicU64,
    reset: AtomicBool,
    /// Unix milliseconds of the last attempt to mend it.
    mended: AtomicU64,
}

/// A live value and where it is.
struct Found {
    class: usize,
    slot: u64,
    head: Head,
    value: Vec<u8>,
}

impl Shm {
    /// Opens the segment of `size` bytes in `directory`, or makes it.
    pub(crate) fn open(directory: &Path, size: u64) -> Result<Self, SegmentError> {
        let segment = Segment::open(directory, size)?;
        let zero = || AtomicU64::new(0);
        Ok(Self(Arc::new(Inner { segment, expired: zero(), evicted: zero(), reset: AtomicBool::new(false), mended: zero() })))
    }

    /// The live value. Takes no lock.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now = unix_millis();
        let found = self.0.find(&Name::of(key), now)?;
        Ok(found.map(|found| {
            self.0.touch(&found, now);
            found.value
        }))
    }

    /// Changes the value, or fails with [`Failure::Busy`] when the stripe's lock is not free within 5 ms.
    pub(crate) async fn apply(&self, key: &str, step: &Step<'_>) -> Result<Answer, StoreError> {
        let name = Name::of(key);
        let end = Instant::now() + LOCK_WAIT;
        loop {
            // No lock is held over the await: each attempt takes it and gives it back.
            if let Some(answer) = self.0.try_apply(&name, step)? {
                return Ok(answer);
            }
            if Instant::now() >= end {
                return Err(Failure::Busy.into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Values there (of all processes), found expired and evicted (by this one). Reads all slot heads, off the runtime's threads.
    pub(crate) async fn numbers(&self) -> (Option<u64>, u64, u64) {
        let this = self.clone();
        let entries = tokio::task::spawn_blocking(move || this.0.entries().ok()).await.ok().flatten();
        (entries, self.0.expired.load(Ordering::Relaxed), self.0.evicted.load(Ordering::Relaxed))
    }

    /// Whether this process found the segment damaged and began anew since the last call.
    pub(crate) fn take_reset(&self) -> bool {
        self.0.reset.swap(false, Ordering::AcqRel)
    }
}

impl Inner {
    fn find(&self, name: &Name, now: u64) -> Result<Option<Found>, StoreError> {
        // A writer may be at this very slot: its checksum fits again a moment later.
        for _ in 0..READS {
            let mut torn = false;
            for (number, class) in self.segment.geometry.classes.iter().enumerate() {
                let first = class.window(name);
                for (slot, head) in self.heads(class, first)? {
                    let Some(head) = head.filter(|head| head.id == name.id) else { continue };
                    if head.ended(now) {
                        self.expired.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let mut value = vec![0; head.length];
                    self.read(&mut value, class.body_at(slot))?;
                    if head.fits(&value) {
                        return Ok(Some(Found { class: number, slot, head, value }));
                    }
                    torn = true;
                }
            }
            if !torn {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// `None`: the lock was not free.
    fn try_apply(&self, name: &Name, step: &Step<'_>) -> Result<Option<Answer>, StoreError> {
        let stripe = self.segment.stripes.get(name.stripe).ok_or(Failure::Key)?;
        let file = match stripe.try_lock() {
            Ok(file) => file,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return Ok(None),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
        }
        let answer = self.apply_locked(name, step);
        // The kernel gives it back too when this process dies.
        let _ = file.unlock();
        answer.map(Some)
    }

    fn apply_locked(&self, name: &Name, step: &Step<'_>) -> Result<Answer, StoreError> {
        let now = unix_millis();
        let found = self.find(name, now)?;
        let (change, answer) = decide(step, found.as_ref().map(|found| found.value.as_slice()))?;
        match change {
            Change::Keep => {}
            Change::Delete => self.clear(found.as_ref())?,
            Change::Put(value, ttl) => self.store(name, found.as_ref(), &value, end_of(now, ttl), now)?,
            Change::Replace(value) => {
                let end = found.as_ref().map_or(0, |found| found.head.end);
                self.store(name, found.as_ref(), &value, end, now)?;
            }
        }
        Ok(answer)
    }

    /// The old value goes first and the head comes last: whoever dies between leaves a miss, never an old value that comes back.
    fn store(&self, name: &Name, found: Option<&Found>, value: &[u8], end: u64, now: u64) -> Result<(), StoreError> {
        let classes = &self.segment.geometry.classes;
        let fits = |class: &&Class| value.len() <= class.body;
        let (number, class) = classes.iter().enumerate().find(|(_, class)| fits(class)).ok_or(Failure::Size)?;
        let same = found.filter(|found| found.class == number).map(|found| found.slot);
        if same.is_none() {
            self.clear(found)?;
        }
        let slot = match same {
            Some(slot) => slot,
            None => self.free_slot(name, class, now)?,
        };
        self.write(value, class.body_at(slot))?;
        self.write(&Head::new(name.id, end, now, value).to_bytes(), class.head_at(slot))
    }

    /// A free slot of the key's window, else one that has ended, else the least recently used one.
    fn free_slot(&self, name: &Name, class: &Class, now: u64) -> Result<u64, StoreError> {
        let first = class.window(name);
        let mut best = (first, u64::MAX, false);
        for (slot, head) in self.heads(class, first)? {
            // What claims to come from the future is damaged: it goes first.
            let (age, live) = match head {
                Some(head) if head.id != name.id && !head.ended(now) && head.used <= now + CLOCK_STEP => (head.used, true),
                _ => (0, false),
            };
            if age < best.1 {
                best = (slot, age, live);
            }
        }
        if best.2 {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(best.0)
    }

    fn clear(&self, found: Option<&Found>) -> Result<(), StoreError> {
        let Some(found) = found else { return Ok(()) };
        let class = self.segment.geometry.classes.get(found.class).ok_or(Failure::Key)?;
        self.write(&[0; HEAD], class.head_at(found.slot))
    }

    /// Remembers that a value was used; a coarse stamp spares most writes. No lock: at worst a neighbour in time gets this stamp.
    fn touch(&self, found: &Found, now: u64) {
        if now.saturating_sub(found.head.used) < TOUCH_EVERY {
            return;
        }
        if let Some(class) = self.segment.geometry.classes.get(found.class) {
            let _ = self.segment.data.write_all_at(&now.to_le_bytes(), class.head_at(found.slot) + USED as u64);
        }
    }

    fn heads(&self, class: &Class, first: u64) -> Result<impl Iterator<Item = (u64, Option<Head>)> + use<>, StoreError> {
        let mut bytes = [0; HEAD * WAYS_MAX];
        let wanted = bytes.get_mut(..HEAD * class.ways).ok_or(Failure::Size)?;
        self.read(wanted, class.head_at(first))?;
        let class = *class;
        Ok((0..class.ways).map(move |way| (first + way as u64, bytes.get(way * HEAD..(way + 1) * HEAD).and_then(|head| Head::from_bytes(head, &class)))))
    }

    fn entries(&self) -> Result<u64, StoreError> {
        let now = unix_millis();
        let mut count = 0;
        for class in &self.segment.geometry.classes {
            let mut slot = 0;
            while slot < class.slots() {
                count += self.heads(class, slot)?.filter(|(_, head)| head.is_some_and(|head| !head.ended(now))).count() as u64;
                slot += class.ways as u64;
            }
        }
        Ok(count)
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.segment.data.read_exact_at(bytes, at).map_err(|error| self.failed(&error))
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        // A write beyond the end would make a file with holes, whose room is not reserved.
        if self.segment.data.metadata().map(|data| data.len()).ok() != Some(self.segment.geometry.size) {
            return Err(self.failed(&io::ErrorKind::UnexpectedEof.into()));
        }
        self.segment.data.write_all_at(bytes, at).map_err(|error| self.failed(&error))
    }

    /// What a failed read or write is; a file that ends too early is made anew, at most once a second.
    fn failed(&self, error: &io::Error) -> StoreError {
        let now = unix_millis();
        let last = self.mended.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= MEND_EVERY && self.mended.compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if due && self.segment.repair() {
            self.reset.store(true, Ordering::Release);
        }
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => StoreError::new(Failure::Full, error),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => StoreError::new(Failure::Garbled, "the segment was truncated"),
            _ => StoreError::new(Failure::Away, error),
        }
    }
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn end_of(now: u64, ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| now.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).max(1))
}

/// How long a writer waits for a stripe.
const LOCK_WAIT: Duration = Duration::from_millis(5);
/// How often a reader looks again when a checksum does not fit.
const READS: usize = 3;
/// Most slots of a window.
const WAYS_MAX: usize = 8;
/// Milliseconds between two stamps of one value's use.
const TOUCH_EVERY: u64 = 100;
/// Milliseconds between two attempts to mend the segment.
const MEND_EVERY: u64 = 1000;
/// Milliseconds that a clock may have been set back before stamps of use count as damage.
const CLOCK_STEP: u64 = 60_000;
