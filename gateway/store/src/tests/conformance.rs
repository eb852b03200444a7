//! The one suite that every backend passes: what a room may rely on, whatever `store.url` says.
//!
//! Gets: an open store. Gives: a test for each backend that runs all of it.
//! Never: a look at how a backend does it.

use std::sync::Arc;
use std::time::Duration;

use super::servers::Server;
use super::{Dir, open, run};
use crate::backend::{Message, VALUE_MAX};
use crate::error::Failure;
use crate::report::Outcome;
use crate::store::Store;

#[test]
fn memory() {
    run(60, suite("memory:?size=4MiB".to_owned()));
}

#[test]
fn shm() {
    run(60, suite("shm:?size=4MiB".to_owned()));
}

#[test]
fn redis() {
    let Some(server) = Server::redis(&[]) else { return };
    run(60, suite(server.url("redis")));
}

#[test]
fn redis_cluster() {
    let Some(server) = Server::redis(&["--cluster-enabled", "yes"]) else { return };
    assert_eq!(server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    run(60, async {
        super::eventually(10, "the cluster is ready", || server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")).await;
        suite(server.url("redis+cluster")).await;
    });
}

#[test]
fn memcached() {
    let Some(server) = Server::memcached(&[]) else { return };
    run(60, suite(server.url("memcached")));
}

#[test]
fn memcached_of_three() {
    let (Some(a), Some(b), Some(c)) = (Server::memcached(&[]), Server::memcached(&[]), Server::memcached(&[])) else { return };
    run(60, suite(format!("memcached://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}", a.port, b.port, c.port)));
}

async fn suite(url: String) {
    let dir = Dir::new();
    let (store, heard) = open(&url, dir.path()).await;
    let store = Arc::new(store);
    values(&store).await;
    many(&store).await;
    sizes_and_keys(&store).await;
    conditions(&store).await;
    versions(&store).await;
    racing_takes(&store).await;
    counters(&store).await;
    racing_updates(&store).await;
    lifetimes(&store).await;
    messages(&store).await;
    statistics(&store).await;
    assert!(heard.downs().is_empty(), "{:?}", heard.notices());
    assert!(heard.finished().iter().all(|finished| finished.backend == store.kind()));
}

fn key(name: &str) -> String {
    format!("ftps-gateway:test:session:{name}")
}

const TTL: Option<Duration> = Some(Duration::from_secs(60));

async fn values(store: &Store) {
    let bytes: Vec<u8> = (0..=255).chain([0, 13, 10, 0]).collect();
    let name = key("values");
    assert_eq!(store.get(&name).await.unwrap(), None);
    store.put(&name, &bytes, TTL).await.unwrap();
    assert_eq!(store.get(&name).await.unwrap(), Some(bytes));
    store.put(&name, b"other", None).await.unwrap();
    assert_eq!(store.get(&name).await.unwrap().as_deref(), Some(&b"other"[..]));
    assert!(store.delete(&name).await.unwrap());
    assert!(!store.delete(&name).await.unwrap());
    assert_eq!(store.get(&name).await.unwrap(), None);
}

async fn many(store: &Store) {
    let names: Vec<String> = (0..50).map(|n| key(&format!("many{n}"))).collect();
    for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        store.put(name, format!("value {n}").as_bytes(), TTL).await.unwrap();
    }
    let found = store.multi_get(&names).await.unwrap();
    for (n, value) in found.into_iter().enumerate() {
        assert_eq!(value, (n % 3 != 0).then(|| format!("value {n}").into_bytes()), "{n}");
    }
    assert_eq!(store.multi_get(&[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
}

async fn sizes_and_keys(store: &Store) {
    for size in [1, 447, 448, 449, 4032, 4033, 20_000, VALUE_MAX] {
        let value: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        store.put(&key("size"), &value, TTL).await.unwrap();
        assert_eq!(store.get(&key("size")).await.unwrap(), Some(value), "{size}");
    }
    for size in [0, VALUE_MAX + 1] {
        assert_eq!(store.put(&key("size"), &vec![1; size], TTL).await.unwrap_err().failure, Failure::Size);
    }
    let long = "k".repeat(250);
    store.put(&long, b"v", TTL).await.unwrap();
    assert_eq!(store.get(&long).await.unwrap().as_deref(), Some(&b"v"[..]));
    for bad in ["", "a b", "a\r\nset x 0 0 1", "é", &"k".repeat(251)] {
        assert_eq!(store.get(bad).await.unwrap_err().failure, Failure::Key, "{bad:?}");
        assert_eq!(store.multi_get(&[bad.to_owned()]).await.unwrap_err().failure, Failure::Key, "{bad:?}");
    }
}

async fn conditions(store: &Store) {
    let name = key("conditions");
    assert!(store.put_if_absent(&name, b"first", TTL).await.unwrap());
    assert!(!store.put_if_absent(&name, b"second", TTL).await.unwrap());
    assert_eq!(store.take(&name).await.unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(store.take(&name).await.unwrap(), None);
    assert!(store.put_if_absent(&name, b"third", TTL).await.unwrap());
}

async fn versions(store: &Store) {
    let name = key("versions");
    assert_eq!(store.versioned(&name).await.unwrap(), None);
    assert!(store.put_if_version(&name, None, b"one", TTL).await.unwrap());
    assert!(!store.put_if_version(&name, None, b"two", TTL).await.unwrap());
    let one = store.versioned(&name).await.unwrap().unwrap();
    assert_eq!(one.value, b"one");
    assert!(store.put_if_version(&name, Some(&one.version), b"two", TTL).await.unwrap());
    assert!(!store.put_if_version(&name, Some(&one.version), b"three", TTL).await.unwrap());
    assert_eq!(store.get(&name).await.unwrap().as_deref(), Some(&b"two"[..]));
    store.delete(&name).await.unwrap();
    assert!(!store.put_if_version(&name, Some(&one.version), b"four", TTL).await.unwrap());
}

async fn racing_takes(store: &Arc<Store>) {
    store.put(&key("race"), b"prize", TTL).await.unwrap();
    let takers: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.take(&key("race")).await })
        })
        .collect();
    let mut winners = 0;
    for taker in takers {
        match taker.await.unwrap() {
            Ok(value) => winners += usize::from(value.is_some()),
            // A crowd may be told to go: no second winner either.
            Err(error) => assert!(matches!(error.failure, Failure::Busy | Failure::Conflict), "{error}"),
        }
    }
    assert_eq!(winners, 1);
}

async fn counters(store: &Arc<Store>) {
    let name = key("counter");
    assert_eq!(store.incr(&name, 5, TTL).await.unwrap(), 5);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                for _ in 0..10 {
                    done += u64::from(store.incr(&key("counter"), 2, TTL).await.is_ok());
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert!(done > 0);
    assert_eq!(store.get(&name).await.unwrap(), Some((5 + 2 * done).to_string().into_bytes()));
    assert_eq!(store.incr(&name, 0, TTL).await.unwrap(), 5 + 2 * done);
}

async fn racing_updates(store: &Arc<Store>) {
    let add = |current: Option<&[u8]>| {
        let number: u64 = current.map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
        Some((number + 1).to_string().into_bytes())
    };
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                for _ in 0..10 {
                    done += u64::from(store.update(&key("update"), TTL, add).await.is_ok());
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert!(done > 0);
    assert_eq!(store.get(&key("update")).await.unwrap(), Some(done.to_string().into_bytes()), "no update is lost");
    assert_eq!(store.update(&key("update"), TTL, |_| None).await.unwrap(), Some(done.to_string().into_bytes()));
}

async fn lifetimes(store: &Store) {
    let short = Some(Duration::from_secs(2));
    store.put(&key("short"), b"v", short).await.unwrap();
    store.put(&key("long"), b"v", Some(Duration::from_secs(40 * 86_400))).await.unwrap();
    store.put(&key("endless"), b"v", None).await.unwrap();
    assert!(store.put_if_absent(&key("absent"), b"v", short).await.unwrap());
    assert!(store.put_if_version(&key("version"), None, b"v", short).await.unwrap());
    store.incr(&key("count"), 1, short).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.incr(&key("count"), 1, Some(Duration::from_secs(90))).await.unwrap(), 2);
    assert!(store.get(&key("short")).await.unwrap().is_some());
    // memcached counts whole seconds of its own clock.
    tokio::time::sleep(Duration::from_millis(2700)).await;
    for gone in ["short", "absent", "version", "count"] {
        assert_eq!(store.get(&key(gone)).await.unwrap(), None, "{gone}");
    }
    for there in ["long", "endless"] {
        assert!(store.get(&key(there)).await.unwrap().is_some(), "{there}");
    }
    assert!(store.put_if_absent(&key("short"), b"again", TTL).await.unwrap(), "what has ended is absent");
}

async fn messages(store: &Store) {
    let channel = key("channel");
    if !store.capabilities().publish {
        assert_eq!(store.publish(&channel, b"x").await.unwrap_err().failure, Failure::Unsupported);
        assert_eq!(store.subscribe(&[channel]).unwrap_err().failure, Failure::Unsupported);
        return;
    }
    let mut listener = store.subscribe(std::slice::from_ref(&channel)).unwrap();
    assert_eq!(listener.next().await, Some(Message::Gap), "the subscription stands");
    store.publish(&key("another"), b"not for us").await.unwrap();
    for n in 0..100_u8 {
        store.publish(&channel, &[n, 0, 255]).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(listener.next().await, Some(Message::Payload { channel: channel.clone(), payload: vec![n, 0, 255] }));
    }
}

async fn statistics(store: &Store) {
    let before = store.statistics().await;
    store.put(&key("statistics"), b"v", TTL).await.unwrap();
    store.get(&key("statistics")).await.unwrap();
    store.get(&key("nothing")).await.unwrap();
    store.multi_get(&[key("statistics"), key("nothing"), key("nothing2")]).await.unwrap();
    store.delete(&key("statistics")).await.unwrap();
    let after = store.statistics().await;
    let more = |what: fn(&crate::stats::Statistics) -> u64| what(&after) - what(&before);
    let (hits, misses, stores, deletes) = (more(|s| s.hits), more(|s| s.misses), more(|s| s.stores), more(|s| s.deletes));
    assert_eq!((hits, stores, deletes), (2, 1, 1));
    // Several servers count each what they miss.
    assert_eq!(misses, 3);
    assert_eq!(after.entries.is_some(), store.capabilities().counts_entries);
    if let Some(entries) = after.entries {
        assert!((30..200).contains(&entries), "{entries}");
        assert!(after.expired.is_some_and(|expired| expired >= 4));
    }
    assert!(Outcome::Hit.word() != Outcome::Miss.word());
}
