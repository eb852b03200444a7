//! What must hold for any bytes: one function for each parser.
//!
//! Gets: any bytes. Gives: nothing, or a panic that names the broken promise.
//! Never: part of the server. `gateway/fuzz` calls these with bytes of its own making, the test below with the committed corpus.

use std::net::IpAddr;

use crate::addr::{parse_227, parse_229, parse_eprt, parse_port, write_eprt, write_port};
use crate::command::Command;
use crate::der::{self, Der};
use crate::digest::{Named, Range};
use crate::hello::{HelloReader, Progress};
use crate::line::{LineFault, LineSplitter};
use crate::listing::{Entry, EntryKind, FactSet, write_facts, write_long};
use crate::machine::io::Permissions;
use crate::ocsp;
use crate::path::{BadPath, MAX_COMPONENT, MAX_PATH, VirtualPath, WirePath};
use crate::proxy::{self, Header, MAX_HEADER};
use crate::time::Timestamp;
use crate::{glob, parse};

/// Lines come out the same in any pieces and within their cap; parsing them ends. The first byte is the cap, the second the piece.
pub fn line(data: &[u8]) {
    let [cap, piece, bytes @ ..] = data else { return };
    let (cap, piece) = (usize::from(*cap) + 1, usize::from(*piece) + 1);
    let lines = split(bytes, cap, piece);
    assert_eq!(lines, split(bytes, cap, usize::MAX), "pieces change nothing");
    for line in lines.iter().flatten() {
        assert!(line.len() <= cap && !line.contains(&b'\n'));
        let _ = parse::parse(line);
    }
    if !bytes.iter().any(|b| matches!(b, 0xff | b'\r')) {
        let newline = bytes.iter().rposition(|&b| b == b'\n');
        let plain: Vec<_> = newline.map(|end| bytes[..end].split(|&b| b == b'\n').collect()).unwrap_or_default();
        let capped = plain.into_iter().map(|line| if line.len() <= cap { Ok(line.to_vec()) } else { Err(LineFault::TooLong) });
        assert_eq!(lines, capped.collect::<Vec<_>>(), "plain text is cut at its newlines");
    }
    let _ = parse::parse(bytes);
}

/// A path stays below the root, and resolving it again changes nothing. Working directory, newline, path.
pub fn path(data: &[u8]) {
    let Some((cwd, bytes)) = halves(data) else { return };
    let Ok(cwd) = WirePath::new(cwd).and_then(|wire| VirtualPath::root().resolve(&wire)) else { return };
    let Ok(wire) = WirePath::new(bytes) else { return };
    let Ok(found) = cwd.resolve(&wire) else { return };
    let text = found.as_bytes();
    assert!(text.starts_with(b"/") && text.len() <= MAX_PATH && !text.iter().any(u8::is_ascii_control));
    assert!(found.components().all(|c| !matches!(c, b"." | b"..") && c.len() <= MAX_COMPONENT));
    assert_eq!(WirePath::new(text).and_then(|again| cwd.resolve(&again)).as_ref(), Ok(&found));
    let rebuilt = found.components().try_fold(VirtualPath::root(), |path, component| path.join(component));
    assert_eq!(rebuilt.as_ref(), Ok(&found));
    if let Some(name) = found.name() {
        assert_eq!(found.parent().join(name).as_ref(), Ok(&found));
        assert!(found.starts_with(&found.parent()) && !found.parent().starts_with(&found));
    }
    if let Some((directory, pattern)) = wire.split_glob() {
        assert!(!pattern.contains(&b'/') && glob::is_pattern(&pattern));
        assert_ne!(cwd.resolve(&directory), Err(BadPath::Control));
    }
    let mut quoted = Vec::new();
    found.write_quoted(&mut quoted);
    let doubled = quoted[1..quoted.len() - 1].split(|&b| b == b'"').count() % 2;
    assert_eq!(doubled, 1, "every quote within is doubled");
}

/// What digests are asked of: names are found again in quotes, ranges never overflow. The bytes are an argument.
pub fn digest(data: &[u8]) {
    for verb in [&b"XCRC "[..], b"XSHA512 ", b"MD5 ", b"HASH ", b"RANG ", b"OPTS HASH "] {
        match parse::parse(&[verb, data].concat()) {
            Ok(Command::Rang(Some(Range { start, end }))) => assert!(start < end && end <= 1 << 63),
            Ok(Command::Checksum { range: Some(Range { start, end }), .. }) => assert!(start <= i64::MAX as u64 && end <= i64::MAX as u64),
            Ok(Command::Hash(Named { raw, quoted: Some(quoted) })) => assert!(quoted.as_bytes().len() + 2 <= raw.as_bytes().len()),
            Ok(_) | Err(_) => {}
        }
    }
    let Ok(name) = WirePath::new(data) else { return };
    let mut quoted = b"\"".to_vec();
    data.iter().for_each(|byte| quoted.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 })));
    quoted.push(b'"');
    if quoted.len() > MAX_PATH {
        return;
    }
    let asked = parse::parse(&[b"XMD5 ", &quoted[..], b" 3 5"].concat());
    assert!(matches!(asked, Ok(Command::Checksum { path, range: Some(Range { start: 3, end: 5 }), .. }) if path == name));
    assert!(matches!(parse::parse(&[b"HASH ", &quoted[..]].concat()), Ok(Command::Hash(Named { quoted: Some(inner), .. })) if inner == name));
}

/// What is read is written and read again as the same.
pub fn addr(data: &[u8]) {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    if let Some(address) = parse_port(data) {
        assert_ne!(address.port(), 0);
        assert_eq!(parse_port(&written(&|out| write_port(address, out))), Some(address));
    }
    if let Ok(address) = parse_eprt(data) {
        assert_ne!(address.port(), 0);
        assert_eq!(parse_eprt(&written(&|out| write_eprt(address, out))), Ok(address));
    }
    assert_ne!(parse_227(data).map(|address| address.port()), Some(0));
    assert_ne!(parse_229(data), Some(0));
}

/// A time that is read is written and read again as the same; any time at all is written in its fixed width.
pub fn time(data: &[u8]) {
    if let Some(time) = Timestamp::parse(data) {
        let mut out = Vec::new();
        time.write_precise(&mut out);
        assert_eq!(Timestamp::parse(&out), Some(time));
    }
    if let Some(time) = Timestamp::parse_utime(data) {
        assert!(time.seconds.rem_euclid(60) == 0 || data.len() == 14);
    }
    let time = Timestamp::from_unix(integer(data) as i64, 0);
    for now in [Timestamp::default(), time] {
        let mut out = Vec::new();
        time.write(&mut out);
        time.write_ls(now, &mut out);
        time.write_xferlog(&mut out);
        assert_eq!(out.len(), 14 + 12 + 24);
    }
}

/// A listing line holds what went in, and is one line. 16 bytes of facts, one for which facts, then the name.
pub fn listing(data: &[u8]) {
    let Some((numbers, [chosen, name @ ..])) = data.split_at_checked(16) else { return };
    let kind = match numbers[0] % 4 {
        0 => EntryKind::File,
        1 => EntryKind::Directory,
        2 => EntryKind::Current,
        _ => EntryKind::Other,
    };
    let modified = Timestamp::from_unix((integer(&numbers[8..]) % 250_000_000_000) as i64, 0);
    let mode = u32::from(numbers[1]) << 4 | u32::from(numbers[2] & 15);
    let entry = Entry { name: name.to_vec(), kind, size: integer(numbers), modified, mode, links: u64::from(numbers[3]), unique: integer(&numbers[4..]) };
    let has = |bit: u8| chosen & (1 << bit) != 0;
    let set = FactSet { kind: has(0), size: has(1), modify: has(2), perm: has(3), unique: has(4), unix_mode: has(5) };
    let (mut facts, mut long) = (Vec::new(), Vec::new());
    let listed = write_facts(&entry, set, Permissions::ALL, &mut facts);
    assert_eq!(listed, write_long(&entry, modified, &mut long));
    assert_eq!(listed, !name.is_empty() && !name.iter().any(u8::is_ascii_control));
    if listed {
        read_facts(&entry, set, &facts);
        let end = [b" ", name, b"\r\n"].concat();
        assert!(long.ends_with(&end) && long[..long.len() - 2].iter().all(|b| !b.is_ascii_control()));
    }
}

/// The matcher agrees with the definition. Pattern, newline, name.
pub fn glob(data: &[u8]) {
    let Some((pattern, name)) = halves(data).filter(|(_, name)| name.len() <= MAX_COMPONENT) else { return };
    let hidden = name.first() == Some(&b'.') && pattern.first() != Some(&b'.');
    assert_eq!(glob::matches(pattern, name), !hidden && defined(pattern, name));
}

/// A hello reads the same in any pieces, within its cap. Gives what was read and how many bytes it took, to be compared with a TLS library.
pub fn hello(data: &[u8]) -> (Progress, usize) {
    let mut whole = HelloReader::new();
    let at_once = whole.push(data);
    let mut dripped = HelloReader::new();
    let mut last = Progress::More;
    for byte in data {
        last = dripped.push(std::slice::from_ref(byte));
        if last != Progress::More {
            break;
        }
    }
    assert_eq!(last, at_once);
    assert!(whole.consumed() <= data.len() && whole.consumed() <= crate::hello::MAX_HELLO);
    assert_eq!(whole.consumed(), dripped.consumed());
    let consumed = whole.consumed();
    if matches!(at_once, Progress::Done(_)) {
        assert_eq!(whole.into_bytes(), data[..consumed]);
    }
    (at_once, consumed)
}

/// A header is read step by step, never beyond its end, and what it says is said again in both versions.
pub fn proxy(data: &[u8]) {
    let mut taken = 0;
    let header = loop {
        match proxy::read(&data[..taken]) {
            proxy::Progress::More(more) => {
                assert!(more > 0 && taken + more <= MAX_HEADER);
                if taken + more > data.len() {
                    return;
                }
                taken += more;
            }
            proxy::Progress::Done(header) => break header,
            proxy::Progress::Fault(_) => return,
        }
    };
    assert!(proxy::is_header(data));
    if header != Header::Own {
        for version in [1, 2] {
            let written = write_proxy(version, header);
            assert_eq!(proxy::read(&written), proxy::Progress::Done(header));
            assert!(matches!(proxy::read(&written[..written.len() - 1]), proxy::Progress::More(1)));
        }
    }
}

/// A response has one encoding: what is around its signed part is written anew as the same bytes. Whatever is asked is read again as one value.
pub fn ocsp(data: &[u8]) {
    if let Ok(answer) = ocsp::read(data) {
        assert_eq!(write_ocsp(&answer), data);
    }
    let (name, rest) = data.split_at(data.len() / 2);
    let question = ocsp::question(&ocsp::CertId { issuer_name: name, issuer_key: rest, serial: rest });
    let mut all = Der::new(&question);
    assert!(data.len() > ocsp::MAX_RESPONSE || all.expect(der::SEQUENCE).is_some_and(|inner| !inner.is_empty()) && all.is_empty());
}

fn write_ocsp(answer: &ocsp::Answer<'_>) -> Vec<u8> {
    let status = match answer {
        ocsp::Answer::Signed(signed) => return signed.write(),
        ocsp::Answer::Declined(ocsp::Decline::Malformed) => 1,
        ocsp::Answer::Declined(ocsp::Decline::Internal) => 2,
        ocsp::Answer::Declined(ocsp::Decline::TryLater) => 3,
        ocsp::Answer::Declined(ocsp::Decline::SignatureRequired) => 5,
        ocsp::Answer::Declined(ocsp::Decline::Unauthorized) => 6,
    };
    der::write(der::SEQUENCE, &[&der::write(der::ENUMERATED, &[&[status]])])
}

/// The header in a version of the protocol, as a balancer writes it.
pub fn write_proxy(version: u8, header: Header) -> Vec<u8> {
    let Header::Client { source, destination } = header else { return b"PROXY UNKNOWN\r\n".to_vec() };
    if version == 1 {
        let family = if source.is_ipv4() { 4 } else { 6 };
        return format!("PROXY TCP{family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port()).into_bytes();
    }
    let ips = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (from, to) => [wide(from), wide(to)].concat(),
    };
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    let length = ips.len() as u8 + 4;
    [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family, 0, length], &ips, &source.port().to_be_bytes(), &destination.port().to_be_bytes()].concat()
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn split(bytes: &[u8], cap: usize, piece: usize) -> Vec<Result<Vec<u8>, LineFault>> {
    let (mut splitter, mut lines) = (LineSplitter::new(cap), Vec::new());
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            part = &part[splitter.push(part)..];
            assert!(splitter.buffered() <= LineSplitter::UNREAD + cap);
            lines.extend(std::iter::from_fn(|| splitter.next()));
        }
    }
    lines
}

fn read_facts(entry: &Entry, set: FactSet, line: &[u8]) {
    let blank = line.iter().position(|&b| b == b' ').unwrap_or(0);
    assert_eq!(line[blank + 1..], [&entry.name[..], b"\r\n"].concat());
    let facts = String::from_utf8_lossy(&line[..blank]).into_owned();
    let fact = |name: &str| facts.split(';').find_map(|fact| fact.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    assert_eq!(fact("type").is_some(), set.kind);
    assert_eq!(fact("perm").is_some(), set.perm);
    assert_eq!(fact("size"), (set.size && entry.kind == EntryKind::File).then(|| entry.size.to_string()));
    assert_eq!(fact("modify").and_then(|text| Timestamp::parse(text.as_bytes())), set.modify.then_some(entry.modified));
    assert_eq!(fact("unique").and_then(|text| u64::from_str_radix(&text, 16).ok()), set.unique.then_some(entry.unique));
    assert_eq!(fact("UNIX.mode").and_then(|text| u32::from_str_radix(&text, 8).ok()), set.unix_mode.then_some(entry.mode));
}

/// `*` any bytes, `?` one, by a table of all prefixes.
fn defined(pattern: &[u8], name: &[u8]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for &byte in pattern {
        let mut diagonal = row[0];
        row[0] &= byte == b'*';
        for at in 1..row.len() {
            let above = row[at];
            row[at] = if byte == b'*' { above || row[at - 1] } else { diagonal && (byte == b'?' || byte == name[at - 1]) };
            diagonal = above;
        }
    }
    row[name.len()]
}

fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let newline = data.iter().position(|&b| b == b'\n')?;
    Some((&data[..newline], &data[newline + 1..]))
}

fn integer(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_committed_corpus_holds() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let targets: [(&str, Target); 10] = [
            ("line", line),
            ("path", path),
            ("addr", addr),
            ("digest", digest),
            ("time", time),
            ("listing", listing),
            ("glob", glob),
            ("proxy", proxy),
            ("ocsp", ocsp),
            ("hello", |data| {
                hello(data);
            }),
        ];
        for (name, target) in targets {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name)).expect(name).map(|file| file.unwrap().path()).collect();
            assert!(files.len() >= 3, "{name} has a corpus");
            for file in files {
                target(&std::fs::read(&file).unwrap());
            }
        }
    }
}
