//! What the commands of a session have set: working directory, type, REST, RNFR, PROT and the like.
//!
//! Gets: commands, one field each. Gives: what later commands act by.
//! Never: outlives AUTH TLS or REIN.

use crate::command::{HostName, TransferType};
use crate::digest::{Algorithm, Range};
use crate::listing::FactSet;
use crate::path::VirtualPath;

/// What commands have set; all of it is forgotten at AUTH TLS and REIN.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) cwd: VirtualPath,
    pub(super) kind: TransferType,
    /// REST: for the next transfer.
    pub(super) restart: u64,
    /// RNFR: for the next command, if it is RNTO.
    pub(super) rename_from: Option<VirtualPath>,
    /// ALLO: for the next transfer.
    pub(super) announced: Option<u64>,
    /// PASV, EPSV, PORT or EPRT has got a way for the next transfer.
    pub(super) data_port: bool,
    pub(super) only_epsv: bool,
    pub(super) buffer_size_told: bool,
    pub(super) private: bool,
    pub(super) facts: FactSet,
    /// `OPTS HASH`.
    pub(super) hash: Option<Algorithm>,
    /// RANG: for the next HASH.
    pub(super) octets: Option<Range>,
    pub(super) host: Option<HostName>,
}

impl Settings {
    /// Those of a new session. `private`: PROT P holds from the start.
    pub(super) fn new(private: bool) -> Self {
        Self {
            cwd: VirtualPath::root(),
            // RFC 959 §3.1.1.1: ASCII until TYPE says otherwise.
            kind: TransferType::Ascii,
            restart: 0,
            rename_from: None,
            announced: None,
            data_port: false,
            only_epsv: false,
            buffer_size_told: private,
            private,
            facts: FactSet::ALL,
            hash: None,
            octets: None,
            host: None,
        }
    }
}
