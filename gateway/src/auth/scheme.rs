//! The four kinds of password hashes: what each looks like, what it costs, how it is verified.
//!
//! Gets: the text of a hash, later a password. Gives: the kind and the memory that a check takes; whether the password is right.
//! Never: takes a hash whose check costs more than its caps: whoever writes a users file must not stop the node by a digit too many.

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordVerifier, Version};
use scrypt::Scrypt;
use sha_crypt::ShaCrypt;

use super::BadHash;

/// A kind of hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `$argon2id$…`, RFC 9106, in PHC form.
    Argon2id,
    /// `$2b$…`, also `$2a$` and `$2y$` of older tools and PHP: the same to every password that those hashed rightly.
    Bcrypt,
    /// `$scrypt$…`, RFC 7914, in PHC form (passlib writes it too).
    Scrypt,
    /// `$6$…` of crypt(3), as in `/etc/shadow` and by `openssl passwd -6`.
    Sha512Crypt,
}

impl Scheme {
    /// Which kind a text is, and the KiB of memory that a check of it takes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(text: &str) -> Result<(Self, u32), BadHash> {
        let word = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(word, _)| word);
        match word {
            None if text.is_empty() => Err(BadHash::Empty),
            None => Err(BadHash::Form),
            Some("argon2id") => argon2id(text).map(|memory| (Self::Argon2id, memory)),
            Some("2a" | "2b" | "2y") => bcrypt(text).map(|memory| (Self::Bcrypt, memory)),
            Some("scrypt") => scrypt(text).map(|memory| (Self::Scrypt, memory)),
            Some("6") => sha512_crypt(text).map(|memory| (Self::Sha512Crypt, memory)),
            Some(_) => Err(BadHash::Algorithm),
        }
    }

    /// Whether `password` has this hash, which was checked by [`Scheme::of`].
    pub(super) fn verify(self, text: &str, password: &[u8]) -> bool {
        let phc = || Phc::new(text);
        match self {
            Self::Argon2id => phc().is_ok_and(|phc| Argon2::default().verify_password(password, &phc).is_ok()),
            Self::Scrypt => phc().is_ok_and(|phc| Scrypt::new().verify_password(password, &phc).is_ok()),
            // Of a password over 72 bytes the first 72 count, as for every bcrypt.
            Self::Bcrypt => bcrypt::verify(password, text).unwrap_or(false),
            // Its work grows with the square of the password's length; crypt(3) takes no more than this either.
            Self::Sha512Crypt => {
                let hashed = password.get(..LONGEST_FOR_CRYPT).unwrap_or(password);
                ShaCrypt::SHA512.verify_password(hashed, text).is_ok() && hashed.len() == password.len()
            }
        }
    }
}

fn argon2id(text: &str) -> Result<u32, BadHash> {
    let phc = Phc::new(text).map_err(|_| BadHash::Incomplete)?;
    let version = phc.version.is_none_or(|version| Version::try_from(version).is_ok());
    let params = Params::try_from(&phc).map_err(|_| BadHash::Incomplete)?;
    if phc.algorithm != ARGON2ID_IDENT || !is_complete(&phc) || !version {
        return Err(BadHash::Incomplete);
    }
    let (memory, passes) = (params.m_cost(), params.t_cost());
    let work = u64::from(memory) * u64::from(passes);
    if memory > MAX_MEMORY || passes > MAX_PASSES || params.p_cost() > MAX_LANES || work > MAX_WORK {
        return Err(BadHash::CostOfArgon2id);
    }
    Ok(memory)
}

fn scrypt(text: &str) -> Result<u32, BadHash> {
    let phc = Phc::new(text).map_err(|_| BadHash::Incomplete)?;
    let param = |name: &str| phc.params.get_decimal(name).map(u64::from).ok_or(BadHash::Incomplete);
    // Before the library multiplies them.
    let (log_n, r, p) = (param("ln")?, param("r")?, param("p")?);
    if log_n == 0 || r == 0 || p == 0 || phc.version.is_some() || !is_complete(&phc) {
        return Err(BadHash::Incomplete);
    }
    if log_n > MAX_LOG_N || r > MAX_BLOCK || p > u64::from(MAX_LANES) {
        return Err(BadHash::CostOfScrypt);
    }
    // 128 bytes × N × r (RFC 7914 §5), in KiB.
    let memory = ((r << log_n) / 8).max(1);
    if memory > u64::from(MAX_MEMORY) || memory * p > MAX_WORK {
        return Err(BadHash::CostOfScrypt);
    }
    scrypt::Params::try_from(&phc).map_err(|_| BadHash::Incomplete)?;
    u32::try_from(memory).map_err(|_| BadHash::CostOfScrypt)
}

fn is_complete(phc: &Phc) -> bool {
    phc.salt.is_some_and(|salt| salt.len() >= 8) && phc.hash.is_some_and(|hash| hash.len() >= 16)
}

fn bcrypt(text: &str) -> Result<u32, BadHash> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| BadHash::Incomplete)?;
    match parts.get_cost() {
        0..MIN_COST => Err(BadHash::Incomplete),
        MIN_COST..=MAX_COST => Ok(BCRYPT_MEMORY),
        _ => Err(BadHash::CostOfBcrypt),
    }
}

/// `$6$salt$hash` or `$6$rounds=n$salt$hash`.
fn sha512_crypt(text: &str) -> Result<u32, BadHash> {
    let fields: Vec<&str> = text.split('$').skip(2).collect();
    let (rounds, salt, hash) = match fields[..] {
        [salt, hash] => (None, salt, hash),
        [rounds, salt, hash] => (Some(rounds.strip_prefix("rounds=").ok_or(BadHash::Incomplete)?), salt, hash),
        _ => return Err(BadHash::Incomplete),
    };
    let crypt = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b));
    if !(1..=16).contains(&salt.len()) || hash.len() != 86 || !crypt(salt) || !crypt(hash) {
        return Err(BadHash::Incomplete);
    }
    let Some(rounds) = rounds else { return Ok(SHA_MEMORY) };
    if rounds.is_empty() || rounds.starts_with('0') || !rounds.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadHash::Incomplete);
    }
    match rounds.parse::<u32>() {
        Ok(..MIN_ROUNDS) => Err(BadHash::Incomplete),
        Ok(MIN_ROUNDS..=MAX_ROUNDS) => Ok(SHA_MEMORY),
        Ok(_) | Err(_) => Err(BadHash::CostOfSha512Crypt),
    }
}

/// Argon2 and scrypt, in KiB: 1 GiB.
const MAX_MEMORY: u32 = 1 << 20;
/// Argon2: memory in KiB times passes; scrypt: memory times `p`. A few seconds of a core.
const MAX_WORK: u64 = 4 << 20;
/// Argon2's `t`.
const MAX_PASSES: u32 = 64;
/// Argon2's and scrypt's `p`.
const MAX_LANES: u32 = 16;
/// scrypt's `ln`.
const MAX_LOG_N: u64 = 20;
/// scrypt's `r`.
const MAX_BLOCK: u64 = 32;
/// bcrypt's lowest cost (4) and ours: 2^15 rounds are some two seconds of a core.
const MIN_COST: u32 = 4;
const MAX_COST: u32 = 15;
/// bcrypt's tables, in KiB.
const BCRYPT_MEMORY: u32 = 8;
/// What is not worth counting, in KiB.
const SHA_MEMORY: u32 = 1;
/// sha512-crypt: crypt(3) has no fewer rounds.
const MIN_ROUNDS: u32 = 1_000;
/// About a second of a core.
const MAX_ROUNDS: u32 = 1_000_000;
/// libxcrypt's CRYPT_MAX_PASSPHRASE_SIZE, without its NUL.
const LONGEST_FOR_CRYPT: usize = 511;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Hashes of other tools: what made it, the password, the hash.
    const KNOWN: &[(&str, &str, &str)] = &[
        ("php argon2id", "right", "$argon2id$v=19$m=64,t=1,p=1$eHplcWN2ZG1XbTZVRzYwTg$nYUW8sfWu4FbpQndJusNvSgk9I6o9cO0hOeAby/kpJU"),
        ("php bcrypt", "right", "$2y$04$HzxZZ1oxTN5ke.9yz0yV4u2AcFhDauy9lBgNZxow0SY29hYdwOA0q"),
        ("crypt(3) bcrypt", "right", "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC"),
        ("crypt(3) bcrypt as $2a$", "right", "$2a$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC"),
        ("hashlib scrypt", "right", "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$g5SYSEJiVeM1NrG+3lo5hJF358C1G+xhhfqVxmfJREI"),
        ("hashlib scrypt", "päss", "$scrypt$ln=14,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4txfx6ATg5o6OJqCSFIBWVw4i8mMCkVCrzlx0ZWMt2w"),
        ("passlib scrypt", "password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"),
        ("openssl passwd -6", "Pässwörd with spaces", "$6$saltstring$YLa6WgD19IOgS3i.M2lXki0stHMihexHzLb7ZPSs64K/qmn9XsflXxOBJ6/6ccaik5q5wzChefzYhsF8aBs5p1"),
        ("Drepper's specification", "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
        (
            "crypt(3) with rounds",
            "right",
            "$6$rounds=1000$abcdefghijklmnop$GddLRqT1eGjF8bG3mcZ64gXJSfU0mS0Z4pu/wkYc0qJUP8gigeBif3FAwVwBHpsjGw3LrttklqOD7Bgmobwd71",
        ),
    ];

    #[test]
    fn hashes_of_other_tools_take_their_password_and_no_other() {
        for (tool, password, text) in KNOWN {
            let (scheme, _) = Scheme::of(text).unwrap_or_else(|why| panic!("{tool}: {why}"));
            assert!(scheme.verify(text, password.as_bytes()), "{tool}");
            for wrong in ["", "wrong", &password[1..], &format!("{password} ")] {
                assert!(!scheme.verify(text, wrong.as_bytes()), "{tool}: {wrong:?}");
            }
        }
    }

    #[test]
    fn openssl_agrees_when_it_is_there() {
        for password in ["right", "x", "a longer one, with spaces and ünïcödé", "0123456789012345678901234567890123456789012345678901234567890123456789"] {
            let Ok(output) = std::process::Command::new("openssl").args(["passwd", "-6", password]).output() else { return };
            let text = String::from_utf8(output.stdout).unwrap();
            let (scheme, _) = Scheme::of(text.trim()).unwrap();
            assert!(scheme.verify(text.trim(), password.as_bytes()), "{password}");
            assert!(!scheme.verify(text.trim(), b"wrong"), "{password}");
        }
    }

    #[test]
    fn very_long_passwords_are_taken_as_by_crypt() {
        let bcrypt = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
        assert!(Scheme::Bcrypt.verify(bcrypt, "x".repeat(80).as_bytes()));
        let sha = "$6$rounds=1000$abcdefghijklmnop$3gYlhqpQ/tGbM/DOo1/T9YIMs..dboPaNBINyxDWoaFoACa3pwzc0j1Vxww3NnfZN0h2RLcTVpIIJThrHwzJG0";
        assert!(Scheme::Sha512Crypt.verify(sha, "x".repeat(511).as_bytes()));
        assert!(!Scheme::Sha512Crypt.verify(sha, "x".repeat(512).as_bytes()), "what is not hashed is not right");
    }

    #[test]
    fn what_is_no_hash_of_ours_is_refused() {
        let phc = "c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let sha = "A".repeat(86);
        for (text, why) in [
            (String::new(), BadHash::Empty),
            ("secret".into(), BadHash::Form),
            ("pa$$word".into(), BadHash::Form),
            ("$secret".into(), BadHash::Form),
            (format!("$argon2i$v=19$m=8,t=1,p=1${phc}"), BadHash::Algorithm),
            ("$1$abc$def".into(), BadHash::Algorithm),
            ("$5$abc$def".into(), BadHash::Algorithm),
            ("$y$j9T$abc$def".into(), BadHash::Algorithm),
            ("$2x$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC".into(), BadHash::Algorithm),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA".into(), BadHash::Incomplete),
            ("$argon2id$v=19$m=8,t=1,p=1".into(), BadHash::Incomplete),
            (format!("$argon2id$v=18$m=8,t=1,p=1${phc}"), BadHash::Incomplete),
            (format!("$argon2id$v=19$m=8,t=0,p=1${phc}"), BadHash::Incomplete),
            ("$2b$12$short".into(), BadHash::Incomplete),
            ("$2b$03$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC".into(), BadHash::Incomplete),
            ("$2b$+4$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJi\u{e9}".into(), BadHash::Incomplete),
            (format!("$scrypt$r=8,p=1${phc}"), BadHash::Incomplete),
            (format!("$scrypt$ln=4,r=0,p=1${phc}"), BadHash::Incomplete),
            (format!("$scrypt$ln=4,r=8,p=1,x=1${phc}"), BadHash::Incomplete),
            ("$scrypt$ln=4,r=8,p=1$c29tZXNhbHRzb21lc2FsdA".into(), BadHash::Incomplete),
            (format!("$6$saltstring${}", &sha[1..]), BadHash::Incomplete),
            (format!("$6$${sha}"), BadHash::Incomplete),
            (format!("$6$a salt${sha}"), BadHash::Incomplete),
            (format!("$6$rounds=999$salt${sha}"), BadHash::Incomplete),
            (format!("$6$rounds=0005000$salt${sha}"), BadHash::Incomplete),
            (format!("$6$rounds=5000$salt${sha}$more"), BadHash::Incomplete),
        ] {
            assert_eq!(Scheme::of(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused_and_the_dearest_taken_says_its_memory() {
        let phc = "c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let (bcrypt, sha) = ("abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC", "A".repeat(86));
        for (text, expected) in [
            (format!("$argon2id$v=19$m=1048576,t=4,p=1${phc}"), Ok((Scheme::Argon2id, 1 << 20))),
            (format!("$argon2id$v=19$m=1048577,t=1,p=1${phc}"), Err(BadHash::CostOfArgon2id)),
            (format!("$argon2id$v=19$m=1048576,t=5,p=1${phc}"), Err(BadHash::CostOfArgon2id)),
            (format!("$argon2id$v=19$m=8,t=65,p=1${phc}"), Err(BadHash::CostOfArgon2id)),
            (format!("$argon2id$v=19$m=1024,t=1,p=17${phc}"), Err(BadHash::CostOfArgon2id)),
            (format!("$2b$15${bcrypt}"), Ok((Scheme::Bcrypt, 8))),
            (format!("$2b$16${bcrypt}"), Err(BadHash::CostOfBcrypt)),
            (format!("$2b$31${bcrypt}"), Err(BadHash::CostOfBcrypt)),
            (format!("$scrypt$ln=20,r=8,p=4${phc}"), Ok((Scheme::Scrypt, 1 << 20))),
            (format!("$scrypt$ln=17,r=8,p=1${phc}"), Ok((Scheme::Scrypt, 128 << 10))),
            (format!("$scrypt$ln=20,r=8,p=5${phc}"), Err(BadHash::CostOfScrypt)),
            (format!("$scrypt$ln=20,r=9,p=1${phc}"), Err(BadHash::CostOfScrypt)),
            (format!("$scrypt$ln=63,r=8,p=1${phc}"), Err(BadHash::CostOfScrypt)),
            (format!("$scrypt$ln=4,r=4294967295,p=4294967295${phc}"), Err(BadHash::CostOfScrypt)),
            (format!("$6$rounds=1000000$salt${sha}"), Ok((Scheme::Sha512Crypt, 1))),
            (format!("$6$rounds=1000001$salt${sha}"), Err(BadHash::CostOfSha512Crypt)),
            (format!("$6$rounds=99999999999999999999$salt${sha}"), Err(BadHash::CostOfSha512Crypt)),
        ] {
            assert_eq!(Scheme::of(&text), expected, "{text}");
        }
    }
}
