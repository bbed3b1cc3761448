//! A transform that prints wherever it can, and panics at an event of type `boom`.

use tidemill_sdk::{Config, Reject, Result, Text, Timestamp, Transform};

tidemill_sdk::input! {
    /// What it reads.
    struct Event { event_type: Text, at: Timestamp = metadata(timestamp) }
}

tidemill_sdk::output! {
    /// What it makes.
    table Heard ("heard", by at) of struct Row { at: Timestamp } copied { event_type: Text }
}

struct Chatty;

impl Transform for Chatty {
    const NAME: &str = "chatty";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    type Row<'a> = Event<'a>;
    type Out = Heard;

    fn open(_: &mut Config) -> Result<Self> {
        println!("open");
        eprintln!("open, on the other stream");
        Ok(Chatty)
    }

    fn row(&mut self, event: Event<'_>, out: &mut Heard) -> Result<(), Reject> {
        println!("row {}", event.event_type);
        assert_ne!(event.event_type, "boom", "it was told to");
        out.emit(Row { at: event.at });
        Ok(())
    }
}

tidemill_sdk::transform!(Chatty);
