//! The graph at work for one partition: its instances, fed in order.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute;

use super::given::{Edge, Given, pick};
use super::graph::{Feed, Graph, Node, Plan, Source};
use super::instance::Instance;
use super::outcome::{Checked, Emission, Picked};
use crate::batch::{Batch, Counts, Delivered, Outcome, Reject, Rows, Stage};
use crate::{Error, Result};

/// Rows that cross in one call. Larger inputs are cut.
const CHUNK: usize = 8192;

/// The instances of one partition and the states they had at the last commit.
pub struct Runner {
    graph: Arc<Graph>,
    partition: i32,
    instances: Vec<Instance>,
    counts: Vec<Counts>,
    states: Vec<State>,
}

/// The state of one instance, with the version of its format.
#[derive(Clone, Default)]
struct State {
    /// As of the last commit.
    committed: Option<(u32, Vec<u8>)>,
    /// As of the commit that is under way.
    pending: Option<(u32, Vec<u8>)>,
    /// Whether the last snapshot gave another one.
    changed: bool,
}

/// What one transform did since the last call of [`Runner::take_work`].
pub struct Done {
    /// The transform.
    pub identity: Arc<crate::batch::Identity>,
    /// The transform whose output it reads; none: the topic.
    pub reads: Option<String>,
    /// The tables that it makes.
    pub tables: Vec<String>,
    /// What became of its rows.
    pub counts: Counts,
    /// Its state with the version of its format, if the last snapshot gave another one.
    pub state: Option<(u32, Vec<u8>)>,
}

/// What a transform remembered: its name, the version of the state's format, the state.
pub type Remembered = (String, u32, Vec<u8>);

impl Runner {
    /// Opens an instance of each transform, with what it remembered at the last commit.
    pub fn open(graph: &Arc<Graph>, partition: i32, states: &[Remembered]) -> Result<Runner> {
        let nodes = graph.nodes.len();
        let mut runner = Runner {
            graph: graph.clone(),
            partition,
            instances: Vec::new(),
            counts: vec![Counts::default(); nodes],
            states: vec![State::default(); nodes],
        };
        runner.remember(states);
        runner.reopen()?;
        Ok(runner)
    }

    /// From now on these are the states of the last commit; they take effect with [`abandon`](Runner::abandon).
    pub fn remember(&mut self, states: &[Remembered]) {
        for (node, state) in self.graph.nodes.iter().zip(&mut self.states) {
            let found = states.iter().find(|(name, _, _)| *name == node.component.spec.name);
            state.committed = found.map(|(_, version, bytes)| (*version, bytes.clone()));
            (state.pending, state.changed) = (state.committed.clone(), false);
        }
    }

    /// Drops what the instances hold and takes them back to the last commit.
    pub fn abandon(&mut self) -> Result<()> {
        self.counts.fill(Counts::default());
        self.states.iter_mut().for_each(|s| (s.pending, s.changed) = (s.committed.clone(), false));
        self.reopen()
    }

    fn reopen(&mut self) -> Result<()> {
        self.instances.clear();
        for (node, state) in self.graph.nodes.iter().zip(&self.states) {
            let fail = |e: String| fault(node, self.partition, &e);
            let mut instance = node.component.instantiate().map_err(fail)?;
            if let (Some(_), Some((version, bytes))) = (node.component.spec.state_version, &state.committed) {
                instance.restore(*version, bytes).map_err(fail)?;
            }
            self.instances.push(instance);
        }
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
        for (at, node) in graph.nodes.iter().enumerate() {
            self.drain(at, &mut work)?;
            // Bounded: a transform that always has more would hold up the commit for ever.
            let limits = &node.component.loaded.sidecar.limits;
            let (begun, mut rows) = (Instant::now(), 0);
            loop {
                let flushed = self.instances[at].flush(&node.component.spec, watermark);
                let (emissions, more) = flushed.map_err(|e| fault(node, self.partition, &e))?;
                for (output, emission) in emissions {
                    rows += emission.count;
                    work.fresh(at, output, emission).map_err(|e| fault(node, self.partition, &e))?;
                }
                if !more {
                    break;
                }
                if rows > FLUSHED || begun.elapsed() > limits.call * 10 {
                    let e = format!("it still has more to flush after {rows} rows and {:?}", begun.elapsed());
                    return Err(fault(node, self.partition, &e));
                }
            }
        }
        Ok(work.outcome)
    }

    /// Takes the state of all instances, for the commit that begins now.
    pub fn snapshot(&mut self) -> Result<()> {
        for (at, node) in self.graph.nodes.iter().enumerate() {
            if let Some(version) = node.component.spec.state_version {
                let state = self.instances[at].snapshot().map_err(|e| fault(node, self.partition, &e))?;
                if let Some(state) = state {
                    (self.states[at].pending, self.states[at].changed) = (Some((version, state)), true);
                }
            }
        }
        Ok(())
    }

    /// The states of the last [`snapshot`](Runner::snapshot) are true.
    pub fn committed(&mut self) {
        self.states.iter_mut().for_each(|s| s.committed = s.pending.clone());
    }

    /// What was done since the last call, by transform.
    pub fn take_work(&mut self) -> Vec<Done> {
        let graph = self.graph.clone();
        let nodes = graph.nodes.iter().zip(self.counts.iter_mut().zip(&mut self.states));
        let done = nodes.map(|(node, (counts, state))| Done {
            identity: node.component.identity.clone(),
            reads: match node.feed {
                Feed::Topic => None,
                Feed::Output { node, .. } => Some(graph.nodes[node].component.spec.name.clone()),
            },
            tables: node.outputs.iter().filter_map(|o| Some(o.table.as_ref()?.name.clone())).collect(),
            counts: std::mem::take(counts),
            state: std::mem::take(&mut state.changed).then(|| state.pending.clone()).flatten(),
        });
        done.collect()
    }

    /// Feeds a transform all that waits for it.
    fn drain(&mut self, at: usize, work: &mut Work<'_>) -> Result<()> {
        let Feed::Output { node, output } = self.graph.nodes[at].feed else { return Ok(()) };
        // They stay where they are: another transform may read the same output.
        for edge in work.edges[node][output].clone() {
            self.process(at, &Given::Edge(&edge), work)?;
        }
        Ok(())
    }

    /// Runs one transform over its input, cut into calls.
    fn process(&mut self, at: usize, given: &Given<'_>, work: &mut Work<'_>) -> Result<()> {
        let graph = self.graph.clone();
        let node = &graph.nodes[at];
        let partition = self.partition;
        let fail = |e: String| fault(node, partition, &e);
        let columns: Vec<ArrayRef> = node.reads.iter().map(|s| given.column(s)).collect();
        for start in (0..given.len()).step_by(CHUNK) {
            let rows = CHUNK.min(given.len() - start);
            let part: Vec<ArrayRef> = columns.iter().map(|c| c.slice(start, rows)).collect();
            let checked = self.instances[at].process(&node.component.spec, rows, &part).map_err(fail)?;
            self.counts[at] += work.checked(at, given, start, checked).map_err(fail)?;
        }
        Ok(())
    }
}

/// Rows that a transform may flush at one commit.
const FLUSHED: usize = 1_000_000;

fn fault(node: &Node, partition: i32, what: &str) -> Error {
    let name = &node.component.spec.name;
    let file = node.component.file();
    Error::abandon(format!("transform {name} ({file}), partition {partition}: {what}"))
}

fn nothing() -> Arc<Delivered> {
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

/// One pass over the graph.
struct Work<'a> {
    graph: &'a Graph,
    delivered: &'a Delivered,
    /// What waits for the readers of an output, by node and output.
    edges: Vec<Vec<Vec<Rc<Edge>>>>,
    outcome: Outcome,
}

impl<'a> Work<'a> {
    fn new(graph: &'a Graph, delivered: &'a Delivered) -> Self {
        let edges = graph.nodes.iter().map(|n| n.outputs.iter().map(|_| Vec::new()).collect()).collect();
        Work { graph, delivered, edges, outcome: Outcome::default() }
    }

    /// Takes what a call made of the rows from `start` on.
    fn checked(
        &mut self,
        at: usize,
        given: &Given<'_>,
        start: usize,
        checked: Checked,
    ) -> Result<Counts, String> {
        let mut counts = checked.counts;
        let rows = usize::try_from(counts.input).unwrap_or(usize::MAX);
        for (reason, refused) in checked.rejections {
            self.reject(at, given, start, &refused, &reason);
        }
        // A row that is refused in one output is in none: it is emitted or rejected, never both.
        let (mut made, mut refused) = (Vec::new(), BTreeMap::new());
        for (output, emission) in checked.emissions {
            let plan = &self.graph.nodes[at].outputs[output];
            let picked: Vec<u32> = match emission.rows {
                Picked::Fresh => {
                    self.fresh(at, output, emission)?;
                    continue;
                }
                Picked::All => (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect(),
                Picked::Selected(ref selected) => selected.clone(),
            };
            let whole = picked.len() == rows && picked.iter().enumerate().all(|(i, p)| i == *p as usize);
            let columns = columns(plan, emission.columns, |source| {
                let column = given.column(source).slice(start, rows);
                if whole { Ok(column) } else { pick(&column, &picked) }
            })?;
            missing(plan, &columns, &picked, &mut refused);
            made.push((output, columns, picked));
        }
        counts.emitted = counts.emitted.saturating_sub(refused.len() as u64);
        counts.rejected += refused.len() as u64;
        for (output, mut columns, mut picked) in made {
            if picked.iter().any(|row| refused.contains_key(row)) {
                let keep = picked.iter().map(|row| Some(!refused.contains_key(row))).collect();
                columns = filter(&columns, &keep)?;
                picked.retain(|row| !refused.contains_key(row));
            }
            let origin =
                given.origin().map(|origin| picked.iter().map(|p| origin[start + *p as usize]).collect());
            self.emit(at, output, columns, origin)?;
        }
        let mut reasons: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, column) in &refused {
            reasons.entry(column).or_default().push(*row);
        }
        for (column, rows) in reasons {
            self.reject(at, given, start, &rows, &format!("{column} is null").into());
        }
        Ok(counts)
    }

    /// Takes rows that stem from no single event.
    fn fresh(&mut self, at: usize, output: usize, emission: Emission) -> Result<(), String> {
        let plan = &self.graph.nodes[at].outputs[output];
        let columns = columns(plan, emission.columns, |_| unreachable!("fresh rows copy nothing"))?;
        self.emit(at, output, columns, None)
    }

    fn emit(
        &mut self,
        at: usize,
        output: usize,
        columns: Vec<ArrayRef>,
        origin: Option<Vec<u32>>,
    ) -> Result<(), String> {
        let plan = &self.graph.nodes[at].outputs[output];
        let rows = RecordBatch::try_new(plan.schema.clone(), columns).map_err(|e| e.to_string())?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if let Some(table) = &plan.table {
            let mut columns = rows.columns().to_vec();
            if plan.provenance {
                let Some(origin) = &origin else {
                    return Err(format!(
                        "output {0} has rows that stem from no single event, so it cannot have provenance; set [tables.{0}] provenance = false",
                        table.name
                    ));
                };
                let offset: ArrayRef = Arc::new(self.delivered.offset.clone());
                columns.push(Arc::new(Int32Array::from(vec![self.delivered.partition; origin.len()])));
                columns.push(pick(&offset, origin)?);
            }
            let batch = RecordBatch::try_new(table.schema.clone(), columns).map_err(|e| e.to_string())?;
            self.outcome.rows.push(Rows { table: table.clone(), batch });
        }
        if plan.read {
            self.edges[at][output].push(Rc::new(Edge { rows, origin }));
        }
        Ok(())
    }

    fn reject(&mut self, at: usize, given: &Given<'_>, start: usize, refused: &[u32], reason: &Arc<str>) {
        let component = &self.graph.nodes[at].component;
        let Some(origin) = given.origin() else {
            // No event stands behind these rows: what made them is in the table of the event.
            tracing::warn!(
                transform = component.spec.name,
                rows = refused.len(),
                "refused rows of another transform's flush: {reason}"
            );
            return;
        };
        self.outcome.rejects.extend(refused.iter().map(|row| Reject {
            row: origin[start + *row as usize],
            stage: Stage::Transform,
            transform: Some(component.identity.clone()),
            reason: reason.clone(),
        }));
    }
}

/// A copied column may hold a null where the table has none: notes those rows with the first such column.
fn missing(plan: &Plan, columns: &[ArrayRef], picked: &[u32], refused: &mut BTreeMap<u32, String>) {
    for (field, column) in plan.schema.fields().iter().zip(columns) {
        if field.is_nullable() || column.null_count() == 0 {
            continue;
        }
        for (_, row) in picked.iter().enumerate().filter(|(at, _)| column.is_null(*at)) {
            refused.entry(*row).or_insert_with(|| field.name().clone());
        }
    }
}

/// The columns of an output in their order: computed ones as they came, copied ones from their source.
fn columns(
    plan: &Plan,
    computed: Vec<ArrayRef>,
    mut copy: impl FnMut(&Source) -> Result<ArrayRef, String>,
) -> Result<Vec<ArrayRef>, String> {
    let mut computed = computed.into_iter();
    plan.copied
        .iter()
        .map(|copied| match copied {
            Some(source) => copy(source),
            None => Ok(computed.next().expect("one computed column each: checked with the outcome")),
        })
        .collect()
}

fn filter(columns: &[ArrayRef], keep: &BooleanArray) -> Result<Vec<ArrayRef>, String> {
    columns.iter().map(|c| compute::filter(c, keep).map_err(|e| e.to_string())).collect()
}
