//! The quick start: a node without a configuration, and what a person needs to try it.
//!
//! Gets: flags. Gives: a plan with one user and a banner with lines to copy. Never: listens beyond this host unless told to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ftps_proto::command::{Password, UserName};

use super::arguments::{Account, Implicit, Quick};
use super::serve::{Explain, Started};
use super::token::new_token;
use super::{FAULT, USAGE};
use crate::admin::access::{Scope, Tokens};
use crate::auth::Users;
use crate::config::{Config, Drain, Marks};
use crate::data::PortSet;
use crate::node::{self, Plan, Ready};

/// Where the admin interface listens unless told otherwise.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7122);
const EXPLICIT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2121);
const IMPLICIT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9990);

/// The configuration that the flags stand for.
pub fn config(flags: &Quick) -> Config {
    let mut config = Config::defaults(flags.root.clone().unwrap_or_else(|| PathBuf::from("ftp-data")));
    config.conn.explicit = vec![flags.listen.unwrap_or(EXPLICIT)];
    config.conn.implicit = match flags.implicit {
        None => vec![IMPLICIT],
        Some(Implicit::At(address)) => vec![address],
        Some(Implicit::Off) => Vec::new(),
    };
    config.admin.admin = flags.admin.unwrap_or(ADMIN);
    config.data.ports = flags.data_ports.unwrap_or(config.data.ports);
    config.auth.files = Vec::new();
    // Ctrl-C ends at once.
    config.drain = Drain { delay: Duration::ZERO, idle: Duration::ZERO, timeout: Duration::ZERO };
    config
}

/// What to run.
pub(super) fn plan(flags: &Quick) -> Started {
    let config = config(flags);
    if let Some(message) = conflict(&config) {
        return Err((USAGE, message));
    }
    let root = &config.storage.root;
    std::fs::create_dir_all(root).map_err(|error| (USAGE, format!("{} cannot be made ({error}); name another directory with --root", root.display())))?;
    let account = match &flags.user {
        Some(account) => account.clone(),
        None => made_up().ok_or_else(|| (FAULT, "the system gives no random bytes for a password; name one with --user NAME:PASSWORD".to_owned()))?,
    };
    let users = Users::single(account.name.clone(), &account.password).map_err(|error| (FAULT, format!("the password cannot be hashed: {error}")))?;
    let root = root.clone();
    let token = new_token("quick-start", vec![Scope::Admin]).ok_or_else(|| (FAULT, "the system gives no random bytes for a token".to_owned()))?;
    let secret = token.secret;
    let banner = Box::new(move |ready: &Ready, fingerprint: &str| banner(ready, &root, &account, fingerprint, &secret));
    let plan = Plan {
        config,
        hash: String::new(),
        source: None,
        marks: Marks::default(),
        tokens: Tokens { tokens: vec![token.entry], certificates: Vec::new() },
        settings: Vec::new(),
        users: Arc::new(users),
        broken_users: Vec::new(),
        banner: Some(banner),
    };
    Ok((plan, explain()))
}

/// What the flags must not be together. Files and forms are right by now.
fn conflict(config: &Config) -> Option<String> {
    if !config.admin.admin.ip().to_canonical().is_loopback() {
        return Some(format!(
            "--admin {} can be reached from other hosts, which would learn the token; write 127.0.0.1:PORT, or a configuration with admin.tls",
            config.admin.admin
        ));
    }
    let PortSet::Range(first, last) = config.data.ports else { return None };
    let listeners = config.conn.explicit.iter().chain(&config.conn.implicit).chain([&config.admin.admin]);
    let inside = listeners.map(SocketAddr::port).find(|port| (first..=last).contains(port))?;
    Some(format!("--data-ports {first}-{last} contains port {inside} of another listener; write another range"))
}

/// Which flag takes a node out of the way of another.
fn explain() -> Explain {
    Box::new(|error| {
        let flag = match error {
            node::Error::Listen { key: "listen.explicit", .. } => "--listen 127.0.0.1:0",
            node::Error::Listen { key: "listen.implicit", .. } => "--implicit 127.0.0.1:0, or --implicit off",
            node::Error::Listen { key: "listen.admin", .. } => "--admin 127.0.0.1:0",
            node::Error::Listen { key: "data.ports", .. } => "--data-ports 0/8",
            node::Error::Listen { .. } | node::Error::Configuration(_) | node::Error::Fault(_) => return error.to_string(),
        };
        format!("{error}\nIf another program holds it, choose another one: {flag} (port 0 is a free one)")
    })
}

/// `demo` and 80 random bits as four groups of letters and digits that look like nothing else.
fn made_up() -> Option<Account> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let letters: Vec<u8> = random.iter().map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()]).collect();
    let password = letters.chunks(4).collect::<Vec<_>>().join(&b'-');
    Some(Account { name: UserName::new(b"demo")?, password: Password::new(&password)? })
}

/// What a person needs: where, who, and lines to copy. The only place that ever shows a password: it was made, or typed, for this.
pub fn banner(ready: &Ready, root: &std::path::Path, account: &Account, fingerprint: &str, token: &str) -> String {
    let password = String::from_utf8_lossy(account.password.expose());
    let mut lines = vec![String::new(), format!("  Serving {} over FTPS. Ctrl-C ends it.", root.display()), String::new()];
    for address in &ready.explicit {
        lines.push(format!("  explicit TLS  ftp://{}", reachable(*address)));
    }
    for address in &ready.implicit {
        lines.push(format!("  implicit TLS  ftps://{}", reachable(*address)));
    }
    lines.push(format!("  user          {}", account.name));
    lines.push(format!("  password      {password}"));
    lines.push(format!("  certificate   self-signed, SHA-256 {fingerprint}"));
    lines.push(format!("  admin         http://{}/#token={token}", ready.admin));
    if let Some(address) = ready.explicit.first().map(|address| reachable(*address)) {
        let credentials = quoted(&format!("{}:{password}", account.name));
        let login = quoted(&format!("{},{password}", account.name));
        lines.push(String::new());
        lines.push("  Upload a file, then list (-k and verify-certificate no: the certificate is self-signed):".into());
        lines.push(String::new());
        lines.push(format!("    echo hello | curl -sS --ssl-reqd -k --user {credentials} -T - ftp://{address}/hello.txt"));
        lines.push(format!("    lftp -u {login} -e 'set ftp:ssl-force true; set ssl:verify-certificate no; ls; bye' ftp://{address}"));
    }
    lines.push(String::new());
    lines.join("\n") + "\n"
}

/// An address to connect to: a wildcard is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()) } else { address }
}

/// For a POSIX shell, quoted only where it must be.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:,@%+=/".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// 32 letters and digits: no `l`, `o`, `0`, `1`.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn ready() -> Ready {
        Ready {
            explicit: vec!["0.0.0.0:2121".parse().unwrap()],
            implicit: vec!["127.0.0.1:9990".parse().unwrap()],
            admin: ADMIN,
            metrics: None,
            peer: None,
            data_ports: vec![50_000],
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let config = config(&Quick::default());
        assert_eq!(config.storage.root, PathBuf::from("ftp-data"));
        assert_eq!((config.conn.explicit, config.conn.implicit), (vec!["127.0.0.1:2121".parse().unwrap()], vec!["127.0.0.1:9990".parse().unwrap()]));
        assert_eq!((config.admin.admin, config.data.ports), ("127.0.0.1:7122".parse().unwrap(), PortSet::Range(50_000, 50_007)));
        assert!(config.tls.certificates.is_empty() && config.auth.files.is_empty());
    }

    #[test]
    fn flags_that_collide_or_open_the_admin_interface_are_refused() {
        let with = |quick: Quick| conflict(&config(&quick));
        assert_eq!(with(Quick::default()), None);
        assert!(with(Quick { admin: Some("0.0.0.0:7122".parse().unwrap()), ..Quick::default() }).unwrap().contains("--admin"));
        assert!(with(Quick { data_ports: Some(PortSet::Range(2000, 2200)), ..Quick::default() }).unwrap().contains("2121"));
    }

    #[test]
    fn a_made_up_password_has_80_bits_and_can_be_read_aloud() {
        let (one, two) = (made_up().unwrap(), made_up().unwrap());
        assert_ne!(one.password, two.password);
        let text = String::from_utf8(one.password.expose().to_vec()).unwrap();
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
        assert!(text.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)), "{text}");
    }

    #[test]
    fn the_banner_has_what_a_person_needs_and_lines_to_copy() {
        let account = Account { name: UserName::new(b"demo").unwrap(), password: Password::new(b"it's $x").unwrap() };
        let text = banner(&ready(), std::path::Path::new("ftp-data"), &account, "ab:cd", "secret");
        for part in [
            "Serving ftp-data",
            "ftp://127.0.0.1:2121",
            "ftps://127.0.0.1:9990",
            "  user          demo\n",
            "  password      it's $x\n",
            "SHA-256 ab:cd",
            "http://127.0.0.1:7122/#token=secret\n",
            r"--ssl-reqd -k --user 'demo:it'\''s $x' -T - ftp://127.0.0.1:2121/hello.txt",
            r"lftp -u 'demo,it'\''s $x' -e 'set ftp:ssl-force true; set ssl:verify-certificate no; ls; bye' ftp://127.0.0.1:2121",
        ] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
        assert_eq!(quoted("demo:abcd-efgh"), "demo:abcd-efgh");
    }

    #[test]
    fn an_address_that_is_taken_is_answered_with_its_flag() {
        let source = || std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for (key, flag) in
            [("listen.explicit", "--listen"), ("listen.implicit", "--implicit off"), ("listen.admin", "--admin"), ("data.ports", "--data-ports 0/8")]
        {
            let text = explain()(&node::Error::Listen { key, address: EXPLICIT, source: source() });
            assert!(text.contains("127.0.0.1:2121") && text.contains(flag), "{text}");
        }
    }
}
