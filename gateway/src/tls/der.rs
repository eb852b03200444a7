//! Reads of a certificate what rustls does not tell: until when it is valid, and for which names (RFC 5280 §4.1).
//!
//! Gets: the DER of a certificate that rustls has parsed. Gives: its validity in Unix seconds, its DNS names in lower case.
//! Never: verifies anything, panics on bytes that are no certificate.

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
    let mut outer = Der(certificate);
    let mut tbs = Der(Der(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    tbs.optional(VERSION)?;
    tbs.expect(INTEGER)?; // serial number
    tbs.expect(SEQUENCE)?; // signature algorithm
    tbs.expect(SEQUENCE)?; // issuer
    let mut validity = Der(tbs.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    let mut dns_names = Vec::new();
    while let Some((tag, body)) = tbs.next() {
        if tag == EXTENSIONS {
            dns_names = alternative_names(body)?;
        }
    }
    Some(Facts { not_before, not_after, dns_names })
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

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut list = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some((_, extension)) = list.next() {
        let mut fields = Der(extension);
        if fields.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        fields.optional(BOOLEAN)?;
        let mut general = Der(Der(fields.expect(OCTET_STRING)?).expect(SEQUENCE)?);
        while let Some((tag, name)) = general.next() {
            if tag == DNS_NAME {
                names.push(String::from_utf8_lossy(name).to_ascii_lowercase());
            }
        }
    }
    Some(names)
}

/// What is left of a sequence.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next tag and its content; `None` at the end or where the length does not fit.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long => {
                let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if octets.len() > 3 {
                    return None;
                }
                (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Skips the next value if it has this tag. `None` only when that value is broken.
    fn optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]` of TBSCertificate.
const VERSION: u8 = 0xa0;
/// `[3]` of TBSCertificate.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` of GeneralName.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

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
            assert_eq!(facts(&good[..cut]), None);
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            let _ = facts(&bad);
        }
    }
}
