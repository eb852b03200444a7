//! Takes a changed configuration, users or certificates into a running node: all of it, or nothing.
//!
//! Gets: SIGHUP, and files that changed. Gives: new settings to every room that can take them, as `config::keys` says; one event and the words of every problem.
//! Never: applies anything while something is wrong, or interrupts a session whose user and certificate are still what they were.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ftps_proto::machine::io::EndReason;
use ftps_store::seal::Secrets;
use rustls::ServerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::build::{Built, note_self_signed, settings};
use super::logs::{self, Logs};
use super::secrets::Lines;
use super::watch::Watch;
use super::{descriptors, every, users};
use crate::admin::access::{Access, Tokens};
use crate::admin::{Order, Setting};
use crate::auth::Users;
use crate::cluster;
use crate::config::keys::{Acts, Key};
use crate::config::{self, Drain, Loaded, Marks};
use crate::conn::Admission;
use crate::live::Entry;
use crate::observe::event::Reloadable;
use crate::observe::{Event, History, LogHandle, Metrics, Readiness, Subject};
use crate::session::House;
use crate::tls::{Renewal, Sidecar, Tls};

/// Reads again what the node was started from.
pub(super) struct Reloader {
    file: PathBuf,
    /// Of the configuration in force.
    running: Marks,
    watch: Watch,
    lines: Arc<Lines>,
    house: Arc<House>,
    door: Arc<Admission>,
    drain: Arc<ArcSwap<Drain>>,
    log: LogHandle,
    logs: Logs,
    metrics: Metrics,
    readiness: Readiness,
    access: Arc<Access>,
    sidecar: Sidecar,
    settings: Arc<RwLock<Vec<Setting>>>,
    history: History,
    /// Reloads that the admin API wants.
    orders: Option<mpsc::Receiver<Order>>,
}

/// Everything that was read, and is right.
struct Fresh {
    loaded: Loaded,
    users: Users,
    tls: Renewal,
    tokens: Tokens,
    sidecar: Option<Arc<ServerConfig>>,
    secrets: Option<Secrets>,
}

/// What is wrong, and with what.
struct Wrong {
    what: Reloadable,
    problems: Vec<String>,
}

/// Takes SIGHUP from now on; until then it ends the process.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Reloader {
    /// For a node that was built from `file`.
    pub(super) fn new(file: PathBuf, running: Marks, built: &mut Built) -> Self {
        let (house, door, drain) = (built.house.clone(), built.door.clone(), built.drain.clone());
        let watch = Watch::of(config::files(&file));
        Self {
            file,
            running,
            watch,
            lines: built.lines.clone(),
            house,
            door,
            drain,
            log: built.log.clone(),
            logs: built.logs.clone(),
            metrics: built.metrics.clone(),
            readiness: built.sidecar.state.readiness.clone(),
            access: built.sidecar.access.clone(),
            sidecar: built.sidecar.tls.clone(),
            settings: built.sidecar.settings.clone(),
            history: built.sidecar.history.clone(),
            orders: built.sidecar.reloads.take(),
        }
    }

    /// Reloads until `stop`. A file server that does not answer delays reloads and nothing else.
    pub(super) async fn run(mut self, mut hangups: Signal, stop: CancellationToken) {
        let mut looks = 0_u32;
        let mut often = every(LOOK);
        let mut orders = self.orders.take();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangups.recv() => drop(self.reload().await),
                Some(order) = next(&mut orders) => {
                    // Who asked may have gone.
                    let _ = order.send(self.reload().await);
                }
                _ = often.tick() => {
                    looks = looks.wrapping_add(1);
                    if self.look(looks.is_multiple_of(DEEP)).await {
                        self.settle().await;
                        // What was wrong is in the log.
                        let _ = self.reload().await;
                    }
                }
            }
        }
    }

    async fn look(&mut self, deep: bool) -> bool {
        let mut watch = std::mem::take(&mut self.watch);
        let looked = spawn_blocking(move || (watch.look(deep), watch));
        // It does not panic; if the runtime is ending, nothing has changed.
        let Ok((changed, watch)) = looked.await else { return false };
        self.watch = watch;
        changed
    }

    /// Certificate and key are two files, and editors write in pieces: waits until nothing has changed for a moment.
    async fn settle(&mut self) {
        for _ in 0..SETTLE_MOST {
            sleep(SETTLE).await;
            if !self.look(false).await {
                return;
            }
        }
    }

    /// What was wrong, in words.
    async fn reload(&mut self) -> Result<(), String> {
        let (file, tls, known) = (self.file.clone(), self.house.tls.clone(), self.watch.files());
        let job = spawn_blocking(move || {
            // Looked at before it is read: what changes meanwhile is seen afterwards.
            let mut watch = Watch::of(config::files(&file));
            let read = read(&file, &tls);
            if read.is_err() {
                watch = Watch::of(watch.files().union(&known).cloned().collect::<BTreeSet<_>>());
            }
            (watch, read)
        });
        let Ok((watch, read)) = job.await else { return Err("the node is ending".into()) };
        self.watch = watch;
        match read {
            Ok(fresh) => {
                self.apply(fresh);
                Ok(())
            }
            Err(wrong) => {
                let words = wrong.words();
                self.say(wrong.what, Some(&words));
                Err(words)
            }
        }
    }

    /// Nothing here can fail.
    fn apply(&mut self, fresh: Fresh) {
        let Fresh { loaded: Loaded { config, marks, settings: shown, .. }, users, tls, tokens, sidecar, secrets } = fresh;
        let changed = self.running.changed(&marks);
        self.running.take(&marks);
        let house = &self.house;
        house.settings.store(Arc::new(settings(&config)));
        house.limits.set(&config.limits);
        house.bans.set(&config.bans, &config.conn.proxy_protocol_from, &users.classes());
        house.storage.set(&config.storage);
        house.digests.set(config.digests);
        house.data.announcer.set(&config.data.public_address);
        self.door.allow_from(config.conn.allow_from);
        house.limits.set_proxies(&config.conn.proxy_protocol_from);
        self.door.balancers().set(config.conn.proxy_protocol_from);
        self.drain.store(Arc::new(config.drain));
        self.log.set_levels(&config.log);
        self.access.set(tokens, config.admin.allowed_hosts);
        self.sidecar.set(sidecar);
        self.history.set(config.history);
        self.metrics.set_config(&config::fingerprint(&shown));
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = shown;
        self.logs.set(config.log);
        // A reload skips nobody: it is refused instead.
        users::tell(&users, 0, config.tls.client_auth.mode, &self.metrics, &self.readiness);
        if changed.iter().any(|key| key.name == "limits.sessions") {
            descriptors::raise(config.limits.sessions);
        }
        // A node without a peer port gets one when it is started again.
        if let Some(secrets) = secrets.filter(|_| !house.cluster.is_alone()) {
            match house.cluster.set_secrets(&secrets) {
                Ok(()) => self.lines.set(secrets),
                Err(error) => tracing::error!(%error, "cluster.secret_file: the secrets are not taken; those before stay"),
            }
        }
        let changes = house.login.replace(Arc::new(users));
        let certificates = house.tls.renew(tls);
        house.staples.set(config.tls.stapling);
        note_self_signed(&house.tls, &self.readiness);
        let (names, revoked) = (changes.names(), house.tls.revoked());
        let leaves = |entry: &Entry| revoked.contains(&entry.id) || entry.user().is_some_and(|user| names.contains(&*user));
        let told = house.live.end(leaves, EndReason::UserChanged, false);
        if told > 0 {
            tracing::info!(sessions = told, "ended: their users are gone, disabled or changed, or their certificates revoked");
        }
        say_changes(&changed);
        self.say(Reloadable::Config, None);
        self.say(Reloadable::Users, None);
        if certificates {
            self.say(Reloadable::Certificates, None);
        }
    }

    fn say(&self, what: Reloadable, error: Option<&str>) {
        self.house.observer.event(Subject::default(), &Event::Reloaded { what, error });
    }
}

/// Reads and checks everything; changes nothing.
fn read(file: &Path, tls: &Tls) -> Result<Fresh, Wrong> {
    let loaded = config::load(file).map_err(|problems| {
        // With what is wrong with the users, so that nobody has to try twice.
        let all = config::check(file).unwrap_or(problems);
        Wrong { what: Reloadable::Config, problems: all.as_slice().iter().map(ToString::to_string).collect() }
    })?;
    let (users, broken) = config::load_users(&loaded.config.auth);
    let mut problems: Vec<String> = broken.iter().map(ToString::to_string).collect();
    if let Err(words) = logs::check(&loaded.config.log) {
        problems.push(words);
        return Err(Wrong { what: Reloadable::Config, problems });
    }
    let admin = &loaded.config.admin;
    let tokens = config::load_tokens(admin.tokens_file.as_deref()).map_err(|wrong| problems.extend(wrong.iter().map(ToString::to_string)));
    let sidecar = admin.tls.load().map_err(|error| problems.push(format!("admin.tls: {error}")));
    let (Ok(tokens), Ok(sidecar)) = (tokens, sidecar) else { return Err(Wrong { what: Reloadable::Config, problems }) };
    let secrets = loaded.config.cluster.secret_file.as_deref().map(cluster::read_secrets).transpose();
    let secrets = secrets.map_err(|words| Wrong { what: Reloadable::Config, problems: vec![words] })?;
    match tls.read_again(&loaded.config.tls) {
        Ok(tls) if problems.is_empty() => Ok(Fresh { loaded, users, tls, tokens, sidecar, secrets }),
        Ok(_) => Err(Wrong { what: Reloadable::Users, problems }),
        Err(error) => {
            problems.push(error.to_string());
            Err(Wrong { what: Reloadable::Certificates, problems })
        }
    }
}

/// The next order; never one where there is no door for them.
async fn next(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

fn say_changes(changed: &[&Key]) {
    let names = |acts| changed.iter().filter(|key| key.acts == acts).map(|key| key.name).collect::<Vec<_>>().join(", ");
    let (now, new_sessions, restart) = (names(Acts::Now), names(Acts::NewSessions), names(Acts::Restart));
    if !now.is_empty() || !new_sessions.is_empty() {
        tracing::info!(now, new_sessions, "configuration changed");
    }
    if !restart.is_empty() {
        tracing::warn!(keys = restart, "these changes act when the node is started again");
    }
}

impl Wrong {
    /// All problems in one line, as far as a line is for reading.
    fn words(&self) -> String {
        let mut words = self.problems.iter().take(SAID_MOST).map(String::as_str).collect::<Vec<_>>().join("; ");
        if let Some(more) = self.problems.len().checked_sub(SAID_MOST).filter(|more| *more > 0) {
            words.push_str(&format!("; and {more} more: see `ftps-gateway check-config`"));
        }
        words
    }
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Each so many looks contents are read whatever stat says (10 s): attributes that a file server caches may be old.
const DEEP: u32 = 5;
/// How long nothing may change before a reload begins.
const SETTLE: Duration = Duration::from_millis(300);
/// A file that changes all the time is read all the same.
const SETTLE_MOST: u32 = 10;
/// Problems that one line names.
const SAID_MOST: usize = 50;
