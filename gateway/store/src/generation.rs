//! Clearing a cache: its generation, which is part of every name, rises, so that no node finds the old values any more. The same on every backend.
//!
//! Gets: which cache to clear. Gives: the generation to name values with.
//! Never: lists or deletes values (they end by themselves), or goes back: a store that lost the number gets it again from whoever knows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::key::{Kind, Names};
use crate::seal::{Keyring, Purpose};
use crate::tiers::{Reach, Tiers};
use crate::wire::{Reader, Writer};

/// What can be cleared. Bans, ticket keys and heartbeats cannot: they are changed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// States of TLS 1.2 sessions.
    Sessions,
    /// OCSP responses.
    Staples,
    /// Checksums of files.
    Digests,
}

impl Cache {
    /// All caches.
    pub const ALL: [Self; 3] = [Self::Sessions, Self::Staples, Self::Digests];

    /// The kind of its values.
    pub fn kind(self) -> Kind {
        match self {
            Self::Sessions => Kind::Session,
            Self::Staples => Kind::Staple,
            Self::Digests => Kind::Digest,
        }
    }
}

/// The generations that this node knows.
#[derive(Debug, Default)]
pub struct Generations([AtomicU64; Cache::ALL.len()]);

/// What is needed to name and seal.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// Names of the cluster.
    pub names: &'a Names,
    /// Its keys.
    pub keyring: &'a Keyring,
    /// Today, in UTC days since 1970.
    pub day: u32,
}

impl Generations {
    /// The generation of a cache now.
    pub fn of(&self, cache: Cache) -> u64 {
        self.slot(cache).load(Ordering::Acquire)
    }

    /// Makes all values of a cache unreachable: for this node at once, for the others with their next [`Generations::refresh`]. While the store is away it is
    /// written there later, with all that it missed.
    pub async fn clear(&self, cache: Cache, tiers: &Tiers, seal: Seal<'_>) -> Reach {
        let known = self.learn(cache, stored(cache, tiers, seal).await);
        self.learn(cache, known + 1);
        self.write(cache, tiers, seal).await
    }

    /// Learns what other nodes cleared, and tells a store that lost a number. One round trip for each cache.
    pub async fn refresh(&self, tiers: &Tiers, seal: Seal<'_>) {
        for cache in Cache::ALL {
            let stored = stored(cache, tiers, seal).await;
            if self.learn(cache, stored) > stored && !tiers.is_degraded() {
                self.write(cache, tiers, seal).await;
            }
        }
    }

    /// Two nodes that clear at once may write the same number: the cache is cleared all the same.
    async fn write(&self, cache: Cache, tiers: &Tiers, seal: Seal<'_>) -> Reach {
        let name = seal.names.write(cache.kind(), PLACE, ID);
        let mut body = Writer::new(8);
        body.u64(self.of(cache));
        let body = body.finish().unwrap_or_default();
        match seal.keyring.seal(Purpose::Stored(cache.kind()), seal.day, name.as_bytes(), &body) {
            Ok(sealed) => tiers.put(&name, &sealed, Some(LIFE)).await,
            Err(_) => Reach::Nowhere,
        }
    }

    fn learn(&self, cache: Cache, number: u64) -> u64 {
        // The last number is never reached by counting; it would leave no next one.
        let number = number.min(PLACE - 1);
        self.slot(cache).fetch_max(number, Ordering::AcqRel).max(number)
    }

    fn slot(&self, cache: Cache) -> &AtomicU64 {
        match cache {
            Cache::Sessions => &self.0[0],
            Cache::Staples => &self.0[1],
            Cache::Digests => &self.0[2],
        }
    }
}

/// What the store knows, under any of the secrets; 0 for a store that knows nothing or says what does not open.
async fn stored(cache: Cache, tiers: &Tiers, seal: Seal<'_>) -> u64 {
    let names = seal.names.read(cache.kind(), PLACE, ID);
    let found = tiers.all_of(&names).await;
    let number = |(name, value): (&String, Option<Vec<u8>>)| {
        let body = seal.keyring.open(Purpose::Stored(cache.kind()), name.as_bytes(), &value?).ok()?;
        Reader::new(&body).u64().ok()
    };
    names.iter().zip(found).filter_map(number).max().unwrap_or(0)
}

/// The generation under which the generation itself is named.
const PLACE: u64 = u64::MAX;
const ID: &[u8] = b"generation";
/// Longer than any value that it hides may live.
const LIFE: Duration = Duration::from_secs(400 * 86_400);
