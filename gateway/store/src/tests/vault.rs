//! The vault: what rooms put and find, over secrets that change, values that somebody else wrote, and caches that are cleared.
//!
//! Gets: memory as the store of two nodes. Gives: values of the cluster and nothing else. Never: a store that is not the crate's own.

use std::sync::Arc;
use std::time::Duration;

use super::{Dir, Heard, options, run};
use crate::generation::Cache;
use crate::key::Kind;
use crate::location::Location;
use crate::seal::{OpenError, Secrets};
use crate::store::Store;
use crate::tiers::{Reach, Tiers};
use crate::vault::{self, Crypto, Vault};

const TTL: Option<Duration> = Some(Duration::from_secs(60));
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

fn tiers(dir: &Dir) -> (Arc<Tiers>, Arc<Heard>) {
    let (options, heard) = options(dir.path());
    let main = Store::open(&Location::parse("memory:").unwrap(), &options).unwrap();
    (Arc::new(Tiers::new(main, None, heard.clone())), heard)
}

/// A node of the cluster that holds these lines.
fn node(tiers: &Arc<Tiers>, heard: &Arc<Heard>, lines: &[&[u8]]) -> (Vault, Crypto) {
    let crypto = Crypto::new("test", &Secrets::new(lines).unwrap()).unwrap();
    (Vault::new(tiers.clone(), crypto.clone(), heard.clone()), crypto)
}

#[test]
fn values_are_found_over_a_change_of_secrets() {
    run(20, async {
        let dir = Dir::new();
        let (tiers, heard) = tiers(&dir);
        let (a, crypto) = node(&tiers, &heard, &[&OLD]);
        let (b, _) = node(&tiers, &heard, &[&NEW, &OLD]);
        assert_eq!(a.put(Kind::Session, b"x", b"old", TTL).await, Reach::Everywhere);
        assert_eq!(b.get(Kind::Session, b"x").await.as_deref(), Some(&b"old"[..]));
        assert_eq!(b.get(Kind::Digest, b"x").await, None, "another kind is another name");
        b.put(Kind::Session, b"y", b"new", TTL).await;
        assert_eq!(a.get(Kind::Session, b"y").await, None, "it lacks the line");
        crypto.replace(&Secrets::new(&[&NEW, &OLD]).unwrap());
        assert_eq!(a.get(Kind::Session, b"y").await.as_deref(), Some(&b"new"[..]));
        b.delete(Kind::Session, b"x").await;
        assert_eq!(a.get(Kind::Session, b"x").await, None, "deleted under every line");
        assert!(heard.rejected().is_empty());
    });
}

#[test]
fn an_update_takes_over_what_an_older_secret_sealed() {
    run(20, async {
        let dir = Dir::new();
        let (tiers, heard) = tiers(&dir);
        let (a, _) = node(&tiers, &heard, &[&OLD]);
        let (b, _) = node(&tiers, &heard, &[&NEW, &OLD]);
        a.put(Kind::Member, b"all", b"a", TTL).await;
        let add = |letter: u8| move |current: Option<&[u8]>| Some([current.unwrap_or_default(), &[letter][..]].concat());
        let (value, reach) = b.update(Kind::Member, b"all", TTL, add(b'b')).await;
        assert_eq!((value.as_deref(), reach), (Some(&b"ab"[..]), Reach::Everywhere));
        let (value, _) = b.update(Kind::Member, b"all", TTL, |_| None).await;
        assert_eq!(value.as_deref(), Some(&b"ab"[..]), "left as it is");
        let both = tokio::join!(b.update(Kind::Member, b"all", TTL, add(b'c')), b.update(Kind::Member, b"all", TTL, add(b'd')));
        assert!(both.0.0.is_some() && both.1.0.is_some());
        assert_eq!(b.get(Kind::Member, b"all").await.unwrap().len(), 4, "nobody's letter is lost");
    });
}

#[test]
fn what_does_not_open_is_a_miss_and_a_count() {
    run(20, async {
        let dir = Dir::new();
        let (tiers, heard) = tiers(&dir);
        let (a, _) = node(&tiers, &heard, &[&OLD]);
        let (stranger, _) = node(&tiers, &heard, &[&[9; 32]]);
        a.put(Kind::Session, b"x", b"mine", TTL).await;
        a.put(Kind::Session, b"y", b"yours", TTL).await;
        let names = crate::key::Names::new("test", &Secrets::new(&[&OLD]).unwrap()).unwrap();
        let name = |id: &[u8]| names.write(Kind::Session, 0, id);
        let sealed = tiers.get(&name(b"x")).await.unwrap();
        // Swapped, altered, truncated, of another version.
        let other = tiers.get(&name(b"y")).await.unwrap();
        let mut altered = sealed.clone();
        *altered.last_mut().unwrap() ^= 1;
        let mut version = sealed.clone();
        version[0] = 99;
        let cases = [(other, OpenError::Mac), (altered, OpenError::Mac), (sealed[..20].to_vec(), OpenError::Size), (version, OpenError::Version)];
        for (bytes, reason) in cases {
            tiers.put(&name(b"x"), &bytes, TTL).await;
            assert_eq!(a.get(Kind::Session, b"x").await, None, "{reason:?}");
            assert_eq!(heard.rejected().last(), Some(&(Kind::Session, reason)));
        }
        assert_eq!(stranger.get(Kind::Session, b"y").await, None);
        assert_eq!(a.put(Kind::Session, b"z", &vec![1; 65 * 1024], TTL).await, Reach::Nowhere, "what no backend takes is not written");
    });
}

#[test]
fn a_cleared_cache_is_empty_for_every_node_and_messages_arrive_sealed() {
    run(20, async {
        let dir = Dir::new();
        let (tiers, heard) = tiers(&dir);
        let ((a, _), (b, _)) = (node(&tiers, &heard, &[&OLD]), node(&tiers, &heard, &[&OLD]));
        a.put(Kind::Digest, b"x", b"1", TTL).await;
        a.put(Kind::Ban, b"x", b"1", None).await;
        assert_eq!(b.clear(Cache::Digests).await, Reach::Everywhere);
        a.refresh().await;
        assert_eq!((a.get(Kind::Digest, b"x").await, b.get(Kind::Digest, b"x").await), (None, None));
        assert!(a.get(Kind::Ban, b"x").await.is_some(), "bans are no cache");
        let mut listener = b.subscribe(Kind::Ban).unwrap();
        assert_eq!(listener.next().await, Some(vault::Heard::Gap));
        let (stranger, _) = node(&tiers, &heard, &[&NEW]);
        stranger.publish(Kind::Ban, b"forged").await.unwrap();
        a.publish(Kind::Ban, b"told").await.unwrap();
        assert_eq!(listener.next().await, Some(vault::Heard::Body(b"told".to_vec())));
    });
}
