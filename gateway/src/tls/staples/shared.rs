//! Responses between the nodes: through the store for who starts, from node to node for who runs.
//!
//! Gets: what this node has verified; bytes of the store and of peers. Gives: the newest response of the cluster to every node.
//! Never: believes either: whoever can write there can at most withhold a response. A failure is never written.

use std::sync::Arc;
use std::time::Duration;

use ftps_proto::ocsp::MAX_RESPONSE;
use ftps_store::key::Kind;

use super::Staples;
use super::holder::Holder;
use crate::cluster::{Handlers, Refused};
use crate::observe::staples::StapleSource;

impl Staples {
    /// Answers other nodes.
    pub fn answer(&self, handlers: &mut Handlers) {
        let staples = self.clone();
        handlers.on(EXCHANGE, ID + MAX_RESPONSE, move |_, body| {
            let staples = staples.clone();
            async move { staples.exchange(&body) }
        });
    }

    /// Takes the response of another node, if it brings one, and gives this node's own. Empty: there is none, or the certificate is not served here.
    fn exchange(&self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let (id, bytes) = body.split_at_checked(ID).ok_or(Refused::Invalid)?;
        let Some(holder) = self.holders().into_iter().find(|holder| holder.id() == id && holder.responder().is_some()) else { return Ok(Vec::new()) };
        if !bytes.is_empty() {
            self.take(&holder, bytes, StapleSource::Peer);
        }
        Ok(holder.response(self.now()).map(|response| response.bytes.to_vec()).unwrap_or_default())
    }

    pub(super) async fn take_from_store(&self, holder: &Holder) {
        if let Some(bytes) = self.0.vault.get(Kind::Staple, holder.id()).await {
            self.take(holder, &bytes, StapleSource::Store);
        }
    }

    pub(super) async fn take_from_peers(&self, holder: &Holder) {
        for (_, answer) in self.0.cluster.ask_all(EXCHANGE, holder.id().to_vec(), PATIENCE).await {
            if let Ok(bytes) = answer
                && !bytes.is_empty()
            {
                self.take(holder, &bytes, StapleSource::Peer);
            }
        }
    }

    /// Puts the response of this node into the store and tells all nodes. Gives the names of those that answered, and of those that did not.
    pub(super) async fn publish(&self, holder: &Arc<Holder>) -> (Vec<String>, Vec<String>) {
        let Some(response) = holder.response(self.now()) else { return Default::default() };
        let body = [&holder.id()[..], &response.bytes].concat();
        let (_, answers) = tokio::join!(self.put(holder, &response.bytes, response.said.next_update), self.0.cluster.ask_all(EXCHANGE, body, PATIENCE));
        let (mut told, mut silent) = (Vec::new(), Vec::new());
        for (member, answer) in answers {
            match answer {
                Ok(bytes) => {
                    told.push(member.name);
                    // It may know of something newer.
                    if !bytes.is_empty() && *bytes != *response.bytes {
                        self.take(holder, &bytes, StapleSource::Peer);
                    }
                }
                Err(_) => silent.push(member.name),
            }
        }
        (told, silent)
    }

    /// Unless what is there is newer; that is taken then.
    async fn put(&self, holder: &Holder, bytes: &[u8], next_update: i64) {
        let (Some(question), now) = (holder.question(), self.now()) else { return };
        let Ok((mine, _)) = question.verify(bytes, now) else { return };
        let life = Duration::from_secs(u64::try_from(next_update - now).unwrap_or(0));
        let change = |there: Option<&[u8]>| {
            let theirs = there.and_then(|there| question.verify(there, now).ok());
            theirs.is_none_or(|(theirs, _)| mine.supersedes(&theirs)).then(|| bytes.to_vec())
        };
        let (there, _) = self.0.vault.update(Kind::Staple, holder.id(), Some(life), change).await;
        if let Some(there) = there.filter(|there| there != bytes) {
            self.take(holder, &there, StapleSource::Store);
        }
    }

    /// Something that is not right is as good as nothing.
    fn take(&self, holder: &Holder, bytes: &[u8], source: StapleSource) {
        if let Err(fault) = self.offer(holder, bytes, source) {
            tracing::warn!(certificate = holder.names(), source = crate::observe::Label::label(source), %fault, "an OCSP response of the cluster does not verify and is not stapled");
        }
    }
}

/// A certificate's id, and a response or nothing; answered by a response or nothing.
const EXCHANGE: &str = "tls/staple";
/// Bytes of a certificate's id.
const ID: usize = size_of::<super::CertificateId>();
/// For all nodes to answer.
const PATIENCE: Duration = Duration::from_secs(2);
