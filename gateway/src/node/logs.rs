//! The logs that are files of their own: of transfers and of the audit.
//!
//! Gets: `log.transfer_log` and `log.audit`. Gives: both, to be told of events, set anew and flushed.
//! Never: starts with a file that cannot be written.

use crate::observe::{AuditLog, LogConfig, TransferLog, appended};

use super::Error;

/// Both. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    pub(super) transfers: TransferLog,
    pub(super) audit: AuditLog,
}

impl Logs {
    pub(super) fn start(config: &LogConfig) -> Result<Self, Error> {
        check(config).map_err(Error::Configuration)?;
        let fault = |error| Error::Fault(format!("cannot start the thread of a log: {error}"));
        let (transfers, audit) = (config.transfer_log.clone(), config.audit.clone());
        Ok(Self { transfers: TransferLog::start(transfers).map_err(fault)?, audit: AuditLog::start(audit).map_err(fault)? })
    }

    /// From now on they are written there.
    pub(super) fn set(&self, config: LogConfig) {
        self.transfers.set(config.transfer_log);
        self.audit.set(config.audit);
    }

    /// Lines that were lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.transfers.dropped() + self.audit.dropped()
    }

    /// Those of them that were the audit's.
    pub(super) fn audit_dropped(&self) -> u64 {
        self.audit.dropped()
    }

    /// Waits until all lines are written, at most a second each.
    pub(super) fn flush(&self) {
        self.transfers.flush();
        self.audit.flush();
    }
}

/// Whether the files can be written; makes them.
pub(super) fn check(config: &LogConfig) -> Result<(), String> {
    config.transfer_log.as_deref().map_or(Ok(()), |path| appended::check("log.transfer_log", path))?;
    config.audit.as_deref().map_or(Ok(()), |path| appended::check("log.audit", path))
}
