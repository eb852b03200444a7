//! OCSP stapling for the whole cluster: one node asks the responders, all nodes staple what came.
//!
//! Gets: the certificates, the store, the other nodes. Gives: staples in the certificates; what is known, for the API, the metrics and the probes.
//! Never: makes a start or a handshake wait; staples or passes on what it has not verified itself; keeps or shares a failure.

mod fetch;
mod holder;
mod schedule;
mod seen;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ftps_store::generation::Cache;
use ftps_store::key::Kind;
use ftps_store::stats::Statistics;
use ftps_store::tiers::Reach;
use ftps_store::vault::Vault;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Certificates, Clock, Tls};
use crate::cluster::Cluster;
use crate::observe::staples::{StapleCensus, StapleSource, StapleStatus};
use crate::observe::{Event, Label, Observer, StapleEvent, Subject};

use holder::CertificateId;
pub(super) use holder::Holder;
pub use holder::StapleInfo;
pub use seen::{StapleSeen, staple_seen};

/// `tls.stapling`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stapling {
    /// `enabled`.
    pub enabled: bool,
    /// `responder`: who is asked instead of whom the certificates name. An `http://` URL.
    pub responder: Option<String>,
    /// `timeout`: for the whole of a question.
    pub timeout: Duration,
}

/// The staples of this node. Cheap to clone.
#[derive(Clone)]
pub struct Staples(Arc<Inner>);

struct Inner {
    certificates: Arc<Certificates>,
    clock: Clock,
    vault: Vault,
    cluster: Cluster,
    observer: Observer,
    settings: ArcSwap<Stapling>,
    /// Of the cluster's staples, as far as it was followed.
    generation: AtomicU64,
    /// From then on the other nodes are known.
    settled: Instant,
    wake: Notify,
}

impl Staples {
    /// For the certificates of `tls`, shared through `vault` and with `cluster`. [`Staples::run`] does the work.
    pub fn new(tls: &Tls, vault: Vault, cluster: Cluster, observer: Observer, settings: Stapling) -> Self {
        let (certificates, clock) = (tls.0.certificates.clone(), tls.0.clock.clone());
        let settled = Instant::now() + if cluster.is_alone() { Duration::ZERO } else { SETTLE };
        let (settings, generation, wake) = (ArcSwap::from_pointee(settings), AtomicU64::new(0), Notify::new());
        Self(Arc::new(Inner { certificates, clock, vault, cluster, observer, settings, generation, settled, wake }))
    }

    /// Other settings or certificates from now on.
    pub fn set(&self, settings: Stapling) {
        self.0.settings.store(Arc::new(settings));
        self.0.wake.notify_one();
    }

    /// Keeps the staples what they should be, until it is dropped.
    pub async fn run(&self) {
        self.0.vault.refresh().await;
        self.0.generation.store(self.0.vault.generation(Kind::Staple), Ordering::Relaxed);
        let mut often = interval(LOOK);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tasks, mut said, mut members) = (JoinSet::new(), String::new(), self.0.cluster.watch());
        loop {
            tokio::select! {
                _ = often.tick() => {}
                () = self.0.wake.notified() => {}
                // Who is new here may have what this node lacks.
                Ok(()) = members.changed() => {}
            }
            while tasks.try_join_next().is_some() {}
            self.follow();
            for holder in self.holders() {
                if holder.expire(self.now()) {
                    self.say(&StapleEvent::Expired { names: holder.names() });
                }
                let due = holder.responder().is_some() && holder.schedule().is_due(Instant::now());
                if let Some(busy) = due.then(|| holder.begin()).flatten() {
                    let staples = self.clone();
                    tasks.spawn(async move {
                        staples.tend(&holder).await;
                        drop(busy);
                    });
                }
            }
            self.tell(&mut said);
        }
    }

    /// What somebody should do something about.
    pub fn trouble(&self) -> Option<String> {
        let now = self.now();
        let words: Vec<String> = self.0.certificates.holders().iter().filter_map(|holder| holder.trouble(now)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Every certificate and how it stands with its staple, in the order of the configuration.
    pub fn infos(&self) -> Vec<StapleInfo> {
        let now = self.now();
        self.0.certificates.holders().iter().map(|holder| holder.info(now)).collect()
    }

    /// Responses that this node holds.
    pub fn held(&self) -> usize {
        let now = self.now();
        self.0.certificates.holders().iter().filter(|holder| holder.response(now).is_some()).count()
    }

    /// What this node asked the cluster's staples, and what the store as a whole has.
    pub async fn statistics(&self) -> (Statistics, Statistics) {
        (self.0.vault.statistics_of(Kind::Staple), self.0.vault.statistics().await.0)
    }

    /// What this node asked the cluster's staples; memory answers.
    pub fn questions(&self) -> Statistics {
        self.0.vault.statistics_of(Kind::Staple)
    }

    /// Whether the store that all share is away, so that a clearing would reach this host alone.
    pub fn have_lost_their_store(&self) -> bool {
        self.0.vault.is_degraded()
    }

    /// For the gauges.
    pub fn census(&self) -> StapleCensus {
        let (now, holders) = (self.now(), self.0.certificates.holders());
        let statuses: Vec<StapleStatus> = holders.iter().filter_map(|holder| holder.status(now)).collect();
        let ends = holders.iter().filter_map(|holder| holder.response(now)).map(|response| response.said.next_update);
        StapleCensus {
            by_status: StapleStatus::all().into_iter().map(|one| (one, statuses.iter().filter(|status| **status == one).count())).collect(),
            broken_promises: holders.iter().filter(|holder| holder.breaks_promise()).count(),
            next_update: ends.min().unwrap_or(0),
            handshakes: self.0.certificates.staple_counts(),
            leads: self.place() == 0 && !statuses.is_empty(),
        }
    }

    /// Forgets all responses, here at once and in the store; the node that leads asks for new ones at once. Says how far it reached.
    pub async fn clear(&self) -> Reach {
        let reach = self.0.vault.clear(Cache::Staples).await;
        self.follow();
        reach
    }

    /// The same after another node has done so.
    pub async fn follow_clearing(&self) -> Reach {
        let reach = self.0.vault.follow(Cache::Staples).await;
        self.follow();
        reach
    }

    /// Whoever cleared them: what this node holds is forgotten too, once.
    fn follow(&self) {
        let generation = self.0.vault.generation(Kind::Staple);
        if self.0.generation.swap(generation, Ordering::AcqRel) != generation {
            self.holders().iter().for_each(|holder| holder.forget());
            self.0.wake.notify_one();
        }
    }

    /// Gets a response that is due: from the store, from other nodes, or, when it is this node's turn, from the responder.
    async fn tend(&self, holder: &Arc<Holder>) {
        // Who is to ask anew asks; the others wait for what comes of it.
        if holder.schedule().takes_others() || self.place() > 0 {
            self.take_from_store(holder).await;
            if holder.response(self.now()).is_none() {
                self.take_from_peers(holder).await;
            }
        }
        let (now, schedule) = (Instant::now(), holder.schedule());
        if now >= self.0.settled && schedule.is_due(now) && schedule.may_ask(now, self.place()) {
            // What is wrong was said.
            let _ = self.fetch(holder).await;
        }
    }

    /// Verifies what came from somewhere; staples it if it is newer than what is there.
    fn offer(&self, holder: &Holder, bytes: &[u8], source: StapleSource) -> Result<holder::Offered, super::ocsp::Fault> {
        let offered = holder.offer(bytes, source, self.now(), random())?;
        if let holder::Offered::Taken(said) = offered {
            let status = if said.revoked.is_some() { StapleStatus::Revoked } else { StapleStatus::Good };
            self.say(&StapleEvent::Stapled { names: holder.names(), source, status, next_update: said.next_update });
        }
        Ok(offered)
    }

    /// Says once what is wrong, and when it no longer is.
    fn tell(&self, said: &mut String) {
        let words = self.trouble().unwrap_or_default();
        if *said != words {
            self.say(&StapleEvent::Trouble { words: &words });
            *said = words;
        }
    }

    /// Every certificate, under the settings of now.
    fn holders(&self) -> Vec<Arc<Holder>> {
        let settings = self.0.settings.load();
        let holders = self.0.certificates.holders();
        holders.iter().for_each(|holder| holder.set(settings.enabled, settings.responder.as_deref()));
        holders
    }

    /// How many nodes ask before this one does: the longest started asks first.
    fn place(&self) -> usize {
        let (members, me) = (self.0.cluster.members(), self.0.cluster.incarnation());
        members.iter().position(|member| member.incarnation == me).unwrap_or(0)
    }

    /// Unix seconds.
    fn now(&self) -> i64 {
        i64::try_from((self.0.clock)() / 1000).unwrap_or(i64::MAX)
    }

    fn say(&self, event: &StapleEvent<'_>) {
        self.0.observer.event(Subject::default(), &Event::Staple(event.clone()));
    }
}

impl std::fmt::Debug for Staples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Staples")
    }
}

/// For what should not happen on all nodes at once. Nothing secret hangs on it: 0 is as good.
fn random() -> u8 {
    let mut byte = [0];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
}

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// Until a node that starts knows the others, of whom one may have what it needs.
const SETTLE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
