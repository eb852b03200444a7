//! Which line of the secret file seals: the first one once every member holds it. Every line opens, from the moment it is read.
//!
//! Gets: secrets at start and at reload, the members. Gives: names and keys to all rooms, through `vault::Crypto`.
//! Never: seals under a line that a living node may lack, so a change of secrets makes nobody shake hands in full.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ftps_store::seal::Secrets;
use ftps_store::vault::Crypto;
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;

/// The secrets, and the line that seals.
#[derive(Debug)]
pub(super) struct Lines {
    crypto: Crypto,
    cluster: Cluster,
    began: Instant,
    now: Mutex<Chosen>,
}

#[derive(Debug)]
struct Chosen {
    secrets: Secrets,
    place: Option<usize>,
}

impl Lines {
    /// For a node that starts: it does not know yet who else lives.
    pub(super) fn new(crypto: Crypto, cluster: Cluster, secrets: Secrets) -> Self {
        let lines = Self { crypto, cluster, began: Instant::now(), now: Mutex::new(Chosen { secrets, place: None }) };
        lines.settle();
        lines
    }

    /// The secret file was read again.
    pub(super) fn set(&self, secrets: Secrets) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Chosen { secrets, place: None };
        self.settle();
    }

    /// Looks again whenever the members change. Runs until it is dropped.
    pub(super) async fn keep(&self) {
        let mut members = self.cluster.watch();
        loop {
            // The store's list of nodes changes without a word.
            let _ = timeout(OFTEN, members.changed()).await;
            self.settle();
            if members.has_changed().is_err() {
                tokio::time::sleep(OFTEN).await;
            }
        }
    }

    /// A number that two nodes have in common when the same secret seals on both; it tells nothing of the secret.
    pub(super) fn generation(&self) -> u32 {
        let keys = self.crypto.derive_all(&[b"generation"]);
        keys.first().and_then(|key| key.first_chunk().copied()).map_or(0, u32::from_be_bytes)
    }

    fn settle(&self) {
        let place = if self.began.elapsed() < ALONE { self.cluster.oldest_line() } else { self.cluster.sealing_line() };
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.place == Some(place) {
            return;
        }
        if now.place.is_some() {
            tracing::info!(line = place + 1, "another line of cluster.secret_file seals from now on");
        }
        now.place = Some(place);
        self.crypto.replace(&now.secrets.sealing_with(place));
    }
}

/// Between two looks.
const OFTEN: Duration = Duration::from_secs(1);
/// Time for a node that starts to learn who else lives: several heartbeats, also those of the store.
const ALONE: Duration = Duration::from_secs(8);
