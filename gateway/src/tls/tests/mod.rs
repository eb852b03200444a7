//! Real handshakes in memory: a rustls client against this room, in every way a session can be resumed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control;
mod data;
mod kit;
