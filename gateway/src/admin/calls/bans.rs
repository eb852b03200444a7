//! Bans: who may not come, by hand; how far a change has come.
//!
//! Gets: requests. Gives: what the room `bans` answers from this node's book, which is the cluster's. Never: bans without a duration.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind};
use super::super::everywhere::{Item, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::{Schemas, Shape, shape};
use super::super::shapes::List;
use super::ban_shapes::{added_schema, ban_schema, check_schema, import_schema, imported_schema, list_schema, removed_schema, request_schema, who_schema};
use super::{CURSOR, DRY, LIMIT, Row, query};
use crate::bans::{self, Filter, Refused, Request, Target, Who};
use crate::observe::event::BanSource;
use crate::observe::id::{BanId, Ulid};
use crate::observe::sidecar::{Group, Method};

const WAIT: super::Query = query("wait", Kind::Text, "How long to wait for the other nodes: 500ms, 2s; 2s unless said otherwise, 30s at most.");
const ROW: Row = Row { path: "/bans", id: "listBans", group: Group::Bans, scope: Scope::Read, about: "The bans in force, oldest first." };

pub(super) const CALLS: &[Call] = &[
    ROW.get(list_schema, |asked| Box::pin(list(asked))).with(&[
        query("source", Kind::Text, "`admin` or `rule`."),
        query("ip", Kind::Ip, "That hold for this address."),
        query("text", Kind::Text, "With this in target, reason or author."),
        query("dry_run", Kind::Flag, "`true`: not those in force, but the latest that rules on trial, or about hidden addresses, would have made."),
        LIMIT,
        CURSOR,
    ]),
    Row { id: "addBan", scope: Scope::Bans, about: "Bans somebody on all nodes; live sessions end. The answer says how far it has come.", ..ROW }
        .change(Method::Post, added_schema, |asked| Box::pin(add(asked)))
        .taking(request_schema)
        .with(&[WAIT]),
    Row { id: "removeBans", scope: Scope::Bans, about: "Removes all bans of a target (as `ip:203.0.113.7`) or a source. One of them has to be named.", ..ROW }
        .change(Method::Delete, removed_schema, |asked| Box::pin(remove_where(asked)))
        .with(&[query("target", Kind::Text, "KIND:TEXT."), query("source", Kind::Text, "`admin` or `rule`."), DRY, WAIT]),
    Row { path: "/bans/check", id: "checkBan", about: "Whether such a client would be refused, and by which ban.", ..ROW }
        .call(Method::Post, false, check_schema, |asked| Box::pin(check(asked)))
        .taking(who_schema),
    Row { path: "/bans/counters", id: "banCounters", about: "What the rules of bans.rules counted on all nodes.", ..ROW }
        .get(List::<BanCounter>::schema, |asked| Box::pin(counters(asked)))
        .with(&[LIMIT, CURSOR]),
    Row { path: "/bans/export", id: "exportBans", scope: Scope::Bans, about: "All bans, one JSON object a line.", ..ROW }
        .get(ban_schema, |asked| Box::pin(export(asked)))
        .words(LINES),
    Row { path: "/bans/import", id: "importBans", scope: Scope::Bans, about: "Bans everybody that an export names, or nobody when one is wrong.", ..ROW }
        .change(Method::Post, imported_schema, |asked| Box::pin(import(asked)))
        .taking(import_schema)
        .longest(LONGEST_IMPORT)
        .with(&[WAIT]),
    Row { path: "/bans/{id}", id: "showBan", about: "One ban.", ..ROW }.get(ban_schema, |asked| Box::pin(show(asked))).or(&[Problem::NotFound]),
    Row { path: "/bans/{id}", id: "removeBan", scope: Scope::Bans, about: "Removes one ban on all nodes.", ..ROW }
        .change(Method::Delete, removed_schema, |asked| Box::pin(remove(asked)))
        .with(&[DRY, WAIT])
        .or(&[Problem::NotFound]),
];

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    if asked.text("dry_run").as_deref() == Some("true") {
        return Answer::json(&page.list(asked.api.everywhere(DryRuns {}).await));
    }
    let after = page.after.as_deref().map(ban_id).transpose()?;
    let filter = Filter { source: source(&asked)?, ip: asked.ip("ip"), text: asked.text("text"), after, limit: page.limit, ..Filter::default() };
    let found = asked.api.house.bans.list(&filter);
    let next = found.next.as_deref().map(super::super::everywhere::cursor);
    Answer::json(&json!({ "items": found.bans, "next": next, "silent": [] }))
}

async fn show(asked: Asked) -> Result<Answer, Refusal> {
    let ban = asked.api.house.bans.get(ban_id(asked.part("id")).map_err(|_| none())?).ok_or_else(none)?;
    Answer::json(&ban)
}

async fn check(asked: Asked) -> Result<Answer, Refusal> {
    let who: Value = asked.body()?;
    let text = |name: &str| who.get(name).and_then(Value::as_str);
    let unknown = who.as_object().is_none_or(|fields| fields.keys().any(|name| !["ip", "user", "class", "certificate"].contains(&name.as_str())));
    if unknown || who.as_object().is_some_and(|fields| fields.values().any(|value| !value.is_string())) {
        return Err(Refusal::at("", "write ip, user, class, certificate: any of them, each as text"));
    }
    let ip = text("ip").map(|ip| ip.parse().map_err(|_| Refusal::at("/ip", "is not an IP address"))).transpose()?;
    let classes: Vec<&str> = text("class").into_iter().collect();
    let certificates: Vec<String> = text("certificate").map(str::to_owned).into_iter().collect();
    let ban = asked.api.house.bans.check(&Who { ip, user: text("user"), classes: &classes, certificates: &certificates });
    Answer::json(&json!({ "refused": ban.is_some(), "ban": ban }))
}

async fn add(asked: Asked) -> Result<Answer, Refusal> {
    let request: Request = asked.body()?;
    let target = request.target.iter().map(|(kind, text)| format!("{kind}:{text}")).collect::<Vec<_>>().join(" ");
    let mut added = asked.api.house.bans.add(&request, &asked.actor.name, wait(&asked)?).await.map_err(refusal)?;
    let dry = added.dry_run;
    if let (true, Some((kind, text))) = (dry, request.target.iter().next()) {
        let would = asked.api.everywhere(WouldEnd { kind: kind.clone(), text: text.clone() }).await;
        added.sessions_ended = would.given.iter().sum();
        added.propagation.silent = would.silent;
    }
    let answer = Answer::json(&added)?.about(format!("{} {target}", added.ban.id)).dry(dry);
    Ok(Answer { status: StatusCode::OK, ..answer })
}

async fn remove(asked: Asked) -> Result<Answer, Refusal> {
    let id = ban_id(asked.part("id")).map_err(|_| none())?;
    if asked.flag("dry_run") {
        return would_remove(vec![asked.api.house.bans.get(id).ok_or_else(none)?]);
    }
    let removed = asked.api.house.bans.remove(id, &asked.actor.name, wait(&asked)?).await.ok_or_else(none)?;
    Answer::json(&removed)
}

async fn remove_where(asked: Asked) -> Result<Answer, Refusal> {
    let wrong = || Refusal::at("target", "is not KIND:TEXT; KIND is ip, cidr, user, user_at_host, class or certificate");
    let target = asked.text("target").map(|text| text.split_once(':').and_then(|(kind, text)| Target::parse(kind, text).ok()).ok_or_else(wrong)).transpose()?;
    let filter = Filter { source: source(&asked)?, target, ..Filter::default() };
    if filter.source.is_none() && filter.target.is_none() {
        return Err(Refusal::at("?", "name a target or a source: without one this would remove every ban"));
    }
    if asked.flag("dry_run") {
        return would_remove(asked.api.house.bans.list(&Filter { limit: usize::MAX, ..filter }).bans);
    }
    Answer::json(&asked.api.house.bans.remove_where(&filter, &asked.actor.name, wait(&asked)?).await)
}

/// The answer of a removal that did not happen.
fn would_remove(bans: Vec<bans::View>) -> Result<Answer, Refusal> {
    Ok(Answer::json(&json!({ "removed": bans, "dry_run": true, "propagation": bans::Propagation::none() }))?.dry(true))
}

shape! {
    /// What a rule of `bans.rules` counted, on all nodes since they started.
    BanCounter {
        /// Its place in `bans.rules`, from 0.
        rule: u64,
        /// Its event.
        event: String,
        /// Its threshold.
        count: u64,
        /// Whether it only says what it would do.
        dry_run: bool,
        /// Events that counted.
        counted: u64,
        /// How often it tripped.
        tripped: u64,
    }
}

impl Item for BanCounter {
    fn key(&self) -> String {
        format!("{:06}", self.rule)
    }

    fn merge(&mut self, other: Self) {
        self.counted += other.counted;
        self.tripped += other.tripped;
    }
}

/// How many sessions would a ban of this target end?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct WouldEnd {
    kind: String,
    text: String,
}

impl Question for WouldEnd {
    const PATH: &'static str = "admin/v1/bans/would_end";
    type Answer = usize;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        Target::parse(&self.kind, &self.text).map_or(0, |target| api.house.bans.would_end(&target))
    }
}

/// Whom would rules have banned?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct DryRuns {}

/// A ban that holds nowhere, as the room says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct DryRun(Value);

impl Item for DryRun {
    const NEWEST_FIRST: bool = true;

    fn key(&self) -> String {
        self.0["id"].as_str().unwrap_or_default().to_owned()
    }
}

impl Shape for DryRun {
    fn schema(all: &mut Schemas) -> Value {
        ban_schema(all)
    }
}

impl Question for DryRuns {
    const PATH: &'static str = "admin/v1/bans/dry_runs";
    type Answer = Vec<DryRun>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        // Its fields are text.
        api.house.bans.dry_runs().iter().filter_map(|ban| serde_json::to_value(ban).ok()).map(DryRun).collect()
    }
}

/// What have the rules counted?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Counters {}

impl Question for Counters {
    const PATH: &'static str = "admin/v1/bans/counters";
    type Answer = Vec<BanCounter>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let counters = api.house.bans.counters().into_iter().zip(0..);
        let one = |(counter, rule): (bans::rules::Counter, u64)| BanCounter {
            rule,
            event: counter.event.to_owned(),
            count: u64::from(counter.count),
            dry_run: counter.dry_run,
            counted: counter.counted,
            tripped: counter.tripped,
        };
        counters.map(one).collect()
    }
}

async fn counters(asked: Asked) -> Result<Answer, Refusal> {
    let answers = asked.api.everywhere(Counters {}).await;
    Answer::json(&asked.page().list(answers))
}

async fn export(asked: Asked) -> Result<Answer, Refusal> {
    let lines: String = asked.api.house.bans.export().collect();
    Ok(Answer { media: LINES, body: lines.into(), ..Answer::json(&())? })
}

/// Bans as an export writes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    bans: Vec<Value>,
    #[serde(default)]
    force: bool,
}

async fn import(asked: Asked) -> Result<Answer, Refusal> {
    let Import { bans, force } = asked.body()?;
    let lines = bans.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let done = asked.api.house.bans.import(&lines, force, &asked.actor.name, wait(&asked)?).await;
    if done.errors.is_empty() {
        return Ok(Answer::json(&done)?.about(format!("{} bans", done.imported)));
    }
    let errors = done.errors.into_iter().map(|(line, words)| (format!("/bans/{}", line - 1), words)).collect();
    Err(Refusal { errors, ..Problem::Invalid.into() })
}

/// `500ms`, `2s`; a bare number is seconds.
fn wait(asked: &Asked) -> Result<Duration, Refusal> {
    let Some(text) = asked.text("wait") else { return Ok(WAIT_USUALLY) };
    let (number, unit) = text.split_at(text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len()));
    let number: Option<u64> = number.parse().ok();
    let wait = match unit {
        "ms" => number.map(Duration::from_millis),
        "s" | "" => number.map(Duration::from_secs),
        _ => None,
    };
    wait.filter(|wait| *wait <= WAIT_MOST).ok_or_else(|| Refusal::at("wait", "is not a time as 500ms or 2s, 30s at most"))
}

fn source(asked: &Asked) -> Result<Option<BanSource>, Refusal> {
    asked.text("source").map(|text| bans::source(&text).ok_or_else(|| Refusal::at("source", "is not admin or rule"))).transpose()
}

fn ban_id(text: &str) -> Result<BanId, Refusal> {
    text.strip_prefix("b_").and_then(Ulid::parse).map(BanId).ok_or_else(|| Refusal::at("cursor", "is not a cursor; take `next` of the former page"))
}

fn none() -> Refusal {
    Refusal::because(Problem::NotFound, "no ban has this id (any more)")
}

fn refusal(error: Refused) -> Refusal {
    let pointer = match &error {
        Refused::Duration | Refused::Over => "/duration",
        Refused::Reason => "/reason",
        Refused::Targets | Refused::Target { .. } | Refused::Wide(_) | Refused::Never(_) | Refused::Class(_) => "/target",
    };
    Refusal::at(pointer, error.to_string())
}

/// One JSON object a line.
const LINES: &str = "application/x-ndjson";
/// For the other nodes, unless the caller says how long.
const WAIT_USUALLY: Duration = Duration::from_secs(2);
const WAIT_MOST: Duration = Duration::from_secs(30);
/// Bytes of an import: about 100,000 bans.
const LONGEST_IMPORT: usize = 32 * 1024 * 1024;
