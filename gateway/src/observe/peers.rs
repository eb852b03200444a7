//! What happens between nodes: members that come and go, calls, strangers on the peer port.
//!
//! Gets: built by the room `cluster`. Gives: the events and their closed sets, their log lines.
//! Never: a node's name as a label; names are for the log.

use std::net::SocketAddr;
use std::time::Duration;

use super::LogLevel;
use super::id::Incarnation;
use super::labels::{Label, Size, closed_set};
use super::line::Line;

/// Something that happened between nodes.
#[derive(Clone, Debug)]
pub enum PeerEvent<'a> {
    /// A node is a member now.
    Joined {
        /// Its name.
        name: &'a str,
        /// This start of it.
        incarnation: Incarnation,
        /// Where it is reached.
        address: SocketAddr,
        /// The version of its program.
        version: &'a str,
    },
    /// A node is no member any more.
    Left {
        /// Its name.
        name: &'a str,
        /// That start of it.
        incarnation: Incarnation,
        /// Why.
        why: Departure,
    },
    /// Something about a member that somebody should mend, or that is well again.
    Trouble {
        /// Its name.
        name: &'a str,
        /// The address that it says.
        address: SocketAddr,
        /// What is the case.
        trouble: PeerTrouble,
        /// The address of the other node in it.
        other: Option<SocketAddr>,
    },
    /// A call to a peer ended.
    Called {
        /// The path.
        path: &'a str,
        /// How.
        result: CallResult,
        /// From the question to the answer.
        took: Duration,
    },
    /// A connection to the peer port was closed because it proved nothing.
    Refused {
        /// Why.
        reason: PeerRefusal,
    },
}

/// Why a node is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Departure {
    /// It said goodbye.
    Left,
    /// It was silent.
    Silent,
    /// A later start has its address.
    Replaced,
}

/// What is the case with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerTrouble {
    /// It calls, but does not answer at the address it says.
    Unreachable,
    /// It answers again.
    ReachableAgain,
    /// Another living member has its name.
    SameName,
    /// Another living member has its address; it is not taken.
    SameAddress,
}

/// How a call to a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallResult {
    /// With an answer.
    Ok,
    /// Nobody is there.
    Unreachable,
    /// It holds no secret of ours.
    NoCommonSecret,
    /// No answer in time.
    Silent,
    /// Another node is there.
    Elsewhere,
    /// It refused.
    Refused,
    /// The connection broke.
    Broken,
}

/// Why a connection to the peer port was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerRefusal {
    /// It began with neither `C` nor `D`.
    FirstByte,
    /// It spoke no TLS.
    NotTls,
    /// It asked for a secret that this node does not hold.
    NoCommonSecret,
    /// It showed no key, or one of no secret of ours.
    ForeignKey,
    /// The handshake failed in another way.
    Handshake,
    /// It ended before it proved anything.
    Closed,
    /// It proved nothing in time.
    Timeout,
    /// There were too many of them.
    TooMany,
    /// It brought a data connection whose header was sealed by none of our secrets, altered, or meant for another connection.
    HeaderForged,
    /// That header is longer than any.
    HeaderSize,
    /// That header opens and says nothing that we know.
    HeaderMalformed,
}

/// The members of a cluster, for its gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Members that serve, this node among them.
    pub live: usize,
    /// Members that drain.
    pub draining: usize,
    /// Members that call us and cannot be called.
    pub unreachable: usize,
    /// When a member last answered, in Unix seconds; 0: none has.
    pub heartbeat: i64,
    /// The widest difference between a member's clock and ours.
    pub skew: Duration,
}

closed_set!(Departure { Left = "left", Silent = "silent", Replaced = "replaced" });
closed_set!(PeerTrouble { Unreachable = "unreachable", ReachableAgain = "reachable_again", SameName = "same_name", SameAddress = "same_address" });
closed_set!(CallResult {
    Ok = "ok",
    Unreachable = "unreachable",
    NoCommonSecret = "no_common_secret",
    Silent = "silent",
    Elsewhere = "elsewhere",
    Refused = "refused",
    Broken = "broken",
});
closed_set!(PeerRefusal {
    FirstByte = "first_byte",
    NotTls = "not_tls",
    NoCommonSecret = "no_common_secret",
    ForeignKey = "foreign_key",
    Handshake = "handshake",
    Closed = "closed",
    Timeout = "timeout",
    TooMany = "too_many",
    HeaderForged = "header_forged",
    HeaderSize = "header_size",
    HeaderMalformed = "header_malformed",
});

impl PeerEvent<'_> {
    /// The event's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "member_joined",
            Self::Left { .. } => "member_left",
            Self::Trouble { .. } => "member_trouble",
            Self::Called { .. } => "peer_called",
            Self::Refused { .. } => "peer_refused",
        }
    }

    /// Level and message of its log line.
    pub(super) fn words(&self) -> (LogLevel, &'static str) {
        match self {
            Self::Joined { .. } => (LogLevel::Info, "a node joined the cluster"),
            Self::Left { why: Departure::Silent, .. } => (LogLevel::Warn, "a node of the cluster is silent: it is a member no longer"),
            Self::Left { .. } => (LogLevel::Info, "a node left the cluster"),
            Self::Trouble { trouble: PeerTrouble::Unreachable, .. } => {
                (LogLevel::Warn, "a node calls but does not answer at the address it advertises: check cluster.advertise and what stands between")
            }
            Self::Trouble { trouble: PeerTrouble::ReachableAgain, .. } => (LogLevel::Info, "a node answers at its address"),
            Self::Trouble { trouble: PeerTrouble::SameName, .. } => (LogLevel::Warn, "two living nodes have one name: give each its own node.name"),
            Self::Trouble { trouble: PeerTrouble::SameAddress, .. } => {
                (LogLevel::Warn, "two living nodes advertise one address: give each its own cluster.advertise; the second is not taken")
            }
            Self::Called { .. } => (LogLevel::Debug, "a peer was called"),
            // Anybody who reaches the port can do this as often as he likes; the metric counts it.
            Self::Refused { .. } => (LogLevel::Debug, "a connection to the peer port proved nothing"),
        }
    }

    /// The fields of its log line.
    pub(super) fn fields(&self, line: &mut Line) {
        match *self {
            Self::Joined { name, incarnation, address, version } => {
                line.text("node", name);
                line.shown("incarnation", incarnation);
                line.shown("address", address);
                line.text("version", version);
            }
            Self::Left { name, incarnation, why } => {
                line.text("node", name);
                line.shown("incarnation", incarnation);
                line.text("reason", why.label());
            }
            Self::Trouble { name, address, trouble, other } => {
                line.texts(&[("node", name), ("trouble", trouble.label())]);
                line.shown("address", address);
                other.into_iter().for_each(|other| line.shown("other", other));
            }
            Self::Called { path, result, took } => {
                line.texts(&[("path", path), ("result", result.label())]);
                line.millis("took_ms", took);
            }
            Self::Refused { reason } => line.text("reason", reason.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::sound;
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<Departure>();
        sound::<PeerTrouble>();
        sound::<CallResult>();
        sound::<PeerRefusal>();
    }
}
