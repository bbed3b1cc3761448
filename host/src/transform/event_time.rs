//! How far event time has come at the input of each transform: the watermark, row by row.
//!
//! ```text
//! reached    running maximum, in offset order, of the event time of the input's rows, each taken as no later than
//!            the newest Kafka timestamp so far: a row from the future moves nothing
//! watermark  reached minus the lateness that is allowed: no row before it is expected any more
//! ```
//!
//! The event time of a row is the column that files its table; of a topic, or of an output without such a column, the
//! Kafka timestamp. All of it follows from the events and their order alone, and stands in the records: after a
//! restart the same rows have the same watermarks. What the clock adds for a partition without events is handed to
//! `flush` only, and the record says what that was ([`Due`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;

use super::given::Given;
use super::graph::Graph;
use crate::batch::EventTime;
use crate::env::Micros;

/// No lateness and no silence that is waited for is longer: more is a mistake, or unbounded state.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Nothing is known yet.
pub(super) const UNKNOWN: Micros = Micros::MIN;

/// How a transform takes event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// The column of the output it reads that has the event time; none: the Kafka timestamp.
    pub(super) column: Option<usize>,
    /// What rows may be late.
    pub(super) lateness: Micros,
    /// After so long without events the clock goes on; none: never.
    pub(super) idle: Option<Duration>,
}

/// What a flush is told of event time.
#[derive(Clone, Copy, Debug)]
pub enum Due<'a> {
    /// Nothing is known.
    Unknown,
    /// What the rows say. If there were none for a while, this is how long the partition has been idle.
    Rows(Duration),
    /// That no row comes any more: all windows close.
    End,
    /// What was told the first time, by transform.
    Recorded(&'a BTreeMap<String, Micros>),
}

/// The event time of one partition at work; indices are those of the graph's transforms.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    newest: Micros,
    reached: Vec<Micros>,
}

impl Clocks {
    pub(super) fn new(transforms: usize) -> Clocks {
        Clocks { newest: UNKNOWN, reached: vec![UNKNOWN; transforms] }
    }

    pub(super) fn of(graph: &Graph, time: &EventTime) -> Clocks {
        let reached = |name: &String| time.reached.get(name).copied().unwrap_or(UNKNOWN);
        let names = graph.nodes.iter().map(|node| &node.component.spec.name);
        Clocks { newest: time.newest.unwrap_or(UNKNOWN), reached: names.map(reached).collect() }
    }

    /// Those of other transforms in the same partition: nothing has reached them yet.
    pub(super) fn succeed(&self, transforms: usize) -> Clocks {
        Clocks { newest: self.newest, ..Clocks::new(transforms) }
    }

    /// The newest Kafka timestamp, if there was any.
    pub(super) fn newest(&self) -> Option<Micros> {
        Some(self.newest).filter(|at| *at != UNKNOWN)
    }

    /// Takes in the Kafka timestamps of a batch: for each event the newest so far.
    pub(super) fn arrive(&mut self, kafka: &TimestampMicrosecondArray) -> Vec<Micros> {
        let newest = kafka.values().iter().map(|at| {
            self.newest = self.newest.max(*at);
            self.newest
        });
        newest.collect()
    }

    /// The event time that a transform's input has reached, if it is known.
    pub(super) fn reached(&self, at: usize) -> Option<Micros> {
        Some(self.reached[at]).filter(|at| *at != UNKNOWN)
    }

    /// A transform's input has reached this before.
    pub(super) fn reach(&mut self, at: usize, reached: Micros) {
        self.reached[at] = reached;
    }

    /// Takes in a transform's input; `newest` is by event. Gives back the watermark as of each row.
    pub(super) fn pass(
        &mut self,
        at: usize,
        timing: &Timing,
        given: &Given<'_>,
        newest: &[Micros],
    ) -> ArrayRef {
        let (last, origin) = (self.newest, given.origin());
        let of_event = |row: usize| origin.and_then(|origin| newest.get(origin[row] as usize));
        let column = match (given, timing.column) {
            (Given::Edge(edge), Some(column)) => {
                edge.rows.column(column).as_primitive_opt::<TimestampMicrosecondType>()
            }
            _ => None,
        };
        let reached = &mut self.reached[at];
        let marks = (0..given.len()).map(|row| {
            let newest = of_event(row).copied().unwrap_or(last);
            let time = match column {
                Some(column) if column.is_null(row) => UNKNOWN,
                Some(column) => column.value(row).min(newest),
                // An output without event time: the row's own event says when.
                None => of_event(row).map_or(UNKNOWN, |_| own_time(given, row)).min(newest),
            };
            *reached = (*reached).max(time);
            reached.saturating_sub(timing.lateness)
        });
        let marks: TimestampMicrosecondArray = TimestampMicrosecondArray::from_iter_values(marks);
        Arc::new(marks.with_timezone("UTC"))
    }
}

/// The Kafka timestamp of a row's event. Rows of an output carry none: the newest one stands in.
fn own_time(given: &Given<'_>, row: usize) -> Micros {
    match given {
        Given::Topic(batch) => batch.delivered.timestamp.value(batch.rows[row] as usize),
        Given::Edge(_) => Micros::MAX,
    }
}

impl Due<'_> {
    /// What `flush` of a transform is told: up to where its input is complete.
    pub(super) fn watermark(self, name: &str, reached: Option<Micros>, timing: &Timing) -> Option<Micros> {
        let quiet = match self {
            Due::Unknown => return None,
            Due::End => return Some(Micros::MAX),
            Due::Recorded(marks) => return marks.get(name).copied(),
            Due::Rows(quiet) => quiet,
        };
        let over = timing.idle.map_or(Duration::ZERO, |idle| quiet.saturating_sub(idle));
        let over = Micros::try_from(over.as_micros()).unwrap_or(Micros::MAX);
        Some(reached?.saturating_add(over).saturating_sub(timing.lateness))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};

    use super::super::given::Edge;
    use super::*;

    const TIMING: Timing = Timing { column: Some(0), lateness: 10, idle: Some(Duration::from_micros(100)) };

    fn edge(times: &[i64], origin: Option<Vec<u32>>) -> Edge {
        let times = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let column: ArrayRef = Arc::new(times);
        Edge { rows: RecordBatch::try_from_iter([("at", column)]).unwrap(), origin, dictionaries: vec![] }
    }

    /// The watermarks of rows whose events have these Kafka timestamps, cut into batches of that size.
    fn marks(events: &[(i64, i64)], size: usize) -> Vec<i64> {
        let mut clocks = Clocks::new(1);
        let batches = events.chunks(size).flat_map(|batch| {
            let kafka: Vec<i64> = batch.iter().map(|(_, kafka)| *kafka).collect();
            let newest = clocks.arrive(&TimestampMicrosecondArray::from(kafka));
            let times: Vec<i64> = batch.iter().map(|(time, _)| *time).collect();
            let edge = edge(&times, Some((0..).take(batch.len()).collect()));
            let marks = clocks.pass(0, &TIMING, &Given::Edge(&edge), &newest);
            marks.as_primitive::<TimestampMicrosecondType>().values().to_vec()
        });
        batches.collect()
    }

    #[test]
    fn the_watermark_is_the_running_maximum_and_never_beyond_kafkas_time() {
        let events = [(100, 100), (90, 105), (120, 121), (9_000, 130), (125, 90), (140, 141)];
        let expected = [90, 90, 110, 120, 120, 130];
        for size in 1..=events.len() {
            assert_eq!(marks(&events, size), expected, "batches of {size}");
        }
    }

    #[test]
    fn rows_of_a_flush_have_the_newest_time_as_their_bound() {
        let mut clocks = Clocks::new(1);
        let edge = edge(&[5, 500], None);
        clocks.arrive(&TimestampMicrosecondArray::from(vec![50]));
        let marks = clocks.pass(0, &TIMING, &Given::Edge(&edge), &[]);
        assert_eq!(marks.as_primitive::<TimestampMicrosecondType>().values(), &[-5, 40]);
    }

    #[test]
    fn a_flush_is_told_what_rows_say_and_the_clock_only_when_it_is_quiet() {
        let told = |due: Due<'_>, reached| due.watermark("t", reached, &TIMING);
        let quiet = Duration::from_micros;
        assert_eq!(told(Due::Unknown, Some(100)), None);
        assert_eq!(told(Due::Rows(quiet(0)), None), None);
        assert_eq!(told(Due::End, None), Some(Micros::MAX));
        assert_eq!(told(Due::Rows(quiet(0)), Some(100)), Some(90));
        assert_eq!(told(Due::Rows(quiet(100)), Some(100)), Some(90));
        assert_eq!(told(Due::Rows(quiet(150)), Some(100)), Some(140));
        let recorded = BTreeMap::from([("t".to_owned(), 7)]);
        assert_eq!(told(Due::Recorded(&recorded), Some(100)), Some(7));
        assert_eq!(Due::Recorded(&recorded).watermark("u", Some(100), &TIMING), None);
        let never = Timing { idle: None, ..TIMING };
        assert_eq!(Due::Rows(Duration::MAX).watermark("t", Some(100), &never), Some(90));
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let mut clocks = Clocks::new(1);
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let empty = Edge {
            rows: RecordBatch::try_from_iter([("n", none)]).unwrap(),
            origin: None,
            dictionaries: vec![],
        };
        assert_eq!(clocks.pass(0, &TIMING, &Given::Edge(&empty), &[]).len(), 0);
        assert_eq!(clocks.reached(0), None);
    }
}
