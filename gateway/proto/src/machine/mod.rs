//! The session machine: what a session knows and decides.

pub mod io;
