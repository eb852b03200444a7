//! Tickets: what they look like and what is in them.
//!
//! A ticket is version 1, sealed route (85 bytes: node, session, family), epoch id 8, sealed state. The state is under a key of that session and epoch alone.
//! Gets: what rustls wants to remember, the clock. Gives: tickets, and from tickets the route and the state.
//! Never: takes a ticket of impossible size, knows a key.

use ftps_store::seal::{Keyring, OVERHEAD, Purpose, SealingKey};
use ftps_store::wire::{Reader, WireError, Writer};
use zeroize::Zeroizing;

use super::epochs::{EpochId, StateKey};
use super::sessions::Family;
use crate::observe::id::{Incarnation, SessionId, Ulid};

/// Whose a ticket is. It says nothing that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoutePart {
    pub(super) incarnation: Incarnation,
    pub(super) session: SessionId,
    pub(super) family: Family,
}

/// What a ticket remembers.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    /// When it was issued: Unix ms.
    pub(super) issued: u64,
    /// Hash of the client certificate policy it was issued under.
    pub(super) policy: [u8; 16],
    /// rustls' own bytes: the session's secret is in them.
    pub(super) tls: Vec<u8>,
}

/// A ticket, taken apart but not opened.
#[derive(Clone, Copy)]
pub(super) struct Ticket<'a> {
    head: &'a [u8],
    body: &'a [u8],
    pub(super) epoch: EpochId,
}

impl RoutePart {
    fn encode(self) -> Vec<u8> {
        [self.incarnation.0.to_bytes(), self.session.0.to_bytes(), self.family.0.to_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut id = || reader.array().map(Ulid::from_bytes);
        let route = Self { incarnation: Incarnation(id()?), session: SessionId(id()?), family: Family(id()?) };
        reader.end()?;
        Ok(route)
    }
}

impl<'a> Ticket<'a> {
    /// Takes a ticket apart; `None` when it is none of ours by its form.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > HEAD + SEALED_STATE_MAX {
            return None;
        }
        let (head, body) = bytes.split_at_checked(HEAD)?;
        let epoch = *head.last_chunk()?;
        (head.first() == Some(&VERSION)).then_some(Self { head, body, epoch })
    }

    /// Whose it is; `None` when the route does not open.
    pub(super) fn route(&self, ring: &Keyring) -> Option<RoutePart> {
        let sealed = self.head.get(1..1 + ROUTE)?;
        RoutePart::decode(&ring.open(Purpose::TicketRoute, b"", sealed).ok()?).ok()
    }

    /// What it remembers; `None` when this is not its key, or it was altered.
    pub(super) fn state(&self, key: &StateKey) -> Option<State> {
        let plain = SealingKey::new(&key.key).ok()?.open(self.head, self.body).ok()?;
        let mut reader = Reader::new(&plain);
        let (issued, policy) = (reader.u64().ok()?, reader.array().ok()?);
        Some(State { issued, policy, tls: reader.rest(TLS_STATE_MAX).ok()?.to_vec() })
    }
}

/// A ticket of the session that `route` names; `None` when the state is too big for one (a long client certificate chain).
pub(super) fn seal(ring: &Keyring, route: RoutePart, key: &StateKey, state: &State) -> Option<Vec<u8>> {
    if state.tls.len() > TLS_STATE_MAX {
        return None;
    }
    let day = u32::try_from(state.issued / 86_400_000).unwrap_or(0);
    let mut ticket = vec![VERSION];
    ticket.extend_from_slice(&ring.seal(Purpose::TicketRoute, day, b"", &route.encode()).ok()?);
    ticket.extend_from_slice(&key.epoch);
    let mut plain = Writer::new(STATE_HEAD + TLS_STATE_MAX);
    plain.u64(state.issued).array(&state.policy).array(&state.tls);
    let plain = Zeroizing::new(plain.finish().ok()?);
    let body = SealingKey::new(&key.key).ok()?.seal(&ticket, &plain).ok()?;
    ticket.extend_from_slice(&body);
    Some(ticket)
}

/// What clients are told: 7 days, the most that RFC 8446 §4.6.1 allows. `session_lifetime` is enforced by us.
pub(super) const WIRE_LIFETIME: u32 = 7 * 86_400;
/// Most bytes of rustls' state; one with a long chain of client certificates gets no ticket.
pub(super) const TLS_STATE_MAX: usize = 8 * 1024;

const VERSION: u8 = 1;
/// The sealed route: three ids.
const ROUTE: usize = OVERHEAD + 48;
/// Version, route, epoch.
const HEAD: usize = 1 + ROUTE + 8;
/// Time of issue and policy.
const STATE_HEAD: usize = 8 + 16;
/// Nonce, plain, tag.
const SEALED_STATE_MAX: usize = 12 + STATE_HEAD + TLS_STATE_MAX + 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use ftps_store::seal::Secrets;

    use super::*;
    use crate::tls::epochs::Epochs;
    use crate::tls::tests::kit::vault;

    async fn epochs() -> Epochs {
        let epochs = Epochs::new(Duration::from_secs(3600), Duration::from_secs(1800));
        epochs.tend(&vault(), 0, false).await.unwrap();
        epochs
    }

    #[tokio::test]
    async fn a_ticket_gives_back_its_route_and_state_and_nothing_else_does() {
        let (ring, epochs) = (Keyring::new(&Secrets::new(&[&[3; 32]]).unwrap()), epochs().await);
        let (session, other) = (SessionId::now(), SessionId::now());
        let route = RoutePart { incarnation: Incarnation::now(), session, family: Family(other.0) };
        let state = State { issued: 86_400_000 * 3, policy: [4; 16], tls: vec![5; 94] };
        let bytes = seal(&ring, route, &epochs.sealing(session, 0).unwrap(), &state).unwrap();
        let ticket = Ticket::parse(&bytes).unwrap();
        assert_eq!(ticket.route(&ring), Some(route));
        assert!(ticket.state(&epochs.key(ticket.epoch, session).unwrap()) == Some(state.clone()));
        assert!(ticket.state(&epochs.key(ticket.epoch, other).unwrap()).is_none());
        for place in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 1;
            let opened = Ticket::parse(&bad).and_then(|t| t.state(&epochs.key(t.epoch, session)?));
            assert!(opened.is_none(), "byte {place}");
        }
        for cut in 0..bytes.len() {
            assert!(Ticket::parse(&bytes[..cut]).and_then(|t| t.state(&epochs.key(t.epoch, session)?)).is_none(), "cut at {cut}");
        }
        assert!(Ticket::parse(&vec![VERSION; HEAD + SEALED_STATE_MAX + 1]).is_none());
    }

    #[tokio::test]
    async fn a_state_that_is_too_big_gets_no_ticket() {
        let (ring, epochs) = (Keyring::new(&Secrets::random().unwrap()), epochs().await);
        let session = SessionId::now();
        let route = RoutePart { incarnation: Incarnation::now(), session, family: Family(session.0) };
        let sized = |size| seal(&ring, route, &epochs.sealing(session, 0).unwrap(), &State { issued: 0, policy: [0; 16], tls: vec![0; size] });
        assert!(Ticket::parse(&sized(TLS_STATE_MAX).unwrap()).is_some());
        assert!(sized(TLS_STATE_MAX + 1).is_none());
    }
}
