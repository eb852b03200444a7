//! The API as a router: the table of calls becomes routes, and whatever is not in it a problem that is counted.
//!
//! Gets: what this node is made of. Gives: `/api/v1`, and the guard in front of everything on `listen.admin`.
//! Never: answers under a host that is not this node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State as From};
use axum::http::Method as HttpMethod;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use tokio::sync::Semaphore;

use super::access::Access;
use super::call::{self, Call};
use super::calls::{self, WATCHERS};
use super::orders::Orders;
use super::problems::{Problem, Refusal};
use super::{State, access};
use crate::observe::id::{EventId, Incarnation};
use crate::observe::sidecar::{AccessFault, AuditRecord, AuditResult, Group, Method};
use crate::observe::{Event, Feed, History, LogHandle, Metrics, Observer, Readiness, SidecarEvent, Subject};
use crate::session::House;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `node.name`.
    pub name: String,
    /// This start.
    pub incarnation: Incarnation,
    /// When that was.
    pub started: SystemTime,
    /// Where other nodes reach it.
    pub address: Option<SocketAddr>,
}

/// What the calls answer from.
#[derive(Debug)]
pub struct Api {
    pub(super) node: Identity,
    pub(super) house: Arc<House>,
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) log: LogHandle,
    pub(super) history: History,
    pub(super) feed: Feed,
    pub(super) observer: Observer,
    pub(super) access: Arc<Access>,
    pub(super) orders: Orders,
    /// Places for watchers of events.
    pub(super) watchers: Arc<Semaphore>,
    /// Strangers whose refusal was audited in this minute.
    strangers: Mutex<(Instant, u32)>,
}

/// What [`Api`] is made of.
pub struct Parts {
    /// Who this node is.
    pub node: Identity,
    /// What sessions share.
    pub house: Arc<House>,
    /// The metrics of the node.
    pub metrics: Metrics,
    /// Its readiness.
    pub readiness: Readiness,
    /// Its log.
    pub log: LogHandle,
    /// Its history.
    pub history: History,
    /// Its stream of events.
    pub feed: Feed,
    /// Who may what.
    pub access: Arc<Access>,
    /// What the node does for the API.
    pub orders: Orders,
}

impl Api {
    /// From its parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { node, house, metrics, readiness, log, history, feed, access, orders } = parts;
        let observer = house.observer.clone();
        let (watchers, strangers) = (Arc::new(Semaphore::new(WATCHERS)), Mutex::new((Instant::now(), 0)));
        Arc::new(Self { node, house, metrics, readiness, log, history, feed, observer, access, orders, watchers, strangers })
    }

    /// Whether the refusal of somebody unknown may go into the audit, which others need too. All are counted.
    pub(super) fn may_note_stranger(&self) -> bool {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.0.elapsed() > access::WINDOW {
            *strangers = (Instant::now(), 0);
        }
        strangers.1 += 1;
        strangers.1 <= STRANGERS
    }

    /// A request that reached no call.
    fn astray(&self, request: &Request, problem: Problem, took: Duration) {
        let caller = call::caller_of(request);
        let subject = Subject { peer: Some(caller.peer), ..Subject::default() };
        let (group, method, status) = (Group::Unknown, method(request.method()), problem.status().as_u16());
        let event = |event| self.observer.event(subject, &Event::Sidecar(event));
        event(SidecarEvent::Answered { group, method, status, took });
        if problem == Problem::ForeignHost {
            event(SidecarEvent::Refused { why: AccessFault::Host });
            if self.may_note_stranger() {
                let (id, source, result) = (EventId::now(), caller.peer.ip(), AuditResult::Refused);
                let (time, path, request) = (SystemTime::now(), "*", EventId::now());
                event(SidecarEvent::Audited(&AuditRecord { id, time, actor: None, source, method, path, target: None, result, status, request }));
            }
        }
    }
}

/// The calls of the table.
pub(super) fn routes(api: &Arc<Api>) -> Router<State> {
    let mut paths: BTreeMap<&'static str, (MethodRouter<State>, Vec<&'static str>)> = BTreeMap::new();
    for call in calls::all() {
        let api = api.clone();
        let handler = move |Path(parts): Path<Vec<(String, String)>>, request: Request| call::serve(api, call, parts, request);
        let (routes, methods) = paths.remove(call.path).unwrap_or_default();
        let methods = methods.into_iter().chain(words(call).iter().copied()).collect();
        paths.insert(call.path, (routes.on(filter(call), handler), methods));
    }
    paths.into_iter().fold(Router::new(), |router, (path, (routes, methods))| {
        let (api, allow) = (api.clone(), methods.join(","));
        let not_allowed = async move |request: Request| {
            api.astray(&request, Problem::MethodNotAllowed, Duration::ZERO);
            Refusal { allow: Some(allow), ..Problem::MethodNotAllowed.into() }.into_response()
        };
        router.route(&format!("{BASE}{path}"), routes.fallback(not_allowed))
    })
}

/// Nothing behind this is reached under the name of somebody else. What is behind no route is counted.
pub(super) fn guarded(router: Router, api: Arc<Api>) -> Router {
    router.layer(from_fn_with_state(api, guard))
}

async fn guard(From(api): From<Arc<Api>>, request: Request, next: Next) -> Response {
    let caller = call::caller_of(&request);
    if !api.access.is_host(request.headers(), &caller) {
        return astray(&api, &request, Problem::ForeignHost);
    }
    let under_api = request.uri().path().starts_with("/api/");
    let (head, began) = (Request::builder().method(request.method().clone()).extension(caller).body(Body::empty()), Instant::now());
    let answer = next.run(request).await;
    // Calls count themselves; what no route took is counted here.
    if under_api
        && answer.extensions().get::<Problem>() == Some(&Problem::NotFound)
        && let Ok(head) = head
    {
        api.astray(&head, Problem::NotFound, began.elapsed());
    }
    answer
}

fn astray(api: &Api, request: &Request, problem: Problem) -> Response {
    api.astray(request, problem, Duration::ZERO);
    problem.into_response()
}

fn words(call: &Call) -> &'static [&'static str] {
    match call.method {
        Method::Get | Method::Other => &["GET", "HEAD"],
        Method::Post => &["POST"],
        Method::Put => &["PUT"],
        Method::Delete => &["DELETE"],
    }
}

fn filter(call: &Call) -> MethodFilter {
    match call.method {
        Method::Get | Method::Other => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    }
}

fn method(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET | HttpMethod::HEAD => Method::Get,
        HttpMethod::POST => Method::Post,
        HttpMethod::PUT => Method::Put,
        HttpMethod::DELETE => Method::Delete,
        _ => Method::Other,
    }
}

/// Where the API is.
const BASE: &str = "/api/v1";
/// Refusals of strangers that are audited in a minute.
const STRANGERS: u32 = 60;
