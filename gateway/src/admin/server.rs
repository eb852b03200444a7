//! HTTP/1.1 for a few callers that may be hostile: bounded in connections, in time and in bytes.
//!
//! Gets: a listener, its TLS if it has one, and a router. Gives: answers, until it is told to end; then running requests have two seconds.
//! Never: more than 64 connections at once; a connection that sends no whole head within 5 s, or lives longer than 60 s (who watches events: an hour).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::access::Caller;
use super::calls::LONGEST_WATCH;
use crate::auth::CertificateIdentity;
use crate::net::listener::Listener;
use crate::tls::{self, Sidecar};

/// Serves until `shutdown`, and until the connections have ended.
pub(super) async fn serve(listener: TcpListener, tls: Sidecar, router: Router, shutdown: CancellationToken) {
    let listener = Listener::new(listener);
    let mut connections = JoinSet::new();
    loop {
        // With all places taken newcomers wait in the backlog; a place is free within seconds, because no connection may idle.
        let full = connections.len() >= CONNECTIONS;
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer) = listener.accept(|error| tracing::warn!(%error, "cannot accept connections, trying again")), if !full => {
                connections.spawn(connection(stream, peer, tls.config(), router.clone(), shutdown.clone()));
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // What is left then is aborted by dropping the set.
    let _ = tokio::time::timeout(GRACE, all).await;
}

/// One connection, with or without TLS.
async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerConfig>>, router: Router, shutdown: CancellationToken) {
    let local = stream.local_addr().unwrap_or(peer);
    let caller = Caller { peer, local, certificate: None, patient: Arc::default() };
    let Some(config) = tls else { return requests(stream, caller, router, shutdown).await };
    match timeout(HEAD, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = leaf.map(|leaf| Arc::new(identity(tls::client_certificate(leaf))));
            requests(stream, Caller { certificate, ..caller }, router, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

fn identity(certificate: tls::ClientCertificate) -> CertificateIdentity {
    let tls::ClientCertificate { common_name, alt_names, sha256 } = certificate;
    CertificateIdentity { common_name, alt_names, sha256 }
}

/// Requests one after another, as long as each head comes in time.
async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, caller: Caller, router: Router, shutdown: CancellationToken) {
    let patient = caller.patient.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        router.call(request)
    });
    // A connection that is gone already is noticed by its first read.
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = async {
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = shutdown.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    let mut ended = std::pin::pin!(ended);
    let mut answer = timeout(LIFE, &mut ended).await;
    if answer.is_err() && patient.load(Ordering::Relaxed) {
        answer = timeout(LONGEST_WATCH, ended).await;
    }
    match answer {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(_) => tracing::debug!("connection ended: too old"),
    }
}

/// Connections at once.
const CONNECTIONS: usize = 64;
/// For the head of a request, also while a kept connection waits for one.
const HEAD: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// Of a connection; ends those that do not read their answer.
const LIFE: Duration = Duration::from_secs(60);
/// For running requests at the end.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(serve(listener, Sidecar::default(), router, CancellationToken::new()));
        address
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        let address = server().await;
        let mut slow = TcpStream::connect(&address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(LONG, slow.read_to_end(&mut answer)).await.expect("closed by the server").unwrap();
        assert!(!answer.ends_with(b"here"));
    }

    #[tokio::test]
    async fn with_all_places_taken_a_request_is_served_when_one_is_free() {
        let address = server().await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(&address).await.unwrap());
        }
        let mut request = TcpStream::connect(&address).await.unwrap();
        request.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LONG, request.read_to_string(&mut answer)).await.expect("served").unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        drop(idle);
    }

    #[tokio::test]
    async fn a_huge_head_is_refused() {
        let address = server().await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("closed by the server");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
}
