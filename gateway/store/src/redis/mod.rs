//! Redis: one multiplexed connection for all operations, a small pool for the few that need a connection of their own.
//!
//! Gets: keys, values. Gives: what Redis answers, its errors sorted into ours.
//! Never: connects within an operation, uses a command outside of the list below, or touches a key or channel that does not begin with ours.

mod link;
mod pubsub;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value, cmd};

use self::link::{Link, Plan};
use crate::backend::{Subscription, Version};
use crate::error::{Failure, StoreError};
use crate::location::RedisLocation;
use crate::store::TlsFiles;

/// A Redis.
///
/// An ACL user needs: `~ftps-gateway:* &ftps-gateway:* +get +mget +set +getdel +del +incrby +eval +publish +subscribe +ping +hello +multi +exec`, with `+wait` to
/// confirm bans, `+info` to be warned of eviction, `+cluster` for Redis Cluster. TLS 1.2 state is in the values: no persistence is wanted (`save ""`).
#[derive(Debug)]
pub(crate) struct Redis {
    plan: Arc<Plan>,
    link: Arc<Mutex<Option<Link>>>,
    evicting: Mutex<Option<String>>,
}

impl Redis {
    /// Reads the TLS material; connects nothing.
    pub(crate) fn new(location: &RedisLocation, tls: &TlsFiles, timeout: Duration) -> Result<Self, RedisError> {
        Ok(Self { plan: Arc::new(Plan::new(location, tls, timeout)?), link: Arc::default(), evicting: Mutex::default() })
    }

    pub(crate) fn can_confirm(&self) -> bool {
        !self.plan.is_cluster()
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(cmd("GET").arg(key)).await
    }

    pub(crate) async fn multi_get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let found: Vec<Option<Vec<u8>>> = self.ask(cmd("MGET").arg(keys)).await?;
        if found.len() == keys.len() { Ok(found) } else { Err(StoreError::new(Failure::Garbled, "another number of values than asked for")) }
    }

    pub(crate) async fn put(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        match self.ask(&set(key, value, ttl)).await? {
            Value::Okay => Ok(true),
            _ => Err(StoreError::new(Failure::Garbled, "no OK")),
        }
    }

    pub(crate) async fn put_if_absent(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        let written: Option<String> = self.ask(set(key, value, ttl).arg("NX")).await?;
        Ok(written.is_some())
    }

    pub(crate) async fn put_if_version(&self, key: &str, expected: Option<&Version>, value: &[u8], ttl: Option<Duration>) -> Result<bool, StoreError> {
        let expected = expected.map(Version::hex).unwrap_or_default();
        let mut script = cmd("EVAL");
        script.arg(PUT_IF_VERSION).arg(1).arg(key).arg(expected).arg(value).arg(ttl.map_or(0, millis));
        self.ask::<u8>(&script).await.map(|written| written == 1)
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        self.ask::<u64>(cmd("DEL").arg(key)).await.map(|deleted| deleted > 0)
    }

    pub(crate) async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(cmd("GETDEL").arg(key)).await
    }

    /// The counter is made with its end, then raised, in one transaction: no counter is ever without an end.
    pub(crate) async fn incr(&self, key: &str, by: u64, ttl: Option<Duration>) -> Result<u64, StoreError> {
        let mut both = Pipeline::with_capacity(2);
        both.atomic().add_command(set(key, b"0", ttl).arg("NX").take()).ignore().cmd("INCRBY").arg(key).arg(by);
        let mut link = self.linked()?;
        let (count,): (u64,) = link.ask_all(&both).await.map_err(|error| self.sort(&error))?;
        Ok(count)
    }

    /// WAIT counts the writes of its own connection, so both commands share one that nobody else uses meanwhile.
    pub(crate) async fn put_confirmed(&self, key: &str, value: &[u8], ttl: Option<Duration>, replicas: u32, wait: Duration) -> Result<u32, StoreError> {
        let pool = self.linked()?.pool.ok_or(Failure::Unsupported)?;
        let mut own = pool.get().await.map_err(|error| match error {
            deadpool_redis::PoolError::Backend(error) => self.sort(&error),
            other => StoreError::new(Failure::Away, other),
        })?;
        let sort = |error: RedisError| self.sort(&error);
        set(key, value, ttl).query_async::<()>(&mut own).await.map_err(sort)?;
        cmd("WAIT").arg(replicas).arg(millis(wait)).query_async(&mut own).await.map_err(sort)
    }

    pub(crate) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), StoreError> {
        self.ask::<u64>(cmd("PUBLISH").arg(channel).arg(payload)).await.map(drop)
    }

    pub(crate) fn subscribe(&self, channels: &[String]) -> Subscription {
        pubsub::subscribe(self.plan.clone(), channels.to_vec())
    }

    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        if !self.is_connected() {
            let mut link = self.plan.connect().await.map_err(|error| sorted(&error))?;
            *self.evicting.lock().unwrap_or_else(PoisonError::into_inner) = evicting_policy(&mut link, &self.plan).await;
            *self.locked() = Some(link);
        }
        let pong: String = self.ask(&cmd("PING")).await?;
        if pong == "PONG" { Ok(()) } else { Err(StoreError::new(Failure::Garbled, "no PONG")) }
    }

    /// Of the whole server, whoever's values they were. In a cluster there is no one to ask; a user who may not ask learns nothing.
    pub(crate) async fn evictions(&self) -> Option<u64> {
        let mut link = self.linked().ok().filter(|_| !self.plan.is_cluster())?;
        let info: String = link.ask(cmd("INFO").arg("stats")).await.ok()?;
        field(&info, "evicted_keys")?.parse().ok()
    }

    pub(crate) fn disconnect(&self) {
        *self.locked() = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.locked().is_some()
    }

    /// The policy by which this Redis drops values, if it does; told once for each connection.
    pub(crate) fn take_evicting_policy(&self) -> Option<String> {
        self.evicting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut link = self.linked()?;
        link.ask(command).await.map_err(|error| self.sort(&error))
    }

    fn linked(&self) -> Result<Link, StoreError> {
        self.locked().clone().ok_or_else(|| StoreError::new(Failure::Away, "not connected"))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an error means, and whether this connection is of any more use.
    fn sort(&self, error: &RedisError) -> StoreError {
        let mut sorted = sorted(error);
        // The primary that a Sentinel named became a replica: find the new one.
        if sorted.failure == Failure::ReadOnly && self.plan.is_sentinel() {
            sorted.failure = Failure::Away;
            self.disconnect();
        }
        // Such connections never mend: the manager reconnects only after errors of the network.
        if matches!(sorted.failure, Failure::Denied | Failure::Garbled) {
            self.disconnect();
        }
        sorted
    }
}

fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Cmd {
    let mut set = cmd("SET");
    set.arg(key).arg(value);
    if let Some(ttl) = ttl {
        set.arg("PX").arg(millis(ttl));
    }
    set
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn sorted(error: &RedisError) -> StoreError {
    let failure = match error.kind() {
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::ReadOnly => Failure::ReadOnly,
            ServerErrorKind::NoPerm => Failure::Forbidden,
            ServerErrorKind::ExecAbort if error.to_string().contains("OOM") => Failure::Full,
            ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain => Failure::Away,
            _ => by_text(error, Failure::Forbidden),
        },
        ErrorKind::AuthenticationFailed => Failure::Denied,
        ErrorKind::Extension => by_text(error, Failure::Garbled),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Failure::Garbled,
        _ if error.is_timeout() => Failure::Timeout,
        _ => by_text(error, Failure::Away),
    };
    StoreError::new(failure, error)
}

/// Codes that the library has no kind for.
fn by_text(error: &RedisError, otherwise: Failure) -> Failure {
    let text = error.to_string();
    let has = |code: &str| error.code() == Some(code) || text.contains(code);
    match () {
        () if has("OOM") => Failure::Full,
        () if has("NOAUTH") || has("WRONGPASS") => Failure::Denied,
        () if has("MISCONF") || has("NOREPLICAS") => Failure::ReadOnly,
        () if has("WRONGTYPE") || text.contains("not an integer") => Failure::Garbled,
        () => otherwise,
    }
}

/// Asks once for each connection; a user who may not ask is not warned.
async fn evicting_policy(link: &mut Link, plan: &Plan) -> Option<String> {
    if plan.is_cluster() {
        return None;
    }
    let info: String = link.ask(cmd("INFO").arg("memory")).await.ok()?;
    let limited = field(&info, "maxmemory").is_some_and(|most| most != "0");
    field(&info, "maxmemory_policy").filter(|policy| limited && *policy != "noeviction").map(str::to_owned)
}

/// One value of an answer to INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

const PUT_IF_VERSION: &str = "\
local v = redis.call('GET', KEYS[1])
local is = v and redis.sha1hex(v) or ''
if is ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1";
