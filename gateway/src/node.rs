//! Builds, reloads and drains the node: the only file (with its parts) that knows all rooms.
//!
//! Gets: a checked configuration and users. Gives: a node that serves until it is told to stop.
//! Never: serves a connection itself; `pipeline` does.

mod build;
mod descriptors;
mod drain;
mod logs;
mod reload;
mod secrets;
mod sidecar;
mod space;
mod stores;
mod users;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::build::Listeners;
use self::drain::Signals;
use crate::admin::access::Tokens;
use crate::auth::Users;
use crate::config::{Config, Marks, Problem};
use crate::data::ports::Door;
use crate::observe::event::Listener;
use crate::observe::ready::{Part, Readiness};
use crate::observe::{Event, Subject, log};
use crate::session::House;
use crate::tls::Sidecar;
use crate::{admin, conn, net, pipeline};

/// Everything a node starts from.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The hash of its text; empty when it has none.
    pub hash: String,
    /// Its file, to be read again on a reload; `None`: quick start.
    pub source: Option<PathBuf>,
    /// Tells the configuration from later readings of it.
    pub marks: Marks,
    /// Who may use the admin API.
    pub tokens: Tokens,
    /// Every key with its value as it is written; empty when there is no file.
    pub settings: Vec<admin::Setting>,
    /// The users.
    pub users: Arc<Users>,
    /// Entries of users files that were skipped: to be counted and said.
    pub broken_users: Vec<Problem>,
    /// What to print for a person once it serves, from where it listens and the certificate's fingerprint.
    pub banner: Option<Banner>,
}

/// Makes the words for a person.
pub type Banner = Box<dyn FnOnce(&Ready, &str) -> String + Send>;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// FTP with AUTH TLS.
    pub explicit: Vec<SocketAddr>,
    /// FTP with TLS from the first byte.
    pub implicit: Vec<SocketAddr>,
    /// The admin interface.
    pub admin: SocketAddr,
    /// Metrics and probes, when they have an address of their own.
    pub metrics: Option<SocketAddr>,
    /// Other nodes, when this one has a secret in common with them.
    pub peer: Option<SocketAddr>,
    /// Data connections.
    pub data_ports: Vec<u16>,
}

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on: exit code 69.
    #[error("{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something named in the configuration does not work, such as a certificate: exit code 64.
    #[error("{0}")]
    Configuration(String),
    /// Our fault, or the system's: exit code 70.
    #[error("{0}")]
    Fault(String),
}

/// Runs a node until it has drained.
///
/// # Errors
/// Why it does not serve.
pub async fn serve(mut plan: Plan) -> Result<(), Error> {
    let signals = Signals::new().map_err(|error| Error::Fault(format!("cannot take signals: {error}")))?;
    let banner = plan.banner.take();
    // Whoever tries it out at a terminal wants Ctrl-C to end it at once.
    let patient = banner.is_none();
    let source = plan.source.clone().map(|file| (file, std::mem::take(&mut plan.marks)));
    let hangups = source.is_some().then(reload::hangups).transpose().map_err(|error| Error::Fault(format!("cannot take signals: {error}")))?;
    let mut built = build::build(plan)?;
    let ready = built.ready.clone();
    let stop = Stop::default();
    let reloader = source.map(|(file, marks)| reload::Reloader::new(file, marks, &mut built));
    first_keys(&built).await;
    stop.tasks.spawn(keep_stores(built.common.stores.clone(), built.metrics.clone(), built.sidecar.state.readiness.clone(), stop.all.clone()));
    stop.tasks.spawn(keep_secrets(built.lines.clone(), built.house.cluster.clone(), built.common.stores.clone(), stop.all.clone()));
    stop.tasks.spawn(maintain(built.house.clone(), built.metrics.clone(), built.sidecar.state.readiness.clone(), stop.all.clone()));
    if let (Some(reloader), Some(hangups)) = (reloader, hangups) {
        stop.tasks.spawn(reloader.run(hangups, stop.all.clone()));
    }
    if let Some(peers) = built.peers {
        stop.admin.spawn(built.house.cluster.clone().run(peers.listener, peers.handlers, stop.admin_ends.clone()));
    }
    stop.admin.spawn(serve_admin(built.admin, built.sidecar.tls.clone(), built.sidecar.state.clone(), stop.admin_ends.clone()));
    // Peers and probes are served already; clients only when it is known who is banned.
    built.house.bans.fill(FILL).await;
    built.sidecar.state.readiness.set_degraded(Part::Bans, built.house.bans.trouble());
    start(&built.house, built.listeners, &built.door, &stop);
    built.latch.release();
    built.house.observer.event(Subject::default(), &Event::Ready);
    let (explicit, implicit, data_ports) = (&ready.explicit, &ready.implicit, &ready.data_ports);
    built.log.ready(&log::Ready { node: &built.common.name, explicit, implicit, admin: ready.admin, metrics: ready.metrics, peer: ready.peer, data_ports });
    if let Some(banner) = banner {
        built.log.say(&banner(&ready, &built.fingerprint));
    }
    let on = drain::Drained {
        house: &built.house,
        door: &built.door,
        readiness: &built.sidecar.state.readiness,
        metrics: &built.metrics,
        orders: &built.sidecar.draining,
        settings: &built.drain,
    };
    let cut = drain::run(signals, patient, &on).await;
    built.house.cluster.leave().await;
    stop.end(cut).await;
    built.logs.flush();
    built.log.flush();
    Ok(())
}

/// What stops what.
#[derive(Default)]
struct Stop {
    /// Ends listeners and background work.
    all: CancellationToken,
    /// Ends sessions where they are; each still says how it ended.
    cut: CancellationToken,
    /// Sessions, listeners, background work.
    tasks: tokio_util::task::TaskTracker,
    /// The sidecar answers probes, and the peer port calls, until the very end.
    admin_ends: CancellationToken,
    admin: tokio_util::task::TaskTracker,
}

impl Stop {
    /// Ends everything that still runs, and waits a moment for it.
    async fn end(&self, cut: bool) {
        self.all.cancel();
        self.tasks.close();
        let patience = if cut { Duration::from_millis(100) } else { Duration::from_secs(2) };
        let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
        self.cut.cancel();
        let _ = tokio::time::timeout(CUT, self.tasks.wait()).await;
        self.admin_ends.cancel();
        self.admin.close();
        let _ = tokio::time::timeout(Duration::from_millis(500), self.admin.wait()).await;
    }
}

/// Opens the doors.
fn start(house: &Arc<House>, listeners: Listeners, door: &Arc<conn::Admission>, stop: &Stop) {
    let kinds = [(listeners.explicit, Listener::Explicit), (listeners.implicit, Listener::Implicit)];
    for (sockets, kind) in kinds {
        for socket in sockets {
            let (house, door, tasks, cut) = (house.clone(), door.clone(), stop.tasks.clone(), stop.cut.clone());
            let observer = house.observer.clone();
            let serve = move |accepted| pipeline::serve(accepted, &door, &house, &tasks, &cut);
            stop.tasks.spawn(conn::accept(net::listener::Listener::new(socket), kind, observer, stop.all.clone(), serve));
        }
    }
    let door = door.clone();
    let door = Door { balancers: door.balancers().clone(), allowed: Box::new(move |ip| door.allows_data(ip)) };
    listeners.data.serve(&listeners.router, door, &house.observer, &stop.all, &stop.tasks);
}

async fn serve_admin(listeners: (tokio::net::TcpListener, Option<tokio::net::TcpListener>), tls: Sidecar, state: admin::State, ends: CancellationToken) {
    let (api, metrics) = listeners;
    let metrics = async {
        if let Some(metrics) = metrics {
            admin::serve_metrics(metrics, state.clone(), ends.clone()).await;
        }
    };
    tokio::join!(admin::serve(api, tls, state.clone(), ends.clone()), metrics);
}

/// Learns what other nodes cleared, and says how the stores are.
async fn keep_stores(stores: stores::Stores, metrics: crate::observe::Metrics, readiness: Readiness, stop: CancellationToken) {
    stop.run_until_cancelled(stores.keep(&metrics, &readiness)).await;
}

/// Who lives, by the store's list, and which secret seals therefore.
async fn keep_secrets(lines: Arc<secrets::Lines>, cluster: crate::cluster::Cluster, stores: stores::Stores, stop: CancellationToken) {
    let beats = async {
        if !cluster.is_alone() && stores.sessions.capabilities().networked {
            cluster.beat_in_store(&stores.sessions).await;
        }
    };
    stop.run_until_cancelled(async { tokio::join!(lines.keep(), beats) }).await;
}

/// The ticket keys of the cluster, before the first client comes. A store that is away is not waited for: keys derived from the secret do until it is there.
async fn first_keys(built: &build::Built) {
    built.common.stores.sessions.tiers().main().wait_up(STORE_AT_START).await;
    if let Err(error) = built.house.tls.tend().await {
        tracing::debug!(%error, "no ticket keys of the cluster yet");
    }
}

/// Learns and makes ticket keys. That the store is away has been said; that keys of lesser secrecy seal for that reason is said once.
async fn keep_ticket_keys(tls: &crate::tls::Tls) {
    let (mut often, mut derived) = (every(Duration::from_secs(1)), 0_u32);
    loop {
        often.tick().await;
        if let Err(error) = tls.tend().await {
            tracing::debug!(%error, "ticket keys are not rotated");
        }
        // The first epoch of a cluster is announced for some seconds; that is no trouble.
        match (tls.seals_without_store(), derived) {
            (true, DERIVED_TOLD) => tracing::warn!("ticket keys that follow from the secret and the hour seal until the store takes new ones"),
            (false, DERIVED_TOLD..) => tracing::info!("random ticket keys seal again"),
            (true | false, _) => {}
        }
        derived = if tls.seals_without_store() { derived.saturating_add(1) } else { 0 };
    }
}

/// What has to be done now and then: ticket keys, staples, names to announce, left-over uploads, the homes of clients.
async fn maintain(house: Arc<House>, metrics: crate::observe::metrics::Metrics, readiness: Readiness, stop: CancellationToken) {
    let announcer = house.data.announcer.clone();
    let sweeper = house.clone();
    let sweep = async {
        let mut hourly = every(Duration::from_secs(3600));
        loop {
            hourly.tick().await;
            let house = sweeper.clone();
            // An error has been said by storage; the next hour tries again.
            let _ = spawn_blocking(move || while house.storage.sweep(&|_| false).is_ok_and(|swept| !swept.complete) {}).await;
        }
    };
    let seen = async {
        let mut often = every(Duration::from_secs(1));
        loop {
            often.tick().await;
            let ends = house.tls.certificates().infos().iter().map(|info| info.not_after).min();
            metrics.set_certificate_not_after(ends.unwrap_or_default());
            readiness.set_degraded(Part::Bans, house.bans.trouble());
            readiness.set_degraded(Part::Staples, house.staples.trouble());
            readiness.set_degraded(Part::Pasv, house.data.announcer.is_unreachable().then(|| UNREACHABLE.to_owned()));
        }
    };
    let bans = house.bans.clone();
    let homes = async {
        if let Some(homes) = &house.data.homes {
            homes.run().await;
        }
    };
    let all = async {
        tokio::join!(announcer.keep_resolved(), sweep, seen, keep_ticket_keys(&house.tls), bans.run(), house.limits.run(), homes, house.staples.run())
    };
    stop.run_until_cancelled(all).await;
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

const UNREACHABLE: &str = "PASV told a public client a private address, which it will hardly reach; write the public one in data.public_address";

/// Seconds of derived ticket keys after which it is said.
const DERIVED_TOLD: u32 = 10;
/// A store that is there answers within this; a node that starts without one loses no more time.
const STORE_AT_START: Duration = Duration::from_secs(1);
/// How long a start waits for the bans of store and peers.
const FILL: Duration = Duration::from_secs(15);
/// For tasks that were cut to be dropped; they wait for nothing any more.
const CUT: Duration = Duration::from_millis(100);
