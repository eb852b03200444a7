//! A node and a client in memory. The client's session cache does what the test says, not what a well-behaved client would.
//! Nodes made here share what nodes of a cluster share, and nothing else. Never: a socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ftps_proto::hello;
use ftps_store::location::Location;
use ftps_store::report::{Report, Silent, Tier};
use ftps_store::seal::{self, Secrets};
use ftps_store::store::{Options, Store, TlsFiles};
use ftps_store::tiers::Tiers;
use ftps_store::vault::{Crypto, Vault};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, ServerConfig, ServerConnection, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::super::*;

/// How a client resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Id12,
    Ticket12,
    Tls13,
}

pub(super) const MODES: [Mode; 3] = [Mode::Id12, Mode::Ticket12, Mode::Tls13];

pub(super) fn config() -> Config {
    Config {
        certificates: Vec::new(),
        min_version: MinVersion::Tls12,
        cipher_suites: Vec::new(),
        client_auth: ClientAuth::default(),
        session_lifetime: Duration::from_secs(1800),
        ticket_rotation: Duration::from_secs(3600),
        stapling: Stapling { enabled: true, responder: None, timeout: Duration::from_secs(10) },
    }
}

/// A vault in memory that only those who are handed it share.
pub(in crate::tls) fn vault() -> Vault {
    vault_with(&[&*seal::random_key().unwrap()])
}

/// The same, under these secrets.
pub(in crate::tls) fn vault_with(lines: &[&[u8]]) -> Vault {
    let report: Arc<dyn Report> = Arc::new(Silent);
    let options = Options { timeout: Duration::from_secs(1), state_dir: PathBuf::new(), tls: TlsFiles::default(), report: report.clone(), tier: Tier::Main };
    let store = Store::open(&Location::Memory { size: 1 << 22 }, &options).unwrap();
    let crypto = Crypto::new("test", &Secrets::new(lines).unwrap()).unwrap();
    Vault::new(Arc::new(Tiers::new(store, None, report.clone())), crypto, report)
}

/// Nodes of one cluster, its clock and what they share.
pub(super) struct Cluster {
    pub(super) now: Arc<AtomicU64>,
    pub(super) vault: Vault,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Self { now: Arc::new(AtomicU64::new(start)), vault: vault() }
    }

    pub(super) fn node(&self) -> Tls {
        self.node_with(&config(), "off")
    }

    pub(super) fn node_with(&self, config: &Config, policy: &str) -> Tls {
        let now = self.now.clone();
        let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
        // The same store; what was cleared and counted is each node's own knowledge.
        let vault = Vault::new(self.vault.tiers().clone(), self.vault.crypto().clone(), Arc::new(Silent));
        let tls = Tls::with(config, Incarnation::now(), vault, clock).unwrap();
        // Memory never waits.
        let tended = std::pin::pin!(tls.tend()).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(tended, Poll::Ready(Ok(()))));
        let built = tls.0.terms.load_full();
        let (lifetime, mut base) = (built.lifetime, built.base.clone());
        // Enough for a client that offers old ones for long.
        base.send_tls13_tickets = 16;
        let policy = if policy == "off" { built.policy() } else { clients::policy_hash(policy, b"") };
        let clients = clients::Clients { policy, verifier: built.clients.verifier.clone() };
        tls.0.terms.store(Arc::new(Terms { clients, lifetime, base }));
        tls
    }

    pub(super) fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

/// A client with one session cache for all its connections.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) mode: Mode,
    pub(super) sni: &'static str,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) trusting: bool,
    /// What it shows when it is asked for a certificate.
    pub(super) certified: Option<Arc<dyn ResolvesClientCert>>,
    pub(super) memory: Arc<Memory>,
}

impl Client {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, sni: "localhost", alpn: Vec::new(), trusting: true, certified: None, memory: Arc::default() }
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let tls12 = match self.mode {
            Mode::Id12 => Tls12Resumption::SessionIdOnly,
            Mode::Ticket12 => Tls12Resumption::SessionIdOrTickets,
            Mode::Tls13 => Tls12Resumption::Disabled,
        };
        let mut config = BASES[usize::from(self.mode == Mode::Tls13)][usize::from(self.trusting)].clone();
        config.resumption = Resumption::store(self.memory.clone()).tls12_resumption(tls12);
        config.alpn_protocols = self.alpn.clone();
        if let Some(certified) = &self.certified {
            config.client_auth_cert_resolver = certified.clone();
        }
        Arc::new(config)
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        ServerName::try_from(self.sni).unwrap()
    }
}

/// For each version and trust one: a rustls client resumes only under the very verifier that it began with.
static BASES: LazyLock<[[ClientConfig; 2]; 2]> = LazyLock::new(|| {
    [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| {
        [false, true].map(|trusting| {
            let builder = ClientConfig::builder_with_provider(Arc::new(crypto_provider())).with_protocol_versions(&[version]).unwrap();
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { trusting })).with_no_client_auth()
        })
    })
});

/// Sessions of a client. A TLS 1.2 session is handed out as often as asked for, a TLS 1.3 ticket once (rustls lets nobody copy one), the newest first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
    learned: AtomicUsize,
    /// Nothing is learned any more: the client keeps offering what it has.
    frozen: AtomicBool,
}

impl Memory {
    /// How many TLS 1.3 tickets came.
    pub(super) fn learned(&self) -> usize {
        self.learned.load(Ordering::Relaxed)
    }

    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Another memory with the same TLS 1.2 session and the older half of the tickets, which this one loses.
    pub(super) fn share(&self) -> Arc<Self> {
        let mut tickets = self.tls13.lock().unwrap();
        let half = tickets.len() / 2;
        let older = tickets.drain(..half).collect();
        Arc::new(Self { tls12: Mutex::new(self.tls12.lock().unwrap().clone()), tls13: Mutex::new(older), ..Self::default() })
    }

    fn learns(&self) -> bool {
        !self.frozen.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Memory {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.learns() {
            *self.tls12.lock().unwrap() = Some(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.learned.fetch_add(1, Ordering::Relaxed);
        if self.learns() {
            self.tls13.lock().unwrap().push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().pop()
    }
}

#[derive(Debug)]
struct Verifier {
    trusting: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusting { Ok(ServerCertVerified::assertion()) } else { Err(rustls::CertificateError::UnknownIssuer.into()) }
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &crypto_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &crypto_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A control connection of a new session, up to the greeting; both ends stay open.
pub(super) struct Connected {
    pub(super) keys: Arc<SessionKeys>,
    pub(super) facts: Facts,
    pub(super) fingerprint: [u8; 32],
    pub(super) certificate: Option<ClientCertificate>,
    pub(super) stream: tokio_rustls::server::TlsStream<DuplexStream>,
}

pub(super) async fn connect(node: &Tls, client: &Client) -> Connected {
    try_connect(node, client).await.unwrap()
}

pub(super) async fn try_connect(node: &Tls, client: &Client) -> Result<Connected, AcceptError> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(client.config());
    let name = client.name();
    let other_end = tokio::spawn(async move {
        let mut stream = connector.connect(name, far).await?;
        let mut greeting = [0; 3];
        // Reading takes in the tickets, too.
        stream.read_exact(&mut greeting).await.map(|_| greeting)
    });
    let keys = node.session(SessionId::now());
    let secured = accept(node, &keys, near, soon()).await;
    let Secured { mut stream, facts, fingerprint, certificate, .. } = secured?;
    stream.write_all(b"220").await.unwrap();
    stream.flush().await.unwrap();
    keys.is_shared().await;
    assert_eq!(&other_end.await.unwrap().unwrap(), b"220");
    Ok(Connected { keys, facts, fingerprint, certificate, stream })
}

/// The ClientHello that this client would send now.
pub(super) fn hello_bytes(client: &Client) -> (ClientConnection, Vec<u8>) {
    let mut connection = ClientConnection::new(client.config(), client.name()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    (connection, bytes)
}

pub(super) fn route(node: &Tls, client: &Client) -> Route {
    node.route(&hello::parse(&hello_bytes(client).1).unwrap())
}

/// A data connection of this client under `config`, with what came after the handshake taken in by both.
pub(super) fn data_handshake(config: Arc<ServerConfig>, client: &Client) -> Result<HandshakeKind, rustls::Error> {
    data_connections(config, client).map(|(ours, _)| ours.handshake_kind().unwrap())
}

/// Both ends of it.
pub(super) fn data_connections(config: Arc<ServerConfig>, client: &Client) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let (mut theirs, bytes) = hello_bytes(client);
    let (mut ours, rest) = data_connection(config, &bytes).map_err(|(error, _)| error)?;
    assert!(rest.is_empty());
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while ours.wants_write() {
            ours.write_tls(&mut bytes).unwrap();
        }
        feed_client(&mut theirs, &bytes)?;
        bytes.clear();
        while theirs.wants_write() {
            theirs.write_tls(&mut bytes).unwrap();
        }
        feed_server(&mut ours, &bytes)?;
    }
    assert!(!ours.is_handshaking() && !theirs.is_handshaking());
    Ok((ours, theirs))
}

pub(super) fn feed_client(connection: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}

pub(super) fn feed_server(connection: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}
