//! What is due before a commit: every transform is asked, each after those that it reads.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array};

use super::event_time::Due;
use super::fault::Fault;
use super::graph::{Graph, Node};
use super::pass::Work;
use super::run::{Remembered, Runner, Trouble};
use crate::Result;
use crate::batch::{Delivered, Outcome};

/// Rows that a transform may flush at one commit.
const FLUSHED: usize = 1_000_000;

impl Runner {
    /// Asks all transforms for what is due before a commit.
    pub fn flush(&mut self, due: Due<'_>) -> Result<Outcome> {
        let graph = self.graph.clone();
        let nobody = nothing();
        let mut work = Work::new(&graph, &nobody);
        for at in 0..graph.nodes.len() {
            self.drain(at, &mut work)?;
            self.flush_one(at, due, &mut work)?;
        }
        Ok(work.outcome)
    }

    /// Everything that a commit asks of the instances, to see that it can be had. Its results are dropped.
    pub fn rehearse(graph: &Arc<Graph>, partition: i32, states: &[Remembered]) -> Result<()> {
        let mut runner = Runner::open(graph, partition, states)?;
        runner.flush(Due::Unknown)?;
        runner.snapshot()
    }

    /// Asks one transform for what is due.
    pub(super) fn flush_one(&mut self, at: usize, due: Due<'_>, work: &mut Work<'_>) -> Result<()> {
        let graph = self.graph.clone();
        let Node { component, timing, .. } = &graph.nodes[at];
        let reached = self.clocks[2].reached(at);
        let watermark = timing.and_then(|timing| due.watermark(&component.spec.name, reached, &timing));
        // What feeds it was told of idle time already: its rows have moved `reached`, and it must not count twice.
        let watermark = match (graph.timed_before(at), due, timing) {
            (Some(before), Due::Rows(_), Some(timing)) => {
                let rows = reached.map(|reached| reached.saturating_sub(timing.lateness));
                watermark.map(|mark| mark.min(self.meters[before].watermark.max(rows).unwrap_or(mark)))
            }
            _ => watermark,
        };
        self.meters[at].watermark = watermark;
        // Bounded: a transform that always has more would hold up the commit for ever.
        let limits = &component.loaded.sidecar.limits;
        let (mut took, mut rows) = (Duration::ZERO, 0);
        loop {
            let flushed = self.instances[at].flush(&component.spec, watermark);
            took += self.instances[at].took();
            self.meters[at].busy += self.instances[at].took();
            let (emissions, more) = flushed.map_err(|e| self.failed(at, Trouble::Call, &e))?;
            for (output, emission) in emissions {
                rows += emission.count;
                let emitted = work.fresh(at, output, emission).map_err(Fault::contract);
                emitted.map_err(|e| self.failed(at, Trouble::Call, &e))?;
            }
            if !more {
                return Ok(());
            }
            if rows > FLUSHED || took > limits.call * 3 {
                let e = format!("it still has more to flush after {rows} rows and {took:?}");
                return Err(self.failed(at, Trouble::Call, &Fault::contract(e)));
            }
        }
    }
}

/// No events: what is flushed stems from none.
pub(super) fn nothing() -> Arc<Delivered> {
    Arc::new(Delivered {
        topic: "".into(),
        partition: 0,
        from: 0,
        to: 0,
        offset: Int64Array::from(Vec::<i64>::new()),
        timestamp: Vec::<i64>::new().into(),
        key: BinaryArray::from_vec(vec![]),
        value: BinaryArray::from_vec(vec![]),
        headers: crate::table::no_headers(0),
    })
}
