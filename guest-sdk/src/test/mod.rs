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
//! use tidemill_sdk::test::{open, row};
//!
//! let outcome = open::<Add>(&[]).process([row().set("n", 1).set("m", 2), row().set("n", 1)]);
//! assert_eq!(outcome.rows("sums").column("sum"), [3]);
//! assert_eq!(outcome.rejected(), [("m is null", vec![1])]);
//! ```

mod columns;
mod outcome;
mod value;

pub use outcome::{Outcome, Rows};
pub use value::Value;

use crate::engine::Instance;
use crate::{Result, Timestamp, Transform, spec, wire};

/// Opens a transform with this flattened config. Panics if it does not open.
pub fn open<T: Transform>(config: &[(&str, &str)]) -> Tested<T> {
    try_open(config).unwrap_or_else(|error| panic!("{} does not open: {error}", T::NAME))
}

/// Opens a transform with this flattened config, or says why not.
pub fn try_open<T: Transform>(config: &[(&str, &str)]) -> Result<Tested<T>> {
    check_names::<T>();
    let config = config.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    Ok(Tested { instance: Instance::open(config)? })
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
pub struct InputRow(Vec<(String, Value)>);

/// An input row of nulls.
pub fn row() -> InputRow {
    InputRow::default()
}

impl InputRow {
    /// With this value (instead of the one before) in the column of `input!`.
    #[must_use]
    pub fn set(mut self, column: &str, value: impl Into<Value>) -> Self {
        self.0.retain(|(name, _)| name != column);
        self.0.push((column.into(), value.into()));
        self
    }

    /// With a null in this column.
    #[must_use]
    pub fn null(self, column: &str) -> Self {
        self.set(column, Value::Null)
    }
}

/// An open transform under test.
#[derive(Debug)]
pub struct Tested<T> {
    instance: Instance<T>,
}

impl<T: Transform> Tested<T> {
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
        let columns = columns::build(<T::Row<'_> as crate::Row<'_>>::SPEC.columns, &rows);
        let count = u32::try_from(rows.len()).map_err(|_| "a batch has at most 65,536 rows")?;
        self.process_columns(count, &columns)
    }

    /// Hands it a batch of columns as the contract has them (for benchmarks, and for layouts that rows do not show).
    pub fn process_columns(&mut self, rows: u32, columns: &[wire::Column]) -> Result<Outcome> {
        let wire::Outcome { emissions, rejections } = self.instance.process(rows, columns)?;
        Ok(Outcome::new(self.descriptor().outputs, emissions, rejections, rows))
    }

    /// The columns that rows become.
    pub fn columns(&self, rows: impl IntoIterator<Item = InputRow>) -> Vec<wire::Column> {
        let rows: Vec<InputRow> = rows.into_iter().collect();
        columns::build(<T::Row<'_> as crate::Row<'_>>::SPEC.columns, &rows)
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

    /// The state, if it changed.
    pub fn snapshot(&mut self) -> Option<Vec<u8>> {
        self.instance.snapshot().unwrap_or_else(|error| panic!("snapshot: {error}"))
    }

    /// Takes over a state of the transform's present version.
    pub fn restore(&mut self, state: &[u8]) {
        let version = T::STATE_VERSION.expect("a transform with state has a STATE_VERSION");
        self.try_restore(version, state).unwrap_or_else(|error| panic!("restore: {error}"));
    }

    /// Takes over a state of this version, or says why not.
    pub fn try_restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        self.instance.restore(version, state)
    }
}
