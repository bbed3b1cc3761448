//! The watermark as a host computes it: the running maximum of event times, less what they may be late.

use std::time::Duration;

use super::{InputRow, Value};
use crate::Timestamp;
use crate::spec::{InputColumnSpec, OriginSpec};

/// Fills the watermark column of rows that come in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Watermark {
    /// The column of event times and the allowed lateness; none: rows say their watermark themselves.
    by: Option<(String, i64)>,
    /// The latest event time so far, and the latest arrival.
    newest: Option<i64>,
    arrived: Option<i64>,
    /// The latest watermark so far, computed or said by a row.
    current: Option<i64>,
}

impl Watermark {
    pub(super) fn new(column: &str, lateness: Duration) -> Self {
        let lateness = i64::try_from(lateness.as_micros()).expect("lateness of less than 290,000 years");
        Watermark { by: Some((column.into(), lateness)), ..Watermark::default() }
    }

    /// What `flush` is told.
    pub(super) fn current(&self) -> Option<Timestamp> {
        self.current.map(Timestamp)
    }

    /// Sets the watermark column, if there is one, in rows that do not set it.
    pub(super) fn fill(&mut self, specs: &[InputColumnSpec], rows: &mut [InputRow]) {
        let column = specs.iter().find(|spec| matches!(spec.origin, OriginSpec::Watermark));
        for row in rows {
            self.see(row);
            let Some(column) = column else { continue };
            match row.get(column.name) {
                Some(Value::Timestamp(said)) => self.current = self.current.max(Some(said.0)),
                Some(_) => {}
                None => row.put(column.name, self.current().unwrap_or(Timestamp::MIN).into()),
            }
        }
    }

    fn see(&mut self, row: &InputRow) {
        let Some((column, lateness)) = &self.by else { return };
        if let Some(Value::Timestamp(time)) = row.get(column) {
            self.newest = self.newest.max(Some(time.0));
        }
        self.arrived = self.arrived.max(row.arrived.map(|arrived| arrived.0));
        // A clock that is ahead must not make everybody else late.
        let newest = self.newest.map(|newest| newest.min(self.arrived.unwrap_or(i64::MAX)));
        self.current = self.current.max(newest.map(|newest| newest.saturating_sub(*lateness)));
    }
}
