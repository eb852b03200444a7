//! The configuration: as it is in force, read again, or looked at before it is.
//!
//! Gets: questions. Gives: keys and values of the node that was asked, without secrets; faults with their lines. Never: a value that an expansion brought in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::{Item, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Done, Draft, List, Setting, Verdict};
use super::{CURSOR, DRY, LIMIT, Row, certificates};
use crate::observe::sidecar::{Group, Method};

pub(super) const CALLS: &[Call] = &[
    Row {
        path: "/config",
        id: "showConfig",
        group: Group::Config,
        scope: Scope::Admin,
        about: "The configuration in force on the node that is asked, redacted.",
    }
    .get(List::<Setting>::schema, |asked| Box::pin(show(asked)))
    .with(&[LIMIT, CURSOR]),
    Row {
        path: "/config/reload",
        id: "reloadConfig",
        group: Group::Config,
        scope: Scope::Operate,
        about: "Reads configuration, users, tokens and certificates again, on all nodes; each takes all of it or nothing.",
    }
    .change(Method::Post, Done::schema, |asked| Box::pin(reload(asked)))
    .with(&[DRY])
    .or(&[Problem::Conflict]),
    Row {
        path: "/config/validate",
        id: "validateConfig",
        group: Group::Config,
        scope: Scope::Operate,
        about: "Says every fault of a configuration, as check-config does. Nothing is changed.",
    }
    .call(Method::Post, false, Verdict::schema, |asked| Box::pin(validate(asked)))
    .taking(Draft::schema)
    .or(&[Problem::Conflict]),
];

impl Item for Setting {
    fn key(&self) -> String {
        self.key.clone()
    }
}

/// Read everything again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Reload {}

impl Question for Reload {
    const PATH: &'static str = "admin/v1/reload";
    type Answer = (String, Result<(), String>);

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        (api.node.name.clone(), api.orders.reload().await)
    }
}

/// Would you take your files as they are now? A question of its own, so that a node that does not know it does nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct WouldReload {}

impl Question for WouldReload {
    const PATH: &'static str = "admin/v1/reload/would";
    type Answer = (String, Result<(), String>);

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let name = api.node.name.clone();
        // Reads files, perhaps on a slow disk.
        let faults = tokio::task::spawn_blocking(move || api.orders.validate(None)).await;
        let result = match faults {
            Ok(Some(faults)) if faults.is_empty() => Ok(()),
            Ok(Some(faults)) => Err(faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect::<Vec<_>>().join("; ")),
            Ok(None) => Err("it was started without a configuration file".to_owned()),
            Err(_) => Err("the files could not be looked at".to_owned()),
        };
        (name, result)
    }
}

async fn show(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    let (items, more) = page.cut(asked.api.orders.settings());
    let next = items.last().map(|last| super::super::everywhere::cursor(&last.key())).filter(|_| more);
    Answer::json(&List { items, next, silent: Vec::new() })
}

pub(super) async fn reload(asked: Asked) -> Result<Answer, Refusal> {
    let dry = asked.flag("dry_run");
    let answers = if dry { asked.api.everywhere(WouldReload {}).await } else { asked.api.everywhere(Reload {}).await };
    let done = certificates::done(answers);
    if done.nodes.is_empty() {
        let words = done.failed.into_iter().map(|(node, why)| format!("{node}: {why}")).collect::<Vec<_>>().join("; ");
        return Err(Refusal::because(Problem::Conflict, words));
    }
    Ok(Answer::json(&done)?.dry(dry))
}

async fn validate(asked: Asked) -> Result<Answer, Refusal> {
    let Draft { yaml } = asked.body()?;
    let api = asked.api.clone();
    // Reads files, perhaps on a slow disk.
    let problems = tokio::task::spawn_blocking(move || api.orders.validate(yaml)).await.map_err(|_| Problem::Internal)?;
    let problems = problems.ok_or_else(|| Refusal::because(Problem::Conflict, "this node was started without a configuration file; send one as yaml"))?;
    Answer::json(&Verdict { valid: problems.is_empty(), problems })
}
