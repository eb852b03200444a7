//! What the doctor says: one finding for each thing looked at, in words, with the one thing to change.
//!
//! Gets: facts of the examination. Gives: text for a person, JSON for a script, and whether all is well.
//! Never: shows a password, or a byte of the server that is not printable.

use std::fmt::Write;

use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Well,
    /// It works, and somebody should know.
    Note,
    /// Something has to be changed.
    Bad,
    /// It could not be looked at, and why.
    Unseen,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) subject: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) seen: String,
    /// The one thing to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<String>,
}

impl Finding {
    pub(super) fn well(subject: &'static str, seen: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Well, seen: printable(&seen.into()), change: None }
    }

    pub(super) fn note(subject: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Note, seen: printable(&seen.into()), change: Some(change.into()) }
    }

    pub(super) fn bad(subject: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Bad, seen: printable(&seen.into()), change: Some(printable(&change.into())) }
    }

    pub(super) fn unseen(subject: &'static str, seen: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Unseen, seen: printable(&seen.into()), change: None }
    }
}

/// For a person: one line for each finding, the change below it, and a last line that sums up.
pub(super) fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Well => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
            Verdict::Unseen => "-   ",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}  {:<16}  {}", finding.subject, finding.seen);
        if let Some(change) = &finding.change {
            let _ = writeln!(text, "{:>24}  {change}", "→");
        }
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    let _ = match bad {
        0 => writeln!(text, "\nNothing is wrong."),
        1 => writeln!(text, "\nOne thing is wrong."),
        many => writeln!(text, "\n{many} things are wrong; begin with the first."),
    };
    text
}

/// For a script: `{"well": false, "findings": […]}`.
pub(super) fn as_json(findings: &[Finding]) -> String {
    let document = serde_json::json!({ "well": are_well(findings), "findings": findings });
    format!("{document:#}\n")
}

/// Nothing has to be changed.
pub(super) fn are_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Bad)
}

/// What a server says may hold anything; a terminal does not get it raw.
fn printable(text: &str) -> String {
    text.chars().take(LONGEST).map(|one| if one.is_control() { '?' } else { one }).collect()
}

/// Characters of one text.
const LONGEST: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_wrong_and_what_to_change() {
        let findings = [Finding::well("connection", "220 in 3 ms"), Finding::bad("data address", "announces 10.0.0.1\x1b[2J", "set data.public_address")];
        let text = as_text(&findings);
        assert!(text.contains("ok    connection"), "{text}");
        assert!(text.contains("BAD   data address      announces 10.0.0.1?[2J\n"), "{text}");
        assert!(text.contains("→  set data.public_address"), "{text}");
        assert!(text.ends_with("\nOne thing is wrong.\n"), "{text}");
        assert!(!are_well(&findings) && are_well(&findings[..1]));
        assert!(as_json(&findings).contains(r#""verdict": "bad""#));
    }
}
