//! A client and the server's surroundings for the tests of this room: real sockets on loopback, a real TLS client.
//!
//! Gives: connections as a session gets them, and a client that can end in every bad way. Never: used outside of tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Plain};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftps_proto::proof::ReusePolicy;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;

use crate::data::Spenders;
use crate::data::channel::{Channel, Setup};
use crate::data::clients;
use crate::data::route::read_hello;
use crate::data::stream::{DataStream, Receiver, Sender};
use crate::data::waits::Waits;
use crate::net::Arrival;
use crate::observe::id::{SessionId, Ulid};
use crate::observe::{Event, Observer, Sink, Subject};
use crate::tls::Family;

pub const SECOND: Duration = Duration::from_secs(1);
/// No test waits longer.
pub const LIMIT: Duration = Duration::from_secs(30);
pub const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// Certificates of one test, and where its data connections arrive.
pub struct Kit {
    certificate: CertificateDer<'static>,
    pub tickets: Arc<ServerConfig>,
    pub ids: Arc<ServerConfig>,
    pub events: Arc<Events>,
    pub waits: Waits,
    pub spenders: Spenders,
    pub listener: TcpListener,
}

/// Remembers what it was told, as text.
#[derive(Default)]
pub struct Events(Mutex<Vec<String>>);

impl Sink for Events {
    fn event(&self, _subject: Subject<'_>, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Events {
    pub fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|event| event.contains(text)).count()
    }

    pub async fn wait_for(&self, text: &str) {
        let wait = async {
            while self.count(text) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "no {text} in {:?}", self.0.lock().unwrap());
    }
}

impl Kit {
    pub async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let base = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions().unwrap();
        let mut base = base.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        // The client spends one for each hello.
        base.send_tls13_tickets = 2;
        let (mut tickets, mut ids) = (base.clone(), base);
        tickets.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        tickets.session_storage = Arc::new(NoServerSessionStorage {});
        ids.session_storage = ServerSessionMemoryCache::new(64);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            certificate,
            tickets: Arc::new(tickets),
            ids: Arc::new(ids),
            events: Arc::default(),
            waits: Waits::new(vec![port]),
            spenders: Spenders::default(),
            listener,
        }
    }

    pub fn observer(&self) -> Observer {
        Observer::new(vec![self.events.clone()])
    }

    /// A client that remembers sessions, or does not.
    pub fn client(&self, version: &'static SupportedProtocolVersion, remembers: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_protocol_versions(&[version]).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = if remembers { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        Arc::new(config)
    }

    /// A session from 127.0.0.1, logged in.
    pub fn channel(&self, policy: ReusePolicy, data_timeout: Duration, config: &Arc<ServerConfig>) -> Channel {
        self.build([0; 32], policy, data_timeout, config)
    }

    pub fn channel_like(&self, fingerprint: [u8; 32], policy: ReusePolicy, config: &Arc<ServerConfig>) -> Channel {
        self.build(fingerprint, policy, LIMIT, config)
    }

    fn build(&self, fingerprint: [u8; 32], policy: ReusePolicy, data_timeout: Duration, config: &Arc<ServerConfig>) -> Channel {
        let (session, config) = (SessionId::now(), config.clone());
        let mut channel = Channel::new(Setup {
            session,
            peer: "127.0.0.1:40000".parse().unwrap(),
            local: "127.0.0.1:2121".parse().unwrap(),
            fingerprint,
            config: Box::new(move |_| {
                let config = config.clone();
                Box::pin(async move { config })
            }),
            check: Box::new(|_| Ok(())),
            hides: Box::new(|_| false),
            waits: self.waits.clone(),
            homes: None,
            data_timeout,
            spenders: self.spenders.clone(),
            observer: self.observer(),
        });
        let client = someone(session);
        channel.log_in(&client, self.waits.join(session, client.clone(), Arc::new(())), policy);
        channel
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, its ClientHello read.
    pub async fn arrival(&self) -> Arrival {
        let (stream, peer) = tokio::time::timeout(LIMIT, self.listener.accept()).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        read_hello(stream, peer, self.address().port()).await.unwrap().0
    }

    /// PASV, then the next connection through a channel that takes anybody.
    pub async fn stream(&self) -> DataStream {
        let mut channel = self.channel(ReusePolicy::Off, LIMIT, &self.tickets);
        let wait = channel.reserve().await.unwrap();
        channel.wait_on(wait);
        channel.arrive(self.arrival().await);
        tokio::time::timeout(LIMIT, channel.established()).await.unwrap().unwrap()
    }

    /// A download to this client.
    pub async fn download<T: Send + 'static>(&self, config: &Arc<ClientConfig>, client: impl FnOnce(Client) -> T + Send + 'static) -> (Sender, Task<T>) {
        let task = self.run(config, client);
        (self.stream().await.into_sender(SECOND), task)
    }

    /// An upload from this client.
    pub async fn upload<T: Send + 'static>(&self, config: &Arc<ClientConfig>, client: impl FnOnce(Client) -> T + Send + 'static) -> (Receiver, Task<T>) {
        let task = self.run(config, client);
        (self.stream().await.into_receiver(SECOND), task)
    }

    /// A client in a thread of its own.
    pub fn run<T: Send + 'static>(&self, config: &Arc<ClientConfig>, client: impl FnOnce(Client) -> T + Send + 'static) -> Task<T> {
        let (config, address) = (config.clone(), self.address());
        tokio::task::spawn_blocking(move || client(Client::connect(&config, address)))
    }

    /// Like [`Kit::seed`], when the waits are those of other ports.
    pub async fn seed_at(&self, config: &Arc<ClientConfig>) {
        let own = Self { certificate: self.certificate.clone(), tickets: self.tickets.clone(), ..Self::new().await };
        own.seed(config, &self.tickets).await;
    }

    /// Lets a client come to a session of the server, as over a control connection.
    pub async fn seed(&self, config: &Arc<ClientConfig>, server: &Arc<ServerConfig>) {
        let task = self.run(config, |mut client| client.read_all());
        let mut channel = self.channel(ReusePolicy::Off, LIMIT, server);
        let wait = channel.reserve().await.unwrap();
        channel.wait_on(wait);
        channel.arrive(self.arrival().await);
        let mut sender = channel.established().await.unwrap().into_sender(SECOND);
        sender.send(b"hello").await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(task.await.unwrap().unwrap(), b"hello");
    }
}

pub type Task<T> = tokio::task::JoinHandle<T>;

/// A TLS client on a blocking socket.
pub struct Client {
    pub tls: ClientConnection,
    pub tcp: Plain,
}

impl Client {
    pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Self {
        let tcp = Plain::connect(address).unwrap();
        Self::over(config, tcp)
    }

    pub fn over(config: &Arc<ClientConfig>, tcp: Plain) -> Self {
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        Self { tls, tcp }
    }

    /// Only the ClientHello, as bytes.
    pub fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
        let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Until the client may send; it reads nothing that comes behind the server's Finished.
    pub fn handshake(&mut self) -> std::io::Result<()> {
        while self.tls.is_handshaking() {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.tcp)?;
            }
            if self.tls.is_handshaking() {
                if self.tls.read_tls(&mut self.tcp)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                self.tls.process_new_packets().map_err(std::io::Error::other)?;
            }
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.handshake()?;
        for chunk in bytes.chunks(16 * 1024) {
            self.tls.writer().write_all(chunk)?;
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.tcp)?;
            }
        }
        Ok(())
    }

    /// Everything up to close_notify; an error for anything else.
    pub fn read_all(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        rustls::Stream::new(&mut self.tls, &mut self.tcp).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn close_notify(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp).unwrap();
        }
    }

    pub fn fin(&self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    pub fn reset(self) {
        socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A client that no other session is of.
pub(super) fn someone(session: SessionId) -> clients::Client {
    clients::Client { user: session.to_string(), ip: [127, 0, 0, 1].into(), fingerprint: [0; 32], family: Family(Ulid::now()) }
}
