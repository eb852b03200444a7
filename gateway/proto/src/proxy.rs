//! The PROXY protocol, versions 1 and 2: what a balancer writes before the client's first byte to say who the client is.
//!
//! Gets: the bytes read so far. Gives: the header, or how many bytes more belong to it for certain, so that a reader never takes a byte behind it.
//! Never: asks for more than [`MAX_HEADER`] bytes, looks at TLVs, believes names: only addresses in their numeric form.
//! Source: proxy-protocol.txt of HAProxy, 2020-03-05.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection of a client.
    Client {
        /// Where the client connects from.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// The balancer speaks for itself (v2 LOCAL, such as a health check), or cannot say for whom (v1 UNKNOWN, v2 with another family than TCP over IP).
    Own,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyFault {
    /// The first bytes are those of neither version.
    Missing,
    /// It begins as a header and goes on as none.
    Malformed,
    /// Longer than [`MAX_HEADER`].
    TooLong,
}

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many bytes more belong to the header.
    More(usize),
    /// It is complete, and so are the bytes given.
    Done(Header),
    /// There is none; nothing more will come of it.
    Fault(ProxyFault),
}

/// Longest header read: balancers add TLVs (names, certificates, cloud endpoints) of some hundred bytes.
pub const MAX_HEADER: usize = 4096;

/// Looks at the bytes read so far. Read at most what [`Progress::More`] says, and ask again with all.
pub fn read(bytes: &[u8]) -> Progress {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] && !bytes.is_empty() {
        return version2(bytes);
    }
    let common = bytes.len().min(WORD.len());
    if bytes[..common] != WORD[..common] {
        return Progress::Fault(ProxyFault::Missing);
    }
    version1(bytes)
}

/// Whether these first bytes, however few, can only be the beginning of a header: neither TLS nor an FTP command begins so.
pub fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE) || bytes.starts_with(b"PROXY TCP") || bytes.starts_with(b"PROXY UNKNOWN")
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, CR LF.
fn version1(bytes: &[u8]) -> Progress {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes {
            _ if bytes.contains(&b'\n') => Progress::Fault(ProxyFault::Malformed),
            _ if bytes.len() >= LONGEST_LINE => Progress::Fault(ProxyFault::TooLong),
            [.., b'\r'] => Progress::More(1),
            _ => Progress::More(SHORTEST.saturating_sub(bytes.len()).max(2).min(LONGEST_LINE - bytes.len())),
        };
    };
    let header = std::str::from_utf8(line).ok().and_then(line_header);
    header.map_or(Progress::Fault(ProxyFault::Malformed), Progress::Done)
}

fn line_header(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    let (_proxy, family) = (words.next()?, words.next()?);
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Some(Header::Own);
    }
    let ips = [words.next()?, words.next()?].map(|word| match family {
        "TCP4" => word.parse().ok().map(IpAddr::V4),
        "TCP6" => word.parse().ok().map(IpAddr::V6),
        _ => None,
    });
    let ports = [words.next()?, words.next()?].map(port);
    let ([Some(source), Some(destination)], [Some(from), Some(to)], None) = (ips, ports, words.next()) else { return None };
    Some(Header::Client { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) })
}

/// Decimal, as a number is written: `parse` alone would take `+7` and `007`.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

/// Signature, version and command, family, length, addresses, TLVs.
fn version2(bytes: &[u8]) -> Progress {
    let Some((head, body)) = bytes.split_at_checked(HEAD) else { return Progress::More(HEAD - bytes.len()) };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let (command, family) = (head[12], head[13]);
    if !matches!(command, LOCAL | PROXY) {
        return Progress::Fault(ProxyFault::Malformed);
    }
    if HEAD + length > MAX_HEADER {
        return Progress::Fault(ProxyFault::TooLong);
    }
    if body.len() < length {
        return Progress::More(length - body.len());
    }
    let header = match (command, family) {
        (LOCAL, _) => Some(Header::Own),
        (_, TCP_V4) => body.first_chunk().map(|[a, b, c, d, e, f, g, h, ports @ ..]: &[u8; 12]| {
            client(Ipv4Addr::from([*a, *b, *c, *d]).into(), Ipv4Addr::from([*e, *f, *g, *h]).into(), *ports)
        }),
        (_, TCP_V6) => body.first_chunk::<36>().and_then(|body| {
            let (source, rest) = body.split_first_chunk::<16>()?;
            let (destination, ports) = rest.split_first_chunk::<16>()?;
            Some(client(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), *ports.first_chunk()?))
        }),
        // Datagrams do not come over a TCP connection.
        (_, UDP_V4 | UDP_V6 | UNIX_DATAGRAM) => None,
        (_, UNSPECIFIED | UNIX_STREAM) => Some(Header::Own),
        (_, _) => None,
    };
    match header {
        // Bytes behind it mean that more were read than was said.
        Some(header) if body.len() == length => Progress::Done(header),
        _ => Progress::Fault(ProxyFault::Malformed),
    }
}

fn client(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Header {
    let [a, b, c, d] = ports;
    Header::Client { source: SocketAddr::new(source, u16::from_be_bytes([a, b])), destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])) }
}

const WORD: [u8; 6] = *b"PROXY ";
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// `PROXY UNKNOWN` and its end.
const SHORTEST: usize = 15;
/// The longest line of version 1, with its end (section 2.1).
const LONGEST_LINE: usize = 107;
/// Bytes of version 2 before addresses.
const HEAD: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_V4: u8 = 0x11;
const UDP_V4: u8 = 0x12;
const TCP_V6: u8 = 0x21;
const UDP_V6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::fuzzing::write_proxy;

    fn header(source: &str, destination: &str) -> Header {
        Header::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    /// Reads as a server does, and tells what is behind the header.
    fn step(bytes: &[u8]) -> (Progress, usize) {
        let mut taken = 0;
        loop {
            match read(&bytes[..taken]) {
                // A read may give less than it was asked for.
                Progress::More(count) if taken < bytes.len() => taken += count.min(bytes.len() - taken),
                progress => return (progress, taken),
            }
        }
    }

    #[test]
    fn addresses_of_both_versions_and_families_are_read_and_nothing_behind_them() {
        let four = header("203.0.113.7:56324", "198.51.100.1:2121");
        let six = header("[2001:db8::7]:1", "[2001:db8::1]:65535");
        for (version, expected) in [(1, four), (1, six), (2, four), (2, six)] {
            let written = write_proxy(version, expected);
            let (progress, taken) = step(&[&written[..], b"\x16\x03\x01 the client's own"].concat());
            assert_eq!((progress, taken), (Progress::Done(expected), written.len()), "{version}");
            for cut in 0..written.len() {
                assert!(matches!(read(&written[..cut]), Progress::More(more) if more <= written.len() - cut), "{version} {cut}");
            }
        }
    }

    #[test]
    fn a_balancer_that_speaks_for_itself_names_nobody() {
        let unspecified = [&SIGNATURE[..], &[PROXY, UNSPECIFIED, 0, 0]].concat();
        let local = [&SIGNATURE[..], &[LOCAL, TCP_V4, 0, 14], &[9; 14]].concat();
        let unix = [&SIGNATURE[..], &[PROXY, UNIX_STREAM, 0, 216], &[0; 216]].concat();
        for bytes in [b"PROXY UNKNOWN\r\n".as_slice(), b"PROXY UNKNOWN what ever it says\r\n", &unspecified, &local, &unix] {
            assert_eq!(step(bytes), (Progress::Done(Header::Own), bytes.len()), "{bytes:?}");
        }
    }

    #[test]
    fn tlvs_are_skipped_up_to_the_cap() {
        let with = |length: usize| {
            let mut bytes = write_proxy(2, header("192.0.2.1:1", "192.0.2.2:2"));
            bytes.resize(HEAD + length, 4);
            bytes[14..16].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            bytes
        };
        let longest = with(MAX_HEADER - HEAD);
        assert_eq!(step(&longest), (Progress::Done(header("192.0.2.1:1", "192.0.2.2:2")), MAX_HEADER));
        assert_eq!(step(&with(MAX_HEADER - HEAD + 1)).0, Progress::Fault(ProxyFault::TooLong));
        assert_eq!(step(&with(11)).0, Progress::Fault(ProxyFault::Malformed), "too short for its family");
    }

    #[test]
    fn what_is_no_header_is_told_from_a_broken_one() {
        let missing: [&[u8]; 5] =
            [b"USER demo\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03....", b"\r\n\r\n\0\r\nQUIX\n....", b"PROXIES......\r\n", b"GET / HTTP/1.1\r\n"];
        for bytes in missing {
            assert_eq!(step(bytes).0, Progress::Fault(ProxyFault::Missing), "{bytes:?}");
        }
        let broken: [&[u8]; 13] = [
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
            b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n....",
            b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
            b"PROXY TCP4 one.example 2.2.2.2 1 2\r\n",
            b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\n\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c............",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c............",
        ];
        for bytes in broken {
            assert_eq!(step(bytes).0, Progress::Fault(ProxyFault::Malformed), "{}", bytes.escape_ascii());
        }
        let endless = [b"PROXY TCP6 ".as_slice(), &[b'1'; 200]].concat();
        assert_eq!(step(&endless), (Progress::Fault(ProxyFault::TooLong), LONGEST_LINE));
    }

    #[test]
    fn a_header_from_whom_none_is_expected_is_known_by_its_first_bytes() {
        assert!(is_header(b"PROXY TCP4 1.1.1.1") && is_header(b"PROXY UNKNOWN\r\n") && is_header(&SIGNATURE));
        assert!(!is_header(b"PROXY\r\n") && !is_header(b"\r\n\r\n") && !is_header(b"\x16\x03\x01"));
    }
}
