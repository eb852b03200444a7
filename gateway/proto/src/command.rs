//! The commands a client can send, as values that cannot be wrong.
//!
//! Gets: nothing (built by `parse`). Gives: one enum, matched without `_` by the machine.
//! Never: holds raw text where a checked type exists; a password never appears in `Debug`.

use std::fmt;
use std::net::SocketAddr;

use crate::addr::Family;
use crate::digest::{Algorithm, Named, Range};
use crate::path::WirePath;
use crate::time::Timestamp;
use crate::verbs::Verb;

/// One FTP command with its checked arguments. Sources: see each row of [`crate::verbs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `USER name` (RFC 959 §4.1.1).
    User(UserName),
    /// `PASS password` (RFC 959 §4.1.1).
    Pass(Password),
    /// `ACCT information` (RFC 959 §4.1.1): never needed here.
    Acct,
    /// `QUIT`.
    Quit,
    /// `REIN`: back to the state after the TLS handshake.
    Rein,
    /// `AUTH mechanism` (RFC 2228, RFC 4217); `TLS`, `TLS-C`, `SSL` are known, others refused with 504.
    Auth(AuthMechanism),
    /// `PBSZ n` (RFC 4217 §8): always answered `PBSZ=0`.
    Pbsz,
    /// `PROT level`.
    Prot(ProtLevel),
    /// `CCC` (RFC 4217 §12.3): always refused with 533.
    Ccc,
    /// `HOST name` (RFC 7151).
    Host(HostName),
    /// `FEAT` (RFC 2389).
    Feat,
    /// `OPTS …` (RFC 2389).
    Opts(Opts),
    /// `HELP [command]`; `None` inside `Some` is a verb we do not know.
    Help(Option<Option<Verb>>),
    /// `SYST`.
    Syst,
    /// `STAT` without or with a path.
    Stat(Option<WirePath>),
    /// `NOOP` (arguments are ignored).
    Noop,
    /// `CLNT text`, `CSID text`: taken note of, never mirrored.
    Clnt,
    /// `CSID`, see [`Command::Clnt`].
    Csid,
    /// `LANG [tag]` (RFC 2640); only English is spoken.
    Lang(LangTag),
    /// `TYPE A|I|L 8`.
    Type(TransferType),
    /// `MODE S`; others are refused with 504.
    Mode(bool),
    /// `STRU F`; `R` and `P` are refused with 504. True when file structure.
    Stru(bool),
    /// `ALLO size [R size]`.
    Allo(u64),
    /// `PWD`, `XPWD`.
    Pwd,
    /// `CWD path`, `XCWD path`.
    Cwd(WirePath),
    /// `CDUP`, `XCUP`.
    Cdup,
    /// `MKD path`, `XMKD path`.
    Mkd(WirePath),
    /// `RMD path`, `XRMD path`.
    Rmd(WirePath),
    /// `DELE path`.
    Dele(WirePath),
    /// `RNFR path`.
    Rnfr(WirePath),
    /// `RNTO path`.
    Rnto(WirePath),
    /// `SIZE path` (RFC 3659 §4).
    Size(WirePath),
    /// `MDTM path` (RFC 3659 §3). `MDTM YYYYMMDDHHMMSS path` (a de-facto setter) parses as [`Command::Mfmt`] with `mdtm`.
    Mdtm(WirePath),
    /// `MFMT time path` (draft-somers-ftp-mfxx).
    Mfmt {
        /// The modification time to set.
        time: Timestamp,
        /// The file.
        path: WirePath,
        /// The whole argument when it came as `MDTM time path`: it may also be the name of a file.
        mdtm: Option<WirePath>,
    },
    /// `MFF facts path` (draft-somers-ftp-mfxx).
    Mff {
        /// Facts to set, in the order given.
        facts: Vec<SetFact>,
        /// The file.
        path: WirePath,
    },
    /// `LIST [args] [path]`.
    List(ListArguments),
    /// `NLST [args] [path]`.
    Nlst(ListArguments),
    /// `MLSD [path]` (RFC 3659 §7).
    Mlsd(Option<WirePath>),
    /// `MLST [path]` (RFC 3659 §7).
    Mlst(Option<WirePath>),
    /// `PASV`.
    Pasv,
    /// `EPSV [1|2|ALL]` (RFC 2428).
    Epsv(EpsvForm),
    /// `PORT h1,h2,h3,h4,p1,p2`.
    Port(SocketAddr),
    /// `EPRT |f|addr|port|` (RFC 2428); `Err` is a family we do not know (522).
    Eprt(Result<SocketAddr, ()>),
    /// `RETR path`.
    Retr(WirePath),
    /// `STOR path`.
    Stor(WirePath),
    /// `APPE path`.
    Appe(WirePath),
    /// `STOU` (RFC 1123 §4.1.2.9); an argument is taken as a hint for the name's beginning.
    Stou(Option<WirePath>),
    /// `REST offset` (RFC 3659 §5), at most `i64::MAX`.
    Rest(u64),
    /// `ABOR`.
    Abor,
    /// `AVBL [path]` (draft-peterson-streamlined-ftp-command-extensions).
    Avbl(Option<WirePath>),
    /// `SITE …`.
    Site(Site),
    /// `XCRC path [start end]` and its like.
    Checksum {
        /// Which.
        verb: Verb,
        /// The file.
        path: WirePath,
        /// A part of it.
        range: Option<Range>,
    },
    /// `MD5 path` (draft-twine-ftpmd5).
    Md5(Named),
    /// `HASH path` (draft-bryan-ftpext-hash).
    Hash(Named),
    /// `RANG start end` (draft-bryan-ftp-range), for HASH; `None` takes it back.
    Rang(Option<Range>),
}

/// A user name: 1 to 128 bytes, no control bytes, valid UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// Checks a name; `None` when empty, over 128 bytes, not UTF-8 or with control characters.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let fits = !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password as it came: at most 1 KiB. Never printed; overwritten when dropped as far as safe Rust can.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Longest password taken, in bytes; hashing a longer one would be work given away.
    pub const MAX: usize = 1024;

    /// Takes the bytes; `None` when over [`Password::MAX`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX).then(|| Self(bytes.to_vec()))
    }

    /// The bytes to verify.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The mechanism of `AUTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMechanism {
    /// `TLS` or `TLS-C`.
    Tls,
    /// `SSL` or `TLS-P`: as TLS, with the data channel private from the start.
    Ssl,
    /// Anything else: 504.
    Unknown,
}

/// The level of `PROT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtLevel {
    /// `P`, the only one taken.
    Private,
    /// `C`: 534.
    Clear,
    /// `S`, `E`: 536.
    SafeOrConfidential,
    /// Anything else: 504.
    Unknown,
}

/// A host name of `HOST`: 1 to 255 bytes of letters, digits, `-`, `.`, `:`, `[`, `]`, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Checks and lower-cases a host name.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-.:[]_".contains(b);
        let fits = !bytes.is_empty() && bytes.len() <= 255 && bytes.iter().all(allowed);
        fits.then(|| Self(bytes.iter().map(|b| b.to_ascii_lowercase() as char).collect()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What `OPTS` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opts {
    /// `OPTS UTF8 [ON|NLST …]`; true for on. Names are bytes either way.
    Utf8(bool),
    /// `OPTS MLST fact;fact;` (RFC 3659 §7.9).
    Mlst(crate::listing::FactSet),
    /// `OPTS HASH`: which algorithm HASH uses.
    Hash,
    /// `OPTS HASH algorithm`: from now on this one.
    ChooseHash(Algorithm),
    /// `OPTS HASH` with an algorithm that we do not know: 501.
    UnknownHash,
    /// `OPTS HASH` with more than one word: 501.
    HashWords,
    /// An option we do not know: 501.
    Unknown,
}

/// What `LANG` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LangTag {
    /// No tag, or English.
    English,
    /// Any other language: 504.
    Unknown,
}

/// `TYPE` as accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferType {
    /// `A`, `A N`: line ends are CR LF on the wire.
    Ascii,
    /// `I`, `L 8`: bytes as they are.
    Image,
    /// Anything else: 504.
    Unknown,
}

/// A fact that `MFF` may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFact {
    /// `Modify=YYYYMMDDHHMMSS`.
    Modify(Timestamp),
    /// `UNIX.mode=0644`, within 0777.
    UnixMode(u32),
}

/// Arguments of `LIST` and `NLST`: option letters of `ls` and a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListArguments {
    /// `-a` or `-A` was given: names with a leading dot are listed.
    pub all: bool,
    /// `-d`: the directory itself, not its contents.
    pub directory_itself: bool,
    /// `-l` with `NLST`: long lines.
    pub long: bool,
    /// The path, which may carry `*` and `?` in its last component.
    pub path: Option<WirePath>,
    /// The whole argument as a path, when it began with `-` (a file may be called so).
    pub raw: Option<WirePath>,
}

/// The forms of `EPSV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsvForm {
    /// No argument: the family of the control connection.
    Any,
    /// `EPSV 1` or `EPSV 2`.
    Family(Family),
    /// `EPSV ALL`: from now on only EPSV.
    All,
    /// A family that does not exist: 522.
    Unknown,
}

/// The `SITE` commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// `SITE CHMOD 644 path`, mode within 0777.
    Chmod {
        /// Permission bits.
        mode: u32,
        /// The file.
        path: WirePath,
    },
    /// `SITE UTIME YYYYMMDDhhmm[ss] path` or the five-argument form of pure-ftpd and ProFTPD.
    Utime {
        /// The modification time.
        time: Timestamp,
        /// The file.
        path: WirePath,
    },
    /// `SITE WHO`: the own user's sessions.
    Who,
    /// `SITE HELP`.
    Help,
    /// Unknown: 500.
    Unknown,
}
