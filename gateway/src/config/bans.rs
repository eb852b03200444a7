//! The forms of `bans:`: rules, whom they spare, classes of networks, a message.
//!
//! Gets: one node. Gives: the room's own types, or everything that is wrong with it. Never: knows which bans there are.

use std::time::Duration;

use ipnet::IpNet;

use super::forms::{self, Fault, LONGEST, list, scalar};
use super::near::nearest;
use super::problem::{Checked, Wrong};
use super::rules::Fields;
use super::tree::{Node, Value};
use crate::bans::rules::event::{ALL, WITHOUT_MEANING};
use crate::bans::{Escalate, Rule, RuleEvent, Scope, Term, is_class};

/// `bans.rules`.
pub(super) fn rules(node: &Node) -> Checked<Vec<Rule>> {
    let rules = list(node, "is not a list of rules; write [{ event: login_failed, count: 5, within: 10m, ban: 1h }], or [] for none", rule)?;
    if rules.len() > MOST {
        return Err(vec![Wrong::at(node.line, format!("has more than {MOST} rules; write fewer"))]);
    }
    Ok(rules)
}

fn rule(node: &Node) -> Checked<Rule> {
    let known = ["event", "count", "within", "ban", "scope", "message", "dry_run", "escalate"];
    let mut fields = Fields::of(node, &known, "is not a rule; write { event: login_failed, count: 5, within: 10m, ban: 1h }")?;
    let event = fields.required("event", event, "write what to count, for example login_failed");
    let count = fields.required("count", forms::number(1, 65_535), "write how often it may happen, for example 5");
    let within = fields.required("within", forms::duration(DAY), "write within which time, for example 10m");
    let ban = fields.required("ban", term, "write how long the ban lasts, for example 1h");
    let scope = fields.optional("scope", forms::word(SCOPES)).unwrap_or(Scope::Host);
    let message = fields.optional("message", message_or_null).flatten();
    let dry_run = fields.optional("dry_run", forms::truth).unwrap_or(false);
    let escalate = fields.optional("escalate", escalate).flatten();
    fields.finish()?;
    let (Some(event), Some(count), Some(within), Some(ban)) = (event, count, within, ban) else { return Err(Vec::new()) };
    Ok(Rule { event, count: u32::try_from(count).unwrap_or(u32::MAX), within, ban, scope, message, dry_run, escalate })
}

fn event(node: &Node) -> Checked<RuleEvent> {
    let names = || ALL.iter().map(|(_, name, _)| *name);
    let not = format!("is not an event; write one of {}", names().collect::<Vec<_>>().join(", "));
    scalar(node, &not, |scalar| {
        if let Some((_, why)) = WITHOUT_MEANING.iter().find(|(name, _)| *name == scalar.text) {
            return Err(Fault::Said(format!("has no meaning here: {why}")));
        }
        let meant = || nearest(&scalar.text, names()).map_or(Fault::Form, |near| Fault::Said(format!("is not an event; did you mean {near}?")));
        RuleEvent::parse(&scalar.text).ok_or_else(meant)
    })
}

fn term(node: &Node) -> Checked<Term> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "permanent" => Ok(Term::Permanent),
        _ => forms::duration(LONGEST)(node).map(Term::For),
    }
}

fn escalate(node: &Node) -> Checked<Option<Escalate>> {
    if node.value == Value::Null {
        return Ok(None);
    }
    let mut fields = Fields::of(node, &["factor", "max"], "is not a mapping; write { factor: 2, max: 7d }, or null")?;
    let factor = fields.required("factor", forms::number(2, 1_000), "write how many times as long each ban is as the one before, for example 2");
    let max = fields.required("max", forms::duration(LONGEST), "write the longest ban, for example 7d");
    fields.finish()?;
    Ok(factor.zip(max).map(|(factor, max)| Escalate { factor: u32::try_from(factor).unwrap_or(u32::MAX), max }))
}

/// `bans.never`: networks and users.
pub(super) fn never(node: &Node) -> Checked<(Vec<IpNet>, Vec<String>)> {
    let mut fields = Fields::of(node, &["networks", "users"], "is not a mapping; write { networks: [\"10.0.0.0/8\"], users: [backup] }")?;
    let networks = fields.optional("networks", forms::networks).unwrap_or_default();
    let users = fields.optional("users", |node| list(node, "is not a list of users; write [backup]", user)).unwrap_or_default();
    fields.finish().map(|()| (networks, users))
}

fn user(node: &Node) -> Checked<String> {
    scalar(node, "is not a user name; write 1 to 128 letters without control characters", |scalar| {
        ftps_proto::command::UserName::new(scalar.text.as_bytes()).map(|name| name.as_str().to_owned()).ok_or(Fault::Form)
    })
}

/// `bans.classes`: names of networks.
pub(super) fn classes(node: &Node) -> Checked<Vec<(String, Vec<IpNet>)>> {
    let Value::Map(entries) = &node.value else {
        return if node.value == Value::Broken {
            Err(Vec::new())
        } else {
            Err(vec![Wrong::at(node.line, "is not a mapping; write { partners: [\"198.51.100.0/24\"] }, or {}")])
        };
    };
    let (entries, mut wrongs) = forms::unique(entries);
    let mut classes = Vec::new();
    for entry in entries {
        if !is_class(&entry.key) {
            wrongs.push(Wrong::at(entry.line, format!("{:?} is not a class; write 1 to 64 letters, digits, '-', '_' or '.'", entry.key)));
        }
        match forms::networks(&entry.node) {
            Ok(networks) => classes.push((entry.key.clone(), networks)),
            Err(more) => wrongs.extend(more.into_iter().map(|wrong| wrong.under(&format!(".{}", entry.key)))),
        }
    }
    if wrongs.is_empty() { Ok(classes) } else { Err(wrongs) }
}

/// `bans.message`.
pub(super) fn message(node: &Node) -> Checked<String> {
    scalar(node, "is not a message; write one line of 1 to 200 letters, with %a for the address, %c for the class, %u for the user", |scalar| {
        let fits = (1..=200).contains(&scalar.text.chars().count()) && !scalar.text.chars().any(char::is_control);
        if fits { Ok(scalar.text.clone()) } else { Err(Fault::Form) }
    })
}

fn message_or_null(node: &Node) -> Checked<Option<String>> {
    if node.value == Value::Null { Ok(None) } else { message(node).map(Some) }
}

/// `bans.implicit_reply`: whether to say anything.
pub(super) const IMPLICIT_REPLY: &[(&str, bool)] = &[("close", false), ("reply", true)];
const SCOPES: &[(&str, Scope)] = &[("host", Scope::Host), ("user", Scope::User), ("user_at_host", Scope::UserAtHost), ("class", Scope::Class)];
/// Rules: each looks at every event.
const MOST: usize = 64;
/// The longest window.
const DAY: Duration = Duration::from_secs(86_400);
