//! The one thing a session does at a time: a job, or a transfer in its three phases.
//!
//! Gets: futures that own all they need. Gives: steps, one after the other. Dropping the work stops it: an upload's temporary goes with it.
//! Never: blocks the loop, which keeps reading ABOR and taking data connections meanwhile.

use std::future::{Future, pending};
use std::net::IpAddr;
use std::pin::Pin;

use ftps_proto::machine::io::{DataRefusal, FileError, Outcome, TransferEnd};

use super::login::Admittance;
use super::transfer::Opened;
use crate::data::channel::Channel;
use crate::data::clients::Client;
use crate::data::stream::DataStream;
use crate::data::waits::{Member, Wait};

/// A future that owns what it works on.
pub(super) type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a session is busy with.
#[derive(Default)]
pub(super) enum Work {
    /// Nothing.
    #[default]
    Idle,
    /// A job of the machine.
    Job(Task<Done>),
    /// A transfer looks for its file.
    Opening(Task<Result<Box<Opened>, FileError>>),
    /// A transfer waits for its data connection.
    Connecting(Box<Opened>),
    /// A transfer moves bytes.
    Pumping(Task<TransferEnd>),
}

/// What came of it.
pub(super) enum Step {
    /// The job ended.
    Done(Done),
    /// The file is open.
    Opened(Result<Box<Opened>, FileError>),
    /// The data connection is there.
    Connected(Box<(Opened, DataStream)>),
    /// It will not come.
    Refused(DataRefusal),
    /// The bytes are moved.
    Pumped(TransferEnd),
}

/// A job's outcome, and what a login brings with it.
pub(super) struct Done {
    /// For the machine.
    pub(super) outcome: Outcome,
    /// For the session.
    pub(super) brought: Brought,
}

/// What a job brings the session besides its outcome.
pub(super) enum Brought {
    /// Nothing.
    Nothing,
    /// A login: who it is, and the place among the sessions that may wait for data.
    Admittance(Box<Admittance>, Box<Client>, Member),
    /// PASV or EPSV: a port, and the address to announce with it. The session makes the outcome.
    Wait(IpAddr, Wait),
}

impl Work {
    /// The next step. Dropping the future loses nothing: the work stays where it is.
    pub(super) async fn step(&mut self, channel: &mut Channel) -> Step {
        match self {
            Self::Idle => channel.alongside(pending()).await,
            Self::Job(task) => {
                let done = channel.alongside(task).await;
                *self = Self::Idle;
                Step::Done(done)
            }
            Self::Opening(task) => {
                let opened = channel.alongside(task).await;
                *self = Self::Idle;
                Step::Opened(opened)
            }
            Self::Connecting(_) => {
                let connected = channel.established().await;
                match (std::mem::take(self), connected) {
                    (Self::Connecting(opened), Ok(stream)) => Step::Connected(Box::new((*opened, stream))),
                    (_, Err(refusal)) => Step::Refused(refusal),
                    // It was `Connecting` a moment ago and nobody else holds it.
                    (Self::Idle | Self::Job(_) | Self::Opening(_) | Self::Pumping(_), Ok(_)) => pending().await,
                }
            }
            Self::Pumping(task) => {
                let end = channel.alongside(task).await;
                *self = Self::Idle;
                Step::Pumped(end)
            }
        }
    }
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, brought: Brought::Nothing }
    }
}
