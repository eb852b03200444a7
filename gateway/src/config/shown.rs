//! The configuration in force as somebody may see it.
//!
//! Gets: the tree before its values were used. Gives: every key with its value as it is written, or its default.
//! Never: what an expansion brought in, or the password in a URL.

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::keys::{Default, KEYS};
use super::tree::{Kind, Node, Scalar, Value, parse};
use crate::admin::Setting;

/// All keys that stand at the top of what is written; `written` gives a key's value in the file.
pub(super) fn settings<'a>(written: impl Fn(&str) -> Option<&'a Node>) -> Vec<Setting> {
    let parts = |name: &str| name.contains('[') || KEYS.iter().any(|other| name.strip_prefix(other.name).is_some_and(|rest| rest.starts_with('.')));
    let keys = KEYS.iter().filter(|key| !parts(key.name));
    let shown = keys.map(|key| {
        let node = written(key.name);
        let value = match (node, key.default) {
            (Some(node), _) => json(node),
            (None, Default::Yaml(text)) => parse(text).map_or(Json::Null, |node| json(&node)),
            (None, Default::Found(words)) => words.into(),
            (None, Default::Required) => Json::Null,
        };
        Setting { key: key.name.to_owned(), value, written: node.is_some() }
    });
    shown.collect()
}

/// Tells configurations apart that nodes of one cluster should have in common: what each has of its own is not looked at.
pub fn fingerprint(settings: &[Setting]) -> String {
    let common = settings.iter().filter(|setting| !OWN.iter().any(|own| setting.key.starts_with(own)));
    let text: String = common.map(|setting| format!("{}={}\n", setting.key, setting.value)).collect();
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Keys that differ from node to node.
const OWN: &[&str] = &["node.", "listen.", "cluster.advertise", "cluster.peers", "data.public_address", "data.ports", "log."];

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Broken => Json::Null,
        Value::Scalar(one) => scalar(one),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect::<Map<_, _>>().into(),
    }
}

fn scalar(scalar: &Scalar) -> Json {
    let text = scalar.shown.as_ref().unwrap_or(&scalar.text);
    match scalar.kind {
        Kind::Truth => (text == "true").into(),
        Kind::Number => text.parse::<u64>().map_or_else(|_| text.as_str().into(), Json::from),
        Kind::Text => without_password(text).into(),
    }
}

/// `redis://user:secret@host` without the secret.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold an `@`.
    match rest[..end].rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}{}", &rest[end..])
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_shown_as_written_and_passwords_are_not() {
        for (text, shown) in [
            ("redis://u:p@ss@h:6379/0", "redis://u:***@h:6379/0"),
            ("rediss://:secret@h", "rediss://:***@h"),
            ("shm:?size=16MiB", "shm:?size=16MiB"),
            ("redis://h/x@y", "redis://h/x@y"),
        ] {
            assert_eq!(without_password(text), shown);
        }
        let node = parse("[1, true, \"0640\", null, { a: x }]").unwrap();
        assert_eq!(json(&node).to_string(), r#"[1,true,"0640",null,{"a":"x"}]"#);
        let mut all = settings(|_| None);
        let known = fingerprint(&all);
        let mut set = |key: &str, value: &str| all.iter_mut().find(|setting| setting.key == key).unwrap().value = value.into();
        set("listen.admin", "10.0.0.5:7122");
        set("limits.line", "8KiB");
        assert_eq!(fingerprint(&all), known, "a node's own address, and a default that is written");
        all.iter_mut().find(|setting| setting.key == "limits.line").unwrap().value = "4KiB".into();
        assert_ne!(fingerprint(&all), known);
        assert!(all.iter().all(|setting| !setting.written) && all.iter().any(|setting| setting.key == "limits.line"));
    }
}
