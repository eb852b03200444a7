//! TLS: certificates, tickets, session IDs, the ClientHello of control connections.

use std::path::PathBuf;
use std::time::Duration;

/// `tls:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `tls.certificates`; empty: self-signed, with a warning.
    pub certificates: Vec<CertificateFiles>,
    /// `tls.min_version`.
    pub min_version: MinVersion,
    /// `tls.cipher_suites`, by their IANA names; empty: rustls' own.
    pub cipher_suites: Vec<String>,
    /// `tls.session_lifetime`: how old a session may be when a control connection resumes it.
    pub session_lifetime: Duration,
    /// `tls.ticket_rotation`: how often a new ticket key seals.
    pub ticket_rotation: Duration,
}

/// One certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the chain, leaf first.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MinVersion {
    Tls12,
    Tls13,
}
