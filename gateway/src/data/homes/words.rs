//! What nodes say to homes, and homes to nodes.
//!
//! Gets and gives: JSON over the peer port. Never: an unbounded answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::table::{Leased, Told};
use crate::data::clients::Client;
use crate::observe::id::{Incarnation, SessionId};
use crate::tls::Token;

/// A word, and what its sender sees of the homes: both sides have to see the same before a port is granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    /// The homes it sees.
    pub(super) digest: u64,
    /// Members that it takes for no homes because they did not answer.
    pub(super) silent: Vec<Silent>,
    pub(super) word: Word,
}

/// A member that did not answer somebody. Whoever learns of it takes it for no home either, as long as that one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silent {
    pub(super) node: Incarnation,
    /// For how many ms more.
    pub(super) left: u32,
}

/// To a home, or to the node of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// A session has logged in.
    Join { session: SessionId, client: Client },
    /// One has ended. `proof`: what proves it, sealed by nothing but the peers' TLS; for its siblings.
    Leave { session: SessionId, proof: Option<String> },
    /// It wants one of these ports, in this order of preference.
    /// `patience`: ms that the home may wait for one to be free.
    Reserve { session: SessionId, serial: u64, slot: Asked, ports: Vec<u16>, patience: u16 },
    /// It does not wait any more.
    Release { session: SessionId, serial: u64 },
    /// To the node of a session: others of its client live; from now on it is to ask for each port. The answer: what it waits for.
    Company { session: SessionId },
    /// To a node that may have what proves a session: for one of this client.
    Proof { token: Token, client: Client },
    /// To the home of an address: who leases that port?
    Lessee { ip: IpAddr, port: u16 },
    /// Nothing but what the letter says of the silent.
    Look,
    /// From a home that is none any more to the next one: an ended session's.
    Left { session: SessionId, client: Client, proof: String },
}

/// What the port is to be free in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// The client of the session, which has joined.
    Client,
    /// Connections without proof from this address.
    Address(IpAddr),
}

/// The answer to a [`Word`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Heard.
    Done,
    /// Heard; whether others of the client live.
    Joined { company: bool },
    /// That port is its.
    Granted { port: u16 },
    /// None is free, or it is not known yet: ask again.
    Busy,
    /// What this node sees of the silent, itself among them when it stands aside; it sees other homes than who asks, or was asked for no more than that.
    Looked { silent: Vec<Silent> },
    /// There is no such session here.
    Unknown,
    /// Number and port of the session's wait.
    Waits { wait: Option<(u64, u16)> },
    /// Node and session that lease the port.
    Leased { lessee: Option<(Incarnation, SessionId)> },
    /// What proves the session, in hexadecimal digits.
    Proof { proof: Option<String> },
}

/// All that a node has with a home.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Everything {
    /// The homes it sees.
    pub(super) digest: u64,
    pub(super) silent: Vec<Silent>,
    /// The latest number of a wait; what has a later one is newer than this.
    pub(super) serial: u64,
    pub(super) sessions: Vec<Told>,
    pub(super) leases: Vec<Leased>,
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Back again; `None`: it is no such text.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The paths.
pub(super) const HOME: &str = "data/home";
pub(super) const EVERYTHING: &str = "data/homes";
/// Bytes of a word: what proves a session is the longest in it.
pub(super) const WORD_MAX: usize = 2 * crate::tls::LENT_MAX + 4096;
/// Bytes of everything: some 40,000 sessions of one node.
pub(super) const EVERYTHING_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn digits_are_bytes_again() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)).unwrap(), bytes);
        for bad in ["0", "0g", "é1"] {
            assert!(unhex(bad).is_none(), "{bad}");
        }
    }
}
