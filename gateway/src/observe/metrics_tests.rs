//! What `metrics` promises: every series from the start, a bounded number of them, no client text, the names in the golden file.
//!
//! Gets: events made up here. Gives: verdicts on the text of `/metrics`.
//! Never: a registry of its own; it sees what Prometheus sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command as Program, Stdio};

use ftps_proto::machine::io::{CloseCause, EndReason, FileError};
use ftps_proto::verbs::Verb;

use super::*;
use crate::observe::event::RefuseReason;
use crate::observe::id::TransferId;

fn fresh() -> Metrics {
    Metrics::new(Build { version: "1", revision: "r", rustc: "c" })
}

fn say(metrics: &Metrics, event: Event<'_>) {
    let subject = Subject { session: None, peer: Some("203.0.113.7:4711".parse().unwrap()), user: Some("mallory") };
    metrics.event(subject, &event);
}

/// The value of a series, by its name and labels as in the text.
fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.render();
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no series {series}")).parse().unwrap()
}

#[test]
fn there_are_at_most_2500_series() {
    let text = fresh().render();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 2500, "{series} series");
    assert!(series > 300, "{series} series: not every label set is there from the start");
}

#[test]
fn names_types_and_labels_are_those_of_the_golden_file() {
    let text = fresh().render();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let types: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, inside) = series.split_once('{').unwrap_or((series, ""));
        let family = [name, name.trim_end_matches("_bucket"), name.trim_end_matches("_sum"), name.trim_end_matches("_count")];
        let family = family.into_iter().find(|name| types.contains_key(name)).unwrap();
        let names = inside.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).filter(|name| *name != "le");
        labels.entry(family).or_default().extend(names);
    }
    let mut found = String::new();
    for (name, kind) in types {
        let labels: Vec<&str> = labels[name].iter().copied().collect();
        found += format!("{name} {kind} {}", labels.join(",")).trim_end();
        found.push('\n');
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/observe/metrics.golden");
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(golden, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap_or_default(), found, "look at the difference; if it is meant, run again with BLESS=1");
}

#[test]
fn nothing_a_client_says_is_in_the_text() {
    let metrics = fresh();
    let error = std::io::Error::other("mallory's disk");
    let id = TransferId::now();
    say(&metrics, Event::LoggedIn { method: LoginMethod::Password, took: Duration::from_millis(80) });
    say(&metrics, Event::TransferStarted { id, direction: Direction::Upload, path: b"/mallory.txt" });
    say(&metrics, Event::StorageFailed { operation: "mallory", kind: FileError::NoSpace, error: &error });
    say(&metrics, Event::HandshakeFailed { channel: Channel::Data, reason: HandshakeFailure::Alpn, detail: "mallory" });
    say(&metrics, Event::Reloaded { what: Reloadable::Users, error: Some("mallory") });
    let text = metrics.render();
    assert!(!text.contains("mallory") && !text.contains("203.0.113.7"), "{text}");
    assert_eq!(value(&metrics, "ftps_gateway_storage_errors_total{kind=\"no_space\",op=\"other\"}"), 1.0);
}

#[test]
fn a_connection_is_counted_by_listener_and_outcome() {
    let metrics = fresh();
    say(&metrics, Event::Accepted { listener: Listener::Implicit });
    say(&metrics, Event::Refused { listener: Listener::Explicit, reason: RefuseReason::Limit });
    assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"implicit\",outcome=\"accepted\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"explicit\",outcome=\"limit\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_connections_total{listener=\"data\",outcome=\"limit\"}"), 0.0);
}

#[test]
fn a_command_is_counted_by_verb_and_class_and_timed_by_its_work() {
    let metrics = fresh();
    say(&metrics, Event::Command { verb: Some(Verb::Mlsd), code: 226, took: Duration::from_millis(3) });
    say(&metrics, Event::Command { verb: None, code: 500, took: Duration::ZERO });
    assert_eq!(value(&metrics, "ftps_gateway_commands_total{class=\"2xx\",command=\"MLSD\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_commands_total{class=\"5xx\",command=\"other\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_command_duration_seconds_bucket{class=\"list\",le=\"0.0025\"}"), 0.0);
    assert_eq!(value(&metrics, "ftps_gateway_command_duration_seconds_bucket{class=\"list\",le=\"0.005\"}"), 1.0);
}

#[test]
fn a_question_for_a_password_is_no_failed_login() {
    let metrics = fresh();
    say(&metrics, Event::LoginRefused { refusal: LoginRefusal::PasswordNeeded, why: LoginFault::EmptyPassword });
    assert_eq!(value(&metrics, "ftps_gateway_logins_total{method=\"password\",result=\"failure\"}"), 0.0);
    say(&metrics, Event::LoginRefused { refusal: LoginRefusal::Incorrect, why: LoginFault::UnknownUser });
    assert_eq!(value(&metrics, "ftps_gateway_logins_total{method=\"password\",result=\"failure\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_login_failures_total{reason=\"unknown_user\"}"), 1.0);
}

#[test]
fn a_transfer_is_active_until_it_ends_and_its_manners_are_counted() {
    let metrics = fresh();
    let (id, direction, path) = (TransferId::now(), Direction::Upload, b"/a".as_slice());
    say(&metrics, Event::TransferStarted { id, direction, path });
    assert_eq!(value(&metrics, "ftps_gateway_transfers_active{direction=\"upload\"}"), 1.0);
    let ended = |result, proven, end| Event::TransferEnded { id, direction, path, result, bytes: 10, took: Duration::from_secs(2), proven, end };
    say(&metrics, ended(TransferResult::Complete, false, StreamEnd::Fin));
    assert_eq!(value(&metrics, "ftps_gateway_transfers_active{direction=\"upload\"}"), 0.0);
    assert_eq!(value(&metrics, "ftps_gateway_transfers_total{direction=\"upload\",result=\"complete\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_transfer_bytes_total{direction=\"upload\"}"), 10.0);
    assert_eq!((value(&metrics, "ftps_gateway_data_unproven_total"), value(&metrics, "ftps_gateway_uploads_unclean_end_total")), (1.0, 1.0));
    // A transfer without a connection proved nothing and refused nothing.
    say(&metrics, ended(TransferResult::NoConnection(DataRefusal::Timeout), false, StreamEnd::Open));
    assert_eq!(value(&metrics, "ftps_gateway_data_unproven_total"), 1.0);
}

#[test]
fn a_session_ends_for_one_reason() {
    let metrics = fresh();
    let reason = CloseReason::Machine(CloseCause::Ended(EndReason::IdleTimeout));
    say(&metrics, Event::Closed { reason, took: Duration::from_secs(400) });
    assert_eq!(value(&metrics, "ftps_gateway_sessions_closed_total{reason=\"idle_timeout\"}"), 1.0);
    assert_eq!(value(&metrics, "ftps_gateway_session_duration_seconds_count"), 1.0);
}

#[test]
fn a_refused_reload_keeps_the_time_of_the_last_good_one() {
    let metrics = fresh();
    let before = value(&metrics, "ftps_gateway_config_last_reload_success_timestamp_seconds");
    assert!(before > 1.0e9);
    say(&metrics, Event::Reloaded { what: Reloadable::Config, error: Some("line 3") });
    assert_eq!(value(&metrics, "ftps_gateway_config_last_reload_successful"), 0.0);
    assert_eq!(value(&metrics, "ftps_gateway_config_last_reload_success_timestamp_seconds"), before);
}

#[test]
fn gauges_of_other_rooms_are_asked_at_each_scrape() {
    let metrics = fresh();
    metrics.on_scrape(|metrics| metrics.set_sessions(1, 2, 3));
    metrics.on_scrape(|metrics| metrics.set_log_dropped(7));
    assert_eq!(value(&metrics, "ftps_gateway_sessions{state=\"transfer\"}"), 3.0);
    assert_eq!(value(&metrics, "ftps_gateway_log_dropped_total"), 7.0, "a total that is told twice counts once");
    assert!(value(&metrics, "process_resident_memory_bytes") > 0.0);
    assert!(value(&metrics, "process_open_fds") >= 1.0);
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let checker = Program::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut checker) = checker else {
        println!("SKIPPED promtool");
        return;
    };
    checker.stdin.take().unwrap().write_all(fresh().render().as_bytes()).unwrap();
    let said = checker.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
}
