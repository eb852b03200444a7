//! Every verb, once: names, help, when it is allowed, source.
//!
//! Gets: the first word of a line. Gives: a [`Verb`] and its row.
//! Never: decides anything about arguments; that is `parse`.

/// A verb of FTP that this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Verb {
    Abor, Acct, Allo, Appe, Auth, Avbl, Ccc, Cdup, Clnt, Csid, Cwd, Dele, Eprt, Epsv, Feat, Hash, Help, Host, Lang, List, Md5, Mdtm, Mff, Mfmt,
    Mkd, Mlsd, Mlst, Mode, Nlst, Noop, Opts, Pass, Pasv, Pbsz, Port, Prot, Pwd, Quit, Rang, Rein, Rest, Retr, Rmd, Rnfr, Rnto, Site, Size,
    Stat, Stor, Stou, Stru, Syst, Type, User, Xcrc, Xmd5, Xsha, Xsha1, Xsha256, Xsha512,
}

/// From when on a verb is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// In clear text, before AUTH TLS.
    Clear,
    /// Under TLS, before login.
    Secured,
    /// After login.
    LoggedIn,
}

/// What is known about a verb.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The verb.
    pub verb: Verb,
    /// Its name in upper case.
    pub name: &'static str,
    /// Another name for the same (RFC 775), if any.
    pub alias: Option<&'static str>,
    /// Its argument as `HELP` shows it; empty when there is none.
    pub syntax: &'static str,
    /// From when on it is allowed.
    pub access: Access,
    /// Where it is defined.
    pub source: &'static str,
}

impl Verb {
    /// All of them, in the order of their names.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Abor; TABLE.len()];
        let mut index = 0;
        while index < TABLE.len() {
            all[index] = TABLE[index].verb;
            index += 1;
        }
        all
    };

    /// The verb with this name or alias, in any case.
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        let found = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(name) || row.alias.is_some_and(|alias| alias.as_bytes().eq_ignore_ascii_case(name));
        TABLE.iter().find(found).map(|row| row.verb)
    }

    /// Whether a word that is no verb of ours belongs to another protocol. HTTP methods are upper case by definition, so a person who types `quote get` is
    /// not cut off; SMTP takes any case.
    pub(crate) fn is_foreign(word: &[u8]) -> bool {
        HTTP.contains(&word) || SMTP.iter().any(|verb| verb.eq_ignore_ascii_case(word)) || word.starts_with(b"SSH-")
    }

    /// Its row in the table.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name in upper case.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its argument as `HELP` shows it; empty when there is none.
    pub fn syntax(self) -> &'static str {
        self.row().syntax
    }

    /// From when on it is allowed.
    pub fn access(self) -> Access {
        self.row().access
    }
}

const fn row(verb: Verb, name: &'static str, alias: Option<&'static str>, syntax: &'static str, access: Access, source: &'static str) -> Row {
    Row { verb, name, alias, syntax, access, source }
}

use Access::{Clear, LoggedIn, Secured};

/// A checksum, also of a part.
const RANGED: &str = "<sp> pathname [<sp> start <sp> end]";

/// In the order of the enum, which is that of the names. Syntax as in ProFTPD's HELP.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(Verb::Abor, "ABOR", None, "(abort current operation)", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Acct, "ACCT", None, "<sp> account-information", Secured, "RFC 959 §4.1.1"),
    row(Verb::Allo, "ALLO", None, "<sp> size", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Appe, "APPE", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Auth, "AUTH", None, "<sp> TLS", Clear, "RFC 2228 §3, RFC 4217 §4"),
    row(Verb::Avbl, "AVBL", None, "[<sp> pathname]", LoggedIn, "draft-peterson-streamlined-ftp-command-extensions §4"),
    row(Verb::Ccc,  "CCC",  None, "(clears protection level)", Secured, "RFC 2228 §3, RFC 4217 §12.3"),
    row(Verb::Cdup, "CDUP", Some("XCUP"), "(up one directory)", LoggedIn, "RFC 959 §4.1.1, RFC 775"),
    row(Verb::Clnt, "CLNT", None, "<sp> client-software", Clear, "de facto"),
    row(Verb::Csid, "CSID", None, "<sp> facts", Clear, "draft-peterson-streamlined-ftp-command-extensions §2"),
    row(Verb::Cwd,  "CWD",  Some("XCWD"), "<sp> pathname", LoggedIn, "RFC 959 §4.1.1, RFC 775"),
    row(Verb::Dele, "DELE", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Eprt, "EPRT", None, "<sp> |proto|addr|port|", LoggedIn, "RFC 2428 §2"),
    row(Verb::Epsv, "EPSV", None, "[<sp> proto|ALL]", LoggedIn, "RFC 2428 §3"),
    row(Verb::Feat, "FEAT", None, "(returns feature list)", Clear, "RFC 2389 §3"),
    row(Verb::Hash, "HASH", None, "<sp> pathname", LoggedIn, "draft-bryan-ftpext-hash §3"),
    row(Verb::Help, "HELP", None, "[<sp> command]", Clear, "RFC 959 §4.1.3"),
    row(Verb::Host, "HOST", None, "<sp> hostname", Clear, "RFC 7151"),
    row(Verb::Lang, "LANG", None, "[<sp> language-tag]", Clear, "RFC 2640 §4"),
    row(Verb::List, "LIST", None, "[<sp> pathname]", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Md5,  "MD5",  None, "<sp> pathname", LoggedIn, "draft-twine-ftpmd5 §3"),
    row(Verb::Mdtm, "MDTM", None, "<sp> pathname", LoggedIn, "RFC 3659 §3"),
    row(Verb::Mff,  "MFF",  None, "<sp> fact=value;... <sp> pathname", LoggedIn, "draft-somers-ftp-mfxx §5"),
    row(Verb::Mfmt, "MFMT", None, "<sp> timeval <sp> pathname", LoggedIn, "draft-somers-ftp-mfxx §3"),
    row(Verb::Mkd,  "MKD",  Some("XMKD"), "<sp> pathname", LoggedIn, "RFC 959 §4.1.3, RFC 775"),
    row(Verb::Mlsd, "MLSD", None, "[<sp> pathname]", LoggedIn, "RFC 3659 §7"),
    row(Verb::Mlst, "MLST", None, "[<sp> pathname]", LoggedIn, "RFC 3659 §7"),
    row(Verb::Mode, "MODE", None, "is not implemented (always S)", LoggedIn, "RFC 959 §4.1.2"),
    row(Verb::Nlst, "NLST", None, "[<sp> (pathname)]", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Noop, "NOOP", None, "(no operation)", Clear, "RFC 959 §4.1.3"),
    row(Verb::Opts, "OPTS", None, "<sp> command [<sp> options]", Clear, "RFC 2389 §4"),
    row(Verb::Pass, "PASS", None, "<sp> password", Secured, "RFC 959 §4.1.1"),
    row(Verb::Pasv, "PASV", None, "(returns address/port)", LoggedIn, "RFC 959 §4.1.2"),
    row(Verb::Pbsz, "PBSZ", None, "<sp> protection buffer size", Secured, "RFC 2228 §3, RFC 4217 §8"),
    row(Verb::Port, "PORT", None, "<sp> h1,h2,h3,h4,p1,p2", LoggedIn, "RFC 959 §4.1.2"),
    row(Verb::Prot, "PROT", None, "<sp> protection code", Secured, "RFC 2228 §3, RFC 4217 §9"),
    row(Verb::Pwd,  "PWD",  Some("XPWD"), "(returns current working directory)", LoggedIn, "RFC 959 §4.1.3, RFC 775"),
    row(Verb::Quit, "QUIT", None, "(close control connection)", Clear, "RFC 959 §4.1.1"),
    row(Verb::Rang, "RANG", None, "<sp> start <sp> end", LoggedIn, "draft-bryan-ftp-range §3"),
    row(Verb::Rein, "REIN", None, "(back to before the login)", Secured, "RFC 959 §4.1.1, RFC 4217 §11"),
    row(Verb::Rest, "REST", None, "<sp> byte-count", LoggedIn, "RFC 3659 §5"),
    row(Verb::Retr, "RETR", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Rmd,  "RMD",  Some("XRMD"), "<sp> pathname", LoggedIn, "RFC 959 §4.1.3, RFC 775"),
    row(Verb::Rnfr, "RNFR", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Rnto, "RNTO", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Site, "SITE", None, "<sp> string", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Size, "SIZE", None, "<sp> pathname", LoggedIn, "RFC 3659 §4"),
    row(Verb::Stat, "STAT", None, "[<sp> pathname]", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Stor, "STOR", None, "<sp> pathname", LoggedIn, "RFC 959 §4.1.3"),
    row(Verb::Stou, "STOU", None, "(store unique filename)", LoggedIn, "RFC 959 §4.1.3, RFC 1123 §4.1.2.9"),
    row(Verb::Stru, "STRU", None, "is not implemented (always F)", LoggedIn, "RFC 959 §4.1.2"),
    row(Verb::Syst, "SYST", None, "(returns system type)", Clear, "RFC 959 §4.1.3"),
    row(Verb::Type, "TYPE", None, "<sp> type-code (A, I, L 8)", LoggedIn, "RFC 959 §4.1.2"),
    row(Verb::User, "USER", None, "<sp> username", Secured, "RFC 959 §4.1.1"),
    row(Verb::Xcrc, "XCRC", None, RANGED, LoggedIn, "de facto"),
    row(Verb::Xmd5, "XMD5", None, RANGED, LoggedIn, "de facto"),
    row(Verb::Xsha, "XSHA", None, RANGED, LoggedIn, "de facto"),
    row(Verb::Xsha1, "XSHA1", None, RANGED, LoggedIn, "de facto"),
    row(Verb::Xsha256, "XSHA256", None, RANGED, LoggedIn, "de facto"),
    row(Verb::Xsha512, "XSHA512", None, RANGED, LoggedIn, "de facto"),
];

const HTTP: &[&[u8]] = &[b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE", b"PRI", b"PROPFIND"];
const SMTP: &[&[u8]] = &[b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"STARTTLS"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_verb_stands_at_its_own_row_and_answers_to_its_names() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.verb as usize, index, "{}", row.name);
            assert_eq!(Verb::ALL[index], row.verb);
            assert!(row.name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) && !row.source.is_empty());
            for name in [Some(row.name), row.alias].into_iter().flatten() {
                assert_eq!(Verb::from_bytes(name.as_bytes()), Some(row.verb));
                assert_eq!(Verb::from_bytes(name.to_lowercase().as_bytes()), Some(row.verb));
            }
            assert_eq!(row.verb.name(), row.name);
        }
        assert_eq!(TABLE.len(), Verb::Xsha512 as usize + 1);
    }

    #[test]
    fn no_name_is_there_twice() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|row| [Some(row.name), row.alias]).flatten().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for alias in ["XPWD", "XCWD", "XCUP", "XMKD", "XRMD"] {
            assert!(names.contains(&alias));
        }
    }

    #[test]
    fn no_password_and_no_file_before_tls() {
        let clear: Vec<_> = Verb::ALL.into_iter().filter(|verb| verb.access() == Access::Clear).map(Verb::name).collect();
        assert_eq!(clear, ["AUTH", "CLNT", "CSID", "FEAT", "HELP", "HOST", "LANG", "NOOP", "OPTS", "QUIT", "SYST"]);
        let before_login: Vec<_> = Verb::ALL.into_iter().filter(|verb| verb.access() == Access::Secured).map(Verb::name).collect();
        assert_eq!(before_login, ["ACCT", "CCC", "PASS", "PBSZ", "PROT", "REIN", "USER"]);
    }

    #[test]
    fn others_are_unknown() {
        for name in ["", "X", "RETRX", "RET", "GET", "XRETR", "\0", "NOOP "] {
            assert_eq!(Verb::from_bytes(name.as_bytes()), None, "{name:?}");
        }
    }
}
