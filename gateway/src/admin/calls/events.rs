//! The stream of events (server-sent events, as browsers and `curl -N` read them).
//!
//! Gets: a watcher. Gives: what happens on all nodes from now on, within a second. Never: more than 16 watchers at once, or one for longer than an hour.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout_at};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind};
use super::super::everywhere::Question;
use super::super::problems::{Problem, Refusal};
use super::super::shape::{Schemas, Shape};
use super::{Row, query};
use crate::observe::sidecar::Group;

pub(super) const CALLS: &[Call] = &[Call {
    media: "text/event-stream",
    ..Row {
        path: "/events",
        id: "watchEvents",
        group: Group::Events,
        scope: Scope::Read,
        about: "What happens on all nodes from now on: server-sent events, each with its name and a JSON object.",
    }
    .get(text, |asked| Box::pin(watch(asked)))
    .with(&[query("names", Kind::Text, "Only events of these names, with commas between them.")])
    .or(&[Problem::Busy])
}];

fn text(all: &mut Schemas) -> serde_json::Value {
    String::schema(all)
}

/// What happened since?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Since {
    /// By node; who is not in it begins now.
    next: BTreeMap<String, u64>,
}

/// What one node says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct News {
    node: String,
    next: u64,
    /// Name and JSON object.
    events: Vec<(String, String)>,
}

impl Question for Since {
    const PATH: &'static str = "admin/v1/events";
    type Answer = News;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let node = api.node.name.clone();
        let Some(from) = self.next.get(&node) else { return News { next: api.feed.watch(), node, events: Vec::new() } };
        let (events, next) = api.feed.since(*from, AT_ONCE);
        let events = events.into_iter().map(|event| (event.name.to_owned(), event.text.to_string())).collect();
        News { node, next, events }
    }
}

async fn watch(asked: Asked) -> Result<Answer, Refusal> {
    let place = asked.api.watchers.clone().try_acquire_owned().map_err(|_| Refusal::because(Problem::Busy, format!("at most {WATCHERS} watch at once")))?;
    asked.caller.patient.store(true, Ordering::Relaxed);
    let names: Vec<String> = asked.text("names").iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect();
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(follow(asked.api.clone(), names, sender, place));
    let body = Body::new(Chunks(receiver));
    Ok(Answer { status: StatusCode::OK, media: "text/event-stream", body, target: None, dry: false })
}

/// Until the watcher leaves, or its hour is over.
async fn follow(api: Arc<Api>, names: Vec<String>, sender: mpsc::Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let end = Instant::now() + LONGEST;
    let mut since = Since { next: BTreeMap::new() };
    let mut quiet = Instant::now();
    // The first answers say where each node stands.
    let mut text = String::from(": from now on\n\n");
    while Instant::now() < end {
        for news in api.everywhere(since.clone()).await.given {
            for (name, object) in news.events.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
                let node = serde_json::Value::from(news.node.as_str());
                text.push_str(&format!("event: {name}\ndata: {{\"node\":{node},{}\n\n", object.strip_prefix('{').unwrap_or("}")));
            }
            since.next.insert(news.node, news.next);
        }
        if text.is_empty() && quiet.elapsed() > QUIET {
            text.push_str(":\n\n");
        }
        if !text.is_empty() {
            quiet = Instant::now();
            if !matches!(timeout_at(end, sender.send(std::mem::take(&mut text).into())).await, Ok(Ok(()))) {
                return;
            }
        }
        tokio::select! {
            () = sender.closed() => return,
            () = api.feed.news() => sleep(TOGETHER).await,
            () = sleep(OFTEN) => {}
        }
    }
}

/// A body whose end nobody knows yet.
struct Chunks(mpsc::Receiver<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Who may watch at once.
pub(in super::super) const WATCHERS: usize = 16;
/// Chunks that wait for a slow watcher.
const CHUNKS: usize = 4;
/// Events of one answer of a node.
const AT_ONCE: usize = 500;
/// How often other nodes are asked.
const OFTEN: Duration = Duration::from_secs(1);
/// How long events are gathered.
const TOGETHER: Duration = Duration::from_millis(50);
/// After so long without an event a comment shows that somebody is there.
const QUIET: Duration = Duration::from_secs(15);
pub(in super::super) const LONGEST: Duration = Duration::from_secs(3600);
