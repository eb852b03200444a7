//! Whether a certificate is revoked, by the word of its authority (RFC 6960): what is asked, and whether an answer may be stapled.
//!
//! Gets: a chain, responses from wherever. Gives: what a response says, once all of it is verified, or why it is worth nothing.
//! Never: believes a response that whoever sees it stapled would not: one for another certificate, from nobody with a right to it, too old, without an end.

use std::time::Duration;

use ftps_proto::ocsp::{self, Answer, CertId, Decline, Responder, Signed, Single, Status};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use sha1::{Digest, Sha1};
use webpki::{EndEntityCert, KeyUsage};

use super::der::{self, Signatory};

/// The question about one certificate, and what an answer is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    issuer: CertificateDer<'static>,
    /// SHA-1 of the issuer's name and key: not for security, it is how OCSP names a certificate.
    issuer_name: [u8; 20],
    issuer_key: [u8; 20],
    serial: Vec<u8>,
}

/// What a response says that may be stapled. Times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// When the certificate was revoked; `None`: it is good.
    pub revoked: Option<i64>,
    /// From when on this is known.
    pub this_update: i64,
    /// Until when it may be shown.
    pub next_update: i64,
    /// Who signed it.
    pub signer: Signer,
}

/// Who signed a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The authority of the certificate.
    Issuer,
    /// Somebody whom the authority has delegated.
    Delegate,
    /// The same, without the authority's word (id-pkix-ocsp-nocheck) that nobody need ask whether the delegate itself is revoked. Nobody does.
    DelegateUnchecked,
}

/// Why a response may not be stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a response.
    #[error("what came is no OCSP response, or a broken one")]
    Malformed,
    /// It has a critical extension.
    #[error("the response has a critical extension, which nobody here understands")]
    Critical,
    /// The responder gives none.
    #[error("the responder gives no answer: {}", decline(*.0))]
    Declined(Decline),
    /// It is about another certificate.
    #[error("the response is about another certificate; is the issuer's certificate in the chain the right one?")]
    OtherCertificate,
    /// Its signer is neither the authority nor a delegate.
    #[error("the response is signed by nobody whom the certificate's authority has named")]
    Signer,
    /// A delegate whom the authority has not, or not now, delegated.
    #[error("the certificate of the response's signer does not verify, has ended, or is not for OCSP")]
    Delegate,
    /// The signature is wrong, or of a kind that is not known or too weak.
    #[error("the signature of the response is wrong, or of a kind that is not taken")]
    Signature,
    /// It does not say when it ends.
    #[error("the response has no nextUpdate: nobody could tell how old is too old")]
    Endless,
    /// It is too old.
    #[error("the response is too old")]
    Stale,
    /// It comes from the future.
    #[error("the response begins in the future: check the clocks of this host and of the responder")]
    Future,
    /// The responder does not know the certificate.
    #[error("the responder does not know the certificate (yet)")]
    Unknown,
}

impl Question {
    /// About the leaf of a chain; `None` when the chain does not hold its issuer.
    pub(super) fn of(chain: &[CertificateDer<'static>]) -> Option<Self> {
        let (leaf, others) = chain.split_first()?;
        let revocation = der::revocation(leaf)?;
        let issued = |candidate: &&CertificateDer<'static>| der::signatory(candidate).is_some_and(|signatory| signatory.subject == revocation.issuer);
        let issuer = others.iter().find(issued)?.clone();
        let signatory = der::signatory(&issuer)?;
        let (issuer_name, issuer_key) = (Sha1::digest(signatory.subject).into(), Sha1::digest(signatory.key).into());
        Some(Self { issuer_name, issuer_key, serial: revocation.serial.to_vec(), issuer: issuer.clone() })
    }

    /// For the body of a POST.
    pub(super) fn request(&self) -> Vec<u8> {
        ocsp::question(&self.certificate())
    }

    /// What a response says, if all of it is right at `now` (Unix seconds), and the response without the certificates that it brings beyond need:
    /// nothing is shown that is not verified.
    pub(super) fn verify(&self, response: &[u8], now: i64) -> Result<(Said, Vec<u8>), Fault> {
        let mut signed = match ocsp::read(response) {
            Ok(Answer::Signed(signed)) => signed,
            Ok(Answer::Declined(why)) => return Err(Fault::Declined(why)),
            Err(ocsp::Fault::Critical) => return Err(Fault::Critical),
            Err(ocsp::Fault::TooLong | ocsp::Fault::Malformed | ocsp::Fault::Type) => return Err(Fault::Malformed),
        };
        let mine = self.certificate();
        let single = signed.answers.iter().find(|single| single.certificate == mine).ok_or(Fault::OtherCertificate)?;
        let (signer, certificate) = self.signer(&signed, now)?;
        let next_update = in_time(single, now)?;
        let revoked = match single.status {
            Status::Good => None,
            Status::Revoked(at) => Some(at),
            Status::Unknown => return Err(Fault::Unknown),
        };
        let said = Said { revoked, this_update: single.this_update, next_update, signer };
        signed.certificates = certificate.into_iter().collect();
        Ok((said, signed.write()))
    }

    fn certificate(&self) -> CertId<'_> {
        CertId { issuer_name: &self.issuer_name, issuer_key: &self.issuer_key, serial: &self.serial }
    }

    /// RFC 6960 §4.2.2.2: the authority itself, or whom it names for this by a certificate that it has signed directly. That certificate has to be shown.
    fn signer<'a>(&self, signed: &Signed<'a>, now: i64) -> Result<(Signer, Option<&'a [u8]>), Fault> {
        let names = |signatory: &Signatory<'_>| match signed.responder {
            Responder::Name(name) => name == signatory.subject,
            Responder::Key(key) => key == Sha1::digest(signatory.key).as_slice(),
        };
        let mut worst = Fault::Signer;
        if der::signatory(&self.issuer).is_some_and(|issuer| names(&issuer)) {
            match verify_signature(&self.issuer, signed) {
                Ok(()) => return Ok((Signer::Issuer, None)),
                // A delegate may have the name of its authority.
                Err(fault) => worst = fault,
            }
        }
        for shown in signed.certificates.iter().take(DELEGATES) {
            let certificate = CertificateDer::from(*shown);
            let Some(delegate) = der::signatory(&certificate).filter(names) else { continue };
            let verified = self.delegated(&certificate, &delegate, now).and_then(|()| verify_signature(&certificate, signed));
            match verified {
                Ok(()) if delegate.unasked => return Ok((Signer::Delegate, Some(*shown))),
                Ok(()) => return Ok((Signer::DelegateUnchecked, Some(*shown))),
                Err(fault) => worst = fault,
            }
        }
        Err(worst)
    }

    /// Signed by the authority, now valid, for OCSP by its extended key usage, no authority itself.
    fn delegated(&self, certificate: &CertificateDer<'_>, delegate: &Signatory<'_>, now: i64) -> Result<(), Fault> {
        let end_entity = EndEntityCert::try_from(certificate).map_err(|_| Fault::Delegate)?;
        let anchors = [webpki::anchor_from_trusted_cert(&self.issuer).map_err(|_| Fault::Delegate)?];
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        let verified = end_entity.verify_for_usage(algorithms().all, &anchors, &[], time, KeyUsage::required(OCSP_SIGNING), None, None);
        if verified.is_ok() && delegate.signs { Ok(()) } else { Err(Fault::Delegate) }
    }
}

fn verify_signature(certificate: &CertificateDer<'_>, signed: &Signed<'_>) -> Result<(), Fault> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| Fault::Signature)?;
    let named = |algorithm: &&&dyn SignatureVerificationAlgorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm;
    // One name may stand for several: ECDSA with SHA-256 says nothing of the curve, which the key does.
    let right = algorithms().all.iter().filter(named).any(|algorithm| certificate.verify_signature(*algorithm, signed.data, signed.signature).is_ok());
    if right { Ok(()) } else { Err(Fault::Signature) }
}

/// Those that clients of this process verify with: RSA from 2048 bits, PKCS #1 and PSS, ECDSA and Ed25519, SHA-2 alone.
fn algorithms() -> WebPkiSupportedAlgorithms {
    super::crypto_provider().signature_verification_algorithms
}

/// The end of an answer whose time is now.
fn in_time(single: &Single<'_>, now: i64) -> Result<i64, Fault> {
    let next = single.next_update.ok_or(Fault::Endless)?;
    if single.this_update > now.saturating_add(CLOCK_SKEW) {
        return Err(Fault::Future);
    }
    // No allowance here: a client whose clock is right would refuse it.
    if next <= now || next <= single.this_update { Err(Fault::Stale) } else { Ok(next) }
}

impl Said {
    /// Whether this is to be shown instead of `other`: what is known later. At the same time "revoked" wins; never "good" over a later "revoked".
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        let rank = |said: &Self| (said.this_update, said.revoked.is_some(), said.next_update);
        rank(self) > rank(other)
    }
}

fn decline(why: Decline) -> &'static str {
    match why {
        Decline::Malformed => "it does not understand the question",
        Decline::Internal => "it failed",
        Decline::TryLater => "it says to try later",
        Decline::SignatureRequired => "it wants signed questions, which nobody sends",
        Decline::Unauthorized => "it does not serve this certificate",
    }
}

/// How far the responder's clock may be ahead of ours, in seconds.
const CLOCK_SKEW: i64 = 300;
/// Certificates of a response that are looked at; it needs one.
const DELEGATES: usize = 4;
/// id-kp-OCSPSigning: 1.3.6.1.5.5.7.3.9
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];
