//! The graph at work for one partition: its instances, fed in order.
//!
//! A call that comes to nothing ends the epoch: nobody knows what the instance had done by then. The lane goes back
//! to the last commit and comes again with [`careful`](Runner::careful) on; then the rows that are to blame are found
//! one by one and rejected (see `careful.rs`), and the rest goes through.

use std::sync::Arc;
use std::time::Duration;

use super::columns::Column;
use super::event_time::{Clocks, UNKNOWN};
use super::fault::Fault;
use super::given::Given;
use super::graph::{Feed, Graph, Node, Source};
use super::instance::Instance;
use super::pass::Work;
use super::state::{Absent, State};
use crate::batch::{Batch, Counts, EventTime, Identity, Outcome, Vitals};
use crate::env::Micros;
use crate::{Error, Result};

/// Rows that cross in one call. Larger inputs are cut.
pub(super) const CHUNK: usize = 8192;

/// The instances of one partition and the states they had at the last commit.
pub struct Runner {
    pub(super) graph: Arc<Graph>,
    pub(super) partition: i32,
    pub(super) instances: Vec<Instance>,
    pub(super) meters: Vec<Meter>,
    states: Vec<State>,
    /// As of the last commit, of the end of the last epoch, and of now.
    pub(super) clocks: [Clocks; 3],
    absent: Absent,
    /// An epoch was ended by this runner: with its commit what is absent is gone.
    ended: bool,
    pub(super) careful: bool,
    /// Each row that is slow gets all of its time: somebody waits for the result, and no events wait behind it.
    pub(super) patient: bool,
    trouble: Option<(Trouble, Arc<Identity>)>,
    /// Calls that came to nothing: the transform, and the kind of the fault.
    failures: Vec<(Arc<Identity>, &'static str)>,
}

/// What is counted of one instance.
#[derive(Clone, Default)]
pub(super) struct Meter {
    /// What became of its rows since the last call of [`Runner::take_work`].
    pub(super) counts: Counts,
    /// How long it was at work since then.
    pub(super) busy: Duration,
    /// Rows since the last commit that it failed on.
    pub(super) poison: usize,
    /// Calls with few rows since the last commit that failed, and not because they took long.
    pub(super) few: usize,
    /// Rows since care began that used up all that a call may take.
    pub(super) vain: usize,
    /// What its last flush was told.
    pub(super) watermark: Option<Micros>,
    /// Rows and time of all calls that went well: what a row takes.
    pub(super) pace: (u64, Duration),
}

/// What kind of fault ended an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A call with rows failed: it can be found out which.
    Rows,
    /// A call without rows failed: in open, restore, flush or snapshot. There is no row to blame.
    Call,
    /// More rows failed than [`poison_rows`](super::limits::Limits::poison_rows) allows.
    Poisoned,
}

/// What one transform did since the last call of [`Runner::take_work`].
pub struct Done {
    /// The transform.
    pub identity: Arc<Identity>,
    /// The transform whose output it reads; none: the topic.
    pub reads: Option<String>,
    /// The tables that it makes.
    pub tables: Vec<String>,
    /// What became of its rows.
    pub counts: Counts,
    /// How long it was at work, on its lane's processor.
    pub busy: Duration,
    /// Its state with the version of its format, if a snapshot gave another one.
    pub state: Option<(u32, Vec<u8>)>,
    /// The event time that its input has reached.
    pub reached: Option<Micros>,
    /// What its flush was told: up to where event time is complete.
    pub watermark: Option<Micros>,
    /// What it holds and what befell it.
    pub vitals: Vitals,
}

/// What a transform remembered: its name, the version of the state's format, the state.
pub type Remembered = (String, u32, Vec<u8>);

impl Runner {
    /// Opens an instance of each transform, with what it remembered at the last commit.
    pub fn open(graph: &Arc<Graph>, partition: i32, states: &[Remembered]) -> Result<Runner> {
        let mut runner = Runner::idle(graph, partition);
        runner.remember(states);
        runner.abandon()?;
        Ok(runner)
    }

    /// A runner that takes over from this one, between two batches, with another graph: [`start`](Runner::start) opens
    /// its instances. Transforms of the same name go on with what they remember now; what others remember ends with
    /// them.
    pub fn succeed(&self, graph: &Arc<Graph>) -> Runner {
        let mut next = Runner::idle(graph, self.partition);
        next.absent = self.absent.clone();
        for (at, (node, state)) in self.graph.nodes.iter().zip(&self.states).enumerate() {
            let reached = self.clocks.each_ref().map(|clocks| clocks.reached(at).unwrap_or(UNKNOWN));
            next.absent.insert(node.component.spec.name.clone(), (state.clone(), reached));
        }
        next.clocks = self.clocks.each_ref().map(|clocks| clocks.succeed(graph.nodes.len()));
        for (at, (node, state)) in graph.nodes.iter().zip(&mut next.states).enumerate() {
            let Some((old, reached)) = next.absent.remove(&node.component.spec.name) else { continue };
            if node.component.spec.state_version.is_some() {
                *state = State { changed: old.last.is_some(), ..old };
            }
            next.clocks.iter_mut().zip(reached).for_each(|(clocks, reached)| clocks.reach(at, reached));
        }
        next
    }

    /// A runner without instances: [`abandon`](Runner::abandon) opens them.
    pub fn idle(graph: &Arc<Graph>, partition: i32) -> Runner {
        let nodes = graph.nodes.len();
        Runner {
            graph: graph.clone(),
            partition,
            instances: Vec::new(),
            meters: vec![Meter::default(); nodes],
            states: vec![State::default(); nodes],
            clocks: [(); 3].map(|()| Clocks::new(nodes)),
            absent: Absent::new(),
            ended: false,
            careful: false,
            patient: false,
            trouble: None,
            failures: Vec::new(),
        }
    }

    /// Whether rows that are to blame for a fault are looked for. It costs a snapshot before each call of a transform
    /// with state.
    pub fn careful(&mut self, careful: bool) {
        self.careful = careful;
        if !careful {
            self.meters.iter_mut().for_each(|meter| meter.vain = 0);
        }
    }

    /// From now on each row that is slow gets all of its time: somebody waits for the result.
    pub fn patiently(&mut self) {
        self.patient = true;
    }

    /// Whether it remembers anything else than at the last commit.
    pub fn changed(&self) -> bool {
        self.states.iter().any(|state| state.last != state.committed)
    }

    /// Whether the clock may make anything due, without events.
    pub fn timed(&self) -> bool {
        let mut timings = self.graph.nodes.iter().filter_map(|node| node.timing);
        timings.any(|timing| timing.idle.is_some())
    }

    /// Whether rows were rejected since the end of the last epoch because a transform failed on them.
    pub fn poisoned(&self) -> bool {
        self.meters.iter().any(|meter| meter.poison > 0)
    }

    /// What kind of fault the last error of the kind [`Abandon`](crate::Kind::Abandon) was about, and whose it was.
    pub fn take_trouble(&mut self) -> Option<(Trouble, Arc<Identity>)> {
        self.trouble.take()
    }

    /// Calls that came to nothing since this was asked last: the transform, and the kind of the fault, which is
    /// `trap`, `timeout`, `memory`, `invalid` or `other`.
    pub fn take_failures(&mut self) -> Vec<(Arc<Identity>, &'static str)> {
        std::mem::take(&mut self.failures)
    }

    /// From now on these are the states of the last commit; they take effect with [`abandon`](Runner::abandon).
    pub fn remember(&mut self, states: &[Remembered]) {
        for (node, state) in self.graph.nodes.iter().zip(&mut self.states) {
            let stateful = node.component.spec.state_version.is_some();
            let found = states.iter().find(|(name, _, _)| stateful && *name == node.component.spec.name);
            state.committed = found.map(|(_, version, bytes)| (*version, Arc::new(bytes.clone())));
            state.rewind();
        }
        self.absent.clear();
        for (name, version, bytes) in states {
            if self.graph.components().all(|component| component.spec.name != *name) {
                let mut state =
                    State { committed: Some((*version, Arc::new(bytes.clone()))), ..State::default() };
                state.rewind();
                self.absent.insert(name.clone(), (state, [UNKNOWN; 3]));
            }
        }
    }

    /// From now on this is how far event time had come at the last commit.
    pub fn stand(&mut self, time: &EventTime) {
        self.clocks = [(); 3].map(|()| Clocks::of(&self.graph, time));
        for (name, (_, reached)) in &mut self.absent {
            *reached = [time.reached.get(name).copied().unwrap_or(UNKNOWN); 3];
        }
    }

    /// The newest Kafka timestamp up to the end of the last epoch.
    pub fn newest(&self) -> Option<Micros> {
        self.clocks[1].newest()
    }

    /// Drops what the instances hold and takes them back to the last commit.
    pub fn abandon(&mut self) -> Result<()> {
        self.rest();
        self.start()
    }

    /// Drops what the instances hold, and the instances.
    pub fn rest(&mut self) {
        for meter in &mut self.meters {
            *meter = Meter { pace: meter.pace, vain: meter.vain, ..Meter::default() };
        }
        self.states.iter_mut().for_each(State::rewind);
        self.clocks = [(); 3].map(|()| self.clocks[0].clone());
        for (state, reached) in self.absent.values_mut() {
            state.rewind();
            *reached = [reached[0]; 3];
        }
        self.ended = false;
        self.instances.clear();
    }

    /// Opens an instance of each transform, as of its last snapshot.
    pub fn start(&mut self) -> Result<()> {
        self.instances.clear();
        for at in 0..self.graph.nodes.len() {
            let instance = self.instance(at).map_err(|e| self.failed(at, Trouble::Call, &e))?;
            self.instances.push(instance);
        }
        Ok(())
    }

    /// A new instance of a transform, as of its last snapshot.
    fn instance(&self, at: usize) -> Result<Instance, Fault> {
        let node = &self.graph.nodes[at];
        let mut instance = node.component.instantiate()?;
        if let (Some(_), Some((version, bytes))) = (node.component.spec.state_version, &self.states[at].last)
        {
            instance.restore(*version, bytes)?;
        }
        Ok(instance)
    }

    /// Takes one instance back to its last snapshot.
    pub(super) fn renew(&mut self, at: usize) -> Result<()> {
        self.instances[at] = self.instance(at).map_err(|e| self.failed(at, Trouble::Call, &e))?;
        Ok(())
    }

    /// Runs a batch through all transforms.
    pub fn batch(&mut self, batch: &Batch) -> Result<Outcome> {
        let graph = self.graph.clone();
        let mut work = Work::new(&graph, &batch.delivered);
        if graph.nodes.iter().any(|node| node.timing.is_some()) {
            work.newest = self.clocks[2].arrive(&batch.delivered.timestamp);
        }
        for (at, node) in graph.nodes.iter().enumerate() {
            match node.feed {
                Feed::Topic => {
                    let input = Given::Topic(batch);
                    self.process(at, &input, &mut work)?;
                }
                Feed::Output { .. } => self.drain(at, &mut work)?,
            }
        }
        Ok(work.outcome)
    }

    /// Takes the state of all instances, for the commit that begins now.
    pub fn snapshot(&mut self) -> Result<()> {
        (0..self.instances.len()).try_for_each(|at| self.keep(at))
    }

    /// Takes the state of one instance.
    pub(super) fn keep(&mut self, at: usize) -> Result<()> {
        let Some(version) = self.graph.nodes[at].component.spec.state_version else { return Ok(()) };
        let state = self.instances[at].snapshot();
        self.meters[at].busy += self.instances[at].took();
        if let Some(state) = state.map_err(|e| self.failed(at, Trouble::Call, &e))? {
            self.measure(at, state.len());
            (self.states[at].last, self.states[at].changed) = (Some((version, Arc::new(state))), true);
        }
        Ok(())
    }

    /// Warns, once until it is smaller again, of a state that comes near to its limit: beyond it the transform fails.
    fn measure(&mut self, at: usize, bytes: usize) {
        let most = self.limits(at).state;
        let full = bytes > most / 4 * 3;
        if full && !self.states[at].full {
            tracing::warn!(
                transform = self.graph.nodes[at].component.spec.name,
                partition = self.partition,
                "its state has {bytes} bytes, more than three quarters of what it may have (limits.state-mib): beyond \
                 {most} it fails"
            );
        }
        self.states[at].full = full;
    }

    /// What the last [`take_work`](Runner::take_work) gave is true.
    pub fn committed(&mut self) {
        self.states.iter_mut().for_each(|s| s.committed = s.sealed.clone());
        self.clocks[0] = self.clocks[1].clone();
        if std::mem::take(&mut self.ended) {
            self.absent.clear();
        }
        for (state, reached) in self.absent.values_mut() {
            // The part was of the set before.
            state.committed = state.sealed.clone();
            reached[0] = reached[1];
        }
    }

    /// Ends the epoch: what was done since the last call, by transform. To be called after
    /// [`snapshot`](Runner::snapshot).
    pub fn take_work(&mut self) -> Vec<Done> {
        let graph = self.graph.clone();
        self.clocks[1] = self.clocks[2].clone();
        self.ended = true;
        let clocks = &self.clocks[1];
        let nodes = graph.nodes.iter().zip(self.meters.iter_mut().zip(&mut self.states)).enumerate();
        let done = nodes.map(|(at, (node, (meter, state)))| {
            state.sealed = state.last.clone();
            let vitals = Vitals {
                memory: self.instances.get(at).map_or(0, Instance::memory) as u64,
                state: state.last.as_ref().map_or(0, |(_, bytes)| bytes.len()) as u64,
                poison: {
                    meter.few = 0;
                    std::mem::take(&mut meter.poison) as u64
                },
            };
            Done {
                vitals,
                identity: node.component.identity.clone(),
                reads: match node.feed {
                    Feed::Topic => None,
                    Feed::Output { node, .. } => Some(graph.nodes[node].component.spec.name.clone()),
                },
                tables: node.outputs.iter().filter_map(|o| Some(o.table.as_ref()?.name.clone())).collect(),
                counts: std::mem::take(&mut meter.counts),
                busy: std::mem::take(&mut meter.busy),
                state: std::mem::take(&mut state.changed)
                    .then(|| state.last.clone())
                    .flatten()
                    .map(|(v, b)| (v, b.to_vec())),
                reached: clocks.reached(at),
                watermark: meter.watermark.take(),
            }
        });
        done.collect()
    }

    /// Feeds a transform all that waits for it.
    pub(super) fn drain(&mut self, at: usize, work: &mut Work<'_>) -> Result<()> {
        let Feed::Output { node, output } = self.graph.nodes[at].feed else { return Ok(()) };
        // They stay where they are: another transform may read the same output.
        for edge in work.waiting(node, output) {
            self.process(at, &Given::Edge(&edge), work)?;
        }
        Ok(())
    }

    /// Runs one transform over its input, cut into calls.
    pub(super) fn process(&mut self, at: usize, given: &Given<'_>, work: &mut Work<'_>) -> Result<()> {
        let graph = self.graph.clone();
        let timing = graph.nodes[at].timing.as_ref();
        let marks = timing.map(|timing| self.clocks[2].pass(at, timing, given, &work.newest));
        let column = |source: &Source| match (source, &marks) {
            (Source::Watermark, Some(marks)) => marks.clone().into(),
            (source, _) => given.column(source),
        };
        let columns: Vec<Column> = graph.nodes[at].reads.iter().map(column).collect();
        for start in (0..given.len()).step_by(CHUNK) {
            let rows = CHUNK.min(given.len() - start);
            if self.careful {
                self.find_poison(at, given, &columns, (start, rows), work)?;
                continue;
            }
            let allowed = self.limits(at).call;
            let done = self.call(at, given, &columns, (start, rows), allowed, work);
            done.map_err(|e| self.failed(at, Trouble::Rows, &e))?;
        }
        Ok(())
    }

    /// One call with some rows: all of it goes into `work`, or nothing.
    pub(super) fn call(
        &mut self,
        at: usize,
        given: &Given<'_>,
        columns: &[Column],
        (start, rows): (usize, usize),
        allowed: Duration,
        work: &mut Work<'_>,
    ) -> Result<(), Fault> {
        let part: Vec<Column> = columns.iter().map(|c| c.slice(start, rows)).collect();
        let instance = &mut self.instances[at];
        let checked = instance.process(&self.graph.nodes[at].component.spec, rows, &part, allowed);
        let took = instance.took();
        self.meters[at].busy += took;
        let counts = checked.and_then(|done| work.checked(at, given, start, done).map_err(Fault::contract));
        let counts = counts.inspect_err(|fault| {
            self.failures.push((self.graph.nodes[at].component.identity.clone(), fault.label()));
        })?;
        let meter = &mut self.meters[at];
        meter.counts += counts;
        meter.pace = (meter.pace.0 + rows as u64, meter.pace.1 + took);
        Ok(())
    }

    pub(super) fn limits(&self, at: usize) -> &super::limits::Limits {
        &self.graph.nodes[at].component.loaded.sidecar.limits
    }

    /// The error of a fault. It ends the epoch.
    pub(super) fn failed(&mut self, at: usize, trouble: Trouble, fault: &Fault) -> Error {
        let Node { component, .. } = &self.graph.nodes[at];
        self.trouble = Some((trouble, component.identity.clone()));
        if trouble == Trouble::Call {
            self.failures.push((component.identity.clone(), fault.label()));
        }
        let (name, version, file) = (&component.spec.name, &component.spec.version, component.file());
        Error::abandon(format!("transform {name} {version} ({file}), partition {}: {fault}", self.partition))
    }
}
