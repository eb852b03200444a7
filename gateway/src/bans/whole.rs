//! What a start has not learnt yet: whether this node's book is whole, and what is missing if not.
//!
//! A book is whole when the store's copy was read to its end and every peer of the start has told its bans, or is gone. What was missing comes while the node serves.
//! Gets: what was read and who answered. Gives: words for readiness, a line when it begins and when it ends.
//! Never: keeps a node from being ready; takes back that a book is whole (peers and store are compared all the time, and say themselves when they are away).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::observe::id::Incarnation;

/// What is still to be learnt.
#[derive(Debug)]
pub(super) struct Whole(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The store's copy.
    copy: bool,
    /// Peers that have not told their bans.
    peers: HashSet<Incarnation>,
    /// The start is over and this node serves.
    serving: bool,
}

impl Whole {
    /// Nothing is learnt yet. `copy`: there is one, in a store.
    pub(super) fn new(copy: bool) -> Self {
        Self(Mutex::new(State { copy, peers: HashSet::new(), serving: false }))
    }

    /// The store's copy has been read to its end, or the store has none.
    pub(super) fn read_copy(&self) {
        self.change(|state| state.copy = false);
    }

    /// Whether it is still to be read.
    pub(super) fn lacks_copy(&self) -> bool {
        self.state().copy
    }

    /// These are to tell their bans.
    pub(super) fn ask(&self, peers: impl Iterator<Item = Incarnation>) {
        self.change(|state| state.peers.extend(peers));
    }

    /// One has told them.
    pub(super) fn heard(&self, peer: Incarnation) {
        self.change(|state| _ = state.peers.remove(&peer));
    }

    /// Who is no member any more cannot be asked.
    pub(super) fn retain(&self, lives: impl Fn(Incarnation) -> bool) {
        self.change(|state| state.peers.retain(|peer| lives(*peer)));
    }

    /// Whether this peer has still to tell its bans.
    pub(super) fn awaits(&self, peer: Incarnation) -> bool {
        self.state().peers.contains(&peer)
    }

    /// The start is over: what is missing from now on is said.
    pub(super) fn serve(&self) {
        let mut state = self.state();
        state.serving = true;
        if let Some(missing) = state.missing() {
            tracing::warn!("{missing}");
        }
    }

    /// What is missing although this node serves.
    pub(super) fn missing(&self) -> Option<String> {
        self.state().missing()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before = state.missing().is_some();
        change(&mut state);
        if before && state.missing().is_none() {
            tracing::info!("the ban book is whole: store and peers have told their bans");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn missing(&self) -> Option<String> {
        if !self.serving {
            return None;
        }
        let copy = self.copy.then(|| "the store's copy has not been read".to_owned());
        let peers = (!self.peers.is_empty()).then(|| format!("peers that have not told their bans: {}", self.peers.len()));
        let missing: Vec<String> = copy.into_iter().chain(peers).collect();
        (!missing.is_empty()).then(|| format!("the ban book may lack bans of others until it has them ({})", missing.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_book_is_whole_when_the_copy_is_read_and_every_peer_has_told_or_is_gone() {
        let (whole, [a, b]) = (Whole::new(true), [Incarnation::now(), Incarnation::now()]);
        whole.ask([a, b].into_iter());
        assert_eq!(whole.missing(), None, "a node that starts is not ready and says nothing yet");
        whole.serve();
        let words = whole.missing().unwrap();
        assert!(words.contains("store's copy") && words.contains("bans: 2"), "{words}");
        whole.read_copy();
        whole.heard(a);
        assert!(whole.awaits(b) && !whole.awaits(a) && whole.missing().unwrap().contains("bans: 1"));
        whole.retain(|peer| peer != b);
        assert_eq!(whole.missing(), None);
    }
}
