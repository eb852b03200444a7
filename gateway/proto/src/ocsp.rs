//! OCSP (RFC 6960) as values: the question about one certificate, and what a responder answers.
//!
//! Gets: bytes of a response. Gives: its signed part, who signed it and how, and what it says of each certificate.
//! Never: verifies a signature, compares a time or looks at a certificate: whoever staples does. Takes no response in more than one encoding.

use crate::der::{
    self, BIT_STRING, BOOLEAN, CONTEXT_0, CONTEXT_1, CONTEXT_2, Der, ENUMERATED, GENERALIZED_TIME, INTEGER, NULL, OBJECT_ID, OCTET_STRING, SEQUENCE,
};
use crate::time::Timestamp;

/// Bytes of the longest response that is read.
pub const MAX_RESPONSE: usize = 64 * 1024;

/// What a responder answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Signed answers.
    Signed(Signed<'a>),
    /// None, unsigned: anybody on the way may have said it.
    Declined(Decline),
}

/// Why there is no answer (RFC 6960 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    /// The question was not understood.
    Malformed,
    /// The responder failed.
    Internal,
    /// Later.
    TryLater,
    /// It answers signed questions only.
    SignatureRequired,
    /// It does not know the certificate, or not the asker.
    Unauthorized,
}

/// The signed answers of a responder: a BasicOCSPResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// What the signature is about, with tag and length.
    pub data: &'a [u8],
    /// Who signs.
    pub responder: Responder<'a>,
    /// What is said.
    pub answers: Vec<Single<'a>>,
    /// How it is signed: the content of an AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Certificates that may be the signer's, whole.
    pub certificates: Vec<&'a [u8]>,
}

/// Who signs, in the responder's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responder<'a> {
    /// The subject of its certificate, with tag and length.
    Name(&'a [u8]),
    /// SHA-1 of its public key.
    Key(&'a [u8]),
}

/// What is said of one certificate. Times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single<'a> {
    /// Which.
    pub certificate: CertId<'a>,
    /// What.
    pub status: Status,
    /// From when on this is known to be right.
    pub this_update: i64,
    /// When there will be something newer; `None`: any time.
    pub next_update: Option<i64>,
}

/// Names a certificate by its authority and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertId<'a> {
    /// SHA-1 of the authority's name.
    pub issuer_name: &'a [u8],
    /// SHA-1 of its public key.
    pub issuer_key: &'a [u8],
    /// The content of the serial number.
    pub serial: &'a [u8],
}

/// What is said of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked, then, in Unix seconds.
    Revoked(i64),
    /// The responder does not know it.
    Unknown,
}

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Longer than [`MAX_RESPONSE`].
    TooLong,
    /// No response, broken, or not in its one encoding.
    Malformed,
    /// Of another type than the basic one.
    Type,
    /// An extension is critical, and none is known here.
    Critical,
}

/// The question about one certificate, unsigned and without a nonce, so that a responder may answer what it has made before (RFC 5019).
pub fn question(certificate: &CertId<'_>) -> Vec<u8> {
    let id = der::write(
        SEQUENCE,
        &[
            &der::write(SEQUENCE, &[SHA1]),
            &der::write(OCTET_STRING, &[certificate.issuer_name]),
            &der::write(OCTET_STRING, &[certificate.issuer_key]),
            &der::write(INTEGER, &[certificate.serial]),
        ],
    );
    // Request, requestList, tbsRequest, OCSPRequest.
    (0..4).fold(id, |inner, _| der::write(SEQUENCE, &[&inner]))
}

/// Reads a response.
///
/// # Errors
/// What it is instead.
pub fn read(bytes: &[u8]) -> Result<Answer<'_>, Fault> {
    if bytes.len() > MAX_RESPONSE {
        return Err(Fault::TooLong);
    }
    let (kind, body) = match outer(bytes).ok_or(Fault::Malformed)? {
        Outer::Declined(decline) => return Ok(Answer::Declined(decline)),
        Outer::Answered(kind, body) => (kind, body),
    };
    if kind != BASIC {
        return Err(Fault::Type);
    }
    let (signed, critical) = basic(body).ok_or(Fault::Malformed)?;
    if critical { Err(Fault::Critical) } else { Ok(Answer::Signed(signed)) }
}

impl Signed<'_> {
    /// The whole response: the signed part as it came, and around it what stands here.
    pub fn write(&self) -> Vec<u8> {
        let certificates = if self.certificates.is_empty() { Vec::new() } else { der::write(CONTEXT_0, &[&der::write(SEQUENCE, &self.certificates)]) };
        let (algorithm, signature) = (der::write(SEQUENCE, &[self.algorithm]), der::write(BIT_STRING, &[&[0], self.signature]));
        let basic = der::write(SEQUENCE, &[self.data, &algorithm, &signature, &certificates]);
        let typed = der::write(SEQUENCE, &[&der::write(OBJECT_ID, &[BASIC]), &der::write(OCTET_STRING, &[&basic])]);
        der::write(SEQUENCE, &[&der::write(ENUMERATED, &[&[0]]), &der::write(CONTEXT_0, &[&typed])])
    }
}

/// What stands around a response.
enum Outer<'a> {
    Declined(Decline),
    /// Its type and its bytes.
    Answered(&'a [u8], &'a [u8]),
}

fn outer(bytes: &[u8]) -> Option<Outer<'_>> {
    let mut all = Der::new(bytes);
    let mut response = Der::new(all.expect(SEQUENCE)?);
    all.end()?;
    let decline = match response.expect(ENUMERATED)? {
        [0] => None,
        [1] => Some(Decline::Malformed),
        [2] => Some(Decline::Internal),
        [3] => Some(Decline::TryLater),
        [5] => Some(Decline::SignatureRequired),
        [6] => Some(Decline::Unauthorized),
        _ => return None,
    };
    if let Some(decline) = decline {
        response.end()?;
        return Some(Outer::Declined(decline));
    }
    let mut explicit = Der::new(response.expect(CONTEXT_0)?);
    response.end()?;
    let mut typed = Der::new(explicit.expect(SEQUENCE)?);
    explicit.end()?;
    let answered = Outer::Answered(typed.expect(OBJECT_ID)?, typed.expect(OCTET_STRING)?);
    typed.end()?;
    Some(answered)
}

/// A BasicOCSPResponse, and whether something critical is in it.
fn basic(bytes: &[u8]) -> Option<(Signed<'_>, bool)> {
    let mut all = Der::new(bytes);
    let mut basic = Der::new(all.expect(SEQUENCE)?);
    all.end()?;
    let (SEQUENCE, content, data) = basic.whole()? else { return None };
    let (responder, answers, critical) = response_data(content)?;
    let algorithm = basic.expect(SEQUENCE)?;
    let [0, signature @ ..] = basic.expect(BIT_STRING)? else { return None };
    let certificates = match basic.optional(CONTEXT_0)? {
        Some(explicit) => certificates(explicit)?,
        None => Vec::new(),
    };
    basic.end()?;
    Some((Signed { data, responder, answers, algorithm, signature, certificates }, critical))
}

fn certificates(explicit: &[u8]) -> Option<Vec<&[u8]>> {
    let mut explicit = Der::new(explicit);
    let mut list = Der::new(explicit.expect(SEQUENCE)?);
    explicit.end()?;
    let mut found = Vec::new();
    while !list.is_empty() {
        let (SEQUENCE, _, whole) = list.whole()? else { return None };
        found.push(whole);
    }
    // Whoever has none leaves them out.
    (!found.is_empty()).then_some(found)
}

/// What is inside the signature.
fn response_data(content: &[u8]) -> Option<(Responder<'_>, Vec<Single<'_>>, bool)> {
    let mut data = Der::new(content);
    // Version 1 is the default; some responders write it all the same.
    if let Some(version) = data.optional(CONTEXT_0)? {
        (version == [INTEGER, 1, 0]).then_some(())?;
    }
    let responder = match data.next()? {
        (CONTEXT_1, explicit) => {
            let mut explicit = Der::new(explicit);
            let (SEQUENCE, _, name) = explicit.whole()? else { return None };
            explicit.end()?;
            Responder::Name(name)
        }
        (CONTEXT_2, explicit) => {
            let mut explicit = Der::new(explicit);
            let key = explicit.expect(OCTET_STRING)?;
            explicit.end()?;
            Responder::Key(key)
        }
        _ => return None,
    };
    time(data.expect(GENERALIZED_TIME)?)?; // producedAt
    let (mut list, mut answers, mut critical) = (Der::new(data.expect(SEQUENCE)?), Vec::new(), false);
    while !list.is_empty() {
        let (answer, has_critical) = single(list.expect(SEQUENCE)?)?;
        answers.push(answer);
        critical |= has_critical;
    }
    critical |= extensions(data.optional(CONTEXT_1)?)?;
    data.end()?;
    Some((responder, answers, critical))
}

fn single(content: &[u8]) -> Option<(Single<'_>, bool)> {
    let mut single = Der::new(content);
    let certificate = cert_id(single.expect(SEQUENCE)?)?;
    let status = match single.next()? {
        (GOOD, []) => Status::Good,
        (CONTEXT_1, info) => {
            let mut info = Der::new(info);
            let at = time(info.expect(GENERALIZED_TIME)?)?;
            info.optional(CONTEXT_0)?; // the reason
            info.end()?;
            Status::Revoked(at)
        }
        (UNKNOWN, []) => Status::Unknown,
        _ => return None,
    };
    let this_update = time(single.expect(GENERALIZED_TIME)?)?;
    let next_update = match single.optional(CONTEXT_0)? {
        Some(explicit) => {
            let mut explicit = Der::new(explicit);
            let next = time(explicit.expect(GENERALIZED_TIME)?)?;
            explicit.end()?;
            Some(next)
        }
        None => None,
    };
    let critical = extensions(single.optional(CONTEXT_1)?)?;
    single.end()?;
    Some((Single { certificate, status, this_update, next_update }, critical))
}

/// One under another hash than SHA-1 is no answer to our question; it is read as one with empty hashes, which match nothing.
fn cert_id(content: &[u8]) -> Option<CertId<'_>> {
    let mut id = Der::new(content);
    let algorithm = id.expect(SEQUENCE)?;
    let (issuer_name, issuer_key, serial) = (id.expect(OCTET_STRING)?, id.expect(OCTET_STRING)?, id.expect(INTEGER)?);
    id.end()?;
    // With a NULL for parameters, or without.
    let ours = algorithm == SHA1 || algorithm == &SHA1[..SHA1.len() - 2];
    Some(if ours { CertId { issuer_name, issuer_key, serial } } else { CertId { issuer_name: &[], issuer_key: &[], serial } })
}

/// Whether one of them is critical.
fn extensions(explicit: Option<&[u8]>) -> Option<bool> {
    let Some(explicit) = explicit else { return Some(false) };
    let mut explicit = Der::new(explicit);
    let mut list = Der::new(explicit.expect(SEQUENCE)?);
    explicit.end()?;
    let mut any = false;
    while !list.is_empty() {
        let mut extension = Der::new(list.expect(SEQUENCE)?);
        extension.expect(OBJECT_ID)?;
        any |= extension.optional(BOOLEAN)?.is_some_and(|critical| critical != [0]);
        extension.expect(OCTET_STRING)?;
        extension.end()?;
    }
    Some(any)
}

/// `YYYYMMDDHHMMSSZ`, the one form that RFC 5280 §4.1.2.5.2 allows.
fn time(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == 14)?;
    Timestamp::parse(digits).map(|time| time.seconds)
}

/// id-pkix-ocsp-basic: 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// SHA-1 (1.3.14.3.2.26) with its NULL: what every responder knows (RFC 5019 §2.1.1). It names the certificate, nothing is signed with it.
const SHA1: &[u8] = &[OBJECT_ID, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, NULL, 0x00];
/// `[0]` and `[2]`, implicit NULL.
const GOOD: u8 = 0x80;
const UNKNOWN: u8 = 0x82;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Made by OpenSSL.
    const RESPONSE: &[u8] = include_bytes!("../../fuzz/corpus/ocsp/delegate-rsa");
    /// Its question, for which that is the answer.
    const QUESTION: &[u8] = include_bytes!("../../fuzz/corpus/ocsp/no-response");

    fn signed(bytes: &[u8]) -> Signed<'_> {
        match read(bytes) {
            Ok(Answer::Signed(signed)) => signed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_question_is_what_openssl_asks() {
        let [single] = &signed(RESPONSE).answers[..] else { panic!("one answer") };
        assert_eq!(question(&single.certificate), QUESTION);
        assert_eq!(single.certificate.serial, [0x7b, 0x01]);
    }

    #[test]
    fn what_responders_say_is_read() {
        let good = signed(RESPONSE);
        assert!(matches!(good.responder, Responder::Name(_)) && good.certificates.len() == 1);
        let single = good.answers[0];
        assert_eq!((single.status, single.next_update), (Status::Good, Some(single.this_update + 7 * 86_400)));
        let by_key = signed(include_bytes!("../../fuzz/corpus/ocsp/issuer-p256"));
        assert!(matches!(by_key.responder, Responder::Key(key) if key.len() == 20));
        // 2026-11-01 12:00:00, as the index of the responder has it.
        assert_eq!(signed(include_bytes!("../../fuzz/corpus/ocsp/revoked")).answers[0].status, Status::Revoked(1_793_534_400));
        assert_eq!(read(include_bytes!("../../fuzz/corpus/ocsp/try-later")), Ok(Answer::Declined(Decline::TryLater)));
        assert_eq!(read(QUESTION), Err(Fault::Malformed));
        assert_eq!(read(&vec![0x30; MAX_RESPONSE + 1]), Err(Fault::TooLong));
    }

    #[test]
    fn what_is_cut_or_goes_on_is_no_response() {
        for cut in 0..RESPONSE.len() {
            assert_eq!(read(&RESPONSE[..cut]), Err(Fault::Malformed), "{cut}");
        }
        assert_eq!(read(&[RESPONSE, &[0]].concat()), Err(Fault::Malformed));
    }

    #[test]
    fn other_types_and_critical_extensions_are_told_apart() {
        let place = RESPONSE.windows(BASIC.len()).position(|window| window == BASIC).unwrap();
        let mut other = RESPONSE.to_vec();
        other[place + BASIC.len() - 1] = 2;
        assert_eq!(read(&other), Err(Fault::Type));
        let list = |critical: &[u8]| {
            let extension = der::write(SEQUENCE, &[&der::write(OBJECT_ID, &[BASIC]), critical, &der::write(OCTET_STRING, &[])]);
            extensions(Some(&der::write(SEQUENCE, &[&extension])))
        };
        assert_eq!((list(&[]), list(&[BOOLEAN, 1, 0xff]), list(&[BOOLEAN, 2, 0xff])), (Some(false), Some(true), None));
    }
}
