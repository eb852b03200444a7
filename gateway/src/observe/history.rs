//! What was: the last transfers, the last audit records, and what each client has shown of itself.
//!
//! Gets: events, synchronously. Gives: records, newest first, to the admin API.
//! Never: keeps more than `history` says, or anything over a restart; the log is for that.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ftps_proto::digest::Algorithm;
use ftps_proto::verbs::Verb;

use super::Sink;
use super::event::{Channel, Direction, Event, Resumed, StreamEnd, Subject, TlsVersion, TransferResult};
use super::id::{SessionId, TransferId};
use super::labels::Label;
use super::sets::Ending;
use super::sidecar::{AuditRecord, SidecarEvent};

/// `history:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// `history.transfers`.
    pub transfers: usize,
    /// `history.audit`.
    pub audit: usize,
    /// `history.keep`.
    pub keep: Duration,
}

/// The history of one node. Cheap to clone; a [`Sink`].
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    config: HistoryConfig,
    transfers: VecDeque<Arc<TransferRecord>>,
    audit: VecDeque<Arc<AuditRecord>>,
    clients: HashMap<(Box<str>, IpAddr), ClientRecord>,
    /// What sessions showed before their login; an entry goes with its session.
    greeted: HashMap<SessionId, (TlsVersion, Resumed)>,
}

/// A transfer that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRecord {
    /// Its id.
    pub id: TransferId,
    /// Its session.
    pub session: Option<SessionId>,
    /// Its user.
    pub user: Box<str>,
    /// The client's true address.
    pub address: Option<IpAddr>,
    /// Which way.
    pub direction: Direction,
    /// The virtual path; bytes that are no UTF-8 are replaced.
    pub path: Box<str>,
    /// Bytes on the data connection.
    pub bytes: u64,
    /// When `150` was said.
    pub started: SystemTime,
    /// From then to the end.
    pub took: Duration,
    /// How it ended.
    pub result: &'static str,
    /// Whether the data connection proved its session.
    pub proven: bool,
    /// How the client ended an upload.
    pub end: StreamEnd,
    /// The digest of the whole file, if one was computed while it moved or afterwards: its algorithm and the hex digits.
    pub digest: Option<(&'static str, Box<str>)>,
}

/// What one client, a user from one address, has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// When it was first here.
    pub first: SystemTime,
    /// When it last did something.
    pub last: SystemTime,
    /// Logins.
    pub sessions: u64,
    /// Control connections by TLS 1.2.
    pub tls12: u64,
    /// By TLS 1.3.
    pub tls13: u64,
    /// Control connections that resumed.
    pub resumed: u64,
    /// Transfers whose data connection proved its session.
    pub proven: u64,
    /// Transfers that went without.
    pub unproven: u64,
    /// Uploads ended by close_notify.
    pub clean: u64,
    /// Uploads ended by a bare FIN.
    pub unclean: u64,
    /// PASV and EPSV.
    pub passive: u64,
    /// PORT and EPRT.
    pub active: u64,
}

impl History {
    /// An empty one.
    pub fn new(config: HistoryConfig) -> Self {
        let kept = Kept { config, transfers: VecDeque::new(), audit: VecDeque::new(), clients: HashMap::new(), greeted: HashMap::new() };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Other bounds, from now on.
    pub fn set(&self, config: HistoryConfig) {
        let mut kept = self.lock();
        kept.config = config;
        kept.trim(SystemTime::now());
    }

    /// The transfers for which `which` holds, newest first.
    pub fn transfers(&self, which: impl Fn(&TransferRecord) -> bool) -> Vec<Arc<TransferRecord>> {
        self.lock().fresh(SystemTime::now()).transfers.iter().rev().filter(|one| which(one)).cloned().collect()
    }

    /// The audit records for which `which` holds, newest first.
    pub fn audit(&self, which: impl Fn(&AuditRecord) -> bool) -> Vec<Arc<AuditRecord>> {
        self.lock().fresh(SystemTime::now()).audit.iter().rev().filter(|one| which(one)).cloned().collect()
    }

    /// The clients for whom `which` holds.
    pub fn clients(&self, which: impl Fn(&str, IpAddr) -> bool) -> Vec<(Box<str>, IpAddr, ClientRecord)> {
        let mut kept = self.lock();
        let clients = kept.fresh(SystemTime::now()).clients.iter();
        clients.filter(|((user, ip), _)| which(user, *ip)).map(|((user, ip), record)| (user.clone(), *ip, record.clone())).collect()
    }

    /// Forgets the clients for whom `which` holds; says how many.
    pub fn forget(&self, which: impl Fn(&str, IpAddr) -> bool) -> usize {
        let mut kept = self.lock();
        let before = kept.clients.len();
        kept.clients.retain(|(user, ip), _| !which(user, *ip));
        before - kept.clients.len()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for History {
    fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        match *event {
            Event::Handshake { channel: Channel::Control, version, resumed, .. } => {
                if let Some(session) = subject.session {
                    self.lock().greeted.insert(session, (version, resumed));
                }
            }
            Event::Closed { .. } => {
                if let Some(session) = subject.session {
                    self.lock().greeted.remove(&session);
                }
            }
            Event::LoggedIn { .. } => self.lock().logged_in(subject),
            Event::Command { verb: Some(Verb::Pasv | Verb::Epsv), code: 200..300, .. } => self.lock().client(subject, |client| client.passive += 1),
            Event::Command { verb: Some(Verb::Port | Verb::Eprt), code: 200..300, .. } => self.lock().client(subject, |client| client.active += 1),
            Event::TransferEnded { id, direction, path, result, bytes, took, proven, end, digest, .. } => {
                let (now, user) = (SystemTime::now(), subject.user.unwrap_or_default());
                let record = TransferRecord {
                    id,
                    session: subject.session,
                    user: user.into(),
                    address: subject.peer.map(|peer| peer.ip()),
                    direction,
                    path: String::from_utf8_lossy(path).into(),
                    bytes,
                    started: now.checked_sub(took).unwrap_or(now),
                    took,
                    result: Ending::from(result).label(),
                    proven,
                    end,
                    digest: digest.map(|(algorithm, value)| shown(algorithm, value)),
                };
                self.lock().transferred(subject, record, result == TransferResult::Complete);
            }
            Event::TransferDigest { id, algorithm, digest, .. } => self.lock().digested(id, shown(algorithm, digest)),
            Event::Sidecar(SidecarEvent::Audited(record)) => self.lock().audited(record),
            _ => {}
        }
    }
}

impl Kept {
    fn logged_in(&mut self, subject: Subject<'_>) {
        let greeted = subject.session.and_then(|session| self.greeted.get(&session).copied());
        self.client(subject, |client| {
            client.sessions += 1;
            match greeted.map(|(version, _)| version) {
                Some(TlsVersion::Tls12) => client.tls12 += 1,
                Some(TlsVersion::Tls13) => client.tls13 += 1,
                None => {}
            }
            client.resumed += u64::from(greeted.is_some_and(|(_, resumed)| resumed != Resumed::Full));
        });
    }

    fn client(&mut self, subject: Subject<'_>, change: impl FnOnce(&mut ClientRecord)) {
        let (Some(user), Some(peer)) = (subject.user, subject.peer) else { return };
        let (now, key) = (SystemTime::now(), (Box::from(user), peer.ip()));
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(&key) {
            self.make_room();
        }
        let client = self.clients.entry(key).or_insert_with(|| ClientRecord::new(now));
        client.last = now;
        change(client);
    }

    /// The eighth that was here the longest ago goes: a search of all for each newcomer would cost a flood too little.
    fn make_room(&mut self) {
        let mut times: Vec<SystemTime> = self.clients.values().map(|client| client.last).collect();
        times.sort_unstable();
        let limit = times.get(CLIENTS / 8).copied();
        self.clients.retain(|_, client| limit.is_some_and(|limit| client.last > limit));
    }

    fn transferred(&mut self, subject: Subject<'_>, record: TransferRecord, complete: bool) {
        let (proven, upload, end) = (record.proven, record.direction == Direction::Upload, record.end);
        self.transfers.push_back(Arc::new(record));
        self.trim(SystemTime::now());
        if complete {
            self.client(subject, |client| {
                *(if proven { &mut client.proven } else { &mut client.unproven }) += 1;
                client.clean += u64::from(upload && end == StreamEnd::CloseNotify);
                client.unclean += u64::from(upload && end == StreamEnd::Fin);
            });
        }
    }

    /// It ended some seconds ago: it is looked for from the newest on.
    fn digested(&mut self, id: TransferId, digest: (&'static str, Box<str>)) {
        if let Some(record) = self.transfers.iter_mut().rev().find(|record| record.id == id) {
            Arc::make_mut(record).digest = Some(digest);
        }
    }

    fn audited(&mut self, record: &AuditRecord) {
        self.audit.push_back(Arc::new(record.clone()));
        self.trim(SystemTime::now());
    }

    fn trim(&mut self, now: SystemTime) {
        let oldest = now.checked_sub(self.config.keep).unwrap_or(SystemTime::UNIX_EPOCH);
        let (transfers, audit) = (self.config.transfers, self.config.audit);
        while self.transfers.len() > transfers || self.transfers.front().is_some_and(|one| one.started + one.took < oldest) {
            self.transfers.pop_front();
        }
        while self.audit.len() > audit || self.audit.front().is_some_and(|one| one.time < oldest) {
            self.audit.pop_front();
        }
    }

    /// Without what is too old by now.
    fn fresh(&mut self, now: SystemTime) -> &Self {
        self.trim(now);
        let oldest = now.checked_sub(self.config.keep).unwrap_or(SystemTime::UNIX_EPOCH);
        self.clients.retain(|_, client| client.last >= oldest);
        self
    }
}

impl ClientRecord {
    fn new(now: SystemTime) -> Self {
        Self { first: now, last: now, sessions: 0, tls12: 0, tls13: 0, resumed: 0, proven: 0, unproven: 0, clean: 0, unclean: 0, passive: 0, active: 0 }
    }
}

/// A digest as a record holds it.
fn shown(algorithm: Algorithm, digest: &[u8]) -> (&'static str, Box<str>) {
    (algorithm.label(), digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Clients remembered.
const CLIENTS: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::event::LoginMethod;
    use super::*;

    fn history(transfers: usize) -> History {
        History::new(HistoryConfig { transfers, audit: 10, keep: Duration::from_secs(60) })
    }

    fn ended(path: &[u8], proven: bool) -> Event<'_> {
        let (direction, result, end) = (Direction::Upload, TransferResult::Complete, StreamEnd::Fin);
        Event::TransferEnded { id: TransferId::now(), direction, path, result, bytes: 7, took: Duration::from_secs(1), ascii: false, proven, end, digest: None }
    }

    #[test]
    fn the_newest_transfers_are_kept_and_come_first() {
        let history = history(2);
        let subject = Subject { user: Some("alice"), peer: Some("192.0.2.1:9".parse().unwrap()), session: Some(SessionId::now()) };
        [b"/a", b"/b", b"/c"].iter().for_each(|path| history.event(subject, &ended(*path, true)));
        let paths: Vec<_> = history.transfers(|_| true).iter().map(|one| one.path.to_string()).collect();
        assert_eq!(paths, ["/c", "/b"]);
        assert_eq!(history.transfers(|one| &*one.path == "/b").len(), 1);
        history.set(HistoryConfig { transfers: 1, audit: 1, keep: Duration::from_secs(60) });
        assert_eq!(history.transfers(|_| true).len(), 1);
    }

    #[test]
    fn a_digest_that_comes_later_finds_its_transfer() {
        let history = history(10);
        let ids = [b"/a", b"/b"].map(|path| {
            let event = ended(path, true);
            history.event(Subject::default(), &event);
            let Event::TransferEnded { id, .. } = event else { panic!("another event") };
            id
        });
        let late = |id| history.event(Subject::default(), &Event::TransferDigest { id, path: b"/a", algorithm: Algorithm::Md5, digest: &[0xab, 0xc] });
        late(ids[0]);
        late(TransferId::now());
        let digests: Vec<_> = history.transfers(|_| true).iter().map(|one| one.digest.clone()).collect();
        assert_eq!(digests, [None, Some(("md5", "ab0c".into()))]);
    }

    #[test]
    fn a_client_is_what_its_sessions_have_shown() {
        let history = history(10);
        let subject = Subject { user: Some("alice"), peer: Some("192.0.2.1:9".parse().unwrap()), session: Some(SessionId::now()) };
        let (took, method) = (Duration::ZERO, LoginMethod::Password);
        history.event(
            Subject { user: None, ..subject },
            &Event::Handshake { channel: Channel::Control, version: TlsVersion::Tls12, resumed: Resumed::Ticket, took },
        );
        history.event(subject, &Event::LoggedIn { method, class: None, took });
        history.event(subject, &Event::Command { verb: Some(Verb::Epsv), code: 229, took });
        history.event(subject, &Event::Command { verb: Some(Verb::Eprt), code: 502, took });
        history.event(subject, &ended(b"/a", true));
        history.event(subject, &ended(b"/b", false));
        let clients = history.clients(|user, _| user == "alice");
        let (_, ip, client) = &clients[0];
        assert_eq!((ip.to_string().as_str(), client.sessions, client.tls12, client.resumed), ("192.0.2.1", 1, 1, 1));
        assert_eq!((client.proven, client.unproven, client.unclean, client.passive, client.active), (1, 1, 2, 1, 0));
        assert_eq!((history.forget(|user, _| user == "bob"), history.forget(|_, _| true)), (0, 1));
        assert_eq!(history.clients(|_, _| true), []);
    }

    #[test]
    fn a_flood_of_addresses_pushes_out_the_oldest() {
        let history = history(10);
        for number in 0..CLIENTS + 100 {
            let ip = std::net::Ipv4Addr::from(u32::try_from(number).unwrap());
            let subject = Subject { user: Some("alice"), peer: Some((ip, 1).into()), session: None };
            history.event(subject, &Event::LoggedIn { method: LoginMethod::Password, class: None, took: Duration::ZERO });
        }
        assert!(history.lock().clients.len() <= CLIENTS);
    }
}
