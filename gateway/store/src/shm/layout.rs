//! How the bytes of the segment are divided, and what a slot looks like. Version 1.
//!
//! Gets: a size; heads and bodies of slots as bytes, which may be hostile. Gives: offsets; heads, or nothing.
//! Never: a file. Every number read from the segment is checked before it is used.

use aws_lc_rs::digest;

/// Where everything is.
///
/// A file head of one page, then for each of three classes of values (448, 4,032, 65,536 bytes) all slot heads, then all bodies. A key has one window of slots in
/// each class, always in its own stripe. Integers are little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) size: u64,
    pub(crate) classes: [Class; CLASSES],
}

/// One class of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Slots of a window.
    pub(crate) ways: usize,
    /// Windows, a multiple of the stripes.
    windows: u64,
    heads_at: u64,
    bodies_at: u64,
}

impl Geometry {
    /// For a file of `size` bytes.
    ///
    /// # Errors
    /// The least size that works.
    pub(crate) fn new(size: u64) -> Result<Self, u64> {
        let least = HEADER + SHAPES.iter().map(|shape| shape.window() * STRIPES).sum::<u64>();
        let spare = size.checked_sub(least).ok_or(least)?;
        let mut at = HEADER;
        let classes = SHAPES.map(|shape| {
            let windows = STRIPES * (1 + spare * shape.percent / 100 / (shape.window() * STRIPES));
            let slots = windows * shape.ways as u64;
            let class = Class { body: shape.body, ways: shape.ways, windows, heads_at: at, bodies_at: at + slots * HEAD as u64 };
            at = class.bodies_at + slots * shape.body as u64;
            class
        });
        Ok(Self { size, classes })
    }

    /// The file's head: magic, version, size, checksum.
    pub(crate) fn header(&self) -> [u8; HEADER_USED] {
        let mut header = [0; HEADER_USED];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        header[12..20].copy_from_slice(&self.size.to_le_bytes());
        let sum = crc32fast::hash(&header[..20]);
        header[20..].copy_from_slice(&sum.to_le_bytes());
        header
    }
}

impl Class {
    /// Slots in all.
    pub(crate) fn slots(&self) -> u64 {
        self.windows * self.ways as u64
    }

    /// The first slot of a key's window.
    pub(crate) fn window(&self, name: &Name) -> u64 {
        let windows_of_a_stripe = self.windows / STRIPES;
        (name.place % windows_of_a_stripe * STRIPES + name.stripe as u64) * self.ways as u64
    }

    pub(crate) fn head_at(&self, slot: u64) -> u64 {
        self.heads_at + slot * HEAD as u64
    }

    pub(crate) fn body_at(&self, slot: u64) -> u64 {
        self.bodies_at + slot * self.body as u64
    }
}

/// A key as the segment knows it: 128 bits of its hash, its stripe and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) id: [u8; 16],
    pub(crate) stripe: usize,
    place: u64,
}

impl Name {
    pub(crate) fn of(key: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, key.as_bytes());
        let byte = |at: usize| hash.as_ref().get(at).copied().unwrap_or_default();
        let place = (16..24).fold(0, |place, at| place << 8 | u64::from(byte(at)));
        Self { id: std::array::from_fn(byte), stripe: usize::from(byte(24)) % STRIPES as usize, place }
    }
}

/// The head of a slot that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    sum: u32,
    pub(crate) length: usize,
    pub(crate) id: [u8; 16],
    /// Unix milliseconds; 0 is without end.
    pub(crate) end: u64,
    /// Unix milliseconds, about. Not under the checksum: readers write it without a lock.
    pub(crate) used: u64,
}

impl Head {
    pub(crate) fn new(id: [u8; 16], end: u64, used: u64, body: &[u8]) -> Self {
        let mut head = Self { sum: 0, length: body.len(), id, end, used };
        head.sum = head.checksum(body);
        head
    }

    /// Whether this body belongs to this head, undamaged.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.length && self.checksum(body) == self.sum
    }

    pub(crate) fn ended(&self, now: u64) -> bool {
        self.end != 0 && self.end <= now
    }

    pub(crate) fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&self.sum.to_le_bytes());
        // A body is at most 64 KiB: its length fits.
        bytes[4..8].copy_from_slice(&u32::try_from(self.length).unwrap_or(0).to_le_bytes());
        bytes[8..24].copy_from_slice(&self.id);
        bytes[24..32].copy_from_slice(&self.end.to_le_bytes());
        bytes[USED..].copy_from_slice(&self.used.to_le_bytes());
        bytes
    }

    /// `None`: the slot is free, or what is there cannot be a head of this class.
    pub(crate) fn from_bytes(bytes: &[u8], class: &Class) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let length = usize::try_from(word(4)).ok().filter(|length| (1..=class.body).contains(length))?;
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[8..24]);
        Some(Self { sum: word(0), length, id, end: long(24), used: long(USED) })
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&(self.length as u64).to_le_bytes());
        sum.update(&self.id);
        sum.update(&self.end.to_le_bytes());
        sum.update(body);
        sum.finalize()
    }
}

struct Shape {
    body: usize,
    ways: usize,
    percent: u64,
}

impl Shape {
    const fn window(&self) -> u64 {
        (self.ways * (HEAD + self.body)) as u64
    }
}

/// TLS sessions without client certificates are about 140 bytes sealed, staples and sessions with certificates a few KiB.
const SHAPES: [Shape; CLASSES] =
    [Shape { body: 448, ways: 8, percent: 50 }, Shape { body: 4032, ways: 8, percent: 25 }, Shape { body: crate::backend::VALUE_MAX, ways: 2, percent: 25 }];
const CLASSES: usize = 3;
/// Parts of the segment with a lock each.
pub(crate) const STRIPES: u64 = 8;
/// Another layout has another number, and so another directory.
pub(crate) const LAYOUT: u32 = 1;
/// Bytes of a slot's head.
pub(crate) const HEAD: usize = 40;
/// Where in the head the time of last use stands.
pub(crate) const USED: usize = 32;
const HEADER: u64 = 4096;
pub(crate) const HEADER_USED: usize = 24;
const MAGIC: &[u8; 8] = b"FTPSSEGM";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_size_from_the_least_on_is_divided_without_overlap() {
        let least = Geometry::new(0).unwrap_err();
        assert!(least < 2 * 1024 * 1024, "{least}");
        assert_eq!(Geometry::new(least - 1), Err(least));
        for size in [least, least + 1, 2 << 20, 16 << 20, 100_000_007, 1 << 33] {
            let geometry = Geometry::new(size).unwrap();
            let mut at = HEADER;
            for class in geometry.classes {
                assert_eq!(class.heads_at, at);
                assert_eq!(class.bodies_at, class.head_at(class.slots()));
                assert_eq!(class.windows % STRIPES, 0);
                at = class.body_at(class.slots());
            }
            assert!(at <= size, "{at} of {size}");
        }
        let small = Geometry::new(16 << 20).unwrap().classes[0];
        assert!(small.slots() > 14_000, "16 MiB hold {} small values", small.slots());
    }

    #[test]
    fn a_window_belongs_to_one_stripe_in_every_class() {
        let geometry = Geometry::new(16 << 20).unwrap();
        for class in geometry.classes {
            let mut stripe_of = std::collections::HashMap::new();
            for n in 0..5000 {
                let name = Name::of(&format!("key {n}"));
                let window = class.window(&name);
                assert!(window + class.ways as u64 <= class.slots());
                assert_eq!(*stripe_of.entry(window).or_insert(name.stripe), name.stripe);
            }
        }
    }

    #[test]
    fn a_head_is_read_as_written_and_every_flipped_bit_is_seen() {
        let class = Geometry::new(16 << 20).unwrap().classes[0];
        let body = b"some value";
        let head = Head::new([7; 16], 99, 5, body);
        let bytes = head.to_bytes();
        assert_eq!(Head::from_bytes(&bytes, &class), Some(head));
        assert!(head.fits(body) && !head.fits(b"some valuf") && !head.fits(b"some valu"));
        for bit in 0..USED * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::from_bytes(&bad, &class).is_none_or(|head| !head.fits(body)), "bit {bit}");
        }
    }

    #[test]
    fn lengths_beyond_a_body_and_free_slots_are_nothing() {
        let class = Geometry::new(16 << 20).unwrap().classes[0];
        let mut bytes = Head::new([7; 16], 0, 0, b"x").to_bytes();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Head::from_bytes(&bytes, &class), None);
        assert_eq!(Head::from_bytes(&[0; HEAD], &class), None);
        assert_eq!(Head::from_bytes(&[1; HEAD - 1], &class), None);
    }
}
