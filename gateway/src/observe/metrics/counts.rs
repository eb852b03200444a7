//! Some of the counters as numbers, for those who have no Prometheus at hand.
//!
//! Gets: the metrics. Gives: sums. Never: counts anything itself.

use super::super::labels::Label;
use super::{Channel, Direction, LoginMethod, Metrics, Resumed, TlsVersion, Verdict};

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
        }
    }
}
