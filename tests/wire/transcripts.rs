//! `tests/transcripts/*.txt` over real sockets; the format stands in the README beside them.
//!
//! Gets: the same files that the bare machine runs. Gives: a failure with file, line, what was expected and what came.
//! Never: what a socket cannot bring about: sessions marked `bare` are the machine's.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::kit::{self, Client, Data, Node, Options, Tls, Version, users_file};

#[test]
fn transcripts_hold_over_a_socket() {
    kit::test(180, || {
        let files = files();
        assert!(files.len() >= 10, "transcripts are missing");
        let users = users_file(&[("demo", "/", "all"), ("reader", "/", "read-only")]);
        let node = Node::with(Options { users, ..Options::default() });
        let mut run = 0;
        let mut wrong = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for session in sessions(&text).into_iter().filter(|session| !session.bare) {
                fresh_tree(&node);
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                wrong.extend(play(&node, &session).err().map(|fault| format!("{name}:{fault}")));
                run += 1;
            }
        }
        assert!(wrong.is_empty(), "{} of {run} sessions differ:\n{}", wrong.len(), wrong.join("\n"));
        assert!(run >= 10, "only {run} sessions ran");
    });
}

/// All transcripts, by name.
pub(super) fn files() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory).expect("tests/transcripts").map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    files.sort();
    files
}

/// One connection of a transcript.
#[derive(Default)]
pub(super) struct Session<'a> {
    /// Not for a socket.
    pub(super) bare: bool,
    implicit: bool,
    /// With their numbers.
    pub(super) lines: Vec<(usize, &'a str)>,
}

/// What a session has in its hands.
struct Play {
    client: Client,
    /// Bytes of the segment that is being put together.
    segment: Vec<u8>,
    /// Where the last 227 or 229 pointed.
    passive: Option<SocketAddr>,
    /// A data connection that neither reads nor sends.
    held: Option<Data>,
}

pub(super) fn sessions(text: &str) -> Vec<Session<'_>> {
    let mut found = vec![Session::default()];
    for (number, line) in text.lines().enumerate() {
        let last = found.last_mut().expect("never empty");
        if let Some(flags) = line.strip_prefix("> session") {
            let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
            // What needs a certificate, an own address or IPv6 is tried elsewhere.
            let bare = ["certificate", "active", "ipv6"].into_iter().any(has);
            found.push(Session { implicit: has("implicit"), bare, lines: Vec::new() });
        } else if line == "> bare" {
            last.bare = true;
        } else if !line.starts_with('#') || last.lines.last().is_some() {
            last.lines.push((number + 1, line));
        }
    }
    // `> bare` at the beginning of a file is for the whole file.
    let all_bare = found[0].bare;
    found.iter_mut().for_each(|session| session.bare |= all_bare);
    found.retain(|session| session.lines.iter().any(|(_, line)| !line.is_empty() && !line.starts_with('#')));
    found
}

fn fresh_tree(node: &Node) {
    for entry in std::fs::read_dir(&node.root).unwrap().flatten() {
        let path = entry.path();
        // The upload of the session before may take its temporary away in this moment.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    std::fs::write(node.root.join("hello.txt"), b"hello world\n").unwrap();
    std::fs::create_dir(node.root.join("dir")).unwrap();
    std::fs::write(node.root.join("dir/a.bin"), [0, 1, 2, 3, 4]).unwrap();
}

/// Plays one session; the error is `LINE: what happened`.
fn play(node: &Node, session: &Session<'_>) -> Result<(), String> {
    // A TLS 1.2 session may be shown as often as a transcript needs it.
    let address = if session.implicit { node.implicit } else { node.explicit };
    let mut play = Play { client: Client::open(address, &Tls::new(Version::Tls12)), segment: Vec::new(), passive: None, held: None };
    for (number, line) in &session.lines {
        play.line(line).map_err(|fault| format!("{number}: {line}\n    {fault}"))?;
    }
    play.flush()
}

impl Play {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(command) = line.strip_prefix("C:") {
            self.segment.extend(unescape(command.strip_prefix(' ').unwrap_or(command)));
            self.segment.extend(b"\r\n");
            return Ok(());
        }
        if let Some(bytes) = line.strip_prefix("B: ") {
            self.segment.extend(unescape(bytes));
            return Ok(());
        }
        self.flush()?;
        match line.split_once(' ') {
            Some(("S:", expected)) => self.reply(expected),
            Some(("D:", what)) => self.data(what),
            Some((">", what)) => self.order(what),
            Some(("J:" | "A:" | "#", _)) | None => Ok(()),
            Some(_) => Err("this line is of no known kind".to_owned()),
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let segment = std::mem::take(&mut self.segment);
        if segment.is_empty() { Ok(()) } else { self.client.send(&segment).map_err(|error| format!("cannot send: {error}")) }
    }

    fn reply(&mut self, expected: &str) -> Result<(), String> {
        let line = self.client.reply_line().map_err(|error| format!("no reply: {error}"))?;
        let good = expected.strip_suffix('*').map_or(line == expected, |start| line.starts_with(start));
        self.passive = passive_address(&line, self.client.server).or(self.passive);
        if good { Ok(()) } else { Err(format!("came: {line}")) }
    }

    fn data(&mut self, what: &str) -> Result<(), String> {
        let to = self.passive.take().ok_or("no 227 or 229 came before")?;
        let mut data = Data::connect(to, &self.client.tls);
        data.handshake().map_err(|error| format!("data handshake: {error}"))?;
        if what == "connect" {
            self.held = Some(data);
        } else if let Some(text) = what.strip_prefix("> ") {
            data.write(&unescape(text)).map_err(|error| error.to_string())?;
            data.finish();
        } else {
            let expected = what.strip_prefix("< ").ok_or("this line is of no known kind")?;
            let came = data.read_to_end().map_err(|error| format!("data connection: {error}"))?;
            data.finish();
            if expected != "*" && came != unescape(expected) {
                return Err(format!("came: {:?}", String::from_utf8_lossy(&came)));
            }
        }
        Ok(())
    }

    fn order(&mut self, what: &str) -> Result<(), String> {
        match what.split(' ').collect::<Vec<_>>()[..] {
            ["tls" | "secured"] => self.client.handshake().map_err(|error| format!("handshake: {error}")),
            ["login", ref rights @ ..] => {
                self.reply("220*")?;
                self.client.secure();
                let user = if rights == ["read-only"] { "reader" } else { "demo" };
                for (line, code) in [("PBSZ 0", 200), ("PROT P", 200), (&*format!("USER {user}"), 331), (&*format!("PASS {user}-password"), 230)] {
                    self.client.command(line).is(code);
                }
                Ok(())
            }
            ["closed", _] => match self.client.rest() {
                rest if rest.is_empty() => Ok(()),
                rest => Err(format!("came: {rest:?}")),
            },
            _ => Err("a socket cannot bring this about".to_owned()),
        }
    }
}

/// The address in a 227 or 229, on the server that we are connected to.
fn passive_address(line: &str, server: SocketAddr) -> Option<SocketAddr> {
    let inside = line.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    let port = match line.get(..3)? {
        "229" => inside?.trim_matches('|').parse().ok()?,
        "227" => {
            let mut numbers = inside?.rsplit(',').map(str::parse::<u16>);
            let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            high * 256 + low
        }
        _ => return None,
    };
    Some(SocketAddr::new(server.ip(), port))
}

/// `\xNN` is a byte, `\\` a backslash, `\*N*text*` is text N times.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        if let Some(hex) = after.strip_prefix('x') {
            bytes.push(u8::from_str_radix(&hex[..2], 16).expect("two hex digits"));
            rest = &hex[2..];
        } else if let Some(repeat) = after.strip_prefix('*') {
            let mut parts = repeat.splitn(3, '*');
            let (count, piece) = (parts.next().and_then(|count| count.parse().ok()).expect("a count"), parts.next().expect("a text"));
            bytes.extend(piece.repeat(count).as_bytes());
            rest = parts.next().expect("an end");
        } else {
            bytes.push(b'\\');
            rest = after.strip_prefix('\\').expect("an escape that is known");
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[test]
fn escapes_are_read_as_the_readme_says() {
    assert_eq!(unescape(r"a\x0D\x0Ab\\c\*3*xy*d"), b"a\r\nb\\cxyxyxyd");
    assert_eq!(passive_address("229 x (|||50000|)", "127.0.0.1:21".parse().unwrap()), "127.0.0.1:50000".parse().ok());
    assert_eq!(passive_address("227 x (10,0,0,1,4,1)", "127.0.0.1:21".parse().unwrap()), "127.0.0.1:1025".parse().ok());
}
