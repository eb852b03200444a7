//! Digests of files: computed once, remembered on this node and in the store.
//!
//! Gets: a user's tree and a path, uploads and downloads as they pass. Gives: a digest with where it came from.
//! Never: answers with the digest of another state of the file, computes on the runtime's workers, or refuses because its memory is full.
//!
//! Start in [`Digests::digest`]. `pool` reads and computes, `cache` remembers, `shared` is the store, `policy` says what is allowed.

mod cache;
mod hash;
mod key;
mod policy;
mod pool;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use ftps_proto::digest::{Algorithm, Algorithms, DigestFault, Offer, Range};
use ftps_proto::path::VirtualPath;
use tokio::sync::Semaphore;

pub use hash::{Hashers, Values};
pub use policy::{Allowed, CacheConfig, Config, Rule, Who};
pub use shared::Shared;

use crate::observe::Observer;
use crate::observe::event::DigestSource;
use crate::storage::{self, Found, Identity, Tree};
use cache::{Cache, Remembered};
use ftps_store::stats::Statistics;
use ftps_store::tiers::Reach;
use key::Key;
use pool::{Ask, Pool};

/// The digests of a node. Cheap to clone.
#[derive(Clone)]
pub struct Digests(Arc<Inner>);

struct Inner {
    config: ArcSwap<Config>,
    cache: Cache,
    pool: Pool,
    shared: Shared,
    /// Files that may wait for their reading afterwards.
    later: Semaphore,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The user's files.
    pub tree: Arc<Tree>,
    /// Which of them.
    pub path: VirtualPath,
    /// Which digest.
    pub algorithm: Algorithm,
    /// Of which bytes; `None`: of all.
    pub range: Option<Range>,
    /// Who asks: pays for the work, and is looked for in the rules.
    pub user: Arc<str>,
    /// The user's class.
    pub class: Option<Box<str>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Digest {
    /// The digest.
    pub value: Vec<u8>,
    /// The bytes it is of.
    pub range: Range,
    /// Where it came from.
    pub source: DigestSource,
}

/// A file that is open for a question, and of which bytes the digest is wanted.
struct Opened {
    stored: storage::Stored,
    key: Key,
}

impl Digests {
    /// Starts the threads. `vault`: the memory that all nodes share, if there is one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(config: Config, shared: Shared, observer: Observer) -> std::io::Result<Self> {
        let cache = Cache::default();
        cache.bound(config.cache.entries, config.cache.max_age);
        let pool = Pool::start(config.threads(), observer)?;
        Ok(Self(Arc::new(Inner { config: ArcSwap::from_pointee(config), cache, pool, shared, later: Semaphore::new(LATER_MOST) })))
    }

    /// From now on this configuration; the number of threads acts at the next start.
    pub fn set(&self, config: Config) {
        self.0.cache.bound(config.cache.entries, config.cache.max_age);
        self.0.config.store(Arc::new(config));
    }

    /// What a session is offered.
    pub fn offer(&self, who: Who<'_>) -> Offer {
        self.0.config.load().offer(who)
    }

    /// What is computed of an upload to this path of the tree while it comes.
    pub fn at_upload(&self, who: Who<'_>, tree: &Tree, path: &VirtualPath) -> Allowed {
        self.while_moving(self.0.config.load().at_upload, who, tree, path)
    }

    /// What is computed of a download while it goes.
    pub fn at_download(&self, who: Who<'_>, tree: &Tree, path: &VirtualPath) -> Allowed {
        self.while_moving(self.0.config.load().at_download, who, tree, path)
    }

    /// What nobody may ask for is not computed unasked either.
    fn while_moving(&self, wanted: Algorithms, who: Who<'_>, tree: &Tree, path: &VirtualPath) -> Allowed {
        if wanted.is_empty() {
            return Allowed::default();
        }
        let allowed = self.0.config.load().verdict(who, Some(&tree.from_root(path)));
        Allowed { algorithms: allowed.algorithms.and(wanted), ..allowed }
    }

    /// The digest of a file as it is now. Dropped, nothing is computed any longer for this question.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn digest(&self, question: &Question) -> Result<Digest, DigestFault> {
        let Opened { stored, key } = self.open(question).await?;
        let range = key.range;
        if let Some((value, source)) = self.recall(&key, SystemTime::now()).await {
            return Ok(Digest { value, range, source });
        }
        let algorithms = Algorithms::NONE.with(key.algorithm);
        let ask = Ask { stored, identity: key.identity.clone(), range, algorithms, user: question.user.clone() };
        let waiter = self.0.pool.ask(ask)?;
        let source = if waiter.joined { DigestSource::Coalesced } else { DigestSource::Computed };
        let asked = waiter.asked();
        let values = waiter.wait().await?;
        // One of all who waited keeps it; who asked first may have left.
        if source == DigestSource::Computed || self.0.cache.find(&key, SystemTime::now()).is_none() {
            self.computed(&key.identity, range, &values, asked);
        }
        let value = values.of(key.algorithm).ok_or(DigestFault::Busy)?.to_vec();
        Ok(Digest { value, range, source })
    }

    /// An upload has its name, and these are the digests of all of its bytes: known here at once, and everywhere when its state has stood for two seconds.
    pub fn uploaded(&self, tree: &Arc<Tree>, path: &VirtualPath, identity: &Identity, values: &Values) {
        self.adopt(tree, path, identity, values, SystemTime::now());
    }

    /// A file was sent from its first byte to its last, and it was this one before and afterwards.
    pub fn downloaded(&self, identity: &Identity, values: &Values, opened: SystemTime) {
        self.computed(identity, Range { start: 0, end: identity.size }, values, opened);
    }

    /// The digests of a file that moved in part (APPE, REST): those that are known, the others by reading it in the background once its state has stood for
    /// two seconds. What is read earlier could not be kept, and of a file that grows by many parts only its last state is read. `None`: the file has changed
    /// since, is too large, or too many wait.
    pub async fn catch_up(&self, tree: &Arc<Tree>, path: &VirtualPath, expected: &Identity, allowed: Allowed, user: Arc<str>) -> Option<Values> {
        let _place = self.0.later.try_acquire().ok()?;
        if self.is_off() || expected.size > allowed.max_size {
            return None;
        }
        tokio::time::sleep(until_settled(expected, SystemTime::now())?).await;
        let (tree, path) = (tree.clone(), path.clone());
        let opened = storage::blocking(move || tree.open_stored(&path)).await.ok()?;
        let Found::File(stored, identity) = opened else { return None };
        if identity != *expected {
            return None;
        }
        let (mut values, mut missing) = (Vec::new(), Algorithms::NONE);
        for algorithm in allowed.algorithms.iter() {
            match self.recall(&Key::whole(&identity, algorithm), SystemTime::now()).await {
                Some((value, _)) => values.push((algorithm, value)),
                None => missing = missing.with(algorithm),
            }
        }
        if !missing.is_empty() {
            let range = Range { start: 0, end: identity.size };
            let waiter = self.0.pool.ask(Ask { stored, identity: identity.clone(), range, algorithms: missing, user }).ok()?;
            let asked = waiter.asked();
            let read = waiter.wait().await.ok()?;
            self.computed(&identity, range, &read, asked);
            values.extend(missing.iter().filter_map(|algorithm| Some((algorithm, read.of(algorithm)?.to_vec()))));
        }
        Some(Values::of_all(values))
    }

    /// We have renamed the file or set its attributes ourselves: it is another state with the same bytes. `dated`: the time of its last write was set, so
    /// that cannot tell of somebody who wrote meanwhile. Blocks for no store; call it within the runtime.
    pub fn carry(&self, tree: &Arc<Tree>, path: &VirtualPath, before: &Identity, after: &Identity, dated: bool) {
        let same = (before.inode, before.size) == (after.inode, after.size) && (dated || before.modified == after.modified);
        if !same || before == after || self.is_off() {
            return;
        }
        let (digests, tree, path, before, after) = (self.clone(), tree.clone(), path.clone(), before.clone(), after.clone());
        let now = SystemTime::now();
        let mut missing = Algorithms::ALL;
        for algorithm in Algorithm::ALL {
            if let Some(Remembered { value, computed }) = self.0.cache.find(&Key::whole(&before, algorithm), now) {
                missing = missing.without(Algorithms::NONE.with(algorithm));
                self.adopt(&tree, &path, &after, &Values::one(algorithm, value), computed);
            }
        }
        if self.0.shared.is_there() {
            tokio::spawn(async move {
                for algorithm in missing.iter() {
                    if let Some(Remembered { value, computed }) = digests.0.shared.find(&Key::whole(&before, algorithm)).await {
                        digests.adopt(&tree, &path, &after, &Values::one(algorithm, value), computed);
                    }
                }
            });
        }
    }

    /// Digests that are computed or waited for.
    pub fn waiting(&self) -> usize {
        self.0.pool.waiting()
    }

    /// Forgets all digests: this node at once, the others within about a second. Says how far it reached.
    pub async fn clear(&self) -> Reach {
        let reach = self.0.shared.clear().await.unwrap_or(Reach::Here);
        self.renew();
        reach
    }

    /// The same after another node has cleared them.
    pub async fn follow_clearing(&self) -> Reach {
        let reach = self.0.shared.follow().await.unwrap_or(Reach::Here);
        self.renew();
        reach
    }

    /// What this node asked the cluster's digests, and what the store as a whole has. Nothing without a store.
    pub async fn statistics(&self) -> (Statistics, Statistics) {
        self.0.shared.statistics().await.unwrap_or_default()
    }

    /// What was cleared on another node is forgotten here.
    fn renew(&self) {
        self.0.cache.renew(self.0.shared.generation());
    }

    /// Digests that this node remembers.
    pub fn remembered(&self) -> usize {
        self.renew();
        self.0.cache.len()
    }

    async fn open(&self, question: &Question) -> Result<Opened, DigestFault> {
        let (tree, path) = (question.tree.clone(), question.path.clone());
        let found = storage::blocking(move || tree.open_stored(&path)).await.map_err(DigestFault::File)?;
        let Found::File(stored, identity) = found else { return Err(DigestFault::NotPermitted) };
        let who = Who { user: Some(&question.user), class: question.class.as_deref() };
        let verdict = self.0.config.load().verdict(who, Some(&identity.path));
        if !verdict.algorithms.contains(question.algorithm) {
            return Err(DigestFault::Off);
        }
        let range = match question.range {
            Some(range) if range.end > identity.size => return Err(DigestFault::EndBeyond),
            Some(range) if range.start >= range.end => return Err(DigestFault::Order(range)),
            Some(range) => range,
            None => Range { start: 0, end: identity.size },
        };
        if range.end - range.start > verdict.max_size {
            return Err(DigestFault::NotPermitted);
        }
        Ok(Opened { stored, key: Key { identity, range, algorithm: question.algorithm } })
    }

    /// From this node's memory, or from that of all.
    async fn recall(&self, key: &Key, now: SystemTime) -> Option<(Vec<u8>, DigestSource)> {
        if self.is_off() {
            return None;
        }
        self.renew();
        if let Some(found) = self.0.cache.find(key, now) {
            return Some((found.value, DigestSource::Cache));
        }
        // A younger state is shared by nobody, so nobody is asked.
        if !has_settled(&key.identity, now) {
            return None;
        }
        let found = self.0.shared.find(key).await?;
        let young = cache::is_young(found.computed, self.0.config.load().cache.max_age, now);
        let right = found.value.len() == key.algorithm.length();
        if !(young && right) {
            return None;
        }
        self.0.cache.insert(key.clone(), found.clone());
        Some((found.value, DigestSource::Shared))
    }

    /// Digests of a state that was settled when its first byte was read, and that was the same after the last one. A younger one is not kept: a write in the
    /// same tick of the file system's clock would not show.
    fn computed(&self, identity: &Identity, range: Range, values: &Values, opened: SystemTime) {
        if self.is_off() || !has_settled(identity, opened) {
            return;
        }
        let computed = SystemTime::now();
        for (algorithm, value) in values.iter() {
            let key = Key { identity: identity.clone(), range, algorithm };
            let remembered = Remembered { value: value.to_vec(), computed };
            self.0.cache.insert(key.clone(), remembered.clone());
            self.share(key, remembered);
        }
    }

    fn share(&self, key: Key, remembered: Remembered) {
        let age = remembered.computed.elapsed().unwrap_or_default();
        let left = self.0.config.load().cache.max_age.saturating_sub(age);
        if self.0.shared.is_there() && !left.is_zero() {
            let digests = self.clone();
            tokio::spawn(async move { digests.0.shared.put(&key, &remembered, left).await });
        }
    }

    /// Digests of a state that we have made ourselves just now.
    fn adopt(&self, tree: &Arc<Tree>, path: &VirtualPath, identity: &Identity, values: &Values, computed: SystemTime) {
        if self.is_off() {
            return;
        }
        for (algorithm, value) in values.iter() {
            self.0.cache.insert(Key::whole(identity, algorithm), Remembered { value: value.to_vec(), computed });
        }
        if self.0.shared.is_there() {
            self.confirm_later(shared::Later { tree: tree.clone(), path: path.clone(), identity: identity.clone(), values: values.clone(), computed });
        }
    }

    /// In two seconds the file is looked at again; if it is still the same, all nodes may know.
    fn confirm_later(&self, later: shared::Later) {
        let Some(start) = self.0.shared.push(later) else { return };
        if !start {
            return;
        }
        let digests = self.clone();
        tokio::spawn(async move {
            while let Some((due, batch)) = digests.0.shared.next_batch() {
                tokio::time::sleep_until(due).await;
                digests.confirm(batch).await;
            }
        });
    }

    async fn confirm(&self, batch: Vec<shared::Later>) {
        let looked = storage::blocking(move || {
            Ok(batch.into_iter().map(|later| (later.tree.identity(&later.path).as_ref() == Some(&later.identity), later)).collect::<Vec<_>>())
        });
        for (same, later) in looked.await.unwrap_or_default() {
            for (algorithm, value) in later.values.iter() {
                let key = Key::whole(&later.identity, algorithm);
                if same {
                    self.share(key, Remembered { value: value.to_vec(), computed: later.computed });
                } else {
                    self.0.cache.forget(&key);
                }
            }
        }
    }

    fn is_off(&self) -> bool {
        self.0.config.load().cache.entries == 0
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digests").field("remembered", &self.remembered()).finish_non_exhaustive()
    }
}

/// Whether the last change is so long ago that another one would show in the times of the file. By the time of change: that of the last write can be set.
fn has_settled(identity: &Identity, now: SystemTime) -> bool {
    until_settled(identity, now) == Some(Duration::ZERO)
}

/// How long until then; `None`: the clock of the file system is ahead of ours by more than it may be, and nothing can be kept before they agree.
fn until_settled(identity: &Identity, now: SystemTime) -> Option<Duration> {
    let (seconds, nanos) = identity.changed;
    let Ok(seconds) = u64::try_from(seconds) else { return Some(Duration::ZERO) };
    let due = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos) + SETTLED;
    let wait = due.duration_since(now).unwrap_or_default();
    (wait <= 2 * SETTLED).then_some(wait)
}

/// Coarser than the clock of any file system (FAT has 2 s).
const SETTLED: Duration = Duration::from_secs(2);
/// Files that moved in part and wait for their reading; each holds a path.
const LATER_MOST: usize = 10_000;
