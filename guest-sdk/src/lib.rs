//! What a Tidemill transform depends on: typed rows in, typed rows out, one WebAssembly component.
//!
//! A transform declares what it reads ([`input!`]), what it hands out ([`output!`]), implements [`Transform`] and is
//! exported by [`transform!`]. Nothing here needs WebAssembly to run: unit tests are `cargo test` with [`testing`].
//!
//! ```
//! use tidemill_sdk::{lower, timestamp, Config, Reject, Result, Text, Timestamp, Transform};
//!
//! tidemill_sdk::input! { struct Event { user_id: Text, event_type: Text, timestamp: Text, device: Option<Text> } }
//!
//! tidemill_sdk::output! {
//!     table UserEvents ("user_events", by timestamp)
//!     of struct Cleaned { event_type: Text, timestamp: Timestamp, device: Text }
//!     copied { user_id: Text, page: Option<Text> }
//! }
//!
//! struct Clean;
//!
//! impl Transform for Clean {
//!     const NAME: &str = "clean";
//!     const VERSION: &str = env!("CARGO_PKG_VERSION");
//!     type Row<'a> = Event<'a>;
//!     type Out = UserEvents;
//!
//!     fn open(_: &mut Config) -> Result<Self> {
//!         Ok(Clean)
//!     }
//!
//!     fn row(&mut self, event: Event<'_>, out: &mut UserEvents) -> Result<(), Reject> {
//!         out.emit(Cleaned {
//!             event_type: lower(event.event_type),
//!             timestamp: timestamp(event.timestamp).ok_or("timestamp is not ISO 8601")?,
//!             device: event.device.unwrap_or("other").into(),
//!         });
//!         Ok(())
//!     }
//! }
//!
//! tidemill_sdk::transform!(Clean);
//!
//! // In a unit test:
//! use tidemill_sdk::testing::{open, row};
//!
//! let event = row().set("user_id", "u1").set("event_type", " Click").set("timestamp", "2025-12-02T10:00:00+01:00");
//! let outcome = open::<Clean>(&[]).process([event.clone(), event.null("user_id")]);
//! assert_eq!(outcome.rows("user_events").lines(), ["click, 2025-12-02T09:00:00Z, other"]);
//! assert_eq!(outcome.rejected(), [("user_id is null", vec![1])]);
//! ```
//!
//! The contract itself is `wit/transform.wit`; [`wire`] is its types, for what the layer above does not offer.

extern crate self as tidemill_sdk;

#[doc(hidden)]
pub use wit_bindgen;

pub mod aggregate;
#[doc(hidden)]
pub mod bindings;
mod config;
#[doc(hidden)]
pub mod engine;
pub mod field;
mod key;
pub mod log;
mod memo;
#[doc(hidden)]
pub mod output;
mod reject;
mod row;
#[doc(hidden)]
pub mod spec;
pub mod stored;
mod terms;
pub mod testing;
mod text;
mod time;
mod timestamp;
mod transform;
pub mod window;
mod words;

pub use bindings::tidemill::transform::types as wire;
pub use config::Config;
pub use field::{Bytes, Coded, Decimal, Field, Read, Term, Text};
pub use key::Key;
pub use memo::Memo;
pub use output::Output;
pub use reject::Reject;
pub use row::Row;
pub use stored::Stored;
pub use terms::Terms;
pub use text::{lower, lower_into};
pub use time::{Date, Timestamp};
pub use timestamp::{Timestamps, timestamp};
pub use transform::Transform;

/// A 64-bit integer column.
pub type Int = i64;
/// A double precision column.
pub type Float = f64;
/// A boolean column.
pub type Bool = bool;

/// What goes wrong outside of rows, in one sentence.
pub type Result<T, E = String> = std::result::Result<T, E>;
