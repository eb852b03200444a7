//! Command lines from bytes: telnet stripped (RFC 854, RFC 959 §4.1.3), length capped.
//!
//! Gets: bytes of the control connection in any pieces. Gives: lines without their end, one fault for each over-long line.
//! Never: holds more than its caps, decodes twice, lets the tail of an over-long line become a command, or holds memory while idle.

use std::fmt;

/// Cuts a byte stream into command lines. Bytes wait undecoded until [`LineSplitter::next`] asks for them; each byte is decoded once.
pub struct LineSplitter {
    /// Received, not yet looked at; `start..` counts.
    raw: Vec<u8>,
    start: usize,
    /// The beginning of the next line, decoded.
    line: Vec<u8>,
    /// Wire bytes spent on the next line so far, telnet included.
    spent: usize,
    cap: usize,
    telnet: Telnet,
    /// A CR whose meaning depends on the next byte.
    carriage_return: bool,
    /// The line is over-long: everything up to its newline is dropped.
    discarding: bool,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// Longer than the cap. It was dropped up to its newline; given once per line, when the newline has come.
    TooLong,
}

impl LineSplitter {
    /// Undecoded bytes taken before [`LineSplitter::push`] refuses more: pipelined commands beyond that wait in the socket.
    pub const UNREAD: usize = 16 * 1024;

    /// Lines of at most `cap` bytes, their end not counted.
    pub const fn new(cap: usize) -> Self {
        Self { raw: Vec::new(), start: 0, line: Vec::new(), spent: 0, cap, telnet: Telnet::Data, carriage_return: false, discarding: false }
    }

    /// Changes the cap (another one holds before login), from the next byte on.
    pub const fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// Takes as many bytes as fit and says how many; the rest has to be offered again after [`LineSplitter::next`] has given `None`
    /// or at least one line. Never 0 for a non-empty slice when `next` has given `None`.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(Self::UNREAD.saturating_sub(self.unread()));
        if self.start > 0 && taken > 0 {
            self.raw.drain(..self.start);
            self.start = 0;
        }
        self.raw.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next complete line without its CR LF or LF; `None`: more bytes are needed.
    // Not an Iterator: after `None` it goes on when bytes come.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Vec<u8>, LineFault>> {
        while let Some(&byte) = self.raw.get(self.start) {
            self.start += 1;
            self.spent = self.spent.saturating_add(1);
            if self.feed(byte) {
                self.release();
                return Some(self.finish());
            }
            // A line may double each byte (IAC IAC) and carry a Synch, more is a flood of telnet; it cannot hide the newline either.
            if self.spent > self.cap.saturating_mul(2).saturating_add(TELNET_ALLOWANCE) {
                self.overflow();
                self.telnet = Telnet::Data;
            }
        }
        self.release();
        None
    }

    /// Bytes held: undecoded ones and the beginning of a line.
    pub fn buffered(&self) -> usize {
        self.unread() + self.line.len()
    }

    /// Whether nothing at all waits: no byte, no part of a line, no open telnet sequence. Anything else after `AUTH TLS` is an injection.
    pub fn is_empty(&self) -> bool {
        self.unread() == 0 && self.line.is_empty() && !self.carriage_return && !self.discarding && matches!(self.telnet, Telnet::Data)
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        *self = Self::new(self.cap);
    }

    fn unread(&self) -> usize {
        self.raw.len() - self.start
    }

    /// One wire byte through telnet; true at the end of a line.
    fn feed(&mut self, byte: u8) -> bool {
        let (next, data) = self.telnet.step(byte);
        self.telnet = next;
        match data {
            Decoded::Nothing => false,
            Decoded::Byte(byte) => self.data(byte),
            Decoded::LoneIac(byte) => {
                self.append(IAC);
                self.data(byte)
            }
        }
    }

    /// One data byte through the line end rules; true at the end of a line.
    fn data(&mut self, byte: u8) -> bool {
        let after_cr = std::mem::take(&mut self.carriage_return);
        match byte {
            b'\n' => return true,
            // RFC 2640 §3.1: CR NUL stands for CR. The parser refuses it as a control byte, but it must not end the line.
            0 if after_cr => self.append(b'\r'),
            b'\r' => {
                if after_cr {
                    self.append(b'\r');
                }
                self.carriage_return = true;
            }
            other => {
                if after_cr {
                    self.append(b'\r');
                }
                self.append(other);
            }
        }
        false
    }

    fn append(&mut self, byte: u8) {
        if self.discarding {
            return;
        }
        if self.line.len() >= self.cap {
            self.overflow();
        } else {
            self.line.push(byte);
        }
    }

    fn overflow(&mut self) {
        self.discarding = true;
        self.line = Vec::new();
    }

    fn finish(&mut self) -> Result<Vec<u8>, LineFault> {
        self.spent = 0;
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.discarding) { Err(LineFault::TooLong) } else { Ok(line) }
    }

    /// An idle session holds no buffer.
    fn release(&mut self) {
        if self.start == self.raw.len() {
            // A password may have been in it.
            self.raw.fill(0);
            self.raw = Vec::new();
            self.start = 0;
        }
    }
}

/// Counts only: what waits may be a password.
impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSplitter").field("buffered", &self.buffered()).field("cap", &self.cap).finish_non_exhaustive()
    }
}

/// Where in a telnet sequence the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telnet {
    Data,
    /// After IAC.
    Iac,
    /// After IAC WILL, WONT, DO or DONT: the option follows.
    Option,
    /// Within IAC SB … IAC SE.
    Sub,
    /// After IAC within a subnegotiation.
    SubIac,
    /// After IAC IP: a Synch follows. Its urgent byte may have been taken out of the stream by TCP, so either half may be missing.
    Synch,
    /// After IAC IP IAC.
    SynchIac,
}

/// What one wire byte amounts to.
enum Decoded {
    Nothing,
    Byte(u8),
    /// An IAC that was no telnet (a client that does not double 0xFF in names), then this byte.
    LoneIac(u8),
}

impl Telnet {
    const fn step(self, byte: u8) -> (Self, Decoded) {
        match (self, byte) {
            (Self::Data, IAC) => (Self::Iac, Decoded::Nothing),
            (Self::Synch, IAC) => (Self::SynchIac, Decoded::Nothing),
            (Self::Synch, DATA_MARK) | (Self::Option, _) => (Self::Data, Decoded::Nothing),
            (Self::Iac | Self::SynchIac, IAC) => (Self::Data, Decoded::Byte(IAC)),
            (Self::Iac | Self::SynchIac, WILL..=DONT) => (Self::Option, Decoded::Nothing),
            (Self::Iac | Self::SynchIac, SB) => (Self::Sub, Decoded::Nothing),
            (Self::Iac | Self::SynchIac, INTERRUPT) => (Self::Synch, Decoded::Nothing),
            (Self::Iac | Self::SynchIac, SE..=LAST_COMMAND) => (Self::Data, Decoded::Nothing),
            (Self::Iac, other) => (Self::Data, Decoded::LoneIac(other)),
            (Self::Data | Self::Synch | Self::SynchIac, other) => (Self::Data, Decoded::Byte(other)),
            (Self::Sub, IAC) => (Self::SubIac, Decoded::Nothing),
            (Self::SubIac, SE) => (Self::Data, Decoded::Nothing),
            (Self::Sub | Self::SubIac, _) => (Self::Sub, Decoded::Nothing),
        }
    }
}

const IAC: u8 = 255;
const WILL: u8 = 251;
const DONT: u8 = 254;
const SB: u8 = 250;
const SE: u8 = 240;
const DATA_MARK: u8 = 242;
const INTERRUPT: u8 = 244;
/// Go Ahead, the last command without an option.
const LAST_COMMAND: u8 = 249;
/// Telnet bytes forgiven per line beyond twice its cap.
const TELNET_ALLOWANCE: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Everything that comes out when the bytes come in pieces of `piece`.
    fn split(bytes: &[u8], cap: usize, piece: usize) -> (Vec<Result<Vec<u8>, LineFault>>, LineSplitter) {
        let mut splitter = LineSplitter::new(cap);
        let mut lines = Vec::new();
        for mut part in bytes.chunks(piece) {
            while !part.is_empty() {
                part = &part[splitter.push(part)..];
                while let Some(line) = splitter.next() {
                    lines.push(line);
                }
            }
        }
        (lines, splitter)
    }

    fn line(bytes: &[u8]) -> Result<Vec<u8>, LineFault> {
        Ok(bytes.to_vec())
    }

    #[test]
    fn cuts_lines_the_same_in_any_pieces() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"NOOP\r\n", &[b"NOOP"]),
            (b"NOOP\n", &[b"NOOP"]),
            (b"\r\n\n", &[b"", b""]),
            (b"USER a\r\nPASS b \r\n", &[b"USER a", b"PASS b "]),
            (b"MKD a\r\0b\r\n", &[b"MKD a\rb"]),
            (b"MKD a\rb\r\n", &[b"MKD a\rb"]),
            (b"MKD a\r\r\n", &[b"MKD a\r"]),
            (b"MKD a\0b\r\n", &[b"MKD a\0b"]),
            (b"RETR \xFF\xFFx\r\n", &[b"RETR \xFFx"]),
            (b"RETR a\xFFb\n", &[b"RETR a\xFFb"]),
            (b"RETR a\xFF\n", &[b"RETR a\xFF"]),
            (b"\xFF\xFB\x01NOOP\r\n", &[b"NOOP"]),
            (b"NO\xFF\xFD\x0AOP\r\n", &[b"NOOP"]),
            (b"\xFF\xFC\xFF\xFF\xFE\xFFNOOP\r\n", &[b"NOOP"]),
            (b"\xFF\xF4\xFF\xF2ABOR\r\n", &[b"ABOR"]),
            (b"\xFF\xF4\xF2ABOR\r\n", &[b"ABOR"]),
            (b"\xFF\xF4\xFFABOR\r\n", &[b"ABOR"]),
            (b"\xFF\xF4ABOR\r\n", &[b"ABOR"]),
            (b"\xFF\xF1\xFF\xF9\xFF\xF0NOOP\r\n", &[b"NOOP"]),
            (b"\xFF\xFA\x18\x01QUIT\r\n\xFF\xFF\xFF\xF0NOOP\r\n", &[b"NOOP"]),
            (b"NOOP\r\xFF\xF1\n", &[b"NOOP"]),
            (b"\xF2NOOP\n", &[b"\xF2NOOP"]),
        ];
        for (bytes, lines) in table {
            for piece in 1..=bytes.len() {
                let (found, splitter) = split(bytes, 100, piece);
                assert_eq!(found, lines.iter().map(|l| line(l)).collect::<Vec<_>>(), "{bytes:?} by {piece}");
                assert!(splitter.is_empty() && splitter.buffered() == 0, "{bytes:?}");
                assert_eq!((splitter.raw.capacity(), splitter.line.capacity()), (0, 0), "an idle session holds no buffer");
            }
        }
    }

    #[test]
    fn any_line_comes_back_when_its_telnet_is_escaped() {
        let mut escaped = Vec::new();
        let content: Vec<u8> = (0..=255).filter(|b| !b"\r\n".contains(b)).collect();
        for &byte in &content {
            escaped.extend_from_slice(if byte == 255 { &[255, 255] } else { std::slice::from_ref(&byte) });
        }
        escaped.extend_from_slice(b"\r\n");
        assert_eq!(split(&escaped, 300, 7).0, [Ok(content)]);
    }

    #[test]
    fn lengths_around_powers_of_two_are_exact_and_the_tail_is_no_command() {
        for cap in [1, 4, 64, 512, 4096, 8192] {
            for length in [cap - 1, cap, cap + 1, 2 * cap, 2 * cap + 65, 16 * cap] {
                let bytes = [&vec![b'A'; length][..], b"QUIT\r\nNOOP\r\n"].concat();
                let expected = if length + 4 <= cap { line(&bytes[..length + 4]) } else { Err(LineFault::TooLong) };
                let noop = if cap >= 4 { line(b"NOOP") } else { Err(LineFault::TooLong) };
                for piece in [1, 1000, usize::MAX] {
                    assert_eq!(split(&bytes, cap, piece).0, [expected.clone(), noop.clone()], "{length} within {cap}");
                }
            }
            let exact = [&vec![b'A'; cap][..], b"\r\n"].concat();
            assert_eq!(split(&exact, cap, 3).0, [line(&exact[..cap])]);
        }
    }

    #[test]
    fn a_name_of_doubled_iacs_may_fill_the_cap() {
        let bytes = [&[255_u8; 200][..], b"\r\n"].concat();
        assert_eq!(split(&bytes, 100, 9).0, [line(&[255; 100])]);
        assert_eq!(split(&bytes, 99, 9).0, [Err(LineFault::TooLong)]);
    }

    #[test]
    fn a_flood_without_a_newline_holds_little_and_gives_one_fault() {
        for unit in [&b"A"[..], b"\xFF\xF1", b"\xFF\xFA", b"\xFF\xFB\x01", b"\r", b"\xFF"] {
            let mut splitter = LineSplitter::new(8192);
            for _ in 0..200 {
                let flood = unit.repeat(10_000 / unit.len());
                let mut rest = &flood[..];
                while !rest.is_empty() {
                    rest = &rest[splitter.push(rest)..];
                    assert!(splitter.buffered() <= LineSplitter::UNREAD + 8192);
                    assert_eq!(splitter.next(), None);
                }
            }
            assert!(!splitter.is_empty());
            assert_eq!(splitter.push(b"\xF0\r\nNOOP\r\n"), 9);
            assert_eq!(splitter.next(), Some(Err(LineFault::TooLong)), "{unit:?}");
            assert_eq!(splitter.next(), Some(line(b"NOOP")));
        }
    }

    #[test]
    fn takes_no_more_than_fits_until_lines_are_read() {
        let mut splitter = LineSplitter::new(100);
        let flood = b"NOOP\r\n".repeat(10_000);
        assert_eq!(splitter.push(&flood), LineSplitter::UNREAD);
        assert_eq!(splitter.push(&flood), 0);
        assert_eq!(splitter.next(), Some(line(b"NOOP")));
        assert_eq!(splitter.push(&flood), 6);
    }

    #[test]
    fn what_follows_a_line_is_seen() {
        for (extra, empty) in
            [(&b""[..], true), (b"P", false), (b"\r", false), (b"\xFF", false), (b"\xFF\xF1", false), (b"\n", false), (b"\x16\x03\x01", false)]
        {
            let mut splitter = LineSplitter::new(100);
            splitter.push(&[b"AUTH TLS\r\n", extra].concat());
            assert_eq!(splitter.next(), Some(line(b"AUTH TLS")));
            assert_eq!(splitter.is_empty(), empty, "{extra:?}");
            splitter.clear();
            assert!(splitter.is_empty());
        }
    }

    #[test]
    fn a_new_cap_holds_from_the_next_byte_on() {
        let mut splitter = LineSplitter::new(4);
        splitter.push(b"NOOP\r\nABCDE\r\n");
        assert_eq!(splitter.next(), Some(line(b"NOOP")));
        splitter.set_cap(5);
        assert_eq!(splitter.next(), Some(line(b"ABCDE")));
    }
}
