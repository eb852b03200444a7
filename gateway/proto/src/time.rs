//! Points in time in the forms of FTP, `ls` and xferlog, all UTC.
//!
//! Gets: bytes of MFMT and MDTM, times of files. Gives: a checked [`Timestamp`], appended text without allocation.
//! Never: reads a clock or a time zone. RFC 3659 §2.3 says UTC, and listings follow it.

/// A point in time: Unix seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// From Unix time; nanoseconds above 999,999,999 (a broken file system) count as that.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos: if nanos > MAX_NANOS { MAX_NANOS } else { nanos } }
    }

    /// `YYYYMMDDHHMMSS[.fraction]` (RFC 3659 §2.3), years 1970 to 9999, digits beyond nanoseconds cut off.
    ///
    /// 23:59:60 is taken as 23:59:59: the grammar allows a leap second, Unix time has none, and a client that sends back a stamp it was given must not fail.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (whole, fraction) = match bytes.iter().position(|&b| b == b'.') {
            Some(point) => (&bytes[..point], Some(&bytes[point + 1..])),
            None => (bytes, None),
        };
        let nanos = match fraction {
            Some(digits) => nanos(digits)?,
            None => 0,
        };
        (whole.len() == 14).then_some(())?;
        Some(Self { seconds: Civil::parse(whole)?.to_unix(), nanos })
    }

    /// `YYYYMMDDhhmm` or `YYYYMMDDhhmmss`, as SITE UTIME has it.
    pub fn parse_utime(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 12 | 14).then_some(())?;
        Some(Self { seconds: Civil::parse(bytes)?.to_unix(), nanos: 0 })
    }

    /// Appends `YYYYMMDDHHMMSS`, the form every client of MDTM and MLSD reads. Years outside of 0 to 9999 are shown as the nearest one.
    pub fn write(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        let text = &mut [0_u8; 14];
        text[..2].copy_from_slice(&two(civil.year / 100));
        text[2..4].copy_from_slice(&two(civil.year % 100));
        for (index, part) in [civil.month, civil.day, civil.hour, civil.minute, civil.second].into_iter().enumerate() {
            text[4 + 2 * index..6 + 2 * index].copy_from_slice(&two(part));
        }
        out.extend_from_slice(text);
    }

    /// As [`Timestamp::write`], with all nine digits of the fraction when there is one.
    pub fn write_precise(self, out: &mut Vec<u8>) {
        self.write(out);
        if self.nanos > 0 {
            let mut digits = *b".000000000";
            let mut rest = self.nanos;
            for digit in digits[1..].iter_mut().rev() {
                *digit = digit_of(rest % 10);
                rest /= 10;
            }
            out.extend_from_slice(&digits);
        }
    }

    /// Appends `Nov 20 12:03`, or `Nov 20  2024` when that is more than half a year before `now` or after it, as `ls -l` does.
    pub fn write_ls(self, now: Self, out: &mut Vec<u8>) {
        let civil = self.civil();
        let mut text = *b"Nov 20 12:03";
        text[..3].copy_from_slice(month(civil));
        text[4..6].copy_from_slice(&two(civil.day));
        if civil.day < 10 {
            text[4] = b' ';
        }
        let age = now.seconds.saturating_sub(self.seconds);
        if (-CLOCK_SKEW..HALF_A_YEAR).contains(&age) {
            text[7..9].copy_from_slice(&two(civil.hour));
            text[10..].copy_from_slice(&two(civil.minute));
        } else {
            text[7] = b' ';
            text[8..10].copy_from_slice(&two(civil.year / 100));
            text[10..].copy_from_slice(&two(civil.year % 100));
        }
        out.extend_from_slice(&text);
    }

    /// Appends `Fri Nov 20 12:03:39 2026`, the first field of xferlog(5).
    pub fn write_xferlog(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        let mut text = *b"Fri Nov 20 12:03:39 2026";
        text[..3].copy_from_slice(WEEKDAYS[civil.weekday() as usize]);
        text[4..7].copy_from_slice(month(civil));
        text[8..10].copy_from_slice(&two(civil.day));
        if civil.day < 10 {
            text[8] = b' ';
        }
        for (at, part) in [(11, civil.hour), (14, civil.minute), (17, civil.second), (20, civil.year / 100), (22, civil.year % 100)] {
            text[at..at + 2].copy_from_slice(&two(part));
        }
        out.extend_from_slice(&text);
    }

    fn civil(self) -> Civil {
        Civil::from_unix(self.seconds.clamp(YEAR_0, END_OF_9999))
    }
}

/// A point in time as a calendar shows it (UTC, Gregorian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// Digits in pairs: century, year, month, day, hour, minute and perhaps second.
    fn parse(digits: &[u8]) -> Option<Self> {
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let pair = |index: usize| digits.get(2 * index..2 * index + 2).map_or(0, |two| u32::from(two[0] - b'0') * 10 + u32::from(two[1] - b'0'));
        let mut civil = Self { year: pair(0) * 100 + pair(1), month: pair(2), day: pair(3), hour: pair(4), minute: pair(5), second: pair(6) };
        if civil.second == 60 && civil.hour == 23 && civil.minute == 59 {
            civil.second = 59;
        }
        let valid = (1970..=9999).contains(&civil.year)
            && (1..=12).contains(&civil.month)
            && (1..=days_in(civil.year, civil.month)).contains(&civil.day)
            && civil.hour < 24
            && civil.minute < 60
            && civil.second < 60;
        valid.then_some(civil)
    }

    /// Days since 1970-01-01 by eras of 400 years that start in March, so that the leap day is the last (Hinnant, days_from_civil).
    fn to_unix(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = i64::from((153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1);
        let days = era * DAYS_OF_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH;
        days * DAY + i64::from(self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// The reverse; `seconds` lies within the years 0 to 9999.
    fn from_unix(seconds: i64) -> Self {
        let (day, of_day) = (seconds.div_euclid(DAY) + EPOCH, seconds.rem_euclid(DAY) as u32);
        let (era, day_of_era) = (day.div_euclid(DAYS_OF_ERA), day.rem_euclid(DAYS_OF_ERA));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = (day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100)) as u32;
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = (year_of_era + era * 400 + i64::from(month <= 2)) as u32;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        Self { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }

    /// 0 is Sunday.
    fn weekday(self) -> u32 {
        (self.to_unix().div_euclid(DAY) + 4).rem_euclid(7) as u32
    }
}

const fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The digits after the point, at least one.
fn nanos(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// The last two decimal digits.
const fn two(number: u32) -> [u8; 2] {
    [digit_of(number / 10 % 10), digit_of(number % 10)]
}

const fn digit_of(number: u32) -> u8 {
    b'0' + number as u8
}

fn month(civil: Civil) -> &'static [u8; 3] {
    MONTHS[(civil.month - 1) as usize]
}

const MONTHS: [&[u8; 3]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MAX_NANOS: u32 = 999_999_999;
const DAY: i64 = 86_400;
const DAYS_OF_ERA: i64 = 146_097;
/// 1970-01-01 in days since 0000-03-01.
const EPOCH: i64 = 719_468;
/// 0000-01-01 00:00:00.
const YEAR_0: i64 = -62_167_219_200;
/// 9999-12-31 23:59:59.
const END_OF_9999: i64 = 253_402_300_799;
/// Half of a mean Gregorian year, as in coreutils' ls.
const HALF_A_YEAR: i64 = 31_556_952 / 2;
/// A file server's clock may be ahead of ours by this without its new files losing their time of day.
const CLOCK_SKEW: i64 = 60;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_and_writes_the_same_bytes() {
        for (bytes, seconds, nanos) in [
            ("19700101000000", 0, 0),
            ("20000229235959", 951_868_799, 0),
            ("20240229120000", 1_709_208_000, 0),
            ("20261120120339", 1_795_176_219, 0),
            ("20380119031408", 2_147_483_648, 0),
            ("99991231235959", END_OF_9999, 0),
            ("20261120120339.500000000", 1_795_176_219, 500_000_000),
            ("20261120120339.000000001", 1_795_176_219, 1),
        ] {
            let time = Timestamp::parse(bytes.as_bytes()).unwrap();
            assert_eq!((time.seconds, time.nanos), (seconds, nanos), "{bytes}");
            assert_eq!(text(|out| time.write_precise(out)), bytes);
            assert_eq!(text(|out| time.write(out)), bytes[..14]);
        }
    }

    #[test]
    fn refuses_what_no_calendar_has() {
        for bytes in [
            "",
            "2026112012033",
            "202611201203399",
            "20261120120339.",
            "20261120120339.5x",
            "20261120120339 ",
            "+0261120120339",
            "2026112012033a",
            "19691231235959",
            "20260001000000",
            "20261301000000",
            "20260100000000",
            "20260132000000",
            "20260229000000",
            "21000229000000",
            "20260431000000",
            "20260101240000",
            "20260101006000",
            "20260101000060",
            "20260101120060",
            "20260101235961",
            ".5",
            "２０２６",
        ] {
            assert_eq!(Timestamp::parse(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn takes_short_fractions_long_ones_and_the_leap_second() {
        for (bytes, seconds, nanos) in
            [("19700101000001.5", 1, 500_000_000), ("19700101000001.1234567899", 1, 123_456_789), ("20161231235960", 1_483_228_799, 0)]
        {
            assert_eq!(Timestamp::parse(bytes.as_bytes()), Some(Timestamp { seconds, nanos }), "{bytes}");
        }
    }

    #[test]
    fn reads_both_lengths_of_utime() {
        assert_eq!(Timestamp::parse_utime(b"197001010001"), Some(Timestamp { seconds: 60, nanos: 0 }));
        assert_eq!(Timestamp::parse_utime(b"19700101000102"), Some(Timestamp { seconds: 62, nanos: 0 }));
        for bytes in ["", "1970010100010", "197001010001.5", "197013010001"] {
            assert_eq!(Timestamp::parse_utime(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn every_day_of_four_hundred_years_comes_back() {
        let mut previous = Civil::from_unix(-DAY);
        for day in 0..DAYS_OF_ERA {
            let civil = Civil::from_unix(day * DAY + 43_210);
            assert_eq!(civil.to_unix(), day * DAY + 43_210);
            let next = previous.day + 1 == civil.day || civil.day == 1 && previous.day == days_in(previous.year, previous.month);
            assert!(next && civil.day <= days_in(civil.year, civil.month), "{previous:?} {civil:?}");
            previous = civil;
        }
    }

    #[test]
    fn ls_shows_time_of_day_for_half_a_year() {
        let now = Timestamp::parse(b"20261120120339").unwrap();
        for (time, shown) in [
            ("20261120120339", "Nov 20 12:03"),
            ("20261120120438", "Nov 20 12:04"),
            ("20261120120440", "Nov 20  2026"),
            ("20261105000000", "Nov  5 00:00"),
            ("20260522000000", "May 22 00:00"),
            ("20260521000000", "May 21  2026"),
            ("20241120120339", "Nov 20  2024"),
            ("19700101000000", "Jan  1  1970"),
            ("99991231235959", "Dec 31  9999"),
        ] {
            let time = Timestamp::parse(time.as_bytes()).unwrap();
            assert_eq!(text(|out| time.write_ls(now, out)), shown);
        }
    }

    #[test]
    fn xferlog_has_the_weekday() {
        for (time, shown) in
            [("20261120120339", "Fri Nov 20 12:03:39 2026"), ("19700101000000", "Thu Jan  1 00:00:00 1970"), ("20000229010203", "Tue Feb 29 01:02:03 2000")]
        {
            assert_eq!(text(|out| Timestamp::parse(time.as_bytes()).unwrap().write_xferlog(out)), shown);
        }
    }

    #[test]
    fn times_of_a_broken_file_system_stay_within_four_digits() {
        for (seconds, shown) in [(i64::MIN, "00000101000000"), (i64::MAX, "99991231235959"), (-1, "19691231235959")] {
            assert_eq!(text(|out| Timestamp::from_unix(seconds, u32::MAX).write(out)), shown);
            assert_eq!(text(|out| Timestamp::from_unix(seconds, 0).write_ls(Timestamp::default(), out)).len(), 12);
            assert_eq!(text(|out| Timestamp::from_unix(seconds, 0).write_xferlog(out)).len(), 24);
        }
    }
}
