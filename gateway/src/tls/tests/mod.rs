//! Real handshakes in memory: a rustls client against this room, in every way a session can be resumed.
//! No socket: two ends in memory, and a clock that the test sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certified;
mod control;
mod data;
pub(super) mod kit;
pub(super) mod ocsp;
