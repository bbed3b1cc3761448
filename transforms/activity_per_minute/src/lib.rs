//! `activity_per_minute`: how many events, users and sessions of each type of event and kind of device in each minute.
//!
//! Reads the output `user_events` and makes the additive table `user_activity_per_minute`: each flush emits what changed
//! since the last one. Whoever reads the table sums `events`, `users` and `sessions` by `window_start`, `event_type` and
//! `device` (compaction does so too). Rows of one flush are sorted by their keys.
//!
//! `users` and `sessions` are distinct values of a minute, type and device: exact for up to 4,096 each, and while the
//! instance has room (6 MiB), then estimated with an error of 1.6 %. A user of two minutes, types, devices or partitions
//! counts in each. An event without a session counts for none.
//!
//! A minute is closed when the watermark has reached its end, by default ten minutes later. An event that comes after that
//! still counts, so that `events` adds up to the events of `user_events`; its user and session count once more, for who
//! was in a closed minute is forgotten. The setting `late = "reject"` refuses such an event instead, with the reason
//! `late`.

mod before;

use std::time::Duration;

use tidemill_sdk::aggregate::{Count, Distinct};
use tidemill_sdk::window::{Aggregation, Increments, Late, StateOf, Tumbling, Window, Windowed};
use tidemill_sdk::{Coded, Config, Int, Result, Term, Text, Timestamp};

tidemill_sdk::input! {
    struct Event from output "user_events" {
        event_type: Coded,
        device: Coded,
        timestamp: Timestamp,
        user_id: Text,
        session_id: Option<Text>,
        watermark: Timestamp = watermark,
    }
}

tidemill_sdk::output! {
    table UserActivity ("user_activity_per_minute", by window_start)
    of struct Increment {
        window_start: Timestamp [key], event_type: Text [key], device: Text [key],
        events: Int [sum], users: Int [sum], sessions: Int [sum],
    }
}

struct ActivityPerMinute;

impl Aggregation for ActivityPerMinute {
    const NAME: &str = "activity_per_minute";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: u32 = 2;
    const LATENESS: Option<Duration> = Some(Duration::from_mins(10));
    const LATE: Late = Late::Correct;
    type Row<'a> = Event<'a>;
    type Out = UserActivity;
    type Windows = Tumbling;
    type Mode = Increments;
    /// Type and device.
    type Key = (Coded, Coded);
    /// Events, users, sessions.
    type Value = (Count, Distinct, Distinct);

    fn open(_: &mut Config) -> Result<Self> {
        Ok(ActivityPerMinute)
    }

    fn windows(&self) -> Tumbling {
        Tumbling::of(Duration::from_mins(1))
    }

    fn time(&self, event: &Event<'_>) -> Timestamp {
        event.timestamp
    }

    fn watermark(&self, event: &Event<'_>) -> Timestamp {
        event.watermark
    }

    fn key<'a>(&self, event: &'a Event<'_>) -> (Term<'a>, Term<'a>) {
        (event.event_type, event.device)
    }

    fn add(&self, (events, users, sessions): &mut Self::Value, event: &Event<'_>) {
        events.add();
        users.add(event.user_id);
        if let Some(session) = event.session_id {
            sessions.add(session);
        }
    }

    fn emit(
        &self,
        minute: Window,
        (event_type, device): (Term<'_>, Term<'_>),
        (events, users, sessions): (i64, i64, i64),
        out: &mut UserActivity,
    ) {
        let (event_type, device) = ((&*event_type).into(), (&*device).into());
        out.emit(Increment { window_start: minute.start, event_type, device, events, users, sessions });
    }

    fn migrate(&self, version: u32, state: &[u8]) -> Result<StateOf<Self>> {
        match version {
            1 => before::migrate(state),
            _ => Err(format!("state of version {version} is not known here")),
        }
    }
}

tidemill_sdk::transform!(Windowed<ActivityPerMinute>);

#[cfg(test)]
mod tests;
