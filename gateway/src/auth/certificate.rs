//! Client certificates: which of them stands for which user.
//!
//! Gets: what the TLS handshake has proven of a certificate, and the names that a users file lists. Gives: whether they fit.
//! Never: checks a chain, a date or a revocation: that was done before a certificate comes here.

/// A client's certificate that the handshake has verified. The seam between `tls`, which fills it, and [`super::Login::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The common name of its subject, if it has exactly one.
    pub common_name: Option<String>,
    /// Its subject alternative names as text: DNS names, mail addresses, URIs and IP addresses (RFC 5280 §4.2.1.6).
    pub alt_names: Vec<String>,
    /// SHA-256 over its DER form.
    pub sha256: [u8; 32],
}

/// One entry of `client_certificates` of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// `cn:NAME`.
    CommonName(String),
    /// `san:NAME`.
    AltName(String),
    /// `sha256:HEX`.
    Sha256([u8; 32]),
}

impl CertificateName {
    /// `cn:alice`, `san:alice@example.org` or `sha256:` with 64 hex digits, with or without colons between the bytes. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        let named = || (!value.is_empty() && value.len() <= MAX_NAME && !value.chars().any(char::is_control)).then(|| value.to_owned());
        match kind {
            "cn" => named().map(Self::CommonName),
            "san" => named().map(Self::AltName),
            "sha256" => digest(value).map(Self::Sha256),
            _ => None,
        }
    }

    /// Whether the certificate has it. Names are compared byte for byte: two accounts must never become one by a rule of comparison.
    pub fn fits(&self, certificate: &CertificateIdentity) -> bool {
        match self {
            Self::CommonName(name) => certificate.common_name.as_ref() == Some(name),
            Self::AltName(name) => certificate.alt_names.contains(name),
            Self::Sha256(digest) => certificate.sha256 == *digest,
        }
    }
}

/// 32 bytes as hex; `openssl x509 -fingerprint` writes capital letters and colons.
fn digest(text: &str) -> Option<[u8; 32]> {
    let pairs: Vec<&[u8]> = if text.contains(':') { text.as_bytes().split(|b| *b == b':').collect() } else { text.as_bytes().chunks(2).collect() };
    let mut digest = [0; 32];
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(digest)
}

/// Longest name, in bytes: more than any that a certificate authority issues.
const MAX_NAME: usize = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_fit_their_certificate_alone() {
        let certificate = CertificateIdentity {
            common_name: Some("alice".into()),
            alt_names: vec!["alice@example.org".into(), "spiffe://example.org/Alice".into()],
            sha256: [0xab; 32],
        };
        let colons = vec!["AB"; 32].join(":");
        for (text, fits) in [
            ("cn:alice".to_owned(), true),
            ("cn:Alice".into(), false),
            ("cn:alice@example.org".into(), false),
            ("san:alice@example.org".into(), true),
            ("san:spiffe://example.org/Alice".into(), true),
            ("san:spiffe://example.org/alice".into(), false),
            ("san:alice".into(), false),
            (format!("sha256:{}", "ab".repeat(32)), true),
            (format!("sha256:{colons}"), true),
            (format!("sha256:{}", "ac".repeat(32)), false),
        ] {
            assert_eq!(CertificateName::parse(&text).unwrap().fits(&certificate), fits, "{text}");
        }
        // A certificate without a name is not that of a user without one.
        assert!(!CertificateName::parse("cn:alice").unwrap().fits(&CertificateIdentity::default()));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "alice", "cn:", "san:", "CN:alice", "cn:a\0b", "sha256:", "sha256:abcd", "dn:alice"] {
            assert_eq!(CertificateName::parse(text), None, "{text:?}");
        }
        for digest in ["ab".repeat(31), "ab".repeat(33), "zz".repeat(32), vec!["ABC"; 32].join(":"), vec!["+1"; 32].join(":"), "é".repeat(32)] {
            assert_eq!(CertificateName::parse(&format!("sha256:{digest}")), None, "{digest}");
        }
    }
}
