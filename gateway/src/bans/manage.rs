//! What administrators do with bans: list, find, check, add, remove, import, export.
//!
//! Gets: checked requests and who asks. Gives: what was done and how far it has come, or a clear refusal.
//! Never: bans whom `bans.never` protects, or by a slip of the hand: a wide network needs `force`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::ban::{Ban, Change};
use super::book::Who;
use super::rules::Counter;
use super::target::{Target, TargetError};
use super::view::{Propagation, Request, Spread, View};
use super::{Bans, Found, read, unix_now};
use crate::live;
use crate::observe::event::{BanKind, BanSource};
use crate::observe::id::BanId;
use crate::observe::{Event, Subject};

/// A ban with its place in the book.
pub type Entry = Arc<Ban>;

/// Why a ban is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// None, or more than one.
    #[error("target has to have exactly one of ip, cidr, user, user_at_host, class and certificate")]
    Targets,
    /// Not one.
    #[error("{text:?} {error}")]
    Target {
        /// What was written.
        text: String,
        /// What is wrong with it.
        error: TargetError,
    },
    /// Missing, negative, too long.
    #[error("duration has to be \"permanent\" or a number with s, m, h or d, more than 0 and at most 3650d")]
    Duration,
    /// An import of something that has ended.
    #[error("it has ended already")]
    Over,
    /// Too long.
    #[error("reason has to have at most 512 bytes")]
    Reason,
    /// Wider than IPv4 /16 or IPv6 /32.
    #[error("{0} means so many clients that it needs \"force\": true")]
    Wide(String),
    /// All it means are protected.
    #[error("{0} is never banned: it is a loopback address, a node of the cluster, a balancer of listen.proxy_protocol_from, or in bans.never")]
    Never(String),
    /// Neither in `bans.classes` nor of a user.
    #[error("there is no class {0:?}: neither bans.classes nor a users file names it")]
    Class(String),
}

/// What became of a new ban.
#[derive(Clone, Debug, Serialize)]
pub struct Added {
    /// The ban, also in a dry run (where it holds nowhere).
    #[serde(flatten)]
    pub ban: View,
    /// Sessions that it ends on the nodes that answered; in a dry run, that it would end on this one.
    pub sessions_ended: usize,
    /// How far it has come.
    pub propagation: Propagation,
    /// Nothing was done.
    pub dry_run: bool,
}

/// What became of a removal.
#[derive(Clone, Debug, Serialize)]
pub struct Removed {
    /// The bans that are no more.
    pub removed: Vec<View>,
    /// How far that has come.
    pub propagation: Propagation,
}

/// What became of an import.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// New bans.
    pub imported: usize,
    /// Lines whose ban is there already, or has ended.
    pub skipped: usize,
    /// Lines that are none, by number from 1, at most 100; any of them: nothing was imported.
    pub errors: BTreeMap<usize, String>,
    /// Sessions that were ended.
    pub sessions_ended: usize,
    /// How far it has come.
    pub propagation: Propagation,
}

/// Which bans to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<BanKind>,
    /// By a person or a rule.
    pub source: Option<BanSource>,
    /// About exactly this.
    pub target: Option<Target>,
    /// That hold for this address.
    pub ip: Option<IpAddr>,
    /// With this in target, reason or author.
    pub text: Option<String>,
    /// After this id, which a page before ended with.
    pub after: Option<BanId>,
    /// At most so many.
    pub limit: usize,
}

/// Some bans, the oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// The bans.
    pub bans: Vec<View>,
    /// All that the filter lets through, on this and other pages.
    pub total: usize,
    /// What to write after `after=` for the next page.
    pub next: Option<String>,
}

impl Filter {
    fn takes(&self, ban: &Ban, now: u64) -> bool {
        let holds = |ip: &IpAddr| matches!(&ban.target, Target::Network(net) | Target::UserAtHost(_, net) if net.contains(&ip.to_canonical()));
        let says = |text: &String| ban.target.text().contains(text) || ban.reason.contains(text) || ban.author.contains(text);
        !ban.has_ended(now)
            && self.kind.is_none_or(|kind| ban.target.kind() == kind)
            && self.source.is_none_or(|source| ban.source == source)
            && self.target.as_ref().is_none_or(|target| ban.target == *target)
            && self.ip.as_ref().is_none_or(holds)
            && self.text.as_ref().is_none_or(says)
    }
}

impl Bans {
    /// One page of bans.
    pub fn list(&self, filter: &Filter) -> Page {
        let now = unix_now();
        let mut found: Vec<Entry> = read(&self.0.book).bans().filter(|ban| filter.takes(ban, now)).cloned().collect();
        let total = found.len();
        found.retain(|ban| filter.after.is_none_or(|after| ban.id > after));
        // Ids begin with the time.
        found.sort_unstable_by_key(|ban| ban.id);
        let more = found.len() > filter.limit;
        found.truncate(filter.limit);
        let next = found.last().filter(|_| more).map(|ban| ban.id.to_string());
        Page { bans: found.iter().map(|ban| View::of(ban)).collect(), total, next }
    }

    /// One ban.
    pub fn get(&self, id: BanId) -> Option<View> {
        read(&self.0.book).find(id).map(|ban| View::of(ban))
    }

    /// Whether such a client would be refused, and by which ban.
    pub fn check(&self, who: &Who<'_>) -> Option<View> {
        self.find(who).map(|Found { ban, .. }| View::of(&ban))
    }

    /// Bans somebody, for as long as `wait` waits for the other nodes to say that they do.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn add(&self, request: &Request, author: &str, wait: Duration) -> Result<Added, Refused> {
        let now = unix_now();
        let (target, ends) = request.check(now)?;
        self.may_ban(&target, request.force)?;
        let ban = Arc::new(new_ban(target, ends, request.reason.as_deref(), author, now));
        if request.dry_run {
            return Ok(Added { ban: View::of(&ban), sessions_ended: self.would_end(&ban.target), propagation: Propagation::none(), dry_run: true });
        }
        let changes = vec![Change::Ban(ban.clone())];
        let (_, ended) = self.take(&changes);
        let (propagation, others) = self.share(changes, wait).await;
        self.say_banned(&ban, false, ended);
        Ok(Added { ban: View::of(&ban), sessions_ended: ended + others, propagation, dry_run: false })
    }

    /// Sessions on this node that a ban of this target would end.
    pub fn would_end(&self, target: &Target) -> usize {
        self.0.live.entries().iter().filter(|entry| self.would_be_ended(target, entry)).count()
    }

    /// Removes one ban. `None`: there is none of this id.
    pub async fn remove(&self, id: BanId, author: &str, wait: Duration) -> Option<Removed> {
        let ban = read(&self.0.book).find(id).cloned()?;
        Some(self.remove_all(vec![ban], author, wait).await)
    }

    /// Removes all bans about this, or by this source, or both.
    pub async fn remove_where(&self, filter: &Filter, author: &str, wait: Duration) -> Removed {
        let now = unix_now();
        let bans = read(&self.0.book).bans().filter(|ban| filter.takes(ban, now)).cloned().collect();
        self.remove_all(bans, author, wait).await
    }

    /// Bans everybody that the lines of an export name, or nobody when a line is wrong.
    pub async fn import(&self, lines: &str, force: bool, author: &str, wait: Duration) -> Imported {
        let now = unix_now();
        let (mut changes, mut errors, mut skipped) = (Vec::new(), BTreeMap::new(), 0);
        for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match self.line(line, force, author, now) {
                Ok(Some(ban)) => changes.push(Change::Ban(Arc::new(ban))),
                Ok(None) | Err(Refused::Over) => skipped += 1,
                Err(error) if errors.len() < ERRORS => _ = errors.insert(number + 1, error.to_string()),
                Err(_) => {}
            }
        }
        if !errors.is_empty() {
            changes.clear();
        }
        let (news, ended) = self.take(&changes);
        let imported = news.len();
        let (propagation, others) = self.share(news, wait).await;
        Imported { imported, skipped, errors, sessions_ended: ended + others, propagation }
    }

    /// All bans as JSON, one a line, in parts so that nobody at the door waits.
    pub fn export(&self) -> impl Iterator<Item = String> + '_ {
        (0..super::parts::BUCKETS).map(|bucket| {
            let content = read(&self.0.book).content(bucket);
            let bans = content.iter().filter_map(|change| if let Change::Ban(ban) = change { Some(View::of(ban)) } else { None });
            bans.filter_map(|view| serde_json::to_string(&view).ok()).fold(String::new(), |lines, line| lines + &line + "\n")
        })
    }

    /// Counters of the rules on this node.
    pub fn counters(&self) -> Vec<Counter> {
        self.0.rules.counters()
    }

    async fn remove_all(&self, bans: Vec<Entry>, author: &str, wait: Duration) -> Removed {
        let changes: Vec<Change> = bans.iter().map(|ban| Change::Unban { id: ban.id, until: ban.ends }).collect();
        self.take(&changes);
        let (propagation, _) = self.share(changes, wait).await;
        if !bans.is_empty() {
            self.0.observer.event(Subject::default(), &Event::Unbanned { bans: bans.len() as u64, author });
        }
        Removed { removed: bans.iter().map(|ban| View::of(ban)).collect(), propagation }
    }

    /// A ban of an import; `None`: it is there.
    fn line(&self, line: &str, force: bool, author: &str, now: u64) -> Result<Option<Ban>, Refused> {
        let mut request: Request = serde_json::from_str(line).map_err(|_| Refused::Targets)?;
        if request.expires_at.is_none() && request.duration.is_none() && line.contains("\"expires_at\":null") {
            request.duration = Some("permanent".to_owned());
        }
        let (target, ends) = request.check(now)?;
        self.may_ban(&target, force || request.force)?;
        let there = read(&self.0.book).about(&target).iter().any(|ban| ban.ends == ends);
        Ok((!there).then(|| new_ban(target, ends, request.reason.as_deref(), author, now)))
    }

    fn may_ban(&self, target: &Target, force: bool) -> Result<(), Refused> {
        let settings = self.0.settings.load();
        let peer = |target: &Target| self.0.peers.load().iter().any(|peer| Target::host(*peer) == *target);
        match target {
            Target::Class(name) if !settings.knows_class(name) => Err(Refused::Class(name.to_string())),
            target if settings.spares_all_of(target) || peer(target) => Err(Refused::Never(target.text())),
            target if target.is_wide() && !force => Err(Refused::Wide(target.text())),
            _ => Ok(()),
        }
    }

    /// Whether a ban of this target would end a session.
    fn would_be_ended(&self, target: &Target, entry: &live::Entry) -> bool {
        let (ip, settings) = (entry.peer.ip().to_canonical(), self.0.settings.load());
        let user = entry.user();
        if self.spares(ip) || user.as_deref().is_some_and(|user| settings.spares_user(user)) {
            return false;
        }
        match target {
            Target::Network(net) => net.contains(&ip),
            Target::User(name) => user.as_deref() == Some(name),
            Target::UserAtHost(name, net) => user.as_deref() == Some(name) && net.contains(&ip),
            Target::Class(name) => entry.class().as_deref() == Some(name) || settings.classes_of(ip).any(|class| class == &**name),
            Target::Certificate(name) => entry.certificates().iter().any(|shown| shown == &**name),
        }
    }

    /// Brings changes that this node has taken to its disk, to the others and into the store; gives how far they came, and the sessions that others ended.
    async fn share(&self, changes: Vec<Change>, wait: Duration) -> (Propagation, usize) {
        let me = self.0.cluster.me().name;
        let (bans, changes) = (self.clone(), Arc::new(changes));
        let stored = changes.clone();
        // The store is written whether or not somebody waits for it so long.
        let store = tokio::spawn(async move { bans.store(&stored).await });
        let store = async { tokio::time::timeout(wait, store).await.is_ok_and(|stored| stored.unwrap_or(false)) };
        let (written, told, stored) = tokio::join!(self.0.journal.append(changes.to_vec()), self.tell(&changes, wait), store);
        let networked = self.0.vault.as_ref().is_some_and(|vault| vault.capabilities().networked);
        let state = match (told.silent.is_empty(), told.applied) {
            // With a store there may be nodes that this one has never met.
            (true, 0) if networked && !stored => Spread::LocalOnly,
            (true, _) => Spread::Everywhere,
            (false, 0) if !stored => Spread::LocalOnly,
            (false, _) => Spread::Pending,
        };
        let unwritten = told.unwritten.into_iter().chain((!written).then_some(me)).collect();
        let (acknowledged, nodes) = (told.applied + 1, told.asked + 1);
        // What a store took that loses parts may be gone a moment later.
        let kept = stored && !self.0.losses.goes_on(std::time::Instant::now());
        (Propagation { acknowledged, nodes, silent: told.silent, state, unwritten, stored: networked.then_some(kept) }, told.ended)
    }
}

fn new_ban(target: Target, ends: u64, reason: Option<&str>, author: &str, now: u64) -> Ban {
    let (reason, author) = (reason.unwrap_or_default().into(), author.chars().take(128).collect::<String>().into());
    Ban { id: BanId::now(), target, source: BanSource::Admin, reason, author, evidence: "".into(), message: "".into(), created: now, ends }
}

/// Lines of an import that are named as wrong.
const ERRORS: usize = 100;
