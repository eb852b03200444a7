//! One login: is this the user's password, and may the user come?
//!
//! Gets: a name, a password, an address. Gives: the user, or what the client is told and what was the case.
//! Never: lets a wrong name and a wrong password differ in words or time, hashes on a worker of the runtime, or queues without end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use ftps_proto::command::{Password, UserName};
use ftps_proto::machine::io::LoginRefusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hash::{PasswordHash, make_hash};
use super::recent::Recent;
use super::{User, Users};
use crate::observe::event::LoginFault;

/// Checks logins. Shared by all sessions.
pub struct Login {
    users: ArcSwap<Users>,
    recent: Recent,
    /// Hashed against while there is no user at all.
    dummy: PasswordHash,
    jobs: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// There is no randomness or memory to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logins cannot be prepared: the system gives no random bytes or no memory; look at the system's log and limits")]
pub struct CannotPrepare;

impl Login {
    /// Checks against `users`, with `password_jobs` hashes at a time (`None`: one for each core).
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(users: Arc<Users>, password_jobs: Option<usize>) -> Result<Self, CannotPrepare> {
        let nobody = Password::new(b"").ok_or(CannotPrepare)?;
        let dummy = make_hash(&nobody).map_err(|_| CannotPrepare)?;
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            users: ArcSwap::new(users),
            recent: Recent::new().map_err(|_| CannotPrepare)?,
            dummy: PasswordHash::parse(&dummy).map_err(|_| CannotPrepare)?,
            jobs: Arc::new(Semaphore::new(password_jobs.unwrap_or_else(cores))),
            waiting: AtomicUsize::new(0),
        })
    }

    /// From now on these are the users; logins that run end with the old ones.
    pub fn replace(&self, users: Arc<Users>) {
        self.users.store(users);
    }

    /// The users as they are now.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Hashes that run or wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Checks a login. A failed one takes 200 to 500 ms or more, whatever failed.
    ///
    /// # Errors
    /// What the client is told, and what was the case.
    pub async fn check(&self, user: &UserName, password: &Password, peer: IpAddr) -> Result<Arc<User>, (LoginRefusal, LoginFault)> {
        let start = Instant::now();
        let checked = self.decide(user, password, peer).await;
        if checked.is_err() {
            tokio::time::sleep(least_time().saturating_sub(start.elapsed())).await;
        }
        checked
    }

    async fn decide(&self, name: &UserName, password: &Password, peer: IpAddr) -> Result<Arc<User>, (LoginRefusal, LoginFault)> {
        let incorrect = |fault| (LoginRefusal::Incorrect, fault);
        if password.expose().is_empty() {
            return Err(incorrect(LoginFault::EmptyPassword));
        }
        let users = self.users();
        let Some(user) = users.named(name) else {
            // As long as for a user who exists: with the cost of one of them, always of the same one for this name.
            let hash = users.stand_in(self.recent.number(name.as_str())).map_or(&self.dummy, |user| &user.password);
            self.verify(hash, password).await?;
            return Err(incorrect(LoginFault::UnknownUser));
        };
        let tag = self.recent.tag(user, password);
        if !self.recent.knows(&tag, Instant::now()) {
            if !self.verify(&user.password, password).await? {
                return Err(incorrect(LoginFault::WrongPassword));
            }
            self.recent.learn(tag, Instant::now());
        }
        user.admit(SystemTime::now(), peer).map_err(incorrect)?;
        Ok(user.clone())
    }

    /// Hashes on the blocking pool, when it is its turn. The job keeps its permit even if nobody waits for it any longer.
    async fn verify(&self, hash: &PasswordHash, password: &Password) -> Result<bool, (LoginRefusal, LoginFault)> {
        let permit = self.turn().await.ok_or((LoginRefusal::Unavailable, LoginFault::QueueFull))?;
        let (hash, password) = (hash.clone(), password.clone());
        let job = tokio::task::spawn_blocking(move || {
            let right = hash.verify(&password);
            drop(permit);
            right
        });
        // The job does not panic; if the runtime is ending, nobody logs in.
        job.await.map_err(|_| (LoginRefusal::Unavailable, LoginFault::QueueFull))
    }

    /// A permit to hash; `None` when too many wait already, or after [`LONGEST_WAIT`].
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.jobs.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _place = Place::take(&self.waiting)?;
        tokio::time::timeout(LONGEST_WAIT, self.jobs.clone().acquire_owned()).await.ok()?.ok()
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("users", &self.users.load().count()).finish_non_exhaustive()
    }
}

/// A place in the queue, left when dropped: also when the session that waits is ended.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let free = |count: usize| (count < MAX_WAITING).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 200 to 500 ms, so that a failure's time says nothing; without randomness the longest.
fn least_time() -> Duration {
    let mut random = [0; 2];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => Duration::from_millis(200 + u64::from(u16::from_be_bytes(random)) % 301),
        Err(_) => Duration::from_millis(500),
    }
}

/// Logins that wait for their turn; argon2's memory makes more of them an attack.
const MAX_WAITING: usize = 64;
/// Longer than 64 logins take on one core.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use argon2::Params;

    use super::*;
    use crate::auth::hash::make_hash_with;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    fn name(text: &str) -> UserName {
        UserName::new(text.as_bytes()).unwrap()
    }

    fn alice() -> User {
        let users = Users::single(name("alice"), &password("unused")).unwrap();
        let cheap = make_hash_with(&password("right"), Params::new(8, 1, 1, None).unwrap()).unwrap();
        User { password: PasswordHash::parse(&cheap).unwrap(), ..User::clone(users.find("alice").unwrap()) }
    }

    fn login(user: User) -> Login {
        Login::new(Arc::new(Users::new(vec![user])), Some(1)).unwrap()
    }

    async fn ask(login: &Login, user: &str, text: &str) -> Result<Arc<User>, (LoginRefusal, LoginFault)> {
        let peer = "192.0.2.1".parse().unwrap();
        tokio::time::timeout(Duration::from_secs(20), login.check(&name(user), &password(text), peer)).await.expect("an answer in time")
    }

    #[tokio::test]
    async fn the_right_password_logs_in_and_everything_else_is_refused_alike() {
        let login = login(alice());
        assert_eq!(ask(&login, "alice", "right").await.unwrap().name.as_str(), "alice");
        for (user, text, fault) in
            [("alice", "wrong", LoginFault::WrongPassword), ("alice", "", LoginFault::EmptyPassword), ("nobody", "right", LoginFault::UnknownUser)]
        {
            assert_eq!(ask(&login, user, text).await.unwrap_err(), (LoginRefusal::Incorrect, fault), "{user} {text}");
        }
    }

    #[tokio::test]
    async fn a_failure_takes_its_least_time_and_a_success_does_not_wait() {
        let login = login(alice());
        for user in ["alice", "nobody"] {
            let start = Instant::now();
            ask(&login, user, "wrong").await.unwrap_err();
            assert!(start.elapsed() >= Duration::from_millis(200), "{user}");
        }
        assert!((0..50).all(|_| (200..=500).contains(&least_time().as_millis())));
    }

    #[tokio::test]
    async fn a_recent_success_needs_no_hash_until_the_users_change() {
        let login = login(alice());
        ask(&login, "alice", "right").await.unwrap();
        // With no permit left, only what is remembered logs in.
        let all = login.jobs.clone().acquire_owned().await.unwrap();
        ask(&login, "alice", "right").await.unwrap();
        drop(all);
        let other = make_hash_with(&password("new"), Params::new(8, 1, 1, None).unwrap()).unwrap();
        login.replace(Arc::new(Users::new(vec![User { password: PasswordHash::parse(&other).unwrap(), ..alice() }])));
        assert_eq!(ask(&login, "alice", "right").await.unwrap_err().1, LoginFault::WrongPassword);
        ask(&login, "alice", "new").await.unwrap();
        login.replace(Arc::new(Users::default()));
        assert_eq!(ask(&login, "alice", "new").await.unwrap_err().1, LoginFault::UnknownUser);
    }

    #[tokio::test]
    async fn a_disabled_user_is_refused_although_remembered() {
        let login = login(alice());
        ask(&login, "alice", "right").await.unwrap();
        let user = User { enabled: false, ..User::clone(login.users().find("alice").unwrap()) };
        login.replace(Arc::new(Users::new(vec![user])));
        assert_eq!(ask(&login, "alice", "right").await.unwrap_err(), (LoginRefusal::Incorrect, LoginFault::Disabled));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_empties_again() {
        let login = login(alice());
        let running = login.jobs.clone().acquire_owned().await.unwrap();
        let places: Vec<_> = (0..MAX_WAITING).map(|_| Place::take(&login.waiting).unwrap()).collect();
        assert_eq!(ask(&login, "alice", "right").await.unwrap_err(), (LoginRefusal::Unavailable, LoginFault::QueueFull));
        drop((places, running));
        assert_eq!(login.waiting.load(Ordering::Relaxed), 0);
        ask(&login, "alice", "right").await.unwrap();
    }
}
