//! What this room promises, over real sockets with a real TLS client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod channel;
mod kit;
mod ports;
mod stream;
