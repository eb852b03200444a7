//! Points in time in FTP's form (RFC 3659 §2.3).

/// A point in time: Unix seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}
