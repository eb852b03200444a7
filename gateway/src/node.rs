//! Builds, reloads and drains the node: the only file that knows all rooms.
//!
//! Gets: a checked configuration and users. Gives: a node that serves until it is told to stop.
//! Never: serves a connection itself; `pipeline` does.
