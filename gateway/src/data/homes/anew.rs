//! Telling the homes everything: when the members change, when a word did not arrive, and once a minute.
//!
//! Gets: the waits of this node, the members. Gives: to each home all that it is the home of; from a home that is none any more what ended sessions left.
//! Never: a difference to what was told before; whoever hears it needs no memory.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::desk::{Desk, PATIENCE, address_key, weight};
use super::table::{Leased, Told};
use super::words::{EVERYTHING, Everything, Word};
use crate::cluster::Member as Node;
use crate::data::waits::Open;
use crate::observe::id::Incarnation;

impl Desk {
    /// Everything, to every home. Whether all have heard it.
    pub(super) async fn tell_everything(&self) -> bool {
        let (homes, me) = (self.homes(), self.0.cluster.incarnation());
        let digest = digest_of(&homes);
        let members: Vec<Incarnation> = self.0.cluster.members().iter().map(|member| member.incarnation).collect();
        self.table().set_members(digest, &members, Instant::now());
        let home_of = |key: &[u8]| homes.iter().map(|node| node.incarnation).max_by_key(|node| weight(*node, key));
        let (serial, everyone) = self.0.waits.everyone();
        let nothing = || Everything { digest, serial, sessions: Vec::new(), leases: Vec::new() };
        let mut all: HashMap<Incarnation, Everything> = homes.iter().map(|home| (home.incarnation, nothing())).collect();
        for (session, client, company, wait) in everyone {
            if let Some(Open { serial, port, ip, .. }) = wait.filter(|open| open.lease)
                && let Some(all) = home_of(&address_key(ip)).and_then(|home| all.get_mut(&home))
            {
                all.leases.push(Leased { session, ip, serial, port });
            }
            if let Some(all) = home_of(client.user.as_bytes()).and_then(|home| all.get_mut(&home)) {
                let wait = wait.filter(|_| company).map(|open| (open.serial, open.port));
                all.sessions.push(Told { session, client, company, wait });
            }
        }
        let tell = homes.iter().filter_map(|home| Some((home, all.remove(&home.incarnation)?))).map(|(home, everything)| async move {
            if home.incarnation == me {
                self.hear_all(me, everything).await;
                return true;
            }
            self.0.cluster.ask_json::<()>(home, EVERYTHING, &everything, EVERYTHING_WITHIN).await.is_ok()
        });
        let heard = join_all(tell.collect::<Vec<_>>()).await.into_iter().all(|heard| heard);
        if !homes.iter().any(|home| home.incarnation == me) {
            self.hand_over().await;
        }
        heard
    }

    /// This node is no home any more: what ended sessions left with it goes to the next ones.
    async fn hand_over(&self) {
        let departed = self.table().departed();
        for (client, session, keepsake) in departed {
            let (Some(home), Some(proof)) = (self.home(client.user.as_bytes()), self.lend(&keepsake)) else { continue };
            self.say(&home, Word::Left { session, client, proof }, PATIENCE).await;
        }
    }
}

fn digest_of(homes: &[Node]) -> u64 {
    let mut ids: Vec<_> = homes.iter().map(|node| node.incarnation.0.to_bytes()).collect();
    ids.sort_unstable();
    let digest = ids.iter().fold(Sha256::new(), |digest, id| digest.chain_update(id)).finalize();
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// For everything to be heard.
const EVERYTHING_WITHIN: Duration = Duration::from_secs(2);
