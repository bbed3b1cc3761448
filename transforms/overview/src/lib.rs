//! `overview`: what the dashboard shows: pages, locations and active users.
//!
//! Reads the output `user_events` and makes three additive tables: each flush emits what changed since the last one, and
//! whoever reads them sums the last columns by the ones before.
//!
//! | table | a row for | |
//! | --- | --- | --- |
//! | `user_pages_per_minute` | `window_start`, `page` | `events` |
//! | `user_locations_per_minute` | `window_start`, `location` | `events` |
//! | `active_users` | `window_start`, `period` (`minute`, `hour` or `day`, UTC) | `events`, and distinct `users` and `sessions` |
//!
//! An event without a page or location counts as `unknown`; longer ones are cut at 200 bytes. Of each minute and partition
//! the first 500 different pages, and the first 500 locations, have rows of their own; the events of others are counted
//! together as `(other)`. An event without a session counts for none.
//!
//! `users` and `sessions` are distinct values of a window: exact for up to 4,096 each, then estimated with an error of
//! 1.3 %, or 1.6 % where a set became an estimate early for want of room. They add up over partitions, because Kafka is
//! keyed by user, and over nothing else.
//!
//! A window is closed when the watermark has reached its end, by default ten minutes later. An event that comes after that
//! still counts in it, as a row of its own, so that `events` adds up to the events of `user_events`; its user and session
//! count once more, for who was in a closed window is forgotten. Hours and days that are still open take it as any other.
//! The setting `late = "reject"` refuses an event whose day is closed, with the reason `late`, and otherwise leaves it out
//! of the windows that are.
//!
//! **State** is what windows hold that are not closed: with the default lateness some eleven minutes, two hours and two
//! days. A set takes eight bytes a value up to 4,096 values, then 3 KB. So at 300 events a second and partition it is
//! some 0.5 MB, and at most about 1 MB with pages and locations of usual length. What is longer or later is bounded by
//! the setting `memory_mib` (6): beyond, sets become estimates, then the oldest windows are closed early.

use std::cell::Cell;
use std::time::Duration;

use tidemill_sdk::aggregate::{Count, Distinct, Stable, Tally};
use tidemill_sdk::window::{Aggregation, Emitted, Increments, Late, Nested, Window, Windowed};
use tidemill_sdk::{Config, Int, Reject, Result, Text, Timestamp};

tidemill_sdk::input! {
    struct Event from output "user_events" {
        timestamp: Timestamp,
        user_id: Text,
        session_id: Option<Text>,
        page: Option<Text>,
        location: Option<Text>,
        watermark: Timestamp = watermark,
    }
}

tidemill_sdk::output! {
    table Pages ("user_pages_per_minute", by window_start)
    of struct PageEvents { window_start: Timestamp [key], page: Text [key], events: Int [sum] }
}

tidemill_sdk::output! {
    table Locations ("user_locations_per_minute", by window_start)
    of struct LocationEvents { window_start: Timestamp [key], location: Text [key], events: Int [sum] }
}

tidemill_sdk::output! {
    table ActiveUsers ("active_users", by window_start)
    of struct Active {
        window_start: Timestamp [key], period: Text [key],
        events: Int [sum], users: Int [sum], sessions: Int [sum],
    }
}

/// What an event has no page or location counts as.
const UNKNOWN: &str = "unknown";
/// What pages or locations of a minute count as, when there are too many of them.
const OTHER: &str = "(other)";
/// How many of them have rows of their own, in a minute.
const NAMES: usize = 500;
/// Bytes of the longest page or location.
const LONGEST: usize = 200;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const WINDOWS: Nested = Nested::of([MINUTE, HOUR, DAY]);

/// Hashes of the user and the session of the row at hand: made once, for all of its windows.
#[derive(Default)]
struct Overview {
    user: Cell<u64>,
    session: Cell<Option<u64>>,
}

impl Aggregation for Overview {
    const NAME: &str = "overview";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const LATENESS: Option<Duration> = Some(Duration::from_mins(10));
    const LATE: Late = Late::Correct;
    type Row<'a> = Event<'a>;
    type Out = (Pages, Locations, ActiveUsers);
    type Windows = Nested;
    type Mode = Increments;
    type Key = ();
    /// Events, users, sessions; of minutes pages and locations, too.
    type Value = (Count, Distinct, Distinct, Tally<String, NAMES>, Tally<String, NAMES>);

    fn open(_: &mut Config) -> Result<Self> {
        Ok(Overview::default())
    }

    fn windows(&self) -> Nested {
        WINDOWS
    }

    fn time(&self, event: &Event<'_>) -> Timestamp {
        event.timestamp
    }

    fn watermark(&self, event: &Event<'_>) -> Timestamp {
        event.watermark
    }

    fn key(&self, _: &Event<'_>) {}

    fn accept(&self, event: &Event<'_>) -> Result<bool, Reject> {
        self.user.set(event.user_id.hash());
        self.session.set(event.session_id.map(|session| session.hash()));
        Ok(true)
    }

    fn add(&self, (events, users, sessions, ..): &mut Self::Value, _: &Event<'_>) {
        events.add();
        users.add_hash(self.user.get());
        if let Some(session) = self.session.get() {
            sessions.add_hash(session);
        }
    }

    fn add_in(&self, window: Window, value: &mut Self::Value, event: &Event<'_>) {
        self.add(value, event);
        if is(window, MINUTE) {
            value.3.add(name(event.page));
            value.4.add(name(event.location));
        }
    }

    fn emit(&self, window: Window, (): (), value: Emitted<Self>, out: &mut Self::Out) {
        let (events, users, sessions, pages, locations) = value;
        let window_start = window.start;
        for (page, events) in &pages {
            let page = page.as_deref().unwrap_or(OTHER).into();
            out.0.emit(PageEvents { window_start, page, events: *events });
        }
        for (location, events) in &locations {
            let location = location.as_deref().unwrap_or(OTHER).into();
            out.1.emit(LocationEvents { window_start, location, events: *events });
        }
        let period = if is(window, MINUTE) {
            "minute"
        } else if is(window, HOUR) {
            "hour"
        } else {
            "day"
        };
        out.2.emit(Active { window_start, period: period.into(), events, users, sessions });
    }
}

/// Whether a window has this length.
fn is(Window { start, end }: Window, length: Duration) -> bool {
    end.0.abs_diff(start.0) == length.as_secs() * 1_000_000
}

fn name(text: Option<&str>) -> &str {
    let text = text.unwrap_or(UNKNOWN);
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text)
}

tidemill_sdk::transform!(Windowed<Overview>);

#[cfg(test)]
mod tests;
