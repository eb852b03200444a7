//! What is kept of a transfer for its events.
//!
//! Gets: what is wanted, then what happens. Gives: the two events of a transfer, with one id.
//! Never: outlives its transfer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ftps_proto::command::TransferType;
use ftps_proto::digest::Algorithm;
use ftps_proto::machine::io::{Transfer, TransferEnd};

use crate::observe::Event;
use crate::observe::event::{Direction, StreamEnd, TransferResult};
use crate::observe::id::TransferId;

/// One transfer.
#[derive(Debug)]
pub(super) struct Record {
    id: TransferId,
    direction: Direction,
    path: Vec<u8>,
    ascii: bool,
    begun: Option<Instant>,
    /// Whether its data connection proved the session.
    pub(super) proven: bool,
    /// What the pump has done.
    pub(super) progress: Arc<Progress>,
}

/// What the pump says while it runs; read also when it was stopped.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes on the wire.
    pub(super) bytes: Arc<AtomicU64>,
    end: AtomicU8,
    committing: AtomicBool,
    digest: OnceLock<(Algorithm, Vec<u8>)>,
}

impl Record {
    /// A transfer that is asked for.
    pub(super) fn new(wanted: &Transfer) -> Self {
        let (direction, path, kind) = match wanted {
            Transfer::Retrieve { path, kind, .. } => (Direction::Download, path, *kind),
            Transfer::Store { path, kind, .. } => (Direction::Upload, path, *kind),
            Transfer::List { path, .. } => (Direction::List, path, TransferType::Ascii),
        };
        let path = path.as_bytes().to_vec();
        let ascii = kind == TransferType::Ascii;
        Self { id: TransferId::now(), direction, path, ascii, begun: None, proven: false, progress: Arc::default() }
    }

    /// Its file is open. `unique`: the name STOU chose.
    pub(super) fn begin(&mut self, unique: Option<&[u8]>) {
        self.begun = Some(Instant::now());
        if let Some(chosen) = unique {
            self.path = chosen.to_vec();
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> TransferId {
        self.id
    }

    /// The virtual path; of STOU, the one that was chosen.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The event of its beginning.
    pub(super) fn started(&self) -> Event<'_> {
        Event::TransferStarted { id: self.id, direction: self.direction, path: &self.path }
    }

    /// The event of its end; `None` when it never began (a file that is not there is a reply, no transfer).
    pub(super) fn ended(&self, end: TransferEnd) -> Option<Event<'_>> {
        let result = match end {
            TransferEnd::Complete { .. } => TransferResult::Complete,
            TransferEnd::Failed(error) => TransferResult::Failed(error),
            TransferEnd::NoConnection(refusal) => TransferResult::NoConnection(refusal),
            TransferEnd::Broken => TransferResult::Broken,
            TransferEnd::Stalled => TransferResult::Stalled,
            TransferEnd::Aborted => TransferResult::Aborted,
        };
        Some(Event::TransferEnded {
            id: self.id,
            direction: self.direction,
            path: &self.path,
            result,
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            took: self.begun?.elapsed(),
            ascii: self.ascii,
            proven: self.proven,
            end: self.progress.end(),
            digest: self.progress.digest.get().map(|(algorithm, value)| (*algorithm, value.as_slice())),
        })
    }
}

impl Progress {
    /// All bytes are there and taken: the file gets its name.
    pub(super) fn set_committing(&self) {
        self.committing.store(true, Ordering::Relaxed);
    }

    /// What was computed of all bytes of the file while they moved.
    pub(super) fn set_digest(&self, algorithm: Algorithm, value: &[u8]) {
        let _ = self.digest.set((algorithm, value.to_vec()));
    }

    /// Whether it is too late to stop the upload.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::Relaxed)
    }

    /// How the client ended its upload.
    pub(super) fn set_end(&self, end: StreamEnd) {
        let code = match end {
            StreamEnd::Open => 0,
            StreamEnd::CloseNotify => 1,
            StreamEnd::Fin => 2,
        };
        self.end.store(code, Ordering::Relaxed);
    }

    fn end(&self) -> StreamEnd {
        match self.end.load(Ordering::Relaxed) {
            1 => StreamEnd::CloseNotify,
            2 => StreamEnd::Fin,
            _ => StreamEnd::Open,
        }
    }
}
