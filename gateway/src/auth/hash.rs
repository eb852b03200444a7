//! Password hashes: checked when they are read, verified when somebody logs in, made for a new password.
//!
//! Gets: the text of a hash, or a new password. Gives: a hash that can be verified at a known cost. Never: appears in `Debug`, costs more than its caps.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use ftps_proto::command::Password;

use super::scheme::Scheme;

/// A checked hash: argon2id, bcrypt, scrypt or sha512-crypt.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    scheme: Scheme,
    /// KiB that a check takes.
    memory: u32,
}

/// Why a text is no password hash that we take. Never carries the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Not a hash at all: perhaps a password in clear text.
    #[error("is not a password hash, which begins with $argon2id$, $2b$, $scrypt$ or $6$")]
    Form,
    /// Another algorithm.
    #[error("is a hash of a kind that is not taken; taken are $argon2id$, bcrypt ($2b$, $2a$, $2y$), $scrypt$ and sha512-crypt ($6$)")]
    Algorithm,
    /// A hash or salt that is missing or too short, or parameters that the algorithm does not have.
    #[error("is an incomplete or damaged password hash")]
    Incomplete,
    /// Memory or time beyond the caps.
    #[error("is an argon2id hash that costs too much to check (more than m=1048576, t=64, p=16 or m×t=4194304)")]
    CostOfArgon2id,
    /// Time beyond the cap.
    #[error("is a bcrypt hash that costs too much to check (more than cost 15)")]
    CostOfBcrypt,
    /// Memory or time beyond the caps.
    #[error("is a scrypt hash that costs too much to check (more than ln=20, r=32, p=16, 1 GiB, or 4 GiB times p)")]
    CostOfScrypt,
    /// Time beyond the cap.
    #[error("is a sha512-crypt hash that costs too much to check (more than rounds=1000000)")]
    CostOfSha512Crypt,
}

impl PasswordHash {
    /// Checks a hash as far as can be without the password.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let (scheme, memory) = Scheme::of(text)?;
        Ok(Self { text: text.into(), scheme, memory })
    }

    /// Hashes `password` and compares; mostly 2 to 300 ms of a core, a few seconds at the caps.
    pub fn verify(&self, password: &Password) -> bool {
        self.scheme.verify(&self.text, password.expose())
    }

    /// The memory that [`Self::verify`] takes, in KiB.
    pub fn memory(&self) -> u32 {
        self.memory
    }

    /// The hash itself.
    pub(super) fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The hash of a new password under a random salt: argon2id with the parameters of OWASP's password storage sheet, m=19456, t=2, p=1.
///
/// # Errors
/// The system's random source, or memory for the hash, is not there.
pub fn make_hash(password: &Password) -> Result<String, argon2::password_hash::Error> {
    let params = Params::new(19_456, 2, 1, None)?;
    make_hash_with(password, params)
}

pub(super) fn make_hash_with(password: &Password, params: Params) -> Result<String, argon2::password_hash::Error> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(password.expose()).map(|phc| phc.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_hash_takes_its_password_and_no_other() {
        let text = make_hash_with(&password("right"), Params::new(8, 1, 1, None).unwrap()).unwrap();
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.verify(&password("right")));
        assert!(!hash.verify(&password("wrong")) && !hash.verify(&password("")));
        assert_eq!((format!("{hash:?}"), hash.memory()), ("PasswordHash(…)".into(), 8));
    }

    #[test]
    fn a_new_hash_has_the_recommended_cost() {
        assert!(make_hash(&password("x")).unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        let why = PasswordHash::parse("hunter2").unwrap_err().to_string();
        assert_eq!(why, "is not a password hash, which begins with $argon2id$, $2b$, $scrypt$ or $6$");
    }
}
