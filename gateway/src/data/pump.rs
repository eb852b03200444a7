//! Moves bytes between file and wire.
//!
//! Gets: an open source or sink, an accepted data connection. Gives: how many bytes went over the wire and how it ended.
//! Dropping the future stops the transfer; what became of the file is then its owner's business.
//! Never: commits a file, decides whether a bare FIN is an end.

use std::sync::atomic::{AtomicU64, Ordering};

use ftps_proto::command::TransferType;
use ftps_proto::machine::io::FileError;
use tokio::task::coop::consume_budget;

use super::ascii::{FromWire, ToWire};
use super::stream::{Cut, End, Received, Receiver, Sender};
use crate::storage::{Reader, Writer};

/// Where the bytes of a download come from: a file, a listing.
pub trait Source {
    /// The next bytes, best 64 KiB; none at the end.
    fn read(&mut self) -> impl Future<Output = Result<&[u8], FileError>> + Send;
}

/// Where the bytes of an upload go.
pub trait Sink {
    /// Takes a buffer and gives one to fill: this one or another, empty.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, FileError>> + Send;
}

/// Why a transfer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PumpError {
    /// The file could not be read or written.
    #[error("the file could not be read or written: {0:?}")]
    File(FileError),
    /// The data connection was cut.
    #[error(transparent)]
    Cut(#[from] Cut),
}

/// Sends all of `source`, in the line ends of `kind`, and ends the stream. `progress` grows with the bytes on the wire. Returns their number.
///
/// # Errors
/// [`PumpError`]; the client then sees a stream without close_notify.
pub async fn send_file(mut sender: Sender, source: &mut impl Source, kind: TransferType, progress: &AtomicU64) -> Result<u64, PumpError> {
    let mut text = Text::of(kind);
    let mut total = 0;
    loop {
        let bytes = source.read().await.map_err(PumpError::File)?;
        if bytes.is_empty() {
            break;
        }
        let bytes = match &mut text {
            Text::Lines(converter, converted) => {
                converted.clear();
                converter.convert(bytes, converted);
                converted.as_slice()
            }
            Text::AsIs => bytes,
        };
        // A short chunk is mostly the last: it leaves together with close_notify.
        if bytes.len() < WHOLE {
            sender.queue(bytes).await?
        } else {
            sender.send(bytes).await?
        }
        total += bytes.len() as u64;
        progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // A fast client and a cached file never make us wait; others must get their turn.
        consume_budget().await;
    }
    sender.finish().await?;
    Ok(total)
}

/// Sends a listing and ends the stream. Lines leave as soon as they are there, so that a long listing begins at once.
///
/// # Errors
/// As [`send_file`].
pub async fn send_listing(mut sender: Sender, lines: &mut impl Source, progress: &AtomicU64) -> Result<u64, PumpError> {
    let mut total = 0;
    loop {
        let bytes = lines.read().await.map_err(PumpError::File)?;
        if bytes.is_empty() {
            break;
        }
        sender.send(bytes).await?;
        total += bytes.len() as u64;
        progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        consume_budget().await;
    }
    sender.finish().await?;
    Ok(total)
}

/// Receives all that the client sends into `sink`. Returns the number of bytes on the wire and how the client ended: only then may the file be committed,
/// and only then [`Receiver::close`] called.
///
/// # Errors
/// [`PumpError`]: the upload is to be thrown away.
pub async fn receive_file(receiver: &mut Receiver, sink: &mut impl Sink, kind: TransferType, progress: &AtomicU64) -> Result<(u64, End), PumpError> {
    let mut text = match kind {
        TransferType::Ascii => Some(FromWire::default()),
        TransferType::Image | TransferType::Unknown => None,
    };
    let (mut received, mut empty) = (Vec::new(), Vec::new());
    let mut total = 0;
    loop {
        let end = match receiver.recv(&mut received).await? {
            Received::Bytes => None,
            Received::End(end) => Some(end),
        };
        total += received.len() as u64;
        progress.fetch_add(received.len() as u64, Ordering::Relaxed);
        if let Some(converter) = &mut text {
            converter.convert(&received, &mut empty);
            if end.is_some() {
                converter.finish(&mut empty);
            }
            received.clear();
            std::mem::swap(&mut received, &mut empty);
        }
        if !received.is_empty() {
            received = sink.write(received).await.map_err(PumpError::File)?;
        }
        if text.is_some() {
            std::mem::swap(&mut received, &mut empty);
        }
        if let Some(end) = end {
            return Ok((total, end));
        }
        consume_budget().await;
    }
}

impl Source for Reader {
    fn read(&mut self) -> impl Future<Output = Result<&[u8], FileError>> + Send {
        Self::read(self)
    }
}

impl Sink for Writer {
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, FileError>> + Send {
        Self::write(self, bytes)
    }
}

/// What happens to line ends on the way out.
enum Text {
    AsIs,
    Lines(ToWire, Vec<u8>),
}

impl Text {
    fn of(kind: TransferType) -> Self {
        match kind {
            TransferType::Ascii => Self::Lines(ToWire::default(), Vec::new()),
            TransferType::Image | TransferType::Unknown => Self::AsIs,
        }
    }
}

/// A chunk of this size is not the last, as a rule.
const WHOLE: usize = 64 * 1024;
