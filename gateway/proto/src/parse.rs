//! A command line → [`Command`].
//!
//! Gets: one line without its end, telnet stripped. Gives: a checked command, or what is wrong with the line and with which verb.
//! Never: keeps state, resolves a path, decides what is allowed when; that is the machine.

use crate::addr::{self, EprtFault, Family};
use crate::command::{AuthMechanism, Command, EpsvForm, HostName, LangTag, ListArguments, Opts, Password, ProtLevel, SetFact, Site, TransferType, UserName};
use crate::digest::{self, RangeFault};
use crate::listing::FactSet;
use crate::path::{BadPath, WirePath};
use crate::time::Timestamp;
use crate::verbs::Verb;

/// Why a line is no command. Each has its own reply; the verb is for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseFault {
    /// 500: no such verb. An empty line is one too.
    Unknown {
        /// A verb of HTTP, SMTP or SSH: not a client of ours but a stray or an attack (ALPACA).
        foreign: bool,
    },
    /// 501: the argument is missing.
    Missing(Verb),
    /// 501: the argument is not what the verb takes.
    Syntax(Verb),
    /// 501: bytes below 0x20 or 0x7F in the argument.
    ControlBytes(Verb),
    /// 504: a known verb with a parameter that is not done here.
    Unsupported(Verb),
    /// 501: too few or too many words, of a verb about digests.
    Words(Verb),
    /// 501: a range that is none.
    Range(Verb, RangeFault),
}

impl ParseFault {
    /// The verb, when it was one of ours.
    pub const fn verb(self) -> Option<Verb> {
        match self {
            Self::Unknown { .. } => None,
            Self::Missing(verb) | Self::Syntax(verb) | Self::ControlBytes(verb) | Self::Unsupported(verb) => Some(verb),
            Self::Words(verb) | Self::Range(verb, _) => Some(verb),
        }
    }
}

/// Reads one line. Blanks before the verb are skipped; one blank ends it, and everything after that is the argument: names may begin and end with blanks.
pub fn parse(line: &[u8]) -> Result<Command, ParseFault> {
    let line = &line[line.iter().take_while(|&&b| b == b' ').count()..];
    let (word, text) = split_word(line);
    let verb = Verb::from_bytes(word).ok_or(ParseFault::Unknown { foreign: Verb::is_foreign(word) })?;
    // A password is bytes; it gets into no path, log or reply.
    if verb != Verb::Pass && text.iter().any(u8::is_ascii_control) {
        return Err(ParseFault::ControlBytes(verb));
    }
    Argument { verb, text }.command()
}

/// What follows a verb.
#[derive(Clone, Copy)]
struct Argument<'a> {
    verb: Verb,
    text: &'a [u8],
}

impl Argument<'_> {
    #[rustfmt::skip]
    fn command(self) -> Result<Command, ParseFault> {
        Ok(match self.verb {
            Verb::Abor => Command::Abor,
            Verb::Acct => Command::Acct,
            Verb::Allo => Command::Allo(self.allo()?),
            Verb::Appe => Command::Appe(self.path()?),
            Verb::Auth => Command::Auth(self.auth()?),
            Verb::Avbl => Command::Avbl(self.optional_path()?),
            Verb::Ccc => Command::Ccc,
            Verb::Cdup => self.alone(Command::Cdup)?,
            Verb::Clnt => Command::Clnt,
            Verb::Csid => Command::Csid,
            Verb::Cwd => Command::Cwd(self.path()?),
            Verb::Dele => Command::Dele(self.path()?),
            Verb::Eprt => self.eprt()?,
            Verb::Epsv => Command::Epsv(self.epsv()?),
            Verb::Feat => self.alone(Command::Feat)?,
            Verb::Hash | Verb::Md5 | Verb::Rang | Verb::Xcrc | Verb::Xmd5 | Verb::Xsha | Verb::Xsha1 | Verb::Xsha256 | Verb::Xsha512 => digest::command(self.verb, self.text)?,
            Verb::Help => Command::Help(self.first_word().map(Verb::from_bytes)),
            Verb::Host => Command::Host(HostName::new(self.word()?).ok_or(self.syntax())?),
            Verb::Lang => Command::Lang(self.lang()),
            Verb::List => Command::List(self.list()?),
            Verb::Mdtm => self.mdtm()?,
            Verb::Mff => self.mff()?,
            Verb::Mfmt => self.mfmt()?,
            Verb::Mkd => Command::Mkd(self.path()?),
            Verb::Mlsd => Command::Mlsd(self.optional_path()?),
            Verb::Mlst => Command::Mlst(self.optional_path()?),
            Verb::Mode => Command::Mode(self.word()?.eq_ignore_ascii_case(b"S")),
            Verb::Nlst => Command::Nlst(self.list()?),
            Verb::Noop => Command::Noop,
            Verb::Opts => Command::Opts(self.opts()?),
            Verb::Pass => Command::Pass(Password::new(self.text).ok_or(self.syntax())?),
            Verb::Pasv => self.alone(Command::Pasv)?,
            Verb::Pbsz => self.pbsz()?,
            Verb::Port => Command::Port(addr::parse_port(self.word()?).ok_or(self.syntax())?.into()),
            Verb::Prot => Command::Prot(self.prot()?),
            Verb::Pwd => self.alone(Command::Pwd)?,
            Verb::Quit => Command::Quit,
            Verb::Rein => self.alone(Command::Rein)?,
            Verb::Rest => Command::Rest(number(self.word()?).ok_or(self.syntax())?),
            Verb::Retr => Command::Retr(self.path()?),
            Verb::Rmd => Command::Rmd(self.path()?),
            Verb::Rnfr => Command::Rnfr(self.path()?),
            Verb::Rnto => Command::Rnto(self.path()?),
            Verb::Site => Command::Site(self.site()?),
            Verb::Size => Command::Size(self.path()?),
            Verb::Stat => Command::Stat(self.list()?.path),
            Verb::Stor => Command::Stor(self.path()?),
            Verb::Stou => Command::Stou(self.optional_path()?),
            Verb::Stru => Command::Stru(self.word()?.eq_ignore_ascii_case(b"F")),
            Verb::Syst => self.alone(Command::Syst)?,
            Verb::Type => Command::Type(self.transfer_type()?),
            Verb::User => Command::User(self.user()?),
        })
    }

    const fn syntax(self) -> ParseFault {
        ParseFault::Syntax(self.verb)
    }

    /// The verb takes nothing.
    fn alone(self, command: Command) -> Result<Command, ParseFault> {
        if self.text.trim_ascii().is_empty() { Ok(command) } else { Err(self.syntax()) }
    }

    /// The argument without blanks around it; there must be one.
    fn word(&self) -> Result<&[u8], ParseFault> {
        let word = self.text.trim_ascii();
        if word.is_empty() { Err(ParseFault::Missing(self.verb)) } else { Ok(word) }
    }

    fn first_word(&self) -> Option<&[u8]> {
        self.text.split(|&b| b == b' ').find(|word| !word.is_empty())
    }

    fn path(self) -> Result<WirePath, ParseFault> {
        self.path_of(self.text)
    }

    fn path_of(self, bytes: &[u8]) -> Result<WirePath, ParseFault> {
        WirePath::new(bytes).map_err(|bad| match bad {
            BadPath::Empty => ParseFault::Missing(self.verb),
            BadPath::Control => ParseFault::ControlBytes(self.verb),
            BadPath::TooLong | BadPath::Component => self.syntax(),
        })
    }

    fn optional_path(self) -> Result<Option<WirePath>, ParseFault> {
        if self.text.trim_ascii().is_empty() { Ok(None) } else { self.path().map(Some) }
    }

    fn user(self) -> Result<UserName, ParseFault> {
        self.word()?;
        UserName::new(self.text).ok_or(self.syntax())
    }

    fn auth(self) -> Result<AuthMechanism, ParseFault> {
        Ok(match upper::<8>(self.word()?).as_slice() {
            b"TLS" | b"TLS-C" => AuthMechanism::Tls,
            b"SSL" | b"TLS-P" => AuthMechanism::Ssl,
            _ => AuthMechanism::Unknown,
        })
    }

    fn prot(self) -> Result<ProtLevel, ParseFault> {
        Ok(match upper::<8>(self.word()?).as_slice() {
            b"P" => ProtLevel::Private,
            b"C" => ProtLevel::Clear,
            b"S" | b"E" => ProtLevel::SafeOrConfidential,
            _ => ProtLevel::Unknown,
        })
    }

    fn pbsz(self) -> Result<Command, ParseFault> {
        let size = number(self.word()?).ok_or(self.syntax())?;
        if size > u64::from(u32::MAX) { Err(self.syntax()) } else { Ok(Command::Pbsz) }
    }

    /// `TYPE L 8` also comes as `L8`. Type A takes only the format N, "non-print".
    fn transfer_type(self) -> Result<TransferType, ParseFault> {
        Ok(match upper::<8>(self.word()?).as_slice() {
            b"A" | b"A N" => TransferType::Ascii,
            b"I" | b"L 8" | b"L8" => TransferType::Image,
            _ => TransferType::Unknown,
        })
    }

    /// `size` or `size R record-size`.
    fn allo(self) -> Result<u64, ParseFault> {
        let (size, rest) = split_word(self.word()?);
        let (letter, record) = split_word(rest);
        let whole = rest.is_empty() || letter.eq_ignore_ascii_case(b"R") && number(record).is_some();
        number(size).filter(|_| whole).ok_or(self.syntax())
    }

    fn lang(self) -> LangTag {
        let tag = self.text.trim_ascii().split(|&b| b == b'-').next().unwrap_or_default();
        if tag.is_empty() || tag.eq_ignore_ascii_case(b"en") { LangTag::English } else { LangTag::Unknown }
    }

    fn opts(self) -> Result<Opts, ParseFault> {
        let (option, rest) = split_word(self.word()?);
        Ok(match upper::<8>(option).as_slice() {
            b"UTF8" | b"UTF-8" => Opts::Utf8(!rest.trim_ascii().eq_ignore_ascii_case(b"OFF")),
            b"HASH" => digest::options(rest),
            b"MLST" => Opts::Mlst(FactSet::parse(rest.trim_ascii())),
            _ => Opts::Unknown,
        })
    }

    fn epsv(self) -> Result<EpsvForm, ParseFault> {
        Ok(match upper::<8>(self.text.trim_ascii()).as_slice() {
            b"" if self.text.trim_ascii().is_empty() => EpsvForm::Any,
            b"1" => EpsvForm::Family(Family::Ipv4),
            b"2" => EpsvForm::Family(Family::Ipv6),
            b"ALL" => EpsvForm::All,
            digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => EpsvForm::Unknown,
            _ => return Err(self.syntax()),
        })
    }

    fn eprt(self) -> Result<Command, ParseFault> {
        match addr::parse_eprt(self.word()?) {
            Ok(address) => Ok(Command::Eprt(Ok(address))),
            Err(EprtFault::Family) => Ok(Command::Eprt(Err(()))),
            Err(EprtFault::Syntax) => Err(self.syntax()),
        }
    }

    /// Old clients write `ls` options before the path: `-la`, `-a -l path`, `-- -file`. A word with anything but letters and digits is a path.
    fn list(self) -> Result<ListArguments, ParseFault> {
        let mut arguments = ListArguments::default();
        let mut rest = self.text;
        if rest.first() == Some(&b'-') {
            arguments.raw = Some(self.path()?);
        }
        while let [b'-', _, ..] = rest {
            let (word, after) = split_word(rest);
            if word == b"--" {
                rest = after;
                break;
            }
            if !word[1..].iter().all(u8::is_ascii_alphanumeric) || word.len() == 1 {
                break;
            }
            arguments.all |= word.iter().any(|b| matches!(b, b'a' | b'A'));
            arguments.directory_itself |= word.contains(&b'd');
            arguments.long |= word.contains(&b'l');
            rest = after;
        }
        arguments.path = Argument { text: rest, ..self }.optional_path()?;
        Ok(arguments)
    }

    /// `MDTM path`, or the setter `MDTM YYYYMMDDHHMMSS path`.
    fn mdtm(self) -> Result<Command, ParseFault> {
        let raw = self.path()?;
        let (word, name) = split_word(self.text);
        match (Timestamp::parse(word), WirePath::new(name)) {
            (Some(time), Ok(path)) => Ok(Command::Mfmt { time, path, mdtm: Some(raw) }),
            _ => Ok(Command::Mdtm(raw)),
        }
    }

    fn mfmt(self) -> Result<Command, ParseFault> {
        self.word()?;
        let (word, name) = split_word(self.text);
        let time = Timestamp::parse(word).ok_or(self.syntax())?;
        Ok(Command::Mfmt { time, path: self.path_of(name)?, mdtm: None })
    }

    /// `fact=value;fact=value; path`: each fact once, all of them settable, or nothing is done.
    fn mff(self) -> Result<Command, ParseFault> {
        self.word()?;
        let (list, name) = split_word(self.text);
        let mut facts: Vec<SetFact> = Vec::new();
        for fact in list.strip_suffix(b";").unwrap_or(list).split(|&b| b == b';') {
            let fact = self.set_fact(fact)?;
            if facts.iter().any(|earlier| std::mem::discriminant(earlier) == std::mem::discriminant(&fact)) {
                return Err(self.syntax());
            }
            facts.push(fact);
        }
        Ok(Command::Mff { facts, path: self.path_of(name)? })
    }

    fn set_fact(self, fact: &[u8]) -> Result<SetFact, ParseFault> {
        let equals = fact.iter().position(|&b| b == b'=').ok_or(self.syntax())?;
        let (name, value) = (&fact[..equals], &fact[equals + 1..]);
        match upper::<16>(name).as_slice() {
            b"MODIFY" => Timestamp::parse(value).map(SetFact::Modify).ok_or(self.syntax()),
            b"UNIX.MODE" => self.mode(value).map(SetFact::UnixMode),
            _ => Err(ParseFault::Unsupported(self.verb)),
        }
    }

    fn site(self) -> Result<Site, ParseFault> {
        let (word, rest) = split_word(self.text);
        match upper::<8>(word).as_slice() {
            b"CHMOD" => {
                let (mode, name) = split_word(rest);
                self.path_of(mode)?;
                Ok(Site::Chmod { mode: self.mode(mode)?, path: self.path_of(name)? })
            }
            b"UTIME" => self.utime(rest),
            b"WHO" => Ok(Site::Who),
            b"HELP" => Ok(Site::Help),
            _ if self.text.trim_ascii().is_empty() => Err(ParseFault::Missing(self.verb)),
            _ => Ok(Site::Unknown),
        }
    }

    /// `YYYYMMDDhhmm[ss] path`, or `path atime mtime ctime UTC` as ProFTPD and Pure-FTPd have it; the path may have blanks.
    fn utime(self, text: &[u8]) -> Result<Site, ParseFault> {
        let (word, name) = split_word(text);
        let trailing = trailing_words(text);
        if let Some((path, [_access, modify, change, _zone])) = trailing.filter(|(_, words)| words[3].eq_ignore_ascii_case(b"UTC")) {
            Timestamp::parse_utime(change).ok_or(self.syntax())?;
            let time = Timestamp::parse_utime(modify).ok_or(self.syntax())?;
            return Ok(Site::Utime { time, path: self.path_of(path)? });
        }
        let time = Timestamp::parse_utime(word).ok_or(if text.is_empty() { ParseFault::Missing(self.verb) } else { self.syntax() })?;
        Ok(Site::Utime { time, path: self.path_of(name)? })
    }

    /// Octal within 0777: set-id and sticky bits are not for clients to set, `u+x` is not read.
    fn mode(self, digits: &[u8]) -> Result<u32, ParseFault> {
        if digits.is_empty() || digits.len() > 5 {
            return Err(self.syntax());
        }
        if !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
            let symbolic = digits.iter().all(|b| b"ugoarwxXst+-=,".contains(b));
            return Err(if symbolic { ParseFault::Unsupported(self.verb) } else { self.syntax() });
        }
        let mode = digits.iter().fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
        if mode > 0o777 { Err(ParseFault::Unsupported(self.verb)) } else { Ok(mode) }
    }
}

/// The bytes before the first blank, and those after it.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&b| b == b' ') {
        Some(blank) => (&bytes[..blank], &bytes[blank + 1..]),
        None => (bytes, b""),
    }
}

/// The last four words and everything before the blank in front of them.
fn trailing_words(bytes: &[u8]) -> Option<(&[u8], [&[u8]; 4])> {
    let mut words: [&[u8]; 4] = [b""; 4];
    let mut rest = bytes;
    for word in words.iter_mut().rev() {
        let blank = rest.iter().rposition(|&b| b == b' ')?;
        *word = &rest[blank + 1..];
        rest = &rest[..blank];
    }
    Some((rest, words))
}

/// Decimal digits up to `i64::MAX`, which is what file offsets can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add).filter(|&number| i64::try_from(number).is_ok())
}

/// A keyword of at most `N` bytes in upper case, for matching without allocation.
struct Upper<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Upper<N> {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Empty when the word is longer than any keyword.
fn upper<const N: usize>(word: &[u8]) -> Upper<N> {
    let mut upper = Upper { bytes: [0; N], length: 0 };
    if word.len() <= N {
        upper.bytes[..word.len()].copy_from_slice(word);
        upper.bytes.make_ascii_uppercase();
        upper.length = word.len();
    }
    upper
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn path(bytes: &str) -> WirePath {
        WirePath::new(bytes.as_bytes()).unwrap()
    }

    fn time(bytes: &str) -> Timestamp {
        Timestamp::parse(bytes.as_bytes()).unwrap()
    }

    fn list(letters: &str, name: Option<&str>, raw: Option<&str>) -> ListArguments {
        let has = |letter| letters.contains(letter);
        ListArguments { all: has('a'), directory_itself: has('d'), long: has('l'), path: name.map(path), raw: raw.map(path) }
    }

    fn check(table: impl IntoIterator<Item = (&'static str, Command)>) {
        for (line, command) in table {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn reads_login_and_session_commands() {
        check([
            ("USER alice", Command::User(UserName::new(b"alice").unwrap())),
            ("user Alice Smith ", Command::User(UserName::new(b"Alice Smith ").unwrap())),
            ("  USER alice", Command::User(UserName::new(b"alice").unwrap())),
            ("PASS  a b ", Command::Pass(Password::new(b" a b ").unwrap())),
            ("PASS", Command::Pass(Password::new(b"").unwrap())),
            ("PASS \u{1}\t", Command::Pass(Password::new(b"\x01\t").unwrap())),
            ("ACCT", Command::Acct),
            ("QUIT ", Command::Quit),
            ("REIN", Command::Rein),
            ("AUTH TLS", Command::Auth(AuthMechanism::Tls)),
            ("AUTH tls-c ", Command::Auth(AuthMechanism::Tls)),
            ("AUTH SSL", Command::Auth(AuthMechanism::Ssl)),
            ("AUTH TLS-P", Command::Auth(AuthMechanism::Ssl)),
            ("AUTH KERBEROS_V4", Command::Auth(AuthMechanism::Unknown)),
            ("PBSZ 0", Command::Pbsz),
            ("PROT P", Command::Prot(ProtLevel::Private)),
            ("PROT c", Command::Prot(ProtLevel::Clear)),
            ("PROT E", Command::Prot(ProtLevel::SafeOrConfidential)),
            ("PROT X", Command::Prot(ProtLevel::Unknown)),
            ("CCC", Command::Ccc),
            ("HOST FTP.Example.com", Command::Host(HostName::new(b"ftp.example.com").unwrap())),
            ("HOST [2001:db8::1]", Command::Host(HostName::new(b"[2001:db8::1]").unwrap())),
            ("FEAT", Command::Feat),
            ("OPTS UTF8 ON", Command::Opts(Opts::Utf8(true))),
            ("OPTS utf-8", Command::Opts(Opts::Utf8(true))),
            ("OPTS UTF8 OFF", Command::Opts(Opts::Utf8(false))),
            ("OPTS MLST Type;SIZE;bogus;", Command::Opts(Opts::Mlst(FactSet { kind: true, size: true, ..FactSet::NONE }))),
            ("OPTS MLST", Command::Opts(Opts::Mlst(FactSet::NONE))),
            ("OPTS HASHES SHA-1", Command::Opts(Opts::Unknown)),
            ("HELP", Command::Help(None)),
            ("HELP retr", Command::Help(Some(Some(Verb::Retr)))),
            ("HELP XMKD x", Command::Help(Some(Some(Verb::Mkd)))),
            ("HELP FOO", Command::Help(Some(None))),
            ("SYST", Command::Syst),
            ("NOOP anything", Command::Noop),
            ("CLNT NcFTP 3.2.5", Command::Clnt),
            ("CSID Name=x;", Command::Csid),
            ("LANG", Command::Lang(LangTag::English)),
            ("LANG en-US", Command::Lang(LangTag::English)),
            ("LANG fr", Command::Lang(LangTag::Unknown)),
        ]);
    }

    #[test]
    fn reads_transfer_parameters() {
        let ipv6 = "[2001:db8::1]:6446".parse().unwrap();
        check([
            ("TYPE A", Command::Type(TransferType::Ascii)),
            ("TYPE a n", Command::Type(TransferType::Ascii)),
            ("TYPE I", Command::Type(TransferType::Image)),
            ("TYPE L 8", Command::Type(TransferType::Image)),
            ("TYPE L 7", Command::Type(TransferType::Unknown)),
            ("TYPE A T", Command::Type(TransferType::Unknown)),
            ("TYPE E", Command::Type(TransferType::Unknown)),
            ("MODE S", Command::Mode(true)),
            ("MODE Z", Command::Mode(false)),
            ("STRU f", Command::Stru(true)),
            ("STRU R", Command::Stru(false)),
            ("ALLO 0", Command::Allo(0)),
            ("ALLO 100 R 10", Command::Allo(100)),
            ("ALLO 9223372036854775807", Command::Allo(i64::MAX as u64)),
            ("REST 9223372036854775807", Command::Rest(i64::MAX as u64)),
            ("REST 0", Command::Rest(0)),
            ("PASV", Command::Pasv),
            ("EPSV", Command::Epsv(EpsvForm::Any)),
            ("EPSV 1", Command::Epsv(EpsvForm::Family(Family::Ipv4))),
            ("EPSV 2", Command::Epsv(EpsvForm::Family(Family::Ipv6))),
            ("EPSV all", Command::Epsv(EpsvForm::All)),
            ("EPSV 3", Command::Epsv(EpsvForm::Unknown)),
            ("PORT 127,0,0,1,195,80", Command::Port("127.0.0.1:50000".parse().unwrap())),
            ("EPRT |2|2001:db8::1|6446|", Command::Eprt(Ok(ipv6))),
            ("EPRT |3|x|6446|", Command::Eprt(Err(()))),
            ("ABOR", Command::Abor),
        ]);
    }

    #[test]
    fn reads_paths_to_the_last_blank() {
        check([
            ("PWD", Command::Pwd),
            ("XPWD", Command::Pwd),
            ("CWD  a ", Command::Cwd(path(" a "))),
            ("xcwd /", Command::Cwd(path("/"))),
            ("CDUP", Command::Cdup),
            ("MKD a b", Command::Mkd(path("a b"))),
            ("RMD -la", Command::Rmd(path("-la"))),
            ("DELE \u{e4}", Command::Dele(path("\u{e4}"))),
            ("RNFR  ", Command::Rnfr(path(" "))),
            ("RNTO %2e%2e", Command::Rnto(path("%2e%2e"))),
            ("SIZE a", Command::Size(path("a"))),
            ("RETR a", Command::Retr(path("a"))),
            ("STOR a", Command::Stor(path("a"))),
            ("APPE a", Command::Appe(path("a"))),
            ("STOU", Command::Stou(None)),
            ("STOU hint", Command::Stou(Some(path("hint")))),
            ("MLSD", Command::Mlsd(None)),
            ("MLSD ", Command::Mlsd(None)),
            ("MLST a", Command::Mlst(Some(path("a")))),
            ("MLSD -a", Command::Mlsd(Some(path("-a")))),
            ("AVBL", Command::Avbl(None)),
            ("STAT", Command::Stat(None)),
            ("STAT -la", Command::Stat(None)),
            ("STAT -la x", Command::Stat(Some(path("x")))),
        ]);
        assert_eq!(parse(b"RETR \xFF\xFE"), Ok(Command::Retr(WirePath::new(b"\xFF\xFE").unwrap())));
    }

    #[test]
    fn reads_the_options_of_old_clients() {
        for (argument, expected) in [
            ("", list("", None, None)),
            (" a b", list("", Some("a b"), None)),
            (" -la", list("al", None, Some("-la"))),
            (" -al ", list("al", None, Some("-al "))),
            (" -a -l some dir", list("al", Some("some dir"), Some("-a -l some dir"))),
            (" -d", list("d", None, Some("-d"))),
            (" -A *.txt", list("a", Some("*.txt"), Some("-A *.txt"))),
            (" -1", list("", None, Some("-1"))),
            (" --", list("", None, Some("--"))),
            (" -- -a", list("", Some("-a"), Some("-- -a"))),
            (" -l -- -a", list("l", Some("-a"), Some("-l -- -a"))),
            (" -", list("", Some("-"), Some("-"))),
            (" -a.txt", list("", Some("-a.txt"), Some("-a.txt"))),
            (" a -l", list("", Some("a -l"), None)),
        ] {
            assert_eq!(parse(format!("LIST{argument}").as_bytes()), Ok(Command::List(expected.clone())), "{argument:?}");
            assert_eq!(parse(format!("NLST{argument}").as_bytes()), Ok(Command::Nlst(expected)), "{argument:?}");
        }
    }

    #[test]
    fn reads_times_and_modes() {
        let stamp = "20261120120339";
        check([
            ("MDTM a", Command::Mdtm(path("a"))),
            ("MDTM 20261120120339", Command::Mdtm(path(stamp))),
            ("MDTM 20261320120339 a", Command::Mdtm(path("20261320120339 a"))),
            ("MDTM 20261120120339 a b", Command::Mfmt { time: time(stamp), path: path("a b"), mdtm: Some(path("20261120120339 a b")) }),
            ("MFMT 20261120120339  a", Command::Mfmt { time: time(stamp), path: path(" a"), mdtm: None }),
            (
                "MFF Modify=20261120120339;UNIX.mode=0640; a b",
                Command::Mff { facts: vec![SetFact::Modify(time(stamp)), SetFact::UnixMode(0o640)], path: path("a b") },
            ),
            ("MFF unix.MODE=7; a", Command::Mff { facts: vec![SetFact::UnixMode(7)], path: path("a") }),
            ("SITE CHMOD 644 a b", Command::Site(Site::Chmod { mode: 0o644, path: path("a b") })),
            ("SITE chmod 0777 a", Command::Site(Site::Chmod { mode: 0o777, path: path("a") })),
            ("SITE UTIME 202611201203 a b", Command::Site(Site::Utime { time: time("20261120120300"), path: path("a b") })),
            ("SITE UTIME 20261120120339 a", Command::Site(Site::Utime { time: time(stamp), path: path("a") })),
            ("SITE UTIME a b 20200101000000 20261120120339 20200101000000 UTC", Command::Site(Site::Utime { time: time(stamp), path: path("a b") })),
            ("SITE WHO", Command::Site(Site::Who)),
            ("SITE HELP", Command::Site(Site::Help)),
            ("SITE EXEC rm", Command::Site(Site::Unknown)),
        ]);
    }

    fn refuse(table: impl IntoIterator<Item = (&'static str, ParseFault)>) {
        for (line, fault) in table {
            assert_eq!(parse(line.as_bytes()), Err(fault), "{line:?}");
            assert!(fault.verb().is_some());
        }
    }

    #[test]
    fn says_which_verb_lacks_its_argument() {
        use ParseFault::Missing;
        refuse([
            ("USER", Missing(Verb::User)),
            ("USER ", Missing(Verb::User)),
            ("RETR", Missing(Verb::Retr)),
            ("RETR ", Missing(Verb::Retr)),
            ("XMKD", Missing(Verb::Mkd)),
            ("CWD", Missing(Verb::Cwd)),
            ("AUTH", Missing(Verb::Auth)),
            ("PROT ", Missing(Verb::Prot)),
            ("OPTS", Missing(Verb::Opts)),
            ("SITE", Missing(Verb::Site)),
            ("SITE CHMOD", Missing(Verb::Site)),
            ("SITE CHMOD 644", Missing(Verb::Site)),
            ("SITE UTIME", Missing(Verb::Site)),
            ("MFMT", Missing(Verb::Mfmt)),
            ("MFMT 20261120120339", Missing(Verb::Mfmt)),
            ("MFF Modify=20261120120339;", Missing(Verb::Mff)),
        ]);
    }

    #[test]
    fn says_what_is_wrong_and_with_which_verb() {
        use ParseFault::{ControlBytes, Syntax, Unsupported};
        refuse([
            ("USER a\u{85}", Syntax(Verb::User)),
            ("PASV 1", Syntax(Verb::Pasv)),
            ("FEAT x", Syntax(Verb::Feat)),
            ("PORT 1,2,3,4,0,0", Syntax(Verb::Port)),
            ("EPRT |1|1.2.3.4|99999|", Syntax(Verb::Eprt)),
            ("EPSV x", Syntax(Verb::Epsv)),
            ("EPSV EVERYTHING", Syntax(Verb::Epsv)),
            ("REST -1", Syntax(Verb::Rest)),
            ("REST 9223372036854775808", Syntax(Verb::Rest)),
            ("REST 0x1", Syntax(Verb::Rest)),
            ("REST 99999999999999999999999999", Syntax(Verb::Rest)),
            ("ALLO 1 X 2", Syntax(Verb::Allo)),
            ("ALLO 1 R", Syntax(Verb::Allo)),
            ("ALLO 18446744073709551616", Syntax(Verb::Allo)),
            ("PBSZ x", Syntax(Verb::Pbsz)),
            ("PBSZ 4294967296", Syntax(Verb::Pbsz)),
            ("HOST a b", Syntax(Verb::Host)),
            ("HOST a/b", Syntax(Verb::Host)),
            ("MFMT 20260229000000 a", Syntax(Verb::Mfmt)),
            ("MFF Modify=x; a", Syntax(Verb::Mff)),
            ("MFF Modify a", Syntax(Verb::Mff)),
            ("MFF ; a", Syntax(Verb::Mff)),
            ("MFF UNIX.mode=1;UNIX.mode=2; a", Syntax(Verb::Mff)),
            ("MFF UNIX.owner=root; a", Unsupported(Verb::Mff)),
            ("MFF UNIX.mode=4755; a", Unsupported(Verb::Mff)),
            ("SITE CHMOD 6777 a", Unsupported(Verb::Site)),
            ("SITE CHMOD 1000 a", Unsupported(Verb::Site)),
            ("SITE CHMOD u+s a", Unsupported(Verb::Site)),
            ("SITE CHMOD 888 a", Syntax(Verb::Site)),
            ("SITE CHMOD 000000644 a", Syntax(Verb::Site)),
            ("SITE UTIME 2026 a", Syntax(Verb::Site)),
            ("SITE UTIME a 20200101000000 x 20200101000000 UTC", Syntax(Verb::Site)),
            ("MKD a\rb", ControlBytes(Verb::Mkd)),
            ("MKD a\nb", ControlBytes(Verb::Mkd)),
            ("MKD a\0b", ControlBytes(Verb::Mkd)),
            ("MKD a\u{7f}", ControlBytes(Verb::Mkd)),
            ("USER a\u{1b}[2J", ControlBytes(Verb::User)),
            ("NOOP \t", ControlBytes(Verb::Noop)),
            ("SITE \u{1}", ControlBytes(Verb::Site)),
        ]);
        let long = [b"PASS ".to_vec(), vec![b'a'; Password::MAX + 1]].concat();
        assert_eq!(parse(&long), Err(Syntax(Verb::Pass)));
        let long = [b"RETR ".to_vec(), vec![b'a'; crate::path::MAX_PATH + 1]].concat();
        assert_eq!(parse(&long), Err(Syntax(Verb::Retr)));
    }

    #[test]
    fn knows_strays_of_other_protocols() {
        for line in [
            "GET / HTTP/1.1",
            "POST /",
            "HEAD",
            "PUT x",
            "OPTIONS *",
            "CONNECT a:1",
            "DELETE /",
            "PATCH /",
            "TRACE /",
            "PRI * HTTP/2.0",
            "EHLO a",
            "helo a",
            "MAIL FROM:<>",
            "rcpt to",
            "DATA",
            "SSH-2.0-x",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ParseFault::Unknown { foreign: true }), "{line:?}");
        }
        for line in ["", " ", "get file", "FOO", "Host: a", "RETRX a", "RETR\ta", "\u{16}\u{3}\u{1}", "NOOP\r", "\u{ff}NOOP"] {
            assert_eq!(parse(line.as_bytes()), Err(ParseFault::Unknown { foreign: false }), "{line:?}");
        }
    }
}
