//! What happens, said once: an [`Event`] becomes a metric and a log line.
//!
//! Gets: events, from every room, synchronously. Gives: `/metrics` text, log lines, transfer records.
//! Never: blocks the caller, loses an event under load, or turns client text into a label.

pub mod appended;
pub mod audit_log;
mod bans;
mod causes;
pub mod event;
mod family;
pub mod feed;
pub mod history;
pub mod id;
pub mod labels;
mod line;
pub mod log;
pub mod log_sink;
pub mod metrics;
mod output;
pub mod peers;
mod process;
pub mod ready;
pub mod scrape;
mod sets;
pub mod sidecar;
pub mod staples;
pub mod stores;
mod trace;
pub mod transfer_log;
pub mod utc;

use std::path::PathBuf;
use std::sync::Arc;

pub use audit_log::AuditLog;
pub use event::{Event, Subject};
pub use feed::Feed;
pub use history::History;
pub use labels::Label;
pub use log::LogHandle;
pub use log_sink::LogSink;
pub use metrics::Metrics;
pub use peers::PeerEvent;
pub use ready::Readiness;
pub use sidecar::SidecarEvent;
pub use staples::StapleEvent;
pub use transfer_log::TransferLog;

/// `log:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `log.format`.
    pub format: LogFormat,
    /// `log.level`: a default and levels by room (`tls`, `data`, `storage`, …).
    pub level: Vec<(Option<String>, LogLevel)>,
    /// `log.transfer_log`.
    pub transfer_log: Option<PathBuf>,
    /// `log.audit`; `None`: the log of the process alone.
    pub audit: Option<PathBuf>,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// All levels, with their words.
    pub const WORDS: [(&'static str, Self); 6] =
        [("off", Self::Off), ("error", Self::Error), ("warn", Self::Warn), ("info", Self::Info), ("debug", Self::Debug), ("trace", Self::Trace)];

    /// The level of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, level)| *level)
    }
}

/// Takes events, at once and on the caller's thread. Implementations must not block.
pub trait Sink: Send + Sync {
    /// One event.
    fn event(&self, subject: Subject<'_>, event: &Event<'_>);
}

/// The way every room says what happened. Cheap to clone.
#[derive(Clone)]
pub struct Observer(Arc<[Arc<dyn Sink>]>);

impl Observer {
    /// An observer with these sinks, called in order.
    pub fn new(sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self(sinks.into())
    }

    /// Says what happened.
    pub fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        for sink in self.0.iter() {
            sink.event(subject, event);
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}
