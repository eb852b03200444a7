//! The users and what is known of each.
//!
//! Gets: checked entries. Gives: a user by name, and whether it may come now and from there. Never: changes; a reload brings new [`Users`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ftps_proto::command::{Password, UserName};
use ftps_proto::machine::io::Permissions;
use ftps_proto::path::VirtualPath;
use ftps_proto::proof::{ReusePolicy, UploadEnd};
use ipnet::IpNet;

use super::Anonymous;
use super::certificate::{CertificateIdentity, CertificateName};
use super::hash::{BadHash, PasswordHash, make_hash};
use crate::observe::event::LoginFault;

/// One user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The name, unique among all users.
    pub name: UserName,
    /// The password's hash; `None`: a certificate of `client_certificates` is enough.
    pub password: Option<PasswordHash>,
    /// Where the user's files are, below `storage.root`; made at first login.
    pub home: VirtualPath,
    /// What the user may do.
    pub permissions: Permissions,
    /// The class of users it belongs to, for the log.
    pub class: Option<Box<str>>,
    /// False: no login.
    pub enabled: bool,
    /// No login from then on.
    pub expires: Option<SystemTime>,
    /// Networks the user may come from; empty: any.
    pub from: Vec<IpNet>,
    /// The client has to show one of these; empty: none.
    pub client_certificates: Vec<CertificateName>,
    /// Over `limits.sessions_per_user`.
    pub sessions: Option<usize>,
    /// Over `limits.bandwidth_per_user`.
    pub bandwidth: Option<u64>,
    /// Over `data.tls_reuse`.
    pub tls_reuse: Option<ReusePolicy>,
    /// Over `data.upload_end`.
    pub upload_end: Option<UploadEnd>,
}

/// All users; swapped whole.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<UserName, Arc<User>>,
    /// The users again, in a fixed order: the stored hash of one of them stands in for that of a name that has none.
    order: Vec<Arc<User>>,
    /// Who comes as `anonymous` or `ftp`, unless a users file names one.
    anonymous: Option<Arc<User>>,
}

impl User {
    /// A user who may do everything from everywhere, who has no password and no certificate: nobody can log in as it yet.
    pub fn new(name: UserName, home: VirtualPath) -> Self {
        Self {
            name,
            password: None,
            home,
            permissions: Permissions::ALL,
            class: None,
            enabled: true,
            expires: None,
            from: Vec::new(),
            client_certificates: Vec::new(),
            sessions: None,
            bandwidth: None,
            tls_reuse: None,
            upload_end: None,
        }
    }

    /// Whether the certificate is one of those that the user needs.
    pub fn is_shown_by(&self, certificate: Option<&CertificateIdentity>) -> bool {
        certificate.is_some_and(|certificate| self.client_certificates.iter().any(|name| name.fits(certificate)))
    }

    /// Whether the user, once proven, may come now and from `peer`.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, now: SystemTime, peer: IpAddr) -> Result<(), LoginFault> {
        let peer = peer.to_canonical();
        if !self.enabled {
            Err(LoginFault::Disabled)
        } else if self.expires.is_some_and(|expires| now >= expires) {
            Err(LoginFault::Expired)
        } else if !self.from.is_empty() && !self.from.iter().any(|network| network.contains(&peer)) {
            Err(LoginFault::WrongNetwork)
        } else {
            Ok(())
        }
    }
}

impl Users {
    /// These users. Of two with one name the first stays.
    pub fn new(users: Vec<User>) -> Self {
        let mut all = Self::default();
        for user in users.into_iter().map(Arc::new) {
            if !all.by_name.contains_key(&user.name) {
                all.by_name.insert(user.name.clone(), user.clone());
                all.order.push(user);
            }
        }
        all
    }

    /// The same, and whoever comes as `anonymous` or `ftp` (RFC 1635). Of these two names one that stands in a users file stays what it is there.
    pub fn with_anonymous(mut self, anonymous: Option<&Anonymous>) -> Self {
        let user = |anonymous: &Anonymous| {
            let name = UserName::new(ANONYMOUS[0].as_bytes())?;
            // Whoever uses this name is nobody in particular: only the limits by address, of a session and of the node count.
            let nobodys = (Some(usize::MAX), Some(u64::MAX));
            Some(User { permissions: anonymous.permissions, sessions: nobodys.0, bandwidth: nobodys.1, ..User::new(name, anonymous.home.clone()) })
        };
        self.anonymous = anonymous.and_then(user).map(Arc::new);
        self
    }

    /// One user who may do everything from everywhere and whose home is the root.
    ///
    /// # Errors
    /// The password cannot be hashed.
    pub fn single(name: UserName, password: &Password) -> Result<Self, BadHash> {
        let hash = make_hash(password).map_err(|_| BadHash::Incomplete)?;
        let user = User { password: Some(PasswordHash::parse(&hash)?), ..User::new(name, VirtualPath::root()) };
        Ok(Self::new(vec![user]))
    }

    /// How many there are in the users files.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// The classes that they name.
    pub fn classes(&self) -> Vec<String> {
        self.order.iter().filter_map(|user| user.class.as_deref().map(str::to_owned)).collect()
    }

    /// How many of them can log in with a certificate only, alone or besides a password.
    pub fn needing_certificates(&self) -> usize {
        self.order.iter().filter(|user| user.enabled && !user.client_certificates.is_empty()).count()
    }

    /// The user of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<User>> {
        let name = UserName::new(name.as_bytes())?;
        self.by_name.get(&name)
    }

    pub(super) fn named(&self, name: &UserName) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Who needs no password under this name.
    pub(super) fn anonymous(&self, name: &UserName) -> Option<&Arc<User>> {
        self.anonymous.as_ref().filter(|_| ANONYMOUS.contains(&name.as_str()))
    }

    /// The user who logs in by this name, or did.
    pub(super) fn account(&self, name: &UserName) -> Option<&Arc<User>> {
        self.named(name).or_else(|| self.anonymous(name))
    }

    /// All accounts, with the anonymous one.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Arc<User>> {
        self.order.iter().chain(&self.anonymous)
    }

    /// The hash of some user, always of the same one for one number: hashing against it takes the time that hashing takes here.
    pub(super) fn stand_in(&self, number: usize) -> Option<&PasswordHash> {
        let start = number.checked_rem(self.order.len())?;
        let (before, from) = self.order.split_at(start);
        from.iter().chain(before).find_map(|user| user.password.as_ref())
    }
}

/// The names of RFC 1635; the account has the first.
const ANONYMOUS: [&str; 2] = ["anonymous", "ftp"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_user_comes_when_enabled_before_the_end_and_from_the_right_network() {
        let users = Users::single(UserName::new(b"demo").unwrap(), &Password::new(b"x").unwrap()).unwrap();
        let mut user = User::clone(users.find("demo").unwrap());
        let (now, inside) = (SystemTime::now(), "::ffff:10.1.1.1".parse().unwrap());
        assert_eq!(user.admit(now, inside), Ok(()));
        user.from = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(user.admit(now, inside), Ok(()));
        assert_eq!(user.admit(now, "192.0.2.1".parse().unwrap()), Err(LoginFault::WrongNetwork));
        user.expires = Some(now);
        assert_eq!(user.admit(now - Duration::from_secs(1), inside), Ok(()));
        assert_eq!(user.admit(now, inside), Err(LoginFault::Expired));
        user.enabled = false;
        assert_eq!(user.admit(now, inside), Err(LoginFault::Disabled));
    }

    #[test]
    fn names_that_do_not_exist_have_a_stand_in_as_soon_as_there_are_passwords() {
        assert!(Users::default().stand_in(7).is_none());
        let users = Users::single(UserName::new(b"demo").unwrap(), &Password::new(b"x").unwrap()).unwrap();
        let demo = User::clone(users.find("demo").unwrap());
        assert_eq!((users.count(), users.stand_in(7)), (1, demo.password.as_ref()));
        assert!(users.find("other").is_none());
        let keyless = |name: &str| User::new(UserName::new(name.as_bytes()).unwrap(), VirtualPath::root());
        assert_eq!(Users::new(vec![keyless("a"), keyless("b")]).stand_in(1), None);
        let mixed = Users::new(vec![keyless("a"), demo.clone(), keyless("b")]);
        assert!((0..9).all(|number| mixed.stand_in(number) == demo.password.as_ref()));
    }

    #[test]
    fn anonymous_has_two_names_unless_a_file_names_them() {
        let anonymous = Anonymous { home: VirtualPath::root(), permissions: Permissions::READ_ONLY };
        let [first, second, other] = ["anonymous", "ftp", "Anonymous"].map(|name| UserName::new(name.as_bytes()).unwrap());
        let users = Users::new(vec![User::new(second.clone(), VirtualPath::root())]).with_anonymous(Some(&anonymous));
        let of = |name| users.account(name).map(|user| (user.name.as_str(), user.permissions));
        assert_eq!(of(&first), Some(("anonymous", Permissions::READ_ONLY)));
        assert_eq!(of(&second), Some(("ftp", Permissions::ALL)));
        assert_eq!((of(&other), users.count(), users.accounts().count()), (None, 1, 2));
        assert!(users.with_anonymous(None).account(&first).is_none());
    }
}
