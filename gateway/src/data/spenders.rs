//! Clients that spend each TLS 1.3 ticket (curl 7.88): they need the next one before an upload ends.
//!
//! Gets: TLS fingerprints of clients that resumed, then came without a ticket after a held-back one. Gives: whether one is known.
//! Never: decides more than the moment a ticket is written.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Fingerprints of such clients, the latest 1,024. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Spenders(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    set: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Spenders {
    /// Remembers a client.
    pub fn insert(&self, fingerprint: [u8; 32]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.set.insert(fingerprint) {
            return;
        }
        known.order.push_back(fingerprint);
        if known.order.len() > CAP
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
    }

    /// Whether the client is one of them.
    pub fn contains(&self, fingerprint: [u8; 32]) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set.contains(&fingerprint)
    }
}

/// There are far fewer TLS libraries than that; the cap is against inventors of fingerprints.
const CAP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest() {
        let spenders = Spenders::default();
        let fingerprint = |number: usize| {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            fingerprint
        };
        for number in 0..=CAP {
            spenders.insert(fingerprint(number));
            spenders.insert(fingerprint(number));
        }
        assert!(!spenders.contains(fingerprint(0)));
        assert!(spenders.contains(fingerprint(1)) && spenders.contains(fingerprint(CAP)));
    }
}
