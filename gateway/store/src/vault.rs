//! What a room holds of a store: values by kind and id. Names, seals, generations and tiers are behind it.
//!
//! Gets: kinds, ids, plain bodies. Gives: what any node of the cluster put there, under any of its secrets; writes under the first one.
//! Never: hands out a value that does not open (a miss and a count), shows an id or a body to the store, waits for a store that is away.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::backend::{Capabilities, Message, Subscription};
use crate::error::{Failure, StoreError};
use crate::generation::{Cache, Generations, Seal};
use crate::key::{Kind, Names, NamesError};
use crate::report::{Operation, Outcome, Report};
use crate::seal::{KEY, Keyring, Purpose, Secrets};
use crate::stats::{Counters, Statistics};
use crate::tiers::{Reach, Tiers};

/// The names and keys of a cluster, which change when its secrets do. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Crypto(Arc<Shared>);

struct Shared {
    cluster: String,
    now: RwLock<Arc<Pair>>,
}

/// What follows from one set of secrets.
struct Pair {
    secrets: Secrets,
    names: Names,
    keyring: Keyring,
}

impl Crypto {
    /// Of the cluster `name` with these secrets; the first one names and seals.
    ///
    /// # Errors
    /// A name that does not fit into keys.
    pub fn new(name: &str, secrets: &Secrets) -> Result<Self, NamesError> {
        let pair = Pair { secrets: secrets.clone(), names: Names::new(name, secrets)?, keyring: Keyring::new(secrets) };
        Ok(Self(Arc::new(Shared { cluster: name.to_owned(), now: RwLock::new(Arc::new(pair)) })))
    }

    /// Other secrets from now on.
    pub fn replace(&self, secrets: &Secrets) {
        // The cluster's name was good before.
        if let Ok(names) = Names::new(&self.0.cluster, secrets) {
            *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Pair { secrets: secrets.clone(), names, keyring: Keyring::new(secrets) });
        }
    }

    /// The keys of now, for what is sealed elsewhere than in a store.
    pub fn keyring(&self) -> Keyring {
        self.pair().keyring.clone()
    }

    /// One derived key for each secret, the sealing one first.
    pub fn derive_all(&self, info: &[&[u8]]) -> Vec<Zeroizing<[u8; KEY]>> {
        self.pair().secrets.derive_all(info)
    }

    fn pair(&self) -> Arc<Pair> {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Values of one function in its store. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    tiers: Arc<Tiers>,
    crypto: Crypto,
    generations: Arc<Generations>,
    report: Arc<dyn Report>,
    counters: Arc<[Counters; Kind::ALL.len()]>,
}

impl Vault {
    /// A vault over these tiers.
    pub fn new(tiers: Arc<Tiers>, crypto: Crypto, report: Arc<dyn Report>) -> Self {
        Self { tiers, crypto, generations: Arc::default(), report, counters: Arc::default() }
    }

    /// The value, if the store has one that this cluster sealed. One read, also when several secrets are live.
    pub async fn get(&self, kind: Kind, id: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(kind, id).await;
        self.counters(kind).count(Operation::Get, if found.is_some() { Outcome::Hit } else { Outcome::Miss });
        found
    }

    async fn find(&self, kind: Kind, id: &[u8]) -> Option<Vec<u8>> {
        let pair = self.crypto.pair();
        let names = pair.names.read(kind, self.generation(kind), id);
        if let [name] = names.as_slice() {
            return self.open(&pair, kind, name, &self.tiers.get(name).await?);
        }
        let found = self.tiers.all_of(&names).await;
        // The newest secret first; one bad value hides no good one.
        names.iter().zip(found).find_map(|(name, value)| self.open(&pair, kind, name, &value?))
    }

    /// Writes, to live for `ttl` and no longer than its kind may (`None`: as long as its kind may).
    pub async fn put(&self, kind: Kind, id: &[u8], body: &[u8], ttl: Option<Duration>) -> Reach {
        let pair = self.crypto.pair();
        let name = pair.names.write(kind, self.generation(kind), id);
        let reach = match seal(&pair, kind, &name, body) {
            Some(sealed) => self.tiers.put(&name, &sealed, life(kind, ttl)).await,
            None => Reach::Nowhere,
        };
        self.counters(kind).count(Operation::Put, ended(reach));
        reach
    }

    /// Writes if nothing is there. Says whether it wrote, and for whom that is true.
    pub async fn put_if_absent(&self, kind: Kind, id: &[u8], body: &[u8], ttl: Option<Duration>) -> (bool, Reach) {
        let pair = self.crypto.pair();
        let name = pair.names.write(kind, self.generation(kind), id);
        match seal(&pair, kind, &name, body) {
            Some(sealed) => self.tiers.put_if_absent(&name, &sealed, life(kind, ttl)).await,
            None => (false, Reach::Nowhere),
        }
    }

    /// Reads, lets `change` make the next value (`None`: leave it), writes it unless another node was faster, then tries again. Gives what is there now, and for
    /// whom that is true. A value under an older secret is taken over.
    pub async fn update<F>(&self, kind: Kind, id: &[u8], ttl: Option<Duration>, mut change: F) -> (Option<Vec<u8>>, Reach)
    where
        F: FnMut(Option<&[u8]>) -> Option<Vec<u8>> + Send,
    {
        let pair = self.crypto.pair();
        let name = pair.names.write(kind, self.generation(kind), id);
        let older = if pair.names.read(kind, 0, id).len() > 1 { self.get(kind, id).await } else { None };
        let (mut plain, mut writes) = (None, false);
        let changed = |sealed: Option<&[u8]>| {
            let current = sealed.and_then(|sealed| self.open(&pair, kind, &name, sealed)).or_else(|| older.clone());
            let next = change(current.as_deref());
            let sealed = next.as_deref().and_then(|next| seal(&pair, kind, &name, next));
            writes = sealed.is_some();
            plain = next.or(current);
            sealed
        };
        let (_, reach) = self.tiers.update(&name, life(kind, ttl), changed).await;
        if writes {
            self.counters(kind).count(Operation::Put, ended(reach));
        }
        (plain.filter(|_| reach != Reach::Nowhere), reach)
    }

    /// The values under all secrets: while nodes seal under different ones, each has written its own.
    pub async fn all(&self, kind: Kind, id: &[u8]) -> Vec<Vec<u8>> {
        let pair = self.crypto.pair();
        let names = pair.names.read(kind, self.generation(kind), id);
        let found = self.tiers.all_of(&names).await;
        names.iter().zip(found).filter_map(|(name, value)| self.open(&pair, kind, name, &value?)).collect()
    }

    /// Like [`Vault::update`], decided by the configured store or not at all; this host keeps a copy. Values under older secrets are not looked at
    /// ([`Vault::all`] has them).
    ///
    /// # Errors
    /// As every operation; [`crate::error::Failure::Conflict`] when other nodes were faster again and again.
    pub async fn agree<F>(&self, kind: Kind, id: &[u8], ttl: Option<Duration>, mut change: F) -> Result<Option<Vec<u8>>, StoreError>
    where
        F: FnMut(Option<&[u8]>) -> Option<Vec<u8>> + Send,
    {
        let pair = self.crypto.pair();
        let name = pair.names.write(kind, self.generation(kind), id);
        let mut plain = None;
        let changed = |sealed: Option<&[u8]>| {
            let current = sealed.and_then(|sealed| self.open(&pair, kind, &name, sealed));
            let next = change(current.as_deref());
            let sealed = next.as_deref().and_then(|next| seal(&pair, kind, &name, next));
            plain = next.or(current);
            sealed
        };
        self.tiers.agree(&name, life(kind, ttl), changed).await?;
        Ok(plain)
    }

    /// Deletes it, under all secrets.
    pub async fn delete(&self, kind: Kind, id: &[u8]) -> Reach {
        let names = self.crypto.pair().names.read(kind, self.generation(kind), id);
        let mut reach = Reach::Everywhere;
        for name in names {
            let reached = self.tiers.delete(&name).await;
            reach = if reach == Reach::Everywhere { reached } else { reach };
        }
        self.counters(kind).count(Operation::Delete, ended(reach));
        reach
    }

    /// Tells all nodes that listen to this kind.
    ///
    /// # Errors
    /// As every operation; [`crate::error::Failure::Unsupported`] without the capability.
    pub async fn publish(&self, kind: Kind, body: &[u8]) -> Result<(), StoreError> {
        let pair = self.crypto.pair();
        let channel = pair.names.write(kind, 0, CHANNEL);
        match seal(&pair, kind, &channel, body) {
            Some(sealed) => self.tiers.main().publish(&channel, &sealed).await,
            None => Err(Failure::Size.into()),
        }
    }

    /// Listens to what is published of this kind, under the secrets of now.
    ///
    /// # Errors
    /// [`crate::error::Failure::Unsupported`] without the capability.
    pub fn subscribe(&self, kind: Kind) -> Result<Listener, StoreError> {
        let channels = self.crypto.pair().names.read(kind, 0, CHANNEL);
        Ok(Listener { subscription: self.tiers.subscribe(&channels)?, vault: self.clone(), kind })
    }

    /// Makes all values of a cache unreachable, for this node at once, for the others with their next [`Vault::refresh`].
    pub async fn clear(&self, cache: Cache) -> Reach {
        let pair = self.crypto.pair();
        self.generations.clear(cache, &self.tiers, pair.seal()).await
    }

    /// Another node has cleared a cache in the store that all share: learns it at once. Where the store is this host's own, clears that.
    pub async fn follow(&self, cache: Cache) -> Reach {
        if !self.capabilities().networked || self.is_degraded() {
            return self.clear(cache).await;
        }
        self.refresh().await;
        Reach::Everywhere
    }

    /// Learns what other nodes cleared. Call it every second.
    pub async fn refresh(&self) {
        let pair = self.crypto.pair();
        self.generations.refresh(&self.tiers, pair.seal()).await;
    }

    /// What this node asked for values of one kind, and what came of it. A store cannot tell its entries of one kind from others without a walk through all of
    /// them: entries, and those that ended or made room, are `None`.
    pub fn statistics_of(&self, kind: Kind) -> Statistics {
        self.counters(kind).snapshot()
    }

    /// What the configured store and the local one did so far, for all functions that share them.
    pub async fn statistics(&self) -> (Statistics, Option<Statistics>) {
        self.tiers.statistics().await
    }

    /// What the configured store can do.
    pub fn capabilities(&self) -> Capabilities {
        self.tiers.capabilities()
    }

    /// Whether the configured store is away.
    pub fn is_degraded(&self) -> bool {
        self.tiers.is_degraded()
    }

    /// Below the seals: to wait for the store, to watch it come and go.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// The names and keys.
    pub fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    /// Rises when the cache with values of this kind is cleared, on this node or another one.
    pub fn generation(&self, kind: Kind) -> u64 {
        let cache = Cache::ALL.into_iter().find(|cache| cache.kind() == kind);
        cache.map_or(0, |cache| self.generations.of(cache))
    }

    fn counters(&self, kind: Kind) -> &Counters {
        let place = Kind::ALL.into_iter().position(|known| known == kind);
        // Every kind is in the list; `key` has a test for that.
        &self.counters[place.unwrap_or_default()]
    }

    fn open(&self, pair: &Pair, kind: Kind, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match pair.keyring.open(Purpose::Stored(kind), name.as_bytes(), sealed) {
            Ok(plain) => Some(plain),
            Err(reason) => {
                self.counters(kind).count_error();
                self.report.rejected(kind, reason);
                None
            }
        }
    }
}

/// Hears what is published of one kind.
#[derive(Debug)]
pub struct Listener {
    subscription: Subscription,
    vault: Vault,
    kind: Kind,
}

/// What a [`Listener`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A body that this cluster sealed.
    Body(Vec<u8>),
    /// Messages may have been lost: read what they were about.
    Gap,
}

impl Listener {
    /// The next one; `None` when the store is gone for good. What does not open is counted and passed over. Waits without a deadline; cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.subscription.next().await? {
                Message::Gap => return Some(Heard::Gap),
                Message::Payload { channel, payload } => {
                    let pair = self.vault.crypto.pair();
                    if let Some(body) = self.vault.open(&pair, self.kind, &channel, &payload) {
                        return Some(Heard::Body(body));
                    }
                }
            }
        }
    }
}

impl Pair {
    fn seal(&self) -> Seal<'_> {
        Seal { names: &self.names, keyring: &self.keyring, day: today() }
    }
}

/// `None`: too long, or the system gives no randomness; then nothing is written.
fn seal(pair: &Pair, kind: Kind, name: &str, body: &[u8]) -> Option<Vec<u8>> {
    pair.keyring.seal(Purpose::Stored(kind), today(), name.as_bytes(), body).ok()
}

/// A write that reached nobody failed.
fn ended(reach: Reach) -> Outcome {
    if reach == Reach::Nowhere { Outcome::Failed(Failure::Absent) } else { Outcome::Done }
}

fn life(kind: Kind, wanted: Option<Duration>) -> Option<Duration> {
    kind.clamp(wanted.unwrap_or(Duration::MAX))
}

/// UTC days since 1970.
fn today() -> u32 {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / 86_400);
    u32::try_from(days).unwrap_or(u32::MAX)
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("tiers", &self.tiers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}

/// The id under which the channel of a kind is named.
const CHANNEL: &[u8] = b"channel";
