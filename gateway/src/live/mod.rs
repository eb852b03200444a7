//! Who is here: one entry for each session, with its inbox.
//!
//! Gets: sessions that begin, log in and end. Gives: "end where …", counts, delivery of data connections, what a drain waits for.
//! Never: decides anything, waits for a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ftps_proto::machine::io::EndReason;
use tokio::sync::{Notify, mpsc};

use crate::net::Arrival;
use crate::observe::event::{Resumed, TlsVersion};
use crate::observe::id::SessionId;

/// What a session is told.
#[derive(Debug)]
pub enum Message {
    /// End now.
    End(EndReason),
    /// End at the next idle point.
    EndWhenIdle(EndReason),
    /// Serve no further command.
    LastOrders(EndReason),
    /// A data connection for this session.
    Data(Box<Arrival>),
}

/// The sessions of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sessions: RwLock<HashMap<SessionId, Arc<Entry>>>,
    /// Told whenever a session ends.
    ended: Notify,
}

/// One session as others see it.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: SessionId,
    /// The client's true address.
    pub peer: SocketAddr,
    /// When it began.
    pub since: Instant,
    /// Bytes of its transfers that have ended.
    pub bytes: AtomicU64,
    running: Mutex<Option<Running>>,
    user: Mutex<Option<Arc<str>>>,
    /// The class of the user.
    class: Mutex<Option<Arc<str>>>,
    /// Names of the client's certificate, as bans write them.
    certificates: OnceLock<Vec<String>>,
    /// Its control handshake.
    tls: OnceLock<(TlsVersion, Resumed)>,
    /// It was told to end now.
    ending: AtomicBool,
    arrivals: mpsc::Sender<Box<Arrival>>,
    /// A place of its own: however many data connections wait, an end is never lost.
    end: Mutex<End>,
    told: Notify,
}

/// A transfer that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Bytes that have moved.
    pub bytes: Arc<AtomicU64>,
    /// All that will have moved at its end; `None` where only the client knows (an upload without ALLO, a listing).
    pub expected: Option<u64>,
    /// When it began.
    pub since: Instant,
}

/// What is still to come of all transfers that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Transfers that run.
    pub transfers: usize,
    /// Bytes to come of those whose size is known.
    pub bytes: u64,
    /// Transfers of which only the client knows when they end.
    pub open_ended: usize,
    /// Until the last of those of known size has ended, if each goes on as fast as it was; `None`: one of them has not moved yet.
    pub estimate: Option<Duration>,
}

/// What a session was told about its end and has not taken yet.
#[derive(Debug, Default)]
struct End {
    now: Option<EndReason>,
    when_idle: Option<EndReason>,
    at_command: Option<EndReason>,
}

/// What one session was told, ends first.
#[derive(Debug)]
pub struct Inbox {
    arrivals: mpsc::Receiver<Box<Arrival>>,
    entry: Arc<Entry>,
}

/// Membership of one session; leaving the house when dropped.
#[derive(Debug)]
pub struct Membership {
    live: Live,
    entry: Arc<Entry>,
}

impl Live {
    /// A session begins.
    pub fn join(&self, id: SessionId, peer: SocketAddr) -> (Membership, Inbox) {
        let (sender, arrivals) = mpsc::channel(ARRIVALS);
        let entry = Arc::new(Entry {
            id,
            peer,
            since: Instant::now(),
            bytes: AtomicU64::new(0),
            running: Mutex::default(),
            user: Mutex::default(),
            class: Mutex::default(),
            certificates: OnceLock::new(),
            tls: OnceLock::new(),
            ending: AtomicBool::new(false),
            arrivals: sender,
            end: Mutex::default(),
            told: Notify::new(),
        });
        self.0.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry.clone());
        (Membership { live: self.clone(), entry: entry.clone() }, Inbox { arrivals, entry })
    }

    /// Sessions here.
    pub fn count(&self) -> usize {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All sessions, as a snapshot.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether this session is here.
    pub fn has(&self, id: SessionId) -> bool {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Gives a data connection to its session. Handed back when the session is gone or its inbox is full.
    ///
    /// # Errors
    /// The arrival, undelivered.
    pub fn deliver(&self, id: SessionId, arrival: Arrival) -> Result<(), Arrival> {
        let entry = self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(entry) = entry else { return Err(arrival) };
        match entry.arrivals.try_reserve() {
            Ok(place) => {
                place.send(Box::new(arrival));
                Ok(())
            }
            Err(_full_or_gone) => Err(arrival),
        }
    }

    /// Ends every session for which `which` holds; returns how many were told.
    pub fn end(&self, which: impl Fn(&Entry) -> bool, reason: EndReason, when_idle: bool) -> usize {
        self.entries().iter().filter(|entry| which(entry)).map(|entry| entry.tell(reason, when_idle)).count()
    }

    /// No session serves a further command: its reply is the end. What runs may end.
    pub fn last_orders(&self, reason: EndReason) {
        for entry in self.entries() {
            lock(&entry.end).at_command.get_or_insert(reason);
            entry.told.notify_one();
        }
    }

    /// What is still to come of the transfers here.
    pub fn remaining(&self) -> Remaining {
        let running: Vec<Running> = self.entries().iter().filter_map(|entry| lock(&entry.running).clone()).collect();
        Remaining::of(&running, Instant::now())
    }

    /// Waits until no session is left.
    pub async fn empty(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Running {
    /// One that begins now.
    pub fn begin(bytes: Arc<AtomicU64>, expected: Option<u64>) -> Self {
        Self { bytes, expected, since: Instant::now() }
    }
}

impl Remaining {
    fn of(running: &[Running], now: Instant) -> Self {
        let mut all = Self { transfers: running.len(), estimate: Some(Duration::ZERO), ..Self::default() };
        for one in running {
            let Some(expected) = one.expected else {
                all.open_ended += 1;
                continue;
            };
            let moved = one.bytes.load(Ordering::Relaxed);
            let left = expected.saturating_sub(moved);
            all.bytes = all.bytes.saturating_add(left);
            let took = now.saturating_duration_since(one.since).as_millis();
            let still = u128::from(left).saturating_mul(took).checked_div(u128::from(moved)).or((left == 0).then_some(0));
            let still = still.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)));
            all.estimate = all.estimate.zip(still).map(|(one, other)| one.max(other));
        }
        all
    }
}

impl Entry {
    /// Whether a transfer runs.
    pub fn is_transferring(&self) -> bool {
        lock(&self.running).is_some()
    }

    /// The user, once logged in.
    pub fn user(&self) -> Option<Arc<str>> {
        lock(&self.user).clone()
    }

    /// The class of the user, once logged in.
    pub fn class(&self) -> Option<Arc<str>> {
        lock(&self.class).clone()
    }

    /// Names of the certificate that the client has shown.
    pub fn certificates(&self) -> &[String] {
        self.certificates.get().map_or(&[], Vec::as_slice)
    }

    /// Its control handshake, once it is done.
    pub fn tls(&self) -> Option<(TlsVersion, Resumed)> {
        self.tls.get().copied()
    }

    /// Whether it was told to end now.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// The first reason stays; it is what the session says to its client.
    fn tell(&self, reason: EndReason, when_idle: bool) {
        let mut end = lock(&self.end);
        let place = if when_idle { &mut end.when_idle } else { &mut end.now };
        place.get_or_insert(reason);
        drop(end);
        if !when_idle {
            self.ending.store(true, Ordering::Relaxed);
        }
        self.told.notify_one();
    }
}

impl Inbox {
    /// The next message. Cancel safe.
    pub async fn recv(&mut self) -> Message {
        loop {
            if let Some(message) = self.end() {
                return message;
            }
            tokio::select! {
                () = self.entry.told.notified() => {}
                // The entry has the sender, so there is no other end of this.
                Some(arrival) = self.arrivals.recv() => return Message::Data(arrival),
            }
        }
    }

    /// Waits until the session has to end now, and leaves everything else for [`Inbox::recv`]. Cancel safe.
    pub async fn ended(&mut self) -> EndReason {
        loop {
            if let Some(reason) = lock(&self.entry.end).now.take() {
                return reason;
            }
            self.entry.told.notified().await;
        }
    }

    fn end(&self) -> Option<Message> {
        let mut end = lock(&self.entry.end);
        let now = end.now.take().map(Message::End);
        now.or_else(|| end.at_command.take().map(Message::LastOrders)).or_else(|| end.when_idle.take().map(Message::EndWhenIdle))
    }
}

impl Membership {
    /// The entry as others see it.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Logged in, as this user of this class, or (with `None`) back to the start.
    pub fn set_user(&self, user: Option<(&str, Option<&str>)>) {
        *lock(&self.entry.user) = user.map(|(name, _)| Arc::from(name));
        *lock(&self.entry.class) = user.and_then(|(_, class)| class).map(Arc::from);
    }

    /// Ends this session now, as [`Live::end`] does.
    pub fn end(&self, reason: EndReason) {
        self.entry.tell(reason, false);
    }

    /// What the handshake has shown. Said once.
    pub fn set_certificates(&self, names: Vec<String>) {
        let _ = self.entry.certificates.set(names);
    }

    /// The control handshake is done. Said once.
    pub fn set_tls(&self, version: TlsVersion, resumed: Resumed) {
        let _ = self.entry.tls.set((version, resumed));
    }

    /// A transfer has moved so many bytes.
    pub fn moved(&self, bytes: u64) {
        self.entry.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A transfer runs from now on, or (with `None`) none any more.
    pub fn set_running(&self, running: Option<Running>) {
        *lock(&self.entry.running) = running;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.live.0.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&self.entry.id);
        self.live.0.ended.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Data connections a session may have unread; those beyond are refused.
const ARRIVALS: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn what_is_left_is_known_as_far_as_the_sizes_are() {
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_secs(10)).unwrap();
        let running = |bytes, expected| Running { bytes: Arc::new(AtomicU64::new(bytes)), expected, since };
        assert_eq!(Remaining::of(&[], now), Remaining { estimate: Some(Duration::ZERO), ..Remaining::default() });
        let some = [running(1_000, Some(4_000)), running(500, Some(600)), running(7, None), running(9, Some(8)), running(0, Some(0))];
        let left = Remaining { transfers: 5, bytes: 3_100, open_ended: 1, estimate: Some(Duration::from_secs(30)) };
        assert_eq!(Remaining::of(&some, now), left);
        assert_eq!(Remaining::of(&[running(0, Some(5))], now), Remaining { transfers: 1, bytes: 5, open_ended: 0, estimate: None });
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_end_finds_its_way_past_all_that_waits_and_is_told_once() {
        let live = Live::default();
        let (_membership, mut inbox) = live.join(SessionId::now(), "192.0.2.1:1".parse().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..ARRIVALS {
            let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let arrival = Arrival { stream, read: Vec::new(), peer: "192.0.2.1:2".parse().unwrap(), port: 1, since: tokio::time::Instant::now() };
            live.deliver(inbox.entry.id, arrival).unwrap();
        }
        // A drain repeats itself each second.
        (0..100).for_each(|_| assert_eq!(live.end(|_| true, EndReason::Shutdown, true), 1));
        assert_eq!(live.end(|_| true, EndReason::Kicked, false), 1);
        assert!(matches!(timeout(LIMIT, inbox.recv()).await.unwrap(), Message::End(EndReason::Kicked)));
        assert!(matches!(timeout(LIMIT, inbox.recv()).await.unwrap(), Message::EndWhenIdle(EndReason::Shutdown)));
        assert!(matches!(timeout(LIMIT, inbox.recv()).await.unwrap(), Message::Data(_)));
    }

    #[tokio::test]
    async fn who_waits_only_for_an_end_loses_nothing_else() {
        let live = Live::default();
        let (_membership, mut inbox) = live.join(SessionId::now(), "192.0.2.1:1".parse().unwrap());
        live.end(|_| true, EndReason::Shutdown, true);
        assert!(timeout(Duration::from_millis(20), inbox.ended()).await.is_err(), "an idle point is not now");
        let later = live.clone();
        let kick = async move { later.end(|_| true, EndReason::Kicked, false) };
        let (reason, told) = tokio::join!(timeout(LIMIT, inbox.ended()), kick);
        assert_eq!((reason.unwrap(), told), (EndReason::Kicked, 1));
        assert!(matches!(timeout(LIMIT, inbox.recv()).await.unwrap(), Message::EndWhenIdle(EndReason::Shutdown)));
    }
}
