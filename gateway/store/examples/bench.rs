//! Measures stores: `cargo run --release -p ftps-store --example bench -- redis://127.0.0.1:6379 memcached://127.0.0.1:11211 shm:///dev/shm/bench?size=64MiB memory:`.
//!
//! Gets: URLs. Gives: for put and get, with one and with 64 operations under way: operations a second, median and 99th percentile.
//! Never: touches keys of a gateway; what it writes ends after a minute.
#![allow(clippy::print_stdout, reason = "its output is a table")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ftps_store::error::Failure;
use ftps_store::location::Location;
use ftps_store::report::{Silent, Tier};
use ftps_store::store::{Options, Store, TlsFiles};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let line =
        |cells: [String; 7]| println!("{:<12} {:<5} {:>9} {:>11} {:>10} {:>10} {:>9}", cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]);
    line(["backend", "what", "in flight", "a second", "median us", "p99 us", "dropped"].map(str::to_owned));
    for url in std::env::args().skip(1) {
        let location = Location::parse(&url)?;
        let options =
            Options { timeout: Duration::from_secs(2), state_dir: std::env::temp_dir(), tls: TlsFiles::default(), report: Arc::new(Silent), tier: Tier::Main };
        let store = Arc::new(Store::open(&location, &options)?);
        if !store.wait_up(Duration::from_secs(5)).await {
            return Err(format!("{url} does not answer").into());
        }
        for what in ["put", "get"] {
            for tasks in [1, 64] {
                let measured = measure(&store, what == "put", tasks).await?;
                let [rate, median, high, dropped] = measured.map(|number| format!("{number:.0}"));
                line([store.kind().word().to_owned(), what.to_owned(), tasks.to_string(), rate, median, high, dropped]);
            }
        }
    }
    Ok(())
}

/// Operations a second, median and 99th percentile in µs, and writes that were dropped because a part of the segment was locked for 5 ms.
async fn measure(store: &Arc<Store>, put: bool, tasks: usize) -> Result<[f64; 4], Box<dyn Error>> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let work: tokio::task::JoinSet<_> = (0..tasks)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            async move {
                let (mut times, mut dropped) = (Vec::new(), 0_u32);
                while began.elapsed() < TIME {
                    let key = format!("ftps-gateway-bench:{}", next.fetch_add(1, Ordering::Relaxed) % KEYS);
                    let at = Instant::now();
                    let done = if put { store.put(&key, &[7; VALUE], Some(LIFE)).await } else { store.get(&key).await.map(drop) };
                    match done {
                        Err(error) if error.failure == Failure::Busy => dropped += 1,
                        done => done.map_err(|error| error.to_string())?,
                    }
                    times.push(at.elapsed());
                }
                Ok::<_, String>((times, dropped))
            }
        })
        .collect();
    let (mut times, mut dropped) = (Vec::new(), 0_u32);
    for one in work.join_all().await {
        let (its, lost) = one?;
        times.extend(its);
        dropped += lost;
    }
    let took = began.elapsed();
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    Ok([times.len() as f64 / took.as_secs_f64(), at(50), at(99), f64::from(dropped)])
}

/// A sealed TLS 1.2 session without a client certificate.
const VALUE: usize = 200;
const KEYS: usize = 10_000;
const LIFE: Duration = Duration::from_secs(60);
/// Of each measurement.
const TIME: Duration = Duration::from_secs(3);
