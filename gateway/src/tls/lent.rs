//! What proves a session, on its way to another node of the cluster that holds a session of the same client.
//!
//! Gets: the keys of a session that lives or lived here. Gives: bytes for a peer, and from such bytes keys that this node's data connections accept.
//! Never: is written to a log or a store; travels outside the peers' own TLS; makes proof of one client for another (who lends decides, by `data`'s rule).

use std::sync::Arc;

use ftps_proto::hello::ClientHello;
use ftps_store::seal::KEY;
use ftps_store::wire::{Reader, WireError, Writer};
use zeroize::Zeroizing;

use super::cache::TlsId;
use super::epochs::{EpochId, StateKey};
use super::sessions::{Family, KEYS_MAX, STATES_MAX, SessionKeys};
use super::tickets::{TLS_STATE_MAX, Ticket};
use super::{Shared, Tls};
use crate::observe::id::{Incarnation, SessionId, Ulid};

/// What a ClientHello shows, for a question to the node that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Token {
    /// A ticket of that session, made by that start of a node.
    Ticket {
        /// The node.
        incarnation: Incarnation,
        /// The session.
        session: SessionId,
    },
    /// A TLS 1.2 session ID.
    Id(TlsId),
}

/// The part of [`SessionKeys`] that proves.
pub(super) struct Proof {
    pub(super) session: SessionId,
    pub(super) family: Family,
    pub(super) own: Vec<StateKey>,
    pub(super) previous: Option<(SessionId, Vec<StateKey>)>,
    pub(super) states: Vec<(TlsId, Vec<u8>)>,
}

impl Tls {
    /// What the hello shows that neither `keys` nor `siblings` prove; `None`: nothing, or nothing that anybody else could prove.
    pub fn unproven(&self, hello: &ClientHello, keys: &Arc<SessionKeys>, siblings: &[Arc<SessionKeys>]) -> Option<Token> {
        let ring = self.0.ring();
        let mut all = std::iter::once(keys).chain(siblings);
        let ticket = hello.tickets().find_map(|bytes| {
            let ticket = Ticket::parse(bytes)?;
            Some((ticket.epoch, ticket.route(&ring)?))
        });
        if let Some((epoch, route)) = ticket {
            let known = all.any(|one| one.key(route.session, epoch, &self.0.epochs).is_some() || self.0.is_kin_known(one, epoch, route.session, route.family));
            return (!known).then_some(Token::Ticket { incarnation: route.incarnation, session: route.session });
        }
        let id = TlsId::try_from(hello.resumable_id()?).ok()?;
        let kin = |one: &Arc<SessionKeys>| self.0.cache.find(&id, 0, self.0.generation()).is_some_and(|entry| entry.family == one.family());
        let known = all.any(|one| one.state(&id).is_some() || kin(one));
        (!known).then_some(Token::Id(id))
    }

    /// The living session of this node that holds a TLS 1.2 session ID.
    pub fn holder(&self, id: &TlsId) -> Option<SessionId> {
        self.0.registry.holder(id).map(|keys| keys.id())
    }

    /// What proves a session, for a peer. Only over the peers' own TLS.
    pub fn lend(&self, keys: &SessionKeys) -> Option<Zeroizing<Vec<u8>>> {
        encode(&keys.proof(&self.0.epochs)).ok()
    }

    /// Takes what a peer lent. The keys prove that session as long as they are held; [`Tls::living`] finds them. `None`: they are not of the form.
    pub fn borrow(&self, bytes: &[u8]) -> Option<Arc<SessionKeys>> {
        let proof = decode(bytes)?;
        let known = self.0.registry.living(proof.session);
        Some(known.unwrap_or_else(|| SessionKeys::borrowed(proof, &self.0.registry, self.0.terms.load_full())))
    }
}

impl Shared {
    /// Whether a ticket of a session that is not known here opens because its family is that of `keys`.
    fn is_kin_known(&self, keys: &SessionKeys, epoch: EpochId, session: SessionId, family: Family) -> bool {
        keys.family() == family && self.epochs.key(epoch, session).is_some() && self.registry.living(session).is_none_or(|other| !other.is_claimed())
    }
}

fn encode(proof: &Proof) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let mut writer = Writer::new(LENT_MAX);
    writer.u8(VERSION).array(&proof.session.0.to_bytes()).array(&proof.family.0.to_bytes());
    keys_to(&mut writer, &proof.own);
    let none = (SessionId(Ulid::from_bytes([0; 16])), Vec::new());
    let (session, keys) = proof.previous.as_ref().unwrap_or(&none);
    writer.array(&session.0.to_bytes());
    keys_to(&mut writer, keys);
    writer.u16(u16::try_from(proof.states.len()).unwrap_or(0));
    for (id, state) in &proof.states {
        writer.array(id).bytes(state);
    }
    writer.finish().map(Zeroizing::new)
}

fn keys_to(writer: &mut Writer, keys: &[StateKey]) {
    writer.u16(u16::try_from(keys.len()).unwrap_or(0));
    for key in keys {
        writer.array(&key.epoch).array(&**key.key);
    }
}

fn decode(bytes: &[u8]) -> Option<Proof> {
    let mut reader = Reader::new(bytes);
    if reader.u8().ok()? != VERSION {
        return None;
    }
    let id = |reader: &mut Reader<'_>| reader.array().ok().map(Ulid::from_bytes);
    let (session, family) = (SessionId(id(&mut reader)?), Family(id(&mut reader)?));
    let own = keys_from(&mut reader)?;
    let (previous, keys) = (id(&mut reader)?, keys_from(&mut reader)?);
    let count = usize::from(reader.u16().ok()?);
    if count > STATES_MAX {
        return None;
    }
    let states = (0..count).map(|_| Some((reader.array().ok()?, reader.bytes(TLS_STATE_MAX).ok()?.to_vec()))).collect::<Option<_>>()?;
    reader.end().ok()?;
    let previous = (previous.to_bytes() != [0; 16]).then_some((SessionId(previous), keys));
    Some(Proof { session, family, own, previous, states })
}

fn keys_from(reader: &mut Reader<'_>) -> Option<Vec<StateKey>> {
    let count = usize::from(reader.u16().ok()?);
    if count > KEYS_MAX {
        return None;
    }
    (0..count).map(|_| Some(StateKey { epoch: reader.array().ok()?, key: Arc::new(Zeroizing::new(reader.array::<KEY>().ok()?)) })).collect()
}

const VERSION: u8 = 1;
/// Keys of both sessions, states.
pub const LENT_MAX: usize = 64 + 2 * KEYS_MAX * (8 + KEY) + STATES_MAX * (36 + TLS_STATE_MAX);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn key(byte: u8) -> StateKey {
        StateKey { epoch: [byte; 8], key: Arc::new(Zeroizing::new([byte; KEY])) }
    }

    fn proof() -> Proof {
        let session = SessionId::now();
        Proof {
            session,
            family: Family(session.0),
            own: vec![key(1), key(2)],
            previous: Some((SessionId::now(), vec![key(3)])),
            states: vec![([4; 32], vec![5; 94])],
        }
    }

    #[test]
    fn what_is_lent_arrives_whole_and_nothing_else_is_taken() {
        let proof = proof();
        let bytes = encode(&proof).unwrap();
        let back = decode(&bytes).unwrap();
        assert_eq!((back.session, back.family, back.states), (proof.session, proof.family, proof.states.clone()));
        let plain = |keys: &[StateKey]| keys.iter().map(|key| (key.epoch, **key.key)).collect::<Vec<_>>();
        assert_eq!(plain(&back.own), plain(&proof.own));
        let (was, is) = (proof.previous.unwrap(), back.previous.unwrap());
        assert_eq!((was.0, plain(&was.1)), (is.0, plain(&is.1)));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_none());
        let none = Proof { previous: None, own: Vec::new(), states: Vec::new(), ..self::proof() };
        assert!(decode(&encode(&none).unwrap()).unwrap().previous.is_none());
    }
}
