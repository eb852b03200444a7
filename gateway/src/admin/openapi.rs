//! The OpenAPI document, made from the table of calls.
//!
//! Gets: the rows and the shapes. Gives: `gateway/openapi.json`, which a test compares (`BLESS=1` writes it anew).
//! Never: says anything that the router does not do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::call::{Call, JSON, Kind, LONGEST_PAGE, Query};
use super::calls;
use super::problems::Problem;
use super::shape::Schemas;
use crate::observe::Label;

/// The document.
pub(super) fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = serde_json::Map::new();
    for call in calls::all() {
        let operation = operation(call, &mut schemas);
        paths.entry(call.path).or_insert_with(|| json!({}))[call.method.label()] = operation;
    }
    schemas.0.insert("Problem", problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ftps-gateway admin API", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Times are RFC 3339 in UTC, durations seconds, sizes bytes. Any node answers for the cluster; nodes that do not answer in time are named in `silent`.",
        },
        "servers": [{ "url": "/api/v1" }],
        "security": [{ "token": [] }, { "certificate": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas.0,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of admin.tokens_file; `ftps-gateway new-token` makes one." },
                "certificate": { "type": "mutualTLS", "description": "A client certificate that admin.tokens_file names." },
            },
        },
    })
}

fn tags() -> Vec<Value> {
    let groups: BTreeSet<&str> = calls::all().map(|call| call.group.label()).collect();
    groups.into_iter().map(|name| json!({ "name": name })).collect()
}

fn operation(call: &Call, schemas: &mut Schemas) -> Value {
    let path = call.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path = path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }));
    let parameters: Vec<Value> = path.chain(call.query.iter().map(parameter)).collect();
    let scope = call.scope.map_or("Any known token.".to_owned(), |scope| format!("Scope: `{}`.", scope.word()));
    let mut operation = json!({
        "operationId": call.id, "summary": call.about, "description": scope, "tags": [call.group.label()],
        "parameters": parameters, "responses": responses(call, schemas),
    });
    if let Some(body) = call.body {
        operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": body(schemas) } } });
    }
    operation
}

fn parameter(query: &Query) -> Value {
    let schema = match query.kind {
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 1024 }),
        Kind::Ip => json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] }),
        Kind::Count(most) => json!({ "type": "integer", "minimum": 1, "maximum": most.min(LONGEST_PAGE) }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Cursor => json!({ "type": "string", "pattern": "^([0-9a-f]{2})+$" }),
    };
    json!({ "name": query.name, "in": "query", "required": false, "description": query.about, "schema": schema })
}

fn responses(call: &Call, schemas: &mut Schemas) -> Value {
    let (status, shape) = call.answer;
    let mut responses = serde_json::Map::new();
    let schema = shape.map_or_else(|| json!({}), |shape| shape(schemas));
    responses.insert(status.to_string(), json!({ "description": "As asked.", "content": { call.media: { "schema": schema } } }));
    let always = [Problem::Invalid, Problem::Unauthorized, Problem::OutOfScope, Problem::ForeignHost, Problem::TooManyAttempts, Problem::Internal];
    let with_body = [Problem::MediaType, Problem::TooLarge].into_iter().filter(|_| call.body.is_some());
    for problem in always.into_iter().chain(with_body).chain(call.problems.iter().copied()) {
        let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        responses.insert(problem.status().as_u16().to_string(), json!({ "description": problem.title(), "content": content }));
    }
    responses.into()
}

fn problem() -> Value {
    let slugs: Vec<String> = Problem::all().map(|problem| format!("/problems/{}", problem.slug())).collect();
    let error = json!({
        "type": "object", "required": ["pointer", "detail"],
        "properties": { "pointer": { "type": "string", "description": "A JSON pointer into the body, or the name of a parameter." }, "detail": { "type": "string" } },
    });
    json!({
        "type": "object", "description": "A problem document (RFC 9457).", "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string", "enum": slugs }, "title": { "type": "string" }, "status": { "type": "integer" }, "detail": { "type": "string" },
            "errors": { "type": "array", "items": error }, "request_id": { "type": "string", "description": "Also in the header X-Request-Id, and in the audit." },
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_committed_document_is_what_the_table_says() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "run with BLESS=1 and look at the difference");
    }

    #[test]
    fn every_call_has_its_own_id_and_place() {
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for call in calls::all() {
            assert!(ids.insert(call.id), "{}", call.id);
            assert!(places.insert((call.method.label(), call.path)), "{}", call.path);
            assert!(call.path.starts_with('/') && !call.about.is_empty());
        }
    }
}
