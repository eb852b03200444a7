//! Who may not come: the ban book of this node, which is that of the cluster.
//!
//! Gets: addresses, users, classes and certificates that come; events that rules count; bans and unbans of administrators and of other nodes.
//! Gives: whether a client is banned, from memory. Never: waits on the way of a connection, forgets a ban before its end, or bans whom `bans.never` protects.

mod ban;
mod book;
mod copy;
mod echo;
mod journal;
mod losses;
mod manage;
mod parts;
mod peers;
mod prefixes;
pub mod rules;
mod settings;
mod target;
mod trips;
mod view;
mod whole;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ftps_proto::machine::io::EndReason;
use ftps_proto::reply::Words;
use ftps_store::vault::Vault;
use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

pub use ban::{Ban, Change, Decoded, NEVER, Term, decode, encode};
pub use book::{Book, Who};
pub use journal::Keys;
pub use manage::{Added, Entry, Filter, Imported, Page, Refused, Removed};
pub use parts::Counts;
pub use rules::{Escalate, Rule, Rules, Scope, event::RuleEvent};
pub use settings::Config;
pub use target::{Target, TargetError, certificate_names, is_class};
pub use view::{Propagation, Request, Spread, View, kind, source};

use self::echo::Echo;
use self::journal::Journal;
use self::losses::Losses;
use self::peers::Lost;
use self::settings::Settings;
use self::whole::Whole;
use crate::cluster::Cluster;
use crate::live::{self, Live};
use crate::observe::event::{BanSource, BanStage, Listener};
use crate::observe::id::Incarnation;
use crate::observe::{Event, Observer, Subject};

/// The bans of a node. Cheap to clone.
#[derive(Clone)]
pub struct Bans(Arc<Shared>);

struct Shared {
    book: RwLock<Book>,
    settings: ArcSwap<Settings>,
    /// Peers: never banned.
    peers: ArcSwap<Vec<IpAddr>>,
    /// Whether an address stands for many clients.
    hidden: Hidden,
    rules: Rules,
    journal: Journal,
    live: Live,
    observer: Observer,
    cluster: Cluster,
    /// The second copy; `None`: no other process could read it.
    vault: Option<Vault>,
    /// What that copy lost.
    losses: Losses,
    /// How long its messages take.
    echo: Echo,
    /// What a start has not learnt yet.
    whole: Whole,
    lost: Mutex<Lost>,
    /// Members with whom books are being compared.
    mending: Mutex<HashSet<Incarnation>>,
    /// Somebody did not answer: compare soon.
    compare_now: Notify,
    /// What was made without anybody waiting for it.
    outbox: mpsc::Sender<Change>,
    inbox: Mutex<Option<mpsc::Receiver<Change>>>,
    /// What rules would have banned.
    dry: Mutex<VecDeque<Arc<Ban>>>,
}

/// Says whether an address stands for many clients.
pub type Hidden = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What a node's bans stand on.
pub struct Parts<'a> {
    /// `bans:`
    pub config: &'a Config,
    /// `listen.proxy_protocol_from`.
    pub balancers: &'a [IpNet],
    /// The classes of the users files.
    pub classes: &'a [String],
    /// `node.state_dir`.
    pub directory: &'a Path,
    /// What seals the journal there.
    pub keys: Keys,
    /// `node.name`.
    pub name: &'a str,
    /// The sink that was given to the observer.
    pub rules: Rules,
    /// Who is here.
    pub live: Live,
    /// The other nodes.
    pub cluster: Cluster,
    /// The store of bans.
    pub vault: Vault,
    /// Where events go.
    pub observer: Observer,
    /// Whether an address stands for many clients.
    pub hidden: Hidden,
}

/// A ban that somebody runs into.
#[derive(Clone, Debug)]
pub struct Found {
    /// The ban.
    pub ban: Arc<Ban>,
    /// What the client is told.
    pub words: Words,
}

impl Bans {
    /// Reads the journal.
    ///
    /// # Errors
    /// The system gives no thread for it. A journal that cannot be read or written is no error: it is said, and counted.
    pub fn open(parts: Parts<'_>) -> std::io::Result<Self> {
        let (mut book, now) = (Book::new(parts.config.max_automatic), unix_now());
        let (journal, writer) = Journal::open(parts.directory, parts.name, parts.keys, |change| _ = book.merge(&change, now));
        let settings = Settings::new(parts.config, parts.balancers, parts.classes);
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        parts.rules.set(&parts.config.rules);
        let vault = Some(parts.vault).filter(|vault| vault.capabilities().shared);
        let shared = Arc::new(Shared {
            book: RwLock::new(book),
            settings: ArcSwap::from_pointee(settings),
            peers: ArcSwap::default(),
            hidden: parts.hidden,
            rules: parts.rules,
            journal,
            live: parts.live,
            observer: parts.observer,
            cluster: parts.cluster,
            whole: Whole::new(vault.is_some()),
            vault,
            losses: Losses::default(),
            echo: Echo::default(),
            lost: Mutex::default(),
            mending: Mutex::default(),
            compare_now: Notify::new(),
            outbox,
            inbox: Mutex::new(Some(inbox)),
            dry: Mutex::default(),
        });
        // The threads and sinks hold it weakly: they are older than it and live on when it is gone.
        let weak = Arc::downgrade(&shared);
        let contents = Arc::new(move |bucket| weak.upgrade().map(|shared| read(&shared.book).content(bucket)).unwrap_or_default());
        writer.start(contents)?;
        shared.rules.live_in(Arc::new(trips::Weak::of(&shared)));
        Ok(Self(shared))
    }

    /// Takes a configuration that was read again.
    pub fn set(&self, config: &Config, balancers: &[IpNet], classes: &[String]) {
        self.0.settings.store(Arc::new(Settings::new(config, balancers, classes)));
        self.0.rules.set(&config.rules);
        self.0.book().set_most_automatic(config.max_automatic);
    }

    /// The ban of an address, for the door. The refusal is counted.
    pub fn at_door(&self, ip: IpAddr, listener: Listener) -> Option<Found> {
        let found = self.of_address(ip)?;
        let stage = if listener == Listener::Data { BanStage::Data } else { BanStage::Accept };
        self.refused(&found, stage, Some(listener), ip, None);
        Some(found)
    }

    /// The ban of an address: by its networks, or by its classes.
    pub fn of_address(&self, ip: IpAddr) -> Option<Found> {
        self.find(&Who { ip: Some(ip), ..Who::default() })
    }

    /// The ban of somebody who logs in. The refusal is counted.
    pub fn at_login(&self, who: &Who<'_>) -> Option<Found> {
        let found = self.find(who)?;
        if let Some(ip) = who.ip {
            self.refused(&found, BanStage::Login, None, ip, who.user);
        }
        Some(found)
    }

    /// The ban of a client, with what it is told. Whom `bans.never` protects has none.
    pub fn find(&self, who: &Who<'_>) -> Option<Found> {
        let now = unix_now();
        let settings = self.0.settings.load();
        let (mut classes, book) = (Vec::new(), read(&self.0.book));
        if book.bans_classes() {
            classes.extend(who.ip.into_iter().flat_map(|ip| settings.classes_of(ip)).chain(who.classes.iter().copied()));
        }
        let ban = book.of(&Who { classes: &classes, ..*who }, now)?.clone();
        drop(book);
        let spared = who.ip.is_some_and(|ip| self.spares(ip)) || who.user.is_some_and(|user| settings.spares_user(user));
        // What a rule counted before it was known that the address stands for many.
        let by_address = ban.source == BanSource::Rule && matches!(ban.target, Target::Network(_) | Target::UserAtHost(..));
        if spared || (by_address && who.ip.is_some_and(|ip| (self.0.hidden)(ip))) {
            return None;
        }
        let class = match &ban.target {
            Target::Class(name) => Some(name.to_string()),
            _ => who.ip.and_then(|ip| settings.classes_of(ip).next().map(str::to_owned)).or_else(|| who.classes.first().map(|class| (*class).to_owned())),
        };
        let words = Words::new(&ban.words(&settings.message, who.ip, class.as_deref(), who.user));
        Some(Found { ban, words })
    }

    /// The ban of a session that runs.
    pub fn of_session(&self, entry: &live::Entry) -> Option<Found> {
        let (user, class) = (entry.user(), entry.class());
        let classes: Vec<&str> = class.as_deref().into_iter().collect();
        self.find(&Who { ip: Some(entry.peer.ip()), user: user.as_deref(), classes: &classes, certificates: entry.certificates() })
    }

    /// Whether a banned client of an implicit listener is told so.
    pub fn replies_on_implicit(&self) -> bool {
        self.0.settings.load().implicit_reply
    }

    /// How many bans there are, and faults of the journal.
    pub fn counts(&self) -> (Counts, u64) {
        let state = self.0.journal.state();
        (read(&self.0.book).counts(), state.failed() + state.unreadable())
    }

    /// A number that two books have in common when they hold the same bans and removals.
    pub fn version(&self) -> u32 {
        let all = read(&self.0.book).digests().into_iter().fold(0_u64, u64::wrapping_add);
        u32::try_from((all ^ (all >> 32)) & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// Parts of the book that the store had and lost.
    pub fn lost_parts(&self) -> u64 {
        self.0.losses.lost()
    }

    /// From the last message that this node published through the store until it heard it itself; zero: none yet.
    pub fn message_lag(&self) -> Duration {
        self.0.echo.lag()
    }

    /// What works less well than it should.
    pub fn trouble(&self) -> Option<String> {
        let journal = self.0.journal.state().is_broken().then(|| UNWRITTEN.to_owned());
        let losses = self.0.losses.goes_on(Instant::now()).then(|| LOSING.to_owned());
        let all: Vec<String> = [journal, self.0.whole.missing(), losses].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Whether nobody at this address is ever banned.
    pub fn spares(&self, ip: IpAddr) -> bool {
        self.0.settings.load().spares(ip) || self.0.peers.load().contains(&ip.to_canonical())
    }

    /// Peers are never banned.
    pub fn set_peers(&self, peers: Vec<IpAddr>) {
        self.0.peers.store(Arc::new(peers.into_iter().map(|ip| ip.to_canonical()).collect()));
    }

    /// Learns what store and peers know, at most `most`: before the first client comes. What is missing then is said, and comes while the node serves.
    pub async fn fill(&self, most: Duration) {
        let filled = async { tokio::join!(self.read_copy(), self.learn()) };
        let _ = tokio::time::timeout(most, filled).await;
        self.0.whole.serve();
    }

    /// What goes on by itself. Runs until its task ends; the first call only.
    pub async fn run(&self) {
        tokio::join!(self.keep(), self.compare(), self.tell_counts(), self.follow_copy());
    }

    /// Forgets bans that have ended; writes bans of rules down and tells them.
    async fn keep(&self) {
        let inbox = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        let mut often = interval(SWEEP);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(first) = inbox.recv() => {
                    let mut changes = vec![first];
                    while changes.len() < TOGETHER && let Ok(more) = inbox.try_recv() {
                        changes.push(more);
                    }
                    self.0.journal.note(changes.clone());
                    let bans = self.clone();
                    // Side by side with the next ones: a silent peer holds up nobody.
                    tokio::spawn(async move { tokio::join!(bans.tell(&changes, TELLING), bans.store(&changes)) });
                }
                _ = often.tick() => while self.0.book().sweep(unix_now(), SWEPT) == SWEPT {},
            }
        }
    }

    /// Takes changes into the book and ends the sessions they mean; gives those that were news and how many sessions were told.
    fn take(&self, changes: &[Change]) -> (Vec<Change>, usize) {
        let now = unix_now();
        let mut news = Vec::new();
        for part in changes.chunks(LOCKED) {
            let mut book = self.0.book();
            news.extend(part.iter().filter(|change| book.merge(change, now)).cloned());
        }
        let mut any = false;
        for change in &news {
            if let Change::Ban(ban) = change {
                any = true;
                self.0.rules.note(ban);
            }
        }
        (news, if any { self.end_banned() } else { 0 })
    }

    /// Ends every session that is banned: asked by session, so that it costs the same for one ban and for a million.
    fn end_banned(&self) -> usize {
        self.0.live.end(|entry| !entry.is_ending() && self.of_session(entry).is_some(), EndReason::Banned, false)
    }

    fn refused(&self, found: &Found, stage: BanStage, listener: Option<Listener>, ip: IpAddr, user: Option<&str>) {
        let subject = Subject { session: None, peer: Some((ip, 0).into()), user };
        let event = Event::BanRefused { id: found.ban.id, kind: found.ban.target.kind(), stage, listener };
        self.0.observer.event(subject, &event);
    }

    fn say_banned(&self, ban: &Ban, dry_run: bool, sessions: usize) {
        let (kind, source, target) = (ban.target.kind(), ban.source, ban.target.text());
        let reason = if ban.evidence.is_empty() { ban.reason.to_string() } else { format!("{}: {}", ban.reason, ban.evidence) };
        let event = Event::Banned { id: ban.id, kind, source, dry_run, target: &target, reason: &reason, sessions };
        self.0.observer.event(Subject::default(), &event);
    }
}

impl Shared {
    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Bans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bans({:?})", self.counts().0)
    }
}

fn read(book: &RwLock<Book>) -> RwLockReadGuard<'_, Book> {
    book.read().unwrap_or_else(PoisonError::into_inner)
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(NEVER - 1))
}

const UNWRITTEN: &str = "the ban journal cannot be written: a restart of this node needs its peers or the store";
const LOSING: &str = "the store loses parts of the ban book: give it more memory";
/// How long peers have to take bans of rules.
const TELLING: Duration = Duration::from_secs(2);
/// How often bans that have ended are forgotten.
const SWEEP: Duration = Duration::from_secs(1);
/// Bans forgotten, and taken in, under one lock: nobody at the door waits longer.
const SWEPT: usize = 1_000;
const LOCKED: usize = 500;
/// Bans of rules that wait to be told.
const OUTBOX: usize = 65_536;
/// Of them, told together.
const TOGETHER: usize = 1_000;

#[cfg(test)]
mod tests;
