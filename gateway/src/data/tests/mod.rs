//! What this room promises, over real sockets with a real TLS client.
//!
//! `stream`: bytes and ends. `channel`: proof, policy, candidates. `ports`: listeners and routing. `kit` is what they share.
//! Never: a fixed port, a wait without a deadline.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod channel;
mod kit;
mod ports;
mod stream;
