//! Whether a balancer hides the clients behind its own address: limits by address would then count everybody as one.
//!
//! Gets: addresses and users of sessions that log in. Gives: the addresses that count as hidden, and when that changes.
//! Never: keeps more than the latest 20 logins, 5 users and 3 addresses; believes in a balancer at a public address, which may be one client's.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

/// What is remembered of the sessions that logged in.
///
/// Addresses become hidden when within [`WINDOW`] at least [`SESSIONS`] sessions of at least [`USERS`] users have logged in, all from one or two addresses, each
/// in a private, loopback or PROXY network. They stay hidden over a quiet night, and are no longer when somebody logs in from elsewhere: then addresses tell
/// clients apart after all.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Networks of balancers that speak PROXY, which may stand behind another one.
    proxies: Vec<IpNet>,
    logins: VecDeque<Instant>,
    /// Hashes of the users who logged in latest, each once, with the time.
    users: VecDeque<(u64, Instant)>,
    /// The addresses of the latest logins, each once.
    addresses: VecDeque<(IpAddr, Instant)>,
    hidden: Vec<IpAddr>,
    hasher: RandomState,
}

impl Hidden {
    /// The networks that PROXY headers are taken from.
    pub(super) fn set_proxies(&mut self, proxies: Vec<IpNet>) {
        self.proxies = proxies;
    }

    /// Whether this address stands for many clients.
    pub(super) fn holds(&self, ip: IpAddr) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&ip.to_canonical())
    }

    /// A session has logged in. The addresses that are hidden from now on, if that changes.
    pub(super) fn logged_in(&mut self, ip: IpAddr, user: &str, now: Instant) -> Option<&[IpAddr]> {
        let (ip, user) = (ip.to_canonical(), self.hasher.hash_one(user));
        self.logins.push_back(now);
        if self.logins.len() > SESSIONS {
            self.logins.pop_front();
        }
        note(&mut self.users, user, now, USERS);
        note(&mut self.addresses, ip, now, ADDRESSES + 1);
        let before = self.hidden.len();
        if !self.hidden.is_empty() && !self.hidden.contains(&ip) {
            self.hidden.clear();
        }
        if self.hidden.len() < ADDRESSES && self.are_hidden(now) {
            self.hidden = self.recent(now).collect();
        }
        (self.hidden.len() != before).then_some(&*self.hidden)
    }

    fn are_hidden(&self, now: Instant) -> bool {
        let within = |at: Option<Instant>, most: usize, count: usize| count >= most && at.is_some_and(|at| now.saturating_duration_since(at) <= WINDOW);
        let enough = within(self.logins.front().copied(), SESSIONS, self.logins.len());
        let different = within(self.users.front().map(|(_, at)| *at), USERS, self.users.len());
        enough && different && self.recent(now).count() <= ADDRESSES && self.recent(now).all(|ip| self.may_be_a_balancer(ip))
    }

    /// The addresses that sessions logged in from lately.
    fn recent(&self, now: Instant) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(move |(_, at)| now.saturating_duration_since(*at) <= WINDOW).map(|(ip, _)| *ip)
    }

    fn may_be_a_balancer(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || is_private(ip) || self.proxies.iter().any(|network| network.contains(&ip))
    }
}

/// Moves `one` to the end of the latest ones.
fn note<T: PartialEq>(latest: &mut VecDeque<(T, Instant)>, one: T, now: Instant, most: usize) {
    latest.retain(|(other, _)| *other != one);
    latest.push_back((one, now));
    if latest.len() > most {
        latest.pop_front();
    }
}

/// RFC 1918, 6598 (which clouds give to pods), 3927; RFC 4193, 4291 §2.5.6.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_private() || four.is_link_local() || (four.octets()[0] == 100 && four.octets()[1] & 0xc0 == 64),
        IpAddr::V6(six) => six.is_unique_local() || six.is_unicast_link_local(),
    }
}

/// How far back logins count.
const WINDOW: Duration = Duration::from_secs(600);
/// So many sessions must have logged in within it,
const SESSIONS: usize = 20;
/// of so many users,
const USERS: usize = 5;
/// from at most so many addresses.
const ADDRESSES: usize = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// So many logins of so many users, one a second, from these addresses in turn; what was said on the way, and the time after it.
    fn logins(hidden: &mut Hidden, count: usize, users: usize, from: &[&str], start: Instant) -> (Vec<Vec<IpAddr>>, Instant) {
        let at = |number: usize| start + Duration::from_secs(number as u64);
        let mut said = Vec::new();
        for number in 0..count {
            let user = format!("user{}", number % users);
            said.extend(hidden.logged_in(ip(from[number % from.len()]), &user, at(number)).map(<[IpAddr]>::to_vec));
        }
        (said, at(count))
    }

    #[test]
    fn twenty_sessions_of_five_users_from_one_or_two_private_addresses_are_hidden() {
        for from in [&["10.0.0.7"][..], &["10.0.0.7", "10.0.0.8"], &["127.0.0.1"], &["fd00::1"], &["100.64.3.4", "169.254.1.1"], &["::ffff:10.0.0.7"]] {
            let mut hidden = Hidden::default();
            let (said, now) = logins(&mut hidden, 19, 5, from, Instant::now());
            assert!(said.is_empty() && !hidden.holds(ip(from[0])), "{from:?}");
            let all = hidden.logged_in(ip(from[0]), "user0", now).unwrap().to_vec();
            assert_eq!(all.len(), from.len());
            assert!(from.iter().all(|address| hidden.holds(ip(address))) && !hidden.holds(ip("10.0.0.9")), "{from:?}");
        }
    }

    #[test]
    fn too_few_users_or_sessions_or_too_many_addresses_are_what_they_seem() {
        let start = Instant::now();
        let never = |count, users, from: &[&str]| {
            let mut hidden = Hidden::default();
            let (said, _) = logins(&mut hidden, count, users, from, start);
            assert!(said.is_empty(), "{count} {users} {from:?}: {said:?}");
        };
        never(500, 4, &["10.0.0.7"]);
        never(19, 19, &["10.0.0.7"]);
        never(500, 50, &["10.0.0.7", "10.0.0.8", "10.0.0.9"]);
        never(500, 50, &["192.0.2.7"]);
        never(500, 50, &["10.0.0.7", "192.0.2.7"]);
        // One login in 40 s: never 20 within 10 minutes.
        let mut slow = Hidden::default();
        assert!((0..200).all(|number| slow.logged_in(ip("10.0.0.7"), &number.to_string(), start + Duration::from_secs(40 * number)).is_none()));
    }

    #[test]
    fn a_proxy_that_stands_behind_another_balancer_may_have_a_public_address() {
        let mut hidden = Hidden::default();
        hidden.set_proxies(vec!["192.0.2.0/24".parse().unwrap()]);
        assert_eq!(logins(&mut hidden, 30, 5, &["192.0.2.7"], Instant::now()).0, [[ip("192.0.2.7")]]);
    }

    #[test]
    fn hidden_addresses_stay_so_until_somebody_comes_from_elsewhere() {
        let mut hidden = Hidden::default();
        let (said, now) = logins(&mut hidden, 20, 5, &["10.0.0.7"], Instant::now());
        assert_eq!(said.len(), 1);
        let night = now + Duration::from_secs(8 * 3600);
        assert!(hidden.logged_in(ip("10.0.0.7"), "user0", night).is_none() && hidden.holds(ip("10.0.0.7")));
        assert_eq!(hidden.logged_in(ip("192.0.2.1"), "user0", night).map(<[IpAddr]>::len), Some(0));
        assert!(!hidden.holds(ip("10.0.0.7")));
        // Ten minutes later that one is forgotten.
        let (said, now) = logins(&mut hidden, 30, 5, &["10.0.0.7"], night + Duration::from_secs(1));
        assert!(said.is_empty(), "{said:?}");
        let (said, _) = logins(&mut hidden, 30, 5, &["10.0.0.7"], now + WINDOW);
        assert_eq!(said, [[ip("10.0.0.7")]]);
    }

    #[test]
    fn the_second_address_of_a_balancer_joins_the_first() {
        let mut hidden = Hidden::default();
        let (_, now) = logins(&mut hidden, 20, 5, &["10.0.0.7"], Instant::now());
        // It is elsewhere at first; one login later both are known for what they are.
        let (said, _) = logins(&mut hidden, 2, 2, &["10.0.0.8", "10.0.0.7"], now);
        assert_eq!(said.last().map(Vec::len), Some(2), "{said:?}");
        assert!(hidden.holds(ip("10.0.0.7")) && hidden.holds(ip("10.0.0.8")));
    }
}
