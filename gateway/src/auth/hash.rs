//! Password hashes: argon2id in PHC form.
//!
//! Gets: a PHC string or a new password. Gives: a hash that can be verified. Never: appears in `Debug`, costs more than its caps.

use std::fmt;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use ftps_proto::command::Password;

/// A checked argon2id hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: String,
}

/// Why a text is no password hash that we take. Never carries the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Not a PHC string: perhaps a password in clear text.
    #[error("is not a password hash in PHC form ($argon2id$…)")]
    Form,
    /// Another algorithm.
    #[error("is not an argon2id hash, the only kind taken")]
    Algorithm,
    /// A hash or salt that is missing or too short, or parameters that argon2 does not have.
    #[error("is an incomplete argon2id hash")]
    Incomplete,
    /// Memory or time beyond the caps.
    #[error("is an argon2id hash that costs too much to check (more than m=1048576, t=64 or p=16)")]
    Cost,
}

impl PasswordHash {
    /// Checks a PHC string as far as can be without the password.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        if text.is_empty() {
            return Err(BadHash::Empty);
        }
        let phc = Phc::new(text).map_err(|_| BadHash::Form)?;
        if phc.algorithm != ARGON2ID_IDENT {
            return Err(BadHash::Algorithm);
        }
        let complete = phc.salt.is_some_and(|salt| salt.len() >= 8) && phc.hash.is_some_and(|hash| hash.len() >= 16);
        let version = phc.version.is_none_or(|version| Version::try_from(version).is_ok());
        let params = Params::try_from(&phc).map_err(|_| BadHash::Incomplete)?;
        if !complete || !version {
            return Err(BadHash::Incomplete);
        }
        if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_TIME || params.p_cost() > MAX_LANES {
            return Err(BadHash::Cost);
        }
        Ok(Self { phc: text.to_owned() })
    }

    /// Hashes `password` and compares; some 20 to 100 ms of a core and `m` KiB of memory.
    pub fn verify(&self, password: &Password) -> bool {
        Phc::new(&self.phc).is_ok_and(|phc| Argon2::default().verify_password(password.expose(), &phc).is_ok())
    }

    /// The PHC string.
    pub(super) fn expose(&self) -> &str {
        &self.phc
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The hash of a new password under a random salt, with the parameters of OWASP's password storage sheet: m=19456, t=2, p=1.
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

/// 1 GiB, in KiB.
const MAX_MEMORY: u32 = 1 << 20;
const MAX_TIME: u32 = 64;
const MAX_LANES: u32 = 16;

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
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn a_new_hash_has_the_recommended_cost() {
        assert!(make_hash(&password("x")).unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn what_is_no_argon2id_hash_is_refused() {
        let salt_and_hash = "c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (text, why) in [
            (String::new(), BadHash::Empty),
            ("secret".into(), BadHash::Form),
            ("$2b$12$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK".into(), BadHash::Form),
            (format!("$argon2i$v=19$m=8,t=1,p=1${salt_and_hash}"), BadHash::Algorithm),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA".into(), BadHash::Incomplete),
            ("$argon2id$v=19$m=8,t=1,p=1".into(), BadHash::Incomplete),
            (format!("$argon2id$v=19$m=8,t=0,p=1${salt_and_hash}"), BadHash::Incomplete),
            (format!("$argon2id$v=19$m=4194304,t=1,p=1${salt_and_hash}"), BadHash::Cost),
        ] {
            assert_eq!(PasswordHash::parse(&text), Err(why), "{text}");
        }
        assert!(PasswordHash::parse(&format!("$argon2id$v=19$m=8,t=1,p=1${salt_and_hash}")).is_ok());
    }
}
