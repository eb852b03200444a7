//! Builds, reloads and drains the node: the only file (with its parts) that knows all rooms.
//!
//! Gets: a checked configuration and users. Gives: a node that serves until it is told to stop.
//! Never: serves a connection itself; `pipeline` does.

mod build;
mod descriptors;
mod drain;
mod reload;
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
use crate::auth::Users;
use crate::config::{Config, Marks, Problem};
use crate::data::ports::Door;
use crate::observe::event::Listener;
use crate::observe::ready::Readiness;
use crate::observe::{Event, Subject, log};
use crate::session::House;
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
    let source = plan.source.take().map(|file| (file, std::mem::take(&mut plan.marks)));
    let hangups = source.is_some().then(reload::hangups).transpose().map_err(|error| Error::Fault(format!("cannot take signals: {error}")))?;
    let built = build::build(plan)?;
    let ready = built.ready.clone();
    let stop = Stop::default();
    let reloader = source.map(|(file, marks)| reload::Reloader::new(file, marks, &built));
    start(&built.house, built.listeners, &built.door, &stop);
    stop.tasks.spawn(maintain(built.house.clone(), built.metrics.clone(), built.admin_state.readiness.clone(), stop.all.clone()));
    if let (Some(reloader), Some(hangups)) = (reloader, hangups) {
        stop.tasks.spawn(reloader.run(hangups, stop.all.clone()));
    }
    if let Some(peers) = built.peers {
        stop.admin.spawn(built.house.cluster.clone().run(peers.listener, peers.handlers, stop.admin_ends.clone()));
    }
    stop.admin.spawn(serve_admin(built.admin, built.admin_state.clone(), stop.admin_ends.clone()));
    built.latch.release();
    built.house.observer.event(Subject::default(), &Event::Ready);
    let (explicit, implicit, data_ports) = (&ready.explicit, &ready.implicit, &ready.data_ports);
    built.log.ready(&log::Ready { node: &built.name, explicit, implicit, admin: ready.admin, metrics: ready.metrics, peer: ready.peer, data_ports });
    if let Some(banner) = banner {
        built.log.say(&banner(&ready, &built.fingerprint));
    }
    let drain = patient.then_some(&*built.drain);
    let cut = drain::run(signals, drain, &built.house, &built.door, &built.admin_state.readiness, &built.metrics).await;
    built.house.cluster.leave().await;
    stop.end(cut).await;
    built.transfers.flush();
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
    let door = Door { balancers: door.balancers().clone(), allowed: Box::new(move |ip| door.allows(ip)) };
    listeners.data.serve(&listeners.router, door, &house.observer, &stop.all, &stop.tasks);
}

async fn serve_admin(listeners: (tokio::net::TcpListener, Option<tokio::net::TcpListener>), state: admin::State, ends: CancellationToken) {
    let (api, metrics) = listeners;
    let metrics = async {
        if let Some(metrics) = metrics {
            admin::serve_metrics(metrics, state.clone(), ends.clone()).await;
        }
    };
    tokio::join!(admin::serve(api, state.clone(), ends.clone()), metrics);
}

/// What has to be done now and then: ticket keys, names to announce, left-over uploads.
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
    let keys = async {
        let mut often = every(Duration::from_secs(1));
        loop {
            often.tick().await;
            if let Err(error) = house.tls.maintain() {
                tracing::warn!(%error, "ticket keys are not rotated; the old key goes on sealing");
            }
            let ends = house.tls.certificates().infos().iter().map(|info| info.not_after).min();
            metrics.set_certificate_not_after(ends.unwrap_or_default());
            readiness.set_degraded("pasv", house.data.announcer.is_unreachable().then(|| UNREACHABLE.to_owned()));
        }
    };
    let all = async { tokio::join!(announcer.keep_resolved(), sweep, keys) };
    stop.run_until_cancelled(all).await;
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

const UNREACHABLE: &str = "PASV told a public client a private address, which it will hardly reach; write the public one in data.public_address";

/// For tasks that were cut to be dropped; they wait for nothing any more.
const CUT: Duration = Duration::from_millis(100);
