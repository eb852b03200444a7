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

use super::hash::{BadHash, PasswordHash, make_hash};
use crate::observe::event::LoginFault;

/// One user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The name, unique among all users.
    pub name: UserName,
    /// The password's hash.
    pub password: PasswordHash,
    /// Where the user's files are, below `storage.root`; made at first login.
    pub home: VirtualPath,
    /// What the user may do.
    pub permissions: Permissions,
    /// False: no login.
    pub enabled: bool,
    /// No login from then on.
    pub expires: Option<SystemTime>,
    /// Networks the user may come from; empty: any.
    pub from: Vec<IpNet>,
    /// Over `data.tls_reuse`.
    pub tls_reuse: Option<ReusePolicy>,
    /// Over `data.upload_end`.
    pub upload_end: Option<UploadEnd>,
}

/// All users; swapped whole.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<UserName, Arc<User>>,
    /// The users again, in a fixed order: the stored hash of one of them stands in for that of a name that does not exist.
    order: Vec<Arc<User>>,
}

impl User {
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

    /// One user who may do everything from everywhere and whose home is the root.
    ///
    /// # Errors
    /// The password cannot be hashed.
    pub fn single(name: UserName, password: &Password) -> Result<Self, BadHash> {
        let hash = make_hash(password).map_err(|_| BadHash::Incomplete)?;
        let user = User {
            name,
            password: PasswordHash::parse(&hash)?,
            home: VirtualPath::root(),
            permissions: Permissions::ALL,
            enabled: true,
            expires: None,
            from: Vec::new(),
            tls_reuse: None,
            upload_end: None,
        };
        Ok(Self::new(vec![user]))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// The user of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<User>> {
        let name = UserName::new(name.as_bytes())?;
        self.by_name.get(&name)
    }

    pub(super) fn named(&self, name: &UserName) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Some user, always the same for one number: hashing against it takes the time that hashing takes here.
    pub(super) fn stand_in(&self, number: usize) -> Option<&Arc<User>> {
        self.order.get(number.checked_rem(self.order.len())?)
    }
}

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
    fn names_that_do_not_exist_have_a_stand_in_as_soon_as_there_are_users() {
        assert!(Users::default().stand_in(7).is_none());
        let users = Users::single(UserName::new(b"demo").unwrap(), &Password::new(b"x").unwrap()).unwrap();
        assert_eq!((users.count(), users.stand_in(7).unwrap().name.as_str()), (1, "demo"));
        assert!(users.find("other").is_none());
    }
}
