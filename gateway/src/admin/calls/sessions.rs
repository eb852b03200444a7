//! Sessions: who is here, and ending them.
//!
//! Gets: questions. Gives: the sessions of all nodes; ends with 421. Never: ends everything because a filter was forgotten.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ftps_proto::machine::io::EndReason;
use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind, Query};
use super::super::everywhere::{Page, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Ended, List, Session};
use super::super::{Api, time};
use super::{CURSOR, DRY, LIMIT, Row, query};
use crate::live::Entry;
use crate::observe::Label;
use crate::observe::event::Resumed;
use crate::observe::sidecar::{Group, Method};

const USER: Query = query("user", Kind::Text, "Of this user.");
const IP: Query = query("ip", Kind::Ip, "From this address.");
const CLASS: Query = query("class", Kind::Text, "Of users of this class.");
const NODE: Query = query("node", Kind::Text, "On this node.");

pub(super) const CALLS: &[Call] = &[
    Row { path: "/sessions", id: "listSessions", group: Group::Sessions, scope: Scope::Read, about: "The sessions of all nodes, oldest first." }
        .get(List::<Session>::schema, |asked| Box::pin(list(asked)))
        .with(&[USER, IP, NODE, CLASS, LIMIT, CURSOR]),
    Row {
        path: "/sessions",
        id: "endSessions",
        group: Group::Sessions,
        scope: Scope::Sessions,
        about: "Ends all sessions of a user, address or class on all nodes. At least one of them has to be named; of several all have to hold.",
    }
    .change(Method::Delete, Ended::schema, |asked| Box::pin(end_where(asked)))
    .with(&[USER, IP, CLASS, DRY]),
    Row { path: "/sessions/{id}", id: "endSession", group: Group::Sessions, scope: Scope::Sessions, about: "Ends one session, wherever it is." }
        .change(Method::Delete, Ended::schema, |asked| Box::pin(end_one(asked)))
        .with(&[DRY])
        .or(&[Problem::NotFound]),
];

/// Which sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Filter {
    id: Option<String>,
    user: Option<String>,
    ip: Option<IpAddr>,
    class: Option<String>,
    node: Option<String>,
}

impl Filter {
    fn of(asked: &Asked) -> Self {
        Self { id: None, user: asked.text("user"), ip: asked.ip("ip"), class: asked.text("class"), node: asked.text("node") }
    }

    fn holds(&self, entry: &Entry, node: &str) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|wanted| given == Some(wanted));
        self.ip.is_none_or(|ip| entry.peer.ip() == ip)
            && is(&self.node, Some(node))
            && self.id.as_ref().is_none_or(|id| entry.id.to_string() == *id)
            && is(&self.user, entry.user().as_deref())
            && is(&self.class, entry.class().as_deref())
    }
}

/// Who is here?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Sessions {
    filter: Filter,
    page: Page,
}

impl Question for Sessions {
    const PATH: &'static str = "admin/v1/sessions";
    type Answer = Vec<Session>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let node = &api.node.name;
        let entries = api.house.live.entries();
        self.page.share(entries.iter().filter(|entry| self.filter.holds(entry, node)).map(|entry| session(entry, node)).collect())
    }
}

/// End these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct End {
    filter: Filter,
    dry_run: bool,
}

impl Question for End {
    const PATH: &'static str = "admin/v1/sessions/end";
    type Answer = u64;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let (live, node) = (&api.house.live, &api.node.name);
        // One that was told already is still here until its 421 is out; it is nobody's to count again.
        let holds = |entry: &Entry| !entry.is_ending() && self.filter.holds(entry, node);
        let count = if self.dry_run { live.entries().iter().filter(|entry| holds(entry)).count() } else { live.end(holds, EndReason::Kicked, false) };
        count as u64
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    let answers = asked.api.everywhere(Sessions { filter: Filter::of(&asked), page: page.clone() }).await;
    Answer::json(&page.list(answers))
}

async fn end_where(asked: Asked) -> Result<Answer, Refusal> {
    let filter = Filter::of(&asked);
    if filter == Filter::default() {
        return Err(Refusal::at("?", "name a user, ip or class: without one this would end every session"));
    }
    let ended = end(&asked, filter).await;
    Ok(Answer::json(&ended)?.dry(asked.flag("dry_run")))
}

async fn end_one(asked: Asked) -> Result<Answer, Refusal> {
    let ended = end(&asked, Filter { id: Some(asked.part("id").to_owned()), ..Filter::default() }).await;
    if ended.ended == 0 && ended.silent.is_empty() {
        return Err(Refusal::because(Problem::NotFound, "no session has this id (any more)"));
    }
    Ok(Answer::json(&ended)?.dry(asked.flag("dry_run")))
}

async fn end(asked: &Asked, filter: Filter) -> Ended {
    let answers = asked.api.everywhere(End { filter, dry_run: asked.flag("dry_run") }).await;
    Ended { ended: answers.given.iter().sum(), silent: answers.silent }
}

fn session(entry: &Entry, node: &str) -> Session {
    let (user, tls) = (entry.user(), entry.tls());
    let state = match &user {
        None => "greeting",
        Some(_) if entry.is_transferring() => "transfer",
        Some(_) => "idle",
    };
    Session {
        id: entry.id.to_string(),
        node: node.to_owned(),
        user: user.map(|user| user.to_string()),
        class: entry.class().map(|class| class.to_string()),
        address: entry.peer.ip().to_string(),
        since: time::began(entry.since),
        state: state.to_owned(),
        tls: tls.map(|(version, _)| version.label().to_owned()),
        resumed: tls.map(|(_, resumed)| resumed != Resumed::Full),
        certificate: entry.certificates().first().cloned(),
        bytes: entry.bytes.load(Ordering::Relaxed),
    }
}
