//! One certificate and the response that is stapled to it.
//!
//! Gets: a chain with its key, responses from wherever, the time as an argument. Gives: what a handshake shows; what is known, for the API and the metrics.
//! Never: shows what it has not verified itself, "good" after a later "revoked", or a response beyond its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::super::der;
use super::super::ocsp::{Fault, Question, Said};
use super::schedule::Schedule;
use crate::net::http;
use crate::observe::staples::{StapleResult, StapleSource, StapleStatus};

/// SHA-256 of a leaf.
pub(in crate::tls) type CertificateId = [u8; 32];

/// A certificate and its staple.
#[derive(Debug)]
pub(in crate::tls) struct Holder {
    id: CertificateId,
    names: Vec<String>,
    /// The same, for people.
    named: String,
    /// As it was loaded.
    certified: Arc<CertifiedKey>,
    /// The same with the staple of now.
    shown: ArcSwap<CertifiedKey>,
    /// `None`: the chain does not hold its issuer.
    question: Option<Question>,
    /// The first responder that can be asked, by the certificate.
    responder: Option<String>,
    must_staple: bool,
    /// Somebody asks for it just now.
    busy: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    /// Staples are switched on.
    enabled: bool,
    /// Who is asked: by the configuration, else by the certificate.
    responder: Option<String>,
    /// The last one, kept beyond its end, so that nothing older follows.
    response: Option<Response>,
    schedule: Schedule,
    /// Why the last question had no answer.
    fault: Option<String>,
    /// Whether something was tried.
    tried: bool,
}

/// A verified response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) bytes: Arc<[u8]>,
    pub(super) said: Said,
    pub(super) source: StapleSource,
}

/// What became of a response that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is shown from now on.
    Taken(Said),
    /// It is right, and not newer than what is there.
    Known(Said),
}

/// One certificate, as the API shows it.
#[derive(Clone, Debug)]
pub struct StapleInfo {
    /// Its names.
    pub names: Vec<String>,
    /// SHA-256 of the leaf: 64 hex digits.
    pub fingerprint: String,
    /// How it stands; `None`: nothing is to be stapled to it.
    pub status: Option<StapleStatus>,
    /// What the last response says.
    pub said: Option<Said>,
    /// Where that came from.
    pub source: Option<StapleSource>,
    /// The certificate promises a staple.
    pub must_staple: bool,
    /// Who is asked.
    pub responder: Option<String>,
    /// Until somebody is asked again.
    pub refresh_in: Option<Duration>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// Ends a question.
pub(super) struct Busy(Arc<Holder>);

impl Holder {
    /// Without a staple yet.
    pub(in crate::tls) fn new(certified: CertifiedKey, names: &[String]) -> Self {
        let leaf = certified.cert.first().map_or(&[][..], |leaf| leaf);
        let revocation = der::revocation(leaf);
        let must_staple = revocation.as_ref().is_some_and(|revocation| revocation.must_staple);
        // https is left out: its own certificate would want to be asked about.
        let responder = revocation.and_then(|revocation| revocation.responders.into_iter().find(|url| http::is_plain(url)));
        let (id, question) = (Sha256::digest(leaf).into(), Question::of(&certified.cert));
        let certified = Arc::new(certified);
        let held = Held { enabled: true, responder: responder.clone(), response: None, schedule: Schedule::new(Instant::now()), fault: None, tried: false };
        let named = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
        let (busy, held) = (AtomicBool::new(false), Mutex::new(held));
        Self { id, names: names.to_vec(), named, shown: ArcSwap::new(certified.clone()), certified, question, responder, must_staple, busy, held }
    }

    /// As it was loaded.
    pub(in crate::tls) fn certified(&self) -> &CertifiedKey {
        &self.certified
    }

    /// What a handshake shows.
    pub(in crate::tls) fn shown(&self) -> Arc<CertifiedKey> {
        self.shown.load_full()
    }

    /// What a full handshake can show now; `None`: it shows none and should not.
    pub(in crate::tls) fn result(&self) -> Option<StapleResult> {
        if self.shown.load().ocsp.is_some() {
            return Some(StapleResult::Stapled);
        }
        let held = self.held();
        let result = if held.response.is_some() { StapleResult::Expired } else { StapleResult::Missing };
        (self.must_staple || self.is_askable(&held)).then_some(result)
    }

    /// The same certificate was loaded anew: its staple goes on.
    pub(in crate::tls) fn inherit(&self, former: &Self) {
        if self.id == former.id && self.question == former.question {
            let held = former.held().clone();
            self.show(former.shown.load().ocsp.as_deref());
            *self.held() = held;
        }
    }

    pub(in crate::tls) fn id(&self) -> &CertificateId {
        &self.id
    }

    pub(super) fn names(&self) -> &str {
        &self.named
    }

    pub(super) const fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }

    /// Who is asked; `None`: nobody can be, or staples are switched off.
    pub(super) fn responder(&self) -> Option<String> {
        let held = self.held();
        held.responder.clone().filter(|_| self.is_askable(&held))
    }

    /// Whether somebody can be asked.
    fn is_askable(&self, held: &Held) -> bool {
        held.enabled && self.question.is_some() && held.responder.is_some()
    }

    /// Verifies a response; shows it if it is newer than what is there. `random` is for the next question.
    pub(super) fn offer(&self, bytes: &[u8], source: StapleSource, now: i64, random: u8) -> Result<Offered, Fault> {
        let (said, bytes) = self.question.as_ref().ok_or(Fault::OtherCertificate)?.verify(bytes, now)?;
        let mut held = self.held();
        let known = held.response.as_ref().map(|known| known.said).filter(|known| !said.supersedes(known));
        let newer = known.is_none();
        // A responder has nothing newer now, nor has a peer that has just asked one; what the store has may be what is held, long ago.
        if newer || source != StapleSource::Store {
            let until = known.unwrap_or(said).next_update;
            held.schedule.succeed(Instant::now(), Duration::from_secs(u64::try_from(until - now).unwrap_or(0)), random);
            (held.fault, held.tried) = (None, true);
        }
        if !newer {
            return Ok(Offered::Known(said));
        }
        // Under the lock: of two that come at once the later one has to be the one that is shown.
        self.show(Some(&bytes));
        held.response = Some(Response { bytes: bytes.into(), said, source });
        Ok(Offered::Taken(said))
    }

    /// There was no response, for this reason.
    pub(super) fn failed(&self, why: String, random: u8) {
        let mut held = self.held();
        held.schedule.fail(Instant::now(), random);
        (held.fault, held.tried) = (Some(why), true);
    }

    /// What may be shown at `now`.
    pub(super) fn response(&self, now: i64) -> Option<Response> {
        self.held().response.clone().filter(|response| response.said.next_update > now)
    }

    /// Shows no response beyond its end, and wants another at once: where that had been seen to, the clock has jumped. Says whether one has just ended.
    pub(super) fn expire(&self, now: i64) -> bool {
        let mut held = self.held();
        let ended = held.response.as_ref().is_some_and(|response| response.said.next_update <= now) && self.shown.load().ocsp.is_some();
        if ended {
            held.schedule = Schedule::new(Instant::now());
            self.show(None);
        }
        ended
    }

    /// Forgets the response; a new one is asked for at once.
    pub(super) fn forget(&self) {
        let mut held = self.held();
        held.response = None;
        held.schedule.want_anew(Instant::now());
        self.show(None);
    }

    /// Staples are switched on or off, and another responder than the certificate's is asked.
    pub(super) fn set(&self, enabled: bool, responder: Option<&str>) {
        let mut held = self.held();
        let responder = responder.or(self.responder.as_deref());
        if (held.enabled, held.responder.as_deref()) == (enabled, responder) {
            return;
        }
        (held.enabled, held.responder) = (enabled, responder.map(str::to_owned));
        (held.fault, held.tried, held.schedule) = (None, false, Schedule::new(Instant::now()));
        if !enabled {
            held.response = None;
            self.show(None);
        }
    }

    pub(super) fn schedule(&self) -> Schedule {
        self.held().schedule
    }

    /// Takes the right to ask; `None` while somebody else has it.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let free = !self.busy.swap(true, Ordering::AcqRel);
        free.then(|| Busy(self.clone()))
    }

    /// How it stands; `None`: nothing is to be stapled.
    pub(super) fn status(&self, now: i64) -> Option<StapleStatus> {
        self.status_of(&self.held(), now)
    }

    fn status_of(&self, held: &Held, now: i64) -> Option<StapleStatus> {
        let status = match &held.response {
            None => StapleStatus::Missing,
            Some(response) if response.said.next_update <= now => StapleStatus::Expired,
            Some(Response { said: Said { revoked: Some(_), .. }, .. }) => StapleStatus::Revoked,
            Some(_) => StapleStatus::Good,
        };
        (self.must_staple || self.is_askable(held)).then_some(status)
    }

    /// Whether the certificate promises a staple and there is none.
    pub(super) fn breaks_promise(&self) -> bool {
        self.must_staple && self.shown.load().ocsp.is_none()
    }

    /// What somebody should do something about, once something was tried.
    pub(super) fn trouble(&self, now: i64) -> Option<String> {
        let (held, names) = (self.held(), &self.named);
        if self.status_of(&held, now) == Some(StapleStatus::Revoked) {
            return Some(format!("the certificate for {names} is revoked, as its staple says: replace it in tls.certificates"));
        }
        if !self.breaks_promise() || self.is_askable(&held) && !held.tried {
            return None;
        }
        let why = self.problem(&held).unwrap_or_else(|| "no response has come yet".to_owned());
        Some(format!("the certificate for {names} promises a staple (Must-Staple) and there is none, so clients that hold it to that refuse it: {why}"))
    }

    /// Why there is no response, or no newer one.
    fn problem(&self, held: &Held) -> Option<String> {
        match &held.responder {
            _ if !held.enabled => Some("tls.stapling.enabled is false".to_owned()),
            _ if self.question.is_none() => {
                Some("the file in tls.certificates does not hold its issuer's certificate: put it behind the certificate".to_owned())
            }
            None => Some("the certificate names no OCSP responder at an http:// URL: name one in tls.stapling.responder".to_owned()),
            Some(responder) => held.fault.as_ref().map(|fault| format!("{responder}: {fault}")),
        }
    }

    /// For the API.
    pub(super) fn info(&self, now: i64) -> StapleInfo {
        let held = self.held();
        let askable = self.is_askable(&held);
        StapleInfo {
            names: self.names.clone(),
            fingerprint: self.id.iter().map(|byte| format!("{byte:02x}")).collect(),
            status: self.status_of(&held, now),
            said: held.response.as_ref().map(|response| response.said),
            source: held.response.as_ref().map(|response| response.source),
            must_staple: self.must_staple,
            responder: held.responder.clone().filter(|_| askable),
            refresh_in: askable.then(|| held.schedule.left(Instant::now())),
            problem: self.problem(&held),
        }
    }

    fn show(&self, staple: Option<&[u8]>) {
        let CertifiedKey { cert, key, .. } = &*self.certified;
        let ocsp = staple.map(<[u8]>::to_vec);
        self.shown.store(Arc::new(CertifiedKey { cert: cert.clone(), key: key.clone(), ocsp }));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}
