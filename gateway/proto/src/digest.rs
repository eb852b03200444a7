//! Digests as clients ask for them: algorithms, ranges, quoted names (draft-bryan-ftpext-hash, draft-bryan-ftp-range, ProFTPD's mod_digest).
//!
//! Gets: the arguments of XCRC to XSHA512, MD5, HASH and RANG. Gives: checked commands; sets of algorithms.
//! Never: hashes anything, or knows a file.

use std::fmt;

use crate::command::{Command, Opts};
use crate::parse::ParseFault;
use crate::path::{BadPath, WirePath};
use crate::verbs::Verb;

/// A digest that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    Crc32,
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

/// A set of algorithms.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Algorithms(u8);

/// Some bytes of a file: `start..end`, counted from 0, the end not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The first byte behind.
    pub end: u64,
}

/// The argument of HASH and MD5: all of it is a name, or else what stands in its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The argument as it came.
    pub raw: WirePath,
    /// What its quotes hold, when all of it is quoted.
    pub quoted: Option<WirePath>,
}

/// What a session is offered. Without algorithms, digests are off: their commands are unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// What may be asked for.
    pub algorithms: Algorithms,
    /// What HASH uses until `OPTS HASH` says otherwise; ignored when it is not among them.
    pub preferred: Option<Algorithm>,
}

/// Why a range is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeFault {
    /// The start is no number.
    Start,
    /// The end is no number.
    End,
}

/// How a digest is asked for: each has replies of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// XCRC, XMD5, XSHA, XSHA1, XSHA256, XSHA512; the verb stands in some replies.
    Checksum(Verb),
    /// MD5.
    Md5,
    /// HASH.
    Hash,
}

/// Why there is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestFault {
    /// The file system said so.
    File(crate::machine::io::FileError),
    /// A device, or larger than `digests.max_size`.
    NotPermitted,
    /// `digests.rules` has turned them off here, or the user lacks the permission.
    Off,
    /// The range ends behind the file's end.
    EndBeyond,
    /// The range ends at its start or before.
    Order(Range),
    /// The file changed while it was read: try again.
    Changed,
    /// The file became shorter than the range while it was read.
    Shrunk,
    /// Too many digests are waited for: try again.
    Busy,
    /// ABOR.
    Aborted,
}

impl Algorithm {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Its name in FEAT, OPTS HASH and HASH (IANA's hash function textual names).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        }
    }

    /// Its word in the configuration, in logs and labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a digest.
    pub const fn length(self) -> usize {
        match self {
            Self::Crc32 => 4,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// By its name in FEAT, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The one that a verb asks for; HASH has no fixed one.
    pub const fn of(verb: Verb) -> Option<Self> {
        Some(match verb {
            Verb::Xcrc => Self::Crc32,
            Verb::Md5 | Verb::Xmd5 => Self::Md5,
            Verb::Xsha | Verb::Xsha1 => Self::Sha1,
            Verb::Xsha256 => Self::Sha256,
            Verb::Xsha512 => Self::Sha512,
            _ => return None,
        })
    }
}

impl Algorithms {
    /// All.
    pub const ALL: Self = Self(0b1_1111);
    /// None.
    pub const NONE: Self = Self(0);

    /// This one too.
    #[must_use]
    pub const fn with(self, algorithm: Algorithm) -> Self {
        Self(self.0 | 1 << algorithm as u8)
    }

    /// Whether it is among them.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in one or the other.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other, the cheapest first.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |algorithm| self.contains(*algorithm))
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        algorithms.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Offer {
    /// All algorithms, SHA-256 first.
    pub const ALL: Self = Self { algorithms: Algorithms::ALL, preferred: Some(Algorithm::Sha256) };

    /// What HASH uses at the beginning: the preferred one, else a strong one; `None` when digests are off.
    pub fn first(self) -> Option<Algorithm> {
        let strong = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha1, Algorithm::Md5, Algorithm::Crc32];
        self.preferred.into_iter().chain(strong).find(|algorithm| self.algorithms.contains(*algorithm))
    }
}

/// Whether a verb is about digests.
pub const fn is_digest(verb: Verb) -> bool {
    matches!(verb, Verb::Hash | Verb::Rang) || Algorithm::of(verb).is_some()
}

/// Whether a verb exists for who is offered these algorithms; verbs about anything else always do.
pub const fn is_offered(verb: Verb, algorithms: Algorithms) -> bool {
    match (verb, Algorithm::of(verb)) {
        (Verb::Hash | Verb::Rang, _) => !algorithms.is_empty(),
        (_, Some(algorithm)) => algorithms.contains(algorithm),
        (_, None) => true,
    }
}

/// Reads the argument of a verb for which [`is_digest`] holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn command(verb: Verb, text: &[u8]) -> Result<Command, ParseFault> {
    if text.trim_ascii().is_empty() {
        return Err(ParseFault::Words(verb));
    }
    match verb {
        Verb::Hash => named(verb, text).map(Command::Hash),
        Verb::Md5 => named(verb, text).map(Command::Md5),
        Verb::Rang => octets(verb, text).map(Command::Rang),
        _ => checksum(verb, text),
    }
}

/// `OPTS HASH [algorithm]`.
pub(crate) fn options(text: &[u8]) -> Opts {
    let mut words = text.split(|&b| b == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next()) {
        (None, _) => Opts::Hash,
        (Some(name), None) => Algorithm::from_name(name).map_or(Opts::UnknownHash, Opts::ChooseHash),
        (Some(_), Some(_)) => Opts::HashWords,
    }
}

/// `path [start end]`; a name with blanks is quoted. Words behind the range are ignored, as ever.
fn checksum(verb: Verb, text: &[u8]) -> Result<Command, ParseFault> {
    let text = text.trim_ascii_start();
    let (name, rest) = match unquote(text) {
        Some((name, rest)) => (name, rest),
        None => {
            let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
            (text[..end].to_vec(), &text[end..])
        }
    };
    let path = path(verb, &name)?;
    let mut words = rest.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let range = match (words.next(), words.next()) {
        (None, _) => None,
        (Some(_), None) => return Err(ParseFault::Words(verb)),
        (Some(start), Some(end)) => {
            let start = number(start).ok_or(ParseFault::Range(verb, RangeFault::Start))?;
            let end = number(end).ok_or(ParseFault::Range(verb, RangeFault::End))?;
            Some(Range { start, end })
        }
    };
    Ok(Command::Checksum { verb, path, range })
}

/// The whole argument is a name. Quotes may be part of it, so both readings are kept.
fn named(verb: Verb, text: &[u8]) -> Result<Named, ParseFault> {
    let quoted = unquote(text.trim_ascii()).filter(|(_, rest)| rest.is_empty()).and_then(|(name, _)| WirePath::new(&name).ok());
    Ok(Named { raw: path(verb, text)?, quoted })
}

/// `start end`, the end included (draft-bryan-ftp-range §3); `1 0` takes the range back.
fn octets(verb: Verb, text: &[u8]) -> Result<Option<Range>, ParseFault> {
    let words: Vec<&[u8]> = text.split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
    let [start, end] = words[..] else { return Err(ParseFault::Words(verb)) };
    let start = number(start).ok_or(ParseFault::Range(verb, RangeFault::Start))?;
    let end = number(end).ok_or(ParseFault::Range(verb, RangeFault::End))?;
    match (start, end) {
        (1, 0) => Ok(None),
        // Numbers end at i64::MAX, so one more is no overflow.
        _ if start <= end => Ok(Some(Range { start, end: end + 1 })),
        _ => Err(ParseFault::Syntax(verb)),
    }
}

/// What stands between the quotes that `text` begins with, a doubled quote being one, and what follows. A blank or the end must follow.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let quote = rest.iter().position(|&b| b == b'"')?;
        name.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.first() {
            Some(b'"') => {
                name.push(b'"');
                rest = &rest[1..];
            }
            None | Some(b' ') => return Some((name, rest)),
            Some(_) => return None,
        }
    }
}

fn path(verb: Verb, bytes: &[u8]) -> Result<WirePath, ParseFault> {
    WirePath::new(bytes).map_err(|bad| match bad {
        BadPath::Empty => ParseFault::Words(verb),
        BadPath::Control => ParseFault::ControlBytes(verb),
        BadPath::TooLong | BadPath::Component => ParseFault::Syntax(verb),
    })
}

/// Digits, at most `i64::MAX`: no offset of a file is more.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok().filter(|&number: &u64| i64::try_from(number).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::parse::parse;

    fn wire(text: &str) -> WirePath {
        WirePath::new(text.as_bytes()).unwrap()
    }

    fn sum(verb: Verb, name: &str, range: Option<(u64, u64)>) -> Result<Command, ParseFault> {
        Ok(Command::Checksum { verb, path: wire(name), range: range.map(|(start, end)| Range { start, end }) })
    }

    #[test]
    fn names_and_ranges_of_checksums() {
        use ParseFault::{Range as Bad, Words};
        use Verb::{Xcrc, Xmd5, Xsha, Xsha1, Xsha256, Xsha512};
        for (line, expected) in [
            ("XCRC a", sum(Xcrc, "a", None)),
            ("xcrc  a ", sum(Xcrc, "a", None)),
            ("XMD5 /dir/a 0 12", sum(Xmd5, "/dir/a", Some((0, 12)))),
            ("XSHA a 5  6 more words", sum(Xsha, "a", Some((5, 6)))),
            ("XSHA1 a 6 5", sum(Xsha1, "a", Some((6, 5)))),
            ("XSHA256 \"a b.txt\"", sum(Xsha256, "a b.txt", None)),
            ("XSHA512 \"a \"\"b\"\" c\" 1 2", sum(Xsha512, "a \"b\" c", Some((1, 2)))),
            ("XCRC \u{e4}", sum(Xcrc, "\u{e4}", None)),
            ("XCRC \"\u{e4} \u{20ac}\"", sum(Xcrc, "\u{e4} \u{20ac}", None)),
            ("XCRC a\"b", sum(Xcrc, "a\"b", None)),
            ("XCRC \"a\"b", sum(Xcrc, "\"a\"b", None)),
            ("XCRC \"ab", sum(Xcrc, "\"ab", None)),
            ("XCRC a 0 9223372036854775807", sum(Xcrc, "a", Some((0, i64::MAX as u64)))),
            ("XCRC", Err(Words(Xcrc))),
            ("XCRC  ", Err(Words(Xcrc))),
            ("XCRC \"\"", Err(Words(Xcrc))),
            ("XCRC a b.txt", Err(Words(Xcrc))),
            ("XCRC a 1", Err(Words(Xcrc))),
            ("XCRC a x 1", Err(Bad(Xcrc, RangeFault::Start))),
            ("XCRC a -1 1", Err(Bad(Xcrc, RangeFault::Start))),
            ("XCRC a 1 x", Err(Bad(Xcrc, RangeFault::End))),
            ("XCRC a 0 -1", Err(Bad(Xcrc, RangeFault::End))),
            ("XCRC a 0 9223372036854775808", Err(Bad(Xcrc, RangeFault::End))),
            ("XCRC a 0 99999999999999999999999", Err(Bad(Xcrc, RangeFault::End))),
            ("XCRC a\u{1}", Err(ParseFault::ControlBytes(Xcrc))),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn names_of_hash_and_md5_have_two_readings() {
        let name = |raw, quoted: Option<&str>| Named { raw: wire(raw), quoted: quoted.map(wire) };
        for (text, expected) in [
            ("a b", name("a b", None)),
            ("\"a b\"", name("\"a b\"", Some("a b"))),
            ("\"a\" b", name("\"a\" b", None)),
            ("\"\"", name("\"\"", None)),
            ("a 0 5", name("a 0 5", None)),
        ] {
            assert_eq!(parse(format!("HASH {text}").as_bytes()), Ok(Command::Hash(expected.clone())), "{text}");
            assert_eq!(parse(format!("MD5 {text}").as_bytes()), Ok(Command::Md5(expected)), "{text}");
        }
        assert_eq!(parse(b"HASH"), Err(ParseFault::Words(Verb::Hash)));
        assert_eq!(parse(b"MD5 "), Err(ParseFault::Words(Verb::Md5)));
    }

    #[test]
    fn octet_ranges_include_their_end() {
        for (text, expected) in [
            ("RANG 0 0", Ok(Some(Range { start: 0, end: 1 }))),
            ("RANG 5 9", Ok(Some(Range { start: 5, end: 10 }))),
            ("RANG 1 0", Ok(None)),
            ("RANG 2 1", Err(ParseFault::Syntax(Verb::Rang))),
            ("RANG 0", Err(ParseFault::Words(Verb::Rang))),
            ("RANG 0 1 2", Err(ParseFault::Words(Verb::Rang))),
            ("RANG 0 x", Err(ParseFault::Range(Verb::Rang, RangeFault::End))),
            ("RANG 0 9223372036854775807", Ok(Some(Range { start: 0, end: 1 << 63 }))),
        ] {
            assert_eq!(parse(text.as_bytes()), expected.map(Command::Rang), "{text}");
        }
    }

    #[test]
    fn options_and_sets() {
        for (text, expected) in [
            ("OPTS HASH", Opts::Hash),
            ("OPTS hash  ", Opts::Hash),
            ("OPTS HASH sha-256", Opts::ChooseHash(Algorithm::Sha256)),
            ("OPTS HASH SHA512", Opts::UnknownHash),
            ("OPTS HASH SHA-1 x", Opts::HashWords),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Command::Opts(expected)), "{text}");
        }
        let two: Algorithms = [Algorithm::Sha512, Algorithm::Crc32].into_iter().collect();
        assert_eq!(two.iter().collect::<Vec<_>>(), [Algorithm::Crc32, Algorithm::Sha512]);
        assert_eq!(Algorithms::ALL.without(two).or(two), Algorithms::ALL);
        let offer = |preferred| Offer { algorithms: two, preferred };
        assert_eq!(offer(Some(Algorithm::Crc32)).first(), Some(Algorithm::Crc32));
        assert_eq!(offer(Some(Algorithm::Md5)).first(), Some(Algorithm::Sha512));
        assert_eq!(Offer::default().first(), None);
        assert!(Algorithm::ALL.iter().all(|one| Algorithm::from_name(one.name().to_lowercase().as_bytes()) == Some(*one)));
    }
}
