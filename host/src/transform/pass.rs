//! One pass over the graph: what the instances made of one batch, or of one flush, on its way to the tables and to
//! the transforms that read it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch};
use arrow::compute;

use super::columns::Column;
use super::given::{Edge, Given, pick};
use super::graph::{Graph, Plan, Source};
use super::outcome::{Checked, Emission, Picked};
use crate::batch::{Counts, Delivered, Outcome, Reject, Rows, Stage};
use crate::env::Micros;

/// One pass over the graph.
pub(super) struct Work<'a> {
    graph: &'a Graph,
    delivered: &'a Delivered,
    /// What waits for the readers of an output, by node and output.
    edges: Vec<Vec<Vec<Rc<Edge>>>>,
    pub(super) outcome: Outcome,
    /// For each event the newest Kafka timestamp so far; empty where nobody asks.
    pub(super) newest: Vec<Micros>,
}

/// New rows of an output: for its table, and for those who read it.
struct Made {
    output: usize,
    table: Option<Rows>,
    edge: Edge,
}

impl<'a> Work<'a> {
    pub(super) fn new(graph: &'a Graph, delivered: &'a Delivered) -> Self {
        let edges = graph.nodes.iter().map(|n| n.outputs.iter().map(|_| Vec::new()).collect()).collect();
        Work { graph, delivered, edges, outcome: Outcome::default(), newest: Vec::new() }
    }

    /// Takes what a call made of the rows from `start` on: all of it, or nothing.
    pub(super) fn checked(
        &mut self,
        at: usize,
        given: &Given<'_>,
        start: usize,
        checked: Checked,
    ) -> Result<Counts, String> {
        let mut counts = checked.counts;
        let rows = usize::try_from(counts.input).unwrap_or(usize::MAX);
        // A row that is refused in one output is in none: it is emitted or rejected, never both.
        let (mut made, mut fresh, mut refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (output, emission) in checked.emissions {
            let plan = &self.graph.nodes[at].outputs[output];
            let picked: Vec<u32> = match emission.rows {
                Picked::Fresh => {
                    fresh.push(self.made_fresh(at, output, emission)?);
                    continue;
                }
                Picked::All => (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect(),
                Picked::Selected(ref selected) => selected.clone(),
            };
            let whole = picked.len() == rows && picked.iter().enumerate().all(|(i, p)| i == *p as usize);
            let columns = columns(plan, emission.columns, |source| {
                let column = given.column(source).slice(start, rows);
                if whole { Ok(column) } else { pick(&column.array, &picked).map(Column::from) }
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
            fresh.push(self.made(at, output, columns, origin)?);
        }
        // Nothing can fail from here on.
        for (reason, refused) in checked.rejections {
            self.reject(at, given, start, &refused, &reason);
        }
        let mut reasons: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, column) in &refused {
            reasons.entry(column).or_default().push(*row);
        }
        for (column, rows) in reasons {
            self.reject(at, given, start, &rows, &format!("{column} is null").into());
        }
        fresh.into_iter().for_each(|made| self.emit(at, made));
        Ok(counts)
    }

    /// What waits for the readers of an output.
    pub(super) fn waiting(&self, node: usize, output: usize) -> Vec<Rc<Edge>> {
        self.edges[node][output].clone()
    }

    /// The offset of the event that a row stems from, if it stems from one.
    pub(super) fn offset(&self, given: &Given<'_>, row: usize) -> Option<i64> {
        let event = given.origin()?.get(row)?;
        self.delivered.offset.values().get(*event as usize).copied()
    }

    /// Takes rows that stem from no single event.
    pub(super) fn fresh(&mut self, at: usize, output: usize, emission: Emission) -> Result<(), String> {
        let made = self.made_fresh(at, output, emission)?;
        self.emit(at, made);
        Ok(())
    }

    fn made_fresh(&self, at: usize, output: usize, emission: Emission) -> Result<Made, String> {
        let plan = &self.graph.nodes[at].outputs[output];
        let columns = columns(plan, emission.columns, |_| unreachable!("fresh rows copy nothing"))?;
        self.made(at, output, columns, None)
    }

    /// New rows of an output, with their provenance where the table has it.
    fn made(
        &self,
        at: usize,
        output: usize,
        columns: Vec<Column>,
        origin: Option<Vec<u32>>,
    ) -> Result<Made, String> {
        let plan = &self.graph.nodes[at].outputs[output];
        let dictionaries = columns.iter().map(|column| column.dictionary.clone()).collect();
        let columns = columns.into_iter().map(|column| column.array).collect();
        let rows = RecordBatch::try_new(plan.schema.clone(), columns).map_err(|e| e.to_string())?;
        let mut table = None;
        if let Some(of) = plan.table.as_ref().filter(|_| rows.num_rows() > 0) {
            let mut columns = rows.columns().to_vec();
            if plan.provenance {
                let Some(origin) = &origin else {
                    return Err(format!(
                        "output {0} has rows that stem from no single event, so it cannot have provenance; set [tables.{0}] provenance = false",
                        of.name
                    ));
                };
                let offset: ArrayRef = Arc::new(self.delivered.offset.clone());
                columns.push(Arc::new(Int32Array::from(vec![self.delivered.partition; origin.len()])));
                columns.push(pick(&offset, origin)?);
            }
            let batch = RecordBatch::try_new(of.schema.clone(), columns).map_err(|e| e.to_string())?;
            table = Some(Rows { table: of.clone(), batch });
        }
        Ok(Made { output, table, edge: Edge { rows, origin, dictionaries } })
    }

    fn emit(&mut self, at: usize, Made { output, table, edge }: Made) {
        self.outcome.rows.extend(table);
        if self.graph.nodes[at].outputs[output].read && edge.rows.num_rows() > 0 {
            self.edges[at][output].push(Rc::new(edge));
        }
    }

    /// Refuses rows, counted from `start`.
    pub(super) fn reject(
        &mut self,
        at: usize,
        given: &Given<'_>,
        start: usize,
        refused: &[u32],
        reason: &Arc<str>,
    ) {
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
fn missing(plan: &Plan, columns: &[Column], picked: &[u32], refused: &mut BTreeMap<u32, String>) {
    for (field, column) in plan.schema.fields().iter().zip(columns.iter().map(|column| &column.array)) {
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
    computed: Vec<Column>,
    mut copy: impl FnMut(&Source) -> Result<Column, String>,
) -> Result<Vec<Column>, String> {
    let mut computed = computed.into_iter();
    plan.copied
        .iter()
        .map(|copied| match copied {
            Some(source) => copy(source),
            None => Ok(computed.next().expect("one computed column each: checked with the outcome")),
        })
        .collect()
}

fn filter(columns: &[Column], keep: &BooleanArray) -> Result<Vec<Column>, String> {
    let filter = |column: &Column| compute::filter(&column.array, keep).map(Column::from);
    columns.iter().map(|column| filter(column).map_err(|e| e.to_string())).collect()
}
