//! Every metric of the node: names, labels and buckets, and what each event counts.
//!
//! Gets: events, synchronously; gauges from closures asked at each scrape. Gives: the text of `/metrics`, at most 2,500 series.
//! Never: a global registry, a label that a client can choose, a lock or a look-up by name while an event is counted.

mod counts;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftps_proto::digest::Algorithm;
use ftps_proto::machine::io::{DataRefusal, LoginRefusal};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

pub use self::counts::Counts;
use self::gauges::ConfigInfo;
pub use self::gauges::Space;
use super::bans::BanMetrics;
use super::event::{
    Channel, CloseReason, CutReason, DataOutcome, DigestResult, DigestSource, Direction, Event, HandshakeFailure, Limit, Listener, LoginFault, LoginMethod,
    ProxyTrouble, RefuseReason, RelayTrouble, Reloadable, Resumed, StreamEnd, Subject, TlsVersion, TransferResult,
};
use super::family::{COMMAND_SECONDS, Family, HANDSHAKE_SECONDS, Maker, SESSION_SECONDS, STORAGE_SECONDS, TRANSFER_SECONDS};
use super::peers::{CallResult, Departure, PeerEvent, PeerRefusal};
pub use super::process::Build;
use super::process::Process;
use super::ready::Part;
use super::sets::{
    Admission, CacheResult, Command, Ending, NodeState, Operation, PortState, RelayWay, ReplyClass, SessionState, Share, Trouble, Verdict, Work,
};
use super::staples::StapleMetrics;
use super::stores::StoreTable;
use super::{Sink, sidecar};

mod gauges;

/// The metrics of one node. Cheap to clone; a [`Sink`].
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// A closure that sets gauges at each scrape.
type Hook = Box<dyn Fn(&Metrics) + Send>;

struct Inner {
    registry: Registry,
    hooks: Mutex<Vec<Hook>>,
    process: Process,
    stores: StoreTable,
    table: Table,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new(build: Build<'_>) -> Self {
        let registry = Registry::new();
        let make = Maker { registry: &registry };
        make.info("build_info", "The running program; always 1.", &[("version", build.version), ("revision", build.revision), ("rustc", build.rustc)]);
        let (process, stores, table) = (Process::new(&make), StoreTable::new(&make), Table::new(&make));
        table.reloaded(Reloadable::Config, true);
        Self(Arc::new(Inner { registry, hooks: Mutex::default(), process, stores, table }))
    }

    /// Asks `hook` at each scrape, before the text is made: it sets the gauges that only another room knows. It must not wait, nor call [`Metrics::render`].
    pub fn on_scrape(&self, hook: impl Fn(&Self) + Send + 'static) {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// The text of `/metrics` (Prometheus text format 0.0.4). Reads `/proc`: call it where a millisecond may pass.
    pub fn render(&self) -> String {
        // Also keeps two scrapes apart: the process' counters are moved by differences.
        let hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.iter() {
            hook(self);
        }
        self.0.process.read();
        // Fails only for a metric without a series, and every one here has its series from the start.
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }

    /// Sessions on this node by what they do; for [`Metrics::on_scrape`].
    pub fn set_sessions(&self, preauth: usize, idle: usize, transfer: usize) {
        for (state, count) in [(SessionState::Preauth, preauth), (SessionState::Idle, idle), (SessionState::Transfer, transfer)] {
            self.0.table.sessions.at(state).set(gauge(count));
        }
    }

    /// `limits.sessions`.
    pub fn set_sessions_limit(&self, sessions: usize) {
        self.0.table.sessions_limit.set(gauge(sessions));
    }

    /// Users that may log in, and entries of the users files that were skipped.
    pub fn set_users(&self, loaded: usize, invalid: usize) {
        self.0.table.users_loaded.set(gauge(loaded));
        self.0.table.users_invalid.set(gauge(invalid));
    }

    /// When the first of the certificates in use expires, in Unix seconds.
    pub fn set_certificate_not_after(&self, seconds: i64) {
        self.0.table.certificate_not_after.set(seconds);
    }

    /// Password checks that run or wait; for [`Metrics::on_scrape`].
    pub fn set_password_queue(&self, jobs: usize) {
        self.0.table.password_queue.set(gauge(jobs));
    }

    /// Log lines that found the queue full so far; for [`Metrics::on_scrape`].
    pub fn set_log_dropped(&self, lines: u64) {
        let counter = &self.0.table.log_dropped;
        counter.inc_by(lines.saturating_sub(counter.get()));
    }

    /// Those of stores.
    pub(super) fn stores(&self) -> &StoreTable {
        &self.0.stores
    }

    /// Whether the node drains; [`Event::Draining`] sets it, this takes it back.
    pub fn set_draining(&self, draining: bool) {
        self.0.table.draining.set(i64::from(draining));
    }
}

impl Sink for Metrics {
    fn event(&self, _: Subject<'_>, event: &Event<'_>) {
        self.0.table.count(event);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Every metric but those of the process, ready to be counted.
struct Table {
    draining: IntGauge,
    degraded: Family<IntGauge, Part>,
    connections: Family<IntCounter, (Listener, Admission)>,
    accept_errors: Family<IntCounter, Listener>,
    proxy_errors: Family<IntCounter, ProxyTrouble>,
    sessions: Family<IntGauge, SessionState>,
    sessions_limit: IntGauge,
    session_duration: Histogram,
    sessions_closed: Family<IntCounter, CloseReason>,
    commands: Family<IntCounter, (Command, ReplyClass)>,
    command_duration: Family<Histogram, Work>,
    logins: Family<IntCounter, (LoginMethod, Verdict)>,
    login_failures: Family<IntCounter, LoginFault>,
    login_duration: Family<Histogram, LoginMethod>,
    handshakes: Family<IntCounter, (Channel, TlsVersion, Resumed)>,
    handshake_failures: Family<IntCounter, (Channel, HandshakeFailure)>,
    handshake_duration: Family<Histogram, (Channel, Resumed)>,
    certificate_not_after: IntGauge,
    resumed_elsewhere: IntCounter,
    ticket_generation: IntGauge,
    ticket_rotated: IntGauge,
    session_cache: IntGauge,
    session_cache_ops: Family<IntCounter, CacheResult>,
    pasv_private: IntCounter,
    data_connections: Family<IntCounter, DataOutcome>,
    data_ports: Family<IntGauge, PortState>,
    data_leases: IntGauge,
    relay_active: IntGauge,
    relay_bytes: Family<IntCounter, RelayWay>,
    relay_errors: Family<IntCounter, RelayTrouble>,
    data_lease_refused: Family<IntCounter, Share>,
    data_wait: Histogram,
    data_refused: Family<IntCounter, DataRefusal>,
    data_unproven: IntCounter,
    unclean_ends: IntCounter,
    transfers: Family<IntCounter, (Direction, Ending)>,
    transfer_bytes: Family<IntCounter, Direction>,
    transfer_duration: Family<Histogram, Direction>,
    transfers_active: Family<IntGauge, Direction>,
    transfers_cut: Family<IntCounter, CutReason>,
    digests: Family<IntCounter, (Algorithm, DigestSource, DigestResult)>,
    digest_bytes: Family<IntCounter, Algorithm>,
    digest_duration: Family<Histogram, Algorithm>,
    digest_queue: IntGauge,
    digest_cache: IntGauge,
    storage_duration: Family<Histogram, Operation>,
    storage_errors: Family<IntCounter, (Operation, Trouble)>,
    orphans_swept: IntCounter,
    storage_size: IntGauge,
    storage_free: IntGauge,
    storage_free_inodes: IntGauge,
    limits_hit: Family<IntCounter, Limit>,
    addresses_hidden: IntGauge,
    password_queue: IntGauge,
    users_loaded: IntGauge,
    users_invalid: IntGauge,
    reloads: Family<IntCounter, (Reloadable, Verdict)>,
    config_successful: IntGauge,
    config_success_time: IntGauge,
    config_info: ConfigInfo,
    bans: BanMetrics,
    log_dropped: IntCounter,
    sidecar: sidecar::Table,
    cluster_nodes: Family<IntGauge, NodeState>,
    cluster_heartbeat: IntGauge,
    cluster_skew: Gauge,
    secret_generation: IntGauge,
    cluster_departures: Family<IntCounter, Departure>,
    peer_calls: Family<IntCounter, CallResult>,
    peer_call_duration: Histogram,
    peer_refused: Family<IntCounter, PeerRefusal>,
    staples: StapleMetrics,
    panics: IntCounter,
}

impl Table {
    // long: a line for each metric.
    #[rustfmt::skip]
    fn new(make: &Maker<'_>) -> Self {
        Self {
            draining: make.gauge("draining", "1 while the node drains."),
            degraded: make.gauges("degraded", "1 for what works less well than it should; readiness and the admin API say in which way.", &["what"]),
            connections: make.counters("connections_total", "Connections that came in, by what became of them.", &["listener", "outcome"]),
            accept_errors: make.counters("accept_errors_total", "Failures of accept(2), each followed by another try.", &["listener"]),
            proxy_errors: make.counters("proxy_protocol_errors_total", "Connections that were refused for their PROXY protocol header.", &["reason"]),
            sessions: make.gauges("sessions", "Sessions on this node by what they do.", &["state"]),
            sessions_limit: make.gauge("sessions_limit", "limits.sessions of this node."),
            session_duration: make.histogram("session_duration_seconds", "Life of sessions.", SESSION_SECONDS),
            sessions_closed: make.counters("sessions_closed_total", "Sessions that ended, by the one reason each has.", &["reason"]),
            commands: make.counters("commands_total", "Commands by the class of their final reply.", &["command", "class"]),
            command_duration: make.histograms("command_duration_seconds", "From a command line to its final reply.", &["class"], COMMAND_SECONDS),
            logins: make.counters("logins_total", "Logins; what was refused had a password.", &["method", "result"]),
            login_failures: make.counters("login_failures_total", "Refused logins by what was the case.", &["reason"]),
            login_duration: make.histograms("login_duration_seconds", "Time to check who logs in; refused logins are not in it.", &["method"], COMMAND_SECONDS),
            handshakes: make.counters("tls_handshakes_total", "Finished TLS handshakes.", &["channel", "version", "resumed"]),
            handshake_failures: make.counters("tls_handshake_failures_total", "TLS handshakes that failed.", &["channel", "reason"]),
            handshake_duration: make.histograms("tls_handshake_duration_seconds", "From the first byte of a ClientHello to the end of its handshake.", &["channel", "resumed"], HANDSHAKE_SECONDS),
            certificate_not_after: make.gauge("tls_certificate_not_after_timestamp_seconds", "When the first of the certificates in use expires."),
            resumed_elsewhere: make.counter("tls_cross_node_resumptions_total", "Control connections that resumed a TLS session of another node."),
            ticket_generation: make.gauge("tls_ticket_key_generation", "Tells the ticket key that seals from others; nodes that agree show the same."),
            ticket_rotated: make.gauge("tls_ticket_key_rotated_timestamp_seconds", "When the ticket key that seals began to."),
            session_cache: make.gauge("tls_session_cache_entries", "TLS 1.2 sessions in this node's memory that can be resumed by their ID."),
            session_cache_ops: make.counters("tls_session_cache_ops_total", "What this node asked the cluster's cache of TLS 1.2 sessions, and wrote there.", &["result"]),
            pasv_private: make.counter("pasv_private_address_total", "PASV replies that told a public client a private address."),
            data_connections: make.counters("data_connections_total", "Data connections that came in, by what became of them.", &["outcome"]),
            data_ports: make.gauges("data_ports", "Data ports: somebody waits there for a connection, or nobody does.", &["state"]),
            data_leases: make.gauge("data_leases", "Waits that a data connection without proof may end too."),
            relay_active: make.gauge("relay_active", "Data connections that this node carries to sessions of others."),
            relay_bytes: make.counters("relay_bytes_total", "Bytes of data connections carried to sessions of other nodes, and back.", &["direction"]),
            relay_errors: make.counters("relay_errors_total", "Carried data connections that did not end by themselves.", &["reason"]),
            data_lease_refused: make.counters("data_lease_refused_total", "PASV and EPSV that were refused because every port stayed taken for 10 s, by this client or (lease) under its address.", &["kind"]),
            data_wait: make.histogram("data_wait_seconds", "From PASV or EPSV to the data connection that was taken.", COMMAND_SECONDS),
            data_refused: make.counters("data_refused_total", "Data connections that a session refused or missed.", &["reason"]),
            data_unproven: make.counter("data_unproven_total", "Transfers that completed without proof of the TLS session."),
            unclean_ends: make.counter("uploads_unclean_end_total", "Uploads that were kept although they ended without close_notify."),
            transfers: make.counters("transfers_total", "Transfers that ended.", &["direction", "result"]),
            transfer_bytes: make.counters("transfer_bytes_total", "Bytes on data connections of transfers that ended.", &["direction"]),
            transfer_duration: make.histograms("transfer_duration_seconds", "From 150 to the end of a transfer.", &["direction"], TRANSFER_SECONDS),
            transfers_active: make.gauges("transfers_active", "Transfers that run.", &["direction"]),
            transfers_cut: make.counters("transfers_cut_total", "Transfers that this side cut by ending their session.", &["reason"]),
            digests: make.counters("digests_total", "Digests that were asked for.", &["algorithm", "source", "result"]),
            digest_bytes: make.counters("digest_bytes_total", "Bytes that went through a hash: of files that were read, and of transfers.", &["algorithm"]),
            digest_duration: make.histograms("digest_duration_seconds", "Time to read a file and compute a digest, without the time it waited.", &["algorithm"], TRANSFER_SECONDS),
            digest_queue: make.gauge("digest_queue", "Files that are read for a digest, or wait for it."),
            digest_cache: make.gauge("digest_cache_entries", "Digests that this node remembers."),
            storage_duration: make.histograms("storage_op_duration_seconds", "Calls into the file system; files that the kernel opens from its memory are not in it.", &["op"], STORAGE_SECONDS),
            storage_errors: make.counters("storage_errors_total", "Errors of the file system that are not the client's doing.", &["op", "kind"]),
            orphans_swept: make.counter("storage_orphans_swept_total", "Left-over uploads of dead nodes that were removed."),
            storage_size: make.gauge("storage_size_bytes", "Size of the file system of storage.root."),
            storage_free: make.gauge("storage_free_bytes", "Room on it for this process."),
            storage_free_inodes: make.gauge("storage_free_inodes", "Files that it has room for; 0 also where the file system does not count them."),
            limits_hit: make.counters("limits_hit_total", "How often each limit was reached.", &["limit"]),
            addresses_hidden: make.gauge("source_address_hidden", "1 while a balancer hides the addresses of clients, so that limits and rules by address are suspended."),
            password_queue: make.gauge("password_queue_depth", "Password checks that run or wait."),
            users_loaded: make.gauge("users_loaded", "Users of the users files."),
            users_invalid: make.gauge("users_invalid", "Entries of the users files that were skipped."),
            reloads: make.counters("reloads_total", "Files that were read again.", &["what", "result"]),
            config_successful: make.gauge("config_last_reload_successful", "1 if the configuration was accepted when it was last read."),
            config_success_time: make.gauge("config_last_reload_success_timestamp_seconds", "When a configuration was last accepted."),
            config_info: ConfigInfo::new(make),
            bans: BanMetrics::new(make),
            log_dropped: make.counter("log_dropped_total", "Log lines that were dropped because they were not read fast enough."),
            sidecar: sidecar::Table::new(make),
            cluster_nodes: make.gauges("cluster_nodes", "Members of the cluster, this node among them.", &["state"]),
            cluster_heartbeat: make.gauge("cluster_heartbeat_timestamp_seconds", "When another member last answered a heartbeat; 0: none has."),
            cluster_skew: make.real_gauge("cluster_clock_skew_seconds", "The widest difference between the clock of a member and of this node."),
            secret_generation: make.gauge("cluster_secret_generation", "Tells the secret that seals from others; nodes that agree show the same; it is no count."),
            cluster_departures: make.counters("cluster_departures_total", "Members that went.", &["reason"]),
            peer_calls: make.counters("cluster_peer_calls_total", "Calls to other nodes, by how they ended.", &["result"]),
            peer_call_duration: make.histogram("cluster_peer_call_duration_seconds", "Calls to other nodes that were answered.", COMMAND_SECONDS),
            peer_refused: make.counters("cluster_peer_refused_total", "Connections to the peer port that proved no secret.", &["reason"]),
            staples: StapleMetrics::new(make),
            panics: make.counter("panics_total", "Panics; each ended one session."),
        }
    }

    // long: one arm for each event, and each is short.
    fn count(&self, event: &Event<'_>) {
        match *event {
            // Readiness has its own probe; an announced port is the PASV or EPSV in `commands_total`; a changed file is its command.
            Event::Ready | Event::PassiveOpened { .. } | Event::FileChanged { .. } => {}
            Event::Draining => self.draining.set(1),
            Event::Accepted { listener } => self.connections.at((listener, Admission::Accepted)).inc(),
            Event::Refused { listener, reason } => self.connections.at((listener, Admission::Refused(reason))).inc(),
            Event::Probed { listener } => self.connections.at((listener, Admission::Probe)).inc(),
            Event::ProxyRefused { listener, trouble } => {
                self.connections.at((listener, Admission::ProxyHeader)).inc();
                self.proxy_errors.at(trouble).inc();
            }
            Event::PrivateAnnounced { .. } => self.pasv_private.inc(),
            Event::AcceptFailed { listener, .. } => self.accept_errors.at(listener).inc(),
            Event::Handshake { channel, version, resumed, took } => {
                self.handshakes.at((channel, version, resumed)).inc();
                self.handshake_duration.at((channel, resumed)).observe(took.as_secs_f64());
            }
            Event::HandshakeFailed { channel, reason, .. } => self.handshake_failures.at((channel, reason)).inc(),
            Event::LoggedIn { method, took, .. } => {
                self.logins.at((method, Verdict::Success)).inc();
                self.login_duration.at(method).observe(took.as_secs_f64());
            }
            Event::LoginRefused { refusal, why } => self.login_refused(refusal, why),
            Event::Command { verb, code, took } => {
                self.commands.at((Command(verb), ReplyClass::of(code))).inc();
                self.command_duration.at(Work::of(verb)).observe(took.as_secs_f64());
            }
            Event::PassiveRefused { lease } => self.data_lease_refused.at(if lease { Share::Lease } else { Share::Reservation }).inc(),
            Event::DataReady { waited } => self.data_wait.observe(waited.as_secs_f64()),
            Event::DataConnection { outcome } => self.data_connections.at(outcome).inc(),
            // Bytes are set at each scrape: a relay may last for hours.
            Event::RelayEnded { trouble, .. } => trouble.into_iter().for_each(|trouble| self.relay_errors.at(trouble).inc()),
            Event::DataRefused { refusal } => self.data_refused(refusal),
            Event::TransferStarted { direction, .. } => self.transfers_active.at(direction).inc(),
            Event::TransferEnded { direction, result, bytes, took, proven, end, .. } => {
                self.transfer_ended(direction, result, bytes, took);
                self.transfer_manners(direction, result, proven, end);
            }
            Event::TransferCut { reason } => self.transfers_cut.at(reason).inc(),
            // Its bytes were counted as hashed.
            Event::TransferDigest { .. } => {}
            Event::Digest { algorithm, source, result, .. } => self.digests.at((algorithm, source, result)).inc(),
            Event::Hashed { algorithm, bytes, took } => {
                self.digest_bytes.at(algorithm).inc_by(bytes);
                took.into_iter().for_each(|took| self.digest_duration.at(algorithm).observe(took.as_secs_f64()));
            }
            Event::StorageDone { operation, took } => self.storage_duration.at(Operation::of(operation)).observe(took.as_secs_f64()),
            Event::StorageFailed { operation, kind, .. } => self.storage_errors.at((Operation::of(operation), Trouble::from(kind))).inc(),
            Event::LimitHit { limit } => self.limits_hit.at(limit).inc(),
            Event::AddressesHidden { addresses } => self.addresses_hidden.set(i64::from(!addresses.is_empty())),
            Event::Closed { reason, took } => {
                self.sessions_closed.at(reason).inc();
                self.session_duration.observe(took.as_secs_f64());
            }
            Event::Swept { files } => self.orphans_swept.inc_by(files),
            Event::Reloaded { what, error } => self.reloaded(what, error.is_none()),
            Event::Sidecar(ref event) => self.sidecar.count(event),
            Event::Banned { .. } | Event::Unbanned { .. } | Event::BanArrived { .. } => self.bans.count(event),
            Event::BanRefused { listener, .. } => {
                self.bans.count(event);
                listener.into_iter().for_each(|listener| self.connections.at((listener, Admission::Refused(RefuseReason::Banned))).inc());
            }
            Event::Peer(ref event) => self.peer(event),
            Event::Staple(ref event) => self.staples.count(event),
            Event::Panicked => self.panics.inc(),
        }
    }

    fn data_refused(&self, refusal: DataRefusal) {
        self.data_refused.at(refusal).inc();
        if refusal == DataRefusal::Timeout {
            self.limits_hit.at(Limit::DataTimeout).inc();
        }
    }

    fn transfer_ended(&self, direction: Direction, result: TransferResult, bytes: u64, took: Duration) {
        self.transfers_active.at(direction).dec();
        self.transfers.at((direction, Ending::from(result))).inc();
        self.transfer_bytes.at(direction).inc_by(bytes);
        self.transfer_duration.at(direction).observe(took.as_secs_f64());
        if result == TransferResult::Stalled {
            self.limits_hit.at(Limit::StallTimeout).inc();
        }
    }

    fn reloaded(&self, what: Reloadable, accepted: bool) {
        self.reloads.at((what, if accepted { Verdict::Success } else { Verdict::Failure })).inc();
        // A reload is all or nothing: whatever was wrong, the configuration on disk is not the one in force.
        self.config_successful.set(i64::from(accepted));
        if accepted {
            self.config_success_time.set(unix_seconds());
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unix_seconds() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::process::{Command as Program, Stdio};

    use ftps_proto::machine::io::{CloseCause, EndReason, FileError};
    use ftps_proto::verbs::Verb;

    use super::*;
    use crate::observe::id::TransferId;

    fn fresh() -> Metrics {
        Metrics::new(Build { version: "1", revision: "r", rustc: "c" })
    }

    fn say(metrics: &Metrics, event: Event<'_>) {
        let subject = Subject { session: None, peer: Some("203.0.113.7:4711".parse().unwrap()), user: Some("mallory") };
        metrics.event(subject, &event);
    }

    /// The value of a series, by its name and labels as in the text.
    fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = metrics.render();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no series {series}")).parse().unwrap()
    }

    #[test]
    fn there_are_at_most_2500_series() {
        let text = fresh().render();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series <= 2500, "{series} series");
        assert!(series > 300, "{series} series: not every label set is there from the start");
    }

    /// Every metric with its type, its labels and what it says, by name.
    fn families(text: &str) -> Vec<(&str, &str, Vec<&str>, &str)> {
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let types: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, inside) = series.split_once('{').unwrap_or((series, ""));
            let family = [name, name.trim_end_matches("_bucket"), name.trim_end_matches("_sum"), name.trim_end_matches("_count")];
            let family = family.into_iter().find(|name| types.contains_key(name)).unwrap();
            let names = inside.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).filter(|name| *name != "le");
            labels.entry(family).or_default().extend(names);
        }
        let said: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
        types.into_iter().map(|(name, kind)| (name, kind, labels[name].iter().copied().collect(), said[name])).collect()
    }

    /// Compares with a file of the repository; with BLESS=1 writes it.
    fn is_in(file: &str, text: &str) {
        let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
            std::fs::write(&file, text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "{file}: look at the difference; if it is meant, run again with BLESS=1");
    }

    #[test]
    fn names_types_and_labels_are_those_of_the_golden_file() {
        let text = fresh().render();
        let line = |(name, kind, labels, _): (&str, &str, Vec<&str>, &str)| format!("{name} {kind} {}", labels.join(","));
        let found: String = families(&text).into_iter().map(|family| line(family).trim_end().to_owned() + "\n").collect();
        is_in("src/observe/metrics.golden", &found);
    }

    #[test]
    fn every_metric_is_in_the_operators_list() {
        let text = fresh().render();
        let row = |(name, kind, labels, said): (&str, &str, Vec<&str>, &str)| format!("| `{name}` | {kind} | {} | {said} |\n", labels.join(", "));
        let rows: String = families(&text).into_iter().map(row).collect();
        is_in("../deploy/docs/metrics.md", &format!("{LIST}{rows}"));
    }

    /// What stands above the rows.
    const LIST: &str = "# Metrics\n\nEvery series of `/metrics` on a node, at zero from its start. Labels come from closed sets: no name, path or address of a client is in one. Times are in seconds, \
        sizes in bytes.\nA test writes this list from the program.\n\n| metric | type | labels | says |\n|---|---|---|---|\n";

    #[test]
    fn nothing_a_client_says_is_in_the_text() {
        let metrics = fresh();
        let error = std::io::Error::other("mallory's disk");
        let id = TransferId::now();
        say(&metrics, Event::LoggedIn { method: LoginMethod::Password, class: None, took: Duration::from_millis(80) });
        say(&metrics, Event::TransferStarted { id, direction: Direction::Upload, path: b"/mallory.txt" });
        say(&metrics, Event::StorageFailed { operation: "mallory", kind: FileError::NoSpace, error: &error });
        say(&metrics, Event::HandshakeFailed { channel: Channel::Data, reason: HandshakeFailure::Alpn, detail: "mallory" });
        say(&metrics, Event::Reloaded { what: Reloadable::Users, error: Some("mallory") });
        let text = metrics.render();
        assert!(!text.contains("mallory") && !text.contains("203.0.113.7"), "{text}");
        assert_eq!(value(&metrics, "ftps_gateway_storage_errors_total{kind=\"no_space\",op=\"other\"}"), 1.0);
    }

    #[test]
    fn a_connection_is_counted_by_listener_and_outcome() {
        let metrics = fresh();
        say(&metrics, Event::Accepted { listener: Listener::Implicit });
        say(&metrics, Event::Refused { listener: Listener::Explicit, reason: RefuseReason::Limit });
        assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"implicit\",outcome=\"accepted\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"explicit\",outcome=\"limit\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"data\",outcome=\"limit\"}"), 0.0);
    }

    #[test]
    fn a_command_is_counted_by_verb_and_class_and_timed_by_its_work() {
        let metrics = fresh();
        say(&metrics, Event::Command { verb: Some(Verb::Mlsd), code: 226, took: Duration::from_millis(3) });
        say(&metrics, Event::Command { verb: None, code: 500, took: Duration::ZERO });
        assert_eq!(value(&metrics, "ftps_gateway_commands_total{class=\"2xx\",command=\"MLSD\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_commands_total{class=\"5xx\",command=\"other\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_command_duration_seconds_bucket{class=\"list\",le=\"0.0025\"}"), 0.0);
        assert_eq!(value(&metrics, "ftps_gateway_command_duration_seconds_bucket{class=\"list\",le=\"0.005\"}"), 1.0);
    }

    #[test]
    fn a_question_for_a_password_is_no_failed_login() {
        let metrics = fresh();
        say(&metrics, Event::LoginRefused { refusal: LoginRefusal::PasswordNeeded, why: LoginFault::EmptyPassword });
        assert_eq!(value(&metrics, "ftps_gateway_logins_total{method=\"password\",result=\"failure\"}"), 0.0);
        say(&metrics, Event::LoginRefused { refusal: LoginRefusal::Incorrect, why: LoginFault::UnknownUser });
        assert_eq!(value(&metrics, "ftps_gateway_logins_total{method=\"password\",result=\"failure\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_login_failures_total{reason=\"unknown_user\"}"), 1.0);
    }

    #[test]
    fn a_transfer_is_active_until_it_ends_and_its_manners_are_counted() {
        let metrics = fresh();
        let (id, direction, path) = (TransferId::now(), Direction::Upload, b"/a".as_slice());
        say(&metrics, Event::TransferStarted { id, direction, path });
        assert_eq!(value(&metrics, "ftps_gateway_transfers_active{direction=\"upload\"}"), 1.0);
        let ended = |result, proven, end| Event::TransferEnded {
            id,
            direction,
            path,
            result,
            bytes: 10,
            took: Duration::from_secs(2),
            ascii: false,
            proven,
            end,
            digest: None,
        };
        say(&metrics, ended(TransferResult::Complete, false, StreamEnd::Fin));
        assert_eq!(value(&metrics, "ftps_gateway_transfers_active{direction=\"upload\"}"), 0.0);
        assert_eq!(value(&metrics, "ftps_gateway_transfers_total{direction=\"upload\",result=\"complete\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_transfer_bytes_total{direction=\"upload\"}"), 10.0);
        assert_eq!((value(&metrics, "ftps_gateway_data_unproven_total"), value(&metrics, "ftps_gateway_uploads_unclean_end_total")), (1.0, 1.0));
        // A transfer without a connection proved nothing and refused nothing.
        say(&metrics, ended(TransferResult::NoConnection(DataRefusal::Timeout), false, StreamEnd::Open));
        assert_eq!(value(&metrics, "ftps_gateway_data_unproven_total"), 1.0);
    }

    #[test]
    fn a_limit_whose_reaching_has_an_event_of_its_own_is_counted_as_a_limit_too() {
        let metrics = fresh();
        let (id, direction, path) = (TransferId::now(), Direction::Download, b"/a".as_slice());
        let result = TransferResult::Stalled;
        say(
            &metrics,
            Event::TransferEnded {
                id,
                direction,
                path,
                result,
                bytes: 0,
                took: Duration::ZERO,
                ascii: false,
                proven: true,
                end: StreamEnd::Open,
                digest: None,
            },
        );
        say(&metrics, Event::DataRefused { refusal: DataRefusal::Timeout });
        say(&metrics, Event::DataRefused { refusal: DataRefusal::Handshake });
        say(&metrics, Event::LoginRefused { refusal: LoginRefusal::Unavailable, why: LoginFault::QueueFull });
        say(&metrics, Event::LimitHit { limit: Limit::Line });
        for limit in ["stall_timeout", "data_timeout", "password_jobs", "line"] {
            assert_eq!(value(&metrics, &format!("ftps_gateway_limits_hit_total{{limit=\"{limit}\"}}")), 1.0, "{limit}");
        }
    }

    #[test]
    fn waits_and_calls_into_the_file_system_are_timed_and_what_this_side_cuts_is_counted() {
        let metrics = fresh();
        say(&metrics, Event::DataReady { waited: Duration::from_millis(20) });
        say(&metrics, Event::PassiveRefused { lease: true });
        say(&metrics, Event::StorageDone { operation: "rename", took: Duration::from_millis(2) });
        let ended = |reason| CutReason::of(CloseReason::Machine(CloseCause::Ended(reason)));
        for reason in [ended(EndReason::Banned), ended(EndReason::Shutdown), CutReason::of(CloseReason::Cut)] {
            say(&metrics, Event::TransferCut { reason: reason.unwrap() });
        }
        assert_eq!((ended(EndReason::TicketsSpent), CutReason::of(CloseReason::ClientClosed)), (None, None), "the client's own end");
        for (series, times) in [
            ("data_wait_seconds_count", 1.0),
            ("data_lease_refused_total{kind=\"lease\"}", 1.0),
            ("storage_op_duration_seconds_count{op=\"rename\"}", 1.0),
            ("storage_op_duration_seconds_bucket{op=\"rename\",le=\"0.001\"}", 0.0),
            ("transfers_cut_total{reason=\"banned\"}", 1.0),
            ("transfers_cut_total{reason=\"drain\"}", 2.0),
        ] {
            assert_eq!(value(&metrics, &format!("ftps_gateway_{series}")), times, "{series}");
        }
    }

    #[test]
    fn hidden_addresses_are_a_gauge() {
        let metrics = fresh();
        say(&metrics, Event::AddressesHidden { addresses: &["10.0.0.7".parse().unwrap()] });
        assert_eq!(value(&metrics, "ftps_gateway_source_address_hidden"), 1.0);
        say(&metrics, Event::AddressesHidden { addresses: &[] });
        assert_eq!(value(&metrics, "ftps_gateway_source_address_hidden"), 0.0);
    }

    #[test]
    fn a_session_ends_for_one_reason() {
        let metrics = fresh();
        let reason = CloseReason::Machine(CloseCause::Ended(EndReason::IdleTimeout));
        say(&metrics, Event::Closed { reason, took: Duration::from_secs(400) });
        assert_eq!(value(&metrics, "ftps_gateway_sessions_closed_total{reason=\"idle_timeout\"}"), 1.0);
        assert_eq!(value(&metrics, "ftps_gateway_session_duration_seconds_count"), 1.0);
    }

    #[test]
    fn a_refused_reload_keeps_the_time_of_the_last_good_one() {
        let metrics = fresh();
        let before = value(&metrics, "ftps_gateway_config_last_reload_success_timestamp_seconds");
        assert!(before > 1.0e9);
        say(&metrics, Event::Reloaded { what: Reloadable::Config, error: Some("line 3") });
        assert_eq!(value(&metrics, "ftps_gateway_config_last_reload_successful"), 0.0);
        assert_eq!(value(&metrics, "ftps_gateway_config_last_reload_success_timestamp_seconds"), before);
    }

    #[test]
    fn gauges_of_other_rooms_are_asked_at_each_scrape() {
        let metrics = fresh();
        metrics.on_scrape(|metrics| metrics.set_sessions(1, 2, 3));
        metrics.on_scrape(|metrics| metrics.set_log_dropped(7));
        assert_eq!(value(&metrics, "ftps_gateway_sessions{state=\"transfer\"}"), 3.0);
        assert_eq!(value(&metrics, "ftps_gateway_log_dropped_total"), 7.0, "a total that is told twice counts once");
        assert!(value(&metrics, "process_resident_memory_bytes") > 0.0);
        assert!(value(&metrics, "process_open_fds") >= 1.0);
    }

    #[test]
    fn promtool_finds_nothing_to_mend() {
        let checker = Program::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut checker) = checker else {
            println!("SKIPPED promtool");
            return;
        };
        checker.stdin.take().unwrap().write_all(fresh().render().as_bytes()).unwrap();
        let said = checker.wait_with_output().unwrap();
        let words = [said.stdout, said.stderr].concat();
        assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
    }
}
