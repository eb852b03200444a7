//! Faults of memcached: one of several servers dead or frozen, a restart, garbage, lifetimes as they are on the server.
//!
//! Gets: real servers. Gives: the others go on, the lost one comes back by itself.
//! Never: a key moved to another server because its own is away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::servers::Server;
use super::{Dir, open, options, run};
use crate::error::Failure;
use crate::location::Location;
use crate::report::Notice;
use crate::store::Store;

#[test]
fn a_dead_server_does_not_stop_the_others() {
    let (Some(mut a), Some(b)) = (Server::memcached(&[]), Server::memcached(&[])) else { return };
    run(60, async {
        let dir = Dir::new();
        let (options, heard) = options(dir.path());
        let store = Store::open(&Location::parse(&format!("memcached://127.0.0.1:{},127.0.0.1:{}", a.port, b.port)).unwrap(), &options).unwrap();
        assert!(store.wait_up(Duration::from_secs(20)).await);
        let keys: Vec<String> = (0..40).map(|n| format!("key{n}")).collect();
        for key in &keys {
            store.put(key, b"value", None).await.unwrap();
        }
        a.kill();
        for _ in 0..20 {
            let found = store.multi_get(&keys).await.unwrap();
            let there = found.iter().flatten().count();
            assert!((5..35).contains(&there), "{there} of 40 are on the other server");
        }
        assert!(!store.is_up() && heard.downs().len() == 1, "{:?}", heard.notices());
        let start = Instant::now();
        for key in &keys {
            match store.put(key, b"other", None).await {
                Ok(()) => {}
                Err(error) => assert_eq!(error.failure, Failure::Absent),
            }
        }
        assert!(start.elapsed() < Duration::from_secs(2));
        a.restart();
        assert!(store.wait_up(Duration::from_secs(20)).await);
        for key in &keys {
            store.put(key, b"again", None).await.unwrap();
        }
        assert_eq!(store.multi_get(&keys).await.unwrap().iter().flatten().count(), 40);
    });
}

#[test]
fn a_frozen_server_costs_one_deadline() {
    let Some(server) = Server::memcached(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (options, heard) = options(dir.path());
        let store = Store::open(&Location::parse(&server.url("memcached")).unwrap(), &options).unwrap();
        assert!(store.wait_up(Duration::from_secs(20)).await);
        store.put("key", b"value", None).await.unwrap();
        server.freeze();
        assert_eq!(store.get("key").await.unwrap_err().failure, Failure::Timeout);
        for _ in 0..100 {
            assert_eq!(store.get("key").await.unwrap_err().failure, Failure::Absent);
        }
        server.thaw();
        assert!(store.wait_up(Duration::from_secs(20)).await, "{:?}", heard.notices());
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    });
}

#[test]
fn a_restart_is_a_miss() {
    let Some(mut server) = Server::memcached(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (store, _) = open(&server.url("memcached"), dir.path()).await;
        store.put("key", b"value", None).await.unwrap();
        server.restart();
        let end = Instant::now() + Duration::from_secs(20);
        while store.get("key").await != Ok(None) {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn values_that_a_full_server_drops_are_told() {
    let Some(server) = Server::memcached(&["-m", "2"]) else { return };
    run(120, async {
        let dir = Dir::new();
        let (options, heard) = options(dir.path());
        let store = Store::open(&Location::parse(&server.url("memcached")).unwrap(), &options).unwrap();
        assert!(store.wait_up(Duration::from_secs(20)).await);
        let told =
            || heard.notices().iter().filter_map(|notice| if let Notice::Evicted { server: 0, values } = notice { Some(*values) } else { None }).sum::<u64>();
        let end = Instant::now() + Duration::from_secs(60);
        // Written again and again, since the first look may come late.
        for round in 0.. {
            for n in 0..200 {
                let _ = store.put(&format!("{round}-{n}"), &[1; 50_000], None).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            if told() > 0 {
                break;
            }
            assert!(Instant::now() < end, "{:?}", heard.notices());
        }
    });
}

#[test]
fn lifetimes_on_the_server_are_the_ones_asked_for() {
    let Some(server) = Server::memcached(&[]) else { return };
    run(30, async {
        let dir = Dir::new();
        let (store, _) = open(&server.url("memcached"), dir.path()).await;
        for (key, days) in [("day", 1), ("forty", 40), ("year", 366)] {
            store.put(key, b"v", Some(Duration::from_secs(days * 86_400))).await.unwrap();
            let left = ttl(server.port, key);
            assert!((left - days as i64 * 86_400).abs() <= 3, "{key}: {left}");
        }
        store.put("endless", b"v", None).await.unwrap();
        assert_eq!(ttl(server.port, "endless"), -1);
        store.incr("count", 1, Some(Duration::from_secs(100))).await.unwrap();
        store.incr("count", 1, Some(Duration::from_secs(9000))).await.unwrap();
        assert!((95..=101).contains(&ttl(server.port, "count")));
    });
}

#[test]
fn garbage_on_the_wire_is_no_panic_and_no_hang() {
    for lie in [
        &b"VA 1073741824 f0\r\nx"[..],
        b"VA 99999999999999999999 \r\n",
        b"\xff\xfe\0\r\n",
        b"HTTP/1.1 400 Bad\r\n\r\n",
        b"HD\r\n",
        b"SERVER_ERROR out of memory\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mut stream, mut buffer) = (stream, [0; 1024]);
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let answer = if buffer.starts_with(b"mn\r\n") { b"MN\r\n" } else { lie };
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                    buffer = [0; 1024];
                }
            }
        });
        run(30, async {
            let dir = Dir::new();
            let (options, _) = options(dir.path());
            let store = Store::open(&Location::parse(&format!("memcached://127.0.0.1:{port}")).unwrap(), &options).unwrap();
            let _ = store.wait_up(Duration::from_secs(3)).await;
            let start = Instant::now();
            for _ in 0..10 {
                // Only "HD" is an answer to a question for a value: none.
                let found = store.get("key").await;
                assert!(!matches!(found, Ok(Some(_))), "{lie:?}: {found:?}");
            }
            assert!(start.elapsed() < Duration::from_secs(6), "{lie:?}");
        });
    }
}

/// What the server says is left of a value's life, in seconds.
fn ttl(port: u16, key: &str) -> i64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(format!("mg {key} t\r\n").as_bytes()).unwrap();
    let mut buffer = [0; 100];
    let read = stream.read(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..read]).into_owned();
    line.trim().strip_prefix("HD t").unwrap_or_else(|| panic!("{line}")).parse().unwrap()
}
