//! A `clean` that says with each row which version of it made the row. Versions differ in [`MARK`] alone, which tests
//! replace in the compiled file: another component, and nothing to compile. With `mark:trap` it traps at every event.

use std::hint::black_box;

use tidemill_sdk::{Config, Reject, Result, Text, Timestamp, Transform, timestamp};

tidemill_sdk::input! {
    /// What it reads.
    struct Event { user_id: Text, timestamp: Text }
}

tidemill_sdk::output! {
    /// What it makes.
    table UserEvents ("user_events", by timestamp)
    of struct Marked { timestamp: Timestamp, made_by: Text }
    copied { user_id: Text }
}

/// Replaced in the compiled file, letter by letter.
const MARK: &str = "mark:0000";

struct Clean {
    /// Read once, and not known to the compiler.
    mark: &'static str,
}

impl Transform for Clean {
    const NAME: &str = "clean";
    const VERSION: &str = MARK;
    type Row<'a> = Event<'a>;
    type Out = UserEvents;

    fn open(_: &mut Config) -> Result<Self> {
        Ok(Clean { mark: black_box(MARK) })
    }

    fn row(&mut self, event: Event<'_>, out: &mut UserEvents) -> Result<(), Reject> {
        assert_ne!(self.mark.as_bytes().last(), Some(&b'p'), "it was told to");
        let timestamp = timestamp(event.timestamp).ok_or("timestamp is not ISO 8601")?;
        out.emit(Marked { timestamp, made_by: self.mark.into() });
        Ok(())
    }
}

tidemill_sdk::transform!(Clean);
