//! A data connection that was taken: bytes out with [`Sender`], bytes in with [`Receiver`].
//!
//! Gets: a finished handshake. Gives: the whole stream and how it ended, or that it was cut.
//! TLS 1.3 tickets go out with the first bytes of a download, but only after the end of an upload: a client that never reads would answer them with RST and
//! lose what it sent (RST destroys bytes in flight).
//! Never: takes a FIN for an end by itself.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftps_proto::proof::Shown;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use super::handshake::Finished;
pub use super::link::Cut;
use super::link::Link;
use super::spenders::Next;
use crate::observe::event::TlsVersion;

/// A data connection, ready to move bytes one way.
pub struct DataStream {
    link: Box<Link>,
    unread: Vec<u8>,
    version: TlsVersion,
    proven: bool,
    tickets_early: bool,
    past: Arc<Past>,
}

/// What a session's data connections have shown so far.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// One proved the session.
    pub(super) proven: AtomicBool,
    /// An upload ended with close_notify.
    pub(super) ended_cleanly: AtomicBool,
    /// The latest one was an upload over TLS 1.3: the client may have no ticket of it, because it was kept back or came when the client had gone already.
    uploaded: AtomicBool,
    /// The client showed one ticket twice: it has one whatever we keep back. One it had not shown before says nothing, the handshake of the control
    /// connection gave it several.
    reuses: AtomicBool,
    /// Tickets that were shown, by their first bytes of SHA-256; the latest few.
    tickets: Mutex<VecDeque<u64>>,
    /// After such a one none came: the client has no ticket left.
    pub(super) spent: AtomicBool,
    /// After such a one the client needed its session for something else than the next transfer.
    lingers: AtomicBool,
}

impl Past {
    /// What a connection is judged by. `likely`: it looks like the client's. `shared`: the client has other sessions, which may use up the tickets of this one,
    /// as those of curl -Z do.
    pub(super) fn shown(&self, likely: bool, shared: bool) -> Shown {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if !is(&self.proven) {
            return Shown::Never;
        }
        let withheld = is(&self.spent) || ((shared || is(&self.uploaded)) && !is(&self.reuses));
        if withheld && likely { Shown::Withheld } else { Shown::Proof }
    }

    fn note_transfer(&self, uploaded: bool) {
        self.uploaded.store(uploaded, Ordering::Relaxed);
    }

    /// Whether a client that uses each ticket once has none now.
    pub(super) fn is_dry(&self) -> bool {
        self.uploaded.load(Ordering::Relaxed) && !self.reuses.load(Ordering::Relaxed)
    }

    /// The client asks about files, or changes them.
    pub(super) fn note_work(&self) {
        if self.uploaded.load(Ordering::Relaxed) {
            self.lingers.store(true, Ordering::Relaxed);
        }
    }

    /// What the client does when an upload is over, as far as this session knows.
    pub(super) fn next(&self) -> Next {
        if self.lingers.load(Ordering::Relaxed) { Next::Other } else { Next::Transfer }
    }

    /// A connection proved the session, with this ticket if it was one of TLS 1.3; sessions of TLS 1.2 are used again and again.
    pub(super) fn note_proof(&self, ticket: Option<u64>) {
        self.proven.store(true, Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
        let Some(ticket) = ticket else { return self.reuses.store(true, Ordering::Relaxed) };
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.contains(&ticket) {
            self.reuses.store(true, Ordering::Relaxed);
            return;
        }
        if tickets.len() == TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }
}

/// Bytes to the client.
pub struct Sender {
    link: Box<Link>,
    stall: Duration,
}

/// Bytes from the client.
pub struct Receiver {
    link: Box<Link>,
    stall: Duration,
    cipher: Vec<u8>,
    /// How many bytes [`Receiver::recv`] gathers. Grows with the speed of the client: a slow one holds little memory.
    chunk: usize,
    filled: std::ops::Range<usize>,
    fin: bool,
    past: Arc<Past>,
}

/// What [`Receiver::recv`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes were appended.
    Bytes,
    /// The client ended; nothing was appended.
    End(End),
}

/// How the client ended its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With close_notify: nothing is missing.
    CloseNotify,
    /// With a bare FIN; `ftps_proto::proof` says whether that is taken.
    Fin {
        /// Whether the FIN came between two TLS records.
        on_record_boundary: bool,
    },
}

impl DataStream {
    pub(super) fn new(finished: Finished, proven: bool, tickets_early: bool, past: Arc<Past>) -> Self {
        let Finished { link, unread, version, resumed: _ } = finished;
        Self { link, unread, version, proven, tickets_early, past }
    }

    /// Whether it proved its session.
    pub fn proven(&self) -> bool {
        self.proven
    }

    /// For a download or a listing. `stall`: `limits.stall_timeout`.
    pub fn into_sender(self, stall: Duration) -> Sender {
        self.past.note_transfer(false);
        Sender { link: self.link, stall }
    }

    /// For an upload. `stall`: `limits.stall_timeout`.
    pub fn into_receiver(mut self, stall: Duration) -> Receiver {
        if self.tickets_early {
            // What the socket does not take now goes out at the end.
            let _ = self.link.flush_now();
        }
        let issues = self.version == TlsVersion::Tls13 && self.proven;
        self.past.note_transfer(issues);
        let count = self.unread.len();
        let mut cipher = self.unread;
        cipher.resize(count.max(FIRST_READ), 0);
        Receiver { link: self.link, stall, cipher, chunk: FIRST_CHUNK, filled: 0..count, fin: false, past: self.past }
    }
}

impl Sender {
    /// Sends the bytes; returns when the socket has them. 64 KiB at a time are best.
    ///
    /// # Errors
    /// [`Cut`], also when the peer takes no byte for `limits.stall_timeout`.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.queue(bytes).await?;
        self.link.flush(self.stall).await
    }

    /// Like [`Sender::send`], but the last 64 KiB may wait for what follows: the end of a small file goes out in one piece with close_notify.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn queue(&mut self, mut bytes: &[u8]) -> Result<(), Cut> {
        loop {
            let taken = std::io::Write::write(&mut self.link.tls.writer(), bytes).map_err(|_| Cut::Broken)?;
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return Ok(());
            }
            self.link.flush(self.stall).await?;
        }
    }

    /// Ends the stream: close_notify and FIN. The client's own end is waited for in the background, up to 2 s, so that nothing it sent turns our close into
    /// a RST; it does not hold up the reply. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Cut`] when not all bytes could be written.
    pub async fn finish(mut self) -> Result<(), Cut> {
        self.link.tls.send_close_notify();
        self.link.flush(self.stall).await?;
        self.link.tcp.shutdown().await.map_err(|_| Cut::Broken)?;
        linger(self.link.tcp);
        Ok(())
    }
}

impl Receiver {
    /// Appends what the client sent, 64 to 256 KiB by its speed; returns when so much is there or nothing more will come.
    ///
    /// Cancel safe: bytes stay with `out` or with us.
    ///
    /// # Errors
    /// [`Cut`]: reset, no TLS, or no byte for `limits.stall_timeout`. What is in `out` then belongs to nothing.
    pub async fn recv(&mut self, out: &mut Vec<u8>) -> Result<Received, Cut> {
        let full = out.len() + self.chunk;
        let before = out.len();
        out.reserve(self.chunk + RECORD);
        let begun = Instant::now();
        loop {
            self.link.take_plaintext(out, full);
            if out.len() >= full {
                self.grow(begun.elapsed());
                return Ok(Received::Bytes);
            }
            if let Some(end) = self.end() {
                return Ok(if out.len() > before { Received::Bytes } else { Received::End(end) });
            }
            if self.filled.is_empty() {
                self.fill().await?;
            }
            self.decrypt()?;
        }
    }

    /// The upload is on disk: what was held back goes out, then close_notify. The client need not care.
    pub async fn close(mut self) {
        self.link.tls.send_close_notify();
        let farewell = async {
            let _ = self.link.flush(FAREWELL).await;
            let _ = self.link.tcp.shutdown().await;
        };
        let _ = timeout_at(Instant::now() + FAREWELL, farewell).await;
    }

    /// Hands ciphertext to TLS. What comes behind close_notify is nobody's.
    fn decrypt(&mut self) -> Result<(), Cut> {
        if self.filled.is_empty() {
            return Ok(());
        }
        let taken = self.link.feed(&self.cipher[self.filled.clone()]).map_err(|_| Cut::Broken)?;
        self.filled.start += taken;
        if taken == 0 && !self.link.peer_closed() { Err(Cut::Broken) } else { Ok(()) }
    }

    /// A chunk was full after this time.
    fn grow(&mut self, took: Duration) {
        if took < FAST {
            self.chunk = (self.chunk * 2).min(CHUNK);
        }
    }

    fn end(&mut self) -> Option<End> {
        if self.link.peer_closed() {
            self.past.ended_cleanly.store(true, Ordering::Relaxed);
            return Some(End::CloseNotify);
        }
        self.fin.then(|| End::Fin { on_record_boundary: self.link.on_record_boundary() })
    }

    async fn fill(&mut self) -> Result<(), Cut> {
        let deadline = Instant::now() + self.stall;
        if self.chunk > FIRST_CHUNK && self.cipher.len() < self.chunk {
            self.cipher = vec![0; self.chunk];
        }
        match self.link.read(&mut self.cipher, deadline).await? {
            Some(count) => self.filled = 0..count,
            None => self.fin = true,
        }
        Ok(())
    }
}

/// Takes what the client still sends until its FIN, so that the kernel does not answer it with a RST that destroys our last bytes on their way.
fn linger(tcp: TcpStream) {
    // Beyond the cap nobody waits: clients that close at once lose nothing.
    let Ok(place) = LINGERING.try_acquire() else { return };
    tokio::spawn(async move {
        let end = async {
            // A client that has all it wants may close without reading our close_notify: its RST says nothing about the file.
            while tcp.readable().await.is_ok() {
                match tcp.try_read(&mut [0; 1024]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => break,
                    // Whoever sends faster than we read never makes us wait, and then no deadline would ever be looked at.
                    Ok(_) => consume_budget().await,
                }
            }
        };
        let _ = timeout_at(Instant::now() + FAREWELL, end).await;
        drop(place);
    });
}

/// Data connections whose client has not ended yet.
static LINGERING: Semaphore = Semaphore::const_new(1024);

/// Tickets of a session that are remembered: a client that uses one again mostly uses the first or the latest.
const TICKETS: usize = 8;

/// What [`Receiver::recv`] gathers at first, and bytes read from the socket at once until then: enough for a small file.
const FIRST_CHUNK: usize = 64 * 1024;
const FIRST_READ: usize = 16 * 1024;

/// What it gathers, and reads from the socket at once, at most: measured best for fast uploads.
const CHUNK: usize = 256 * 1024;

/// A chunk that came within this time may grow.
const FAST: Duration = Duration::from_millis(100);

/// The longest plaintext of one record, with which a chunk may overrun.
const RECORD: usize = 16 * 1024;

/// How long the other side's end is waited for when all our bytes are out.
const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ticket_that_is_shown_again_tells_that_tickets_are_used_again() {
        let past = Past::default();
        for ticket in 0..20 {
            past.note_proof(Some(ticket));
            past.note_transfer(true);
            assert_eq!(past.shown(true, false), Shown::Withheld, "a spare one says nothing");
        }
        assert_eq!(past.shown(false, false), Shown::Proof, "another program");
        past.note_transfer(false);
        assert_eq!((past.shown(true, false), past.shown(true, true)), (Shown::Proof, Shown::Withheld), "a sibling may have used it up");
        past.note_proof(Some(19));
        past.note_transfer(true);
        assert_eq!(past.shown(true, false), Shown::Proof);
        assert_eq!(past.shown(true, true), Shown::Proof);
        let old = Past::default();
        old.note_proof(None);
        assert_eq!(old.shown(true, true), Shown::Proof, "TLS 1.2");
        let tickets = past.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(tickets.len(), TICKETS);
    }
}
