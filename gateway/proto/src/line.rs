//! Command lines from bytes: telnet stripped (RFC 854, RFC 959 §4.1.3), length capped.
//!
//! Gets: bytes of the control connection in any pieces. Gives: lines without their end, one fault for each over-long line.
//! Never: holds more than its caps, decodes twice, lets the tail of an over-long line become a command, or holds memory while idle.

/// Cuts a byte stream into command lines. Bytes wait undecoded until [`LineSplitter::next`] asks for them; each byte is decoded once.
#[derive(Debug)]
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
            self.raw = Vec::new();
            self.start = 0;
        }
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
