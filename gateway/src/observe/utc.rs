//! Points in time for logs and JSON: RFC 3339 in UTC with milliseconds.
//!
//! Gets: the system's clock as a `SystemTime`. Gives: `2026-03-01T09:30:00.125Z`.
//! Never: a local time zone; a node's logs are read beside those of other nodes.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time as RFC 3339 writes it. Times before 1970 are shown as 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(pub SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (age.as_secs() / DAY, age.as_secs() % DAY);
        let (year, month, day) = date(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", second % 60, age.subsec_millis())
    }
}

impl Utc {
    /// From `2026-03-01T09:30:00Z`, with or without a fraction, from 1970 on.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let numbers =
            |text: &str, by: char| text.split(by).map(|part| if part.len() <= 4 { part.parse::<u64>().ok() } else { None }).collect::<Option<Vec<_>>>();
        let ([year, month, day], [hour, minute, second]) = (<[u64; 3]>::try_from(numbers(date, '-')?).ok()?, <[u64; 3]>::try_from(numbers(clock, ':')?).ok()?);
        let possible = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        let millis = format!("{:0<3}", fraction.get(..fraction.len().min(3))?).parse::<u64>().ok()?;
        let days = possible.then(|| days(year, month, day))?;
        UNIX_EPOCH.checked_add(Duration::from_millis(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis)).map(Self)
    }

    /// As ctime(3) writes it, without the line feed: `Thu Apr  8 15:45:02 2004`.
    pub(super) fn in_words(self) -> String {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let (days, second) = (seconds / DAY, seconds % DAY);
        let (year, month, day) = date(days);
        // 1970 began on a Thursday.
        let word = |words: &'static str, place: u64| words.split(' ').nth(usize::try_from(place).unwrap_or(0)).unwrap_or_default();
        let (weekday, month) = (word("Thu Fri Sat Sun Mon Tue Wed", days % 7), word("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", month - 1));
        format!("{weekday} {month} {day:2} {:02}:{:02}:{:02} {year:04}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// Year, month and day of a number of days after 1970-01-01 (Howard Hinnant's `civil_from_days`, for days from 1970 on: years begin in March, eras have 400).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The days from 1970-01-01 to a date: the way back of [`date`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        for millis in [0, 951_782_400_000, 1_709_251_199_999, 4_107_542_400_000, 68_169_599_000, 68_169_600_000] {
            let time = Utc(UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(Utc::parse(&time.to_string()), Some(time));
        }
        assert_eq!(Utc::parse("1970-01-02T00:00:00Z"), Some(Utc(UNIX_EPOCH + Duration::from_secs(DAY))));
        for text in ["", "1970-01-01", "1969-12-31T23:59:59Z", "1970-13-01T00:00:00Z", "1970-01-01T00:00Z", "1970-01-01T00:00:00", "x-01-01T00:00:00Z"] {
            assert_eq!(Utc::parse(text), None, "{text}");
        }
    }

    #[test]
    fn known_points_in_time() {
        let shown = |millis| Utc(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(shown(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(Utc(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
