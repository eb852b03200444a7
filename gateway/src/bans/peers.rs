//! Bans between nodes: told at once, compared again and again, mended where they differ.
//!
//! Gets: changes of this node, calls of others, the members. Gives: who has applied a change; books that become the same after whatever was lost.
//! Never: says that somebody applied what it did not answer to; passes on what another node told (its maker tells everybody, and comparing finds the rest).

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Bans;
use super::ban::{self, Change};
use super::parts::BUCKETS;
use super::rules::Increment;
use super::target::Target;
use super::{read, unix_now};
use crate::cluster::{AskError, Handlers, Member, Refused};
use crate::observe::id::Incarnation;
use crate::observe::{Event, Subject};

/// The answer to changes: they hold.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Applied {
    /// They are in the journal as well.
    written: bool,
    /// Sessions that they ended.
    ended: usize,
}

/// What the others said to changes.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How many have applied them.
    pub(super) applied: usize,
    /// How many were asked, or could not be.
    pub(super) asked: usize,
    /// Names of those that did not answer.
    pub(super) silent: Vec<String>,
    /// Names of those whose journal failed.
    pub(super) unwritten: Vec<String>,
    /// Sessions that ended.
    pub(super) ended: usize,
}

/// Members that went without a word: they may be cut off, and go on letting clients in.
pub(super) type Lost = HashMap<Incarnation, (Member, Instant)>;

/// One count of a rule, for its home.
#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    rule: u64,
    kind: String,
    text: String,
    times: u32,
}

impl Bans {
    /// Answers the other nodes.
    pub fn answer(&self, handlers: &mut Handlers) {
        let bans = self.clone();
        handlers.on(APPLY, CALL, move |_, body| {
            let bans = bans.clone();
            async move {
                let applied = bans.apply(&body).await;
                serde_json::to_vec(&applied).map_err(|_| Refused::Fault)
            }
        });
        let bans = self.clone();
        handlers.on(COMPARE, GROUPS * 8, move |_, body| {
            let answer = bans.compared(&body);
            async move { answer }
        });
        let bans = self.clone();
        handlers.on(EXCHANGE, CALL, move |_, body| {
            let answer = bans.exchanged(&body);
            async move { answer }
        });
        let bans = self.clone();
        handlers.on_json(COUNT, CALL, move |_, counted: Vec<Counted>| {
            bans.counted(&counted);
            async move { Ok(()) }
        });
    }

    /// Tells all live members. Those that went without a word count as silent.
    pub(super) async fn tell(&self, changes: &[Change], within: Duration) -> Told {
        let mut told = Told::default();
        let lost: Vec<String> = self.0.lost().values().map(|(member, _)| member.name.clone()).collect();
        for (place, batch) in ban::encode(changes, BATCH).into_iter().enumerate() {
            let (mut silent, mut applied) = (Vec::new(), 0);
            for (member, answer) in self.0.cluster.ask_all(APPLY, batch, within).await {
                match answer.ok().and_then(|answer| serde_json::from_slice::<Applied>(&answer).ok()) {
                    Some(answer) => {
                        applied += 1;
                        told.ended += answer.ended;
                        if !answer.written && !told.unwritten.contains(&member.name) {
                            told.unwritten.push(member.name);
                        }
                    }
                    None => silent.push(member.name),
                }
            }
            // A node has applied all when it has applied each batch.
            told.asked = told.asked.max(applied + silent.len());
            told.applied = if place == 0 { applied } else { told.applied.min(applied) };
            told.silent.extend(silent.into_iter().filter(|name| !told.silent.contains(name)).collect::<Vec<_>>());
        }
        told.asked += lost.len();
        told.silent.extend(lost);
        if !told.silent.is_empty() {
            self.0.compare_now.notify_one();
        }
        told
    }

    /// Compares books with a member and takes and gives what differs. Gives whether they are the same now, as far as was seen.
    pub(super) async fn mend(&self, member: &Member) -> Result<(), AskError> {
        let mine = read(&self.0.book).digests();
        let question = groups(&mine).iter().flat_map(|digest| digest.to_be_bytes()).collect();
        let answer = self.0.cluster.ask(member, COMPARE, question, COMPARING).await?;
        let differing = differing(&mine, &answer);
        let mut rest = differing.as_slice();
        while !rest.is_empty() {
            let (buckets, changes) = self.some_of(rest);
            rest = &rest[buckets.len()..];
            let mut question = u16::try_from(buckets.len()).unwrap_or(0).to_be_bytes().to_vec();
            question.extend(buckets.iter().flat_map(|bucket| u16::try_from(*bucket).unwrap_or(0).to_be_bytes()));
            question.extend(ban::encode(&changes, CALL).into_iter().next().unwrap_or_default());
            let answer = self.0.cluster.ask(member, EXCHANGE, question, EXCHANGING).await?;
            self.arrived(ban::decode(&answer).changes);
        }
        self.0.whole.heard(member.incarnation);
        Ok(())
    }

    /// Compares with everybody, and finds those that went without a word again. Runs until its task ends.
    pub(super) async fn compare(&self) {
        let cluster = &self.0.cluster;
        let mut members = cluster.watch();
        let mut known: HashMap<Incarnation, Member> = HashMap::new();
        let mut often = tokio::time::interval(COMPARE_EVERY);
        often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = often.tick() => {}
                _ = members.changed() => {}
                () = self.0.compare_now.notified() => {}
            }
            let live: HashMap<Incarnation, Member> = members
                .borrow_and_update()
                .iter()
                .filter(|member| member.incarnation != cluster.incarnation())
                .map(|member| (member.incarnation, member.clone()))
                .collect();
            self.0.whole.retain(|id| live.contains_key(&id));
            self.set_peers(live.values().map(|member| member.address.ip()).collect());
            let lost = {
                let mut lost = self.0.lost();
                let gone = known.values().filter(|member| !member.draining && !live.contains_key(&member.incarnation));
                gone.for_each(|member| _ = lost.entry(member.incarnation).or_insert((member.clone(), Instant::now())));
                lost.retain(|incarnation, (_, since)| !live.contains_key(incarnation) && since.elapsed() < LOST);
                lost.values().map(|(member, _)| member.clone()).collect::<Vec<_>>()
            };
            for member in live.values().cloned().chain(lost) {
                self.mend_apart(member);
            }
            known = live;
        }
    }

    /// Mends with one member in a task of its own, one at a time for each.
    fn mend_apart(&self, member: Member) {
        let id = member.incarnation;
        if !self.0.mending.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return;
        }
        let bans = self.clone();
        tokio::spawn(async move {
            let mended = bans.mend(&member).await;
            match mended {
                Ok(()) => {}
                // Its process has ended: a client that it let in is gone too.
                Err(AskError::Unreachable(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => bans.found(id),
                Err(AskError::Elsewhere) => bans.found(id),
                Err(_) => {}
            }
            bans.0.mending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// It is known what became of a member that went without a word.
    fn found(&self, id: Incarnation) {
        self.0.lost().remove(&id);
    }

    /// Learns what the peers know, before the first client comes.
    pub(super) async fn learn(&self) {
        let cluster = &self.0.cluster;
        if cluster.is_alone() {
            return;
        }
        let mut members = cluster.watch();
        let _ = tokio::time::timeout(NOBODY, members.wait_for(|members| members.len() > 1)).await;
        let others: Vec<Member> = members.borrow().iter().filter(|member| member.incarnation != cluster.incarnation()).cloned().collect();
        self.0.whole.ask(others.iter().map(|member| member.incarnation));
        let mended = others.iter().map(|member| async {
            while self.mend(member).await.is_err() && self.0.whole.awaits(member.incarnation) {
                tokio::time::sleep(COMPARE_EVERY / 4).await;
            }
        });
        futures_util::future::join_all(mended).await;
    }

    /// Tells the homes of targets what was counted here. Runs until its task ends.
    pub(super) async fn tell_counts(&self) {
        let cluster = &self.0.cluster;
        if cluster.is_alone() {
            return;
        }
        self.0.rules.share(true);
        let mut often = tokio::time::interval(COUNT_EVERY);
        loop {
            often.tick().await;
            let pending = self.0.rules.take_pending();
            let members = cluster.members();
            let mut by_home: HashMap<Incarnation, Vec<Counted>> = HashMap::new();
            for Increment { rule, target, times } in pending {
                let Some(home) = members.iter().map(|member| member.incarnation).max_by_key(|id| weight(*id, &target)) else { continue };
                if home != cluster.incarnation() {
                    by_home.entry(home).or_default().push(Counted { rule, kind: target.key().to_owned(), text: target.text(), times });
                }
            }
            for (home, counted) in by_home {
                let (cluster, member) = (cluster.clone(), members.iter().find(|member| member.incarnation == home).cloned());
                let Some(member) = member else { continue };
                // Without an answer the count of this node alone holds.
                tokio::spawn(async move { cluster.ask_json::<()>(&member, COUNT, &counted, COUNTING).await });
            }
        }
    }

    /// Changes of another node are taken: in memory, for live sessions, and in the journal.
    async fn apply(&self, body: &[u8]) -> Applied {
        let changes = ban::decode(body).changes;
        let (news, ended) = self.take(&changes);
        self.say_arrived(&news);
        let written = news.is_empty() || self.0.journal.append(news).await;
        Applied { written, ended }
    }

    /// Changes that comparing found.
    pub(super) fn arrived(&self, changes: Vec<Change>) -> usize {
        let (news, _) = self.take(&changes);
        self.say_arrived(&news);
        let count = news.len();
        if count > 0 {
            self.0.journal.note(news);
        }
        count
    }

    fn say_arrived(&self, news: &[Change]) {
        let now = unix_now();
        for change in news {
            if let Change::Ban(ban) = change {
                let took = Duration::from_millis(now.saturating_sub(ban.created));
                self.0.observer.event(Subject::default(), &Event::BanArrived { took });
            }
        }
    }

    fn compared(&self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let theirs = numbers(body);
        if theirs.len() != GROUPS {
            return Err(Refused::Invalid);
        }
        let mine = read(&self.0.book).digests();
        let mut answer = Vec::new();
        for (group, digest) in groups(&mine).into_iter().enumerate().filter(|(group, digest)| theirs[*group] != *digest) {
            let _ = digest;
            answer.push(u8::try_from(group).unwrap_or(u8::MAX));
            answer.extend(mine[group * IN_GROUP..(group + 1) * IN_GROUP].iter().flat_map(|digest| digest.to_be_bytes()));
        }
        Ok(answer)
    }

    /// Gives everything of these parts that the other one did not bring.
    fn exchanged(&self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let (count, rest) = body.split_first_chunk::<2>().ok_or(Refused::Invalid)?;
        let (buckets, changes) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2).ok_or(Refused::Invalid)?;
        let brought = ban::decode(changes).changes;
        let has = |change: &Change| brought.iter().any(|other| other.id() == change.id() && std::mem::discriminant(other) == std::mem::discriminant(change));
        let mut mine = Vec::new();
        for bucket in buckets.chunks_exact(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]]))).filter(|bucket| *bucket < BUCKETS) {
            mine.extend(read(&self.0.book).content(bucket).into_iter().filter(|change| !has(change)));
        }
        self.arrived(brought);
        Ok(ban::encode(&mine, ANSWER).into_iter().next().unwrap_or_default())
    }

    /// As many of these parts as one call carries, with what this node has of them.
    fn some_of<'a>(&self, rest: &'a [usize]) -> (&'a [usize], Vec<Change>) {
        let (mut size, mut taken, mut changes) = (0, 0, Vec::new());
        for bucket in rest.iter().take(EXCHANGED) {
            let content = read(&self.0.book).content(*bucket);
            size += content.len() * RECORD;
            if taken > 0 && size > BATCH {
                break;
            }
            taken += 1;
            changes.extend(content);
        }
        (&rest[..taken], changes)
    }

    fn counted(&self, counted: &[Counted]) {
        let increment = |one: &Counted| Some(Increment { rule: one.rule, target: Target::parse(&one.kind, &one.text).ok()?, times: one.times });
        let increments: Vec<Increment> = counted.iter().filter_map(increment).collect();
        self.0.rules.add(&increments, Instant::now());
    }
}

/// One number for each group of parts.
fn groups(digests: &[u64]) -> Vec<u64> {
    digests.chunks(IN_GROUP).map(|group| group.iter().fold(0, |all, digest| all ^ digest)).collect()
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect()
}

/// The parts in which an answer to a comparison differs from what is here.
fn differing(mine: &[u64], answer: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    for group in answer.chunks_exact(1 + IN_GROUP * 8) {
        let first = usize::from(group[0]) * IN_GROUP;
        let theirs = numbers(&group[1..]);
        found.extend(
            (first..first + IN_GROUP).zip(theirs).filter(|(bucket, digest)| mine.get(*bucket).is_some_and(|mine| mine != digest)).map(|(bucket, _)| bucket),
        );
    }
    found
}

/// Rendezvous: every node finds the same home for a target, and few targets move when members change.
fn weight(member: Incarnation, target: &Target) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in member.0.to_bytes().iter().chain(target.key().as_bytes()).chain(target.text().as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV's last bytes reach its high bits badly.
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const APPLY: &str = "bans/apply";
const COMPARE: &str = "bans/compare";
const EXCHANGE: &str = "bans/exchange";
const COUNT: &str = "bans/count";
/// Longest body of a call, of what is sent in one, and of an answer.
const CALL: usize = 1 << 20;
const BATCH: usize = 256 * 1024;
const ANSWER: usize = 8 << 20;
/// About the size of one ban.
const RECORD: usize = 160;
/// Parts of one exchange.
const EXCHANGED: usize = 512;
const GROUPS: usize = 64;
const IN_GROUP: usize = BUCKETS / GROUPS;
/// How often books are compared, and counts told.
const COMPARE_EVERY: Duration = Duration::from_millis(700);
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// How long an answer is waited for.
const COMPARING: Duration = Duration::from_millis(900);
const EXCHANGING: Duration = Duration::from_secs(5);
const COUNTING: Duration = Duration::from_millis(500);
/// How long a start looks for other nodes.
const NOBODY: Duration = Duration::from_secs(1);
/// How long a member that went without a word is looked for, and named as silent.
const LOST: Duration = Duration::from_secs(600);
