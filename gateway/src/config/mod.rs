//! Raw YAML → located tree → checked [`Config`]; every error at once, each with line, key and what to write.
//!
//! Gets: the path of a file. Gives: a whole configuration made of the rooms' own, or all [`Problems`]; the users of users files.
//! Never: starts anything, keeps a file open, or shows a value that an expansion brought in.

mod check;
mod cross;
mod expand;
mod forms;
pub mod keys;
mod near;
mod problem;
mod rules;
mod tree;
mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use problem::{Problem, Problems};
pub use users::load_users;

use crate::data::PortSet;
use crate::{admin, auth, conn, data, limits, observe, storage, tls};
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
    /// `data`.
    pub data: data::Config,
    /// `tls`.
    pub tls: tls::Config,
    /// `users`.
    pub auth: auth::Config,
    /// `storage`.
    pub storage: storage::Config,
    /// `limits`.
    pub limits: limits::Config,
    /// `log`.
    pub log: observe::LogConfig,
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
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, sorted by line.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let variable = |name: &str| std::env::var(name).ok();
    let (text, config, problems) = read(path, &variable);
    match Problems::of(problems) {
        None => Ok(Loaded { config, hash: hex(&Sha256::digest(text)) }),
        Some(problems) => Err(problems),
    }
}

/// Where the probes of the node with this configuration answer: `listen.metrics`, else `listen.admin`.
/// Other parts of the file may be broken: a running node must not look dead because somebody is editing.
///
/// # Errors
/// What is wrong with the file as a whole or with these keys.
pub fn probe_address(path: &Path) -> Result<SocketAddr, Problems> {
    let variable = |name: &str| std::env::var(name).ok();
    let (_, config, mut problems) = read(path, &variable);
    problems.retain(|problem| problem.line.is_none() || problem.key.is_empty() || ["listen", "listen.admin", "listen.metrics"].contains(&problem.key.as_str()));
    Problems::of(problems).map_or(Ok(config.admin.metrics.unwrap_or(config.admin.admin)), Err)
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
        let paths = self.auth.files.iter_mut().chain(certificates).chain([&mut self.storage.root]);
        for path in paths.filter(|path| !path.as_os_str().is_empty()) {
            *path = directory.join(&path);
        }
    }
}

/// The text of a file, the configuration in it (defaults where it is wrong), and what is wrong.
fn read(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> (String, Config, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some((text, document)) = open(path, variable, &mut problems) else {
        return (String::new(), Config::defaults(PathBuf::new()), problems);
    };
    let mut reader = Reader::new(&document);
    let mut config = reader.config();
    config.relative_to(directory(path));
    problems.extend(reader.wrongs.iter().map(|(key, wrong)| located(path, key, wrong.clone())));
    let said: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
    let skip = |key: &str| said.iter().any(|said| said.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.'])));
    for (key, place, message) in cross::check(&config, &skip) {
        let section = key.split('.').next().unwrap_or(key);
        let line = reader.line(key).or_else(|| reader.line(section)).unwrap_or(1);
        problems.push(located(path, key, Wrong::at(line, message).under(&place)));
    }
    (text, config, problems)
}

/// Reads a file as far as its expanded tree.
fn open(path: &Path, variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Option<(String, Node)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot be read ({}); name a file that this user may read", cross::reason(&error));
            problems.push(Problem { file: path.to_owned(), line: None, key: String::new(), message });
            return None;
        }
    };
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
