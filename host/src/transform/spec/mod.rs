//! What a transform says of itself, checked: after this module a descriptor is to be trusted.

mod columns;
mod words;

use arrow::datatypes::DataType;

use self::columns::{output, read};
use self::words::{lateness, name, printable, unique};
use super::bindings::types as wit;
use crate::table::timestamp_type;
use crate::{Error, Result};

/// A checked descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What the transform calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// What it reads.
    pub input: Input,
    /// The columns that cross into it, in order.
    pub reads: Vec<Read>,
    /// What it makes.
    pub outputs: Vec<Output>,
    /// The version of its state; none: it holds no row back.
    pub state_version: Option<u32>,
    /// How late rows may be, in microseconds; none: it does not say.
    pub lateness: Option<i64>,
}

/// What a transform reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A topic; none: the one that the host was started with.
    Topic(Option<String>),
    /// An output of another transform.
    Output(String),
}

/// A column that crosses into a transform.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Its name inside the transform.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its type.
    pub data_type: DataType,
    /// It crosses in the dictionary layout.
    pub dictionary: bool,
}

/// Where a column comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A JSON member (or pointer) of a topic, a column of an output.
    Field(String),
    /// A part of the Kafka record.
    Metadata(Metadata),
    /// The last header of this name.
    Header(String),
    /// Up to where event time is complete, as of the row.
    Watermark,
}

/// A part of the Kafka record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Metadata {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
}

impl Metadata {
    /// The type it has in a transform.
    pub fn data_type(self) -> DataType {
        match self {
            Metadata::Topic => DataType::Utf8,
            Metadata::Partition | Metadata::Offset => DataType::Int64,
            Metadata::Timestamp => timestamp_type(),
            Metadata::Key | Metadata::Value => DataType::Binary,
        }
    }
}

/// Something that a transform makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Unique among all transforms of a host; a table's name if it is one.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Index of the column that files its rows; none: it is no table.
    pub event_time: Option<usize>,
}

/// A column of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether it may hold nulls.
    pub nullable: bool,
    /// None: the transform computes it. Otherwise the host copies it from the input row.
    pub copied: Option<Origin>,
    /// How rows with equal keys become one.
    pub merge: Merge,
}

/// How two rows that agree in all keys become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Merge {
    None,
    Key,
    Sum,
    Min,
    Max,
}

impl Output {
    /// Rows with equal keys may be merged: the table is additive.
    pub fn additive(&self) -> bool {
        self.columns.iter().any(|c| c.merge == Merge::Key)
    }
}

const COLUMNS: usize = 1000;
const OUTPUTS: usize = 64;
const ORIGIN: usize = 256;

impl Spec {
    /// Checks what `open` returned. `file` names the component in errors.
    pub(super) fn check(descriptor: wit::Descriptor, file: &str) -> Result<Spec> {
        let bad = |what: String| Error::usage(format!("transform {file}: {what}"));
        name(&descriptor.name, "the transform's name").map_err(bad)?;
        if descriptor.version.is_empty() || descriptor.version.len() > 64 || !printable(&descriptor.version) {
            return Err(bad("its version must be 1 to 64 printable characters".into()));
        }
        let lateness = lateness(&descriptor.properties).map_err(bad)?;
        let topic = matches!(descriptor.input, wit::Source::Topic(_));
        let input = match descriptor.input {
            wit::Source::Topic(Some(t)) if t.is_empty() || t.len() > 249 => {
                return Err(bad("it reads a topic whose name is not 1 to 249 characters long".into()));
            }
            wit::Source::Topic(t) => Input::Topic(t),
            wit::Source::Output(o) => {
                name(&o, "the output it reads").map_err(bad)?;
                Input::Output(o)
            }
        };
        if descriptor.reads.len() > COLUMNS || descriptor.outputs.len() > OUTPUTS {
            return Err(bad(format!("it has more than {COLUMNS} reads or {OUTPUTS} outputs")));
        }
        let reads = descriptor.reads.into_iter().map(|r| read(r, topic)).collect::<Result<Vec<_>, _>>();
        let reads = reads.map_err(bad)?;
        unique(reads.iter().map(|r| r.name.as_str()), "column it reads").map_err(bad)?;
        let outputs = descriptor.outputs.into_iter().map(|o| output(o, topic)).collect::<Result<Vec<_>, _>>();
        let outputs = outputs.map_err(bad)?;
        unique(outputs.iter().map(|o| o.name.as_str()), "output").map_err(bad)?;
        if reads.is_empty() && outputs.iter().all(|o| o.columns.iter().all(|c| c.copied.is_none())) {
            return Err(bad("it reads no column and copies none".into()));
        }
        Ok(Spec {
            name: descriptor.name,
            version: descriptor.version,
            input,
            reads,
            outputs,
            state_version: descriptor.state_version,
            lateness,
        })
    }
}

/// A type in the words of the contract.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float64 => "float64".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Utf8 => "utf8".into(),
        DataType::Binary => "binary".into(),
        DataType::Decimal128(p, s) => format!("decimal({p}, {s})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> wit::Descriptor {
        let column = |name: &str, data_type| wit::OutputColumn {
            name: name.into(),
            data_type,
            nullable: false,
            content: wit::Content::Computed,
            merge: wit::Merge::None,
            properties: vec![],
        };
        wit::Descriptor {
            name: "clean".into(),
            version: "1.0.0".into(),
            input: wit::Source::Topic(None),
            reads: vec![wit::InputColumn {
                name: "page".into(),
                origin: wit::Origin::Field("page".into()),
                data_type: wit::DataType::Utf8,
                dictionary: false,
                properties: vec![],
            }],
            outputs: vec![wit::Output {
                name: "events".into(),
                columns: vec![column("at", wit::DataType::Timestamp), column("page", wit::DataType::Utf8)],
                event_time: Some("at".into()),
                properties: vec![],
            }],
            state_version: None,
            properties: vec![],
        }
    }

    #[test]
    fn event_time_is_asked_for_by_properties() {
        let property = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut d = descriptor();
        d.properties = vec![property("x-any", ""), property("lateness-us", "3600000000")];
        d.reads[0].data_type = wit::DataType::Timestamp;
        d.reads[0].properties = vec![property("x-any", ""), property("watermark", "")];
        let spec = Spec::check(d, "t.wasm").unwrap();
        assert_eq!((spec.lateness, &spec.reads[0].origin), (Some(3_600_000_000), &Origin::Watermark));
        for bad in ["", "-1", "1h", "99999999999999999"] {
            let error = refused(|d| d.properties = vec![property("lateness-us", bad)]);
            assert!(error.contains("lateness-us must be"), "{error}");
        }
        let error = refused(|d| d.reads[0].properties = vec![property("watermark", "")]);
        assert!(error.contains("column page: a watermark is a timestamp"), "{error}");
        let error = refused(|d| d.reads[0].properties = vec![property("trusted", "")]);
        assert!(error.contains("does not know the property"), "{error}");
    }

    fn refused(change: impl FnOnce(&mut wit::Descriptor)) -> String {
        let mut d = descriptor();
        change(&mut d);
        Spec::check(d, "t.wasm").unwrap_err().to_string()
    }

    #[test]
    fn a_sound_descriptor_is_accepted() {
        let spec = Spec::check(descriptor(), "t.wasm").unwrap();
        assert_eq!(spec.outputs[0].event_time, Some(0));
        assert!(!spec.outputs[0].additive());
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["../up", "", "Upper", "a/b", "1st", "naïve", "a\nb", &"x".repeat(65)] {
            let error = refused(|d| d.outputs[0].name = bad.into());
            assert!(error.contains("transform t.wasm: an output's name"), "{bad}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(refused(|d| d.outputs[0].event_time = Some("page".into())).contains("event time `page`"));
        assert!(refused(|d| d.outputs[0].columns[0].nullable = true).contains("not nullable"));
        assert!(refused(|d| d.outputs[0].columns[1].name = "at".into()).contains("more than one column"));
        assert!(refused(|d| d.outputs[0].columns[1].name = "hour".into()).contains("host adds"));
        assert!(refused(|d| d.outputs[0].columns[0].merge = wit::Merge::Key).contains("all must"));
        assert!(refused(|d| d.outputs[0].columns[1].merge = wit::Merge::Sum).contains("summed"));
        assert!(refused(|d| d.properties = vec![("fast".into(), "1".into())]).contains("\"fast\""));
        assert!(
            refused(|d| d.reads[0].origin = wit::Origin::Metadata(wit::Metadata::Offset)).contains("int64")
        );
        assert!(
            refused(|d| {
                d.input = wit::Source::Output("other".into());
                d.reads[0].origin = wit::Origin::Header("h".into());
            })
            .contains("neither")
        );
        let wide = wit::DataType::Decimal(wit::DecimalType { precision: 19, scale: 2 });
        assert!(refused(|d| d.reads[0].data_type = wide).contains("out of range"));
    }
}
