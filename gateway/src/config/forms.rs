//! The forms of values: durations, sizes, addresses, networks, ports, modes, words.
//!
//! Gets: one node. Gives: a checked value, or everything that is wrong with it and what to write. Never: knows which key it reads,
//! opens a file, or asks a name server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::near::nearest;
use super::problem::{Checked, Wrong};
use super::tree::{Entry, Kind, Node, Scalar, Value};
use crate::data::PortSet;

/// What is wrong with a single value.
pub(super) enum Fault {
    /// It has another form: the reader's own words say which one is wanted.
    Form,
    /// These words.
    Said(String),
}

/// Reads a single value; `not` says what it is not and what to write.
pub(super) fn scalar<T>(node: &Node, not: &str, parse: impl FnOnce(&Scalar) -> Result<T, Fault>) -> Checked<T> {
    let what = match &node.value {
        Value::Scalar(scalar) => {
            return parse(scalar).map_err(|fault| {
                let words = match &fault {
                    Fault::Form => not,
                    Fault::Said(words) => words,
                };
                vec![Wrong::at(node.line, format!("{} {words}", show(scalar)))]
            });
        }
        Value::Null => "null",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Broken => return Err(Vec::new()),
    };
    Err(vec![Wrong::at(node.line, format!("{what} {not}"))])
}

/// Reads a list, every item by `item`.
pub(super) fn list<T>(node: &Node, not: &str, item: impl Fn(&Node) -> Checked<T>) -> Checked<Vec<T>> {
    let items = match &node.value {
        Value::List(items) => items,
        Value::Scalar(scalar) => return Err(vec![Wrong::at(node.line, format!("{} {not}", show(scalar)))]),
        Value::Null => return Err(vec![Wrong::at(node.line, format!("null {not}"))]),
        Value::Map(_) => return Err(vec![Wrong::at(node.line, format!("a mapping {not}"))]),
        Value::Broken => return Err(Vec::new()),
    };
    let mut good = Vec::new();
    let mut wrongs = Vec::new();
    for (index, node) in items.iter().enumerate() {
        match item(node) {
            Ok(value) => good.push(value),
            Err(more) => wrongs.extend(more.into_iter().map(|wrong| wrong.under(&format!("[{index}]")))),
        }
    }
    if wrongs.is_empty() && good.len() == items.len() { Ok(good) } else { Err(wrongs) }
}

/// The entries of a mapping, keys that stand twice taken out and named in the second answer.
pub(super) fn unique(entries: &[Entry]) -> (Vec<&Entry>, Vec<Wrong>) {
    let mut first: Vec<&Entry> = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries {
        match first.iter().find(|other| other.key == entry.key) {
            Some(other) => {
                wrongs.push(Wrong::at(entry.line, format!("stands twice, first in line {}; remove one", other.line)).under(&format!(".{}", entry.key)))
            }
            None => first.push(entry),
        }
    }
    (first, wrongs)
}

/// How a value is shown in a message.
pub(super) fn show(scalar: &Scalar) -> String {
    let text = scalar.shown.as_ref().unwrap_or(&scalar.text);
    let text: String = if text.chars().count() > MAX_SHOWN { text.chars().take(MAX_SHOWN).chain(['…']).collect() } else { text.clone() };
    match scalar.kind {
        Kind::Text => format!("{text:?}"),
        Kind::Number | Kind::Truth => text,
    }
}

/// One of these words.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node) -> Checked<T> {
    move |node| {
        let names = || words.iter().map(|(name, _)| *name);
        let not = format!("is not one of {}", names().collect::<Vec<_>>().join(", "));
        scalar(node, &not, |scalar| {
            let found = words.iter().find(|(name, _)| *name == scalar.text).map(|(_, value)| *value);
            found.ok_or_else(|| nearest(&scalar.text, names()).map_or(Fault::Form, |near| Fault::Said(format!("{not}; did you mean {near}?"))))
        })
    }
}

/// `true` or `false`.
pub(super) fn truth(node: &Node) -> Checked<bool> {
    scalar(node, "is not true or false", |scalar| match scalar.text.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::Form),
    })
}

/// A whole number within bounds.
pub(super) fn number(min: u64, max: u64) -> impl Fn(&Node) -> Checked<u64> {
    move |node| {
        let not = format!("is not a whole number; write one from {min} to {max}");
        scalar(node, &not, |scalar| {
            let number: u64 = scalar.text.parse().map_err(|_| Fault::Form)?;
            if (min..=max).contains(&number) { Ok(number) } else { Err(Fault::Said(format!("is out of range; write a number from {min} to {max}"))) }
        })
    }
}

/// A number with a unit, more than nothing and at most `max`.
pub(super) fn duration(max: Duration) -> impl Fn(&Node) -> Checked<Duration> {
    move |node| {
        let value = duration_or_zero(max)(node)?;
        if value.is_zero() { Err(vec![Wrong::at(node.line, "0 would end everything at once; write a longer time, for example 30s")]) } else { Ok(value) }
    }
}

/// A number with a unit, at most `max`.
pub(super) fn duration_or_zero(max: Duration) -> impl Fn(&Node) -> Checked<Duration> {
    move |node| {
        scalar(node, "is not a duration; write a number with s, m, h or d, for example 5m", |scalar| {
            let value = parse_duration(&scalar.text).ok_or(Fault::Form)?;
            let most = if max.as_secs() < 86_400 { format!("{}s", max.as_secs()) } else { format!("{}d", max.as_secs() / 86_400) };
            if value <= max { Ok(value) } else { Err(Fault::Said(format!("is too long; write at most {most}"))) }
        })
    }
}

/// A number of bytes with a binary unit, within bounds.
pub(super) fn size(min: u64, max: u64) -> impl Fn(&Node) -> Checked<u64> {
    move |node| {
        scalar(node, "is not a size; write a number with B, KiB, MiB or GiB, for example 8KiB", |scalar| {
            let bytes = parse_size(&scalar.text).ok_or(Fault::Form)?;
            if (min..=max).contains(&bytes) { Ok(bytes) } else { Err(Fault::Said(format!("is out of range; write {min}B to {}KiB", max >> 10))) }
        })
    }
}

/// `IP:PORT`.
pub(super) fn address(node: &Node) -> Checked<SocketAddr> {
    scalar(node, "is not an address; write IP:PORT, for example \"127.0.0.1:2121\" or \"[::]:2121\"", |scalar| scalar.text.parse().map_err(|_| Fault::Form))
}

/// `IP:PORT` or null.
pub(super) fn address_or_null(node: &Node) -> Checked<Option<SocketAddr>> {
    if node.value == Value::Null { Ok(None) } else { address(node).map(Some) }
}

/// A network, or one address.
pub(super) fn network(node: &Node) -> Checked<IpNet> {
    scalar(node, NOT_A_NETWORK, |scalar| parse_network(&scalar.text))
}

/// `50000-50007`, `50000` or `0/8`.
pub(super) fn ports(node: &Node) -> Checked<PortSet> {
    scalar(node, "is not a set of ports; write \"50000-50007\", or \"0/8\" for eight of the kernel's choice", |scalar| parse_ports(&scalar.text))
}

/// Permission bits in octal and in quotes, with at least those of `needed`.
pub(super) fn mode(needed: u32) -> impl Fn(&Node) -> Checked<u32> {
    move |node| {
        scalar(node, "is not a mode; write it in octal and in quotes, for example \"0640\"", |scalar| {
            let digits = scalar.text.as_bytes();
            let octal = scalar.kind == Kind::Text && (3..=4).contains(&digits.len()) && digits.iter().all(|b| (b'0'..=b'7').contains(b));
            let mode = if octal { u32::from_str_radix(&scalar.text, 8).map_err(|_| Fault::Form)? } else { return Err(Fault::Form) };
            if mode > 0o777 {
                return Err(Fault::Said("has more than permission bits; write at most \"0777\"".into()));
            }
            if mode & needed != needed {
                return Err(Fault::Said(format!("takes the gateway's own access away; write one with \"{needed:04o}\" in it")));
            }
            Ok(mode)
        })
    }
}

/// A path as it stands.
pub(super) fn path(node: &Node) -> Checked<PathBuf> {
    scalar(node, "is not a path; write the path of a file or directory", |scalar| {
        if scalar.text.is_empty() || scalar.text.contains('\0') { Err(Fault::Form) } else { Ok(PathBuf::from(&scalar.text)) }
    })
}

/// A path or null.
pub(super) fn path_or_null(node: &Node) -> Checked<Option<PathBuf>> {
    if node.value == Value::Null { Ok(None) } else { path(node).map(Some) }
}

/// A list of networks.
pub(super) fn networks(node: &Node) -> Checked<Vec<IpNet>> {
    list(node, "is not a list of networks; write [\"10.0.0.0/8\"]", network)
}

/// A duration as the configuration writes it: `200ms`, `30s`, `5m`, `1h`, `6d`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// `50000-50007`, `50000` or `0/8`.
pub(super) fn parse_ports(text: &str) -> Result<PortSet, Fault> {
    let port = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u16>().map_err(|_| Fault::Form) } else { Err(Fault::Form) };
    if let Some(count) = text.strip_prefix("0/") {
        let count = port(count)?;
        let fits = (1..=MAX_PORTS).contains(&count);
        return if fits { Ok(PortSet::Any(count)) } else { Err(Fault::Said(format!("is out of range; write \"0/1\" to \"0/{MAX_PORTS}\""))) };
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 {
        return Err(Fault::Said("begins with port 0; write \"0/8\" for eight ports of the kernel's choice".into()));
    }
    if first > last {
        return Err(Fault::Said(format!("runs backwards; write \"{last}-{first}\"")));
    }
    if last - first >= MAX_PORTS {
        return Err(Fault::Said(format!("has more than {MAX_PORTS} ports; write fewer: all clients share them, and eight serve thousands of sessions")));
    }
    Ok(PortSet::Range(first, last))
}

/// A network without host bits, or one address.
pub(super) fn parse_network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| Fault::Form)?;
    let trunc = network.trunc();
    if network == trunc { Ok(network) } else { Err(Fault::Said(format!("has bits behind its prefix; write {trunc}"))) }
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Digits and what follows; spaces between them do not count.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

/// What a network is not.
pub(super) const NOT_A_NETWORK: &str = "is not a network; write ADDRESS/PREFIX, for example \"10.0.0.0/8\", or one address";
/// Most data ports: each is a socket on every address of the FTP listeners.
const MAX_PORTS: u16 = 1_000;
/// More than any node can serve.
pub(super) const MANY: u64 = 10_000_000;
/// Letters of a value shown in a message.
const MAX_SHOWN: usize = 80;
/// The longest wait a configuration may name: later sums of it and a point in time must not overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);
/// Seven days: what clients hold a TLS ticket for at most (RFC 8446 §4.6.1).
pub(super) const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::config::tree::parse;

    fn said<T: std::fmt::Debug>(checked: Checked<T>) -> String {
        checked.expect_err("this is wrong").into_iter().map(|wrong| wrong.message).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [("200ms", 200), ("30s", 30_000), ("5 m", 300_000), ("1h", 3_600_000), ("6d", 518_400_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "5x", "m", "-5m", "1.5h", "99999999999999999999s", "18446744073709551615d", "5м"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(said(duration(WEEK)(&parse("5x").unwrap())), "\"5x\" is not a duration; write a number with s, m, h or d, for example 5m");
        assert_eq!(said(duration(WEEK)(&parse("8d").unwrap())), "\"8d\" is too long; write at most 7d");
        assert_eq!(said(duration(WEEK)(&parse("[]").unwrap())), "a list is not a duration; write a number with s, m, h or d, for example 5m");
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("512B", 512), ("8KiB", 8192), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["8", "8KB", "8k", "KiB", "99999999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn ports_are_a_range_or_a_count() {
        for (text, ports) in [("50000-50007", PortSet::Range(50_000, 50_007)), ("21", PortSet::Range(21, 21)), ("0/8", PortSet::Any(8))] {
            assert!(parse_ports(text).is_ok_and(|parsed| parsed == ports), "{text}");
        }
        for text in ["", "-", "5-", "0", "0-5", "9-1", "1-70000", "0/0", "0/70000", "+1-5", "1-2-3", "1-60000"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_have_no_host_bits_and_modes_are_quoted() {
        assert!(parse_network("10.0.0.1").is_ok_and(|network| network.prefix_len() == 32));
        assert_eq!(said(network(&parse("10.1.2.3/8").unwrap())), "\"10.1.2.3/8\" has bits behind its prefix; write 10.0.0.0/8");
        assert_eq!(mode(0o600)(&parse("'0640'").unwrap()), Ok(0o640));
        assert!(said(mode(0o600)(&parse("0640").unwrap())).contains("in quotes"));
        assert!(said(mode(0o600)(&parse("'0040'").unwrap())).contains("0600"));
        assert!(said(mode(0o600)(&parse("'4755'").unwrap())).contains("0777"));
    }

    #[test]
    fn all_items_of_a_list_are_read_and_named() {
        let wrongs = networks(&parse("[10.0.0.0/8, x, 1.2.3.4,\n y]").unwrap()).unwrap_err();
        assert_eq!(wrongs.iter().map(|wrong| (wrong.line, wrong.below.as_str())).collect::<Vec<_>>(), [(1, "[1]"), (2, "[3]")]);
    }

    #[test]
    fn a_word_is_answered_with_the_nearest() {
        let read = word(&[("auto", 1), ("always", 2)]);
        assert_eq!(read(&parse("always").unwrap()), Ok(2));
        assert_eq!(said(read(&parse("alwys").unwrap())), "\"alwys\" is not one of auto, always; did you mean always?");
        assert_eq!(said(read(&parse("true").unwrap())), "true is not one of auto, always");
    }
}
