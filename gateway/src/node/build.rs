//! Builds the parts of a node in order: log, metrics, files, TLS, users, ports.
//!
//! Gets: a plan. Gives: all that `node::serve` starts. Never: accepts a connection; everything that can fail, fails here.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use super::{Error, Plan, Ready, descriptors, users};
use crate::admin;
use crate::auth::Login;
use crate::cluster::{self, Cluster, Handlers};
use crate::config::{Config, Drain};
use crate::conn::Admission;
use crate::data::Spenders;
use crate::data::announce::Announcer;
use crate::data::ports::{Ports, PortsError};
use crate::data::route::{Router, shown_by};
use crate::data::waits::Waits;
use crate::limits::Limits;
use crate::live::Live;
use crate::net::listener::bind;
use crate::net::origin::Balancers;
use crate::observe::Observer;
use crate::observe::id::Incarnation;
use crate::observe::log::{self, LogHandle};
use crate::observe::log_sink::LogSink;
use crate::observe::metrics::{Build, Metrics};
use crate::observe::ready::{Latch, Readiness};
use crate::observe::transfer_log::{self, TransferLog};
use crate::session::{Data, House, Settings};
use crate::storage::Storage;
use crate::tls::Tls;

/// A node that only has to be started.
pub(super) struct Built {
    pub(super) name: String,
    pub(super) house: Arc<House>,
    pub(super) door: Arc<Admission>,
    pub(super) listeners: Listeners,
    pub(super) admin: (TcpListener, Option<TcpListener>),
    pub(super) admin_state: admin::State,
    /// `None`: a cluster of one.
    pub(super) peers: Option<Peers>,
    pub(super) metrics: Metrics,
    pub(super) log: LogHandle,
    pub(super) transfers: TransferLog,
    /// `drain:`, as it is now.
    pub(super) drain: Arc<ArcSwap<Drain>>,
    pub(super) latch: Latch,
    pub(super) ready: Ready,
    pub(super) fingerprint: String,
}

/// The peer port and what is answered there.
pub(super) struct Peers {
    pub(super) listener: TcpListener,
    pub(super) handlers: Handlers,
}

/// Open sockets.
pub(super) struct Listeners {
    pub(super) explicit: Vec<TcpListener>,
    pub(super) implicit: Vec<TcpListener>,
    pub(super) data: Ports,
    pub(super) router: Router,
}

/// Builds everything.
pub(super) fn build(plan: Plan) -> Result<Built, Error> {
    // One provider for the whole process: whatever uses TLS without being told which one uses this one. A second call finds it there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = &plan.config;
    let log = log::init(&config.log).map_err(|error| Error::Fault(format!("cannot start the log: {error}")))?;
    let metrics = Metrics::new(Build::default());
    let transfers = transfer_log(config)?;
    let readiness = Readiness::new();
    let observer =
        Observer::new(vec![Arc::new(metrics.clone()), Arc::new(LogSink::new(log.clone())), Arc::new(transfers.clone()), Arc::new(readiness.clone())]);
    let latch = readiness.latch("listeners");
    users::begin(&plan, &metrics, &readiness);
    descriptors::raise(config.limits.sessions);

    let explicit = listen("listen.explicit", &config.conn.explicit)?;
    let implicit = listen("listen.implicit", &config.conn.implicit)?;
    let data = ports(config, explicit.iter().chain(&implicit))?;
    let admin = listen_one("listen.admin", config.admin.admin)?;
    let metrics_listener = config.admin.metrics.map(|address| listen_one("listen.metrics", address)).transpose()?;

    let incarnation = Incarnation::now();
    let (cluster, peers) = cluster(config, incarnation, &observer)?;
    let house = Arc::new(house(&plan, cluster, incarnation, &observer, data.numbers())?);
    scrape(&metrics, &house, &log, &transfers);
    if !plan.hash.is_empty() {
        note_self_signed(&house.tls, &readiness);
    }
    house.limits.set_proxies(&config.conn.proxy_protocol_from);
    let door = Arc::new(Admission::new(config.conn.allow_from.clone(), Balancers::new(config.conn.proxy_protocol_from.clone()), house.limits.clone()));
    let router = Router::new(house.data.waits.clone(), house.live.clone(), shown_by(house.tls.clone(), incarnation), observer.clone());
    let fingerprint = house.tls.certificates().infos().first().map(|info| info.fingerprint.clone()).unwrap_or_default();
    let ready = Ready {
        explicit: addresses(&explicit),
        implicit: addresses(&implicit),
        admin: local(&admin, config.admin.admin),
        metrics: metrics_listener.as_ref().zip(config.admin.metrics).map(|(socket, wanted)| local(socket, wanted)),
        peer: peers.as_ref().map(|peers| local(&peers.listener, config.cluster.listen)),
        data_ports: data.numbers(),
    };
    let listeners = Listeners { explicit, implicit, data, router };
    let admin_state = admin::State { metrics: metrics.clone(), readiness };
    let drain = Arc::new(ArcSwap::from_pointee(config.drain));
    Ok(Built {
        name: config.node_name.clone(),
        house,
        door,
        listeners,
        admin: (admin, metrics_listener),
        admin_state,
        peers,
        metrics,
        log,
        transfers,
        drain,
        latch,
        ready,
        fingerprint,
    })
}

/// The other nodes, when there is a secret in common with them. Rooms register what they answer in the handlers.
fn cluster(config: &Config, incarnation: Incarnation, observer: &Observer) -> Result<(Cluster, Option<Peers>), Error> {
    let identity = cluster::Identity { name: config.node_name.clone(), incarnation };
    let Some(file) = &config.cluster.secret_file else { return Ok((Cluster::alone(identity, observer.clone()), None)) };
    let secrets = cluster::read_secrets(file).map_err(Error::Configuration)?;
    let listener = listen_one("listen.peer", config.cluster.listen)?;
    let listens = local(&listener, config.cluster.listen);
    let cluster = Cluster::new(identity, &config.cluster, &secrets, listens, None, observer.clone());
    let cluster = cluster.map_err(|error| Error::Fault(format!("cannot make the keys of the cluster: {error}")))?;
    Ok((cluster, Some(Peers { listener, handlers: Handlers::default() })))
}

/// What sessions share.
fn house(plan: &Plan, cluster: Cluster, incarnation: Incarnation, observer: &Observer, data_ports: Vec<u16>) -> Result<House, Error> {
    let config = &plan.config;
    let configuration = |error: &dyn std::fmt::Display| Error::Configuration(error.to_string());
    let tls = Tls::new(&config.tls, incarnation).map_err(|error| configuration(&error))?;
    let storage = Storage::open(config.storage.clone(), incarnation, observer.clone()).map_err(|error| configuration(&error))?;
    let login = Login::new(plan.users.clone(), config.limits.password_jobs).map_err(|error| Error::Fault(error.to_string()))?;
    let public = std::env::var("FTPS_GATEWAY_PUBLIC_ADDRESS").ok();
    Ok(House {
        settings: ArcSwap::from_pointee(settings(config)),
        limits: Limits::new(&config.limits, observer.clone()),
        live: Live::default(),
        cluster,
        login,
        storage,
        tls,
        data: Data { waits: Waits::new(data_ports), spenders: Spenders::default(), announcer: Announcer::new(&config.data.public_address, public.as_deref()) },
        observer: observer.clone(),
    })
}

/// The quick start's banner shows the fingerprint; everybody else wants a certificate that can be verified. Said again, or taken back, by each reload.
pub(super) fn note_self_signed(tls: &Tls, readiness: &Readiness) {
    let self_signed = tls.certificates().infos().iter().any(|info| info.self_signed);
    if self_signed {
        tracing::warn!("{SELF_SIGNED}");
    }
    readiness.set_degraded("certificate", self_signed.then(|| SELF_SIGNED.to_owned()));
}

/// What sessions are told of the configuration.
pub(super) fn settings(config: &Config) -> Settings {
    Settings {
        limits: config.limits.clone(),
        tls_reuse: config.data.tls_reuse,
        upload_end: config.data.upload_end,
        active: config.data.active,
        drain_idle: config.drain.idle,
    }
}

fn transfer_log(config: &Config) -> Result<TransferLog, Error> {
    let path = &config.log.transfer_log;
    path.as_deref().map_or(Ok(()), transfer_log::check).map_err(Error::Configuration)?;
    TransferLog::start(path.clone()).map_err(|error| Error::Fault(format!("cannot start the transfer log: {error}")))
}

/// Gauges that are counted when somebody looks.
fn scrape(metrics: &Metrics, house: &Arc<House>, log: &LogHandle, transfers: &TransferLog) {
    let (house, log, transfers) = (house.clone(), log.clone(), transfers.clone());
    metrics.on_scrape(move |metrics| {
        let (mut preauth, mut idle, mut transfer) = (0, 0, 0);
        for entry in house.live.entries() {
            let transferring = entry.transferring.load(std::sync::atomic::Ordering::Relaxed);
            let state = if entry.user().is_none() {
                &mut preauth
            } else if transferring {
                &mut transfer
            } else {
                &mut idle
            };
            *state += 1;
        }
        metrics.set_sessions(preauth, idle, transfer);
        metrics.set_cluster(&house.cluster.census());
        metrics.set_sessions_limit(house.settings.load().limits.sessions);
        metrics.set_log_dropped(log.dropped() + transfers.dropped());
        metrics.set_password_queue(house.login.waiting());
    });
}

fn listen(key: &'static str, wanted: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    wanted.iter().map(|address| listen_one(key, *address)).collect()
}

fn listen_one(key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    bind(address, BACKLOG).map_err(|source| Error::Listen { key, address, source })
}

fn ports<'a>(config: &Config, listeners: impl Iterator<Item = &'a TcpListener>) -> Result<Ports, Error> {
    let ftp: Vec<SocketAddr> = listeners.filter_map(|listener| listener.local_addr().ok()).collect();
    Ports::bind(&config.data.ports, &ftp).map_err(|error| match error {
        PortsError::Listen { address, source } => Error::Listen { key: "data.ports", address, source },
        other @ PortsError::NoCommonPort => Error::Configuration(other.to_string()),
    })
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn local(listener: &TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}

const SELF_SIGNED: &str = "self-signed and new at each start: no client can verify it; name one in tls.certificates";
/// Connections that the kernel holds for us between two turns of the accept loop.
const BACKLOG: u32 = 1024;
