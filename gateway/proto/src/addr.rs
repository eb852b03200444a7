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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn port_reads_and_writes_the_same_bytes() {
        for (bytes, address) in [("127,0,0,1,195,80", "127.0.0.1:50000"), ("255,255,255,255,255,255", "255.255.255.255:65535"), ("0,0,0,0,0,1", "0.0.0.0:1")] {
            let parsed = parse_port(bytes.as_bytes()).unwrap();
            assert_eq!(parsed, address.parse().unwrap());
            assert_eq!(text(|out| write_port(parsed, out)), bytes);
        }
        assert_eq!(parse_port(b"010,0,0,001,0,021"), "10.0.0.1:21".parse().ok(), "leading zeros are decimal, as clients mean them");
    }

    #[test]
    fn port_refuses_anything_else() {
        for bytes in [
            "",
            ",",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "1,2,3,4,5,6,",
            "256,2,3,4,5,6",
            "1,2,3,4,256,6",
            "1,2,3,4,0,0",
            "1,2,3,4,5,-6",
            "1,2,3,4,5,+6",
            " 1,2,3,4,5,6",
            "1, 2,3,4,5,6",
            "1,2,3,4,5,6 ",
            "1.2.3.4.5.6",
            "1,2,3,,5,6",
            "1,2,3,0004,5,6",
            "1,2,3,4,5,0x1",
            "99999999999999999999,2,3,4,5,6",
        ] {
            assert_eq!(parse_port(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn eprt_reads_and_writes_the_same_bytes() {
        for (bytes, address) in
            [("|1|132.235.1.2|6275|", "132.235.1.2:6275"), ("|2|1080::8:800:200c:417a|5282|", "[1080::8:800:200c:417a]:5282"), ("|2|::1|65535|", "[::1]:65535")]
        {
            let parsed = parse_eprt(bytes.as_bytes()).unwrap();
            assert_eq!(parsed, address.parse().unwrap());
            assert_eq!(text(|out| write_eprt(parsed, out)), bytes);
        }
        assert_eq!(parse_eprt(b"!1!127.0.0.1!1!"), Ok("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn eprt_refuses_anything_else() {
        for bytes in [
            "",
            "|",
            "||||",
            "|1|127.0.0.1|1",
            "|1|127.0.0.1|1||",
            "|1|127.0.0.1|1|x",
            "|1|127.0.0.1|99999|",
            "|1|127.0.0.1|65536|",
            "|1|127.0.0.1|0|",
            "|1|127.0.0.1|-1|",
            "|1|127.0.0.1||",
            "|1|::1|1|",
            "|2|127.0.0.1|1|",
            "|1|127.1|1|",
            "|1|0177.0.0.1|1|",
            "|2|::1%lo|1|",
            "|2|[::1]|1|",
            "|1|localhost|1|",
            "1|1|1|1|",
            " 1 127.0.0.1 1 ",
            "|x|127.0.0.1|1|",
            "||127.0.0.1|1|",
            "|1|\u{ff11}|1|",
        ] {
            assert_eq!(parse_eprt(bytes.as_bytes()), Err(EprtFault::Syntax), "{bytes:?}");
        }
        for bytes in ["|3|127.0.0.1|1|", "|0|::1|1|", "|99|x|1|"] {
            assert_eq!(parse_eprt(bytes.as_bytes()), Err(EprtFault::Family), "{bytes:?}");
        }
    }

    #[test]
    fn replies_are_found_in_the_text_of_other_servers() {
        let address: SocketAddrV4 = "10.1.2.3:50001".parse().unwrap();
        for reply in [
            "227 Entering Passive Mode (10,1,2,3,195,81).",
            "227 Entering Passive Mode (10,1,2,3,195,81)\r\n",
            "227 =10,1,2,3,195,81",
            "227 Passive 10,1,2,3,195,81.",
        ] {
            assert_eq!(parse_227(reply.as_bytes()), Some(address), "{reply}");
        }
        for reply in ["", "227", "227 ()", "227 (10,1,2,3,195)", "227 (10,1,2,3,0,0)", "("] {
            assert_eq!(parse_227(reply.as_bytes()), None, "{reply}");
        }
        assert_eq!(parse_229(b"229 Entering Extended Passive Mode (|||50001|)"), Some(50001));
        for reply in ["", "(", "()", "(|||)", "(||||)", "(|||0|)", "(|||65536|)", "(||1|2|)", "229 |||1|"] {
            assert_eq!(parse_229(reply.as_bytes()), None, "{reply}");
        }
        let mut reply = b"229 (".to_vec();
        write_epsv(50001, &mut reply);
        reply.push(b')');
        assert_eq!(parse_229(&reply), Some(50001));
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        assert_eq!(Family::of("::ffff:10.0.0.1".parse().unwrap()), Family::Ipv4);
        assert_eq!(Family::of("2001:db8::1".parse().unwrap()), Family::Ipv6);
    }
}
