//! Points in time, as the API writes and reads them.
//!
//! Gets: the system's clock, RFC 3339 in UTC. Gives: text, points in time.
//! Never: a local time zone.

use std::time::{Duration, Instant, SystemTime};

use crate::auth::parse_expiry;
use crate::observe::utc::Utc;

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn shown(time: SystemTime) -> String {
    Utc(time).to_string()
}

/// When something that began at `since` began.
pub(super) fn began(since: Instant) -> String {
    let now = SystemTime::now();
    shown(now.checked_sub(since.elapsed()).unwrap_or(now))
}

/// A time in Unix seconds.
pub(super) fn unix(seconds: i64) -> String {
    shown(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `2027-01-31`, `2027-01-31T12:00:00Z`, also with a fraction of a second.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let Some((whole, fraction)) = text.strip_suffix('Z').and_then(|text| text.split_once('.')) else { return parse_expiry(text) };
    let digits = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let millis: u64 = if digits { format!("{fraction:0<3}")[..3].parse().ok()? } else { return None };
    Some(parse_expiry(&format!("{whole}Z"))? + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_125);
        assert_eq!(parse(&shown(time)), Some(time));
        assert_eq!(parse("2027-01-15T08:00:00Z").map(shown), Some("2027-01-15T08:00:00.000Z".into()));
        for wrong in ["", "yesterday", "2027-01-15T08:00:00", "2027-01-15T08:00:00.Z", "2027-01-15T08:00:00.x1Z", "2027-13-15T08:00:00.1Z"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
