//! The pipeline that the components of a directory make together: their order, and for every column
//! the place it comes from. Pure planning; [`run`](super::run) does the work.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::component::Component;
use super::event_time::Timing;
use super::spec::{Input, Merge, Metadata, Origin, Output, Spec, type_name};
use crate::batch::FieldSpec;
use crate::table::{PROVENANCE, Table, Zone};
use crate::{Error, Result};

/// Transforms in an order in which each comes after what it reads.
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    fields: Vec<FieldSpec>,
}

/// A transform in its place.
pub(super) struct Node {
    pub(super) component: Component,
    pub(super) feed: Feed,
    /// Where the columns that it reads come from.
    pub(super) reads: Vec<Source>,
    pub(super) outputs: Vec<Plan>,
    /// How it takes event time; none: it has no use for it.
    pub(super) timing: Option<Timing>,
}

/// What feeds a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Topic,
    Output { node: usize, output: usize },
}

/// Where a column comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A decoded field, by its index in [`Graph::fields`].
    Field(usize),
    Metadata(Metadata),
    Header(String, DataType),
    /// A column of the output that feeds the transform.
    Column(usize),
    /// Up to where event time is complete.
    Watermark,
}

/// An output as the host makes it.
pub(super) struct Plan {
    /// The declared columns.
    pub(super) schema: SchemaRef,
    /// For each column: copied from there, or none: computed.
    pub(super) copied: Vec<Option<Source>>,
    /// The table, if it is one; its schema ends with the columns of provenance, if it has them.
    pub(super) table: Option<Arc<Table>>,
    pub(super) provenance: bool,
    /// Whether another transform reads it.
    pub(super) read: bool,
}

/// What the graph must know of its host.
pub struct Surroundings<'a> {
    /// The topic that the host was started with.
    pub topic: &'a str,
    /// Names that outputs cannot have: the host's own tables.
    pub taken: &'a [&'a str],
    /// Tables for which provenance is switched on or off by hand.
    pub provenance: &'a BTreeMap<String, bool>,
}

impl Graph {
    /// Puts components in order and plans their columns. An error names the file and the field.
    pub fn plan(components: Vec<Component>, around: &Surroundings<'_>) -> Result<Graph> {
        let named: Vec<Named<'_>> =
            components.iter().map(|c| Named { file: c.file().to_owned(), spec: &c.spec }).collect();
        claims(&named, around)?;
        let order = order(&named)?;
        let mut components: Vec<Option<Component>> = components.into_iter().map(Some).collect();
        let mut graph = Graph { nodes: Vec::new(), fields: Vec::new() };
        let mut place = HashMap::new();
        for at in order {
            let component = components[at].take().expect("an order names each component once");
            let node = graph.node(component, &place, around)?;
            for (output, plan) in node.component.spec.outputs.iter().enumerate() {
                place.insert(plan.name.clone(), (graph.nodes.len(), output));
            }
            if let Feed::Output { node, output } = node.feed {
                graph.nodes[node].outputs[output].read = true;
            }
            graph.nodes.push(node);
        }
        Ok(graph)
    }

    /// The fields to decode: the union of what is read and what is copied.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// The tables that the transforms make.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.nodes.iter().flat_map(|n| &n.outputs).filter_map(|o| o.table.as_ref())
    }

    /// How rows of a table with equal keys merge, by column; empty if they do not.
    pub fn merge(&self, table: &str) -> BTreeMap<String, String> {
        let mut outputs = self.nodes.iter().flat_map(|n| &n.component.spec.outputs);
        let columns = outputs.find(|o| o.name == table).into_iter().flat_map(|o| &o.columns);
        columns
            .filter_map(|c| {
                let how = match c.merge {
                    Merge::None => return None,
                    Merge::Key => "key",
                    Merge::Sum => "sum",
                    Merge::Min => "min",
                    Merge::Max => "max",
                };
                Some((c.name.clone(), how.to_string()))
            })
            .collect()
    }

    /// Whether rows may be worked on in any pieces, each with fresh instances that are flushed at its end: what
    /// transforms remember, or make of event time, only ends in tables whose rows are summed by key.
    pub fn splits(&self) -> bool {
        self.nodes.iter().all(|node| {
            let outputs = node.outputs.iter().zip(&node.component.spec.outputs);
            let mut summed = outputs.map(|(plan, output)| output.additive() && !plan.read);
            node.timing.is_none() || summed.all(|summed| summed)
        })
    }

    /// The transforms, in order.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.nodes.iter().map(|n| &n.component)
    }

    /// The nearest of those that feed a transform, directly or through others, that takes event time itself.
    pub(super) fn timed_before(&self, mut at: usize) -> Option<usize> {
        while let Feed::Output { node, .. } = self.nodes[at].feed {
            if self.nodes[node].timing.is_some() {
                return Some(node);
            }
            at = node;
        }
        None
    }

    fn node(
        &mut self,
        component: Component,
        place: &HashMap<String, (usize, usize)>,
        around: &Surroundings<'_>,
    ) -> Result<Node> {
        let file = component.file().to_owned();
        let bad = |what: String| Error::usage(format!("transform {file}: {what}"));
        let feed = match &component.spec.input {
            Input::Topic(Some(topic)) if topic != around.topic => {
                return Err(bad(format!(
                    "it reads topic {topic}, and this pipeline has topic {} (setting `topic`)",
                    around.topic
                )));
            }
            Input::Topic(_) => Feed::Topic,
            Input::Output(name) => {
                let (node, output) = place[name];
                Feed::Output { node, output }
            }
        };
        let spec = &component.spec;
        let mut reads = Vec::with_capacity(spec.reads.len());
        for read in &spec.reads {
            let source = self.source(feed, &read.origin, &read.data_type);
            reads.push(source.map_err(|e| bad(format!("column {} that it reads: {e}", read.name)))?);
        }
        let mut outputs = Vec::with_capacity(spec.outputs.len());
        for output in &spec.outputs {
            let mut copied = Vec::with_capacity(output.columns.len());
            for column in &output.columns {
                let source = match &column.copied {
                    None => None,
                    Some(origin) => Some(self.source(feed, origin, &column.data_type).map_err(|e| {
                        bad(format!("column {} of output {}: {e}", column.name, output.name))
                    })?),
                };
                copied.push(source);
            }
            outputs.push(plan(output, spec, copied, around));
        }
        let timed = spec.state_version.is_some() || reads.contains(&Source::Watermark);
        let timing = timed.then(|| Timing {
            column: match feed {
                Feed::Topic => None,
                Feed::Output { node, output } => self.nodes[node].component.spec.outputs[output].event_time,
            },
            lateness: component.loaded.sidecar.lateness.or(spec.lateness).unwrap_or(0),
            idle: component.loaded.sidecar.idle,
        });
        Ok(Node { feed, reads, outputs, timing, component })
    }

    fn source(&mut self, feed: Feed, origin: &Origin, data_type: &DataType) -> Result<Source, String> {
        let name = match (feed, origin) {
            (_, Origin::Metadata(metadata)) => return Ok(Source::Metadata(*metadata)),
            (_, Origin::Watermark) => return Ok(Source::Watermark),
            (_, Origin::Header(name)) => return Ok(Source::Header(name.clone(), data_type.clone())),
            (_, Origin::Field(name)) => name,
        };
        let Feed::Output { node, output } = feed else {
            let field = FieldSpec { path: name.clone(), data_type: data_type.clone() };
            let at = self.fields.iter().position(|f| *f == field).unwrap_or_else(|| {
                self.fields.push(field);
                self.fields.len() - 1
            });
            return Ok(Source::Field(at));
        };
        let upstream = &self.nodes[node].component.spec.outputs[output];
        column(upstream, name, data_type).map(Source::Column)
    }
}

/// The index of a column that a reader of an output wants.
fn column(upstream: &Output, name: &str, data_type: &DataType) -> Result<usize, String> {
    match upstream.columns.iter().position(|c| c.name == name) {
        Some(at) if upstream.columns[at].data_type == *data_type => Ok(at),
        Some(at) => Err(format!(
            "it wants {name} as {}, and in output {} it is {}",
            type_name(data_type),
            upstream.name,
            type_name(&upstream.columns[at].data_type)
        )),
        None => {
            let names: Vec<&str> = upstream.columns.iter().map(|c| c.name.as_str()).collect();
            Err(format!("output {} has no column {name}; it has {}", upstream.name, names.join(", ")))
        }
    }
}

fn plan(output: &Output, spec: &Spec, copied: Vec<Option<Source>>, around: &Surroundings<'_>) -> Plan {
    let fields: Vec<Field> =
        output.columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable)).collect();
    // Rows stem from single input rows if the transform holds none back, or if columns are copied.
    let single = !output.additive() && (spec.state_version.is_none() || copied.iter().any(Option::is_some));
    let provenance = single && around.provenance.get(&output.name).copied().unwrap_or(true);
    let table = output.event_time.map(|event_time| {
        let mut fields = fields.clone();
        if provenance {
            fields.push(Field::new(PROVENANCE[0], DataType::Int32, false));
            fields.push(Field::new(PROVENANCE[1], DataType::Int64, false));
        }
        Arc::new(Table {
            name: output.name.clone(),
            zone: Zone::Processed,
            schema: Arc::new(Schema::new(fields)),
            event_time,
            sorted: true,
        })
    });
    Plan {
        schema: Arc::new(Schema::new(fields)),
        copied,
        provenance: provenance && table.is_some(),
        table,
        read: false,
    }
}

/// What a transform says of itself, and the file that errors name.
struct Named<'a> {
    file: String,
    spec: &'a Spec,
}

/// Names of transforms and outputs are claimed once.
fn claims(components: &[Named<'_>], around: &Surroundings<'_>) -> Result<()> {
    let mut transforms = HashMap::new();
    let mut outputs = HashMap::new();
    for Named { file, spec } in components {
        if let Some(other) = transforms.insert(spec.name.as_str(), file.clone()) {
            return Err(Error::usage(format!(
                "transforms {other} and {file} both call themselves {}; remove one",
                spec.name
            )));
        }
        for output in &spec.outputs {
            if around.taken.contains(&output.name.as_str()) {
                return Err(Error::usage(format!(
                    "transform {file}: its output {} has the name of a table of the host",
                    output.name
                )));
            }
            if let Some(other) = outputs.insert(output.name.as_str(), file.clone()) {
                return Err(Error::usage(format!(
                    "transforms {other} and {file} both make the output {}; remove one",
                    output.name
                )));
            }
        }
    }
    Ok(())
}

/// Indices of the components, each after what it reads.
fn order(components: &[Named<'_>]) -> Result<Vec<usize>> {
    let maker: HashMap<&str, usize> = components
        .iter()
        .enumerate()
        .flat_map(|(at, c)| c.spec.outputs.iter().map(move |o| (o.name.as_str(), at)))
        .collect();
    let mut order = Vec::with_capacity(components.len());
    for start in 0..components.len() {
        // Each transform reads one input, so what comes before it is a chain.
        let (mut chain, mut at) = (Vec::new(), Some(start));
        let mut seen = HashSet::new();
        while let Some(component) = at.filter(|at| !order.contains(at)) {
            let file = &components[component].file;
            if !seen.insert(component) {
                let circle = chain.iter().chain([&component]);
                let names: Vec<&str> = circle.map(|c: &usize| components[*c].spec.name.as_str()).collect();
                return Err(Error::usage(format!(
                    "transform {file}: it reads in a circle: {}",
                    names.join(" reads ")
                )));
            }
            chain.push(component);
            at = match &components[component].spec.input {
                Input::Topic(_) => None,
                Input::Output(name) => Some(*maker.get(name.as_str()).ok_or_else(|| {
                    let known: Vec<&str> = maker.keys().copied().collect();
                    Error::usage(format!(
                        "transform {file}: it reads output {name}, which no transform makes (there is {})",
                        if known.is_empty() { "none".into() } else { known.join(", ") }
                    ))
                })?),
            };
        }
        order.extend(chain.into_iter().rev());
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::spec::Column;

    fn spec(name: &str, input: &str, output: &str) -> Spec {
        let columns = vec![Column {
            name: "n".into(),
            data_type: DataType::Int64,
            nullable: false,
            copied: None,
            merge: Merge::None,
        }];
        Spec {
            name: name.into(),
            version: "1".into(),
            input: if input.is_empty() { Input::Topic(None) } else { Input::Output(input.into()) },
            reads: vec![],
            outputs: vec![Output { name: output.into(), columns, event_time: None }],
            state_version: None,
            lateness: None,
        }
    }

    fn named(specs: &[Spec]) -> Vec<Named<'_>> {
        specs.iter().map(|spec| Named { file: format!("{}.wasm", spec.name), spec }).collect()
    }

    #[test]
    fn each_comes_after_what_it_reads() {
        let specs = [spec("c", "b_out", "c_out"), spec("b", "a_out", "b_out"), spec("a", "", "a_out")];
        assert_eq!(order(&named(&specs)).unwrap(), [2, 1, 0]);
    }

    #[test]
    fn circles_and_missing_inputs_name_the_file() {
        let specs = [spec("a", "b_out", "a_out"), spec("b", "a_out", "b_out")];
        let error = order(&named(&specs)).unwrap_err().to_string();
        assert_eq!(error, "transform a.wasm: it reads in a circle: a reads b reads a");
        let specs = [spec("a", "x", "a_out")];
        let error = order(&named(&specs)).unwrap_err().to_string();
        assert_eq!(error, "transform a.wasm: it reads output x, which no transform makes (there is a_out)");
    }

    #[test]
    fn a_name_is_claimed_once() {
        let provenance = BTreeMap::new();
        let around = Surroundings { topic: "t", taken: &["t_raw"], provenance: &provenance };
        let error = |specs: &[Spec]| claims(&named(specs), &around).unwrap_err().to_string();
        assert!(
            error(&[spec("a", "", "x"), spec("b", "", "x")])
                .contains("a.wasm and b.wasm both make the output x")
        );
        assert!(error(&[spec("a", "", "x"), spec("a", "", "y")]).contains("both call themselves a"));
        assert!(error(&[spec("a", "", "t_raw")]).contains("a table of the host"));
    }

    #[test]
    fn a_column_must_be_there_with_its_type() {
        let output = &spec("a", "", "a_out").outputs[0];
        assert_eq!(column(output, "n", &DataType::Int64), Ok(0));
        let error = column(output, "n", &DataType::Utf8).unwrap_err();
        assert_eq!(error, "it wants n as utf8, and in output a_out it is int64");
        assert_eq!(
            column(output, "m", &DataType::Utf8).unwrap_err(),
            "output a_out has no column m; it has n"
        );
    }
}
