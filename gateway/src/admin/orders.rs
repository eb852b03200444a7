//! What the API asks of the node: drain, reload, the configuration in force, the faults of another one.
//!
//! Gets: doors that the node keeps open. Gives: what came of it, within a deadline.
//! Never: does any of it itself.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::shapes::{ConfigProblem, Setting};

/// Whether the node drains, and who says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draining {
    /// What the API wants.
    pub wanted: bool,
    /// What the node does.
    pub is: bool,
    /// A signal was there: the node ends, whatever the API wants.
    pub ends: bool,
}

/// Read everything again, and say what was wrong.
pub type Order = oneshot::Sender<Result<(), String>>;

/// A fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// What is wrong and what to write.
    pub message: String,
}

/// Every fault of this text, or of the node's own file; `None` when it has none.
pub type Validate = Box<dyn Fn(Option<String>) -> Option<Vec<Fault>> + Send + Sync>;

/// The doors.
pub struct Orders {
    /// Whether the node drains.
    pub draining: watch::Sender<Draining>,
    /// Reloads; `None`: there is no file to read again.
    pub reload: Option<mpsc::Sender<Order>>,
    /// The configuration in force.
    pub settings: Arc<RwLock<Vec<Setting>>>,
    /// Looks at a configuration.
    pub validate: Validate,
}

impl Orders {
    /// Drains, or does so no longer. False when the node ends anyway.
    pub(super) async fn drain(&self, drain: bool) -> bool {
        let mut state = self.draining.subscribe();
        self.draining.send_modify(|state| state.wanted = drain);
        // The node takes it up at once; who asks too early sees the former state.
        let done = timeout(MOMENT, state.wait_for(|state| state.is == drain || state.ends)).await;
        !matches!(done, Ok(Ok(state)) if state.ends)
    }

    /// Reads everything again.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let Some(door) = &self.reload else { return Err("it was started without a configuration file".into()) };
        let (order, answer) = oneshot::channel();
        let asked = async {
            door.send(order).await.ok()?;
            answer.await.ok()
        };
        timeout(RELOAD, asked).await.ok().flatten().unwrap_or_else(|| Err("the reload did not end in time".into()))
    }

    /// The configuration in force.
    pub(super) fn settings(&self) -> Vec<Setting> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every fault.
    pub(super) fn validate(&self, text: Option<String>) -> Option<Vec<ConfigProblem>> {
        let shown = |fault: Fault| ConfigProblem { file: fault.file, line: fault.line.map(|line| line as u64), key: fault.key, message: fault.message };
        (self.validate)(text).map(|faults| faults.into_iter().map(shown).collect())
    }
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Orders")
    }
}

/// For the node to take up an order.
const MOMENT: Duration = Duration::from_secs(1);
/// For a reload: files may lie on a slow server.
const RELOAD: Duration = Duration::from_secs(10);
