//! The control connection's stream with its replies to be written.
//!
//! Gets: replies, and whether reading is wanted. Gives: bytes read, or that all is flushed.
//! Never: holds a read buffer while idle (10,000 idle sessions would hold 40 MB), loses bytes when its future is dropped.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ftps_proto::machine::Machine;
use ftps_proto::machine::io::Action;
use ftps_proto::reply::Reply;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use zeroize::{Zeroize, Zeroizing};

/// A control connection, clear or secured.
#[derive(Debug)]
pub struct Control<S> {
    io: S,
    out: Vec<u8>,
    sent: usize,
    /// Since when something waits to be written without progress.
    waiting_since: Option<Instant>,
}

/// What a turn of the control connection brought.
#[derive(Debug)]
pub enum Turn {
    /// Bytes from the client; empty at its end. A password may be among them: they are wiped when dropped.
    Read(Zeroizing<Vec<u8>>),
    /// Everything that was queued is with the kernel.
    Flushed,
    /// The connection broke.
    Failed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Control<S> {
    /// A control connection over this stream.
    pub fn new(io: S) -> Self {
        Self { io, out: Vec::new(), sent: 0, waiting_since: None }
    }

    /// Appends a reply; [`Control::turn`] writes it.
    pub fn queue(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// What the machine wants next. While the client leaves replies unread no further command runs: one packet of them can ask for a hundred times its size.
    pub fn next(&self, machine: &mut Machine) -> Option<Action> {
        if self.backlogged() { machine.poll_begun() } else { machine.poll() }
    }

    /// Whether the client leaves so much unread that no further command is taken.
    pub fn backlogged(&self) -> bool {
        self.out.len() - self.sent > BACKLOG
    }

    /// Since when replies wait for the client to read.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Writes what is queued and, if `read`, reads. Dropping the future loses nothing.
    pub async fn turn(&mut self, read: bool) -> Turn {
        poll_fn(|cx| {
            if self.waiting_since.is_some()
                && let Poll::Ready(flushed) = self.poll_out(cx)
            {
                return Poll::Ready(flushed.map_or(Turn::Failed, |()| Turn::Flushed));
            }
            if read { self.poll_in(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what is queued, for at most `most`.
    ///
    /// # Errors
    /// The connection's, or `TimedOut`.
    pub async fn flush(&mut self, most: Duration) -> io::Result<()> {
        if self.waiting_since.is_none() {
            return Ok(());
        }
        timeout(most, poll_fn(|cx| self.poll_out(cx))).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The stream, when nothing is left to be written.
    pub fn into_inner(self) -> S {
        self.io
    }

    /// The stream.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// Flushes, ends our side, and takes the client's last bytes, so that the kernel does not answer them with a reset that would destroy our last
    /// reply. Bounded in time; errors no longer matter.
    pub async fn close(&mut self, most: Duration) {
        let polite = async {
            if self.waiting_since.is_some() {
                poll_fn(|cx| self.poll_out(cx)).await?;
            }
            self.io.shutdown().await
        };
        if let Ok(Ok(())) = timeout(most, polite).await {
            self.drain().await;
        }
    }

    /// Takes what the client still sends, up to its end.
    async fn drain(&mut self) {
        let drained = async { while matches!(self.turn(true).await, Turn::Read(bytes) if !bytes.is_empty()) {} };
        let _ = timeout(LINGER, drained).await;
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let taken = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
            self.waiting_since = Some(Instant::now());
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.out = Vec::new();
        self.sent = 0;
        self.waiting_since = None;
        Poll::Ready(Ok(()))
    }

    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        // On the stack of this poll only: see the header.
        let mut space = [const { MaybeUninit::<u8>::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
            Ok(()) => {
                let bytes = Zeroizing::new(buffer.filled().to_vec());
                buffer.filled_mut().zeroize();
                Poll::Ready(Turn::Read(bytes))
            }
            // Many clients close without close_notify; on a control connection an end is an end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Turn::Read(Zeroizing::default())),
            Err(_) => Poll::Ready(Turn::Failed),
        }
    }
}

impl Control<TlsStream<TcpStream>> {
    /// Flushes and ends our side in one packet, with nothing behind the last reply, not even close_notify: a client that looks at its socket before it goes on
    /// sees the end, and no bytes that it could take for a sign of life. Bounded in time; errors no longer matter. Gives what the client sent all the same.
    pub async fn hang_up(&mut self, most: Duration) -> Turn {
        // Without it the end may come a moment after the reply, when the client has already begun its next command.
        let _ = SockRef::from(self.io.get_ref().0).set_tcp_cork(true);
        if self.flush(most).await.is_ok() && SockRef::from(self.io.get_ref().0).shutdown(Shutdown::Write).is_ok() {
            return timeout(LINGER, self.turn(true)).await.unwrap_or(Turn::Flushed);
        }
        Turn::Failed
    }
}

/// Bytes read at a time.
const READ: usize = 2048;
/// Unread replies, in bytes, beyond which no command is taken.
const BACKLOG: usize = 16 * 1024;
/// How long a closing connection waits for the client's end.
const LINGER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::machine::io::Input;
    use ftps_proto::machine::{Mode, Rules};
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn replies_that_nobody_reads_hold_back_the_commands_behind_them() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut control = Control::new(ours);
        let mut machine = Machine::new(Rules::new("192.0.2.1".parse().unwrap()), Mode::Explicit);
        machine.input(Input::Bytes(&b"HELP\n".repeat(400)));
        let mut replies = 0;
        let mut obey = |control: &mut Control<_>, machine: &mut Machine| {
            while let Some(action) = control.next(machine) {
                if let Action::Reply(reply) = action {
                    control.queue(&reply);
                    replies += 1;
                }
            }
        };
        obey(&mut control, &mut machine);
        assert!(control.backlogged() && control.out.len() < 2 * BACKLOG, "{}", control.out.len());
        let reader = tokio::spawn(async move { theirs.read_to_end(&mut Vec::new()).await });
        while control.waiting_since().is_some() {
            control.flush(Duration::from_secs(20)).await.unwrap();
            obey(&mut control, &mut machine);
        }
        assert_eq!(replies, 401, "the greeting and every HELP");
        drop(control);
        reader.await.unwrap().unwrap();
    }
}
