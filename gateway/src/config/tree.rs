//! The one door to YAML: text becomes a tree in which every key and value knows its line.
//!
//! Gets: the text of a file. Gives: [`Node`]s, and keys that stand twice. Never: knows a key or a type;
//! numbers are kept as text, so that only the key's own reader decides what they mean. Input size, depth and aliases are bounded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use super::problem::Wrong;

/// A value and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    /// What stands there.
    pub(super) value: Value,
}

/// What a YAML document is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number or a truth value.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order; a key that stands twice is here twice.
    Map(Vec<Entry>),
    /// Its expansion failed and that was said: readers say nothing more.
    Broken,
}

/// A single value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    /// The value.
    pub(super) text: String,
    /// What YAML takes it for.
    pub(super) kind: Kind,
    /// What to show in messages, when that is not the value: the text before its expansion, which may have brought in a secret.
    pub(super) shown: Option<String>,
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string; everything in quotes is one.
    Text,
    /// A number: its spelling is lost (`0640` reads as 640).
    Number,
    /// `true` or `false`.
    Truth,
}

/// One line of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Its line.
    pub(super) line: usize,
    /// Its value.
    pub(super) node: Node,
}

/// Reads a document. An empty one is [`Value::Null`].
///
/// # Errors
/// The first place that is not YAML.
pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    if text.len() > MAX_BYTES {
        return Err(Wrong::at(1, format!("is longer than {} MiB; split it into several files", MAX_BYTES >> 20)));
    }
    let options = serde_yaml::options! {
        // All entries come through, so that the check can name both lines and go on.
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins,
        merge_keys: serde_yaml::MergeKeyPolicy::Error,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::AsString,
        // YAML 1.2: `no` and `on` are words, not truth values.
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_events: MAX_EVENTS, max_nodes: MAX_EVENTS, max_aliases: MAX_ALIASES, max_depth: MAX_DEPTH },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_ALIASES * 100, max_replay_stack_depth: 8 },
    };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw)),
        Err(error) => Err(syntax(text, &error)),
    }
}

/// A scalar as serde hands it over, with spans below it.
enum Raw {
    Null,
    Scalar(String, Kind),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(text.to_owned(), Kind::Text))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(truth.to_string(), Kind::Truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.to_string(), Kind::Number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.to_string(), Kind::Number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.to_string(), Kind::Number))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn node(raw: Spanned<Raw>) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Scalar(text, kind) => Value::Scalar(Scalar { text, kind, shown: None }),
        Raw::List(items) => Value::List(items.into_iter().map(node).collect()),
        Raw::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| entry(key, value)).collect()),
    };
    Node { line: line(raw.referenced.line()), value }
}

fn entry(key: Spanned<String>, value: Spanned<Raw>) -> Entry {
    Entry { line: line(key.referenced.line()), key: key.value, node: node(value) }
}

fn line(line: u64) -> usize {
    usize::try_from(line).unwrap_or(usize::MAX).max(1)
}

/// The library's words without its own notion of place; its hints about Rust functions are replaced.
fn syntax(text: &str, error: &serde_yaml::Error) -> Wrong {
    let at = error.location().map_or(1, |location| line(location.line()));
    // An error at the end of the text is reported one line behind it.
    let at = at.min(text.lines().count().max(1));
    let words = match error.without_snippet() {
        serde_yaml::Error::MultipleDocuments { .. } => "a second document begins here; keep one in a file".to_owned(),
        serde_yaml::Error::MergeKeyNotAllowed { .. } => "merge keys (<<) are not supported; write the keys out".to_owned(),
        other => {
            let words = other.to_string();
            words.split(" at line ").next().unwrap_or_default().trim().to_owned()
        }
    };
    Wrong::at(at, format!("is not YAML: {words}"))
}

/// Largest file taken: a users file of 200,000 users has about 50 MB.
const MAX_BYTES: usize = 64 << 20;
/// Most nodes in it.
const MAX_EVENTS: usize = 8_000_000;
/// Most aliases; each may bring in some nodes again.
const MAX_ALIASES: usize = 1_000;
/// Deepest nesting; no key of ours needs more than five.
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn wrong(text: &str) -> (usize, String) {
        let wrong = parse(text).expect_err("this is no YAML");
        (wrong.line, wrong.message)
    }

    #[test]
    fn every_key_and_value_knows_its_line() {
        let node = parse("# first\na: 1\nb:\n  c: [x,\n      y]\n").unwrap();
        let Value::Map(entries) = &node.value else { panic!("a mapping") };
        assert_eq!((entries[0].line, entries[1].line, entries[1].node.line), (2, 3, 4));
        let Value::Map(inner) = &entries[1].node.value else { panic!("a mapping") };
        let Value::List(items) = &inner[0].node.value else { panic!("a list") };
        assert_eq!((inner[0].line, items[0].line, items[1].line), (4, 4, 5));
    }

    #[test]
    fn a_key_that_stands_twice_is_kept_twice() {
        let Value::Map(entries) = parse("a: 1\nb: 2\na: 3\n").unwrap().value else { panic!("a mapping") };
        assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn what_yaml_takes_for_a_number_or_a_word_is_known() {
        for (text, value, kind) in [
            ("no", "no", Kind::Text),
            ("0640", "640", Kind::Number),
            ("'0640'", "0640", Kind::Text),
            ("true", "true", Kind::Truth),
            (".nan", ".nan", Kind::Text),
        ] {
            let Value::Scalar(scalar) = parse(text).unwrap().value else { panic!("{text}: a scalar") };
            assert_eq!((scalar.text.as_str(), scalar.kind), (value, kind), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_yaml_is_refused_with_its_line() {
        assert_eq!(wrong("a: 1\n  b: 2\n"), (2, "is not YAML: mapping values are not allowed in this context".into()));
        assert_eq!(wrong("a:\n\t- b\n").0, 2);
        assert_eq!(wrong("a: 1\n---\nb: 2\n"), (3, "is not YAML: a second document begins here; keep one in a file".into()));
        assert_eq!(wrong("a: 'it\n").0, 1);
        assert!(wrong("x: &x {a: 1}\ny: {<<: *x}\n").1.contains("merge keys"));
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (this, last) in "bcdefghij".chars().zip("abcdefghi".chars()) {
            text.push_str(&format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 10].join(",")));
        }
        assert!(parse(&text).is_err());
    }
}
