//! The tiers: what a room sees while its store goes and comes.
//!
//! Gets: a real Redis that is frozen, killed and emptied. Gives: values at once, and a store that catches up.
//! Never: a wait of a room for a store that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::Server;
use super::{DEADLINE, Dir, Heard, eventually, options, run};
use crate::generation::{Cache, Generations, Seal};
use crate::key::Names;
use crate::location::Location;
use crate::report::{Notice, Tier};
use crate::seal::{Keyring, Secrets};
use crate::store::Store;
use crate::tiers::{Reach, Tiers};

async fn tiers(url: &str, fallback: &str, dir: &Dir) -> (Arc<Tiers>, Arc<Heard>) {
    let (main, heard) = options(dir.path());
    let mut second = main.clone();
    second.tier = Tier::Fallback;
    let main = Store::open(&Location::parse(url).unwrap(), &main).unwrap();
    let fallback = Store::open(&Location::parse(fallback).unwrap(), &second).unwrap();
    main.wait_up(Duration::from_secs(20)).await;
    (Arc::new(Tiers::new(main, Some(fallback), heard.clone())), heard)
}

const TTL: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn a_frozen_store_is_noticed_once_and_catches_up_on_return() {
    let Some(server) = Server::redis(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (tiers, heard) = tiers(&server.url("redis"), "shm:?size=4MiB", &dir).await;
        assert_eq!(tiers.put("before", b"1", TTL).await, Reach::Everywhere);
        server.freeze();
        let start = Instant::now();
        assert_eq!(tiers.get("before").await.as_deref(), Some(&b"1"[..]), "from the local copy");
        let first = start.elapsed();
        let rest = Instant::now();
        assert!(tiers.is_degraded());
        for n in 0..50 {
            assert_eq!(tiers.put(&format!("during{n}"), b"2", TTL).await, Reach::Here);
            assert_eq!(tiers.get(&format!("during{n}")).await.as_deref(), Some(&b"2"[..]));
        }
        assert_eq!(tiers.delete("before").await, Reach::Here);
        assert_eq!(tiers.get("before").await, None);
        assert!(first >= DEADLINE && rest.elapsed() < Duration::from_secs(3), "{first:?} {:?}", rest.elapsed());
        assert_eq!(tiers.waiting(), 51);
        server.thaw();
        eventually(20, "the store has caught up", || tiers.waiting() == 0).await;
        assert_eq!(server.cli(&["GET", "during49"]), "2");
        assert_eq!(server.cli(&["EXISTS", "before"]), "0");
        let left: i64 = server.cli(&["PTTL", "during0"]).parse().unwrap();
        assert!((1..60_000).contains(&left), "it ends when it would have ended: {left}");
        eventually(5, "it is said", || heard.notices().contains(&Notice::CaughtUp { writes: 51 })).await;
        assert!(!tiers.is_degraded());
    });
}

#[test]
fn an_emptied_store_is_answered_from_the_local_copy() {
    let Some(server) = Server::redis(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (tiers, _) = tiers(&server.url("redis"), "memory:", &dir).await;
        tiers.put("key", b"value", TTL).await;
        assert_eq!(server.cli(&["FLUSHALL"]), "OK");
        assert_eq!(tiers.get("key").await.as_deref(), Some(&b"value"[..]));
        let found = tiers.first_of(&["none".to_owned(), "key".to_owned()]).await;
        assert_eq!(found, Some((1, b"value".to_vec())));
        assert_eq!(tiers.take("key").await, (None, Reach::Everywhere), "only the store says who takes");
    });
}

#[test]
fn decisions_say_how_far_they_reach() {
    let Some(mut server) = Server::redis(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (tiers, _) = tiers(&server.url("redis"), "memory:", &dir).await;
        assert_eq!(tiers.put_if_absent("lock", b"a", TTL).await, (true, Reach::Everywhere));
        assert_eq!(tiers.incr("count", 3, TTL).await, (3, Reach::Everywhere));
        server.kill();
        eventually(20, "the store is away", || {
            let asking = tiers.clone();
            tokio::spawn(async move { asking.get("x").await });
            tiers.is_degraded()
        })
        .await;
        assert_eq!(tiers.put_if_absent("lock", b"b", TTL).await, (true, Reach::Here));
        assert_eq!(tiers.put_if_absent("lock", b"c", TTL).await, (false, Reach::Here));
        assert_eq!(tiers.incr("count", 3, TTL).await, (3, Reach::Here));
        assert_eq!(tiers.take("lock").await, (Some(b"b".to_vec()), Reach::Here));
        server.restart();
        eventually(20, "the store is back", || !tiers.is_degraded()).await;
        assert_eq!(tiers.incr("count", 3, TTL).await, (3, Reach::Everywhere));
    });
}

#[test]
fn a_local_store_needs_no_second_tier() {
    run(30, async {
        let dir = Dir::new();
        let (options, heard) = options(dir.path());
        let tiers = Tiers::new(Store::open(&Location::parse("memory:").unwrap(), &options).unwrap(), None, heard);
        assert_eq!(tiers.put("key", b"v", TTL).await, Reach::Everywhere);
        assert_eq!(tiers.put("key", b"", TTL).await, Reach::Nowhere);
        assert_eq!(tiers.get("key").await.as_deref(), Some(&b"v"[..]));
        assert_eq!((tiers.waiting(), tiers.is_degraded()), (0, false));
        let (main, fallback) = tiers.statistics().await;
        assert!(main.stores == 1 && main.hits == 1 && fallback.is_none());
    });
}

#[test]
fn clearing_a_cache_is_seen_by_other_nodes_and_survives_an_emptied_store() {
    let Some(server) = Server::redis(&[]) else { return };
    run(60, async {
        let (one, two) = (Dir::new(), Dir::new());
        let (a, _) = tiers(&server.url("redis"), "memory:", &one).await;
        let (b, _) = tiers(&server.url("redis"), "memory:", &two).await;
        let secrets = Secrets::new(&[&[7; 32], &[8; 32]]).unwrap();
        let (names, keyring) = (Names::new("test", &secrets).unwrap(), Keyring::new(&secrets));
        let seal = Seal { names: &names, keyring: &keyring, day: 20_000 };
        let (of_a, of_b) = (Generations::default(), Generations::default());
        assert_eq!(of_a.clear(Cache::Sessions, &a, seal).await, Reach::Everywhere);
        assert_eq!(of_a.clear(Cache::Sessions, &a, seal).await, Reach::Everywhere);
        of_b.refresh(&b, seal).await;
        assert_eq!((of_a.of(Cache::Sessions), of_b.of(Cache::Sessions), of_b.of(Cache::Staples)), (2, 2, 0));
        assert_eq!(server.cli(&["FLUSHALL"]), "OK");
        let fresh = Generations::default();
        let (c, _) = tiers(&server.url("redis"), "memory:", &Dir::new()).await;
        of_b.clear(Cache::Sessions, &b, seal).await;
        fresh.refresh(&c, seal).await;
        assert_eq!(fresh.of(Cache::Sessions), 3, "nobody goes back");
        // What a stranger writes there is nothing.
        let name = names.write(Cache::Sessions.kind(), u64::MAX, b"generation");
        assert_eq!(server.cli(&["SET", &name, "99999"]), "OK");
        let stranger = Generations::default();
        stranger.refresh(&c, seal).await;
        assert_eq!(stranger.of(Cache::Sessions), 0);
    });
}

#[test]
fn rooms_may_use_it_from_any_task() {
    run(30, async {
        let dir = Dir::new();
        let (tiers, _) = tiers("memory:", "memory:", &dir).await;
        let task = tokio::spawn(async move {
            tiers.put("k", b"v", TTL).await;
            tiers.put_if_absent("k", b"v", TTL).await;
            tiers.incr("n", 1, TTL).await;
            tiers.delete("k").await;
            tiers.first_of(&["a".to_owned(), "b".to_owned()]).await;
            tiers.take("k").await;
            tiers.main().update("k", TTL, |_| Some(vec![1])).await.unwrap();
            tiers.statistics().await;
        });
        task.await.unwrap();
    });
}
