//! The forms that belong to one key: names, certificates, announced addresses, log levels.
//!
//! Gets: one node. Gives: a room's own type, or everything that is wrong with it. Never: opens a file or asks a name server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ftps_proto::proof::{ReusePolicy, UploadEnd};
use ipnet::IpNet;

use super::check::default;
use super::forms::{self, Fault, MANY, list, scalar, show};
use super::near::nearest;
use super::problem::{Checked, Wrong};
use super::tree::{Entry, Node, Value};
use super::users;
use crate::auth::Anonymous;
use crate::data::{Announce, PublicAddress};
use crate::net::http;
use crate::observe::log::ROOMS;
use crate::observe::{LogFormat, LogLevel};
use crate::storage::{Fsync, Symlinks};
use crate::tls::{CertificateFiles, ClientAuth, ClientAuthMode, MinVersion, SidecarFiles, Stapling};

/// `node.name`: it becomes part of file names and labels.
pub(super) fn node_name(node: &Node) -> Checked<String> {
    scalar(node, "is not a node name; write 1 to 63 letters, digits, '-', '_' or '.'", |scalar| {
        let fits = (1..=63).contains(&scalar.text.len()) && scalar.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits { Ok(scalar.text.clone()) } else { Err(Fault::Form) }
    })
}

/// `listen.explicit` and `listen.implicit`.
pub(super) fn addresses(node: &Node) -> Checked<Vec<SocketAddr>> {
    list(node, "is not a list of addresses; write [\"[::]:2121\"], or [] for none", forms::address)
}

/// `users.files`: at least one.
pub(super) fn user_files(node: &Node) -> Checked<Vec<PathBuf>> {
    let files = list(node, "is not a list of files; write [users.yaml]", forms::path)?;
    if files.is_empty() { Err(vec![Wrong::at(node.line, "is empty, so that nobody could log in; write [users.yaml]")]) } else { Ok(files) }
}

/// `users.anonymous`: `None` while it is not enabled.
pub(super) fn anonymous(node: &Node) -> Checked<Option<Anonymous>> {
    let mut fields = Fields::of(node, &["enabled", "home", "permissions"], "is not a mapping; write { enabled: true, home: /pub, permissions: [list, read] }")?;
    let enabled = fields.optional("enabled", forms::truth).unwrap_or_else(|| default("users.anonymous.enabled", forms::truth));
    let home = fields.optional("home", users::home).unwrap_or_else(|| default("users.anonymous.home", users::home));
    let permissions = fields.optional("permissions", users::permissions);
    let permissions = permissions.unwrap_or_else(|| default("users.anonymous.permissions", users::permissions));
    fields.finish()?;
    Ok(enabled.then_some(Anonymous { home, permissions }))
}

/// `limits.password_jobs`: `auto` is `None`.
pub(super) fn password_jobs(node: &Node) -> Checked<Option<usize>> {
    scalar(node, "is not a number of jobs; write auto, or a number from 1 to 1024", |scalar| match scalar.text.as_str() {
        "auto" => Ok(None),
        number => number.parse().ok().filter(|jobs| (1..=1024).contains(jobs)).map(Some).ok_or(Fault::Form),
    })
}

/// `limits.cluster_sessions`.
pub(super) fn number_or_null(node: &Node) -> Checked<Option<usize>> {
    if node.value == Value::Null { Ok(None) } else { forms::number(1, MANY)(node).map(|number| usize::try_from(number).ok()) }
}

/// Bytes a second. Less than the least would leave a client without a byte for longer than many wait.
pub(super) fn bandwidth(node: &Node) -> Checked<u64> {
    forms::size(16 << 10, 1 << 40)(node)
}

/// `limits.bandwidth_per_session`, `limits.bandwidth_per_user`.
pub(super) fn bandwidth_or_null(node: &Node) -> Checked<Option<u64>> {
    if node.value == Value::Null { Ok(None) } else { bandwidth(node).map(Some) }
}

/// `data.public_address`: a word, an address, a name, or a mapping from networks to addresses and names.
pub(super) fn public_address(node: &Node) -> Checked<PublicAddress> {
    match &node.value {
        Value::Map(entries) => by_network(node, entries),
        Value::Scalar(scalar) if scalar.text == "auto" => Ok(PublicAddress::Auto),
        Value::Scalar(_) | Value::Null | Value::List(_) | Value::Broken => announce(node).map(|announce| match announce {
            Announce::Ip(ip) => PublicAddress::Ip(ip),
            Announce::Name(name) => PublicAddress::Name(name),
        }),
    }
}

fn by_network(node: &Node, entries: &[Entry]) -> Checked<PublicAddress> {
    let (entries, mut wrongs) = forms::unique(entries);
    let mut networks: Vec<(IpNet, Announce)> = Vec::new();
    let mut default = None;
    for Entry { key, line, node } in entries {
        let announced = announce(node).map_err(|more| wrongs.extend(more.into_iter().map(|wrong| wrong.under(&format!(".{key}"))))).ok();
        if key == "default" {
            default = announced;
            continue;
        }
        match forms::parse_network(key) {
            Ok(network) => networks.extend(announced.map(|announced| (network, announced))),
            Err(Fault::Form) => wrongs.push(Wrong::at(*line, format!("{key:?} {}, or default", forms::NOT_A_NETWORK))),
            Err(Fault::Said(words)) => wrongs.push(Wrong::at(*line, format!("{key:?} {words}"))),
        }
    }
    if wrongs.is_empty() && networks.is_empty() && default.is_none() {
        wrongs.push(Wrong::at(node.line, "is an empty mapping; write {\"10.0.0.0/8\": 10.1.2.3, default: 203.0.113.7}, or auto"));
    }
    if wrongs.is_empty() { Ok(PublicAddress::ByNetwork(networks, default)) } else { Err(wrongs) }
}

fn announce(node: &Node) -> Checked<Announce> {
    scalar(node, "is not an address to announce; write auto, an IP address or a host name", |scalar| {
        if let Ok(ip) = scalar.text.parse::<IpAddr>() {
            let fits = !ip.is_unspecified() && !ip.is_multicast();
            return if fits { Ok(Announce::Ip(ip)) } else { Err(Fault::Said("cannot be connected to; write the address that clients reach".into())) };
        }
        if is_host_name(&scalar.text) { Ok(Announce::Name(scalar.text.clone())) } else { Err(Fault::Form) }
    })
}

/// RFC 1123 §2.1; a last label of digits is a mistyped address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// `tls.certificates`.
pub(super) fn certificates(node: &Node) -> Checked<Vec<CertificateFiles>> {
    list(node, "is not a list of certificates; write [{ cert: tls.crt, key: tls.key }]", certificate)
}

fn certificate(node: &Node) -> Checked<CertificateFiles> {
    let mut fields = Fields::of(node, &["cert", "key"], "is not a certificate; write { cert: tls.crt, key: tls.key }")?;
    let cert = fields.required("cert", forms::path, "write the PEM file with the chain");
    let key = fields.required("key", forms::path, "write the PEM file with the private key");
    fields.finish().and(match (cert, key) {
        (Some(cert), Some(key)) => Ok(CertificateFiles { cert, key }),
        _ => Err(Vec::new()),
    })
}

/// `admin.tls`: certificate and key go together.
pub(super) fn sidecar_tls(node: &Node) -> Checked<SidecarFiles> {
    let mut fields = Fields::of(node, &["cert", "key", "client_ca"], "is not a mapping; write { cert: admin.crt, key: admin.key }")?;
    let mut path = |name| fields.optional(name, forms::path_or_null).flatten();
    let (cert, key, client_ca) = (path("cert"), path("key"), path("client_ca"));
    fields.finish()?;
    let wrong = |words: &str| Err(vec![Wrong::at(node.line, words)]);
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(SidecarFiles { certificate: Some(CertificateFiles { cert, key }), client_ca }),
        (None, None) if client_ca.is_none() => Ok(SidecarFiles::default()),
        (None, None) => wrong("has client_ca without cert and key: certificates are shown within TLS only; write all three"),
        (Some(_), None) => wrong("has cert without key; write the PEM file with the private key"),
        (None, Some(_)) => wrong("has key without cert; write the PEM file with the chain"),
    }
}

/// `admin.allowed_hosts`.
pub(super) fn allowed_hosts(node: &Node) -> Checked<Vec<String>> {
    list(node, "is not a list of hosts; write [\"gateway.example.org\"]", |item| {
        scalar(item, "is not a host; write a name or an IP address, with a port if it is always there, as gateway.example.org:443", |scalar| {
            let (host, port) = match scalar.text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
                _ => (scalar.text.as_str(), None),
            };
            let is_host = is_host_name(host) || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
            if is_host && port.is_none_or(|port| port.parse::<u16>().is_ok()) { Ok(scalar.text.clone()) } else { Err(Fault::Form) }
        })
    })
}

/// `tls.client_auth`: what is missing is off.
pub(super) fn client_auth(node: &Node) -> Checked<ClientAuth> {
    let mut fields = Fields::of(node, &["mode", "ca", "crl"], "is not a mapping; write { mode: required, ca: clients.pem }")?;
    let mode = fields.optional("mode", forms::word(CLIENT_AUTH)).unwrap_or_default();
    let ca = fields.optional("ca", forms::path_or_null).flatten();
    let crl = fields.optional("crl", forms::path_or_null).flatten();
    fields.finish().map(|()| ClientAuth { mode, ca, crl })
}

/// `tls.stapling`: what is missing has its default.
pub(super) fn stapling(node: &Node) -> Checked<Stapling> {
    let mut fields = Fields::of(node, &["enabled", "responder", "timeout"], "is not a mapping; write { enabled: true, responder: null, timeout: 10s }")?;
    let enabled = fields.optional("enabled", forms::truth).unwrap_or_else(|| default("tls.stapling.enabled", forms::truth));
    let responder = fields.optional("responder", responder).flatten();
    let timeout = fields.optional("timeout", forms::duration(RESPONDER_MOST));
    let timeout = timeout.unwrap_or_else(|| default("tls.stapling.timeout", forms::duration(RESPONDER_MOST)));
    fields.finish().map(|()| Stapling { enabled, responder, timeout })
}

/// A URL that is asked in clear: what comes is signed.
fn responder(node: &Node) -> Checked<Option<String>> {
    if node.value == Value::Null {
        return Ok(None);
    }
    scalar(node, "is not the URL of an OCSP responder; write http://HOST[:PORT]/PATH, or null for those that the certificates name", |scalar| {
        if http::is_plain(&scalar.text) { Ok(Some(scalar.text.clone())) } else { Err(Fault::Form) }
    })
}

/// `tls.cipher_suites`, by the names of the IANA registry; rustls' own spelling (`TLS13_…`) is taken too.
pub(super) fn cipher_suites(node: &Node) -> Checked<Vec<String>> {
    list(node, "is not a list of cipher suites; write their IANA names, or [] for rustls' own choice", |item| {
        let known = known_cipher_suites();
        scalar(item, "is not a cipher suite that rustls has; remove it, or write an IANA name as TLS_AES_256_GCM_SHA384", |scalar| {
            let name = scalar.text.replacen("TLS13_", "TLS_", 1);
            match known.iter().find(|known| **known == name) {
                Some(_) => Ok(name),
                None => Err(nearest(&name, known.iter().map(String::as_str))
                    .map_or(Fault::Form, |near| Fault::Said(format!("is not a cipher suite; did you mean {near}?")))),
            }
        })
    })
}

/// The names of all cipher suites that the crypto provider has.
pub(super) fn known_cipher_suites() -> Vec<String> {
    let suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter();
    suites.filter_map(|suite| suite.suite().as_str()).map(|name| name.replacen("TLS13_", "TLS_", 1)).collect()
}

/// Whether a suite is one of TLS 1.3, whose names do not say how keys are exchanged.
pub(super) fn is_tls13_suite(name: &str) -> bool {
    !name.contains("_WITH_")
}

/// `log.audit`: `stdout`, or a file.
pub(super) fn audit(node: &Node) -> Checked<Option<PathBuf>> {
    let path = forms::path(node)?;
    Ok((path.as_os_str() != "stdout").then_some(path))
}

/// `log.level`: one level, or a mapping from rooms to levels with `default` for the rest.
pub(super) fn log_level(node: &Node) -> Checked<Vec<(Option<String>, LogLevel)>> {
    let Value::Map(entries) = &node.value else { return Ok(vec![(None, forms::word(LOG_LEVELS)(node)?)]) };
    let (entries, mut wrongs) = forms::unique(entries);
    let mut levels = vec![(None, LogLevel::Info)];
    for Entry { key, line, node } in entries {
        let level = forms::word(LOG_LEVELS)(node).map_err(|more| wrongs.extend(more.into_iter().map(|wrong| wrong.under(&format!(".{key}"))))).ok();
        match (key.as_str(), level) {
            ("default", Some(level)) => levels[0].1 = level,
            ("default", None) => {}
            (room, level) if ROOMS.contains(&room) => levels.extend(level.map(|level| (Some(room.to_owned()), level))),
            (unknown, _) => {
                let advice = nearest(unknown, ROOMS.iter().copied())
                    .map_or_else(|| format!("write default, {}", ROOMS.join(", ")), |near| format!("did you mean {near}?"));
                wrongs.push(Wrong::at(*line, format!("{unknown:?} is not a room of the gateway; {advice}")));
            }
        }
    }
    if wrongs.is_empty() { Ok(levels) } else { Err(wrongs) }
}

/// The fields of a mapping inside a list, each known, each once.
pub(super) struct Fields<'a> {
    line: usize,
    entries: Vec<&'a Entry>,
    wrongs: Vec<Wrong>,
    /// A field could not be read, also when that was said elsewhere: its default must not stand in for it.
    failed: bool,
}

impl<'a> Fields<'a> {
    /// The fields of a mapping; `not` says what another value is not.
    pub(super) fn of(node: &'a Node, known: &[&str], not: &str) -> Checked<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Broken => return Err(Vec::new()),
            Value::Scalar(scalar) => return Err(vec![Wrong::at(node.line, format!("{} {not}", show(scalar)))]),
            Value::Null => return Err(vec![Wrong::at(node.line, format!("null {not}"))]),
            Value::List(_) => return Err(vec![Wrong::at(node.line, format!("a list {not}"))]),
        };
        let (entries, mut wrongs) = forms::unique(entries);
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let advice = nearest(&entry.key, known.iter().copied()).map_or_else(|| "remove it".to_owned(), |near| format!("did you mean {near}?"));
            wrongs.push(Wrong::at(entry.line, format!("unknown key; {advice}")).under(&format!(".{}", entry.key)));
        }
        Ok(Self { line: node.line, entries, wrongs, failed: false })
    }

    /// Whether a field is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// A field that may be missing; `None` also when it is wrong, which [`Fields::finish`] says.
    pub(super) fn optional<T>(&mut self, key: &str, read: impl Fn(&Node) -> Checked<T>) -> Option<T> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        match read(&entry.node) {
            Ok(value) => Some(value),
            Err(more) => {
                self.failed = true;
                self.wrongs.extend(more.into_iter().map(|wrong| wrong.under(&format!(".{key}"))));
                None
            }
        }
    }

    /// A field that must be there.
    pub(super) fn required<T>(&mut self, key: &str, read: impl Fn(&Node) -> Checked<T>, advice: &str) -> Option<T> {
        if !self.has(key) {
            self.wrongs.push(Wrong::at(self.line, format!("is missing; {advice}")).under(&format!(".{key}")));
        }
        self.optional(key, read)
    }

    /// Everything that was wrong.
    pub(super) fn finish(self) -> Checked<()> {
        if self.wrongs.is_empty() && !self.failed { Ok(()) } else { Err(self.wrongs) }
    }
}

/// Of `tls.stapling.timeout`: an order of the admin API waits for it.
const RESPONDER_MOST: Duration = Duration::from_secs(60);
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: &[(&str, LogLevel)] = &LogLevel::WORDS;
pub(super) const TLS_REUSE: &[(&str, ReusePolicy)] =
    &[("auto", ReusePolicy::Auto), ("require", ReusePolicy::Require), ("prefer", ReusePolicy::Prefer), ("off", ReusePolicy::Off)];
pub(super) const UPLOAD_END: &[(&str, UploadEnd)] = &[("auto", UploadEnd::Auto), ("strict", UploadEnd::Strict)];
pub(super) const TLS_VERSIONS: &[(&str, MinVersion)] = &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
const CLIENT_AUTH: &[(&str, ClientAuthMode)] = &[("off", ClientAuthMode::Off), ("optional", ClientAuthMode::Optional), ("required", ClientAuthMode::Required)];
pub(super) const FSYNC: &[(&str, Fsync)] = &[("auto", Fsync::Auto), ("always", Fsync::Always), ("never", Fsync::Never)];
pub(super) const SYMLINKS: &[(&str, Symlinks)] = &[("inside", Symlinks::Inside), ("never", Symlinks::Never)];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::config::tree::parse;

    #[test]
    fn an_announced_address_has_four_forms() {
        let read = |text: &str| public_address(&parse(text).unwrap());
        assert_eq!(read("auto"), Ok(PublicAddress::Auto));
        assert_eq!(read("203.0.113.7"), Ok(PublicAddress::Ip([203, 0, 113, 7].into())));
        assert_eq!(read("ftp.example.org"), Ok(PublicAddress::Name("ftp.example.org".into())));
        let private = ("10.0.0.0/8".parse().unwrap(), Announce::Ip([10, 1, 2, 3].into()));
        assert_eq!(
            read("{\"10.0.0.0/8\": 10.1.2.3, default: ftp.example.org}"),
            Ok(PublicAddress::ByNetwork(vec![private], Some(Announce::Name("ftp.example.org".into()))))
        );
        for text in ["0.0.0.0", "300.1.1.1", "1.2.3", "-a.org", "a..b", "'a b'", "[]", "{}", "{x/8: 1.2.3.4}", "{default: 0.0.0.0}", "null"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cipher_suites_go_by_their_registered_names() {
        let read = |text: &str| cipher_suites(&parse(text).unwrap());
        assert_eq!(read("[TLS_AES_256_GCM_SHA384]"), Ok(vec!["TLS_AES_256_GCM_SHA384".into()]));
        assert_eq!(read("[TLS13_AES_256_GCM_SHA384]"), Ok(vec!["TLS_AES_256_GCM_SHA384".into()]));
        assert!(read("[TLS_AES_265_GCM_SHA384]").unwrap_err()[0].message.ends_with("did you mean TLS_AES_256_GCM_SHA384?"));
        assert!(known_cipher_suites().iter().any(|name| is_tls13_suite(name)) && known_cipher_suites().iter().any(|name| !is_tls13_suite(name)));
    }

    #[test]
    fn log_levels_are_one_or_one_by_room() {
        let read = |text: &str| log_level(&parse(text).unwrap());
        assert_eq!(read("debug"), Ok(vec![(None, LogLevel::Debug)]));
        assert_eq!(read("{tls: trace, default: warn}"), Ok(vec![(None, LogLevel::Warn), (Some("tls".into()), LogLevel::Trace)]));
        assert_eq!(read("{tls: loud, sesion: info}").unwrap_err().len(), 2);
    }
}
