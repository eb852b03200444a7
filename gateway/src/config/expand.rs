//! `${NAME}` and `${file:PATH}` inside values, replaced once, after parsing: what they bring in is never read as YAML.
//!
//! Gets: a tree, the environment, the directory of its file. Gives: the tree with its values expanded, and what was missing.
//! Never: touches a key, expands twice, or shows what it brought in.

use std::path::{Path, PathBuf};

use super::problem::{Wrong, reason};
use super::tree::{Entry, Kind, Node, Scalar, Value};

/// Where expansions come from.
pub(super) struct Sources<'a> {
    /// The environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths are relative to.
    pub(super) directory: &'a Path,
}

/// Expands every value in place. A value that cannot be is [`Value::Broken`] afterwards and named in the answer.
pub(super) fn expand(node: &mut Node, sources: &Sources<'_>) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    let line = node.line;
    match &mut node.value {
        Value::Null | Value::Broken => {}
        Value::Scalar(scalar) => {
            if let Err(message) = expand_scalar(scalar, sources) {
                wrongs.push(Wrong::at(line, message));
                node.value = Value::Broken;
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                wrongs.extend(expand(item, sources).into_iter().map(|wrong| wrong.under(&format!("[{index}]"))));
            }
        }
        Value::Map(entries) => {
            for Entry { key, node, .. } in entries {
                wrongs.extend(expand(node, sources).into_iter().map(|wrong| wrong.under(&format!(".{key}"))));
            }
        }
    }
    wrongs
}

fn expand_scalar(scalar: &mut Scalar, sources: &Sources<'_>) -> Result<(), String> {
    if scalar.kind != Kind::Text || !scalar.text.contains("${") {
        return Ok(());
    }
    let text = expand_text(&scalar.text, sources)?;
    scalar.shown = Some(std::mem::replace(&mut scalar.text, text));
    Ok(())
}

fn expand_text(text: &str, sources: &Sources<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        // `$${` is a literal `${`.
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(length) = rest[at..].find('}') else {
            return Err(format!("{text:?} has ${{ without }}; write ${{NAME}} or ${{file:PATH}}, or $${{ for a literal ${{"));
        };
        out.push_str(&look_up(&rest[at + 2..at + length], sources)?);
        rest = &rest[at + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(name: &str, sources: &Sources<'_>) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        return read(&sources.directory.join(path)).map_err(|why| format!("${{{name}}}: {why}"));
    }
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        return Err(format!("${{{name}}} is not the name of an environment variable; write ${{NAME}}, ${{file:PATH}}, or $${{ for a literal ${{"));
    }
    (sources.variable)(name).ok_or_else(|| format!("${{{name}}} is not set; set the environment variable {name}, or write the value here"))
}

/// The contents of a file without the line end that editors add.
fn read(path: &PathBuf) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?.len();
    if length > MAX_FILE {
        return Err(format!("{} is longer than {} KiB; name a file that holds only the value", path.display(), MAX_FILE >> 10));
    }
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read ({}); name a file that this user may read", path.display(), reason(error))
}

/// Longest value brought in from a file.
const MAX_FILE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn sources() -> Sources<'static> {
        Sources { variable: &|name| (name == "A").then(|| "x: ${A}".to_owned()), directory: Path::new("/nonexistent") }
    }

    #[test]
    fn values_are_expanded_once_and_literals_stay() {
        for (text, expanded) in [("${A}", "x: ${A}"), ("<${A}${A}>", "<x: ${A}x: ${A}>"), ("$${A}", "${A}"), ("$$${A}", "$${A}"), ("a$b", "a$b")] {
            assert_eq!(expand_text(text, &sources()).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_line_and_place() {
        let mut node = super::super::tree::parse("a: ok\nb:\n  - ${A}\n  - ${MISSING}\nc: ${file:secret}\nd: ${A\n").unwrap();
        let wrongs = expand(&mut node, &sources());
        let places: Vec<_> = wrongs.iter().map(|wrong| (wrong.line, wrong.below.as_str())).collect();
        assert_eq!(places, [(4, ".b[1]"), (5, ".c"), (6, ".d")]);
        assert!(wrongs[0].message.contains("${MISSING} is not set"), "{}", wrongs[0].message);
        assert!(wrongs[1].message.contains("/nonexistent/secret cannot be read"), "{}", wrongs[1].message);
    }

    #[test]
    fn a_value_is_shown_as_it_stands_in_the_file() {
        let mut node = super::super::tree::parse("\"${A}\"").unwrap();
        assert!(expand(&mut node, &sources()).is_empty());
        let Value::Scalar(scalar) = node.value else { panic!("a scalar") };
        assert_eq!((scalar.text.as_str(), scalar.shown.as_deref()), ("x: ${A}", Some("${A}")));
    }
}
