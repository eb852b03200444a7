//! Whether a response may be stapled: those that OpenSSL made, each of their bytes altered, and those that a responder with no right or no care would make.
//!
//! The files of `ocsp/` are chains; their responses are those of the fuzz corpus. Never: the clock of this machine.

use ftps_proto::der::{self, GENERALIZED_TIME, INTEGER, NULL, OBJECT_ID, OCTET_STRING, SEQUENCE};
use ftps_proto::ocsp::{Responder, Signed};
use ftps_proto::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber, SigningKey,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha1::{Digest, Sha1};

use super::super::der::signatory;
use super::super::ocsp::{Fault, Question, Said, Signer};

/// 2027-01-15 08:00:00
pub(in crate::tls) const NOW: i64 = 1_800_000_000;
pub(in crate::tls) const DAY: i64 = 86_400;

/// An authority with a certificate, and its responder.
pub(in crate::tls) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// What a responder says, and how.
#[derive(Clone)]
pub(in crate::tls) struct Words {
    pub(in crate::tls) serial: u64,
    /// The whole CertStatus.
    pub(in crate::tls) status: Vec<u8>,
    pub(in crate::tls) this_update: i64,
    pub(in crate::tls) next_update: Option<i64>,
    /// Named by its key, not by its name.
    pub(in crate::tls) by_key: bool,
    /// Single extensions, as they stand.
    pub(in crate::tls) extensions: Vec<u8>,
}

/// Somebody who signs responses.
pub(in crate::tls) struct Delegate {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

pub(in crate::tls) fn good() -> Words {
    Words { serial: 7, status: vec![0x80, 0], this_update: NOW - DAY, next_update: Some(NOW + 6 * DAY), by_key: false, extensions: Vec::new() }
}

pub(in crate::tls) fn revoked(at: i64) -> Words {
    Words { status: der::write(0xa1, &[&time(at)]), ..good() }
}

fn time(seconds: i64) -> Vec<u8> {
    let mut text = Vec::new();
    Timestamp::from_unix(seconds, 0).write(&mut text);
    text.push(b'Z');
    der::write(GENERALIZED_TIME, &[&text])
}

impl Authority {
    pub(in crate::tls) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A leaf and this authority's certificate, and the key.
    pub(in crate::tls) fn chain(&self, serial: u64, extensions: &[CustomExtension]) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["ftp.example.org".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.custom_extensions = extensions.to_vec();
        (vec![params.signed_by(&key, &self.issuer).unwrap().der().clone(), self.certificate.clone()], key)
    }

    fn delegate(&self, change: impl FnOnce(&mut CertificateParams)) -> Delegate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "responder");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![NULL, 0])];
        (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 1), date_time_ymd(2027, 2, 1));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Delegate { key, certificate }
    }

    /// Signed by itself.
    pub(in crate::tls) fn says(&self, words: &Words) -> Vec<u8> {
        self.says_by(words, self.issuer.key(), &self.certificate, &[])
    }

    fn says_through(&self, words: &Words, delegate: &Delegate) -> Vec<u8> {
        self.says_by(words, &delegate.key, &delegate.certificate, &[&delegate.certificate])
    }

    fn says_by(&self, words: &Words, key: &KeyPair, signer: &CertificateDer<'_>, certificates: &[&[u8]]) -> Vec<u8> {
        let issuer = signatory(&self.certificate).unwrap();
        let sha1 = der::write(SEQUENCE, &[&der::write(OBJECT_ID, &[&[0x2b, 0x0e, 0x03, 0x02, 0x1a]]), &[NULL, 0]]);
        let hash = |bytes: &[u8]| der::write(OCTET_STRING, &[&Sha1::digest(bytes)]);
        let serial = der::write(INTEGER, &[&[words.serial as u8]]);
        let id = der::write(SEQUENCE, &[&sha1, &hash(issuer.subject), &hash(issuer.key), &serial]);
        let next = words.next_update.map(|next| der::write(0xa0, &[&time(next)])).unwrap_or_default();
        let single = der::write(SEQUENCE, &[&id, &words.status, &time(words.this_update), &next, &words.extensions]);
        let signatory = signatory(signer).unwrap();
        let responder = if words.by_key { der::write(0xa2, &[&hash(signatory.key)]) } else { der::write(0xa1, &[signatory.subject]) };
        let data = der::write(SEQUENCE, &[&responder, &time(words.this_update), &der::write(SEQUENCE, &[&single])]);
        let signature = key.sign(&data).unwrap();
        // ecdsa-with-SHA256
        let algorithm = der::write(OBJECT_ID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]]);
        let signed = Signed {
            data: &data,
            responder: Responder::Name(signatory.subject),
            answers: Vec::new(),
            algorithm: &algorithm,
            signature: &signature,
            certificates: certificates.to_vec(),
        };
        signed.write()
    }
}

fn verdict(authority: &Authority, response: &[u8]) -> Result<Said, Fault> {
    let (chain, _) = authority.chain(7, &[]);
    Question::of(&chain).unwrap().verify(response, NOW).map(|(said, _)| said)
}

/// Name, chain, response, whether that says "good", and who signed it.
type Real = (&'static str, &'static [u8], &'static [u8], bool, Signer);

const REAL: [Real; 5] = [
    ("issuer-p256", include_bytes!("ocsp/issuer-p256.pem"), include_bytes!("../../../fuzz/corpus/ocsp/issuer-p256"), true, Signer::Issuer),
    ("delegate-rsa", include_bytes!("ocsp/delegate-rsa.pem"), include_bytes!("../../../fuzz/corpus/ocsp/delegate-rsa"), true, Signer::Delegate),
    ("delegate-p384", include_bytes!("ocsp/delegate-p384.pem"), include_bytes!("../../../fuzz/corpus/ocsp/delegate-p384"), true, Signer::Delegate),
    ("delegate-pss", include_bytes!("ocsp/delegate-pss.pem"), include_bytes!("../../../fuzz/corpus/ocsp/delegate-pss"), true, Signer::Delegate),
    ("revoked", include_bytes!("ocsp/revoked.pem"), include_bytes!("../../../fuzz/corpus/ocsp/revoked"), false, Signer::Issuer),
];

/// A minute after OpenSSL made them.
const MADE: i64 = 1_795_985_300;

fn real(chain: &[u8]) -> Question {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap();
    Question::of(&chain).unwrap()
}

#[test]
fn what_openssl_signs_is_taken_whoever_signs_it_and_how() {
    for (name, chain, response, is_good, signer) in REAL {
        let (said, _) = real(chain).verify(response, MADE).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!((said.revoked.is_none(), said.signer, said.next_update - said.this_update), (is_good, signer, 7 * DAY), "{name}");
        for (other, chain, ..) in REAL.iter().filter(|(other, ..)| *other != name) {
            assert_eq!(real(chain).verify(response, MADE), Err(Fault::OtherCertificate), "{name} for {other}");
        }
    }
}

#[test]
fn no_altered_byte_is_shown() {
    for (name, chain, response, _, signer) in REAL {
        let question = real(chain);
        let (_, shown) = question.verify(response, MADE).unwrap();
        // Of a response that the authority itself has signed, its certificate is not shown again, so it may be altered.
        assert_eq!(shown.len() == response.len(), signer == Signer::Delegate, "{name}");
        for place in 0..response.len() {
            for change in [0x01, 0x41, 0x80] {
                let mut bad = response.to_vec();
                bad[place] ^= change;
                let verdict = question.verify(&bad, MADE);
                let harmless = signer == Signer::Issuer && verdict.as_ref().is_ok_and(|(_, other)| *other == shown);
                assert!(verdict.is_err() || harmless, "{name}: byte {place} ^ {change}");
            }
        }
        for place in 0..shown.len() {
            let mut bad = shown.clone();
            bad[place] ^= 0x41;
            assert!(question.verify(&bad, MADE).is_err(), "{name}: byte {place} of what is shown");
            assert!(question.verify(&shown[..place], MADE).is_err(), "{name}: cut to {place}");
        }
    }
}

#[test]
fn time_is_looked_at_and_an_end_is_needed() {
    let authority = Authority::new("authority");
    let at = |this_update, next_update| verdict(&authority, &authority.says(&Words { this_update, next_update, ..good() }));
    assert_eq!(at(NOW - DAY, Some(NOW + DAY)).unwrap().next_update, NOW + DAY);
    assert!(at(NOW + 300, Some(NOW + DAY)).is_ok(), "the responder's clock may be ahead");
    assert_eq!(at(NOW + 301, Some(NOW + DAY)), Err(Fault::Future));
    assert_eq!(at(NOW - DAY, Some(NOW)), Err(Fault::Stale));
    assert_eq!(at(NOW + 100, Some(NOW + 100)), Err(Fault::Stale), "it ends when it begins");
    assert_eq!(at(NOW - DAY, None), Err(Fault::Endless));
}

#[test]
fn only_the_authority_and_its_delegates_speak_for_it() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let by = |delegate: Delegate| verdict(&authority, &authority.says_through(&good(), &delegate)).map(|said| said.signer);
    let by_key = Words { by_key: true, ..good() };
    assert_eq!(verdict(&authority, &authority.says(&by_key)).unwrap().signer, Signer::Issuer);
    assert_eq!(verdict(&authority, &authority.says_through(&by_key, &authority.delegate(|_| {}))).unwrap().signer, Signer::Delegate);
    assert_eq!(by(authority.delegate(|_| {})), Ok(Signer::Delegate));
    assert_eq!(by(authority.delegate(|params| params.custom_extensions.clear())), Ok(Signer::DelegateUnchecked));
    assert_eq!(by(authority.delegate(|params| params.key_usages.clear())), Ok(Signer::Delegate), "nothing is said of its use");
    // Nobody's delegate, for something else, too early, too late, an authority itself.
    assert_eq!(by(other.delegate(|_| {})), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.extended_key_usages.clear())), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment])), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.not_after = date_time_ymd(2027, 1, 10))), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.not_before = date_time_ymd(2027, 1, 20))), Err(Fault::Delegate));
    assert_eq!(by(authority.delegate(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))), Err(Fault::Delegate));
    // The right name, the wrong key; and the leaf of the same authority as a signer.
    let twin = Authority::new("authority");
    assert_eq!(verdict(&authority, &authority.says_by(&good(), twin.issuer.key(), &authority.certificate, &[])), Err(Fault::Signature));
    assert_eq!(verdict(&authority, &authority.says_by(&good(), other.issuer.key(), &other.certificate, &[])), Err(Fault::Signer));
    let delegate = authority.delegate(|_| {});
    assert_eq!(verdict(&authority, &authority.says_by(&good(), &delegate.key, &delegate.certificate, &[])), Err(Fault::Signer), "it is not shown");
    let leaf = Delegate { certificate: authority.chain(9, &[]).0.remove(0), ..delegate };
    assert_eq!(by(leaf), Err(Fault::Delegate));
}

#[test]
fn what_is_said_is_about_this_certificate_and_known() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    assert_eq!(verdict(&authority, &authority.says(&Words { serial: 8, ..good() })), Err(Fault::OtherCertificate));
    assert_eq!(verdict(&authority, &other.says(&good())), Err(Fault::OtherCertificate), "the same number of another authority");
    assert_eq!(verdict(&authority, &authority.says(&Words { status: vec![0x82, 0], ..good() })), Err(Fault::Unknown));
    assert_eq!(verdict(&authority, &authority.says(&revoked(NOW - 5))).unwrap().revoked, Some(NOW - 5));
    let extension = |critical: &[u8]| {
        let one = der::write(SEQUENCE, &[&der::write(OBJECT_ID, &[&[0x2b, 0x01]]), critical, &der::write(OCTET_STRING, &[])]);
        Words { extensions: der::write(0xa1, &[&der::write(SEQUENCE, &[&one])]), ..good() }
    };
    assert!(verdict(&authority, &authority.says(&extension(&[]))).is_ok());
    assert_eq!(verdict(&authority, &authority.says(&extension(&[1, 1, 0xff]))), Err(Fault::Critical));
    assert_eq!(Question::of(&authority.chain(7, &[]).0[..1]), None, "the chain has no issuer");
    assert_eq!(Question::of(&[authority.chain(7, &[]).0.remove(0), other.certificate]), None);
}

#[test]
fn what_is_known_later_wins_and_revoked_wins_over_good() {
    let said = |revoked: bool, this_update, next_update| Said { revoked: revoked.then_some(1), this_update, next_update, signer: Signer::Issuer };
    let old = said(false, 100, 1000);
    for (newer, wins) in [
        (old, false),
        (said(false, 101, 900), true),
        (said(true, 100, 1000), true),
        (said(false, 100, 1001), true),
        (said(true, 99, 2000), false),
        (said(false, 99, 2000), false),
    ] {
        assert_eq!(newer.supersedes(&old), wins, "{newer:?}");
        assert!(!(wins && old.supersedes(&newer)));
    }
}
