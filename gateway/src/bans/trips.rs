//! What happens when a rule has counted enough: a ban, at once.
//!
//! Gets: trips of the rules, on the thread of the event that was one too many. Gives: a ban in the book, ended sessions, one event.
//! Never: waits: disk, peers and store learn of it from [`Bans::run`]; bans twice for one thing.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use super::ban::{Ban, Change};
use super::rules::{House, Trip};
use super::{Bans, Shared, View, read, unix_now};
use crate::observe::event::BanSource;
use crate::observe::id::BanId;

/// What rules ask of the room.
pub(super) struct Weak(std::sync::Weak<Shared>);

impl Weak {
    /// It does not keep the room alive: the rules are older than it.
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl House for Weak {
    fn spares(&self, ip: IpAddr) -> bool {
        self.0.upgrade().is_none_or(|shared| Bans(shared).spares(ip))
    }

    fn spares_user(&self, user: &str) -> bool {
        self.0.upgrade().is_none_or(|shared| shared.settings.load().spares_user(user))
    }

    fn is_hidden(&self, ip: IpAddr) -> bool {
        self.0.upgrade().is_some_and(|shared| (shared.hidden)(ip))
    }

    fn class_of(&self, ip: IpAddr) -> Option<Box<str>> {
        self.0.upgrade().and_then(|shared| shared.settings.load().classes_of(ip).next().map(Box::from))
    }

    fn trip(&self, trip: Trip) {
        let Some(shared) = self.0.upgrade() else { return };
        Bans(shared).trip(trip);
    }
}

impl Bans {
    /// What rules on trial, or about hidden addresses, would have banned on this node: the latest of them that would still hold.
    pub fn dry_runs(&self) -> Vec<View> {
        let now = unix_now();
        let dry = self.0.dry.lock().unwrap_or_else(PoisonError::into_inner);
        dry.iter().filter(|ban| !ban.has_ended(now)).map(|ban| View::of(ban)).collect()
    }

    /// In memory and for live sessions at once; journal and peers learn of it from [`Bans::run`].
    fn trip(&self, trip: Trip) {
        let now = unix_now();
        let known = read(&self.0.book).about(&trip.target);
        let same = |ban: &Arc<Ban>| ban.source == BanSource::Rule && &*ban.reason == trip.reason && !ban.has_ended(now);
        if known.iter().any(same) || self.0.settings.load().spares_all_of(&trip.target) {
            return;
        }
        let ban = Arc::new(Ban {
            id: BanId::now(),
            target: trip.target,
            source: BanSource::Rule,
            reason: trip.reason.into(),
            author: "rule".into(),
            evidence: trip.evidence.as_str().into(),
            message: trip.message.as_deref().unwrap_or_default().into(),
            created: now,
            ends: trip.term.end(now),
        });
        if trip.dry_run {
            let mut dry = self.0.dry.lock().unwrap_or_else(PoisonError::into_inner);
            if dry.len() >= REMEMBERED {
                dry.pop_front();
            }
            dry.push_back(ban.clone());
            drop(dry);
            return self.say_banned(&ban, true, 0);
        }
        let change = Change::Ban(ban.clone());
        let (_, sessions) = self.take(std::slice::from_ref(&change));
        self.say_banned(&ban, false, sessions);
        // When the outbox is full, a flood makes bans faster than they can be told: the comparison of books brings them.
        let _ = self.0.outbox.try_send(change);
    }
}

/// Dry runs that a node remembers.
const REMEMBERED: usize = 1_000;
