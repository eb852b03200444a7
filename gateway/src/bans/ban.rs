//! A ban, its end, and the two changes a book can undergo, with their bytes for journal, peers and store.
//!
//! Gets: targets, reasons, bytes that a journal, a peer or the store gave. Gives: bans, changes, batches of bytes under a cap.
//! Never: trusts a length or a network it reads: a record that is not whole is left out and counted, one of an unknown kind is passed over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ftps_store::wire::{Reader, WireError, Writer};
use ipnet::IpNet;

use super::target::Target;
use crate::observe::event::BanSource;
use crate::observe::id::{BanId, Ulid};

/// A ban. It never changes: another end or reason is another ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Its id.
    pub id: BanId,
    /// Whom it is about.
    pub target: Target,
    /// Who made it: a person or a rule.
    pub source: BanSource,
    /// Why, in the author's words; the event of a rule.
    pub reason: Arc<str>,
    /// The token or certificate of the administrator, or `rule`.
    pub author: Arc<str>,
    /// What a rule saw; empty for a person.
    pub evidence: Arc<str>,
    /// The rule's message for the client; empty: `bans.message`.
    pub message: Arc<str>,
    /// Unix milliseconds.
    pub created: u64,
    /// Unix milliseconds; [`NEVER`]: permanent.
    pub ends: u64,
}

/// How long a ban lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// So long.
    For(Duration),
    /// Until it is removed.
    Permanent,
}

/// A change of the book. In whatever order changes come, and however often, the book becomes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A ban.
    Ban(Arc<Ban>),
    /// The ban of this id is removed. Remembered until the ban would have ended.
    Unban {
        /// Of the ban.
        id: BanId,
        /// The end of the ban.
        until: u64,
    },
}

/// What a batch of bytes held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The changes.
    pub changes: Vec<Change>,
    /// Records that were none.
    pub bad: u64,
}

impl Term {
    /// `permanent`, or a number with s, m, h or d; more than nothing and at most ten years.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "permanent" {
            return Some(Self::Permanent);
        }
        let split = text.find(|char: char| !char.is_ascii_digit())?;
        let number: u64 = text[..split].parse().ok()?;
        let unit = match &text[split..] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let seconds = number.checked_mul(unit)?;
        (1..=LONGEST).contains(&seconds).then(|| Self::For(Duration::from_secs(seconds)))
    }

    /// When a ban that begins `now` ends.
    pub fn end(self, now: u64) -> u64 {
        match self {
            Self::Permanent => NEVER,
            // A rule's escalation may multiply into the absurd.
            Self::For(time) => now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(NEVER)).min(NEVER - 1),
        }
    }
}

impl Ban {
    /// Whether it is over.
    pub fn has_ended(&self, now: u64) -> bool {
        self.ends <= now
    }

    /// The text for the client: the rule's own or `common`, with %a, %c and %u filled in and without line ends.
    pub fn words(&self, common: &str, ip: Option<IpAddr>, class: Option<&str>, user: Option<&str>) -> String {
        let text = if self.message.is_empty() { common } else { &self.message };
        fill(text, ip, class, user)
    }
}

/// %a address, %c class, %u user; what is not known is `(none)`, as mod_ban says it.
pub fn fill(text: &str, ip: Option<IpAddr>, class: Option<&str>, user: Option<&str>) -> String {
    let mut words = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        words.push_str(before);
        let known = match after.chars().next() {
            Some('a') => ip.map(|ip| ip.to_canonical().to_string()),
            Some('c') => class.map(str::to_owned),
            Some('u') => user.map(str::to_owned),
            _ => {
                words.push('%');
                rest = after;
                continue;
            }
        };
        words.push_str(known.as_deref().unwrap_or("(none)"));
        rest = &after[1..];
    }
    words.push_str(rest);
    words.retain(|char| !char.is_control());
    words.chars().take(WORDS).collect()
}

impl Change {
    /// The id it is about.
    pub fn id(&self) -> BanId {
        match self {
            Self::Ban(ban) => ban.id,
            Self::Unban { id, .. } => *id,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Writer::new(RECORD);
        match self {
            Self::Unban { id, until } => out.u8(UNBAN).array(&id.0.to_bytes()).u64(*until),
            Self::Ban(ban) => {
                out.u8(BAN).array(&ban.id.0.to_bytes()).u64(ban.created).u64(ban.ends);
                out.u8(match ban.source {
                    BanSource::Admin => 0,
                    BanSource::Rule => 1,
                });
                encode_target(&ban.target, &mut out);
                out.bytes(ban.reason.as_bytes()).bytes(ban.author.as_bytes()).bytes(ban.evidence.as_bytes()).bytes(ban.message.as_bytes())
            }
        };
        out.finish()
    }

    /// `None`: a kind that a newer node knows.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(bytes);
        let change = match reader.u8()? {
            UNBAN => Self::Unban { id: BanId(Ulid::from_bytes(reader.array()?)), until: reader.u64()? },
            BAN => {
                let (id, created, ends) = (BanId(Ulid::from_bytes(reader.array()?)), reader.u64()?, reader.u64()?);
                let source = if reader.u8()? == 0 { BanSource::Admin } else { BanSource::Rule };
                let target = decode_target(&mut reader)?;
                let mut text = || Ok::<Arc<str>, WireError>(String::from_utf8_lossy(reader.bytes(TEXT)?).into());
                let (reason, author, evidence, message) = (text()?, text()?, text()?, text()?);
                Self::Ban(Arc::new(Ban { id, target, source, reason, author, evidence, message, created, ends }))
            }
            _ => return Ok(None),
        };
        // What follows was added by a newer node.
        Ok(Some(change))
    }
}

/// Batches of at most about `cap` bytes each.
pub fn encode<'a>(changes: impl IntoIterator<Item = &'a Change>, cap: usize) -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for record in changes.into_iter().filter_map(|change| change.encode().ok()) {
        let Ok(length) = u32::try_from(record.len()) else { continue };
        let full = batches.last().is_none_or(|batch| batch.len() + record.len() + 4 > cap);
        if full {
            batches.push(Vec::new());
        }
        if let Some(batch) = batches.last_mut() {
            batch.extend_from_slice(&length.to_be_bytes());
            batch.extend_from_slice(&record);
        }
    }
    batches
}

/// Reads a batch. Damage ends it: what was before counts.
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let mut reader = Reader::new(bytes);
    while reader.end().is_err() {
        let Ok(record) = reader.bytes(RECORD) else {
            decoded.bad += 1;
            return decoded;
        };
        match Change::decode(record) {
            Ok(Some(Change::Ban(ban))) if !ban.target.is_sound() => decoded.bad += 1,
            Ok(change) => decoded.changes.extend(change),
            Err(_) => decoded.bad += 1,
        }
    }
    decoded
}

fn encode_target(target: &Target, out: &mut Writer) {
    match target {
        Target::Network(net) => encode_net(net, out.u8(0)),
        Target::User(name) => out.u8(1).bytes(name.as_bytes()),
        Target::UserAtHost(name, net) => encode_net(net, out.u8(2).bytes(name.as_bytes())),
        Target::Class(name) => out.u8(3).bytes(name.as_bytes()),
        Target::Certificate(name) => out.u8(4).bytes(name.as_bytes()),
    };
}

fn encode_net<'a>(net: &IpNet, out: &'a mut Writer) -> &'a mut Writer {
    match net {
        IpNet::V4(four) => out.u8(4).array(&four.addr().octets()).u8(four.prefix_len()),
        IpNet::V6(six) => out.u8(6).array(&six.addr().octets()).u8(six.prefix_len()),
    }
}

fn decode_target(reader: &mut Reader<'_>) -> Result<Target, WireError> {
    fn name(reader: &mut Reader<'_>) -> Result<Box<str>, WireError> {
        Ok(String::from_utf8_lossy(reader.bytes(TEXT)?).into())
    }
    Ok(match reader.u8()? {
        0 => Target::Network(decode_net(reader)?),
        1 => Target::User(name(reader)?),
        2 => {
            let name = name(reader)?;
            Target::UserAtHost(name, decode_net(reader)?)
        }
        3 => Target::Class(name(reader)?),
        4 => Target::Certificate(name(reader)?),
        _ => return Err(WireError::Short),
    })
}

fn decode_net(reader: &mut Reader<'_>) -> Result<IpNet, WireError> {
    let ip = match reader.u8()? {
        4 => IpAddr::from(reader.array::<4>()?),
        6 => IpAddr::from(reader.array::<16>()?),
        _ => return Err(WireError::Short),
    };
    IpNet::new(ip, reader.u8()?).map_err(|_| WireError::TooLong)
}

/// The end of a permanent ban.
pub const NEVER: u64 = u64::MAX;
/// Longest reason, author, evidence, message or name, in bytes.
pub const TEXT: usize = 512;
/// Longest text for a client, in letters.
const WORDS: usize = 400;
/// Longest record.
const RECORD: usize = 6 * TEXT + 128;
/// Ten years.
const LONGEST: u64 = 3_650 * 86_400;
const BAN: u8 = 1;
const UNBAN: u8 = 2;

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// A ban of this target that ends then.
    pub(in crate::bans) fn ban(kind: &str, text: &str, ends: u64, source: BanSource) -> Arc<Ban> {
        let target = Target::parse(kind, text).unwrap();
        let (reason, author) = ("test".into(), "ops".into());
        Arc::new(Ban { id: BanId::now(), target, source, reason, author, evidence: "".into(), message: "".into(), created: 1, ends })
    }

    fn samples() -> Vec<Change> {
        let targets = [
            ("ip", "203.0.113.7"),
            ("cidr", "2001:db8::/48"),
            ("user", "alice"),
            ("user_at_host", "alice@203.0.113.0/24"),
            ("class", "partners"),
            ("certificate", "cn:alice"),
        ];
        let bans = targets.iter().map(|(kind, text)| Change::Ban(ban(kind, text, 77, BanSource::Rule)));
        bans.chain([Change::Unban { id: BanId::now(), until: NEVER }]).collect()
    }

    #[test]
    fn what_was_written_is_read_in_batches_under_the_cap() {
        let changes = samples();
        for cap in [1, 100, 300, 1 << 20] {
            let batches = encode(&changes, cap);
            assert!(batches.iter().all(|batch| batch.len() <= cap.max(200)), "one record at least");
            let read: Vec<Change> = batches.iter().flat_map(|batch| decode(batch).changes).collect();
            assert_eq!(read, changes);
        }
    }

    #[test]
    fn damage_is_counted_and_never_a_panic() {
        let whole = encode(&samples(), 1 << 20).remove(0);
        for cut in 0..whole.len() {
            let decoded = decode(&whole[..cut]);
            assert!(decoded.changes.len() < 7 && decoded.bad <= 1);
        }
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = usize::try_from(state >> 33).unwrap() % bytes.len();
                bytes[place] = state.to_be_bytes()[0];
            }
            assert!(decode(&bytes).changes.iter().all(|change| !matches!(change, Change::Ban(ban) if !ban.target.is_sound())));
        }
        // A kind of a later version is passed over, not damage.
        assert_eq!(decode(&[0, 0, 0, 2, 99, 1]), Decoded::default());
    }

    #[test]
    fn terms_have_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("5m", 300), ("1h", 3600), ("3650d", LONGEST)] {
            assert_eq!(Term::parse(text), Some(Term::For(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(Term::parse("permanent").unwrap().end(5), NEVER);
        assert_eq!(Term::For(Duration::MAX).end(5), NEVER - 1);
        for text in ["", "0s", "-1h", "1", "h", "1x", "1.5h", "4000d", "99999999999999999999s", "forever"] {
            assert_eq!(Term::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_is_filled_in_and_stays_one_line() {
        let ip = Some("::ffff:203.0.113.7".parse().unwrap());
        assert_eq!(fill("%a (%c) %u: 100% %%a", ip, None, Some("al\r\nice")), "203.0.113.7 ((none)) alice: 100% %203.0.113.7");
        assert_eq!(fill("%", None, None, None), "%");
        let mut own = Ban::clone(&ban("ip", "203.0.113.7", 9, BanSource::Rule));
        assert_eq!(own.words("common", ip, None, None), "common");
        own.message = "own %a".into();
        assert_eq!(own.words("common", ip, None, None), "own 203.0.113.7");
    }
}
