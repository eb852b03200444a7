//! Every key that exists, once: its form, its default, when a change acts and what it means.
//!
//! Gets: nothing. Gives: the tables (of the configuration, of a user) that their readers take known keys and defaults from, and that the reference is
//! written from.
//! Never: holds a key without effect. A new key is a row here, a line in `check` and a field of its room's `Config`.

use super::near::nearest;

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
        "listen.explicit",
        "list of IP:PORT",
        r#"["[::]:2121"]"#,
        Restart,
        "addresses for FTP with AUTH TLS; [::] also takes IPv4; port 0 is one of the kernel's choice",
    ),
    key("listen.implicit", "list of IP:PORT", r#"["[::]:9990"]"#, Restart, "addresses for FTP with TLS from the first byte; [] is off"),
    key("listen.admin", "IP:PORT", r#""127.0.0.1:7122""#, Restart, "address of the admin interface; loopback only"),
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
    key("cluster.name", "name", "default", Restart, "tells clusters that share a secret or a store apart"),
    key(
        "cluster.secret_file",
        "path or null",
        "null",
        Restart,
        "file with the secrets of the cluster, one a line, 32 bytes or more; new lines act now; null: a node on its own",
    ),
    key("cluster.advertise", "IP:PORT, IP or null", "null", Restart, "where other nodes reach this one; null: the address that routes to the first of them"),
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
    key("storage.sweep_after", "duration", "24h", Restart, "age at which the left-over upload of a dead node is removed"),
    key("limits.sessions", "number", "10000", Now, "sessions on this node"),
    key("limits.sessions_per_ip", "number", "50", Now, "sessions of one address"),
    key("limits.sessions_per_user", "number", "20", Now, "sessions of one user"),
    key("limits.logins_per_minute_per_ip", "number", "60", Now, "login attempts of one address in a minute"),
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
        "the same for all sessions of a user on this node; those of anonymous are not counted together",
    ),
    key("log.format", "text or json", "text", Restart, "form of log lines"),
    key("log.level", "level or mapping of rooms", "info", Now, "off, error, warn, info, debug or trace; or by room: { default: info, tls: debug }"),
    key("log.transfer_log", "path or null", "null", Now, "an xferlog(5) file: a line for each file that came, went or was deleted, in UTC"),
    key("drain.delay", "duration", "10s", Now, "how long new sessions are still served after SIGTERM"),
    key("drain.idle", "duration", "10s", Now, "how long a session may be without a command before it is ended with 421"),
    key("drain.timeout", "duration", "300s", Now, "when what still runs is cut; in its last quarter every command is answered 421"),
];

/// All keys of one user in a users file. `Now`: sessions that run end.
pub const USER_KEYS: &[Key] = &[
    Key {
        name: "name",
        form: "text",
        default: Default::Required,
        acts: Now,
        meaning: "what the client logs in with; 1 to 128 bytes, unique in all users files",
    },
    Key {
        name: "password",
        form: "hash",
        default: Default::Required,
        acts: Now,
        meaning: "argon2id or scrypt as PHC string, bcrypt ($2b$, $2a$, $2y$) or sha512-crypt ($6$); may be missing if there are client_certificates",
    },
    Key { name: "home", form: "path", default: Default::Required, acts: Now, meaning: "inside storage.root; made at first login with storage.dir_mode" },
    key(
        "permissions",
        "all, read-only or list",
        "all",
        Now,
        "list, read, write, append, delete, rename, mkdir, rmdir, attributes, digest; giving more acts for new sessions",
    ),
    Key {
        name: "class",
        form: "name",
        default: Default::Found("none"),
        acts: NewSessions,
        meaning: "a word for users that belong together; stands in the log line of a login",
    },
    key("enabled", "true or false", "true", Now, "false: no login"),
    Key {
        name: "expires",
        form: "date",
        default: Default::Found("never"),
        acts: NewSessions,
        meaning: "no login from then on; 2027-01-01 or 2027-01-01T00:00:00Z, UTC",
    },
    key("from", "list of networks", "[]", NewSessions, "networks to come from; [] is any"),
    Key {
        name: "client_certificates",
        form: "list of cn:, san: or sha256:",
        default: Default::Found("none"),
        acts: Now,
        meaning: "one of them is enough without a password, is needed besides one that is written",
    },
    Key {
        name: "limits.sessions",
        form: "number",
        default: Default::Found("limits.sessions_per_user"),
        acts: NewSessions,
        meaning: "sessions of this user, over limits.sessions_per_user",
    },
    Key {
        name: "limits.bandwidth",
        form: "size",
        default: Default::Found("limits.bandwidth_per_user"),
        acts: NewSessions,
        meaning: "bytes a second of all sessions of this user on this node, over limits.bandwidth_per_user",
    },
    Key { name: "tls_reuse", form: "as data.tls_reuse", default: Default::Found("data.tls_reuse"), acts: NewSessions, meaning: "over data.tls_reuse" },
    Key { name: "upload_end", form: "as data.upload_end", default: Default::Found("data.upload_end"), acts: NewSessions, meaning: "over data.upload_end" },
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
            ("bans", "remove it"),
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
