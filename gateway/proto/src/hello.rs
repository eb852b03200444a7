//! The ClientHello, read before TLS starts: what routes and resumes a connection.
//!
//! Gets: the first bytes of a TLS connection, in any pieces. Gives: what the hello offers, or why it is none.
//! Never: keeps more than [`MAX_HELLO`] bytes, answers, or believes what it reads: it is a hint for routing, the handshake checks it.

use std::net::IpAddr;

/// What a ClientHello says that routing and resumption need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The legacy session ID: 0 to 32 bytes.
    pub session_id: Vec<u8>,
    /// The TLS 1.2 ticket (extension 35): `None` when the extension is absent, empty when the client only asks for one.
    pub ticket: Option<Vec<u8>>,
    /// The TLS 1.3 PSK identities (extension 41), at most 4.
    pub psk: Vec<Vec<u8>>,
    /// Whether TLS 1.3 is offered (extension 43).
    pub tls13: bool,
    /// Whether TLS 1.3 is all that is offered: its session ID is random (RFC 8446 appendix D.4).
    pub only_tls13: bool,
    /// The server name (extension 0), lower case.
    pub server_name: Option<String>,
    /// SHA-256 input of the client's fingerprint: versions and sorted ciphers, groups, signature schemes and extension numbers,
    /// without GREASE and extensions 0, 16, 21, 35, 41, 42, 44.
    pub fingerprint: Vec<u8>,
}

impl ClientHello {
    /// Tickets offered, the likelier first: the PSK identities of TLS 1.3, then the ticket of TLS 1.2.
    pub fn tickets(&self) -> impl Iterator<Item = &[u8]> {
        let ticket = self.ticket.as_deref().filter(|ticket| !ticket.is_empty());
        self.psk.iter().map(Vec::as_slice).chain(ticket)
    }

    /// The session ID, when it can be one of ours: 32 bytes, from a client that takes no tickets. Others put random bytes there (RFC 8446 §4.1.2, RFC 5077 §3.4),
    /// and a look-up for each of them would be work given away.
    pub fn resumable_id(&self) -> Option<&[u8]> {
        (self.session_id.len() == 32 && self.ticket.is_none() && self.psk.is_empty() && !self.only_tls13).then_some(self.session_id.as_slice())
    }
}

/// Why the first bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelloFault {
    /// The first bytes are not those of a TLS handshake record: clear text, another protocol.
    NotTls,
    /// Longer than [`MAX_HELLO`].
    TooLong,
    /// A TLS record whose contents are no well-formed ClientHello.
    Malformed,
}

/// How far the reader is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The hello is complete; bytes beyond [`HelloReader::consumed`] are not part of it.
    Done(ClientHello),
    /// There is none; nothing more will come of it.
    Fault(HelloFault),
}

/// Reads a ClientHello from a stream. Work is linear in the bytes, however small the pieces.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Record headers and bodies as they came, for the TLS library to read again.
    raw: Vec<u8>,
    /// Bytes of the current record that are still to come; 0: a record header is due.
    record_left: usize,
    /// Where the current record header begins in `raw`.
    header_at: usize,
    /// Type and length of the handshake message.
    message: [u8; MESSAGE_HEADER],
    /// Handshake bytes so far, its header included.
    seen: usize,
    fault: Option<HelloFault>,
}

impl HelloReader {
    /// A reader at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, up to the end of the hello. Call again after [`Progress::More`] only.
    pub fn push(&mut self, bytes: &[u8]) -> Progress {
        if let Some(fault) = self.fault {
            return Progress::Fault(fault);
        }
        let end = self.take(bytes).and_then(|complete| if complete { decode(&join(&self.raw)).map(Some) } else { Ok(None) });
        match end {
            Ok(None) => Progress::More,
            Ok(Some(hello)) => Progress::Done(hello),
            Err(fault) => {
                self.fault = Some(fault);
                self.raw = Vec::new();
                Progress::Fault(fault)
            }
        }
    }

    /// Bytes taken so far: all that were pushed, or fewer when there were bytes beyond the hello.
    pub fn consumed(&self) -> usize {
        self.raw.len()
    }

    /// The bytes taken, to be read again by the TLS library.
    pub fn into_bytes(self) -> Vec<u8> {
        self.raw
    }

    /// True when the hello is complete.
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool, HelloFault> {
        while !bytes.is_empty() {
            if self.record_left == 0 {
                bytes = self.take_header(bytes)?;
                continue;
            }
            let (body, rest) = bytes.split_at(bytes.len().min(self.record_left));
            self.keep(body)?;
            self.record_left -= body.len();
            for (at, &byte) in self.message.iter_mut().skip(self.seen).zip(body) {
                *at = byte;
            }
            self.seen += body.len();
            if self.is_complete()? {
                return Ok(true);
            }
            bytes = rest;
        }
        Ok(false)
    }

    /// Up to five bytes of record header; gives what follows them.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], HelloFault> {
        let (header, rest) = bytes.split_at(bytes.len().min(self.header_at + RECORD_HEADER - self.raw.len()));
        self.keep(header)?;
        let foreign = if self.header_at == 0 { HelloFault::NotTls } else { HelloFault::Malformed };
        match &self.raw[self.header_at..] {
            [kind, ..] if *kind != HANDSHAKE => return Err(foreign),
            [_, major, ..] if *major != 3 => return Err(foreign),
            [_, _, _, high, low] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 {
                    return Err(HelloFault::Malformed);
                }
                if length > MAX_RECORD {
                    return Err(HelloFault::TooLong);
                }
                self.record_left = length;
                self.header_at = self.raw.len() + length;
            }
            _ => {}
        }
        Ok(rest)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), HelloFault> {
        if self.raw.len() + bytes.len() > MAX_HELLO {
            return Err(HelloFault::TooLong);
        }
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    fn is_complete(&self) -> Result<bool, HelloFault> {
        let [kind, length @ ..] = self.message;
        if kind != CLIENT_HELLO {
            return Err(HelloFault::Malformed);
        }
        if self.seen < MESSAGE_HEADER {
            return Ok(false);
        }
        let whole = MESSAGE_HEADER + usize::from(length[0]) * 65_536 + usize::from(length[1]) * 256 + usize::from(length[2]);
        if whole > MAX_HELLO {
            return Err(HelloFault::TooLong);
        }
        // RFC 8446 §5.1: nothing may follow a ClientHello in its record.
        if self.seen > whole || self.seen == whole && self.record_left > 0 {
            return Err(HelloFault::Malformed);
        }
        Ok(self.seen == whole)
    }
}

/// Reads a whole hello, record headers included, and nothing but a hello.
pub fn parse(raw: &[u8]) -> Result<ClientHello, HelloFault> {
    let mut reader = HelloReader::new();
    match reader.push(raw) {
        Progress::Done(hello) if reader.consumed() == raw.len() => Ok(hello),
        Progress::Done(_) | Progress::More => Err(HelloFault::Malformed),
        Progress::Fault(fault) => Err(fault),
    }
}

/// The record bodies of checked records, in one piece.
fn join(raw: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(raw.len());
    let mut records = Cursor(raw);
    while let Some(body) = records.take(RECORD_HEADER - 2).and_then(|_| records.vector(2)) {
        joined.extend_from_slice(body);
    }
    joined
}

/// A whole handshake message, its length already checked.
fn decode(message: &[u8]) -> Result<ClientHello, HelloFault> {
    read_hello(&mut Cursor(message.get(MESSAGE_HEADER..).unwrap_or_default())).ok_or(HelloFault::Malformed)
}

/// RFC 5246 §7.4.1.2, RFC 8446 §4.1.2.
fn read_hello(body: &mut Cursor<'_>) -> Option<ClientHello> {
    let version = body.number(2)? as u16;
    body.take(32)?;
    let session_id = body.vector(1).filter(|id| id.len() <= 32)?.to_vec();
    let ciphers = body.vector(2).filter(|list| !list.is_empty())?;
    body.vector(1).filter(|compressions| !compressions.is_empty())?;
    let mut hello = ClientHello { session_id, ..ClientHello::default() };
    let mut print = Fingerprint { versions: vec![version], ciphers: numbers(ciphers)?, ..Fingerprint::default() };
    if !body.0.is_empty() {
        let mut extensions = Cursor(body.vector(2)?);
        while !extensions.0.is_empty() {
            let (kind, contents) = (extensions.number(2)? as u16, extensions.vector(2)?);
            // RFC 8446 §4.2.11: the PSKs come last.
            if kind == PRE_SHARED_KEY && !extensions.0.is_empty() {
                return None;
            }
            print.extensions.push(kind);
            read_extension(kind, contents, &mut hello, &mut print)?;
        }
    }
    if !body.0.is_empty() {
        return None;
    }
    hello.fingerprint = print.bytes()?;
    Some(hello)
}

fn read_extension(kind: u16, contents: &[u8], hello: &mut ClientHello, print: &mut Fingerprint) -> Option<()> {
    let mut body = Cursor(contents);
    match kind {
        SERVER_NAME => hello.server_name = server_name(body.vector(2)?)?,
        GROUPS => print.groups = numbers(body.vector(2)?)?,
        SIGNATURES => print.signatures = numbers(body.vector(2)?)?,
        TICKET => hello.ticket = Some(contents.to_vec()),
        VERSIONS => {
            print.versions = numbers(body.vector(1)?)?;
            hello.tls13 = print.versions.contains(&TLS13);
            hello.only_tls13 = hello.tls13 && !print.versions.contains(&TLS12);
        }
        PRE_SHARED_KEY => {
            let mut identities = Cursor(body.vector(2)?);
            while !identities.0.is_empty() {
                let identity = identities.vector(2)?;
                identities.take(4)?;
                if hello.psk.len() < MAX_PSK {
                    hello.psk.push(identity.to_vec());
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// The host name of RFC 6066 §3. An IP address there is illegal but seen; it counts as no name, as rustls has it.
fn server_name(list: &[u8]) -> Option<Option<String>> {
    let mut list = Cursor(list);
    let mut name = None;
    // Another name type has no known length, so nothing after it can be read.
    while list.0.first() == Some(&0) {
        list.take(1)?;
        let bytes = list.vector(2).filter(|bytes| !bytes.is_empty() && bytes.is_ascii() && name.is_none())?;
        name = Some(String::from_utf8_lossy(bytes).to_ascii_lowercase());
    }
    Some(name.filter(|name| name.parse::<IpAddr>().is_err()))
}

/// What stays the same when a client resumes.
#[derive(Default)]
struct Fingerprint {
    versions: Vec<u16>,
    ciphers: Vec<u16>,
    groups: Vec<u16>,
    signatures: Vec<u16>,
    extensions: Vec<u16>,
}

impl Fingerprint {
    /// Each list sorted, as its length and its numbers; `None` when an extension came twice.
    fn bytes(mut self) -> Option<Vec<u8>> {
        self.extensions.sort_unstable();
        if self.extensions.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        self.extensions.retain(|number| !CHANGING.contains(number));
        let mut out = Vec::with_capacity(256);
        for mut list in [self.versions, self.ciphers, self.groups, self.signatures, self.extensions] {
            list.retain(|&number| !is_grease(number));
            list.sort_unstable();
            out.extend_from_slice(&(list.len() as u16).to_be_bytes());
            out.extend(list.iter().flat_map(|number| number.to_be_bytes()));
        }
        Some(out)
    }
}

/// RFC 8701: 0x0a0a, 0x1a1a, … 0xfafa.
const fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// A list of 16-bit numbers; `None` for a broken one.
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    list.len().is_multiple_of(2).then(|| list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
}

/// Reads from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        self.take(width).map(|bytes| bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    }

    /// Bytes preceded by their length.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }
}

/// Longest hello in bytes, record headers included: one record filled to the brim. Real ones have 200 to 2,500.
pub const MAX_HELLO: usize = 17 * 1024;
/// PSK identities looked at; more would be look-ups given away.
const MAX_PSK: usize = 4;
/// Longest plaintext record (RFC 8446 §5.1).
const MAX_RECORD: usize = 16 * 1024;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
const TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const VERSIONS: u16 = 43;
/// Extensions that differ between a first and a resumed hello: server name, ALPN, padding, ticket, PSK, early data, cookie.
const CHANGING: [u16; 7] = [SERVER_NAME, 16, 21, TICKET, PRE_SHARED_KEY, 42, 44];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!("../../fuzz/corpus/hello/", $name)).as_slice()
        };
    }

    /// The first and the resumed hello of one client, as recorded.
    const PAIRS: [(&str, &[u8], &[u8]); 6] = [
        ("OpenSSL, TLS 1.3", recorded!("openssl-tls13-1"), recorded!("openssl-tls13-2")),
        ("OpenSSL, TLS 1.2 ticket", recorded!("openssl-tls12-ticket-1"), recorded!("openssl-tls12-ticket-2")),
        ("OpenSSL, TLS 1.2 session ID", recorded!("openssl-tls12-id-1"), recorded!("openssl-tls12-id-2")),
        ("OpenSSL, its choice", recorded!("openssl-any-1"), recorded!("openssl-any-2")),
        ("Go, TLS 1.3", recorded!("go-tls13-1"), recorded!("go-tls13-2")),
        ("Go, TLS 1.2", recorded!("go-tls12-1"), recorded!("go-tls12-2")),
    ];

    #[test]
    fn a_client_keeps_its_fingerprint_when_it_resumes() {
        let mut prints = Vec::new();
        for (client, first, resumed) in PAIRS {
            let (first, resumed) = (parse(first).expect(client), parse(resumed).expect(client));
            assert_eq!(first.fingerprint, resumed.fingerprint, "{client}");
            assert_eq!(first.tickets().count(), 0, "{client}");
            assert!(resumed.tickets().count() == 1 || resumed.resumable_id().is_some(), "{client}");
            prints.push(first.fingerprint);
        }
        for other in [recorded!("curl-1"), recorded!("lftp-1")] {
            prints.push(parse(other).unwrap().fingerprint);
        }
        let same = |a: usize, b: usize| prints[a] == prints[b];
        assert!(same(1, 2), "taking tickets or not is no difference: a resumed hello may lack the extension");
        assert!(!same(0, 1) && !same(0, 3) && !same(0, 4) && !same(4, 5) && !same(6, 7) && !same(7, 4));
    }

    #[test]
    fn says_what_each_client_offers() {
        let [tls13, ticket, id, any, go13, go12] = PAIRS.map(|(_, _, resumed)| parse(resumed).unwrap());
        assert!(tls13.tls13 && any.tls13 && go13.tls13 && !ticket.tls13 && !id.tls13 && !go12.tls13);
        assert!(tls13.psk.len() == 1 && any.psk.len() == 1 && go13.psk.len() == 1);
        assert!(ticket.ticket.is_some_and(|ticket| !ticket.is_empty()) && go12.ticket.is_some_and(|ticket| !ticket.is_empty()));
        assert_eq!((&id.ticket, id.session_id.len(), id.resumable_id().map(<[u8]>::len)), (&None, 32, Some(32)));
        assert_eq!(tls13.resumable_id(), None, "a compatibility ID is random");
        let first = ClientHello { session_id: vec![7; 32], only_tls13: true, ..ClientHello::default() };
        assert_eq!(first.resumable_id(), None, "that of a first handshake, too");
        assert_eq!(tls13.server_name.as_deref(), Some("ftp.example.com"));
        assert_eq!(go13.server_name.as_deref(), Some("localhost"));
    }

    /// A hello with these extensions, in one record.
    fn built(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, contents) in extensions {
            list.extend_from_slice(&kind.to_be_bytes());
            list.extend_from_slice(&vector(2, contents));
        }
        let body = [&[3, 3][..], &[7; 32], &vector(1, &[]), &vector(2, &[0x13, 1, 0x0a, 0x0a]), &vector(1, &[0]), &vector(2, &list)].concat();
        record(&[&[CLIENT_HELLO][..], &vector(3, &body)].concat())
    }

    fn vector(width: usize, contents: &[u8]) -> Vec<u8> {
        [&contents.len().to_be_bytes()[8 - width..], contents].concat()
    }

    fn record(contents: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &vector(2, contents)].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        vector(2, &[&[0][..], &vector(2, name)].concat())
    }

    #[test]
    fn reads_in_any_pieces_and_any_records() {
        for (client, first, resumed) in PAIRS {
            for hello in [first, resumed] {
                let expected = parse(hello).unwrap();
                for piece in [1, 2, 5, 100, 4096] {
                    for fragment in [1, 3, 4, 100, 4096] {
                        let records: Vec<u8> = hello[5..].chunks(fragment).flat_map(record).collect();
                        let mut reader = HelloReader::new();
                        let ends: Vec<_> = records.chunks(piece).map(|part| reader.push(part)).filter(|end| *end != Progress::More).collect();
                        assert_eq!(ends, [Progress::Done(expected.clone())], "{client} {piece} {fragment}");
                        assert_eq!(reader.into_bytes(), records);
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_beyond_the_hello_are_counted() {
        let hello = built(&[]);
        let mut reader = HelloReader::new();
        assert!(matches!(reader.push(&[&hello[..], b"beyond"].concat()), Progress::Done(_)));
        assert_eq!(reader.consumed(), hello.len());
        assert_eq!(reader.into_bytes(), hello);
        assert_eq!(parse(&[&hello[..], b"beyond"].concat()), Err(HelloFault::Malformed));
    }

    #[test]
    fn what_is_not_tls_is_known_at_the_first_byte() {
        for bytes in [&b"U"[..], b"USER a\r\n", b"\x80\x2e\x01", b"\x15\x03", b"\x17", b"\x16\x02", b"\x16\x16"] {
            let mut reader = HelloReader::new();
            assert_eq!(reader.push(bytes), Progress::Fault(HelloFault::NotTls), "{bytes:?}");
            assert_eq!(reader.push(b"\x16\x03\x01"), Progress::Fault(HelloFault::NotTls), "a fault stays");
        }
    }

    #[test]
    fn broken_hellos_are_refused() {
        let good = built(&[]);
        let psk = [&vector(2, &[&vector(2, b"id")[..], &[0; 4]].concat())[..], &vector(2, &vector(1, &[1; 32]))].concat();
        for (what, bytes) in [
            ("empty record", record(&[])),
            ("other message", record(&[2, 0, 0, 0])),
            ("empty hello", record(&[CLIENT_HELLO, 0, 0, 0])),
            ("another message in the record", record(&[&good[5..], &[CLIENT_HELLO]].concat())),
            ("alert between records", [&record(&good[5..9])[..], &[21, 3, 1, 0, 2, 1, 0]].concat()),
            ("extension twice", built(&[(5, b""), (5, b"")])),
            ("PSK not last", built(&[(PRE_SHARED_KEY, &psk), (5, b"")])),
            ("two names", built(&[(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, b"a"), &[0], &vector(2, b"b")].concat()))])),
            ("empty name", built(&[(SERVER_NAME, &name(b""))])),
            ("odd list", built(&[(GROUPS, &vector(2, &[1]))])),
            ("cut list", built(&[(GROUPS, &[0, 9, 1])])),
            ("cut", good[..good.len() - 1].to_vec()),
        ] {
            assert_eq!(parse(&bytes), Err(HelloFault::Malformed), "{what}");
        }
        assert!(parse(&built(&[(5, b""), (PRE_SHARED_KEY, &psk)])).is_ok_and(|hello| hello.psk == [b"id"]));
    }

    #[test]
    fn a_long_hello_is_refused_from_its_length() {
        assert_eq!(HelloReader::new().push(&[22, 3, 1, 0x40, 1]), Progress::Fault(HelloFault::TooLong));
        assert_eq!(HelloReader::new().push(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Progress::Fault(HelloFault::TooLong));
        let largest = built(&[(21, &vec![0; 16_000])]);
        assert!(parse(&largest).is_ok());
        let mut reader = HelloReader::new();
        let records = [22, 3, 1, 0, 1].map(|byte| vec![byte]).concat();
        let mut end = reader.push(&[&records[..], &[1]].concat());
        let mut pushed = 6;
        for byte in [0, 0x40, 0].into_iter().chain(std::iter::repeat_n(0, MAX_HELLO)) {
            if end != Progress::More {
                break;
            }
            end = reader.push(&[&records[..], &[byte]].concat());
            pushed += 6;
        }
        assert_eq!(end, Progress::Fault(HelloFault::TooLong), "headers count too");
        assert!(pushed <= MAX_HELLO + 6);
    }

    #[test]
    fn names_are_lower_case_and_addresses_are_none() {
        for (given, expected) in [(&b"FTP.Example.COM"[..], Some("ftp.example.com")), (b"192.0.2.1", None), (b"2001:db8::1", None)] {
            assert_eq!(parse(&built(&[(SERVER_NAME, &name(given))])).unwrap().server_name.as_deref(), expected);
        }
    }

    #[test]
    fn only_four_identities_are_kept_and_an_empty_ticket_is_none() {
        let identities: Vec<u8> = (0..9).flat_map(|n| [&vector(2, &[n])[..], &[0; 4]].concat()).collect();
        let psk = [&vector(2, &identities)[..], &vector(2, &vector(1, &[1; 32]))].concat();
        let hello = parse(&built(&[(TICKET, b""), (PRE_SHARED_KEY, &psk)])).unwrap();
        assert_eq!((hello.psk.len(), hello.tickets().count(), hello.ticket), (4, 4, Some(Vec::new())));
    }

    #[test]
    fn grease_and_changing_extensions_leave_the_fingerprint_alone() {
        let plain = parse(&built(&[(5, b""), (10, &vector(2, &[0, 23]))])).unwrap();
        let varied =
            parse(&built(&[(0x1a1a, b"x"), (10, &vector(2, &[0x2a, 0x2a, 0, 23])), (5, b""), (21, &[0; 9]), (TICKET, b"t"), (16, b""), (42, b""), (44, b"")]))
                .unwrap();
        assert_eq!(plain.fingerprint, varied.fingerprint);
        assert_ne!(plain.fingerprint, parse(&built(&[(5, b""), (10, &vector(2, &[0, 24]))])).unwrap().fingerprint);
    }
}
