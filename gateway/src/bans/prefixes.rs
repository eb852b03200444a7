//! Networks by prefix length: one hash table for each length that is in use.
//!
//! Gets: prefixes with a number each. Gives: the numbers of all prefixes that hold an address, the longest first: one probe for each length in use.
//! Never: walks the entries; a million hosts cost one probe, as one does. Hashes are keyed: clients choose addresses.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// An address as a number.
pub(super) trait Bits: Copy + Eq + Hash {
    /// Without what is behind the first `length` bits.
    fn cut(self, length: u8) -> Self;
}

impl Bits for u32 {
    fn cut(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0)
    }
}

impl Bits for u64 {
    fn cut(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(64_u32.saturating_sub(length.into())).unwrap_or(0)
    }
}

/// Prefixes, each with a number.
#[derive(Debug)]
pub(super) struct Prefixes<K> {
    /// The longest first.
    lengths: Vec<(u8, HashMap<K, u32, Keyed>)>,
    keyed: Keyed,
}

impl<K: Bits> Prefixes<K> {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self { lengths: Vec::new(), keyed }
    }

    /// The number of exactly this prefix.
    pub(super) fn exactly(&self, key: K, length: u8) -> Option<u32> {
        let (_, table) = self.lengths.iter().find(|(one, _)| *one == length)?;
        table.get(&key).copied()
    }

    /// Sets the number of a prefix, and gives the one before.
    pub(super) fn set(&mut self, key: K, length: u8, number: u32) -> Option<u32> {
        let place = match self.lengths.binary_search_by(|(one, _)| length.cmp(one)) {
            Ok(place) => place,
            Err(place) => {
                self.lengths.insert(place, (length, HashMap::with_hasher(self.keyed)));
                place
            }
        };
        self.lengths[place].1.insert(key, number)
    }

    /// Forgets a prefix, and its length with the last one.
    pub(super) fn remove(&mut self, key: K, length: u8) {
        if let Ok(place) = self.lengths.binary_search_by(|(one, _)| length.cmp(one)) {
            self.lengths[place].1.remove(&key);
            if self.lengths[place].1.is_empty() {
                self.lengths.remove(place);
            }
        }
    }

    /// The numbers of all prefixes that hold this address.
    pub(super) fn holding(&self, address: K) -> impl Iterator<Item = u32> {
        self.lengths.iter().filter_map(move |(length, table)| table.get(&address.cut(*length)).copied())
    }
}

/// Hashes integers by one wide multiplication under a random key of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed([u64; 2]);

/// One hash in the making.
#[derive(Debug)]
pub(super) struct Mixing {
    state: u64,
    key: u64,
}

impl Keyed {
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        // Without randomness there is no TLS either; a fixed key still hashes.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let number = u128::from_be_bytes(bytes);
        Self([(number >> 64) as u64, number as u64 | 1])
    }
}

impl BuildHasher for Keyed {
    type Hasher = Mixing;

    fn build_hasher(&self) -> Mixing {
        Mixing { state: self.0[0], key: self.0[1] }
    }
}

impl Hasher for Mixing {
    /// Once more through the product: one round leaves the low bits of some keys uneven.
    fn finish(&self) -> u64 {
        let wide = u128::from(self.state).wrapping_mul(u128::from(self.key.rotate_left(32) | 1));
        let mixed = (wide >> 64) as u64 ^ wide as u64;
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let wide = u128::from(self.state ^ number).wrapping_mul(u128::from(self.key ^ ODD));
        self.state = (wide >> 64) as u64 ^ wide as u64;
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }
}

/// Far from having many zeros.
const ODD: u64 = 0x9e37_79b9_7f4a_7c14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_all_its_networks_the_longest_first() {
        let mut four = Prefixes::<u32>::new(Keyed::random());
        let address = u32::from(std::net::Ipv4Addr::new(203, 0, 113, 7));
        for length in [24_u8, 0, 32, 8] {
            four.set(address.cut(length), length, u32::from(length));
        }
        assert_eq!(four.holding(address).collect::<Vec<_>>(), [32, 24, 8, 0]);
        assert_eq!(four.holding(address ^ 1).collect::<Vec<_>>(), [24, 8, 0]);
        assert_eq!(four.holding(0).collect::<Vec<_>>(), [0]);
        assert_eq!((four.exactly(address, 32), four.exactly(address, 24)), (Some(32), None));
        four.remove(address.cut(24), 24);
        assert_eq!(four.holding(address).collect::<Vec<_>>(), [32, 8, 0]);
        assert_eq!(four.lengths.len(), 3);
    }

    #[test]
    fn neighbours_fall_far_apart() {
        let keyed = Keyed::random();
        let mut low = [0_u32; 256];
        (0_u32..65_536).for_each(|number| low[(keyed.hash_one(number) & 255) as usize] += 1);
        assert!(low.iter().all(|count| (100..500).contains(count)), "{low:?}");
    }
}
