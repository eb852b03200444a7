//! The handshake of a control connection, on any stream.
//!
//! Gets: a stream at the first byte of TLS, the keys of a new session, a deadline. Gives: the TLS stream and what is known of it, or why not.
//! Reads record by record, so nothing behind the ClientHello is ever taken from the stream and no copy of the hello outlives the handshake.
//! Never: reads more than 64 KiB before the handshake, waits longer than the deadline.

use std::io;
use std::sync::Arc;

use ftps_proto::hello::{ClientHello, HelloFault, HelloReader, Progress};
use rustls::server::{Accepted, Acceptor};
use rustls::{AlertDescription, ServerConnection};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::data::{RECORD_HEAD, feed};
use super::{ClientCertificate, Facts, SessionKeys, Tls};
use crate::observe::event::HandshakeFailure;

/// A control connection after its handshake.
#[derive(Debug)]
pub struct Secured<IO> {
    /// The stream.
    pub stream: TlsStream<IO>,
    /// Version, resumption, family.
    pub facts: Facts,
    /// What the client showed, if it was asked to.
    pub certificate: Option<ClientCertificate>,
    /// The host that the client asked for (SNI).
    pub server_name: Option<String>,
    /// SHA-256 of what tells one TLS client from another; the same for its first and its resumed handshakes.
    pub fingerprint: [u8; 32],
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct AcceptError {
    /// As a label.
    pub failure: HandshakeFailure,
    /// In the words of the library, for the log.
    pub detail: String,
}

/// Does the handshake until `deadline`. On failure the alert has been sent, as far as the stream took it, and the stream is gone.
///
/// # Errors
/// Why there is no TLS.
pub async fn accept<IO>(tls: &Tls, keys: &Arc<SessionKeys>, mut io: IO, deadline: Instant) -> Result<Secured<IO>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let work = async {
        let (accepted, hello) = read_hello(&mut io).await?;
        let config = tls.for_control(&hello, keys).await;
        let stream = StartHandshake::from_parts(accepted, io).into_stream(config).await.map_err(|error| of_io(&error))?;
        let finished = tls.control_finished(keys, &hello, connection(&stream));
        let (facts, certificate) = finished.map_err(|error| AcceptError { failure: failure(&error), detail: error.to_string() })?;
        let server_name = connection(&stream).server_name().map(str::to_owned);
        Ok(Secured { stream, facts, certificate, server_name, fingerprint: Sha256::digest(&hello.fingerprint).into() })
    };
    match timeout_at(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(AcceptError { failure: HandshakeFailure::Timeout, detail: "the handshake took longer than its deadline".to_owned() }),
    }
}

/// The label of an error of rustls.
pub fn failure(error: &rustls::Error) -> HandshakeFailure {
    match error {
        rustls::Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        rustls::Error::PeerIncompatible(_) => HandshakeFailure::NoCommonParameters,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertRevocationList(_) => {
            HandshakeFailure::ClientCertificate
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => HandshakeFailure::CertificateRefused,
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
                HandshakeFailure::NoCommonParameters
            }
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => HandshakeFailure::Closed,
            _ => HandshakeFailure::Other,
        },
        _ => HandshakeFailure::Other,
    }
}

/// Reads exactly the records of the ClientHello.
async fn read_hello<IO: AsyncRead + AsyncWrite + Unpin>(io: &mut IO) -> Result<(Accepted, ClientHello), AcceptError> {
    let mut reader = HelloReader::new();
    let hello = loop {
        match read_record(io, &mut reader).await? {
            Progress::More => {}
            Progress::Done(hello) => break hello,
            Progress::Fault(fault) => return Err(refuse_hello(io, fault).await),
        }
    };
    let (error, alert) = match feed(&mut Acceptor::default(), &reader.into_bytes()) {
        Ok(Some(accepted)) => return Ok((accepted, hello)),
        Ok(None) => (rustls::Error::General("the ClientHello is not whole".to_owned()), Vec::new()),
        Err(refused) => refused,
    };
    send_alert(io, &alert).await;
    Err(AcceptError { failure: failure(&error), detail: error.to_string() })
}

/// One record: its first byte alone (clear text may be shorter than a record's head), the rest of the head, the body.
async fn read_record<IO: AsyncRead + Unpin>(io: &mut IO, reader: &mut HelloReader) -> Result<Progress, AcceptError> {
    let mut head = [0; RECORD_HEAD];
    let (first, rest) = head.split_at_mut(1);
    for part in [first, rest] {
        io.read_exact(part).await.map_err(|error| of_io(&error))?;
        let progress = reader.push(part);
        if progress != Progress::More {
            return Ok(progress);
        }
    }
    // The reader has checked the length: at most 16 KiB a record, 64 KiB in all.
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    io.read_exact(&mut body).await.map_err(|error| of_io(&error))?;
    Ok(reader.push(&body))
}

async fn refuse_hello<IO: AsyncWrite + Unpin>(io: &mut IO, fault: HelloFault) -> AcceptError {
    let (failure, detail) = match fault {
        HelloFault::NotTls => (HandshakeFailure::NotTls, "the first bytes are no TLS handshake"),
        HelloFault::TooLong => (HandshakeFailure::Other, "the ClientHello is too long"),
        HelloFault::Malformed => (HandshakeFailure::Other, "the ClientHello is malformed"),
    };
    if fault != HelloFault::NotTls {
        send_alert(io, &DECODE_ERROR).await;
    }
    AcceptError { failure, detail: detail.to_owned() }
}

/// The client may be gone; the error that led here is what counts.
async fn send_alert<IO: AsyncWrite + Unpin>(io: &mut IO, alert: &[u8]) {
    if io.write_all(alert).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

fn connection<IO>(stream: &TlsStream<IO>) -> &ServerConnection {
    stream.get_ref().1
}

fn of_io(error: &io::Error) -> AcceptError {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(failure);
    let failure = of_tls.unwrap_or(match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            HandshakeFailure::Closed
        }
        io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        _ => HandshakeFailure::Other,
    });
    AcceptError { failure, detail: error.to_string() }
}

/// A fatal alert in clear: handshake over TLS 1.2's record version, decode_error (RFC 8446 §6).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
