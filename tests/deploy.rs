//! What an operator meets first: the quick start, README's lines, the example configuration, the metrics.
//!
//! Gets: the binary, README, promtool. Gives: a verdict on what is printed and written for people.
//! Never: changes a line before it runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod kit;

mod deploy {
    mod doctor;
    mod documents;
    mod quick_start;
    mod sidecar;
}
