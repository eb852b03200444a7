//! A file or listing that moves no faster than its session may.
//!
//! Gets: a source or sink of the pump, the pace of the session. Gives: the same bytes, with pauses between its pieces.
//! Never: holds a byte more because of it; a pause is over at once when the transfer is stopped.

use std::time::Instant;

use ftps_proto::machine::io::FileError;

use super::Carried;
use crate::data::pump::{Sink, Source};
use crate::limits::Pace;
use crate::observe::{Event, Observer, Subject};

/// What the pump reads from or writes to.
pub(super) struct Paced<T> {
    /// Itself.
    pub(super) inner: T,
    speed: Speed,
    /// Bytes that were read and not yet waited for.
    read: usize,
}

/// How fast a transfer may be, and who is told that it could be faster.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    pace: Pace,
    observer: Observer,
    subject: Subject<'static>,
    told: bool,
}

impl<T> Paced<T> {
    pub(super) fn new(inner: T, speed: Speed) -> Self {
        Self { inner, speed, read: 0 }
    }
}

impl<T: Source + Send> Source for Paced<T> {
    async fn read(&mut self) -> Result<&[u8], FileError> {
        self.speed.moved(std::mem::take(&mut self.read)).await;
        let bytes = self.inner.read().await?;
        self.read = bytes.len();
        Ok(bytes)
    }
}

impl<T: Sink + Send> Sink for Paced<T> {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, FileError> {
        let count = bytes.len();
        let empty = self.inner.write(bytes).await?;
        self.speed.moved(count).await;
        Ok(empty)
    }
}

impl Speed {
    /// Of a transfer of this session.
    pub(super) fn new(carried: &Carried, pace: Pace) -> Self {
        Self { pace, observer: carried.house.observer.clone(), subject: carried.subject(), told: false }
    }

    /// Waits as long as these bytes cost. A limit is told once for each transfer.
    async fn moved(&mut self, bytes: usize) {
        let Some((wait, limit)) = self.pace.moved(bytes, Instant::now()) else { return };
        if !self.told {
            self.told = true;
            self.observer.event(self.subject, &Event::LimitHit { limit });
        }
        tokio::time::sleep(wait).await;
    }
}
