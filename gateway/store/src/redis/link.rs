//! Connections to Redis: from a location to something that takes commands, by single server, Sentinel or cluster.
//!
//! Gets: addresses, login, TLS material. Gives: a link (the multiplexed connection and the small pool), or why not.
//! Never: sends anything before the login, or anything in clear text where TLS was asked for.

use std::time::Duration;

use deadpool_redis::{Manager, Pool, PoolConfig, Runtime, Timeouts};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
};

use crate::location::{Address, Login, RedisLocation, RedisMode};
use crate::store::TlsFiles;

/// All that is needed to connect, again and again.
pub(super) struct Plan {
    location: RedisLocation,
    certificates: Option<TlsCertificates>,
    timeout: Duration,
}

/// A connection, cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    connection: Connection,
    pub(super) pool: Option<Pool>,
}

/// What takes commands.
#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Plan {
    /// Checks the TLS material.
    pub(super) fn new(location: &RedisLocation, tls: &TlsFiles, timeout: Duration) -> Result<Self, RedisError> {
        let client_tls = tls.client.as_ref().map(|(cert, key)| ClientTlsConfig { client_cert: cert.clone(), client_key: key.to_vec() });
        let certificates = location.tls.then(|| TlsCertificates { client_tls, root_cert: tls.ca.clone() });
        let plan = Self { location: location.clone(), certificates, timeout };
        for address in &plan.location.addresses {
            plan.client(plan.info(address)?)?;
        }
        Ok(plan)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.location.mode == RedisMode::Cluster
    }

    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.location.mode, RedisMode::Sentinel(_))
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<Link, RedisError> {
        if self.is_cluster() {
            let connection = self.cluster()?.get_async_connection().await?;
            return Ok(Link { connection: Connection::Cluster(connection), pool: None });
        }
        let client = self.primary(ProtocolVersion::RESP2).await?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(self.timeout))
            .set_connection_timeout(Some(CONNECT))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(100))
            .set_pipeline_buffer_size(PIPELINE);
        let pool = self.pool(&client)?;
        let connection = ConnectionManager::new_with_config(client, config).await?;
        Ok(Link { connection: Connection::Single(connection), pool: Some(pool) })
    }

    /// The server that takes writes; in a cluster, the first node.
    pub(super) async fn primary(&self, protocol: ProtocolVersion) -> Result<Client, RedisError> {
        let with = |info: ConnectionInfo| {
            let settings = info.redis_settings().clone().set_protocol(protocol);
            info.set_redis_settings(settings)
        };
        if let RedisMode::Sentinel(name) = &self.location.mode {
            let found = self.sentinel(name, protocol)?.async_get_client().await?;
            return Ok(found);
        }
        let none = || RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address"));
        let address = self.location.addresses.first().ok_or_else(none)?;
        self.client(with(self.info(address)?))
    }

    fn sentinel(&self, name: &str, protocol: ProtocolVersion) -> Result<redis::sentinel::SentinelClient, RedisError> {
        let addresses = self.location.addresses.iter().map(|address| self.address(address));
        let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?
            .set_client_to_redis_protocol(protocol)
            .set_client_to_redis_db(i64::from(self.location.database))
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        let Login { user, password } = &self.location.login;
        builder = user.iter().fold(builder, |builder, user| builder.set_client_to_redis_username(user));
        builder = password.iter().fold(builder, |builder, password| builder.set_client_to_redis_password(password.as_str()));
        let Login { user, password } = &self.location.sentinel_login;
        builder = user.iter().fold(builder, |builder, user| builder.set_client_to_sentinel_username(user));
        builder = password.iter().fold(builder, |builder, password| builder.set_client_to_sentinel_password(password.as_str()));
        builder.build()
    }

    fn cluster(&self) -> Result<ClusterClient, RedisError> {
        let nodes = self.location.addresses.iter().map(|address| self.info(address)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClientBuilder::new(nodes).retries(1).connection_timeout(CONNECT).response_timeout(self.timeout).tcp_settings(tcp_settings());
        if let Some(certificates) = &self.certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// Two connections at most; every wait of the pool has an end (its default has none).
    fn pool(&self, client: &Client) -> Result<Pool, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(Some(self.timeout));
        let manager = Manager::new_with_config(client.get_connection_info().clone(), config)?;
        let timeouts = Timeouts { wait: Some(self.timeout), create: Some(self.timeout), recycle: Some(self.timeout) };
        let mut config = PoolConfig::new(POOL);
        config.timeouts = timeouts;
        let built = Pool::builder(manager).config(config).runtime(Runtime::Tokio1).build();
        built.map_err(|_| RedisError::from((redis::ErrorKind::InvalidClientConfig, "the pool cannot be built")))
    }

    fn info(&self, address: &Address) -> Result<ConnectionInfo, RedisError> {
        let login = &self.location.login;
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(self.location.database)).set_skip_set_lib_name();
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.as_str());
        }
        Ok(self.address(address).into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
    }

    fn address(&self, address: &Address) -> ConnectionAddr {
        match address {
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Address::Tcp(host, port) if self.location.tls => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }
}

impl Link {
    /// Sends one command and waits for its answer.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match &mut self.connection {
            Connection::Single(single) => command.query_async(single).await,
            Connection::Cluster(cluster) => command.query_async(cluster).await,
        }
    }

    /// Sends several commands as one and waits for their answers.
    pub(super) async fn ask_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Result<T, RedisError> {
        match &mut self.connection {
            Connection::Single(single) => commands.query_async(single).await,
            Connection::Cluster(cluster) => commands.query_async(cluster).await,
        }
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("location", &self.location).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// A peer that vanished without a word is noticed within seconds, not after the kernel's quarter of an hour.
fn tcp_settings() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5)).with_retries(3);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// Longest time to connect and log in; only probes wait for it.
const CONNECT: Duration = Duration::from_secs(1);
/// Commands that may wait to be written at once.
const PIPELINE: usize = 1024;
/// Connections that operations hold for themselves.
const POOL: usize = 2;
