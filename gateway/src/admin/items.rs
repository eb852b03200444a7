//! What lists are sorted by, and what becomes of one entry that several nodes give.
//!
//! Gets: the shapes. Gives: their keys. Never: two entries with one key that are not the same.

use super::everywhere::Item;
use super::shapes::{Audit, Certificate, Client, Node, Session, Transfer};

impl Item for Node {
    fn key(&self) -> String {
        format!("{}/{}", self.name, self.incarnation)
    }
}

impl Item for Session {
    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Item for Transfer {
    const NEWEST_FIRST: bool = true;

    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Item for Audit {
    const NEWEST_FIRST: bool = true;

    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Item for Certificate {
    fn key(&self) -> String {
        format!("{}/{}", self.node, self.fingerprint)
    }
}

impl Item for Client {
    fn key(&self) -> String {
        self.id.clone()
    }

    /// The same client on another node.
    fn merge(&mut self, other: Self) {
        // RFC 3339 in UTC with the same number of digits sorts by time.
        self.first_seen = self.first_seen.clone().min(other.first_seen);
        self.last_seen = self.last_seen.clone().max(other.last_seen);
        let sums = [
            (&mut self.sessions, other.sessions),
            (&mut self.tls12, other.tls12),
            (&mut self.tls13, other.tls13),
            (&mut self.resumed, other.resumed),
            (&mut self.proven, other.proven),
            (&mut self.unproven, other.unproven),
            (&mut self.clean_ends, other.clean_ends),
            (&mut self.unclean_ends, other.unclean_ends),
            (&mut self.passive, other.passive),
            (&mut self.active, other.active),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
    }
}
