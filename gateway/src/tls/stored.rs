//! TLS 1.2 sessions in the cluster's store: what a session ID says on every node.
//!
//! Gets: sessions after a full handshake, IDs that a ClientHello offers. Gives: an entry that some node put there, for the same host and client certificate policy.
//! Never: is asked inside a callback of rustls, or finds a session under another name of the server than it was made for.

use std::time::Duration;

use ftps_store::key::Kind;
use ftps_store::vault::Vault;
use ftps_store::wire::{Reader, WireError, Writer};
use zeroize::Zeroizing;

use super::cache::{Entry, TlsId};
use super::sessions::Family;
use super::tickets::TLS_STATE_MAX;
use crate::observe::id::{SessionId, Ulid};

/// Where a session is kept: its ID, the host that the client asked for, the client certificate policy. Another host or policy finds nothing.
pub(super) struct Place(Vec<u8>);

impl Place {
    pub(super) fn new(id: &TlsId, server_name: Option<&str>, policy: [u8; 16]) -> Self {
        let host = server_name.unwrap_or_default().to_ascii_lowercase();
        Self([&id[..], &policy, host.as_bytes()].concat())
    }
}

/// The entry, if the store has one. Waits for the store's deadline at most.
pub(super) async fn find(vault: &Vault, place: &Place) -> Option<Entry> {
    let generation = vault.generation(Kind::Session);
    let body = Zeroizing::new(vault.get(Kind::Session, &place.0).await?);
    decode(&body, generation).ok()
}

/// Puts it there for the rest of its life. Waits for the store's deadline at most.
pub(super) async fn put(vault: &Vault, place: &Place, entry: &Entry, life: Duration) {
    if let Some(body) = encode(entry) {
        vault.put(Kind::Session, &place.0, &body, Some(life)).await;
    }
}

impl super::Tls {
    /// Whether the store of sessions and ticket keys is away: what is changed there now holds for this host alone.
    pub fn has_lost_its_store(&self) -> bool {
        self.0.vault.is_degraded()
    }
}

fn encode(entry: &Entry) -> Option<Zeroizing<Vec<u8>>> {
    let mut writer = Writer::new(HEAD + TLS_STATE_MAX);
    writer.u64(entry.issued).array(&entry.policy).array(&entry.session.0.to_bytes()).array(&entry.family.0.to_bytes()).array(&entry.tls);
    writer.finish().ok().map(Zeroizing::new)
}

fn decode(body: &[u8], generation: u64) -> Result<Entry, WireError> {
    let mut reader = Reader::new(body);
    let (issued, policy) = (reader.u64()?, reader.array()?);
    let (session, family) = (SessionId(Ulid::from_bytes(reader.array()?)), Family(Ulid::from_bytes(reader.array()?)));
    Ok(Entry { tls: reader.rest(TLS_STATE_MAX)?.to_vec(), issued, policy, session, family, generation, fetched: true })
}

/// Time of issue, policy, session, family.
const HEAD: usize = 8 + 16 + 16 + 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::tls::tests::kit::vault;

    fn entry() -> Entry {
        let session = SessionId::now();
        Entry { tls: vec![5; 94], issued: 7, policy: [1; 16], session, family: Family(session.0), generation: 0, fetched: false }
    }

    #[tokio::test]
    async fn an_entry_is_found_under_its_own_id_host_and_policy_only() {
        let vault = vault();
        let entry = entry();
        put(&vault, &Place::new(&[7; 32], Some("A.example"), [1; 16]), &entry, Duration::from_secs(60)).await;
        let found = find(&vault, &Place::new(&[7; 32], Some("a.EXAMPLE"), [1; 16])).await.unwrap();
        assert_eq!((found.tls, found.issued, found.session, found.family), (entry.tls, 7, entry.session, entry.family));
        for (id, host, policy) in [(8, Some("a.example"), 1), (7, Some("b.example"), 1), (7, None, 1), (7, Some("a.example"), 2)] {
            assert!(find(&vault, &Place::new(&[id; 32], host, [policy; 16])).await.is_none());
        }
    }

    #[tokio::test]
    async fn after_a_clearing_nothing_is_found() {
        let vault = vault();
        let place = Place::new(&[7; 32], None, [1; 16]);
        put(&vault, &place, &entry(), Duration::from_secs(60)).await;
        vault.clear(ftps_store::generation::Cache::Sessions).await;
        assert!(find(&vault, &place).await.is_none());
    }

    #[test]
    fn a_body_of_another_form_is_no_entry() {
        let body = encode(&entry()).unwrap();
        assert!(decode(&body, 0).is_ok());
        for cut in 0..HEAD {
            assert!(decode(&body[..cut], 0).is_err(), "cut at {cut}");
        }
        assert!(decode(&vec![0; HEAD + TLS_STATE_MAX + 1], 0).is_err());
        assert!(encode(&Entry { tls: vec![0; TLS_STATE_MAX + 1], ..entry() }).is_none());
    }
}
