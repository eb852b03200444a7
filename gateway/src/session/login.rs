//! USER and PASS: who it is, whether there is room, where the files are.
//!
//! Gets: a name and a password. Gives: an outcome for the machine and, if all is well, what the session then holds.
//! Never: says more to the client than the machine's one text; the log learns the rest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftps_proto::command::{HostName, Password, UserName};
use ftps_proto::machine::io::{Account, FileError, LoginRefusal, Outcome};

use super::Carried;
use super::digest::who;
use super::work::{Brought, Done, Work};
use crate::auth::{Admitted, Attempt, CertificateIdentity, User};
use crate::bans::{self, Found, Who};
use crate::data::clients::Client;
use crate::limits::{Own, UserPermit};
use crate::observe::event::{LoginFault, LoginMethod};
use crate::observe::{Event, Subject};
use crate::storage::{self, Tree};

/// What a login gives the session.
#[derive(Debug)]
pub struct Admittance {
    /// The user as the users file had it at login.
    pub user: Arc<User>,
    /// The user's files.
    pub tree: Arc<Tree>,
    /// The share of the user's sessions and of their speed, given back when the login ends.
    pub permit: UserPermit,
}

/// Starts the check.
pub(super) fn start(carried: &Carried, fingerprint: [u8; 32], user: UserName, password: Option<Password>) -> Work {
    let house = carried.house.clone();
    let subject = carried.subject();
    let (id, ip, certificate, keys) = (carried.identity.id, carried.identity.peer.ip(), carried.certificate.clone(), carried.keys.clone());
    let address = carried.address();
    Work::Job(Box::pin(async move {
        let began = Instant::now();
        let named = Subject { user: Some(user.as_str()), ..subject };
        // Before the password: the answer is the same for a right and a wrong one, and costs no hash.
        if let Some(found) = banned(&house, &user, certificate.as_deref(), ip) {
            house.observer.event(named, &Event::LoginRefused { refusal: LoginRefusal::Banned, why: LoginFault::Banned });
            return Outcome::Banned(found.words).into();
        }
        // What a certificate shows costs nothing to check; passwords are counted.
        let allowed = if password.is_some() { house.limits.login_attempt(ip).await } else { Ok(()) };
        let answer = match allowed {
            Ok(()) => check(&house, Attempt { user: &user, password: password.as_ref(), certificate: certificate.as_deref(), peer: ip }).await,
            // The limit has counted itself.
            Err(_limit) => Err((LoginRefusal::TooMany, LoginFault::Limit)),
        };
        match answer {
            Ok((admittance, method)) => {
                // The client may go on at another node from now on.
                keys.is_shared().await;
                let client = Client { user: admittance.user.name.to_string(), ip: address, fingerprint, family: keys.family() };
                let member = house.data.enter(id, &client, keys).await;
                let class = admittance.user.class.as_deref();
                house.limits.logged_in(ip, admittance.user.name.as_str(), Instant::now());
                house.observer.event(named, &Event::LoggedIn { method, class, took: began.elapsed() });
                let account =
                    Account { user: admittance.user.name.clone(), permissions: admittance.user.permissions, offer: house.digests.offer(who(&admittance.user)) };
                Done { outcome: Outcome::Login(Ok(account)), brought: Brought::Admittance(Box::new(admittance), Box::new(client), member) }
            }
            Err((refusal, why)) => {
                house.observer.event(named, &Event::LoginRefused { refusal, why });
                Outcome::Login(Err(refusal)).into()
            }
        }
    }))
}

fn banned(house: &super::House, user: &UserName, certificate: Option<&CertificateIdentity>, ip: IpAddr) -> Option<Found> {
    let users = house.login.users();
    let classes: Vec<&str> = users.find(user.as_str()).and_then(|user| user.class.as_deref()).into_iter().collect();
    let names = |shown: &CertificateIdentity| bans::certificate_names(shown.common_name.as_deref(), &shown.alt_names, &shown.sha256);
    let certificates = certificate.map(names).unwrap_or_default();
    house.bans.at_login(&Who { ip: Some(ip), user: Some(user.as_str()), classes: &classes, certificates: &certificates })
}

/// HOST: a name that a certificate of ours covers, and not another one than SNI asked for: whoever proved to be one host must not answer as the other.
/// An address is the one that the client came to. A self-signed certificate covers whatever it is called.
pub(super) fn host(carried: &Carried, name: &HostName) -> Work {
    let name = name.as_str();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    let asked = carried.server_name.as_deref().is_none_or(|asked| asked.eq_ignore_ascii_case(name));
    let served = address || (asked && carried.house.tls.certificates().covers(name));
    let outcome = if served { Outcome::Ok } else { Outcome::Failed(FileError::NotFound) };
    Work::Job(Box::pin(async { outcome.into() }))
}

async fn check(house: &super::House, attempt: Attempt<'_>) -> Result<(Admittance, LoginMethod), (LoginRefusal, LoginFault)> {
    let Admitted { user, method } = house.login.check(attempt).await?;
    let own = Own { sessions: user.sessions, bandwidth: user.bandwidth };
    let permit = house.limits.user(user.name.as_str(), own).await.map_err(|_limit| (LoginRefusal::TooMany, LoginFault::Limit))?;
    if let Some(tree) = house.storage.tree_now(&user.home) {
        return Ok((Admittance { user, tree, permit }, method));
    }
    let (files, home) = (house.storage.clone(), user.home.clone());
    let tree = tokio::time::timeout(HOME, storage::blocking(move || files.tree(&home))).await;
    match tree {
        Ok(Ok(tree)) => Ok((Admittance { user, tree, permit }, method)),
        Ok(Err(_)) | Err(_) => Err((LoginRefusal::Unavailable, LoginFault::HomeUnavailable)),
    }
}

/// A file system that does not answer for this long is away; the login says so instead of hanging.
const HOME: Duration = Duration::from_secs(10);
