//! Digests in a session: the answer to XCRC and HASH, and what is computed of a transfer while it moves.
//!
//! Gets: jobs of the machine, the bytes of transfers as they are stored. Gives: outcomes; digests for the memory of all.
//! Never: delays a byte for more than the hash of it, or waits for the store.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ftps_proto::digest::{Algorithm, DigestFault, Range};
use ftps_proto::machine::io::{FileError, Input, Outcome};
use ftps_proto::path::VirtualPath;

use super::login::Admittance;
use super::record::{Progress, Record};
use super::work::Work;
use super::{Carried, files};
use crate::auth::User;
use crate::data::pump::{Sink, Source};
use crate::digest::{Allowed, Digests, Hashers, Question, Values, Who};
use crate::observe::event::{DigestResult, DigestSource};
use crate::observe::id::TransferId;
use crate::observe::{Event, Observer, Subject};
use crate::storage::{self, Identity, Landed, Seen, Tree};

/// Starts a digest. Dropping the work stops it.
pub(super) fn start(carried: &Carried, account: Option<&Admittance>, path: VirtualPath, algorithm: Algorithm, range: Option<Range>) -> Work {
    let Some(account) = account else { return files::refused() };
    let digests = carried.house.digests.clone();
    let user = &account.user;
    let question = Question { tree: account.tree.clone(), path, algorithm, range, user: user.name.as_str().into(), class: user.class.clone() };
    let mut told =
        Told { observer: carried.house.observer.clone(), subject: carried.subject(), user: user.clone(), began: Instant::now(), question, end: None };
    Work::Job(Box::pin(async move {
        let answer = digests.digest(&told.question).await;
        told.ended(answer.as_ref().map(|digest| digest.source).map_err(|fault| *fault));
        Outcome::Digest(answer.map(|digest| (digest.value, digest.range.end))).into()
    }))
}

/// ABOR: nobody waits for it any more.
pub(super) fn stop(work: &mut Work) -> Input<'static> {
    *work = Work::Idle;
    Input::Done(Outcome::Digest(Err(DigestFault::Aborted)))
}

/// Whose rules hold for this user.
pub(super) fn who(user: &User) -> Who<'_> {
    Who { user: Some(user.name.as_str()), class: user.class.as_deref() }
}

/// Says how a question ended, also when nobody waited for the answer.
struct Told {
    observer: Observer,
    subject: Subject<'static>,
    user: Arc<User>,
    began: Instant,
    question: Question,
    end: Option<(DigestSource, DigestResult)>,
}

impl Told {
    fn ended(&mut self, answer: Result<DigestSource, DigestFault>) {
        self.end = Some(answer.map_or_else(|fault| (DigestSource::Computed, result(fault)), |source| (source, DigestResult::Done)));
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let (source, result) = self.end.unwrap_or((DigestSource::Computed, DigestResult::Cancelled));
        let Question { algorithm, path, .. } = &self.question;
        let event = Event::Digest { algorithm: *algorithm, path: path.as_bytes(), source, result, took: self.began.elapsed() };
        self.observer.event(Subject { user: Some(self.user.name.as_str()), ..self.subject }, &event);
    }
}

fn result(fault: DigestFault) -> DigestResult {
    match fault {
        DigestFault::Changed | DigestFault::Shrunk => DigestResult::Changed,
        DigestFault::Busy => DigestResult::Busy,
        DigestFault::Aborted => DigestResult::Cancelled,
        DigestFault::File(FileError::Io | FileError::Busy) => DigestResult::Failed,
        DigestFault::File(_) | DigestFault::NotPermitted | DigestFault::Off | DigestFault::EndBeyond | DigestFault::Order(_) => DigestResult::Refused,
    }
}

/// What is computed of one transfer.
pub(super) struct Tap {
    digests: Digests,
    observer: Observer,
    subject: Subject<'static>,
    id: TransferId,
    tree: Arc<Tree>,
    path: VirtualPath,
    user: Arc<str>,
    allowed: Allowed,
    /// `None`: the transfer is of a part of the file, which is read afterwards, or of more than may be hashed.
    hashers: Option<Hashers>,
    progress: Arc<Progress>,
}

/// Which transfer a tap is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// An upload; whether all bytes of the file come.
    Up { whole: bool },
    /// A download; whether all bytes of the file go.
    Down { whole: bool },
}

impl Tap {
    /// `None`: nothing is computed of this transfer.
    pub(super) fn of(carried: &Carried, account: &Admittance, record: &Record, moves: Moves) -> Option<Self> {
        let (digests, tree) = (&carried.house.digests, &account.tree);
        let path = ftps_proto::path::WirePath::new(record.path()).ok().and_then(|path| VirtualPath::root().resolve(&path).ok())?;
        let (allowed, whole) = match moves {
            Moves::Up { whole } => (digests.at_upload(who(&account.user), tree, &path), whole),
            Moves::Down { whole } => (digests.at_download(who(&account.user), tree, &path), whole),
        };
        if allowed.algorithms.is_empty() {
            return None;
        }
        Some(Self {
            digests: digests.clone(),
            observer: carried.house.observer.clone(),
            subject: carried.subject(),
            id: record.id(),
            tree: tree.clone(),
            path,
            user: account.user.name.as_str().into(),
            allowed,
            hashers: whole.then(|| Hashers::new(allowed.algorithms)),
            progress: record.progress.clone(),
        })
    }

    fn feed(&mut self, bytes: &[u8]) {
        if let Some(hashers) = &mut self.hashers {
            hashers.update(bytes);
            if hashers.bytes() > self.allowed.max_size {
                self.hashers = None;
            }
        }
    }

    /// The upload has its name.
    pub(super) fn landed(mut self, landed: Landed) {
        match (self.finish(), self.tree.landed(&self.path, landed)) {
            (Some((values, bytes)), Some(identity)) if bytes == identity.size => self.digests.uploaded(&self.tree, &self.path, &identity, &values),
            (None, Some(identity)) => self.catch_up(identity),
            (Some(_) | None, _) => {}
        }
    }

    /// The download has ended well. `seen`: the file as it was opened, and what it was then.
    pub(super) async fn sent(mut self, seen: Seen, opened: SystemTime) {
        let path = self.path.clone();
        let computed = self.finish();
        let Some(identity) = storage::blocking(move || Ok(seen.unchanged(&path))).await.ok().flatten() else { return };
        match computed {
            Some((values, bytes)) if bytes == identity.size => self.digests.downloaded(&identity, &values, opened),
            Some(_) => {}
            None => self.catch_up(identity),
        }
    }

    /// The digests of all that passed, noted in the transfer's record.
    fn finish(&mut self) -> Option<(Values, u64)> {
        let hashers = self.hashers.take()?;
        let bytes = hashers.bytes();
        let values = hashers.finish();
        for (algorithm, _) in values.iter() {
            self.observer.event(Subject::default(), &Event::Hashed { algorithm, bytes, took: None });
        }
        // The strongest comes last.
        if let Some((algorithm, value)) = values.iter().last() {
            self.progress.set_digest(algorithm, value);
        }
        Some((values, bytes))
    }

    /// The record of the transfer gets its digest later.
    fn catch_up(self, identity: Identity) {
        let Self { digests, observer, subject, id, tree, path, user, allowed, .. } = self;
        tokio::spawn(async move {
            let Some(values) = digests.catch_up(&tree, &path, &identity, allowed, user.clone()).await else { return };
            if let Some((algorithm, digest)) = values.iter().last() {
                let event = Event::TransferDigest { id, path: path.as_bytes(), algorithm, digest };
                observer.event(Subject { user: Some(&user), ..subject }, &event);
            }
        });
    }
}

/// A file of a transfer, whose bytes a tap sees as they are stored.
pub(super) struct Tapped<T> {
    /// Itself.
    pub(super) inner: T,
    /// What sees its bytes.
    pub(super) tap: Option<Tap>,
}

impl<T> Tapped<T> {
    pub(super) fn new(inner: T, tap: Option<Tap>) -> Self {
        Self { inner, tap }
    }
}

impl<T: Source + Send> Source for Tapped<T> {
    async fn read(&mut self) -> Result<&[u8], FileError> {
        let bytes = self.inner.read().await?;
        if let Some(tap) = &mut self.tap {
            tap.feed(bytes);
        }
        Ok(bytes)
    }
}

impl<T: Sink + Send> Sink for Tapped<T> {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, FileError> {
        if let Some(tap) = &mut self.tap {
            tap.feed(&bytes);
        }
        self.inner.write(bytes).await
    }
}
