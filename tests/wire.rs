//! The real binary and real clients over real sockets: what a user relies on, and what an attacker tries.
//!
//! Gets: the binary that cargo built, curl, lftp, Python, openssl. Gives: a verdict on each promise of README.
//! Never: a fixed port, a test without a deadline, a time that is asserted as performance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod kit;

mod wire {
    mod certificates;
    mod clients;
    mod command_line;
    mod control;
    mod data;
    mod digest_memory;
    mod digest_rules;
    mod digests;
    mod life;
    mod reload;
    mod secure;
    mod statements;
    mod theft;
    mod transcripts;
    mod transfer_log;
    mod uploads;
    mod users;
}
