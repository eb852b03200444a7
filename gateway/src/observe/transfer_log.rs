//! The transfer log: one line of xferlog(5) for each file that came, went or was deleted, for the tools that read ProFTPD's and wu-ftpd's.
//!
//! Gets: events. Gives: lines at the end of `log.transfer_log`, in ProFTPD's order of fields, with UTC for the time and virtual paths for names.
//! Never: blocks a session on a disk, writes to a file that was rotated away, or lets a name break its line.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ftps_proto::verbs::Verb;

use super::Sink;
use super::appended::Appended;
use super::event::{Direction, Event, Subject, TransferResult};
use super::utc::Utc;

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TransferLog {
    file: Appended,
}

/// One line of it.
struct Line<'a> {
    seconds: u64,
    peer: Option<SocketAddr>,
    bytes: u64,
    path: &'a [u8],
    ascii: bool,
    /// `i`ncoming, `o`utgoing, `d`eleted.
    direction: char,
    user: Option<&'a str>,
    complete: bool,
}

impl TransferLog {
    /// A log at `path`; `None`: off.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub fn start(path: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { file: Appended::start(path)? })
    }

    /// From now on it is written there.
    pub fn set(&self, path: Option<PathBuf>) {
        self.file.set(path);
    }

    /// Lines that were lost so far: the disk was too slow, full or away.
    pub fn dropped(&self) -> u64 {
        self.file.dropped()
    }

    /// Waits until all lines are written, at most one second.
    pub fn flush(&self) {
        self.file.flush();
    }
}

impl Sink for TransferLog {
    fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        let (peer, user) = (subject.peer, subject.user);
        let line = match *event {
            Event::TransferEnded { direction, path, result, bytes, took, ascii, .. } => {
                let direction = match direction {
                    Direction::Upload => 'i',
                    Direction::Download => 'o',
                    // xferlog(5) knows files only.
                    Direction::List => return,
                };
                let seconds = (took + Duration::from_millis(500)).as_secs();
                Line { seconds, peer, bytes, path, ascii, direction, user, complete: result == TransferResult::Complete }
            }
            Event::FileChanged { verb: Verb::Dele, path, .. } => Line { seconds: 0, peer, bytes: 0, path, ascii: false, direction: 'd', user, complete: true },
            _ => return,
        };
        if self.file.is_on() {
            self.file.line(&line.text(SystemTime::now()));
        }
    }
}

impl Line<'_> {
    /// `Thu Nov 19 09:30:00 2026 1 192.0.2.7 1024 /a_b b _ i r alice ftp 0 * c`.
    fn text(&self, now: SystemTime) -> String {
        let user = self.user.unwrap_or("*");
        let mut line = Utc(now).in_words();
        let peer = self.peer.map_or_else(|| "*".to_owned(), |peer| peer.ip().to_string());
        let kind = if self.ascii { 'a' } else { 'b' };
        let access = if user == ANONYMOUS { 'a' } else { 'r' };
        let end = if self.complete { 'c' } else { 'i' };
        let (path, user) = (one_word(self.path), one_word(user.as_bytes()));
        // A String takes everything.
        let _ = writeln!(line, " {} {peer} {} {path} {kind} _ {} {access} {user} ftp 0 * {end}", self.seconds, self.bytes, self.direction);
        line
    }
}

/// ProFTPD's rule: what is white or a control character is an underscore. What is no UTF-8 as well, and what turns the direction of writing.
fn one_word(bytes: &[u8]) -> String {
    let tame = |char: char| {
        let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_whitespace() || char.is_control() || turns || char == char::REPLACEMENT_CHARACTER { '_' } else { char }
    };
    String::from_utf8_lossy(bytes).chars().map(tame).collect()
}

/// The account of RFC 1635.
const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::machine::io::FileError;

    use std::fs;

    use super::super::appended::check;
    use super::super::event::StreamEnd;
    use super::super::id::TransferId;
    use super::*;

    fn ended(path: &[u8], direction: Direction, result: TransferResult) -> Event<'_> {
        let (took, end) = (Duration::from_millis(1500), StreamEnd::CloseNotify);
        Event::TransferEnded {
            id: TransferId::now(),
            direction,
            path,
            result,
            bytes: 1024,
            took,
            ascii: direction == Direction::Download,
            proven: true,
            end,
            digest: None,
        }
    }

    #[test]
    fn the_order_of_fields_is_that_of_xferlog() {
        let peer = Some("192.0.2.7:4711".parse().unwrap());
        let line = |path, user, complete| Line { seconds: 2, peer, bytes: 1024, path, ascii: false, direction: 'i', user: Some(user), complete };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_081_439_102);
        assert_eq!(line(b"/a b\tc", "alice", true).text(now), "Thu Apr  8 15:45:02 2004 2 192.0.2.7 1024 /a_b_c b _ i r alice ftp 0 * c\n");
        assert_eq!(line(b"/\xff\n\xe2\x80\xae", "anonymous", false).text(now), "Thu Apr  8 15:45:02 2004 2 192.0.2.7 1024 /___ b _ i a anonymous ftp 0 * i\n");
    }

    #[test]
    fn files_are_logged_also_over_a_rotation_and_listings_are_not() {
        let directory = std::env::temp_dir().join(format!("ftps-gateway-transfer-log-{}", TransferId::now()));
        fs::create_dir_all(&directory).unwrap();
        let (path, old) = (directory.join("xferlog"), directory.join("xferlog.1"));
        assert!(check("log.transfer_log", &directory.join("missing/xferlog")).unwrap_err().contains("cannot be written"));
        check("log.transfer_log", &path).unwrap();
        let log = TransferLog::start(Some(path.clone())).unwrap();
        let say = |event: &Event<'_>| {
            log.event(Subject { user: Some("alice"), ..Subject::default() }, event);
            log.flush();
        };
        say(&ended(b"/one", Direction::Upload, TransferResult::Complete));
        say(&ended(b"/", Direction::List, TransferResult::Complete));
        fs::rename(&path, &old).unwrap();
        say(&ended(b"/two", Direction::Download, TransferResult::Failed(FileError::Io)));
        say(&Event::FileChanged { verb: Verb::Dele, path: b"/one", to: None });
        log.set(None);
        say(&ended(b"/three", Direction::Upload, TransferResult::Complete));
        let (first, second) = (fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap());
        assert!(first.ends_with(" 2 * 1024 /one b _ i r alice ftp 0 * c\n") && first.lines().count() == 1, "{first}");
        let lines: Vec<_> = second.lines().map(|line| &line["Fri Nov 20 14:12:20 2026 ".len()..]).collect();
        assert_eq!(lines, ["2 * 1024 /two a _ o r alice ftp 0 * i", "0 * 0 /one b _ d r alice ftp 0 * c"]);
        fs::remove_dir_all(directory).unwrap();
    }
}
