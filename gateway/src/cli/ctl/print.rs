//! An answer as text: a table, JSON, or YAML.
//!
//! Gets: an answer and how to print it. Gives: text with its last line end. Never: leaves out that a node was silent.

use serde_json::Value;

use super::arguments::{Form, Question};
use super::table::{Show, cell, table};

/// The whole text.
pub(super) fn answer(answer: &Value, question: &Question, form: Form) -> String {
    match form {
        // It came from JSON.
        Form::Json => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
        Form::Yaml => {
            let mut text = String::new();
            yaml(answer, 0, &mut text);
            text
        }
        Form::Table => people(answer, question),
    }
}

fn people(answer: &Value, question: &Question) -> String {
    let mut text = match answer["items"].as_array() {
        Some(items) if !question.columns.is_empty() => table(items, question.columns),
        _ => answer.as_object().into_iter().flatten().filter(|(name, _)| *name != "silent").map(|(name, value)| line(name, value)).collect(),
    };
    let silent: Vec<&str> = answer["silent"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !silent.is_empty() {
        text.push_str(&format!("No answer from: {}\n", silent.join(", ")));
    }
    text
}

fn line(name: &str, value: &Value) -> String {
    if name == "propagation" {
        return format!("{name}: {}\n", spread(value));
    }
    match value.as_array() {
        Some(items) if items.iter().any(Value::is_object) => {
            let rows = items.iter().map(|item| {
                let parts = item.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {}", cell(value, Show::Plain)));
                format!("  {}\n", parts.collect::<Vec<_>>().join(", "))
            });
            format!("{name}:\n{}", rows.collect::<String>())
        }
        _ => format!("{name}: {}\n", cell(value, Show::Plain)),
    }
}

/// How far a change has come, in words.
fn spread(propagation: &Value) -> String {
    let number = |name: &str| propagation[name].as_u64().unwrap_or(0);
    let names = cell(&propagation["silent"], Show::Plain);
    match (propagation["state"].as_str(), number("nodes")) {
        // A dry run.
        (_, 0) => "nothing was changed".into(),
        (Some("everywhere"), 1) => "applied on this node, the only one".into(),
        (Some("everywhere"), all) => format!("applied on all {all} nodes"),
        (Some("local_only"), _) => format!("applied on this node alone; no answer from {names}, and no store has it"),
        (_, all) => format!("applied on {} of {all} nodes; no answer yet from {names}", number("acknowledged")),
    }
}

/// Block style; scalars as JSON has them, which YAML reads the same.
fn yaml(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                text.push_str(&format!("{indent}{}:", Value::from(name.as_str())));
                below(value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("{indent}-"));
                below(item, depth, text);
            }
        }
        scalar => text.push_str(&format!("{indent}{scalar}\n")),
    }
}

fn below(value: &Value, depth: usize, text: &mut String) {
    let nested = value.as_object().is_some_and(|fields| !fields.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty());
    if nested {
        text.push('\n');
        yaml(value, depth + 1, text);
    } else {
        text.push_str(&format!(" {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_says_how_far_it_has_come() {
        let said =
            |acknowledged, nodes, silent: &[&str], state| spread(&json!({ "acknowledged": acknowledged, "nodes": nodes, "silent": silent, "state": state }));
        assert_eq!(said(3, 3, &[], "everywhere"), "applied on all 3 nodes");
        assert_eq!(said(1, 1, &[], "everywhere"), "applied on this node, the only one");
        assert_eq!(said(2, 3, &["b\u{1b}"], "pending"), "applied on 2 of 3 nodes; no answer yet from b\u{fffd}");
        assert_eq!(said(1, 2, &["b"], "local_only"), "applied on this node alone; no answer from b, and no store has it");
    }

    #[test]
    fn yaml_is_read_back_as_what_it_was() {
        let value = json!({ "items": [{ "a": "x: y", "b": [], "c": null }, 3], "silent": ["n"], "empty": {} });
        let mut text = String::new();
        yaml(&value, 0, &mut text);
        assert_eq!(serde_yaml::from_str::<Value>(&text).ok(), Some(value), "{text}");
    }
}
