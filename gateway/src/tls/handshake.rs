//! What rustls asks during one handshake: tickets, session IDs, the certificate. One object answers all three, for this connection alone.
//!
//! A full handshake signs and a resumed one does not: the key it gets notes that. So a ticket that opened but was not used joins no family,
//! and a data connection without proof leaves with no ticket that would be proof for the next one.
//! Gets: what was looked up before the handshake. Gives: what the session learns from it. Never: waits; memory answers.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::Shared;
use super::cache::{Entry, TlsId};
use super::certificates::Certificates;
use super::epochs::StateKey;
use super::sessions::{Family, SessionKeys};
use super::staples::Holder;
use super::stored::{self, Place};
use super::tickets::{self, RoutePart, State, Ticket};
use crate::observe::id::SessionId;

/// What a handshake did, as far as its callbacks can tell.
#[derive(Default)]
pub(super) struct Attempt {
    /// It signed: it is a full handshake.
    signed: Arc<AtomicBool>,
    /// The last session that was given to rustls. It is the one resumed, if any is.
    given: Mutex<Option<Origin>>,
}

/// The session that a control connection resumes.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) session: SessionId,
    pub(super) family: Family,
    /// The key of its ticket.
    pub(super) key: Option<StateKey>,
    /// Its TLS 1.2 state, when it was found by ID: rustls never stores it again (the ID stays the same).
    pub(super) state: Option<(TlsId, Vec<u8>)>,
    /// Another node began it.
    pub(super) elsewhere: bool,
}

/// The answers for a control connection.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) keys: Arc<SessionKeys>,
    pub(super) attempt: Arc<Attempt>,
    /// The session ID that the hello offers, as looked up before.
    pub(super) found: Option<(TlsId, Entry)>,
    /// The host that the client asked for.
    pub(super) server_name: Option<String>,
    /// The hello has extension 35: the client takes a ticket, and its ID need not be kept.
    pub(super) takes_tickets: bool,
}

/// The answers for a data connection: it resumes a session of `accepts`, or nothing.
pub(super) struct Data {
    pub(super) shared: Arc<Shared>,
    /// The session whose data connection it is, first; then other sessions of the same client.
    pub(super) accepts: Vec<Arc<SessionKeys>>,
    pub(super) attempt: Attempt,
    pub(super) renewal: TicketRenewal,
}

/// Whether a data connection renews its client's ticket: under TLS 1.3 it does, under TLS 1.2 not (RFC 5077 §3.4 leaves it to the server). OpenSSL marks
/// a session whose ticket was renewed as not to be resumed and tells nobody about the new one, so Ruby and PHP would come without proof the next time.
///
/// The answers do not learn the version. rustls asks for it in its order: TLS 1.3 asks whether there are tickets before it opens one, TLS 1.2 after.
#[derive(Default)]
pub(super) struct TicketRenewal {
    asked: AtomicBool,
    none: AtomicBool,
}

impl Attempt {
    fn give(&self, origin: Origin) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    /// The session that was resumed, if this handshake was no full one.
    pub(super) fn origin(&self) -> Option<Origin> {
        if self.signed.load(Ordering::Acquire) {
            return None;
        }
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_full(&self) -> bool {
        self.signed.load(Ordering::Acquire)
    }

    /// The certificate and its staple, with a key that notes when it is asked to sign.
    fn watch(&self, holder: Arc<Holder>, certificates: &Arc<Certificates>) -> Arc<CertifiedKey> {
        let shown = holder.shown();
        let key = Arc::new(WatchedKey { key: shown.key.clone(), signed: self.signed.clone(), holder, certificates: certificates.clone() });
        Arc::new(CertifiedKey { cert: shown.cert.clone(), key, ocsp: shown.ocsp.clone() })
    }
}

impl Control {
    /// Opens a ticket of any session of the cluster, if it is young enough and was issued under the policy of today.
    fn open(&self, bytes: &[u8]) -> Option<(Origin, Vec<u8>)> {
        let ticket = Ticket::parse(bytes)?;
        let route = ticket.route(&self.shared.ring())?;
        let key = self.shared.epochs.key(ticket.epoch, route.session)?;
        let state = ticket.state(&key)?;
        let terms = self.keys.terms();
        if state.policy != terms.policy() || self.shared.distrusted.has(route.family) || state.issued < self.shared.oldest(terms) {
            return None;
        }
        let elsewhere = route.incarnation != self.shared.incarnation;
        Some((Origin { session: route.session, family: route.family, key: Some(key), state: None, elsewhere }, state.tls))
    }
}

impl ProducesTickets for Control {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        tickets::WIRE_LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let family = self.attempt.origin().map_or_else(|| self.keys.family(), |origin| origin.family);
        self.shared.seal(&self.keys, family, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (origin, tls) = self.open(ticket)?;
        self.attempt.give(origin);
        Some(tls)
    }
}

impl StoresServerSessions for Control {
    fn put(&self, id: Vec<u8>, state: Vec<u8>) -> bool {
        let Ok(id) = TlsId::try_from(id) else { return false };
        if self.takes_tickets || state.len() > tickets::TLS_STATE_MAX {
            return false;
        }
        self.keys.add_state(id, state.clone());
        let (shared, terms) = (&self.shared, self.keys.terms());
        let (session, family, generation) = (self.keys.id(), self.keys.family(), shared.generation());
        let entry = Entry { tls: state, issued: shared.now(), policy: terms.policy(), session, family, generation, fetched: false };
        shared.cache.put(id, entry.clone());
        let (vault, place) = (shared.vault.clone(), Place::new(&id, self.server_name.as_deref(), entry.policy));
        let life = Duration::from_millis(terms.lifetime);
        // Not here: a callback must not wait. The session waits for it before it says that a login is done.
        self.keys.set_putting(tokio::spawn(async move { stored::put(&vault, &place, &entry, life).await }));
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let (found, entry) = self.found.as_ref().filter(|(found, _)| found[..] == *id)?;
        let state = Some((*found, entry.tls.clone()));
        self.attempt.give(Origin { session: entry.session, family: entry.family, key: None, state, elsewhere: entry.fetched });
        Some(entry.tls.clone())
    }

    /// TLS 1.3 resumes by tickets only.
    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl Data {
    /// A session of a family that we accept which has ended, or where nobody has logged in yet: rclone shows the ticket of a control connection that is
    /// still being set up. Any other living one that is not among `accepts` is another client's.
    fn is_kin(&self, session: SessionId, family: Family) -> bool {
        self.shared.registry.living(session).is_none_or(|keys| !keys.is_claimed()) && self.accepts.iter().any(|keys| keys.family() == family)
    }

    fn epoch_key(&self, ticket: &Ticket<'_>, session: SessionId, family: Family) -> Option<StateKey> {
        self.is_kin(session, family).then(|| self.shared.epochs.key(ticket.epoch, session)).flatten()
    }
}

impl TicketRenewal {
    fn wanted(&self) -> bool {
        self.asked.store(true, Ordering::Release);
        !self.none.load(Ordering::Acquire)
    }

    fn ticket_offered(&self) {
        if !self.asked.load(Ordering::Acquire) {
            self.none.store(true, Ordering::Release);
        }
    }
}

impl ProducesTickets for Data {
    fn enabled(&self) -> bool {
        self.renewal.wanted()
    }

    fn lifetime(&self) -> u32 {
        tickets::WIRE_LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let owner = self.accepts.first().filter(|_| !self.attempt.is_full())?;
        self.shared.seal(owner, owner.family(), plain)
    }

    fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.renewal.ticket_offered();
        let ticket = Ticket::parse(bytes)?;
        let RoutePart { session, family, .. } = ticket.route(&self.shared.ring())?;
        let living = self.accepts.iter().find_map(|keys| keys.key(session, ticket.epoch, &self.shared.epochs));
        let key = living.or_else(|| self.epoch_key(&ticket, session, family))?;
        Some(ticket.state(&key)?.tls)
    }
}

impl StoresServerSessions for Data {
    /// A full handshake on a data connection is no session that anything may resume.
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        false
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let living = self.accepts.iter().find_map(|keys| keys.state(id));
        living.or_else(|| {
            let ended = self.shared.cache.find(&TlsId::try_from(id).ok()?, 0, self.shared.generation())?;
            self.is_kin(ended.session, ended.family).then_some(ended.tls)
        })
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        false
    }
}

impl ResolvesServerCert for Control {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = &self.shared.certificates;
        certificates.resolve_for(&hello, self.keys.host()).map(|holder| self.attempt.watch(holder, certificates))
    }
}

impl ResolvesServerCert for Data {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (certificates, host) = (&self.shared.certificates, self.accepts.first().and_then(|keys| keys.host()));
        certificates.resolve_for(&hello, host).map(|holder| self.attempt.watch(holder, certificates))
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.keys).finish()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Data").field(&self.accepts).finish()
    }
}

impl Shared {
    /// A ticket of this session.
    fn seal(&self, keys: &SessionKeys, family: Family, plain: &[u8]) -> Option<Vec<u8>> {
        let route = RoutePart { incarnation: self.incarnation, session: keys.id(), family };
        let state = State { issued: self.now(), policy: keys.terms().policy(), tls: plain.to_vec() };
        tickets::seal(&self.ring(), route, &keys.sealing(&self.epochs, state.issued)?, &state)
    }
}

struct WatchedKey {
    key: Arc<dyn SigningKey>,
    signed: Arc<AtomicBool>,
    holder: Arc<Holder>,
    certificates: Arc<Certificates>,
}

impl SigningKey for WatchedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        // rustls asks for a signer in the first flight of a full handshake, before any ticket is made, and never when it resumes.
        if !self.signed.swap(true, Ordering::AcqRel) {
            self.certificates.shown(&self.holder);
        }
        self.key.choose_scheme(offered)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl fmt::Debug for WatchedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedKey")
    }
}
