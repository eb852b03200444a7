//! `ctl` as an operator uses it at night, on three nodes: what it prints, as it prints it, and what it does everywhere.
//!
//! Gets: three nodes behind a balancer that says who its clients are. Gives: `tests/transcripts/ctl/night.txt`, in which only what varies is masked.
//! Never: trusts the words alone: a session that was ended has read why.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::admin::{ask, joined, tokens};
use crate::kit::{self, Cluster, Pick, Run, Setup, Tell, Tls, Tree, Version, binary, random_bytes, register, unregister, users_file};

/// What is typed, and what came.
struct Shell {
    url: String,
    token: String,
    transcript: String,
}

impl Shell {
    /// Types a line and gives what it prints.
    fn type_in(&mut self, line: &str) -> String {
        let output = Run::new(binary(), self.arguments(line)).run();
        let text = output.text();
        let end = output.code.filter(|code| *code != 0).map(|code| format!("(exit code {code})\n")).unwrap_or_default();
        self.note(line, &format!("{text}{}{end}", output.stderr));
        text
    }

    /// Types a line that goes on by itself, and ends it when it has printed twice.
    fn watch(&mut self, line: &str, tree: &Tree) {
        let file = tree.join("watched");
        let mut command = Command::new(binary());
        command.args(self.arguments(line)).stdin(Stdio::null()).stdout(std::fs::File::create(&file).unwrap()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        register(child.id());
        let printed = || std::fs::read_to_string(&file).unwrap();
        kit::eventually(20, "it looks twice", || printed().matches("ADDRESS").count() == 2);
        unregister(child.id());
        let _ = child.kill();
        let _ = child.wait();
        let both = printed();
        let half = both[1..].find("ID ").map_or(0, |at| at + 1);
        assert_eq!(both[..half], both[half..], "nothing has changed meanwhile");
        self.note(line, &format!("{both}^C\n"));
    }

    fn arguments<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let quoted = line.split('\'').enumerate().flat_map(|(place, part)| if place % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
        ["ctl", "--url", &self.url, "--token-file", &self.token].into_iter().chain(quoted).collect()
    }

    fn note(&mut self, line: &str, text: &str) {
        self.transcript.push_str(&format!("$ ftps-gateway ctl {line}\n{}\n", columns(&masked(text))));
    }
}

/// Ids, times and fingerprints are others each time.
fn masked(text: &str) -> String {
    let inside = |one: char| one.is_ascii_alphanumeric() || "_.:-".contains(one);
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|one| !inside(one)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let inner = word.trim_end_matches([':', '.']);
        match inner.split_once(':').filter(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')) {
            Some((key, value)) => out.push_str(&format!("{key}:{}", tame(value))),
            None => out.push_str(&tame(inner)),
        }
        out.push_str(&word[inner.len()..]);
        let next = after.find(inside).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

/// One word.
fn tame(word: &str) -> String {
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shape: String = word.chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
    match word.split_once('_') {
        Some((kind, id)) if kind.len() == 1 && (id.len() == 26 || hex(id, 24)) => return format!("{kind}_ID"),
        _ => {}
    }
    match shape.as_str() {
        "0000-00-00" => "DATE".into(),
        "00:00:00" => "TIME".into(),
        "0.0s" => "N.Ns".into(),
        "0000-00-00T00:00:00.000Z" => "DATETIME".into(),
        _ if hex(word, 64) => "HEX".into(),
        _ => word.into(),
    }
}

/// Puts the columns of tables under each other again, after what stood in them was masked.
fn columns(text: &str) -> String {
    let cells = |line: &str| -> Vec<String> {
        if line.starts_with(' ') {
            return vec![line.to_owned()];
        }
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let rows: Vec<Vec<String>> = text.lines().map(cells).collect();
    let mut out = String::new();
    for block in rows.chunk_by(|one, next| one.len() == next.len()) {
        let width = |column: usize| block.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..block[0].len()).map(width).collect();
        for row in block {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            out.push_str(cells.join("  ").trim_end());
            out.push('\n');
        }
    }
    out
}

/// A session of this user from 203.0.113.N, on that node.
fn session(cluster: &Cluster, user: &str, last: u8, node: usize) -> kit::Client {
    cluster.balancer.pick(Pick::Fixed { control: node, data: node });
    let mut client = kit::Client::open_from(kit::Entrance::explicit(cluster), &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, last));
    client.expect(220);
    client.secure();
    client.login(user);
    client
}

#[test]
// long: one line for each command of the night.
fn a_night_with_ctl_reads_as_the_transcript_and_a_ban_ends_sessions_on_all_nodes() {
    kit::test(240, || {
        let tree = Tree::new();
        let users = users_file(&[("alice", "/", "all"), ("bob", "/", "all")]);
        let setup = Setup { nodes: 3, users, tell: Tell::public(2), ..Setup::default() };
        let cluster = Cluster::with(setup.key("admin", "tokens_file", &tokens(&tree)));
        joined(&cluster, 3);
        let token = tree.write("token", b"root-token-0123456789\n").display().to_string();
        let mut shell = Shell { url: format!("http://{}", cluster.node(0).admin), token, transcript: String::new() };
        // Ids are ordered by time.
        let pause = || std::thread::sleep(Duration::from_millis(5));
        let mut guests = Vec::new();
        for node in 0..3 {
            guests.push(session(&cluster, "bob", 7, node));
            pause();
        }
        let mut alice = session(&cluster, "alice", 8, 1);
        alice.put("STOR /report.csv", &random_bytes(200_000)).is(226);
        pause();
        alice.get("RETR /report.csv");
        pause();
        shell.type_in("nodes");
        shell.watch("sessions --watch", &tree);
        shell.type_in("transfers");
        shell.type_in("clients");
        let said = shell.type_in("ban add 203.0.113.7 --for 1h --reason 'tries passwords' --dry-run");
        assert!(said.contains("sessions_ended: 3"), "{said}");
        guests[2].command("NOOP").is(200);
        let said = shell.type_in("ban add 203.0.113.7 --for 1h --reason 'tries passwords'");
        assert!(said.contains("sessions_ended: 3") && said.contains("applied on all 3 nodes"), "{said}");
        for guest in &mut guests {
            guest.expect(421);
        }
        for node in 0..3 {
            cluster.balancer.pick(Pick::Fixed { control: node, data: node });
            let mut again = kit::Client::open_from(kit::Entrance::explicit(&cluster), &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, 7));
            again.expect(421);
        }
        alice.command("NOOP").is(200);
        shell.type_in("bans");
        shell.type_in("bans check 203.0.113.7 user:bob");
        shell.type_in("bans counters");
        let exported = shell.type_in("bans export");
        let file = tree.write("bans.jsonl", exported.as_bytes()).display().to_string();
        shell.type_in("bans rm 203.0.113.7");
        drop(session(&cluster, "bob", 7, 2));
        assert!(Run::new(binary(), shell.arguments(&format!("bans import {file}"))).run().ok().text().contains("imported: 1"));
        shell.type_in("bans --source admin");
        shell.type_in("bans rm --source admin");
        // A session that was ended waits a moment for its client.
        kit::eventually(20, "alice alone is here", || {
            let here = ask(cluster.node(0), "GET", "/sessions", "looker", None).body;
            here["items"].as_array().is_some_and(|items| items.len() == 1)
        });
        shell.type_in("drain node-2");
        shell.type_in("nodes");
        shell.type_in("undrain node-2");
        shell.type_in("drain node-7");
        shell.type_in("sessions kick --user alice");
        alice.expect(421);
        shell.type_in("ban add 0.0.0.0/0 --for 1h");
        compare(&shell.transcript);
    });
}

fn compare(transcript: &str) {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts/ctl/night.txt");
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, transcript).unwrap();
    }
    let known = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(known == transcript, "look at the difference; if it is meant, run again with BLESS=1\n--- known\n{known}\n--- now\n{transcript}");
}
