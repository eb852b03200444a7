//! One TLS handshake on a data connection, from its ClientHello to the client's Finished.
//!
//! Gets: an arrival and the session's TLS configuration. Gives: a finished connection and how it came to its keys, or why not.
//! Never: writes a TLS 1.3 ticket (they stay queued), decides whether the connection is taken.

use std::sync::Arc;
use std::time::Duration;

use ftps_proto::hello::ClientHello;
use rustls::{ServerConfig, ServerConnection};
use tokio::time::{Instant, timeout};

use super::link::{Cut, Link};
use crate::net::Arrival;
use crate::observe::event::{HandshakeFailure, Resumed, TlsVersion};
use crate::tls;

/// A connection whose handshake is over.
pub(super) struct Finished {
    pub(super) link: Box<Link>,
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

/// Looks at the client's certificate once more; the connection is ended when it is not good.
pub(super) fn check(finished: Finished, good: impl Fn(&ServerConnection) -> Result<(), String>) -> Result<Finished, Failed> {
    match good(&finished.link.tls) {
        Ok(()) => Ok(finished),
        Err(detail) => {
            refuse(finished);
            Err(Failed { reason: HandshakeFailure::ClientCertificate, detail })
        }
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
    let (connection, rest) = match tls::data_connection(config, &read) {
        Ok(begun) => begun,
        Err((error, alert)) => {
            // Best effort: it tells the client why.
            let _ = stream.try_write(&alert);
            return Err(failed(&error));
        }
    };
    // Boxed: it is large, and goes through many hands.
    let mut link = Box::new(Link::new(stream, connection, &read[..read.len() - rest.len()]));
    let mut unread = feed(&mut link, rest)?;
    let mut buffer = vec![0; READ];
    while link.tls.is_handshaking() {
        link.flush(DEADLINE).await?;
        let count = link.read(&mut buffer, Instant::now() + DEADLINE).await?.ok_or(Cut::Broken)?;
        unread.extend_from_slice(&buffer[..count]);
        unread = feed(&mut link, unread)?;
    }
    let version = tls::version(&link.tls);
    if version == TlsVersion::Tls12 {
        // Our Finished, which the client waits for. Under TLS 1.3 what is queued now are tickets.
        link.flush(DEADLINE).await?;
    }
    let resumed = tls::resumed(hello, &link.tls);
    Ok(Finished { link, unread, version, resumed })
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

fn failed(error: &rustls::Error) -> Failed {
    Failed { reason: tls::failure(error), detail: error.to_string() }
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

/// From delivery to the client's Finished.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes read at once during a handshake.
const READ: usize = 4096;
