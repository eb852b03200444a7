//! The audit as a file: one JSON object a line for each change by the admin API and each refusal.
//!
//! Gets: audit records. Gives: lines at the end of `log.audit`, with the names of `GET /audit`.
//! Never: a token or a body; blocks a request on a disk.

use std::io;
use std::path::PathBuf;

use serde_json::json;

use super::Sink;
use super::appended::Appended;
use super::event::{Event, Subject};
use super::labels::Label;
use super::sidecar::{AuditRecord, SidecarEvent};
use super::utc::Utc;

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    file: Appended,
}

impl AuditLog {
    /// At `path`; `None`: the log of the process alone has the audit.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub fn start(path: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { file: Appended::start(path)? })
    }

    /// From now on it is written there.
    pub fn set(&self, path: Option<PathBuf>) {
        self.file.set(path);
    }

    /// Lines that were lost so far.
    pub fn dropped(&self) -> u64 {
        self.file.dropped()
    }

    /// Waits until all lines are written, at most one second.
    pub fn flush(&self) {
        self.file.flush();
    }
}

impl Sink for AuditLog {
    fn event(&self, _: Subject<'_>, event: &Event<'_>) {
        if let Event::Sidecar(SidecarEvent::Audited(record)) = *event
            && self.file.is_on()
        {
            self.file.line(&line(record));
        }
    }
}

fn line(record: &AuditRecord) -> String {
    let object = json!({
        "id": record.id.to_string(), "time": Utc(record.time).to_string(), "actor": record.actor, "source": record.source.to_string(),
        "method": record.method.label().to_uppercase(), "path": record.path, "target": record.target, "result": record.result.label(), "status": record.status,
        "request_id": record.request.to_string(),
    });
    format!("{object}\n")
}
