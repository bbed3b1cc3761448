//! Times on the command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::config::units;
use crate::env::{HOUR, Micros};
use crate::rejects::Filter;
use crate::table::Hour;

/// A time: so long ago, or a date, or a date and an hour, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Ago(std::time::Duration),
    At(Micros),
}

impl Moment {
    /// When that is.
    pub(super) fn at(self, now: Micros) -> Micros {
        match self {
            Moment::Ago(ago) => Filter::before(now, ago),
            Moment::At(time) => time,
        }
    }

    /// The first hour that begins then or later.
    pub(super) fn hour(self, now: Micros) -> Hour {
        Hour::of(self.at(now).saturating_add(HOUR - 1))
    }

    /// The hour in which that is.
    pub(super) fn within(self, now: Micros) -> Hour {
        Hour::of(self.at(now))
    }
}

/// Reads `2d`, `2025-12-02`, `2025-12-02T09` or a time in RFC 3339.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Some(ago) = units::duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let hour = |text: &str| NaiveDateTime::parse_from_str(&format!("{text}:00"), "%Y-%m-%dT%H:%M").ok();
    let date = |text: &str| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    let plain = hour(text).or_else(|| date(text)).map(|time| time.and_utc().timestamp_micros());
    let exact = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros());
    plain.or_else(exact).map(Moment::At).ok_or_else(|| {
        "expected a time in UTC, as 2025-12-02, 2025-12-02T09 or 2025-12-02T09:30:00Z, or how long ago, as 2d".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_utc() {
        let at = |text: &str| moment(text).unwrap().at(1_764_669_600_000_000);
        assert_eq!(at("1h"), 1_764_666_000_000_000);
        assert_eq!(at("2025-12-02"), 1_764_633_600_000_000);
        assert_eq!(at("2025-12-02T09"), 1_764_666_000_000_000);
        assert_eq!(at("2025-12-02T10:30:00+01:00"), 1_764_667_800_000_000);
        for odd in ["", "yesterday", "2025-13-01", "2025-12-02T25", "-1h"] {
            assert!(moment(odd).unwrap_err().contains("in UTC"), "{odd}");
        }
    }

    #[test]
    fn an_hour_begins_at_a_time_or_has_it() {
        let half = Moment::At(9 * HOUR + HOUR / 2);
        assert_eq!((half.hour(0), half.within(0)), (Hour(10), Hour(9)));
        assert_eq!(Moment::At(9 * HOUR).hour(0), Hour(9));
    }
}
