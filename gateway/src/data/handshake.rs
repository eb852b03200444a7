//! One TLS handshake on a data connection, from its ClientHello to the client's Finished.
//!
//! Gets: an arrival and the session's TLS configuration. Gives: a finished connection and how it came to its keys, or why not.
//! Never: writes a TLS 1.3 ticket (they stay queued), decides whether the connection is taken.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use ftps_proto::hello::ClientHello;
use rustls::server::Acceptor;
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::time::{Instant, timeout};

use super::link::{Cut, Link};
use crate::net::Arrival;
use crate::observe::event::{HandshakeFailure, Resumed, TlsVersion};

/// A connection whose handshake is over.
pub(super) struct Finished {
    pub(super) link: Link,
    /// Ciphertext that came along behind the handshake and that TLS has not seen.
    pub(super) unread: Vec<u8>,
    pub(super) version: TlsVersion,
    pub(super) resumed: Resumed,
}

/// Why there is none.
pub(super) struct Failed {
    pub(super) reason: HandshakeFailure,
    pub(super) detail: String,
}

/// Runs the handshake; 10 s.
pub(super) async fn run(arrival: Arrival, hello: &ClientHello, config: Arc<ServerConfig>) -> Result<Finished, Failed> {
    match timeout(DEADLINE, negotiate(arrival, hello, config)).await {
        Ok(result) => result,
        Err(_) => Err(Failed { reason: HandshakeFailure::Timeout, detail: "the client did not finish the handshake in time".into() }),
    }
}

/// Ends a connection that is not taken. A ticket that is queued would prove the session the next time: then it ends without
/// close_notify, which cannot be written alone.
pub(super) fn refuse(finished: Finished) {
    let mut link = finished.link;
    if !link.tls.wants_write() {
        link.tls.send_close_notify();
        let _ = link.flush_now();
    }
}

async fn negotiate(arrival: Arrival, hello: &ClientHello, config: Arc<ServerConfig>) -> Result<Finished, Failed> {
    let Arrival { stream, read, .. } = arrival;
    let (tls, taken) = match begin(config, &read) {
        Ok(begun) => begun,
        Err((error, alert)) => {
            // Best effort: it tells the client why.
            let _ = stream.try_write(&alert);
            return Err(failed(&error));
        }
    };
    let mut link = Link::new(stream, tls, &read[..taken]);
    let mut unread = feed(&mut link, read[taken..].to_vec())?;
    let mut buffer = vec![0; READ];
    while link.tls.is_handshaking() {
        link.flush(DEADLINE).await?;
        let count = link.read(&mut buffer, Instant::now() + DEADLINE).await?.ok_or(Cut::Broken)?;
        unread.extend_from_slice(&buffer[..count]);
        unread = feed(&mut link, unread)?;
    }
    let version = match link.tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        // Nothing older is compiled in.
        _ => TlsVersion::Tls12,
    };
    if version == TlsVersion::Tls12 {
        // Our Finished, which the client waits for. Under TLS 1.3 what is queued now are tickets.
        link.flush(DEADLINE).await?;
    }
    let resumed = how(&link.tls, version, hello);
    Ok(Finished { link, unread, version, resumed })
}

/// Starts TLS with the ClientHello; returns how many bytes it took, or the error and the alert to send.
fn begin(config: Arc<ServerConfig>, bytes: &[u8]) -> Result<(ServerConnection, usize), (rustls::Error, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    loop {
        let read = acceptor.read_tls(&mut rest).map_err(|error| (rustls::Error::General(error.to_string()), Vec::new()))?;
        let words = |(error, mut alert): (rustls::Error, rustls::server::AcceptedAlert)| {
            let mut bytes = Vec::new();
            let _ = alert.write_all(&mut bytes);
            (error, bytes)
        };
        if let Some(accepted) = acceptor.accept().map_err(words)? {
            let tls = accepted.into_connection(config).map_err(words)?;
            return Ok((tls, bytes.len() - rest.len()));
        }
        if read == 0 {
            return Err((rustls::Error::General("the ClientHello is not whole".into()), Vec::new()));
        }
    }
}

/// Feeds TLS until the handshake is over; returns what is left. The alert of an error is sent.
fn feed(link: &mut Link, bytes: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && link.tls.is_handshaking() {
        match link.feed(rest) {
            Ok(0) => break,
            Ok(taken) => rest = &rest[taken..],
            Err(error) => {
                let _ = link.flush_now();
                return Err(failed(&error));
            }
        }
    }
    Ok(rest.to_vec())
}

fn how(tls: &ServerConnection, version: TlsVersion, hello: &ClientHello) -> Resumed {
    match tls.handshake_kind() {
        Some(HandshakeKind::Resumed) if version == TlsVersion::Tls13 => Resumed::Ticket,
        Some(HandshakeKind::Resumed) if hello.ticket.as_ref().is_some_and(|ticket| !ticket.is_empty()) => Resumed::Ticket,
        Some(HandshakeKind::Resumed) => Resumed::SessionId,
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => Resumed::Full,
    }
}

fn failed(error: &rustls::Error) -> Failed {
    Failed { reason: reason(error), detail: error.to_string() }
}

/// The reason as a label. Errors of TLS are an open set, so here the rest has an arm of its own.
fn reason(error: &rustls::Error) -> HandshakeFailure {
    match error {
        rustls::Error::PeerIncompatible(_) => HandshakeFailure::NoCommonParameters,
        rustls::Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => HandshakeFailure::ClientCertificate,
        rustls::Error::InvalidMessage(_) => HandshakeFailure::NotTls,
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA => HandshakeFailure::CertificateRefused,
            AlertDescription::CloseNotify => HandshakeFailure::Closed,
            _ => HandshakeFailure::Other,
        },
        _ => HandshakeFailure::Other,
    }
}

impl From<Cut> for Failed {
    fn from(cut: Cut) -> Self {
        let reason = match cut {
            Cut::Broken => HandshakeFailure::Closed,
            Cut::Stalled => HandshakeFailure::Timeout,
        };
        Self { reason, detail: cut.to_string() }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        let reason = if error.kind() == ErrorKind::TimedOut { HandshakeFailure::Timeout } else { HandshakeFailure::Closed };
        Self { reason, detail: error.to_string() }
    }
}

/// From delivery to the client's Finished.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes read at once during a handshake.
const READ: usize = 4096;
