//! Whether this node should be sent work: latches that open as its parts come up, a drain, and troubles worth telling.
//!
//! Gets: latches, taken before the node serves and released by the parts. Gives: what the probes answer.
//! Never: ready because a part died: a latch that is dropped without being released stays shut. Never unready because something is degraded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::labels::{Label, Size, closed_set};
use super::{Event, Sink, Subject};

/// The readiness of a node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order they were taken; `true` once released.
    latches: Vec<(&'static str, bool)>,
    draining: bool,
    degraded: BTreeMap<Part, String>,
}

/// What may work less well than it should: `degraded{what}`, and `what` in readiness and `/nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A balancer hides the clients' addresses.
    Addresses,
    /// The ban book is not whole, or its copies are not kept.
    Bans,
    /// Self-signed.
    Certificate,
    /// A private address is announced to public clients.
    Pasv,
    /// A certificate is revoked, or promises a staple that is not there.
    Staples,
    /// It is away, or memory stands in for it.
    Store,
    /// Entries of users files are skipped, or users cannot log in.
    Users,
}

closed_set!(Part { Addresses = "addresses", Bans = "bans", Certificate = "certificate", Pasv = "pasv", Staples = "staples", Store = "store", Users = "users" });

/// One part that is not up yet.
#[derive(Debug)]
#[must_use = "a latch that is dropped stays shut"]
pub struct Latch {
    readiness: Readiness,
    place: usize,
}

/// What the probes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every latch, and whether it is released.
    pub latches: Vec<(&'static str, bool)>,
    /// The node drains.
    pub draining: bool,
    /// What works less well than it should, and in which way; texts are ours and name no client.
    pub degraded: Vec<(&'static str, String)>,
}

impl Readiness {
    /// Nothing to wait for yet. Take all latches before the probes are served.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the node unready until the latch is released.
    pub fn latch(&self, name: &'static str) -> Latch {
        let mut state = self.lock();
        state.latches.push((name, false));
        Latch { readiness: self.clone(), place: state.latches.len() - 1 }
    }

    /// The node drains, or does so no longer.
    pub fn set_draining(&self, draining: bool) {
        self.lock().draining = draining;
    }

    /// Says that something works less well, or (with `None`) is well again. The node stays ready.
    pub fn set_degraded(&self, what: Part, detail: Option<String>) {
        let mut state = self.lock();
        match detail {
            Some(detail) => state.degraded.insert(what, detail),
            None => state.degraded.remove(&what),
        };
    }

    /// Everything that may work less well, and whether it does.
    pub fn parts(&self) -> Vec<(Part, bool)> {
        let state = self.lock();
        Part::all().into_iter().map(|part| (part, state.degraded.contains_key(&part))).collect()
    }

    /// What the probes say.
    pub fn report(&self) -> Report {
        let state = self.lock();
        Report {
            latches: state.latches.clone(),
            draining: state.draining,
            degraded: state.degraded.iter().map(|(what, detail)| (what.label(), detail.clone())).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Readiness {
    fn event(&self, _: Subject<'_>, event: &Event<'_>) {
        if let Event::AddressesHidden { addresses } = event {
            self.set_degraded(Part::Addresses, (!addresses.is_empty()).then(|| ADDRESSES_HIDDEN.to_owned()));
        }
    }
}

impl Latch {
    /// The part is up.
    pub fn release(self) {
        if let Some((_, released)) = self.readiness.lock().latches.get_mut(self.place) {
            *released = true;
        }
    }
}

impl Report {
    /// Every part has come up.
    pub fn started(&self) -> bool {
        self.latches.iter().all(|(_, released)| *released)
    }

    /// Every part has come up and the node does not drain.
    pub fn ready(&self) -> bool {
        self.started() && !self.draining
    }
}

/// What an operator is told when a balancer hides the clients.
pub(super) const ADDRESSES_HIDDEN: &str = "all logins come from one or two private addresses: limits and rules by address are suspended, data connections have to resume their TLS session unless tls_reuse is prefer or off; let the balancer keep the clients' addresses, or send them (PROXY protocol)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        super::super::labels::tests::sound::<Part>();
    }

    #[test]
    fn ready_when_the_last_latch_is_released() {
        let readiness = Readiness::new();
        let (users, listeners) = (readiness.latch("users"), readiness.latch("listeners"));
        users.release();
        assert!(!readiness.report().ready());
        assert_eq!(readiness.report().latches, [("users", true), ("listeners", false)]);
        listeners.release();
        assert!(readiness.report().ready());
    }

    #[test]
    fn a_part_that_dies_leaves_its_latch_shut() {
        let readiness = Readiness::new();
        drop(readiness.latch("users"));
        assert!(!readiness.report().ready());
    }

    #[test]
    fn draining_is_unready_but_started_and_degraded_is_neither() {
        let readiness = Readiness::new();
        readiness.set_degraded(Part::Certificate, Some("self-signed".into()));
        assert!(readiness.report().ready());
        assert_eq!(readiness.report().degraded, [("certificate", "self-signed".to_owned())]);
        readiness.set_degraded(Part::Certificate, None);
        assert!(readiness.report().degraded.is_empty());
        let addresses = [std::net::Ipv4Addr::LOCALHOST.into()];
        readiness.event(Subject::default(), &Event::AddressesHidden { addresses: &addresses });
        assert_eq!(readiness.report().degraded, [("addresses", ADDRESSES_HIDDEN.to_owned())]);
        readiness.event(Subject::default(), &Event::AddressesHidden { addresses: &[] });
        assert!(readiness.report().degraded.is_empty());
        readiness.set_draining(true);
        assert!(!readiness.report().ready() && readiness.report().started());
        readiness.set_draining(false);
        assert!(readiness.report().ready());
    }
}
