//! Events that were rejected, on their way through the graph once more.
//!
//! An event that could not be decoded goes to all transforms. One that a transform refused goes to that transform and
//! to those that read its outputs, and to no others: they have had it. If the transform reads the output of another,
//! that one makes its input again, and everything else that comes of it is dropped. Which row of an event was refused
//! is not known, so that is done only where the event makes exactly one row; other events are left as they were.
//!
//! Instances are fresh. What a transform with state took in is asked for once, by a flush at the end of time: windows
//! of these events alone, beside those that the table has. One that took rows in and hands out nothing even then is an
//! error.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::event_time::Due;
use super::flush::nothing;
use super::given::{Edge, Given};
use super::graph::{Feed, Graph};
use super::pass::Work;
use super::roles::{Role, for_refused};
use super::run::{Done, Runner};
use crate::batch::{Batch, Outcome};
use crate::{Error, Result};

/// The graph at work for rejected events of one partition.
pub struct Again {
    runner: Runner,
    roles: Vec<Role>,
    /// The transform that refused them; none: they could not be decoded.
    by: Option<usize>,
    /// Rows that each transform handed out.
    made: Vec<u64>,
}

/// What became of some events.
pub struct Gone {
    /// What the transforms made of them.
    pub outcome: Outcome,
    /// Events of which nothing was made: they stay rejected as they were. Indices into the batch's events.
    pub left: Vec<u32>,
}

impl Graph {
    /// Whether there is a transform of this name, and whether it reads the output of another.
    pub fn reads_another(&self, transform: &str) -> Option<bool> {
        let node = self.nodes.iter().find(|node| node.component.spec.name == transform)?;
        Some(node.feed != Feed::Topic)
    }
}

impl Again {
    /// Fresh instances, for events that the transform of this name refused; none: that could not be decoded.
    pub fn open(graph: &Arc<Graph>, partition: i32, by: Option<&str>) -> Result<Again> {
        let at = |name: &str| graph.nodes.iter().position(|node| node.component.spec.name == name);
        let by = match by {
            Some(name) => Some(at(name).ok_or_else(|| {
                Error::stop(format!("there is no transform {name} in the set that the commit log names"))
            })?),
            None => None,
        };
        let mut runner = Runner::open(graph, partition, &[])?;
        runner.careful(true);
        runner.patient = true;
        Ok(Again { runner, roles: for_refused(&graph.feeds(), by), by, made: vec![0; graph.nodes.len()] })
    }

    /// Runs events through their transforms.
    pub fn batch(&mut self, batch: &Batch) -> Result<Gone> {
        let graph = self.runner.graph.clone();
        let mut work = Work::new(&graph, &batch.delivered);
        let mut left = Vec::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            let (role, before) = (self.roles[at], (work.outcome.rows.len(), work.outcome.rejects.len()));
            match (role, node.feed) {
                (Role::Off, _) => continue,
                (_, Feed::Topic) => self.runner.process(at, &Given::Topic(batch), &mut work)?,
                (Role::On, Feed::Output { node, output }) if self.by == Some(at) => {
                    let (edges, others) = single(&batch.rows, &work.waiting(node, output))?;
                    left = others;
                    for edge in edges {
                        self.runner.process(at, &Given::Edge(&edge), &mut work)?;
                    }
                }
                (_, Feed::Output { .. }) => self.runner.drain(at, &mut work)?,
            }
            if role == Role::Silent {
                work.outcome.rows.truncate(before.0);
                work.outcome.rejects.truncate(before.1);
            }
            self.count(at, &work, before.0);
        }
        Ok(Gone { outcome: work.outcome, left })
    }

    /// What the transforms hand out after the last batch.
    pub fn flush(&mut self) -> Result<Outcome> {
        let graph = self.runner.graph.clone();
        let nobody = nothing();
        let mut work = Work::new(&graph, &nobody);
        for (at, node) in graph.nodes.iter().enumerate() {
            if self.roles[at] != Role::On {
                continue;
            }
            let before = work.outcome.rows.len();
            self.runner.drain(at, &mut work)?;
            self.runner.flush_one(at, Due::End, &mut work)?;
            self.count(at, &work, before);
            let absorbed = self.runner.meters[at].counts.absorbed;
            if absorbed > 0 && self.made[at] == 0 {
                return Err(Error::stop(format!(
                    "transform {} took in {absorbed} rows and hands out none, though no more will come: what it holds \
                     back cannot be made true by a replay, so nothing was",
                    node.component.spec.name
                )));
            }
        }
        Ok(work.outcome)
    }

    /// What was done, by transform. To be called last.
    pub fn work(&mut self) -> Vec<Done> {
        let done = self.runner.take_work().into_iter().zip(&self.roles);
        done.filter(|(_, role)| **role == Role::On).map(|(done, _)| done).collect()
    }

    /// Counts what a transform handed out: to tables, from `before` on, and to those that read it.
    fn count(&mut self, at: usize, work: &Work<'_>, before: usize) {
        let rows = work.outcome.rows.iter().skip(before).map(|rows| rows.batch.num_rows());
        let outputs = 0..self.runner.graph.nodes[at].outputs.len();
        let read = outputs.flat_map(|output| work.waiting(at, output)).map(|edge| edge.rows.num_rows());
        self.made[at] += rows.chain(read).sum::<usize>() as u64;
    }
}

/// The rows of events that have exactly one, and the events that have not.
fn single(events: &[u32], edges: &[Rc<Edge>]) -> Result<(Vec<Edge>, Vec<u32>)> {
    let mut rows: HashMap<u32, u32> = HashMap::new();
    for event in edges.iter().filter_map(|edge| edge.origin.as_ref()).flatten() {
        *rows.entry(*event).or_default() += 1;
    }
    let alone = |event: &u32| rows.get(event) == Some(&1);
    let mut kept = Vec::new();
    for edge in edges {
        // Without an event behind them: of a flush.
        let Some(origin) = &edge.origin else { continue };
        let picked: Vec<(u32, u32)> = (0..).zip(origin.iter().copied()).filter(|(_, e)| alone(e)).collect();
        let at = UInt32Array::from_iter_values(picked.iter().map(|(at, _)| *at));
        let rows: RecordBatch = take_record_batch(&edge.rows, &at)
            .map_err(|e| Error::stop(format!("cannot pick rows of single events: {e}")))?;
        kept.push(Edge {
            rows,
            origin: Some(picked.into_iter().map(|(_, event)| event).collect()),
            dictionaries: vec![],
        });
    }
    Ok((kept, events.iter().copied().filter(|event| !alone(event)).collect()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn only_events_with_one_row_go_on() {
        let edge = |values: Vec<i64>, origin: Option<Vec<u32>>| {
            let column: ArrayRef = Arc::new(Int64Array::from(values));
            Rc::new(Edge {
                rows: RecordBatch::try_from_iter([("n", column)]).unwrap(),
                origin,
                dictionaries: vec![],
            })
        };
        let edges = [
            edge(vec![10, 11, 20], Some(vec![1, 1, 2])),
            edge(vec![30, 40], Some(vec![3, 4])),
            edge(vec![41], Some(vec![4])),
            edge(vec![99], None),
        ];
        let (kept, left) = single(&[0, 1, 2, 3, 4], &edges).unwrap();
        let values: Vec<i64> = kept
            .iter()
            .flat_map(|e| e.rows.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        let origins: Vec<u32> = kept.into_iter().flat_map(|edge| edge.origin.unwrap()).collect();
        assert_eq!((values, origins, left), (vec![20, 30], vec![2, 3], vec![0, 1, 4]));
    }
}
