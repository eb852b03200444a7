//! Users files: YAML → located tree → `auth::Users`.
//!
//! Gets: the files of `users.files`. Gives: the users whose entries are right, and what is wrong with the others.
//! Never: decides whether that is enough: at start the right ones serve, a reload with problems is dropped.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use ftps_proto::command::UserName;
use ftps_proto::machine::io::Permissions;
use ftps_proto::path::{VirtualPath, WirePath};

use super::forms::{self, Fault, list, scalar};
use super::keys;
use super::near::nearest;
use super::problem::{Checked, Problem, Wrong};
use super::rules::{self, Fields};
use super::tree::{Entry, Kind, Node, Value};
use super::{located, open};
use crate::auth::{self, CertificateName, PasswordHash, User, Users, parse_expiry};

/// Reads all users files, and adds `users.anonymous`. An entry with a problem is left out; of two with one name the second is.
pub fn load_users(config: &auth::Config) -> (Users, Vec<Problem>) {
    let (users, problems) = read(&config.files);
    (Users::new(users).with_anonymous(config.anonymous.as_ref()), problems)
}

/// How many entries, or whole files, these problems of users files leave out.
pub fn skipped(problems: &[Problem]) -> usize {
    let entry = |problem: &Problem| problem.key.find(']').map_or(0, |end| end);
    problems.iter().map(|problem| (&problem.file, &problem.key[..entry(problem)])).collect::<HashSet<_>>().len()
}

fn read(files: &[PathBuf]) -> (Vec<User>, Vec<Problem>) {
    let variable = |name: &str| std::env::var(name).ok();
    let mut problems = Vec::new();
    let mut users = Vec::new();
    let mut seen: HashMap<UserName, String> = HashMap::new();
    for file in files {
        let Some((_, document)) = open(file, &variable, &mut problems) else { continue };
        let (items, wrongs) = entries(&document);
        problems.extend(wrongs.into_iter().map(|wrong| located(file, "", wrong)));
        for (index, item) in items.iter().enumerate() {
            let key = format!("users[{index}]");
            match user(item) {
                Err(wrongs) => problems.extend(wrongs.into_iter().map(|wrong| located(file, &key, wrong))),
                Ok(user) => {
                    let place = format!("{}:{}", file.display(), item.line);
                    if let Some(first) = seen.get(&user.name) {
                        let message = format!("{:?} stands twice, first in {first}; rename or remove one", user.name.as_str());
                        problems.push(located(file, &format!("{key}.name"), Wrong::at(item.line, message)));
                        continue;
                    }
                    seen.insert(user.name.clone(), place);
                    users.push(user);
                }
            }
        }
    }
    (users, problems)
}

/// The items of `users:`, and what is wrong around them.
fn entries(document: &Node) -> (&[Node], Vec<Wrong>) {
    const ADVICE: &str = "write users: and, indented below it, one - name: … for each user";
    let Value::Map(entries) = &document.value else {
        return (&[], vec![Wrong::at(document.line, format!("is not a users file; {ADVICE}"))]);
    };
    let (entries, mut wrongs) = forms::unique(entries);
    let mut items: &[Node] = &[];
    for Entry { key, line, node } in entries {
        match (key.as_str(), &node.value) {
            ("users", Value::List(list)) => items = list,
            // `users:` with nothing below: nobody yet.
            ("users", Value::Null | Value::Broken) => {}
            ("users", Value::Scalar(_) | Value::Map(_)) => wrongs.push(Wrong::at(*line, format!("is not a list; {ADVICE}")).under(".users")),
            (unknown, _) => {
                let advice = nearest(unknown, ["users"]).map_or_else(|| "remove it".to_owned(), |near| format!("did you mean {near}?"));
                wrongs.push(Wrong::at(*line, format!("unknown key; {advice}")).under(&format!(".{unknown}")));
            }
        }
    }
    (items, wrongs)
}

fn user(node: &Node) -> Checked<User> {
    let mut fields = Fields::of(node, &keys::names_below(""), "is not a user; write name:, password: and home:")?;
    let name = fields.required("name", name, "write the name that the client logs in with");
    let client_certificates = fields.optional("client_certificates", client_certificates).unwrap_or_default();
    let password = if fields.has("client_certificates") {
        fields.optional("password", password)
    } else {
        fields.required("password", password, "write what `ftps-gateway hash-password` prints, in quotes, or client_certificates: for a login without one")
    };
    let home = fields.required("home", home, "write a path inside storage.root, for example /alice");
    let permissions = fields.optional("permissions", permissions).unwrap_or(Permissions::ALL);
    let class = fields.optional("class", class);
    let enabled = fields.optional("enabled", forms::truth).unwrap_or(true);
    let expires = fields.optional("expires", expires);
    let from = fields.optional("from", forms::networks).unwrap_or_default();
    let (sessions, bandwidth) = fields.optional("limits", own_limits).unwrap_or_default();
    let tls_reuse = fields.optional("tls_reuse", forms::word(rules::TLS_REUSE));
    let upload_end = fields.optional("upload_end", forms::word(rules::UPLOAD_END));
    fields.finish()?;
    let (Some(name), Some(home)) = (name, home) else { return Err(Vec::new()) };
    Ok(User { name, password, home, permissions, class, enabled, expires, from, client_certificates, sessions, bandwidth, tls_reuse, upload_end })
}

fn name(node: &Node) -> Checked<UserName> {
    scalar(node, "is not a user name; write 1 to 128 letters without control characters", |scalar| match scalar.kind {
        Kind::Text => UserName::new(scalar.text.as_bytes()).ok_or(Fault::Form),
        // YAML has taken it apart: `007` would become 7.
        Kind::Number | Kind::Truth => Err(Fault::Said("is not text to YAML; put the name in quotes".into())),
    })
}

/// A password hash. What stands there is never shown: it may be a password.
fn password(node: &Node) -> Checked<PasswordHash> {
    match &node.value {
        Value::Broken => Err(Vec::new()),
        Value::Scalar(scalar) => PasswordHash::parse(&scalar.text).map_err(|why| vec![Wrong::at(node.line, format!("{why}; {NEW_PASSWORD}"))]),
        Value::Null | Value::List(_) | Value::Map(_) => Err(vec![Wrong::at(node.line, format!("is not a password hash; {NEW_PASSWORD}"))]),
    }
}

pub(super) fn home(node: &Node) -> Checked<VirtualPath> {
    scalar(node, "is not a home; write an absolute path inside storage.root without .., for example /alice", |scalar| {
        if !scalar.text.starts_with('/') || scalar.text.split('/').any(|part| part == "..") {
            return Err(Fault::Form);
        }
        WirePath::new(scalar.text.as_bytes()).and_then(|wire| VirtualPath::root().resolve(&wire)).map_err(|_| Fault::Form)
    })
}

/// `all`, `read-only`, or a list of names.
pub(super) fn permissions(node: &Node) -> Checked<Permissions> {
    if !matches!(node.value, Value::List(_)) {
        return forms::word(&[("all", Permissions::ALL), ("read-only", Permissions::READ_ONLY)])(node);
    }
    let words: Vec<(&str, usize)> = PERMISSIONS.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
    let indices = list(node, "is not a list of permissions", forms::word(&words))?;
    let mut permissions = Permissions::default();
    for index in indices {
        (PERMISSIONS[index].1)(&mut permissions);
    }
    Ok(permissions)
}

/// At least one: an empty list would ask for a certificate that does not exist.
fn client_certificates(node: &Node) -> Checked<Vec<CertificateName>> {
    let names = list(node, "is not a list of certificates; write [\"cn:alice\"]", |item| {
        scalar(item, "is not the name of a certificate; write cn:NAME, san:NAME, or sha256: and the 64 hex digits of its fingerprint", |scalar| {
            CertificateName::parse(&scalar.text).ok_or(Fault::Form)
        })
    })?;
    if names.is_empty() {
        Err(vec![Wrong::at(node.line, "is empty, so that no certificate would do; remove the key, or write [\"cn:alice\"]")])
    } else {
        Ok(names)
    }
}

fn class(node: &Node) -> Checked<Box<str>> {
    scalar(node, "is not a class; write 1 to 64 letters, digits, '-', '_' or '.'", |scalar| {
        let fits = (1..=64).contains(&scalar.text.len()) && scalar.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits { Ok(scalar.text.as_str().into()) } else { Err(Fault::Form) }
    })
}

/// Sessions, and bytes a second.
fn own_limits(node: &Node) -> Checked<(Option<usize>, Option<u64>)> {
    let mut fields = Fields::of(node, &keys::names_below("limits"), "is not a mapping of limits; write { sessions: 10 }")?;
    let sessions = fields.optional("sessions", forms::number(1, forms::MANY));
    let bandwidth = fields.optional("bandwidth", rules::bandwidth);
    fields.finish()?;
    Ok((sessions.map(|sessions| usize::try_from(sessions).unwrap_or(usize::MAX)), bandwidth))
}

fn expires(node: &Node) -> Checked<SystemTime> {
    scalar(node, "is not a date; write 2027-01-01 or 2027-01-01T00:00:00Z", |scalar| parse_expiry(&scalar.text).ok_or(Fault::Form))
}

/// A permission's name and how it is granted.
type Grant = (&'static str, fn(&mut Permissions));
const PERMISSIONS: &[Grant] = &[
    ("list", |p| p.list = true),
    ("read", |p| p.read = true),
    ("write", |p| p.write = true),
    ("append", |p| p.append = true),
    ("delete", |p| p.delete = true),
    ("rename", |p| p.rename = true),
    ("mkdir", |p| p.mkdir = true),
    ("rmdir", |p| p.rmdir = true),
    ("attributes", |p| p.attributes = true),
    ("digest", |p| p.digest = true),
];
const NEW_PASSWORD: &str = "write what `ftps-gateway hash-password` prints, in quotes";
