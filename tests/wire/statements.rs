//! The table of what the RFCs say and what shows it: nothing in it may be gone, and no command may be missing from the transcripts.
//!
//! Gets: tests/STATEMENTS.md, the transcripts, the list of commands as the server itself tells it. Gives: rows whose witness is not there.
//! Never: judges whether a statement holds; that is what the witnesses do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::transcripts::{files, sessions};
use crate::kit::{self, Client, Node};

#[test]
fn every_statement_has_a_verdict_and_a_witness() {
    let table = std::fs::read_to_string(repository("tests/STATEMENTS.md")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().filter(|line| line.starts_with("| ")).map(cells).filter(|cells| cells[0] != "where").collect();
    assert!(rows.len() > 90, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let [place, statement, verdict, witness] = row[..] else {
            wrong.push(format!("{row:?}: not four cells"));
            continue;
        };
        let reason = verdict.split_once(": ").map_or("", |(_, reason)| reason);
        let judged = verdict.starts_with("yes") || (verdict.starts_with("no: ") || verdict.starts_with("n/a: ")) && reason.len() > 10;
        let named = witness.trim_matches('`');
        // What does not exist cannot always be shown.
        let shown = if named.is_empty() { verdict.starts_with("n/a") } else { stands(named) };
        if !(judged && shown) {
            wrong.push(format!("{place}, {statement}: {verdict}: {witness}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// HELP tells the commands; each stands in a transcript that runs over a socket, and is answered there as a command that is known.
#[test]
fn every_command_is_spoken_over_a_socket() {
    kit::test(60, || {
        let node = Node::start();
        let help = Client::ready(&node).command("HELP").text;
        let lines = help.lines().filter(|line| line.starts_with(' '));
        let mut commands: BTreeSet<String> = lines.flat_map(str::split_whitespace).map(str::to_owned).collect();
        assert!(commands.len() > 50, "{help}");
        commands.extend(["XCUP", "XCWD", "XMKD", "XPWD", "XRMD"].map(str::to_owned));
        for file in files() {
            let text = std::fs::read_to_string(file).unwrap();
            for session in sessions(&text).iter().filter(|session| !session.bare) {
                // `> login` says these.
                session.lines.iter().filter_map(|(_, line)| line.strip_prefix("C: ")).for_each(|line| {
                    commands.remove(&line.split(' ').next().unwrap_or_default().to_ascii_uppercase());
                });
            }
        }
        assert!(commands.is_empty(), "in no transcript: {commands:?}");
    });
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim_start_matches('|').trim_end();
    inner.strip_suffix('|').unwrap_or(inner).split(" | ").map(str::trim).collect()
}

/// `file: line` of a transcript, or `suite::file::name` of a test.
fn stands(witness: &str) -> bool {
    if let Some((file, line)) = witness.split_once(": ").filter(|(file, _)| !file.contains("::")) {
        let text = std::fs::read_to_string(repository(&format!("tests/transcripts/{file}.txt"))).unwrap_or_default();
        return text.lines().any(|other| other == line);
    }
    let Some((path, name)) = witness.rsplit_once("::") else { return false };
    let path = match path.split_once("::") {
        Some(("proto", rest)) => format!("gateway/proto/src/{rest}"),
        Some(("gateway", rest)) => format!("gateway/src/{rest}"),
        _ => format!("tests/{path}"),
    };
    let source = std::fs::read_to_string(repository(&format!("{}.rs", path.replace("::", "/")))).unwrap_or_default();
    source.contains(&format!("fn {name}()"))
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
