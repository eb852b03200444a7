//! Addresses in FTP's forms: PORT, EPRT, PASV and EPSV replies (RFC 959 §4.1.2, RFC 2428).
//!
//! Gets: arguments of PORT and EPRT, addresses to announce. Gives: checked addresses, the bytes of replies.
//! Never: guesses: a number out of range, port 0 or a byte too many is no address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// A protocol family of RFC 2428.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// Why an EPRT argument is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EprtFault {
    /// 501: not `|family|address|port|`, or a number out of range.
    Syntax,
    /// 522: a family that is neither 1 nor 2.
    Family,
}

impl Family {
    /// The family of an address; an IPv4-mapped one is IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Its number in RFC 2428.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }
}

/// `h1,h2,h3,h4,p1,p2`; `None` unless six numbers of 0 to 255 and a port above 0.
pub fn parse_port(argument: &[u8]) -> Option<SocketAddrV4> {
    let mut numbers = [0_u8; 6];
    let mut parts = argument.split(|&b| b == b',');
    for number in &mut numbers {
        *number = u8::try_from(decimal(parts.next()?, 3)?).ok()?;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    (parts.next().is_none() && port != 0).then(|| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// `|1|192.0.2.1|6446|` or `|2|2001:db8::1|6446|`, with any delimiter of 0x21 to 0x7E that is no digit.
pub fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, EprtFault> {
    let delimiter = *argument.first().filter(|b| b.is_ascii_graphic() && !b.is_ascii_digit()).ok_or(EprtFault::Syntax)?;
    let mut parts = argument[1..].split(|&b| b == delimiter);
    let mut part = || parts.next().ok_or(EprtFault::Syntax);
    let (family, address, port, rest) = (part()?, part()?, part()?, part()?);
    if !rest.is_empty() || parts.next().is_some() {
        return Err(EprtFault::Syntax);
    }
    let family = decimal(family, 5).ok_or(EprtFault::Syntax)?;
    let port = decimal(port, 5).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0).ok_or(EprtFault::Syntax)?;
    let address = std::str::from_utf8(address).map_err(|_| EprtFault::Syntax)?;
    let ip = match family {
        1 => address.parse::<Ipv4Addr>().map(IpAddr::V4),
        2 => address.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(EprtFault::Family),
    };
    Ok(SocketAddr::new(ip.map_err(|_| EprtFault::Syntax)?, port))
}

/// Appends `h1,h2,h3,h4,p1,p2`: the inner part of the 227 reply, and the argument of PORT.
pub fn write_port(address: SocketAddrV4, out: &mut Vec<u8>) {
    let [high, low] = address.port().to_be_bytes();
    for (index, number) in address.ip().octets().into_iter().chain([high, low]).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        crate::listing::write_number(u64::from(number), out);
    }
}

/// Appends `|family|address|port|`: the argument of EPRT.
pub fn write_eprt(address: SocketAddr, out: &mut Vec<u8>) {
    let family = match address {
        SocketAddr::V4(_) => Family::Ipv4,
        SocketAddr::V6(_) => Family::Ipv6,
    };
    out.extend_from_slice(format!("|{}|{}|{}|", family.number(), address.ip(), address.port()).as_bytes());
}

/// Appends `|||port|`: the inner part of the 229 reply.
pub fn write_epsv(port: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"|||");
    crate::listing::write_number(u64::from(port), out);
    out.push(b'|');
}

/// The address in the text of a 227 reply, with or without parentheses (RFC 1123 §4.1.2.6).
pub fn parse_227(text: &[u8]) -> Option<SocketAddrV4> {
    let start = match text.iter().position(|&b| b == b'(') {
        Some(parenthesis) => parenthesis + 1,
        // No parenthesis: the list of numbers ends the text, perhaps before a full stop.
        None => text.trim_ascii_end().strip_suffix(b".").unwrap_or(text).iter().rposition(|b| !(b.is_ascii_digit() || *b == b',')).map_or(0, |at| at + 1),
    };
    let inner = &text[start..];
    let end = inner.iter().position(|b| !(b.is_ascii_digit() || *b == b',')).unwrap_or(inner.len());
    parse_port(&inner[..end])
}

/// The port in the text of a 229 reply.
pub fn parse_229(text: &[u8]) -> Option<u16> {
    let open = text.iter().position(|&b| b == b'(')?;
    let inner = text.get(open + 1..)?;
    let inner = &inner[..inner.iter().position(|&b| b == b')')?];
    let delimiter = *inner.first()?;
    let digits = inner.strip_prefix(&[delimiter; 3])?.strip_suffix(&[delimiter])?;
    decimal(digits, 5).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
}

/// Digits only, at least one, at most `most`.
fn decimal(digits: &[u8], most: usize) -> Option<u32> {
    if digits.is_empty() || digits.len() > most || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}
