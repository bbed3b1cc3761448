//! Makes events like those of the reference deployment: the same ones for the same seed.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat};

use crate::env::Micros;

/// Users that events come from.
const USERS: u64 = 50_000;
/// In microseconds.
const HALF_HOUR: Micros = 1_800_000_000;
const TYPES: [&str; 10] = [
    "page_view",
    "page_view",
    "page_view",
    "click",
    "click",
    "scroll",
    "search",
    "purchase",
    "Page_View",
    " CLICK ",
];
const DEVICES: [&str; 8] =
    ["mobile", "mobile", "mobile", "desktop", "desktop", "Desktop", "tablet", "smart_tv"];
const PLACES: [&str; 8] = ["US", "GB", "DE", "FR", "IN", "BR", "JP", "CA"];

/// What kind of event was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Made {
    /// One that goes through `clean`.
    Good,
    /// Cut in the middle.
    Malformed,
    /// Without `user_id`.
    NoUser,
    /// With a blank `event_type`.
    Blank,
    /// With a timestamp that is none.
    NoTime,
    /// With a number for a page.
    WrongType,
}

/// All kinds, with their names in summaries.
pub const KINDS: [(Made, &str); 6] = [
    (Made::Good, "good"),
    (Made::Malformed, "malformed"),
    (Made::NoUser, "no_user_id"),
    (Made::Blank, "blank_event_type"),
    (Made::NoTime, "bad_timestamp"),
    (Made::WrongType, "wrong_type"),
];

/// A generator: a seed gives a sequence.
pub struct Generator {
    state: u64,
    /// Of 2^32 events, so many are bad.
    bad: u64,
}

impl Generator {
    /// `bad` is the share of events that cannot be cleaned, 0 to 1.
    pub fn new(seed: u64, bad: f64) -> Self {
        // The cast saturates; the share was checked.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bad = (bad.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        Generator { state: seed, bad }
    }

    /// The next number of SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((self.random() >> 32) * bound) >> 32
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or_default()]
    }

    /// Writes the next event's key and value; `time` is its timestamp.
    pub fn next(&mut self, time: Micros, key: &mut String, value: &mut String) -> Made {
        let user = self.below(USERS);
        let made = if self.below(1 << 32) < self.bad {
            KINDS[usize::try_from(1 + self.below(5)).unwrap_or(1)].0
        } else {
            Made::Good
        };
        key.clear();
        let _ = write!(key, "user_{user}");
        value.clear();
        value.push('{');
        if made != Made::NoUser {
            let _ = write!(value, "\"user_id\":\"user_{user}\",");
        }
        let event_type = if made == Made::Blank { "  " } else { self.pick(&TYPES) };
        let _ = write!(value, "\"event_type\":\"{event_type}\",\"timestamp\":\"");
        match DateTime::from_timestamp_micros(time).filter(|_| made != Made::NoTime) {
            Some(time) => {
                value.push_str(time.to_rfc3339_opts(SecondsFormat::Millis, true).trim_end_matches('Z'))
            }
            None => value.push_str("yesterday"),
        }
        let page = self.below(500);
        let quote = if made == Made::WrongType { "" } else { "\"" };
        let path = if made == Made::WrongType { "" } else { "/page/" };
        let (device, location) = (self.pick(&DEVICES), self.pick(&PLACES));
        // One for each half hour: what a user does together.
        let session = user * 7 + u64::try_from(time / HALF_HOUR).unwrap_or_default() % 7;
        let _ = write!(
            value,
            "\",\"page\":{quote}{path}{page}{quote},\"session_id\":\"session_{session}\",\
             \"device\":\"{device}\",\"location\":\"{location}\"}}"
        );
        if made == Made::Malformed {
            let end = 20 + self.below(value.len() as u64 - 21);
            value.truncate(usize::try_from(end).unwrap_or(20));
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_a_sequence() {
        let events = |seed| {
            let (mut g, mut key, mut value) = (Generator::new(seed, 0.1), String::new(), String::new());
            (0..100)
                .map(|_| (g.next(1_764_669_600_000_000, &mut key, &mut value), value.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(events(7), events(7));
        assert_ne!(events(7), events(8));
    }

    #[test]
    fn bad_events_are_as_frequent_as_asked() {
        let (mut g, mut key, mut value) = (Generator::new(1, 0.01), String::new(), String::new());
        let mut bad = 0;
        for _ in 0..100_000 {
            let made = g.next(0, &mut key, &mut value);
            let json = serde_json::from_str::<serde_json::Value>(&value);
            assert_eq!(json.is_err(), made == Made::Malformed, "{value}");
            bad += i32::from(made != Made::Good);
        }
        assert!((800..1200).contains(&bad), "{bad}");
    }
}
