//! TLS: certificates, tickets, session IDs, the ClientHello of control connections.
//!
//! Gets: the `tls:` configuration, ClientHellos. Gives: for each connection a `ServerConfig` of its own, which resumes only what this
//! connection may resume; on a data connection "resumed" therefore is the proof that the session's own client speaks.
//! Never: waits inside a callback of rustls, trusts a ticket that it did not open, keeps a key longer than its session or its epoch.

mod accept;
mod cache;
mod certificates;
mod clients;
mod data;
mod der;
mod epochs;
mod error;
mod handshake;
mod lent;
mod measured;
mod ocsp;
mod sessions;
mod sidecar;
mod staples;
mod stored;
mod terms;
mod tickets;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ftps_proto::hello::ClientHello;
use ftps_store::key::Kind;
use ftps_store::seal::Keyring;
use ftps_store::vault::Vault;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SupportedCipherSuite};

use crate::observe::event::{Resumed, TlsVersion};
use crate::observe::id::{Incarnation, SessionId};

pub use accept::{AcceptError, Secured, accept, failure};
use cache::{Cache, TlsId};
pub use certificates::{CertificateFacts, CertificateInfo, Certificates, certificate_facts};
use clients::Distrusted;
pub use clients::{ClientAuth, ClientAuthMode, ClientCertificate};
pub use data::data_connection;
pub use epochs::EpochError;
use epochs::Epochs;
pub use error::{FileFault, TlsError};
use handshake::{Attempt, Control, Data, TicketRenewal};
pub use lent::{LENT_MAX, Token};
pub use ocsp::{Fault as OcspFault, Said as OcspSaid, Signer as OcspSigner};
use sessions::Registry;
pub use sessions::{Family, SessionKeys};
pub use sidecar::{Sidecar, SidecarFiles, client_certificate};
pub use staples::{StapleInfo, StapleSeen, Staples, Stapling, staple_seen};
use stored::Place;
pub use terms::Renewal;
use terms::Terms;
use tickets::Ticket;

/// `tls:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `tls.certificates`; empty: self-signed, with a warning.
    pub certificates: Vec<CertificateFiles>,
    /// `tls.min_version`.
    pub min_version: MinVersion,
    /// `tls.cipher_suites`, by their IANA names; empty: rustls' own.
    pub cipher_suites: Vec<String>,
    /// `tls.client_auth`.
    pub client_auth: ClientAuth,
    /// `tls.session_lifetime`: how old a session may be when a control connection resumes it.
    pub session_lifetime: Duration,
    /// `tls.ticket_rotation`: how often a new ticket key seals.
    pub ticket_rotation: Duration,
    /// `tls.stapling`: for [`Staples`].
    pub stapling: Stapling,
}

/// One certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the chain, leaf first.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MinVersion {
    Tls12,
    Tls13,
}

/// TLS of this node. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

/// Whose session a ClientHello offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A session that lives, or lived, at that node. Only the handshake proves that the client has its secret.
    Owner {
        /// The start of the node.
        incarnation: Incarnation,
        /// The session.
        session: SessionId,
        /// Its family, at the time of issue.
        family: Family,
    },
    /// A session ID that is remembered, of a session that does not live here: it has ended, or lives on another node.
    Elsewhere {
        /// The session.
        session: SessionId,
        /// Its family.
        family: Family,
    },
    /// It offers nothing, or nothing that opens.
    Unknown,
}

/// What a finished control handshake was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The protocol version.
    pub version: TlsVersion,
    /// Full or resumed, and by what.
    pub resumed: Resumed,
    /// The session that it resumed.
    pub previous: Option<SessionId>,
    /// The family it belongs to.
    pub family: Family,
}

/// A control handshake's facts, and the certificate that the client showed.
type Finished = (Facts, Option<ClientCertificate>);

/// What all connections share.
struct Shared {
    incarnation: Incarnation,
    clock: Clock,
    /// Sessions and epochs of the cluster, and its keys.
    vault: Vault,
    epochs: Epochs,
    cache: Cache,
    registry: Arc<Registry>,
    certificates: Arc<Certificates>,
    /// For sessions that begin now.
    terms: ArcSwap<Terms>,
    distrusted: Distrusted,
    /// Control connections that resumed a session of another node.
    elsewhere: AtomicU64,
}

/// Now, in Unix ms.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Tls {
    /// From the configuration; certificates are read now. Sessions and ticket keys are those of `vault`: call [`Tls::tend`] before the first connection.
    ///
    /// # Errors
    /// What is wrong with the certificates or the cipher suites.
    pub fn new(config: &Config, incarnation: Incarnation, vault: Vault) -> Result<Self, TlsError> {
        let clock: Clock = Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        Self::with(config, incarnation, vault, clock)
    }

    fn with(config: &Config, incarnation: Incarnation, vault: Vault, clock: Clock) -> Result<Self, TlsError> {
        let epochs = Epochs::new(config.ticket_rotation, config.session_lifetime);
        let cache = Cache::new(CACHE_ENTRIES, CACHE_BYTES);
        let certificates = Arc::new(Certificates::load(&config.certificates, Arc::new(crypto_provider()), clock.clone())?);
        let terms = ArcSwap::from_pointee(Terms::new(config, &certificates)?);
        let (registry, distrusted) = (Arc::default(), Distrusted::default());
        Ok(Self(Arc::new(Shared { incarnation, clock, vault, epochs, cache, registry, certificates, terms, distrusted, elsewhere: AtomicU64::new(0) })))
    }

    /// The keys of a new session, under the terms of today.
    pub fn session(&self, id: SessionId) -> Arc<SessionKeys> {
        SessionKeys::new(id, &self.0.registry, self.0.terms.load_full())
    }

    /// The keys of a session that lives on this node.
    pub fn living(&self, id: SessionId) -> Option<Arc<SessionKeys>> {
        self.0.registry.living(id)
    }

    /// The certificates: to reload and to show.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// Learns the ticket keys of the cluster, makes the next one when it is due and erases those no ticket needs. Call it every second.
    ///
    /// # Errors
    /// Why the keys are not what they should be; those that are there go on.
    pub async fn tend(&self) -> Result<(), EpochError> {
        self.0.epochs.tend(&self.0.vault, self.0.now(), false).await
    }

    /// A new ticket key, which seals on all nodes within seconds. No living session and no ticket in use is hurt.
    ///
    /// # Errors
    /// Why there is none; the old key goes on sealing.
    pub async fn rotate_tickets(&self) -> Result<(), EpochError> {
        self.0.epochs.tend(&self.0.vault, self.0.now(), true).await
    }

    /// Whether the ticket keys in use follow from the secret, because no other ones could be agreed on.
    pub fn seals_without_store(&self) -> bool {
        self.0.epochs.is_derived(self.0.now())
    }

    /// The configuration for a control connection with this hello. It looks up what the hello offers first; a failed look-up is a full handshake.
    pub async fn for_control(&self, hello: &ClientHello, keys: &Arc<SessionKeys>) -> Arc<ServerConfig> {
        let attempt = Arc::new(Attempt::default());
        keys.set_attempt(attempt.clone());
        let terms = keys.terms();
        self.learn_epoch(hello).await;
        let found = self.look_up(hello, terms).await;
        let (server_name, takes_tickets) = (hello.server_name.clone(), hello.ticket.is_some());
        let answers = Arc::new(Control { shared: self.0.clone(), keys: keys.clone(), attempt, found, server_name, takes_tickets });
        let mut config = terms.base.clone();
        config.ticketer = answers.clone();
        config.session_storage = answers.clone();
        config.cert_resolver = answers;
        Arc::new(config)
    }

    /// The configuration for a data connection of `keys`. [`HandshakeKind::Resumed`] and a finished handshake under it are proof: it resumes
    /// nothing but sessions of `keys`, the session that one resumed from, `accepts` (other sessions of the same client) likewise, and ended sessions of
    /// their families, whose tickets a client may still hold.
    /// A full handshake leaves the client without a ticket.
    pub fn for_data(&self, keys: &Arc<SessionKeys>, accepts: &[Arc<SessionKeys>]) -> Arc<ServerConfig> {
        let accepts = std::iter::once(keys).chain(accepts).cloned().collect();
        let answers = Arc::new(Data { shared: self.0.clone(), accepts, attempt: Attempt::default(), renewal: TicketRenewal::default() });
        let mut config = keys.terms().base.clone();
        config.ticketer = answers.clone();
        config.session_storage = answers.clone();
        config.cert_resolver = answers;
        config.send_tls13_tickets = DATA_TICKETS;
        Arc::new(config)
    }

    /// Whose session the hello offers: PSK identities, then the ticket, then the session ID of a session that lives here. Routing only, no proof.
    pub fn route(&self, hello: &ClientHello) -> Route {
        let shared = &self.0;
        let ring = shared.ring();
        if let Some(route) = hello.tickets().find_map(|bytes| Ticket::parse(bytes)?.route(&ring)) {
            return Route::Owner { incarnation: route.incarnation, session: route.session, family: route.family };
        }
        if let Some(keys) = shared.registry.holder(&hello.session_id) {
            return Route::Owner { incarnation: shared.incarnation, session: keys.id(), family: keys.family() };
        }
        let cached = TlsId::try_from(hello.session_id.as_slice()).ok().and_then(|id| shared.cache.find(&id, 0, shared.generation()));
        cached.map_or(Route::Unknown, |entry| Route::Elsewhere { session: entry.session, family: entry.family })
    }

    /// A control handshake has finished: if it resumed, its session joins the family, and keeps what proves the session it resumed from.
    ///
    /// # Errors
    /// The client's certificate is not good any more: the connection is to be closed.
    pub fn control_finished(&self, keys: &SessionKeys, hello: &ClientHello, connection: &ServerConnection) -> Result<Finished, rustls::Error> {
        let resumed = resumed(hello, connection);
        let origin = keys.take_attempt().and_then(|attempt| attempt.origin()).filter(|_| resumed != Resumed::Full);
        let previous = origin.as_ref().map(|origin| origin.session);
        if let Some(origin) = origin {
            self.0.elsewhere.fetch_add(u64::from(origin.elsewhere), Ordering::Relaxed);
            keys.adopt(origin, &self.0.epochs);
        }
        let certificate = self.0.client(keys, connection)?;
        Ok((Facts { version: version(connection), resumed, previous, family: keys.family() }, certificate))
    }

    /// A ticket of the cluster under an epoch that is not known here is no reason for a full handshake yet.
    async fn learn_epoch(&self, hello: &ClientHello) {
        let shared = &self.0;
        let ring = shared.ring();
        let unknown = |bytes| Ticket::parse(bytes).filter(|ticket| !shared.epochs.knows(ticket.epoch) && ticket.route(&ring).is_some());
        if let Some(ticket) = hello.tickets().take(OFFERED).find_map(unknown) {
            shared.epochs.learn(&shared.vault, ticket.epoch, shared.now()).await;
        }
    }

    /// Only the ID of a client that resumes by ID is looked up; a ticket or a PSK goes first (RFC 5077 §3.4, RFC 8446 §4.2.11). Memory first, then the store.
    async fn look_up(&self, hello: &ClientHello, terms: &Terms) -> Option<(TlsId, cache::Entry)> {
        let shared = &self.0;
        let id = TlsId::try_from(hello.resumable_id()?).ok()?;
        let oldest = shared.oldest(terms);
        let entry = match shared.cache.find(&id, oldest, shared.generation()) {
            Some(entry) => entry,
            None => {
                let place = Place::new(&id, hello.server_name.as_deref(), terms.policy());
                let entry = stored::find(&shared.vault, &place).await.filter(|entry| entry.issued >= oldest)?;
                shared.cache.put(id, entry.clone());
                entry
            }
        };
        (entry.policy == terms.policy() && !shared.distrusted.has(entry.family)).then_some((id, entry))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("incarnation", &self.0.incarnation).finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> u64 {
        (self.clock)()
    }

    /// The keys of the cluster, as they are now.
    fn ring(&self) -> Keyring {
        self.vault.crypto().keyring()
    }

    /// Of the cluster's session cache.
    fn generation(&self) -> u64 {
        self.vault.generation(Kind::Session)
    }

    /// Sessions issued before this are too old for a control connection.
    fn oldest(&self, terms: &Terms) -> u64 {
        self.now().saturating_sub(terms.lifetime)
    }
}

/// How a finished handshake came to its keys.
pub fn resumed(hello: &ClientHello, connection: &ServerConnection) -> Resumed {
    // `received_resumption_data` is always `None` in TLS 1.2 of rustls 0.23; the kind is right in both versions.
    if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
        return Resumed::Full;
    }
    let by_ticket = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) || hello.ticket.as_ref().is_some_and(|ticket| !ticket.is_empty());
    if by_ticket { Resumed::Ticket } else { Resumed::SessionId }
}

/// The version of a finished handshake.
pub fn version(connection: &ServerConnection) -> TlsVersion {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
        // There are only two; nothing older is compiled in.
        _ => TlsVersion::Tls13,
    }
}

/// The names that `tls.cipher_suites` may have, preferred first.
pub fn cipher_suite_names() -> Vec<String> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(suite_name).collect()
}

/// The cryptography of this process, for whoever must install it as the default (clients of stores).
pub fn crypto_provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn suite_name(suite: &SupportedCipherSuite) -> String {
    // IANA's names: rustls writes TLS13_AES_128_GCM_SHA256 for TLS_AES_128_GCM_SHA256.
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// TLS 1.3 tickets of a data connection, for clients that spend each ticket (curl 7.88).
const DATA_TICKETS: usize = 1;
/// Tickets of one hello that are looked at before the handshake; clients offer one, seldom two.
const OFFERED: usize = 4;
/// Most TLS 1.2 sessions kept for resumption: three for each of `limits.sessions`.
const CACHE_ENTRIES: usize = 32 * 1024;
/// Most bytes of them; one has about 100 without a client certificate.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
