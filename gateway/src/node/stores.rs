//! Opens the stores, makes or reads this host's own key, and claims the node's name among the processes of the host.
//!
//! Gets: the configuration. Gives: a vault for each function, and what stands in for what. Never: waits for a store: one that is away is a miss.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftps_store::location::{Address, Location};
use ftps_store::report::{Report, Tier};
use ftps_store::seal::{Secrets, random_key};
use ftps_store::store::{OpenError, Options, Store, TlsFiles};
use ftps_store::tiers::Tiers;
use ftps_store::vault::{Crypto, Vault};
use zeroize::Zeroizing;

use super::Error;
use crate::config;
use crate::observe::ready::Part;
use crate::observe::stores::Function;
use crate::observe::{Metrics, Readiness};

/// The stores of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Stores {
    /// TLS sessions, ticket keys, heartbeats.
    pub(super) sessions: Vault,
    /// OCSP responses.
    pub(super) staples: Vault,
    /// Bans.
    pub(super) bans: Vault,
    /// Checksums.
    pub(super) digests: Vault,
    /// Why memory stands in for a segment.
    instead: Option<Arc<str>>,
}

/// Opens all of them; equal URLs share one.
pub(super) fn open(config: &config::Stores, crypto: &Crypto, report: &Arc<dyn Report>) -> Result<Stores, Error> {
    let mut opener = Opener { config, report, tls: tls_files(&config.tls)?, opened: Vec::new(), instead: None };
    let mut vault = |key, own: &Option<Location>| {
        let tiers = opener.tiers(key, own.as_ref().unwrap_or(&config.url))?;
        Ok::<_, Error>(Vault::new(tiers, crypto.clone(), report.clone()))
    };
    let sessions = vault("store.sessions", &config.sessions)?;
    let staples = vault("store.staples", &config.staples)?;
    let bans = vault("store.bans", &config.bans)?;
    let digests = vault("store.digests", &config.digests)?;
    Ok(Stores { sessions, staples, bans, digests, instead: opener.instead })
}

impl Stores {
    /// Every function and its vault.
    pub(super) fn all(&self) -> [(Function, &Vault); 4] {
        [(Function::Sessions, &self.sessions), (Function::Staples, &self.staples), (Function::Bans, &self.bans), (Function::Digests, &self.digests)]
    }

    /// Says in readiness and metrics how they are.
    pub(super) fn watch(&self, metrics: &Metrics, readiness: &Readiness) {
        let (stores, readiness) = (self.clone(), readiness.clone());
        stores.tell(&readiness);
        metrics.on_scrape(move |metrics| {
            let circuits = stores.all().map(|(function, vault)| (function, vault.tiers().main().circuits()));
            let waiting = stores.all().iter().map(|(_, vault)| vault.tiers().waiting()).max().unwrap_or(0);
            metrics.set_stores(&circuits, stores.is_degraded(), waiting);
        });
    }

    /// One is away, or memory stands in for another.
    fn is_degraded(&self) -> bool {
        self.instead.is_some() || self.all().iter().any(|(_, vault)| vault.is_degraded())
    }

    /// What works less well than it should.
    fn tell(&self, readiness: &Readiness) {
        let away: Vec<&str> =
            self.all().into_iter().filter(|(_, vault)| vault.is_degraded()).map(|(function, _)| crate::observe::Label::label(function)).collect();
        let words = match (&self.instead, away.as_slice()) {
            (None, []) => None,
            (Some(why), []) => Some(why.to_string()),
            (_, away) => Some(format!("the store for {} is away; this node goes on with what it and its host know", away.join(", "))),
        };
        readiness.set_degraded(Part::Store, words);
    }

    /// Learns what other nodes cleared, and keeps readiness and the time of outages true. Runs until it is dropped.
    pub(super) async fn keep(&self, metrics: &Metrics, readiness: &Readiness) {
        let (mut often, mut last) = (super::every(REFRESH), Instant::now());
        loop {
            often.tick().await;
            let now = Instant::now();
            if self.is_degraded() {
                metrics.stores_degraded_for(now.duration_since(last));
            }
            last = now;
            self.tell(readiness);
            for (_, vault) in self.all() {
                vault.refresh().await;
            }
        }
    }
}

struct Opener<'a> {
    config: &'a config::Stores,
    report: &'a Arc<dyn Report>,
    tls: TlsFiles,
    /// By their whole URL: two that differ in the password alone are two.
    opened: Vec<(Location, Arc<Tiers>)>,
    instead: Option<Arc<str>>,
}

impl Opener<'_> {
    fn tiers(&mut self, key: &'static str, location: &Location) -> Result<Arc<Tiers>, Error> {
        if let Some((_, tiers)) = self.opened.iter().find(|(known, _)| known == location) {
            return Ok(tiers.clone());
        }
        let main = self.store(key, location, Tier::Main)?;
        let fallback = main.capabilities().networked.then(|| self.store("store.fallback", &self.config.fallback, Tier::Fallback)).transpose()?;
        let tiers = Arc::new(Tiers::new(main, fallback, self.report.clone()));
        self.opened.push((location.clone(), tiers.clone()));
        Ok(tiers)
    }

    fn store(&mut self, key: &'static str, location: &Location, tier: Tier) -> Result<Store, Error> {
        let tls = if location.is_tls() { self.tls.clone() } else { TlsFiles::default() };
        let options = Options { timeout: self.config.timeout, state_dir: self.config.state_dir.clone(), tls, report: self.report.clone(), tier };
        match Store::open_or_memory(location, &options) {
            Ok((store, None)) => Ok(store),
            Ok((store, Some(why))) => {
                tracing::warn!(key, error = %why, "memory of this process stands in for the shared segment; its contents end with the process");
                self.instead = Some(format!("memory stands in for the shared segment: {why}").into());
                Ok(store)
            }
            Err(error @ (OpenError::Segment(_) | OpenError::TlsUnused | OpenError::Tls(_) | OpenError::Size)) => {
                Err(Error::Configuration(format!("{key}: {error}")))
            }
        }
    }
}

/// The directory of this host's own things: made with mode 0700; refused when it is another user's, or open to others. A file system that takes no directory
/// is no error: memory stands in for what would be there.
pub(super) fn state_dir(path: &Path) -> Result<(), Error> {
    let refused = |words: String| Error::Configuration(format!("node.state_dir: {}: {words}", path.display()));
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "node.state_dir cannot be made; what this host keeps ends with the process");
            return Ok(());
        }
    }
    let found = fs::symlink_metadata(path).map_err(|error| refused(format!("cannot be looked at ({error})")))?;
    if !found.is_dir() {
        return Err(refused("is no directory; name another path".into()));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(format!("belongs to user {}; name a directory of this process's own user", found.uid())));
    }
    if found.mode() & 0o077 != 0 {
        // Somebody made it before us, with the usual mode; it is ours, so it can be closed.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|error| refused(format!("is open to others and cannot be closed ({error})")))?;
    }
    Ok(())
}

/// The key of this host, which is the secret of a cluster without `cluster.secret_file`: made once, shared by the processes of the host, so that TLS sessions
/// outlive a restart. Random for this process alone where it cannot be kept.
pub(super) fn own_secrets(directory: &Path) -> Result<Secrets, Error> {
    let line = kept_key(&directory.join(KEY_FILE)).or_else(|error| {
        tracing::warn!(path = %directory.display(), %error, "no key can be kept in node.state_dir; TLS sessions end with this process");
        random_key().map(|key| Zeroizing::new(hex(&*key)))
    });
    let secrets = line.map_err(|error| error.to_string()).and_then(|line| Secrets::new(&[line.trim().as_bytes()]).map_err(|error| error.to_string()));
    secrets.map_err(Error::Fault)
}

/// Reads the key, or makes it. Of several processes that make one at once, one wins and the others read it.
fn kept_key(path: &Path) -> io::Result<Zeroizing<String>> {
    match read_key(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let key = random_key().map_err(io::Error::other)?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(Zeroizing::new(hex(&*key) + "\n").as_bytes())?;
    file.sync_all()?;
    // A link does not replace what is there.
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => read_key(path),
    }
}

fn read_key(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(KEY_MOST).read_to_string(&mut text)?;
    if text.trim().len() == 64 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a key of ours; remove it, and TLS sessions of before are forgotten"))
}

/// The name of this node among the processes of its host: NAME, or NAME-2 and so on while others of that name live. The lock lasts as long as the file is held.
pub(super) fn claim_name(directory: &Path, name: &str) -> (String, Option<File>) {
    for number in 1..=NAMES_MOST {
        let own = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_file(directory, &own)) else {
            return (name.to_owned(), None);
        };
        match file.try_lock() {
            Ok(()) => {
                if number > 1 {
                    tracing::warn!(name, own, "another process of this host has the name of this node; write node.name to choose one");
                }
                return (own, Some(file));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(_)) => return (own, None),
        }
    }
    (name.to_owned(), None)
}

fn lock_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("node-{name}.lock"))
}

fn tls_files(tls: &config::StoreTls) -> Result<TlsFiles, Error> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| Error::Configuration(format!("store.tls: {}: cannot be read ({error})", path.display())));
    let ca = tls.ca.as_ref().map(read).transpose()?;
    let client = tls.cert.as_ref().zip(tls.key.as_ref()).map(|(cert, key)| Ok::<_, Error>((read(cert)?, Zeroizing::new(read(key)?)))).transpose()?;
    Ok(TlsFiles { ca, client })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address of the store, for `cluster.advertise`: peers reach this node where its way to the store begins. `None` when there is no such way, or the name of the
/// store is not known within a moment.
pub(super) fn address(location: &Location) -> Option<SocketAddr> {
    let (host, port) = match location {
        Location::Memory { .. } | Location::Shm { .. } => return None,
        Location::Redis(redis) => redis.addresses.iter().find_map(|address| match address {
            Address::Tcp(host, port) => Some((host.clone(), *port)),
            Address::Unix(_) => None,
        })?,
        Location::Memcached { servers } => {
            let (host, port) = servers.first()?.rsplit_once(':')?;
            (host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?)
        }
    };
    let (found, answer) = std::sync::mpsc::channel();
    // The system's resolver has no deadline of its own.
    std::thread::spawn(move || found.send((host.as_str(), port).to_socket_addrs().ok().and_then(|mut all| all.next())));
    answer.recv_timeout(RESOLVE).ok().flatten()
}

/// For the name of the store at the start.
const RESOLVE: Duration = Duration::from_secs(2);
/// How soon a node learns what another one cleared.
const REFRESH: Duration = Duration::from_secs(1);
const KEY_FILE: &str = "key";
/// Bytes of a key file that are read.
const KEY_MOST: u64 = 1024;
/// Processes of one node name on a host.
const NAMES_MOST: u32 = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_store::report::Silent;

    use super::*;

    #[tokio::test]
    async fn equal_urls_share_a_store_and_two_passwords_are_two() {
        let at = |url: &str| Location::parse(url).unwrap();
        let config = config::Stores {
            state_dir: PathBuf::from("/nonexistent"),
            url: at("redis://:one@127.0.0.1:1"),
            tls: config::StoreTls::default(),
            sessions: None,
            staples: Some(at("redis://:one@127.0.0.1:1")),
            bans: Some(at("redis://:other@127.0.0.1:1")),
            digests: None,
            fallback: at("memory:?size=1MiB"),
            timeout: Duration::from_millis(10),
        };
        let report: Arc<dyn Report> = Arc::new(Silent);
        let mut opener = Opener { config: &config, report: &report, tls: tls_files(&config.tls).unwrap(), opened: Vec::new(), instead: None };
        let mut open = |location: &Option<Location>| opener.tiers("store.url", location.as_ref().unwrap_or(&config.url)).unwrap();
        let (main, same, other) = (open(&None), open(&config.staples), open(&config.bans));
        assert!(Arc::ptr_eq(&main, &same) && !Arc::ptr_eq(&main, &other));
    }
}
