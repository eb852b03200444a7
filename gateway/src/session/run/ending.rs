//! The beginning and the end of a transfer, as the session keeps its record.
//!
//! Gets: what the loop did. Gives: the two events of each transfer, and one more when this side cut it.
//! Never: a transfer without an end, also when the task panics or is cut.

use std::sync::atomic::Ordering;

use ftps_proto::machine::io::{Input, Outcome, TransferEnd};

use super::{Opened, Session, Work};
use crate::live::Running;
use crate::observe::Event;
use crate::observe::event::{CloseReason, CutReason};

impl Session {
    /// The file of a transfer is open: `150` is out.
    pub(super) fn started(&mut self, opened: &Opened) {
        if let Some(mut record) = self.record.take() {
            record.begin(opened.opening().unique.as_ref().map(ftps_proto::path::VirtualPath::as_bytes));
            self.carried.membership.set_running(Some(Running::begin(record.progress.bytes.clone(), opened.expected())));
            self.event(&record.started());
            self.record = Some(record);
        }
    }

    /// A transfer is over, one way or the other: one event, one outcome.
    pub(super) fn ended(&mut self, end: TransferEnd) {
        self.channel.close();
        self.close_record(end);
        self.machine.input(Input::Done(Outcome::Transfer(end)));
    }

    fn close_record(&mut self, end: TransferEnd) {
        self.carried.membership.set_running(None);
        let Some(record) = self.record.take() else { return };
        self.carried.membership.moved(record.progress.bytes.load(Ordering::Relaxed));
        let Some(event) = record.ended(end) else { return };
        self.event(&event);
        if !matches!(end, TransferEnd::Complete { .. })
            && let Some(reason) = self.ending.and_then(CutReason::of)
        {
            self.event(&Event::TransferCut { reason });
        }
    }

    /// ABOR: the transfer stops where it is; nothing of an upload stays. One that is whole and about to get its name ends as it ends: 426 would be a lie.
    pub(super) fn abort(&mut self) {
        if self.record.as_ref().is_some_and(|record| record.progress.is_committing()) {
            return;
        }
        self.work = Work::Idle;
        self.ended(TransferEnd::Aborted);
    }

    /// The session ends with its work unfinished.
    pub(super) fn stop_work(&mut self) {
        self.work = Work::Idle;
        self.close_record(TransferEnd::Broken);
    }
}

/// Every transfer that began ends with an event, also when the task panics or is cut.
impl Drop for Session {
    fn drop(&mut self) {
        // Whoever drops this without having said why cut the task.
        self.ending.get_or_insert(if std::thread::panicking() { CloseReason::Panicked } else { CloseReason::Cut });
        self.close_record(TransferEnd::Broken);
    }
}
