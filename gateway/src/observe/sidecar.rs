//! What happens in the HTTP sidecar: requests, callers that may not, and who changed what.
//!
//! Gets: built by the room `admin`. Gives: the events and their closed sets, their metrics, their log lines.
//! Never: a token, the body of a request, or anything that a caller wrote as a label.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use prometheus::{Histogram, IntCounter};

use super::LogLevel;
use super::family::{Family, Maker};
use super::id::EventId;
use super::labels::{Label, Size, closed_set};
use super::line::Line;

/// Something that happened in the sidecar.
#[derive(Clone, Debug)]
pub enum SidecarEvent<'a> {
    /// A request of the API was answered.
    Answered {
        /// What it was about.
        group: Group,
        /// Its method.
        method: Method,
        /// The status of the answer.
        status: u16,
        /// From the head of the request to the head of the answer.
        took: Duration,
    },
    /// Who asked may not.
    Refused {
        /// Why.
        why: AccessFault,
    },
    /// A change, or the refusal of a request: the record for those who ask later.
    Audited(&'a AuditRecord),
}

/// Who did what, and whether it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its id.
    pub id: EventId,
    /// When.
    pub time: SystemTime,
    /// The name of the token or certificate; `None` when it was not known.
    pub actor: Option<Box<str>>,
    /// The address of the caller.
    pub source: IpAddr,
    /// Its method, as a word that the table of calls has.
    pub method: Method,
    /// The path of the table of calls, as `/nodes/{name}/drain`.
    pub path: &'static str,
    /// What it was done to.
    pub target: Option<Box<str>>,
    /// Whether it was done.
    pub result: AuditResult,
    /// The status of the answer.
    pub status: u16,
    /// The id of the request, which the answer carries too.
    pub request: EventId,
}

/// What a request is about: `admin_requests_total{group}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Group {
    Nodes,
    Sessions,
    Clients,
    Transfers,
    Events,
    Bans,
    Certificates,
    Staples,
    Cache,
    Tickets,
    Config,
    Log,
    Audit,
    About,
    Unknown,
}

/// A method of HTTP that the API takes; all others are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
    Other,
}

/// Why somebody may not: `admin_auth_failures_total{reason}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessFault {
    /// Neither token nor certificate.
    Missing,
    /// A token or certificate that is not in the tokens file.
    Unknown,
    /// A token that has expired.
    Expired,
    /// A token that is not good from this address.
    Network,
    /// A token without the scope.
    Scope,
    /// Too many wrong tokens from this address.
    TooMany,
    /// A `Host` that is not this node.
    Host,
}

/// What became of a request that is audited: `audit_events_total{result}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditResult {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// It failed, for a fault of ours or because it could not be done.
    Failed,
}

closed_set!(Group {
    Nodes = "nodes",
    Sessions = "sessions",
    Clients = "clients",
    Transfers = "transfers",
    Events = "events",
    Bans = "bans",
    Certificates = "certificates",
    Staples = "staples",
    Cache = "cache",
    Tickets = "tickets",
    Config = "config",
    Log = "log",
    Audit = "audit",
    About = "about",
    Unknown = "unknown",
});
closed_set!(Method { Get = "get", Post = "post", Put = "put", Delete = "delete", Other = "other" });
closed_set!(AccessFault {
    Missing = "missing",
    Unknown = "unknown",
    Expired = "expired",
    Network = "network",
    Scope = "scope",
    TooMany = "too_many",
    Host = "host",
});
closed_set!(AuditResult { Done = "done", Refused = "refused", Failed = "failed" });

/// The class of an answer: `admin_requests_total{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Done,
    Elsewhere,
    Refused,
    Failed,
}

closed_set!(Class { Done = "2xx", Elsewhere = "3xx", Refused = "4xx", Failed = "5xx" });

impl Class {
    fn of(status: u16) -> Self {
        match status / 100 {
            2 => Self::Done,
            3 => Self::Elsewhere,
            4 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// The metrics of the sidecar.
pub(super) struct Table {
    requests: Family<IntCounter, (Group, Method, Class)>,
    duration: Histogram,
    faults: Family<IntCounter, AccessFault>,
    audited: Family<IntCounter, AuditResult>,
    dropped: IntCounter,
}

impl Table {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            requests: make.counters("admin_requests_total", "Requests of the admin API by the class of their answer.", &["group", "method", "class"]),
            duration: make.histogram("admin_request_duration_seconds", "From a request of the admin API to its answer.", SECONDS),
            faults: make.counters("admin_auth_failures_total", "Requests of the admin API from somebody who may not.", &["reason"]),
            audited: make.counters("audit_events_total", "Audit records: every change, and every refusal.", &["result"]),
            dropped: make.counter(
                "audit_dropped_total",
                "Lines of log.audit that were dropped because they could not be written fast enough; log_dropped_total has them too.",
            ),
        }
    }

    /// Lines of the audit's file that were lost so far.
    pub(super) fn set_dropped(&self, lines: u64) {
        self.dropped.inc_by(lines.saturating_sub(self.dropped.get()));
    }

    pub(super) fn count(&self, event: &SidecarEvent<'_>) {
        match *event {
            SidecarEvent::Answered { group, method, status, took } => {
                self.requests.at((group, method, Class::of(status))).inc();
                self.duration.observe(took.as_secs_f64());
            }
            SidecarEvent::Refused { why } => self.faults.at(why).inc(),
            SidecarEvent::Audited(record) => self.audited.at(record.result).inc(),
        }
    }
}

impl SidecarEvent<'_> {
    /// The event's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "admin_answered",
            Self::Refused { .. } => "admin_refused",
            Self::Audited(_) => "audit",
        }
    }

    /// Level and message of its log line.
    pub(super) fn words(&self) -> (LogLevel, &'static str) {
        match self {
            Self::Answered { .. } => (LogLevel::Debug, "request answered"),
            // The audit record says it at `info`.
            Self::Refused { .. } => (LogLevel::Debug, "caller refused"),
            Self::Audited(_) => (LogLevel::Info, "audit"),
        }
    }

    /// The fields of its log line.
    pub(super) fn fields(&self, line: &mut Line) {
        match *self {
            Self::Answered { group, method, status, took } => {
                line.texts(&[("group", group.label()), ("method", method.label())]);
                line.number("status", status.into());
                line.millis("took_ms", took);
            }
            Self::Refused { why } => line.text("reason", why.label()),
            Self::Audited(record) => {
                line.text("actor", record.actor.as_deref().unwrap_or("-"));
                line.texts(&[("method", record.method.label()), ("path", record.path)]);
                record.target.iter().for_each(|target| line.text("target", target));
                line.text("result", record.result.label());
                line.number("status", record.status.into());
                line.shown("request", record.request);
            }
        }
    }
}

/// 1 ms to 10 s; a call of the whole cluster waits for its slowest node.
const SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0];

#[cfg(test)]
mod tests {
    use super::super::labels::tests::sound;
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<Group>();
        sound::<Method>();
        sound::<AccessFault>();
        sound::<AuditResult>();
        sound::<Class>();
    }
}
