//! FTP over TLS as pure values: bytes and events in, bytes and actions out.
//!
//! Gets: wire bytes, outcomes of jobs. Gives: commands, replies, actions, listing lines, checked paths.
//! Never: touches a socket, a file, a clock or a log. Time is an argument.

pub mod addr;
pub mod command;
pub mod der;
pub mod digest;
#[doc(hidden)]
pub mod fuzzing;
pub mod glob;
pub mod hello;
pub mod line;
pub mod listing;
pub mod machine;
pub mod ocsp;
pub mod parse;
pub mod path;
pub mod proof;
pub mod proxy;
pub mod reply;
pub mod time;
pub mod verbs;
