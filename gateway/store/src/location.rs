//! `store.url`: where values are kept, read from one string in one place.
//!
//! Gets: the text of the setting. Gives: a checked location, or what to write instead.
//! Never: opens anything; shows a password, not in `Debug`, not in an error.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::report::BackendKind;

/// A place for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `memory:?size=16MiB`.
    Memory {
        /// Most bytes.
        size: u64,
    },
    /// `shm:?size=16MiB`, `shm:///dir?size=16MiB`.
    Shm {
        /// Where; `None`: under the node's state directory.
        directory: Option<PathBuf>,
        /// Bytes of the segment.
        size: u64,
    },
    /// `redis://user:password@host:6379/0`, `rediss://…`, `unix:///path?db=0`, `redis+sentinel://a,b/name`, `redis+cluster://a,b`.
    Redis(RedisLocation),
    /// `memcached://a:11211,b:11211`.
    Memcached {
        /// `host:port`, in the order that all nodes must share.
        servers: Vec<String>,
    },
}

/// A Redis, and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLocation {
    /// Where: servers, Sentinels, or first nodes of a cluster. Never empty.
    pub addresses: Vec<Address>,
    /// What stands there.
    pub mode: RedisMode,
    /// TLS, and never anything else.
    pub tls: bool,
    /// The database.
    pub database: u32,
    /// Who logs in to Redis.
    pub login: Login,
    /// Who logs in to the Sentinels.
    pub sentinel_login: Login,
}

/// How the servers of a Redis belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels know the primary of this name.
    Sentinel(String),
    /// Redis Cluster.
    Cluster,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host (IPv6 without brackets) and port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// User and password; each may be absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Zeroizing<String>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &self.password.as_ref().map(|_| "…")).finish()
    }
}

/// Why a URL is not one of a store. Says what to write; shows nothing of a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LocationError {
    /// An unknown scheme.
    #[error("it begins with {0:?}: use redis://, rediss://, unix:///path, redis+sentinel://, redis+cluster:// (or rediss+…), memcached://, shm: or memory:")]
    Scheme(String),
    /// No host where one must be.
    #[error("it names no host: write for example {0}")]
    Host(&'static str),
    /// A port that is none.
    #[error("the port of host {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// A database that is none.
    #[error("the database must be a number: …/0")]
    Database,
    /// Sentinel without the name of a primary.
    #[error("a Sentinel URL ends with the name of the primary: redis+sentinel://a:26379,b:26379/mymaster")]
    Primary,
    /// A cluster has but one database.
    #[error("Redis Cluster has only database 0: end the URL after the hosts")]
    ClusterDatabase,
    /// Several hosts where one must be.
    #[error("it names several hosts: use redis+sentinel:// or redis+cluster://")]
    Several,
    /// An unknown parameter.
    #[error("the parameter {0:?} is unknown here: {1}")]
    Parameter(String, &'static str),
    /// Not a size.
    #[error("size={0} is not a size: write for example size=16MiB")]
    Size(String),
    /// Bad percent-encoding.
    #[error("user or password has a '%' that is not followed by two hexadecimal digits: write %25 for '%', %40 for '@', %2F for '/'")]
    Percent,
    /// A login where none is possible.
    #[error("memcached has no login here: remove user and password, and keep it on a private network")]
    Login,
    /// A path that is none.
    #[error("the path must be absolute: write {0}")]
    Path(&'static str),
}

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without any secret in it.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once(':').ok_or_else(|| LocationError::Scheme(url.chars().take(SHOWN).collect()))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = Parameters::parse(query)?;
        match scheme {
            "memory" | "shm" => local(scheme, rest, parameters),
            "memcached" => memcached(rest, parameters),
            "unix" => unix(rest, parameters),
            _ => redis(scheme, rest, parameters),
        }
    }

    /// Which backend it is for.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Memory { .. } => BackendKind::Memory,
            Self::Shm { .. } => BackendKind::Shm,
            Self::Redis(_) => BackendKind::Redis,
            Self::Memcached { .. } => BackendKind::Memcached,
        }
    }

    /// Whether it is TLS: only then `store.tls` means something.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.tls)
    }
}

/// Decoded, in order.
struct Parameters(Vec<(String, Zeroizing<String>)>);

impl Parameters {
    fn parse(query: &str) -> Result<Self, LocationError> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?.to_string(), decode(value)?))
        };
        query.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn take(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(place).1)
    }

    fn end(self, known: &'static str) -> Result<(), LocationError> {
        self.0.into_iter().next().map_or(Ok(()), |(name, _)| Err(LocationError::Parameter(name.chars().take(SHOWN).collect(), known)))
    }
}

fn local(scheme: &str, rest: &str, mut parameters: Parameters) -> Result<Location, LocationError> {
    let size = parameters.take("size").map_or(Ok(DEFAULT_SIZE), |text| parse_size(&text).ok_or_else(|| LocationError::Size(text.to_string())))?;
    parameters.end("only size= is known")?;
    let directory = match rest.strip_prefix("//").unwrap_or(rest) {
        "" => None,
        path if scheme == "shm" && rest.starts_with("///") => Some(PathBuf::from(decode(path)?.as_str())),
        _ if scheme == "shm" => return Err(LocationError::Path("shm:?size=16MiB or shm:///dir?size=16MiB")),
        _ => return Err(LocationError::Path("memory:?size=16MiB (memory has no path)")),
    };
    Ok(if scheme == "shm" { Location::Shm { directory, size } } else { Location::Memory { size } })
}

fn memcached(rest: &str, parameters: Parameters) -> Result<Location, LocationError> {
    parameters.end("memcached:// takes none")?;
    let hosts = rest.strip_prefix("//").unwrap_or_default().trim_end_matches('/');
    if hosts.contains('@') {
        return Err(LocationError::Login);
    }
    let servers = addresses(hosts, 11211, "memcached://a:11211,b:11211")?;
    let text = |(host, port): (String, u16)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok(Location::Memcached { servers: servers.into_iter().map(text).collect() })
}

fn unix(rest: &str, mut parameters: Parameters) -> Result<Location, LocationError> {
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let (login, path) = split_login(rest)?;
    if !path.starts_with('/') || path.len() < 2 {
        return Err(LocationError::Path("unix:///run/redis.sock?db=0"));
    }
    let database = parameters.take("db").map_or(Ok(0), |text| text.parse().map_err(|_| LocationError::Database))?;
    parameters.end("unix:// takes db=")?;
    let addresses = vec![Address::Unix(PathBuf::from(decode(path)?.as_str()))];
    Ok(Location::Redis(RedisLocation { addresses, mode: RedisMode::Single, tls: false, database, login, sentinel_login: Login::default() }))
}

fn redis(scheme: &str, rest: &str, mut parameters: Parameters) -> Result<Location, LocationError> {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return Err(LocationError::Scheme(scheme.chars().take(SHOWN).collect())),
    };
    let (default_port, example) = match kind {
        "" => (6379, "redis://host:6379/0"),
        "sentinel" => (26379, "redis+sentinel://a:26379,b:26379/mymaster"),
        "cluster" => (6379, "redis+cluster://a:6379,b:6379"),
        _ => return Err(LocationError::Scheme(scheme.chars().take(SHOWN).collect())),
    };
    let (login, rest) = split_login(rest.strip_prefix("//").ok_or(LocationError::Host(example))?)?;
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let addresses = addresses(hosts, default_port, example)?;
    let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| LocationError::Database) };
    let mut sentinel_login = Login::default();
    let (mode, database) = match kind {
        "sentinel" => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err(LocationError::Primary);
            }
            sentinel_login.user = parameters.take("sentinel_user").map(|user| user.to_string());
            sentinel_login.password = parameters.take("sentinel_password");
            (RedisMode::Sentinel(decode(name)?.to_string()), number(database)?)
        }
        "cluster" if path.is_empty() || path == "0" => (RedisMode::Cluster, 0),
        "cluster" => return Err(LocationError::ClusterDatabase),
        _ if addresses.len() > 1 => return Err(LocationError::Several),
        _ => (RedisMode::Single, number(path)?),
    };
    parameters.end("redis:// takes none, redis+sentinel:// takes sentinel_user= and sentinel_password=")?;
    let addresses = addresses.into_iter().map(|(host, port)| Address::Tcp(host, port)).collect();
    Ok(Location::Redis(RedisLocation { addresses, mode, tls, database, login, sentinel_login }))
}

/// `user:password@rest`; the last '@' counts, so that nobody's unencoded password is taken for a host and shown.
fn split_login(text: &str) -> Result<(Login, &str), LocationError> {
    let Some((login, rest)) = text.rsplit_once('@') else { return Ok((Login::default(), text)) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let some = |text: &str| if text.is_empty() { Ok(None) } else { decode(text).map(Some) };
    Ok((Login { user: some(user)?.map(|user| user.to_string()), password: some(password)? }, rest))
}

fn addresses(hosts: &str, default_port: u16, example: &'static str) -> Result<Vec<(String, u16)>, LocationError> {
    hosts.split(',').map(|one| address(one, default_port, example)).collect()
}

fn address(text: &str, default_port: u16, example: &'static str) -> Result<(String, u16), LocationError> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("x"))),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(fits) {
        return Err(LocationError::Host(example));
    }
    let shown = || LocationError::Port(host.chars().take(SHOWN).collect());
    let port = port.map_or(Ok(default_port), |port| port.parse().ok().filter(|port| *port != 0).ok_or_else(shown))?;
    Ok((host.to_owned(), port))
}

fn decode(text: &str) -> Result<Zeroizing<String>, LocationError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(match byte {
            b'%' => digit().zip(digit()).map(|(high, low)| high << 4 | low).ok_or(LocationError::Percent)?,
            other => other,
        });
    }
    std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| LocationError::Percent)
}

/// Bytes, or with a unit: `16MiB`, `8M`, `1GiB`, `512KiB`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|size| *size <= SIZE_MAX)
}

const DEFAULT_SIZE: u64 = 16 << 20;
/// 1 TiB; more is a slip of the pen.
const SIZE_MAX: u64 = 1 << 40;
/// How much of a wrong word an error shows.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn redis_of(url: &str) -> RedisLocation {
        match Location::parse(url).unwrap() {
            Location::Redis(redis) => redis,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn local_forms() {
        let shm = |directory: Option<&str>, size| Location::Shm { directory: directory.map(PathBuf::from), size };
        for (url, expected) in [
            ("memory:", Location::Memory { size: 16 << 20 }),
            ("memory:?size=1MiB", Location::Memory { size: 1 << 20 }),
            ("shm:", shm(None, 16 << 20)),
            ("shm:?size=16MiB", shm(None, 16 << 20)),
            ("shm:?size=2000000", shm(None, 2_000_000)),
            ("shm:///dev/shm/x?size=8M", shm(Some("/dev/shm/x"), 8 << 20)),
            ("shm:///with%20space", shm(Some("/with space"), 16 << 20)),
            ("memcached://a", Location::Memcached { servers: vec!["a:11211".into()] }),
            ("memcached://a:1,b,[::1]:3/", Location::Memcached { servers: vec!["a:1".into(), "b:11211".into(), "[::1]:3".into()] }),
        ] {
            assert_eq!(Location::parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn redis_forms() {
        let plain = redis_of("redis://host");
        assert_eq!((plain.addresses, plain.mode, plain.tls, plain.database), (vec![tcp("host", 6379)], RedisMode::Single, false, 0));
        let full = redis_of("rediss://gate:s%40cret%3A%2F@[::1]:7000/3");
        assert_eq!((full.addresses, full.tls, full.database), (vec![tcp("::1", 7000)], true, 3));
        assert_eq!((full.login.user.as_deref(), full.login.password.as_deref().map(String::as_str)), (Some("gate"), Some("s@cret:/")));
        let only_password = redis_of("redis://:pw@h/0").login;
        assert_eq!((only_password.user, only_password.password.as_deref().map(String::as_str)), (None, Some("pw")));
        let socket = redis_of("unix://u:p@/run/redis.sock?db=2");
        assert_eq!((socket.addresses, socket.database), (vec![Address::Unix("/run/redis.sock".into())], 2));
        let sentinel = redis_of("redis+sentinel://u:p@a,b:5/primary/4?sentinel_password=x%26y");
        assert_eq!((sentinel.addresses, sentinel.mode), (vec![tcp("a", 26379), tcp("b", 5)], RedisMode::Sentinel("primary".into())));
        assert_eq!((sentinel.database, sentinel.sentinel_login.password.as_deref().map(String::as_str)), (4, Some("x&y")));
        let cluster = redis_of("rediss+cluster://a,b:7001,c");
        assert_eq!((cluster.addresses.len(), cluster.mode, cluster.tls), (3, RedisMode::Cluster, true));
    }

    #[test]
    fn wrong_ones_say_what_to_write() {
        for (url, word) in [
            ("", "begins with"),
            ("redis", "begins with"),
            ("http://x", "redis://"),
            ("redis+foo://x", "redis+cluster://"),
            ("redis:host", "names no host"),
            ("redis://", "names no host"),
            ("redis://:0/", "names no host"),
            ("redis://h:99999", "65535"),
            ("redis://h:0", "65535"),
            ("redis://h/x", "database"),
            ("redis://a,b", "+sentinel"),
            ("redis://h?foo=1", "\"foo\""),
            ("redis://%zz:p@h", "%25"),
            ("redis+sentinel://a", "primary"),
            ("redis+cluster://a/1", "database 0"),
            ("unix://path", "unix:///"),
            ("unix:///p?db=x", "database"),
            ("memcached://u:p@a", "no login"),
            ("memcached://", "names no host"),
            ("memcached://a?x=1", "\"x\""),
            ("shm:?size=much", "16MiB"),
            ("shm:?size=99999999TiB", "16MiB"),
            ("shm:dir", "absolute"),
            ("shm://dir", "absolute"),
            ("memory:///x", "no path"),
            ("memory:?sice=1", "\"sice\""),
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "redis://u:geheim@h/x",
            "redis://u:geheim@h:0",
            "redis://u:geheim@",
            "redis://u:geheim%zz@h",
            "redis://u:geheim/geheim@h/x",
            "redis+sentinel://u:geheim@a",
            "redis+sentinel://a/m?sentinel_password=geheim&x=geheim",
            "memcached://u:geheim@a",
            "redis://u:geheim@h",
            "redis+sentinel://u:geheim@a/m?sentinel_password=geheim",
            "unix://u:geheim@/s",
        ] {
            let shown = format!("{:?}", Location::parse(url));
            let said = Location::parse(url).map_err(|error| error.to_string()).err().unwrap_or_default();
            assert!(!shown.contains("geheim") && !said.contains("geheim"), "{url}: {shown} {said}");
        }
    }
}
