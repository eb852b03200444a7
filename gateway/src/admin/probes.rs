//! The probes and the scrape: what an orchestrator, a balancer and Prometheus ask.
//!
//! Gets: the node's readiness and metrics. Gives: short plain text; with `?verbose` one line for each part.
//! Never: waits for anything, and names no client, user, address or version.

use std::fmt::Write;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::State as Node;
use crate::observe::ready::Report;

/// `/livez`: the process answers.
pub(super) async fn live() -> Response {
    plain(StatusCode::OK, "ok\n".into())
}

/// `/readyz`: send it work, or not.
pub(super) async fn ready(State(node): State<Node>, RawQuery(query): RawQuery) -> Response {
    let report = node.readiness.report();
    let word = match (report.started(), report.draining) {
        (_, true) => "draining",
        (false, false) => "starting",
        (true, false) => "ok",
    };
    answer(&report, report.ready(), word, query.as_deref())
}

/// `/startupz`: every part has come up; draining does not take that back.
pub(super) async fn started(State(node): State<Node>, RawQuery(query): RawQuery) -> Response {
    let report = node.readiness.report();
    answer(&report, report.started(), if report.started() { "ok" } else { "starting" }, query.as_deref())
}

/// `/metrics`.
pub(super) async fn metrics(State(node): State<Node>) -> Response {
    // Reads /proc and makes some hundred kilobytes of text: not on a thread that serves sessions. Nor on the blocking pool: a hung mount takes all of it, and
    // that is when somebody looks.
    let (done, rendered) = oneshot::channel();
    let work = move || drop(done.send(node.metrics.render()));
    // Without a thread `done` is dropped, which is the answer.
    let _ = std::thread::Builder::new().name("scrape".into()).spawn(work);
    match rendered.await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(_) => super::Problem::Internal.into_response(),
    }
}

fn answer(report: &Report, well: bool, word: &str, query: Option<&str>) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    let mut text = if verbose { details(report) } else { String::new() };
    text.push_str(word);
    text.push('\n');
    plain(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

fn details(report: &Report) -> String {
    let mut text = String::new();
    for (name, released) in &report.latches {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "[{}] {name}", if *released { '+' } else { '-' });
    }
    for (what, detail) in &report.degraded {
        let _ = writeln!(text, "[!] {what}: {detail}");
    }
    text
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], text).into_response()
}
