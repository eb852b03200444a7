//! Who is here: one entry for each session, with its inbox.
//!
//! Gets: sessions that begin, log in and end. Gives: "end where …", counts, delivery of data connections, what a drain waits for.
//! Never: decides anything, waits for a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ftps_proto::machine::io::EndReason;
use tokio::sync::{Notify, mpsc};

use crate::net::Arrival;
use crate::observe::id::SessionId;

/// What others may tell a session.
#[derive(Debug)]
pub enum Message {
    /// End now.
    End(EndReason),
    /// End at the next idle point.
    EndWhenIdle(EndReason),
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
    /// Whether a transfer runs.
    pub transferring: AtomicBool,
    /// Bytes on its data connections so far.
    pub bytes: AtomicU64,
    user: Mutex<Option<Arc<str>>>,
    inbox: mpsc::Sender<Message>,
}

/// Membership of one session; leaving the house when dropped.
#[derive(Debug)]
pub struct Membership {
    live: Live,
    entry: Arc<Entry>,
}

impl Live {
    /// A session begins.
    pub fn join(&self, id: SessionId, peer: SocketAddr) -> (Membership, mpsc::Receiver<Message>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let entry =
            Arc::new(Entry { id, peer, since: Instant::now(), transferring: AtomicBool::new(false), bytes: AtomicU64::new(0), user: Mutex::new(None), inbox });
        self.0.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry.clone());
        (Membership { live: self.clone(), entry }, messages)
    }

    /// Sessions here.
    pub fn count(&self) -> usize {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All sessions, as a snapshot.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Gives a data connection to its session. Handed back when the session is gone or its inbox is full.
    ///
    /// # Errors
    /// The arrival, undelivered.
    pub fn deliver(&self, id: SessionId, arrival: Arrival) -> Result<(), Arrival> {
        let entry = self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(entry) = entry else { return Err(arrival) };
        match entry.inbox.try_reserve() {
            Ok(place) => {
                place.send(Message::Data(Box::new(arrival)));
                Ok(())
            }
            Err(_full_or_gone) => Err(arrival),
        }
    }

    /// Ends every session for which `which` holds; returns how many were told.
    pub fn end(&self, which: impl Fn(&Entry) -> bool, reason: EndReason, when_idle: bool) -> usize {
        let told = |entry: &Arc<Entry>| {
            let message = if when_idle { Message::EndWhenIdle(reason) } else { Message::End(reason) };
            entry.inbox.try_send(message).is_ok()
        };
        self.entries().iter().filter(|entry| which(entry)).filter(|entry| told(entry)).count()
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

impl Entry {
    /// The user, once logged in.
    pub fn user(&self) -> Option<Arc<str>> {
        lock(&self.user).clone()
    }
}

impl Membership {
    /// The entry as others see it.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Logged in, or (with `None`) back to the start.
    pub fn set_user(&self, user: Option<&str>) {
        *lock(&self.entry.user) = user.map(Arc::from);
    }

    /// A transfer begins or ends.
    pub fn set_transferring(&self, yes: bool) {
        self.entry.transferring.store(yes, Ordering::Relaxed);
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

/// Messages a session may have unread: data connections beyond it are refused, an end beyond it finds one already there.
const INBOX: usize = 8;
