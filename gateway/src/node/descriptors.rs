//! Descriptors: as many as the system lets us have, and a word when that is too few.
//!
//! Gets: `limits.sessions`. Gives: a raised soft limit of open files. Most shells and systemd start a process with 1,024, whatever is allowed:
//! it is that low for programs that use select(2), which this one does not.
//! Never: fails; a node with few descriptors serves as many as it can.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and warns when that does not do for so many sessions.
pub(super) fn raise(sessions: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted(sessions)) {
        tracing::warn!(
            allowed,
            wanted = wanted(sessions),
            "too few open files for limits.sessions: raise LimitNOFILE (systemd) or nofile (ulimit -n, containers)"
        );
    }
}

/// A control connection each, a data connection and a file for every other one, and what the node itself needs.
fn wanted(sessions: usize) -> u64 {
    u64::try_from(sessions).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OWN)
}

/// Listeners, log, runtime, half-open connections.
const OWN: u64 = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_all_that_is_allowed_and_knows_what_sessions_need() {
        let before = getrlimit(Resource::Nofile);
        // Hardly lower: other tests run meanwhile.
        setrlimit(Resource::Nofile, Rlimit { current: before.maximum.map(|most| most - 1), ..before }).unwrap();
        raise(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!((wanted(10_000), wanted(usize::MAX)), (20_512, u64::MAX));
    }
}
