//! Caches: what they hold.
//!
//! Gets: questions. Gives: counts of each node. Never: an entry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::Question;
use super::super::problems::Refusal;
use super::super::shape::Shape;
use super::super::shapes::{Cache, List};
use super::{CURSOR, LIMIT, Row};
use crate::observe::sidecar::Group;

const SESSIONS: Row = Row {
    path: "/cache/sessions",
    id: "listSessionCaches",
    group: Group::Cache,
    scope: Scope::Read,
    about: "TLS 1.2 sessions that can be resumed by their ID. TLS 1.3 and clients with tickets need no cache.",
};

pub(super) const CALLS: &[Call] = &[
    SESSIONS.get(List::<Cache>::schema, |asked| Box::pin(list(asked, Which::Sessions))).with(&[LIMIT, CURSOR]),
    Row { path: "/cache/digests", id: "listDigestCaches", about: "Digests of files that each node has in memory.", ..SESSIONS }
        .get(List::<Cache>::schema, |asked| Box::pin(list(asked, Which::Digests)))
        .with(&[LIMIT, CURSOR]),
];

/// Of which cache.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Which {
    Sessions,
    Digests,
}

/// What does a cache hold?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Holds {
    which: Which,
}

impl Question for Holds {
    const PATH: &'static str = "admin/v1/cache";
    type Answer = Vec<Cache>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let entries = match self.which {
            Which::Sessions => api.house.tls.cached_sessions(),
            Which::Digests => api.house.digests.remembered(),
        };
        vec![Cache { node: api.node.name.clone(), entries: entries as u64 }]
    }
}

async fn list(asked: Asked, which: Which) -> Result<Answer, Refusal> {
    Answer::json(&asked.page().list(asked.api.everywhere(Holds { which }).await))
}
