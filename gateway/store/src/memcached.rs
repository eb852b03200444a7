//! memcached: several servers, each with its own client; a key lives on the server that rendezvous hashing names, on all nodes the same.
//!
//! Gets: keys, values. Gives: what the server of the key answers, its errors sorted into ours.
//! Never: asks another server for a key whose server is away (two nodes would disagree where it is), resolves a name within an operation.
//!
//! No login and no TLS: the values are sealed, the servers belong on a private network. Lifetimes over 30 days go as a date, which the client library does.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use memcache::exp::{AsyncMemcache, Delete, Error, Get, Meta, MutationStatus, Set, Ttl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Version, Versioned};
use crate::error::{Failure, StoreError};

/// All servers.
pub(crate) struct Memcached {
    servers: Vec<Server>,
    timeout: Duration,
}

struct Server {
    name: String,
    client: Mutex<Option<AsyncMemcache>>,
}

impl Memcached {
    /// Connects nothing.
    pub(crate) fn new(names: Vec<String>, timeout: Duration) -> Self {
        Self { servers: names.into_iter().map(|name| Server { name, client: Mutex::default() }).collect(), timeout }
    }

    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The server with the highest hash of its name and the key: when one is added or removed, only its own keys move.
    pub(crate) fn server_of(&self, key: &str) -> usize {
        if self.servers.len() < 2 {
            return 0;
        }
        let weight = |server: &Server| {
            let mut context = digest::Context::new(&digest::SHA256);
            for part in [server.name.as_bytes(), &[0], key.as_bytes()] {
                context.update(part);
            }
            context.finish().as_ref().first_chunk::<8>().copied()
        };
        self.servers.iter().enumerate().max_by_key(|(_, server)| weight(server)).map_or(0, |(place, _)| place)
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.client_of(key)?.get(key).await.map_err(|error| sorted(&error))
    }

    pub(crate) async fn multi_get(&self, server: usize, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let client = self.client(server)?;
        let mut found = client.get_many::<Vec<u8>, _>(keys.iter().copied()).await.map_err(|error| sorted(&error))?;
        Ok(keys.iter().map(|key| found.remove(key)).collect())
    }

    pub(crate) async fn versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let found = self.client_of(key)?.meta().run(Get::new(key).meta(Meta::NONE.cas())).await.map_err(|error| sorted(&error))?;
        let (true, Some(value)) = (found.hit(), found.value) else { return Ok(None) };
        let number = found.item.cas.ok_or_else(|| StoreError::new(Failure::Garbled, "no CAS number"))?;
        Ok(Some(Versioned { value, version: Version::numbered(number) }))
    }

    pub(crate) async fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        self.client_of(key)?.set(key, value, lifetime(ttl)).await.map(|()| true).map_err(|error| sorted(&error))
    }

    pub(crate) async fn put_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        self.client_of(key)?.add(key, value, lifetime(ttl)).await.map_err(|error| sorted(&error))
    }

    pub(crate) async fn put_if_version(&self, key: &str, expected: Option<&Version>, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        let Some(expected) = expected else { return self.put_if_absent(key, value, ttl).await };
        let set = Set::new(key, value).ttl(lifetime(ttl)).compare_cas(expected.number());
        let result = self.client_of(key)?.meta().run(set).await.map_err(|error| sorted(&error))?;
        Ok(result.status == MutationStatus::Applied)
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let result = self.client_of(key)?.meta().run(Delete::new(key)).await.map_err(|error| sorted(&error))?;
        Ok(result.status == MutationStatus::Applied)
    }

    pub(crate) async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.client_of(key)?.take(key).await.map_err(|error| sorted(&error))
    }

    pub(crate) async fn incr(&self, key: &str, by: u64, ttl: Option<Duration>) -> Result<u64, StoreError> {
        self.client_of(key)?.incr(key, by, lifetime(ttl)).await.map_err(|error| sorted(&error))
    }

    pub(crate) async fn probe(&self, server: usize) -> Result<(), StoreError> {
        let place = self.servers.get(server).ok_or(Failure::Away)?;
        if !self.is_connected(server) {
            let builder =
                AsyncMemcache::builder().timeout(self.timeout).connect_timeout(self.timeout).max_idle(IDLE).max_connections(CONNECTIONS).degrade(false);
            let client = builder.connect_async([place.name.as_str()]).await.map_err(|error| sorted(&error))?;
            *place.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        }
        self.client(server)?.meta().noop().await.map_err(|error| sorted(&error))
    }

    /// Asks on a connection of its own, since the library has no word for it.
    pub(crate) async fn evictions(&self, server: usize) -> Option<u64> {
        let mut stream = TcpStream::connect(self.servers.get(server)?.name.as_str()).await.ok()?;
        stream.write_all(b"stats\r\nquit\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.take(STATS).read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8_lossy(&answer);
        text.lines().find_map(|line| line.strip_prefix("STAT evictions "))?.trim().parse().ok()
    }

    pub(crate) fn disconnect(&self, server: usize) {
        if let Some(server) = self.servers.get(server) {
            *server.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    pub(crate) fn is_connected(&self, server: usize) -> bool {
        self.client(server).is_ok()
    }

    fn client_of(&self, key: &str) -> Result<AsyncMemcache, StoreError> {
        self.client(self.server_of(key))
    }

    fn client(&self, server: usize) -> Result<AsyncMemcache, StoreError> {
        let client = self.servers.get(server).and_then(|server| server.client.lock().unwrap_or_else(PoisonError::into_inner).clone());
        client.ok_or_else(|| StoreError::new(Failure::Away, "not connected"))
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.servers.iter().map(|server| &server.name)).finish()
    }
}

fn lifetime(ttl: Option<Duration>) -> Ttl {
    ttl.map_or(Ttl::NEVER, |ttl| Ttl::from(ttl.max(Duration::from_secs(1))))
}

fn sorted(error: &Error) -> StoreError {
    let failure = match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Failure::Timeout,
        Error::Io(_) => Failure::Away,
        Error::Timeout { .. } => Failure::Timeout,
        Error::Ambiguous { source, .. } => return sorted(source),
        Error::Server(text) if text.contains("out of memory") => Failure::Full,
        Error::Server(text) if text.contains("too large") => Failure::Size,
        Error::Conflict => Failure::Conflict,
        Error::Rejected(text) if text.contains("non-numeric") => Failure::Garbled,
        Error::EmptyValue => Failure::Size,
        _ => Failure::Garbled,
    };
    // The library's words for a timeout name the key.
    match error {
        Error::Timeout { .. } => failure.into(),
        other => StoreError::new(failure, other),
    }
}

/// Bytes of an answer to `stats`, which has about 3 KiB.
const STATS: u64 = 64 * 1024;
/// Connections to one server that wait for work.
const IDLE: usize = 8;
/// Connections to one server in all.
const CONNECTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_and_only_those_of_a_lost_server_move() {
        let of = |names: &[&str]| Memcached::new(names.iter().map(|name| (*name).to_owned()).collect(), Duration::from_secs(1));
        let (three, two) = (of(&["a:1", "b:1", "c:1"]), of(&["a:1", "b:1"]));
        let mut counts = [0; 3];
        for n in 0..3000 {
            let key = format!("key {n}");
            let place = three.server_of(&key);
            counts[place] += 1;
            assert!(place == 2 || two.server_of(&key) == place);
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
