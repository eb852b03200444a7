//! The desk that every node has with the homes: registers its sessions, asks for ports, borrows proof, and answers where it is a home itself.
//!
//! Gets: sessions that log in, PASV, tokens that a ClientHello shows, words of other nodes, changes of the members. Gives: waits that no sibling shares.
//! Never: makes a login fail; waits longer than 200 ms for one home; goes on with a silent home while another one answers.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ftps_proto::machine::io::PassiveError;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::sight::{Suspects, address_key};
use super::table::Table;
use super::words::{Answer, Asked, EVERYTHING, EVERYTHING_MAX, Everything, HOME, Letter, WORD_MAX, Word, hex, unhex};
use crate::cluster::{AskError, Cluster, Handlers, Member as Node, Refused};
use crate::data::clients::Client;
use crate::data::waits::{Keepsake, Member, Open, Wait, Waits};
use crate::observe::id::{Incarnation, SessionId};
use crate::tls::{SessionKeys, Tls, Token};

/// This node's desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) waits: Waits,
    pub(super) cluster: Cluster,
    pub(super) tls: Tls,
    table: Mutex<Table>,
    /// Something is free at this home.
    pub(super) freed: Notify,
    /// Everything is to be told anew.
    pub(super) anew: Notify,
    suspects: Mutex<Suspects>,
}

/// What a home says to a wish for a port.
enum Said {
    Granted(u16, Node),
    Busy,
    /// No home understands the question: this node decides alone, and an arrival that two sessions wait for is given to none.
    Nobody,
}

impl Desk {
    /// A desk for the sessions of `waits`, whose keys are those of `tls`.
    pub fn new(waits: Waits, cluster: Cluster, tls: Tls) -> Self {
        let (table, suspects) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { waits, cluster, tls, table, freed: Notify::new(), anew: Notify::new(), suspects }))
    }

    /// Registers what this node answers.
    pub fn answer(&self, handlers: &mut Handlers) {
        let desk = self.clone();
        handlers.on_json(HOME, WORD_MAX, move |caller, letter: Letter| {
            let desk = desk.clone();
            async move { Ok::<_, Refused>(desk.hear(caller.incarnation, letter).await) }
        });
        let desk = self.clone();
        handlers.on_json(EVERYTHING, EVERYTHING_MAX, move |caller, all: Everything| {
            let desk = desk.clone();
            async move {
                desk.hear_all(caller.incarnation, all).await;
                Ok::<_, Refused>(())
            }
        });
    }

    /// Tells homes of everything again when they change, or a word did not arrive; asks silent ones whether they are back. Runs until it is dropped.
    pub async fn run(&self) {
        tokio::join!(self.keep_told(), self.probe());
    }

    async fn keep_told(&self) {
        let mut members = self.0.cluster.watch();
        loop {
            let whole = self.tell_everything().await;
            let next = Instant::now() + if whole { EVERY } else { AGAIN };
            // A silent one that may be a home again has to hear it.
            let next = self.suspects().until().map_or(next, |until| next.min(until));
            let news = async {
                tokio::select! {
                    _ = members.changed() => {}
                    () = self.0.anew.notified() => sleep(DEBOUNCE).await,
                }
            };
            let _ = timeout_at(next, news).await;
        }
    }

    /// A session has logged in. Registers it before its client learns so.
    pub async fn enter(&self, member: &mut Member, session: SessionId, client: &Client, keepsake: Keepsake) {
        let desk = self.clone();
        let user = client.user.clone();
        Waits::at_parting(member, move |company| desk.part(session, user, company.then_some(keepsake)));
        for _ in 0..HOMES {
            let Some(home) = self.home(client.user.as_bytes()) else { break };
            let word = Word::Join { session, client: client.clone() };
            if let Some(Answer::Joined { company }) = self.say(&home, word, PATIENCE).await {
                if company {
                    self.0.waits.meet(session);
                }
                return;
            }
        }
        // Others may live; whoever is its home learns of it when there is one.
        self.0.waits.meet(session);
        self.0.anew.notify_one();
    }

    /// A port for `session`, as [`Waits::open`] gives it, that no session of its client on any node waits on, nor with `lease` any other of `ip`.
    ///
    /// # Errors
    /// `Busy` when every port stayed taken for 10 s.
    pub async fn open(&self, session: SessionId, ip: IpAddr, lease: bool) -> Result<Wait, PassiveError> {
        let deadline = Instant::now() + self.0.waits.patience();
        for tries in 1.. {
            if let Some(wait) = self.try_open(session, ip, lease).await? {
                return Ok(wait);
            }
            // Once around the ports, then a rest.
            sleep(if tries % AROUND == 0 { REST } else { BREATH }).await;
            if Instant::now() >= deadline {
                return Err(PassiveError::Busy);
            }
        }
        Err(PassiveError::Busy)
    }

    async fn try_open(&self, session: SessionId, ip: IpAddr, lease: bool) -> Result<Option<Wait>, PassiveError> {
        let waits = &self.0.waits;
        let (company, seen) = (waits.has_company(session), self.look().digest);
        let (serial, mut ports) = waits.free(session, ip, lease).ok_or(PassiveError::Busy)?;
        if ports.is_empty() {
            waits.freed(POLL).await;
            return Ok(None);
        }
        let mut homes = Vec::new();
        for slot in [company.then_some(Asked::Client), lease.then_some(Asked::Address(ip))].into_iter().flatten() {
            // With both to be asked, another port is tried at once.
            let patience = if company && lease && ports.len() > 1 { Duration::ZERO } else { POLL };
            match self.reserve(session, serial, slot, &ports, patience).await {
                Said::Granted(port, home) => {
                    ports = vec![port];
                    homes.push(home);
                }
                Said::Nobody => ports.truncate(1),
                Said::Busy => {
                    self.release(session, serial, homes);
                    return Ok(None);
                }
            }
        }
        let (desk, told) = (self.clone(), homes.clone());
        let ended = Box::new(move |()| desk.release(session, serial, told));
        let wait = waits.open_granted(session, Open { serial, port: ports[0], ip, lease, since: Instant::now() }, company, ended);
        if wait.is_none() {
            self.release(session, serial, homes);
        }
        // Whoever is a home now has been told before this wait was there, or will be.
        Ok(wait.filter(|_| self.look().digest == seen))
    }

    async fn reserve(&self, session: SessionId, serial: u64, slot: Asked, ports: &[u16], patience: Duration) -> Said {
        let Some(client) = self.0.waits.client(session) else { return Said::Nobody };
        let mut nothing = Said::Nobody;
        for _ in 0..=HOMES {
            let home = match slot {
                Asked::Client => self.home(client.user.as_bytes()),
                Asked::Address(ip) => self.home(&address_key(ip)),
            };
            let Some(home) = home else { break };
            let waiting = u16::try_from(patience.as_millis()).unwrap_or(0);
            let word = Word::Reserve { session, serial, slot, ports: ports.to_vec(), patience: waiting };
            match self.say(&home, word, RESERVE + patience).await {
                Some(Answer::Granted { port }) if ports.contains(&port) => return Said::Granted(port, home),
                Some(Answer::Busy | Answer::Looked { .. }) => return Said::Busy,
                // A new home.
                Some(Answer::Unknown) => drop(self.say(&home, Word::Join { session, client: client.clone() }, PATIENCE).await),
                Some(_) => {}
                // It may have granted one all the same; the next one is asked later, when it has been told everything.
                None if self.suspects().contains(home.incarnation) => nothing = Said::Busy,
                None => {}
            }
        }
        nothing
    }

    /// What proves a session that a ClientHello shows to `session` is fetched from the node that has it, and kept for the client of `session`. Without an
    /// answer within 200 ms it is no proof.
    pub async fn borrow(&self, session: SessionId, token: Token) {
        let Some(client) = self.0.waits.client(session) else { return };
        let members = self.0.cluster.members();
        let home = self.home(client.user.as_bytes());
        let mut asked: Vec<Node> = match token {
            Token::Ticket { incarnation, .. } => members.iter().filter(|member| member.incarnation == incarnation).cloned().collect(),
            Token::Id(_) => members.to_vec(),
        };
        asked.retain(|node| node.reachable);
        asked.extend(home.filter(|home| !asked.iter().any(|other| other.incarnation == home.incarnation)));
        let word = Word::Proof { token, client };
        let answers = join_all(asked.iter().map(|node| self.say(node, word.clone(), PATIENCE))).await;
        let proofs = answers.into_iter().filter_map(|answer| match answer {
            Some(Answer::Proof { proof }) => proof,
            _ => None,
        });
        for keys in proofs.filter_map(|proof| self.0.tls.borrow(&unhex(&proof)?)) {
            self.0.waits.adopt(session, keys.id(), keys);
        }
    }

    /// Who leases a port for connections without proof from this address, and its node, as the home of the address knows it. `None`: nobody, or it is not sure.
    pub async fn lessee(&self, ip: IpAddr, port: u16) -> Option<(Incarnation, SessionId)> {
        let home = self.home(&address_key(ip))?;
        match self.say(&home, Word::Lessee { ip, port }, PATIENCE).await {
            Some(Answer::Leased { lessee }) => lessee,
            _ => None,
        }
    }

    /// A living session of the client of one that has ended, and its node.
    pub fn stand_in(&self, ended: SessionId) -> Option<(Incarnation, SessionId)> {
        self.table().stand_in(ended)
    }

    /// Says one word to a node, which may be this one. `None`: no answer; another node stands in for it for a while.
    pub(super) async fn say(&self, node: &Node, word: Word, within: Duration) -> Option<Answer> {
        let me = self.0.cluster.incarnation();
        let letter = self.letter(node.incarnation, word);
        if node.incarnation == me {
            // A home that is this node answers at once, but for what it asks others.
            return Some(Box::pin(self.hear(me, letter)).await);
        }
        match self.0.cluster.ask_json(node, HOME, &letter, within).await {
            Ok(answer) => {
                if let Answer::Looked { silent } = &answer {
                    self.learn(node.incarnation, silent);
                }
                Some(answer)
            }
            Err(AskError::Refused(Refused::Busy)) => Some(Answer::Busy),
            // It is of an older version, or did not understand: it lives.
            Err(AskError::Refused(_)) => None,
            Err(_) => {
                self.suspects().add(node.incarnation, Instant::now());
                self.0.anew.notify_one();
                None
            }
        }
    }

    /// Does not wait: a wait ends in a drop.
    fn release(&self, session: SessionId, serial: u64, homes: Vec<Node>) {
        let (desk, Ok(runtime)) = (self.clone(), tokio::runtime::Handle::try_current()) else { return };
        if homes.is_empty() {
            return;
        }
        runtime.spawn(async move {
            for home in homes {
                if desk.say(&home, Word::Release { session, serial }, PATIENCE).await.is_none() {
                    desk.0.anew.notify_one();
                }
            }
        });
    }

    /// A session has ended. What proves it goes to its client's home, for siblings.
    fn part(&self, session: SessionId, user: String, keepsake: Option<Keepsake>) {
        let (desk, Ok(runtime)) = (self.clone(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let Some(home) = desk.home(user.as_bytes()) else { return };
            let proof = keepsake.as_ref().and_then(|keepsake| desk.lend(keepsake));
            if desk.say(&home, Word::Leave { session, proof }, PATIENCE).await.is_none() {
                desk.0.anew.notify_one();
            }
        });
    }

    pub(super) fn lend(&self, keepsake: &Keepsake) -> Option<String> {
        let keys = keepsake.clone().downcast::<SessionKeys>().ok()?;
        self.0.tls.lend(&keys).map(|bytes| hex(&bytes))
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.0.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// For a home to answer.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// For a home to answer to a wish for a port, besides what it was asked to wait: no login hangs on it, and to call a busy home silent costs all of its clients.
const RESERVE: Duration = Duration::from_millis(350);
/// Homes that are asked when one is silent.
const HOMES: usize = 2;
/// That a home waits for a port to be free before it says that none is.
pub(super) const POLL: Duration = Duration::from_millis(150);
/// Between two tries.
const BREATH: Duration = Duration::from_millis(5);
/// After so many tries, which are other ports each.
const AROUND: u32 = 8;
const REST: Duration = Duration::from_millis(100);
/// Everything is told at least that often: what went lost in between is mended.
const EVERY: Duration = Duration::from_secs(60);
/// When a home did not hear it.
const AGAIN: Duration = Duration::from_millis(500);
/// Several reasons at once are one.
const DEBOUNCE: Duration = Duration::from_millis(20);
