//! Permits: how many sessions there are in all, of each source and of each user, and how many of them have not logged in.
//!
//! Gets: sources that join, what homes lease to this node. Gives: permits that leave when they are dropped.
//! Never: keeps a count of a source or user without a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bandwidth::{Bucket, Pace};
use super::leases::{Grant, Key, Leases, Recall, Return, Short, Wish};
use super::peers::Speed;
use super::{Config, Limit, Own, Shared, Source, lock};
use crate::observe::id::Incarnation;

/// The right to be one session. Held until its connection is closed.
#[derive(Debug)]
#[must_use = "a permit that is dropped is returned"]
pub struct Permit {
    shared: Arc<Shared>,
    source: Source,
    logged_in: AtomicBool,
}

/// The right of a user to one session. Held from login until its end or `REIN`.
#[derive(Debug)]
#[must_use = "a permit that is dropped is returned"]
pub struct UserPermit {
    shared: Arc<Shared>,
    name: Box<str>,
    pace: Pace,
}

/// What is taken, and what may be.
#[derive(Debug)]
pub(super) struct Sessions {
    most: usize,
    most_of_cluster: Option<usize>,
    most_of_source: usize,
    most_of_user: usize,
    bandwidth_of_session: Option<u64>,
    bandwidth_of_user: Option<u64>,
    /// Those that have not logged in.
    strangers: usize,
    taken: Taken,
    leases: Leases,
}

/// What is taken on this node.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_source: HashMap<Source, usize>,
    of_user: HashMap<Box<str>, OfUser>,
}

/// The sessions of one user.
#[derive(Debug, Default)]
struct OfUser {
    count: usize,
    /// What they share, if their speed is limited.
    bucket: Option<Arc<Bucket>>,
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, source: Source) -> Self {
        Self { shared, source, logged_in: AtomicBool::new(false) }
    }

    /// The session has logged in: it no longer counts for the early drop. Saying it again changes nothing.
    pub fn logged_in(&self) {
        if !self.logged_in.swap(true, Ordering::Relaxed) {
            lock(&self.shared.sessions).strangers -= 1;
        }
    }

    /// The session is back before its login (`REIN`).
    pub fn logged_out(&self) {
        if self.logged_in.swap(false, Ordering::Relaxed) {
            lock(&self.shared.sessions).strangers += 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.logged_in();
        let mut sessions = lock(&self.shared.sessions);
        sessions.taken.all -= 1;
        if let Some(count) = sessions.taken.of_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sessions.taken.of_source.remove(&self.source);
            }
        }
        sessions.leases.freed(Key::Source(self.source));
        sessions.leases.freed(Key::All);
    }
}

impl UserPermit {
    pub(super) fn new(shared: Arc<Shared>, name: &str, pace: Pace) -> Self {
        Self { shared, name: name.into(), pace }
    }

    /// How fast the session may move bytes.
    pub fn pace(&self) -> Pace {
        self.pace.clone()
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        let mut sessions = lock(&self.shared.sessions);
        if let Some(user) = sessions.taken.of_user.get_mut(&*self.name) {
            user.count -= 1;
            if user.count == 0 {
                sessions.taken.of_user.remove(&*self.name);
            }
        }
        sessions.leases.freed(Key::User(self.name.clone()));
    }
}

impl Sessions {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            most: config.sessions,
            most_of_cluster: config.cluster_sessions,
            most_of_source: config.sessions_per_ip,
            most_of_user: config.sessions_per_user,
            bandwidth_of_session: config.bandwidth_per_session,
            bandwidth_of_user: config.bandwidth_per_user,
            strangers: 0,
            taken: Taken::default(),
            leases: Leases::default(),
        }
    }

    pub(super) fn set(&mut self, config: &Config) {
        self.most_of_cluster = config.cluster_sessions;
        (self.most, self.most_of_source, self.most_of_user) = (config.sessions, config.sessions_per_ip, config.sessions_per_user);
        (self.bandwidth_of_session, self.bandwidth_of_user) = (config.bandwidth_per_session, config.bandwidth_per_user);
    }

    pub(super) fn count(&self) -> usize {
        self.taken.all
    }

    /// Takes a session of this source, unless a limit is reached. `hidden`: the source stands for many, and is counted but not limited.
    pub(super) fn join(&mut self, source: Source, hidden: bool, chance: f64, now: Instant) -> Result<(), Short> {
        if self.taken.all >= self.most || chance < self.early_drop() {
            return Err(Short::Reached(Limit::Sessions));
        }
        if let Some(most) = self.most_of_cluster {
            self.leases.may(Key::All, self.taken.all, most, Limit::ClusterSessions, now)?;
        }
        let taken = self.taken.of_source.get(&source).copied().unwrap_or_default();
        if !hidden {
            self.leases.may(Key::Source(source), taken, self.most_of_source, Limit::SessionsPerIp, now)?;
        }
        self.taken.of_source.insert(source, taken + 1);
        self.taken.all += 1;
        self.strangers += 1;
        Ok(())
    }

    /// Takes a session of this user and gives its speed, unless its own limit or else the common one is reached.
    pub(super) fn user_joins(&mut self, name: &str, own: Own, now: Instant) -> Result<Pace, Short> {
        let key = Key::User(name.into());
        let most = own.sessions.unwrap_or(self.most_of_user);
        self.leases.may(key.clone(), self.taken.of(&key), most, Limit::SessionsPerUser, now)?;
        let user = self.taken.of_user.entry(name.into()).or_default();
        user.count += 1;
        // The bucket that the other sessions have, unless a reload has brought another speed.
        let shared = own.bandwidth.or(self.bandwidth_of_user).map(|speed| {
            let same = user.bucket.take().filter(|bucket| bucket.per_second() == speed);
            same.unwrap_or_else(|| Arc::new(Bucket::new(speed)))
        });
        user.bucket.clone_from(&shared);
        Ok(Pace::new(self.bandwidth_of_session, shared))
    }

    /// So many nodes are the cluster now.
    pub(super) fn set_members(&mut self, members: usize, now: Instant) {
        self.leases.set_members(members, now);
    }

    /// A home has answered a question that was sent then.
    pub(super) fn granted(&mut self, wish: &Wish, home: Incarnation, grant: Grant, sent: Instant) {
        self.leases.granted(wish, home, grant, sent, Instant::now());
    }

    /// No home answers.
    pub(super) fn alone(&mut self, wish: &Wish) {
        self.leases.alone(wish, Instant::now());
    }

    /// A home wants back what is not taken; gives what is.
    pub(super) fn recall(&mut self, recall: &Recall, home: Incarnation) -> usize {
        let used = self.taken.of(&recall.key);
        self.leases.recall(recall, used, home, Instant::now());
        used
    }

    /// Places of this key may go back.
    pub(super) fn freed(&mut self, key: Key) {
        self.leases.freed(key);
    }

    /// What goes back to homes.
    pub(super) fn returns(&mut self, now: Instant) -> Vec<(Incarnation, Return)> {
        let taken = &self.taken;
        self.leases.returns(|key| taken.of(key), now)
    }

    /// Keys of which no home has spoken for a while.
    pub(super) fn unspoken(&self, now: Instant) -> Vec<Wish> {
        self.leases.unspoken(|key| self.taken.of(key), now)
    }

    /// How fast users with a limit were since this was asked last, that long ago.
    pub(super) fn speeds(&self, since: Duration, now: Instant) -> Vec<Speed> {
        let speed = |user: &OfUser| user.bucket.as_ref().and_then(|bucket| bucket.speed(since, now));
        let named = self.taken.of_user.iter().filter_map(|(name, user)| speed(user).map(|speed| (name.clone(), speed)));
        named.map(|(user, (rate, wants_more))| Speed { user, rate, wants_more }).collect()
    }

    /// How fast a user is at another node.
    pub(super) fn hear_speed(&self, node: Incarnation, speed: &Speed, now: Instant) {
        if let Some(bucket) = self.taken.of_user.get(&speed.user).and_then(|user| user.bucket.as_ref()) {
            bucket.hear(node, speed.rate, speed.wants_more, now);
        }
    }

    /// The chance with which a newcomer is dropped: 0 while at most half of the sessions are strangers, rising to 1 when all are, so that
    /// a flood of strangers still leaves a door ajar for those who will log in (OpenSSH's MaxStartups).
    fn early_drop(&self) -> f64 {
        let start = (self.most / 2).max(HARMLESS);
        if self.strangers <= start || self.most <= start {
            return 0.0;
        }
        (self.strangers - start) as f64 / (self.most - start) as f64
    }

    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.taken.of_source.len()
    }

    #[cfg(test)]
    pub(super) fn users(&self) -> usize {
        self.taken.of_user.len()
    }
}

impl Taken {
    fn of(&self, key: &Key) -> usize {
        match key {
            Key::All => self.all,
            Key::Source(source) => self.of_source.get(source).copied().unwrap_or_default(),
            Key::User(name) => self.of_user.get(name).map_or(0, |user| user.count),
        }
    }
}

/// So many strangers are never too many (OpenSSH's default start).
const HARMLESS: usize = 10;
