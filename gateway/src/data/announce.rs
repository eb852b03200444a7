//! What PASV announces: the setting, else the address the client connected to as its balancer tells it, if that is routed, else
//! `FTPS_GATEWAY_PUBLIC_ADDRESS`, else the address the control connection came to.
//!
//! Gets: the setting, and the addresses of a control connection. Gives: an IPv4 address, and whether it is a private one told to a public client.
//! Names are resolved in the background, every 60 s; the last good answer is kept.
//! Never: asks DNS for a client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ftps_proto::machine::io::PassiveError;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Announce, PublicAddress};

/// Knows what to announce. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Announcer {
    setting: Arc<ArcSwap<PublicAddress>>,
    environment: Option<Announce>,
    /// A private address was told to a public client since the setting changed.
    unreachable: Arc<AtomicBool>,
    changed: Arc<Notify>,
    resolved: Arc<ArcSwap<HashMap<String, Ipv4Addr>>>,
}

/// What a PASV reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The address.
    pub ip: Ipv4Addr,
    /// A private address told to a public client (`pasv_private_address`): it will hardly reach us.
    pub unreachable: bool,
}

impl Announcer {
    /// `environment`: the value of `FTPS_GATEWAY_PUBLIC_ADDRESS`, used when the setting is `auto`. Resolves no name yet.
    pub fn new(setting: &PublicAddress, environment: Option<&str>) -> Self {
        let environment = environment.map(str::trim).filter(|value| !value.is_empty());
        let environment = environment.map(|value| value.parse().map_or_else(|_| Announce::Name(value.to_owned()), Announce::Ip));
        let setting = Arc::new(ArcSwap::from_pointee(setting.clone()));
        Self { setting, environment, unreachable: Arc::default(), changed: Arc::default(), resolved: Arc::default() }
    }

    /// From now on this is the setting; its names are resolved at once.
    pub fn set(&self, setting: &PublicAddress) {
        if **self.setting.load() != *setting {
            self.setting.store(Arc::new(setting.clone()));
            self.unreachable.store(false, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }

    /// Resolves the names once, 5 s at most each; returns those that have no IPv4 address, for a warning.
    pub async fn resolve(&self) -> Vec<String> {
        let mut known = HashMap::clone(&self.resolved.load());
        let mut failed = Vec::new();
        for name in self.names() {
            match look_up(&name).await {
                Some(ip) => drop(known.insert(name, ip)),
                None => failed.push(name),
            }
        }
        self.resolved.store(Arc::new(known));
        failed
    }

    /// Resolves the names now and keeps them fresh, for ever.
    pub async fn keep_resolved(self) {
        loop {
            for name in self.resolve().await {
                tracing::warn!(
                    name,
                    "data.public_address has no IPv4 address in DNS: PASV keeps the last one, or answers 425; look at DNS, or write the address"
                );
            }
            // The end of a wait, and a setting that changed during it, are the same to us.
            let _ = timeout(REFRESH, self.changed.notified()).await;
        }
    }

    /// What to tell a client at `client` whose control connection came to `local`, and which connected to `destination` as its balancer tells it.
    ///
    /// # Errors
    /// `NoIpv4`: there is no IPv4 address to tell; EPSV works.
    pub fn announced(&self, client: IpAddr, local: SocketAddr, destination: Option<SocketAddr>) -> Result<Announced, PassiveError> {
        let client = client.to_canonical();
        let unreachable = |ip: Ipv4Addr| is_private(IpAddr::V4(ip)) && !is_private(client);
        let setting = self.setting.load();
        let chosen = match &**setting {
            PublicAddress::Auto => None,
            PublicAddress::Ip(ip) => Some(ipv4(*ip)),
            PublicAddress::Name(name) => Some(self.known(name)),
            PublicAddress::ByNetwork(networks, default) => {
                let chosen = networks.iter().find(|(network, _)| network.contains(&client)).map(|(_, announce)| announce).or(default.as_ref());
                chosen.map(|announce| self.value(announce))
            }
        };
        let routed = || destination.and_then(|address| ipv4(address.ip())).filter(|ip| !unreachable(*ip));
        let found = || routed().or_else(|| self.environment.as_ref().map_or_else(|| ipv4(local.ip()), |announce| self.value(announce)));
        let ip = chosen.unwrap_or_else(found).ok_or(PassiveError::NoIpv4)?;
        Ok(Announced { ip, unreachable: unreachable(ip) })
    }

    /// A private address is told to a public client. True the first time since the setting changed.
    pub fn note_unreachable(&self) -> bool {
        !self.unreachable.swap(true, Ordering::Relaxed)
    }

    /// Whether a private address was told to a public client since the setting changed.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    fn value(&self, announce: &Announce) -> Option<Ipv4Addr> {
        match announce {
            Announce::Ip(ip) => ipv4(*ip),
            Announce::Name(name) => self.known(name),
        }
    }

    fn known(&self, name: &str) -> Option<Ipv4Addr> {
        self.resolved.load().get(name).copied()
    }

    fn names(&self) -> Vec<String> {
        let name = |announce: &Announce| match announce {
            Announce::Name(name) => Some(name.clone()),
            Announce::Ip(_) => None,
        };
        let mut names: Vec<String> = self.environment.iter().filter_map(name).collect();
        match &**self.setting.load() {
            PublicAddress::Auto | PublicAddress::Ip(_) => {}
            PublicAddress::Name(name) => names.push(name.clone()),
            PublicAddress::ByNetwork(networks, default) => names.extend(networks.iter().map(|(_, announce)| announce).chain(default).filter_map(name)),
        }
        names
    }
}

async fn look_up(name: &str) -> Option<Ipv4Addr> {
    let addresses = timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await.ok()?.ok()?;
    addresses.map(|address| address.ip()).find_map(ipv4)
}

fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip.to_canonical() {
        IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Addresses that the Internet does not route (RFC 1918, 3927, 4193, 6598, loopback).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Between two look-ups of a name.
const REFRESH: Duration = Duration::from_secs(60);

/// For one look-up.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn announced(setting: &PublicAddress, environment: Option<&str>, client: &str, local: &str) -> Result<(String, bool), PassiveError> {
        let announced = Announcer::new(setting, environment).announced(client.parse().unwrap(), local.parse().unwrap(), None)?;
        Ok((announced.ip.to_string(), announced.unreachable))
    }

    #[test]
    fn announces_setting_then_environment_then_socket() {
        let told = |ip: &str, unreachable| Ok((ip.to_owned(), unreachable));
        let ip = PublicAddress::Ip("203.0.113.7".parse().unwrap());
        assert_eq!(announced(&ip, Some("192.0.2.1"), "198.51.100.1", "10.0.0.1:2121"), told("203.0.113.7", false));
        assert_eq!(announced(&PublicAddress::Auto, Some("192.0.2.1"), "198.51.100.1", "10.0.0.1:2121"), told("192.0.2.1", false));
        assert_eq!(announced(&PublicAddress::Auto, Some(" "), "10.0.0.9", "[::ffff:10.0.0.1]:2121"), told("10.0.0.1", false));
        assert_eq!(announced(&PublicAddress::Auto, None, "198.51.100.1", "10.0.0.1:2121"), told("10.0.0.1", true));
        assert_eq!(announced(&PublicAddress::Auto, None, "2001:db8::9", "[2001:db8::1]:2121"), Err(PassiveError::NoIpv4));
        assert_eq!(announced(&PublicAddress::Name("nowhere.invalid".into()), None, "198.51.100.1", "192.0.2.1:1"), Err(PassiveError::NoIpv4));
    }

    #[test]
    fn announces_by_the_network_of_the_client() {
        let inside = ("10.0.0.0/8".parse().unwrap(), Announce::Ip("10.1.2.3".parse().unwrap()));
        let setting = PublicAddress::ByNetwork(vec![inside.clone()], Some(Announce::Ip("203.0.113.7".parse().unwrap())));
        assert_eq!(announced(&setting, None, "::ffff:10.9.9.9", "10.0.0.1:1").unwrap(), ("10.1.2.3".into(), false));
        assert_eq!(announced(&setting, None, "198.51.100.1", "10.0.0.1:1").unwrap(), ("203.0.113.7".into(), false));
        let without = PublicAddress::ByNetwork(vec![inside], None);
        assert_eq!(announced(&without, None, "198.51.100.1", "192.0.2.9:1").unwrap(), ("192.0.2.9".into(), false));
    }

    #[test]
    fn announces_where_the_client_connected_to_if_that_is_routed_for_it() {
        let announced = |setting: &PublicAddress, environment, client: &str, destination: &str| {
            let announcer = Announcer::new(setting, environment);
            announcer.announced(client.parse().unwrap(), "10.0.0.1:1".parse().unwrap(), Some(destination.parse().unwrap())).unwrap().ip.to_string()
        };
        let auto = PublicAddress::Auto;
        assert_eq!(announced(&auto, Some("192.0.2.1"), "198.51.100.1", "203.0.113.9:21"), "203.0.113.9");
        assert_eq!(announced(&auto, Some("192.0.2.1"), "198.51.100.1", "10.9.9.9:21"), "192.0.2.1", "a public client cannot reach it");
        assert_eq!(announced(&auto, Some("192.0.2.1"), "10.2.2.2", "10.9.9.9:21"), "10.9.9.9", "a neighbour can");
        assert_eq!(announced(&auto, None, "2001:db8::1", "[2001:db8::9]:21"), "10.0.0.1");
        assert_eq!(announced(&PublicAddress::Ip("203.0.113.7".parse().unwrap()), None, "198.51.100.1", "203.0.113.9:21"), "203.0.113.7");
        let by_network = PublicAddress::ByNetwork(vec![("10.0.0.0/8".parse().unwrap(), Announce::Ip("10.1.2.3".parse().unwrap()))], None);
        assert_eq!(announced(&by_network, None, "198.51.100.1", "203.0.113.9:21"), "203.0.113.9");
        assert_eq!(announced(&by_network, None, "10.2.2.2", "203.0.113.9:21"), "10.1.2.3");
    }

    #[test]
    fn an_address_that_cannot_be_reached_is_new_once() {
        let announcer = Announcer::new(&PublicAddress::Auto, None);
        assert!(!announcer.is_unreachable() && announcer.note_unreachable());
        assert!(announcer.is_unreachable() && !announcer.note_unreachable());
        announcer.set(&PublicAddress::Ip("203.0.113.7".parse().unwrap()));
        assert!(!announcer.is_unreachable());
    }

    #[tokio::test]
    async fn names_are_resolved_before_they_are_needed_and_kept() {
        let announcer = Announcer::new(&PublicAddress::Auto, Some("localhost"));
        let announced = || announcer.announced("127.0.0.1".parse().unwrap(), "192.0.2.1:1".parse().unwrap(), None);
        let keeping = tokio::spawn(announcer.clone().keep_resolved());
        let known = async {
            while announced().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Long before the first refresh.
        timeout(REFRESH / 4, known).await.unwrap();
        assert_eq!(announced().unwrap(), Announced { ip: Ipv4Addr::LOCALHOST, unreachable: false });
        keeping.abort();
    }
}
