//! Real files, real threads: what a question gets, and when it is kept.
//!
//! Gets: a directory that is gone afterwards. Gives: failures. Never: a store; the cluster's tests have one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use ftps_proto::command::SetFact;

use super::policy::tests::{config, path};
use super::*;
use crate::observe::id::{Incarnation, Ulid};
use crate::observe::{Event, Sink, Subject};
use crate::storage::{Fsync, Storage, Symlinks};

/// Bytes that were read for digests.
#[derive(Default)]
struct Read(Mutex<Vec<(Algorithm, u64)>>);

impl Sink for Read {
    fn event(&self, _: Subject<'_>, event: &Event<'_>) {
        if let Event::Hashed { algorithm, bytes, .. } = *event {
            self.0.lock().unwrap().push((algorithm, bytes));
        }
    }
}

struct Place {
    root: PathBuf,
    tree: Arc<Tree>,
    digests: Digests,
    read: Arc<Read>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Place {
    fn new(config: Config) -> Self {
        let root = std::env::temp_dir().join(format!("ftps-gateway-digest-{}", Ulid::now()));
        std::fs::create_dir(&root).unwrap();
        let read = Arc::new(Read::default());
        let observer = Observer::new(vec![read.clone()]);
        let storage = storage::Config {
            root: root.clone(),
            fsync: Fsync::Never,
            file_mode: 0o640,
            dir_mode: 0o750,
            symlinks: Symlinks::Inside,
            id: None,
            stable_inodes: true,
            sweep_after: Duration::from_secs(3600),
        };
        let storage = Storage::open(storage, Incarnation::now(), observer.clone()).unwrap();
        let tree = storage.tree(&path("/home")).unwrap();
        Self { root, tree, digests: Digests::new(config, Shared::default(), observer).unwrap(), read }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.root.join("home").join(name), bytes).unwrap();
    }

    fn sparse(&self, name: &str, size: u64) {
        std::fs::File::create(self.root.join("home").join(name)).unwrap().set_len(size).unwrap();
    }

    /// Waits until what was done to the file so far is old.
    async fn settle(&self, name: &str) {
        while !has_settled(&self.tree.identity(&path(name)).unwrap(), SystemTime::now()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn question(&self, name: &str, algorithm: Algorithm) -> Question {
        Question { tree: self.tree.clone(), path: path(name), algorithm, range: None, user: "demo".into(), class: None }
    }

    async fn ask(&self, name: &str, range: Option<(u64, u64)>) -> Result<(Vec<u8>, DigestSource), DigestFault> {
        let range = range.map(|(start, end)| Range { start, end });
        self.digests.digest(&Question { range, ..self.question(name, Algorithm::Crc32) }).await.map(|digest| (digest.value, digest.source))
    }

    fn bytes_read(&self) -> u64 {
        self.read.0.lock().unwrap().iter().map(|(_, bytes)| bytes).sum()
    }
}

fn crc(bytes: &[u8]) -> Vec<u8> {
    crc32fast::hash(bytes).to_be_bytes().to_vec()
}

#[tokio::test]
async fn a_settled_file_is_read_once_and_a_changed_one_again() {
    use DigestSource::{Cache, Computed};
    let place = Place::new(config());
    place.write("file", b"one two three");
    assert_eq!(place.ask("/file", None).await, Ok((crc(b"one two three"), Computed)));
    assert_eq!(place.ask("/file", None).await.unwrap().1, Computed, "too young to be kept");
    place.settle("/file").await;
    assert_eq!(place.ask("/file", None).await.unwrap().1, Computed);
    assert_eq!(place.ask("/file", None).await, Ok((crc(b"one two three"), Cache)));
    assert_eq!(place.ask("/file", Some((4, 7))).await, Ok((crc(b"two"), Computed)));
    assert_eq!(place.ask("/file", Some((4, 7))).await, Ok((crc(b"two"), Cache)));
    // Same size, and the time of the last write set back: the time of the change tells.
    let before = place.tree.identity(&path("/file")).unwrap();
    place.write("file", b"ONE two three");
    let times = std::fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::new(before.modified.0.unsigned_abs(), before.modified.1));
    std::fs::File::options().write(true).open(place.root.join("home/file")).unwrap().set_times(times).unwrap();
    assert_eq!(place.tree.identity(&path("/file")).unwrap().modified, before.modified);
    assert_eq!(place.ask("/file", None).await, Ok((crc(b"ONE two three"), Computed)));
}

#[tokio::test]
async fn refuses_what_cannot_be() {
    let mut config = config();
    config.max_size = 8;
    config.rules = vec![Rule { path: Some(path("/home/off")), enabled: Some(false), ..Rule::default() }];
    let place = Place::new(config);
    std::fs::create_dir(place.root.join("home/off")).unwrap();
    place.write("off/file", b"1");
    place.write("empty", b"");
    place.write("large", b"123456789");
    use ftps_proto::machine::io::FileError::{IsADirectory, NotFound};
    let order = DigestFault::Order(Range { start: 5, end: 5 });
    for (name, range, fault) in [
        ("/none", None, DigestFault::File(NotFound)),
        ("/off", None, DigestFault::File(IsADirectory)),
        ("/off/file", None, DigestFault::Off),
        ("/large", None, DigestFault::NotPermitted),
        ("/large", Some((0, 9)), DigestFault::NotPermitted),
        ("/large", Some((0, 10)), DigestFault::EndBeyond),
        ("/large", Some((1 << 62, 1 << 63)), DigestFault::EndBeyond),
        ("/large", Some((5, 5)), order),
        ("/empty", Some((0, 1)), DigestFault::EndBeyond),
    ] {
        assert_eq!(place.ask(name, range).await, Err(fault), "{name} {range:?}");
    }
    assert_eq!(place.ask("/large", Some((1, 9))).await.unwrap().0, crc(b"23456789"), "a part of a large file may be small");
    assert_eq!(place.ask("/empty", None).await.unwrap().0, crc(b""));
    assert_eq!(place.bytes_read(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_the_same_waits_for_one_reading() {
    let place = Arc::new(Place::new(config()));
    place.sparse("large", 300 << 20);
    let asked: Vec<_> = (0..24)
        .map(|index| {
            let place = place.clone();
            let user = format!("user{index}").as_str().into();
            tokio::spawn(async move { place.digests.digest(&Question { user, ..place.question("/large", Algorithm::Sha256) }).await.unwrap() })
        })
        .collect();
    let mut sources = Vec::new();
    for asked in asked {
        let digest = asked.await.unwrap();
        assert_eq!(digest.value.len(), 32);
        sources.push(digest.source);
    }
    assert_eq!(sources.iter().filter(|source| **source == DigestSource::Computed).count(), 1, "{sources:?}");
    assert_eq!(place.bytes_read(), 300 << 20);
    assert_eq!(place.digests.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_nothing_is_read() {
    let place = Place::new(config());
    place.sparse("huge", 9 << 30);
    for index in 0..4 {
        let question = Question {
            user: format!("user{index}").as_str().into(),
            range: Some(Range { start: index, end: 9 << 30 }),
            ..place.question("/huge", Algorithm::Sha512)
        };
        let asked = place.digests.digest(&question);
        assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    }
    assert_eq!(place.digests.waiting(), 0);
    let left = Instant::now();
    loop {
        let read = place.bytes_read();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if read > 0 && place.bytes_read() == read {
            break;
        }
        assert!(left.elapsed() < Duration::from_secs(10), "a thread goes on reading");
    }
}

/// One thread, and one user with many large files: another user's small one does not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_go_round() {
    let place = Arc::new(Place::new(config()));
    place.write("small", b"small");
    let mut large = Vec::new();
    for index in 0..6 {
        place.sparse(&format!("large{index}"), 8 << 30);
        let place = place.clone();
        large.push(tokio::spawn(async move { place.digests.digest(&place.question(&format!("/large{index}"), Algorithm::Md5)).await.map(drop) }));
    }
    while place.digests.waiting() < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let question = Question { user: "other".into(), ..place.question("/small", Algorithm::Crc32) };
    let answer = tokio::time::timeout(Duration::from_secs(10), place.digests.digest(&question)).await.expect("its turn comes").unwrap();
    assert_eq!(answer.value, crc(b"small"));
    assert!(large.iter().all(|task| !task.is_finished()), "they were not done first");
    large.iter().for_each(tokio::task::JoinHandle::abort);
    while place.digests.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_of_one_user_are_asked_to_come_later() {
    let place = Arc::new(Place::new(config()));
    place.sparse("huge", 9 << 30);
    let ask = |start: u64, user: &str| {
        let question = Question { user: user.into(), range: Some(Range { start, end: 9 << 30 }), ..place.question("/huge", Algorithm::Sha512) };
        let digests = place.digests.clone();
        tokio::spawn(async move { digests.digest(&question).await.map(drop) })
    };
    let asked: Vec<_> = (0..64).map(|start| ask(start, "demo")).collect();
    while place.digests.waiting() < 64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(64, "demo").await.unwrap(), Err(DigestFault::Busy));
    let other = ask(65, "other");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!other.is_finished(), "another user waits in line");
    asked.iter().chain([&other]).for_each(tokio::task::JoinHandle::abort);
}

/// Four threads, and four files of one user: two are read, two wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_two_readings_at_a_time() {
    let place = Arc::new(Place::new(Config { jobs: Some(4), ..config() }));
    place.sparse("huge", 9 << 30);
    let asked: Vec<_> = (0..4)
        .map(|start| {
            let question = Question { range: Some(Range { start, end: 9 << 30 }), ..place.question("/huge", Algorithm::Sha512) };
            let digests = place.digests.clone();
            tokio::spawn(async move { digests.digest(&question).await.map(drop) })
        })
        .collect();
    while place.digests.waiting() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(place.digests.0.pool.begun(), 2);
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

/// While its first half is read the second one is changed, or cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_moves_has_no_digest() {
    for cut in [false, true] {
        let place = Place::new(config());
        place.sparse("moving", 2 << 30);
        let file = std::fs::File::options().write(true).open(place.root.join("home/moving")).unwrap();
        let question = place.question("/moving", Algorithm::Md5);
        let asked = place.digests.digest(&question);
        let change = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            if cut { file.set_len(5).unwrap() } else { file.set_len((2 << 30) + 1).unwrap() }
        };
        let (answer, ()) = tokio::join!(asked, change);
        assert_eq!(answer.map(|digest| digest.value), Err(if cut { DigestFault::Shrunk } else { DigestFault::Changed }));
    }
}

#[tokio::test]
async fn our_own_changes_of_name_and_attributes_carry_it_over() {
    let place = Place::new(config());
    place.write("file", b"bytes");
    place.settle("/file").await;
    assert_eq!(place.ask("/file", None).await.unwrap().1, DigestSource::Computed);
    let carry = |from: &str, to: &str, dated: bool, change: &dyn Fn()| {
        let before = place.tree.identity(&path(from)).unwrap();
        change();
        place.digests.carry(&place.tree, &path(to), &before, &place.tree.identity(&path(to)).unwrap(), dated);
    };
    carry("/file", "/other", false, &|| place.tree.rename(&path("/file"), &path("/other")).unwrap());
    carry("/other", "/other", false, &|| place.tree.set_facts(&path("/other"), &[SetFact::UnixMode(0o600)]).unwrap());
    carry("/other", "/other", true, &|| place.tree.set_facts(&path("/other"), &[SetFact::Modify(ftps_proto::time::Timestamp::from_unix(5, 0))]).unwrap());
    assert_eq!(place.ask("/other", None).await, Ok((crc(b"bytes"), DigestSource::Cache)));
    assert_eq!(place.bytes_read(), 5);
    // Somebody writes between the look before the change and the change itself.
    carry("/other", "/third", false, &|| {
        std::thread::sleep(Duration::from_millis(20));
        place.write("other", b"BYTES");
        place.tree.rename(&path("/other"), &path("/third")).unwrap();
    });
    assert_eq!(place.ask("/third", None).await, Ok((crc(b"BYTES"), DigestSource::Computed)));
}

/// Twenty parts in a row: the file is read once, when it has stood for two seconds, and kept.
#[tokio::test]
async fn what_moved_in_parts_is_read_once_and_kept() {
    let place = Place::new(config());
    let allowed = Allowed { algorithms: Algorithms::NONE.with(Algorithm::Crc32), max_size: 100 };
    let mut parts = Vec::new();
    for index in 0..20 {
        place.write("log", &vec![b'x'; index + 1]);
        let (digests, tree, identity) = (place.digests.clone(), place.tree.clone(), place.tree.identity(&path("/log")).unwrap());
        parts.push(tokio::spawn(async move { digests.catch_up(&tree, &path("/log"), &identity, allowed, "demo".into()).await }));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let mut values = Vec::new();
    for part in parts {
        values.push(part.await.unwrap());
    }
    assert_eq!(values.pop().flatten().and_then(|values| values.of(Algorithm::Crc32).map(<[u8]>::to_vec)), Some(crc(&[b'x'; 20])));
    assert!(values.iter().all(Option::is_none), "those states are gone");
    assert_eq!(place.ask("/log", None).await, Ok((crc(&[b'x'; 20]), DigestSource::Cache)));
    let identity = place.tree.identity(&path("/log")).unwrap();
    let again = place.digests.catch_up(&place.tree, &path("/log"), &identity, allowed, "demo".into()).await;
    assert!(again.is_some() && place.bytes_read() == 20, "what is known is not read");
    place.write("log", &[b'x'; 101]);
    let identity = place.tree.identity(&path("/log")).unwrap();
    assert_eq!(place.digests.catch_up(&place.tree, &path("/log"), &identity, allowed, "demo".into()).await, None, "too large");
}

#[tokio::test]
async fn without_a_cache_everything_is_computed() {
    let mut config = config();
    config.cache.entries = 0;
    let place = Place::new(config);
    place.write("file", b"bytes");
    place.settle("/file").await;
    for _ in 0..2 {
        assert_eq!(place.ask("/file", None).await.unwrap().1, DigestSource::Computed);
    }
    assert_eq!(place.digests.remembered(), 0);
}
