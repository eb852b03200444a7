//! What can be asked with `ctl`, and as which request.
//!
//! Gets: what clap has parsed. Gives: method, path, parameters and body; the columns of the table.
//! Never: asks.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::bans;
use super::table::{self, Column};
use super::{Failure, USAGE};

/// Flags of `ctl`.
#[derive(Clone, Debug, Args)]
pub struct Ctl {
    #[command(subcommand)]
    what: What,
    /// The admin interface of any node
    #[arg(long, global = true, value_name = "URL", env = "FTPS_GATEWAY_ADMIN_URL", default_value = "http://127.0.0.1:7122")]
    pub url: String,
    /// The file that holds the token
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The token itself, by the environment only
    #[arg(skip = std::env::var("FTPS_GATEWAY_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()))]
    pub token: Option<String>,
    /// Trust the authorities in this PEM file instead of those of this machine
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Show this certificate instead of a token, or with it: a PEM file with the chain
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Form::Table)]
    pub output: Form,
    /// Ask again every two seconds
    #[arg(long, global = true)]
    pub watch: bool,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For scripts.
    Json,
    /// For both.
    Yaml,
}

/// The resources.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// The nodes of the cluster
    #[command(alias = "node")]
    Nodes {
        #[command(subcommand)]
        action: Option<NodeAction>,
    },
    /// `drain` and `undrain`, without `nodes` before them.
    #[command(flatten)]
    Node(NodeAction),
    /// Who is here
    #[command(alias = "session", args_conflicts_with_subcommands = true)]
    Sessions {
        #[command(flatten)]
        of: Of,
        #[command(subcommand)]
        action: Option<SessionAction>,
    },
    /// Who may not come
    #[command(alias = "ban", args_conflicts_with_subcommands = true)]
    Bans {
        #[command(flatten)]
        of: bans::Of,
        #[command(subcommand)]
        action: Option<bans::Action>,
    },
    /// What each client has shown of itself
    #[command(alias = "client", args_conflicts_with_subcommands = true)]
    Clients {
        /// Of this user
        #[arg(long)]
        user: Option<String>,
        #[command(subcommand)]
        action: Option<ClientAction>,
    },
    /// What was uploaded and downloaded
    #[command(alias = "transfer")]
    Transfers {
        /// Of this user
        #[arg(long)]
        user: Option<String>,
        /// Of paths that begin so
        #[arg(long)]
        path: Option<String>,
        /// That began then or later, as 2027-01-31T12:00:00Z
        #[arg(long)]
        since: Option<String>,
    },
    /// What happens from now on, one JSON object a line
    #[command(alias = "event")]
    Events {
        /// Only events of these names
        #[arg(value_delimiter = ',')]
        names: Vec<String>,
    },
    /// The certificates that the nodes serve
    #[command(alias = "certificate")]
    Certificates {
        #[command(subcommand)]
        action: Option<Reload>,
    },
    /// The OCSP responses that the nodes staple
    #[command(alias = "staple")]
    Staples {
        #[command(subcommand)]
        action: Option<Refresh>,
    },
    /// The keys of TLS tickets
    #[command(alias = "ticket")]
    Tickets {
        #[command(subcommand)]
        action: Rotate,
    },
    /// What caches hold
    Cache {
        /// Of which
        #[arg(value_enum, default_value_t = Which::Sessions)]
        which: Which,
        /// Forget it, on all nodes
        #[arg(long)]
        clear: bool,
        #[command(flatten)]
        dry: Dry,
    },
    /// The configuration in force
    Config {
        #[command(subcommand)]
        action: Option<ConfigAction>,
    },
    /// Set log levels until the next reload or start
    LogLevel {
        /// off, error, warn, info, debug or trace
        level: String,
        /// Of one room, as tls=debug
        #[arg(long, value_name = "ROOM=LEVEL")]
        room: Vec<String>,
        #[command(flatten)]
        dry: Dry,
    },
    /// Who did what
    Audit {
        /// By the token or certificate of this name
        #[arg(long)]
        actor: Option<String>,
        /// Then or later, as 2027-01-31T12:00:00Z
        #[arg(long)]
        since: Option<String>,
    },
    /// The program of the node that is asked
    Version,
    /// Whose token this is, and what it may do
    Token,
}

/// Which sessions.
#[derive(Clone, Debug, Args)]
struct Of {
    /// Of this user
    #[arg(long)]
    user: Option<String>,
    /// From this address
    #[arg(long)]
    ip: Option<String>,
    /// Of users of this class
    #[arg(long)]
    class: Option<String>,
    /// On this node
    #[arg(long)]
    node: Option<String>,
}

/// Whether to do it.
#[derive(Clone, Copy, Debug, Args)]
struct Dry {
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum NodeAction {
    /// Take a node out of service
    Drain {
        node: String,
        #[command(flatten)]
        dry: Dry,
    },
    /// Put a node back into service
    Undrain {
        node: String,
        #[command(flatten)]
        dry: Dry,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum SessionAction {
    /// End sessions: one by its id, or all of a user, address or class
    Kick {
        /// The id
        id: Option<String>,
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        ip: Option<String>,
        #[arg(long)]
        class: Option<String>,
        /// Only say how many it would be
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum ClientAction {
    /// Forget what a client has shown
    Forget { id: String },
}

#[derive(Clone, Debug, Subcommand)]
enum Reload {
    /// Read them again
    Reload(Dry),
}

#[derive(Clone, Debug, Subcommand)]
enum Refresh {
    /// Ask the responders now
    Refresh(Dry),
}

#[derive(Clone, Debug, Subcommand)]
enum Rotate {
    /// Seal with a new key from now on
    Rotate(Dry),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Sessions,
    Digests,
    Staples,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigAction {
    /// Show it
    Show,
    /// Read everything again, on all nodes
    Reload(Dry),
    /// Say every fault of a file, as the node would see it; without one, of the node's own
    Validate { file: Option<PathBuf> },
}

/// A request.
pub(super) struct Question {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Of the table; none: names and values.
    pub(super) columns: &'static [Column],
    /// Whether the answer never ends.
    pub(super) stream: bool,
    /// Whether the answer is printed as it comes: it is no JSON document.
    pub(super) raw: bool,
}

impl Question {
    pub(super) fn get(path: &str, columns: &'static [Column]) -> Self {
        Self { method: "GET", path: path.into(), query: Vec::new(), body: None, columns, stream: false, raw: false }
    }

    pub(super) fn act(method: &'static str, path: String) -> Self {
        Self { method, ..Self::get(&path, &[]) }
    }

    pub(super) fn with(mut self, name: &'static str, value: &Option<String>) -> Self {
        self.query.extend(value.iter().map(|value| (name, value.clone())));
        self
    }

    fn dry(self, Dry { dry_run }: Dry) -> Self {
        self.with("dry_run", &dry_run.then(|| "true".to_owned()))
    }

    /// Path and parameters.
    pub(super) fn target(&self, cursor: Option<&str>) -> String {
        let mut pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        if !self.columns.is_empty() {
            pairs.push("limit=1000".into());
        }
        pairs.extend(cursor.map(|cursor| format!("cursor={cursor}")));
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }
}

impl Ctl {
    /// What to ask.
    pub(super) fn question(&self) -> Result<Question, Failure> {
        Ok(match &self.what {
            What::Nodes { action: None } => Question::get("/nodes", table::NODES),
            What::Nodes { action: Some(NodeAction::Drain { node, dry }) } | What::Node(NodeAction::Drain { node, dry }) => {
                Question::act("POST", format!("/nodes/{}/drain", percent(node))).dry(*dry)
            }
            What::Nodes { action: Some(NodeAction::Undrain { node, dry }) } | What::Node(NodeAction::Undrain { node, dry }) => {
                Question::act("POST", format!("/nodes/{}/undrain", percent(node))).dry(*dry)
            }
            What::Sessions { of, action: None } => {
                Question::get("/sessions", table::SESSIONS).with("user", &of.user).with("ip", &of.ip).with("class", &of.class).with("node", &of.node)
            }
            What::Sessions { action: Some(kick), .. } => kicked(kick),
            What::Bans { of, action } => bans::question(of, action.as_ref())?,
            What::Clients { user, action: None } => Question::get("/clients", table::CLIENTS).with("user", user),
            What::Clients { action: Some(ClientAction::Forget { id }), .. } => Question::act("DELETE", format!("/clients/{}", percent(id))),
            What::Transfers { user, path, since } => Question::get("/transfers", table::TRANSFERS).with("user", user).with("path", path).with("since", since),
            What::Events { names } => {
                let names = (!names.is_empty()).then(|| names.join(","));
                Question { stream: true, ..Question::get("/events", &[]) }.with("names", &names)
            }
            What::Certificates { action: None } => Question::get("/certificates", table::CERTIFICATES),
            What::Certificates { action: Some(Reload::Reload(dry)) } => Question::act("POST", "/certificates/reload".into()).dry(*dry),
            What::Staples { action: None } => Question::get("/staples", table::STAPLES),
            What::Staples { action: Some(Refresh::Refresh(dry)) } => Question::act("POST", "/staples/refresh".into()).dry(*dry),
            What::Tickets { action: Rotate::Rotate(dry) } => Question::act("POST", "/tickets/rotate".into()).dry(*dry),
            What::Cache { which, clear, dry } => {
                let path = match which {
                    Which::Sessions => "/cache/sessions",
                    Which::Digests => "/cache/digests",
                    Which::Staples => "/cache/staples",
                };
                if *clear { Question::act("DELETE", path.into()).dry(*dry) } else { Question::get(path, table::CACHES) }
            }
            What::Config { action: None | Some(ConfigAction::Show) } => Question::get("/config", table::SETTINGS),
            What::Config { action: Some(ConfigAction::Reload(dry)) } => Question::act("POST", "/config/reload".into()).dry(*dry),
            What::Config { action: Some(ConfigAction::Validate { file }) } => validated(file.as_deref())?,
            What::LogLevel { level, room, dry } => levels(level, room)?.dry(*dry),
            What::Audit { actor, since } => Question::get("/audit", table::AUDIT).with("actor", actor).with("since", since),
            What::Version => Question::get("/version", &[]),
            What::Token => Question::get("/token", &[]),
        })
    }
}

fn kicked(SessionAction::Kick { id, user, ip, class, dry_run }: &SessionAction) -> Question {
    let question = match id {
        Some(id) => Question::act("DELETE", format!("/sessions/{}", percent(id))),
        None => Question::act("DELETE", "/sessions".into()),
    };
    question.with("user", user).with("ip", ip).with("class", class).with("dry_run", &dry_run.then(|| "true".to_owned()))
}

fn validated(file: Option<&std::path::Path>) -> Result<Question, Failure> {
    let text = file.map(std::fs::read_to_string).transpose().map_err(|error| (USAGE, format!("the file cannot be read ({error})")))?;
    Ok(Question { body: Some(json!({ "yaml": text })), ..Question::act("POST", "/config/validate".into()) })
}

fn levels(level: &str, rooms: &[String]) -> Result<Question, Failure> {
    let mut by_room = serde_json::Map::new();
    for room in rooms {
        let (room, level) = room.split_once('=').ok_or((USAGE, format!("--room {room}: write ROOM=LEVEL, for example tls=debug")))?;
        by_room.insert(room.to_owned(), level.into());
    }
    Ok(Question { body: Some(json!({ "default": level, "rooms": by_room })), ..Question::act("PUT", "/log-level".into()) })
}

/// RFC 3986 §2.1: everything but unreserved characters.
pub(super) fn percent(text: &str) -> String {
    let byte = |byte: u8| if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        ctl: Ctl,
    }

    fn target(line: &str) -> String {
        let question = Line::try_parse_from(line.split(' ')).unwrap().ctl.question().unwrap();
        format!("{} {}", question.method, question.target(None))
    }

    #[test]
    fn commands_are_requests() {
        for (line, request) in [
            ("ctl nodes", "GET /nodes?limit=1000"),
            ("ctl node drain a/b", "POST /nodes/a%2Fb/drain"),
            ("ctl drain a --url http://x", "POST /nodes/a/drain"),
            ("ctl session --user ä -o json --watch", "GET /sessions?user=%C3%A4&limit=1000"),
            ("ctl sessions kick s_1", "DELETE /sessions/s_1"),
            ("ctl sessions kick --ip 192.0.2.1 --dry-run", "DELETE /sessions?ip=192.0.2.1&dry_run=true"),
            ("ctl transfers --path /in --since 2027-01-31T12:00:00Z", "GET /transfers?path=%2Fin&since=2027-01-31T12%3A00%3A00Z&limit=1000"),
            ("ctl events logged_in,closed", "GET /events?names=logged_in%2Cclosed"),
            ("ctl tickets rotate", "POST /tickets/rotate"),
            ("ctl cache digests", "GET /cache/digests?limit=1000"),
            ("ctl cache --clear", "DELETE /cache/sessions"),
            ("ctl cache digests --clear --dry-run", "DELETE /cache/digests?dry_run=true"),
            ("ctl node drain a --dry-run", "POST /nodes/a/drain?dry_run=true"),
            ("ctl undrain a --dry-run", "POST /nodes/a/undrain?dry_run=true"),
            ("ctl config reload --dry-run", "POST /config/reload?dry_run=true"),
            ("ctl certificates reload --dry-run", "POST /certificates/reload?dry_run=true"),
            ("ctl tickets rotate --dry-run", "POST /tickets/rotate?dry_run=true"),
            ("ctl log-level warn --dry-run", "PUT /log-level?dry_run=true"),
            ("ctl cache staples --clear", "DELETE /cache/staples"),
            ("ctl staple", "GET /staples?limit=1000"),
            ("ctl staples refresh --dry-run", "POST /staples/refresh?dry_run=true"),
            ("ctl config", "GET /config?limit=1000"),
            ("ctl log-level warn --room tls=debug", "PUT /log-level"),
            ("ctl clients forget c_1", "DELETE /clients/c_1"),
            ("ctl ban add 203.0.113.7 --for 1h --reason x", "POST /bans"),
            ("ctl ban add user:x --for 1h --wait 5s", "POST /bans?wait=5s"),
            ("ctl bans rm b_1", "DELETE /bans/b_1"),
            ("ctl bans rm b_1 --dry-run", "DELETE /bans/b_1?dry_run=true"),
            ("ctl bans rm --target ip:203.0.113.7", "DELETE /bans?target=ip%3A203.0.113.7"),
            ("ctl bans rm 203.0.113.7", "DELETE /bans?target=ip%3A203.0.113.7"),
            ("ctl bans rm --source rule", "DELETE /bans?source=rule"),
            ("ctl bans --source rule --text x", "GET /bans?source=rule&text=x&limit=1000"),
            ("ctl bans list", "GET /bans?limit=1000"),
            ("ctl bans show b_1", "GET /bans/b_1"),
            ("ctl bans check 203.0.113.7", "POST /bans/check"),
            ("ctl bans counters", "GET /bans/counters?limit=1000"),
            ("ctl bans export", "GET /bans/export"),
        ] {
            assert_eq!(target(line), request, "{line}");
        }
        assert!(Line::try_parse_from(["ctl", "tickets"]).is_err());
        let nobody = Line::try_parse_from(["ctl", "bans", "rm"]).unwrap().ctl.question();
        assert!(nobody.is_err_and(|(code, words)| code == USAGE && words.contains("--target")));
    }
}
