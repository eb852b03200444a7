//! Calls to peers: connections that are kept and used again, each call with a deadline.
//!
//! Gets: an address, a path, a body. Gives: the answer, or why there is none.
//! Never: sends a call twice that may have arrived, more than 64 calls to one address at once, reads more than 16 MiB.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::handlers::Refused;
use super::keys::Keys;
use super::{ANSWERED_BY, CALL, ELSEWHERE};
use crate::net::listener::tune;
use crate::observe::id::{Incarnation, Ulid};

/// Why a peer did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// It holds no line of our secret file, or is no gateway of this cluster.
    #[error("it holds none of our secrets")]
    NoCommonSecret,
    /// The deadline passed.
    #[error("no answer in time")]
    Silent,
    /// Another node answers at its address: it was started again, or the address was given to another one.
    #[error("another node answers there")]
    Elsewhere,
    /// It answered with a refusal.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The connection broke, or what came back is no answer of a peer.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// One call.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) body: Vec<u8>,
    pub(super) within: Duration,
    /// Whom it is meant for; `None`: whoever is there.
    pub(super) to: Option<Incarnation>,
}

/// Connections to peers, by address.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<SocketAddr, Arc<Link>>>);

#[derive(Debug)]
struct Link {
    idle: Mutex<Vec<(Sender, Instant)>>,
    calls: Semaphore,
}

type Sender = SendRequest<Full<Bytes>>;

impl Links {
    /// Asks whoever is at `address`. Gives the body, and who answered.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn ask(&self, address: SocketAddr, keys: &Keys, me: &[(&'static str, String)], question: Question<'_>) -> Result<Vec<u8>, AskError> {
        let deadline = Instant::now() + question.within;
        let link = self.link(address);
        timeout_at(deadline, link.ask(address, keys, me, question)).await.unwrap_or(Err(AskError::Silent))
    }

    /// Closes what was idle too long, and forgets addresses that nobody calls.
    pub(super) fn sweep(&self, now: Instant) {
        lock(&self.0).retain(|_, link| {
            let mut idle = lock(&link.idle);
            idle.retain(|(sender, since)| usable(sender, *since, now));
            !idle.is_empty() || link.calls.available_permits() < CALLS
        });
    }

    fn link(&self, address: SocketAddr) -> Arc<Link> {
        lock(&self.0).entry(address).or_insert_with(|| Arc::new(Link { idle: Mutex::default(), calls: Semaphore::new(CALLS) })).clone()
    }
}

impl Link {
    async fn ask(&self, address: SocketAddr, keys: &Keys, me: &[(&'static str, String)], question: Question<'_>) -> Result<Vec<u8>, AskError> {
        // Never closed, so there is always a place in the end.
        let _place = self.calls.acquire().await.map_err(|_| AskError::Silent)?;
        let mut request = request(me, question)?;
        if let Some(mut sender) = self.idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response).await,
                // It was closed meanwhile. What was not sent is given back, and may be sent anew.
                Err(mut error) => request = error.take_message().ok_or_else(|| broken(error.error()))?,
            }
        }
        let mut sender = connect(address, keys).await?;
        let response = sender.send_request(request).await.map_err(broken)?;
        self.finish(sender, response).await
    }

    async fn finish(&self, mut sender: Sender, response: Response<hyper::body::Incoming>) -> Result<Vec<u8>, AskError> {
        let status = response.status().as_u16();
        let answer = Limited::new(response.into_body(), LONGEST).collect().await.map_err(broken)?.to_bytes().to_vec();
        if sender.ready().await.is_ok() {
            let mut idle = lock(&self.idle);
            if idle.len() < KEPT {
                idle.push((sender, Instant::now()));
            }
        }
        match status {
            200 => Ok(answer),
            ELSEWHERE => Err(AskError::Elsewhere),
            other => Err(Refused::of_status(other).into()),
        }
    }

    /// The connection used last, so that the others may grow old and go.
    fn idle(&self) -> Option<Sender> {
        let mut idle = lock(&self.idle);
        let now = Instant::now();
        idle.retain(|(sender, since)| usable(sender, *since, now));
        idle.pop().map(|(sender, _)| sender)
    }
}

/// Opens a connection for data to a peer: what follows is the relay's.
///
/// # Errors
/// What the system says, or that the deadline passed.
pub(super) async fn connect_data(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let connect = async {
        let mut stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        stream.write_all(&[super::DATA]).await?;
        Ok(stream)
    };
    tokio::time::timeout(within, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection under the newest line that both hold.
async fn connect(address: SocketAddr, keys: &Keys) -> Result<Sender, AskError> {
    for line in keys.lines() {
        let mut stream = TcpStream::connect(address).await.map_err(AskError::Unreachable)?;
        tune(&stream).map_err(AskError::Unreachable)?;
        stream.write_all(&[CALL]).await.map_err(AskError::Unreachable)?;
        let stream = match TlsConnector::from(line.client.clone()).connect(line.server_name.clone(), stream).await {
            Ok(stream) => stream,
            Err(error) if is_refusal(&error) => continue,
            Err(error) => return Err(broken(error)),
        };
        let (sender, connection) = http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends when the sender is dropped, by us or by `sweep`.
        tokio::spawn(connection);
        return Ok(sender);
    }
    Err(AskError::NoCommonSecret)
}

fn request(me: &[(&'static str, String)], question: Question<'_>) -> Result<Request<Full<Bytes>>, AskError> {
    let mut request = Request::post(format!("/peer/v1/{}", question.path)).header(HOST, "peer");
    for (name, value) in me {
        request = request.header(*name, value);
    }
    if let Some(to) = question.to {
        request = request.header(ANSWERED_BY, to.to_string());
    }
    request.body(Full::new(question.body.into())).map_err(broken)
}

/// The peer holds no such line (RFC 8446 §6.2: what rustls says when no key was chosen).
fn is_refusal(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied | AlertDescription::UnrecognisedName)))
}

fn usable(sender: &Sender, since: Instant, now: Instant) -> bool {
    !sender.is_closed() && now.saturating_duration_since(since) < IDLE
}

/// The id in a header.
pub(super) fn id(value: Option<&hyper::header::HeaderValue>) -> Option<Incarnation> {
    Ulid::parse(value?.to_str().ok()?).map(Incarnation)
}

fn broken(error: impl ToString) -> AskError {
    AskError::Broken(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls to one address at once; the others wait, within their deadlines.
const CALLS: usize = 64;
/// Idle connections to one address.
const KEPT: usize = 8;
/// How long they are kept: less than the other side waits for the next call.
const IDLE: Duration = Duration::from_secs(20);
/// Bytes of an answer.
const LONGEST: usize = 16 << 20;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 16 * 1024;
