//! The journal over starts, cuts, damage and full disks.
//!
//! Gets: files in a directory of its own. Gives: what a next start reads. Never: a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use ftps_store::seal::Secrets;

use super::super::ban::tests::ban;
use super::super::book::Book;
use super::*;
use crate::observe::event::BanSource::Admin;
use crate::observe::id::BanId;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ftps-gateway-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.0.join("bans")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "journal" || end == "snapshot"));
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn keys(byte: u8) -> Keys {
    let ring = Keyring::new(&Secrets::new(&[&[byte; 32]]).unwrap());
    Arc::new(move || ring.clone())
}

/// A start: what it read, and a running journal over a book.
fn start(scratch: &Scratch, byte: u8) -> (Journal, HashSet<BanId>, Arc<Mutex<Book>>) {
    let (mut read, book) = (HashSet::new(), Arc::new(Mutex::new(Book::new(1000))));
    let (journal, writer) = Journal::open(&scratch.0, "node", keys(byte), |change| {
        read.insert(change.id());
        book.lock().unwrap().merge(&change, 1);
    });
    let contents = book.clone();
    writer.start(Arc::new(move |bucket| contents.lock().unwrap().content(bucket))).unwrap();
    (journal, read, book)
}

fn some(count: usize) -> Vec<Change> {
    (0..count).map(|_| Change::Ban(ban("ip", "203.0.113.7", u64::MAX, Admin))).collect()
}

fn ids(changes: &[Change]) -> HashSet<BanId> {
    changes.iter().map(Change::id).collect()
}

/// The lock goes with the journal's thread, which ends by itself.
fn restart(scratch: &Scratch, journal: Journal, byte: u8) -> (Journal, HashSet<BanId>, Arc<Mutex<Book>>) {
    drop(journal);
    let lock = std::fs::File::open(scratch.0.join("bans/node.lock")).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(std::time::Instant::now() < end, "the journal's thread does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(lock);
    start(scratch, byte)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let scratch = Scratch::new("restart");
    let (journal, read, _) = start(&scratch, 1);
    assert!(read.is_empty());
    let (first, second) = (some(3), some(2));
    assert!(journal.append(first.clone()).await && journal.append(second.clone()).await);
    let (journal, read, _) = restart(&scratch, journal, 1);
    assert_eq!(read, ids(&[first, second].concat()));
    // A second process of this name has a journal of its own.
    let (other, none, _) = start(&scratch, 1);
    assert!(none.is_empty() && other.append(some(1)).await);
    assert_eq!(journal.state().unreadable(), 0);
    let mode = std::fs::metadata(&scratch.files()[0]).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_damage_costs_its_frame_only() {
    let scratch = Scratch::new("torn");
    let (journal, ..) = start(&scratch, 1);
    let changes: Vec<_> = (0..4).flat_map(|_| some(1)).collect();
    for change in &changes {
        assert!(journal.append(vec![change.clone()]).await);
    }
    let (journal, ..) = restart(&scratch, journal, 1);
    drop(journal);
    let file = scratch.files()[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let frame = whole.len() / 4;
    for cut in (0..whole.len()).step_by(7) {
        let torn = Scratch::new("torn-copy");
        std::fs::create_dir_all(torn.0.join("bans")).unwrap();
        std::fs::write(torn.0.join("bans/node.1.journal"), &whole[..cut]).unwrap();
        let (journal, read, _) = start(&torn, 1);
        assert_eq!(read.len(), cut / frame, "cut at {cut}");
        assert_eq!(journal.state().unreadable(), u64::from(cut % frame != 0));
        assert!(journal.append(some(1)).await, "it goes on");
    }
    for place in [5, frame + 40, 2 * frame + 60] {
        let (torn, mut bytes) = (Scratch::new("torn-copy"), whole.clone());
        bytes[place] ^= 1;
        std::fs::create_dir_all(torn.0.join("bans")).unwrap();
        std::fs::write(torn.0.join("bans/node.1.journal"), bytes).unwrap();
        let (journal, read, _) = start(&torn, 1);
        assert_eq!((read.len(), journal.state().unreadable()), (3, 1), "byte {place}");
    }
    // Under another secret nothing opens, nothing is trusted, and nothing is lost for whoever has the right one.
    let (journal, read, _) = start(&scratch, 9);
    assert_eq!((read.len(), journal.state().unreadable()), (0, 4));
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_says_so_and_goes_on_when_it_can() {
    let scratch = Scratch::new("unwritable");
    std::fs::create_dir_all(&scratch.0).unwrap();
    std::fs::write(scratch.0.join("bans"), "not a directory").unwrap();
    let (journal, ..) = start(&scratch, 1);
    assert!(!journal.append(some(1)).await);
    let state = journal.state();
    assert!(state.is_broken() && state.failed() >= 1);
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_old_files() {
    let scratch = Scratch::new("snapshot");
    let mut kept = HashSet::new();
    let (mut journal, _, mut book) = start(&scratch, 1);
    for _ in 0..10 {
        let changes = some(2);
        changes.iter().for_each(|change| assert!(book.lock().unwrap().merge(change, 1)));
        kept.extend(ids(&changes));
        assert!(journal.append(changes).await);
        let read;
        (journal, read, book) = restart(&scratch, journal, 1);
        assert_eq!(read, kept);
    }
    // With the first write after many starts.
    let change = some(1);
    book.lock().unwrap().merge(&change[0], 1);
    kept.extend(ids(&change));
    assert!(journal.append(change).await);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while scratch.files().len() > 4 {
        assert!(std::time::Instant::now() < end, "{:?}", scratch.files());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_, read, _) = restart(&scratch, journal, 1);
    assert_eq!(read, kept);
}
