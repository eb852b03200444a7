//! Whom a ban is about, as it is written and as it is compared.
//!
//! Gets: text of an administrator, an address of a rule. Gives: a target without a second spelling: v4-mapped addresses are IPv4, an IPv6 host is its /64.
//! Never: takes host bits behind a prefix, a network narrower than an IPv6 /64, an empty name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ftps_proto::command::UserName;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::observe::event::BanKind;

/// Whom a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address or a network. Whoever has one address of an IPv6 /64 has them all, so that is the narrowest.
    Network(IpNet),
    /// A user, from wherever.
    User(Box<str>),
    /// A user from an address or network.
    UserAtHost(Box<str>, IpNet),
    /// A class of `bans.classes` (by network) or of a users file.
    Class(Box<str>),
    /// A client certificate: `cn:`, `san:` or `sha256:`.
    Certificate(Box<str>),
}

/// Why a target is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not one of the keys.
    #[error("is no kind of target; write ip, cidr, user, user_at_host, class or certificate")]
    Kind,
    /// Not an address.
    #[error("is not an IP address; write one, for example 203.0.113.7 or 2001:db8::7")]
    Address,
    /// Not a network.
    #[error("is not a network; write ADDRESS/PREFIX without bits behind the prefix, for example 203.0.113.0/24")]
    Network,
    /// Narrower than what one IPv6 client has.
    #[error("is narrower than an IPv6 /64, which one client has as a whole; write /64 or a shorter prefix")]
    Narrow,
    /// Not a user name.
    #[error("is not a user name; write 1 to 128 letters without control characters")]
    User,
    /// No `@`, or nothing beside it.
    #[error("is not a user at an address; write NAME@ADDRESS or NAME@NETWORK")]
    UserAtHost,
    /// Not the name of a class.
    #[error("is not a class; write 1 to 64 letters, digits, '-', '_' or '.'")]
    Class,
    /// Not a certificate.
    #[error("is not the name of a certificate; write cn:NAME, san:NAME, or sha256: and the 64 hex digits of its fingerprint")]
    Certificate,
}

impl Target {
    /// From the key and the text of `target` in the API.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(kind: &str, text: &str) -> Result<Self, TargetError> {
        match kind {
            "ip" => text.parse().map(Self::host).map_err(|_| TargetError::Address),
            "cidr" => network(text).map(Self::Network),
            "user" => user(text).map(Self::User),
            "user_at_host" => user_at_host(text),
            "class" => is_class(text).then(|| Self::Class(text.into())).ok_or(TargetError::Class),
            "certificate" => certificate(text).map(Self::Certificate),
            _ => Err(TargetError::Kind),
        }
    }

    /// One host: an IPv4 address, or an IPv6 /64.
    pub fn host(ip: IpAddr) -> Self {
        Self::Network(host(ip))
    }

    /// The key of the API.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Network(net) if is_host(net) => "ip",
            Self::Network(_) => "cidr",
            Self::User(_) => "user",
            Self::UserAtHost(..) => "user_at_host",
            Self::Class(_) => "class",
            Self::Certificate(_) => "certificate",
        }
    }

    /// The text of the API: [`Target::parse`] with [`Target::key`] gives the target again.
    pub fn text(&self) -> String {
        match self {
            Self::Network(net) => written(net),
            Self::UserAtHost(user, net) => format!("{user}@{}", written(net)),
            Self::User(name) | Self::Class(name) | Self::Certificate(name) => name.to_string(),
        }
    }

    /// As a label.
    pub fn kind(&self) -> BanKind {
        match self {
            Self::Network(net) if is_host(net) => BanKind::Host,
            Self::Network(_) => BanKind::Network,
            Self::User(_) => BanKind::User,
            Self::UserAtHost(..) => BanKind::UserAtHost,
            Self::Class(_) => BanKind::Class,
            Self::Certificate(_) => BanKind::Certificate,
        }
    }

    /// Whether so many clients are meant that nobody should do it by a slip of the hand: IPv4 wider than /16, IPv6 wider than /32.
    pub fn is_wide(&self) -> bool {
        match self {
            Self::Network(net) | Self::UserAtHost(_, net) => net.prefix_len() < if net.addr().is_ipv4() { 16 } else { 32 },
            Self::User(_) | Self::Class(_) | Self::Certificate(_) => false,
        }
    }

    /// Whether the network is one that a target can have: no host bits, IPv6 /64 or wider.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Network(net) | Self::UserAtHost(_, net) => *net == net.trunc() && (net.addr().is_ipv4() || net.prefix_len() <= 64),
            Self::User(_) | Self::Class(_) | Self::Certificate(_) => true,
        }
    }
}

/// The network of one host.
pub(super) fn host(ip: IpAddr) -> IpNet {
    match ip.to_canonical() {
        IpAddr::V4(four) => IpNet::V4(Ipv4Net::from(four)),
        IpAddr::V6(six) => IpNet::V6(Ipv6Net::new(six, 64).unwrap_or_default().trunc()),
    }
}

/// The names by which a certificate can be banned, from what a handshake has shown.
pub fn certificate_names(common_name: Option<&str>, alt_names: &[String], sha256: &[u8; 32]) -> Vec<String> {
    let hex = sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let named = common_name.map(|name| format!("cn:{name}")).into_iter().chain(alt_names.iter().map(|name| format!("san:{name}")));
    named.chain([format!("sha256:{hex}")]).collect()
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == if net.addr().is_ipv4() { 32 } else { 64 }
}

fn written(net: &IpNet) -> String {
    match net {
        IpNet::V4(four) if four.prefix_len() == 32 => four.addr().to_string(),
        IpNet::V6(six) if six.prefix_len() == 64 => six.addr().to_string(),
        other => other.to_string(),
    }
}

fn network(text: &str) -> Result<IpNet, TargetError> {
    let net: IpNet = text.parse().map_err(|_| TargetError::Network)?;
    if net != net.trunc() {
        return Err(TargetError::Network);
    }
    match fold(net) {
        IpNet::V6(six) if six.prefix_len() > 64 => Err(TargetError::Narrow),
        net => Ok(net),
    }
}

/// A v4-mapped network is IPv4.
pub(super) fn fold(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    let four: Option<Ipv4Addr> = six.addr().to_ipv4_mapped().filter(|_| six.prefix_len() >= 96);
    four.and_then(|four| Ipv4Net::new(four, six.prefix_len() - 96).ok()).map_or(net, IpNet::V4)
}

fn user(text: &str) -> Result<Box<str>, TargetError> {
    UserName::new(text.as_bytes()).map(|name| name.as_str().into()).ok_or(TargetError::User)
}

fn user_at_host(text: &str) -> Result<Target, TargetError> {
    // A user name may have an @ of its own; an address has none.
    let (name, place) = text.rsplit_once('@').ok_or(TargetError::UserAtHost)?;
    let net = match place.parse::<IpAddr>() {
        Ok(ip) => host(ip),
        Err(_) => network(place).map_err(|error| if error == TargetError::Narrow { error } else { TargetError::UserAtHost })?,
    };
    Ok(Target::UserAtHost(user(name)?, net))
}

/// As in users files and `bans.classes`.
pub fn is_class(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn certificate(text: &str) -> Result<Box<str>, TargetError> {
    let (kind, value) = text.split_once(':').ok_or(TargetError::Certificate)?;
    let named = !value.is_empty() && value.len() <= 512 && !value.chars().any(char::is_control);
    match kind {
        "cn" | "san" if named => Ok(text.into()),
        "sha256" => {
            let digits: String = value.chars().filter(|char| *char != ':').collect::<String>().to_ascii_lowercase();
            let whole = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            whole.then(|| format!("sha256:{digits}").into()).ok_or(TargetError::Certificate)
        }
        _ => Err(TargetError::Certificate),
    }
}

/// The upper half of an IPv6 address: what bans look at.
pub(super) fn half(six: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = six.segments();
    [a, b, c, d].into_iter().fold(0, |half, part| half << 16 | u64::from(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_target_has_one_spelling() {
        for (key, text, key_after, text_after) in [
            ("ip", "203.0.113.7", "ip", "203.0.113.7"),
            ("ip", "::ffff:203.0.113.7", "ip", "203.0.113.7"),
            ("ip", "2001:db8::1:2:3:4", "ip", "2001:db8::"),
            ("cidr", "203.0.113.7/32", "ip", "203.0.113.7"),
            ("cidr", "::ffff:203.0.113.0/120", "cidr", "203.0.113.0/24"),
            ("cidr", "2001:db8::/48", "cidr", "2001:db8::/48"),
            ("cidr", "0.0.0.0/0", "cidr", "0.0.0.0/0"),
            ("user", "al ice", "user", "al ice"),
            ("user_at_host", "a@b@203.0.113.7", "user_at_host", "a@b@203.0.113.7"),
            ("user_at_host", "a@203.0.113.0/24", "user_at_host", "a@203.0.113.0/24"),
            ("class", "partners", "class", "partners"),
            ("certificate", "cn:alice", "certificate", "cn:alice"),
        ] {
            let target = Target::parse(key, text).unwrap_or_else(|error| panic!("{key} {text}: {error}"));
            assert_eq!((target.key(), target.text().as_str()), (key_after, text_after));
            assert_eq!(Target::parse(target.key(), &target.text()), Ok(target.clone()));
            assert!(target.is_sound());
        }
        let capitals = format!("sha256:{}", vec!["AB"; 32].join(":"));
        assert_eq!(Target::parse("certificate", &capitals).unwrap().text(), format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(certificate_names(Some("a"), &["b".into()], &[0xab; 32])[2], format!("sha256:{}", "ab".repeat(32)));
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        for (key, text, error) in [
            ("ip", "203.0.113", TargetError::Address),
            ("ip", "203.0.113.7/32", TargetError::Address),
            ("ip", "host.example", TargetError::Address),
            ("cidr", "203.0.113.7/24", TargetError::Network),
            ("cidr", "203.0.113.0/33", TargetError::Network),
            ("cidr", "203.0.113.0", TargetError::Network),
            ("cidr", "2001:db8::/65", TargetError::Narrow),
            ("user", "", TargetError::User),
            ("user", "a\r\nb", TargetError::User),
            ("user_at_host", "alice", TargetError::UserAtHost),
            ("user_at_host", "alice@", TargetError::UserAtHost),
            ("user_at_host", "@203.0.113.7", TargetError::User),
            ("class", "", TargetError::Class),
            ("class", "a b", TargetError::Class),
            ("certificate", "alice", TargetError::Certificate),
            ("certificate", "sha256:abcd", TargetError::Certificate),
            ("host", "203.0.113.7", TargetError::Kind),
        ] {
            assert_eq!(Target::parse(key, text), Err(error), "{key} {text}");
        }
    }

    #[test]
    fn wide_networks_are_told_apart() {
        let wide = |text: &str| Target::parse("cidr", text).unwrap().is_wide();
        assert!(wide("0.0.0.0/0") && wide("10.0.0.0/15") && wide("::/0") && wide("2001:db8::/31"));
        assert!(!wide("10.1.0.0/16") && !wide("2001:db8::/32") && !Target::host([1, 2, 3, 4].into()).is_wide());
    }
}
