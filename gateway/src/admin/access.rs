//! Who may do what: hosts that are this node, tokens and certificates that are known, scopes, and how often somebody may guess.
//!
//! Gets: the head of a request, and where it comes from. Gives: an actor, or why there is none.
//! Never: keeps or shows a token (only its SHA-256 is known), compares one byte after another, or takes one from a URL.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::problems::Problem;
use crate::auth::{CertificateIdentity, CertificateName};
use crate::observe::sidecar::AccessFault;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Look at everything but the configuration and the audit.
    Read,
    /// Ban and unban.
    Bans,
    /// End sessions, forget clients.
    Sessions,
    /// Drain, reload, rotate, clear caches, set log levels.
    Operate,
    /// Everything.
    Admin,
}

impl Scope {
    /// All scopes, with their words.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("read", Self::Read), ("bans", Self::Bans), ("sessions", Self::Sessions), ("operate", Self::Operate), ("admin", Self::Admin)];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, scope)| *scope == self).map_or("", |(word, _)| word)
    }
}

/// One entry under `tokens:`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name, for the audit.
    pub name: Box<str>,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Where it may come from; empty: anywhere.
    pub from: Vec<IpNet>,
}

/// One entry under `certificates:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    /// Its name, for the audit.
    pub name: Box<str>,
    /// Which certificate.
    pub subject: CertificateName,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// A tokens file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `tokens:`
    pub tokens: Vec<Token>,
    /// `certificates:`
    pub certificates: Vec<NamedCertificate>,
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The certificate that the listener has verified.
    pub(super) certificate: Option<Arc<CertificateIdentity>>,
    /// Set by a handler whose answer goes on and on: the connection may live longer.
    pub(super) patient: Arc<AtomicBool>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) name: Box<str>,
    pub(super) scopes: Vec<Scope>,
    pub(super) expires: Option<SystemTime>,
}

/// Why nobody is known to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) fault: AccessFault,
    pub(super) problem: Problem,
    /// Who it would be.
    pub(super) actor: Option<Box<str>>,
}

/// The rules of one node, swapped whole on a reload.
#[derive(Debug, Default)]
pub struct Access {
    tokens: ArcSwap<Tokens>,
    hosts: ArcSwap<Vec<String>>,
    guesses: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl Token {
    /// The form in which a token is kept.
    pub fn digest(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }
}

impl Access {
    /// These tokens, and these further host names.
    pub fn new(tokens: Tokens, hosts: Vec<String>) -> Self {
        let access = Self::default();
        access.set(tokens, hosts);
        access
    }

    /// From now on these.
    pub fn set(&self, tokens: Tokens, hosts: Vec<String>) {
        self.tokens.store(Arc::new(tokens));
        self.hosts.store(Arc::new(hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect()));
    }

    /// Whether `Host` is this node: a page of somebody else, whose name was bent to this address, cannot say so.
    pub(super) fn is_host(&self, headers: &HeaderMap, caller: &Caller) -> bool {
        // Two of them are two opinions.
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else { return false };
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            let ip = ip.to_canonical();
            if ip.is_loopback() || ip == caller.local.ip().to_canonical() {
                return true;
            }
        }
        name == "localhost" || name.ends_with(".localhost") || self.hosts.load().iter().any(|allowed| *allowed == host || allowed == name)
    }

    /// Who asks.
    pub(super) fn who(&self, headers: &HeaderMap, caller: &Caller) -> Result<Actor, Denied> {
        let tokens = self.tokens.load();
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = given.next() else { return by_certificate(&tokens, caller) };
        let ip = caller.peer.ip();
        if self.has_guessed_enough(ip) {
            return Err(Denied { fault: AccessFault::TooMany, problem: Problem::TooManyAttempts, actor: None });
        }
        let token = header.to_str().ok().and_then(bearer).filter(|_| given.next().is_none());
        let Some(known) = token.and_then(|token| find(&tokens.tokens, &Token::digest(token))) else {
            self.note_guess(ip);
            return Err(Denied { fault: AccessFault::Unknown, problem: Problem::Unauthorized, actor: None });
        };
        let denied = |fault, problem| Err(Denied { fault, problem, actor: Some(known.name.clone()) });
        if known.expires.is_some_and(|expires| expires <= SystemTime::now()) {
            return denied(AccessFault::Expired, Problem::TokenExpired);
        }
        if !known.from.is_empty() && !known.from.iter().any(|network| network.contains(&ip.to_canonical())) {
            return denied(AccessFault::Network, Problem::WrongNetwork);
        }
        Ok(Actor { name: known.name.clone(), scopes: known.scopes.clone(), expires: known.expires })
    }

    fn has_guessed_enough(&self, ip: IpAddr) -> bool {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.retain(|_, (since, _)| since.elapsed() < WINDOW);
        guesses.get(&ip).is_some_and(|(_, count)| *count >= GUESSES)
    }

    fn note_guess(&self, ip: IpAddr) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        // A token has 256 bits: who is not remembered here guesses no better.
        if guesses.len() < ADDRESSES || guesses.contains_key(&ip) {
            guesses.entry(ip).or_insert((Instant::now(), 0)).1 += 1;
        }
    }
}

impl Actor {
    /// Whether it may.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|one| *one == scope || *one == Scope::Admin)
    }
}

fn by_certificate(tokens: &Tokens, caller: &Caller) -> Result<Actor, Denied> {
    let Some(shown) = &caller.certificate else { return Err(Denied { fault: AccessFault::Missing, problem: Problem::Unauthorized, actor: None }) };
    let known = tokens.certificates.iter().find(|known| known.subject.fits(shown));
    let known = known.ok_or(Denied { fault: AccessFault::Unknown, problem: Problem::Unauthorized, actor: None })?;
    Ok(Actor { name: known.name.clone(), scopes: known.scopes.clone(), expires: None })
}

/// Looks at all of them, whichever fits: time tells nothing.
fn find<'a>(tokens: &'a [Token], digest: &[u8; 32]) -> Option<&'a Token> {
    let fits = |token: &&Token| aws_lc_rs::constant_time::verify_slices_are_equal(&token.sha256, digest).is_ok();
    tokens.iter().filter(fits).fold(None, |_, token| Some(token))
}

/// RFC 6750 §2.1; the scheme in any case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

/// Wrong tokens of one address within [`WINDOW`].
const GUESSES: u32 = 20;
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose guesses are counted.
const ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn caller(peer: &str) -> Caller {
        Caller { peer: peer.parse().unwrap(), local: "10.1.2.3:7122".parse().unwrap(), certificate: None, patient: Arc::default() }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn access() -> Access {
        let token = |name: &str, text: &str, expires, from: &[&str]| Token {
            name: name.into(),
            sha256: Token::digest(text),
            scopes: vec![Scope::Read],
            expires,
            from: from.iter().map(|network| network.parse().unwrap()).collect(),
        };
        let tokens =
            vec![token("alice", "one", None, &[]), token("old", "two", Some(SystemTime::UNIX_EPOCH), &[]), token("near", "three", None, &["10.0.0.0/8"])];
        let certificates = vec![NamedCertificate { name: "ops".into(), subject: CertificateName::CommonName("ops".into()), scopes: vec![Scope::Admin] }];
        Access::new(Tokens { tokens, certificates }, vec!["Gateway.example:443".into(), "ops.example".into()])
    }

    #[test]
    fn a_host_is_loopback_this_address_or_allowed() {
        let access = access();
        let is = |host: &str| access.is_host(&headers(&[("host", host)]), &caller("192.0.2.1:9"));
        for host in ["127.0.0.1", "127.0.0.1:7122", "[::1]:7122", "localhost:1", "a.localhost", "10.1.2.3:7122", "gateway.example:443", "OPS.example:7122"] {
            assert!(is(host), "{host}");
        }
        for host in ["", "evil.example", "gateway.example", "10.1.2.4:7122", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!is(host), "{host}");
        }
        assert!(!access.is_host(&headers(&[("host", "localhost"), ("host", "evil.example")]), &caller("192.0.2.1:9")));
        assert!(!access.is_host(&HeaderMap::new(), &caller("192.0.2.1:9")));
    }

    #[test]
    fn a_token_is_known_alive_and_from_where_it_may() {
        let access = access();
        let who = |header: &str, peer: &str| access.who(&headers(&[("authorization", header)]), &caller(peer));
        let fault = |header: &str, peer: &str| who(header, peer).unwrap_err().fault;
        let alice = who("Bearer one", "192.0.2.1:9").unwrap();
        assert_eq!((&*alice.name, alice.may(Scope::Read), alice.may(Scope::Bans)), ("alice", true, false));
        assert!(who("bearer three", "10.9.9.9:1").is_ok());
        assert_eq!(fault("Bearer three", "192.0.2.1:9"), AccessFault::Network);
        assert_eq!(fault("Bearer two", "192.0.2.1:9"), AccessFault::Expired);
        for wrong in ["Bearer four", "Bearer ", "Basic one", "one"] {
            assert_eq!(fault(wrong, "192.0.2.1:9"), AccessFault::Unknown, "{wrong}");
        }
        assert_eq!(access.who(&HeaderMap::new(), &caller("192.0.2.1:9")).unwrap_err().fault, AccessFault::Missing);
    }

    #[test]
    fn guessing_ends_for_one_address_alone() {
        let access = access();
        let fault = |peer: &str| access.who(&headers(&[("authorization", "Bearer wrong")]), &caller(peer)).unwrap_err().fault;
        (0..GUESSES).for_each(|_| assert_eq!(fault("192.0.2.1:9"), AccessFault::Unknown));
        assert_eq!(fault("192.0.2.1:9"), AccessFault::TooMany);
        assert_eq!(access.who(&headers(&[("authorization", "Bearer one")]), &caller("192.0.2.1:10")).unwrap_err().fault, AccessFault::TooMany);
        assert_eq!(fault("192.0.2.2:9"), AccessFault::Unknown);
    }

    #[test]
    fn a_certificate_stands_for_its_name() {
        let access = access();
        let shown = |name: &str| {
            let certificate = CertificateIdentity { common_name: Some(name.into()), ..CertificateIdentity::default() };
            access.who(&HeaderMap::new(), &Caller { certificate: Some(Arc::new(certificate)), ..caller("192.0.2.1:9") })
        };
        assert!(shown("ops").unwrap().may(Scope::Bans), "admin has all");
        assert_eq!(shown("other").unwrap_err().fault, AccessFault::Unknown);
    }
}
