//! The keys of ticket epochs: which one seals now, which ones open, what the cluster agreed on.
//!
//! Gets: the store's list of epochs, the clock, the secrets. Gives: K_s, the key of one session in one epoch.
//! An epoch is made by whoever wins the write of the list when one is due, is announced in it before it seals, and leaves it when no ticket needs it.
//! Never: seals with an epoch that other nodes had no time to learn; waits for a store: without a fresh epoch one derived from the secret seals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ftps_store::error::StoreError;
use ftps_store::key::Kind;
use ftps_store::report::BackendKind;
use ftps_store::seal::{self, KEY};
use ftps_store::vault::Vault;
use ftps_store::wire::{Reader, WireError, Writer};
use zeroize::Zeroizing;

use crate::observe::id::SessionId;

/// Names one epoch.
pub(super) type EpochId = [u8; 8];

/// K_s: the key of one session in one epoch. Cheap to clone.
#[derive(Clone)]
pub(super) struct StateKey {
    pub(super) epoch: EpochId,
    pub(super) key: Arc<Zeroizing<[u8; KEY]>>,
}

/// Why ticket keys are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The store.
    #[error("the store does not take ticket keys ({0}); keys derived from the secret seal until it does")]
    Store(#[from] StoreError),
    /// The system.
    #[error("the system gives no random bytes for ticket keys: check /dev/urandom and the sandbox")]
    Random,
}

/// The keys of the epochs.
pub(super) struct Epochs {
    keys: Mutex<Keys>,
    /// In ms.
    rotation: AtomicU64,
    /// In ms.
    keep: AtomicU64,
    /// When an unknown epoch was looked for last, in Unix ms.
    learned: AtomicU64,
}

#[derive(Default)]
struct Keys {
    agreed: List,
    /// For times without a store: every node with the secret has the same.
    derived: Vec<Epoch>,
    derived_for: Vec<[u8; 8]>,
    derived_at: u64,
}

/// What the cluster agreed on, the latest beginning first.
#[derive(Clone, Default)]
struct List(Vec<Epoch>);

#[derive(Clone)]
struct Epoch {
    id: EpochId,
    /// Unix ms at which it begins to seal.
    begins: u64,
    secret: Zeroizing<[u8; KEY]>,
}

impl Epochs {
    /// No epoch yet: [`Epochs::tend`] brings the first. An epoch seals for `rotation`, then opens until the last ticket of it is older than `lifetime`.
    pub(super) fn new(rotation: Duration, lifetime: Duration) -> Self {
        let epochs = Self { keys: Mutex::default(), rotation: AtomicU64::default(), keep: AtomicU64::default(), learned: AtomicU64::default() };
        epochs.set(rotation, lifetime);
        epochs
    }

    /// Other times from now on.
    pub(super) fn set(&self, rotation: Duration, lifetime: Duration) {
        self.rotation.store(millis(rotation), Ordering::Relaxed);
        self.keep.store(millis(lifetime).saturating_add(millis(rotation)), Ordering::Relaxed);
    }

    /// Learns what other nodes made, and makes the next epoch when it is due, or at once when `rotate` says so. One read, seldom a write.
    pub(super) async fn tend(&self, vault: &Vault, now: u64, rotate: bool) -> Result<(), EpochError> {
        self.derive(vault, now);
        let bodies: Vec<_> = vault.all(Kind::Epochs, ID).await.into_iter().map(Zeroizing::new).collect();
        let stored: Vec<List> = bodies.iter().filter_map(|body| List::decode(body).ok()).collect();
        let times = self.times(vault, now);
        let mine = {
            let mut keys = self.lock();
            stored.iter().for_each(|list| keys.agreed.merge(list));
            keys.agreed.erase(now, times.keep);
            keys.agreed.clone()
        };
        let whole = stored.first().is_some_and(|list| list.has_same(&mine));
        if whole && !rotate && !mine.is_due(&times) {
            return Ok(());
        }
        self.agree(vault, &mine, &times, rotate).await
    }

    /// Looks for an epoch that a ticket of the cluster names and this node does not know: it missed the announcement. At most one read in [`LEARN`] ms.
    pub(super) async fn learn(&self, vault: &Vault, id: EpochId, now: u64) {
        let last = self.learned.load(Ordering::Relaxed);
        let due = now.abs_diff(last) >= LEARN && self.learned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !due || self.knows(id) {
            return;
        }
        for body in vault.all(Kind::Epochs, ID).await.into_iter().map(Zeroizing::new) {
            if let Ok(list) = List::decode(&body) {
                self.lock().agreed.merge(&list);
            }
        }
    }

    /// Whether it can open tickets of this epoch.
    pub(super) fn knows(&self, id: EpochId) -> bool {
        let keys = self.lock();
        keys.agreed.0.iter().chain(&keys.derived).any(|epoch| epoch.id == id)
    }

    /// Writes the list with what is due. Of several nodes that do so at once one wins, and the others find that nothing is due any more.
    async fn agree(&self, vault: &Vault, mine: &List, times: &Times, mut rotate: bool) -> Result<(), EpochError> {
        let (mut random, mut full) = (true, None);
        let known = mine.sealing(times.now).map(|epoch| epoch.id);
        let life = Duration::from_millis(times.keep.saturating_add(times.rotation.saturating_mul(2)).max(STORED_LEAST));
        let change = |current: Option<&[u8]>| {
            let mut list = current.and_then(|body| List::decode(body).ok()).unwrap_or_default();
            let before = list.clone();
            // Somebody else rotated since: once is enough for both.
            rotate &= list.0.iter().all(|epoch| epoch.begins <= times.now || Some(epoch.id) == known);
            list.merge(mine);
            list.erase(times.now, times.keep);
            if rotate || list.is_due(times) {
                match Epoch::random(list.next(times, rotate)) {
                    Some(epoch) => list.add(epoch),
                    None => random = false,
                }
            }
            let next = (!before.has_same(&list)).then(|| list.encode()).flatten();
            full = Some(list);
            next
        };
        vault.agree(Kind::Epochs, ID, Some(life), change).await?;
        if let Some(list) = full {
            self.lock().agreed = list;
        }
        if random { Ok(()) } else { Err(EpochError::Random) }
    }

    /// The key that seals for this session now.
    pub(super) fn sealing(&self, session: SessionId, now: u64) -> Option<StateKey> {
        let keys = self.lock();
        self.now_sealing(&keys, now).map(|epoch| epoch.key(session))
    }

    /// The epoch that seals now, and when it began to.
    pub(super) fn sealing_id(&self, now: u64) -> Option<(EpochId, u64)> {
        let keys = self.lock();
        self.now_sealing(&keys, now).map(|epoch| (epoch.id, epoch.begins))
    }

    fn now_sealing<'a>(&self, keys: &'a Keys, now: u64) -> Option<&'a Epoch> {
        let derived = || keys.derived.iter().find(|epoch| epoch.begins <= now);
        self.fresh(keys, now).or_else(derived).or(keys.agreed.sealing(now))
    }

    /// Whether a derived epoch seals.
    pub(super) fn is_derived(&self, now: u64) -> bool {
        self.fresh(&self.lock(), now).is_none()
    }

    fn fresh<'a>(&self, keys: &'a Keys, now: u64) -> Option<&'a Epoch> {
        let longest = self.rotation.load(Ordering::Relaxed).saturating_add(LATE);
        keys.agreed.sealing(now).filter(|epoch| now.saturating_sub(epoch.begins) <= longest)
    }

    /// The key of this session in that epoch, if the epoch is not erased.
    pub(super) fn key(&self, id: EpochId, session: SessionId) -> Option<StateKey> {
        let keys = self.lock();
        keys.agreed.0.iter().chain(&keys.derived).find(|epoch| epoch.id == id).map(|epoch| epoch.key(session))
    }

    /// The keys of this session in all epochs of the cluster.
    pub(super) fn all(&self, session: SessionId) -> Vec<StateKey> {
        self.lock().agreed.0.iter().map(|epoch| epoch.key(session)).collect()
    }

    /// Epochs that follow from the secrets and the hour: each node makes the same ones, whether or not it ever needs them, because another one may.
    fn derive(&self, vault: &Vault, now: u64) {
        let bases = vault.crypto().derive_all(&[b"derived epochs"]);
        // Which secrets they came from, without keeping them.
        let marks: Vec<[u8; 8]> = bases.iter().map(|base| short(&seal::derive(base, &[b"mark"]))).collect();
        let hour = now / HOUR;
        let mut keys = self.lock();
        if keys.derived_for == marks && keys.derived_at == hour && !keys.derived.is_empty() {
            return;
        }
        let back = (self.keep.load(Ordering::Relaxed) / HOUR).min(DERIVED_MOST) + 1;
        // A neighbour's clock may be ahead.
        let hours = (hour.saturating_sub(back)..=hour + 1).rev();
        let epoch = |base: &Zeroizing<[u8; KEY]>, hour: u64| Epoch::with(hour * HOUR, seal::derive(base, &[b"derived epoch", &hour.to_be_bytes()]));
        keys.derived = bases.iter().flat_map(|base| hours.clone().map(move |hour| epoch(base, hour))).collect();
        (keys.derived_for, keys.derived_at) = (marks, hour);
    }

    fn times(&self, vault: &Vault, now: u64) -> Times {
        let (rotation, keep) = (self.rotation.load(Ordering::Relaxed), self.keep.load(Ordering::Relaxed));
        let kind = vault.tiers().main().kind();
        // Only this process knows what is in its memory.
        let announce = if kind == BackendKind::Memory { 0 } else { (rotation / 4).clamp(ANNOUNCED_LEAST, ANNOUNCED) };
        Times { now, rotation, keep, announce, networked: kind.is_networked() }
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When things happen, in ms.
struct Times {
    now: u64,
    rotation: u64,
    keep: u64,
    announce: u64,
    networked: bool,
}

impl List {
    fn sealing(&self, now: u64) -> Option<&Epoch> {
        self.0.iter().find(|epoch| epoch.begins <= now)
    }

    /// Whether the next epoch has to be announced now. What a node with a wrong clock put far into the future does not count.
    fn is_due(&self, times: &Times) -> bool {
        let newest = self.newest(times);
        newest.is_none_or(|begins| begins.saturating_add(times.rotation) <= times.now.saturating_add(times.announce))
    }

    fn newest(&self, times: &Times) -> Option<u64> {
        let plausible = times.now.saturating_add(times.rotation).saturating_add(times.announce);
        self.0.iter().map(|epoch| epoch.begins).find(|begins| *begins <= plausible)
    }

    /// When an epoch that is made now begins: once all nodes know it. The first one of a host begins at once, since processes read before they serve.
    fn next(&self, times: &Times, at_once: bool) -> u64 {
        let soonest = times.now.saturating_add(times.announce);
        match self.newest(times) {
            None if !times.networked => times.now,
            Some(begins) if !at_once => soonest.max(begins.saturating_add(times.rotation)),
            None | Some(_) => soonest,
        }
    }

    fn add(&mut self, epoch: Epoch) {
        let place = self.0.partition_point(|known| known.begins > epoch.begins);
        self.0.insert(place, epoch);
        self.0.truncate(EPOCHS_MAX);
    }

    fn merge(&mut self, other: &Self) {
        for epoch in &other.0 {
            if self.0.iter().all(|known| known.id != epoch.id) {
                self.add(epoch.clone());
            }
        }
    }

    /// An epoch stopped sealing when its successor, the one before it in the list, began.
    fn erase(&mut self, now: u64, keep: u64) {
        let mut stopped = u64::MAX;
        self.0.retain(|epoch| {
            let kept = now.saturating_sub(stopped) <= keep;
            stopped = epoch.begins;
            kept
        });
    }

    fn has_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|epoch| other.0.iter().any(|known| known.id == epoch.id))
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(2 + EPOCHS_MAX * (8 + KEY));
        writer.u16(u16::try_from(self.0.len()).ok()?);
        for epoch in &self.0 {
            writer.u64(epoch.begins).array(&*epoch.secret);
        }
        writer.finish().ok()
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let count = usize::from(reader.u16()?);
        if count > EPOCHS_MAX {
            return Err(WireError::TooLong);
        }
        let mut list = Self::default();
        for _ in 0..count {
            let begins = reader.u64()?;
            list.add(Epoch::with(begins, Zeroizing::new(reader.array()?)));
        }
        reader.end()?;
        Ok(list)
    }
}

impl Epoch {
    fn with(begins: u64, secret: Zeroizing<[u8; KEY]>) -> Self {
        // Derived from a random secret: as good as random, and says nothing of it.
        Self { id: short(&seal::derive(&secret, &[b"epoch id"])), begins, secret }
    }

    fn random(begins: u64) -> Option<Self> {
        seal::random_key().ok().map(|secret| Self::with(begins, secret))
    }

    fn key(&self, session: SessionId) -> StateKey {
        StateKey { epoch: self.id, key: Arc::new(seal::derive(&self.secret, &[b"ticket state", &session.0.to_bytes()])) }
    }
}

fn short(key: &[u8; KEY]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&key[..8]);
    short
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The one id of its kind.
const ID: &[u8] = b"list";
/// More than a rotation each minute over the longest useful lifetime; more rotations than that erase the oldest early.
const EPOCHS_MAX: usize = 256;
/// Between two looks for unknown epochs, in ms: tickets of erased epochs must not make a read each.
const LEARN: u64 = 100;
/// From the making of an epoch to its first use, in ms: every node asks each second.
const ANNOUNCED: u64 = 5_000;
/// The same when epochs are short: two looks of every node.
const ANNOUNCED_LEAST: u64 = 2_500;
/// How long an epoch may seal beyond its time, in ms: then nobody could make the next one, and a derived one seals.
const LATE: u64 = 30_000;
/// A derived epoch seals for an hour, whatever the configuration says: nodes need not agree on anything but the secret.
const HOUR: u64 = 3_600_000;
/// Hours that derived epochs go back: the longest session lifetime and rotation, a week each.
const DERIVED_MOST: u64 = 2 * 7 * 24;
/// The list lives at least this long in the store without anybody who renews it, in ms.
const STORED_LEAST: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::tls::tests::kit::{vault, vault_with};

    fn epochs() -> Epochs {
        Epochs::new(Duration::from_secs(3600), Duration::from_secs(1800))
    }

    fn sealing(epochs: &Epochs, now: u64) -> EpochId {
        epochs.sealing(SessionId::now(), now).unwrap().epoch
    }

    fn opens(epochs: &Epochs, id: EpochId) -> bool {
        epochs.key(id, SessionId::now()).is_some()
    }

    const START: u64 = 1_800_000_000_000;

    #[tokio::test]
    async fn epochs_rotate_on_time_and_are_erased_when_no_ticket_needs_them() {
        let (vault, epochs) = (vault(), epochs());
        epochs.tend(&vault, START, false).await.unwrap();
        let first = sealing(&epochs, START);
        epochs.tend(&vault, START + HOUR - 1, false).await.unwrap();
        assert_eq!(sealing(&epochs, START + HOUR - 1), first);
        epochs.tend(&vault, START + HOUR, false).await.unwrap();
        let second = sealing(&epochs, START + HOUR);
        assert_ne!(second, first);
        // The first stopped sealing at 1 h; its last ticket may be used until 1 h 30, and it is kept one rotation longer.
        epochs.tend(&vault, START + HOUR * 5 / 2, false).await.unwrap();
        assert!(opens(&epochs, first));
        epochs.tend(&vault, START + HOUR * 5 / 2 + 1, false).await.unwrap();
        assert!(!opens(&epochs, first) && opens(&epochs, second));
        let another = self::epochs();
        another.tend(&vault, START + HOUR * 5 / 2 + 1, false).await.unwrap();
        assert!(!opens(&another, first), "the store has forgotten it too");
    }

    #[tokio::test]
    async fn of_nodes_that_start_or_rotate_at_once_one_makes_the_epoch() {
        let vault = vault();
        let nodes: Vec<Arc<Epochs>> = (0..8).map(|_| Arc::new(epochs())).collect();
        let all = async |now| {
            let one = |node: &Arc<Epochs>| (node.clone(), vault.clone());
            let tending: tokio::task::JoinSet<_> =
                nodes.iter().map(one).map(|(node, vault)| async move { node.tend(&vault, now, false).await.unwrap() }).collect();
            tending.join_all().await;
        };
        for now in [START, START + HOUR, START + 2 * HOUR] {
            all(now).await;
            all(now).await;
            assert!(nodes.iter().all(|node| sealing(node, now) == sealing(&nodes[0], now)));
        }
        assert_eq!(nodes[0].lock().agreed.0.len(), 3);
    }

    #[tokio::test]
    async fn any_number_of_rotations_is_bounded() {
        let (vault, epochs) = (vault(), epochs());
        for n in 0..EPOCHS_MAX as u64 + 50 {
            epochs.tend(&vault, START + n, true).await.unwrap();
        }
        assert_eq!(epochs.lock().agreed.0.len(), EPOCHS_MAX);
    }

    #[tokio::test]
    async fn a_store_that_lost_the_list_gets_it_again_and_forgets_nobody() {
        let (old, new, a, b) = (vault(), vault(), epochs(), epochs());
        a.tend(&old, START, false).await.unwrap();
        let first = sealing(&a, START);
        b.tend(&new, START + 1000, false).await.unwrap();
        a.tend(&new, START + 2000, false).await.unwrap();
        b.tend(&new, START + 3000, false).await.unwrap();
        assert!(opens(&b, first));
        assert_eq!(sealing(&a, START + 3000), sealing(&b, START + 3000));
    }

    #[tokio::test]
    async fn without_a_store_every_node_derives_the_same_and_random_ones_come_back() {
        let (vault, a, b) = (vault_with(&[&[7; 32]]), epochs(), epochs());
        // Nobody could ever agree on anything.
        a.derive(&vault, START);
        b.derive(&vault_with(&[&[9; 32], &[7; 32]]), START - 3_000_000);
        let derived = sealing(&a, START);
        assert!(opens(&b, derived), "under a secret that does not seal, and with a clock that is late");
        let stranger = epochs();
        stranger.derive(&vault_with(&[&[8; 32]]), START);
        assert!(!opens(&stranger, derived));
        a.tend(&vault, START + 1000, false).await.unwrap();
        let random = sealing(&a, START + 1000);
        assert_ne!(random, derived);
        assert!(opens(&a, derived), "tickets of the time without a store stay good");
        // Nobody could rotate for an hour: derived ones seal again.
        a.derive(&vault, START + 2 * HOUR);
        assert!(![random, derived].contains(&sealing(&a, START + 2 * HOUR)));
    }

    #[tokio::test]
    async fn who_missed_an_announcement_learns_from_the_ticket() {
        let (vault, a, b) = (vault(), epochs(), epochs());
        b.tend(&vault, START, false).await.unwrap();
        a.tend(&vault, START + 1000, true).await.unwrap();
        let id = sealing(&a, START + 1000);
        assert!(!b.knows(id));
        b.learn(&vault, id, START + 1000).await;
        assert!(b.knows(id));
        a.tend(&vault, START + 1010, true).await.unwrap();
        let next = sealing(&a, START + 1010);
        b.learn(&vault, next, START + 1010).await;
        assert!(!b.knows(next), "not twice in a tenth of a second");
        b.learn(&vault, next, START + 1200).await;
        assert!(b.knows(next));
    }

    #[tokio::test]
    async fn an_epoch_from_a_wrong_clock_stops_no_rotation() {
        let (vault, wrong, right) = (vault(), epochs(), epochs());
        wrong.tend(&vault, START + 100 * HOUR, false).await.unwrap();
        right.tend(&vault, START, false).await.unwrap();
        let sealed = right.sealing(SessionId::now(), START).unwrap().epoch;
        assert!(right.lock().agreed.0.iter().any(|epoch| epoch.id == sealed), "a random one, begun by the right clock");
    }

    #[test]
    fn shared_epochs_are_announced_before_they_seal() {
        let times = Times { now: START, rotation: HOUR, keep: 2 * HOUR, announce: ANNOUNCED, networked: true };
        let mut list = List::default();
        assert_eq!(list.next(&times, false), START + ANNOUNCED, "the first of a cluster: somebody may serve already");
        list.add(Epoch::random(START).unwrap());
        let later = |now| Times { now, ..times };
        assert!(!list.is_due(&later(START + HOUR - ANNOUNCED - 1)));
        assert!(list.is_due(&later(START + HOUR - ANNOUNCED)));
        assert_eq!(list.next(&later(START + HOUR - ANNOUNCED), false), START + HOUR);
        assert_eq!(list.next(&later(START + 10), true), START + 10 + ANNOUNCED);
        assert_eq!(List::default().next(&Times { networked: false, ..times }, false), START);
    }

    #[test]
    fn a_list_is_read_back_and_nothing_else_is_taken_for_one() {
        let mut list = List::default();
        (0..5).for_each(|n| list.add(Epoch::random(START + n).unwrap()));
        let bytes = list.encode().unwrap();
        let back = List::decode(&bytes).unwrap();
        assert!(back.has_same(&list) && back.0[0].begins == START + 4);
        for cut in 0..bytes.len() {
            assert!(List::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(List::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(List::decode(&[0xff; 20_000]).is_err());
    }
}
