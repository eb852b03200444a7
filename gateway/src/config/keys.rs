//! Every key that exists, once: its form, its default, when a change acts and what it means.
//!
//! Gets: nothing. Gives: the tables (of the configuration, of a user) that their readers take known keys and defaults from, and that the reference is
//! written from.
//! Never: holds a key without effect. A new key is a row here, a line in `check` and a field of its room's `Config`.

mod users;

use super::near::nearest;

pub use users::USER_KEYS;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With dots; `[]` stands for the items of a list.
    pub name: &'static str,
    /// What may be written.
    pub form: &'static str,
    /// What holds when it is not written.
    pub default: Default,
    /// When a change of it acts after a reload.
    pub acts: Acts,
    /// What it decides.
    pub meaning: &'static str,
}

/// The value of a key that is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This, as YAML.
    Yaml(&'static str),
    /// Found at start, as these words say.
    Found(&'static str),
    /// There is none: the key must be written.
    Required,
}

/// When a changed key acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// At the reload, for everything.
    Now,
    /// For sessions that begin after the reload.
    NewSessions,
    /// When the node starts again.
    Restart,
}

/// The row of a key.
pub(super) fn row(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The keys of a user directly below `within`, which is empty or ends in no dot.
pub(super) fn names_below(within: &str) -> Vec<&'static str> {
    let below = |name: &'static str| if within.is_empty() { Some(name) } else { name.strip_prefix(within)?.strip_prefix('.') };
    let mut names: Vec<_> = USER_KEYS.iter().filter_map(|key| below(key.name)).map(section).collect();
    names.dedup();
    names
}

/// Whether it is the first part of a key.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| section(key.name) == name)
}

/// The words behind "unknown key": what may have been meant, or what there is.
pub(super) fn advice(unknown: &str) -> String {
    let last = unknown.rsplit('.').next().unwrap_or(unknown);
    let meant = match unknown.split_once('.') {
        None => {
            let sections = KEYS.iter().map(|key| section(key.name));
            nearest(unknown, sections).or_else(|| elsewhere(last))
        }
        Some((within, below)) => {
            let mut names = KEYS.iter().map(|key| key.name);
            let siblings = names.clone().filter_map(|name| name.strip_prefix(within)?.strip_prefix('.')).filter(|rest| !rest.contains('['));
            let near = nearest(below, siblings).and_then(|near| names.find(|name| name.strip_prefix(within).is_some_and(|rest| rest[1..] == *near)));
            near.or_else(|| elsewhere(last))
        }
    };
    match meant {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => "unknown key; remove it".to_owned(),
    }
}

/// The key of another section that ends in the same word.
fn elsewhere(last: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.name).find(|name| name.rsplit('.').next() == Some(last) && !name.contains('['))
}

fn section(name: &'static str) -> &'static str {
    name.split('.').next().unwrap_or(name)
}

const fn key(name: &'static str, form: &'static str, default: &'static str, acts: Acts, meaning: &'static str) -> Key {
    Key { name, form, default: Default::Yaml(default), acts, meaning }
}

use Acts::{NewSessions, Now, Restart};

/// All keys, in the order of the example.
pub const KEYS: &[Key] = &[
    Key {
        name: "node.name",
        form: "name",
        default: Default::Found("the host's name"),
        acts: Restart,
        meaning: "the name of this node in logs, metrics and temporary files",
    },
    key(
        "node.state_dir",
        "path",
        "/dev/shm/ftps-gateway",
        Restart,
        "where this host keeps its own: shared memory, its key, journals; made with mode 0700, and refused when it is another user's",
    ),
    key(
        "listen.explicit",
        "list of IP:PORT",
        r#"["[::]:2121"]"#,
        Restart,
        "addresses for FTP with AUTH TLS; [::] also takes IPv4; port 0 is one of the kernel's choice",
    ),
    key("listen.implicit", "list of IP:PORT", r#"["[::]:9990"]"#, Restart, "addresses for FTP with TLS from the first byte; [] is off"),
    key(
        "listen.admin",
        "IP:PORT",
        r#""127.0.0.1:7122""#,
        Restart,
        "address of the admin API and its page; other than loopback only with admin.tls or admin.insecure_ok",
    ),
    key("listen.metrics", "IP:PORT or null", "null", Restart, "address for /metrics and the probes alone; null: they are on listen.admin"),
    key("listen.peer", "IP:PORT", r#""[::]:7121""#, Restart, "address for other nodes; listened on only with cluster.secret_file"),
    key(
        "listen.proxy_protocol_from",
        "list of networks",
        "[]",
        NewSessions,
        "balancers that say whose connections they bring: a PROXY protocol header (v1, v2) is required from them on every FTP and data port, and refused from others",
    ),
    key("listen.allow_from", "list of networks", "[]", NewSessions, "networks that may connect at all; [] is any"),
    key(
        "data.ports",
        "A-B or 0/COUNT",
        r#""50000-50007""#,
        Restart,
        "ports for data connections, opened on the addresses of the FTP listeners; 0/8: eight of the kernel's choice",
    ),
    key(
        "data.public_address",
        "auto, IP, name or mapping of networks",
        "auto",
        NewSessions,
        "what PASV announces; auto: the environment variable FTPS_GATEWAY_PUBLIC_ADDRESS, else the address the client came to",
    ),
    key(
        "data.tls_reuse",
        "auto, require, prefer or off",
        "auto",
        NewSessions,
        "whether a data connection must resume the TLS session of its control connection",
    ),
    key("data.upload_end", "auto or strict", "auto", NewSessions, "whether an upload may end without close_notify"),
    key("data.active", "true or false", "false", NewSessions, "PORT and EPRT, to the client's own address only"),
    key("tls.certificates", "list of {cert, key}", "[]", NewSessions, "certificates, one for each name or key type; [] is self-signed, with a warning"),
    Key { name: "tls.certificates[].cert", form: "path", default: Default::Required, acts: NewSessions, meaning: "PEM file with the chain, leaf first" },
    Key { name: "tls.certificates[].key", form: "path", default: Default::Required, acts: NewSessions, meaning: "PEM file with the private key" },
    key("tls.min_version", r#""1.2" or "1.3""#, r#""1.2""#, NewSessions, "lowest TLS version"),
    key("tls.cipher_suites", "list of IANA names", "[]", NewSessions, "cipher suites; [] is rustls' own choice"),
    key("tls.client_auth", "mapping", "{}", NewSessions, "certificates that clients show; needs ca unless the mode is off"),
    key(
        "tls.client_auth.mode",
        "off, optional or required",
        "off",
        NewSessions,
        "whether a client is asked for a certificate, and whether it may come without one",
    ),
    key("tls.client_auth.ca", "path or null", "null", NewSessions, "PEM file with the authorities of the clients' certificates"),
    key(
        "tls.client_auth.crl",
        "path or null",
        "null",
        Now,
        "PEM or DER file with lists of revoked certificates, one of every authority in a chain; sessions of a revoked certificate end at the reload",
    ),
    key("tls.session_lifetime", "duration", "30m", NewSessions, "how old a TLS session may be when a control connection resumes it"),
    key("tls.ticket_rotation", "duration", "1h", Now, "how often a new ticket key seals"),
    key("tls.stapling", "mapping", "{}", Now, "OCSP responses for the certificates that name a responder, fetched by one node for all"),
    key("tls.stapling.enabled", "true or false", "true", Now, "whether they are fetched and stapled"),
    key("tls.stapling.responder", "http:// URL or null", "null", Now, "who is asked instead of whom the certificates name"),
    key("tls.stapling.timeout", "duration, 60s at most", "10s", Now, "how long a responder may take"),
    key(
        "store.url",
        "URL",
        r#""shm:?size=16MiB""#,
        Restart,
        "where the cluster shares what it knows: redis[s]://USER:PASSWORD@HOST:PORT/DB, unix:///PATH, redis[s]+sentinel://A,B/PRIMARY, redis[s]+cluster://A,B, \
         memcached://A:PORT,B:PORT; shm: this host alone, memory: this process alone",
    ),
    key("store.tls", "mapping", "{}", Restart, "for rediss: URLs"),
    key("store.tls.ca", "path or null", "null", Restart, "PEM file with the authorities of the store's certificate; null: those of this machine"),
    key("store.tls.cert", "path or null", "null", Restart, "PEM file with this node's certificate for the store"),
    key("store.tls.key", "path or null", "null", Restart, "PEM file with its key"),
    key("store.sessions", "URL or null", "null", Restart, "a store of its own for TLS sessions and ticket keys; null: store.url"),
    key("store.staples", "URL or null", "null", Restart, "the same for OCSP responses"),
    key("store.bans", "URL or null", "null", Restart, "the same for bans"),
    key("store.digests", "URL or null", "null", Restart, "the same for checksums"),
    key("store.fallback", "URL", r#""shm:?size=16MiB""#, Restart, "what answers on this host while the store is away: shm: or memory:"),
    key("store.timeout", "duration", "200ms", Restart, "how long a question to the store may take; then it counts as not there"),
    key("cluster.name", "name", "default", Restart, "tells clusters that share a secret or a store apart"),
    key(
        "cluster.secret_file",
        "path or null",
        "null",
        Restart,
        "file with the secrets of the cluster, one a line, 32 bytes or more; new lines act now; null: a node on its own",
    ),
    key(
        "cluster.advertise",
        "IP:PORT, IP or null",
        "null",
        Restart,
        "where other nodes reach this one; null: the address that routes to the store, else to the first of them",
    ),
    key("cluster.peers", "list of IP:PORT or dns+NAME:PORT", "[]", Restart, "where other nodes may be; one that all know is enough; names are looked up again"),
    key("users.files", "list of paths", "[users.yaml]", Now, "users files; a name may stand in one of them only"),
    key("users.anonymous", "mapping", "{}", Now, "who comes as anonymous or ftp (RFC 1635), with any password; a user of that name in a users file goes first"),
    key("users.anonymous.enabled", "true or false", "false", Now, "whether they may come; limits.sessions_per_user does not count them together"),
    key("users.anonymous.home", "path inside storage.root", "/pub", Now, "where their files are"),
    key("users.anonymous.permissions", "all, read-only or list of permissions", "[list, read]", Now, "what they may do; giving more acts for new sessions"),
    Key { name: "storage.root", form: "path", default: Default::Required, acts: Restart, meaning: "the directory that holds all homes" },
    key("storage.fsync", "auto, always or never", "auto", NewSessions, "fsync before an upload takes its name; auto: on network file systems"),
    key("storage.file_mode", "octal text", r#""0640""#, NewSessions, "permission bits of new files"),
    key("storage.dir_mode", "octal text", r#""0750""#, NewSessions, "permission bits of new directories"),
    key("storage.symlinks", "inside or never", "inside", NewSessions, "symbolic links: followed inside the home, or refused"),
    key(
        "storage.id",
        "name or null",
        "null",
        Restart,
        "tells this storage from others in the digests that nodes share; null: written once below the root, into .ftps-gateway.id",
    ),
    key(
        "storage.stable_inodes",
        "true or false",
        "true",
        NewSessions,
        "whether a file has one inode number on every node and for its life; false: digests do not look at it",
    ),
    key("storage.sweep_after", "duration", "24h", Restart, "age at which the left-over upload of a dead node is removed"),
    key("limits.sessions", "number", "10000", Now, "sessions on this node"),
    key("limits.cluster_sessions", "number or null", "null", Now, "sessions on all nodes of the cluster together; null is no limit"),
    key("limits.sessions_per_ip", "number", "50", Now, "sessions of one address, on all nodes together"),
    key("limits.sessions_per_user", "number", "20", Now, "sessions of one user, on all nodes together"),
    key("limits.logins_per_minute_per_ip", "number", "60", Now, "login attempts of one address in a minute, on all nodes together"),
    key("limits.login_timeout", "duration", "30s", NewSessions, "from the connection to the login"),
    key("limits.idle_timeout", "duration", "5m", NewSessions, "without a command and without a transfer"),
    key("limits.stall_timeout", "duration", "60s", NewSessions, "without a byte on a data connection"),
    key("limits.data_timeout", "duration", "30s", NewSessions, "from PASV or EPSV to the data connection"),
    key("limits.write_timeout", "duration", "30s", NewSessions, "for a reply that the client does not read"),
    key("limits.session_max", "duration", "6d", NewSessions, "longest session: clients drop TLS tickets after 7 days"),
    key("limits.line", "size", "8KiB", NewSessions, "longest command line after login; half of it, at most 4 KiB, before"),
    key(
        "limits.password_jobs",
        "auto or number",
        "auto",
        Restart,
        "password hashes computed at a time; auto: one for each core, as many as fit a quarter of the memory",
    ),
    key(
        "limits.bandwidth_per_session",
        "size or null",
        "null",
        NewSessions,
        "bytes a second of one session, both directions together; null is no limit; a second's worth at once is free",
    ),
    key(
        "limits.bandwidth_per_user",
        "size or null",
        "null",
        NewSessions,
        "the same for all sessions of a user, on all nodes together; those of anonymous are not counted together",
    ),
    key("digests.enabled", "true or false", "true", NewSessions, "HASH, XCRC, XMD5 and their like; also needs the user's permission digest"),
    key("digests.algorithms", "list of algorithms", "[crc32, md5, sha1, sha256, sha512]", NewSessions, "what may be asked for"),
    key("digests.default", "algorithm", "sha256", NewSessions, "what HASH computes until OPTS HASH says otherwise"),
    key("digests.max_size", "size", "10GiB", Now, "most bytes that one digest is of"),
    key("digests.cache", "mapping", "{}", Now, "the digests that are remembered, on each node and through the store"),
    key("digests.cache.entries", "number", "10000", Now, "how many on each node, the least used one goes first; 0: none is remembered, and none shared"),
    key("digests.cache.max_age", "duration", "30d", Now, "for how long, from when it was computed"),
    key(
        "digests.at_upload",
        "list of algorithms",
        "[sha256]",
        Now,
        "what is computed of an upload while it comes (of APPE and REST: two seconds later), of what algorithms and max_size allow",
    ),
    key("digests.at_download", "list of algorithms", "[]", Now, "what is computed of a download while it goes, likewise"),
    key("digests.jobs", "auto or number", "auto", Restart, "files that are read at a time; auto: one for every two cores"),
    key("digests.rules", "list of rules", "[]", Now, "what holds for a path, user or class instead; of several that fit, the last one wins"),
    Key { name: "digests.rules[].path", form: "path", default: Default::Found("any"), acts: Now, meaning: "this path from storage.root, and all below it" },
    Key { name: "digests.rules[].user", form: "text", default: Default::Found("any"), acts: Now, meaning: "this user" },
    Key { name: "digests.rules[].class", form: "name", default: Default::Found("any"), acts: Now, meaning: "users of this class" },
    Key { name: "digests.rules[].enabled", form: "true or false", default: Default::Found("digests.enabled"), acts: Now, meaning: "over digests.enabled" },
    Key {
        name: "digests.rules[].algorithms",
        form: "list of algorithms",
        default: Default::Found("digests.algorithms"),
        acts: Now,
        meaning: "over digests.algorithms",
    },
    Key { name: "digests.rules[].max_size", form: "size", default: Default::Found("digests.max_size"), acts: Now, meaning: "over digests.max_size" },
    key(
        "bans.rules",
        "list of rules",
        "[{ event: login_failed, count: 5, within: 10m, ban: 1h, scope: host, message: null, dry_run: false, escalate: null }]",
        Now,
        "who does something too often, anywhere in the cluster, is banned everywhere; [] is none",
    ),
    Key {
        name: "bans.rules[].event",
        form: "name",
        default: Default::Required,
        acts: Now,
        meaning: "what is counted: see the table of events in gateway/ARCHITECTURE.md; mod_ban's names are known",
    },
    Key { name: "bans.rules[].count", form: "number", default: Default::Required, acts: Now, meaning: "how often it has to happen" },
    Key { name: "bans.rules[].within", form: "duration", default: Default::Required, acts: Now, meaning: "within which time (a sliding window)" },
    Key { name: "bans.rules[].ban", form: "duration or permanent", default: Default::Required, acts: Now, meaning: "how long the ban lasts" },
    key("bans.rules[].scope", "host, user, user_at_host or class", "host", Now, "who is banned; host: the address, or the IPv6 /64"),
    key("bans.rules[].message", "text or null", "null", Now, "what the client is told; null: bans.message"),
    key("bans.rules[].dry_run", "true or false", "false", Now, "only say in the log and in metrics who would be banned"),
    key(
        "bans.rules[].escalate",
        "{ factor, max } or null",
        "null",
        Now,
        "each ban of one target is `factor` times as long as the one before, at most `max`; forgotten when `max` has passed without one",
    ),
    key("bans.never", "mapping", "{}", Now, "who is never banned; loopback, the nodes of the cluster and listen.proxy_protocol_from never are"),
    key("bans.never.networks", "list of networks", "[]", Now, "addresses that are never banned and that no rule counts"),
    key("bans.never.users", "list of names", "[]", Now, "users that are never banned"),
    key("bans.classes", "mapping of names to networks", "{}", Now, "classes by address, for bans of a class and for rules with scope: class"),
    key("bans.message", "text", "You are banned", Now, "what a banned client is told: %a is its address, %c its class, %u its user"),
    key("bans.implicit_reply", "close or reply", "close", Now, "a banned client of an implicit listener: closed at once, or told 421 behind a handshake"),
    key(
        "bans.max_automatic",
        "number",
        "1000000",
        Now,
        "bans by rules that are kept; beyond it those that end first are dropped. Bans by administrators never are",
    ),
    key("log.format", "text or json", "text", Restart, "form of log lines"),
    key("log.level", "level or mapping of rooms", "info", Now, "off, error, warn, info, debug or trace; or by room: { default: info, tls: debug }"),
    key(
        "log.audit",
        "stdout or path",
        "stdout",
        Now,
        "where changes by the admin API and refusals are written: with the other log lines, or besides that into a file, one JSON object a line",
    ),
    key("log.transfer_log", "path or null", "null", Now, "an xferlog(5) file: a line for each file that came, went or was deleted, in UTC"),
    key("admin.tokens_file", "path or null", "null", Now, "who may use the admin API, with which scopes; null: nobody"),
    key("admin.tls", "mapping", "{}", Now, "TLS of listen.admin"),
    key("admin.tls.cert", "path or null", "null", Now, "PEM file with the chain, leaf first; null: no TLS"),
    key("admin.tls.key", "path or null", "null", Now, "PEM file with the private key"),
    key("admin.tls.client_ca", "path or null", "null", Now, "PEM file with the authorities of administrators' certificates, which the tokens file names"),
    key(
        "admin.allowed_hosts",
        "list of HOST or HOST:PORT",
        "[]",
        Now,
        "further names of this node in a request's Host; loopback and the address that was connected to always are",
    ),
    key(
        "admin.insecure_ok",
        "true or false",
        "false",
        Restart,
        "listen.admin may be reached from other hosts without TLS: whoever stands between learns the tokens",
    ),
    key("history.transfers", "number", "100000", Now, "ended transfers that GET /transfers still knows, on each node, in memory"),
    key("history.audit", "number", "10000", Now, "audit records that GET /audit still knows, on each node, in memory; the log has all"),
    key("history.keep", "duration", "7d", Now, "how long both are kept"),
    key("drain.delay", "duration", "10s", Now, "how long new sessions are still served after SIGTERM"),
    key("drain.idle", "duration", "10s", Now, "how long a session may be without a command before it is ended with 421"),
    key("drain.timeout", "duration", "300s", Now, "when what still runs is cut; in its last quarter every command is answered 421"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn unknown_keys_get_the_nearest_known_one() {
        for (unknown, meant) in [
            ("limts", "did you mean limits?"),
            ("limits.idel_timeout", "did you mean limits.idle_timeout?"),
            ("limits.active", "did you mean data.active?"),
            ("idle_timeout", "did you mean limits.idle_timeout?"),
            ("limits.bandwith_per_user", "did you mean limits.bandwidth_per_user?"),
            ("hovercraft", "remove it"),
        ] {
            assert_eq!(advice(unknown), format!("unknown key; {meant}"));
        }
    }

    #[test]
    fn the_fields_of_a_user_are_the_names_of_its_keys() {
        assert_eq!(names_below("limits"), ["sessions", "bandwidth"]);
        assert!(names_below("").contains(&"limits") && names_below("").contains(&"password") && !names_below("").contains(&"limits.sessions"));
    }

    #[test]
    fn every_key_stands_once_and_says_what_it_means() {
        for keys in [KEYS, USER_KEYS] {
            for (index, key) in keys.iter().enumerate() {
                assert!(keys[..index].iter().all(|other| other.name != key.name), "{} stands twice", key.name);
                assert!(!key.form.is_empty() && !key.meaning.is_empty(), "{}", key.name);
            }
        }
        for key in KEYS {
            assert!(row(key.name).is_some() && is_section(section(key.name)));
        }
    }
}
