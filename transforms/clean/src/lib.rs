//! `clean`: events as they came, made fit for the table `user_events`.
//!
//! Of the seven fields, `event_type` and `device` are trimmed and lower-cased and `timestamp` becomes a point in time;
//! `user_id`, `page`, `session_id` and `location` are copied byte for byte. A device that is not listed, or none, is
//! `other`. A row is refused, in this order of reasons, if
//!
//! - `user_id`, `event_type` or `timestamp` is null,
//! - a field is longer than `max_length` bytes,
//! - `user_id` or `event_type` is blank (nothing but white space),
//! - `timestamp` is not an ISO 8601 date-time, lies before the year 2000, or more than a day after Kafka's timestamp.
//!
//! | setting | default | |
//! | --- | --- | --- |
//! | `devices` | `["mobile", "desktop", "tablet"]` | the devices that are kept; case does not matter |
//! | `max_length` | `4096` | the bytes of the longest string that is accepted, in UTF-8 |
//!
//! A row allocates nothing: types and devices are few, so what was made of them is remembered, and columns grow as a
//! whole.

use tidemill_sdk::{Coded, Config, Reject, Result, Terms, Text, Timestamp, Timestamps, Transform, lower};

tidemill_sdk::input! {
    struct Event {
        user_id: Text,
        event_type: Coded,
        timestamp: Text,
        page: Option<Text>,
        session_id: Option<Text>,
        device: Option<Coded>,
        location: Option<Text>,
        kafka_timestamp: Option<Timestamp> = metadata(timestamp),
    }
}

tidemill_sdk::output! {
    table UserEvents ("user_events", by timestamp)
    of struct Cleaned { event_type: Coded, timestamp: Timestamp, device: Coded }
    copied { user_id: Text, page: Option<Text>, session_id: Option<Text>, location: Option<Text> }
}

/// The device of a row whose own is missing or not listed.
const OTHER: &str = "other";
/// 2000-01-01T00:00:00Z: what claims to be older is a clock that was never set.
const EARLIEST: Timestamp = Timestamp(10_957 * Timestamp::DAY);
/// How far an event may be ahead of its arrival in Kafka: clocks differ, and zones are forgotten.
const AHEAD: i64 = Timestamp::DAY;

struct Clean {
    /// In the form of `lower`.
    devices: Vec<String>,
    max_length: usize,
    /// In the form of `lower`.
    event_types: Terms,
    /// The listed device that it is, or `other`.
    listed: Terms,
    timestamps: Timestamps,
}

impl Transform for Clean {
    const NAME: &str = "clean";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    type Row<'a> = Event<'a>;
    type Out = UserEvents;

    fn open(config: &mut Config) -> Result<Self> {
        let devices = match config.list::<String>("devices")? {
            Some(devices) => devices.iter().map(|device| lower(device).into_owned()).collect(),
            None => ["mobile", "desktop", "tablet"].map(String::from).to_vec(),
        };
        let max_length = config.get_or("max_length", 4096)?;
        let (event_types, listed) = (Terms::default(), Terms::default());
        Ok(Clean { devices, max_length, event_types, listed, timestamps: Timestamps::default() })
    }

    // Else each row is written to memory and read again: a tenth of the time.
    #[inline(always)]
    fn row(&mut self, event: Event<'_>, out: &mut UserEvents) -> Result<(), Reject> {
        self.check_lengths(&event)?;
        if event.user_id.trim_start().is_empty() {
            return Err("user_id is blank".into());
        }
        let event_type = self.event_types.get(event.event_type, |text| lower(text).into_owned());
        if event_type.is_empty() {
            return Err("event_type is blank".into());
        }
        let timestamp = self.timestamps.read(event.timestamp).ok_or("timestamp is not ISO 8601")?;
        if timestamp < EARLIEST {
            return Err("timestamp is before 2000-01-01".into());
        }
        if let Some(arrival) = event.kafka_timestamp
            && timestamp.0.saturating_sub(arrival.0) > AHEAD
        {
            return Err("timestamp is more than a day ahead of Kafka's".into());
        }
        let device = self.listed.get_option(event.device, |device| {
            let device = lower(device.unwrap_or(OTHER));
            if self.devices.iter().any(|listed| *listed == device) {
                device.into_owned()
            } else {
                OTHER.into()
            }
        });
        out.emit(Cleaned { event_type, timestamp, device });
        Ok(())
    }
}

impl Clean {
    #[inline]
    fn check_lengths(&self, event: &Event<'_>) -> Result<(), Reject> {
        let long = |text: &str| text.len() > self.max_length;
        let long_option = |text: Option<&str>| text.is_some_and(long);
        Err(Reject::from(if long(event.user_id) {
            "user_id is too long"
        } else if long(&event.event_type) {
            "event_type is too long"
        } else if long(event.timestamp) {
            "timestamp is too long"
        } else if long_option(event.page) {
            "page is too long"
        } else if long_option(event.session_id) {
            "session_id is too long"
        } else if event.device.is_some_and(|device| long(&device)) {
            "device is too long"
        } else if long_option(event.location) {
            "location is too long"
        } else {
            return Ok(());
        }))
    }
}

tidemill_sdk::transform!(Clean);

#[cfg(test)]
mod tests;
