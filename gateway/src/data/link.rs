//! One TLS connection over one socket, driven by hand: bytes are written when we say so, which is how tickets are held back.
//!
//! Gets: ciphertext, plaintext. Gives: progress, and whether the peer stopped on a TLS record boundary.
//! Never: writes by itself; waits without a deadline.

use std::io::{self, BufRead, ErrorKind, IoSlice};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Why a data connection can carry no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The peer reset it, or sent what is no TLS.
    #[error("the data connection broke")]
    Broken,
    /// No byte moved for `limits.stall_timeout`.
    #[error("no byte moved on the data connection for the stall timeout")]
    Stalled,
}

/// Socket and TLS state.
pub(super) struct Link {
    pub(super) tcp: TcpStream,
    pub(super) tls: ServerConnection,
    records: Records,
    closed: bool,
}

/// What the socket had.
pub(super) enum Got {
    Bytes(usize),
    Fin,
    /// Nothing yet.
    Nothing,
}

/// Follows TLS record headers (RFC 8446 §5.1), to know whether a FIN came between two records.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    header: [u8; 5],
    have: usize,
    body: usize,
}

/// The socket as TLS sees it: never waits.
struct Wire<'a>(&'a TcpStream);

impl Link {
    /// `taken`: what TLS has got already, the ClientHello.
    pub(super) fn new(tcp: TcpStream, tls: ServerConnection, taken: &[u8]) -> Self {
        let mut records = Records::default();
        records.follow(taken);
        Self { tcp, tls, records, closed: false }
    }

    /// Gives ciphertext to TLS; returns how much it took. It takes no more once plaintext has to be read first.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, rustls::Error> {
        let mut rest = bytes;
        // At most one record's worth of plaintext waits inside TLS; asking for more is the error that says so.
        let taken = match self.tls.read_tls(&mut rest) {
            Ok(taken) => taken,
            Err(full) if full.kind() == ErrorKind::Other => 0,
            Err(bad) => return Err(rustls::Error::General(bad.to_string())),
        };
        self.records.follow(&bytes[..taken]);
        self.closed = self.tls.process_new_packets()?.peer_has_closed();
        Ok(taken)
    }

    /// Moves plaintext that is ready into `out` while `out` is shorter than `full`.
    pub(super) fn take_plaintext(&mut self, out: &mut Vec<u8>, full: usize) {
        let mut reader = self.tls.reader();
        while out.len() < full {
            // An error here is "nothing yet" or "the end": both are asked for elsewhere.
            let Ok(chunk) = reader.fill_buf() else { return };
            if chunk.is_empty() {
                return;
            }
            let length = chunk.len();
            out.extend_from_slice(chunk);
            reader.consume(length);
        }
    }

    /// Writes all that TLS has queued. Every byte the socket takes starts the clock anew.
    pub(super) async fn flush(&mut self, stall: Duration) -> Result<(), Cut> {
        let mut deadline = Instant::now() + stall;
        while self.tls.wants_write() {
            match self.write_once() {
                Ok(0) => return Err(Cut::Broken),
                Ok(_) => deadline = Instant::now() + stall,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready(deadline, true).await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Cut::Broken),
            }
        }
        Ok(())
    }

    /// Writes what the socket takes at once; true when nothing is left.
    pub(super) fn flush_now(&mut self) -> Result<bool, Cut> {
        while self.tls.wants_write() {
            match self.write_once() {
                Ok(0) => return Err(Cut::Broken),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Cut::Broken),
            }
        }
        Ok(true)
    }

    /// Reads what the socket has.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> Result<Got, Cut> {
        loop {
            match self.tcp.try_read(buffer) {
                Ok(0) => return Ok(Got::Fin),
                Ok(count) => return Ok(Got::Bytes(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Got::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Cut::Broken),
            }
        }
    }

    /// Reads, waiting for the first byte until the deadline. `None` is the FIN.
    pub(super) async fn read(&self, buffer: &mut [u8], deadline: Instant) -> Result<Option<usize>, Cut> {
        loop {
            match self.read_now(buffer)? {
                Got::Bytes(count) => return Ok(Some(count)),
                Got::Fin => return Ok(None),
                Got::Nothing => self.ready(deadline, false).await?,
            }
        }
    }

    /// Whether the peer sent close_notify.
    pub(super) fn peer_closed(&self) -> bool {
        self.closed
    }

    /// Whether what came so far ends between two TLS records.
    pub(super) fn on_record_boundary(&self) -> bool {
        self.records.body == 0 && self.records.have == 0
    }

    async fn ready(&self, deadline: Instant, to_write: bool) -> Result<(), Cut> {
        let readiness = async { if to_write { self.tcp.writable().await } else { self.tcp.readable().await } };
        match timeout_at(deadline, readiness).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cut::Broken),
            Err(_) => Err(Cut::Stalled),
        }
    }

    fn write_once(&mut self) -> io::Result<usize> {
        self.tls.write_tls(&mut Wire(&self.tcp))
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Records {
    fn follow(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.body > 0 {
                let skipped = self.body.min(bytes.len());
                self.body -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == self.header.len() {
                self.have = 0;
                self.body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_record_boundary_however_the_bytes_are_cut() {
        let stream = [&[22, 3, 1, 0, 3, 9, 9, 9][..], &[23, 3, 3, 0, 0], &[23, 3, 3, 1, 1], &[7; 257]].concat();
        let boundaries = [0, 8, 13, 275];
        for step in [1, 2, 3, 7, 1000] {
            let mut records = Records::default();
            let mut seen = 0;
            for chunk in stream.chunks(step) {
                records.follow(chunk);
                seen += chunk.len();
                assert_eq!(records.body == 0 && records.have == 0, boundaries.contains(&seen), "{seen}");
            }
        }
    }
}
