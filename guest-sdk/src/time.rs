//! Points in time and days, in UTC, and how they are written. Reading them is in [`crate::timestamp`].

use std::fmt;

const MICROS: i64 = 1_000_000;

/// Microseconds since 1970-01-01T00:00:00Z. Displayed as ISO 8601.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// Days since 1970-01-01. Displayed as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date(pub i32);

impl Timestamp {
    /// Before everything: a watermark that knows nothing yet.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// One second in microseconds.
    pub const SECOND: i64 = MICROS;
    /// One minute in microseconds.
    pub const MINUTE: i64 = 60 * Self::SECOND;
    /// One hour in microseconds.
    pub const HOUR: i64 = 60 * Self::MINUTE;
    /// One day in microseconds.
    pub const DAY: i64 = 24 * Self::HOUR;

    /// The start of the window of so many microseconds that it lies in: `t.floor(Timestamp::MINUTE)`.
    ///
    /// Panics if `window` is not positive.
    #[inline]
    pub const fn floor(self, window: i64) -> Self {
        assert!(window > 0, "a window has a length");
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(window)))
    }

    /// The day, in UTC.
    #[inline]
    pub fn date(self) -> Date {
        // 2^63 microseconds are 107 million days.
        Date(i32::try_from(self.0.div_euclid(Self::DAY)).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.rem_euclid(Self::DAY) / Self::SECOND;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}", self.date())?;
        match self.0.rem_euclid(Self::SECOND) {
            0 => f.write_str("Z"),
            micros if micros % 1000 == 0 => write!(f, ".{:03}Z", micros / 1000),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March, eras have 400 years.
        let days = i64::from(self.0) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        write!(f, "{:04}-{month:02}-{day:02}", year + era * 400 + i64::from(month <= 2))
    }
}
