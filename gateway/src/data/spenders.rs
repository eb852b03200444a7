//! Clients that spend each TLS 1.3 ticket (curl 7.88) and were seen without one: what an upload leaves them with has to be done otherwise.
//!
//! Gets: clients that resumed, then came without a ticket after a held-back one. Gives: whether one is known, and what it does when an upload is over.
//! A client is a user, an address and a TLS fingerprint: the fingerprint alone is a library's, and programs that use tickets again may share it.
//! Never: decides whether a connection is taken, only what happens between two of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::clients::Client;

/// Such clients, the latest 1,024. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Spenders(Arc<Mutex<Known>>);

/// A client, across its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientId([u8; 32]);

/// What a client does when an upload is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes right on to its next transfer: a new session serves it as well.
    Transfer,
    /// It asks or changes something first (RNTO, MFMT, SIZE), and needs its session for that.
    Other,
}

#[derive(Debug, Default)]
struct Known {
    clients: HashMap<ClientId, Next>,
    order: VecDeque<ClientId>,
}

impl From<&Client> for ClientId {
    fn from(client: &Client) -> Self {
        // Text of an address has no zero byte, so that no name can look like a name and an address.
        let seen = format!("{}\0", client.ip);
        Self(Sha256::new().chain_update(client.fingerprint).chain_update(seen).chain_update(&client.user).finalize().into())
    }
}

impl Spenders {
    /// Remembers a client. One that was seen to need its session after an upload once may need it again.
    pub fn insert(&self, client: ClientId, next: Next) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.clients.insert(client, next) {
            None => known.order.push_back(client),
            Some(Next::Other) => drop(known.clients.insert(client, Next::Other)),
            Some(Next::Transfer) => {}
        }
        if known.order.len() > CAP
            && let Some(oldest) = known.order.pop_front()
        {
            known.clients.remove(&oldest);
        }
    }

    /// What the client does next when an upload is over, if it is one of them.
    pub fn next(&self, client: ClientId) -> Option<Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients.get(&client).copied()
    }
}

/// Such clients at a time; one that is forgotten has one more upload refused.
const CAP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> ClientId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        ClientId(id)
    }

    #[test]
    fn remembers_the_latest() {
        let spenders = Spenders::default();
        for number in 0..=CAP {
            spenders.insert(client(number), Next::Transfer);
            spenders.insert(client(number), Next::Transfer);
        }
        assert_eq!(spenders.next(client(0)), None);
        assert_eq!((spenders.next(client(1)), spenders.next(client(CAP))), (Some(Next::Transfer), Some(Next::Transfer)));
    }

    #[test]
    fn who_needs_its_session_once_may_need_it_again() {
        let spenders = Spenders::default();
        for (next, known) in [(Next::Transfer, Next::Transfer), (Next::Other, Next::Other), (Next::Transfer, Next::Other)] {
            spenders.insert(client(1), next);
            assert_eq!(spenders.next(client(1)), Some(known));
        }
    }
}
