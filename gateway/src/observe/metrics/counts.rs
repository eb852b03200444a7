//! Some of the counters as numbers; and the events that count in more than one way.
//!
//! Gets: the metrics. Gives: sums. Never: counts anything itself.

use super::super::labels::Label;
use super::{
    CallResult, Channel, DataOutcome, Direction, Limit, LoginFault, LoginMethod, LoginRefusal, Metrics, PeerEvent, Resumed, StreamEnd, Table, TlsVersion,
    TransferResult, Verdict,
};

/// Some of the counters, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of uploads that ended.
    pub bytes_in: u64,
    /// Bytes of downloads and listings that ended.
    pub bytes_out: u64,
    /// Logins.
    pub logins_ok: u64,
    /// Refused logins.
    pub logins_failed: u64,
    /// Full handshakes on control connections.
    pub handshakes_full: u64,
    /// Resumed ones.
    pub handshakes_resumed: u64,
    /// Data connections carried to sessions of other nodes.
    pub relayed: u64,
}

impl Metrics {
    /// What has been counted since the start, by name.
    pub fn counts(&self) -> Counts {
        let table = &self.0.table;
        let bytes = |direction| table.transfer_bytes.at(direction).get();
        let logins = |verdict| LoginMethod::all().into_iter().map(|method| table.logins.at((method, verdict)).get()).sum();
        let handshakes = |resumed| TlsVersion::all().into_iter().map(|version| table.handshakes.at((Channel::Control, version, resumed)).get()).sum::<u64>();
        Counts {
            bytes_in: bytes(Direction::Upload),
            bytes_out: bytes(Direction::Download) + bytes(Direction::List),
            logins_ok: logins(Verdict::Success),
            logins_failed: logins(Verdict::Failure),
            handshakes_full: handshakes(Resumed::Full),
            handshakes_resumed: handshakes(Resumed::Ticket) + handshakes(Resumed::SessionId),
            relayed: table.data_connections.at(DataOutcome::Relayed).get(),
        }
    }
}

impl Table {
    pub(super) fn peer(&self, event: &PeerEvent<'_>) {
        match *event {
            // Who is there now is `cluster_nodes`.
            PeerEvent::Joined { .. } | PeerEvent::Trouble { .. } => {}
            PeerEvent::Left { why, .. } => self.cluster_departures.at(why).inc(),
            PeerEvent::Called { result, took, .. } => {
                self.peer_calls.at(result).inc();
                if result == CallResult::Ok {
                    self.peer_call_duration.observe(took.as_secs_f64());
                }
            }
            PeerEvent::Refused { reason } => self.peer_refused.at(reason).inc(),
        }
    }

    pub(super) fn login_refused(&self, refusal: LoginRefusal, why: LoginFault) {
        match refusal {
            // The answer to USER when a certificate might have been enough: nothing was tried yet.
            LoginRefusal::PasswordNeeded => {}
            LoginRefusal::Incorrect | LoginRefusal::Banned | LoginRefusal::TooMany | LoginRefusal::Unavailable => {
                self.logins.at((LoginMethod::Password, Verdict::Failure)).inc();
                self.login_failures.at(why).inc();
                if why == LoginFault::QueueFull {
                    self.limits_hit.at(Limit::PasswordJobs).inc();
                }
            }
        }
    }

    pub(super) fn transfer_manners(&self, direction: Direction, result: TransferResult, proven: bool, end: StreamEnd) {
        let complete = result == TransferResult::Complete;
        if complete && !proven {
            self.data_unproven.inc();
        }
        if complete && direction == Direction::Upload && end == StreamEnd::Fin {
            self.unclean_ends.inc();
        }
    }
}
