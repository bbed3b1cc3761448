//! The graph at work for one partition: its instances, fed in order.
//!
//! A call that comes to nothing ends the epoch: nobody knows what the instance had done by then. The lane goes back
//! to the last commit and comes again with [`careful`](Runner::careful) on; then the rows that are to blame are found
//! one by one and rejected (see `careful.rs`), and the rest goes through.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Int64Array};

use super::fault::Fault;
use super::given::Given;
use super::graph::{Feed, Graph, Node};
use super::instance::Instance;
use super::pass::Work;
use crate::batch::{Batch, Counts, Delivered, Identity, Outcome};
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
    pub(super) careful: bool,
    trouble: Option<(Trouble, Arc<Identity>)>,
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
    /// Rows since the last commit that used up all that a call may take.
    pub(super) vain: usize,
    /// Rows and time of all calls that went well: what a row takes.
    pub(super) pace: (u64, Duration),
}

/// A state with the version of its format; none: there is none.
type Kept = Option<(u32, Arc<Vec<u8>>)>;

/// The states of one instance. A careful run takes snapshots at any time, so there are three.
#[derive(Clone, Default)]
struct State {
    /// As of the last commit.
    committed: Kept,
    /// As of the end of the last epoch, which may be on its way to being committed.
    sealed: Kept,
    /// As of the last snapshot.
    last: Kept,
    /// Whether the next record must name it: a snapshot since the end of the last epoch gave another one, or it was
    /// taken over from a record, perhaps one of another version of the transform.
    changed: bool,
}

impl State {
    fn rewind(&mut self) {
        (self.sealed, self.last) = (self.committed.clone(), self.committed.clone());
        self.changed = self.committed.is_some();
    }
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
        for (node, state) in graph.nodes.iter().zip(&mut next.states) {
            let mut ours = self.graph.nodes.iter().zip(&self.states);
            let same = ours.find(|(old, _)| old.component.spec.name == node.component.spec.name);
            if let (Some((_, old)), Some(_)) = (same, node.component.spec.state_version) {
                *state = State { changed: old.last.is_some(), ..old.clone() };
            }
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
            careful: false,
            trouble: None,
        }
    }

    /// Whether rows that are to blame for a fault are looked for. It costs a snapshot before each call of a transform
    /// with state.
    pub fn careful(&mut self, careful: bool) {
        self.careful = careful;
    }

    /// Whether rows were rejected since the end of the last epoch because a transform failed on them.
    pub fn poisoned(&self) -> bool {
        self.meters.iter().any(|meter| meter.poison > 0)
    }

    /// What kind of fault the last error of the kind [`Abandon`](crate::Kind::Abandon) was about, and whose it was.
    pub fn take_trouble(&mut self) -> Option<(Trouble, Arc<Identity>)> {
        self.trouble.take()
    }

    /// From now on these are the states of the last commit; they take effect with [`abandon`](Runner::abandon).
    pub fn remember(&mut self, states: &[Remembered]) {
        for (node, state) in self.graph.nodes.iter().zip(&mut self.states) {
            let stateful = node.component.spec.state_version.is_some();
            let found = states.iter().find(|(name, _, _)| stateful && *name == node.component.spec.name);
            state.committed = found.map(|(_, version, bytes)| (*version, Arc::new(bytes.clone())));
            state.rewind();
        }
    }

    /// Drops what the instances hold and takes them back to the last commit.
    pub fn abandon(&mut self) -> Result<()> {
        self.rest();
        self.start()
    }

    /// Drops what the instances hold, and the instances.
    pub fn rest(&mut self) {
        for meter in &mut self.meters {
            *meter = Meter { pace: meter.pace, ..Meter::default() };
        }
        self.states.iter_mut().for_each(State::rewind);
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

    /// Asks all transforms for what is due before a commit.
    pub fn flush(&mut self, watermark: Option<i64>) -> Result<Outcome> {
        let graph = self.graph.clone();
        let nobody = nothing();
        let mut work = Work::new(&graph, &nobody);
        for at in 0..graph.nodes.len() {
            self.drain(at, &mut work)?;
            self.flush_one(at, watermark, &mut work)?;
        }
        Ok(work.outcome)
    }

    /// Everything that a commit asks of the instances, to see that it can be had. Its results are dropped.
    pub fn rehearse(graph: &Arc<Graph>, partition: i32, states: &[Remembered]) -> Result<()> {
        let mut runner = Runner::open(graph, partition, states)?;
        runner.flush(None)?;
        runner.snapshot()
    }

    /// Asks one transform for what is due.
    pub(super) fn flush_one(&mut self, at: usize, watermark: Option<i64>, work: &mut Work<'_>) -> Result<()> {
        let graph = self.graph.clone();
        let component = &graph.nodes[at].component;
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
            (self.states[at].last, self.states[at].changed) = (Some((version, Arc::new(state))), true);
        }
        Ok(())
    }

    /// What the last [`take_work`](Runner::take_work) gave is true.
    pub fn committed(&mut self) {
        self.states.iter_mut().for_each(|s| s.committed = s.sealed.clone());
    }

    /// Ends the epoch: what was done since the last call, by transform. To be called after
    /// [`snapshot`](Runner::snapshot).
    pub fn take_work(&mut self) -> Vec<Done> {
        let graph = self.graph.clone();
        let nodes = graph.nodes.iter().zip(self.meters.iter_mut().zip(&mut self.states));
        let done = nodes.map(|(node, (meter, state))| {
            state.sealed = state.last.clone();
            (meter.poison, meter.vain) = (0, 0);
            Done {
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
        let columns: Vec<ArrayRef> = self.graph.nodes[at].reads.iter().map(|s| given.column(s)).collect();
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
        columns: &[ArrayRef],
        (start, rows): (usize, usize),
        allowed: Duration,
        work: &mut Work<'_>,
    ) -> Result<(), Fault> {
        let part: Vec<ArrayRef> = columns.iter().map(|c| c.slice(start, rows)).collect();
        let instance = &mut self.instances[at];
        let checked = instance.process(&self.graph.nodes[at].component.spec, rows, &part, allowed);
        let took = instance.took();
        self.meters[at].busy += took;
        let counts = work.checked(at, given, start, checked?).map_err(Fault::contract)?;
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
        let (name, version, file) = (&component.spec.name, &component.spec.version, component.file());
        Error::abandon(format!("transform {name} {version} ({file}), partition {}: {fault}", self.partition))
    }
}

/// Rows that a transform may flush at one commit.
const FLUSHED: usize = 1_000_000;

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
