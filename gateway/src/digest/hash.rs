//! Several digests of the same bytes at once.
//!
//! Gets: a set of algorithms, then the bytes in order. Gives: the digests. Never: sees a file.

use std::sync::Arc;

use ftps_proto::digest::{Algorithm, Algorithms};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

/// Digests under way.
#[derive(Clone, Default)]
pub struct Hashers {
    crc32: Option<crc32fast::Hasher>,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    sha512: Option<Box<Sha512>>,
    bytes: u64,
}

/// Digests of the same bytes. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Arc<Vec<(Algorithm, Vec<u8>)>>);

impl Hashers {
    /// For these algorithms.
    pub fn new(algorithms: Algorithms) -> Self {
        Self {
            crc32: algorithms.contains(Algorithm::Crc32).then(crc32fast::Hasher::new),
            md5: algorithms.contains(Algorithm::Md5).then(Md5::new),
            sha1: algorithms.contains(Algorithm::Sha1).then(Sha1::new),
            sha256: algorithms.contains(Algorithm::Sha256).then(Sha256::new),
            sha512: algorithms.contains(Algorithm::Sha512).then(|| Box::new(Sha512::new())),
            bytes: 0,
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes that come next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(hasher) = &mut self.crc32 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.md5 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha1 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(bytes);
        }
    }

    /// The digests of all bytes.
    pub fn finish(self) -> Values {
        let mut values = Vec::new();
        values.extend(self.crc32.map(|hasher| (Algorithm::Crc32, hasher.finalize().to_be_bytes().to_vec())));
        values.extend(self.md5.map(|hasher| (Algorithm::Md5, hasher.finalize().to_vec())));
        values.extend(self.sha1.map(|hasher| (Algorithm::Sha1, hasher.finalize().to_vec())));
        values.extend(self.sha256.map(|hasher| (Algorithm::Sha256, hasher.finalize().to_vec())));
        values.extend(self.sha512.map(|hasher| (Algorithm::Sha512, hasher.finalize().to_vec())));
        Values(Arc::new(values))
    }
}

impl Values {
    /// One that is known already.
    pub(super) fn one(algorithm: Algorithm, value: Vec<u8>) -> Self {
        Self(Arc::new(vec![(algorithm, value)]))
    }

    /// Several that are known already.
    pub(super) fn of_all(mut values: Vec<(Algorithm, Vec<u8>)>) -> Self {
        values.sort_unstable_by_key(|(algorithm, _)| *algorithm);
        Self(Arc::new(values))
    }

    /// The digest by one algorithm.
    pub fn of(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == algorithm).map(|(_, value)| value)
    }

    /// All of them, the cheapest algorithm first.
    pub fn iter(&self) -> impl Iterator<Item = (Algorithm, &[u8])> {
        self.0.iter().map(|(algorithm, value)| (*algorithm, value.as_slice()))
    }
}

impl std::fmt::Debug for Hashers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashers").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// RFC 1321 §A.5, RFC 3174 §7.3, FIPS 180-4, and the check value of CRC-32 (ISO HDLC).
    #[test]
    fn gives_the_values_of_the_standards() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let of = |pieces: &[&[u8]]| {
            let mut hashers = Hashers::new(Algorithms::ALL);
            pieces.iter().for_each(|piece| hashers.update(piece));
            hashers.finish().iter().map(|(_, value)| hex(value)).collect::<Vec<_>>()
        };
        let whole = of(&[b"123456789"]);
        assert_eq!(whole[0], "cbf43926");
        assert_eq!(whole, of(&[b"1234", b"", b"56789"]));
        let abc = of(&[b"abc"]);
        assert_eq!(abc[1], "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(abc[2], "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(abc[3], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(abc[4].starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(of(&[])[1], "d41d8cd98f00b204e9800998ecf8427e");
        let one = Hashers::new(Algorithms::NONE.with(Algorithm::Sha1)).finish();
        assert!(one.of(Algorithm::Sha1).is_some() && one.of(Algorithm::Md5).is_none());
    }
}
