//! The client's side of TLS: who is trusted, which versions, which sessions are shown again.
//!
//! Gets: the certificate authority of the tests. Gives: rustls configurations that share or do not share their sessions.
//! Never: trusts anything but the tests' own authority.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use super::{Certified, Tree};

/// A certificate authority and a certificate of it for `localhost`, 127.0.0.1 and ::1, as PEM files.
pub struct Pki {
    /// The authority's certificate: what clients trust.
    pub ca: PathBuf,
    /// The server's chain.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// A version of TLS, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

/// How a client speaks TLS. A clone shares the sessions.
#[derive(Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    store: Arc<Sessions>,
}

impl Pki {
    /// Makes the files in a directory. The authority is one for the whole process.
    pub fn write(tree: &Tree) -> Self {
        Self::files(tree, authority())
    }

    /// The same with a certificate of its own, of the same authority.
    pub fn write_fresh(tree: &Tree) -> Self {
        let (ca, ..) = authority();
        let (cert, key) = server_certificate(&LOCAL);
        Self::files(tree, &(ca.clone(), cert, key))
    }

    /// A certificate of the same authority for another host, as `NAME.pem` and `NAME.key`.
    pub fn write_named(tree: &Tree, host: &str) {
        let (cert, key) = server_certificate(&[host]);
        tree.write(&format!("{host}.pem"), cert.as_bytes());
        tree.write(&format!("{host}.key"), key.as_bytes());
    }

    /// The same for these hosts too.
    pub fn write_hosts(tree: &Tree, hosts: &[&str]) -> Self {
        let (cert, key) = server_certificate(&[&LOCAL[..], hosts].concat());
        Self::files(tree, &(authority().0.clone(), cert, key))
    }

    fn files(tree: &Tree, made: &(String, String, String)) -> Self {
        Self { ca: tree.write("ca.pem", made.0.as_bytes()), cert: tree.write("cert.pem", made.1.as_bytes()), key: tree.write("key.pem", made.2.as_bytes()) }
    }
}

impl Tls {
    /// This version only, with a memory of sessions of its own.
    pub fn new(version: Version) -> Self {
        Self::build(version, Tls12Resumption::SessionIdOrTickets, &[])
    }

    /// TLS 1.2 with session IDs only, as curl does it.
    pub fn session_ids() -> Self {
        Self::build(Version::Tls12, Tls12Resumption::SessionIdOnly, &[])
    }

    /// Asks for these application protocols.
    pub fn with_alpn(version: Version, protocols: &[&str]) -> Self {
        Self::build(version, Tls12Resumption::SessionIdOrTickets, protocols)
    }

    /// Shows a certificate when it is asked for one.
    pub fn certified(version: Version, with: &Certified) -> Self {
        let mut tls = Self::new(version);
        let chain = vec![CertificateDer::from_pem_slice(with.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(with.key.as_bytes()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).expect("a key that fits");
        let mut config = ClientConfig::clone(&tls.config);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        tls.config = Arc::new(config);
        tls
    }

    /// How many TLS 1.3 tickets it holds.
    pub fn tickets(&self) -> usize {
        self.store.lock().tls13.len()
    }

    /// The name that every connection uses: sessions are kept by it.
    pub fn server_name() -> ServerName<'static> {
        ServerName::try_from("localhost").expect("a valid name")
    }

    fn build(version: Version, tls12: Tls12Resumption, alpn: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(authority().0.as_bytes()).expect("a certificate");
        roots.add(ca).expect("a root");
        let versions: &[&rustls::SupportedProtocolVersion] = match version {
            Version::Tls12 => &[&rustls::version::TLS12],
            Version::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("a supported version");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        let store = Arc::new(Sessions::default());
        config.resumption = Resumption::store(store.clone()).tls12_resumption(tls12);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config), store }
    }
}

/// Sessions of one client, the newest first: rustls shows a TLS 1.3 ticket once (RFC 8446 appendix C.4), a TLS 1.2 session again and again.
#[derive(Default)]
struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.lock().tls13.push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.pop()
    }
}

/// PEM of authority, server chain and server key.
fn authority() -> &'static (String, String, String) {
    static MADE: OnceLock<(String, String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let (cert, key) = server_certificate(&LOCAL);
        (issuer().1.clone(), cert, key)
    })
}

/// PEM of a chain for these hosts and its key.
fn server_certificate(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("parameters");
    leaf.distinguished_name.push(rcgen::DnType::CommonName, names[0]);
    leaf.use_authority_key_identifier_extension = true;
    (leaf.signed_by(&key, &issuer().0).expect("a certificate").pem(), key.serialize_pem())
}

/// The authority of the whole process, and its certificate as PEM.
fn issuer() -> &'static (Issuer<'static, KeyPair>, String) {
    static MADE: OnceLock<(Issuer<'static, KeyPair>, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
        let pem = ca.self_signed(&key).expect("a certificate").pem();
        (Issuer::new(ca, key), pem)
    })
}

/// What every node's first certificate is for.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
