//! Ids that name sessions, transfers and node starts in replies, logs, traces and the API.
//!
//! Gets: the wall clock and the system's randomness. Gives: ULIDs with a prefix (`s_`, `t_`, `b_`).
//! Never: guessable; 80 of the 128 bits are random.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 bits: 48 of Unix milliseconds, 80 random (the ULID layout).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ulid(u128);

impl Ulid {
    /// A new one, now.
    pub fn now() -> Self {
        let mut random = [0_u8; 16];
        // A system without randomness cannot serve TLS either; the clock alone still gives a distinct id.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis());
        Self((millis << 80) | (u128::from_be_bytes(random) >> 48))
    }

    /// From its 16 bytes, as found in a ticket.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// From its text; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let symbols = text.as_bytes();
        // 26 symbols are 130 bits: the first one says only three.
        if symbols.len() != 26 || symbols[0] > b'7' {
            return None;
        }
        let place = |symbol: &u8| ALPHABET.iter().position(|known| known == symbol);
        symbols.iter().try_fold(0_u128, |id, symbol| Some((id << 5) | u128::try_from(place(symbol)?).ok()?)).map(Self)
    }

    /// Its 16 bytes, big endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        for (place, symbol) in text.iter_mut().rev().enumerate() {
            *symbol = ALPHABET[(self.0 >> (place * 5)) as usize & 31];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ulid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a ULID"))
    }
}

macro_rules! prefixed {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Ulid);

        impl $name {
            /// A new one, now.
            pub fn now() -> Self {
                Self(Ulid::now())
            }

            /// From its text.
            pub fn parse(text: &str) -> Option<Self> {
                Ulid::parse(text.strip_prefix($prefix)?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

prefixed!(SessionId, "s_", "A session: one control connection.");
prefixed!(TransferId, "t_", "A transfer.");
prefixed!(EventId, "e_", "A request of the admin API, or its audit record.");
prefixed!(BanId, "b_", "A ban.");
prefixed!(Incarnation, "", "One start of a node.");

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_a_ulid_and_sorts_by_time() {
        let early = Ulid((1_u128 << 80) | 7);
        let late = Ulid(2_u128 << 80);
        assert_eq!(early.to_string(), "00000000010000000000000007");
        assert!(early < late);
        assert_eq!(Ulid::from_bytes(early.to_bytes()), early);
        assert_eq!(Ulid::parse(&late.to_string()), Some(late));
        assert_eq!(Ulid::parse(&Ulid(u128::MAX).to_string()), Some(Ulid(u128::MAX)));
        for wrong in ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000001000000000000000", "0000000001000000000000000U"] {
            assert_eq!(Ulid::parse(wrong), None, "{wrong}");
        }
        assert!(SessionId::now().to_string().starts_with("s_"));
        let id = BanId::now();
        assert_eq!(BanId::parse(&id.to_string()), Some(id));
        assert_eq!(BanId::parse(&id.to_string().replacen("b_", "s_", 1)), None);
        for text in ["", "b_", "b_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "b_0000000001000000000000000U", "b_00000000010000000000000é"] {
            assert_eq!(BanId::parse(text), None, "{text}");
        }
        assert_ne!(Ulid::now(), Ulid::now());
    }
}
