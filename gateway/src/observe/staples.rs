//! OCSP responses: fetched, taken from others, stapled or missing. Their events, log lines and metrics.
//!
//! Gets: events of the room `tls`, and its own numbers at each scrape. Gives: lines, and series that exist from the start.
//! Never: a name of a certificate as a label; names are for the log and the API.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::LogLevel;
use super::family::{COMMAND_SECONDS, Family, Maker};
use super::labels::{Label, Size, closed_set};
use super::line::Line;

/// Something about the OCSP response of a certificate.
#[derive(Clone, Debug)]
pub enum StapleEvent<'a> {
    /// A responder was asked.
    Fetched {
        /// The names of the certificate.
        names: &'a str,
        /// What came of it.
        result: FetchResult,
        /// From the question to the verified answer.
        took: Duration,
        /// What is wrong; empty when nothing is.
        detail: &'a str,
    },
    /// A response is stapled from now on.
    Stapled {
        /// The names of the certificate.
        names: &'a str,
        /// Where it came from.
        source: StapleSource,
        /// What it says.
        status: StapleStatus,
        /// Until when it may be shown, in Unix seconds.
        next_update: i64,
    },
    /// A response came to its end and none has followed.
    Expired {
        /// The names of the certificate.
        names: &'a str,
    },
    /// Staples are not what they should be, or (empty) are again.
    Trouble {
        /// What is wrong, and what to do.
        words: &'a str,
    },
}

/// What came of asking a responder: `ocsp_fetches_total{result}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchResult {
    /// The certificate is good.
    Good,
    /// It is revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
    /// The responder gives no answer.
    Declined,
    /// What came does not verify, or is too old.
    Invalid,
    /// A status of HTTP other than 200.
    Http,
    /// Nobody is there, or the connection broke.
    Unreachable,
    /// No whole answer in time.
    Timeout,
}

/// Where a response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StapleSource {
    /// From the responder.
    Responder,
    /// From the store.
    Store,
    /// From another node.
    Peer,
}

/// How it stands with the staple of a certificate: `ocsp_response_status{status}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StapleStatus {
    /// One is there, and the certificate is good.
    Good,
    /// One is there, and says that the certificate is revoked.
    Revoked,
    /// There was none yet.
    Missing,
    /// The last one has come to its end.
    Expired,
}

/// What a full handshake could show: `ocsp_staples_total{result}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StapleResult {
    /// A response.
    Stapled,
    /// None, and there was none before.
    Missing,
    /// None, since the last one has come to its end.
    Expired,
}

/// The staples of a node, for its gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StapleCensus {
    /// Certificates by how it stands with their staples.
    pub by_status: Vec<(StapleStatus, usize)>,
    /// Certificates that promise a staple (Must-Staple) and have none.
    pub broken_promises: usize,
    /// When the first response ends, in Unix seconds; 0: there is none.
    pub next_update: i64,
    /// Full handshakes by what they could show, since the start.
    pub handshakes: Vec<(StapleResult, u64)>,
    /// Whether this node is the one to ask responders.
    pub leads: bool,
}

#[rustfmt::skip]
closed_set!(FetchResult {
    Good = "good", Revoked = "revoked", Unknown = "unknown", Declined = "declined", Invalid = "invalid", Http = "http", Unreachable = "unreachable", Timeout = "timeout",
});
closed_set!(StapleSource { Responder = "responder", Store = "store", Peer = "peer" });
closed_set!(StapleStatus { Good = "good", Revoked = "revoked", Missing = "missing", Expired = "expired" });
closed_set!(StapleResult { Stapled = "stapled", Missing = "missing", Expired = "expired" });

impl StapleEvent<'_> {
    /// The event's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Fetched { .. } => "staple_fetched",
            Self::Stapled { .. } => "stapled",
            Self::Expired { .. } => "staple_expired",
            Self::Trouble { .. } => "staple_trouble",
        }
    }

    /// Level and message of its log line.
    pub(super) fn words(&self) -> (LogLevel, &'static str) {
        match self {
            Self::Fetched { result: FetchResult::Good | FetchResult::Revoked, .. } => (LogLevel::Debug, "an OCSP responder answered"),
            Self::Fetched { .. } => (LogLevel::Warn, "no OCSP response from the responder: the one before stays until its end, and it is asked again"),
            Self::Stapled { status: StapleStatus::Revoked, .. } => {
                (LogLevel::Warn, "a certificate is revoked, and its staple says so: replace it in tls.certificates")
            }
            Self::Stapled { .. } => (LogLevel::Info, "an OCSP response is stapled"),
            Self::Expired { .. } => (LogLevel::Warn, "an OCSP response came to its end and none has followed: nothing is stapled"),
            Self::Trouble { words: "" } => (LogLevel::Info, "staples are well again"),
            Self::Trouble { .. } => (LogLevel::Warn, "staples are not what they should be"),
        }
    }

    /// The fields of its log line.
    pub(super) fn fields(&self, line: &mut Line) {
        match *self {
            Self::Fetched { names, result, took, detail } => {
                line.texts(&[("certificate", names), ("result", result.label())]);
                if !detail.is_empty() {
                    line.text("detail", detail);
                }
                line.millis("took_ms", took);
            }
            Self::Stapled { names, source, status, next_update } => {
                line.texts(&[("certificate", names), ("source", source.label()), ("status", status.label())]);
                line.number("next_update", u64::try_from(next_update).unwrap_or(0));
            }
            Self::Expired { names } => line.text("certificate", names),
            Self::Trouble { words: "" } => {}
            Self::Trouble { words } => line.text("detail", words),
        }
    }
}

/// All metrics of staples.
pub(super) struct StapleMetrics {
    fetches: Family<IntCounter, FetchResult>,
    fetch_duration: Histogram,
    statuses: Family<IntGauge, StapleStatus>,
    broken_promises: IntGauge,
    next_update: IntGauge,
    handshakes: Family<IntCounter, StapleResult>,
    leader: IntGauge,
}

impl StapleMetrics {
    #[rustfmt::skip]
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            fetches: make.counters("ocsp_fetches_total", "Questions of this node to OCSP responders, by what came of them.", &["result"]),
            fetch_duration: make.histogram("ocsp_fetch_duration_seconds", "From a question to an OCSP responder to its verified answer, or to its failure.", COMMAND_SECONDS),
            statuses: make.gauges("ocsp_response_status", "Certificates that should be stapled to, by how it stands with their OCSP responses.", &["status"]),
            broken_promises: make.gauge("ocsp_must_staple_missing", "Certificates that promise a staple (Must-Staple) and have none: clients that hold them to it refuse them."),
            next_update: make.gauge("ocsp_response_next_update_timestamp_seconds", "When the first of the stapled OCSP responses ends; 0: there is none."),
            handshakes: make.counters("ocsp_staples_total", "Full TLS handshakes under certificates that should be stapled to, by what was there for them.", &["result"]),
            leader: make.gauge("ocsp_refresh_leader", "1 on the node that asks the OCSP responders first."),
        }
    }

    pub(super) fn count(&self, event: &StapleEvent<'_>) {
        match *event {
            StapleEvent::Fetched { result, took, .. } => {
                self.fetches.at(result).inc();
                self.fetch_duration.observe(took.as_secs_f64());
            }
            // What is there now is set at each scrape.
            StapleEvent::Stapled { .. } | StapleEvent::Expired { .. } | StapleEvent::Trouble { .. } => {}
        }
    }

    /// What is there now.
    pub(super) fn set(&self, census: &StapleCensus) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        census.by_status.iter().for_each(|(status, count)| self.statuses.at(*status).set(whole(*count)));
        self.broken_promises.set(whole(census.broken_promises));
        self.next_update.set(census.next_update);
        for (result, count) in &census.handshakes {
            let counter = self.handshakes.at(*result);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.leader.set(i64::from(census.leads));
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::sound;
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<FetchResult>();
        sound::<StapleSource>();
        sound::<StapleStatus>();
        sound::<StapleResult>();
    }
}
