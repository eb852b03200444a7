//! The way in from HTTP: the admin API, probes and metrics.
//!
//! Gets: HTTP on `listen.admin` and `listen.metrics`. Gives: `/api/v1`, `/metrics`, `/livez`, `/readyz`, `/startupz`; everything else is a problem document.
//! Never: asks for a token where a probe or a scrape cannot have one, and never says anything there that helps a stranger.

pub mod access;
mod api;
mod call;
mod calls;
mod everywhere;
mod items;
mod openapi;
mod orders;
mod page;
mod probes;
pub mod problems;
mod server;
mod shape;
mod shapes;
mod time;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::api::{Api, Identity, Parts};
pub use self::orders::{Draining, Fault, Order, Orders, Validate};
use self::problems::Problem;
pub use self::shapes::Setting;
use crate::cluster::Handlers;
use crate::observe::{Metrics, Readiness};
use crate::tls::{Sidecar, SidecarFiles};

/// `listen:`, the HTTP part, and `admin:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `listen.admin`: API and page, and metrics and probes unless `metrics` is set.
    pub admin: SocketAddr,
    /// `listen.metrics`: `/metrics` and probes only.
    pub metrics: Option<SocketAddr>,
    /// `admin.tokens_file`.
    pub tokens_file: Option<PathBuf>,
    /// `admin.tls`.
    pub tls: SidecarFiles,
    /// `admin.allowed_hosts`.
    pub allowed_hosts: Vec<String>,
    /// `admin.insecure_ok`.
    pub insecure_ok: bool,
}

/// What the handlers answer from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    /// The metrics of the node.
    pub metrics: Metrics,
    /// Its readiness.
    pub readiness: Readiness,
    /// What the API needs; `None`: there is no API.
    pub api: Option<Arc<Api>>,
}

/// Serves `listen.admin` until `shutdown`, then lets running requests end.
pub async fn serve(listener: TcpListener, tls: Sidecar, state: State, shutdown: CancellationToken) {
    server::serve(listener, tls, admin(state), shutdown).await;
}

/// Serves `listen.metrics` until `shutdown`: what needs no token, and never more.
pub async fn serve_metrics(listener: TcpListener, state: State, shutdown: CancellationToken) {
    server::serve(listener, Sidecar::default(), metrics(state), shutdown).await;
}

/// Answers what other nodes ask for their own admin API.
pub fn answer_peers(api: &Arc<Api>, handlers: &mut Handlers) {
    calls::answer_peers(api, handlers);
}

/// What `listen.admin` offers.
fn admin(state: State) -> Router {
    match state.api.clone() {
        Some(api) => api::guarded(closed(open().merge(api::routes(&api)).merge(page::routes()), state), api),
        None => closed(open(), state),
    }
}

/// What `listen.metrics` offers.
fn metrics(state: State) -> Router {
    closed(open(), state)
}

/// What needs no token.
fn open() -> Router<State> {
    Router::new()
        .route("/metrics", get(probes::metrics))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/startupz", get(probes::started))
}

/// Everything else is a problem; nothing is larger than it need be.
fn closed(router: Router<State>, state: State) -> Router {
    router
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(state)
}

/// Bytes of a request's body.
const LONGEST_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::net::http;
    use crate::observe::metrics::Build;

    const LONG: Duration = Duration::from_secs(20);

    struct Running {
        url: String,
        state: State,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn sidecar() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { metrics: Metrics::new(Build::default()), readiness: Readiness::new(), api: None };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, Sidecar::default(), state.clone(), shutdown.clone()));
        Running { url, state, shutdown, task }
    }

    impl Running {
        async fn get(&self, path: &str) -> (u16, String) {
            let (status, body) = http::get(&format!("{}{path}", self.url), LONG).await.unwrap();
            (status, String::from_utf8(body).unwrap())
        }

        /// Sends these bytes and reads until the sidecar closes.
        async fn raw(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(&self.url[7..]).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn probes_follow_the_latches_and_the_drain() {
        let sidecar = sidecar().await;
        let latch = sidecar.state.readiness.latch("listeners");
        assert_eq!(sidecar.get("/livez").await, (200, "ok\n".into()));
        assert_eq!(sidecar.get("/startupz").await, (503, "starting\n".into()));
        assert_eq!(sidecar.get("/readyz").await, (503, "starting\n".into()));
        assert_eq!(sidecar.get("/readyz?verbose").await, (503, "[-] listeners\nstarting\n".into()));
        latch.release();
        assert_eq!(sidecar.get("/startupz").await.0, 200);
        sidecar.state.readiness.set_degraded(crate::observe::ready::Part::Certificate, Some("self-signed".into()));
        assert_eq!(sidecar.get("/readyz").await, (200, "ok\n".into()));
        assert_eq!(sidecar.get("/readyz?verbose").await, (200, "[+] listeners\n[!] certificate: self-signed\nok\n".into()));
        sidecar.state.readiness.set_draining(true);
        assert_eq!(sidecar.get("/readyz?verbose=1").await, (503, "[+] listeners\n[!] certificate: self-signed\ndraining\n".into()));
        assert_eq!((sidecar.get("/livez").await.0, sidecar.get("/startupz").await.0), (200, 200));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let sidecar = sidecar().await;
        let answer = sidecar.raw("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nftps_gateway_sessions{state=\"idle\"} 0\n"), "{answer}");
    }

    /// A hung mount takes every thread of the blocking pool.
    #[test]
    fn metrics_answer_while_the_blocking_pool_is_stuck() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (free, stuck) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            let sidecar = sidecar().await;
            drop(tokio::task::spawn_blocking(move || stuck.recv()));
            assert_eq!(tokio::time::timeout(LONG, sidecar.get("/metrics")).await.expect("in time").0, 200);
        });
        drop(free);
    }

    #[tokio::test]
    async fn everything_else_is_a_problem_document() {
        let sidecar = sidecar().await;
        let answer = sidecar.raw("GET /secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("\"type\":\"/problems/not-found\"") && !answer.contains("secret"), "{answer}");
        let answer = sidecar.raw("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET,HEAD\r\n"), "{answer}");
        assert!(answer.contains("\"type\":\"/problems/method-not-allowed\""), "{answer}");
    }

    #[tokio::test]
    async fn shutdown_ends_idle_connections_too() {
        let sidecar = sidecar().await;
        let mut idle = TcpStream::connect(&sidecar.url[7..]).await.unwrap();
        sidecar.get("/livez").await;
        sidecar.shutdown.cancel();
        tokio::time::timeout(LONG, sidecar.task).await.expect("in time").unwrap();
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
}
