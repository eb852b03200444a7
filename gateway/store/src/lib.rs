//! Shared bytes with a lifetime, sealed.
//!
//! Gets: values of the rooms (TLS sessions, staples, bans, digests). Gives: names that reveal nothing and envelopes that only the cluster opens.
//! Never: trusts what it reads. A value that does not open is a miss with a typed reason, so that it can be counted.

pub mod key;
pub mod seal;
pub mod wire;
