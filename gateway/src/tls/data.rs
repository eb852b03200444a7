//! The TLS side of a data connection, from the bytes that were read to find its owner.
//!
//! Gets: the configuration for the session, the bytes with a whole ClientHello. Gives: a connection that the data room drives itself,
//! because it holds tickets back on uploads. Never: reads or writes a socket.

use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{ServerConfig, ServerConnection};

/// Starts the server side with the hello that was read. Second in the result: the bytes behind the hello, not yet given to the connection.
///
/// # Errors
/// What rustls says of the hello, and the alert to send to the client (maybe empty).
pub fn data_connection(config: Arc<ServerConfig>, hello_bytes: &[u8]) -> Result<(ServerConnection, Vec<u8>), (rustls::Error, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = hello_bytes;
    while let Some((record, behind)) = split_record(rest) {
        rest = behind;
        if let Some(accepted) = feed(&mut acceptor, record)? {
            let connection = accepted.into_connection(config).map_err(with_alert)?;
            return Ok((connection, rest.to_vec()));
        }
    }
    Err((rustls::Error::General("the ClientHello is not whole".to_owned()), Vec::new()))
}

/// Gives one record to the acceptor; the hello, once it is whole.
pub(super) fn feed(acceptor: &mut Acceptor, mut record: &[u8]) -> Result<Option<Accepted>, (rustls::Error, Vec<u8>)> {
    while !record.is_empty() {
        acceptor.read_tls(&mut record).map_err(|error| (rustls::Error::General(error.to_string()), Vec::new()))?;
        if let Some(accepted) = acceptor.accept().map_err(with_alert)? {
            return Ok(Some(accepted));
        }
    }
    Ok(None)
}

/// The first record and what follows it; `None` when it is not whole.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, _, _, high, low, ..] = bytes else { return None };
    bytes.split_at_checked(RECORD_HEAD + usize::from(u16::from_be_bytes([*high, *low])))
}

fn with_alert((error, mut alert): (rustls::Error, AcceptedAlert)) -> (rustls::Error, Vec<u8>) {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = alert.write_all(&mut bytes);
    (error, bytes)
}

/// Type, version, length.
pub(super) const RECORD_HEAD: usize = 5;
