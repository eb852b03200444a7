//! From the tree to a checked [`Config`]: every key is read once, everything wrong is collected on the way.
//!
//! Gets: a tree (or none, for the defaults). Gives: a whole `Config` in any case, and what is wrong; a wrong value leaves its default behind.
//! Never: stops at the first error, looks outside of the tree. What keys mean to each other is in `cross`.

use std::fmt::Debug;
use std::path::PathBuf;

use super::bans as forms_of_bans;
use super::forms::{self, LONGEST, MANY, WEEK};
use super::keys::{self, Default};
use super::peers;
use super::problem::{Checked, Wrong};
use super::rules;
use super::tree::{Entry, Node, Value, parse};
use super::{Config, Drain, Marks, Stores, digests, stores};
use crate::{admin, auth, bans, cluster, conn, data, digest, limits, observe, storage, tls};

/// Reads the keys of one document.
pub(super) struct Reader<'a> {
    /// Known keys that are written, each once.
    written: Vec<(String, &'a Entry)>,
    /// What is wrong so far, with its key.
    pub(super) wrongs: Vec<(String, Wrong)>,
    /// The marks of what was read.
    pub(super) marks: Marks,
    /// Whether the document stands for the defaults alone: what is required is not missed.
    defaults_only: bool,
}

impl<'a> Reader<'a> {
    /// Takes stock of the document: unknown keys and keys that stand twice are wrong.
    pub(super) fn new(document: &'a Node) -> Self {
        let mut reader = Self { written: Vec::new(), wrongs: Vec::new(), marks: Marks::default(), defaults_only: false };
        let entries = match &document.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) | Value::Broken => {
                reader.defaults_only = true;
                reader.wrong("", Wrong::at(document.line, "is not a configuration; write sections as listen: and, indented below them, keys with values"));
                return reader;
            }
        };
        for entry in reader.without_twins("", entries) {
            reader.section(entry);
        }
        reader
    }

    /// A reader of nothing: all keys have their defaults, the required ones are empty.
    pub(super) fn of_defaults() -> Self {
        Self { written: Vec::new(), wrongs: Vec::new(), marks: Marks::default(), defaults_only: true }
    }

    /// Reads everything. The struct is whole also when something is wrong.
    pub(super) fn config(&mut self) -> Config {
        Config {
            node_name: self.found("node.name", rules::node_name, super::host_name),
            conn: self.conn(),
            admin: self.admin(),
            stores: self.stores(),
            cluster: self.cluster(),
            data: self.data(),
            tls: self.tls(),
            auth: auth::Config { files: self.value("users.files", rules::user_files), anonymous: self.value("users.anonymous", rules::anonymous) },
            storage: self.storage(),
            digests: self.digests(),
            limits: self.limits(),
            bans: self.bans(),
            log: observe::LogConfig {
                format: self.value("log.format", forms::word(rules::LOG_FORMATS)),
                level: self.value("log.level", rules::log_level),
                transfer_log: self.value("log.transfer_log", forms::path_or_null),
                audit: self.value("log.audit", rules::audit),
            },
            history: observe::history::HistoryConfig {
                transfers: usize::try_from(self.value("history.transfers", forms::number(0, MANY))).unwrap_or(usize::MAX),
                audit: usize::try_from(self.value("history.audit", forms::number(0, MANY))).unwrap_or(usize::MAX),
                keep: self.value("history.keep", forms::duration(LONGEST)),
            },
            drain: Drain {
                delay: self.value("drain.delay", forms::duration_or_zero(LONGEST)),
                idle: self.value("drain.idle", forms::duration_or_zero(LONGEST)),
                timeout: self.value("drain.timeout", forms::duration_or_zero(LONGEST)),
            },
        }
    }

    /// The line of a value: `place` below a key, as `[1].cert`. Of what is not written, the line of the nearest thing around it.
    pub(super) fn line_of(&self, key: &str, place: &str) -> usize {
        let section = key.split('.').next().unwrap_or(key);
        let Some(entry) = self.entry(key) else { return self.entry(section).map_or(1, |entry| entry.line) };
        let mut line = entry.line;
        let mut node = &entry.node;
        for part in place.split(['[', ']', '.']).filter(|part| !part.is_empty()) {
            let below = match &node.value {
                Value::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                Value::Map(entries) => entries.iter().find(|entry| entry.key == part).map(|entry| &entry.node),
                Value::Null | Value::Scalar(_) | Value::Broken => None,
            };
            let Some(below) = below else { return line };
            (node, line) = (below, below.line);
        }
        line
    }

    /// Every key with its value as it is written.
    pub(super) fn settings(&self) -> Vec<admin::Setting> {
        super::shown::settings(|key| self.entry(key).map(|entry| &entry.node))
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.written.iter().find(|(name, _)| name == key).map(|(_, entry)| *entry)
    }

    fn conn(&mut self) -> conn::Config {
        conn::Config {
            explicit: self.value("listen.explicit", rules::addresses),
            implicit: self.value("listen.implicit", rules::addresses),
            proxy_protocol_from: self.value("listen.proxy_protocol_from", forms::networks),
            allow_from: self.value("listen.allow_from", forms::networks),
        }
    }

    fn admin(&mut self) -> admin::Config {
        admin::Config {
            admin: self.value("listen.admin", forms::address),
            metrics: self.value("listen.metrics", forms::address_or_null),
            tokens_file: self.value("admin.tokens_file", forms::path_or_null),
            tls: self.value("admin.tls", rules::sidecar_tls),
            allowed_hosts: self.value("admin.allowed_hosts", rules::allowed_hosts),
            insecure_ok: self.value("admin.insecure_ok", forms::truth),
        }
    }

    fn stores(&mut self) -> Stores {
        Stores {
            state_dir: self.value("node.state_dir", forms::path),
            url: self.value("store.url", stores::location),
            tls: self.value("store.tls", stores::tls),
            sessions: self.value("store.sessions", stores::location_or_null),
            staples: self.value("store.staples", stores::location_or_null),
            bans: self.value("store.bans", stores::location_or_null),
            digests: self.value("store.digests", stores::location_or_null),
            fallback: self.value("store.fallback", stores::fallback),
            timeout: self.value("store.timeout", forms::duration(LONGEST)),
        }
    }

    fn cluster(&mut self) -> cluster::Config {
        cluster::Config {
            name: self.value("cluster.name", peers::cluster_name),
            secret_file: self.value("cluster.secret_file", forms::path_or_null),
            listen: self.value("listen.peer", forms::address),
            advertise: self.value("cluster.advertise", peers::advertise),
            peers: self.value("cluster.peers", peers::peers),
        }
    }

    fn data(&mut self) -> data::Config {
        data::Config {
            ports: self.value("data.ports", forms::ports),
            public_address: self.value("data.public_address", rules::public_address),
            tls_reuse: self.value("data.tls_reuse", forms::word(rules::TLS_REUSE)),
            upload_end: self.value("data.upload_end", forms::word(rules::UPLOAD_END)),
            active: self.value("data.active", forms::truth),
        }
    }

    fn tls(&mut self) -> tls::Config {
        tls::Config {
            certificates: self.value("tls.certificates", rules::certificates),
            min_version: self.value("tls.min_version", forms::word(rules::TLS_VERSIONS)),
            cipher_suites: self.value("tls.cipher_suites", rules::cipher_suites),
            client_auth: self.value("tls.client_auth", rules::client_auth),
            session_lifetime: self.value("tls.session_lifetime", forms::duration(WEEK)),
            ticket_rotation: self.value("tls.ticket_rotation", forms::duration(WEEK)),
            stapling: self.value("tls.stapling", rules::stapling),
        }
    }

    fn storage(&mut self) -> storage::Config {
        storage::Config {
            root: self.required("storage.root", forms::path, PathBuf::new(), "write the directory that holds all homes, for example root: /srv/ftp"),
            fsync: self.value("storage.fsync", forms::word(rules::FSYNC)),
            file_mode: self.value("storage.file_mode", forms::mode(0o600)),
            dir_mode: self.value("storage.dir_mode", forms::mode(0o700)),
            symlinks: self.value("storage.symlinks", forms::word(rules::SYMLINKS)),
            id: self.value("storage.id", digests::storage_id),
            stable_inodes: self.value("storage.stable_inodes", forms::truth),
            sweep_after: self.value("storage.sweep_after", forms::duration(LONGEST)),
        }
    }

    fn digests(&mut self) -> digest::Config {
        digest::Config {
            enabled: self.value("digests.enabled", forms::truth),
            algorithms: self.value("digests.algorithms", digests::some_algorithms),
            preferred: self.value("digests.default", digests::algorithm),
            max_size: self.value("digests.max_size", digests::max_size),
            cache: self.value("digests.cache", digests::cache),
            at_upload: self.value("digests.at_upload", digests::algorithms),
            at_download: self.value("digests.at_download", digests::algorithms),
            jobs: self.value("digests.jobs", digests::jobs),
            rules: self.value("digests.rules", digests::rules),
        }
    }

    fn limits(&mut self) -> limits::Config {
        limits::Config {
            sessions: self.count("limits.sessions"),
            cluster_sessions: self.value("limits.cluster_sessions", rules::number_or_null),
            sessions_per_ip: self.count("limits.sessions_per_ip"),
            sessions_per_user: self.count("limits.sessions_per_user"),
            logins_per_minute_per_ip: u32::try_from(self.value("limits.logins_per_minute_per_ip", forms::number(1, MANY))).unwrap_or(u32::MAX),
            login_timeout: self.value("limits.login_timeout", forms::duration(LONGEST)),
            idle_timeout: self.value("limits.idle_timeout", forms::duration(LONGEST)),
            stall_timeout: self.value("limits.stall_timeout", forms::duration(LONGEST)),
            data_timeout: self.value("limits.data_timeout", forms::duration(LONGEST)),
            write_timeout: self.value("limits.write_timeout", forms::duration(LONGEST)),
            session_max: self.value("limits.session_max", forms::duration(WEEK)),
            line: usize::try_from(self.value("limits.line", forms::size(512, 64 << 10))).unwrap_or(usize::MAX),
            password_jobs: self.value("limits.password_jobs", rules::password_jobs),
            bandwidth_per_session: self.value("limits.bandwidth_per_session", rules::bandwidth_or_null),
            bandwidth_per_user: self.value("limits.bandwidth_per_user", rules::bandwidth_or_null),
        }
    }

    fn bans(&mut self) -> bans::Config {
        let (never_networks, never_users) = self.value("bans.never", forms_of_bans::never);
        bans::Config {
            rules: self.value("bans.rules", forms_of_bans::rules),
            never_networks,
            never_users,
            classes: self.value("bans.classes", forms_of_bans::classes),
            message: self.value("bans.message", forms_of_bans::message),
            implicit_reply: self.value("bans.implicit_reply", forms::word(forms_of_bans::IMPLICIT_REPLY)),
            max_automatic: self.count("bans.max_automatic"),
        }
    }

    fn count(&mut self, key: &'static str) -> usize {
        usize::try_from(self.value(key, forms::number(1, MANY))).unwrap_or(usize::MAX)
    }

    /// The value of a key that has a default in the table.
    fn value<T: Debug>(&mut self, key: &'static str, read: impl Fn(&Node) -> Checked<T>) -> T {
        let value = self.written(key, &read).unwrap_or_else(|| default(key, read));
        self.marks.note(key, &value);
        value
    }

    /// The value of a key whose default is found at start.
    fn found<T: Debug>(&mut self, key: &'static str, read: impl Fn(&Node) -> Checked<T>, find: impl Fn() -> T) -> T {
        let value = self.written(key, &read).unwrap_or_else(find);
        self.marks.note(key, &value);
        value
    }

    /// The value of a key that must be written; `empty` stands in for it when it is not.
    fn required<T: Debug>(&mut self, key: &'static str, read: impl Fn(&Node) -> Checked<T>, empty: T, advice: &str) -> T {
        if self.entry(key).is_none() && !self.defaults_only {
            self.wrong(key, Wrong::at(self.line_of(key, ""), format!("is missing; {advice}")));
        }
        let value = self.written(key, &read).unwrap_or(empty);
        self.marks.note(key, &value);
        value
    }

    fn written<T>(&mut self, key: &'static str, read: &impl Fn(&Node) -> Checked<T>) -> Option<T> {
        let entry = self.entry(key)?;
        match read(&entry.node) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                wrongs.into_iter().for_each(|wrong| self.wrong(key, wrong));
                None
            }
        }
    }

    fn section(&mut self, entry: &'a Entry) {
        if !keys::is_section(&entry.key) {
            return self.wrong(&entry.key, Wrong::at(entry.line, keys::advice(&entry.key)));
        }
        self.written.push((entry.key.clone(), entry));
        match &entry.node.value {
            Value::Map(entries) => {
                for below in self.without_twins(&entry.key, entries) {
                    let name = format!("{}.{}", entry.key, below.key);
                    if keys::row(&name).is_some() {
                        self.written.push((name, below));
                    } else {
                        self.wrong(&name, Wrong::at(below.line, keys::advice(&name)));
                    }
                }
            }
            // `listen:` with all its keys commented out.
            Value::Null | Value::Broken => {}
            Value::Scalar(_) | Value::List(_) => {
                self.wrong(&entry.key, Wrong::at(entry.line, "is a section; write its keys below it, indented, each with a colon"))
            }
        }
    }

    fn without_twins(&mut self, section: &str, entries: &'a [Entry]) -> Vec<&'a Entry> {
        let (entries, twins) = forms::unique(entries);
        for twin in twins {
            let key = format!("{section}{}", twin.below);
            self.wrong(key.trim_start_matches('.'), Wrong { below: String::new(), ..twin });
        }
        entries
    }

    fn wrong(&mut self, key: &str, wrong: Wrong) {
        self.wrongs.push((key.to_owned(), wrong));
    }
}

/// The default of the table, read as if it were written.
pub(super) fn default<T>(key: &'static str, read: impl Fn(&Node) -> Checked<T>) -> T {
    let value = match keys::row(key).map(|row| row.default) {
        Some(Default::Yaml(text)) => parse(text).map_err(|wrong| vec![wrong]).and_then(|node| read(&node)),
        Some(Default::Found(_) | Default::Required) | None => Err(Vec::new()),
    };
    // The table is constant, and `defaults_are_those_of_the_reference` reads every default in it.
    #[allow(clippy::expect_used)]
    value.expect("the table of keys holds a readable default")
}
