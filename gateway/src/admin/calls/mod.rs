//! The table of calls: one row for each, by subject. The router, the OpenAPI document and the tests are made from it.
//!
//! Gets: the rows of the subjects. Gives: all of them, and short ways to write one.
//! Never: a row with nothing behind it.

mod about;
mod audit;
mod ban_shapes;
mod bans;
mod cache;
mod certificates;
mod clients;
mod config;
mod events;
mod log;
mod nodes;
mod sessions;
mod staples;
mod transfers;

pub(super) use self::events::{LONGEST as LONGEST_WATCH, WATCHERS};
use std::sync::Arc;

use super::Api;
use super::access::Scope;
use super::call::{Asked, Call, JSON, Kind, LONGEST_PAGE, Query, Running};
use super::everywhere::answer;
use super::problems::Problem;
use super::shape::SchemaOf;
use crate::cluster::Handlers;
use crate::observe::sidecar::{Group, Method};

/// Every call.
pub(super) fn all() -> impl Iterator<Item = &'static Call> {
    let subjects = [
        nodes::CALLS,
        sessions::CALLS,
        clients::CALLS,
        bans::CALLS,
        transfers::CALLS,
        events::CALLS,
        certificates::CALLS,
        staples::CALLS,
        cache::CALLS,
        config::CALLS,
        log::CALLS,
        audit::CALLS,
        about::CALLS,
    ];
    subjects.into_iter().flatten()
}

/// Answers the questions of other nodes.
pub(super) fn answer_peers(api: &Arc<Api>, handlers: &mut Handlers) {
    answer::<nodes::Look>(api, handlers);
    answer::<nodes::Drain>(api, handlers);
    answer::<nodes::WouldDrain>(api, handlers);
    answer::<sessions::Sessions>(api, handlers);
    answer::<sessions::End>(api, handlers);
    answer::<bans::Counters>(api, handlers);
    answer::<bans::DryRuns>(api, handlers);
    answer::<bans::WouldEnd>(api, handlers);
    answer::<clients::Clients>(api, handlers);
    answer::<clients::Forget>(api, handlers);
    answer::<transfers::Transfers>(api, handlers);
    answer::<events::Since>(api, handlers);
    answer::<certificates::Certificates>(api, handlers);
    answer::<staples::Staples>(api, handlers);
    answer::<cache::Holds>(api, handlers);
    answer::<cache::Clear>(api, handlers);
    answer::<cache::WouldClear>(api, handlers);
    answer::<config::Reload>(api, handlers);
    answer::<config::WouldReload>(api, handlers);
    answer::<log::SetLevels>(api, handlers);
    answer::<audit::Records>(api, handlers);
}

/// What a row is made of first.
struct Row {
    path: &'static str,
    id: &'static str,
    group: Group,
    scope: Scope,
    about: &'static str,
}

impl Row {
    /// Looks at something.
    const fn get(self, answer: SchemaOf, run: fn(Asked) -> Running) -> Call {
        self.call(Method::Get, false, answer, run)
    }

    /// Changes something.
    const fn change(self, method: Method, answer: SchemaOf, run: fn(Asked) -> Running) -> Call {
        self.call(method, true, answer, run)
    }

    const fn call(self, method: Method, writes: bool, answer: SchemaOf, run: fn(Asked) -> Running) -> Call {
        let Self { path, id, group, scope, about } = self;
        let (scope, answer) = (Some(scope), (200, Some(answer)));
        Call { method, path, id, group, scope, writes, about, query: &[], body: None, longest: LONGEST_BODY, answer, media: JSON, problems: &[], run }
    }
}

impl Call {
    const fn with(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }

    const fn taking(self, body: SchemaOf) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Not JSON as a whole, but this.
    const fn words(self, media: &'static str) -> Self {
        Self { answer: (self.answer.0, None), media, ..self }
    }

    const fn longest(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    const fn or(self, problems: &'static [Problem]) -> Self {
        Self { problems, ..self }
    }
}

const fn query(name: &'static str, kind: Kind, about: &'static str) -> Query {
    Query { name, kind, about }
}

const LIMIT: Query = query("limit", Kind::Count(LONGEST_PAGE), "Entries of a page; 100 unless said otherwise.");
const CURSOR: Query = query("cursor", Kind::Cursor, "`next` of the former page.");
const DRY: Query = query("dry_run", Kind::Flag, "Only say what would be done.");
/// Bytes of most bodies.
const LONGEST_BODY: usize = 64 * 1024;
