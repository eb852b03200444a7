//! `bans:` of the configuration, and whom it protects.
//!
//! Gets: a checked configuration, the balancers, the peers. Gives: whether somebody is never banned, the classes of an address.
//! Never: changes; a reload brings another one.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::rules::Rule;
use super::target::{Target, fold};

/// `bans:`
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `bans.rules`.
    pub rules: Vec<Rule>,
    /// `bans.never.networks`.
    pub never_networks: Vec<IpNet>,
    /// `bans.never.users`.
    pub never_users: Vec<String>,
    /// `bans.classes`: names of networks.
    pub classes: Vec<(String, Vec<IpNet>)>,
    /// `bans.message`.
    pub message: String,
    /// `bans.implicit_reply`: whether a banned client of an implicit listener is told so, behind a handshake.
    pub implicit_reply: bool,
    /// `bans.max_automatic`.
    pub max_automatic: usize,
}

/// What is in force.
#[derive(Debug, Default)]
pub(super) struct Settings {
    never: Vec<IpNet>,
    never_users: HashSet<String>,
    classes: Vec<(IpNet, Box<str>)>,
    /// Classes of networks and of users.
    names: HashSet<String>,
    pub(super) message: String,
    pub(super) implicit_reply: bool,
}

impl Settings {
    /// `balancers`: `listen.proxy_protocol_from`; `classes`: those of the users files.
    pub(super) fn new(config: &Config, balancers: &[IpNet], classes: &[String]) -> Self {
        let own = LOOPBACK.iter().filter_map(|text| text.parse().ok());
        let by_network = config.classes.iter().flat_map(|(name, nets)| nets.iter().map(|net| (fold(*net), name.as_str().into())));
        Self {
            never: config.never_networks.iter().chain(balancers).copied().map(fold).chain(own).collect(),
            never_users: config.never_users.iter().cloned().collect(),
            classes: by_network.collect(),
            names: config.classes.iter().map(|(name, _)| name.clone()).chain(classes.iter().cloned()).collect(),
            message: config.message.clone(),
            implicit_reply: config.implicit_reply,
        }
    }

    /// Whether nobody at this address is ever banned.
    pub(super) fn spares(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.never.iter().any(|net| net.contains(&ip))
    }

    pub(super) fn spares_user(&self, user: &str) -> bool {
        self.never_users.contains(user)
    }

    /// Whether a ban of this target could hold for nobody, because all it means are protected.
    pub(super) fn spares_all_of(&self, target: &Target) -> bool {
        match target {
            Target::Network(net) => self.never.iter().any(|never| never.contains(net)),
            Target::UserAtHost(user, net) => self.spares_user(user) || self.never.iter().any(|never| never.contains(net)),
            Target::User(user) => self.spares_user(user),
            Target::Class(_) | Target::Certificate(_) => false,
        }
    }

    pub(super) fn knows_class(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The classes of an address.
    pub(super) fn classes_of(&self, ip: IpAddr) -> impl Iterator<Item = &str> {
        let ip = ip.to_canonical();
        self.classes.iter().filter(move |(net, _)| net.contains(&ip)).map(|(_, name)| &**name)
    }
}

/// Whoever is on this host is not kept out by a ban: probes, an administrator, the node itself.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
