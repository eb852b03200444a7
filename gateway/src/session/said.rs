//! Events of what a session answered.
//!
//! Gets: replies of the machine. Gives: one event for each command, and one where a reply tells of a limit. Never: words a reply.

use std::time::Duration;

use ftps_proto::reply::{Refusal, Reply};
use ftps_proto::verbs::Verb;

use super::Carried;
use crate::observe::event::Limit;
use crate::observe::{Event, Subject};

/// Says that a command was answered.
pub(super) fn answered(carried: &Carried, user: Option<&str>, verb: Option<Verb>, code: u16, took: Duration) {
    let subject = Subject { user, ..carried.subject() };
    carried.house.observer.event(subject, &Event::Command { verb, code, took });
}

/// Says what a reply tells of a limit.
pub(super) fn note(carried: &Carried, reply: &Reply) {
    if *reply == Reply::No(Refusal::LineTooLong) {
        carried.house.observer.event(carried.subject(), &Event::LimitHit { limit: Limit::Line });
    }
}
