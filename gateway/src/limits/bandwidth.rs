//! How fast bytes may move: a token bucket for each session and one for all sessions of a user on this node.
//!
//! Gets: how many bytes have moved. Gives: how long to wait before more, and whose limit says so.
//! Never: waits itself, holds a byte, or lets a share grow beyond one second of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Limit;

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
    /// When all that was taken is paid for.
    even_at: Mutex<Option<Instant>>,
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
        Self { per_second: per_second.max(1), even_at: Mutex::default() }
    }

    pub(super) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Takes so many bytes; how long until they are paid for.
    fn take(&self, bytes: usize, now: Instant) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.per_second);
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A full bucket holds one second.
        let full = now.checked_sub(FULL).unwrap_or(now);
        let even = even_at.map_or(full, |even| even.max(full)) + price;
        *even_at = Some(even);
        even.saturating_duration_since(now)
    }
}

/// What a bucket holds when nobody took anything, in time.
const FULL: Duration = Duration::from_secs(1);

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
}
