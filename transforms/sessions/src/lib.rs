//! `sessions`: what each user did in one go.
//!
//! Reads the output `user_events` and makes the table `user_sessions`: a row for each session, when it has ended. Events
//! of one `user_id` and `session_id` belong together (events without a `session_id`: those of the user), until there was
//! none for 30 minutes of event time; then another session begins, even if the id stays the same.
//!
//! | column | |
//! | --- | --- |
//! | `session_start`, `session_end` | the times of its first and last event |
//! | `events` | how many there were |
//! | `pages` | how many different pages: exact up to 4,096, and while the instance has room (6 MiB), then about (1.3 %) |
//! | `device`, `location` | of its first event |
//!
//! | setting | default | |
//! | --- | --- | --- |
//! | `gap_minutes` | `30` | how long nothing happens before a session has ended: 1 minute to a week |
//! | `late` | `"reject"` | an event whose session was handed out already is refused, with the reason `late`; with `"correct"` it is handed out as a session of one event |
//! | `memory_mib` | `6` | about how much is kept of sessions that have not ended: some 25,000 of them. Beyond, the oldest end early, which is logged |
//!
//! A session is handed out when the watermark, by default ten minutes behind the latest event, has passed its gap.

use std::time::Duration;

use tidemill_sdk::aggregate::{Count, Distinct, First};
use tidemill_sdk::window::{Aggregation, Final, Sessions, Window, Windowed};
use tidemill_sdk::{Config, Int, Result, Text, Timestamp};

tidemill_sdk::input! {
    struct Event from output "user_events" {
        user_id: Text,
        session_id: Option<Text>,
        timestamp: Timestamp,
        page: Option<Text>,
        device: Text [dictionary],
        location: Option<Text>,
        watermark: Timestamp = watermark,
    }
}

tidemill_sdk::output! {
    table UserSessions ("user_sessions", by session_start)
    of struct Session {
        user_id: Text, session_id: Option<Text>, session_start: Timestamp, session_end: Timestamp,
        events: Int, pages: Int, device: Text, location: Option<Text>,
    }
}

struct UserVisits {
    gap: Duration,
}

impl Aggregation for UserVisits {
    const NAME: &str = "sessions";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const LATENESS: Option<Duration> = Some(Duration::from_mins(10));
    type Row<'a> = Event<'a>;
    type Out = UserSessions;
    type Windows = Sessions;
    type Mode = Final;
    /// User and session.
    type Key = (String, Option<String>);
    /// Events, pages, and where the first one came from: device and location.
    type Value = (Count, Distinct, First<(String, Option<String>)>);

    fn open(config: &mut Config) -> Result<Self> {
        match config.get_or("gap_minutes", 30_usize)? {
            minutes @ 1..=10_080 => Ok(UserVisits { gap: Duration::from_mins(minutes as u64) }),
            _ => Err("config: `gap_minutes` is 1 to 10080".into()),
        }
    }

    fn windows(&self) -> Sessions {
        Sessions::of(self.gap)
    }

    fn time(&self, event: &Event<'_>) -> Timestamp {
        event.timestamp
    }

    fn watermark(&self, event: &Event<'_>) -> Timestamp {
        event.watermark
    }

    fn key<'a>(&self, event: &'a Event<'_>) -> (&'a str, Option<&'a str>) {
        (event.user_id, event.session_id)
    }

    fn add(&self, (events, pages, first): &mut Self::Value, event: &Event<'_>) {
        events.add();
        if let Some(page) = event.page {
            pages.add(page);
        }
        first.add(event.timestamp, (event.device, event.location));
    }

    fn emit(
        &self,
        window: Window,
        (user_id, session_id): (&str, Option<&str>),
        (events, pages, first): Self::Value,
        out: &mut UserSessions,
    ) {
        // A session has an event.
        let Some((device, location)) = first.get() else { return };
        out.emit(Session {
            user_id: user_id.into(),
            session_id: session_id.map(Into::into),
            session_start: window.start,
            session_end: window.end,
            events: events.get(),
            pages: pages.get(),
            device: device.into(),
            location: location.map(Into::into),
        });
    }
}

tidemill_sdk::transform!(Windowed<UserVisits>);

#[cfg(test)]
mod tests;
