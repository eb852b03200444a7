//! The audit: every change and every refusal, who asked and what came of it.
//!
//! Gets: questions. Gives: the records of all nodes, newest first. Never: a token or a body.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind};
use super::super::everywhere::{Page, Question};
use super::super::problems::Refusal;
use super::super::shape::Shape;
use super::super::shapes::{Audit, List};
use super::super::{Api, time};
use super::{CURSOR, LIMIT, Row, query};
use crate::observe::Label;
use crate::observe::sidecar::{AuditRecord, Group};

pub(super) const CALLS: &[Call] =
    &[Row { path: "/audit", id: "listAudit", group: Group::Audit, scope: Scope::Admin, about: "Who did what, on all nodes, newest first." }
        .get(List::<Audit>::schema, |asked| Box::pin(list(asked)))
        .with(&[query("actor", Kind::Text, "By the token or certificate of this name."), query("since", Kind::Time, "Then or later."), LIMIT, CURSOR])];

/// Who did what?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Records {
    actor: Option<String>,
    since: Option<String>,
    page: Page,
}

impl Question for Records {
    const PATH: &'static str = "admin/v1/audit";
    type Answer = Vec<Audit>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let since = self.since.as_deref().and_then(time::parse).unwrap_or(SystemTime::UNIX_EPOCH);
        let wanted = |one: &AuditRecord| one.time >= since && self.actor.as_deref().is_none_or(|actor| one.actor.as_deref() == Some(actor));
        self.page.share(api.history.audit(wanted).iter().map(|record| audit(record, &api.node.name)).collect())
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    let answers = asked.api.everywhere(Records { actor: asked.text("actor"), since: asked.text("since"), page: page.clone() }).await;
    Answer::json(&page.list(answers))
}

fn audit(record: &AuditRecord, node: &str) -> Audit {
    Audit {
        id: record.id.to_string(),
        time: time::shown(record.time),
        node: node.to_owned(),
        actor: record.actor.as_deref().map(str::to_owned),
        source: record.source.to_string(),
        method: record.method.label().to_uppercase(),
        path: record.path.to_owned(),
        target: record.target.as_deref().map(str::to_owned),
        result: record.result.label().to_owned(),
        status: record.status.into(),
        request_id: record.request.to_string(),
    }
}
