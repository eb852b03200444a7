//! Transfers: who uploaded or downloaded what, when, how large, proven or not, from where.
//!
//! Gets: questions. Gives: the history of all nodes, newest first. Never: more than `history.transfers` of each node.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind};
use super::super::everywhere::{Page, Question};
use super::super::problems::Refusal;
use super::super::shape::Shape;
use super::super::shapes::{Digest, List, Transfer};
use super::super::{Api, time};
use super::{CURSOR, LIMIT, Row, query};
use crate::observe::Label;
use crate::observe::history::TransferRecord;
use crate::observe::sidecar::Group;

pub(super) const CALLS: &[Call] = &[Row {
    path: "/transfers",
    id: "listTransfers",
    group: Group::Transfers,
    scope: Scope::Read,
    about: "Transfers that have ended, on all nodes, newest first.",
}
.get(List::<Transfer>::schema, |asked| Box::pin(list(asked)))
.with(&[
    query("user", Kind::Text, "Of this user."),
    query("path", Kind::Text, "Of paths that begin so."),
    query("since", Kind::Time, "That began then or later."),
    LIMIT,
    CURSOR,
])];

/// What was moved?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Transfers {
    user: Option<String>,
    path: Option<String>,
    since: Option<String>,
    page: Page,
}

impl Question for Transfers {
    const PATH: &'static str = "admin/v1/transfers";
    type Answer = Vec<Transfer>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let since = self.since.as_deref().and_then(time::parse).unwrap_or(SystemTime::UNIX_EPOCH);
        let wanted = |one: &TransferRecord| {
            one.started >= since
                && self.user.as_deref().is_none_or(|user| *user == *one.user)
                && self.path.as_deref().is_none_or(|path| one.path.starts_with(path))
        };
        self.page.share(api.history.transfers(wanted).iter().map(|record| transfer(record, &api.node.name)).collect())
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    let (user, path, since) = (asked.text("user"), asked.text("path"), asked.text("since"));
    let answers = asked.api.everywhere(Transfers { user, path, since, page: page.clone() }).await;
    Answer::json(&page.list(answers))
}

fn transfer(record: &TransferRecord, node: &str) -> Transfer {
    Transfer {
        id: record.id.to_string(),
        node: node.to_owned(),
        session: record.session.map(|session| session.to_string()),
        user: record.user.to_string(),
        address: record.address.map(|address| address.to_string()),
        direction: record.direction.label().to_owned(),
        path: record.path.to_string(),
        bytes: record.bytes,
        started_at: time::shown(record.started),
        took_seconds: record.took.as_secs_f64(),
        result: record.result.to_owned(),
        proven: record.proven,
        end: record.end.label().to_owned(),
        digest: record.digest.as_ref().map(|(algorithm, hex)| Digest { algorithm: (*algorithm).to_owned(), hex: hex.to_string() }),
    }
}
