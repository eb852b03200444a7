//! Looks at a server's certificate as a client would, and goes on looking when it is bad.
//!
//! Gets: the authorities of this machine, or those of a file. Gives: TLS configurations, and what the certificate is.
//! Never: lets a password go to a server whose certificate does not verify: the examination asks [`Seen`] first.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use super::finding::Finding;
use crate::observe::utc::Utc;
use crate::tls::{self, OcspSaid, StapleSeen};

/// Whom to trust, and what was seen of the server.
#[derive(Debug)]
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    /// `None`: no authority is known.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Option<Seen>>,
}

/// The certificate of the last full handshake.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    leaf: CertificateDer<'static>,
    fault: Option<Error>,
    /// What was stapled; `None`: there is no certificate.
    staple: Option<StapleSeen>,
}

impl Trust {
    /// Trusts the authorities of `file`, else those of this machine.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub(super) fn new(file: Option<&Path>) -> Result<Arc<Self>, String> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                let text = fs::read(file).map_err(|error| format!("{}: cannot be read ({error})", file.display()))?;
                let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
                if added == 0 {
                    return Err(format!("{}: no certificate in it; name a PEM file of authorities", file.display()));
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(tls::crypto_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        Ok(Arc::new(Self { provider, verifier, seen: Mutex::default() }))
    }

    /// A configuration with a memory of sessions of its own.
    ///
    /// # Errors
    /// The versions do not fit the cipher suites, which never happens.
    pub(super) fn config(self: &Arc<Self>, versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(versions)?;
        Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(self.clone()).with_no_client_auth()))
    }

    /// What the last full handshake showed.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seen {
    /// Whether a client that verifies would go on.
    pub(super) fn is_good(&self) -> bool {
        self.fault.is_none()
    }

    /// The certificate in words.
    pub(super) fn finding(&self, host: &str) -> Finding {
        let Some(facts) = tls::certificate_facts(&self.leaf) else {
            return Finding::bad(SUBJECT, "it cannot be read", "name a PEM certificate in tls.certificates");
        };
        let names = if facts.names.is_empty() { "no DNS name".to_owned() } else { facts.names.join(", ") };
        let (from, until) = (day(facts.not_before), day(facts.not_after));
        let left = facts.not_after.saturating_sub(now()) / DAY;
        match self.fault.as_ref().map(kind) {
            None if left < FEW_DAYS => Finding::note(SUBJECT, format!("for {names}, ends on {until}, in {left} days"), RENEW),
            None => Finding::well(SUBJECT, format!("for {names}, until {until} ({left} days)")),
            Some(_) if facts.not_after < now() => Finding::bad(SUBJECT, format!("it expired on {until}"), RENEW),
            Some(_) if facts.not_before > now() => {
                Finding::bad(SUBJECT, format!("it is not valid before {from}"), "check the clocks of this machine and of the certificate's issuer")
            }
            Some(Kind::Name) => Finding::bad(
                SUBJECT,
                format!("it is for {names}, not for {host}"),
                format!("connect by a name that it has, or add a certificate for {host} to tls.certificates"),
            ),
            Some(Kind::Issuer) => Finding::bad(
                SUBJECT,
                format!("for {names}, until {until}; it is self-signed, or signed by nobody that this machine trusts"),
                "name a certificate of a known authority in tls.certificates, with the whole chain in its file; for a private authority use --ca FILE here",
            ),
            Some(Kind::Other(words)) => Finding::bad(SUBJECT, words, "name another certificate in tls.certificates"),
        }
    }
}

impl Seen {
    /// The staple in words; `None` when there is none and none should be.
    pub(super) fn staple(&self) -> Option<Finding> {
        let StapleSeen { promised, has_responder, said } = self.staple.as_ref()?;
        Some(match said {
            Some(Ok(OcspSaid { revoked: None, next_update, .. })) => Finding::well(STAPLE, format!("the certificate is good, until {}", day(*next_update))),
            Some(Ok(OcspSaid { revoked: Some(at), .. })) => {
                Finding::bad(STAPLE, format!("the certificate was revoked on {}", day(*at)), "replace it in tls.certificates")
            }
            Some(Err(fault)) => Finding::bad(STAPLE, fault.to_string(), LOOK_AT_STAPLES),
            None if *promised => {
                Finding::bad(STAPLE, "the certificate promises one (Must-Staple) and none came: clients that hold it to that refuse it", LOOK_AT_STAPLES)
            }
            None if *has_responder => Finding::note(STAPLE, "none came, or none that can be verified by the chain", LOOK_AT_STAPLES),
            None => return None,
        })
    }
}

/// What is wrong with a certificate.
enum Kind {
    Name,
    Issuer,
    Other(String),
}

fn kind(fault: &Error) -> Kind {
    match fault {
        Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => Kind::Name,
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Kind::Issuer,
        // Self-signed certificates are often marked as authorities; webpki's own error has no variant of rustls.
        other if other.to_string().contains("CaUsedAsEndEntity") => Kind::Issuer,
        other => Kind::Other(other.to_string()),
    }
}

impl ServerCertVerifier for Trust {
    /// Notes the verdict and says yes: the doctor looks on, and decides itself whether it logs in.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fault = match &self.verifier {
            Some(verifier) => verifier.verify_server_cert(leaf, chain, name, ocsp, now).err(),
            None => Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let whole: Vec<_> = std::iter::once(leaf).chain(chain).map(|certificate| certificate.clone().into_owned()).collect();
        let staple = tls::staple_seen(&whole, ocsp, i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { leaf: leaf.clone().into_owned(), fault, staple });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn day(seconds: i64) -> String {
    Utc(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).to_string()[..10].to_owned()
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

const SUBJECT: &str = "certificate";
const STAPLE: &str = "staple";
const LOOK_AT_STAPLES: &str = "ask `ctl staples`, which says why; the issuer's certificate has to stand behind the certificate in its file";
const RENEW: &str = "renew it; the files in tls.certificates are read again by themselves";
const DAY: i64 = 86_400;
/// A certificate that ends sooner is said.
const FEW_DAYS: i64 = 14;
