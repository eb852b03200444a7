//! Who may not come: the ban book of this node, which is that of the cluster.
//!
//! Gets: addresses, users, classes and certificates that come; events that rules count; bans and unbans of administrators and of other nodes.
//! Gives: whether a client is banned, from memory. Never: waits on the way of a connection, forgets a ban before its end, or bans whom `bans.never` protects.

mod ban;
mod book;
mod prefixes;
mod target;

pub use ban::{Ban, Change, NEVER, Term};
pub use book::{Book, Counts, Who};
pub use target::{Target, TargetError, certificate_names};
