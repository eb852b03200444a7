//! One line of the log, as text for people or as a JSON object.
//!
//! Gets: a point in time, a level, a room, a message, fields. Gives: exactly one line, ended by a line feed.
//! Never: lets a byte of a client end a line, forge a field, move a cursor or make JSON invalid; no value is longer than 4 KiB.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::utc::Utc;
use super::{LogFormat, LogLevel};

/// A line that is being written.
pub(super) struct Line {
    format: LogFormat,
    text: String,
}

/// What a line is about, besides its fields.
pub(super) struct Head<'a> {
    pub(super) time: SystemTime,
    pub(super) level: LogLevel,
    pub(super) room: &'a str,
    /// The session's id, in every line that belongs to one.
    pub(super) session: Option<&'a dyn fmt::Display>,
    pub(super) message: &'a str,
}

impl Line {
    /// A line with its head.
    pub(super) fn new(format: LogFormat, head: &Head<'_>) -> Self {
        let mut line = Self { format, text: String::with_capacity(USUAL) };
        let (time, level, room) = (Utc(head.time), word(head.level), head.room);
        match format {
            LogFormat::Json => {
                line.raw(format_args!("{{\"time\":\"{time}\",\"level\":\"{level}\""));
                line.text("room", room);
                if let Some(session) = head.session {
                    line.shown("session", session);
                }
                line.text("message", head.message);
            }
            LogFormat::Text => {
                line.raw(format_args!("{time} {:5} {room:8} ", level.to_ascii_uppercase()));
                match head.session {
                    Some(session) => line.raw(format_args!("{session} ")),
                    None => line.text.push_str("- "),
                }
                escape(&mut line.text, head.message, LogFormat::Text);
            }
        }
        line
    }

    /// A field of text, from a client or not.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        let (value, cut) = capped(value);
        let quoted = self.format == LogFormat::Json || cut || !is_plain(value);
        if quoted {
            self.text.push('"');
        }
        escape(&mut self.text, value, self.format);
        if cut {
            self.text.push('…');
        }
        if quoted {
            self.text.push('"');
        }
    }

    /// Some fields of text.
    pub(super) fn texts(&mut self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            self.text(name, value);
        }
    }

    /// A field of bytes, such as a path: those that are not UTF-8 are shown as `\xNN`.
    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) {
        let mut text = String::with_capacity(value.len());
        for chunk in value.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        self.text(name, &text);
    }

    /// A field of anything that can be shown.
    pub(super) fn shown(&mut self, name: &str, value: impl fmt::Display) {
        self.text(name, &value.to_string());
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.literal(name, value);
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.literal(name, value);
    }

    /// A time span, in milliseconds.
    pub(super) fn millis(&mut self, name: &str, value: Duration) {
        self.literal(name, format_args!("{:.3}", value.as_secs_f64() * 1e3));
    }

    /// A value that is a word of its own in JSON too: a number, `true`, `false`.
    pub(super) fn literal(&mut self, name: &str, value: impl fmt::Display) {
        self.key(name);
        self.raw(format_args!("{value}"));
    }

    /// The line, ended.
    pub(super) fn end(mut self) -> String {
        self.text.push_str(match self.format {
            LogFormat::Json => "}\n",
            LogFormat::Text => "\n",
        });
        self.text
    }

    fn key(&mut self, name: &str) {
        match self.format {
            LogFormat::Json => self.raw(format_args!(",\"{name}\":")),
            LogFormat::Text => self.raw(format_args!(" {name}=")),
        }
    }

    fn raw(&mut self, what: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(what);
    }
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// Whether a value needs no quotes in text: nothing in it could be taken for the end of the value or for an escape.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_./:@+,%[]*".contains(c))
}

fn capped(value: &str) -> (&str, bool) {
    let end = value.floor_char_boundary(LONGEST);
    (&value[..end], end < value.len())
}

/// Quotes, backslashes, control characters and those that change the direction or the line of what follows, escaped.
fn escape(out: &mut String, value: &str, format: LogFormat) {
    for c in value.chars() {
        let hidden = c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let _ = match (c, format) {
            ('"' | '\\', _) => write!(out, "\\{c}"),
            ('\n', _) => out.write_str("\\n"),
            ('\r', _) => out.write_str("\\r"),
            ('\t', _) => out.write_str("\\t"),
            // All of them are in the basic plane, so that four digits are enough.
            (c, LogFormat::Json) if hidden => write!(out, "\\u{:04x}", c as u32),
            (c, LogFormat::Text) if hidden => write!(out, "\\u{{{:x}}}", c as u32),
            (c, _) => out.write_char(c),
        };
    }
}

/// Most lines are shorter.
const USUAL: usize = 320;
/// Bytes of one value: a path of PATH_MAX.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::UNIX_EPOCH;

    use serde_json::Value;

    use super::*;

    fn line(format: LogFormat, session: Option<&dyn fmt::Display>) -> Line {
        Line::new(format, &Head { time: UNIX_EPOCH, level: LogLevel::Info, room: "auth", session, message: "logged in" })
    }

    #[test]
    fn text_has_time_level_room_session_message_fields() {
        let mut one = line(LogFormat::Text, Some(&"s_1"));
        one.text("user", "alice");
        one.text("note", "two words");
        one.number("bytes", 7);
        assert_eq!(one.end(), "1970-01-01T00:00:00.000Z INFO  auth     s_1 logged in user=alice note=\"two words\" bytes=7\n");
        assert_eq!(line(LogFormat::Text, None).end(), "1970-01-01T00:00:00.000Z INFO  auth     - logged in\n");
    }

    #[test]
    fn json_is_one_object_with_what_was_said() {
        let mut one = line(LogFormat::Json, Some(&"s_1"));
        one.millis("took_ms", Duration::from_micros(1500));
        one.flag("proven", true);
        let text = one.end();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!((value["level"].as_str(), value["room"].as_str(), value["session"].as_str()), (Some("info"), Some("auth"), Some("s_1")));
        assert_eq!((value["message"].as_str(), value["took_ms"].as_f64(), value["proven"].as_bool()), (Some("logged in"), Some(1.5), Some(true)));
    }

    #[test]
    fn a_client_forges_neither_lines_nor_fields() {
        let hostile = "a\" b=1\\\r\n2026 ERROR x\u{1b}[2J\u{202e}\u{85}\u{7f}\0";
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut one = line(format, None);
            one.text("user", hostile);
            let text = one.end();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
            if format == LogFormat::Json {
                assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["user"], hostile);
            } else {
                assert!(text.contains("user=\"a\\\" b=1\\\\\\r\\n"), "{text:?}");
            }
        }
    }

    #[test]
    fn every_byte_gives_valid_json() {
        let every: Vec<u8> = (0..=255).collect();
        let mut one = line(LogFormat::Json, None);
        one.bytes("path", &every);
        let value: Value = serde_json::from_str(&one.end()).unwrap();
        assert!(value["path"].as_str().unwrap().ends_with("\\xfe\\xff"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut one = line(LogFormat::Json, None);
        one.text("path", &"ä".repeat(LONGEST));
        let value: Value = serde_json::from_str(&one.end()).unwrap();
        assert_eq!(value["path"].as_str().unwrap(), format!("{}…", "ä".repeat(LONGEST / 2)));
    }
}
