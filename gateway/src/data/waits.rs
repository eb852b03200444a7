//! Who waits for data on which port: reservations by client, leases by address.
//!
//! Gets: sessions that log in, PASV and EPSV. Gives: a port for each, and on arrival the one session that may have the connection.
//! Two sessions of one client never wait on the same port at once: the TLS session proves the client, the port chooses the session.
//! Never: chooses among several; an unsure answer is none.

mod granted;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ftps_proto::machine::io::PassiveError;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::clients::{Client, Clients};
use crate::observe::id::{SessionId, Ulid};
use crate::tls::Family;

/// All waits of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Told whenever a port is free again for somebody.
    freed: Notify,
    patience: Duration,
}

/// Whose an unproven connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// The session.
    pub session: SessionId,
    /// It holds the lease; otherwise it can only tell its client what was missing.
    pub lease: bool,
}

/// A data connection's port, and when it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Landed {
    pub port: u16,
    pub at: Instant,
}

/// Sessions with equal keys are one client: a TLS session of one proves the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(Ulid);

/// What proves a session (its TLS keys). It is not looked into here, only kept.
pub type Keepsake = Arc<dyn Any + Send + Sync>;

/// A session that may wait for data: from login to its end. Leaves, and gives up its wait, when dropped.
#[derive(Debug)]
pub struct Member {
    waits: Waits,
    session: SessionId,
    parting: Then<bool>,
}

/// One announced port. Released when dropped: with the proof, a new PASV or EPSV, `limits.data_timeout`, the session's end.
#[derive(Debug)]
pub struct Wait {
    waits: Waits,
    session: SessionId,
    serial: u64,
    port: u16,
    lease: bool,
    ended: Then<()>,
}

/// What is done at the end of a wait or of a member.
struct Then<T>(Option<Box<dyn FnOnce(T) + Send + Sync>>);

#[derive(Debug, Default)]
struct Table {
    ports: Vec<u16>,
    /// Where the search for a free port begins: round robin spreads sessions over the ports.
    next: usize,
    serial: u64,
    members: HashMap<SessionId, Place>,
    /// The members again, by client.
    of_client: HashMap<ClientKey, Vec<SessionId>>,
    /// Sessions that have ended while others of their client live, the latest last: those may still show what they share with them.
    departed: HashMap<ClientKey, VecDeque<(SessionId, Keepsake)>>,
    departed_of: HashMap<SessionId, ClientKey>,
    clients: Clients,
    reserved: HashMap<(ClientKey, u16), SessionId>,
    by_address: HashMap<(IpAddr, u16), Vec<SessionId>>,
}

#[derive(Debug)]
struct Place {
    client: ClientKey,
    who: Client,
    keepsake: Keepsake,
    wait: Option<Open>,
    /// Others of its client live, here or on other nodes: it asks the home for each port.
    company: bool,
}

/// A wait, as the homes are told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) serial: u64,
    pub(super) port: u16,
    pub(super) ip: IpAddr,
    pub(super) lease: bool,
    /// Before its port is told to anybody: no connection that came earlier can be meant for it.
    pub(super) since: Instant,
}

impl ClientKey {
    /// A client with this one session.
    pub fn alone(session: SessionId) -> Self {
        Self(session.0)
    }
}

impl Waits {
    /// No one waits. `ports`: the data ports of this node.
    pub fn new(ports: Vec<u16>) -> Self {
        Self::with_patience(ports, PATIENCE)
    }

    /// Like [`Waits::new`]; `patience` is how long a PASV waits when every port is taken.
    pub fn with_patience(ports: Vec<u16>, patience: Duration) -> Self {
        // The first port is not the same after every restart: clients of the last run may still come.
        let next = Ulid::now().to_bytes()[15] as usize;
        let table = Table { ports, next, ..Table::default() };
        Self(Arc::new(Shared { table: Mutex::new(table), freed: Notify::new(), patience }))
    }

    /// A session logs in. `keepsake` is held until it ends, and longer while other sessions of its client live: programs that share one TLS cache between
    /// their sessions go on showing what one of them left there.
    pub fn join(&self, session: SessionId, who: Client, keepsake: Keepsake) -> Member {
        let mut table = self.table();
        let client = table.clients.join(session, &who);
        table.members.insert(session, Place { client, who, keepsake, wait: None, company: false });
        table.of_client.entry(client).or_default().push(session);
        Member { waits: self.clone(), session, parting: Then(None) }
    }

    /// The other sessions of the same client: those that live, and those whose keepsake is held.
    pub fn siblings(&self, session: SessionId) -> Vec<SessionId> {
        let table = self.table();
        let Some(place) = table.members.get(&session) else { return Vec::new() };
        let living = table.of_client.get(&place.client).into_iter().flatten();
        let departed = table.departed.get(&place.client).into_iter().flatten().map(|(id, _)| id);
        living.filter(|id| **id != session).take(SIBLINGS).chain(departed).copied().collect()
    }

    /// Whether the client has other living sessions, here or on other nodes.
    pub fn has_siblings(&self, session: SessionId) -> bool {
        let table = self.table();
        let Some(place) = table.members.get(&session) else { return false };
        place.company || table.of_client.get(&place.client).is_some_and(|all| all.len() > 1)
    }

    /// Takes a port for `session`, whose control connection comes from `ip`; an earlier wait of it is given up. With `lease`, connections from `ip` to that
    /// port that prove nothing are its own too, and nobody else's.
    ///
    /// # Errors
    /// `Busy` when every port stayed taken by this client, or leased to this address, for 10 s.
    pub async fn open(&self, session: SessionId, ip: IpAddr, lease: bool) -> Result<Wait, PassiveError> {
        self.release(session, None);
        let deadline = Instant::now() + self.0.patience;
        loop {
            let mut freed = pin!(self.0.freed.notified());
            // Registered before the look, so that a release between look and wait is not missed.
            freed.as_mut().enable();
            if let Some((serial, port)) = self.table().take(session, ip, lease) {
                return Ok(Wait { waits: self.clone(), session, serial, port, lease, ended: Then(None) });
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(PassiveError::Busy);
            }
        }
    }

    /// The session that a ticket stands for: the one it names, if that lives here, else a living one of its client or its family.
    pub fn living(&self, session: SessionId, family: Family) -> Option<SessionId> {
        let table = self.table();
        if table.members.contains_key(&session) {
            return Some(session);
        }
        let client = table.departed_of.get(&session).and_then(|client| table.of_client.get(client));
        client.and_then(|all| all.first().copied()).or_else(|| table.clients.of_family(family))
    }

    /// Whose a connection is that shows the TLS session of `shown`: the session of the same client that waited on its port already when it came.
    pub fn owner_for(&self, landed: Landed, shown: SessionId) -> Option<SessionId> {
        let table = self.table();
        let client = table.members.get(&shown)?.client;
        table.reserved.get(&(client, landed.port)).copied().filter(|session| table.waited(*session, landed.at))
    }

    /// Whose a connection is that came from `ip` and shows nothing: the lease's holder; else the only session of that address that waited on its port, which
    /// will not take it but can say so to its client; else nobody's.
    pub fn unproven_owner(&self, ip: IpAddr, landed: Landed) -> Option<Unproven> {
        let table = self.table();
        let mut waiting = table.by_address.get(&(ip, landed.port))?.iter().filter(|session| table.waited(**session, landed.at));
        let leases = |session: &&SessionId| table.members.get(*session).and_then(|place| place.wait).is_some_and(|open| open.lease);
        match (waiting.clone().find(leases), waiting.next(), waiting.next()) {
            (Some(holder), _, _) => Some(Unproven { session: *holder, lease: true }),
            (None, Some(only), None) => Some(Unproven { session: *only, lease: false }),
            (None, _, _) => None,
        }
    }

    /// Who the client of a session that is logged in here is.
    pub fn client(&self, session: SessionId) -> Option<Client> {
        self.table().members.get(&session).map(|place| place.who.clone())
    }

    /// The session of this client that waits on that port, whichever node the one that is known of it lives on.
    pub fn owner_of_client(&self, landed: Landed, client: &Client) -> Option<SessionId> {
        let table = self.table();
        let key = table.clients.find(client)?;
        table.reserved.get(&(key, landed.port)).copied().filter(|session| table.waited(*session, landed.at))
    }

    /// Gives up the session's wait: any, or the one with this serial number.
    fn release(&self, session: SessionId, serial: Option<u64>) {
        if self.table().give_up(session, serial) {
            self.0.freed.notify_waiters();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// The port to announce.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether connections without proof are its own too.
    pub fn leased(&self) -> bool {
        self.lease
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waits.release(self.session, Some(self.serial));
        self.ended.call(());
    }
}

impl Member {
    /// Where this session waits.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.waits.release(self.session, None);
        let company = self.waits.has_company(self.session);
        // What is kept no longer is dropped when the table is free again: it may be much.
        let gone = self.waits.table().leave(self.session);
        drop(gone);
        self.parting.call(company);
    }
}

impl<T> Then<T> {
    fn call(&mut self, with: T) {
        if let Some(then) = self.0.take() {
            then(with);
        }
    }
}

impl<T> fmt::Debug for Then<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

impl Table {
    /// Gives what is kept no longer.
    fn leave(&mut self, session: SessionId) -> Vec<Keepsake> {
        let Some(Place { client, who, keepsake, .. }) = self.members.remove(&session) else { return Vec::new() };
        self.clients.leave(session, &who);
        if let Some(all) = self.of_client.get_mut(&client) {
            all.retain(|other| *other != session);
            if !all.is_empty() {
                return self.keep(client, session, keepsake);
            }
            self.of_client.remove(&client);
        }
        let departed = self.departed.remove(&client).unwrap_or_default();
        let forget = |(session, keepsake)| (self.departed_of.remove(&session), keepsake).1;
        departed.into_iter().map(forget).chain([keepsake]).collect()
    }

    fn keep(&mut self, client: ClientKey, session: SessionId, keepsake: Keepsake) -> Vec<Keepsake> {
        if self.departed_of.len() >= DEPARTED_IN_ALL {
            return vec![keepsake];
        }
        let departed = self.departed.entry(client).or_default();
        departed.push_back((session, keepsake));
        self.departed_of.insert(session, client);
        let oldest = if departed.len() > DEPARTED { departed.pop_front() } else { None };
        oldest.into_iter().map(|(session, keepsake)| (self.departed_of.remove(&session), keepsake).1).collect()
    }

    /// A port that is free for this session, taken. `None` when there is none or the session is not logged in.
    fn take(&mut self, session: SessionId, ip: IpAddr, lease: bool) -> Option<(u64, u16)> {
        let client = self.members.get(&session)?.client;
        let count = self.ports.len();
        let start = self.next;
        let place = (0..count).find(|step| self.is_free(self.ports[(start + step) % count], client, ip, lease))?;
        let port = self.ports[(start + place) % count];
        self.next = (start + place + 1) % count;
        self.serial += 1;
        self.open(session, Open { serial: self.serial, port, ip, lease, since: Instant::now() })?;
        Some((self.serial, port))
    }

    fn open(&mut self, session: SessionId, open: Open) -> Option<()> {
        let place = self.members.get_mut(&session)?;
        place.wait = Some(open);
        self.reserved.insert((place.client, open.port), session);
        self.by_address.entry((open.ip, open.port)).or_default().push(session);
        Some(())
    }

    /// Whether it waited already when a connection came.
    fn waited(&self, session: SessionId, at: Instant) -> bool {
        self.members.get(&session).and_then(|place| place.wait).is_some_and(|open| open.since <= at)
    }

    fn is_free(&self, port: u16, client: ClientKey, ip: IpAddr, lease: bool) -> bool {
        let taken = self.reserved.contains_key(&(client, port)) || (lease && self.is_leased(ip, port));
        !taken
    }

    fn is_leased(&self, ip: IpAddr, port: u16) -> bool {
        let Some(waiting) = self.by_address.get(&(ip, port)) else { return false };
        waiting.iter().any(|session| self.members.get(session).and_then(|place| place.wait).is_some_and(|open| open.lease))
    }

    fn give_up(&mut self, session: SessionId, serial: Option<u64>) -> bool {
        let Some(place) = self.members.get_mut(&session) else { return false };
        let Some(open) = place.wait.take_if(|open| serial.is_none_or(|serial| serial == open.serial)) else { return false };
        self.reserved.remove(&(place.client, open.port));
        let key = (open.ip, open.port);
        if let Some(waiting) = self.by_address.get_mut(&key) {
            waiting.retain(|other| *other != session);
            if waiting.is_empty() {
                self.by_address.remove(&key);
            }
        }
        true
    }
}

/// Siblings whose TLS sessions are tried; a client with more connections than this is a mirror job whose tickets are its own.
const SIBLINGS: usize = 256;

/// Ended sessions of one client whose proof is held; a TLS cache holds about as many tickets for one server.
const DEPARTED: usize = 32;
/// Of all clients.
const DEPARTED_IN_ALL: usize = 16_384;

/// How long a PASV waits for a port when all are taken, before 425.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn now(port: u16) -> Landed {
        Landed { port, at: Instant::now() }
    }

    fn someone(user: &str) -> Client {
        Client { user: user.into(), ip: HERE, fingerprint: [0; 32], family: Family(Ulid::now()) }
    }

    fn waits(ports: &[u16]) -> Waits {
        Waits::with_patience(ports.to_vec(), Duration::from_millis(80))
    }

    fn join(waits: &Waits) -> (SessionId, Member) {
        let session = SessionId::now();
        (session, waits.join(session, someone(&session.to_string()), Arc::new(())))
    }

    #[tokio::test]
    async fn a_session_waits_on_one_port_at_a_time_and_the_ports_take_turns() {
        let waits = waits(&[1, 2, 3]);
        let (session, _member) = join(&waits);
        let mut seen = Vec::new();
        let mut last = None;
        for _ in 0..3 {
            let wait = waits.open(session, HERE, true).await.unwrap();
            seen.push(wait.port());
            // The former wait is dropped after the new one is there, and must not take it along.
            last = Some(wait);
        }
        let port = last.as_ref().unwrap().port();
        assert_eq!(waits.owner_for(now(port), session), Some(session));
        assert_eq!((1..=3).filter(|port| waits.owner_for(now(*port), session).is_some()).count(), 1);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        drop(last);
        assert_eq!(waits.owner_for(now(port), session), None);
    }

    #[tokio::test]
    async fn a_connection_is_no_sessions_that_waited_later() {
        let (waits, before) = (waits(&[7]), now(7));
        let (session, _member) = join(&waits);
        let _wait = waits.open(session, HERE, true).await.unwrap();
        let client = waits.client(session).unwrap();
        assert_eq!((waits.owner_for(before, session), waits.owner_of_client(before, &client), waits.unproven_owner(HERE, before)), (None, None, None));
        assert_eq!((waits.owner_for(now(7), session), waits.owner_of_client(now(7), &client)), (Some(session), Some(session)));
        assert!(waits.unproven_owner(HERE, now(7)).is_some());
    }

    #[tokio::test]
    async fn a_lease_is_exclusive_for_its_address_and_port() {
        let waits = waits(&[7]);
        let ((a, _a), (b, _b), (c, _c)) = (join(&waits), join(&waits), join(&waits));
        let held = waits.open(a, HERE, true).await.unwrap();
        assert_eq!(waits.open(b, HERE, true).await.unwrap_err(), PassiveError::Busy);
        let elsewhere = waits.open(b, THERE, true).await.unwrap();
        let proving = waits.open(c, HERE, false).await.unwrap();
        assert_eq!((held.port(), elsewhere.port(), proving.port()), (7, 7, 7));
        assert_eq!(waits.unproven_owner(HERE, now(7)).map(|owner| owner.session), Some(a));
        assert_eq!(waits.unproven_owner(THERE, now(7)).map(|owner| owner.session), Some(b));
        assert_eq!(waits.owner_for(now(7), c), Some(c));
        drop(held);
        assert_eq!(waits.unproven_owner(HERE, now(7)).map(|owner| owner.session), Some(c), "the only one left is told, and refuses");
        let again = waits.open(a, HERE, true).await.unwrap();
        assert_eq!(waits.unproven_owner(HERE, now(7)).map(|owner| owner.session), Some(a));
        drop(again);
        let second = waits.open(a, HERE, false).await.unwrap();
        assert_eq!(waits.unproven_owner(HERE, now(7)), None, "two without a lease: nobody");
        drop(second);
    }

    #[tokio::test]
    async fn sessions_of_one_client_share_their_proof_but_no_port() {
        let waits = waits(&[1, 2]);
        let (a, b, c) = (SessionId::now(), SessionId::now(), SessionId::now());
        let members = [a, b, c].map(|session| waits.join(session, someone("one"), Arc::new(())));
        assert_eq!(waits.siblings(b).len(), 2);
        let first = waits.open(a, HERE, false).await.unwrap();
        let second = waits.open(b, HERE, false).await.unwrap();
        assert_ne!(first.port(), second.port());
        assert_eq!(waits.owner_for(now(first.port()), b), Some(a), "the port chooses the session");
        assert_eq!(waits.owner_for(now(second.port()), c), Some(b));
        assert_eq!(waits.open(c, HERE, false).await.unwrap_err(), PassiveError::Busy);
        drop(members);
        assert_eq!(waits.owner_for(now(first.port()), b), None);
        assert!(waits.table().of_client.is_empty());
    }

    #[tokio::test]
    async fn an_ended_session_stands_for_its_client_until_the_last_one_ends() {
        let waits = waits(&[1]);
        let (ended, other) = (SessionId::now(), SessionId::now());
        let proof: Keepsake = Arc::new("keys");
        let first = waits.join(ended, someone("one"), proof.clone());
        let second = waits.join(other, someone("one"), Arc::new(()));
        let (stranger, _stranger) = join(&waits);
        assert!(waits.has_siblings(other) && !waits.has_siblings(stranger));
        drop(first);
        assert!(!waits.has_siblings(other));
        assert_eq!((waits.siblings(other), waits.siblings(stranger)), (vec![ended], vec![]));
        let wait = waits.open(other, HERE, false).await.unwrap();
        assert_eq!(waits.living(ended, Family(ended.0)).and_then(|shown| waits.owner_for(now(1), shown)), Some(other));
        for _ in 0..DEPARTED {
            drop(waits.join(SessionId::now(), someone("one"), Arc::new(())));
        }
        assert_eq!((waits.living(ended, Family(ended.0)), waits.siblings(other).len()), (None, DEPARTED), "the latest are kept");
        assert_eq!(Arc::strong_count(&proof), 1);
        drop((wait, second));
        assert!(waits.table().departed.is_empty() && waits.table().departed_of.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_port_gets_it_when_it_is_free() {
        let waits = Waits::new(vec![9]);
        let ((a, member), (b, _b)) = (join(&waits), join(&waits));
        let held = waits.open(a, HERE, true).await.unwrap();
        let later = tokio::spawn({
            let waits = waits.clone();
            async move { waits.open(b, HERE, true).await.map(|wait| wait.port()) }
        });
        tokio::task::yield_now().await;
        // The session ends: its wait goes with it.
        drop(member);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), later).await.unwrap().unwrap(), Ok(9));
        assert_eq!((waits.living(a, Family(a.0)), waits.living(b, Family(b.0))), (None, Some(b)));
        drop(held);
        assert!(waits.table().reserved.is_empty() && waits.table().by_address.is_empty());
    }

    #[tokio::test]
    async fn who_is_not_logged_in_gets_nothing() {
        let waits = waits(&[1]);
        assert_eq!(waits.open(SessionId::now(), HERE, true).await.unwrap_err(), PassiveError::Busy);
        assert_eq!(waits.owner_for(now(1), SessionId::now()), None);
        assert_eq!(waits.unproven_owner(HERE, now(1)), None);
    }
}
