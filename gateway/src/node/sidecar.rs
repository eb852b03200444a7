//! Builds what the HTTP sidecar answers from, and the doors through which it asks the node for something.
//!
//! Gets: the plan, what sessions share, the parts that know what happened. Gives: the API, its TLS, its tokens; orders that the node takes.
//! Never: carries out an order; `drain` and `reload` do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

use super::logs::Logs;
use super::{Error, Plan};
use crate::admin::access::Access;
use crate::admin::{self, Api, Draining, Fault, Order, Orders, Setting, Validate};
use crate::bans::Rules;
use crate::cluster::Handlers;
use crate::config::{self, Problem, Problems};
use crate::observe::history::HistoryConfig;
use crate::observe::{Feed, History, LogHandle, LogSink, Metrics, Observer, Readiness};
use crate::session::House;
use crate::tls;

/// The sidecar, ready to be served.
pub(super) struct Sidecar {
    pub(super) state: admin::State,
    pub(super) tls: tls::Sidecar,
    pub(super) access: Arc<Access>,
    /// Whether the node drains; the admin API may want it.
    pub(super) draining: watch::Sender<Draining>,
    /// Reloads that the admin API wants; `None`: there is no file.
    pub(super) reloads: Option<mpsc::Receiver<Order>>,
    /// The configuration in force, for those who may see it.
    pub(super) settings: Arc<RwLock<Vec<Setting>>>,
    pub(super) history: History,
}

/// What knows what happened.
pub(super) struct Witnesses {
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) log: LogHandle,
    pub(super) history: History,
    pub(super) feed: Feed,
}

impl Witnesses {
    /// With an empty history.
    pub(super) fn new(metrics: &Metrics, readiness: &Readiness, log: &LogHandle, history: HistoryConfig) -> Self {
        let (metrics, readiness, log) = (metrics.clone(), readiness.clone(), log.clone());
        Self { metrics, readiness, log, history: History::new(history), feed: Feed::default() }
    }

    /// All of them are told, and the rules of bans, and the logs that are files.
    pub(super) fn observer(&self, rules: &Rules, logs: &Logs) -> Observer {
        Observer::new(vec![
            Arc::new(self.metrics.clone()),
            Arc::new(rules.clone()),
            Arc::new(LogSink::new(self.log.clone())),
            Arc::new(logs.transfers.clone()),
            Arc::new(logs.audit.clone()),
            Arc::new(self.readiness.clone()),
            Arc::new(self.history.clone()),
            Arc::new(self.feed.clone()),
        ])
    }
}

/// Builds it, and answers other nodes' questions through `handlers`.
pub(super) fn build(plan: &Plan, house: &Arc<House>, witnesses: Witnesses, handlers: Option<&mut Handlers>) -> Result<Sidecar, Error> {
    let config = &plan.config;
    let Witnesses { metrics, readiness, log, history, feed } = witnesses;
    let tls = tls::Sidecar::default();
    tls.set(config.admin.tls.load().map_err(|error| Error::Configuration(format!("admin.tls: {error}")))?);
    let access = Arc::new(Access::new(plan.tokens.clone(), config.admin.allowed_hosts.clone()));
    metrics.set_config(&config::fingerprint(&plan.settings));
    let (orders, reloads) = orders(plan.source.clone(), plan.settings.clone());
    let (draining, settings) = (orders.draining.clone(), orders.settings.clone());
    let me = house.cluster.me();
    let address = handlers.is_some().then_some(me.address);
    let node = admin::Identity { name: me.name, incarnation: me.incarnation, started: SystemTime::now(), address };
    let api = Api::new(admin::Parts {
        node,
        house: house.clone(),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        log,
        history: history.clone(),
        feed,
        access: access.clone(),
        orders,
    });
    if let Some(handlers) = handlers {
        admin::answer_peers(&api, handlers);
    }
    Ok(Sidecar { state: admin::State { metrics, readiness, api: Some(api) }, tls, access, draining, reloads, settings, history })
}

/// What the admin API may ask of the node, and where reloads come in.
fn orders(source: Option<PathBuf>, settings: Vec<Setting>) -> (Orders, Option<mpsc::Receiver<Order>>) {
    let (reload, reloads) = source.is_some().then(|| mpsc::channel(RELOADS)).unzip();
    let validate: Validate = Box::new(move |text| match (&source, text) {
        (Some(file), text) => Some(faults(config::check_text(file, text))),
        (None, Some(text)) => Some(faults(config::check_text(Path::new("configuration.yaml"), Some(text)))),
        (None, None) => None,
    });
    let draining = watch::Sender::new(Draining::default());
    (Orders { draining, reload, settings: Arc::new(RwLock::new(settings)), validate }, reloads)
}

fn faults(problems: Option<Problems>) -> Vec<Fault> {
    let fault = |problem: &Problem| {
        let (file, line, key, message) = (problem.file.display().to_string(), problem.line, problem.key.clone(), problem.message.clone());
        Fault { file, line, key, message }
    };
    problems.map(|problems| problems.as_slice().iter().map(fault).collect()).unwrap_or_default()
}

/// Reloads that wait for the one before them.
const RELOADS: usize = 8;
