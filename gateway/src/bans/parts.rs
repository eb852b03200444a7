//! A book in parts, so that two books can be compared and mended part by part; and how much is in one.
//!
//! Gets: ids. Gives: the part that an id belongs to, and its share of the part's number: the same on every node, in every version.
//! Never: a part that somebody can choose: the last bits of an id are random.

use crate::observe::id::BanId;

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bans by administrators.
    pub admin: usize,
    /// Bans by rules.
    pub rule: usize,
    /// Removed bans that are remembered.
    pub removed: usize,
    /// Automatic bans that found no room so far.
    pub dropped: u64,
}

/// Which part of a book an id belongs to: its last bits are random.
pub fn bucket_of(id: BanId) -> usize {
    let [.., high, low] = id.0.to_bytes();
    usize::from(u16::from_be_bytes([high, low])) % BUCKETS
}

/// An entry's share of its part's number: the same on every node, in every version (the finaliser of SplitMix64).
pub(super) fn mark(id: BanId, removed: bool) -> u64 {
    let bytes = id.0.to_bytes();
    let (high, low) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let mut mixed = word(high).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word(low) ^ if removed { 0xd1b5_4a32_d192_ed03 } else { 0 };
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Parts of a book.
pub const BUCKETS: usize = 4096;
