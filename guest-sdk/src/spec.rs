//! What `input!` and `output!` say, as constants: checked when the transform is compiled, described when it is opened.
//!
//! What the contract forbids does not compile:
//!
//! ```compile_fail
//! tidemill_sdk::input! { struct NoNameOfTheContract { userId: tidemill_sdk::Text } }
//! ```
//! ```compile_fail
//! tidemill_sdk::input! { struct WrongType { at: tidemill_sdk::Int = metadata(timestamp) } }
//! ```
//! ```compile_fail
//! tidemill_sdk::input! { struct OutputsHaveNone from output "x" { at: tidemill_sdk::Timestamp = metadata(timestamp) } }
//! ```
//! ```compile_fail
//! tidemill_sdk::input! { struct NotItsType { watermark: tidemill_sdk::Int = watermark } }
//! ```
//! ```compile_fail
//! tidemill_sdk::output! { table NoTime ("x", by at) of struct NoTimeRow { at: Option<tidemill_sdk::Timestamp> } }
//! ```
//! ```compile_fail
//! tidemill_sdk::output! { feed HalfMerged ("x") of struct HalfMergedRow { a: tidemill_sdk::Int [key], b: tidemill_sdk::Int } }
//! ```
//! ```compile_fail
//! tidemill_sdk::output! { feed Twice ("x") of struct TwiceRow { a: tidemill_sdk::Int } copied { a: tidemill_sdk::Int } }
//! ```
//! ```compile_fail
//! tidemill_sdk::output! { feed TooWide ("x") of struct TooWideRow { a: tidemill_sdk::Decimal<19, 2> } }
//! ```

use crate::wire;
pub use crate::wire::{DataType, Merge, Metadata};

/// The property that makes an input column the watermark as of the row.
const WATERMARK: &str = "watermark";

/// What a transform reads.
#[derive(Clone, Copy, Debug)]
pub struct InputSpec {
    /// From where.
    pub source: SourceSpec,
    /// The columns, in the order of the struct.
    pub columns: &'static [InputColumnSpec],
}

/// Where rows come from.
#[derive(Clone, Copy, Debug)]
pub enum SourceSpec {
    /// The topic that the host was started with.
    Topic,
    /// A topic by name.
    NamedTopic(&'static str),
    /// An output of another transform.
    Output(&'static str),
}

/// A column that is read.
#[derive(Clone, Copy, Debug)]
pub struct InputColumnSpec {
    /// Its name.
    pub name: &'static str,
    /// Where its values come from.
    pub origin: OriginSpec,
    /// Its type.
    pub data_type: DataType,
    /// Whether the host sends it in the dictionary layout.
    pub dictionary: bool,
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug)]
pub enum OriginSpec {
    /// A JSON member, a JSON Pointer, or a column of an output.
    Field(&'static str),
    /// The Kafka record.
    Metadata(Metadata),
    /// The last header of this name.
    Header(&'static str),
    /// The watermark as of the row.
    Watermark,
}

/// An output.
#[derive(Clone, Copy, Debug)]
pub struct OutputSpec {
    /// Its name.
    pub name: &'static str,
    /// The column that files a row; none: the output only feeds other transforms.
    pub event_time: Option<&'static str>,
    /// Its columns: computed ones first.
    pub columns: &'static [OutputColumnSpec],
}

/// A column of an output.
#[derive(Clone, Copy, Debug)]
pub struct OutputColumnSpec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub data_type: DataType,
    /// Whether there may be nulls.
    pub nullable: bool,
    /// From where the host copies it; none: the transform computes it.
    pub copied: Option<OriginSpec>,
    /// How rows that agree in all keys become one.
    pub merge: Merge,
}

impl InputSpec {
    /// Itself, if it keeps the contract's rules; else a compile error.
    pub const fn checked(self) -> Self {
        let mut i = 0;
        while i < self.columns.len() {
            let column = self.columns[i];
            assert!(is_name(column.name), "a column's name must match [a-z][a-z0-9_]{{0,63}}");
            let text = matches!(column.data_type, DataType::Utf8 | DataType::Binary);
            assert!(!column.dictionary || text, "[dictionary] is for Text and Bytes");
            let from_output = matches!(self.source, SourceSpec::Output(_));
            assert!(
                !from_output || matches!(column.origin, OriginSpec::Field(_) | OriginSpec::Watermark),
                "metadata and headers can be read from a topic only"
            );
            column.origin.check(column.data_type);
            i += 1;
        }
        self
    }

    pub(crate) fn source(&self) -> wire::Source {
        match self.source {
            SourceSpec::Topic => wire::Source::Topic(None),
            SourceSpec::NamedTopic(name) => wire::Source::Topic(Some(name.into())),
            SourceSpec::Output(name) => wire::Source::Output(name.into()),
        }
    }

    pub(crate) fn reads(&self) -> Vec<wire::InputColumn> {
        let read = |column: &InputColumnSpec| wire::InputColumn {
            name: column.name.into(),
            origin: column.origin.to_wire(),
            data_type: column.data_type,
            dictionary: column.dictionary,
            properties: column.origin.properties(),
        };
        self.columns.iter().map(read).collect()
    }
}

impl OriginSpec {
    const fn check(self, data_type: DataType) {
        match self {
            OriginSpec::Field(_) => {}
            OriginSpec::Header(_) => {
                assert!(matches!(data_type, DataType::Utf8 | DataType::Binary), "a header is Text or Bytes");
            }
            OriginSpec::Watermark => {
                assert!(matches!(data_type, DataType::Timestamp), "the watermark is a Timestamp");
            }
            OriginSpec::Metadata(metadata) => assert!(
                matches!(
                    (metadata, data_type),
                    (Metadata::Topic, DataType::Utf8)
                        | (Metadata::Partition | Metadata::Offset, DataType::Int64)
                        | (Metadata::Timestamp, DataType::Timestamp)
                        | (Metadata::Key | Metadata::Value, DataType::Binary)
                ),
                "metadata: topic is Text, partition and offset are Int, timestamp is Timestamp, key and value are Bytes"
            ),
        }
    }

    fn to_wire(self) -> wire::Origin {
        match self {
            OriginSpec::Field(name) => wire::Origin::Field(name.into()),
            OriginSpec::Metadata(metadata) => wire::Origin::Metadata(metadata),
            OriginSpec::Header(name) => wire::Origin::Header(name.into()),
            // A property says what it is: an origin of its own would be another contract.
            OriginSpec::Watermark => wire::Origin::Field(WATERMARK.into()),
        }
    }

    fn properties(self) -> Vec<(String, String)> {
        match self {
            OriginSpec::Watermark => vec![(WATERMARK.into(), String::new())],
            _ => vec![],
        }
    }
}

impl OutputSpec {
    /// Itself, if it keeps the contract's rules; else a compile error.
    pub const fn checked(self) -> Self {
        assert!(is_name(self.name), "an output's name must match [a-z][a-z0-9_]{{0,63}}");
        assert!(!self.columns.is_empty(), "an output has at least one column");
        let (mut keys, mut merged, mut time) = (0, 0, self.event_time.is_none());
        let mut i = 0;
        while i < self.columns.len() {
            let column = self.columns[i];
            assert!(is_name(column.name), "a column's name must match [a-z][a-z0-9_]{{0,63}}");
            if let Some(origin) = column.copied {
                assert!(!matches!(origin, OriginSpec::Watermark), "the watermark can be read, not copied");
                origin.check(column.data_type);
            }
            match column.merge {
                Merge::None => {}
                Merge::Key => keys += 1,
                Merge::Sum | Merge::Min | Merge::Max => merged += 1,
            }
            if let Some(by) = self.event_time
                && is_equal(by, column.name)
            {
                time = matches!(column.data_type, DataType::Timestamp) && !column.nullable;
            }
            let mut other = 0;
            while other < i {
                assert!(!is_equal(self.columns[other].name, column.name), "two columns have one name");
                other += 1;
            }
            i += 1;
        }
        assert!(time, "`by` must name a Timestamp column that is not an Option");
        let all = keys + merged == self.columns.len() && keys > 0;
        assert!(
            keys + merged == 0 || all,
            "mark every column as [key], [sum], [min] or [max], one at least as [key]; or none at all"
        );
        self
    }

    /// Whether the host copies any column.
    pub const fn copies(&self) -> bool {
        let mut i = 0;
        while i < self.columns.len() {
            if self.columns[i].copied.is_some() {
                return true;
            }
            i += 1;
        }
        false
    }

    pub(crate) fn to_wire(self) -> wire::Output {
        let column = |column: &OutputColumnSpec| wire::OutputColumn {
            name: column.name.into(),
            data_type: column.data_type,
            nullable: column.nullable,
            content: match column.copied {
                None => wire::Content::Computed,
                Some(origin) => wire::Content::Copied(origin.to_wire()),
            },
            merge: column.merge,
            properties: vec![],
        };
        wire::Output {
            name: self.name.into(),
            columns: self.columns.iter().map(column).collect(),
            event_time: self.event_time.map(str::to_owned),
            properties: vec![],
        }
    }
}

/// Whether this is a name that the contract allows: `[a-z][a-z0-9_]{0,63}`.
pub const fn is_name(name: &str) -> bool {
    let name = name.as_bytes();
    let mut i = 0;
    while i < name.len() {
        match name[i] {
            b'a'..=b'z' => {}
            b'0'..=b'9' | b'_' if i > 0 => {}
            _ => return false,
        }
        i += 1;
    }
    !name.is_empty() && name.len() <= 64
}

/// The identifier without `r#`: a column may have the name of a keyword.
pub const fn plain(identifier: &'static str) -> &'static str {
    let bytes = identifier.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' {
        identifier.split_at(2).1
    } else {
        identifier
    }
}

const fn is_equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The origin that a column of `input!` or of `copied` names, else the field of the column's name.
#[doc(hidden)]
#[macro_export]
macro_rules! __origin {
    ($field:ident) => {
        $crate::spec::OriginSpec::Field($crate::spec::plain(stringify!($field)))
    };
    ($field:ident field($name:literal)) => {
        $crate::spec::OriginSpec::Field($name)
    };
    ($field:ident header($name:literal)) => {
        $crate::spec::OriginSpec::Header($name)
    };
    ($field:ident watermark) => {
        $crate::spec::OriginSpec::Watermark
    };
    ($field:ident metadata(topic)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Topic)
    };
    ($field:ident metadata(partition)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Partition)
    };
    ($field:ident metadata(offset)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Offset)
    };
    ($field:ident metadata(timestamp)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Timestamp)
    };
    ($field:ident metadata(key)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Key)
    };
    ($field:ident metadata(value)) => {
        $crate::spec::OriginSpec::Metadata($crate::spec::Metadata::Value)
    };
    ($field:ident $($other:tt)*) => {
        compile_error!(concat!(
            "`", stringify!($field), "` comes from field(\"name or /json/pointer\"), header(\"name\"), watermark or ",
            "metadata(topic | partition | offset | timestamp | key | value), not from `", stringify!($($other)*), "`"
        ))
    };
}
