//! The second copy of the book, in the store: parts that are merged, and a head with what changed last.
//!
//! One form for all backends: an item for each of the 4,096 parts of the book (all that any node knows of it, merged by compare-and-set), and a *head* with a number that
//! grows, the parts in use and the changes of the last writes. Whoever missed some of them reads the parts. Redis tells by pub/sub that the head changed;
//! memcached and shared memory are looked at every 250 ms. Items stay below 64 KiB: a million bans are 4,096 items of about 25 KiB.
//!
//! Gets: changes, a vault. Gives: what other nodes wrote; to the store, what it lost. Never: waits for a store that is away, trusts what it reads: the vault
//! opens only what this cluster sealed, and an old value that somebody wrote back is merged into a book that knows better.

use std::time::Duration;

use ftps_store::key::Kind;
use ftps_store::tiers::Reach;
use ftps_store::vault::{Heard, Vault};
use ftps_store::wire::{Reader, WireError, Writer};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ban::{self, Change};
use super::parts::{BUCKETS, bucket_of};
use super::{Bans, read, unix_now};

/// What the head of the copy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Head {
    /// Grows with each write; begins at random, so that a store that was emptied does not look as if nothing had happened.
    number: u64,
    /// The number of the last write whose changes are not in `recent` any more.
    forgotten: u64,
    /// One bit for each part in use.
    used: Vec<u8>,
    /// Writes with their numbers, the oldest first.
    recent: Vec<(u64, Vec<u8>)>,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (number, forgotten, used) = (reader.u64()?, reader.u64()?, reader.bytes(USED)?.to_vec());
        let mut recent = Vec::new();
        while reader.end().is_err() {
            recent.push((reader.u64()?, reader.bytes(RECENT)?.to_vec()));
        }
        if used.len() == USED { Ok(Self { number, forgotten, used, recent }) } else { Err(WireError::Short) }
    }

    fn written(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Writer::new(ITEM);
        out.u64(self.number).u64(self.forgotten).bytes(&self.used);
        self.recent.iter().for_each(|(number, changes)| _ = out.u64(*number).bytes(changes));
        out.finish()
    }

    /// A write more.
    fn add(&mut self, buckets: &[usize], changes: &[u8]) {
        self.used.resize(USED, 0);
        buckets.iter().for_each(|bucket| self.used[bucket / 8] |= 1 << (bucket % 8));
        self.number = self.number.wrapping_add(1);
        if changes.len() > RECENT {
            self.recent.clear();
            self.forgotten = self.number;
            return;
        }
        self.recent.push((self.number, changes.to_vec()));
        while self.recent.iter().map(|(_, changes)| changes.len() + 12).sum::<usize>() > RECENT {
            self.forgotten = self.recent.remove(0).0;
        }
    }

    fn uses(&self, bucket: usize) -> bool {
        self.used.get(bucket / 8).is_some_and(|byte| byte & 1 << (bucket % 8) != 0)
    }
}

impl Bans {
    /// Brings changes into the store. Says whether they are there for all nodes.
    pub(super) async fn store(&self, changes: &[Change]) -> bool {
        let Some(vault) = self.0.vault.as_ref() else { return false };
        let mut buckets: Vec<usize> = changes.iter().map(|change| bucket_of(change.id())).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let parts = self.put_buckets(vault, &buckets).await;
        let bytes = ban::encode(changes, usize::MAX).into_iter().next().unwrap_or_default();
        let head = self.put_head(vault, &buckets, &bytes).await;
        parts && head
    }

    /// Reads the whole copy, unless the store is away or fails.
    pub(super) async fn read_copy(&self) {
        let Some(vault) = self.0.vault.clone() else { return };
        if !vault.is_degraded() || vault.tiers().main().wait_up(AWAY).await {
            self.look(&vault, &mut None).await;
        }
    }

    /// Follows the copy and mends it. Runs until its task ends.
    pub(super) async fn follow_copy(&self) {
        let Some(vault) = self.0.vault.clone() else { return };
        let mut listener = vault.subscribe(Kind::Ban).ok();
        let (mut seen, mut next, mut place) = (None, Instant::now() + CHECK, 0);
        let mut often = interval(if listener.is_some() { CHECK / 2 } else { POLL });
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                _ = often.tick() => None,
                heard = async { match &mut listener { Some(listener) => listener.next().await, None => std::future::pending().await } } => Some(heard),
            };
            match heard {
                Some(Some(Heard::Body(body))) => {
                    self.0.echo.heard(&body);
                    self.arrived(ban::decode(&body).changes);
                    continue;
                }
                Some(None) => listener = None,
                Some(Some(Heard::Gap)) | None => {}
            }
            if vault.is_degraded() {
                continue;
            }
            self.look(&vault, &mut seen).await;
            if Instant::now() >= next {
                self.check_parts(&vault, &mut place).await;
                next = Instant::now() + CHECK;
            }
        }
    }

    /// Looks at the head: takes what is new, reads all parts when something was missed, writes all when the store has lost its head.
    async fn look(&self, vault: &Vault, seen: &mut Option<u64>) {
        let Some(found) = main_value(vault, HEAD).await else { return };
        let Some(head) = found.and_then(|bytes| Head::read(&bytes).ok()) else {
            self.0.losses.names(&[]);
            // A head that was evicted hides no parts from a node that starts.
            if self.0.whole.lacks_copy() && self.read_parts(vault, &(0..BUCKETS).collect::<Vec<_>>()).await {
                self.0.whole.read_copy();
            }
            return self.write_parts(vault, &Head::default()).await;
        };
        self.0.losses.names(&head.used);
        // Whoever made this head anew, because the store was emptied, knew its own change only.
        self.write_parts(vault, &head).await;
        if *seen == Some(head.number) {
            return;
        }
        let missed = seen.is_none_or(|seen| seen < head.forgotten || seen > head.number || head.number - seen > head.recent.len() as u64);
        if missed {
            let used: Vec<usize> = (0..BUCKETS).filter(|bucket| head.uses(*bucket)).collect();
            if !self.read_parts(vault, &used).await {
                // The next look reads them.
                return;
            }
        } else {
            let news = head.recent.iter().filter(|(number, _)| seen.is_none_or(|seen| *number > seen));
            news.for_each(|(_, changes)| _ = self.arrived(ban::decode(changes).changes));
        }
        self.0.whole.read_copy();
        *seen = Some(head.number);
    }

    /// Takes what the store has in these parts. Says whether it answered for each.
    async fn read_parts(&self, vault: &Vault, buckets: &[usize]) -> bool {
        let mut all = true;
        for some in buckets.chunks(TOGETHER) {
            let values = futures_of(some.iter().map(|bucket| main_value_of(vault, *bucket))).await;
            all &= values.iter().all(Option::is_some);
            values.into_iter().flatten().flatten().for_each(|value| _ = self.arrived(ban::decode(&value).changes));
        }
        all
    }

    /// Writes parts that the head does not have: all, when the store was emptied or is new. A large book comes look by look.
    async fn write_parts(&self, vault: &Vault, head: &Head) {
        let missing: Vec<usize> = {
            let book = read(&self.0.book);
            (0..BUCKETS).filter(|bucket| !head.uses(*bucket) && !book.is_empty(*bucket)).take(AT_ONCE).collect()
        };
        if !missing.is_empty() && self.put_buckets(vault, &missing).await {
            self.put_head(vault, &missing, &vec![0; RECENT + 1]).await;
        }
    }

    /// Looks whether the next parts are in the store as they are here, and mends both.
    async fn check_parts(&self, vault: &Vault, place: &mut usize) {
        let used: Vec<usize> = (0..BUCKETS).filter(|bucket| !read(&self.0.book).is_empty(*bucket)).collect();
        let some: Vec<usize> = used.iter().cycle().skip(*place % used.len().max(1)).take(CHECKED.min(used.len())).copied().collect();
        *place = place.wrapping_add(some.len());
        self.put_buckets(vault, &some).await;
    }

    /// Merges parts of the book into the store, and what the store knows into the book.
    async fn put_buckets(&self, vault: &Vault, buckets: &[usize]) -> bool {
        let mut all = true;
        for some in buckets.chunks(TOGETHER) {
            let done = futures_of(some.iter().map(|bucket| self.put_bucket(vault, *bucket))).await;
            all &= done.into_iter().all(|done| done);
        }
        all
    }

    async fn put_bucket(&self, vault: &Vault, bucket: usize) -> bool {
        let (now, mut lacked) = (unix_now(), false);
        let merged = |current: Option<&[u8]>| {
            let theirs = current.map(ban::decode).unwrap_or_default().changes;
            let alive = |change: &Change| match change {
                Change::Ban(ban) => !ban.has_ended(now),
                Change::Unban { until, .. } => *until > now,
            };
            self.arrived(theirs.clone());
            let mine = read(&self.0.book).content(bucket);
            lacked |= current.is_none() && !mine.is_empty();
            let same = theirs.len() == mine.len() && mine.iter().all(|change| theirs.contains(change));
            if same || (mine.is_empty() && !theirs.iter().any(alive)) {
                return None;
            }
            // Sorted, so that nodes that know the same write the same.
            let mut mine = mine;
            mine.sort_unstable_by_key(Change::id);
            ban::encode(&mine, ITEM).into_iter().next()
        };
        let (_, reach) = vault.update(Kind::Ban, &id_of(bucket), None, merged).await;
        // Otherwise the local store was asked.
        if lacked && reach == Reach::Everywhere {
            self.0.losses.lacks(bucket, std::time::Instant::now());
        }
        reach == Reach::Everywhere
    }

    async fn put_head(&self, vault: &Vault, buckets: &[usize], changes: &[u8]) -> bool {
        let next = |current: Option<&[u8]>| {
            let mut head = current.and_then(|bytes| Head::read(bytes).ok()).unwrap_or_else(|| {
                let number = unix_now() << 16;
                Head { number, forgotten: number, ..Head::default() }
            });
            head.add(buckets, changes);
            head.written().ok()
        };
        let (_, reach) = vault.update(Kind::Ban, HEAD, None, next).await;
        if vault.capabilities().publish && changes.len() <= RECENT {
            self.0.echo.said(changes);
            // Who does not hear it reads the head.
            let _ = vault.publish(Kind::Ban, changes).await;
        }
        reach == Reach::Everywhere
    }
}

/// What the configured store itself has: `None` when it is away. The local copy would hide that the store has lost something.
async fn main_value(vault: &Vault, id: &[u8]) -> Option<Option<Vec<u8>>> {
    let (value, reach) = vault.update(Kind::Ban, id, None, |_| None).await;
    (reach == Reach::Everywhere).then_some(value)
}

async fn main_value_of(vault: &Vault, bucket: usize) -> Option<Option<Vec<u8>>> {
    main_value(vault, &id_of(bucket)).await
}

async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(futures).await
}

fn id_of(bucket: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(bucket).unwrap_or(u16::MAX).to_be_bytes();
    vec![b'p', high, low]
}

const HEAD: &[u8] = b"head";
/// Bytes of an item, sealed below 64 KiB.
const ITEM: usize = 60 * 1024;
/// Bytes of changes in the head.
const RECENT: usize = 32 * 1024;
const USED: usize = BUCKETS / 8;
/// How often the head is looked at where nobody tells that it changed.
const POLL: Duration = Duration::from_millis(250);
/// How often parts are compared with the store, and how many of them.
const CHECK: Duration = Duration::from_secs(4);
const CHECKED: usize = 64;
/// Parts that an emptied store gets at one look.
const AT_ONCE: usize = 256;
/// Operations at a time.
const TOGETHER: usize = 32;
/// How long a start waits for a store that does not answer yet.
const AWAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_head_remembers_the_last_writes_and_says_which_it_forgot() {
        let mut head = Head { number: 100, forgotten: 100, ..Head::default() };
        (0..5).for_each(|number| head.add(&[number], &[7; 10]));
        assert_eq!((head.number, head.forgotten, head.recent.len()), (105, 100, 5));
        assert!(head.uses(4) && !head.uses(5));
        assert_eq!(Head::read(&head.written().unwrap()), Ok(head.clone()));
        (0..10).for_each(|_| head.add(&[4095], &[7; 10_000]));
        assert_eq!((head.number, head.recent.len(), head.forgotten), (115, 3, 112));
        assert!(head.written().unwrap().len() < ITEM);
        head.add(&[], &vec![0; RECENT + 1]);
        assert_eq!((head.number, head.forgotten, head.recent.len()), (116, 116, 0));
        let bytes = head.written().unwrap();
        (0..bytes.len()).for_each(|cut| assert!(Head::read(&bytes[..cut]).is_err()));
    }
}
