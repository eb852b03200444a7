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
        (self.session_id.len() == 32 && self.ticket.is_none() && self.psk.is_empty()).then_some(self.session_id.as_slice())
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
const TLS13: u16 = 0x0304;
const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
const TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const VERSIONS: u16 = 43;
/// Extensions that differ between a first and a resumed hello: server name, ALPN, padding, ticket, PSK, early data, cookie.
const CHANGING: [u16; 7] = [SERVER_NAME, 16, 21, TICKET, PRE_SHARED_KEY, 42, 44];
