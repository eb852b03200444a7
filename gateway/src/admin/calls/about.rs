//! The API about itself: its document, its version, who the caller is.
//!
//! Gets: questions. Gives: facts of this node. Never: needs more than a token that is known.

use axum::http::StatusCode;

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, JSON};
use super::super::problems::Refusal;
use super::super::shape::{Schemas, Shape};
use super::super::shapes::{Token, Version};
use super::super::{openapi, time};
use super::Row;
use crate::observe::metrics::Build;
use crate::observe::sidecar::Group;

const ROW: Row = Row { path: "/version", id: "showVersion", group: Group::About, scope: Scope::Read, about: "The program of the node that is asked." };

pub(super) const CALLS: &[Call] = &[
    ROW.get(Version::schema, |asked| Box::pin(version(asked))),
    Row { path: "/openapi.json", id: "showDocument", about: "This document.", ..ROW }.get(any, |asked| Box::pin(document(asked))),
    Call {
        scope: None,
        ..Row { path: "/token", id: "showToken", about: "Who the caller is, and what he may do.", ..ROW }.get(Token::schema, |asked| Box::pin(token(asked)))
    },
];

fn any(_: &mut Schemas) -> serde_json::Value {
    serde_json::json!({ "type": "object" })
}

async fn version(_: Asked) -> Result<Answer, Refusal> {
    let Build { version, revision, rustc } = Build::default();
    Answer::json(&Version { version: version.into(), revision: revision.into(), rustc: rustc.into() })
}

async fn document(_: Asked) -> Result<Answer, Refusal> {
    Ok(Answer { status: StatusCode::OK, media: JSON, body: openapi::document().to_string().into(), target: None, dry: false })
}

async fn token(asked: Asked) -> Result<Answer, Refusal> {
    let scopes = asked.actor.scopes.iter().map(|scope| scope.word().to_owned()).collect();
    Answer::json(&Token { name: asked.actor.name.to_string(), scopes, expires_at: asked.actor.expires.map(time::shown) })
}
