//! What a ban costs: the look-up at the door, memory, and the bytes of a million of them.
//!
//! Gets: a book of 1,000,000 random IPv4 hosts and 10,000 random networks. Gives: times and sizes on standard output.
//! Never: a verdict; figures of one machine are for notes, not for tests.
#![allow(clippy::print_stdout, reason = "figures are all it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftps_gateway::bans::{Ban, Book, Change, NEVER, Target, decode, encode};
use ftps_gateway::observe::event::BanSource;
use ftps_gateway::observe::id::BanId;
use ipnet::{IpNet, Ipv4Net};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

fn ban(target: Target) -> Change {
    let text = |text: &str| Arc::<str>::from(text);
    let (reason, author, evidence, message) = (text("list of a neighbour"), text("ops"), text(""), text(""));
    Change::Ban(Arc::new(Ban { id: BanId::now(), target, source: BanSource::Admin, reason, author, evidence, message, created: 1, ends: NEVER }))
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    (text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096) >> 20
}

fn timed(what: &str, count: u32, each: impl FnOnce()) {
    let begun = Instant::now();
    each();
    let took = begun.elapsed();
    println!("{what}: {} ms, {} ns each", took.as_millis(), (took / count.max(1)).as_nanos());
}

fn main() {
    let mut random = Random(7);
    let hosts: Vec<Change> = (0..1_000_000).map(|_| ban(Target::host(IpAddr::V4(Ipv4Addr::from_bits(random.next()))))).collect();
    let nets = (0..10_000_u32).map(|number| {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(random.next()), 17 + u8::try_from(number % 15).unwrap_or(0)).unwrap_or_default();
        ban(Target::Network(IpNet::V4(net.trunc())))
    });
    let changes: Vec<Change> = hosts.into_iter().chain(nets).collect();
    let before = resident();
    let batches = encode(&changes, 256 * 1024);
    println!("as bytes: {} MiB in {} batches", batches.iter().map(Vec::len).sum::<usize>() >> 20, batches.len());
    drop(changes);
    let mut book = Book::new(1_000_000);
    timed("read and merged, as from a journal", 1_010_000, || {
        for batch in &batches {
            decode(batch).changes.iter().for_each(|change| _ = book.merge(change, 1));
        }
    });
    println!(
        "{:?}; resident {} MiB (with the {} MiB of bytes; {before} MiB when there were changes only)",
        book.counts(),
        resident(),
        batches.iter().map(Vec::len).sum::<usize>() >> 20
    );
    for (what, within) in [("a look-up that finds nothing or a network", false), ("a look-up of a banned host", true)] {
        let known: Vec<IpAddr> =
            book.bans().filter_map(|ban| if let Target::Network(net) = &ban.target { Some(net.addr()) } else { None }).take(1_000_000).collect();
        let addresses: Vec<IpAddr> =
            (0..1_000_000).map(|number| if within { known[(number * 7919) % known.len()] } else { IpAddr::V4(Ipv4Addr::from_bits(random.next())) }).collect();
        let mut slowest = Duration::ZERO;
        timed(what, 1_000_000, || {
            for part in addresses.chunks(1000) {
                let begun = Instant::now();
                part.iter().for_each(|ip| _ = black_box(book.of_address(*ip, 2)));
                slowest = slowest.max(begun.elapsed() / 1000);
            }
        });
        println!("  the slowest thousand: {} ns each", slowest.as_nanos());
    }
}
