//! Jobs on names: stat, make, remove, rename, attributes.
//!
//! Gets: a job of the machine and the user's tree. Gives: its outcome.
//! Never: runs on the loop's thread; a file system may take its time.

use std::sync::Arc;

use ftps_proto::command::SetFact;
use ftps_proto::machine::io::{FileError, Job, Outcome};

use super::listing;
use super::login::Admittance;
use super::work::Work;
use crate::storage::{self, Tree};

/// Starts a job that needs nothing but the tree.
pub(super) fn start(job: Job, account: Option<&Admittance>) -> Work {
    let Some(account) = account else { return refused() };
    let tree = account.tree.clone();
    Work::Job(Box::pin(async move {
        let outcome = storage::blocking(move || perform(&tree, job)).await;
        outcome.unwrap_or_else(Outcome::Failed).into()
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
        Job::SetModified { path, time } => tree.set_modified(&path, time).map(done),
        Job::SetFacts { path, facts } => facts.iter().try_for_each(|fact| set(tree, &path, *fact)).map(done),
        Job::Available(path) => tree.available(&path).map(Outcome::Size),
        Job::ListOnControl(path) => listing::on_control(tree, &path).map(Outcome::Lines),
        // These never come here: the loop keeps them.
        Job::Login { .. } | Job::Who | Job::Passive { .. } | Job::Active(_) | Job::Transfer(_) => Err(FileError::Denied),
    }
}

fn set(tree: &Tree, path: &ftps_proto::path::VirtualPath, fact: SetFact) -> Result<(), FileError> {
    match fact {
        SetFact::Modify(time) => tree.set_modified(path, time),
        SetFact::UnixMode(mode) => tree.set_mode(path, mode),
    }
}
