//! The odd client of the oldest partner and the odd name on its disk: what other servers get wrong.
//!
//! Gets: the binary that cargo built, clients of five languages, files that nobody would create. Gives: a verdict for each client and each name.
//! Never: a setting that helps a client along: the gateway runs with its defaults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod kit;

mod clients {
    mod active;
    mod ascii;
    mod commands;
    mod listings;
    mod mirrors;
    mod names;
    mod parallel;
    mod pyftpdlib;
    mod scripts;
    mod single_use;
    mod wire;
}
