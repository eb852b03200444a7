//! What keys mean to each other and to this host: listeners and ports that collide, files that are not there.
//!
//! Gets: a `Config` whose single values are right. Gives: what is wrong between them. Never: opens a socket or parses a certificate.

use std::net::SocketAddr;
use std::path::Path;

use super::Config;
use super::problem::reason;
use super::rules::is_tls13_suite;
use crate::data::PortSet;
use crate::tls::{ClientAuthMode, MinVersion};

/// A key (of the table), where below it, and what is wrong.
pub(super) type Found = (&'static str, String, String);

/// Everything wrong between keys, except for those for which `skip` holds: what is wrong with them was said.
pub(super) fn check(config: &Config, skip: &dyn Fn(&str) -> bool) -> Vec<Found> {
    let mut found = Vec::new();
    listeners(config, skip, &mut found);
    data_ports(config, skip, &mut found);
    admin(config, &mut found);
    cipher_suites(config, &mut found);
    client_auth(config, &mut found);
    stores(config, &mut found);
    files(config, &mut found);
    found.retain(|(key, ..)| !skip(key));
    found
}

/// All listeners with a port of their own, by key, place and address.
fn all_listeners(config: &Config, skip: &dyn Fn(&str) -> bool) -> Vec<(&'static str, String, SocketAddr)> {
    let item = |key| move |(index, address): (usize, &SocketAddr)| (key, format!("[{index}]"), *address);
    let explicit = config.conn.explicit.iter().enumerate().map(item("listen.explicit"));
    let implicit = config.conn.implicit.iter().enumerate().map(item("listen.implicit"));
    let admin = std::iter::once(("listen.admin", String::new(), config.admin.admin));
    let metrics = config.admin.metrics.iter().map(|address| ("listen.metrics", String::new(), *address));
    let peer = config.cluster.secret_file.iter().map(|_| ("listen.peer", String::new(), config.cluster.listen));
    explicit.chain(implicit).chain(admin).chain(metrics).chain(peer).filter(|(key, _, address)| address.port() != 0 && !skip(key)).collect()
}

fn listeners(config: &Config, skip: &dyn Fn(&str) -> bool, found: &mut Vec<Found>) {
    let all = all_listeners(config, skip);
    for (index, (key, place, address)) in all.iter().enumerate() {
        if let Some((other, other_place, taken)) = all[..index].iter().find(|(_, _, other)| collide(*other, *address)) {
            found.push((key, place.clone(), format!("{address} collides with {other}{other_place} {taken}; write another port")));
        }
    }
    if config.conn.explicit.is_empty() && config.conn.implicit.is_empty() {
        found.push(("listen.explicit", String::new(), "is empty and so is listen.implicit: nobody could connect; write [\"[::]:2121\"]".into()));
    }
}

/// Whether two addresses cannot both be listened on. `[::]` takes IPv4 as well.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: SocketAddr, b: SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

fn data_ports(config: &Config, skip: &dyn Fn(&str) -> bool, found: &mut Vec<Found>) {
    let PortSet::Range(first, last) = config.data.ports else { return };
    for (key, place, address) in all_listeners(config, skip) {
        if (first..=last).contains(&address.port()) {
            found.push(("data.ports", String::new(), format!("\"{first}-{last}\" contains the port of {key}{place} {address}; write another range")));
        }
    }
}

fn admin(config: &Config, found: &mut Vec<Found>) {
    let admin = config.admin.admin;
    let open = !admin.ip().to_canonical().is_loopback();
    if open && config.admin.tls.certificate.is_none() && !config.admin.insecure_ok {
        let port = admin.port();
        found.push((
            "listen.admin",
            String::new(),
            format!("{admin} can be reached from other hosts, which would learn the tokens; write 127.0.0.1:{port} or \"[::1]:{port}\", or name a certificate in admin.tls (listen.metrics is for metrics and probes from outside)"),
        ));
    }
}

/// What leaves this host is sealed under a secret that all nodes share.
fn stores(config: &Config, found: &mut Vec<Found>) {
    if config.cluster.secret_file.is_none()
        && let Some((key, _)) = config.stores.locations().find(|(_, location)| location.kind().is_networked())
    {
        let words = format!(
            "is missing; {key} is on another host, and what is kept there is sealed: write a file with one line of `openssl rand -hex 32`, the same on all nodes"
        );
        found.push(("cluster.secret_file", String::new(), words));
    }
    let tls = &config.stores.tls;
    if tls.cert.is_some() != tls.key.is_some() {
        found.push(("store.tls", String::new(), "has one of cert and key; write both, or neither".into()));
    }
}

fn cipher_suites(config: &Config, found: &mut Vec<Found>) {
    let suites = &config.tls.cipher_suites;
    if config.tls.min_version == MinVersion::Tls13 && !suites.is_empty() && !suites.iter().any(|name| is_tls13_suite(name)) {
        found.push(("tls.cipher_suites", String::new(), "has no suite of TLS 1.3, which tls.min_version demands; add TLS_AES_256_GCM_SHA384".into()));
    }
}

fn client_auth(config: &Config, found: &mut Vec<Found>) {
    let clients = &config.tls.client_auth;
    if clients.mode != ClientAuthMode::Off && clients.ca.is_none() {
        let message = "asks for certificates that nobody could check; add ca: with the PEM file of the authorities that sign them";
        found.push(("tls.client_auth", String::new(), message.into()));
    }
}

fn files(config: &Config, found: &mut Vec<Found>) {
    let mut file = |key: &'static str, place: String, path: &Path, advice: &str| {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => found.push((key, place, format!("{} is a directory; {advice}", path.display()))),
            Ok(_) => {}
            Err(error) => found.push((key, place, format!("{} cannot be opened ({}); {advice}", path.display(), reason(&error)))),
        };
    };
    for (index, pair) in config.tls.certificates.iter().enumerate() {
        file("tls.certificates", format!("[{index}].cert"), &pair.cert, "write the PEM file with the certificate chain");
        file("tls.certificates", format!("[{index}].key"), &pair.key, "write the PEM file with the private key");
    }
    if let Some(path) = &config.cluster.secret_file {
        file("cluster.secret_file", String::new(), path, "write the file with the secrets of the cluster, one a line");
    }
    let clients = &config.tls.client_auth;
    for (name, path, advice) in [
        ("ca", &clients.ca, "write the PEM file with the authorities of the clients' certificates"),
        ("crl", &clients.crl, "write the file with the authorities' lists of revoked certificates"),
    ] {
        if let Some(path) = path {
            file("tls.client_auth", format!(".{name}"), path, advice);
        }
    }
    if let Some(pair) = &config.admin.tls.certificate {
        file("admin.tls", ".cert".into(), &pair.cert, "write the PEM file with the certificate chain");
        file("admin.tls", ".key".into(), &pair.key, "write the PEM file with the private key");
    }
    if let Some(path) = &config.admin.tls.client_ca {
        file("admin.tls", ".client_ca".into(), path, "write the PEM file with the authorities of the administrators' certificates");
    }
    if let Some(path) = &config.admin.tokens_file {
        file("admin.tokens_file", String::new(), path, "write the path of a tokens file; `ftps-gateway new-token` prints its lines");
    }
    for (index, path) in config.auth.files.iter().enumerate() {
        file("users.files", format!("[{index}]"), path, "write the path of a users file, relative to this file");
    }
    let sidecar = &config.admin.tls;
    if sidecar.files().all(|path| path.is_file())
        && let Err(error) = sidecar.load()
    {
        found.push(("admin.tls", String::new(), format!("{error}; write PEM files that fit together")));
    }
    let root = &config.storage.root;
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => found.push(("storage.root", String::new(), format!("{} is not a directory; write the directory that holds all homes", root.display()))),
        Err(error) => found.push((
            "storage.root",
            String::new(),
            format!("{} cannot be opened ({}); make the directory, or write another one", root.display(), reason(&error)),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn wildcards_take_the_port_of_every_address_they_cover() {
        for (a, b, both) in [
            ("[::]:21", "127.0.0.1:21", true),
            ("[::]:21", "[::1]:21", true),
            ("0.0.0.0:21", "127.0.0.1:21", true),
            ("0.0.0.0:21", "[::1]:21", false),
            ("10.0.0.1:21", "10.0.0.2:21", false),
            ("10.0.0.1:21", "10.0.0.1:22", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((collide(a, b), collide(b, a)), (both, both), "{a} {b}");
        }
    }
}
