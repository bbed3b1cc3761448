//! Events of the past, in the order of their time, through some transforms of the graph.
//!
//! Instances are fresh, and event time begins with the first event. What they hold back is asked for now and then, and
//! at the end only as far as the stream was asked for it: what the stream has not handed out yet, it will.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event_time::Due;
use super::flush::nothing;
use super::given::Given;
use super::graph::{Feed, Graph};
use super::pass::Work;
use super::roles::{Role, for_some};
use super::run::{Done, Runner};
use crate::batch::{Batch, Outcome};
use crate::env::Micros;
use crate::{Error, Result};

/// Some transforms at work for one partition.
pub struct Anew {
    runner: Runner,
    roles: Vec<Role>,
}

impl Graph {
    /// The transforms that work if those of these names are to make their tables anew: they, and those that read what
    /// they make. None named: all. An error names one that is not there.
    pub fn anew(&self, names: &[String]) -> Result<Vec<&str>> {
        let roles = self.roles(names)?;
        let nodes = self.nodes.iter().zip(roles).filter(|(_, role)| *role == Role::On);
        Ok(nodes.map(|(node, _)| node.component.spec.name.as_str()).collect())
    }

    /// The tables that these transforms make.
    pub fn tables_of(&self, names: &[&str]) -> Vec<Arc<crate::table::Table>> {
        let nodes = self.nodes.iter().filter(|node| names.contains(&node.component.spec.name.as_str()));
        nodes.flat_map(|node| &node.outputs).filter_map(|output| output.table.clone()).collect()
    }

    fn roles(&self, names: &[String]) -> Result<Vec<Role>> {
        let name = |at: usize| &self.nodes[at].component.spec.name;
        let all = 0..self.nodes.len();
        if let Some(unknown) = names.iter().find(|wanted| all.clone().all(|at| name(at) != *wanted)) {
            let known: Vec<&str> = all.map(|at| name(at).as_str()).collect();
            return Err(Error::usage(format!(
                "there is no transform {unknown} in the set that the commit log names; there are: {}",
                known.join(", ")
            )));
        }
        let chosen: Vec<usize> = all.filter(|at| names.is_empty() || names.contains(name(*at))).collect();
        Ok(for_some(&self.feeds(), &chosen))
    }
}

impl Anew {
    /// Fresh instances. With `careful`, rows that a transform fails on are found and rejected; without, the first is
    /// an error.
    pub fn open(graph: &Arc<Graph>, partition: i32, names: &[String], careful: bool) -> Result<Anew> {
        let mut runner = Runner::open(graph, partition, &[])?;
        runner.careful(careful);
        runner.patient = true;
        Ok(Anew { runner, roles: graph.roles(names)? })
    }

    /// Runs events through the transforms.
    pub fn batch(&mut self, batch: &Batch) -> Result<Outcome> {
        let graph = self.runner.graph.clone();
        let mut work = Work::new(&graph, &batch.delivered);
        work.newest = self.runner.clocks[2].arrive(&batch.delivered.timestamp);
        for (at, node) in graph.nodes.iter().enumerate() {
            self.one(at, &mut work, |runner, work| match node.feed {
                Feed::Topic => runner.process(at, &Given::Topic(batch), work),
                Feed::Output { .. } => runner.drain(at, work),
            })?;
        }
        Ok(work.outcome)
    }

    /// What the transforms hand out once event time has come as far as their rows say.
    pub fn flush(&mut self) -> Result<Outcome> {
        self.due(Due::Rows(std::time::Duration::ZERO))
    }

    /// What the transforms hand out in the end: up to where the stream was told, by transform, that event time is
    /// complete.
    pub fn end(&mut self, told: &BTreeMap<String, Micros>) -> Result<Outcome> {
        self.due(Due::Recorded(told))
    }

    fn due(&mut self, due: Due<'_>) -> Result<Outcome> {
        let graph = self.runner.graph.clone();
        let nobody = nothing();
        let mut work = Work::new(&graph, &nobody);
        for at in 0..graph.nodes.len() {
            self.one(at, &mut work, |runner, work| {
                runner.drain(at, work)?;
                runner.flush_one(at, due, work)
            })?;
        }
        Ok(work.outcome)
    }

    /// What one transform does, as far as it has a part.
    fn one<'a>(
        &mut self,
        at: usize,
        work: &mut Work<'a>,
        does: impl FnOnce(&mut Runner, &mut Work<'a>) -> Result<()>,
    ) -> Result<()> {
        let before = (work.outcome.rows.len(), work.outcome.rejects.len());
        match self.roles[at] {
            Role::Off => return Ok(()),
            Role::Silent | Role::On => does(&mut self.runner, work)?,
        }
        if self.roles[at] == Role::Silent {
            work.outcome.rows.truncate(before.0);
            work.outcome.rejects.truncate(before.1);
        }
        Ok(())
    }

    /// What was done, by transform.
    pub fn work(&mut self) -> Vec<Done> {
        let done = self.runner.take_work().into_iter().zip(&self.roles);
        done.filter(|(_, role)| **role == Role::On).map(|(done, _)| done).collect()
    }
}
