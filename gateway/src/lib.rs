//! The FTPS gateway: a TCP connection is accepted, its true address is known, it is admitted, secured and served as a session.
//!
//! Start reading in `pipeline`. The rooms and the arrows between them are listed in `ARCHITECTURE.md` and held by `tests/tidy.rs`.
//! Every step leaves one [`observe::Event`], which becomes a metric and a log line.

pub mod admin;
pub mod auth;
pub mod bans;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod conn;
pub mod data;
pub mod digest;
pub mod limits;
pub mod live;
pub mod net;
pub mod node;
pub mod observe;
pub mod pipeline;
pub mod session;
pub mod storage;
pub mod tls;
