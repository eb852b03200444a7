//! Rooms and arrows: a room uses rooms with a greater number and the crates; equal numbers do not know each other.
//!
//! Gets: every `crate::…` and `super::…` outside tests. Gives: the arrows that the list does not have.
//! Never: an arrow added here alone: `gateway/ARCHITECTURE.md` argues it first.

use std::collections::BTreeSet;

use super::source::{Source, root};

/// The rooms of `gateway/src`, from the way in down to what everybody uses.
const ROOMS: [(&str, u8); 20] = [
    ("cli", 0),
    ("node", 0),
    ("config", 1),
    ("pipeline", 1),
    ("conn", 2),
    ("admin", 2),
    ("session", 3),
    ("data", 4),
    ("digest", 4),
    ("bans", 5),
    ("limits", 5),
    ("auth", 5),
    ("storage", 5),
    ("tls", 5),
    ("cluster", 6),
    ("live", 7),
    ("net", 8),
    ("observe", 9),
    ("lib", 10),
    ("main", 10),
];

/// Arrows between equal numbers or upwards, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("cli", "node", "`serve` builds a node; the node knows nothing of the command line"),
    ("node", "pipeline", "the node hands the pipeline its parts; nobody else starts it"),
];

/// Words of `proto`'s sources that would make it impure.
const IMPURE: [&str; 10] = ["tokio", "std::fs", "std::thread", "SystemTime", "Instant::now", "TcpStream", "UdpSocket", "println!", "tracing::", "std::env"];

#[test]
fn rooms_use_only_rooms_below_them() {
    let mut wrong = Vec::new();
    for source in Source::product().iter().filter(|source| source.path.starts_with("gateway/src/") && !source.is_test()) {
        let room = room_of(&source.path);
        for (offset, used) in uses(source) {
            let Some(to) = number(&used) else { continue };
            let from = number(&room).unwrap_or_else(|| panic!("{}: the room `{room}` is not in the list", source.path));
            let excepted = EXCEPTIONS.iter().any(|(a, b, _)| *a == room && *b == used);
            if used != room && to <= from && !excepted && !matches!(room.as_str(), "lib" | "main") {
                wrong.push(format!("{}: `{room}` ({from}) uses `{used}` ({to})", source.at(offset)));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE does not have:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_list_and_declared() {
    let declared: BTreeSet<String> =
        Source::product().iter().map(|source| source.path.clone()).filter(|path| path.starts_with("gateway/src/")).map(|path| room_of(&path)).collect();
    let unknown: Vec<_> = declared.iter().filter(|room| number(room).is_none()).collect();
    assert!(unknown.is_empty(), "rooms without a number: {unknown:?}");
    for (_, _, reason) in EXCEPTIONS {
        assert!(reason.len() > 20, "an exception has a reason");
    }
}

#[test]
fn proto_is_pure() {
    let mut wrong = Vec::new();
    for source in Source::product().iter().filter(|source| source.path.starts_with("gateway/proto/src/") && !source.is_test()) {
        let code = &source.product_code;
        for word in IMPURE {
            wrong.extend(code.match_indices(word).map(|(offset, _)| format!("{}: {word}", source.at(offset))));
        }
    }
    assert!(wrong.is_empty(), "proto touches no socket, file, clock or log:\n{}", wrong.join("\n"));
    let manifest = std::fs::read_to_string(root().join("gateway/proto/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default();
    assert!(dependencies.trim().is_empty(), "proto stands on std alone: {dependencies}");
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for source in Source::all().iter().filter(|source| source.path != "tests/tidy/arrows.rs") {
        let found = source.code.find("unsafe ").or_else(|| source.code.find("allow(unsafe_code"));
        assert!(found.is_none() || source.path.starts_with("gateway/fuzz/"), "{}: unsafe code", source.at(found.unwrap_or(0)));
    }
    for manifest in ["gateway/Cargo.toml", "gateway/proto/Cargo.toml", "gateway/store/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest}: takes the workspace's lints");
    }
}

/// `gateway/src/tls/tickets.rs` and `gateway/src/tls.rs` are the room `tls`.
fn room_of(path: &str) -> String {
    let inside = path.trim_start_matches("gateway/src/");
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
}

fn number(room: &str) -> Option<u8> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, number)| *number)
}

/// First names behind `crate::` and behind `super::` chains that reach the top, outside tests.
fn uses(source: &Source) -> Vec<(usize, String)> {
    let code = &source.product_code;
    let mut found = Vec::new();
    for (offset, _) in code.match_indices("crate::").filter(|(offset, _)| !code[..*offset].ends_with(['$', '_'])) {
        found.extend(first_names(&code[offset + "crate::".len()..]).into_iter().map(|name| (offset, name)));
    }
    let inside = source.path.trim_start_matches("gateway/src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let climb = "super::".repeat(inside.split('/').count());
    for (offset, _) in code.match_indices(&climb).filter(|(offset, _)| !code[..*offset].ends_with("super::")) {
        let rest = &code[offset + climb.len()..];
        if !rest.starts_with("super::") {
            found.extend(first_names(rest).into_iter().map(|name| (offset, name)));
        }
    }
    found
}

/// `a::b` gives a; `{a::b, c::{d, e}}` gives a and c.
fn first_names(text: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![word(text)] };
    let (mut names, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(&group[from..at]));
                from = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_reader_of_arrows_sees_all_forms() {
    let names = |path: &str, text: &str| uses(&Source::new(path, text)).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("gateway/src/tls/mod.rs", "use crate::{net::{a, b}, live, observe::id};"), ["net", "live", "observe"]);
    assert_eq!(names("gateway/src/tls/mod.rs", "fn a() { crate::conn::b(); super::data::c() }"), ["conn", "data"]);
    assert_eq!(names("gateway/src/tls/tickets.rs", "use super::keys; use super::super::conn::a;"), ["conn"]);
    assert_eq!(names("gateway/src/tls/mod.rs", "// crate::conn\n#[cfg(test)] mod tests { use crate::conn; }"), [""; 0]);
}
