//! Runs a transform as the contract asks: the typed side of every exported function. The same natively and in Wasm.

use std::time::Duration;

pub use crate::bindings::exports::tidemill::transform::api::Guest;
use crate::output::Stem;
use crate::reject::Rejections;
use crate::wire::{Column, Descriptor, Emission, Flushed, Outcome};
use crate::{Config, Output, Result, Row, Timestamp, Transform};

/// The property of a transform that says its default lateness.
const LATENESS: &str = "lateness-us";

/// In 64 bits: 128 need two kilobytes of code to be written down.
fn micros(duration: Duration) -> String {
    let micros = duration.as_secs().saturating_mul(1_000_000) + u64::from(duration.subsec_micros());
    micros.to_string()
}

/// An open transform.
#[derive(Debug)]
pub struct Instance<T> {
    transform: T,
}

impl<T: Transform> Instance<T> {
    /// Opens the transform with the flattened config.
    pub fn open(config: Vec<(String, String)>) -> Result<Self> {
        let mut config = Config::new(config);
        let transform = T::open(&mut config)?;
        config.finish()?;
        Ok(Instance { transform })
    }

    /// What the transform says of itself.
    pub fn descriptor() -> Descriptor {
        let input = <T::Row<'_> as Row<'_>>::SPEC;
        let mut outputs = Vec::new();
        T::Out::specs(&mut outputs);
        Descriptor {
            name: T::NAME.into(),
            version: T::VERSION.into(),
            input: input.source(),
            reads: input.reads(),
            outputs: outputs.into_iter().map(|spec| spec.to_wire()).collect(),
            state_version: T::STATE_VERSION,
            properties: T::LATENESS.map(|lateness| (LATENESS.into(), micros(lateness))).into_iter().collect(),
        }
    }

    /// A batch of rows.
    pub fn process(&mut self, rows: u32, columns: &[Column]) -> Result<Outcome> {
        let want = <T::Row<'_> as Row<'_>>::SPEC.columns.len();
        if columns.len() != want {
            return Err(format!("{} columns instead of {want}", columns.len()));
        }
        let columns = T::Row::columns(columns, rows as usize)?;
        let mut out = T::Out::with_capacity(rows as usize);
        let mut rejections = Rejections::default();
        for row in 0..rows {
            out.begin(row);
            let result =
                T::Row::get(&columns, row as usize).and_then(|row| self.transform.row(row, &mut out));
            if let Err(reject) = result {
                out.rollback();
                rejections.push(row, reject);
            }
        }
        let mut emissions = Vec::new();
        out.finish(Stem::Rows(rows), 0, &mut emissions)?;

        let mut fresh = Vec::new();
        let mut out = T::Out::with_capacity(0);
        self.transform.after_batch(&mut out)?;
        out.finish(Stem::Fresh, 0, &mut fresh)?;
        emissions = merge(emissions, fresh)?;
        Ok(Outcome { emissions, rejections: rejections.finish() })
    }

    /// What is due at this watermark.
    pub fn flush(&mut self, watermark: Option<i64>) -> Result<Flushed> {
        let mut out = T::Out::with_capacity(0);
        let more = self.transform.flush(watermark.map(Timestamp), &mut out)?;
        let mut emissions = Vec::new();
        out.finish(Stem::Fresh, 0, &mut emissions)?;
        Ok(Flushed { emissions, more })
    }

    /// The state, if it is not the one that was last saved or restored.
    pub fn snapshot(&mut self) -> Result<Option<Vec<u8>>> {
        self.transform.snapshot()
    }

    /// Takes over a state.
    pub fn restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        self.transform.restore(version, state)
    }
}

/// The emissions of the rows and those after the batch: at most one for each output.
fn merge(mut rows: Vec<Emission>, fresh: Vec<Emission>) -> Result<Vec<Emission>> {
    if fresh.iter().any(|fresh| rows.iter().any(|row| row.output == fresh.output)) {
        return Err("`row` and `after_batch` emitted to the same output in one batch".into());
    }
    rows.extend(fresh);
    Ok(rows)
}
