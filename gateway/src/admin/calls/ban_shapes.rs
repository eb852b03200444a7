//! What bans look like in the document: the room `bans` has their serde forms, here they are put into words.
//!
//! Gets: nothing. Gives: schemas.
//! Never: a field that the room does not write.

use serde_json::{Value, json};

use super::super::shape::{Schemas, Shape};

fn texts() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}

/// The room's own serde form, put into words here.
pub(super) fn ban_schema(all: &mut Schemas) -> Value {
    let text = |words: &str| json!({ "type": "string", "description": words });
    let schema = json!({
        "type": "object", "description": "A ban.", "required": ["id", "target", "kind", "source", "reason", "author", "created_at", "expires_at"],
        "properties": {
            "id": text("Its id."), "target": texts(), "kind": text("host, network, user, user_at_host, class or certificate."), "source": text("admin or rule."),
            "reason": text("Why."), "author": text("Who."), "evidence": text("What a rule saw."), "message": text("What the client is told."),
            "created_at": text("When."), "expires_at": { "type": ["string", "null"], "description": "Until when; null: permanent." },
        },
    });
    all.0.insert("Ban", schema);
    json!({ "$ref": "#/components/schemas/Ban" })
}

fn propagation(all: &mut Schemas) -> Value {
    let names = Vec::<String>::schema(all);
    let schema = json!({
        "type": "object", "description": "How far a change has come.", "required": ["acknowledged", "nodes", "silent", "state"],
        "properties": {
            "acknowledged": { "type": "integer", "description": "Nodes that have applied it." }, "nodes": { "type": "integer", "description": "Nodes that should." },
            "silent": names.clone(), "state": { "type": "string", "enum": ["everywhere", "pending", "local_only"] },
            "unwritten": names, "stored": { "type": "boolean", "description": "Whether a networked store has it and keeps what it is given; false also while it loses parts of the ban book." },
        },
    });
    all.0.insert("Propagation", schema);
    json!({ "$ref": "#/components/schemas/Propagation" })
}

pub(super) fn list_schema(all: &mut Schemas) -> Value {
    let ban = ban_schema(all);
    json!({
        "type": "object", "required": ["items", "next", "silent"],
        "properties": { "items": { "type": "array", "items": ban }, "next": { "type": ["string", "null"] }, "silent": Vec::<String>::schema(all) },
    })
}

pub(super) fn added_schema(all: &mut Schemas) -> Value {
    ban_schema(all);
    let mut schema = all.0["Ban"].clone();
    schema["description"] = "A ban, and what became of it.".into();
    schema["properties"]["sessions_ended"] = json!({ "type": "integer" });
    schema["properties"]["dry_run"] = json!({ "type": "boolean" });
    schema["properties"]["propagation"] = propagation(all);
    schema
}

pub(super) fn removed_schema(all: &mut Schemas) -> Value {
    let (ban, propagation) = (ban_schema(all), propagation(all));
    json!({ "type": "object", "required": ["removed", "propagation"], "properties": {
        "removed": { "type": "array", "items": ban }, "dry_run": { "type": "boolean", "description": "Nothing was done." }, "propagation": propagation,
    } })
}

pub(super) fn check_schema(all: &mut Schemas) -> Value {
    let ban = ban_schema(all);
    json!({ "type": "object", "required": ["refused", "ban"], "properties": { "refused": { "type": "boolean" }, "ban": { "anyOf": [ban, { "type": "null" }] } } })
}

pub(super) fn who_schema(_: &mut Schemas) -> Value {
    let text = json!({ "type": "string" });
    json!({ "type": "object", "additionalProperties": false, "properties": { "ip": text, "user": text, "class": text, "certificate": text } })
}

pub(super) fn request_schema(_: &mut Schemas) -> Value {
    json!({
        "type": "object", "required": ["target"],
        "properties": {
            "target": { "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": { "type": "string" },
                "description": "One of ip, cidr, user, user_at_host, class, certificate." },
            "duration": { "type": ["string", "null"], "description": "1h, 30m, 7d or permanent; it must be there." },
            "reason": { "type": ["string", "null"] }, "dry_run": { "type": "boolean" }, "force": { "type": "boolean", "description": "Also a very wide network." },
        },
    })
}

pub(super) fn imported_schema(all: &mut Schemas) -> Value {
    let propagation = propagation(all);
    json!({
        "type": "object", "required": ["imported", "skipped", "sessions_ended", "propagation"],
        "properties": {
            "imported": { "type": "integer", "description": "New bans." }, "skipped": { "type": "integer", "description": "There already, or ended." },
            "errors": { "type": "object" }, "sessions_ended": { "type": "integer" }, "propagation": propagation,
        },
    })
}

pub(super) fn import_schema(_: &mut Schemas) -> Value {
    json!({
        "type": "object", "required": ["bans"], "additionalProperties": false,
        "properties": {
            "bans": { "type": "array", "items": { "type": "object" }, "description": "The lines of an export, or bans as POST /bans takes them." },
            "force": { "type": "boolean", "description": "Also wide networks." },
        },
    })
}
