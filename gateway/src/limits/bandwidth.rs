//! How fast bytes may move: a token bucket for each session and one for all sessions of a user, whose speed is shared with those of other nodes.
//!
//! Nodes tell each other twice a second how fast a user is with them and whether it could be faster; those where it could split evenly what the others leave.
//! Gets: how many bytes have moved here, how fast they do elsewhere. Gives: how long to wait before more, and whose limit says so.
//! Never: waits itself, holds a byte, or lets a share grow beyond one second of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Limit, lock};
use crate::observe::id::Incarnation;

/// The speed of one session: its own share and its user's. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    own: Option<Arc<Bucket>>,
    of_user: Option<Arc<Bucket>>,
}

/// So many bytes a second, both directions together. Whoever takes more than is there owes the rest, and everybody of this bucket waits behind it: sessions
/// of one user take turns, piece by piece.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// What other nodes leave of it.
    share: AtomicU64,
    /// When all that was taken is paid for.
    even_at: Mutex<Option<Instant>>,
    /// Bytes since this was asked last.
    moved: AtomicU64,
    /// Somebody had to wait since then.
    waited: AtomicBool,
    others: Mutex<HashMap<Incarnation, Other>>,
}

/// The same user at another node.
#[derive(Clone, Copy, Debug)]
struct Other {
    rate: u64,
    wants_more: bool,
    told: Instant,
}

impl Pace {
    pub(super) fn new(own: Option<u64>, of_user: Option<Arc<Bucket>>) -> Self {
        Self { own: own.map(|per_second| Arc::new(Bucket::new(per_second))), of_user }
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.own.is_some() || self.of_user.is_some()
    }

    /// So many bytes have moved: how long to wait before the next ones, and for which limit. `None`: no time.
    pub fn moved(&self, bytes: usize, now: Instant) -> Option<(Duration, Limit)> {
        let wait = |bucket: &Option<Arc<Bucket>>, limit| bucket.as_ref().map(|bucket| (bucket.take(bytes, now), limit));
        let waits = [wait(&self.own, Limit::BandwidthPerSession), wait(&self.of_user, Limit::BandwidthPerUser)];
        waits.into_iter().flatten().filter(|(wait, _)| !wait.is_zero()).max_by_key(|(wait, _)| *wait)
    }
}

impl Bucket {
    pub(super) fn new(per_second: u64) -> Self {
        let per_second = per_second.max(1);
        let (share, moved, waited) = (AtomicU64::new(per_second), AtomicU64::default(), AtomicBool::default());
        Self { per_second, share, even_at: Mutex::default(), moved, waited, others: Mutex::default() }
    }

    pub(super) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Takes so many bytes; how long until they are paid for.
    fn take(&self, bytes: usize, now: Instant) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.share.load(Ordering::Relaxed));
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut even_at = lock(&self.even_at);
        // A full bucket holds one second.
        let full = now.checked_sub(FULL).unwrap_or(now);
        let even = even_at.map_or(full, |even| even.max(full)) + price;
        *even_at = Some(even);
        let wait = even.saturating_duration_since(now);
        if !wait.is_zero() {
            self.waited.store(true, Ordering::Relaxed);
        }
        wait
    }

    /// How fast it was since this was asked last, that long ago, and whether it could be faster; `None`: nothing moves.
    pub(super) fn speed(&self, since: Duration, now: Instant) -> Option<(u64, bool)> {
        self.split(now);
        let moved = self.moved.swap(0, Ordering::Relaxed);
        let wants_more = self.waited.swap(false, Ordering::Relaxed) || lock(&self.even_at).is_some_and(|even| even > now);
        let rate = moved.saturating_mul(1_000) / u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        (rate > 0 || wants_more).then_some((rate, wants_more))
    }

    /// So fast is the same user at another node.
    pub(super) fn hear(&self, node: Incarnation, rate: u64, wants_more: bool, now: Instant) {
        lock(&self.others).insert(node, Other { rate, wants_more, told: now });
        self.split(now);
    }

    /// What is left by those nodes that could not be faster is split evenly among the others and this one.
    fn split(&self, now: Instant) {
        let mut others = lock(&self.others);
        others.retain(|_, other| now.saturating_duration_since(other.told) < HEARD);
        let content: u64 = others.values().filter(|other| !other.wants_more).map(|other| other.rate).fold(0, u64::saturating_add);
        let wanting = others.values().filter(|other| other.wants_more).count() as u64;
        let share = self.per_second.saturating_sub(content) / (1 + wanting);
        self.share.store(share.max(self.per_second / LEAST).max(1), Ordering::Relaxed);
    }
}

/// What a bucket holds when nobody took anything, in time.
const FULL: Duration = Duration::from_secs(1);
/// How long a word of another node holds.
const HEARD: Duration = Duration::from_millis(1500);
/// A node has at least this part of the speed, whatever others say.
const LEAST: u64 = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn a_bucket_holds_a_second_and_is_refilled_evenly() {
        let (bucket, start) = (Bucket::new(64 * KIB as u64), Instant::now());
        assert_eq!(bucket.take(64 * KIB, start), Duration::ZERO);
        assert_eq!(bucket.take(32 * KIB, start), Duration::from_millis(500));
        // Who has waited may go on; an hour's rest saves up one second.
        assert_eq!(bucket.take(64 * KIB, start + Duration::from_millis(1500)), Duration::ZERO);
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.take(128 * KIB, later), Duration::from_secs(1));
    }

    #[test]
    fn all_of_a_bucket_together_are_as_fast_as_one() {
        let (bucket, start) = (Bucket::new(100 * KIB as u64), Instant::now());
        let (mut now, mut waits, mut moved) = (start, [start; 4], 0);
        while now < start + Duration::from_secs(20) {
            let next = (0..4).min_by_key(|session| waits[*session]).unwrap();
            now = waits[next].max(now);
            waits[next] = now + bucket.take(10 * KIB, now);
            moved += 10 * KIB;
        }
        assert!((2000 * KIB..=2150 * KIB).contains(&moved), "{moved}");
    }

    #[test]
    fn the_longer_wait_holds_and_names_its_limit() {
        let now = Instant::now();
        let pace = Pace::new(Some(KIB as u64), Some(Arc::new(Bucket::new(10 * KIB as u64))));
        assert_eq!(pace.moved(KIB, now), None);
        assert_eq!(pace.moved(KIB, now), Some((Duration::from_secs(1), Limit::BandwidthPerSession)));
        let sibling = Pace::new(None, pace.of_user.clone());
        assert_eq!(sibling.moved(18 * KIB, now), Some((Duration::from_secs(1), Limit::BandwidthPerUser)));
        assert!(!Pace::default().is_limited() && Pace::default().moved(usize::MAX, now).is_none());
    }

    #[test]
    fn what_one_node_leaves_another_one_has() {
        let (bucket, start) = (Bucket::new(900), Instant::now());
        let [a, b] = [0; 2].map(|_| Incarnation::now());
        assert_eq!(bucket.speed(Duration::from_millis(500), start), None);
        bucket.take(1800, start);
        assert_eq!(bucket.speed(Duration::from_millis(500), start), Some((3600, true)));
        let share = || bucket.share.load(Ordering::Relaxed);
        bucket.hear(a, 900, true, start);
        assert_eq!(share(), 450);
        bucket.hear(b, 300, false, start);
        assert_eq!(share(), 300, "600 for two");
        bucket.hear(b, 5000, false, start);
        assert_eq!(share(), 900 / LEAST);
        bucket.speed(Duration::from_millis(500), start + HEARD);
        assert_eq!(share(), 900, "nobody else says anything");
    }
}
