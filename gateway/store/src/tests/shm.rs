//! Faults of the shared segment: killed and stopped writers, truncation, corruption, a full file system, other sizes and layouts.
//!
//! Gets: child processes of this test program that write. Gives: no torn value, nothing stuck, no process down.
//! Never: a signal to a process that the test did not start.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Dir, open, options, run, skip};
use crate::error::Failure;
use crate::location::Location;
use crate::report::{BackendKind, Notice};
use crate::shm::{SegmentError, Shm};
use crate::step::Step;
use crate::store::Store;

const SIZE: u64 = 4 << 20;
const KEYS: u64 = 600;
/// Names the directory to a child that writes.
const WRITER: &str = "FTPS_STORE_TEST_WRITER";

/// Not a test of its own: what the children of the tests below run. Without the variable it does nothing.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(WRITER) else { return };
    let shm = Shm::open(Path::new(&dir), SIZE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = u64::from(std::process::id());
    // Its parent kills it; an orphan ends by itself.
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        random = mix(random);
        let value = value_of(random % KEYS, random);
        let _ = runtime.block_on(shm.apply(&name(random % KEYS), &Step::Put { value: &value, ttl: Some(Duration::from_secs(60)) }));
    }
}

#[test]
fn killed_writers_leave_no_torn_value_and_nothing_stuck() {
    let dir = Dir::new();
    let kills = if std::env::var_os("FTPS_TEST_FULL").is_some_and(|full| full == "1") { 1000 } else { 200 };
    let shm = Shm::open(dir.path(), SIZE).unwrap();
    let mut writers: Vec<Writer> = (0..3).map(|_| Writer::start(dir.path())).collect();
    let (mut random, mut hits, mut reads) = (7, 0_u64, 0_u64);
    // The first writes: a program takes a moment to start.
    let begun = Instant::now();
    while (0..KEYS).all(|key| shm.get(&name(key)).unwrap().is_none()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "writers write");
    }
    for kill in 0..kills {
        random = mix(random);
        let until = Instant::now() + Duration::from_micros(3000 + random % 20_000);
        while Instant::now() < until {
            random = mix(random);
            reads += 1;
            if let Some(value) = shm.get(&name(random % KEYS)).unwrap() {
                hits += 1;
                assert!(is_whole(random % KEYS, &value), "a torn value of {} bytes", value.len());
            }
        }
        writers[kill % 3] = Writer::start(dir.path());
    }
    drop(writers);
    assert!(hits > 1000, "{hits} hits in {reads} reads");
    run(30, async {
        for key in 0..KEYS {
            let value = value_of(key, 1);
            shm.apply(&name(key), &Step::Put { value: &value, ttl: None }).await.expect("no lock outlives its process");
            assert_eq!(shm.get(&name(key)).unwrap(), Some(value), "{key}");
        }
    });
    assert!(!shm.take_reset());
}

#[test]
fn a_stopped_writer_costs_at_most_its_stripe_and_five_milliseconds() {
    let dir = Dir::new();
    let shm = Shm::open(dir.path(), SIZE).unwrap();
    run(60, async {
        // Stop it until it happens to hold a lock.
        let mut busy = Vec::new();
        let mut writer = Writer::start(dir.path());
        let end = Instant::now() + Duration::from_secs(40);
        while busy.is_empty() {
            assert!(Instant::now() < end, "a writer is caught with a lock");
            tokio::time::sleep(Duration::from_millis(7)).await;
            writer.signal(Signal::STOP);
            for key in 0..64 {
                match shm.apply(&name(key), &Step::Put { value: b"x", ttl: None }).await {
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.failure, Failure::Busy);
                        busy.push(key);
                    }
                }
            }
            if busy.is_empty() {
                writer.signal(Signal::CONT);
            }
        }
        assert!(busy.len() < 40, "other stripes go on: {} of 64 were busy", busy.len());
        for key in 0..KEYS {
            shm.get(&name(key)).expect("readers take no lock");
        }
        writer.signal(Signal::CONT);
        writer.kill();
        for key in busy {
            shm.apply(&name(key), &Step::Put { value: b"x", ttl: None }).await.expect("free again");
        }
    });
}

#[test]
fn a_truncated_segment_begins_anew() {
    let dir = Dir::new();
    run(30, async {
        let (store, heard) = open("shm:?size=4MiB", dir.path()).await;
        for length in [0, 100, 5000, SIZE / 2, SIZE - 1] {
            store.put("key", b"value", None).await.unwrap();
            let data = data_file(dir.path(), SIZE);
            data.set_len(length).unwrap();
            // One of the first operations notices; attempts to mend are a second apart.
            let end = Instant::now() + Duration::from_secs(5);
            loop {
                let mut all = true;
                for n in 0..64 {
                    all &= store.put(&format!("key{n}"), b"again", None).await.is_ok();
                }
                if all && data.metadata().unwrap().len() == SIZE {
                    break;
                }
                assert!(Instant::now() < end, "it mends itself after a cut to {length}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(store.get("key1").await.unwrap().as_deref(), Some(&b"again"[..]));
        }
        assert_eq!(heard.notices(), vec![Notice::SegmentReset; 5]);
    });
}

#[test]
fn corrupt_bytes_are_a_miss_and_are_written_over() {
    let dir = Dir::new();
    run(60, async {
        let (store, _) = open("shm:?size=4MiB", dir.path()).await;
        let data = data_file(dir.path(), SIZE);
        let mut random = 3;
        for round in 0..20_u64 {
            for key in 0..KEYS {
                store.put(&name(key), &value_of(key, round), None).await.unwrap();
            }
            for _ in 0..2000 {
                random = mix(random);
                data.write_all_at(&random.to_le_bytes(), 4096 + random % (SIZE - 4104)).unwrap();
            }
            for key in 0..KEYS {
                if let Some(value) = store.get(&name(key)).await.unwrap() {
                    assert!(is_whole(key, &value));
                }
            }
        }
        // All of it foreign, as if by another program.
        for at in (4096..SIZE - 4096).step_by(4096) {
            data.write_all_at(&[0xff; 4096], at).unwrap();
        }
        for key in 0..KEYS {
            assert_eq!(store.get(&name(key)).await.unwrap(), None);
            store.put(&name(key), &value_of(key, 1), None).await.unwrap();
            assert_eq!(store.get(&name(key)).await.unwrap(), Some(value_of(key, 1)));
        }
    });
}

#[test]
fn a_corrupt_header_is_noticed_by_who_opens() {
    let dir = Dir::new();
    run(30, async {
        let (first, _) = open("shm:?size=4MiB", dir.path()).await;
        first.put("key", b"value", None).await.unwrap();
        let (second, _) = open("shm:?size=4MiB", dir.path()).await;
        assert!(second.get("key").await.unwrap().is_some(), "a sound segment is shared");
        data_file(dir.path(), SIZE).write_all_at(b"garbage", 3).unwrap();
        let (third, _) = open("shm:?size=4MiB", dir.path()).await;
        assert_eq!(third.get("key").await.unwrap(), None);
        third.put("key", b"new", None).await.unwrap();
        assert_eq!(first.get("key").await.unwrap().as_deref(), Some(&b"new"[..]), "the others go on with it");
    });
}

#[test]
fn values_outlive_the_process_and_are_shared() {
    let dir = Dir::new();
    run(30, async {
        let (a, _) = open("shm:?size=4MiB", dir.path()).await;
        let (b, _) = open("shm:?size=4MiB", dir.path()).await;
        a.put("key", b"of a", None).await.unwrap();
        assert_eq!(b.take("key").await.unwrap().as_deref(), Some(&b"of a"[..]));
        assert_eq!(a.get("key").await.unwrap(), None);
        b.put("other", b"of b", None).await.unwrap();
        assert_eq!(a.statistics().await.entries, Some(1));
        drop((a, b));
        let (again, _) = open("shm:?size=4MiB", dir.path()).await;
        assert_eq!(again.get("other").await.unwrap().as_deref(), Some(&b"of b"[..]));
    });
}

#[test]
fn another_layout_or_size_has_its_own_place_and_unused_ones_go() {
    let dir = Dir::new();
    run(30, async {
        let (old, _) = open("shm:?size=4MiB", dir.path()).await;
        old.put("key", b"old", None).await.unwrap();
        // As a later version would do it, while the old process runs.
        let (new, _) = open("shm:?size=5MiB", dir.path()).await;
        assert_eq!(new.get("key").await.unwrap(), None);
        new.put("key", b"new", None).await.unwrap();
        assert_eq!(old.get("key").await.unwrap().as_deref(), Some(&b"old"[..]));
        drop(old);
        let (_newer, _) = open("shm:?size=6MiB", dir.path()).await;
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [format!("segment-v1-{}", 5 << 20), format!("segment-v1-{}", 6 << 20)]);
        assert_eq!(new.get("key").await.unwrap().as_deref(), Some(&b"new"[..]));
    });
}

#[test]
fn too_small_says_the_least_that_works() {
    let dir = Dir::new();
    let Err(error) = Shm::open(dir.path(), 100_000) else { panic!("100 kB are too few") };
    let SegmentError::TooSmall { least, .. } = error else { panic!("{error}") };
    assert!(error.to_string().contains(&format!("size={}KiB", least.div_ceil(1024))), "{error}");
    Shm::open(dir.path(), least.div_ceil(1024) * 1024).unwrap();
}

#[test]
fn where_nothing_can_be_written_memory_stands_in() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("file"), b"in the way").unwrap();
    let (options, _) = options(&dir.path().join("file").join("below"));
    let open = |url: &str| Store::open_or_memory(&Location::parse(url).unwrap(), &options);
    let (store, reason) = open("shm:?size=4MiB").unwrap();
    assert_eq!(store.kind(), BackendKind::Memory);
    assert!(reason.unwrap().to_string().contains("file/below"));
    assert!(open("shm:?size=4").is_err(), "a mistake of the configuration stays one");
}

#[test]
fn a_directory_of_others_is_refused() {
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Shm::open(dir.path(), SIZE), Err(SegmentError::Foreign(_))));
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join(format!("segment-v1-{SIZE}"))).unwrap();
    assert!(matches!(Shm::open(dir.path(), SIZE), Err(SegmentError::Foreign(_))));
}

#[test]
fn a_full_file_system_is_an_error_at_the_start_and_never_later() {
    let dir = Dir::new();
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).arg(dir.path()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !mount(&["-t", "tmpfs", "-o", "size=6m,mode=0700", "none"]) {
        return skip("a tmpfs cannot be mounted here");
    }
    let home = dir.path().to_owned();
    let body = move || {
        let Err(error) = Shm::open(&home, 16 << 20) else { panic!("16 MiB do not fit into 6") };
        assert!(matches!(error, SegmentError::NoRoom { .. }) && error.to_string().contains("no room"), "{error}");
        run(30, async {
            let (store, _) = open("shm:?size=4MiB", &home).await;
            // Fill what is left: the segment's room is its own.
            let filled = std::fs::write(home.join("filler"), vec![1; 8 << 20]);
            assert!(filled.is_err(), "the file system is full");
            for key in 0..KEYS {
                store.put(&name(key), &value_of(key, 1), None).await.unwrap();
            }
        });
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    let _ = Command::new("umount").arg("--lazy").arg(dir.path()).status();
    if let Err(cause) = result {
        std::panic::resume_unwind(cause);
    }
}

#[test]
fn a_window_keeps_what_is_used() {
    let dir = Dir::new();
    run(30, async {
        let store = open("shm:?size=2MiB", dir.path()).await.0;
        store.put("kept", b"value", None).await.unwrap();
        // A round is shorter than it takes to fill a window of eight, and longer than two stamps of use are apart.
        for round in 0..25 {
            for n in 0..200 {
                store.put(&format!("other{round}-{n}"), b"x", None).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(120)).await;
            store.get("kept").await.unwrap();
        }
        assert!(store.get("kept").await.unwrap().is_some());
        let numbers = store.statistics().await;
        assert!(numbers.evicted.unwrap() > 3000, "{numbers:?}");
    });
}

#[test]
fn many_threads_count_right() {
    let dir = Dir::new();
    run(60, async {
        let stores: Vec<Arc<Store>> = vec![Arc::new(open("shm:?size=4MiB", dir.path()).await.0), Arc::new(open("shm:?size=4MiB", dir.path()).await.0)];
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move {
                    let mut done = 0;
                    for _ in 0..200 {
                        done += u64::from(store.incr("count", 1, None).await.is_ok());
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.unwrap();
        }
        assert_eq!(stores[0].get("count").await.unwrap(), Some(done.to_string().into_bytes()));
    });
}

struct Writer(Child);

impl Writer {
    fn start(dir: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", "tests::shm::writer", "--nocapture"]).env(WRITER, dir).env_remove("FTPS_TEST_SKIPS");
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap(), signal).unwrap();
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn data_file(dir: &Path, size: u64) -> std::fs::File {
    let path: PathBuf = dir.join(format!("segment-v1-{size}")).join("data");
    std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn name(key: u64) -> String {
    format!("ftps-gateway:default:session:{key:032x}")
}

/// A value that shows where it belongs and whether it is whole; now and then a long one, so that values change their class.
fn value_of(key: u64, seed: u64) -> Vec<u8> {
    let length = match seed % 16 {
        0 => 3000,
        1 => 9000,
        other => 60 + other * 20,
    };
    let mut value = Vec::new();
    value.extend_from_slice(&seed.to_le_bytes());
    let mut random = mix(key ^ seed.rotate_left(17));
    while value.len() < usize::try_from(length).unwrap() {
        random = mix(random);
        value.extend_from_slice(&random.to_le_bytes());
    }
    value
}

fn is_whole(key: u64, value: &[u8]) -> bool {
    value.first_chunk::<8>().is_some_and(|seed| value_of(key, u64::from_le_bytes(*seed)) == value)
}

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}
