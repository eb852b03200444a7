//! What a node answers: as a home to the nodes of sessions, as the node of a session to homes and to siblings' nodes.
//!
//! Gets: words of nodes, everything that one has. Gives: ports that no sibling has, proof for sessions of the same client, who has company.
//! Never: waits longer than it was asked to, lends what proves one client to another.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::desk::{Desk, POLL};
use super::table::{Claim, Slot, Untold};
use super::words::{Answer, Asked, Everything, Letter, Word, unhex};
use crate::data::clients::Client;
use crate::data::waits::Keepsake;
use crate::observe::id::Incarnation;
use crate::tls::Token;

impl Desk {
    pub(super) async fn hear(&self, from: Incarnation, letter: Letter) -> Answer {
        let Letter { digest, silent, word } = letter;
        self.adopt(&silent);
        self.look();
        match word {
            Word::Join { session, client } => {
                let now = Instant::now();
                let (company, untold, sure) = {
                    let mut table = self.table();
                    let (company, untold) = table.join(from, session, client, now);
                    (company, untold, table.agrees(digest, now))
                };
                self.introduce(untold).await;
                // Others may live that are not known here yet: one that asks for each port is on the safe side.
                Answer::Joined { company: company || !sure }
            }
            Word::Leave { session, proof } => {
                let keepsake = proof.and_then(|proof| self.0.tls.borrow(&unhex(&proof)?)).map(|keys| keys as Keepsake);
                let gone = self.table().leave(session, keepsake);
                drop(gone);
                self.0.freed.notify_waiters();
                Answer::Done
            }
            Word::Reserve { session, serial, slot, ports, patience } => {
                let claim = Claim { node: from, session, serial };
                self.grant(claim, slot, &ports, digest, Duration::from_millis(patience.into()).min(POLL)).await
            }
            Word::Release { session, serial } => {
                self.table().let_go(session, Some(serial));
                self.0.freed.notify_waiters();
                Answer::Done
            }
            Word::Company { session } => match self.0.waits.meet(session) {
                Some(wait) => Answer::Waits { wait: wait.map(|open| (open.serial, open.port)) },
                None => Answer::Unknown,
            },
            Word::Proof { token, client } => Answer::Proof { proof: self.proof(token, &client) },
            Word::Lessee { ip, port } => {
                let table = self.table();
                Answer::Leased { lessee: table.lessee(ip, port).filter(|_| table.agrees(digest, Instant::now())) }
            }
            Word::Look => Answer::Looked { silent: self.silent(from) },
            Word::Left { session, client, proof } => {
                let keepsake = unhex(&proof).and_then(|bytes| self.0.tls.borrow(&bytes)).map(|keys| keys as Keepsake);
                let mut table = self.table();
                let gone = table.find(&client).map(|key| table.keep(key, session, keepsake));
                drop(table);
                drop(gone);
                Answer::Done
            }
        }
    }

    pub(super) async fn hear_all(&self, from: Incarnation, everything: Everything) {
        self.adopt(&everything.silent);
        self.look();
        let untold = self.table().replace(from, everything, Instant::now());
        self.0.freed.notify_waiters();
        self.introduce(untold).await;
    }

    /// Tells sessions that they have company, and learns what they wait for.
    async fn introduce(&self, untold: Untold) {
        let members = self.0.cluster.members();
        let told = untold.into_iter().filter_map(|(node, session)| {
            let node = members.iter().find(|member| member.incarnation == node)?;
            Some(async move { (session, self.say(node, Word::Company { session }, INTRODUCE).await) })
        });
        for (session, answer) in join_all(told).await {
            if let Some(Answer::Waits { wait: Some((serial, port)) }) = answer {
                self.table().note(session, serial, port);
            }
        }
    }

    /// Grants nothing to one that sees other homes, which are `digest`: another home may have granted what is free here.
    async fn grant(&self, claim: Claim, asked: Asked, ports: &[u16], digest: u64, patience: Duration) -> Answer {
        let began = Instant::now();
        let mut deadline = began + patience;
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let (mut table, now) = (self.table(), Instant::now());
                let slot = match asked {
                    Asked::Client => table.slot_of(claim.session),
                    Asked::Address(ip) => Some(Slot::Address(ip)),
                };
                let Some(slot) = slot else { return Answer::Unknown };
                if !table.sees(digest) {
                    drop(table);
                    return Answer::Looked { silent: self.silent(claim.node) };
                }
                let settled = table.is_settled(now);
                let granted = if settled { table.reserve(slot, claim, ports, now) } else { None };
                if let Some(port) = granted {
                    return Answer::Granted { port };
                }
                if !settled {
                    // Whoever asks has to wait, patient or not.
                    deadline = began + POLL;
                }
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Answer::Busy;
            }
        }
    }

    fn proof(&self, token: Token, client: &Client) -> Option<String> {
        let session = match token {
            Token::Ticket { session, .. } => session,
            Token::Id(id) => self.0.tls.holder(&id)?,
        };
        let mine = self.0.waits.keepsake_for(session, client);
        let keepsake = mine.or_else(|| self.table().left_by(session, client))?;
        self.lend(&keepsake)
    }
}

/// For the node of a sibling to answer, within the join of another one.
const INTRODUCE: Duration = Duration::from_millis(120);
