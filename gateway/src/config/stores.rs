//! The store: where the cluster keeps what it shares, where this host does, and how long it may take to answer.
//!
//! Gets: one node of the tree. Gives: locations of the store crate, or what is wrong, without the password of a URL.
//! Never: connects, or opens a file.

use std::path::PathBuf;
use std::time::Duration;

use ftps_store::location::Location;

use super::forms::{self, Fault, scalar};
use super::problem::Checked;
use super::rules::Fields;
use super::tree::{Node, Value};

/// `store:`, and where this host keeps its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Stores {
    /// `node.state_dir`: segment, own key, journals.
    pub state_dir: PathBuf,
    /// `store.url`.
    pub url: Location,
    /// `store.tls`.
    pub tls: StoreTls,
    /// `store.sessions`, `store.staples`, `store.bans`, `store.digests`: over `url`.
    pub sessions: Option<Location>,
    /// For OCSP responses.
    pub staples: Option<Location>,
    /// For bans.
    pub bans: Option<Location>,
    /// For checksums.
    pub digests: Option<Location>,
    /// `store.fallback`.
    pub fallback: Location,
    /// `store.timeout`.
    pub timeout: Duration,
}

/// `store.tls`: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// Who signs the store's certificate; `None`: the authorities of this machine.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Stores {
    /// Every URL that is written or stands by default, with its key.
    pub fn locations(&self) -> impl Iterator<Item = (&'static str, &Location)> {
        let own = [("store.sessions", &self.sessions), ("store.staples", &self.staples), ("store.bans", &self.bans), ("store.digests", &self.digests)];
        [("store.url", &self.url), ("store.fallback", &self.fallback)].into_iter().chain(own.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?))))
    }

    /// Whether other hosts share one of them.
    pub fn is_networked(&self) -> bool {
        self.locations().any(|(_, location)| location.kind().is_networked())
    }
}

impl StoreTls {
    /// The files that are named.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.ca.iter_mut().chain(&mut self.cert).chain(&mut self.key)
    }
}

/// A URL of a store. What is wrong with one is said without the login in it.
pub(super) fn location(node: &Node) -> Checked<Location> {
    let hidden = without_login(node);
    scalar(&hidden, "is not the URL of a store; write redis://HOST:6379/0, memcached://HOST:11211, shm:?size=16MiB or memory:", |_| {
        // The text itself, not what is shown of it.
        let Value::Scalar(scalar) = &node.value else { return Err(Fault::Form) };
        Location::parse(&scalar.text).map_err(|error| Fault::Said(error.to_string()))
    })
}

/// The same value for a message: `redis://…@host`.
fn without_login(node: &Node) -> Node {
    let mut hidden = node.clone();
    if let Value::Scalar(scalar) = &mut hidden.value
        && let Some((start, end)) = scalar.text.find("//").map(|at| at + 2).zip(scalar.text.rfind('@'))
        && scalar.shown.is_none()
        && start < end
    {
        scalar.shown = Some(format!("{}…{}", &scalar.text[..start], &scalar.text[end..]));
    }
    hidden
}

/// A URL, or null.
pub(super) fn location_or_null(node: &Node) -> Checked<Option<Location>> {
    if node.value == Value::Null { Ok(None) } else { location(node).map(Some) }
}

/// `store.fallback`: on this host.
pub(super) fn fallback(node: &Node) -> Checked<Location> {
    let found = location(node)?;
    if found.kind().is_networked() {
        return scalar(node, "", |_| Err(Fault::Said("is on another host, which would be away too; write shm:?size=16MiB or memory:".into())));
    }
    Ok(found)
}

/// `store.tls`.
pub(super) fn tls(node: &Node) -> Checked<StoreTls> {
    let mut fields = Fields::of(node, &["ca", "cert", "key"], "is not a mapping; write { ca: redis-ca.pem }")?;
    let ca = fields.optional("ca", forms::path_or_null).flatten();
    let cert = fields.optional("cert", forms::path_or_null).flatten();
    let key = fields.optional("key", forms::path_or_null).flatten();
    fields.finish().map(|()| StoreTls { ca, cert, key })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_store::report::BackendKind;

    use super::*;
    use crate::config::tree::parse;

    #[test]
    fn a_url_says_which_store_and_hides_its_password_when_it_is_wrong() {
        let kind = |text: &str| location(&parse(text).unwrap()).unwrap().kind();
        assert_eq!(kind("redis://u:secret@h:1/0"), BackendKind::Redis);
        assert_eq!(kind("'memcached://a:11211,b:11211'"), BackendKind::Memcached);
        assert_eq!(kind("'shm:?size=16MiB'"), BackendKind::Shm);
        assert_eq!(kind("'memory:'"), BackendKind::Memory);
        for wrong in ["redis://u:secret@h:port/0", "http://u:secret@h", "redis://u:secret%@h"] {
            let said = format!("{:?}", location(&parse(wrong).unwrap()).unwrap_err());
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn the_fallback_is_on_this_host() {
        assert!(fallback(&parse("'memory:'").unwrap()).is_ok());
        assert!(format!("{:?}", fallback(&parse("redis://h").unwrap()).unwrap_err()).contains("another host"));
    }
}
