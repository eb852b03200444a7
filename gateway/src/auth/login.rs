//! One login: is this the user's password, and may the user come?
//!
//! Gets: a name, a password, an address. Gives: the user, or what the client is told and what was the case.
//! Never: lets a wrong name and a wrong password differ in words or time, hashes on a worker of the runtime, or queues without end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use ftps_proto::command::{Password, UserName};
use ftps_proto::machine::io::LoginRefusal;

use super::changes::{self, Changes};
use super::hash::{PasswordHash, make_hash};
use super::jobs::Jobs;
use super::recent::Recent;
use super::{CertificateIdentity, User, Users};
use crate::observe::event::{LoginFault, LoginMethod};

/// Checks logins. Shared by all sessions.
pub struct Login {
    users: ArcSwap<Users>,
    recent: Recent,
    /// Hashed against while no user has a password.
    dummy: PasswordHash,
    jobs: Jobs,
}

/// What a client shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The name of USER.
    pub user: &'a UserName,
    /// The password of PASS; `None` after USER, when the question is whether the certificate alone is enough.
    pub password: Option<&'a Password>,
    /// The certificate that the handshake has verified, if there is one.
    pub certificate: Option<&'a CertificateIdentity>,
    /// The client's true address.
    pub peer: IpAddr,
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who it is.
    pub user: Arc<User>,
    /// By what.
    pub method: LoginMethod,
}

/// There is no randomness or memory to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logins cannot be prepared: the system gives no random bytes or no memory; look at the system's log and limits")]
pub struct CannotPrepare;

impl Login {
    /// Checks against `users`, with `password_jobs` hashes at a time (`None`: one for each core, as memory allows).
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(users: Arc<Users>, password_jobs: Option<usize>) -> Result<Self, CannotPrepare> {
        let nobody = Password::new(b"").ok_or(CannotPrepare)?;
        let dummy = make_hash(&nobody).map_err(|_| CannotPrepare)?;
        Ok(Self {
            users: ArcSwap::new(users),
            recent: Recent::new().map_err(|_| CannotPrepare)?,
            dummy: PasswordHash::parse(&dummy).map_err(|_| CannotPrepare)?,
            jobs: Jobs::new(password_jobs),
        })
    }

    /// From now on these are the users. What changes for those who are logged in, or are about to be, is in the answer:
    /// first this, then end their sessions; a login that comes between asks [`Self::may_stay`].
    pub fn replace(&self, users: Arc<Users>) -> Changes {
        let before = self.users.swap(users.clone());
        Changes::between(&before, &users)
    }

    /// Whether somebody who logged in as this user may stay. To be asked once the session stands where "end those of user …" finds it:
    /// the users may have been replaced while the password was checked.
    pub fn may_stay(&self, user: &User) -> bool {
        changes::may_stay(user, &self.users.load())
    }

    /// The users as they are now.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Hashes that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.jobs.waiting()
    }

    /// Checks a login. A failed one with a password takes 200 to 500 ms or more, whatever failed.
    ///
    /// # Errors
    /// What the client is told, and what was the case. Without a password it is always told to send one.
    pub async fn check(&self, attempt: Attempt<'_>) -> Result<Admitted, (LoginRefusal, LoginFault)> {
        let users = self.users();
        let Some(password) = attempt.password else {
            return by_certificate(&users, &attempt).map_err(|fault| (LoginRefusal::PasswordNeeded, fault));
        };
        let start = Instant::now();
        let checked = self.with_password(&users, &attempt, password).await;
        if checked.is_err() {
            tokio::time::sleep(least_time().saturating_sub(start.elapsed())).await;
        }
        checked
    }

    async fn with_password(&self, users: &Users, attempt: &Attempt<'_>, password: &Password) -> Result<Admitted, (LoginRefusal, LoginFault)> {
        let incorrect = |fault| (LoginRefusal::Incorrect, fault);
        let user = users.named(attempt.user);
        if user.is_none()
            && let Some(user) = users.anonymous(attempt.user)
        {
            return Ok(Admitted { user: user.clone(), method: LoginMethod::Anonymous });
        }
        // A client that says PASS although its certificate is enough, and was told so.
        if let Ok(admitted) = by_certificate(users, attempt) {
            return Ok(admitted);
        }
        if password.expose().is_empty() {
            return Err(incorrect(LoginFault::EmptyPassword));
        }
        let Some((user, hash)) = user.and_then(|user| Some((user, user.password.as_ref()?))) else {
            // As long as for a user who has one: with the cost of one of them, always of the same one for this name.
            let hash = users.stand_in(self.recent.number(attempt.user.as_str())).unwrap_or(&self.dummy);
            self.verify(hash, password, attempt.peer).await?;
            return Err(incorrect(if user.is_some() { LoginFault::CertificateMissing } else { LoginFault::UnknownUser }));
        };
        let may_come = may_come(user, attempt);
        let tag = self.recent.tag(&user.name, hash, password);
        // Whoever may not come is hashed each time, or the time would tell that the password is right.
        if may_come.is_err() || !self.recent.knows(&tag, Instant::now()) {
            if !self.verify(hash, password, attempt.peer).await? {
                return Err(incorrect(LoginFault::WrongPassword));
            }
            may_come.map_err(incorrect)?;
            self.recent.learn(tag, Instant::now());
        }
        Ok(Admitted { user: user.clone(), method: LoginMethod::Password })
    }

    async fn verify(&self, hash: &PasswordHash, password: &Password, peer: IpAddr) -> Result<bool, (LoginRefusal, LoginFault)> {
        self.jobs.verify(hash, password, peer).await.ok_or((LoginRefusal::Unavailable, LoginFault::QueueFull))
    }
}

/// A user without a password, whose certificate is enough.
fn by_certificate(users: &Users, attempt: &Attempt<'_>) -> Result<Admitted, LoginFault> {
    let user = users.named(attempt.user).filter(|user| user.password.is_none()).ok_or(LoginFault::CertificateMissing)?;
    if !user.is_shown_by(attempt.certificate) {
        return Err(LoginFault::CertificateMissing);
    }
    user.admit(SystemTime::now(), attempt.peer)?;
    Ok(Admitted { user: user.clone(), method: LoginMethod::Certificate })
}

/// Everything but the password.
fn may_come(user: &User, attempt: &Attempt<'_>) -> Result<(), LoginFault> {
    if !user.client_certificates.is_empty() && !user.is_shown_by(attempt.certificate) {
        return Err(LoginFault::CertificateMissing);
    }
    user.admit(SystemTime::now(), attempt.peer)
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("users", &self.users.load().count()).finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use argon2::Params;

    use ftps_proto::machine::io::Permissions;
    use ftps_proto::path::VirtualPath;

    use super::*;
    use crate::auth::hash::make_hash_with;
    use crate::auth::{Anonymous, CertificateName};

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    fn name(text: &str) -> UserName {
        UserName::new(text.as_bytes()).unwrap()
    }

    fn hash(text: &str, passes: u32) -> Option<PasswordHash> {
        PasswordHash::parse(&make_hash_with(&password(text), Params::new(8, passes, 1, None).unwrap()).unwrap()).ok()
    }

    fn alice() -> User {
        User { password: hash("right", 1), ..User::new(name("alice"), VirtualPath::root()) }
    }

    fn login(users: Vec<User>) -> Login {
        Login::new(Arc::new(Users::new(users)), Some(1)).unwrap()
    }

    async fn show(login: &Login, user: &str, text: Option<&str>, certificate: Option<&str>) -> Result<Admitted, (LoginRefusal, LoginFault)> {
        let (user, password) = (name(user), text.map(password));
        let certificate = certificate.map(|name| CertificateIdentity { common_name: Some(name.into()), ..CertificateIdentity::default() });
        let attempt = Attempt { user: &user, password: password.as_ref(), certificate: certificate.as_ref(), peer: "192.0.2.1".parse().unwrap() };
        tokio::time::timeout(Duration::from_secs(20), login.check(attempt)).await.expect("an answer in time")
    }

    async fn ask(login: &Login, user: &str, text: &str) -> Result<Arc<User>, (LoginRefusal, LoginFault)> {
        show(login, user, Some(text), None).await.map(|admitted| admitted.user)
    }

    #[tokio::test]
    async fn the_right_password_logs_in_and_everything_else_is_refused_alike() {
        let past = SystemTime::now() - Duration::from_secs(1);
        let named = |text| User { name: name(text), ..alice() };
        let login = login(vec![
            alice(),
            User { enabled: false, ..named("off") },
            User { expires: Some(past), ..named("over") },
            User { from: vec!["198.51.100.0/24".parse().unwrap()], ..named("away") },
            User { client_certificates: vec![CertificateName::CommonName("a".into())], ..named("both") },
            User { client_certificates: vec![CertificateName::CommonName("a".into())], password: None, ..named("certified") },
        ]);
        assert_eq!(ask(&login, "alice", "right").await.unwrap().name.as_str(), "alice");
        for (user, text, fault) in [
            ("alice", "wrong", LoginFault::WrongPassword),
            ("alice", "", LoginFault::EmptyPassword),
            ("nobody", "right", LoginFault::UnknownUser),
            ("anonymous", "right", LoginFault::UnknownUser),
            ("off", "right", LoginFault::Disabled),
            ("off", "wrong", LoginFault::WrongPassword),
            ("over", "right", LoginFault::Expired),
            ("away", "right", LoginFault::WrongNetwork),
            ("both", "right", LoginFault::CertificateMissing),
            ("certified", "right", LoginFault::CertificateMissing),
        ] {
            assert_eq!(ask(&login, user, text).await.unwrap_err(), (LoginRefusal::Incorrect, fault), "{user} {text}");
        }
    }

    #[tokio::test]
    async fn a_certificate_logs_in_alone_or_is_needed_besides() {
        let certified = |text| User { name: name(text), client_certificates: vec![CertificateName::CommonName("a".into())], ..alice() };
        let login =
            login(vec![alice(), certified("both"), User { password: None, ..certified("alone") }, User { password: None, enabled: false, ..certified("off") }]);
        let method = |result: Result<Admitted, _>| result.map(|admitted: Admitted| admitted.method);
        let needed = |fault| Err((LoginRefusal::PasswordNeeded, fault));
        assert_eq!(method(show(&login, "alone", None, Some("a")).await), Ok(LoginMethod::Certificate));
        assert_eq!(method(show(&login, "alone", Some(""), Some("a")).await), Ok(LoginMethod::Certificate), "PASS all the same");
        for (user, certificate) in [("alone", Some("b")), ("alone", None), ("both", Some("a")), ("alice", Some("a")), ("nobody", Some("a"))] {
            assert_eq!(method(show(&login, user, None, certificate).await), needed(LoginFault::CertificateMissing), "{user}");
        }
        assert_eq!(method(show(&login, "off", None, Some("a")).await), needed(LoginFault::Disabled));
        assert_eq!(method(show(&login, "both", Some("right"), Some("a")).await), Ok(LoginMethod::Password));
        assert_eq!(method(show(&login, "both", Some("right"), Some("b")).await), Err((LoginRefusal::Incorrect, LoginFault::CertificateMissing)));
        assert_eq!(method(show(&login, "both", Some("wrong"), Some("a")).await), Err((LoginRefusal::Incorrect, LoginFault::WrongPassword)));
        assert_eq!(method(show(&login, "alice", Some("right"), Some("b")).await), Ok(LoginMethod::Password), "who lists none needs none");
    }

    #[tokio::test]
    async fn anonymous_needs_no_password_once_it_is_enabled() {
        let anonymous = Anonymous { home: VirtualPath::root(), permissions: Permissions::READ_ONLY };
        let users = Users::new(vec![alice()]).with_anonymous(Some(&anonymous));
        let login = Login::new(Arc::new(users), Some(1)).unwrap();
        for (user, text) in [("anonymous", "me@example.org"), ("ftp", "")] {
            let admitted = show(&login, user, Some(text), None).await.unwrap();
            assert_eq!((admitted.user.name.as_str(), admitted.method), ("anonymous", LoginMethod::Anonymous), "{user}");
        }
        assert_eq!(show(&login, "anonymous", None, None).await.unwrap_err().0, LoginRefusal::PasswordNeeded, "as for any name");
        assert_eq!(ask(&login, "alice", "").await.unwrap_err().1, LoginFault::EmptyPassword);
    }

    #[tokio::test]
    async fn a_failure_takes_its_least_time_and_a_success_does_not_wait() {
        let login = login(vec![alice()]);
        for user in ["alice", "nobody"] {
            let start = Instant::now();
            ask(&login, user, "wrong").await.unwrap_err();
            assert!(start.elapsed() >= Duration::from_millis(200), "{user}");
        }
        assert!((0..50).all(|_| (200..=500).contains(&least_time().as_millis())));
    }

    /// Not by a clock, which lies on a busy machine: with no turn left, whatever hashes has to wait.
    #[tokio::test]
    async fn every_failure_is_hashed_once_also_the_second_time() {
        let login = login(vec![alice(), User { name: name("off"), enabled: false, ..alice() }]);
        ask(&login, "alice", "right").await.unwrap();
        ask(&login, "off", "right").await.unwrap_err();
        let _all = login.jobs.block().await;
        for (user, text) in [("alice", "wrong"), ("nobody", "right"), ("off", "right"), ("off", "wrong")] {
            let (user, password) = (name(user), password(text));
            let attempt = Attempt { user: &user, password: Some(&password), certificate: None, peer: "192.0.2.1".parse().unwrap() };
            let mut asked = Box::pin(login.check(attempt));
            assert!(tokio::time::timeout(Duration::from_millis(700), &mut asked).await.is_err(), "{user:?} was answered without a hash");
            assert_eq!(login.waiting(), 1, "{user:?}");
        }
    }

    #[tokio::test]
    async fn a_recent_success_needs_no_hash_until_the_users_change() {
        let login = login(vec![alice()]);
        ask(&login, "alice", "right").await.unwrap();
        // With no turn left, only what is remembered logs in.
        let all = login.jobs.block().await;
        ask(&login, "alice", "right").await.unwrap();
        drop(all);
        let changes = login.replace(Arc::new(Users::new(vec![User { password: hash("new", 1), ..alice() }])));
        assert_eq!(changes.changed, [name("alice")]);
        assert_eq!(ask(&login, "alice", "right").await.unwrap_err().1, LoginFault::WrongPassword);
        let user = ask(&login, "alice", "new").await.unwrap();
        assert!(login.may_stay(&user));
        assert_eq!(login.replace(Arc::new(Users::default())).removed, [name("alice")]);
        assert_eq!(ask(&login, "alice", "new").await.unwrap_err().1, LoginFault::UnknownUser);
        assert!(!login.may_stay(&user));
    }

    #[tokio::test]
    async fn a_disabled_user_is_refused_although_remembered() {
        let login = login(vec![alice()]);
        ask(&login, "alice", "right").await.unwrap();
        let user = User { enabled: false, ..User::clone(login.users().find("alice").unwrap()) };
        assert_eq!(login.replace(Arc::new(Users::new(vec![user]))).disabled, [name("alice")]);
        assert_eq!(ask(&login, "alice", "right").await.unwrap_err(), (LoginRefusal::Incorrect, LoginFault::Disabled));
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_to_come_later() {
        let login = Arc::new(login(vec![alice()]));
        let _all = login.jobs.block().await;
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let login = login.clone();
            asked.spawn(async move { ask(&login, "alice", "wrong").await.map(drop) });
        }
        for _ in 0..36 {
            let answer = tokio::time::timeout(Duration::from_secs(10), asked.join_next()).await.expect("a refusal in time");
            assert_eq!(answer.unwrap().unwrap(), Err((LoginRefusal::Unavailable, LoginFault::QueueFull)));
        }
        assert_eq!(login.waiting(), 64);
    }
}
