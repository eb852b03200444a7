//! How much anybody may have: permits for sessions, attempts to log in; the deadlines of a session are kept by the session.
//!
//! Gets: addresses and user names that ask. Gives: permits that return what they took when dropped, or the limit that was reached.
//! Never: asks another node while a lease or the free share covers it; waits for one longer than 400 ms, or for a store at all; keeps more than its bounds: one entry for
//! each session, 65,536 leases and 65,536 addresses that tried to log in.

mod bandwidth;
mod hidden;
mod home;
mod leases;
mod logins;
mod peers;
mod sessions;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use bandwidth::Pace;
pub use sessions::{Permit, UserPermit};

use self::hidden::Hidden;
use self::home::Table;
use self::leases::Short;
use self::logins::{Attempt, Logins};
use self::sessions::Sessions;
use crate::cluster::Cluster;
use crate::observe::event::{Event, Limit};
use crate::observe::id::Incarnation;
use crate::observe::{Observer, Subject};

/// `limits:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `limits.sessions`: on this node.
    pub sessions: usize,
    /// `limits.cluster_sessions`: on all nodes together.
    pub cluster_sessions: Option<usize>,
    /// `limits.sessions_per_ip`: on all nodes together, as what follows.
    pub sessions_per_ip: usize,
    /// `limits.sessions_per_user`.
    pub sessions_per_user: usize,
    /// `limits.logins_per_minute_per_ip`.
    pub logins_per_minute_per_ip: u32,
    /// `limits.login_timeout`: from accept to a login; NOOP does not extend it.
    pub login_timeout: Duration,
    /// `limits.idle_timeout`: without a command and without a transfer.
    pub idle_timeout: Duration,
    /// `limits.stall_timeout`: no byte on the data connection.
    pub stall_timeout: Duration,
    /// `limits.data_timeout`: from PASV to proof.
    pub data_timeout: Duration,
    /// `limits.write_timeout`: a reply that is not read.
    pub write_timeout: Duration,
    /// `limits.session_max`: 421 at an idle point after it.
    pub session_max: Duration,
    /// `limits.line`: longest command line in bytes after login (half of it, at most 4 KiB, before).
    pub line: usize,
    /// `limits.password_jobs`: password hashes computed at a time; `None` is `auto`, the number of cores.
    pub password_jobs: Option<usize>,
    /// `limits.bandwidth_per_session`: bytes a second, both directions together; `None` is no limit.
    pub bandwidth_per_session: Option<u64>,
    /// `limits.bandwidth_per_user`: over all sessions of a user, unless the user has a limit of its own.
    pub bandwidth_per_user: Option<u64>,
}

/// What a user may have instead of what everybody may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Over `limits.sessions_per_user`.
    pub sessions: Option<usize>,
    /// Over `limits.bandwidth_per_user`.
    pub bandwidth: Option<u64>,
}

/// The limits of one node, and its part of those of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    observer: Observer,
    sessions: Mutex<Sessions>,
    logins: Mutex<Logins>,
    hidden: Mutex<Hidden>,
    cluster: Cluster,
    /// What this node leases as a home.
    table: Mutex<Table>,
    /// A count of all nodes is done.
    counted: Notify,
    suspects: Mutex<Suspects>,
}

/// Homes that did not answer, and until when others stand in for them.
type Suspects = HashMap<Incarnation, Instant>;

/// A client's network as limits see it: one IPv4 address, or one IPv6 /64, because whoever has one address of a /64 has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Source(u128);

impl Limits {
    /// Nothing is taken yet.
    pub fn new(config: &Config, cluster: Cluster, observer: Observer) -> Self {
        let (sessions, logins) = (Mutex::new(Sessions::new(config)), Mutex::new(Logins::new(config.logins_per_minute_per_ip)));
        let (hidden, table, counted, suspects) = (Mutex::default(), Mutex::default(), Notify::new(), Mutex::default());
        Self(Arc::new(Shared { observer, sessions, logins, hidden, cluster, table, counted, suspects }))
    }

    /// Takes the numbers of a configuration that was read again; permits that are out stay out.
    pub fn set(&self, config: &Config) {
        lock(&self.0.sessions).set(config);
        lock(&self.0.logins).set(config.logins_per_minute_per_ip);
    }

    /// Asks for one more session, of this (true) address: at accept, before a byte is read. It waits only where the address has more sessions here than this node may
    /// give it unasked.
    ///
    /// # Errors
    /// `sessions`, also when sessions without a login fill more than half of it and this one is dropped at random; `cluster_sessions`; `sessions_per_ip`.
    pub async fn admit(&self, ip: IpAddr) -> Result<Permit, Limit> {
        let mut bytes = [0_u8; 4];
        // Without randomness the chance is 0: dropped as soon as any would be.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let chance = f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0);
        let mut tries = TRIES;
        loop {
            match self.try_admit(ip, chance) {
                Ok(permit) => return Ok(permit),
                // Boxed: every idle session would hold the room for it.
                Err(Short::Ask(wish, _)) if tries > 0 => Box::pin(self.lease(&wish)).await,
                Err(Short::Ask(_, limit) | Short::Reached(limit)) => return Err(self.hit(limit, Some(ip), None)),
            }
            tries -= 1;
        }
    }

    /// Asks for one more attempt to log in from this address. It waits while only other nodes may allow it, a second at most.
    ///
    /// # Errors
    /// `logins_per_minute_per_ip`: refilled evenly, a minute's worth at most.
    pub async fn login_attempt(&self, ip: IpAddr) -> Result<(), Limit> {
        for _ in 0..ROUNDS {
            match self.attempt(ip, Instant::now()) {
                Attempt::Allowed => return Ok(()),
                Attempt::Later => tokio::time::sleep(ROUND).await,
                Attempt::Refused => break,
            }
        }
        Err(self.hit(Limit::LoginsPerMinutePerIp, Some(ip), None))
    }

    /// Gives an attempt back: the session that it began was ended for a reason that is not its client's.
    pub fn login_returned(&self, ip: IpAddr, now: Instant) {
        lock(&self.0.logins).give_back(Source::from(ip), now);
    }

    /// Asks for one more session of this user, after the password. It waits only where the user has more sessions here than this node may give it unasked.
    ///
    /// # Errors
    /// `sessions_per_user`, or the user's own limit.
    pub async fn user(&self, name: &str, own: Own) -> Result<UserPermit, Limit> {
        let mut tries = TRIES;
        loop {
            match self.try_user(name, own) {
                Ok(permit) => return Ok(permit),
                Err(Short::Ask(wish, _)) if tries > 0 => Box::pin(self.lease(&wish)).await,
                Err(Short::Ask(_, limit) | Short::Reached(limit)) => return Err(self.hit(limit, None, Some(name))),
            }
            tries -= 1;
        }
    }

    /// A session of this user has logged in from this (true) address. Whether addresses are hidden is learned from this alone: whoever can log in is a client.
    pub fn logged_in(&self, ip: IpAddr, user: &str, now: Instant) {
        // Said under the lock, so that what was said last is what holds.
        if let Some(addresses) = lock(&self.0.hidden).logged_in(ip, user, now) {
            self.0.observer.event(Subject::default(), &Event::AddressesHidden { addresses });
        }
    }

    /// The networks that PROXY headers are taken from: an address in one may be a balancer's, too, although it is public.
    pub fn set_proxies(&self, networks: &[IpNet]) {
        lock(&self.0.hidden).set_proxies(networks.to_vec());
    }

    /// Whether this address is a balancer's that hides its clients: limits and rules by address do not hold for it.
    pub fn hides(&self, ip: IpAddr) -> bool {
        lock(&self.0.hidden).holds(ip)
    }

    /// Sessions that are admitted now.
    pub fn sessions(&self) -> usize {
        lock(&self.0.sessions).count()
    }

    /// `chance` is in `0.0..1.0`.
    fn try_admit(&self, ip: IpAddr, chance: f64) -> Result<Permit, Short> {
        let source = Source::from(ip);
        let hidden = self.hides(ip);
        let now = Instant::now();
        self.sessions_among(now).join(source, hidden, chance, now)?;
        Ok(Permit::new(self.0.clone(), source))
    }

    fn try_user(&self, name: &str, own: Own) -> Result<UserPermit, Short> {
        let now = Instant::now();
        let pace = self.sessions_among(now).user_joins(name, own, now)?;
        Ok(UserPermit::new(self.0.clone(), name, pace))
    }

    fn attempt(&self, ip: IpAddr, now: Instant) -> Attempt {
        if self.hides(ip) {
            return Attempt::Allowed;
        }
        let members = self.0.cluster.members().len();
        let mut logins = lock(&self.0.logins);
        logins.set_members(members);
        logins.attempt(Source::from(ip), now)
    }

    /// The counts, by the members as they are at this moment: one that came just now is no node alone.
    fn sessions_among(&self, now: Instant) -> MutexGuard<'_, Sessions> {
        let members = self.0.cluster.members().len();
        let mut sessions = lock(&self.0.sessions);
        sessions.set_members(members, now);
        sessions
    }

    fn hit(&self, limit: Limit, ip: Option<IpAddr>, user: Option<&str>) -> Limit {
        let peer = ip.map(|ip| SocketAddr::new(ip, 0));
        self.0.observer.event(Subject { session: None, peer, user }, &Event::LimitHit { limit });
        limit
    }
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            // As ::ffff:a.b.c.d, which no /64 of the internet begins with.
            IpAddr::V4(four) => Self(four.to_ipv6_mapped().to_bits()),
            IpAddr::V6(six) => Self(six.to_bits() & Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0).to_bits()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leases that one session is asked for: a recall may take one away before it is used.
const TRIES: u32 = 3;
/// Between two looks at what other nodes spent, and how often that is waited for.
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS: u32 = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use futures_util::FutureExt;

    use super::*;
    use crate::cluster::Identity;
    use crate::observe::Sink;

    /// Writes down which limits were hit.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Limit>>);

    impl Sink for Notes {
        fn event(&self, _: Subject<'_>, event: &Event<'_>) {
            if let Event::LimitHit { limit } = event {
                lock(&self.0).push(*limit);
            }
        }
    }

    fn config(sessions: usize, per_ip: usize, per_user: usize) -> Config {
        Config {
            sessions,
            cluster_sessions: None,
            sessions_per_ip: per_ip,
            sessions_per_user: per_user,
            logins_per_minute_per_ip: 60,
            login_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            stall_timeout: Duration::ZERO,
            data_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            session_max: Duration::ZERO,
            line: 0,
            password_jobs: None,
            bandwidth_per_session: None,
            bandwidth_per_user: None,
        }
    }

    fn limits(sessions: usize, per_ip: usize, per_user: usize) -> (Limits, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let observer = Observer::new(vec![notes.clone()]);
        let alone = Cluster::alone(Identity { name: "a".into(), incarnation: Incarnation::now() }, observer.clone());
        (Limits::new(&config(sessions, per_ip, per_user), alone, observer), notes)
    }

    /// Answers that nobody has to be waited for.
    impl Limits {
        fn admit_now(&self, ip: IpAddr) -> Result<Permit, Limit> {
            self.admit(ip).now_or_never().unwrap()
        }

        fn admit_by(&self, ip: IpAddr, chance: f64) -> Result<Permit, Limit> {
            self.try_admit(ip, chance).map_err(|short| {
                let (Short::Reached(limit) | Short::Ask(_, limit)) = short;
                self.hit(limit, Some(ip), None)
            })
        }

        fn user_now(&self, name: &str, own: Own) -> Result<UserPermit, Limit> {
            self.user(name, own).now_or_never().unwrap()
        }

        fn attempt_now(&self, ip: IpAddr) -> Result<(), Limit> {
            self.login_attempt(ip).now_or_never().unwrap()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sessions_are_counted_and_returned() {
        let (limits, notes) = limits(2, 9, 9);
        let first = limits.admit_now(ip("192.0.2.1")).unwrap();
        let second = limits.admit_now(ip("192.0.2.2")).unwrap();
        assert_eq!(limits.admit_now(ip("192.0.2.3")).unwrap_err(), Limit::Sessions);
        drop(first);
        assert_eq!(limits.sessions(), 1);
        let third = limits.admit_now(ip("192.0.2.3")).unwrap();
        drop((second, third));
        assert_eq!((limits.sessions(), lock(&notes.0).as_slice()), (0, [Limit::Sessions].as_slice()));
    }

    #[test]
    fn a_cluster_of_one_has_the_sessions_of_the_cluster_to_itself() {
        let (limits, notes) = limits(9, 9, 9);
        limits.set(&Config { cluster_sessions: Some(1), ..config(9, 9, 9) });
        let first = limits.admit_now(ip("192.0.2.1")).unwrap();
        assert_eq!(limits.admit_now(ip("192.0.2.2")).unwrap_err(), Limit::ClusterSessions);
        drop(first);
        assert!(limits.admit_now(ip("192.0.2.2")).is_ok());
        assert_eq!(lock(&notes.0).as_slice(), [Limit::ClusterSessions]);
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one_source() {
        let (limits, _) = limits(100, 1, 9);
        let six = limits.admit_now(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(limits.admit_now(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Limit::SessionsPerIp);
        let next = limits.admit_now(ip("2001:db8:0:2::1")).unwrap();
        let four = limits.admit_now(ip("192.0.2.1")).unwrap();
        assert_eq!(limits.admit_now(ip("::ffff:192.0.2.1")).unwrap_err(), Limit::SessionsPerIp);
        assert!(limits.admit_now(ip("192.0.2.2")).is_ok());
        drop((six, next, four));
        assert_eq!(lock(&limits.0.sessions).sources(), 0, "nothing is kept of who is gone");
    }

    #[test]
    fn sessions_without_a_login_are_dropped_at_random_above_half() {
        let (limits, notes) = limits(100, 1000, 9);
        let mut permits: Vec<Permit> = (0..50).map(|_| limits.admit_by(ip("192.0.2.1"), 0.0).unwrap()).collect();
        permits.push(limits.admit_by(ip("192.0.2.1"), 0.5).unwrap());
        assert_eq!(limits.admit_by(ip("192.0.2.1"), 0.0).unwrap_err(), Limit::Sessions, "one over half: dropped with a small chance");
        permits.extend((51..90).map(|_| limits.admit_by(ip("192.0.2.1"), 0.999).unwrap()));
        assert_eq!(limits.admit_by(ip("192.0.2.1"), 0.79).unwrap_err(), Limit::Sessions, "at 90 of 100: with 80 %");
        assert!(limits.admit_by(ip("192.0.2.1"), 0.81).is_ok());
        // Whoever logs in makes room; whoever logs out takes it again.
        permits.iter().take(45).for_each(Permit::logged_in);
        permits[0].logged_in();
        assert!(limits.admit_by(ip("192.0.2.1"), 0.0).is_ok());
        permits.iter().take(45).for_each(Permit::logged_out);
        assert!(limits.admit_by(ip("192.0.2.1"), 0.0).is_err());
        drop(permits);
        assert!(limits.admit_by(ip("192.0.2.1"), 0.0).is_ok());
        assert_eq!(lock(&notes.0).len(), 3);
    }

    #[test]
    fn a_small_node_fills_to_the_last_session() {
        let (limits, _) = limits(10, 10, 9);
        let permits: Vec<Permit> = (0..10).map(|_| limits.admit_by(ip("192.0.2.1"), 0.0).unwrap()).collect();
        assert_eq!(permits.len(), 10);
    }

    #[test]
    fn users_are_counted_by_name() {
        let (limits, notes) = limits(9, 9, 1);
        let two = Own { sessions: Some(2), ..Own::default() };
        let alice = limits.user_now("alice", Own::default()).unwrap();
        assert_eq!(limits.user_now("alice", Own::default()).unwrap_err(), Limit::SessionsPerUser);
        let bob = limits.user_now("bob", Own::default()).unwrap();
        drop(alice);
        let again = limits.user_now("alice", two).unwrap();
        drop((limits.user_now("alice", two).unwrap(), again, bob));
        assert_eq!((lock(&limits.0.sessions).users(), lock(&notes.0).as_slice()), (0, [Limit::SessionsPerUser].as_slice()));
    }

    #[test]
    fn sessions_of_a_user_share_a_bandwidth_that_is_its_own() {
        let (limits, _) = limits(9, 9, 9);
        let slow = Own { bandwidth: Some(1024), ..Own::default() };
        let (one, other, free) =
            (limits.user_now("alice", slow).unwrap(), limits.user_now("alice", slow).unwrap(), limits.user_now("bob", Own::default()).unwrap());
        let now = Instant::now();
        assert_eq!(one.pace().moved(2048, now), Some((Duration::from_secs(1), Limit::BandwidthPerUser)));
        assert_eq!(other.pace().moved(1024, now), Some((Duration::from_secs(2), Limit::BandwidthPerUser)));
        assert!(!free.pace().is_limited());
        // A new limit is for new sessions, and then for all of them that come after it.
        let fast = limits.user_now("alice", Own { bandwidth: Some(4096), ..Own::default() }).unwrap();
        assert_eq!(fast.pace().moved(4096, now), None);
        limits.set(&Config { bandwidth_per_session: Some(1024), bandwidth_per_user: Some(1 << 30), ..config(9, 9, 9) });
        let limited = limits.user_now("carol", Own::default()).unwrap();
        assert_eq!(limited.pace().moved(2048, now), Some((Duration::from_secs(1), Limit::BandwidthPerSession)));
        let unlimited = limits.user_now("dora", Own { bandwidth: Some(u64::MAX), ..Own::default() }).unwrap();
        assert_eq!(unlimited.pace().moved(1024, now), None);
        drop((one, other, free, fast, limited, unlimited));
        assert_eq!(lock(&limits.0.sessions).users(), 0);
    }

    #[test]
    fn new_numbers_hold_for_new_sessions() {
        let (limits, _) = limits(2, 9, 9);
        let permits = [limits.admit_now(ip("192.0.2.1")).unwrap(), limits.admit_now(ip("192.0.2.1")).unwrap()];
        limits.set(&config(1, 9, 9));
        assert!(limits.admit_now(ip("192.0.2.1")).is_err());
        drop(permits);
        assert!(limits.admit_now(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn limits_by_address_do_not_hold_for_one_that_hides_many() {
        let (limits, notes) = limits(90, 1, 90);
        let (balancer, now) = (ip("10.0.0.7"), Instant::now());
        let _first = limits.admit_now(balancer).unwrap();
        assert!(limits.admit_now(balancer).is_err());
        (0..20).for_each(|number| limits.logged_in(balancer, &(number % 5).to_string(), now));
        assert!(limits.hides(balancer) && !limits.hides(ip("192.0.2.1")));
        let _more: Vec<Permit> = (0..9).map(|_| limits.admit_now(balancer).unwrap()).collect();
        assert!((0..1000).all(|_| limits.attempt_now(balancer).is_ok()));
        let _other = limits.admit_now(ip("192.0.2.1")).unwrap();
        assert_eq!(limits.admit_now(ip("192.0.2.1")).unwrap_err(), Limit::SessionsPerIp);
        assert_eq!(lock(&notes.0).as_slice(), [Limit::SessionsPerIp; 2]);
        // Whoever comes from elsewhere shows that addresses can be told apart.
        limits.logged_in(ip("192.0.2.1"), "0", now);
        assert_eq!(limits.admit_now(balancer).unwrap_err(), Limit::SessionsPerIp);
    }

    #[test]
    fn attempts_to_log_in_are_limited_by_source() {
        let (limits, notes) = limits(9, 9, 9);
        (0..60).for_each(|_| limits.attempt_now(ip("192.0.2.1")).unwrap());
        assert_eq!(limits.attempt_now(ip("192.0.2.1")), Err(Limit::LoginsPerMinutePerIp));
        assert_eq!(limits.attempt_now(ip("192.0.2.2")), Ok(()));
        assert_eq!(lock(&notes.0).as_slice(), [Limit::LoginsPerMinutePerIp]);
    }
}
