//! Names of stored values: what kinds there are, how long each may live, and a name that reveals nothing.
//!
//! Gets: a kind, the generation of its cache and an id. Gives: `ftps-gateway:NAME:KIND:` and 32 hex digits of an HMAC, one for each secret line.
//! Never: shows an id, a user or a session to who can list the store; never uses braces, which Redis Cluster reads as hash tags.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::hmac;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::seal::{Secrets, SecretsError};

/// What is stored. Closed: a new kind is a new variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The state of a TLS 1.2 session, by its session ID.
    Session,
    /// The epoch keys of TLS tickets.
    Epochs,
    /// An OCSP response, by the certificate.
    Staple,
    /// A ban, or a change of the ban book.
    Ban,
    /// A checksum of a file.
    Digest,
    /// A heartbeat of a node.
    Member,
}

/// How long a value of a kind lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// As long as its writer says, and never longer than this.
    AtMost(Duration),
    /// Until it is removed.
    Endless,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Session, Self::Epochs, Self::Staple, Self::Ban, Self::Digest, Self::Member];

    /// Its word in the name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Epochs => "epochs",
            Self::Staple => "staple",
            Self::Ban => "ban",
            Self::Digest => "digest",
            Self::Member => "member",
        }
    }

    /// The version of its body. Part of the name and of the seal, so old and new nodes never read each other's bodies during a rollout.
    pub fn version(self) -> u8 {
        match self {
            Self::Session | Self::Epochs | Self::Staple | Self::Ban | Self::Digest | Self::Member => 1,
        }
    }

    /// How long its values live.
    pub fn ttl(self) -> Ttl {
        match self {
            Self::Session => Ttl::AtMost(DAY * 7),
            Self::Epochs => Ttl::AtMost(DAY * 30),
            Self::Staple => Ttl::AtMost(DAY * 10),
            Self::Ban => Ttl::Endless,
            Self::Digest => Ttl::AtMost(DAY * 366),
            Self::Member => Ttl::AtMost(Duration::from_secs(3600)),
        }
    }

    /// The TTL for a value whose writer wants `wanted`; `None` is without end.
    pub fn clamp(self, wanted: Duration) -> Option<Duration> {
        match self.ttl() {
            Ttl::AtMost(most) => Some(wanted.min(most)),
            Ttl::Endless => None,
        }
    }
}

/// Why there can be no names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamesError {
    /// The cluster's name would break the keys.
    #[error("cluster.name {0:?} does not fit into store keys: use 1 to 64 letters, digits, '-', '_' or '.'")]
    Cluster(String),
    /// The secrets are unusable.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// Makes the names of one cluster.
pub struct Names {
    cluster: String,
    keys: Vec<hmac::Key>,
}

impl Names {
    /// For the cluster `name`, whose first secret names what is written.
    ///
    /// # Errors
    /// A name that does not fit into keys.
    pub fn new(name: &str, secrets: &Secrets) -> Result<Self, NamesError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(NamesError::Cluster(name.to_owned()));
        }
        let key = |secret: Zeroizing<[u8; 32]>| hmac::Key::new(hmac::HMAC_SHA256, &*secret);
        Ok(Self { cluster: name.to_owned(), keys: secrets.derive_all(&[b"name"]).into_iter().map(key).collect() })
    }

    /// The name to write under: that of the secret which seals.
    pub fn write(&self, kind: Kind, generation: u64, id: &[u8]) -> String {
        // `Secrets` holds at least one line, so there is a key; an empty name would still be a valid key of the store.
        self.keys.first().map(|key| self.name(key, kind, generation, id)).unwrap_or_default()
    }

    /// The names to ask for, one for each secret, the sealing one first.
    pub fn read(&self, kind: Kind, generation: u64, id: &[u8]) -> Vec<String> {
        self.keys.iter().map(|key| self.name(key, kind, generation, id)).collect()
    }

    fn name(&self, key: &hmac::Key, kind: Kind, generation: u64, id: &[u8]) -> String {
        let mut context = hmac::Context::with_key(key);
        let word = kind.word().as_bytes();
        // The word is ended by a zero byte and the integers have fixed widths: no two inputs give the same bytes.
        for part in [word, &[0, kind.version()], &generation.to_be_bytes(), id] {
            context.update(part);
        }
        let mut name = format!("ftps-gateway:{}:{}:", self.cluster, kind.word());
        for byte in &context.sign().as_ref()[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

const DAY: Duration = Duration::from_secs(86_400);
/// Longest cluster name; memcached keys end at 250 bytes.
const NAME_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use super::*;

    fn names(lines: &[&[u8]]) -> Names {
        Names::new("default", &Secrets::new(lines).unwrap()).unwrap()
    }

    #[test]
    fn a_name_reveals_nothing_and_fits_every_store() {
        let n = names(&[&[1; 32]]);
        let name = n.write(Kind::Session, 0, b"some session id");
        let hex = name.strip_prefix("ftps-gateway:default:session:").unwrap();
        assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(name.len() < 250 && !name.contains(['{', '}', ' ']));
        assert!(!format!("{n:?}").contains("keys"));
    }

    #[test]
    fn kind_generation_id_and_secret_all_matter() {
        let (one, other) = (names(&[&[1; 32]]), names(&[&[2; 32]]));
        let mut seen = HashSet::new();
        for n in [&one, &other] {
            for kind in Kind::ALL {
                for generation in [0, 1] {
                    for id in [&b"a"[..], b"b", b""] {
                        assert!(seen.insert(n.write(kind, generation, id).split_off(n.name(&n.keys[0], kind, 0, b"").len() - 32)));
                    }
                }
            }
        }
    }

    #[test]
    fn reads_ask_for_every_secret_and_writes_use_the_first() {
        let (old, new) = ([1_u8; 32], [2_u8; 32]);
        let both = names(&[&new, &old]);
        let asked = both.read(Kind::Ban, 3, b"x");
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0], both.write(Kind::Ban, 3, b"x"));
        assert_eq!(asked[1], names(&[&old]).write(Kind::Ban, 3, b"x"));
    }

    #[test]
    fn cluster_names_that_break_keys_are_refused() {
        let secrets = Secrets::new(&[&[1; 32]]).unwrap();
        for bad in ["", "a:b", "a{b}", "a b", "é", &"x".repeat(65)] {
            let error = Names::new(bad, &secrets).unwrap_err();
            assert!(error.to_string().contains("letters, digits"), "{error}");
        }
    }

    #[test]
    fn lifetimes_are_capped() {
        assert_eq!(Kind::Session.clamp(DAY * 30), Some(DAY * 7));
        assert_eq!(Kind::Session.clamp(Duration::from_secs(1800)), Some(Duration::from_secs(1800)));
        assert_eq!(Kind::Ban.clamp(DAY), None);
    }
}
