//! The terms of a session: what its handshakes are held to, from its first moment to its end.
//!
//! Gets: the configuration, again at each reload. Gives: terms, which a session takes when it begins and keeps.
//! Never: changes under a living session, whose data connections have to speak the version that its control connection speaks.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::certificates::{Certificates, Loaded};
use super::clients::Clients;
use super::error::TlsError;
use super::{Config, MinVersion, Tls, cipher_suite_names, crypto_provider, suite_name};

/// What handshakes are held to.
pub(super) struct Terms {
    /// Which certificates clients show.
    pub(super) clients: Clients,
    /// `tls.session_lifetime` in ms.
    pub(super) lifetime: u64,
    /// What all connections have in common.
    pub(super) base: ServerConfig,
}

/// A configuration that was read again, checked and not yet in force.
pub struct Renewal {
    terms: Arc<Terms>,
    certificates: Option<Vec<Loaded>>,
    rotation: Duration,
    lifetime: Duration,
}

impl Terms {
    /// Checks and builds.
    pub(super) fn new(config: &Config, certificates: &Arc<Certificates>) -> Result<Self, TlsError> {
        let provider = Arc::new(provider(&config.cipher_suites)?);
        let lifetime = u64::try_from(config.session_lifetime.as_millis()).unwrap_or(u64::MAX);
        let clients = Clients::load(&config.client_auth, &provider)?;
        let base = base(config.min_version, provider, &clients, certificates)?;
        Ok(Self { clients, lifetime, base })
    }

    /// Hash of the client certificate policy.
    pub(super) fn policy(&self) -> [u8; 16] {
        self.clients.policy
    }
}

impl Tls {
    /// Reads everything that `config` names and checks it; nothing changes. May block.
    ///
    /// # Errors
    /// The first fault found.
    pub fn read_again(&self, config: &Config) -> Result<Renewal, TlsError> {
        let certificates = self.0.certificates.read(&config.certificates)?;
        let terms = Arc::new(Terms::new(config, &self.0.certificates)?);
        Ok(Renewal { terms, certificates, rotation: config.ticket_rotation, lifetime: config.session_lifetime })
    }

    /// Puts it in force: certificates for the next handshake, everything else for the next session. Says whether the certificates are others.
    pub fn renew(&self, renewal: Renewal) -> bool {
        self.0.terms.store(renewal.terms);
        self.0.epochs.set(renewal.rotation, renewal.lifetime);
        renewal.certificates.is_some_and(|certificates| self.0.certificates.replace(certificates))
    }
}

fn provider(names: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = crypto_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    let find = |name: &String| {
        let wanted = name.to_ascii_uppercase().replace("TLS13_", "TLS_");
        let suite = aws_lc_rs::ALL_CIPHER_SUITES.iter().find(|suite| suite_name(suite) == wanted);
        suite.copied().ok_or_else(|| TlsError::CipherSuite { name: name.clone(), known: cipher_suite_names().join(", ") })
    };
    provider.cipher_suites = names.iter().map(find).collect::<Result<_, _>>()?;
    Ok(provider)
}

fn base(min: MinVersion, provider: Arc<CryptoProvider>, clients: &Clients, certificates: &Arc<Certificates>) -> Result<ServerConfig, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match min {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(|_| TlsError::NoCipherSuite)?;
    let builder = match &clients.verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    // Strict: a hello that asks for another protocol is refused (ALPACA); one that asks for none is served.
    config.alpn_protocols = vec![b"ftp".to_vec()];
    config.send_tls13_tickets = CONTROL_TICKETS;
    Ok(config)
}

/// TLS 1.3 tickets of a control connection: one for a client that spends it on a data connection, one for its next session.
const CONTROL_TICKETS: usize = 2;
