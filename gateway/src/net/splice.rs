//! Two TCP connections as one: bytes go from one to the other within the kernel, by splice(2).
//!
//! Gets: a client's connection and one to its owner. Gives: the end of it, and how many bytes went each way.
//! A pipe is borrowed only while bytes are in it, so that a thousand idle connections hold none (an unprivileged user has 1,024 of usual size, pipe(7)); where
//! there is none to be had, bytes are copied. Slow readers slow the writer down. FIN and RST pass as they are.
//! Never: ends a side with FIN that the other side did not end with FIN: a task that is dropped and a process that is killed reset both.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Pipes that wait to be borrowed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Mutex<Vec<Pipe>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Bytes that were carried.
#[derive(Debug, Default)]
pub struct Carried {
    /// From the client to the owner.
    pub to_owner: AtomicU64,
    /// From the owner to the client.
    pub to_client: AtomicU64,
}

/// Why it did not end well. Both sides are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The client's connection was reset or broke.
    Client,
    /// The owner's connection was reset or broke.
    Owner,
    /// No byte moved for too long.
    Stalled,
}

impl Pipes {
    /// At most `most` at a time; those beyond are copied.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), places: Arc::new(Semaphore::new(most)) }))
    }

    fn borrow(&self) -> Held {
        let place = self.0.places.clone().try_acquire_owned().ok();
        let idle = || self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let new = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok().map(|(read, write)| Pipe { read, write });
        match place.and_then(|place| Some((idle().or_else(new)?, place))) {
            Some((pipe, place)) => Held::Pipe { pipe: Some(pipe), filled: 0, pipes: self.clone(), _place: place },
            None => Held::Copy { bytes: Vec::new(), sent: 0 },
        }
    }
}

impl Default for Pipes {
    fn default() -> Self {
        Self::new(MOST)
    }
}

/// Carries bytes both ways until both have ended. `idle`: how long nothing may move.
///
/// # Errors
/// It broke, and the side that is left has been reset.
pub async fn relay(client: TcpStream, owner: TcpStream, pipes: &Pipes, carried: &Carried, idle: Duration) -> Result<(), Broken> {
    // From here on a close is a reset, whoever does it: a FIN says that all bytes came, and only the other side can know that.
    for socket in [&client, &owner] {
        let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }
    let watch = Watch { carried, idle };
    let up = one_way((&client, Broken::Client), (&owner, Broken::Owner), pipes, &carried.to_owner, watch);
    let down = one_way((&owner, Broken::Owner), (&client, Broken::Client), pipes, &carried.to_client, watch);
    both(up, down, &client).await?;
    for socket in [&client, &owner] {
        let _ = SockRef::from(socket).set_linger(None);
    }
    Ok(())
}

/// Waits for both ways. Once the owner has said all, the client may take its time only for a while, and what it still sends is of no use to anybody: it is read,
/// because unread bytes would make a reset of the close, and a reset takes from the client what it has not read yet.
async fn both(up: impl Future<Output = Result<(), Broken>>, down: impl Future<Output = Result<(), Broken>>, client: &TcpStream) -> Result<(), Broken> {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        ended = &mut up => {
            ended?;
            down.await
        }
        ended = &mut down => {
            ended?;
            if let Ok(Err(_)) = timeout(LINGER, up).await {
                let _ = timeout(LINGER, swallow(client)).await;
            }
            Ok(())
        }
    }
}

/// Looks after waits: nothing has moved either way for `idle`.
#[derive(Clone, Copy)]
struct Watch<'a> {
    carried: &'a Carried,
    idle: Duration,
}

impl Watch<'_> {
    async fn ready(self, socket: (&TcpStream, Broken), interest: Interest) -> Result<(), Broken> {
        loop {
            let seen = self.moved();
            match timeout(self.idle, socket.0.ready(interest)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(socket.1),
                Err(_) if self.moved() == seen => return Err(Broken::Stalled),
                Err(_) => {}
            }
        }
    }

    fn moved(self) -> u64 {
        self.carried.to_owner.load(Ordering::Relaxed).wrapping_add(self.carried.to_client.load(Ordering::Relaxed))
    }
}

async fn one_way(from: (&TcpStream, Broken), to: (&TcpStream, Broken), pipes: &Pipes, count: &AtomicU64, watch: Watch<'_>) -> Result<(), Broken> {
    loop {
        watch.ready(from, Interest::READABLE).await?;
        let mut held = pipes.borrow();
        match held.fill(from.0) {
            Ok(0) => return SockRef::from(to.0).shutdown(Shutdown::Write).map_err(|_| to.1),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return Err(from.1),
        }
        while !held.is_empty() {
            match held.empty_into(to.0) {
                Ok(sent) => drop(count.fetch_add(sent as u64, Ordering::Relaxed)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => watch.ready(to, Interest::WRITABLE).await?,
                Err(_) => return Err(to.1),
            }
        }
    }
}

/// Reads to the end and keeps nothing.
async fn swallow(stream: &TcpStream) {
    let mut buffer = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Bytes on their way.
enum Held {
    Pipe { pipe: Option<Pipe>, filled: usize, pipes: Pipes, _place: OwnedSemaphorePermit },
    Copy { bytes: Vec<u8>, sent: usize },
}

impl Held {
    fn is_empty(&self) -> bool {
        match self {
            Self::Pipe { filled, .. } => *filled == 0,
            Self::Copy { bytes, sent } => *sent == bytes.len(),
        }
    }

    /// Takes what the socket has, once. It must be empty: then only the socket can be what would block.
    fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        from.try_io(Interest::READABLE, || match self {
            Self::Pipe { pipe: Some(pipe), filled, .. } => {
                *filled = uninterrupted(|| splice(from, None, &pipe.write, None, AT_ONCE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))?;
                Ok(*filled)
            }
            Self::Pipe { pipe: None, .. } => Err(ErrorKind::BrokenPipe.into()),
            Self::Copy { bytes, sent } => {
                bytes.resize(COPIED, 0);
                let count = uninterrupted(|| rustix::io::read(from, &mut *bytes));
                bytes.truncate(*count.as_ref().unwrap_or(&0));
                *sent = 0;
                count
            }
        })
    }

    /// Gives the socket what it takes, once.
    fn empty_into(&mut self, to: &TcpStream) -> io::Result<usize> {
        to.try_io(Interest::WRITABLE, || match self {
            Self::Pipe { pipe: Some(pipe), filled, .. } => {
                let count = uninterrupted(|| splice(&pipe.read, None, to, None, *filled, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))?;
                *filled -= count;
                Ok(count)
            }
            Self::Pipe { pipe: None, .. } => Err(ErrorKind::BrokenPipe.into()),
            Self::Copy { bytes, sent } => {
                let count = uninterrupted(|| rustix::net::send(to, &bytes[*sent..], rustix::net::SendFlags::NOSIGNAL))?;
                *sent += count;
                Ok(count)
            }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A pipe with bytes of one client in it is never lent to another.
        if let Self::Pipe { pipe, filled: 0, pipes, .. } = self
            && let Some(pipe) = pipe.take()
        {
            let mut idle = pipes.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT {
                idle.push(pipe);
            }
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Pipes in use at most: half of what an unprivileged user may have at their usual size, so that another program of this user has some too.
const MOST: usize = 512;

/// Pipes kept for the next: more are hardly full at the same time.
const KEPT: usize = 32;

/// Bytes moved at once: a pipe of usual size.
const AT_ONCE: usize = 64 << 10;

/// Bytes copied at once where there is no pipe.
const COPIED: usize = 16 << 10;

/// For the client's end once the owner has said all.
const LINGER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
