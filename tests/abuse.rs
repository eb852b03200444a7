//! What a flood, a slow client and a greedy one cost: every limit is reached, named, and nobody else notices.
//!
//! Gets: the binary that cargo built, with small limits, and clients that behave badly. Gives: a verdict on each limit and deadline.
//! Never: a limit that is only configured; a time that is asserted as performance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod kit;

mod abuse {
    mod bandwidth;
    mod commands;
    mod files;
    mod floods;
    mod hidden;
    mod limits;
}
