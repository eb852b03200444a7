//! The peer port: data connections (`D`) and calls (`C`) of other nodes, told apart by their first byte.
//!
//! Gets: a listener, the handlers of the rooms. Gives: answers to peers that prove one of our secrets; data connections to whoever relays them.
//! Never: serves anybody whose handshake did not prove a secret; holds more than 512 strangers, or one of them for longer than 5 s.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{CertificateError, Error as TlsError, InvalidMessage};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::handlers::{Caller, DataLink, Handlers, Refused};
use super::{ANSWERED_BY, CALL, CALLER, CALLER_NAME, Cluster, DATA, ELSEWHERE, link};
use crate::net::listener::Listener;
use crate::observe::peers::PeerRefusal;
use crate::observe::{Event, PeerEvent, Subject};

/// Serves peers until `stop`; running answers then have a second.
pub(super) async fn serve(listener: TcpListener, cluster: Cluster, handlers: Arc<Handlers>, stop: CancellationToken) {
    let listener = Listener::new(listener);
    let door = Door { cluster, handlers, strangers: Arc::new(Semaphore::new(STRANGERS)), peers: Arc::new(Semaphore::new(PEERS)) };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, from) = listener.accept(|error| tracing::warn!(%error, "cannot accept peers, trying again")) => match door.strangers.clone().try_acquire_owned() {
                Ok(stranger) => drop(connections.spawn(door.clone().connection(stream, from, stranger, stop.clone()))),
                Err(_full) => door.refuse(from, PeerRefusal::TooMany),
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // What is left then is aborted by dropping the set.
    let _ = timeout(GRACE, all).await;
}

#[derive(Clone)]
struct Door {
    cluster: Cluster,
    handlers: Arc<Handlers>,
    strangers: Arc<Semaphore>,
    peers: Arc<Semaphore>,
}

impl Door {
    async fn connection(self, mut stream: TcpStream, from: SocketAddr, stranger: OwnedSemaphorePermit, stop: CancellationToken) {
        let deadline = Instant::now() + PROOF;
        match timeout_at(deadline, stream.read_u8()).await {
            Ok(Ok(CALL)) => match self.secure(stream, deadline).await {
                Ok(stream) => {
                    drop(stranger);
                    match self.peers.clone().try_acquire_owned() {
                        Ok(_place) => self.calls(stream, from, stop).await,
                        Err(_full) => self.refuse(from, PeerRefusal::TooMany),
                    }
                }
                Err(reason) => self.refuse(from, reason),
            },
            Ok(Ok(DATA)) => self.handlers.data(DataLink { stream, from, stranger }).await,
            Ok(Ok(_)) => self.refuse(from, PeerRefusal::FirstByte),
            Ok(Err(_gone)) => self.refuse(from, PeerRefusal::Closed),
            Err(_late) => self.refuse(from, PeerRefusal::Timeout),
        }
    }

    async fn secure(&self, stream: TcpStream, deadline: Instant) -> Result<TlsStream<TcpStream>, PeerRefusal> {
        let config = self.cluster.keys().map(|keys| keys.server()).ok_or(PeerRefusal::NoCommonSecret)?;
        match timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_late) => Err(PeerRefusal::Timeout),
        }
    }

    async fn calls(&self, stream: TlsStream<TcpStream>, from: SocketAddr, stop: CancellationToken) {
        let service = service_fn(move |request| self.answer(request, from));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        // How a peer leaves is seen by the heartbeat.
        let _ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
    }

    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (status, body) = match self.call(request, from).await {
            Ok(body) => (200, body),
            Err(Stop::Elsewhere) => (ELSEWHERE, Vec::new()),
            Err(Stop::Refused(refused)) => (refused.status(), Vec::new()),
        };
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Ok(response)
    }

    async fn call(&self, request: Request<Incoming>, from: SocketAddr) -> Result<Vec<u8>, Stop> {
        let head = request.headers();
        // Whoever follows on an address does not answer for the one before.
        if link::id(head.get(ANSWERED_BY)).is_some_and(|wanted| wanted != self.cluster.incarnation()) {
            return Err(Stop::Elsewhere);
        }
        let incarnation = link::id(head.get(CALLER)).ok_or(Refused::Invalid)?;
        let name = head.get(CALLER_NAME).and_then(|name| name.to_str().ok()).ok_or(Refused::Invalid)?.to_owned();
        let call = request.uri().path().strip_prefix("/peer/v1/").and_then(|path| self.handlers.call(path)).ok_or(Refused::NotFound)?;
        if request.method() != Method::POST {
            return Err(Refused::Invalid.into());
        }
        let body = timeout(BODY, Limited::new(request.into_body(), call.longest).collect()).await.map_err(|_| Refused::NotNow)?;
        let body = body.map_err(|error| if error.is::<LengthLimitError>() { Refused::TooLong } else { Refused::Invalid })?;
        Ok(call.answer(Caller { name, incarnation, address: from }, body.to_bytes().to_vec()).await?)
    }

    fn refuse(&self, from: SocketAddr, reason: PeerRefusal) {
        self.cluster.observer().event(Subject { peer: Some(from), ..Subject::default() }, &Event::Peer(PeerEvent::Refused { reason }));
    }
}

/// Why a call has no answer.
enum Stop {
    Elsewhere,
    Refused(Refused),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What a failed handshake was.
fn reason(error: &io::Error) -> PeerRefusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        // What rustls says when the resolver has no key for the name.
        Some(TlsError::General(_)) => PeerRefusal::NoCommonSecret,
        Some(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure) | TlsError::NoCertificatesPresented) => PeerRefusal::ForeignKey,
        Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::MessageTooLarge | InvalidMessage::UnknownProtocolVersion)) => {
            PeerRefusal::NotTls
        }
        Some(_) => PeerRefusal::Handshake,
        None => PeerRefusal::Closed,
    }
}

/// Connections that have proved nothing yet.
const STRANGERS: usize = 512;
/// Connections of peers: with the longest pool on their side enough for more than 100 nodes.
const PEERS: usize = 1024;
/// From accept to the end of the handshake.
const PROOF: Duration = Duration::from_secs(5);
/// How long a peer may wait with its next call. Longer than a peer keeps an idle connection.
const IDLE: Duration = Duration::from_secs(60);
/// For a body to arrive.
const BODY: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 32;
/// For running answers at the end.
const GRACE: Duration = Duration::from_secs(1);
