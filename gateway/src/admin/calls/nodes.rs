//! Nodes: who they are, how they are, and taking one out of service and back.
//!
//! Gets: questions. Gives: facts of this node, or of all. Never: ends the process; a drained node waits for SIGTERM or `undrain`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::Question;
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Counters, Degraded, List, Node, NodeState};
use super::super::{Api, time};
use super::{CURSOR, DRY, LIMIT, Row};
use crate::observe::sidecar::{Group, Method};

pub(super) const CALLS: &[Call] = &[
    Row { path: "/nodes", id: "listNodes", group: Group::Nodes, scope: Scope::Read, about: "The nodes of the cluster." }
        .get(List::<Node>::schema, |asked| Box::pin(list(asked)))
        .with(&[LIMIT, CURSOR]),
    Row {
        path: "/nodes/{name}/drain",
        id: "drainNode",
        group: Group::Nodes,
        scope: Scope::Operate,
        about: "Takes a node out of service: it is not ready any more, new sessions are refused after drain.delay, transfers run on until drain.timeout. It stays drained until it is undrained or ended.",
    }
    .change(Method::Post, NodeState::schema, |asked| Box::pin(drain(asked, true)))
    .with(&[DRY])
    .or(&[Problem::NotFound, Problem::Silent, Problem::Conflict]),
    Row { path: "/nodes/{name}/undrain", id: "undrainNode", group: Group::Nodes, scope: Scope::Operate, about: "Puts a node back into service." }
        .change(Method::Post, NodeState::schema, |asked| Box::pin(drain(asked, false)))
        .with(&[DRY])
        .or(&[Problem::NotFound, Problem::Silent, Problem::Conflict]),
];

/// How is this node?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Look {}

impl Question for Look {
    const PATH: &'static str = "admin/v1/node";
    type Answer = Vec<Node>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        vec![node(&api)]
    }
}

/// Drain, or do so no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Drain {
    drain: bool,
}

impl Question for Drain {
    const PATH: &'static str = "admin/v1/drain";
    /// `None`: it ends for good.
    type Answer = Option<NodeState>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        api.orders.drain(self.drain).await.then(|| NodeState { name: api.node.name.clone(), state: state(&api).to_owned() })
    }
}

/// What would [`Drain`] do? A question of its own, so that a node that does not know it does nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct WouldDrain {
    drain: bool,
}

impl Question for WouldDrain {
    const PATH: &'static str = "admin/v1/drain/would";
    type Answer = Option<NodeState>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let after = match (self.drain, api.readiness.report().started()) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "starting",
        };
        (!api.orders.draining.borrow().ends).then(|| NodeState { name: api.node.name.clone(), state: after.to_owned() })
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let answers = asked.api.everywhere(Look {}).await;
    Answer::json(&asked.page().list(answers))
}

async fn drain(asked: Asked, drain: bool) -> Result<Answer, Refusal> {
    let (name, dry) = (asked.part("name"), asked.flag("dry_run"));
    let after = if dry { asked.api.at(name, WouldDrain { drain }).await? } else { asked.api.at(name, Drain { drain }).await? };
    let after = after.ok_or_else(|| Refusal::because(Problem::Conflict, "the node was told by a signal to end, and does"))?;
    Ok(Answer::json(&after)?.dry(dry))
}

fn state(api: &Api) -> &'static str {
    let report = api.readiness.report();
    match (report.started(), report.draining) {
        (_, true) => "draining",
        (false, false) => "starting",
        (true, false) => "ready",
    }
}

fn node(api: &Api) -> Node {
    let left = api.house.live.remaining();
    let counts = api.metrics.counts();
    let questions = api.house.tls.session_questions() + api.house.digests.questions() + api.house.staples.questions();
    Node {
        name: api.node.name.clone(),
        incarnation: api.node.incarnation.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: api.node.address.map(|address| address.to_string()),
        started_at: time::shown(api.node.started),
        state: state(api).to_owned(),
        degraded: api.readiness.report().degraded.into_iter().map(|(what, detail)| Degraded { what: what.to_owned(), detail }).collect(),
        sessions: api.house.live.count() as u64,
        sessions_limit: api.house.settings.load().limits.sessions as u64,
        transfers: left.transfers as u64,
        bytes_left: left.bytes,
        open_ended: left.open_ended as u64,
        estimate_seconds: left.estimate.map(|time| time.as_secs()),
        relaying: api.house.data.peers.as_ref().map_or(0, |peers| peers.carried().0) as u64,
        clock_skew_seconds: api.house.cluster.census().skew.as_secs_f64(),
        counters: Counters {
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            logins_ok: counts.logins_ok,
            logins_failed: counts.logins_failed,
            handshakes_full: counts.handshakes_full,
            handshakes_resumed: counts.handshakes_resumed,
            handshakes_elsewhere: api.house.tls.resumed_elsewhere(),
            relayed: counts.relayed,
            cache_hits: questions.hits,
            cache_misses: questions.misses,
        },
    }
}
