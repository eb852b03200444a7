//! Jobs on names: stat, make, remove, rename, attributes.
//!
//! Gets: a job of the machine and the user's tree. Gives: its outcome.
//! Never: runs on the loop's thread; a file system may take its time.

use std::sync::Arc;

use ftps_proto::command::SetFact;
use ftps_proto::machine::io::{FileError, Job, Outcome};
use ftps_proto::path::VirtualPath;
use ftps_proto::verbs::Verb;

use super::login::Admittance;
use super::work::Work;
use super::{Carried, listing};
use crate::observe::{Event, Subject};
use crate::storage::{self, Tree};

/// Starts a job that needs nothing but the tree.
pub(super) fn start(job: Job, carried: &Carried, account: Option<&Admittance>) -> Work {
    let Some(account) = account else { return refused() };
    let (tree, user) = (account.tree.clone(), account.user.clone());
    let (observer, subject, digests) = (carried.house.observer.clone(), carried.subject(), carried.house.digests.clone());
    Work::Job(Box::pin(async move {
        let outcome = storage::blocking(move || {
            let before = same_bytes(&job).and_then(|(path, _)| tree.identity(path));
            let outcome = perform(&tree, job.clone())?;
            if let (Some(before), Some((_, path))) = (before, same_bytes(&job))
                && let Some(after) = tree.identity(path)
            {
                digests.carry(&tree, path, &before, &after, is_dated(&job));
            }
            // Said where it is done: the session may be gone by then.
            if let Some(event) = change(&job) {
                observer.event(Subject { user: Some(user.name.as_str()), ..subject }, &event);
            }
            Ok(outcome)
        });
        outcome.await.unwrap_or_else(Outcome::Failed).into()
    }))
}

/// For a job that needs a login and came without one. The machine asks for none; if it did, nothing happens.
pub(super) fn refused() -> Work {
    Work::Job(Box::pin(async { Outcome::Failed(FileError::Denied).into() }))
}

fn perform(tree: &Arc<Tree>, job: Job) -> Result<Outcome, FileError> {
    let done = |()| Outcome::Ok;
    match job {
        Job::CheckDirectory(path) => tree.check_directory(&path).map(done),
        Job::MakeDirectory(path) => tree.make_directory(&path).map(done),
        Job::RemoveDirectory(path) => tree.remove_directory(&path).map(done),
        Job::Delete(path) => tree.remove_file(&path).map(done),
        Job::CheckExists(path) => tree.check_exists(&path).map(done),
        Job::Rename { from, to } => tree.rename(&from, &to).map(done),
        Job::Stat(path) => tree.entry(&path).map(Outcome::Entry),
        Job::AsciiSize(path) => tree.ascii_size(&path).map(Outcome::Size),
        Job::SetModified { path, time } => tree.set_facts(&path, &[SetFact::Modify(time)]).map(done),
        Job::SetFacts { path, facts } => tree.set_facts(&path, &facts).map(done),
        Job::Available(path) => tree.available(&path).map(Outcome::Size),
        Job::ListOnControl(path) => listing::on_control(tree, &path).map(Outcome::Lines),
        // These never come here: the loop keeps them.
        Job::Login { .. } | Job::CheckHost(_) | Job::Who | Job::Passive { .. } | Job::Active(_) | Job::Digest { .. } | Job::Transfer(_) => {
            Err(FileError::Denied)
        }
    }
}

/// A job that gives a file another name or other attributes and leaves its bytes: where it is before and afterwards. Whoever writes to it in the microseconds
/// between the look before and the change goes unseen only when the time of the last write is set.
fn same_bytes(job: &Job) -> Option<(&VirtualPath, &VirtualPath)> {
    match job {
        Job::Rename { from, to } => Some((from, to)),
        Job::SetModified { path, .. } | Job::SetFacts { path, .. } => Some((path, path)),
        _ => None,
    }
}

/// Whether a job sets the time of the last write.
fn is_dated(job: &Job) -> bool {
    match job {
        Job::SetModified { .. } => true,
        Job::SetFacts { facts, .. } => facts.iter().any(|fact| matches!(fact, SetFact::Modify(_))),
        _ => false,
    }
}

/// What a job that succeeded has changed. Of several commands for one thing it names that of an RFC or draft: `SITE CHMOD` is `MFF`.
fn change(job: &Job) -> Option<Event<'_>> {
    let (verb, path, to) = match job {
        Job::MakeDirectory(path) => (Verb::Mkd, path, None),
        Job::RemoveDirectory(path) => (Verb::Rmd, path, None),
        Job::Delete(path) => (Verb::Dele, path, None),
        Job::Rename { from, to } => (Verb::Rnto, from, Some(to.as_bytes())),
        Job::SetModified { path, .. } => (Verb::Mfmt, path, None),
        Job::SetFacts { path, .. } => (Verb::Mff, path, None),
        Job::CheckDirectory(_) | Job::CheckExists(_) | Job::Stat(_) | Job::AsciiSize(_) | Job::Available(_) | Job::ListOnControl(_) => return None,
        Job::Login { .. } | Job::CheckHost(_) | Job::Who | Job::Passive { .. } | Job::Active(_) | Job::Digest { .. } | Job::Transfer(_) => return None,
    };
    Some(Event::FileChanged { verb, path: path.as_bytes(), to })
}
