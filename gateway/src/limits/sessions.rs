//! Permits: how many sessions there are in all, of each source and of each user, and how many of them have not logged in.
//!
//! Gets: sources that join. Gives: permits that leave when they are dropped.
//! Never: keeps anything of a source or user without a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bandwidth::{Bucket, Pace};
use super::{Config, Limit, Own, Shared, Source, lock};

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
    most_of_source: usize,
    most_of_user: usize,
    bandwidth_of_session: Option<u64>,
    bandwidth_of_user: Option<u64>,
    all: usize,
    /// Those that have not logged in.
    strangers: usize,
    of_source: HashMap<Source, usize>,
    of_user: HashMap<Box<str>, OfUser>,
}

/// The sessions of one user.
#[derive(Debug, Default)]
struct OfUser {
    count: usize,
    /// What they share, if their speed is limited. Of this node alone: the share of the cluster will come in leases, as that of its sessions.
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
        sessions.all -= 1;
        if let Some(count) = sessions.of_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sessions.of_source.remove(&self.source);
            }
        }
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
        if let Some(user) = sessions.of_user.get_mut(&*self.name) {
            user.count -= 1;
            if user.count == 0 {
                sessions.of_user.remove(&*self.name);
            }
        }
    }
}

impl Sessions {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            most: config.sessions,
            most_of_source: config.sessions_per_ip,
            most_of_user: config.sessions_per_user,
            bandwidth_of_session: config.bandwidth_per_session,
            bandwidth_of_user: config.bandwidth_per_user,
            all: 0,
            strangers: 0,
            of_source: HashMap::new(),
            of_user: HashMap::new(),
        }
    }

    pub(super) fn set(&mut self, config: &Config) {
        (self.most, self.most_of_source, self.most_of_user) = (config.sessions, config.sessions_per_ip, config.sessions_per_user);
        (self.bandwidth_of_session, self.bandwidth_of_user) = (config.bandwidth_per_session, config.bandwidth_per_user);
    }

    pub(super) fn count(&self) -> usize {
        self.all
    }

    /// Takes a session of this source, unless a limit is reached. `hidden`: the source stands for many, and is counted but not limited.
    pub(super) fn join(&mut self, source: Source, hidden: bool, chance: f64) -> Result<(), Limit> {
        if self.all >= self.most || chance < self.early_drop() {
            return Err(Limit::Sessions);
        }
        let taken = self.of_source.get(&source).copied().unwrap_or_default();
        if taken >= self.most_of_source && !hidden {
            return Err(Limit::SessionsPerIp);
        }
        self.of_source.insert(source, taken + 1);
        self.all += 1;
        self.strangers += 1;
        Ok(())
    }

    /// Takes a session of this user and gives its speed, unless its own limit or else the common one is reached.
    pub(super) fn user_joins(&mut self, name: &str, own: Own) -> Option<Pace> {
        let taken = self.of_user.get(name).map_or(0, |user| user.count);
        if taken >= own.sessions.unwrap_or(self.most_of_user) {
            return None;
        }
        let user = self.of_user.entry(name.into()).or_default();
        user.count += 1;
        // The bucket that the other sessions have, unless a reload has brought another speed.
        let shared = own.bandwidth.or(self.bandwidth_of_user).map(|speed| {
            let same = user.bucket.take().filter(|bucket| bucket.per_second() == speed);
            same.unwrap_or_else(|| Arc::new(Bucket::new(speed)))
        });
        user.bucket.clone_from(&shared);
        Some(Pace::new(self.bandwidth_of_session, shared))
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
        self.of_source.len()
    }

    #[cfg(test)]
    pub(super) fn users(&self) -> usize {
        self.of_user.len()
    }
}

/// So many strangers are never too many (OpenSSH's default start).
const HARMLESS: usize = 10;
