//! What a store holds, seen from outside: its keys, values and lifetimes, by its own protocol.
//!
//! Gets: a running [`Server`]. Gives: items, and ways to spoil them. Never: a library of ours, which could hide what is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Server;

/// One value.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: String,
    pub value: Vec<u8>,
    /// Seconds that it still lives; `None`: without end.
    pub ttl: Option<u64>,
}

/// What clients of a Redis do, line by line, as long as it stands.
pub struct Monitor(Arc<Mutex<Vec<String>>>);

impl Server {
    /// All items.
    pub fn items(&self) -> Vec<Item> {
        if self.scheme() == "redis" { self.redis_items() } else { self.memcached_items() }
    }

    /// Those of one kind.
    pub fn items_of(&self, kind: &str) -> Vec<Item> {
        let part = format!(":{kind}:");
        self.items().into_iter().filter(|item| item.key.contains(&part)).collect()
    }

    /// Writes a value, to live for ten minutes.
    pub fn set(&self, key: &str, value: &[u8]) {
        if self.scheme() == "redis" {
            assert_eq!(self.ask(&[b"SET", key.as_bytes(), value, b"EX", b"600"]), [b"OK"]);
            return;
        }
        let mut reader = self.dial();
        let mut bytes = format!("set {key} 0 600 {}\r\n", value.len()).into_bytes();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
        reader.get_mut().write_all(&bytes).expect("memcached takes it");
        assert_eq!(line(&mut reader), "STORED");
    }

    /// Throws everything away.
    pub fn flush(&self) {
        if self.scheme() == "redis" {
            assert_eq!(self.cli(&["FLUSHALL"]), ["OK"]);
            return;
        }
        let mut reader = self.dial();
        reader.get_mut().write_all(b"flush_all\r\n").expect("memcached takes it");
        assert_eq!(line(&mut reader), "OK");
    }

    /// Items that it threw out because it was full.
    pub fn evictions(&self) -> u64 {
        let number = |text: &str| text.trim().parse().expect("a number");
        if self.scheme() == "redis" {
            let info = self.cli(&["INFO", "stats"]).concat();
            return info.lines().find_map(|line| line.strip_prefix("evicted_keys:")).map_or(0, number);
        }
        let mut reader = self.dial();
        reader.get_mut().write_all(b"stats\r\n").expect("memcached takes it");
        std::iter::repeat_with(|| line(&mut reader)).find_map(|line| line.strip_prefix("STAT evictions ").map(number)).unwrap_or(0)
    }

    /// One command to Redis; gives the bulk strings, numbers and words of the answer, whatever their order in lists.
    pub fn ask(&self, words: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut reader = self.dial();
        send(&mut reader, words);
        let mut all = Vec::new();
        answer(&mut reader, &mut all);
        all
    }

    /// The same in words.
    pub fn cli(&self, words: &[&str]) -> Vec<String> {
        let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask(&bytes).into_iter().map(|part| String::from_utf8_lossy(&part).into_owned()).collect()
    }

    /// What part a Redis plays: `master`, `slave`, or nothing while it does not answer. It ends all connections when its part changes.
    pub fn role(&self) -> String {
        let asked = TcpStream::connect(("127.0.0.1", self.port())).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"ROLE\r\n")?;
            // The head of the list, the length of its first word, the word.
            BufReader::new(stream).lines().nth(2).transpose()
        });
        asked.ok().flatten().unwrap_or_default()
    }

    /// Ends all other connections of a Redis that asks for this password now.
    pub fn kick(&self, password: &str) {
        let mut reader = self.dial();
        for words in [&[&b"AUTH"[..], password.as_bytes()][..], &[b"CLIENT", b"KILL", b"TYPE", b"normal"]] {
            send(&mut reader, words);
            let mut all = Vec::new();
            answer(&mut reader, &mut all);
            assert!(!all[0].starts_with(b"ERR"), "{}", String::from_utf8_lossy(&all[0]));
        }
    }

    /// Listens to all commands.
    pub fn monitor(&self) -> Monitor {
        let mut reader = self.dial();
        send(&mut reader, &[b"MONITOR"]);
        assert_eq!(line(&mut reader), "+OK");
        reader.get_ref().set_read_timeout(None).expect("no deadline: it ends with the server");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Monitor(lines)
    }

    fn redis_items(&self) -> Vec<Item> {
        let keys = self.cli(&["KEYS", "*"]);
        let item = |key: String| {
            let value = self.ask(&[b"GET", key.as_bytes()]).pop()?;
            let ttl = self.cli(&["TTL", &key]).pop()?.parse::<i64>().ok()?;
            Some(Item { key, value, ttl: u64::try_from(ttl).ok() })
        };
        keys.into_iter().filter_map(item).collect()
    }

    fn memcached_items(&self) -> Vec<Item> {
        let mut reader = self.dial();
        let mut found = BTreeMap::new();
        // The crawler steps over an item that somebody reads at that moment.
        for _ in 0..3 {
            metadump(&mut reader, &mut found);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut items = Vec::new();
        for (key, ends) in found {
            reader.get_mut().write_all(format!("get {key}\r\n").as_bytes()).expect("memcached takes it");
            let head = line(&mut reader);
            if head == "END" {
                continue;
            }
            let size: usize = head.rsplit(' ').next().and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("{head}"));
            let mut value = vec![0; size + 2];
            reader.read_exact(&mut value).expect("a value");
            value.truncate(size);
            assert_eq!(line(&mut reader), "END");
            items.push(Item { key, value, ttl: u64::try_from(ends).ok().map(|ends| ends.saturating_sub(now)) });
        }
        items
    }

    fn dial(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).expect("the server");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        BufReader::new(stream)
    }
}

impl Monitor {
    /// What was seen so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds the keys of a memcached and when they end, in Unix seconds; -1: never.
fn metadump(reader: &mut BufReader<TcpStream>, found: &mut BTreeMap<String, i64>) {
    let ask = |reader: &mut BufReader<TcpStream>| reader.get_mut().write_all(b"lru_crawler metadump all\r\n").expect("memcached takes it");
    ask(reader);
    loop {
        let line = line(reader);
        match line.split(' ').next() {
            Some("END") => return,
            // Its own crawler is at work.
            Some("BUSY") => {
                std::thread::sleep(Duration::from_millis(50));
                ask(reader);
                continue;
            }
            _ => {}
        }
        let part = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)).map(str::to_owned);
        let key = part("key=").expect("a key").replace("%3A", ":");
        found.insert(key, part("exp=").and_then(|exp| exp.parse().ok()).unwrap_or(-1));
    }
}

fn send(reader: &mut BufReader<TcpStream>, words: &[&[u8]]) {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    reader.get_mut().write_all(&bytes).expect("redis takes it");
}

/// Adds the parts of one answer (RESP 2).
fn answer(reader: &mut BufReader<TcpStream>, all: &mut Vec<Vec<u8>>) {
    let head = line(reader);
    let (kind, rest) = head.split_at(1);
    match kind {
        "*" => (0..rest.parse::<i64>().expect("a number")).for_each(|_| answer(reader, all)),
        "$" => {
            if let Ok(size) = rest.parse::<usize>() {
                let mut value = vec![0; size + 2];
                reader.read_exact(&mut value).expect("a value");
                value.truncate(size);
                all.push(value);
            }
        }
        _ => all.push(rest.as_bytes().to_vec()),
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}
