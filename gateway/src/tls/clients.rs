//! Client certificates: who may show one, what is asked of it, and what it says of its owner.
//!
//! Gets: `tls.client_auth`, its files, finished handshakes. Gives: the check that rustls makes in full handshakes, and the same check again after each
//! resumption, which brings the old certificate without a look at it. Never: maps a certificate to a user; `auth` does, at each login.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConnection};
use sha2::{Digest, Sha256};

use super::certificates::read;
use super::error::{FileFault, TlsError};
use super::sessions::Family;
use super::{SessionKeys, Shared, Tls, der};
use crate::observe::id::SessionId;

/// `tls.client_auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuth {
    /// `tls.client_auth.mode`.
    pub mode: ClientAuthMode,
    /// `tls.client_auth.ca`: PEM file with the authorities; needed unless the mode is off.
    pub ca: Option<PathBuf>,
    /// `tls.client_auth.crl`: PEM or DER file with their lists of revoked certificates; then every authority of a chain needs one.
    pub crl: Option<PathBuf>,
}

/// `tls.client_auth.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for; one that is shown has to be good.
    Optional,
    /// No handshake without one.
    Required,
}

/// A client's certificate after its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name of its subject, if it has exactly one.
    pub common_name: Option<String>,
    /// Its subject alternative names as text: mail addresses, DNS names, URIs, IP addresses.
    pub alt_names: Vec<String>,
    /// SHA-256 of its DER form.
    pub sha256: [u8; 32],
}

/// A chain as a client showed it, leaf first.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

/// `tls.client_auth`, loaded.
pub(super) struct Clients {
    /// Hash of mode and authorities: sessions made under another one are not resumed.
    pub(super) policy: [u8; 16],
    /// `None`: off.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// Families whose certificate is no longer good: they are not resumed, so that their next handshake is a full one, with the certificate of then.
#[derive(Default)]
pub(super) struct Distrusted(Mutex<VecDeque<Family>>);

impl ClientAuth {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca.iter().chain(&self.crl)
    }
}

impl Clients {
    /// Reads the files.
    pub(super) fn load(config: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let (optional, word) = match config.mode {
            ClientAuthMode::Off => return Ok(Self { policy: policy_hash("off", b""), verifier: None }),
            ClientAuthMode::Optional => (true, "optional"),
            ClientAuthMode::Required => (false, "required"),
        };
        let ca = config.ca.as_ref().ok_or(TlsError::NoAuthority)?;
        let (roots, bytes) = authorities(ca).map_err(|fault| TlsError::File { path: ca.clone(), fault })?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        if optional {
            builder = builder.allow_unauthenticated();
        }
        if let Some(crl) = &config.crl {
            let fault = |fault| TlsError::File { path: crl.clone(), fault };
            builder = builder.with_crls(revocations(crl).map_err(fault)?);
        }
        let fault = |error: rustls::server::VerifierBuilderError| TlsError::File {
            path: config.crl.as_ref().unwrap_or(ca).clone(),
            fault: FileFault::Revocations(error.to_string()),
        };
        Ok(Self { policy: policy_hash(word, &bytes), verifier: Some(builder.build().map_err(fault)?) })
    }

    /// The check of a full handshake. Without a verifier nothing is asked of anybody.
    fn check(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<(), rustls::Error> {
        let (Some(verifier), Some((leaf, others))) = (&self.verifier, chain.split_first()) else { return Ok(()) };
        verifier.verify_client_cert(leaf, others, UnixTime::since_unix_epoch(Duration::from_millis(now))).map(drop)
    }
}

impl Distrusted {
    pub(super) fn has(&self, family: Family) -> bool {
        self.lock().contains(&family)
    }

    fn add(&self, family: Family) {
        let mut families = self.lock();
        if !families.contains(&family) {
            if families.len() == DISTRUSTED_MOST {
                // Its next resumption is checked, refused and remembered again.
                families.pop_front();
            }
            families.push_back(family);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tls {
    /// The sessions whose certificate was good when they began and is not any more, by the lists of today. Sessions that began under other authorities keep
    /// theirs. Their clients resume nothing from now on.
    pub fn revoked(&self) -> Vec<SessionId> {
        let (now, terms) = (self.0.now(), self.0.terms.load());
        let bad = |keys: &Arc<SessionKeys>| {
            let same = keys.terms().policy() == terms.policy();
            same && keys.chain().is_some_and(|chain| terms.clients.check(&chain, now).is_err())
        };
        let revoked: Vec<_> = self.0.registry.all().into_iter().filter(bad).collect();
        revoked.iter().for_each(|keys| self.0.distrusted.add(keys.family()));
        revoked.iter().map(|keys| keys.id()).collect()
    }

    /// Whether a data connection of `keys` may be taken after its handshake: a resumed one has its old certificate looked at again, a full one shows the
    /// certificate of its control connection, if it shows any.
    ///
    /// # Errors
    /// Why not, for the log.
    pub fn check_data(&self, keys: &SessionKeys, connection: &ServerConnection) -> Result<(), String> {
        let Some(chain) = connection.peer_certificates() else { return Ok(()) };
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            return keys.terms().clients.check(chain, self.0.now()).map_err(|error| error.to_string());
        }
        match keys.chain() {
            Some(own) if own.first() != chain.first() => Err("another certificate than that of the control connection".into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Shared {
    /// What the client of a finished control handshake showed, now or in the session that it resumed.
    pub(super) fn client(&self, keys: &SessionKeys, connection: &ServerConnection) -> Result<Option<ClientCertificate>, rustls::Error> {
        let Some(chain) = connection.peer_certificates() else { return Ok(None) };
        // Again also after a full handshake: the lists may be newer than the terms of a session that took its time.
        if let Err(error) = self.terms.load().clients.check(chain, self.now()) {
            self.distrusted.add(keys.family());
            return Err(error);
        }
        keys.set_chain(chain.iter().map(|certificate| certificate.clone().into_owned()).collect());
        Ok(chain.first().map(|leaf| ClientCertificate::of(leaf)))
    }
}

impl ClientCertificate {
    pub(super) fn of(leaf: &[u8]) -> Self {
        let names = der::names(leaf).unwrap_or_default();
        Self { common_name: names.common_name, alt_names: names.alt_names, sha256: Sha256::digest(leaf).into() }
    }
}

/// The authorities of a PEM file, and the bytes that stand for them.
pub(super) fn authorities(path: &Path) -> Result<(RootCertStore, Vec<u8>), FileFault> {
    let text = read(path)?;
    let mut roots = RootCertStore::empty();
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| FileFault::NotPem(error.to_string()))?;
        all.extend_from_slice(&certificate);
        roots.add(certificate).map_err(|error| FileFault::Authority(error.to_string()))?;
    }
    if roots.is_empty() { Err(FileFault::Authority("it holds no certificate".into())) } else { Ok((roots, all)) }
}

/// The lists of a PEM file, or the one of a DER file.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileFault> {
    // Lists of big authorities have some megabytes.
    let length = fs::metadata(path).map_err(FileFault::Unreadable)?.len();
    if length > CRL_MOST {
        return Err(FileFault::Revocations(format!("it has {length} bytes; at most {CRL_MOST} are read")));
    }
    let bytes = fs::read(path).map_err(FileFault::Unreadable)?;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| FileFault::Revocations(error.to_string()))?;
    if lists.is_empty() { Err(FileFault::Revocations("it holds no list".into())) } else { Ok(lists) }
}

/// `mode` and the bytes of the authorities are the policy.
pub(super) fn policy_hash(mode: &str, ca: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update([u8::try_from(mode.len()).unwrap_or(u8::MAX)]).chain_update(mode).chain_update(ca).finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

const CRL_MOST: u64 = 64 * 1024 * 1024;
/// How a DER file begins; PEM is text.
const DER_SEQUENCE: u8 = 0x30;
/// Families remembered.
const DISTRUSTED_MOST: usize = 1024;
