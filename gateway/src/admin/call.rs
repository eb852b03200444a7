//! One call of the API, from the head of its request to its answer: who asks, may he, what does he want, what came of it.
//!
//! Gets: a row of the table of calls and a request. Gives: an answer or a problem, one event, and an audit record for each change and each refusal.
//! Never: runs a handler for somebody who may not, or reads a body beyond its cap.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::Query as UrlQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::access::{Actor, Caller, Denied, Scope};
use super::everywhere::{Page, uncursor};
use super::problems::{Problem, Refusal};
use super::shape::SchemaOf;
use crate::observe::id::EventId;
use crate::observe::sidecar::{AccessFault, AuditRecord, AuditResult, Group, Method};
use crate::observe::{Event, SidecarEvent, Subject};

/// One row of the table of calls: the router and the document are made from it.
pub(super) struct Call {
    pub(super) method: Method,
    /// Below `/api/v1`, with `{name}` for what varies.
    pub(super) path: &'static str,
    /// For programs that are made from the document.
    pub(super) id: &'static str,
    pub(super) group: Group,
    /// `None`: whoever is known.
    pub(super) scope: Option<Scope>,
    /// Whether it changes anything.
    pub(super) writes: bool,
    pub(super) about: &'static str,
    pub(super) query: &'static [Query],
    pub(super) body: Option<SchemaOf>,
    /// Bytes of the body.
    pub(super) longest: usize,
    /// Status and shape of a good answer; `None`: the words of [`Call::media`].
    pub(super) answer: (u16, Option<SchemaOf>),
    pub(super) media: &'static str,
    /// What may go wrong, besides what may always.
    pub(super) problems: &'static [Problem],
    pub(super) run: fn(Asked) -> Running,
}

pub(super) type Running = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

/// A parameter behind the question mark.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// What a parameter must look like.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Ip,
    Count(u64),
    Flag,
    Time,
    Cursor,
}

/// What a handler gets.
pub(super) struct Asked {
    pub(super) api: Arc<Api>,
    pub(super) actor: Actor,
    pub(super) caller: Caller,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What a handler gives.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) media: &'static str,
    pub(super) body: Body,
    /// For the audit, when the parameters do not say it.
    pub(super) target: Option<String>,
    /// Nothing was changed, though it could have been.
    pub(super) dry: bool,
}

impl Asked {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A parameter.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// A parameter that is an address.
    pub(super) fn ip(&self, name: &str) -> Option<IpAddr> {
        self.text(name)?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }

    /// A parameter that is yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "true")
    }

    /// Which part of a list.
    pub(super) fn page(&self) -> Page {
        let limit = self.text("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
        Page { after: self.text("cursor").and_then(|text| uncursor(&text)), limit }
    }

    /// The body.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::at("", fault_of(&error)))
    }
}

/// Where and what, without a word that the caller wrote.
fn fault_of(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "does not have the fields of this call, or they have other types" } else { "is not JSON" };
    format!("the body {what} (line {}, column {}); see /api/v1/openapi.json", error.line(), error.column())
}

impl Answer {
    /// 200 with JSON.
    pub(super) fn json(body: &impl Serialize) -> Result<Self, Refusal> {
        let text = serde_json::to_vec(body).map_err(|_| Problem::Internal)?;
        Ok(Self { status: StatusCode::OK, media: JSON, body: text.into(), target: None, dry: false })
    }

    /// For the audit.
    pub(super) fn about(self, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    /// Nothing was changed.
    pub(super) fn dry(self, dry: bool) -> Self {
        Self { dry, ..self }
    }
}

/// Serves one request of `call`.
pub(super) async fn serve(api: Arc<Api>, call: &'static Call, parts: Vec<(String, String)>, request: Request<Body>) -> Response {
    let (began, id) = (Instant::now(), EventId::now());
    let (head, body) = request.into_parts();
    let caller = caller(&head);
    let mut done = Served { fault: None, actor: None, target: default_target(&parts, &head), dry: false };
    let mut answer = match attempt(&api, call, parts, &caller, &head, body, &mut done).await {
        Ok(answer) => {
            done.dry = answer.dry;
            done.target = answer.target.or(done.target);
            (answer.status, [(CONTENT_TYPE, HeaderValue::from_static(answer.media)), (CACHE_CONTROL, NO_STORE)], answer.body).into_response()
        }
        Err(refusal) => Refusal { request: Some(id.to_string()), ..refusal }.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    say(&api, call, &caller, id, began.elapsed(), answer.status(), done);
    answer
}

/// What is known of a request when it is over.
struct Served {
    fault: Option<AccessFault>,
    actor: Option<Box<str>>,
    target: Option<String>,
    dry: bool,
}

async fn attempt(
    api: &Arc<Api>,
    call: &'static Call,
    path: Vec<(String, String)>,
    caller: &Caller,
    head: &Parts,
    body: Body,
    done: &mut Served,
) -> Result<Answer, Refusal> {
    let actor = admit(api, call, caller, head).map_err(|denied| {
        (done.fault, done.actor) = (Some(denied.fault), denied.actor);
        let retry_after = (denied.problem == Problem::TooManyAttempts).then_some(RETRY);
        Refusal { retry_after, ..denied.problem.into() }
    })?;
    done.actor = Some(actor.name.clone());
    let query = parameters(call, head)?;
    let body = if call.body.is_some() { read(call, head, body).await? } else { Vec::new() };
    (call.run)(Asked { api: api.clone(), actor, caller: caller.clone(), path, query, body }).await
}

fn admit(api: &Api, call: &Call, caller: &Caller, head: &Parts) -> Result<Actor, Denied> {
    let actor = api.access.who(&head.headers, caller)?;
    match call.scope.is_none_or(|scope| actor.may(scope)) {
        true => Ok(actor),
        false => Err(Denied { fault: AccessFault::Scope, problem: Problem::OutOfScope, actor: Some(actor.name) }),
    }
}

/// The parameters, each known, once, and of its form.
fn parameters(call: &Call, head: &Parts) -> Result<Vec<(String, String)>, Refusal> {
    let UrlQuery(query) = UrlQuery::<Vec<(String, String)>>::try_from_uri(&head.uri).map_err(|_| Refusal::at("?", "the parameters cannot be read"))?;
    let mut errors = Vec::new();
    for (place, (name, value)) in query.iter().enumerate() {
        let Some(known) = call.query.iter().find(|known| known.name == name) else {
            errors.push(("?".to_owned(), format!("parameter {} is not one of this call: {}", place + 1, names(call))));
            continue;
        };
        if query[..place].iter().any(|(other, _)| other == name) {
            errors.push((known.name.to_owned(), "stands twice".to_owned()));
        } else if let Some(fault) = known.kind.fault(value) {
            errors.push((known.name.to_owned(), fault));
        }
    }
    if errors.is_empty() { Ok(query) } else { Err(Refusal { errors, ..Problem::Invalid.into() }) }
}

fn names(call: &Call) -> String {
    if call.query.is_empty() { "it has none".into() } else { call.query.iter().map(|known| known.name).collect::<Vec<_>>().join(", ") }
}

impl Kind {
    fn fault(self, value: &str) -> Option<String> {
        match self {
            Self::Text => (value.is_empty() || value.len() > LONGEST_TEXT).then(|| format!("is not 1 to {LONGEST_TEXT} bytes of text")),
            Self::Ip => value.parse::<IpAddr>().is_err().then(|| "is not an IP address".into()),
            Self::Count(most) => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let fits = digits && value.parse::<u64>().is_ok_and(|count| (1..=most).contains(&count));
                (!fits).then(|| format!("is not a number from 1 to {most}"))
            }
            Self::Flag => (!["true", "false"].contains(&value)).then(|| "is not true or false".into()),
            Self::Time => super::time::parse(value).is_none().then(|| "is not a time as 2027-01-31T12:00:00Z".into()),
            Self::Cursor => uncursor(value).is_none().then(|| "is not a cursor; take `next` of the former page".into()),
        }
    }
}

/// The body, if it is JSON and not too long.
async fn read(call: &Call, head: &Parts, body: Body) -> Result<Vec<u8>, Refusal> {
    let media = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(JSON) {
        return Err(Problem::MediaType.into());
    }
    let too_large = || Refusal::because(Problem::TooLarge, format!("at most {} bytes are read", call.longest));
    match tokio::time::timeout(BODY, axum::body::to_bytes(body, call.longest)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            let long = source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
            Err(if long { too_large() } else { Refusal::at("", "the body breaks off") })
        }
        Err(_) => Err(Refusal::at("", "the body did not come in time")),
    }
}

/// One event for the metrics, one for who may not, one for the audit.
fn say(api: &Api, call: &'static Call, caller: &Caller, request: EventId, took: Duration, status: StatusCode, done: Served) {
    let subject = Subject { peer: Some(caller.peer), ..Subject::default() };
    let status = status.as_u16();
    let event = |event| api.observer.event(subject, &Event::Sidecar(event));
    event(SidecarEvent::Answered { group: call.group, method: call.method, status, took });
    if let Some(why) = done.fault {
        event(SidecarEvent::Refused { why });
    }
    // Strangers must not be able to push the deeds of others out of the history.
    let wanted = if done.fault.is_some() { done.actor.is_some() || api.may_note_stranger() } else { call.writes && !done.dry };
    if wanted {
        let result = match status {
            200..400 => AuditResult::Done,
            400..500 => AuditResult::Refused,
            _ => AuditResult::Failed,
        };
        let (source, target) = (caller.peer.ip(), done.target.map(String::into_boxed_str));
        let (id, time, actor) = (EventId::now(), SystemTime::now(), done.actor);
        event(SidecarEvent::Audited(&AuditRecord { id, time, actor, source, method: call.method, path: call.path, target, result, status, request }));
    }
}

/// What is in the path, else the parameters.
fn default_target(parts: &[(String, String)], head: &Parts) -> Option<String> {
    let text = if parts.is_empty() { head.uri.query()?.to_owned() } else { parts.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("/") };
    Some(text.chars().take(LONGEST_TEXT).collect())
}

/// Where a request comes from; tests without a connection come from nowhere.
fn caller(head: &Parts) -> Caller {
    known(&head.extensions)
}

/// The same of a whole request.
pub(super) fn caller_of(request: &Request<Body>) -> Caller {
    known(request.extensions())
}

fn known(extensions: &Extensions) -> Caller {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    extensions.get::<Caller>().cloned().unwrap_or_else(|| Caller {
        peer: nowhere,
        local: nowhere,
        certificate: None,
        patient: Arc::new(AtomicBool::new(false)),
    })
}

pub(super) const JSON: &str = "application/json";
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Entries of a page unless said otherwise.
const PAGE: usize = 100;
/// Entries of the longest page.
pub(super) const LONGEST_PAGE: u64 = 1000;
/// Bytes of a parameter.
const LONGEST_TEXT: usize = 1024;
/// For the whole body.
const BODY: Duration = Duration::from_secs(10);
/// Seconds after which somebody who guessed too often may come again.
const RETRY: u32 = 60;
