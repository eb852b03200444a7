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
    fn yaml_is_read_back_as_what_it_was() {
        let value = json!({ "items": [{ "a": "x: y", "b": [], "c": null }, 3], "silent": ["n"], "empty": {} });
        let mut text = String::new();
        yaml(&value, 0, &mut text);
        assert_eq!(serde_yaml::from_str::<Value>(&text).ok(), Some(value), "{text}");
    }
}
