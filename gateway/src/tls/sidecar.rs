//! TLS for the HTTP sidecar: its certificate, and certificates of administrators.
//!
//! Gets: `admin.tls`. Gives: a configuration for new connections, swapped on a reload; who showed which certificate.
//! Never: shares a session, ticket or key with FTP.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, sign::CertifiedKey};

use super::certificates::load_pair;
use super::clients::{ClientCertificate, authorities};
use super::error::{FileFault, TlsError};
use super::{CertificateFiles, crypto_provider};

/// `admin.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarFiles {
    /// `admin.tls.cert` and `admin.tls.key`; `None`: no TLS.
    pub certificate: Option<CertificateFiles>,
    /// `admin.tls.client_ca`: who signs the certificates of administrators.
    pub client_ca: Option<PathBuf>,
}

/// TLS of the sidecar, as it is now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sidecar(Arc<ArcSwapOption<ServerConfig>>);

impl SidecarFiles {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.certificate.iter().flat_map(|pair| [&pair.cert, &pair.key]).chain(&self.client_ca)
    }

    /// Reads them; `None` without a certificate.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(&self) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let Some(pair) = &self.certificate else { return Ok(None) };
        let provider = Arc::new(crypto_provider());
        let certified: CertifiedKey = load_pair(pair, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|_| TlsError::NoCipherSuite)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let file = |fault| TlsError::File { path: path.clone(), fault };
                let (roots, _) = authorities(path).map_err(file)?;
                // Whoever has none may come with a token.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file(FileFault::Authority(error.to_string())))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

impl Sidecar {
    /// New connections are served so from now on.
    pub fn set(&self, config: Option<Arc<ServerConfig>>) {
        self.0.store(config);
    }

    /// How to serve a new connection; `None`: without TLS.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.load_full()
    }
}

/// What a verified certificate says of its owner.
pub fn client_certificate(leaf: &CertificateDer<'_>) -> ClientCertificate {
    ClientCertificate::of(leaf)
}
