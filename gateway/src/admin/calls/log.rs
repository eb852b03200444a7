//! Log levels, by room, until the next reload or start.
//!
//! Gets: questions. Gives: other levels on all nodes. Never: keeps them over a reload; the configuration says what holds for good.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Api;
use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::Question;
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Done, Levels};
use super::{DRY, Row, certificates, nodes};
use crate::observe::LogLevel;
use crate::observe::log::ROOMS;
use crate::observe::sidecar::{Group, Method};

pub(super) const CALLS: &[Call] = &[Row {
    path: "/log-level",
    id: "setLogLevel",
    group: Group::Log,
    scope: Scope::Operate,
    about: "Log levels of all nodes, by room, until the next reload or start.",
}
.change(Method::Put, Done::schema, |asked| Box::pin(set(asked)))
.taking(Levels::schema)
.with(&[DRY])];

/// Log at these levels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct SetLevels {
    levels: Levels,
}

impl Question for SetLevels {
    const PATH: &'static str = "admin/v1/log-level";
    type Answer = (String, Result<(), String>);

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let result = read(&self.levels)
            .map(|levels| api.log.set_to(&levels))
            .map_err(|errors| errors.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join("; "));
        (api.node.name.clone(), result)
    }
}

async fn set(asked: Asked) -> Result<Answer, Refusal> {
    let levels: Levels = asked.body()?;
    read(&levels).map_err(|errors| Refusal { errors, ..Problem::Invalid.into() })?;
    if asked.flag("dry_run") {
        let answers = asked.api.everywhere(nodes::Look {}).await;
        let nodes = answers.given.into_iter().flatten().map(|node| node.name).collect();
        return Ok(Answer::json(&Done { nodes, failed: BTreeMap::new(), silent: answers.silent })?.dry(true));
    }
    let rooms = levels.rooms.iter().flatten().map(|(room, level)| format!(", {room}: {level}")).collect::<String>();
    let target = format!("default: {}{rooms}", levels.default);
    let done = certificates::done(asked.api.everywhere(SetLevels { levels }).await);
    Ok(Answer::json(&done)?.about(target))
}

/// Rooms and levels, or what is wrong where.
type Read = Result<Vec<(Option<String>, LogLevel)>, Vec<(String, String)>>;

fn read(levels: &Levels) -> Read {
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    let wrong = |place: String| (place, format!("is not one of {}", LogLevel::WORDS.map(|(word, _)| word).join(", ")));
    match LogLevel::parse(&levels.default) {
        Some(level) => good.push((None, level)),
        None => errors.push(wrong("/default".into())),
    }
    for (number, (room, level)) in levels.rooms.iter().flatten().enumerate() {
        match (ROOMS.contains(&room.as_str()), LogLevel::parse(level)) {
            (true, Some(level)) => good.push((Some(room.clone()), level)),
            (false, _) => errors.push(("/rooms".to_owned(), format!("room {} is not one of {}", number + 1, ROOMS.join(", ")))),
            (true, None) => errors.push(wrong(format!("/rooms/{room}"))),
        }
    }
    if errors.is_empty() { Ok(good) } else { Err(errors) }
}
