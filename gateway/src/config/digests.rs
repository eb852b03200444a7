//! The forms of `digests`: algorithms, the cache, rules; and the storage's id, which only digests use.
//!
//! Gets: one node. Gives: the room's own types, or everything that is wrong. Never: opens a file.

use std::time::Duration;

use ftps_proto::digest::{Algorithm, Algorithms};
use ftps_proto::path::{VirtualPath, WirePath};

use super::check::default;
use super::forms::{self, Fault, MANY, list, scalar};
use super::problem::{Checked, Wrong};
use super::rules::Fields;
use super::tree::{Node, Value};
use crate::digest::{CacheConfig, Rule};

/// One algorithm.
pub(super) fn algorithm(node: &Node) -> Checked<Algorithm> {
    forms::word(&ALGORITHMS)(node)
}

/// `digests.at_upload`, `digests.at_download`.
pub(super) fn algorithms(node: &Node) -> Checked<Algorithms> {
    list(node, "is not a list of algorithms; write [sha256], or [] for none", algorithm).map(|algorithms| algorithms.into_iter().collect())
}

/// `digests.algorithms`: at least one.
pub(super) fn some_algorithms(node: &Node) -> Checked<Algorithms> {
    let algorithms = algorithms(node)?;
    if algorithms.is_empty() { Err(vec![Wrong::at(node.line, "is empty; write at least one algorithm, or enabled: false")]) } else { Ok(algorithms) }
}

/// `digests.max_size`.
pub(super) fn max_size(node: &Node) -> Checked<u64> {
    forms::size(1, SIZE_MOST)(node)
}

/// `digests.cache`: what is missing has its default.
pub(super) fn cache(node: &Node) -> Checked<CacheConfig> {
    let mut fields = Fields::of(node, &["entries", "max_age"], "is not a mapping; write { entries: 10000, max_age: 30d }")?;
    let count = |node: &Node| forms::number(0, MANY)(node).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let age = forms::duration(AGE_MOST);
    let entries = fields.optional("entries", count).unwrap_or_else(|| default("digests.cache.entries", count));
    let max_age = fields.optional("max_age", &age).unwrap_or_else(|| default("digests.cache.max_age", &age));
    fields.finish().map(|()| CacheConfig { entries, max_age })
}

/// `digests.jobs`: `auto` is `None`.
pub(super) fn jobs(node: &Node) -> Checked<Option<usize>> {
    scalar(node, "is not a number of jobs; write auto, or a number from 1 to 1024", |scalar| match scalar.text.as_str() {
        "auto" => Ok(None),
        number => number.parse().ok().filter(|jobs| (1..=1024).contains(jobs)).map(Some).ok_or(Fault::Form),
    })
}

/// `digests.rules`.
pub(super) fn rules(node: &Node) -> Checked<Vec<Rule>> {
    list(node, "is not a list of rules; write [{ path: /nfs, enabled: false }]", rule)
}

fn rule(node: &Node) -> Checked<Rule> {
    let known = ["path", "user", "class", "enabled", "algorithms", "max_size"];
    let mut fields = Fields::of(node, &known, "is not a rule; write { path: /nfs, enabled: false }")?;
    let rule = Rule {
        path: fields.optional("path", path),
        user: fields.optional("user", text),
        class: fields.optional("class", text),
        enabled: fields.optional("enabled", forms::truth),
        algorithms: fields.optional("algorithms", some_algorithms),
        max_size: fields.optional("max_size", max_size),
    };
    fields.finish()?;
    if rule.path.is_none() && rule.user.is_none() && rule.class.is_none() {
        return Err(vec![Wrong::at(node.line, "says not for what it holds; write a path, a user or a class")]);
    }
    if rule.enabled.is_none() && rule.algorithms.is_none() && rule.max_size.is_none() {
        return Err(vec![Wrong::at(node.line, "decides nothing; write enabled, algorithms or max_size")]);
    }
    Ok(rule)
}

/// From the storage's root on.
fn path(node: &Node) -> Checked<VirtualPath> {
    scalar(node, "is not a path inside storage.root; write one with a leading slash and without .., for example /nfs", |scalar| {
        let wire = WirePath::new(scalar.text.as_bytes()).ok().filter(|wire| wire.as_bytes().starts_with(b"/"));
        let plain = wire.filter(|wire| !wire.as_bytes().split(|&b| b == b'/').any(|part| part == b".."));
        plain.and_then(|wire| VirtualPath::root().resolve(&wire).ok()).ok_or(Fault::Form)
    })
}

fn text(node: &Node) -> Checked<String> {
    scalar(
        node,
        "is not a name; write 1 to 128 bytes of text",
        |scalar| {
            if (1..=128).contains(&scalar.text.len()) { Ok(scalar.text.clone()) } else { Err(Fault::Form) }
        },
    )
}

/// `storage.id`.
pub(super) fn storage_id(node: &Node) -> Checked<Option<String>> {
    if node.value == Value::Null {
        return Ok(None);
    }
    scalar(node, "is not an id; write 1 to 64 letters, digits, '-', '_' or '.', or null", |scalar| {
        let fits = (1..=64).contains(&scalar.text.len()) && scalar.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits { Ok(Some(scalar.text.clone())) } else { Err(Fault::Form) }
    })
}

const ALGORITHMS: [(&str, Algorithm); 5] =
    [("crc32", Algorithm::Crc32), ("md5", Algorithm::Md5), ("sha1", Algorithm::Sha1), ("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512)];
/// No file is larger (ext4, XFS: 16 TiB and more; this is what a day of reading allows).
const SIZE_MOST: u64 = 1 << 50;
/// The store keeps none for longer.
const AGE_MOST: Duration = Duration::from_secs(366 * 24 * 3600);
