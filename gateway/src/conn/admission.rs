//! Decides whether a connection may go on: allowed networks first, then bans, then limits.
//!
//! Gets: the true client address. Gives: a permit held until close, or a refusal that says itself.
//! Never: waits for a client, or for another node longer than limits say.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use ftps_proto::reply::{RefusedAtDoor, Reply, Words};
use ipnet::IpNet;

use super::Known;
use crate::bans::Bans;
use crate::limits::{Limits, Permit};
use crate::net::origin::Balancers;
use crate::observe::event::{Listener, RefuseReason};
use crate::observe::{Event, Observer, Subject};

/// The door: what is asked of every connection.
#[derive(Debug)]
pub struct Admission {
    allow_from: ArcSwap<Vec<IpNet>>,
    balancers: Balancers,
    bans: Bans,
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
    /// It is banned, and only goes on so far that it can be told so (`bans.implicit_reply: reply`).
    pub banned: Option<Words>,
}

/// A connection that may not.
#[derive(Debug)]
pub struct Refused {
    known: Known,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// Not said yet.
    Reason(RefuseReason),
    /// The refusal was counted when the ban was found.
    Banned(Words),
}

impl Admission {
    /// A door with these rules.
    pub fn new(allow_from: Vec<IpNet>, balancers: Balancers, bans: Bans, limits: Limits) -> Self {
        Self { allow_from: ArcSwap::from_pointee(allow_from), balancers, bans, limits, draining: AtomicBool::new(false) }
    }

    /// Whether a (true) address may bring a data connection; a ban is counted here.
    ///
    /// # Errors
    /// Why not; `None` when that was said.
    pub fn allows_data(&self, ip: IpAddr) -> Result<(), Option<RefuseReason>> {
        if !self.allows(ip) {
            return Err(Some(RefuseReason::NotAllowed));
        }
        self.bans.at_door(ip, Listener::Data).map_or(Ok(()), |_| Err(None))
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
    pub async fn admit(self, door: &Admission) -> Result<Admitted, Refused> {
        let ip = self.peer.ip();
        if !door.allows(ip) {
            return Err(Refused { known: self, why: Why::Reason(RefuseReason::NotAllowed) });
        }
        if door.draining.load(Ordering::Relaxed) {
            return Err(Refused { known: self, why: Why::Reason(RefuseReason::Draining) });
        }
        let banned = door.bans.at_door(ip, self.listener).map(|found| found.words);
        if let Some(words) = banned.clone().filter(|_| self.listener == Listener::Explicit || !door.bans.replies_on_implicit()) {
            return Err(Refused { known: self, why: Why::Banned(words) });
        }
        match door.limits.admit(ip).await {
            Ok(permit) => Ok(Admitted { known: self, permit, banned }),
            // The limit has counted itself.
            Err(_limit) => Err(Refused { known: self, why: Why::Reason(RefuseReason::Limit) }),
        }
    }
}

impl Refused {
    /// One event, and 421 where clear text is expected; an implicit listener's client expects a ServerHello, so it gets a plain close.
    pub fn say(self, observer: &Observer) {
        let subject = Subject { peer: Some(self.known.peer), ..Subject::default() };
        let reply = match self.why {
            Why::Banned(words) => Reply::Banned(words),
            Why::Reason(reason) => {
                observer.event(subject, &Event::Refused { listener: self.known.listener, reason });
                Reply::Refused(at_door(reason))
            }
        };
        if self.known.listener == Listener::Explicit {
            let mut text = Vec::with_capacity(64);
            reply.write(&mut text);
            // A new socket's buffer takes one line; if not, the client has gone and waiting would serve an attacker.
            let _ = self.known.stream.try_write(&text);
        }
    }
}

fn at_door(reason: RefuseReason) -> RefusedAtDoor {
    match reason {
        // A ban has words of its own.
        RefuseReason::NotAllowed | RefuseReason::Banned => RefusedAtDoor::NotAllowed,
        RefuseReason::Limit => RefusedAtDoor::TooManySessions,
        RefuseReason::Draining => RefusedAtDoor::Draining,
    }
}
