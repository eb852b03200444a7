//! Names: all that a file system takes and a line of text can carry goes there and back as it is; the rest is refused, and hidden where it already is.
//!
//! Gets: names of thirty years of partners, and of attackers. Gives: the same bytes on the disk, in listings and in replies.
//! Never: a control byte in a reply, a listing or the log.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::wire::{get, list, put, say};
use crate::kit::{self, Client, Node, random_bytes};

#[test]
fn every_odd_name_goes_there_and_back() {
    kit::test(120, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        for name in odd_names() {
            round_trip(&node, &mut client, &name);
        }
        client.command("QUIT").is(221);
    });
}

#[test]
fn every_odd_name_is_a_directory_too() {
    kit::test(120, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        for name in odd_names() {
            let shown = String::from_utf8_lossy(&name).into_owned();
            let quoted = format!("257 \"/{}\"", shown.replace('"', "\"\""));
            let made = say(&mut client, "MKD", &name);
            assert!(made.text.starts_with(&quoted), "{shown:?}: {}", made.text);
            say(&mut client, "CWD", &name).is(250);
            let here = client.command("PWD");
            assert!(here.text.starts_with(&quoted), "{shown:?}: {}", here.text);
            put(&mut client, "STOR", b"file", b"x").is(226);
            assert!(at(&node.root, &name).join("file").is_file(), "{shown:?}");
            client.command("CDUP").is(250);
            assert_eq!(list(&mut client, "LIST", &[b"/", &name[..]].concat()).len(), 1, "{shown:?}");
            say(&mut client, "RMD", &name).is(550);
            say(&mut client, "DELE", &[&name[..], b"/file"].concat()).is(250);
            say(&mut client, "RMD", &name).is(250);
        }
    });
}

#[test]
fn one_form_of_a_letter_is_not_the_other() {
    kit::test(30, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        let (composed, decomposed) = ("é".as_bytes(), "e\u{301}".as_bytes());
        put(&mut client, "STOR", composed, b"composed").is(226);
        say(&mut client, "SIZE", decomposed).is(550);
        put(&mut client, "STOR", decomposed, b"decomposed").is(226);
        assert_eq!(get(&mut client, "RETR", composed).unwrap(), b"composed");
        assert_eq!(get(&mut client, "RETR", decomposed).unwrap(), b"decomposed");
        assert_eq!(list(&mut client, "NLST", b"").len(), 2);
    });
}

#[test]
fn names_end_at_255_bytes() {
    kit::test(30, || {
        let node = Node::start();
        // A refused transfer costs the kit's client a TLS 1.3 ticket.
        let mut client = Client::session(&node, &kit::Tls::new(kit::Version::Tls12));
        // Letters of one, two, three and four bytes: the limit is one of bytes.
        for letter in ["x", "é", "☃", "🎉"] {
            let fits = letter.repeat(255 / letter.len()).into_bytes();
            put(&mut client, "STOR", &fits, b"x").is(226);
            put(&mut client, "APPE", &fits, b"y").is(226);
            say(&mut client, "SIZE", &fits).is(213);
            let long = letter.repeat(256 / letter.len() + 1).into_bytes();
            for verb in ["STOR", "RETR", "APPE"] {
                assert!(matches!(put(&mut client, verb, &long, b"").code, 501 | 550 | 553), "{verb}");
            }
            for verb in ["MKD", "RMD", "DELE", "SIZE", "MDTM", "CWD", "RNFR", "MLST"] {
                say(&mut client, verb, &long).one_of(&[501, 550, 553]);
            }
            say(&mut client, "RNFR", &fits).is(350);
            say(&mut client, "RNTO", &long).one_of(&[501, 553]);
        }
        assert_eq!(kit::entries(&node.root), 4);
    });
}

#[test]
fn paths_go_as_deep_as_a_path_may_be_long() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        let mut path = Vec::new();
        // 4,095 bytes are PATH_MAX; the protocol's own limit is 4,096.
        while path.len() + 10 < 4000 {
            path.extend(b"/directory");
            say(&mut client, "MKD", &path).is(257);
        }
        say(&mut client, "CWD", &path).is(250);
        let here = client.command("PWD");
        assert!(here.text.contains(std::str::from_utf8(&path).unwrap()), "{}", here.text);
        put(&mut client, "STOR", b"file", b"deep").is(226);
        let file = [&path[..], b"/file"].concat();
        client.command("CWD /").is(250);
        assert_eq!(get(&mut client, "RETR", &file).unwrap(), b"deep");
        assert_eq!(list(&mut client, "MLSD", &path).len(), 2);
        // One level too many is an answer, not the end.
        say(&mut client, "MKD", &[&path[..], b"/", &[b'x'; 200]].concat()).one_of(&[501, 550, 553]);
        say(&mut client, "DELE", &file).is(250);
        while !path.is_empty() {
            say(&mut client, "RMD", &path).is(250);
            path.truncate(path.len() - 10);
        }
    });
}

#[test]
fn control_characters_are_refused_and_not_mirrored() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("file"), b"x").unwrap();
        let mut client = Client::ready(&node);
        for control in (1..0x20).chain([0x7f]).filter(|byte| !matches!(byte, b'\r' | b'\n')) {
            let name = [b"a", &[control][..], b"z"].concat();
            for verb in ["STOR", "RETR", "APPE", "STOU", "LIST", "NLST", "MLSD", "MLST", "STAT", "MKD", "RMD", "XMKD", "CWD", "DELE", "SIZE", "MDTM", "RNFR"] {
                refused(&mut client, verb, &name);
            }
            refused(&mut client, "MFMT", &[b"20200101000000 ", &name[..]].concat());
            refused(&mut client, "SITE", &[b"CHMOD 644 ", &name[..]].concat());
            refused(&mut client, "HELP", &name);
            say(&mut client, "RNFR", b"file").is(350);
            refused(&mut client, "RNTO", &name);
        }
        // CR NUL is how a CR is written in a name (RFC 2640 §3.1), and a bare CR does not end a line: both are control characters.
        for name in [&b"a\r\0z"[..], b"a\rz", b"a\0z", b"\0", b"\x1b[2J", b"a\xff\xf4z"] {
            client.send(&[b"MKD ", name, b"\r\n"].concat()).unwrap();
            let reply = client.reply();
            assert!(matches!(reply.code, 257 | 501), "{}", reply.text);
            assert!(!reply.text.chars().any(char::is_control), "{:?}", reply.text);
            if reply.code == 257 {
                // Telnet took the odd bytes away; what is left is a name.
                client.command("RMD az").is(250);
            }
        }
        client.command("NOOP").is(200);
        assert_eq!(kit::entries(&node.root), 1);
        log_is_clean(&node);
    });
}

#[test]
fn control_characters_in_user_names_are_not_mirrored() {
    kit::test(30, || {
        let node = Node::start();
        let mut client = Client::connect(&node, &kit::Tls::new(kit::Version::Tls13));
        client.secure();
        refused(&mut client, "USER", b"de\x1b[31mmo");
        refused(&mut client, "HOST", b"a\x07b");
        // A name that a terminal would turn around is an unknown user like any other.
        say(&mut client, "USER", "de\u{202e}mo".as_bytes()).is(331);
        client.command("PASS x").is(530);
        log_is_clean(&node);
    });
}

#[test]
fn names_with_control_characters_on_the_disk_stay_hidden() {
    kit::test(60, || {
        let node = Node::start();
        let here = node.root.join("here");
        std::fs::create_dir(&here).unwrap();
        let forged = b"x\r\n-rw-r--r--   1 ftp      ftp            1 Jan  1 00:00 forged";
        for name in [&forged[..], b"x\nforged", b"type=file;size=1; forged\r", b"\x1b[31mforged", b"tab\tforged", b"del\x7fforged", b"\x01forged"] {
            std::fs::write(at(&here, name), b"x").unwrap();
        }
        std::fs::create_dir(at(&here, b"forged\n250 directory")).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(forged), here.join("link")).unwrap();
        std::fs::write(here.join("good"), b"x").unwrap();
        let mut client = Client::ready(&node);
        for (verb, argument, lines) in [
            ("LIST", &b"here"[..], 2),
            ("LIST", b"-la here", 2),
            ("NLST", b"here", 2),
            ("NLST", b"-l here", 2),
            ("NLST", b"here/*", 2),
            ("LIST", b"here/*o*", 1),
            ("MLSD", b"here", 3),
        ] {
            let shown = list(&mut client, verb, argument);
            let text = shown.join(&b'\n');
            assert_eq!(shown.len(), lines, "{verb}: {}", String::from_utf8_lossy(&text));
            clean(&text);
        }
        let stat = client.command("STAT here");
        assert!(stat.text.contains("good") && stat.code == 213 || stat.code == 212 || stat.code == 211, "{}", stat.text);
        clean(stat.text.replace('\n', "").as_bytes());
        // What is hidden is still there: the directory is not empty, and it moves as a whole.
        client.command("DELE here/good").is(250);
        client.command("RMD here").is(550);
        client.command("RNFR here").is(350);
        client.command("RNTO there").is(250);
        assert!(at(&node.root, b"there").join(OsStr::from_bytes(forged)).exists());
        log_is_clean(&node);
    });
}

/// Each byte of a name, up to its limits and over all commands that take one.
fn round_trip(node: &Node, client: &mut Client, name: &[u8]) {
    let shown = String::from_utf8_lossy(name).into_owned();
    let bytes = random_bytes(1234);
    let stored = put(client, "STOR", name, &bytes);
    assert_eq!(stored.code, 226, "{shown:?}: {}", stored.text);
    kit::same_file(at(&node.root, name), &bytes, &shown);
    assert_eq!(say(client, "SIZE", name).text, "213 1234", "{shown:?}");
    say(client, "MDTM", name).is(213);
    assert_eq!(list(client, "NLST", b""), [name], "{shown:?}");
    let ends = |lines: Vec<Vec<u8>>| lines.len() == 1 && lines[0].ends_with(&[b" ", name].concat());
    // `-a`: names that begin with a dot are names.
    assert!(ends(list(client, "LIST", b"-a")), "LIST: {shown:?}");
    assert_eq!(list(client, "MLSD", b"").iter().filter(|line| line.ends_with(&[b" ", name].concat())).count(), 1, "MLSD: {shown:?}");
    // Blanks alone are no argument to a command that can do without one.
    let argument = !name.iter().all(|byte| *byte == b' ');
    if argument {
        let facts = say(client, "MLST", name);
        assert!(facts.text.contains(&format!(" /{shown}\n")), "MLST: {shown:?}: {}", facts.text);
    }
    if argument {
        assert!(ends(list(client, "LIST", name)), "LIST of it: {shown:?}");
        assert_eq!(list(client, "NLST", name).len(), 1, "NLST of it: {shown:?}");
    }
    assert_eq!(get(client, "RETR", name).unwrap(), bytes, "{shown:?}");
    digested(node, client, name, argument);
    assert_eq!(put(client, "APPE", name, b"more").code, 226, "{shown:?}");
    say(client, "RNFR", name).is(350);
    say(client, "RNTO", b"renamed").is(250);
    say(client, "RNFR", b"renamed").is(350);
    say(client, "RNTO", name).is(250);
    say(client, "MFMT", &[b"20200101000000 ", name].concat()).is(213);
    say(client, "SITE CHMOD 600", name).is(200);
    say(client, "DELE", name).is(250);
    assert_eq!(kit::entries(&node.root), 0, "{shown:?}");
}

/// XSHA256 takes a name in quotes, HASH and MD5 all that follows.
fn digested(node: &Node, client: &mut Client, name: &[u8], argument: bool) {
    let (value, shown) = (kit::sha256(at(&node.root, name)), String::from_utf8_lossy(name).into_owned());
    let doubled = name.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 })).collect::<Vec<u8>>();
    let quoted = [b"\"", &doubled[..], b"\""].concat();
    assert_eq!(say(client, "XSHA256", &quoted).text, format!("213 {}", value.to_uppercase()), "{shown:?}");
    if argument {
        assert_eq!(say(client, "HASH", name).text, format!("213 SHA-256 0-1234 {value} {shown}"), "{shown:?}");
        let md5 = say(client, "MD5", name).text;
        assert!(md5.starts_with(&format!("251 {shown} ")) && md5.len() == shown.len() + 37, "{shown:?}: {md5}");
    }
}

fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = TEXT.iter().map(|name| name.as_bytes().to_vec()).collect();
    names.extend(BYTES.iter().map(|name| name.to_vec()));
    names.push(vec![b'n'; 255]);
    names.push("é".repeat(127).into_bytes());
    names
}

fn refused(client: &mut Client, verb: &str, argument: &[u8]) {
    let reply = say(client, verb, argument);
    assert_eq!(reply.code, 501, "{verb} {argument:?}: {}", reply.text);
    assert!(!reply.text.chars().any(char::is_control), "{verb} {argument:?}: {:?}", reply.text);
}

fn log_is_clean(node: &Node) {
    for line in node.log() {
        clean(line.as_bytes());
    }
}

fn clean(text: &[u8]) {
    let control = text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\n');
    assert_eq!(control, None, "{:?}", String::from_utf8_lossy(text));
    let lines = text.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b"forged")).count();
    assert_eq!(lines, 0, "{:?}", String::from_utf8_lossy(text));
}

fn at(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(OsStr::from_bytes(name))
}

const TEXT: [&str; 62] = [
    "with space",
    " leading",
    "trailing ",
    "  both  ",
    " ",
    "   ",
    "two  spaces",
    "quote\"inside",
    "\"quoted\"",
    "\"",
    "\"\"",
    "single'quote",
    "back\\slash",
    "\\",
    "100%",
    "%",
    "%s%n%d",
    "%2e%2e",
    "%00",
    "%2F",
    "-la",
    "-",
    "--",
    "--help",
    "-rf *",
    "...",
    "....",
    ". .",
    ".. ",
    " ..",
    ".hidden",
    "..a",
    "a..",
    "~",
    "~root",
    "$HOME",
    "`id`",
    "$(id)",
    ";rm -rf",
    "|pipe",
    "&",
    "a:b",
    "<>",
    "*",
    "?",
    "a*b?",
    "[x]",
    "{a,b}",
    "#",
    "!",
    "^",
    "CON",
    "name.",
    "total 0",
    "226 Transfer complete",
    "type=file;size=1; x",
    "NFC é",
    "NFD e\u{301}",
    "\u{1F469}\u{200d}\u{1F469}\u{200d}\u{1F467}\u{1F3FD}",
    "\u{202e}txt.exe\u{202c}",
    "\u{feff}bom\u{85}\u{a0}\u{2028}",
    "ＦＵＬＬ／ＷＩＤＴＨ",
];
const BYTES: [&[u8]; 8] = [b"latin1 \xe9t\xe9", b"\xff", b"\xff\xfe", b"\xc0\xaf", b"\xc0\xae\xc0\xae", b"\xed\xa0\x80", b"\x80", b"cut \xf0\x9f\x8e"];
