//! Reads of a certificate what rustls does not tell: until when it is valid, for which names or for whom, and whom to ask whether it is revoked (RFC 5280 §4.1).
//!
//! Gets: the DER of a certificate that rustls has parsed. Gives: its validity in Unix seconds, its DNS names in lower case, its responders.
//! Never: verifies anything, panics on bytes that are no certificate.

use std::net::IpAddr;

use ftps_proto::der::{
    BIT_STRING, BOOLEAN, CONTEXT_0, CONTEXT_3, Der, GENERALIZED_TIME, IA5_STRING, INTEGER, OBJECT_ID, OCTET_STRING, PRINTABLE_STRING, SEQUENCE, UTC_TIME,
    UTF8_STRING,
};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Unix seconds.
    pub(super) not_before: i64,
    /// Unix seconds.
    pub(super) not_after: i64,
    /// DNS names of the subject alternative name, lower case, wildcards included.
    pub(super) dns_names: Vec<String>,
}

/// Reads them; `None` when the bytes are no certificate.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut tbs = behind_issuer(certificate)?;
    let mut validity = Der::new(tbs.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    let mut dns_names = Vec::new();
    while let Some((tag, body)) = tbs.next() {
        if tag == EXTENSIONS {
            let of_dns = |(tag, name): (u8, &[u8])| (tag == DNS_NAME).then(|| String::from_utf8_lossy(name).to_ascii_lowercase());
            dns_names = alternative_names(body)?.into_iter().filter_map(of_dns).collect();
        }
    }
    Some(Facts { not_before, not_after, dns_names })
}

/// Whom a certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The common name of the subject, if there is exactly one.
    pub(super) common_name: Option<String>,
    /// Mail addresses, DNS names, URIs and IP addresses, as they stand there.
    pub(super) alt_names: Vec<String>,
}

/// Reads them; `None` when the bytes are no certificate.
pub(super) fn names(certificate: &[u8]) -> Option<Names> {
    let mut tbs = behind_issuer(certificate)?;
    tbs.expect(SEQUENCE)?; // validity
    let mut names = Names { common_name: common_name(tbs.expect(SEQUENCE)?)?, alt_names: Vec::new() };
    while let Some((tag, body)) = tbs.next() {
        if tag == EXTENSIONS {
            names.alt_names = alternative_names(body)?.into_iter().filter_map(alternative_name).collect();
        }
    }
    Some(names)
}

/// Whom to ask whether a certificate is revoked, and by which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revocation<'a> {
    /// The content of its serial number.
    pub(super) serial: &'a [u8],
    /// The name of its authority, with tag and length.
    pub(super) issuer: &'a [u8],
    /// URLs of OCSP responders, as they stand there (RFC 5280 §4.2.2.1).
    pub(super) responders: Vec<String>,
    /// It promises that a response is stapled to it: the TLS feature status_request (RFC 7633).
    pub(super) must_staple: bool,
}

/// Reads it; `None` when the bytes are no certificate.
pub(super) fn revocation(certificate: &[u8]) -> Option<Revocation<'_>> {
    let (serial, issuer, _) = parts(certificate)?;
    let mut found = Revocation { serial, issuer, responders: Vec::new(), must_staple: false };
    for (id, value) in extensions_of(certificate)? {
        match id {
            AUTHORITY_INFO => found.responders = responders(value)?,
            TLS_FEATURE => {
                let mut features = Der::new(Der::new(value).expect(SEQUENCE)?);
                while !features.is_empty() {
                    found.must_staple |= features.expect(INTEGER)? == [STATUS_REQUEST];
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// What a signature is attributed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signatory<'a> {
    /// The name, with tag and length.
    pub(super) subject: &'a [u8],
    /// The bits of the public key.
    pub(super) key: &'a [u8],
    /// Whether the key may sign what is no certificate; it may where nothing is said of it (RFC 5280 §4.2.1.3).
    pub(super) signs: bool,
    /// Its authority wants nobody to ask whether it is revoked (RFC 6960 §4.2.2.2.1).
    pub(super) unasked: bool,
}

/// Reads it; `None` when the bytes are no certificate.
pub(super) fn signatory(certificate: &[u8]) -> Option<Signatory<'_>> {
    let (_, _, mut rest) = parts(certificate)?;
    rest.expect(SEQUENCE)?; // validity
    let (SEQUENCE, _, subject) = rest.whole()? else { return None };
    let mut info = Der::new(rest.expect(SEQUENCE)?);
    info.expect(SEQUENCE)?; // algorithm
    let [0, key @ ..] = info.expect(BIT_STRING)? else { return None };
    let mut found = Signatory { subject, key, signs: true, unasked: false };
    for (id, value) in extensions_of(certificate)? {
        match id {
            KEY_USAGE => found.signs = matches!(Der::new(value).expect(BIT_STRING)?, [_, first, ..] if first & DIGITAL_SIGNATURE != 0),
            OCSP_NO_CHECK => found.unasked = true,
            _ => {}
        }
    }
    Some(found)
}

/// Serial number, issuer with tag and length, and what follows them.
fn parts(certificate: &[u8]) -> Option<(&[u8], &[u8], Der<'_>)> {
    let mut outer = Der::new(certificate);
    let mut tbs = Der::new(Der::new(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    tbs.optional(VERSION)?;
    let serial = tbs.expect(INTEGER)?;
    tbs.expect(SEQUENCE)?; // signature algorithm
    let (SEQUENCE, _, issuer) = tbs.whole()? else { return None };
    Some((serial, issuer, tbs))
}

/// What follows the issuer in a certificate.
fn behind_issuer(certificate: &[u8]) -> Option<Der<'_>> {
    parts(certificate).map(|(_, _, rest)| rest)
}

/// Every extension: its id, and what its octets hold.
fn extensions_of(certificate: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rest = behind_issuer(certificate)?;
    let mut found = Vec::new();
    while let Some((tag, body)) = rest.next() {
        if tag == EXTENSIONS {
            found = extensions(body)?;
        }
    }
    Some(found)
}

fn extensions(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (mut list, mut found) = (Der::new(Der::new(body).expect(SEQUENCE)?), Vec::new());
    while let Some((_, extension)) = list.next() {
        let mut fields = Der::new(extension);
        let id = fields.expect(OBJECT_ID)?;
        fields.optional(BOOLEAN)?;
        found.push((id, fields.expect(OCTET_STRING)?));
    }
    Some(found)
}

/// The URLs with the access method OCSP.
fn responders(value: &[u8]) -> Option<Vec<String>> {
    let (mut list, mut found) = (Der::new(Der::new(value).expect(SEQUENCE)?), Vec::new());
    while let Some((_, description)) = list.next() {
        let mut fields = Der::new(description);
        let method = fields.expect(OBJECT_ID)?;
        let (tag, location) = fields.next()?;
        found.extend(text(location).filter(|_| method == ACCESS_OCSP && tag == URI_NAME));
    }
    Some(found)
}

/// The common name, if there is exactly one and it is text. Second `None` only when the bytes are broken.
#[allow(clippy::option_option, reason = "broken and nameless are different things")]
fn common_name(subject: &[u8]) -> Option<Option<String>> {
    let mut found = Vec::new();
    let mut sets = Der::new(subject);
    while let Some((_, set)) = sets.next() {
        let mut attributes = Der::new(set);
        while let Some((_, attribute)) = attributes.next() {
            let mut fields = Der::new(attribute);
            if fields.expect(OBJECT_ID)? == COMMON_NAME {
                found.push(fields.next()?);
            }
        }
    }
    let [(UTF8_STRING | PRINTABLE_STRING | IA5_STRING, name)] = found[..] else { return Some(None) };
    Some(text(name))
}

/// A name as a users file may list it.
fn alternative_name((tag, name): (u8, &[u8])) -> Option<String> {
    match tag {
        MAIL_NAME | DNS_NAME | URI_NAME => text(name),
        IP_NAME => match name.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(name).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(name).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// UTF-8 without control characters: a NUL in a name has fooled others.
fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.chars().any(char::is_control)).map(str::to_owned)
}

/// Year, month and day of a Unix day (days since 1970-01-01), in the Gregorian calendar.
pub(super) fn civil_from_days(days: i64) -> (i32, u8, u8) {
    // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (i32::try_from(year + era * 400 + carry).unwrap_or(i32::MAX), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year.rem_euclid(400);
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// UTCTime (two digits of the year, 1950 to 2049) or GeneralizedTime (four), both in UTC with seconds (RFC 5280 §4.1.2.5).
fn time(der: &mut Der<'_>) -> Option<i64> {
    let (tag, text) = der.next()?;
    let (year_digits, rest) = match tag {
        UTC_TIME => text.split_at_checked(2)?,
        GENERALIZED_TIME => text.split_at_checked(4)?,
        _ => return None,
    };
    let year = number(year_digits)?;
    let year = match (tag, year < 50) {
        (UTC_TIME, true) => year + 2000,
        (UTC_TIME, false) => year + 1900,
        _ => year,
    };
    let (digits, b"Z") = rest.split_at_checked(10)? else { return None };
    let mut parts = digits.chunks_exact(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Tags and contents.
fn alternative_names(body: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut names = Vec::new();
    for (_, value) in extensions(body)?.into_iter().filter(|(id, _)| *id == SUBJECT_ALT_NAME) {
        let mut general = Der::new(Der::new(value).expect(SEQUENCE)?);
        names.extend(std::iter::from_fn(|| general.next()));
    }
    Some(names)
}

/// Of TBSCertificate.
const VERSION: u8 = CONTEXT_0;
const EXTENSIONS: u8 = CONTEXT_3;
/// `[1]`, `[2]`, `[6]` and `[7]` of GeneralName.
const MAIL_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI_NAME: u8 = 0x86;
const IP_NAME: u8 = 0x87;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// Its first bit.
const DIGITAL_SIGNATURE: u8 = 0x80;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.3.6.1.5.5.7.1.1
const AUTHORITY_INFO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
/// 1.3.6.1.5.5.7.48.1
const ACCESS_OCSP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
/// 1.3.6.1.5.5.7.48.1.5
const OCSP_NO_CHECK: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x05];
/// 1.3.6.1.5.5.7.1.24
const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// The number of the TLS extension status_request.
const STATUS_REQUEST: u8 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn certificate(from: i32, to: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["Ftp.Example.org".to_owned(), "*.example.org".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 2, 28);
        params.not_after = rcgen::date_time_ymd(to, 3, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn dates_and_names_are_read() {
        let facts = facts(&certificate(2024, 2052)).unwrap();
        // date -u -d 2024-02-28 +%s; date -u -d 2052-03-01 +%s: the first is a UTCTime, the second a GeneralizedTime
        assert_eq!((facts.not_before, facts.not_after), (1_709_078_400, 2_592_864_000));
        assert_eq!(facts.dns_names, ["ftp.example.org", "*.example.org"]);
    }

    #[test]
    fn one_common_name_and_all_alternative_names_are_read() {
        use rcgen::{DnType, SanType};
        let made = |cns: &[&str]| {
            let mut params = rcgen::CertificateParams::new(vec!["Host.example".to_owned(), "2001:db8::1".to_owned()]).unwrap();
            params.subject_alt_names.push(SanType::Rfc822Name("alice@example.org".try_into().unwrap()));
            params.subject_alt_names.push(SanType::URI("spiffe://example.org/Alice".try_into().unwrap()));
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "cn");
            for (place, cn) in cns.iter().enumerate() {
                let kind = if place == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
                params.distinguished_name.push(kind, *cn);
            }
            names(params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der()).unwrap()
        };
        let alice = made(&["Alice Ä"]);
        assert_eq!(alice.common_name.as_deref(), Some("Alice Ä"));
        assert_eq!(alice.alt_names, ["Host.example", "2001:db8::1", "alice@example.org", "spiffe://example.org/Alice"]);
        assert_eq!(made(&["a\0b"]).common_name, None);
        assert_eq!((made(&[]).common_name, made(&["a", "b"]).common_name), (None, None), "two are none");
    }

    #[test]
    fn days_and_dates_agree_both_ways() {
        for (days, date) in [(0, (1970, 1, 1)), (-1, (1969, 12, 31)), (19_782, (2024, 2, 29)), (19_783, (2024, 3, 1)), (47_540, (2100, 2, 28))] {
            assert_eq!(civil_from_days(days), date);
        }
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year.into(), month.into(), day.into()), days);
        }
    }

    #[test]
    fn cut_or_altered_certificates_do_not_panic() {
        let good = certificate(2024, 2034);
        for cut in 0..good.len() {
            assert_eq!((facts(&good[..cut]), revocation(&good[..cut]), signatory(&good[..cut])), (None, None, None));
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            let _ = (facts(&bad), names(&bad), revocation(&bad), signatory(&bad));
        }
    }
}
