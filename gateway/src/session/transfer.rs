//! RETR, STOR, APPE, STOU and listings: file here, data connection there, one end for each transfer.
//!
//! Gets: what the machine wants and the user's tree. Gives: an open file, then the end of the transfer.
//! Order (DESIGN: "resolve, permission, open → 150 → proof → bytes"): nothing is created before the data connection has proved itself.
//! Never: says 226 for less than a whole file that has its name.

use std::future::ready;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ftps_proto::addr::Family;
use ftps_proto::command::TransferType;
use ftps_proto::machine::io::{FileError, Opening, Outcome, PassiveError, Transfer, TransferEnd};
use ftps_proto::proof::{self, CONTROL_QUIET, UploadEnd, UploadFacts, UploadVerdict};

use super::Carried;
use super::digest::{Moves, Tap, Tapped};
use super::listing::{Lines, Wanted};
use super::login::Admittance;
use super::paced::{Paced, Speed};
use super::record::Progress;
use super::work::{Brought, Done, Work};
use crate::data::channel::Channel;
use crate::data::pump::{self, PumpError, Sink, Source};
use crate::data::stream::{Cut, DataStream, End, Receiver};
use crate::observe::Event;
use crate::observe::event::StreamEnd;
use crate::storage::{self, Landed, Reader, StorePlan, Tree, Writer};

/// A transfer whose file is open, or may be made.
#[derive(Debug)]
pub(super) struct Opened {
    what: What,
    kind: TransferType,
    opening: Opening,
}

#[derive(Debug)]
enum What {
    Retrieve(Reader),
    Store(StorePlan, Option<u64>),
    List(Lines),
}

/// What an upload's end is judged by.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// `upload_end` of the user or of the node.
    pub(super) policy: UploadEnd,
    /// Whether this session ever ended an upload with close_notify.
    pub(super) ended_cleanly_before: bool,
    /// Grows with every read of the control connection.
    pub(super) spoken: Arc<AtomicU64>,
}

impl Opened {
    /// What `150` says.
    pub(super) fn opening(&self) -> Opening {
        self.opening.clone()
    }

    /// Bytes that will have moved at its end, as far as this side knows.
    pub(super) fn expected(&self) -> Option<u64> {
        match &self.what {
            What::Retrieve(reader) => Some(reader.left()),
            What::Store(_, announced) => *announced,
            What::List(_) => None,
        }
    }

    /// What moves, for those who look at its bytes; `None` for a listing.
    pub(super) fn moves(&self) -> Option<Moves> {
        match &self.what {
            What::Retrieve(reader) => Some(Moves::Down { whole: reader.left() == reader.size() }),
            What::Store(plan, _) => Some(Moves::Up { whole: plan.kept() == 0 }),
            What::List(_) => None,
        }
    }
}

/// What PASV says; a private address for a public client is told all the same, and said to the operator.
fn announced(carried: &Carried) -> Result<Ipv4Addr, PassiveError> {
    let (announcer, identity) = (&carried.house.data.announcer, &carried.identity);
    let announced = announcer.announced(identity.peer.ip(), identity.local, identity.destination)?;
    if announced.unreachable {
        let event = Event::PrivateAnnounced { ip: announced.ip, first: announcer.note_unreachable() };
        carried.house.observer.event(carried.subject(), &event);
    }
    Ok(announced.ip)
}

/// Starts PASV or EPSV: a port is reserved, then the session waits on it.
pub(super) fn passive(channel: &mut Channel, carried: &Carried, family: Option<Family>, pasv: bool) -> Work {
    let (peer, local) = (carried.identity.peer.ip(), carried.identity.local);
    let address = if pasv {
        announced(carried).map(IpAddr::V4)
    } else if family.is_some_and(|family| family != Family::of(peer)) {
        Err(PassiveError::Family)
    } else {
        Ok(local.ip())
    };
    match address {
        Err(error) => Work::Job(Box::pin(async move { Outcome::PassiveFailed(error).into() })),
        Ok(ip) => {
            let reservation = channel.reserve();
            Work::Job(Box::pin(async move {
                match reservation.await {
                    Ok(wait) => Done { outcome: Outcome::Ok, brought: Brought::Wait(ip, wait) },
                    Err(error) => Outcome::PassiveFailed(error).into(),
                }
            }))
        }
    }
}

/// Looks for the file.
pub(super) fn open(wanted: Transfer, account: &Admittance) -> Work {
    if let Some(opened) = open_now(&wanted, &account.tree) {
        return Work::Opening(Box::pin(ready(opened.map(Box::new))));
    }
    let (tree, permissions) = (account.tree.clone(), account.user.permissions);
    Work::Opening(Box::pin(storage::blocking(move || {
        let opened = match wanted {
            Transfer::Retrieve { path, offset, kind } => retrieval(tree.open_read(&path, offset)?, kind),
            Transfer::Store { path, mode, kind, announced } => storing(tree.plan_store(&path, mode, announced)?, kind, announced),
            Transfer::List { path, pattern, form, arguments } => list(&tree, Wanted { path, pattern, form, arguments, permissions })?,
        };
        Ok(Box::new(opened))
    })))
}

/// What needs no waiting is not sent to the pool: for a small file the way there and back costs more than the work.
fn open_now(wanted: &Transfer, tree: &Arc<Tree>) -> Option<Result<Opened, FileError>> {
    match *wanted {
        Transfer::Retrieve { ref path, offset, kind } => tree.open_read_now(path, offset).map(|reader| Ok(retrieval(reader, kind))),
        Transfer::Store { ref path, mode, kind, announced } => {
            tree.plan_store_now(path, mode, announced).map(|planned| planned.map(|plan| storing(plan, kind, announced)))
        }
        Transfer::List { .. } => None,
    }
}

fn retrieval(reader: Reader, kind: TransferType) -> Opened {
    let opening = Opening { size: (kind == TransferType::Image).then(|| reader.left()), unique: None };
    Opened { what: What::Retrieve(reader), kind, opening }
}

fn storing(plan: StorePlan, kind: TransferType, announced: Option<u64>) -> Opened {
    let opening = Opening { size: None, unique: plan.unique().cloned() };
    Opened { what: What::Store(plan, announced), kind, opening }
}

fn list(tree: &Arc<Tree>, wanted: Wanted) -> Result<Opened, FileError> {
    let lines = Lines::open(tree, wanted)?;
    // Listings are lines of text whatever TYPE says; their line ends are right already.
    Ok(Opened { what: What::List(lines), kind: TransferType::Image, opening: Opening { size: None, unique: None } })
}

/// Moves the bytes.
pub(super) fn pump(
    opened: Opened,
    stream: DataStream,
    stall: std::time::Duration,
    progress: Arc<Progress>,
    terms: Terms,
    (speed, tap): (Speed, Option<Tap>),
) -> Work {
    let kind = opened.kind;
    match opened.what {
        What::Retrieve(reader) => Work::Pumping(Box::pin(async move {
            let (seen, opened) = (tap.as_ref().map(|_| reader.seen()), SystemTime::now());
            let mut file = Paced::new(Tapped::new(File(reader), tap), speed);
            let sent = pump::send_file(stream.into_sender(stall), &mut file, kind, &progress.bytes).await;
            if let (Ok(_), Some(tap), Some(seen)) = (&sent, file.inner.tap, seen) {
                tap.sent(seen, opened).await;
            }
            sent.map_or_else(end_of, |bytes| TransferEnd::Complete { bytes })
        })),
        What::List(lines) => Work::Pumping(Box::pin(async move {
            let mut text = Paced::new(Text { lines: Some(lines), buffer: Vec::new(), more: true }, speed);
            let sent = pump::send_listing(stream.into_sender(stall), &mut text, &progress.bytes).await;
            sent.map_or_else(end_of, |bytes| TransferEnd::Complete { bytes })
        })),
        What::Store(plan, announced) => {
            let upload = Paced::new(Tapped::new(Upload::Planned(Box::new(plan), Vec::new()), tap), speed);
            Work::Pumping(Box::pin(receive(upload, announced, stream.into_receiver(stall), kind, progress, terms)))
        }
    }
}

/// An upload: all bytes, the verdict on their end, the file under its name, and only then the last bytes to the client.
async fn receive(
    mut upload: Paced<Tapped<Upload>>,
    announced: Option<u64>,
    mut receiver: Receiver,
    kind: TransferType,
    progress: Arc<Progress>,
    terms: Terms,
) -> TransferEnd {
    let (bytes, end) = match pump::receive_file(&mut receiver, &mut upload, kind, &progress.bytes).await {
        Ok(received) => received,
        Err(error) => {
            upload.inner.inner.discard().await;
            return end_of(error);
        }
    };
    match judge(end, bytes, announced, &terms).await {
        UploadVerdict::Keep => progress.set_end(StreamEnd::CloseNotify),
        UploadVerdict::KeepFin => progress.set_end(StreamEnd::Fin),
        UploadVerdict::Discard => {
            upload.inner.inner.discard().await;
            return TransferEnd::Broken;
        }
    }
    progress.set_committing();
    let Tapped { inner, tap } = upload.inner;
    match inner.commit().await {
        Ok(landed) => {
            tap.into_iter().for_each(|tap| tap.landed(landed));
            receiver.close().await;
            TransferEnd::Complete { bytes }
        }
        Err(error) => TransferEnd::Failed(error),
    }
}

async fn judge(end: End, received: u64, announced: Option<u64>, terms: &Terms) -> UploadVerdict {
    let end = match end {
        End::CloseNotify => proof::StreamEnd::CloseNotify,
        End::Fin { on_record_boundary } => proof::StreamEnd::Fin { on_record_boundary },
    };
    let mut facts = UploadFacts { ended_cleanly_before: terms.ended_cleanly_before, received, announced, control_quiet: false };
    if end != proof::StreamEnd::CloseNotify && proof::worth_waiting(end, facts, terms.policy) {
        let spoken = terms.spoken.load(Ordering::Relaxed);
        // A client that dies closes both connections; the end of the control connection drops this future.
        tokio::time::sleep(CONTROL_QUIET).await;
        facts.control_quiet = terms.spoken.load(Ordering::Relaxed) == spoken;
    }
    proof::decide_upload_end(end, facts, terms.policy)
}

fn end_of(error: PumpError) -> TransferEnd {
    match error {
        PumpError::File(error) => TransferEnd::Failed(error),
        PumpError::Cut(Cut::Broken) => TransferEnd::Broken,
        PumpError::Cut(Cut::Stalled) => TransferEnd::Stalled,
    }
}

/// A file as the pump wants it.
struct File(Reader);

impl Source for File {
    async fn read(&mut self) -> Result<&[u8], FileError> {
        self.0.read().await
    }
}

/// A listing as the pump wants it.
struct Text {
    /// `None` only while the pool has it.
    lines: Option<Lines>,
    buffer: Vec<u8>,
    more: bool,
}

impl Source for Text {
    async fn read(&mut self) -> Result<&[u8], FileError> {
        self.buffer.clear();
        while self.more && self.buffer.is_empty() {
            let (Some(mut lines), mut buffer) = (self.lines.take(), std::mem::take(&mut self.buffer)) else { break };
            let filled = storage::blocking(move || {
                let more = lines.fill(LISTING, &mut buffer)?;
                Ok((lines, buffer, more))
            });
            let (lines, buffer, more) = filled.await?;
            (self.lines, self.buffer, self.more) = (Some(lines), buffer, more);
        }
        Ok(&self.buffer)
    }
}

/// An upload as the pump wants it: a small one is written and named in a single hop to the pool, at its end.
enum Upload {
    Planned(Box<StorePlan>, Vec<u8>),
    Writing(Writer),
    /// Only while the pool makes the temporary.
    Beginning,
}

impl Sink for Upload {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, FileError> {
        match std::mem::replace(self, Self::Beginning) {
            Self::Planned(plan, first) if first.is_empty() => {
                *self = Self::Planned(plan, bytes);
                Ok(Vec::new())
            }
            Self::Planned(plan, first) => {
                let mut writer = storage::blocking(move || plan.begin()).await?;
                let first = writer.write(first).await;
                let empty = match first {
                    Ok(_) => writer.write(bytes).await,
                    error => error,
                };
                *self = Self::Writing(writer);
                empty
            }
            Self::Writing(mut writer) => {
                let empty = writer.write(bytes).await;
                *self = Self::Writing(writer);
                empty
            }
            Self::Beginning => Err(FileError::Io),
        }
    }
}

impl Upload {
    /// Nothing of it stays.
    async fn discard(self) {
        if let Self::Writing(writer) = self {
            writer.discard().await;
        }
    }

    async fn commit(self) -> Result<Landed, FileError> {
        match self {
            Self::Planned(plan, bytes) => plan.upload(bytes).await,
            Self::Writing(writer) => writer.commit().await,
            Self::Beginning => Err(FileError::Io),
        }
    }
}

/// Bytes of a listing sent at a time.
const LISTING: usize = 32 * 1024;
