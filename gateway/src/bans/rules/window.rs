//! Counts in a sliding window, one for each target, in bounded memory.
//!
//! Gets: targets that did something, with the time. Gives: how often they did within the window: what is younger than it counts, what is older by more than a
//! sixteenth of it does not. Never: keeps more than two generations of 16,384 targets; a flood of new ones makes us forget others early, not grow.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::target::Target;

/// The counts of one rule.
#[derive(Debug)]
pub(super) struct Windows {
    slot: Duration,
    began: Instant,
    young: HashMap<Target, Window>,
    old: HashMap<Target, Window>,
    turned: Instant,
}

/// The counts of one target.
#[derive(Clone, Copy, Debug)]
struct Window {
    slots: [u16; SLOTS],
    last: u64,
}

impl Windows {
    pub(super) fn new(within: Duration, now: Instant) -> Self {
        let slot = (within / PARTS).max(Duration::from_millis(1));
        Self { slot, began: now, young: HashMap::new(), old: HashMap::new(), turned: now }
    }

    /// Counts, and gives the sum of the window.
    pub(super) fn add(&mut self, target: &Target, times: u32, now: Instant) -> u32 {
        self.turn(now);
        let slot = u64::try_from(now.saturating_duration_since(self.began).as_nanos() / self.slot.as_nanos()).unwrap_or(u64::MAX);
        let known = self.young.get(target).or_else(|| self.old.get(target)).copied();
        let mut window = known.unwrap_or(Window { slots: [0; SLOTS], last: slot });
        window.advance(slot);
        let place = &mut window.slots[(window.last % SLOTS as u64) as usize];
        *place = place.saturating_add(u16::try_from(times).unwrap_or(u16::MAX));
        let sum = window.slots.iter().map(|count| u32::from(*count)).sum();
        match self.young.get_mut(target) {
            Some(young) => *young = window,
            None => drop(self.young.insert(target.clone(), window)),
        }
        sum
    }

    /// The target begins anew.
    pub(super) fn reset(&mut self, target: &Target) {
        self.young.remove(target);
        self.old.remove(target);
    }

    fn turn(&mut self, now: Instant) {
        // Whoever did nothing for a whole window has no count any more.
        if now.saturating_duration_since(self.turned) >= self.slot * (PARTS + 1) || self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Window {
    /// Empties the slots between the last one and this.
    fn advance(&mut self, slot: u64) {
        let passed = slot.saturating_sub(self.last);
        if passed >= SLOTS as u64 {
            self.slots = [0; SLOTS];
        } else {
            (1..=passed).for_each(|step| self.slots[((self.last + step) % SLOTS as u64) as usize] = 0);
        }
        self.last = self.last.max(slot);
    }
}

/// Parts of a window.
const PARTS: u32 = 16;
/// One more than parts: the first is only partly inside.
const SLOTS: usize = 17;
/// Targets of one generation.
const GENERATION: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn target(number: u32) -> Target {
        Target::host(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let mut windows = Windows::new(Duration::from_secs(160), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let counts: Vec<u32> = [0, 1, 100, 159, 171, 260, 1000].into_iter().map(|seconds| windows.add(&target(1), 1, at(seconds))).collect();
        assert_eq!(counts, [1, 2, 3, 4, 3, 4, 1], "the first two are older than 160 s at 171 s, all before at 1000 s");
        assert_eq!(windows.add(&target(2), 5, at(1000)), 5);
        windows.reset(&target(2));
        assert_eq!(windows.add(&target(2), 1, at(1000)), 1);
    }

    #[test]
    fn a_flood_stays_within_two_generations_and_the_last_are_known() {
        let start = Instant::now();
        let mut windows = Windows::new(Duration::from_secs(600), start);
        (0..200_000).for_each(|number| assert_eq!(windows.add(&target(number), 1, start), 1));
        assert!(windows.len() <= 2 * GENERATION);
        assert_eq!(windows.add(&target(199_999), 1, start), 2);
    }
}
