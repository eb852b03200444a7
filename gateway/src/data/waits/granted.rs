//! The waits of this node as the homes see them: told, granted, kept for siblings on other nodes.
//!
//! Gets: words of homes, ports that they grant. Gives: what each session waits for, waits on granted ports.
//! Never: asks anybody; the desk does.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Keepsake, Member, Open, Then, Wait, Waits};
use crate::data::clients::Client;
use crate::observe::id::SessionId;

/// A session, its client, whether it has company, what it waits for.
pub(in crate::data) type Known = (SessionId, Client, bool, Option<Open>);

impl Waits {
    /// What is done when the session has ended; it learns whether the session had company.
    pub(in crate::data) fn at_parting(member: &mut Member, then: impl FnOnce(bool) + Send + Sync + 'static) {
        member.parting = Then(Some(Box::new(then)));
    }

    /// Others of its client live: from now on it asks for each port. Gives what it waits for; `None`: it does not live here.
    pub(in crate::data) fn meet(&self, session: SessionId) -> Option<Option<Open>> {
        let mut table = self.table();
        let place = table.members.get_mut(&session)?;
        place.company = true;
        Some(place.wait)
    }

    /// Whether it is to ask for each port.
    pub(in crate::data) fn has_company(&self, session: SessionId) -> bool {
        self.table().members.get(&session).is_some_and(|place| place.company)
    }

    /// Ports that somebody waits on, all ports, and waits that a connection without proof may end too.
    pub fn counts(&self) -> (usize, usize, usize) {
        let table = self.table();
        let open = || table.members.values().filter_map(|place| place.wait);
        let ports: HashSet<u16> = open().map(|wait| wait.port).collect();
        (ports.len(), table.ports.len(), open().filter(|wait| wait.lease).count())
    }

    /// The latest number of a wait; every session, whether it has company, what it waits for.
    pub(in crate::data) fn everyone(&self) -> (u64, Vec<Known>) {
        let table = self.table();
        (table.serial, table.members.iter().map(|(id, place)| (*id, place.who.clone(), place.company, place.wait)).collect())
    }

    /// Ports that nobody of this node holds against the session, the one whose turn it is first; and the number of the wait that may come of it.
    pub(in crate::data) fn free(&self, session: SessionId, ip: IpAddr, lease: bool) -> Option<(u64, Vec<u16>)> {
        let mut table = self.table();
        let client = table.members.get(&session)?.client;
        table.serial += 1;
        let (count, start) = (table.ports.len(), table.next);
        table.next = (start + 1) % count.max(1);
        let ports = (0..count).map(|step| table.ports[(start + step) % count]).filter(|port| table.is_free(*port, client, ip, lease)).collect();
        Some((table.serial, ports))
    }

    /// Waits on a port that the homes have granted; `ended` is done when the wait is over. `None`, and `ended` is not done: somebody of this node has it, or
    /// the session has company that the homes were not asked about.
    pub(in crate::data) fn open_granted(&self, session: SessionId, open: Open, asked: bool, ended: Box<dyn FnOnce(()) + Send + Sync>) -> Option<Wait> {
        let Open { serial, port, ip, lease, .. } = open;
        let mut table = self.table();
        let place = table.members.get(&session)?;
        if (place.company && !asked) || !table.is_free(port, place.client, ip, lease) {
            return None;
        }
        table.open(session, open)?;
        Some(Wait { waits: self.clone(), session, serial, port, lease, ended: Then(Some(ended)) })
    }

    /// Waits until somebody of this node gives up a port, or for that long.
    pub(in crate::data) async fn freed(&self, within: Duration) {
        let _ = timeout_at(Instant::now() + within, self.0.freed.notified()).await;
    }

    /// How long a PASV waits.
    pub(in crate::data) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// What proves `ended`, a session of another node, is kept for the client of `session`.
    pub(in crate::data) fn adopt(&self, session: SessionId, ended: SessionId, keepsake: Keepsake) {
        let mut table = self.table();
        let Some(client) = table.members.get(&session).map(|place| place.client) else { return };
        if table.members.contains_key(&ended) || table.departed_of.contains_key(&ended) {
            return;
        }
        let gone = table.keep(client, ended, keepsake);
        drop(table);
        drop(gone);
    }

    /// What proves `session`, which lives or lived here, for one of the same client.
    pub(in crate::data) fn keepsake_for(&self, session: SessionId, client: &Client) -> Option<Keepsake> {
        let table = self.table();
        let key = table.clients.find(client)?;
        if let Some(place) = table.members.get(&session) {
            return (place.client == key).then(|| place.keepsake.clone());
        }
        table.departed.get(&key)?.iter().find(|(id, _)| *id == session).map(|(_, keepsake)| keepsake.clone())
    }
}
