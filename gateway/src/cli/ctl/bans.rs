//! `ctl bans`: who may not come, who was let in again, what rules counted; out into a file and back.
//!
//! Gets: what clap has parsed. Gives: the request.
//! Never: removes every ban because nobody was named.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::{Question, percent};
use super::{Failure, USAGE, table};

/// Which bans.
#[derive(Clone, Debug, Args)]
pub(super) struct Of {
    /// Made by `admin` or by a `rule`
    #[arg(long)]
    source: Option<String>,
    /// That hold for this address
    #[arg(long)]
    ip: Option<String>,
    /// With this in target, reason or author
    #[arg(long)]
    text: Option<String>,
    /// Not those in force, but whom rules on trial would have banned
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Action {
    /// List them
    List,
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Ban somebody on all nodes
    Add {
        /// An address, a network, or KIND:TEXT with KIND user, user_at_host, class or certificate
        target: String,
        /// How long: 30m, 1h, 7d, or permanent
        #[arg(long = "for", value_name = "DURATION")]
        duration: String,
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
        /// Also a very wide network
        #[arg(long)]
        force: bool,
        /// How long to wait for the other nodes: 2s unless said otherwise
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
    },
    /// Remove one by its id or its target, or all of a target or a source
    #[command(alias = "rm")]
    Remove {
        /// Its id, or whom it is about as in `add`
        id: Option<String>,
        /// All of this target, as KIND:TEXT
        #[arg(long)]
        target: Option<String>,
        /// All that were made by `admin` or by a `rule`
        #[arg(long)]
        source: Option<String>,
        /// Only say which it would be
        #[arg(long)]
        dry_run: bool,
        /// How long to wait for the other nodes: 2s unless said otherwise
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
    },
    /// Say whether somebody would be refused, and by which ban
    Check {
        /// An address, or KIND:TEXT with KIND user, class or certificate; several are one client
        #[arg(required = true)]
        who: Vec<String>,
    },
    /// What the rules counted
    Counters,
    /// All bans, one JSON object a line
    Export,
    /// Ban everybody that an export names
    Import {
        /// The export; without it, or with -, stdin
        file: Option<PathBuf>,
        /// Also very wide networks
        #[arg(long)]
        force: bool,
    },
}

/// What to ask.
pub(super) fn question(of: &Of, action: Option<&Action>) -> Result<Question, Failure> {
    Ok(match action {
        None | Some(Action::List) => Question::get("/bans", table::BANS)
            .with("source", &of.source)
            .with("ip", &of.ip)
            .with("text", &of.text)
            .with("dry_run", &of.dry_run.then(|| "true".to_owned())),
        Some(Action::Show { id }) => Question::get(&format!("/bans/{}", percent(id)), &[]),
        Some(Action::Add { target, duration, reason, dry_run, force, wait }) => {
            let (kind, text) = named(target)?;
            let body = json!({ "target": { kind: text }, "duration": duration, "reason": reason, "dry_run": dry_run, "force": force });
            Question { body: Some(body), ..Question::act("POST", "/bans".into()).with("wait", wait) }
        }
        Some(Action::Remove { id, target, source, dry_run, wait }) => {
            removed(id.as_deref(), target, source)?.with("dry_run", &dry_run.then(|| "true".to_owned())).with("wait", wait)
        }
        Some(Action::Check { who }) => {
            let who = who.iter().map(|one| named(one).map(|(kind, text)| (kind.to_owned(), Value::from(text)))).collect::<Result<_, _>>()?;
            Question { body: Some(Value::Object(who)), ..Question::act("POST", "/bans/check".into()) }
        }
        Some(Action::Counters) => Question::get("/bans/counters", table::COUNTERS),
        Some(Action::Export) => Question { raw: true, ..Question::get("/bans/export", &[]) },
        Some(Action::Import { file, force }) => {
            let body = json!({ "bans": lines(&read(file.as_deref())?)?, "force": force });
            Question { body: Some(body), ..Question::act("POST", "/bans/import".into()) }
        }
    })
}

fn removed(id: Option<&str>, target: &Option<String>, source: &Option<String>) -> Result<Question, Failure> {
    let all = Question::act("DELETE", "/bans".into());
    match id {
        Some(id) if id.starts_with("b_") => Ok(Question::act("DELETE", format!("/bans/{}", percent(id)))),
        Some(whom) => named(whom).map(|(kind, text)| all.with("target", &Some(format!("{kind}:{text}")))),
        None if target.is_none() && source.is_none() => Err((USAGE, "write the id of a ban, whom it is about, or --target or --source".into())),
        None => Ok(all.with("target", target).with("source", source)),
    }
}

/// What kind of target it is.
fn named(text: &str) -> Result<(&str, &str), Failure> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(("ip", text));
    }
    match text.split_once(':').filter(|(kind, _)| ["ip", "cidr", "user", "user_at_host", "class", "certificate"].contains(kind)) {
        Some(parts) => Ok(parts),
        None if text.contains('/') => Ok(("cidr", text)),
        None => Err((USAGE, format!("{text}: write an address, a network, or KIND:TEXT, for example user:{text}"))),
    }
}

fn read(file: Option<&Path>) -> Result<String, Failure> {
    let text = match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => std::fs::read_to_string(file),
        None => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
    };
    text.map_err(|error| (USAGE, format!("the export cannot be read ({error})")))
}

fn lines(text: &str) -> Result<Vec<Value>, Failure> {
    let line = |(number, line): (usize, &str)| serde_json::from_str(line).map_err(|error| (USAGE, format!("line {} is no JSON ({error})", number + 1)));
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}
