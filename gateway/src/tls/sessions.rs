//! What one control session keeps of TLS, and who lives here: the ground of every proof on a data connection.
//!
//! Gets: what control handshakes made or resumed. Gives: the keys and states that prove this session, the owner of a session ID.
//! Never: outlives its session (dropping the last reference forgets all of it), shows a key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::cache::TlsId;
use super::clients::Chain;
use super::epochs::{EpochId, Epochs, StateKey};
use super::handshake::{Attempt, Origin};
use super::lent::Proof;
use super::terms::Terms;
use crate::observe::id::{SessionId, Ulid};

/// A family: the control connections that resumed one another. Its id is that of the first session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Family(pub Ulid);

/// The TLS keys of one control session. They live as long as the session holds them.
pub struct SessionKeys {
    id: SessionId,
    terms: Arc<Terms>,
    registry: Arc<Registry>,
    /// Somebody has logged in: what it proves is now said by the list of its client's sessions.
    claimed: OnceLock<Instant>,
    /// The host that was named before TLS; it chooses the certificate when the ClientHello names none.
    host: OnceLock<Box<str>>,
    inner: Mutex<Inner>,
}

struct Inner {
    family: Family,
    /// K_s of the epochs this session sealed in: the first one, which the control connection's tickets have, and the newest.
    own: Vec<StateKey>,
    /// The session that this one resumed from, with its keys.
    previous: Option<(SessionId, Vec<StateKey>)>,
    /// TLS 1.2 sessions by their ID.
    states: Vec<(TlsId, Vec<u8>)>,
    attempt: Option<Arc<Attempt>>,
    /// The session ID on its way into the store.
    putting: Option<JoinHandle<()>>,
    /// The client's certificate and those above it.
    chain: Option<Chain>,
}

impl SessionKeys {
    /// A new session, known to `registry` until it is dropped.
    pub(super) fn new(id: SessionId, registry: &Arc<Registry>, terms: Arc<Terms>) -> Arc<Self> {
        let inner = Inner { family: Family(id.0), own: Vec::new(), previous: None, states: Vec::new(), attempt: None, putting: None, chain: None };
        let keys = Arc::new(Self { id, terms, registry: registry.clone(), claimed: OnceLock::new(), host: OnceLock::new(), inner: Mutex::new(inner) });
        registry.lock().living.insert(id, Arc::downgrade(&keys));
        keys
    }

    /// Those of a session that lives, or lived, on another node: they prove it here for as long as they are held.
    pub(super) fn borrowed(proof: Proof, registry: &Arc<Registry>, terms: Arc<Terms>) -> Arc<Self> {
        let keys = Self::new(proof.session, registry, terms);
        let mut inner = keys.lock();
        (inner.family, inner.own, inner.previous) = (proof.family, proof.own, proof.previous);
        drop(inner);
        proof.states.into_iter().for_each(|(id, state)| keys.add_state(id, state));
        keys
    }

    /// What proves this session, on any node.
    pub(super) fn proof(&self, epochs: &Epochs) -> Proof {
        let inner = self.lock();
        let mut own = inner.own.clone();
        let missing = epochs.all(self.id).into_iter().filter(|key| !inner.own.iter().any(|known| known.epoch == key.epoch));
        own.extend(missing.take(KEYS_MAX.saturating_sub(inner.own.len())));
        let previous = inner.previous.clone().map(|(session, keys)| (session, keys.into_iter().take(KEYS_MAX).collect()));
        Proof { session: self.id, family: inner.family, own, previous, states: inner.states.clone() }
    }

    /// The session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// HOST named this one in clear text (RFC 7151). Nobody has proved anything by it: it chooses which certificate is shown, which the client verifies.
    pub fn set_host(&self, name: &str) {
        // The first handshake of a connection is its only one.
        let _ = self.host.set(name.into());
    }

    /// The host that was named before TLS.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.get().map(|name| &**name)
    }

    /// Somebody has logged in, and other sessions of the same client know.
    pub fn claim(&self) {
        let _ = self.claimed.set(Instant::now());
    }

    /// Whether somebody has logged in, so long ago that every data handshake which began before has ended.
    pub(super) fn is_claimed(&self) -> bool {
        self.claimed.get().is_some_and(|at| at.elapsed() >= SETTLED)
    }

    /// What its handshakes are held to.
    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Its family: its own until its control connection turns out to be a resumption.
    pub fn family(&self) -> Family {
        self.lock().family
    }

    /// The session that its control connection resumed from.
    pub fn previous(&self) -> Option<SessionId> {
        self.lock().previous.as_ref().map(|(session, _)| *session)
    }

    /// The key to seal a ticket with now; it is remembered for as long as this session lives.
    pub(super) fn sealing(&self, epochs: &Epochs, now: u64) -> Option<StateKey> {
        let key = epochs.sealing(self.id, now)?;
        let mut inner = self.lock();
        if !inner.own.iter().any(|known| known.epoch == key.epoch) {
            if inner.own.len() >= KEYS_MAX {
                // The first stays: most clients offer the control connection's ticket to the end.
                inner.own.remove(1);
            }
            inner.own.push(key.clone());
        }
        Some(key)
    }

    /// The key of a ticket of `session`, if that is this session or the one it resumed from.
    pub(super) fn key(&self, session: SessionId, epoch: EpochId, epochs: &Epochs) -> Option<StateKey> {
        let inner = self.lock();
        let known = match &inner.previous {
            _ if session == self.id => &inner.own,
            Some((previous, keys)) if session == *previous => keys,
            Some(_) | None => return None,
        };
        known.iter().find(|key| key.epoch == epoch).cloned().or_else(|| epochs.key(epoch, session))
    }

    /// The TLS 1.2 session with this ID, if it is one of this session's.
    pub(super) fn state(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.lock().states.iter().find(|(known, _)| known[..] == *id).map(|(_, state)| state.clone())
    }

    /// A TLS 1.2 session is one of this session's from now on.
    pub(super) fn add_state(&self, id: TlsId, state: Vec<u8>) {
        let mut inner = self.lock();
        if inner.states.len() >= STATES_MAX || inner.states.iter().any(|(known, _)| *known == id) {
            return;
        }
        inner.states.push((id, state));
        drop(inner);
        self.registry.lock().ids.entry(id).or_default().push(self.id);
    }

    /// The control connection resumed `origin`.
    pub(super) fn adopt(&self, origin: Origin, epochs: &Epochs) {
        if let Some((id, state)) = origin.state {
            self.add_state(id, state);
        }
        let mut keys = epochs.all(origin.session);
        keys.extend(origin.key);
        let mut inner = self.lock();
        inner.family = origin.family;
        inner.previous = Some((origin.session, keys));
    }

    /// What this session's handshake left for the store is there, or past its deadline. To be awaited before a client can know that its login is done:
    /// its next connection may come to another node.
    pub async fn is_shared(&self) {
        let putting = self.lock().putting.take();
        if let Some(putting) = putting {
            // It waits for the store's deadline at most, and a panic in it has been counted.
            let _ = putting.await;
        }
    }

    pub(super) fn set_putting(&self, putting: JoinHandle<()>) {
        self.lock().putting = Some(putting);
    }

    /// Whether a client certificate is asked for.
    pub fn asks_for_certificate(&self) -> bool {
        self.terms.clients.verifier.is_some()
    }

    /// What the client showed.
    pub(super) fn chain(&self) -> Option<Chain> {
        self.lock().chain.clone()
    }

    pub(super) fn set_chain(&self, chain: Chain) {
        self.lock().chain = Some(chain);
    }

    pub(super) fn set_attempt(&self, attempt: Arc<Attempt>) {
        self.lock().attempt = Some(attempt);
    }

    pub(super) fn take_attempt(&self) -> Option<Arc<Attempt>> {
        self.lock().attempt.take()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut registry = self.registry.lock();
        // Keys that were borrowed twice at once have the same name.
        if registry.living.get(&self.id).is_some_and(|known| known.strong_count() == 0) {
            registry.living.remove(&self.id);
        }
        for (id, _) in &inner.states {
            let Some(holders) = registry.ids.get_mut(id) else { continue };
            holders.retain(|holder| *holder != self.id);
            if holders.is_empty() {
                registry.ids.remove(id);
            }
        }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys").field("id", &self.id).field("family", &self.family()).finish_non_exhaustive()
    }
}

/// The living sessions of this process.
#[derive(Default)]
pub(super) struct Registry(Mutex<Living>);

#[derive(Default)]
pub(super) struct Living {
    living: HashMap<SessionId, Weak<SessionKeys>>,
    /// Holders of each TLS 1.2 session ID, the newest last: sessions that resumed one another hold the same.
    ids: HashMap<TlsId, Vec<SessionId>>,
}

impl Registry {
    /// The keys of a living session.
    pub(super) fn living(&self, id: SessionId) -> Option<Arc<SessionKeys>> {
        self.lock().living.get(&id)?.upgrade()
    }

    /// All living sessions.
    pub(super) fn all(&self) -> Vec<Arc<SessionKeys>> {
        self.lock().living.values().filter_map(Weak::upgrade).collect()
    }

    /// The newest living session that holds this TLS 1.2 session ID.
    pub(super) fn holder(&self, id: &[u8]) -> Option<Arc<SessionKeys>> {
        let id: TlsId = id.try_into().ok()?;
        let holders = self.lock().ids.get(&id)?.clone();
        holders.into_iter().rev().find_map(|holder| self.living(holder))
    }

    fn lock(&self) -> MutexGuard<'_, Living> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Epochs whose keys a session keeps: more than `limits.session_max` (6 days) has at the default rotation (1 hour).
pub(super) const KEYS_MAX: usize = 256;
/// TLS 1.2 sessions of one session: its own, or the one it resumed.
pub(super) const STATES_MAX: usize = 4;

/// A data handshake learns the sessions of its client when it begins; one that logs in meanwhile is not among them.
const SETTLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;
    use crate::tls::tests::kit::vault;

    fn keys(registry: &Arc<Registry>) -> Arc<SessionKeys> {
        let config = crate::config::Config::defaults("/".into()).tls;
        let terms = crate::tls::Tls::new(&config, crate::observe::id::Incarnation::now(), vault()).unwrap().0.terms.load_full();
        SessionKeys::new(SessionId::now(), registry, terms)
    }

    #[test]
    fn an_id_belongs_to_the_newest_holder_and_is_forgotten_with_the_last() {
        let registry = Arc::<Registry>::default();
        let (a, b) = (keys(&registry), keys(&registry));
        a.add_state([7; 32], vec![1]);
        b.add_state([7; 32], vec![1]);
        assert_eq!(registry.holder(&[7; 32]).unwrap().id(), b.id());
        drop(b);
        assert_eq!(registry.holder(&[7; 32]).unwrap().id(), a.id());
        assert!(registry.holder(&[7; 31]).is_none());
        drop(a);
        assert!(registry.holder(&[7; 32]).is_none());
        assert!(registry.lock().living.is_empty() && registry.lock().ids.is_empty());
    }

    #[tokio::test]
    async fn a_session_keeps_its_first_key_and_a_bounded_number_of_others() {
        let (registry, vault) = (Arc::<Registry>::default(), vault());
        let epochs = Epochs::new(Duration::from_secs(1), Duration::from_secs(1));
        epochs.tend(&vault, 0, false).await.unwrap();
        let keys = keys(&registry);
        let first = keys.sealing(&epochs, 0).unwrap().epoch;
        for hour in 1..KEYS_MAX as u64 + 20 {
            epochs.tend(&vault, hour * 3_600_000, false).await.unwrap();
            keys.sealing(&epochs, hour * 3_600_000).unwrap();
        }
        assert_eq!(keys.lock().own.len(), KEYS_MAX);
        assert!(epochs.key(first, keys.id()).is_none(), "the epoch is erased");
        assert!(keys.key(keys.id(), first, &epochs).is_some(), "the session still has its key of it");
        assert!(keys.key(SessionId::now(), first, &epochs).is_none());
    }
}
