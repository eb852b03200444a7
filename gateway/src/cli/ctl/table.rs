//! The columns of each list.
//!
//! Gets: an item. Gives: what stands in each column. Never: a column that is not in the API.

use serde_json::Value;

/// A heading, and where its value stands in an item.
pub(super) type Column = (&'static str, &'static str, Show);

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Plain,
    Bytes,
    /// To the second.
    Time,
    Seconds,
}

use Show::{Bytes, Plain, Seconds, Time};

pub(super) const NODES: &[Column] = &[
    ("NAME", "/name", Plain),
    ("STATE", "/state", Plain),
    ("SESSIONS", "/sessions", Plain),
    ("TRANSFERS", "/transfers", Plain),
    ("LEFT", "/bytes_left", Bytes),
    ("ENDS IN", "/estimate_seconds", Seconds),
    ("IN", "/counters/bytes_in", Bytes),
    ("OUT", "/counters/bytes_out", Bytes),
    ("RELAYS", "/relaying", Plain),
    ("SKEW", "/clock_skew_seconds", Seconds),
    ("VERSION", "/version", Plain),
    ("STARTED", "/started_at", Time),
    ("DEGRADED", "/degraded", Plain),
];
pub(super) const SESSIONS: &[Column] = &[
    ("ID", "/id", Plain),
    ("NODE", "/node", Plain),
    ("USER", "/user", Plain),
    ("ADDRESS", "/address", Plain),
    ("SINCE", "/since", Time),
    ("STATE", "/state", Plain),
    ("TLS", "/tls", Plain),
    ("RESUMED", "/resumed", Plain),
    ("BYTES", "/bytes", Bytes),
];
pub(super) const BANS: &[Column] = &[
    ("ID", "/id", Plain),
    ("TARGET", "/target", Plain),
    ("SOURCE", "/source", Plain),
    ("UNTIL", "/expires_at", Time),
    ("AUTHOR", "/author", Plain),
    ("REASON", "/reason", Plain),
    ("CREATED", "/created_at", Time),
];
pub(super) const COUNTERS: &[Column] = &[
    ("RULE", "/rule", Plain),
    ("EVENT", "/event", Plain),
    ("COUNT", "/count", Plain),
    ("DRY RUN", "/dry_run", Plain),
    ("COUNTED", "/counted", Plain),
    ("TRIPPED", "/tripped", Plain),
];
pub(super) const CLIENTS: &[Column] = &[
    ("ID", "/id", Plain),
    ("USER", "/user", Plain),
    ("ADDRESS", "/address", Plain),
    ("LAST SEEN", "/last_seen", Time),
    ("SESSIONS", "/sessions", Plain),
    ("TLS1.2", "/tls12", Plain),
    ("TLS1.3", "/tls13", Plain),
    ("PROVEN", "/proven", Plain),
    ("UNPROVEN", "/unproven", Plain),
    ("HINTS", "/hints", Plain),
];
pub(super) const TRANSFERS: &[Column] = &[
    ("STARTED", "/started_at", Time),
    ("USER", "/user", Plain),
    ("ADDRESS", "/address", Plain),
    ("DIRECTION", "/direction", Plain),
    ("PATH", "/path", Plain),
    ("BYTES", "/bytes", Bytes),
    ("TOOK", "/took_seconds", Seconds),
    ("RESULT", "/result", Plain),
    ("PROVEN", "/proven", Plain),
    ("NODE", "/node", Plain),
];
pub(super) const CERTIFICATES: &[Column] = &[
    ("NODE", "/node", Plain),
    ("NAMES", "/names", Plain),
    ("ENDS", "/not_after", Time),
    ("SELF-SIGNED", "/self_signed", Plain),
    ("FINGERPRINT", "/fingerprint", Plain),
];
pub(super) const STAPLES: &[Column] = &[
    ("NODE", "/node", Plain),
    ("NAMES", "/names", Plain),
    ("STATUS", "/status", Plain),
    ("SINCE", "/this_update", Time),
    ("UNTIL", "/next_update", Time),
    ("FROM", "/source", Plain),
    ("AGAIN IN", "/refresh_in_seconds", Seconds),
    ("MUST", "/must_staple", Plain),
    ("PROBLEM", "/problem", Plain),
];
pub(super) const CACHES: &[Column] = &[
    ("NODE", "/node", Plain),
    ("ENTRIES", "/entries", Plain),
    ("HITS", "/hits", Plain),
    ("MISSES", "/misses", Plain),
    ("STORES", "/stores", Plain),
    ("ERRORS", "/errors", Plain),
];
pub(super) const SETTINGS: &[Column] = &[("KEY", "/key", Plain), ("VALUE", "/value", Plain), ("WRITTEN", "/written", Plain)];
pub(super) const AUDIT: &[Column] = &[
    ("TIME", "/time", Time),
    ("ACTOR", "/actor", Plain),
    ("SOURCE", "/source", Plain),
    ("METHOD", "/method", Plain),
    ("PATH", "/path", Plain),
    ("TARGET", "/target", Plain),
    ("RESULT", "/result", Plain),
    ("STATUS", "/status", Plain),
    ("NODE", "/node", Plain),
];

/// A list as a table.
pub(super) fn table(items: &[Value], columns: &[Column]) -> String {
    let heads: Vec<String> = columns.iter().map(|(head, ..)| (*head).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|(_, place, show)| cell(item.pointer(place).unwrap_or(&Value::Null), *show)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(items.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One value, tame: nothing that comes from a client moves the cursor.
pub(super) fn cell(value: &Value, show: Show) -> String {
    let text = match (value, show) {
        (Value::Null, _) => "-".to_owned(),
        (Value::String(text), Time) => text.split('.').next().unwrap_or(text).replace('T', " "),
        (Value::Number(number), Bytes) => bytes(number.as_u64().unwrap_or(0)),
        (Value::Number(number), Seconds) => format!("{:.1}s", number.as_f64().unwrap_or(0.0)),
        (Value::String(text), _) => text.clone(),
        (Value::Array(items), _) if items.is_empty() => "-".to_owned(),
        (Value::Array(items), _) => items.iter().map(|item| cell(item.get("what").unwrap_or(item), Plain)).collect::<Vec<_>>().join(", "),
        (Value::Object(fields), _) => fields.iter().map(|(name, value)| format!("{name}:{}", cell(value, Plain))).collect::<Vec<_>>().join(" "),
        (other, _) => other.to_string(),
    };
    let hidden = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(count: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, size)| count >= *size);
    unit.map_or_else(|| format!("{count} B"), |(unit, size)| format!("{:.1} {unit}", count as f64 / *size as f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_its_columns_under_each_other() {
        let items = [
            json!({ "name": "a", "sessions": 3, "counters": { "bytes_in": 1536 }, "degraded": [{ "what": "store" }] }),
            json!({ "name": "longer\u{1b}[2J", "started_at": "2027-01-31T12:00:00.125Z" }),
        ];
        let text = table(&items, NODES);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("NAME        STATE  SESSIONS"), "{text}");
        assert!(lines[1].contains("1.5 KiB") && lines[1].ends_with("store"), "{text}");
        assert!(lines[2].contains("2027-01-31 12:00:00") && !text.contains('\u{1b}'), "{text}");
    }
}
