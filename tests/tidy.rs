//! The rules that keep the house in order, held by a test: rooms and arrows, headers, sizes, dependencies, one home for each name.
//!
//! Gets: the sources and the list of tracked files, as text. Gives: every break of a rule, with file and line.
//! Never: a rule that cannot be read here; an exception stands in a table with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod tidy {
    mod arrows;
    mod names;
    mod outside;
    mod shape;
    pub mod source;
}
