//! Homes: the node that knows, for one user, which sessions live on any node and who waits on which port.
//!
//! Each user has a home among the members, each address as well. A session registers with its user's before the reply to PASS; one that has company asks for
//! each port, one alone does not. `table` is what a home knows and decides, `desk` is what every node does: registers, asks, answers, tells everything anew
//! when the members change, `sight` is which homes a node sees. What a home says only keeps two sessions of one client off the same port; an arrival is still given to a session only when
//! exactly one node says that it waits there.
//! Never: costs a cluster of one anything, makes a login wait longer than 200 ms, lends proof to another client.

mod anew;
mod answers;
pub mod desk;
mod sight;
mod table;
mod words;
