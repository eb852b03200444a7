//! The log of the process: its levels by room, its lines from events and from `tracing`, and the `ready` line.
//!
//! Gets: [`LogConfig`], events through [`LogSink`](super::log_sink::LogSink), `tracing` lines of rooms and libraries. Gives: lines on stdout.
//! Never: blocks, interleaves lines, or logs what its level forbids.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

use super::line::{Head, Line};
use super::output::Output;
use super::trace::Bridge;
use super::utc::Utc;
use super::{LogConfig, LogFormat, LogLevel};

/// Starts the log on stdout and takes the lines of `tracing`. Once in a process: a second one works, but `tracing` stays with the first.
///
/// # Errors
/// The thread that writes cannot be started.
pub fn init(config: &LogConfig) -> io::Result<LogHandle> {
    let handle = LogHandle::new(config, io::stdout())?;
    // Fails when a subscriber is there already, as in a process of tests.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Bridge(handle.clone())));
    Ok(handle)
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle(Arc<Shared>);

struct Shared {
    format: LogFormat,
    levels: ArcSwap<Levels>,
    output: Arc<Output>,
}

/// Where a node listens, as its `ready` line says: tests and people read port 0's true value here.
#[derive(Clone, Debug)]
pub struct Ready<'a> {
    /// `node.name`.
    pub node: &'a str,
    /// Explicit listeners.
    pub explicit: &'a [SocketAddr],
    /// Implicit listeners.
    pub implicit: &'a [SocketAddr],
    /// The HTTP sidecar.
    pub admin: SocketAddr,
    /// `listen.metrics`, if it is on.
    pub metrics: Option<SocketAddr>,
    /// `listen.peer`, if the node has peers.
    pub peer: Option<SocketAddr>,
    /// The passive ports.
    pub data_ports: &'a [u16],
}

impl LogHandle {
    /// A log that is written to `writer`.
    pub(super) fn new(config: &LogConfig, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let levels = ArcSwap::from_pointee(Levels::from(&*config.level));
        Ok(Self(Arc::new(Shared { format: config.format, levels, output: Output::start(writer)? })))
    }

    /// Takes the levels of a configuration that was read again. Its format acts at the next start.
    pub fn set_levels(&self, config: &LogConfig) {
        self.set_to(&config.level);
    }

    /// Takes levels: of rooms, and of all others.
    pub fn set_to(&self, levels: &[(Option<String>, LogLevel)]) {
        self.0.levels.store(Arc::new(Levels::from(levels)));
        // What `tracing` remembers of each call's level is no longer true.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether lines of this level in this room (`tls`, `data`, `storage`, …) are written.
    pub fn enabled(&self, room: &str, level: LogLevel) -> bool {
        level <= self.0.levels.load().of(room)
    }

    /// Says that the node serves, and where. In text: `ready node=… explicit=A,B implicit=A|off admin=A metrics=A|off peer=A|off data_ports=50000-50007,50010`.
    /// In JSON: an object with `"event":"ready"` and the same names; lists are arrays, ports numbers, `metrics` and `peer` may be null. Whatever the level is.
    pub fn ready(&self, at: &Ready<'_>) {
        let line = match self.0.format {
            LogFormat::Text => format!(
                "ready node={} explicit={} implicit={} admin={} metrics={} peer={} data_ports={}\n",
                at.node,
                list(at.explicit),
                list(at.implicit),
                at.admin,
                list(at.metrics.as_slice()),
                list(at.peer.as_slice()),
                ranges(at.data_ports)
            ),
            LogFormat::Json => {
                let object = json!({
                    "time": Utc(SystemTime::now()).to_string(), "level": "info", "room": "node", "message": "ready", "event": "ready", "node": at.node,
                    "explicit": at.explicit, "implicit": at.implicit, "admin": at.admin, "metrics": at.metrics, "peer": at.peer, "data_ports": at.data_ports,
                });
                format!("{object}\n")
            }
        };
        self.0.output.line(&line);
    }

    /// Writes words for a person, as they are: the banner of the quick start.
    pub fn say(&self, text: &str) {
        self.0.output.line(text);
    }

    /// Lines that were dropped so far, because nobody read them fast enough: `log_dropped_total`.
    pub fn dropped(&self) -> u64 {
        self.0.output.dropped()
    }

    /// Waits until all lines are written, at most one second. The last thing before the process ends.
    pub fn flush(&self) {
        self.0.output.flush(Duration::from_secs(1));
    }

    /// The level up to which a room's lines are written; the most talkative room's for `None`.
    pub(super) fn level(&self, room: Option<&str>) -> LogLevel {
        let levels = self.0.levels.load();
        room.map_or_else(|| levels.most(), |room| levels.of(room))
    }

    /// A line of now, to be filled and given to [`LogHandle::write`].
    pub(super) fn line(&self, level: LogLevel, room: &str, session: Option<&dyn fmt::Display>, message: &str) -> Line {
        Line::new(self.0.format, &Head { time: SystemTime::now(), level, room, session, message })
    }

    /// Writes a line.
    pub(super) fn write(&self, line: Line) {
        self.0.output.line(&line.end());
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHandle")
    }
}

/// `log.level`: rooms that are named, and all others.
struct Levels {
    default: LogLevel,
    rooms: Vec<(String, LogLevel)>,
}

impl Levels {
    /// The level of a room.
    fn of(&self, room: &str) -> LogLevel {
        self.rooms.iter().find(|(name, _)| name == room).map_or(self.default, |(_, level)| *level)
    }

    fn most(&self) -> LogLevel {
        self.rooms.iter().map(|(_, level)| *level).fold(self.default, LogLevel::max)
    }
}

impl From<&[(Option<String>, LogLevel)]> for Levels {
    fn from(level: &[(Option<String>, LogLevel)]) -> Self {
        let default = level.iter().find(|(room, _)| room.is_none()).map_or(LogLevel::Info, |(_, level)| *level);
        let rooms = level.iter().filter_map(|(room, level)| Some((room.clone()?, *level))).collect();
        Self { default, rooms }
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "off".into();
    }
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

/// Neighbouring ports as `first-last`.
fn ranges(ports: &[u16]) -> String {
    let neighbours = |one: &u16, next: &u16| one.checked_add(1) == Some(*next);
    let range = |run: &[u16]| match run {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    };
    if ports.is_empty() {
        return "off".into();
    }
    ports.chunk_by(neighbours).map(range).collect::<Vec<_>>().join(",")
}

/// Rooms whose log level may be set: the modules of this crate.
pub const ROOMS: &[&str] = &[
    "admin", "auth", "bans", "cli", "cluster", "config", "conn", "data", "digest", "limits", "live", "net", "node", "observe", "pipeline", "session",
    "storage", "tls",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::output::tests::Paper;
    use super::*;

    fn log(format: LogFormat, level: &[(Option<&str>, LogLevel)]) -> (LogHandle, Paper) {
        let paper = Paper::default();
        let level = level.iter().map(|(room, level)| (room.map(String::from), *level)).collect();
        (LogHandle::new(&LogConfig { format, level, transfer_log: None, audit: None }, paper.clone()).unwrap(), paper)
    }

    fn ready() -> (Vec<SocketAddr>, Vec<u16>) {
        (vec!["127.0.0.1:2121".parse().unwrap(), "[::1]:2121".parse().unwrap()], vec![50_000, 50_001, 50_002, 50_010])
    }

    #[test]
    fn the_ready_line_in_text() {
        let (explicit, data_ports) = ready();
        let (handle, paper) = log(LogFormat::Text, &[(None, LogLevel::Off)]);
        let admin = "127.0.0.1:7122".parse().unwrap();
        handle.ready(&Ready { node: "n1", explicit: &explicit, implicit: &[], admin, metrics: None, peer: None, data_ports: &data_ports });
        handle.flush();
        assert_eq!(
            paper.text(),
            "ready node=n1 explicit=127.0.0.1:2121,[::1]:2121 implicit=off admin=127.0.0.1:7122 metrics=off peer=off data_ports=50000-50002,50010\n"
        );
    }

    #[test]
    fn the_ready_line_in_json() {
        let (explicit, data_ports) = ready();
        let (handle, paper) = log(LogFormat::Json, &[]);
        let admin = "127.0.0.1:7122".parse().unwrap();
        handle.ready(&Ready { node: "n1", explicit: &explicit, implicit: &[], admin, metrics: Some(admin), peer: None, data_ports: &data_ports });
        handle.flush();
        let value: serde_json::Value = serde_json::from_str(&paper.text()).unwrap();
        assert_eq!(
            (value["event"].as_str(), value["admin"].as_str(), value["metrics"].as_str()),
            (Some("ready"), Some("127.0.0.1:7122"), Some("127.0.0.1:7122"))
        );
        assert_eq!(value["explicit"], json!(["127.0.0.1:2121", "[::1]:2121"]));
        assert_eq!((&value["implicit"], &value["data_ports"]), (&json!([]), &json!([50_000, 50_001, 50_002, 50_010])));
    }

    #[test]
    fn levels_are_by_room_and_can_be_changed() {
        let (handle, _) = log(LogFormat::Text, &[(None, LogLevel::Warn), (Some("tls"), LogLevel::Trace), (Some("data"), LogLevel::Off)]);
        assert!(handle.enabled("tls", LogLevel::Trace) && handle.enabled("session", LogLevel::Warn));
        assert!(!handle.enabled("session", LogLevel::Info) && !handle.enabled("data", LogLevel::Error));
        handle.set_levels(&LogConfig { format: LogFormat::Text, level: vec![(None, LogLevel::Debug)], transfer_log: None, audit: None });
        assert!(handle.enabled("session", LogLevel::Debug) && handle.enabled("data", LogLevel::Error) && !handle.enabled("tls", LogLevel::Trace));
    }

    #[test]
    fn lines_of_tracing_have_their_room_their_session_and_their_fields() {
        let (handle, paper) = log(LogFormat::Json, &[(None, LogLevel::Debug), (Some("storage"), LogLevel::Warn)]);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Bridge(handle.clone())), || {
            let session = tracing::info_span!(target: "ftps_gateway::session", "session", session = "s_1", peer = "203.0.113.7:1");
            let _inside = session.enter();
            tracing::debug!(target: "ftps_gateway::tls::tickets", key = 7_u64, share = f64::NAN, peer = "own", message = "sealed\n", time = "forged");
            tracing::info!(target: "ftps_gateway::storage", "not this one");
            tracing::info!(target: "hyper::proto", "nor that of a library");
            tracing::warn!(target: "hyper::proto", error = ?Some("x"), "but its warning");
        });
        handle.flush();
        let text = paper.text();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((lines[0]["room"].as_str(), lines[0]["session"].as_str(), lines[0]["message"].as_str()), (Some("tls"), Some("s_1"), Some("sealed\n")));
        assert_eq!((lines[0]["key"].as_u64(), lines[0]["peer"].as_str(), lines[0]["share"].as_str()), (Some(7), Some("own"), Some("NaN")));
        assert_eq!(text.matches("\"peer\"").count(), 2, "a field of a span gives way to the line's own: {text}");
        assert_eq!((lines[0]["field_time"].as_str(), lines[1]["room"].as_str()), (Some("forged"), Some("hyper")));
        assert_eq!(lines[1]["error"], "Some(\"x\")");
    }
}
