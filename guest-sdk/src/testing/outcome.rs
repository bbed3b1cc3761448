//! What a call handed out, to look at.

use super::Value;
use super::columns::values;
use crate::spec::Merge;
use crate::wire;

/// What one call of a transform gave.
#[derive(Debug)]
pub struct Outcome {
    outputs: Vec<wire::Output>,
    emissions: Vec<wire::Emission>,
    rejections: Vec<wire::Rejection>,
    /// How many rows went in.
    input: u32,
}

impl Outcome {
    pub(super) fn new(
        outputs: Vec<wire::Output>,
        emissions: Vec<wire::Emission>,
        rejections: Vec<wire::Rejection>,
        input: u32,
    ) -> Self {
        Outcome { outputs, emissions, rejections, input }
    }

    /// The rows of an output. Panics if the transform has no such output.
    pub fn rows(&self, output: &str) -> Rows<'_> {
        let Some(index) = self.outputs.iter().position(|have| have.name == output) else {
            let names: Vec<&str> = self.outputs.iter().map(|output| &output.name[..]).collect();
            panic!("there is no output {output}; there are {}", names.join(", "));
        };
        let emission = self.emissions.iter().find(|emission| emission.output as usize == index);
        Rows { output: &self.outputs[index], emission, input: self.input }
    }

    /// The refused rows by reason.
    pub fn rejected(&self) -> Vec<(&str, Vec<u32>)> {
        self.rejections.iter().map(|rejection| (&rejection.reason[..], rejection.rows.clone())).collect()
    }

    /// The emissions as the contract has them.
    pub fn emissions(&self) -> &[wire::Emission] {
        &self.emissions
    }

    /// Whether nothing was emitted and nothing rejected.
    pub fn is_empty(&self) -> bool {
        self.emissions.is_empty() && self.rejections.is_empty()
    }
}

/// The emitted rows of one output: their computed columns (what is copied, only a host knows).
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    output: &'a wire::Output,
    emission: Option<&'a wire::Emission>,
    input: u32,
}

impl Rows<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.emission.map_or(0, |emission| match &emission.rows {
            wire::OutputRows::Fresh(count) => *count as usize,
            wire::OutputRows::Selected(rows) => rows.len(),
            wire::OutputRows::All => self.input as usize,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.emission.is_none()
    }

    /// For each row the input row that it stems from; none if they stem from no single row.
    pub fn origins(&self) -> Option<Vec<u32>> {
        match &self.emission?.rows {
            wire::OutputRows::Fresh(_) => None,
            wire::OutputRows::Selected(rows) => Some(rows.clone()),
            wire::OutputRows::All => Some((0..self.input).collect()),
        }
    }

    /// The values of a computed column. Panics if there is no such column.
    pub fn column(&self, name: &str) -> Vec<Value> {
        let mut computed = self.computed();
        let Some(index) = computed.position(|column| column.name == name) else {
            let names: Vec<&str> = self.computed().map(|column| &column.name[..]).collect();
            panic!("{} computes no column {name}; it computes {}", self.output.name, names.join(", "));
        };
        let data_type = self.computed().nth(index).map(|column| column.data_type);
        let column = self.emission.map(|emission| &emission.columns[index]);
        data_type.zip(column).map_or(vec![], |(data_type, column)| values(data_type, column, self.len()))
    }

    /// Each row as text: the computed values, in the order of the struct, between commas.
    pub fn lines(&self) -> Vec<String> {
        let columns: Vec<Vec<Value>> = self.computed().map(|column| self.column(&column.name)).collect();
        let line =
            |row: usize| columns.iter().map(|column| column[row].to_string()).collect::<Vec<_>>().join(", ");
        (0..self.len()).map(line).collect()
    }

    /// Whether rows may be merged: every column is a key or has a rule.
    pub fn is_additive(&self) -> bool {
        self.output.columns.iter().all(|column| column.merge != Merge::None)
    }

    fn computed(&self) -> impl Iterator<Item = &wire::OutputColumn> {
        self.output.columns.iter().filter(|column| column.content == wire::Content::Computed)
    }
}
