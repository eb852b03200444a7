//! Caches: what they hold, and forgetting it.
//!
//! Gets: questions. Gives: counts of each node, and how far a clearing reached. Never: an entry.

use std::sync::Arc;

use ftps_store::tiers::Reach;
use serde::{Deserialize, Serialize};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::{Answers, DEADLINE, Item, Question};
use super::super::problems::Refusal;
use super::super::shape::{Shape, shape};
use super::super::shapes::List;
use super::{CURSOR, DRY, LIMIT, Row};
use crate::observe::sidecar::{Group, Method};

const SESSIONS: Row = Row {
    path: "/cache/sessions",
    id: "listSessionCaches",
    group: Group::Cache,
    scope: Scope::Read,
    about: "TLS 1.2 sessions that can be resumed by their ID. TLS 1.3 and clients with tickets need no cache.",
};

const CLEAR: Row = Row {
    path: "/cache/sessions",
    id: "clearSessionCaches",
    scope: Scope::Operate,
    about: "Forgets the TLS 1.2 sessions that can be resumed by their ID, on all nodes and in the store. Sessions that live go on; tickets are not in a cache: rotate them, or replace the secret.",
    ..SESSIONS
};

pub(super) const CALLS: &[Call] = &[
    SESSIONS.get(List::<Cache>::schema, |asked| Box::pin(list(asked, Which::Sessions))).with(&[LIMIT, CURSOR]),
    CLEAR.change(Method::Delete, List::<Cleared>::schema, |asked| Box::pin(clear(asked, Which::Sessions))).with(&[DRY]),
    Row { path: "/cache/staples", id: "listStapleCaches", about: "OCSP responses that each node has in memory.", ..SESSIONS }
        .get(List::<Cache>::schema, |asked| Box::pin(list(asked, Which::Staples)))
        .with(&[LIMIT, CURSOR]),
    Row {
        path: "/cache/staples",
        id: "clearStapleCaches",
        about: "Forgets the OCSP responses, on all nodes and in the store, and asks the responders anew at once. Until they answer, nothing is stapled: POST /staples/refresh leaves what is there until then.",
        ..CLEAR
    }
    .change(Method::Delete, List::<Cleared>::schema, |asked| Box::pin(clear(asked, Which::Staples)))
    .with(&[DRY]),
    Row { path: "/cache/digests", id: "listDigestCaches", about: "Digests of files that each node has in memory.", ..SESSIONS }
        .get(List::<Cache>::schema, |asked| Box::pin(list(asked, Which::Digests)))
        .with(&[LIMIT, CURSOR]),
    Row { path: "/cache/digests", id: "clearDigestCaches", about: "Forgets the digests of files, on all nodes and in the store.", ..CLEAR }
        .change(Method::Delete, List::<Cleared>::schema, |asked| Box::pin(clear(asked, Which::Digests)))
        .with(&[DRY]),
];

shape! {
    /// What a cache holds on one node, and what the node has asked the cluster's part of it since its start.
    Cache {
        /// The node.
        node: String,
        /// Entries in the node's memory.
        entries: u64,
        /// Questions to the store that found something.
        hits: u64,
        /// Those that found nothing.
        misses: u64,
        /// Entries written to the store.
        stores: u64,
        /// Entries deleted in the store.
        deletes: u64,
        /// Operations that failed, and values that could not be used.
        errors: u64,
        /// Entries of all kinds in the store; null where it cannot count them.
        store_entries: Option<u64>,
        /// Values of all kinds found after their end; null where the store drops them unseen.
        store_expired: Option<u64>,
        /// Values of all kinds dropped for want of room; null where the store does not say.
        store_evicted: Option<u64>,
    }
}

shape! {
    /// A cache was cleared on a node.
    Cleared {
        /// The node.
        node: String,
        /// `cluster`: the shared store has forgotten; `host`: that store is away or not shared, and what this host has is forgotten; `node`: only this node's memory.
        reach: String,
    }
}

impl Item for Cache {
    fn key(&self) -> String {
        self.node.clone()
    }
}

impl Item for Cleared {
    fn key(&self) -> String {
        self.node.clone()
    }
}

/// Of which cache.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Which {
    Sessions,
    Digests,
    Staples,
}

/// What does a cache hold?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Holds {
    which: Which,
}

/// A node has made the store forget all of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Clear {
    which: Which,
}

impl Question for Holds {
    const PATH: &'static str = "admin/v1/cache";
    type Answer = Vec<Cache>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let (entries, (mine, store)) = match self.which {
            Which::Sessions => (api.house.tls.cached_sessions(), api.house.tls.session_statistics().await),
            Which::Digests => (api.house.digests.remembered(), api.house.digests.statistics().await),
            Which::Staples => (api.house.staples.held(), api.house.staples.statistics().await),
        };
        vec![Cache {
            node: api.node.name.clone(),
            entries: entries as u64,
            hits: mine.hits,
            misses: mine.misses,
            stores: mine.stores,
            deletes: mine.deletes,
            errors: mine.errors,
            store_entries: store.entries,
            store_expired: store.expired,
            store_evicted: store.evicted,
        }]
    }
}

impl Question for Clear {
    const PATH: &'static str = "admin/v1/cache/clear";
    type Answer = Vec<Cleared>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let reach = match self.which {
            Which::Sessions => api.house.tls.follow_clearing().await,
            Which::Digests => api.house.digests.follow_clearing().await,
            Which::Staples => api.house.staples.follow_clearing().await,
        };
        vec![Cleared { node: api.node.name.clone(), reach: word(reach).to_owned() }]
    }
}

/// How far would a clearing reach? A question of its own, so that a node that does not know it does nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct WouldClear {
    which: Which,
}

impl Question for WouldClear {
    const PATH: &'static str = "admin/v1/cache/clear/would";
    type Answer = Vec<Cleared>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let away = match self.which {
            Which::Sessions => api.house.tls.has_lost_its_store(),
            Which::Digests => api.house.digests.has_lost_their_store(),
            Which::Staples => api.house.staples.have_lost_their_store(),
        };
        let reach = if away { Reach::Here } else { Reach::Everywhere };
        vec![Cleared { node: api.node.name.clone(), reach: word(reach).to_owned() }]
    }
}

async fn list(asked: Asked, which: Which) -> Result<Answer, Refusal> {
    Answer::json(&asked.page().list(asked.api.everywhere(Holds { which }).await))
}

/// Once, here; then every other node learns of it. Several at once would outrun what is put meanwhile.
async fn clear(asked: Asked, which: Which) -> Result<Answer, Refusal> {
    if asked.flag("dry_run") {
        return Ok(Answer::json(&asked.page().list(asked.api.everywhere(WouldClear { which }).await))?.dry(true));
    }
    let house = &asked.api.house;
    let reach = match which {
        Which::Sessions => house.tls.clear_sessions().await,
        Which::Digests => house.digests.clear().await,
        Which::Staples => house.staples.clear().await,
    };
    let (cluster, path) = (&house.cluster, <Clear as Question>::PATH);
    let mut answers = Answers { given: vec![vec![Cleared { node: asked.api.node.name.clone(), reach: word(reach).to_owned() }]], silent: Vec::new() };
    for (member, answer) in cluster.ask_all_json(path, &Clear { which }, DEADLINE).await {
        match answer {
            Ok(answer) => answers.given.push(answer),
            Err(_) => answers.silent.push(member.name),
        }
    }
    Answer::json(&asked.page().list(answers))
}

fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::Everywhere => "cluster",
        Reach::Here => "host",
        Reach::Nowhere => "node",
    }
}
