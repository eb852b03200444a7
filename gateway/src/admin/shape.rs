//! What JSON looks like, said once: a struct in `shape!` or `question!` has its serde form and its schema from the same lines.
//!
//! Gets: structs with a line of documentation for each field. Gives: the schemas of the OpenAPI document.
//! Never: a schema that says something else than the bytes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The schemas that a document needs, by name.
#[derive(Debug, Default)]
pub(super) struct Schemas(pub(super) BTreeMap<&'static str, Value>);

/// Something with a schema.
pub(super) trait Shape {
    /// Its schema, or a reference to it; what it needs is put into `all`.
    fn schema(all: &mut Schemas) -> Value;
    /// Whether it may be left out of a question.
    const OPTIONAL: bool = false;
}

/// A shape by its function, as tables hold it.
pub(super) type SchemaOf = fn(&mut Schemas) -> Value;

impl Shape for String {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string" })
    }
}

impl Shape for bool {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "boolean" })
    }
}

impl Shape for u64 {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 0 })
    }
}

impl Shape for f64 {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "number" })
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(all) })
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({ "type": "object", "additionalProperties": T::schema(all) })
    }
}

impl<T: Shape> Shape for Option<T> {
    fn schema(all: &mut Schemas) -> Value {
        let inner = T::schema(all);
        match inner.get("type").and_then(Value::as_str) {
            Some(kind) if inner.get("enum").is_none() => {
                let mut both = inner.clone();
                both["type"] = json!([kind, "null"]);
                both
            }
            _ => json!({ "anyOf": [inner, { "type": "null" }] }),
        }
    }
    const OPTIONAL: bool = true;
}

/// Documentation as the compiler has it: lines with a space in front.
pub(super) fn words(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// What a node answers. Nodes of several versions answer each other: fields that are missing have their defaults, unknown ones are ignored.
macro_rules! shape {
    ($(#[doc = $about:expr])+ $name:ident { $($(#[doc = $doc:expr])+ $field:ident: $type:ty,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub(in crate::admin) struct $name { $($(#[doc = $doc])+ pub(in crate::admin) $field: $type,)+ }

        impl $crate::admin::shape::Shape for $name {
            fn schema(all: &mut $crate::admin::shape::Schemas) -> serde_json::Value {
                $crate::admin::shape::object(all, stringify!($name), &[$($about),+], false, |all| vec![
                    $((stringify!($field), $crate::admin::shape::words(&[$($doc),+]), <$type as $crate::admin::shape::Shape>::schema(all), true)),+
                ])
            }
        }
    };
}

/// What a caller may send: unknown fields are an error, and so is a missing one that is no `Option`.
macro_rules! question {
    ($(#[doc = $about:expr])+ $name:ident { $($(#[doc = $doc:expr])+ $field:ident: $type:ty,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::admin) struct $name { $($(#[doc = $doc])+ pub(in crate::admin) $field: $type,)+ }

        impl $crate::admin::shape::Shape for $name {
            fn schema(all: &mut $crate::admin::shape::Schemas) -> serde_json::Value {
                $crate::admin::shape::object(all, stringify!($name), &[$($about),+], true, |all| vec![
                    $((stringify!($field), $crate::admin::shape::words(&[$($doc),+]), <$type as $crate::admin::shape::Shape>::schema(all),
                        !<$type as $crate::admin::shape::Shape>::OPTIONAL)),+
                ])
            }
        }
    };
}

/// A field of an object: name, words, schema, whether it must be there.
pub(super) type Field = (&'static str, String, Value, bool);

/// Puts the schema of an object into `all` and refers to it.
pub(super) fn object(all: &mut Schemas, name: &'static str, about: &[&str], closed: bool, fields: impl FnOnce(&mut Schemas) -> Vec<Field>) -> Value {
    if !all.0.contains_key(name) {
        // Its place is taken first: a shape may contain itself.
        all.0.insert(name, Value::Null);
        let fields = fields(all);
        let required: Vec<_> = fields.iter().filter(|(.., required)| *required).map(|(name, ..)| *name).collect();
        let mut properties = serde_json::Map::new();
        for (name, words, mut schema, _) in fields {
            // Beside a reference, words are allowed since JSON Schema 2019-09.
            schema["description"] = words.into();
            properties.insert(name.to_owned(), schema);
        }
        let mut schema = json!({ "type": "object", "description": words(about), "properties": properties, "required": required });
        if closed {
            schema["additionalProperties"] = false.into();
        }
        all.0.insert(name, schema);
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) use {question, shape};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    shape! {
        /// Two
        /// lines.
        Inner {
            /// Text.
            text: String,
        }
    }
    question! {
        /// A question.
        Outer {
            /// Must be there.
            inner: Inner,
            /// May be there.
            count: Option<u64>,
        }
    }

    #[test]
    fn a_struct_has_its_form_and_its_schema_from_the_same_lines() {
        let mut all = Schemas::default();
        assert_eq!(Outer::schema(&mut all), json!({ "$ref": "#/components/schemas/Outer" }));
        let outer = &all.0["Outer"];
        assert_eq!((&outer["required"], &outer["additionalProperties"]), (&json!(["inner"]), &json!(false)));
        assert_eq!(outer["properties"]["count"]["type"], json!(["integer", "null"]));
        assert_eq!(all.0["Inner"]["description"], "Two lines.");
        assert_eq!(serde_json::from_str::<Inner>("{\"new\":1}").unwrap(), Inner::default(), "another version's");
        assert!(serde_json::from_str::<Outer>("{\"inner\":{},\"new\":1}").is_err());
    }
}
