//! Bans as JSON: what the API takes and gives, and what export and import write and read.
//!
//! Gets: requests, bans. Gives: checked values, or what to write instead. Never: an own idea of HTTP; codes are the API's.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::ban::{Ban, NEVER, TEXT, Term};
use super::manage::Refused;
use super::target::Target;
use crate::observe::event::{BanKind, BanSource};
use crate::observe::labels::Label;
use crate::observe::utc::Utc;

/// A ban that somebody asks for: the body of `POST /bans`, and a line of an import.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Request {
    /// One of `ip`, `cidr`, `user`, `user_at_host`, `class`, `certificate`.
    pub target: BTreeMap<String, String>,
    /// `1h`, `permanent`.
    #[serde(default)]
    pub duration: Option<String>,
    /// Instead of a duration, in an import: RFC 3339; `null` with `permanent: true`.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Also a very wide network.
    #[serde(default)]
    pub force: bool,
}

impl Request {
    /// Its target and how long it lasts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, now: u64) -> Result<(Target, u64), Refused> {
        let mut targets = self.target.iter();
        let (Some((kind, text)), None) = (targets.next(), targets.next()) else { return Err(Refused::Targets) };
        let target = Target::parse(kind, text).map_err(|error| Refused::Target { text: text.clone(), error })?;
        if self.reason.as_ref().is_some_and(|reason| reason.len() > TEXT) {
            return Err(Refused::Reason);
        }
        let ends = match (&self.duration, &self.expires_at) {
            (Some(duration), None) => Term::parse(duration).ok_or(Refused::Duration)?.end(now),
            (None, Some(at)) => {
                let at = Utc::parse(at).and_then(|Utc(at)| at.duration_since(UNIX_EPOCH).ok()).ok_or(Refused::Duration)?;
                u64::try_from(at.as_millis()).ok().filter(|at| *at > now).ok_or(Refused::Over)?
            }
            (None, None) | (Some(_), Some(_)) => return Err(Refused::Duration),
        };
        Ok((target, ends))
    }
}

/// A ban as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// `b_…`.
    pub id: String,
    /// As in a request.
    pub target: BTreeMap<&'static str, String>,
    /// host, network, user, user_at_host, class or certificate.
    pub kind: &'static str,
    /// admin or rule.
    pub source: &'static str,
    /// Why.
    pub reason: String,
    /// Who.
    pub author: String,
    /// What a rule saw.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What the client is told, when a rule says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; `null`: permanent.
    pub expires_at: Option<String>,
}

impl View {
    /// Of a ban.
    pub fn of(ban: &Ban) -> Self {
        Self {
            id: ban.id.to_string(),
            target: BTreeMap::from([(ban.target.key(), ban.target.text())]),
            kind: ban.target.kind().label(),
            source: ban.source.label(),
            reason: ban.reason.to_string(),
            author: ban.author.to_string(),
            evidence: ban.evidence.to_string(),
            message: ban.message.to_string(),
            created_at: time(ban.created),
            expires_at: (ban.ends != NEVER).then(|| time(ban.ends)),
        }
    }
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// Nodes that have applied it, this one included.
    pub acknowledged: usize,
    /// Nodes that should.
    pub nodes: usize,
    /// The names of those that did not say so.
    pub silent: Vec<String>,
    /// The whole in a word.
    pub state: Spread,
    /// The names of nodes that could not write it into their journal; the ban holds there in memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<String>,
    /// Whether the store has it and keeps what it is given: `false` also while it loses parts of the book. `None` without a networked store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<bool>,
}

impl Propagation {
    /// Of a dry run.
    pub fn none() -> Self {
        Self { acknowledged: 0, nodes: 0, silent: Vec::new(), state: Spread::LocalOnly, unwritten: Vec::new(), stored: None }
    }
}

/// How far a change has come, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Every live node has applied it.
    Everywhere,
    /// Some are silent.
    Pending,
    /// No other node, and no store, has it.
    LocalOnly,
}

/// `admin` or `rule`.
pub fn source(text: &str) -> Option<BanSource> {
    BanSource::all().into_iter().find(|source| source.label() == text)
}

/// `host`, `network`, `user`, `user_at_host`, `class` or `certificate`.
pub fn kind(text: &str) -> Option<BanKind> {
    BanKind::all().into_iter().find(|kind| kind.label() == text)
}

fn time(millis: u64) -> String {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).map(|time| Utc(time).to_string()).unwrap_or_default()
}
