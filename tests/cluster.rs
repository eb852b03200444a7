//! Several nodes as real processes behind a random balancer: what one node knows, all know; what one takes, all can serve.
//!
//! Gets: the binary that cargo built, real clients, Redis and memcached where they are installed. Gives: a verdict on each promise about a cluster.
//! Never: a cluster inside one process, a fixed port, a node that outlives its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod kit;

mod cluster {
    mod admin;
    mod balancer;
    mod bans;
    mod caches;
    mod contract;
    mod ctl;
    mod digests;
    mod doctor;
    mod everywhere;
    mod faults;
    mod haproxy;
    mod history;
    mod homes;
    mod limits;
    mod long;
    mod matrix;
    mod members;
    mod namespaces;
    mod nodes;
    mod oneway;
    mod outages;
    mod page;
    mod partition;
    mod prometheus;
    mod proxy;
    mod relays;
    mod routing;
    mod sealed;
    mod sessions;
    mod split;
    mod spread;
    mod staples;
    mod strangers;
}
