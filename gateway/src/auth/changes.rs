//! What a new set of users changes for those who are logged in.
//!
//! Gets: the users before and after. Gives: whose sessions have to end. Never: ends one; the node does.

use std::collections::HashSet;

use ftps_proto::command::UserName;

use super::{User, Users};

/// Users whose sessions are no longer right. Each is in one list at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They are gone.
    pub removed: Vec<UserName>,
    /// They may not log in now.
    pub disabled: Vec<UserName>,
    /// They have another password, other certificates or another home, or may do less.
    pub changed: Vec<UserName>,
}

enum Change {
    Disabled,
    Changed,
}

impl Changes {
    /// From `before` to `after`.
    pub(super) fn between(before: &Users, after: &Users) -> Self {
        let mut changes = Self::default();
        for user in before.accounts() {
            let list = match after.account(&user.name).map(|now| change(user, now)) {
                None => &mut changes.removed,
                Some(Some(Change::Disabled)) => &mut changes.disabled,
                Some(Some(Change::Changed)) => &mut changes.changed,
                Some(None) => continue,
            };
            list.push(user.name.clone());
        }
        changes
    }

    /// The names of all of them: sessions of these users end with `EndReason::UserChanged`.
    pub fn names(&self) -> HashSet<&str> {
        [&self.removed, &self.disabled, &self.changed].into_iter().flatten().map(UserName::as_str).collect()
    }

    /// Nobody's session has to end.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.disabled.is_empty() && self.changed.is_empty()
    }
}

/// Whether somebody who logged in as `user` may stay.
pub(super) fn may_stay(user: &User, users: &Users) -> bool {
    users.account(&user.name).is_some_and(|now| change(user, now).is_none())
}

/// Other keys (`expires`, `from`, `limits`, `class`, `tls_reuse`, `upload_end`, more permissions) are for the next login.
fn change(before: &User, now: &User) -> Option<Change> {
    if !now.enabled {
        // A session of a disabled user can only be one that began before.
        return before.enabled.then_some(Change::Disabled);
    }
    let same = before.password == now.password && before.client_certificates == now.client_certificates && before.home == now.home;
    (!same || !now.permissions.include(before.permissions)).then_some(Change::Changed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::machine::io::Permissions;
    use ftps_proto::path::{VirtualPath, WirePath};

    use super::*;
    use crate::auth::{Anonymous, CertificateName, PasswordHash};

    const ONE: &str = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";
    const OTHER: &str = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";

    fn user(name: &str) -> User {
        let password = PasswordHash::parse(ONE).ok();
        User { password, permissions: Permissions::READ_ONLY, ..User::new(UserName::new(name.as_bytes()).unwrap(), VirtualPath::root()) }
    }

    fn ended(before: User, now: User) -> bool {
        let (before, now) = (Users::new(vec![before]), Users::new(vec![now]));
        !Changes::between(&before, &now).is_empty()
    }

    #[test]
    fn each_user_is_in_the_list_that_says_why() {
        let names = ["same", "removed", "disabled", "repassworded", "off", "on"];
        let mut before: Vec<User> = names.map(user).into();
        before[4].enabled = false;
        before[5].enabled = false;
        let mut after = before.clone();
        after[2].enabled = false;
        after[3].password = PasswordHash::parse(OTHER).ok();
        after[5].enabled = true;
        after.remove(1);
        after.push(user("new"));
        let changes = Changes::between(&Users::new(before), &Users::new(after));
        let list = |list: &[UserName]| list.iter().map(UserName::to_string).collect::<Vec<_>>();
        assert_eq!(list(&changes.removed), ["removed"]);
        assert_eq!(list(&changes.disabled), ["disabled"]);
        assert_eq!(list(&changes.changed), ["repassworded"]);
        assert_eq!(changes.names(), HashSet::from(["removed", "disabled", "repassworded"]));
        assert!(!changes.is_empty() && Changes::default().is_empty());
    }

    #[test]
    fn what_takes_away_ends_a_session_and_what_gives_does_not() {
        let other_home = || VirtualPath::root().resolve(&WirePath::new(b"/other").unwrap()).unwrap();
        let certificates = vec![CertificateName::CommonName("a".into())];
        assert!(ended(user("a"), User { home: other_home(), ..user("a") }));
        assert!(ended(user("a"), User { client_certificates: certificates, ..user("a") }));
        assert!(ended(user("a"), User { password: None, ..user("a") }));
        assert!(ended(user("a"), User { permissions: Permissions { read: false, ..Permissions::READ_ONLY }, ..user("a") }));
        assert!(!ended(user("a"), User { permissions: Permissions::ALL, ..user("a") }));
        assert!(!ended(user("a"), User { class: Some("c".into()), sessions: Some(1), from: vec!["192.0.2.0/24".parse().unwrap()], ..user("a") }));
    }

    #[test]
    fn anonymous_ends_when_it_is_switched_off() {
        let anonymous = Anonymous { home: VirtualPath::root(), permissions: Permissions::READ_ONLY };
        let (on, off) = (Users::default().with_anonymous(Some(&anonymous)), Users::default());
        assert_eq!(Changes::between(&on, &off).names(), HashSet::from(["anonymous"]));
        assert!(Changes::between(&on, &on).is_empty() && Changes::between(&off, &on).is_empty());
    }

    #[test]
    fn who_logged_in_under_the_old_users_may_stay_if_nothing_was_taken() {
        let users = |user: User| Users::new(vec![user]);
        assert!(may_stay(&user("a"), &users(user("a"))));
        assert!(!may_stay(&user("a"), &users(user("b"))));
        assert!(!may_stay(&user("a"), &users(User { enabled: false, ..user("a") })));
        assert!(!may_stay(&user("a"), &users(User { password: PasswordHash::parse(OTHER).ok(), ..user("a") })));
    }
}
