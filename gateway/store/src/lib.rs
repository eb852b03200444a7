//! Shared bytes with a lifetime, sealed, and where they are kept: Redis, memcached, shared memory, this process.
//!
//! Gets: values of the rooms (TLS sessions, staples, bans, digests). Gives: names that reveal nothing, envelopes that only the cluster opens,
//! and one small interface over four backends, each behind a deadline and a circuit breaker, in tiers.
//! Never: trusts what it reads. A value that does not open is a miss with a typed reason, so that it can be counted; an absent store is a miss, never a wait.
//! Start at [`vault::Vault`]: it is what a room holds. Below it stands [`tiers::Tiers`] (a store and its fallback), below that [`store::Store`] (one backend, guarded), below that the backends.

pub mod backend;
pub mod breaker;
pub mod error;
pub mod generation;
mod guard;
pub mod key;
pub mod location;
mod memcached;
mod memory;
mod queue;
mod redis;
pub mod report;
pub mod seal;
mod shm;
pub mod stats;
mod step;
pub mod store;
pub mod tiers;
pub mod vault;
pub mod wire;

#[cfg(test)]
mod tests;
