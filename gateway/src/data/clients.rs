//! Which sessions are of one client: the same user, and either the same address and TLS fingerprint or the same ticket family.
//!
//! Gets: sessions that log in. Gives: one key for each client, shared by its sessions, so that a TLS session of one proves the other.
//! Never: makes one client of two users, or keeps a client whose last session has ended.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::waits::ClientKey;
use crate::observe::id::SessionId;
use crate::tls::Family;

/// What is known of a client when it logs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The user.
    pub user: String,
    /// The true address of the control connection.
    pub ip: IpAddr,
    /// The fingerprint of its ClientHello.
    pub fingerprint: [u8; 32],
    /// The ticket family of its control connection.
    pub family: Family,
}

/// What makes two sessions one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trait {
    Look(String, IpAddr, [u8; 32]),
    Family(String, Family),
}

/// The clients of living sessions.
#[derive(Debug, Default)]
pub(super) struct Clients {
    traits: HashMap<Trait, (ClientKey, usize)>,
    families: HashMap<Family, Vec<SessionId>>,
}

impl Clients {
    /// The key of this client: that of a living session with the same look, else of the same family, else its own.
    pub(super) fn join(&mut self, session: SessionId, client: &Client) -> ClientKey {
        let traits = traits(client);
        let known = traits.iter().find_map(|one| self.traits.get(one)).map(|(key, _)| *key);
        let key = known.unwrap_or_else(|| ClientKey::alone(session));
        for one in traits {
            // A trait that belongs to another client stays with that one; both go on, each with what it has.
            self.traits.entry(one).or_insert((key, 0)).1 += 1;
        }
        self.families.entry(client.family).or_default().push(session);
        key
    }

    /// The key of this client, if a session of it lives here.
    pub(super) fn find(&self, client: &Client) -> Option<ClientKey> {
        traits(client).iter().find_map(|one| self.traits.get(one)).map(|(key, _)| *key)
    }

    /// A session has ended.
    pub(super) fn leave(&mut self, session: SessionId, client: &Client) {
        for one in traits(client) {
            if let Some((_, count)) = self.traits.get_mut(&one) {
                *count -= 1;
                if *count == 0 {
                    self.traits.remove(&one);
                }
            }
        }
        if let Some(members) = self.families.get_mut(&client.family) {
            members.retain(|member| *member != session);
            if members.is_empty() {
                self.families.remove(&client.family);
            }
        }
    }

    /// A living session of this family: stands for a dead one whose ticket is shown.
    pub(super) fn of_family(&self, family: Family) -> Option<SessionId> {
        self.families.get(&family)?.first().copied()
    }
}

fn traits(client: &Client) -> [Trait; 2] {
    [Trait::Look(client.user.clone(), client.ip, client.fingerprint), Trait::Family(client.user.clone(), client.family)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::observe::id::Ulid;

    fn client(user: &str, last: u8, print: u8, family: Family) -> Client {
        Client { user: user.into(), ip: IpAddr::from([192, 0, 2, last]), fingerprint: [print; 32], family }
    }

    #[test]
    fn the_same_look_or_the_same_family_of_the_same_user_is_one_client() {
        let mut clients = Clients::default();
        let (one, two) = (Family(Ulid::now()), Family(Ulid::now()));
        let ids: Vec<SessionId> = (0..5).map(|_| SessionId::now()).collect();
        let first = clients.join(ids[0], &client("a", 1, 1, one));
        assert_eq!(clients.join(ids[1], &client("a", 1, 1, two)), first, "same look");
        assert_eq!(clients.join(ids[2], &client("a", 9, 9, one)), first, "same family");
        assert_ne!(clients.join(ids[3], &client("b", 1, 1, one)), first, "another user");
        assert_ne!(clients.join(ids[4], &client("a", 1, 2, Family(Ulid::now()))), first, "another program");
    }

    #[test]
    fn nothing_is_kept_of_a_client_that_has_left() {
        let mut clients = Clients::default();
        let family = Family(Ulid::now());
        let sessions = [SessionId::now(), SessionId::now()];
        let who = client("a", 1, 1, family);
        let first = clients.join(sessions[0], &who);
        assert_eq!(clients.join(sessions[1], &who), first);
        clients.leave(sessions[0], &who);
        assert_eq!(clients.of_family(family), Some(sessions[1]));
        clients.leave(sessions[1], &who);
        assert_eq!(clients.of_family(family), None);
        assert!(clients.traits.is_empty() && clients.families.is_empty());
        assert_ne!(clients.join(SessionId::now(), &who), first);
    }
}
