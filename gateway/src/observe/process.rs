//! What the kernel says about this process: CPU, memory, descriptors, threads; under the names every Prometheus client uses.
//!
//! Gets: `/proc/self`. Gives: `process_*` metrics, read at each scrape.
//! Never: fails; what cannot be read keeps its last value (a container may hide `/proc`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge};
use rustix::process::Resource;

use super::family::Maker;

/// What `build_info` says.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// The revision it was built from, or `unknown`.
    pub revision: &'a str,
    /// The compiler it was built with, or `unknown`.
    pub rustc: &'a str,
}

impl Default for Build<'static> {
    /// What was said when this crate was compiled: `FTPS_GATEWAY_REVISION` and `FTPS_GATEWAY_RUSTC` in its environment.
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("FTPS_GATEWAY_REVISION").unwrap_or("unknown"),
            rustc: option_env!("FTPS_GATEWAY_RUSTC").unwrap_or("unknown"),
        }
    }
}

/// The `process_*` metrics.
pub(super) struct Process {
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    descriptors: Gauge,
    max_descriptors: Gauge,
    threads: Gauge,
}

impl Process {
    /// Registers them and reads what never changes.
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let start = make.plain_gauge("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds.");
        start.set(start_time().unwrap_or_else(now));
        let process = Self {
            cpu: make.plain_counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
            resident: make.plain_gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
            virtual_memory: make.plain_gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
            descriptors: make.plain_gauge("process_open_fds", "Number of open file descriptors."),
            max_descriptors: make.plain_gauge("process_max_fds", "Maximum number of open file descriptors."),
            threads: make.plain_gauge("process_threads", "Number of threads of the process."),
        };
        process.read();
        process
    }

    /// Reads them again. One caller at a time: the counter is moved by a difference.
    pub(super) fn read(&self) {
        if let Some(stat) = Stat::read() {
            self.cpu.inc_by((stat.cpu - self.cpu.get()).max(0.0));
            self.resident.set(stat.resident);
            self.virtual_memory.set(stat.virtual_memory);
            self.threads.set(stat.threads);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // The descriptor of this very listing is one too many.
            self.descriptors.set(entries.count().saturating_sub(1) as f64);
        }
        // No limit: as large as it gets, so that "used / limit" stays 0.
        self.max_descriptors.set(rustix::process::getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64));
    }
}

/// The fields of `/proc/self/stat` that are of use here (proc(5)).
struct Stat {
    cpu: f64,
    threads: f64,
    /// Ticks after boot.
    started: f64,
    virtual_memory: f64,
    resident: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets and may hold anything, spaces and brackets too.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let number = |field: usize| fields.get(field - FIRST).and_then(|text| text.parse::<f64>().ok());
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu: (number(14)? + number(15)?) / ticks,
            threads: number(20)?,
            started: number(22)? / ticks,
            virtual_memory: number(23)?,
            resident: number(24)? * rustix::param::page_size() as f64,
        })
    }
}

fn start_time() -> Option<f64> {
    let started = Stat::read()?.started;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + started)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// Number, in proc(5), of the first field after the name.
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_program_name_with_brackets_and_spaces_is_skipped() {
        let text = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 12 18 1000 4096 3 20";
        let stat = Stat::parse(text).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((stat.cpu, stat.threads, stat.started), (300.0 / ticks, 12.0, 1000.0 / ticks));
        assert_eq!((stat.virtual_memory, stat.resident), (4096.0, 3.0 * rustix::param::page_size() as f64));
        assert!(Stat::parse("no brackets").is_none());
    }

    #[test]
    fn this_process_has_memory_threads_and_a_start() {
        let stat = Stat::read().unwrap();
        assert!(stat.resident > 0.0 && stat.threads >= 1.0);
        assert!((start_time().unwrap() - now()).abs() < 3600.0 * 24.0);
    }
}
