//! Telling the homes everything: when the members change, when a word did not arrive, and once a minute.
//!
//! Gets: the waits of this node, the members. Gives: to each home all that it is the home of; from a home that is none any more what ended sessions left.
//! Never: a difference to what was told before; whoever hears it needs no memory.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::desk::{Desk, PATIENCE};
use super::sight::{Seen, address_key, weight};
use super::table::{Leased, Told};
use super::words::{Answer, EVERYTHING, Everything, HOME, Word};
use crate::cluster::Member as Node;
use crate::data::waits::Open;
use crate::observe::id::Incarnation;

impl Desk {
    /// Everything, to every home. Whether all have heard it.
    pub(super) async fn tell_everything(&self) -> bool {
        let me = self.0.cluster.incarnation();
        // Before the look at what is held: whoever is granted something later sees that the homes are others, and gives it back.
        let seen = self.look();
        let Seen { homes, digest } = &*seen;
        let digest = *digest;
        // Homes are not silent themselves: one list is right for all of them.
        let silent = self.silent(me);
        let home_of = |key: &[u8]| homes.iter().map(|node| node.incarnation).max_by_key(|node| weight(*node, key));
        let (serial, everyone) = self.0.waits.everyone();
        let nothing = || Everything { digest, silent: silent.clone(), serial, sessions: Vec::new(), leases: Vec::new() };
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
        let (heard, ()) = join(join_all(tell.collect::<Vec<_>>()), self.tell_others(homes)).await;
        if !homes.iter().any(|home| home.incarnation == me) {
            self.hand_over().await;
        }
        heard.into_iter().all(|heard| heard)
    }

    /// Members that are no homes learn it, as far as they hear anything: one that was only slow has to stop granting.
    async fn tell_others(&self, homes: &[Node]) {
        let (members, me) = (self.0.cluster.members(), self.0.cluster.incarnation());
        let others = members.iter().filter(|node| node.incarnation != me && !homes.iter().any(|home| home.incarnation == node.incarnation));
        // Not said as other words are: one more silence is no news.
        let tell = others.map(|node| async move {
            let letter = self.letter(node.incarnation, Word::Look);
            self.0.cluster.ask_json::<Answer>(node, HOME, &letter, PATIENCE).await
        });
        join_all(tell).await;
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

/// For everything to be heard.
const EVERYTHING_WITHIN: Duration = Duration::from_secs(2);
