//! Parts of the ban book that the store had and has no more: evicted for want of memory, or gone with all it held.
//!
//! Gets: which parts the store says it has, and which it was found to lack. Gives: counts, one log line for each occurrence with what to do, whether its copy can be relied on.
//! Never: takes a part that was never written for a lost one; forgets a ban: what the store lost, this node has and writes again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What this node knows of the parts in the store.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// One bit for each part that the store's head names, but for those that were found lost.
    there: Vec<u8>,
    lost: u64,
    /// When the last part was missed of which the head said that it is there.
    last: Option<Instant>,
    /// Since the last line about it.
    unsaid: u64,
    said: Option<Instant>,
}

impl Losses {
    /// The store's head names these parts; none: it has no head. Whatever is in it stays in it, unless the store was emptied.
    pub(super) fn names(&self, used: &[u8]) {
        let mut state = self.state();
        let gone = |(place, before): (usize, &u8)| (before & !used.get(place).copied().unwrap_or(0)).count_ones();
        let parts: u32 = state.there.iter().enumerate().map(gone).sum();
        used.clone_into(&mut state.there);
        if parts > 0 {
            state.lost += u64::from(parts);
            tracing::warn!(
                parts,
                "the store has lost its copy of the ban book, which this node writes again: it was emptied, or has too little memory; then give it more (memcached: -m; Redis: maxmemory; shm: ?size=)"
            );
        }
    }

    /// The store has nothing under this part.
    pub(super) fn lacks(&self, bucket: usize, now: Instant) {
        let mut state = self.state();
        let bit = 1 << (bucket % 8);
        let Some(byte) = state.there.get_mut(bucket / 8).filter(|byte| **byte & bit != 0) else { return };
        // Whoever finds it next finds what is written now.
        *byte &= !bit;
        state.lost += 1;
        state.last = Some(now);
        state.unsaid += 1;
        if state.said.is_none_or(|said| now.duration_since(said) >= QUIET) {
            tracing::warn!(
                parts = state.unsaid,
                "the store loses parts of the ban book, which this node writes again: it has too little memory; give it more (memcached: -m; Redis: maxmemory; shm: ?size=)"
            );
            (state.unsaid, state.said) = (0, Some(now));
        }
    }

    /// Parts lost since the start of this node.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Whether the store loses parts while it runs, so that what it took may be gone a moment later.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        self.state().last.is_some_and(|last| now.duration_since(last) < RECENTLY)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two lines about losses that go on.
const QUIET: Duration = Duration::from_secs(600);
/// All parts of a full book are looked at within this time.
const RECENTLY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_store_had_can_be_lost_and_each_loss_counts_once() {
        let (losses, now) = (Losses::default(), Instant::now());
        losses.lacks(9, now);
        assert!(losses.lost() == 0 && !losses.goes_on(now), "never written");
        losses.names(&[0, 0b10]);
        losses.lacks(8, now);
        losses.lacks(9, now);
        losses.lacks(9, now);
        assert_eq!(losses.lost(), 1);
        assert!(losses.goes_on(now) && !losses.goes_on(now + RECENTLY));
        losses.names(&[0, 0b10]);
        losses.lacks(9, now + RECENTLY);
        assert_eq!(losses.lost(), 2);
    }

    #[test]
    fn an_emptied_store_lost_all_at_once_and_does_not_go_on_losing() {
        let (losses, now) = (Losses::default(), Instant::now());
        losses.names(&[0xff, 1]);
        losses.names(&[0x0f, 1]);
        losses.names(&[]);
        losses.names(&[]);
        losses.lacks(3, now);
        assert_eq!((losses.lost(), losses.goes_on(now)), (9, false));
    }
}
