//! Decides whether a connection may go on: allowed networks first, then limits.
//!
//! Gets: the true client address. Gives: a permit held until close, or a refusal that says itself.
//! Never: waits for the network.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use ftps_proto::reply::{RefusedAtDoor, Reply};
use ipnet::IpNet;

use super::Known;
use crate::limits::{Limits, Permit};
use crate::net::origin::Balancers;
use crate::observe::event::{Listener, RefuseReason};
use crate::observe::{Event, Observer, Subject};

/// The door: what is asked of every connection.
#[derive(Debug)]
pub struct Admission {
    allow_from: ArcSwap<Vec<IpNet>>,
    balancers: Balancers,
    limits: Limits,
    draining: AtomicBool,
}

/// A connection that may go on, with what it holds until it closes.
#[derive(Debug)]
pub struct Admitted {
    /// The connection.
    pub known: Known,
    /// Its share of the limits.
    pub permit: Permit,
}

/// A connection that may not.
#[derive(Debug)]
pub struct Refused {
    known: Known,
    reason: RefuseReason,
}

impl Admission {
    /// A door with these rules.
    pub fn new(allow_from: Vec<IpNet>, balancers: Balancers, limits: Limits) -> Self {
        Self { allow_from: ArcSwap::from_pointee(allow_from), balancers, limits, draining: AtomicBool::new(false) }
    }

    /// Who has to say by a header whose connections it brings.
    pub fn balancers(&self) -> &Balancers {
        &self.balancers
    }

    /// From now on these networks may connect; empty: any.
    pub fn allow_from(&self, networks: Vec<IpNet>) {
        self.allow_from.store(Arc::new(networks));
    }

    /// Whether `listen.allow_from` lets this (true) address connect at all, for control or data.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let networks = self.allow_from.load();
        networks.is_empty() || networks.iter().any(|network| network.contains(&ip))
    }

    /// From now on nobody is admitted: the node drains.
    pub fn close(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The node drains no longer.
    pub fn open(&self) {
        self.draining.store(false, Ordering::Relaxed);
    }
}

impl Known {
    /// Passes the door.
    ///
    /// # Errors
    /// The refusal, which still has to be said.
    // The refusal owns the connection; boxing it would only move an allocation into the path of a flood.
    #[allow(clippy::result_large_err)]
    pub fn admit(self, door: &Admission) -> Result<Admitted, Refused> {
        let ip = self.peer.ip();
        if !door.allows(ip) {
            return Err(Refused { known: self, reason: RefuseReason::NotAllowed });
        }
        if door.draining.load(Ordering::Relaxed) {
            return Err(Refused { known: self, reason: RefuseReason::Draining });
        }
        match door.limits.admit(ip) {
            Ok(permit) => Ok(Admitted { known: self, permit }),
            // The limit has counted itself.
            Err(_limit) => Err(Refused { known: self, reason: RefuseReason::Limit }),
        }
    }
}

impl Refused {
    /// One event, and 421 where clear text is expected; an implicit listener's client expects a ServerHello, so it gets a plain close.
    pub fn say(self, observer: &Observer) {
        let subject = Subject { peer: Some(self.known.peer), ..Subject::default() };
        observer.event(subject, &Event::Refused { listener: self.known.listener, reason: self.reason });
        if self.known.listener == Listener::Explicit {
            let mut text = Vec::with_capacity(64);
            Reply::Refused(at_door(self.reason)).write(&mut text);
            // A new socket's buffer takes one line; if not, the client has gone and waiting would serve an attacker.
            let _ = self.known.stream.try_write(&text);
        }
    }
}

fn at_door(reason: RefuseReason) -> RefusedAtDoor {
    match reason {
        RefuseReason::NotAllowed => RefusedAtDoor::NotAllowed,
        RefuseReason::Limit => RefusedAtDoor::TooManySessions,
        RefuseReason::Draining => RefusedAtDoor::Draining,
    }
}
