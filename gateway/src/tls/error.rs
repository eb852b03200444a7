//! What can be wrong with the TLS settings, in words that say what to do.
//!
//! Gets: faults found at start and at reload. Gives: one error each, with the file it is about.
//! Never: shows key material.

use std::path::PathBuf;

use thiserror::Error;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of use in it.
    #[error("{path}: {fault}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        fault: FileFault,
    },
    /// `tls.client_auth` without authorities.
    #[error("tls.client_auth.ca is missing: name the PEM file with the authorities that sign the clients' certificates")]
    NoAuthority,
    /// A cipher suite is unknown.
    #[error("tls.cipher_suites: {name:?} is not a cipher suite of this server; use some of: {known}")]
    CipherSuite {
        /// As configured.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// No cipher suite is left for a protocol version.
    #[error("tls.cipher_suites has no suite for the versions that tls.min_version allows: add a TLS13_… suite, or leave the list empty")]
    NoCipherSuite,
    /// The self-signed certificate cannot be made.
    #[error("cannot make a self-signed certificate ({0}): name a certificate in tls.certificates")]
    SelfSigned(String),
    /// The system gives no randomness.
    #[error("the system gives no random bytes: check /dev/urandom and the sandbox")]
    Random,
}

/// What is wrong with a certificate or key file.
#[derive(Debug, Error)]
pub enum FileFault {
    /// The system refuses.
    #[error("cannot be read ({0}): check the path, and that the user of this process may read it")]
    Unreadable(std::io::Error),
    /// It is not PEM.
    #[error("is not PEM ({0}): convert it with `openssl x509 -inform der` or `openssl pkcs12`")]
    NotPem(String),
    /// It holds no certificate.
    #[error("holds no certificate: it must have at least one `-----BEGIN CERTIFICATE-----`, the server's own first")]
    NoCertificate,
    /// It holds nothing that can sign certificates of clients.
    #[error("holds no usable authority ({0}): it must have the certificates of the authorities that sign the clients' ones, in PEM")]
    Authority(String),
    /// It holds no list of revoked certificates.
    #[error("holds no usable list of revoked certificates ({0}): it must have one CRL in DER, or `-----BEGIN X509 CRL-----` for each authority")]
    Revocations(String),
    /// It holds no key.
    #[error("holds no private key: it must have one `-----BEGIN PRIVATE KEY-----` (or RSA, EC); an encrypted key must be decrypted first")]
    NoKey,
    /// A certificate does not parse.
    #[error("certificate {0} does not parse ({1}): get the file from its issuer again")]
    Broken(usize, String),
    /// The key is of a kind that is not supported.
    #[error("holds a private key that is not supported ({0}): use ECDSA P-256 or RSA with 2048 bits or more")]
    Key(String),
    /// The key belongs to a later certificate of the chain.
    #[error("begins with a certificate that the key does not belong to, but its certificate {0} does: put the server's own certificate first")]
    Order(usize),
    /// The key belongs to none.
    #[error("does not belong to the private key in {0}: name the key that this certificate was issued for")]
    Mismatch(PathBuf),
    /// It has expired.
    #[error("expired on {0}: renew it")]
    Expired(String),
    /// It is not valid yet.
    #[error("is not valid before {0}: check the clock of this machine")]
    NotYet(String),
}
