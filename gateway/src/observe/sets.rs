//! Closed sets that only metrics have: classes of replies, kinds of work, results.
//!
//! Gets: verbs, codes and results of events. Gives: labels, fewer than there are cases where an operator needs no more.
//! Never: a case without a label; every match is exhaustive.

use ftps_proto::machine::io::FileError;
use ftps_proto::verbs::Verb;

use super::event::{RefuseReason, TransferResult};
use super::labels::{Label, Size, closed_set, nested_set};

/// How a connection began: `connections_total{outcome}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Accepted,
    Probe,
    ProxyHeader,
    Refused(RefuseReason),
}

nested_set!(Admission {
    [Accepted] = "accepted",
    [Probe] = "probe",
    [ProxyHeader] = "proxy_header",
    [Refused(RefuseReason::NotAllowed)] = "not_allowed",
    [Refused(RefuseReason::Limit)] = "limit",
    [Refused(RefuseReason::Draining)] = "draining",
    [Refused(RefuseReason::Banned)] = "banned",
});
impl Size for Admission {
    const SIZE: usize = 3 + RefuseReason::SIZE;
}

/// What a member of the cluster does: `cluster_nodes{state}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeState {
    Live,
    Draining,
    Unreachable,
}

closed_set!(NodeState { Live = "live", Draining = "draining", Unreachable = "unreachable" });

/// What a port is shared by, so that it may be taken: `data_lease_refused_total{kind}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Lease,
    Reservation,
}

closed_set!(Share { Lease = "lease", Reservation = "reservation" });

/// What became of a question to the cluster's session cache: `tls_session_cache_ops_total{result}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheResult {
    Hit,
    Miss,
    Stored,
    Error,
}

closed_set!(CacheResult { Hit = "hit", Miss = "miss", Stored = "stored", Error = "error" });

/// What a data port does: `data_ports{state}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortState {
    Free,
    Pending,
}

closed_set!(PortState { Free = "free", Pending = "pending" });

/// Which way carried bytes go: `relay_bytes_total{direction}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayWay {
    ToOwner,
    ToClient,
}

closed_set!(RelayWay { ToOwner = "to_owner", ToClient = "to_client" });

/// A command as a label: a known verb, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(pub(super) Option<Verb>);

impl Label for Command {
    fn all() -> Vec<Self> {
        Verb::all().into_iter().map(Some).chain([None]).map(Self).collect()
    }

    fn label(self) -> &'static str {
        self.0.map_or("other", Label::label)
    }

    fn index(self) -> usize {
        self.0.map_or(Verb::SIZE, Label::index)
    }
}

/// The class of a final reply: `commands_total{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyClass {
    Done,
    More,
    Later,
    Refused,
}

closed_set!(ReplyClass { Done = "2xx", More = "3xx", Later = "4xx", Refused = "5xx" });

impl ReplyClass {
    /// Of a code. Final replies are 2xx to 5xx (RFC 959 §4.2); anything else would be a fault and counts as 5xx.
    pub(super) fn of(code: u16) -> Self {
        match code / 100 {
            2 => Self::Done,
            3 => Self::More,
            4 => Self::Later,
            _ => Self::Refused,
        }
    }
}

/// What kind of work a command is: `command_duration_seconds{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Auth,
    List,
    Transfer,
    Digest,
    File,
    Other,
}

closed_set!(Work { Auth = "auth", List = "list", Transfer = "transfer", Digest = "digest", File = "file", Other = "other" });

impl Work {
    /// Of a verb.
    pub(super) fn of(verb: Option<Verb>) -> Self {
        use Verb::{
            Abor, Acct, Allo, Appe, Auth, Avbl, Ccc, Cdup, Clnt, Csid, Cwd, Dele, Eprt, Epsv, Feat, Hash, Help, Host, Lang, List, Md5, Mdtm, Mff, Mfmt, Mkd,
            Mlsd, Mlst, Mode, Nlst, Noop, Opts, Pass, Pasv, Pbsz, Port, Prot, Pwd, Quit, Rang, Rein, Rest, Retr, Rmd, Rnfr, Rnto, Site, Size, Stat, Stor, Stou,
            Stru, Syst, Type, User, Xcrc, Xmd5, Xsha, Xsha1, Xsha256, Xsha512,
        };
        let Some(verb) = verb else { return Self::Other };
        match verb {
            Acct | Auth | Ccc | Host | Pass | Pbsz | Prot | Rein | User => Self::Auth,
            List | Mlsd | Mlst | Nlst | Stat => Self::List,
            Appe | Retr | Stor | Stou => Self::Transfer,
            Hash | Md5 | Xcrc | Xmd5 | Xsha | Xsha1 | Xsha256 | Xsha512 => Self::Digest,
            Avbl | Cdup | Cwd | Dele | Mdtm | Mff | Mfmt | Mkd | Rmd | Rnfr | Rnto | Site | Size => Self::File,
            Abor | Allo | Clnt | Csid | Eprt | Epsv | Feat | Help | Lang | Mode | Noop | Opts | Pasv | Port | Pwd | Quit | Rang | Rest | Stru | Syst | Type => {
                Self::Other
            }
        }
    }
}

/// `success` or `failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
}

closed_set!(Verdict { Success = "success", Failure = "failure" });

/// How a transfer ended: `transfers_total{result}`. The kind of a failure is in `storage_errors_total` and `data_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    Failed,
    NoConnection,
    Broken,
    Stalled,
    Aborted,
}

closed_set!(Ending {
    Complete = "complete",
    Failed = "failed",
    NoConnection = "no_connection",
    Broken = "broken",
    Stalled = "stalled",
    Aborted = "aborted",
});

impl From<TransferResult> for Ending {
    fn from(result: TransferResult) -> Self {
        match result {
            TransferResult::Complete => Self::Complete,
            TransferResult::Failed(_) => Self::Failed,
            TransferResult::NoConnection(_) => Self::NoConnection,
            TransferResult::Broken => Self::Broken,
            TransferResult::Stalled => Self::Stalled,
            TransferResult::Aborted => Self::Aborted,
        }
    }
}

/// What was tried on the file system, in the words of `storage`: `storage_errors_total{op}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Open,
    Read,
    Write,
    Create,
    Commit,
    Link,
    Rename,
    Unlink,
    Mkdir,
    Rmdir,
    Stat,
    List,
    Chmod,
    Utimens,
    Statvfs,
    Home,
    Store,
    Sweep,
    Other,
}

#[rustfmt::skip]
closed_set!(Operation {
    Open = "open", Read = "read", Write = "write", Create = "create", Commit = "commit", Link = "link", Rename = "rename", Unlink = "unlink", Mkdir = "mkdir", Rmdir = "rmdir",
    Stat = "stat", List = "list", Chmod = "chmod", Utimens = "utimens", Statvfs = "statvfs", Home = "home", Store = "store", Sweep = "sweep", Other = "other",
});

impl Operation {
    /// Of the word in the event; one that is not in the table counts as `other`.
    pub(super) fn of(word: &str) -> Self {
        // By hand: it is asked for each chunk of each transfer.
        match word {
            "open" => Self::Open,
            "read" => Self::Read,
            "write" => Self::Write,
            "create" => Self::Create,
            "commit" => Self::Commit,
            "link" => Self::Link,
            "rename" => Self::Rename,
            "unlink" => Self::Unlink,
            "mkdir" => Self::Mkdir,
            "rmdir" => Self::Rmdir,
            "stat" => Self::Stat,
            "list" => Self::List,
            "chmod" => Self::Chmod,
            "utimens" => Self::Utimens,
            "statvfs" => Self::Statvfs,
            "home" => Self::Home,
            "store" => Self::Store,
            "sweep" => Self::Sweep,
            _ => Self::Other,
        }
    }
}

/// What the file system said: `storage_errors_total{kind}`. Coarser than [`FileError`]: what an operator acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NoSpace,
    Quota,
    ReadOnly,
    Busy,
    Denied,
    Io,
}

closed_set!(Trouble { NoSpace = "no_space", Quota = "quota", ReadOnly = "read_only", Busy = "busy", Denied = "denied", Io = "io" });

impl From<FileError> for Trouble {
    fn from(kind: FileError) -> Self {
        match kind {
            FileError::NoSpace => Self::NoSpace,
            FileError::Quota => Self::Quota,
            FileError::ReadOnly => Self::ReadOnly,
            FileError::Busy => Self::Busy,
            FileError::Denied => Self::Denied,
            FileError::NotFound
            | FileError::Exists
            | FileError::NotADirectory
            | FileError::IsADirectory
            | FileError::NotEmpty
            | FileError::NotRegular
            | FileError::BadName
            | FileError::CrossDevice
            | FileError::Loop
            | FileError::BadOffset
            | FileError::Io => Self::Io,
        }
    }
}

/// What a session does: `sessions{state}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    Preauth,
    Idle,
    Transfer,
}

closed_set!(SessionState { Preauth = "preauth", Idle = "idle", Transfer = "transfer" });

#[cfg(test)]
mod tests {
    use super::super::labels::tests::sound;
    use super::*;

    #[test]
    fn every_value_has_its_own_place_and_word() {
        sound::<Admission>();
        sound::<RelayWay>();
        sound::<Command>();
        sound::<ReplyClass>();
        sound::<Work>();
        sound::<Verdict>();
        sound::<Ending>();
        sound::<Operation>();
        sound::<Trouble>();
        sound::<Share>();
        sound::<CacheResult>();
        sound::<SessionState>();
        assert_eq!(Admission::all().len(), Admission::SIZE);
    }

    #[test]
    fn classes_of_replies_and_operations() {
        assert_eq!(ReplyClass::of(226), ReplyClass::Done);
        assert_eq!(ReplyClass::of(999), ReplyClass::Refused);
        Operation::all().into_iter().for_each(|one| assert_eq!(Operation::of(one.label()), one));
        assert_eq!(Operation::of("whatever a room made up"), Operation::Other);
    }
}
