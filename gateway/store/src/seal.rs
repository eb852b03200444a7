//! The envelope of every value that leaves the node: AES-256-GCM under a key of its purpose and day.
//!
//! Layout: version 1, key id 4, UTC day 4, nonce 12, ciphertext, tag 16. Associated data: all of the header before the nonce, purpose, body version, context.
//! Gets: secrets (the first seals, all open), plain bytes. Gives: sealed bytes, or why they do not open.
//! Never: prints a secret, opens a value under another purpose or name than it was sealed for, handles a value over its cap.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{error::Unspecified, hkdf, rand};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key::Kind;

/// What is sealed. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A value in the store; the context is its name.
    Stored(Kind),
    /// The part of a TLS ticket that says whose it is.
    TicketRoute,
    /// What one node says of a data connection that it brings to another; the context is 16 bytes of the other's choice.
    PeerHeader,
}

/// Why a sealed value does not open: one label each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum OpenError {
    /// Its version is not ours: an older or newer node wrote it.
    #[error("the sealed value has another version")]
    Version,
    /// None of our secrets sealed it.
    #[error("the sealed value is under a key that this node does not have")]
    KeyUnknown,
    /// It was altered, or sealed for another purpose or name.
    #[error("the sealed value was altered")]
    Mac,
    /// It is shorter than an envelope or longer than its cap.
    #[error("the sealed value has an impossible size")]
    Size,
}

/// Why a value cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// Longer than [`PLAIN_MAX`].
    #[error("the value is too long to seal")]
    Size,
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// Why secrets are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretsError {
    /// There is none.
    #[error("there is no secret: put at least one line of 32 bytes or more into the file, for example from `openssl rand -hex 32`")]
    Missing,
    /// One is too short.
    #[error("secret {0} is shorter than 32 bytes: make one with `openssl rand -hex 32`")]
    Short(usize),
    /// There are too many.
    #[error("there are more than 16 secrets: remove the oldest lines")]
    TooMany,
}

/// The secrets of a cluster, ready to derive from. The first one seals.
#[derive(Clone)]
pub struct Secrets(Vec<hkdf::Prk>);

impl Secrets {
    /// From the lines of a secret file: 1 to 16, each 32 bytes or more.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(lines: &[&[u8]]) -> Result<Self, SecretsError> {
        if lines.is_empty() {
            return Err(SecretsError::Missing);
        }
        if lines.len() > SECRETS_MAX {
            return Err(SecretsError::TooMany);
        }
        if let Some(place) = lines.iter().position(|line| line.len() < KEY) {
            return Err(SecretsError::Short(place + 1));
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ftps-gateway");
        Ok(Self(lines.iter().map(|line| salt.extract(line)).collect()))
    }

    /// A secret of this process alone.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn random() -> Result<Self, SealError> {
        let secret = random_key()?;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ftps-gateway");
        Ok(Self(vec![salt.extract(&*secret)]))
    }

    /// The same secrets, of which the one at `place` seals; the order of the others stays.
    #[must_use]
    pub fn sealing_with(&self, place: usize) -> Self {
        let mut lines = self.0.clone();
        if place < lines.len() {
            lines[..=place].rotate_right(1);
        }
        Self(lines)
    }

    /// One derived key for each secret, the sealing one first. `info` must be unambiguous when joined.
    pub fn derive_all(&self, info: &[&[u8]]) -> Vec<Zeroizing<[u8; KEY]>> {
        self.0.iter().map(|prk| expand(prk, info)).collect()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Seals and opens with the secrets of a cluster.
#[derive(Clone)]
pub struct Keyring(Vec<([u8; 4], hkdf::Prk)>);

impl Keyring {
    /// The ring of these secrets.
    pub fn new(secrets: &Secrets) -> Self {
        let id = |prk: &hkdf::Prk| {
            let long = expand(prk, &[b"key id"]);
            [long[0], long[1], long[2], long[3]]
        };
        Self(secrets.0.iter().map(|prk| (id(prk), prk.clone())).collect())
    }

    /// Seals `plain` for `purpose` under the key of the UTC day `day` (Unix days). `context` (a store key, or nothing) must be the same when it is opened.
    ///
    /// # Errors
    /// Too long, or no randomness.
    pub fn seal(&self, purpose: Purpose, day: u32, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        // `Secrets` is never empty, so there is a first key.
        let (id, prk) = self.0.first().ok_or(SealError::Random)?;
        let mut out = Vec::with_capacity(OVERHEAD + plain.len());
        out.push(VERSION);
        out.extend_from_slice(id);
        out.extend_from_slice(&day.to_be_bytes());
        let aad = associated(&out, purpose, context);
        out.extend_from_slice(&day_key(prk, purpose, day).seal(&aad, plain)?);
        Ok(out)
    }

    /// Opens what [`Keyring::seal`] made, on this node or another one with the same secret.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn open(&self, purpose: Purpose, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        if sealed.len() < OVERHEAD || sealed.len() > OVERHEAD + PLAIN_MAX {
            return Err(OpenError::Size);
        }
        let (head, body) = sealed.split_first_chunk::<HEAD>().ok_or(OpenError::Size)?;
        let [version, id @ .., d0, d1, d2, d3] = *head;
        if version != VERSION {
            return Err(OpenError::Version);
        }
        let day = u32::from_be_bytes([d0, d1, d2, d3]);
        let aad = associated(head, purpose, context);
        let mut error = OpenError::KeyUnknown;
        for (_, prk) in self.0.iter().filter(|(known, _)| *known == id) {
            match day_key(prk, purpose, day).open(&aad, body) {
                Ok(plain) => return Ok(plain),
                Err(reason) => error = reason,
            }
        }
        Err(error)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", self.0.len())
    }
}

/// One AES-256-GCM key with random nonces: the inner half of the envelope (nonce, ciphertext, tag).
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// From 32 bytes.
    ///
    /// # Errors
    /// Never with 32 bytes; the library's type says it may.
    pub fn new(key: &[u8; KEY]) -> Result<Self, SealError> {
        UnboundKey::new(&AES_256_GCM, key).map(|key| Self(LessSafeKey::new(key))).map_err(|Unspecified| SealError::Random)
    }

    /// Nonce, ciphertext and tag.
    ///
    /// # Errors
    /// Too long, or no randomness.
    pub fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        if plain.len() > PLAIN_MAX {
            return Err(SealError::Size);
        }
        let mut out = vec![0; NONCE];
        rand::fill(&mut out).map_err(|Unspecified| SealError::Random)?;
        let nonce = Nonce::try_assume_unique_for_key(&out).map_err(|Unspecified| SealError::Random)?;
        out.extend_from_slice(plain);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), &mut out[NONCE..]).map_err(|Unspecified| SealError::Size)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// What was sealed with the same associated data.
    ///
    /// # Errors
    /// [`OpenError::Size`] or [`OpenError::Mac`].
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        if sealed.len() < NONCE + TAG || sealed.len() > NONCE + TAG + PLAIN_MAX {
            return Err(OpenError::Size);
        }
        let (nonce, body) = sealed.split_at(NONCE);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|Unspecified| OpenError::Size)?;
        let mut body = body.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(associated), &mut body).map_err(|Unspecified| OpenError::Mac)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

/// 32 random bytes.
///
/// # Errors
/// [`SealError::Random`].
pub fn random_key() -> Result<Zeroizing<[u8; KEY]>, SealError> {
    let mut key = Zeroizing::new([0; KEY]);
    rand::fill(&mut *key).map_err(|Unspecified| SealError::Random)?;
    Ok(key)
}

/// HKDF-SHA256 of one 32-byte secret. `info` must be unambiguous when joined.
pub fn derive(secret: &[u8; KEY], info: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
    expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, b"ftps-gateway").extract(secret), info)
}

fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0; KEY]);
    // Expanding fails only beyond 255 blocks, filling only with another length than was asked for (RFC 5869 §2.3): here one block, 32 bytes.
    #[allow(clippy::expect_used)]
    prk.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *key)).expect("one block is always there");
    key
}

fn day_key(prk: &hkdf::Prk, purpose: Purpose, day: u32) -> SealingKey {
    let key = expand(prk, &[b"seal", &[0], &purpose_bytes(purpose), &day.to_be_bytes()]);
    // A 32-byte key is what AES-256 takes; there is no other error.
    #[allow(clippy::expect_used)]
    SealingKey::new(&key).expect("32 bytes make an AES-256 key")
}

fn associated(head: &[u8], purpose: Purpose, context: &[u8]) -> Vec<u8> {
    [head, &purpose_bytes(purpose), context].concat()
}

/// A fixed number for each purpose and the version of its body. Numbers are never used again.
fn purpose_bytes(purpose: Purpose) -> [u8; 2] {
    match purpose {
        Purpose::TicketRoute => [1, 1],
        Purpose::PeerHeader => [2, 1],
        Purpose::Stored(kind) => [
            match kind {
                Kind::Session => 16,
                Kind::Epochs => 17,
                Kind::Staple => 18,
                Kind::Ban => 19,
                Kind::Digest => 20,
                Kind::Member => 21,
            },
            kind.version(),
        ],
    }
}

/// Longest plain value: well under memcached's 1 MiB.
pub const PLAIN_MAX: usize = 512 * 1024;
/// Bytes that the envelope adds.
pub const OVERHEAD: usize = HEAD + NONCE + TAG;
/// Length of every key.
pub const KEY: usize = 32;

const VERSION: u8 = 1;
const HEAD: usize = 9;
const NONCE: usize = 12;
const TAG: usize = 16;
const SECRETS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const BAN: Purpose = Purpose::Stored(Kind::Ban);

    fn ring(lines: &[&[u8]]) -> Keyring {
        Keyring::new(&Secrets::new(lines).unwrap())
    }

    #[test]
    fn what_one_node_seals_another_opens() {
        let sealed = ring(&[&[1; 32]]).seal(BAN, 20_000, b"name", b"value").unwrap();
        assert_eq!(sealed.len(), OVERHEAD + 5);
        assert_eq!(ring(&[&[1; 32]]).open(BAN, b"name", &sealed), Ok(b"value".to_vec()));
        assert_ne!(sealed, ring(&[&[1; 32]]).seal(BAN, 20_000, b"name", b"value").unwrap());
    }

    #[test]
    fn the_first_secret_seals_and_every_secret_opens() {
        let (old, new) = ([1_u8; 32], [2_u8; 40]);
        let both = ring(&[&new, &old]);
        assert_eq!(both.open(BAN, b"", &ring(&[&old]).seal(BAN, 0, b"", b"x").unwrap()), Ok(b"x".to_vec()));
        let sealed = both.seal(BAN, 0, b"", b"x").unwrap();
        assert_eq!(ring(&[&new]).open(BAN, b"", &sealed), Ok(b"x".to_vec()));
        assert_eq!(ring(&[&old]).open(BAN, b"", &sealed), Err(OpenError::KeyUnknown));
    }

    #[test]
    fn purpose_name_and_every_byte_are_bound() {
        let ring = ring(&[&[1; 32]]);
        let sealed = ring.seal(BAN, 7, b"name", b"value").unwrap();
        assert_eq!(ring.open(Purpose::Stored(Kind::Session), b"name", &sealed), Err(OpenError::Mac));
        assert_eq!(ring.open(Purpose::TicketRoute, b"name", &sealed), Err(OpenError::Mac));
        assert_eq!(ring.open(BAN, b"other", &sealed), Err(OpenError::Mac));
        for place in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[place] ^= 1;
            let expected = match place {
                0 => OpenError::Version,
                1..=4 => OpenError::KeyUnknown,
                _ => OpenError::Mac,
            };
            assert_eq!(ring.open(BAN, b"name", &bad), Err(expected), "byte {place}");
        }
        for cut in 0..sealed.len() {
            let expected = if cut < OVERHEAD { OpenError::Size } else { OpenError::Mac };
            assert_eq!(ring.open(BAN, b"name", &sealed[..cut]), Err(expected), "cut at {cut}");
        }
    }

    #[test]
    fn sizes_are_capped_both_ways() {
        let ring = ring(&[&[1; 32]]);
        let longest = ring.seal(BAN, 0, b"", &vec![0; PLAIN_MAX]).unwrap();
        assert_eq!(ring.open(BAN, b"", &longest).unwrap().len(), PLAIN_MAX);
        assert_eq!(ring.seal(BAN, 0, b"", &vec![0; PLAIN_MAX + 1]), Err(SealError::Size));
        assert_eq!(ring.open(BAN, b"", &vec![VERSION; OVERHEAD + PLAIN_MAX + 1]), Err(OpenError::Size));
    }

    #[test]
    fn bad_secrets_are_refused_with_advice_and_good_ones_are_never_shown() {
        assert_eq!(Secrets::new(&[]).unwrap_err(), SecretsError::Missing);
        assert_eq!(Secrets::new(&[&[1; 32], &[1; 31]]).unwrap_err(), SecretsError::Short(2));
        assert_eq!(Secrets::new(&[&[1; 32][..]; 17]).unwrap_err(), SecretsError::TooMany);
        assert!(SecretsError::Short(2).to_string().contains("openssl rand"));
        let secrets = Secrets::new(&[b"0123456789abcdef0123456789abcdef"]).unwrap();
        assert_eq!(format!("{secrets:?} {:?}", Keyring::new(&secrets)), "Secrets(1) Keyring(1)");
    }

    #[test]
    fn purposes_have_numbers_of_their_own() {
        let all: Vec<_> = Kind::ALL.into_iter().map(Purpose::Stored).chain([Purpose::TicketRoute, Purpose::PeerHeader]).map(purpose_bytes).collect();
        for (place, one) in all.iter().enumerate() {
            assert!(all[place + 1..].iter().all(|other| other[0] != one[0]));
        }
    }
}
