//! Data connections that other nodes bring, and their questions whose one is.
//!
//! Gets: connections to the peer port behind their `D`, questions of peers. Gives: arrivals to this node's sessions; a verdict for each.
//! Never: reads a header before it has chosen what that is bound to, or waits longer than 5 s for one.

use std::time::Duration;

use ftps_proto::hello::ClientHello;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::header::{FRAME_MAX, Header, Nonce};
use super::peers::{Answer, By, ELSEWHERE, NOT_WAITING, OWNER, Question, TAKEN, UNKNOWN};
use super::route::{Router, Shown};
use super::waits::Landed;
use crate::cluster::{DataLink, Handlers};
use crate::net::Arrival;
use crate::observe::event::DataOutcome;
use crate::observe::id::SessionId;
use crate::observe::peers::PeerRefusal;
use crate::observe::{Event, PeerEvent, Subject};

/// Registers what this node answers to its peers about data connections.
pub fn register(router: &Router, handlers: &mut Handlers) {
    let answering = router.clone();
    handlers.on_json(OWNER, QUESTION_MAX, move |_, question: Question| {
        let answer = answering.answer(&question);
        async move { Ok(answer) }
    });
    let receiving = router.clone();
    handlers.on_data(move |link| {
        let router = receiving.clone();
        async move { router.take_over(link).await }
    });
}

impl Router {
    /// Who of this node is meant.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        let landed = Landed { port: question.port, at: ago(question.waited) };
        let of_session = |session, family| {
            let living = self.waits.living(session, family);
            let stand_in = if living.is_none() { self.stand_in(session) } else { None };
            let owner = living.and_then(|living| self.waits.owner_for(landed, living));
            let client = living.filter(|_| owner.is_none()).and_then(|living| self.waits.client(living));
            Answer { alive: living.is_some(), owner, lease: false, client, stand_in }
        };
        match &question.by {
            By::Session { session, family } => of_session(*session, *family),
            By::TlsId { id } => match (self.shown)(&ClientHello { session_id: id.clone(), ..ClientHello::default() }) {
                Shown::Here { session, family } => of_session(session, family),
                Shown::There { .. } | Shown::Nothing => Answer::default(),
            },
            By::Address { ip } => {
                let unproven = self.waits.unproven_owner(*ip, landed);
                Answer { owner: unproven.map(|one| one.session), lease: unproven.is_some_and(|one| one.lease), ..Answer::default() }
            }
            By::Client { client } => Answer { owner: self.waits.owner_of_client(landed, client), ..Answer::default() },
        }
    }

    /// Takes a connection that a peer brings.
    async fn take_over(&self, link: DataLink) {
        let from = link.from;
        let refused = match timeout(HEADER, self.header(link)).await {
            Ok(Ok((link, header))) => return self.deliver_to_owner(link, header).await,
            Ok(Err(refused)) => refused,
            Err(_late) => PeerRefusal::Timeout,
        };
        self.observer.event(Subject { peer: Some(from), ..Subject::default() }, &Event::Peer(PeerEvent::Refused { reason: refused }));
    }

    async fn header(&self, mut link: DataLink) -> Result<(DataLink, Header), PeerRefusal> {
        // Without peers nobody has a secret in common with us.
        let ring = self.peers.as_ref().map(super::peers::Peers::ring).ok_or(PeerRefusal::NoCommonSecret)?;
        let mut nonce = Nonce::default();
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| PeerRefusal::Closed)?;
        link.stream.write_all(&nonce).await.map_err(|_| PeerRefusal::Closed)?;
        let length = link.stream.read_u32().await.map_err(|_| PeerRefusal::Closed)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_MAX).ok_or(PeerRefusal::HeaderSize)?;
        let mut sealed = vec![0; length];
        link.stream.read_exact(&mut sealed).await.map_err(|_| PeerRefusal::Closed)?;
        Ok((link, Header::open(&ring, &nonce, &sealed)?))
    }

    /// One verdict, then bytes. The verdict goes first: what the session writes must not come before it.
    async fn deliver_to_owner(&self, link: DataLink, header: Header) {
        let DataLink { mut stream, stranger, .. } = link;
        drop(stranger);
        let (verdict, owner) = self.verdict(&header).await;
        if stream.write_all(&verdict).await.is_err() {
            return;
        }
        let Some(owner) = owner else { return };
        let Header { port, peer, waited, read, .. } = header;
        let arrival = Arrival { stream, read, peer, port, since: ago(waited) };
        let outcome = self.live.deliver(owner, arrival).map_or(DataOutcome::NotWaiting, |()| DataOutcome::FromPeer);
        self.observer.event(Subject { session: Some(owner), peer: Some(peer), user: None }, &Event::DataConnection { outcome });
    }

    async fn verdict(&self, header: &Header) -> (Vec<u8>, Option<SessionId>) {
        let Some(living) = self.waits.living(header.session, header.family) else { return (vec![UNKNOWN], None) };
        let landed = Landed { port: header.port, at: ago(header.waited) };
        if let Some(owner) = self.waits.owner_for(landed, living) {
            return (vec![TAKEN], Some(owner));
        }
        match self.sibling(living, landed).await {
            Some((member, session)) => {
                let mut verdict = vec![ELSEWHERE];
                verdict.extend_from_slice(&member.incarnation.0.to_bytes());
                verdict.extend_from_slice(&session.0.to_bytes());
                (verdict, None)
            }
            None => (vec![NOT_WAITING], None),
        }
    }
}

/// What a peer says in time that has passed: clocks differ. What the message took makes it later than it was, never earlier.
fn ago(passed: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(passed).unwrap_or(now)
}

/// For a header to come.
const HEADER: Duration = Duration::from_secs(5);

/// Bytes of a question: a user's name is the longest in it.
const QUESTION_MAX: usize = 4096;
