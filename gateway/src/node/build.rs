//! Builds the parts of a node in order: log, metrics, files, TLS, users, ports.
//!
//! Gets: a plan. Gives: all that `node::serve` starts. Never: accepts a connection; everything that can fail, fails here.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ftps_store::report::Report;
use ftps_store::seal::Secrets;
use ftps_store::vault::Crypto;
use tokio::net::TcpListener;

use super::logs::Logs;
use super::secrets::Lines;
use super::sidecar::{self, Sidecar, Witnesses};
use super::stores::{self, Stores};
use super::{Error, Plan, Ready, descriptors, space, users};
use crate::auth::Login;
use crate::bans::{self, Bans, Rules};
use crate::cluster::{self, Cluster, Handlers};
use crate::config::{Config, Drain};
use crate::conn::Admission;
use crate::data::announce::Announcer;
use crate::data::homes::desk::Desk;
use crate::data::ports::{Ports, PortsError};
use crate::data::route::{Router, shown_by};
use crate::data::waits::Waits;
use crate::data::{self, Spenders, inbound};
use crate::digest::{Digests, Shared};
use crate::limits::Limits;
use crate::live::Live;
use crate::net::listener::bind;
use crate::net::origin::Balancers;
use crate::observe::Observer;
use crate::observe::id::Incarnation;
use crate::observe::log::{self, LogHandle};
use crate::observe::metrics::{Build, Metrics};
use crate::observe::ready::{Latch, Part, Readiness};
use crate::observe::stores::StoreReport;
use crate::session::{Data, House, Settings};
use crate::storage::Storage;
use crate::tls::{Staples, Tls};

/// A node that only has to be started.
pub(super) struct Built {
    pub(super) common: Common,
    /// Which line of the secret file seals.
    pub(super) lines: Arc<Lines>,
    pub(super) house: Arc<House>,
    pub(super) door: Arc<Admission>,
    pub(super) listeners: Listeners,
    pub(super) admin: (TcpListener, Option<TcpListener>),
    pub(super) sidecar: Sidecar,
    /// `None`: a cluster of one.
    pub(super) peers: Option<Peers>,
    pub(super) metrics: Metrics,
    pub(super) log: LogHandle,
    pub(super) logs: Logs,
    /// `drain:`, as it is now.
    pub(super) drain: Arc<ArcSwap<Drain>>,
    pub(super) latch: Latch,
    pub(super) ready: Ready,
    pub(super) fingerprint: String,
}

/// What this host keeps and the cluster shares.
pub(super) struct Common {
    /// `node.name`, unless another process of this host has it.
    pub(super) name: String,
    /// Holds the name among the processes of this host.
    _claim: Option<std::fs::File>,
    /// Of the cluster, else of this host.
    pub(super) secrets: Secrets,
    /// Names and keys that follow from them.
    pub(super) crypto: Crypto,
    pub(super) stores: Stores,
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
// long: the parts in the order in which they need each other, each a line or two.
pub(super) fn build(plan: Plan) -> Result<Built, Error> {
    // One provider for the whole process: whatever uses TLS without being told which one uses this one. A second call finds it there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = &plan.config;
    let log = log::init(&config.log).map_err(|error| Error::Fault(format!("cannot start the log: {error}")))?;
    let metrics = Metrics::new(Build::default());
    let logs = Logs::start(&config.log)?;
    let (rules, incarnation) = (Rules::default(), Incarnation::now());
    let readiness = Readiness::new();
    let witnesses = Witnesses::new(&metrics, &readiness, &log, config.history);
    let observer = witnesses.observer(&rules, &logs);
    let latch = readiness.latch("listeners");
    users::begin(&plan, &metrics, &readiness);
    descriptors::raise(config.limits.sessions);

    let common = common(config, &metrics, &readiness)?;
    let (explicit, implicit) = (listen("listen.explicit", &config.conn.explicit)?, listen("listen.implicit", &config.conn.implicit)?);
    let data = ports(config, explicit.iter().chain(&implicit))?;
    let admin = listen_one("listen.admin", config.admin.admin)?;
    let metrics_listener = config.admin.metrics.map(|address| listen_one("listen.metrics", address)).transpose()?;

    let (cluster, mut peers) = cluster(config, &common, incarnation, &observer)?;
    let lines = Arc::new(Lines::new(common.crypto.clone(), cluster.clone(), common.secrets.clone()));
    let house = Arc::new(house(&plan, &common, cluster, incarnation, &observer, rules, data.numbers())?);
    scrape(&metrics, &house, &readiness, (&log, &logs));
    let sealing = lines.clone();
    metrics.on_scrape(move |metrics| metrics.set_secret_generation(sealing.generation()));
    space::watch(&metrics, &house);
    (!plan.hash.is_empty()).then(|| note_self_signed(&house.tls, &readiness));
    let door = Arc::new(door(config, &house));
    let router = Router::new(
        house.data.waits.clone(),
        house.live.clone(),
        shown_by(house.tls.clone(), incarnation),
        observer.clone(),
        house.data.peers.clone(),
        house.data.homes.clone(),
    );
    if let Some(peers) = &mut peers {
        house.bans.answer(&mut peers.handlers);
        house.limits.answer(&mut peers.handlers);
        house.staples.answer(&mut peers.handlers);
        inbound::register(&router, &mut peers.handlers);
        house.data.homes.iter().for_each(|homes| homes.answer(&mut peers.handlers));
    }
    let fingerprint = house.tls.certificates().infos().first().map(|info| info.fingerprint.clone()).unwrap_or_default();
    let ready = Ready {
        explicit: addresses(&explicit),
        implicit: addresses(&implicit),
        admin: local(&admin, config.admin.admin),
        metrics: metrics_listener.as_ref().zip(config.admin.metrics).map(|(socket, wanted)| local(socket, wanted)),
        peer: peers.as_ref().map(|peers| local(&peers.listener, config.cluster.listen)),
        data_ports: data.numbers(),
    };
    let sidecar = sidecar::build(&plan, &house, witnesses, peers.as_mut().map(|peers| &mut peers.handlers))?;
    Ok(Built {
        common,
        lines,
        house,
        door,
        listeners: Listeners { explicit, implicit, data, router },
        admin: (admin, metrics_listener),
        sidecar,
        peers,
        metrics,
        log,
        logs,
        drain: Arc::new(ArcSwap::from_pointee(config.drain)),
        latch,
        ready,
        fingerprint,
    })
}

/// What everything else stands on.
fn common(config: &Config, metrics: &Metrics, readiness: &Readiness) -> Result<Common, Error> {
    let directory = &config.stores.state_dir;
    stores::state_dir(directory)?;
    let (name, claim) = stores::claim_name(directory, &config.node_name);
    let shared = config.cluster.secret_file.as_deref().map(cluster::read_secrets).transpose().map_err(Error::Configuration)?;
    let secrets = shared.map_or_else(|| stores::own_secrets(directory), Ok)?;
    let crypto = Crypto::new(&config.cluster.name, &secrets).map_err(|error| Error::Configuration(error.to_string()))?;
    let report: Arc<dyn Report> = Arc::new(StoreReport::new(metrics.clone()));
    let stores = stores::open(&config.stores, &crypto, &report)?;
    stores.watch(metrics, readiness);
    Ok(Common { name, _claim: claim, secrets, crypto, stores })
}

/// The other nodes, when there is a secret in common with them. Rooms register what they answer in the handlers.
fn cluster(config: &Config, common: &Common, incarnation: Incarnation, observer: &Observer) -> Result<(Cluster, Option<Peers>), Error> {
    let identity = cluster::Identity { name: common.name.clone(), incarnation };
    if config.cluster.secret_file.is_none() {
        return Ok((Cluster::alone(identity, observer.clone()), None));
    }
    let listener = listen_one("listen.peer", config.cluster.listen)?;
    let listens = local(&listener, config.cluster.listen);
    let cluster = Cluster::new(identity, &config.cluster, &common.secrets, listens, stores::address(&config.stores.url), observer.clone());
    let cluster = cluster.map_err(|error| Error::Fault(format!("cannot make the keys of the cluster: {error}")))?;
    Ok((cluster, Some(Peers { listener, handlers: Handlers::default() })))
}

/// What every connection is asked before it is a session.
fn door(config: &Config, house: &House) -> Admission {
    house.limits.set_proxies(&config.conn.proxy_protocol_from);
    let balancers = Balancers::new(config.conn.proxy_protocol_from.clone());
    Admission::new(config.conn.allow_from.clone(), balancers, house.bans.clone(), house.limits.clone())
}

/// What sessions share.
// long: the parts in the order in which they need each other.
fn house(
    plan: &Plan,
    common: &Common,
    cluster: Cluster,
    incarnation: Incarnation,
    observer: &Observer,
    rules: Rules,
    data_ports: Vec<u16>,
) -> Result<House, Error> {
    let config = &plan.config;
    let configuration = |error: &dyn std::fmt::Display| Error::Configuration(error.to_string());
    let tls = Tls::new(&config.tls, incarnation, common.stores.sessions.clone()).map_err(|error| configuration(&error))?;
    let staples = Staples::new(&tls, common.stores.staples.clone(), cluster.clone(), observer.clone(), config.tls.stapling.clone());
    let storage = Storage::open(config.storage.clone(), incarnation, observer.clone()).map_err(|error| configuration(&error))?;
    let login = Login::new(plan.users.clone(), config.limits.password_jobs).map_err(|error| Error::Fault(error.to_string()))?;
    let shared = Shared::new(common.stores.digests.clone(), storage.clone());
    let digests = Digests::new(config.digests.clone(), shared, observer.clone()).map_err(|error| Error::Fault(format!("cannot start digests: {error}")))?;
    let public = std::env::var("FTPS_GATEWAY_PUBLIC_ADDRESS").ok();
    let shared_settings = Arc::new(ArcSwap::from_pointee(settings(config)));
    let watched = shared_settings.clone();
    // What the session of a relayed connection waits at most, and then some: it is the one to say that nothing moves.
    let idle = move || {
        let limits = &watched.load().limits;
        2 * limits.stall_timeout.max(limits.data_timeout)
    };
    let reached = config.cluster.secret_file.is_some();
    let peers = reached.then(|| data::peers::Peers::new(cluster.clone(), common.crypto.clone(), idle, observer.clone()));
    let waits = Waits::new(data_ports);
    let homes = reached.then(|| Desk::new(waits.clone(), cluster.clone(), tls.clone()));
    let live = Live::default();
    let limits = Limits::new(&config.limits, cluster.clone(), observer.clone());
    Ok(House {
        bans: open_bans(plan, common, &cluster, (&live, &limits), rules, observer)?,
        settings: shared_settings,
        limits,
        live,
        cluster,
        login,
        storage,
        digests,
        tls,
        staples,
        data: Data { waits, spenders: Spenders::default(), announcer: Announcer::new(&config.data.public_address, public.as_deref()), peers, homes },
        observer: observer.clone(),
    })
}

/// Who may not come.
fn open_bans(plan: &Plan, common: &Common, cluster: &Cluster, (live, limits): (&Live, &Limits), rules: Rules, observer: &Observer) -> Result<Bans, Error> {
    let config = &plan.config;
    let (hides, crypto) = (limits.clone(), common.crypto.clone());
    let parts = bans::Parts {
        config: &config.bans,
        balancers: &config.conn.proxy_protocol_from,
        classes: &plan.users.classes(),
        directory: &config.stores.state_dir,
        keys: Arc::new(move || crypto.keyring()),
        name: &common.name,
        rules,
        live: live.clone(),
        cluster: cluster.clone(),
        vault: common.stores.bans.clone(),
        observer: observer.clone(),
        hidden: Box::new(move |ip| hides.hides(ip)),
    };
    Bans::open(parts).map_err(|error| Error::Fault(format!("cannot start the ban journal: {error}")))
}

/// The quick start's banner shows the fingerprint; everybody else wants a certificate that can be verified. Said again, or taken back, by each reload.
pub(super) fn note_self_signed(tls: &Tls, readiness: &Readiness) {
    let self_signed = tls.certificates().infos().iter().any(|info| info.self_signed);
    if self_signed {
        tracing::warn!("{SELF_SIGNED}");
    }
    readiness.set_degraded(Part::Certificate, self_signed.then(|| SELF_SIGNED.to_owned()));
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

/// Gauges that are counted when somebody looks.
fn scrape(metrics: &Metrics, house: &Arc<House>, readiness: &Readiness, (log, logs): (&LogHandle, &Logs)) {
    let (house, log, logs, readiness) = (house.clone(), log.clone(), logs.clone(), readiness.clone());
    metrics.on_scrape(move |metrics| {
        metrics.set_degraded(&readiness.parts());
        let (mut preauth, mut idle, mut transfer) = (0, 0, 0);
        for entry in house.live.entries() {
            let transferring = entry.is_transferring();
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
        metrics.set_log_dropped(log.dropped() + logs.dropped());
        let (active, to_owner, to_client) = house.data.peers.as_ref().map(data::peers::Peers::carried).unwrap_or_default();
        metrics.set_relays(active, to_owner, to_client);
        metrics.set_password_queue(house.login.waiting());
        metrics.set_digests(house.digests.waiting(), house.digests.remembered());
        let (bans, faults) = house.bans.counts();
        metrics.set_audit_dropped(logs.audit_dropped());
        let asked = house.tls.session_questions();
        metrics.set_session_cache(asked.hits, asked.misses, asked.stores, asked.errors);
        metrics.set_pubsub_lag(house.bans.message_lag());
        metrics.set_ban_copies(house.bans.version(), house.bans.lost_parts());
        let (pending, ports, leases) = house.data.waits.counts();
        metrics.set_waits(pending, ports, leases);
        let sealing = house.tls.sealing().map(|key| (key.generation, key.since));
        metrics.set_tls(house.tls.resumed_elsewhere(), house.tls.cached_sessions(), sealing);
        metrics.set_bans(bans.admin, bans.rule, bans.removed, bans.dropped, faults);
        metrics.set_staples(&house.staples.census());
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
