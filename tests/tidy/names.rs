//! One home for each name: metrics, replies, verbs, golden files, transcripts.
//!
//! Gets: string literals of the sources, tracked files. Gives: names with two homes or none, files that nobody reads.
//! Never: judges the words themselves.

use std::collections::BTreeMap;

use super::source::{Source, root, tracked};

/// Where metrics are named, and nowhere else.
const METRICS_HOME: &str = "gateway/src/observe/";
/// Where replies are worded, and nowhere else.
const REPLIES_HOME: &str = "gateway/proto/src/reply.rs";

#[test]
fn metrics_are_named_in_one_place() {
    let mut wrong = Vec::new();
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for source in Source::product().iter().filter(|source| !source.is_test()) {
        for (offset, text) in source.product_strings().filter(|(_, text)| text.contains("ftps_gateway_")) {
            if !source.path.starts_with(METRICS_HOME) {
                wrong.push(format!("{}: {text:?} outside of {METRICS_HOME}", source.at(*offset)));
            }
            if let Some(home) = homes.insert(text.clone(), source.path.clone()).filter(|home| *home != source.path) {
                wrong.push(format!("{}: {text:?} is named in {home} too", source.at(*offset)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn replies_are_worded_in_one_place() {
    let mut wrong = Vec::new();
    for source in Source::product().iter().filter(|source| source.path != REPLIES_HOME && !source.is_test() && source.path.starts_with("gateway/src/")) {
        for (offset, text) in source.product_strings() {
            let bytes = text.as_bytes();
            let code = bytes.len() > 5 && bytes[..3].iter().all(u8::is_ascii_digit) && (b'1'..=b'5').contains(&bytes[0]) && matches!(bytes[3], b' ' | b'-');
            // `220 …` is a reply; a client of our own compares codes, not lines.
            if code && bytes[4].is_ascii_uppercase() {
                wrong.push(format!("{}: {text:?}", source.at(*offset)));
            }
        }
    }
    assert!(wrong.is_empty(), "replies outside of {REPLIES_HOME}:\n{}", wrong.join("\n"));
}

#[test]
fn store_keys_are_made_in_one_place() {
    let mut homes: Vec<String> = Vec::new();
    for source in Source::product().iter().filter(|source| !source.is_test()) {
        // `ftps-gateway: …` with a space is a message.
        if source.product_strings().any(|(_, text)| text.starts_with("ftps-gateway:") && !text.starts_with("ftps-gateway: ")) {
            homes.push(source.path.clone());
        }
    }
    assert!(homes.len() <= 1, "keys of the store are made in {homes:?}");
}

#[test]
fn every_golden_file_is_read_by_a_test() {
    let sources = Source::all();
    let golden = tracked().into_iter().filter(|path| path.ends_with(".golden") || path.contains("/golden/"));
    let unread: Vec<_> = golden.filter(|path| !sources.iter().any(|source| source.text.contains(path.rsplit('/').next().unwrap()))).collect();
    assert!(unread.is_empty(), "golden files that no test reads: {unread:?}");
}

#[test]
fn every_transcript_is_run_against_the_machine_and_a_socket() {
    let files: Vec<_> = tracked().into_iter().filter(|path| path.starts_with("tests/transcripts/")).collect();
    assert!(files.len() >= 5, "transcripts: {files:?}");
    let strange: Vec<_> = files.iter().filter(|path| !path.ends_with(".txt") && !path.ends_with("/README")).collect();
    assert!(strange.is_empty(), "not a transcript: {strange:?}");
    // Both runners take the whole directory.
    let reads = |prefix: &str| {
        Source::all().iter().any(|source| source.path.starts_with(prefix) && source.strings.iter().any(|(_, text)| text.contains("transcripts")))
    };
    assert!(reads("gateway/proto/"), "the machine runs them");
    assert!(reads("tests/wire/"), "a socket runs them");
}

#[test]
fn every_broken_configuration_has_its_messages() {
    let files: Vec<_> = tracked().into_iter().filter(|path| path.starts_with("tests/broken-config/")).collect();
    assert!(files.iter().filter(|path| path.ends_with(".yaml")).count() >= 20, "{files:?}");
    for messages in files.iter().filter(|path| path.ends_with(".txt")) {
        assert!(root().join(messages.replace(".txt", ".yaml")).exists(), "{messages} has no file");
    }
}
