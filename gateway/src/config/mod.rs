//! Raw YAML → located tree → checked [`Config`]; every error at once, each with line, key and what to write.
//!
//! Gets: the path of a file. Gives: a whole configuration made of the rooms' own, or all [`Problems`]; the users of users files.
//! Never: starts anything, keeps a file open, or shows a value that an expansion brought in.

mod bans;
mod check;
mod cross;
mod digests;
mod expand;
mod forms;
pub mod keys;
mod marks;
mod near;
mod peers;
mod problem;
#[cfg(test)]
mod reference;
mod rules;
mod shown;
mod stores;
mod tokens;
mod tree;
mod users;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use marks::Marks;
pub use problem::{Problem, Problems};
pub use shown::fingerprint;
pub use stores::{StoreTls, Stores};
pub use tokens::load_tokens;
pub use users::{load_users, skipped};

use crate::data::PortSet;
use crate::{admin, auth, cluster, conn, data, digest, limits, observe, storage, tls};
use check::Reader;
use expand::Sources;
use problem::Wrong;
use tree::{Node, Value};

/// A checked configuration. Values that are not in the file have their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `node.name`.
    pub node_name: String,
    /// `listen`, the FTP part.
    pub conn: conn::Config,
    /// `listen`, the HTTP part.
    pub admin: admin::Config,
    /// `store`, and `node.state_dir`.
    pub stores: Stores,
    /// `cluster`, and the port of peers.
    pub cluster: cluster::Config,
    /// `data`.
    pub data: data::Config,
    /// `tls`.
    pub tls: tls::Config,
    /// `users`.
    pub auth: auth::Config,
    /// `storage`.
    pub storage: storage::Config,
    /// `digests`.
    pub digests: digest::Config,
    /// `limits`.
    pub limits: limits::Config,
    /// `bans`.
    pub bans: crate::bans::Config,
    /// `log`.
    pub log: observe::LogConfig,
    /// `history`.
    pub history: observe::history::HistoryConfig,
    /// `drain`.
    pub drain: Drain,
}

/// `drain:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// `drain.delay`: new sessions are still served after SIGTERM.
    pub delay: Duration,
    /// `drain.idle`: without a command before 421.
    pub idle: Duration,
    /// `drain.timeout`: what still runs then is cut.
    pub timeout: Duration,
}

/// A configuration and which text it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration; relative paths are made relative to its file's directory.
    pub config: Config,
    /// SHA-256 of the file's text in lower-case hex: tells a reload whether anything changed, and nodes whether they agree.
    pub hash: String,
    /// Tells it from other readings, key by key.
    pub marks: Marks,
    /// Every key with its value as it is written, for those who may see it.
    pub settings: Vec<admin::Setting>,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, sorted by line.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let variable = |name: &str| std::env::var(name).ok();
    let Reading { text, config, marks, settings, problems } = read(path, None, &variable);
    match Problems::of(problems) {
        None => Ok(Loaded { config, hash: hex(&Sha256::digest(text)), marks, settings }),
        Some(problems) => Err(problems),
    }
}

/// Everything that is wrong with a configuration file and with the users files it names; `None` when nothing is.
pub fn check(path: &Path) -> Option<Problems> {
    check_text(path, None)
}

/// The same of `text` in the place of the file's.
pub fn check_text(path: &Path, text: Option<String>) -> Option<Problems> {
    let variable = |name: &str| std::env::var(name).ok();
    let Reading { config, mut problems, .. } = read(path, text, &variable);
    if !problems.iter().any(|problem| problem.line.is_none() || problem.key.is_empty() || problem.key.starts_with("admin.tokens_file")) {
        problems.extend(load_tokens(config.admin.tokens_file.as_deref()).err().unwrap_or_default());
    }
    if !problems.iter().any(|problem| problem.line.is_none() || problem.key.is_empty() || problem.key.starts_with("users")) {
        problems.extend(load_users(&config.auth).1);
    }
    Problems::of(problems)
}

/// Where the probes of the node with this configuration answer: `listen.metrics`, else `listen.admin`.
/// Other parts of the file may be broken: a running node must not look dead because somebody is editing.
///
/// # Errors
/// What is wrong with the file as a whole or with these keys.
pub fn probe_address(path: &Path) -> Result<SocketAddr, Problems> {
    let variable = |name: &str| std::env::var(name).ok();
    let Reading { config, mut problems, .. } = read(path, None, &variable);
    problems.retain(|problem| problem.line.is_none() || problem.key.is_empty() || ["listen", "listen.admin", "listen.metrics"].contains(&problem.key.as_str()));
    Problems::of(problems).map_or(Ok(config.admin.metrics.unwrap_or(config.admin.admin)), Err)
}

/// Every file that a configuration stands on: itself, what it names, what expansions name. Also when it is not valid now, as far as it can be read.
pub fn files(path: &Path) -> BTreeSet<PathBuf> {
    let variable = |name: &str| std::env::var(name).ok();
    let Reading { config, .. } = read(path, None, &variable);
    let mut files: BTreeSet<PathBuf> = config.tls.certificates.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect();
    files.extend(config.tls.client_auth.files().cloned());
    files.extend(config.cluster.secret_file);
    files.extend(config.auth.files.iter().flat_map(|file| expanded_files(file)));
    files.extend(config.auth.files);
    files.extend(config.admin.tls.files().cloned());
    files.extend(config.admin.tokens_file.iter().flat_map(|file| tokens::token_files(file).into_iter().chain(expanded_files(file)).chain([file.clone()])));
    files.extend(expanded_files(path));
    files.insert(path.to_owned());
    files
}

/// The files that expansions in a text name: `$${file:…}` too, which does no harm.
fn expanded_files(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let named = text.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
    named.map(|(name, _)| directory(path).join(name)).take(EXPANDED_MOST).collect()
}

/// `50000-50007`, `50000` or `0/8`, as `data.ports` takes it.
///
/// # Errors
/// What to write instead.
pub fn parse_ports(text: &str) -> Result<PortSet, String> {
    forms::parse_ports(text).map_err(|fault| match fault {
        forms::Fault::Form => "write 50000-50007, or 0/8 for eight ports of the kernel's choice".into(),
        forms::Fault::Said(words) => words,
    })
}

impl Config {
    /// The defaults of every key, with this root.
    pub fn defaults(root: PathBuf) -> Self {
        let mut config = Reader::of_defaults().config();
        config.storage.root = root;
        config
    }

    fn relative_to(&mut self, directory: &Path) {
        let certificates = self.tls.certificates.iter_mut().flat_map(|pair| [&mut pair.cert, &mut pair.key]);
        let log = self.log.transfer_log.iter_mut().chain(&mut self.log.audit);
        let clients = self.tls.client_auth.ca.iter_mut().chain(&mut self.tls.client_auth.crl);
        let sidecar = self.admin.tls.certificate.iter_mut().flat_map(|pair| [&mut pair.cert, &mut pair.key]);
        let sidecar = sidecar.chain(&mut self.admin.tls.client_ca).chain(&mut self.admin.tokens_file);
        let stores = self.stores.tls.files_mut().chain([&mut self.stores.state_dir]).chain(&mut self.cluster.secret_file);
        let others = log.chain(stores).chain([&mut self.storage.root]);
        let paths = self.auth.files.iter_mut().chain(sidecar).chain(certificates).chain(clients).chain(others);
        for path in paths.filter(|path| !path.as_os_str().is_empty()) {
            *path = directory.join(&path);
        }
    }
}

/// What is in a file.
struct Reading {
    text: String,
    /// With defaults where it is wrong.
    config: Config,
    marks: Marks,
    settings: Vec<admin::Setting>,
    problems: Vec<Problem>,
}

/// Reads a file, or `text` in its place.
fn read(path: &Path, text: Option<String>, variable: &dyn Fn(&str) -> Option<String>) -> Reading {
    let mut problems = Vec::new();
    let opened = match text {
        Some(text) => expanded(path, text, variable, &mut problems),
        None => open(path, variable, &mut problems),
    };
    let Some((text, document)) = opened else {
        let (config, marks) = (Config::defaults(PathBuf::new()), Marks::default());
        return Reading { text: String::new(), config, marks, settings: Vec::new(), problems };
    };
    let mut reader = Reader::new(&document);
    let mut config = reader.config();
    config.relative_to(directory(path));
    problems.extend(reader.wrongs.iter().map(|(key, wrong)| located(path, key, wrong.clone())));
    let (marks, settings) = (std::mem::take(&mut reader.marks), reader.settings());
    if problems.iter().any(|problem| problem.key.is_empty()) {
        return Reading { text, config, marks, settings, problems };
    }
    let said: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
    let skip = |key: &str| said.iter().any(|said| said.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.'])));
    for (key, place, message) in cross::check(&config, &skip) {
        let line = reader.line_of(key, &place);
        problems.push(located(path, key, Wrong::at(line, message).under(&place)));
    }
    Reading { text, config, marks, settings, problems }
}

/// Reads a file as far as its expanded tree.
fn open(path: &Path, variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Option<(String, Node)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot be read ({}); name a file that this user may read", problem::reason(&error));
            problems.push(Problem { file: path.to_owned(), line: None, key: String::new(), message });
            return None;
        }
    };
    expanded(path, text, variable, problems)
}

/// The tree of a text that stands for the file at `path`.
fn expanded(path: &Path, text: String, variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Option<(String, Node)> {
    match tree::parse(&text) {
        Ok(mut document) => {
            let sources = Sources { variable, directory: directory(path) };
            let wrongs = expand::expand(&mut document, &sources);
            problems.extend(wrongs.into_iter().map(|wrong| located(path, "", wrong)));
            Some((text, document))
        }
        Err(wrong) => {
            problems.push(located(path, "", wrong));
            None
        }
    }
}

fn located(file: &Path, key: &str, wrong: Wrong) -> Problem {
    let key = format!("{key}{}", wrong.below).trim_start_matches('.').to_owned();
    Problem { file: file.to_owned(), line: Some(wrong.line), key, message: wrong.message }
}

/// What paths in a file are relative to.
fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new(""))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The kernel's name for this host.
fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let node = Node { line: 1, value: Value::Scalar(tree::Scalar { text: kernel.trim().to_owned(), kind: tree::Kind::Text, shown: None }) };
    rules::node_name(&node).unwrap_or_else(|_| "node".to_owned())
}

/// Files of expansions that are watched, for each file.
const EXPANDED_MOST: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::digest::{Algorithm, Algorithms};
    use ftps_proto::machine::io::Permissions;
    use ftps_proto::proof::{ReusePolicy, UploadEnd};

    use super::*;
    use crate::data::PublicAddress;
    use crate::observe::{LogFormat, LogLevel};
    use crate::storage::{Fsync, Symlinks};
    use crate::tls::MinVersion;

    fn repository(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    /// A directory of its own, removed afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ftps-gateway-config-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Compares what is said about each `.yaml` of a directory with the `.txt` beside it. `BLESS=1` writes them anew.
    fn compare(directory: &str, least: usize, say: impl Fn(&Path) -> String) {
        let directory = repository(directory);
        let files: BTreeSet<PathBuf> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        let files: Vec<_> = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
        assert!(files.len() >= least, "only {} files in {}", files.len(), directory.display());
        for file in files {
            let said = say(&file).replace(&format!("{}/", directory.display()), "") + "\n";
            let expected = file.with_extension("txt");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&expected, &said).unwrap();
            }
            assert_eq!(said, std::fs::read_to_string(&expected).unwrap_or_default(), "{}", file.display());
        }
    }

    fn default_admin() -> admin::Config {
        admin::Config {
            admin: "127.0.0.1:7122".parse().unwrap(),
            metrics: None,
            tokens_file: None,
            tls: tls::SidecarFiles::default(),
            allowed_hosts: vec![],
            insecure_ok: false,
        }
    }

    fn default_tls() -> tls::Config {
        tls::Config {
            certificates: vec![],
            min_version: MinVersion::Tls12,
            cipher_suites: vec![],
            client_auth: tls::ClientAuth::default(),
            session_lifetime: Duration::from_secs(1_800),
            ticket_rotation: Duration::from_secs(3_600),
            stapling: tls::Stapling { enabled: true, responder: None, timeout: Duration::from_secs(10) },
        }
    }

    fn default_stores() -> Stores {
        Stores {
            state_dir: "/dev/shm/ftps-gateway".into(),
            url: ftps_store::location::Location::parse("shm:?size=16MiB").unwrap(),
            tls: StoreTls::default(),
            sessions: None,
            staples: None,
            bans: None,
            digests: None,
            fallback: ftps_store::location::Location::parse("shm:?size=16MiB").unwrap(),
            timeout: Duration::from_millis(200),
        }
    }

    fn users_of(files: &[PathBuf]) -> (auth::Users, Vec<Problem>) {
        load_users(&auth::Config { files: files.to_vec(), anonymous: None })
    }

    #[test]
    fn broken_configurations_are_answered_with_every_error() {
        compare("tests/broken-config", 20, |file| check(file).expect("it is broken").to_string());
    }

    #[test]
    fn broken_users_files_are_answered_with_every_error() {
        compare("tests/broken-users", 20, |file| Problems::of(users_of(&[file.to_owned()]).1).expect("it is broken").to_string());
    }

    fn digest_defaults() -> digest::Config {
        digest::Config {
            enabled: true,
            algorithms: Algorithms::ALL,
            preferred: Algorithm::Sha256,
            max_size: 10 << 30,
            cache: digest::CacheConfig { entries: 10_000, max_age: Duration::from_secs(30 * 86_400) },
            at_upload: Algorithms::NONE.with(Algorithm::Sha256),
            at_download: Algorithms::NONE,
            jobs: None,
            rules: Vec::new(),
        }
    }

    fn bans() -> crate::bans::Config {
        let seconds = Duration::from_secs;
        crate::bans::Config {
            rules: vec![crate::bans::Rule {
                event: crate::bans::RuleEvent::LoginFailed,
                count: 5,
                within: seconds(600),
                ban: crate::bans::Term::For(seconds(3_600)),
                scope: crate::bans::Scope::Host,
                message: None,
                dry_run: false,
                escalate: None,
            }],
            never_networks: vec![],
            never_users: vec![],
            classes: vec![],
            message: "You are banned".into(),
            implicit_reply: false,
            max_automatic: 1_000_000,
        }
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let seconds = Duration::from_secs;
        let address = |text: &str| vec![text.parse().unwrap()];
        let expected = Config {
            node_name: host_name(),
            conn: conn::Config { explicit: address("[::]:2121"), implicit: address("[::]:9990"), proxy_protocol_from: vec![], allow_from: vec![] },
            admin: default_admin(),
            stores: default_stores(),
            cluster: cluster::Config { name: "default".to_owned(), secret_file: None, listen: "[::]:7121".parse().unwrap(), advertise: None, peers: vec![] },
            data: data::Config {
                ports: PortSet::Range(50_000, 50_007),
                public_address: PublicAddress::Auto,
                tls_reuse: ReusePolicy::Auto,
                upload_end: UploadEnd::Auto,
                active: false,
            },
            tls: default_tls(),
            auth: auth::Config { files: vec!["users.yaml".into()], anonymous: None },
            storage: storage::Config {
                root: "/srv/ftp".into(),
                fsync: Fsync::Auto,
                file_mode: 0o640,
                dir_mode: 0o750,
                symlinks: Symlinks::Inside,
                id: None,
                stable_inodes: true,
                sweep_after: seconds(86_400),
            },
            digests: digest_defaults(),
            limits: limits::Config {
                sessions: 10_000,
                cluster_sessions: None,
                sessions_per_ip: 50,
                sessions_per_user: 20,
                logins_per_minute_per_ip: 60,
                login_timeout: seconds(30),
                idle_timeout: seconds(300),
                stall_timeout: seconds(60),
                data_timeout: seconds(30),
                write_timeout: seconds(30),
                session_max: seconds(6 * 86_400),
                line: 8_192,
                password_jobs: None,
                bandwidth_per_session: None,
                bandwidth_per_user: None,
            },
            bans: bans(),
            log: observe::LogConfig { format: LogFormat::Text, level: vec![(None, LogLevel::Info)], transfer_log: None, audit: None },
            history: observe::history::HistoryConfig { transfers: 100_000, audit: 10_000, keep: seconds(7 * 86_400) },
            drain: Drain { delay: seconds(10), idle: seconds(10), timeout: seconds(300) },
        };
        assert_eq!(Config::defaults("/srv/ftp".into()), expected);
    }

    #[test]
    fn the_example_has_every_key_at_its_default() {
        let path = repository("deploy/examples/gateway.yaml");
        let Reading { text, mut config, marks, problems, .. } = read(&path, None, &|_| None);
        let below = |key: &keys::Key| {
            key.name.contains('[') || keys::KEYS.iter().any(|other| key.name.strip_prefix(other.name).is_some_and(|rest| rest.starts_with('.')))
        };
        for key in keys::KEYS.iter().filter(|key| !below(key)) {
            let mut other = Marks::default();
            other.note(key.name, &"another value");
            assert_eq!(marks.changed(&other).len(), 1);
            assert!(Marks::default().changed(&marks).iter().any(|marked| marked.name == key.name), "{} is read without a mark", key.name);
        }
        // The example's root need not exist on the machine that tests.
        assert_eq!(problems.iter().filter(|problem| problem.key != "storage.root").collect::<Vec<_>>(), Vec::<&Problem>::new());
        config.auth.files = vec!["users.yaml".into()];
        assert_eq!(config, Config::defaults("/srv/ftp".into()));
        for key in keys::KEYS.iter().filter(|key| !key.name.contains('[')) {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(text.lines().any(|line| line.trim_start_matches([' ', '#']).starts_with(&format!("{last}:"))), "{} is missing", key.name);
        }
    }

    #[test]
    fn the_example_of_users_loads() {
        let (users, problems) = users_of(&[repository("deploy/examples/users.yaml")]);
        assert_eq!(problems, []);
        let alice = users.find("alice").unwrap();
        assert_eq!((alice.home.as_bytes(), alice.permissions, alice.enabled), (&b"/alice"[..], Permissions::ALL, false));
        assert_eq!((alice.class.as_deref(), alice.sessions, alice.client_certificates.len()), (Some("partners"), Some(10), 2));
        assert_eq!(users.find("reports").unwrap().permissions, Permissions::READ_ONLY);
        let text = std::fs::read_to_string(repository("deploy/examples/users.yaml")).unwrap();
        for name in keys::USER_KEYS.iter().flat_map(|key| key.name.split('.')) {
            assert!(text.contains(&format!("{name}:")), "{name} is missing");
        }
    }

    #[test]
    fn a_whole_file_loads_with_paths_relative_to_it_and_a_hash_of_its_text() {
        let scratch = Scratch::new("load");
        scratch.write("users.yaml", "users:\n");
        scratch.write("level", "debug\n");
        let file = scratch.write("gateway.yaml", "storage: { root: . }\nlog: { level: \"${file:level}\" }\ndata: { ports: 0/3 }\nlisten:\n");
        let loaded = load(&file).unwrap();
        assert_eq!(loaded.config.storage.root, scratch.0.join("."));
        assert_eq!(loaded.config.auth.files, [scratch.0.join("users.yaml")]);
        assert_eq!(loaded.config.log.level, [(None, LogLevel::Debug)]);
        assert_eq!(loaded.config.data.ports, PortSet::Any(3));
        assert_eq!(loaded.hash.len(), 64);
        assert!(check(&file).is_none());
        let absent = load(Path::new("nowhere/gateway.yaml")).unwrap_err().to_string();
        assert_eq!(absent, "nowhere/gateway.yaml: cannot be read (no such file or directory); name a file that this user may read\n1 problem");
    }

    #[test]
    fn the_right_entries_of_a_broken_users_file_remain() {
        let (users, problems) = users_of(&[repository("tests/broken-users/passwords.yaml"), repository("tests/broken-users/twins.yaml")]);
        assert!(!problems.is_empty());
        assert_eq!(users.count(), 3, "{problems:?}");
        assert!(users.find("right").is_some() && users.find("clear").is_none());
        assert_eq!(users.find("alice").unwrap().home.as_bytes(), b"/alice", "the first of two stays");
        assert!(!format!("{problems:?}").contains("hunter2"), "a password is not shown");
    }

    #[test]
    fn anonymous_has_defaults_of_its_own() {
        let scratch = Scratch::new("anonymous");
        scratch.write("users.yaml", "users:\n");
        let anonymous = |text: &str| {
            let file = scratch.write("gateway.yaml", &format!("storage: {{ root: . }}\nusers: {{ anonymous: {text} }}\n"));
            load(&file).unwrap().config.auth
        };
        assert_eq!(anonymous("{ enabled: false, home: /elsewhere }").anonymous, None);
        let enabled = anonymous("{ enabled: true }");
        let found = enabled.anonymous.clone().unwrap();
        assert_eq!((found.home.as_bytes(), found.permissions), (&b"/pub"[..], Permissions { list: true, read: true, ..Permissions::default() }));
        assert_eq!(anonymous("{ enabled: true, home: /in, permissions: all }").anonymous.unwrap().permissions, Permissions::ALL);
        assert_eq!(load_users(&enabled).0.count(), 0, "it stands in no file");
    }

    #[test]
    fn an_expansion_that_fails_never_leaves_a_default_behind() {
        let scratch = Scratch::new("failed");
        let hash = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";
        let absent = "\"${FTPS_TEST_SURELY_NOT_SET}\"";
        for key in
            ["permissions: X", "enabled: X", "expires: X", "from: [X]", "client_certificates: [X]", "limits: { sessions: X }", "tls_reuse: X", "class: X"]
        {
            let entry = format!("users:\n  - {{ name: a, home: /, password: \"{hash}\", {} }}\n", key.replace('X', absent));
            let (users, problems) = users_of(&[scratch.write("users.yaml", &entry)]);
            assert_eq!((users.count(), problems.len()), (0, 1), "{key}");
        }
        let entry = format!("users:\n  - {{ name: a, home: /, password: {absent}, client_certificates: [\"cn:a\"] }}\n");
        assert_eq!(users_of(&[scratch.write("users.yaml", &entry)]).0.count(), 0, "a password that is not there is not one that is not needed");
    }

    #[test]
    fn an_entry_is_skipped_once_however_much_is_wrong_with_it() {
        let count = |names: &[&str]| skipped(&users_of(&names.iter().map(|name| repository(&format!("tests/broken-users/{name}.yaml"))).collect::<Vec<_>>()).1);
        assert_eq!(count(&["entries"]), 4);
        assert_eq!(count(&["twins"]), 1);
        assert_eq!(count(&["entries", "syntax", "absent"]), 6, "a file that cannot be read counts as one");
        assert_eq!(skipped(&[]), 0);
    }

    #[test]
    fn one_name_in_two_files_is_a_problem() {
        let twins = repository("tests/broken-users/twins.yaml");
        let (users, problems) = users_of(&[twins.clone(), twins]);
        assert_eq!((users.count(), problems.len()), (2, 4));
    }

    #[test]
    fn the_probe_is_found_in_a_file_that_is_broken_elsewhere() {
        let scratch = Scratch::new("probe");
        let file = scratch.write("a.yaml", "listen: { admin: \"127.0.0.1:7000\" }\nlimits: { line: no }\n");
        assert_eq!(probe_address(&file).unwrap(), "127.0.0.1:7000".parse().unwrap());
        let file = scratch.write("b.yaml", "listen: { metrics: \"[::]:7001\", explicit: x }\n");
        assert_eq!(probe_address(&file).unwrap(), "[::]:7001".parse().unwrap());
        let file = scratch.write("c.yaml", "listen: { admin: x }\n");
        assert!(probe_address(&file).is_err());
    }
}
