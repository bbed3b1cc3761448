//! For unit tests: rows in, rows out, without a host. Everything here panics with a sentence where a test is wrong.
//!
//! ```
//! # use tidemill_sdk::{Config, Int, Reject, Result, Transform};
//! # tidemill_sdk::input! { struct In { n: Int, m: Option<Int> } }
//! # tidemill_sdk::output! { feed Sums ("sums") of struct Sum { sum: Int } }
//! # struct Add;
//! # impl Transform for Add {
//! #     const NAME: &str = "add";
//! #     const VERSION: &str = "1";
//! #     type Row<'a> = In<'a>;
//! #     type Out = Sums;
//! #     fn open(_: &mut Config) -> Result<Self> { Ok(Add) }
//! #     fn row(&mut self, row: In<'_>, out: &mut Sums) -> Result<(), Reject> {
//! #         out.emit(Sum { sum: row.n + row.m.ok_or("m is null")? });
//! #         Ok(())
//! #     }
//! # }
//! use tidemill_sdk::testing::{open, row};
//!
//! let outcome = open::<Add>(&[]).process([row().set("n", 1).set("m", 2), row().set("n", 1)]);
//! assert_eq!(outcome.rows("sums").column("sum"), [3]);
//! assert_eq!(outcome.rejected(), [("m is null", vec![1])]);
//! ```

mod columns;
mod outcome;
mod value;
mod watermark;

pub use outcome::{Outcome, Rows};
pub use value::Value;

use std::time::Duration;

use crate::engine::Instance;
use crate::{Result, Timestamp, Transform, spec, wire};
use watermark::Watermark;

/// Opens a transform with this flattened config. Panics if it does not open.
pub fn open<T: Transform>(config: &[(&str, &str)]) -> Tested<T> {
    try_open(config).unwrap_or_else(|error| panic!("{} does not open: {error}", T::NAME))
}

/// Opens a transform with this flattened config, or says why not.
pub fn try_open<T: Transform>(config: &[(&str, &str)]) -> Result<Tested<T>> {
    check_names::<T>();
    let config: Vec<_> = config.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    let instance = Instance::open(config.clone())?;
    Ok(Tested { instance, config, saved: None, watermark: Watermark::default() })
}

/// What a host would refuse at `describe` and the compiler cannot see.
fn check_names<T: Transform>() {
    assert!(
        spec::is_name(T::NAME),
        "the transform's name {:?} does not match [a-z][a-z0-9_]{{0,63}}",
        T::NAME
    );
    let outputs = Instance::<T>::descriptor().outputs;
    for (index, output) in outputs.iter().enumerate() {
        let twice = outputs[..index].iter().any(|other| other.name == output.name);
        assert!(!twice, "two outputs have the name {}", output.name);
    }
}

/// An input row that is made field by field; what is not set is null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputRow {
    columns: Vec<(String, Value)>,
    arrived: Option<Timestamp>,
}

/// An input row of nulls.
pub fn row() -> InputRow {
    InputRow::default()
}

impl InputRow {
    /// With this value (instead of the one before) in the column of `input!`.
    #[must_use]
    pub fn set(mut self, column: &str, value: impl Into<Value>) -> Self {
        self.put(column, value.into());
        self
    }

    /// With a null in this column.
    #[must_use]
    pub fn null(self, column: &str) -> Self {
        self.set(column, Value::Null)
    }

    /// With this as Kafka's timestamp: a computed watermark is never past the newest of these, less the lateness.
    #[must_use]
    pub fn arrived(mut self, at: Timestamp) -> Self {
        self.arrived = Some(at);
        self
    }

    fn put(&mut self, column: &str, value: Value) {
        self.columns.retain(|(name, _)| name != column);
        self.columns.push((column.into(), value));
    }

    fn get(&self, column: &str) -> Option<&Value> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }
}

/// An open transform under test.
#[derive(Debug)]
pub struct Tested<T> {
    instance: Instance<T>,
    config: Vec<(String, String)>,
    /// The state that a host would restore.
    saved: Option<(u32, Vec<u8>)>,
    watermark: Watermark,
}

impl<T: Transform> Tested<T> {
    /// From here on, the watermark of rows that do not set it is computed as a host does: the latest time in this
    /// column (a `Timestamp` of `input!`) so far, less the lateness.
    #[must_use]
    pub fn watermark_by(mut self, column: &str, lateness: Duration) -> Self {
        self.watermark = Watermark::new(column, lateness);
        self
    }

    /// The watermark as of the last row; none: nothing is known yet.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark.current()
    }

    /// What the transform says of itself.
    pub fn descriptor(&self) -> wire::Descriptor {
        Instance::<T>::descriptor()
    }

    /// Hands it a batch of rows.
    pub fn process(&mut self, rows: impl IntoIterator<Item = InputRow>) -> Outcome {
        self.try_process(rows).unwrap_or_else(|error| panic!("process: {error}"))
    }

    /// Hands it a batch of rows; an error ends the instance.
    pub fn try_process(&mut self, rows: impl IntoIterator<Item = InputRow>) -> Result<Outcome> {
        let rows: Vec<InputRow> = rows.into_iter().collect();
        let count = u32::try_from(rows.len()).map_err(|_| "a batch has at most 65,536 rows")?;
        let columns = self.columns(rows);
        self.process_columns(count, &columns)
    }

    /// Hands it a batch of columns as the contract has them (for benchmarks, and for layouts that rows do not show).
    pub fn process_columns(&mut self, rows: u32, columns: &[wire::Column]) -> Result<Outcome> {
        let wire::Outcome { emissions, rejections } = self.instance.process(rows, columns)?;
        Ok(Outcome::new(self.descriptor().outputs, emissions, rejections, rows))
    }

    /// The columns that rows become, the watermark among them.
    pub fn columns(&mut self, rows: impl IntoIterator<Item = InputRow>) -> Vec<wire::Column> {
        let mut rows: Vec<InputRow> = rows.into_iter().collect();
        let columns = <T::Row<'_> as crate::Row<'_>>::SPEC.columns;
        self.watermark.fill(columns, &mut rows);
        columns::build(columns, &rows)
    }

    /// One call of `flush`: what it handed out, and whether it has more.
    pub fn flush_once(&mut self, watermark: Option<Timestamp>) -> (Outcome, bool) {
        let flushed = self.instance.flush(watermark.map(|watermark| watermark.0));
        let wire::Flushed { emissions, more } = flushed.unwrap_or_else(|error| panic!("flush: {error}"));
        (Outcome::new(self.descriptor().outputs, emissions, vec![], 0), more)
    }

    /// Flushes as a host does before a commit, until there is no more: what each call handed out.
    ///
    /// Panics after a million calls.
    pub fn flush(&mut self, watermark: Option<Timestamp>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for _ in 0..1_000_000 {
            let (outcome, more) = self.flush_once(watermark);
            outcomes.push(outcome);
            if !more {
                return outcomes;
            }
        }
        panic!("flush: always more");
    }

    /// Flushes at the watermark as of the last row.
    pub fn flush_now(&mut self) -> Vec<Outcome> {
        self.flush(self.watermark())
    }

    /// The state, if it changed.
    pub fn snapshot(&mut self) -> Option<Vec<u8>> {
        let state = self.instance.snapshot().unwrap_or_else(|error| panic!("snapshot: {error}"))?;
        self.saved = Some((state_version::<T>(), state.clone()));
        Some(state)
    }

    /// The state that a host would restore: of the last snapshot that was not none, or of the last restore.
    pub fn saved(&self) -> Option<&[u8]> {
        self.saved.as_ref().map(|(_, state)| &state[..])
    }

    /// Goes on as another host would: takes a snapshot, opens a new instance and restores the latest state.
    pub fn restart(&mut self) {
        self.snapshot();
        let instance = Instance::open(self.config.clone());
        self.instance = instance.unwrap_or_else(|error| panic!("restart: {error}"));
        if let Some((version, state)) = self.saved.clone() {
            self.try_restore(version, &state).unwrap_or_else(|error| panic!("restart: {error}"));
        }
    }

    /// Takes over a state of the transform's present version.
    pub fn restore(&mut self, state: &[u8]) {
        self.try_restore(state_version::<T>(), state).unwrap_or_else(|error| panic!("restore: {error}"));
    }

    /// Takes over a state of this version, or says why not.
    pub fn try_restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        self.saved = Some((version, state.to_vec()));
        self.instance.restore(version, state)
    }
}

fn state_version<T: Transform>() -> u32 {
    T::STATE_VERSION.expect("a transform with state has a STATE_VERSION")
}
