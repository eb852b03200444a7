//! The one enum of what happens: from an event come its metric, its log line, its rule count and its history.
//!
//! Gets: built by every room. Gives: values with closed sets for everything that may become a label.
//! Never: carries a secret. User, path and address are for the log only, never for a label.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ftps_proto::digest::Algorithm;
use ftps_proto::machine::io::{DataRefusal, FileError, LoginRefusal};
use ftps_proto::verbs::Verb;

pub use super::causes::*;
use super::id::{BanId, SessionId, TransferId};
use super::peers::PeerEvent;
use super::sidecar::SidecarEvent;
use super::staples::StapleEvent;

/// Whom an event is about. Everything may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The session.
    pub session: Option<SessionId>,
    /// The true address of the client.
    pub peer: Option<SocketAddr>,
    /// The user, once logged in (or tried, for failed logins).
    pub user: Option<&'a str>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The node serves.
    Ready,
    /// The node drains: no new sessions.
    Draining,
    /// A connection came in on a listener.
    Accepted {
        /// Which listener.
        listener: Listener,
    },
    /// A connection was closed without a byte, or a balancer's own: a health check. Nobody is to blame.
    Probed {
        /// Which listener.
        listener: Listener,
    },
    /// A header of the PROXY protocol was missing, broken, or came from where none may come from.
    ProxyRefused {
        /// Which listener.
        listener: Listener,
        /// Why.
        trouble: ProxyTrouble,
    },
    /// A connection was refused before it became a session.
    Refused {
        /// Which listener.
        listener: Listener,
        /// Why.
        reason: RefuseReason,
    },
    /// accept(2) failed and is tried again after a pause.
    AcceptFailed {
        /// Which listener.
        listener: Listener,
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// A TLS handshake finished.
    Handshake {
        /// Control or data.
        channel: Channel,
        /// The protocol version.
        version: TlsVersion,
        /// Full or resumed, and by what.
        resumed: Resumed,
        /// From the first byte of the ClientHello.
        took: Duration,
    },
    /// A TLS handshake failed.
    HandshakeFailed {
        /// Control or data.
        channel: Channel,
        /// Why.
        reason: HandshakeFailure,
        /// The words of the TLS library, for the log.
        detail: &'a str,
    },
    /// A user logged in.
    LoggedIn {
        /// With a password, a certificate, or without either.
        method: LoginMethod,
        /// The user's class, for the log.
        class: Option<&'a str>,
        /// Time for the check.
        took: Duration,
    },
    /// A login was refused.
    LoginRefused {
        /// What the client was told.
        refusal: LoginRefusal,
        /// What was the case, for the log and the metric.
        why: LoginFault,
    },
    /// A command was answered for good.
    Command {
        /// The verb; `None` for one we do not know.
        verb: Option<Verb>,
        /// The code of the final reply.
        code: u16,
        /// From the line to the final reply.
        took: Duration,
    },
    /// A passive port was announced.
    PassiveOpened {
        /// The port.
        port: u16,
    },
    /// PASV told a public client a private address: it will hardly reach us.
    PrivateAnnounced {
        /// The address.
        ip: Ipv4Addr,
        /// The first time since the setting changed.
        first: bool,
    },
    /// PASV or EPSV was refused: every port stayed taken for 10 s.
    PassiveRefused {
        /// A lease was asked for: by this client or under its address. Otherwise by this client alone.
        lease: bool,
    },
    /// The data connection that PASV or EPSV announced a port for was taken.
    DataReady {
        /// Since the port was announced.
        waited: Duration,
    },
    /// A data connection arrived and was delivered or not.
    DataConnection {
        /// What became of it.
        outcome: DataOutcome,
    },
    /// A data connection that this node carried for another ended, or could not be brought there.
    RelayEnded {
        /// Otherwise than by both sides' own ends.
        trouble: Option<RelayTrouble>,
        /// Bytes from the client to its session's node.
        to_owner: u64,
        /// Bytes back.
        to_client: u64,
        /// From the handing over to the end.
        took: Duration,
    },
    /// A data connection was refused by the session.
    DataRefused {
        /// Why.
        refusal: DataRefusal,
    },
    /// A transfer began: its file is open and `150` is out.
    TransferStarted {
        /// Its id.
        id: TransferId,
        /// Which way.
        direction: Direction,
        /// The virtual path.
        path: &'a [u8],
    },
    /// A transfer ended.
    TransferEnded {
        /// Its id.
        id: TransferId,
        /// Which way.
        direction: Direction,
        /// The virtual path.
        path: &'a [u8],
        /// How.
        result: TransferResult,
        /// Bytes on the data connection.
        bytes: u64,
        /// From `150` to the end.
        took: Duration,
        /// Whether line ends were converted (TYPE A).
        ascii: bool,
        /// Whether the data connection proved its session.
        proven: bool,
        /// How the client ended its upload.
        end: StreamEnd,
        /// The digest of the whole file, if one was computed while it moved.
        digest: Option<(Algorithm, &'a [u8])>,
    },
    /// The transfer that ends with this did not end by itself, nor by its client: this side ended the session.
    TransferCut {
        /// Why.
        reason: CutReason,
    },
    /// The digest of the whole file of a transfer that moved a part of it (APPE, REST), read after its end.
    TransferDigest {
        /// Of the transfer.
        id: TransferId,
        /// The virtual path.
        path: &'a [u8],
        /// Which.
        algorithm: Algorithm,
        /// Its bytes.
        digest: &'a [u8],
    },
    /// A digest was asked for.
    Digest {
        /// Which.
        algorithm: Algorithm,
        /// The virtual path.
        path: &'a [u8],
        /// Where it came from.
        source: DigestSource,
        /// What became of it.
        result: DigestResult,
        /// From the question to the answer.
        took: Duration,
    },
    /// Bytes went through a hash: those of a file that was read, or those of a transfer, which has no time of its own for it.
    Hashed {
        /// Which.
        algorithm: Algorithm,
        /// How many.
        bytes: u64,
        /// Time to read and hash them.
        took: Option<Duration>,
    },
    /// A file was changed other than by a transfer (delete, rename, mkdir, rmdir, attributes).
    FileChanged {
        /// The verb.
        verb: Verb,
        /// The virtual path.
        path: &'a [u8],
        /// The new path of a rename.
        to: Option<&'a [u8]>,
    },
    /// The file system answered with an error that is not the client's doing.
    StorageFailed {
        /// What was tried.
        operation: &'static str,
        /// The kind that the client sees.
        kind: FileError,
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// A call into the file system is over, well or not.
    StorageDone {
        /// What was done, in the words of `StorageFailed`.
        operation: &'static str,
        /// How long it took, the wait for the blocking pool included where there was one.
        took: Duration,
    },
    /// A limit was reached.
    LimitHit {
        /// Which.
        limit: Limit,
    },
    /// A balancer hides the addresses of clients, or does so no longer: limits and rules by address are suspended for its own.
    AddressesHidden {
        /// Its addresses; empty: clients are seen as they are.
        addresses: &'a [IpAddr],
    },
    /// A session ended.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Its life.
        took: Duration,
    },
    /// A left-over upload of a dead node was removed, or counted.
    Swept {
        /// How many files.
        files: u64,
    },
    /// A configuration, users or certificate file was read again.
    Reloaded {
        /// What.
        what: Reloadable,
        /// The error, when it was refused and the old state stays.
        error: Option<&'a str>,
    },
    /// Something in the HTTP sidecar.
    Sidecar(SidecarEvent<'a>),
    /// Somebody is banned from now on, or (dry run) would be.
    Banned {
        /// The ban.
        id: BanId,
        /// Whom it is about, as a label.
        kind: BanKind,
        /// A person or a rule.
        source: BanSource,
        /// Only said.
        dry_run: bool,
        /// Whom it is about, for the log.
        target: &'a str,
        /// Why, and what a rule saw.
        reason: &'a str,
        /// Sessions of this node that it ends.
        sessions: usize,
    },
    /// Bans were removed.
    Unbanned {
        /// How many.
        bans: u64,
        /// By whom, for the log.
        author: &'a str,
    },
    /// A banned client was refused.
    BanRefused {
        /// The ban.
        id: BanId,
        /// Whom it is about.
        kind: BanKind,
        /// Where.
        stage: BanStage,
        /// The listener, unless it was at the login.
        listener: Option<Listener>,
    },
    /// A ban of another node holds here from now on.
    BanArrived {
        /// Since it was made there, as far as the clocks agree.
        took: Duration,
    },
    /// Something between nodes.
    Peer(PeerEvent<'a>),
    /// Something about the OCSP response of a certificate.
    Staple(StapleEvent<'a>),
    /// A panic ended a task; the session was closed.
    Panicked,
}
