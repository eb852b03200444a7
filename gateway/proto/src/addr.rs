//! Addresses in FTP's forms: PORT, EPRT, PASV and EPSV replies (RFC 959 §4.1.2, RFC 2428).

/// A protocol family of RFC 2428.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Family {
    Ipv4,
    Ipv6,
}
