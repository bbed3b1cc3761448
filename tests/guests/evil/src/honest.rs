//! The transform that this would be if it meant well: what it says of itself, what it reads, what it answers.

use crate::Result;
use crate::bindings::tidemill::transform::types::{
    BytesValues, Column, Content, DataType, Descriptor, Emission, InputColumn, Metadata, Origin, Outcome,
    Output, OutputColumn, OutputRows, Source, Values,
};

/// The table with a row for each row: `page` and `length` are computed, in this order.
pub(crate) const EVIL: u32 = 0;
/// The table of rows that stem from no single event: `at` and `number`.
pub(crate) const DUE: u32 = 1;

/// A batch as the behaviours see it.
pub(crate) struct Rows {
    pub(crate) count: u32,
    pub(crate) pages: Vec<Option<String>>,
    /// Kafka's offsets: a row keeps its own however the batches are cut.
    pub(crate) offsets: Vec<i64>,
}

impl Rows {
    pub(crate) fn read(count: u32, columns: Vec<Column>) -> Result<Rows> {
        let Ok([page, offset]) = <[Column; 2]>::try_from(columns) else {
            return Err("it wants two columns".into());
        };
        let (Values::Bytes(pages), Values::Ints(offsets)) = (page.values, offset.values) else {
            return Err("it wants bytes and ints".into());
        };
        let valid =
            |row: usize| page.validity.as_ref().is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1);
        let text = |row: usize| {
            let bytes = &pages.data[pages.offsets[row] as usize..pages.offsets[row + 1] as usize];
            String::from_utf8_lossy(bytes).into_owned()
        };
        let pages = (0..count as usize).map(|row| valid(row).then(|| text(row))).collect();
        Ok(Rows { count, pages, offsets })
    }
}

/// What it says of itself.
pub(crate) fn descriptor() -> Descriptor {
    let read = |name: &str, origin, data_type| InputColumn {
        name: name.into(),
        origin,
        data_type,
        dictionary: false,
        properties: vec![],
    };
    let copied = |origin| Content::Copied(origin);
    Descriptor {
        name: "evil".into(),
        version: "1.0.0".into(),
        input: Source::Topic(None),
        reads: vec![
            read("page", Origin::Field("page".into()), DataType::Utf8),
            read("offset", Origin::Metadata(Metadata::Offset), DataType::Int64),
        ],
        outputs: vec![
            table(
                "evil",
                vec![
                    column("at", DataType::Timestamp, false, copied(Origin::Metadata(Metadata::Timestamp))),
                    column("user_id", DataType::Utf8, true, copied(Origin::Field("user_id".into()))),
                    column("page", DataType::Utf8, true, Content::Computed),
                    column("length", DataType::Int64, false, Content::Computed),
                ],
            ),
            table(
                "evil_due",
                vec![
                    column("at", DataType::Timestamp, false, Content::Computed),
                    column("number", DataType::Int64, false, Content::Computed),
                ],
            ),
        ],
        state_version: Some(1),
        properties: vec![],
    }
}

/// The descriptor of a table with a column of each name.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> Descriptor {
    let mut list = descriptor();
    let names = names.map(|name| column(name, DataType::Int64, true, Content::Computed));
    list.outputs[0].columns.truncate(1);
    list.outputs[0].columns.extend(names);
    list
}

fn table(name: &str, columns: Vec<OutputColumn>) -> Output {
    Output { name: name.into(), columns, event_time: Some("at".into()), properties: vec![] }
}

pub(crate) fn column(name: &str, data_type: DataType, nullable: bool, content: Content) -> OutputColumn {
    use crate::bindings::tidemill::transform::types::Merge;
    OutputColumn { name: name.into(), data_type, nullable, content, merge: Merge::None, properties: vec![] }
}

/// A row for each row: its page and how long that is.
pub(crate) fn outcome(rows: &Rows) -> Outcome {
    let (mut offsets, mut data, mut lengths) = (vec![0], Vec::new(), Vec::new());
    let mut validity = vec![0; rows.pages.len().div_ceil(8)];
    for (row, page) in rows.pages.iter().enumerate() {
        if let Some(page) = page {
            validity[row / 8] |= 1 << (row % 8);
            data.extend_from_slice(page.as_bytes());
        }
        offsets.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        lengths.push(page.as_ref().map_or(0, |page| i64::try_from(page.len()).unwrap_or(i64::MAX)));
    }
    // So that handing them over asks for no other place: see `allocator`.
    offsets.shrink_to_fit();
    data.shrink_to_fit();
    lengths.shrink_to_fit();
    let page = Column { validity: Some(validity), values: Values::Bytes(BytesValues { offsets, data }) };
    let emission = Emission { output: EVIL, rows: OutputRows::All, columns: vec![page, ints(lengths)] };
    Outcome { emissions: vec![emission], rejections: vec![] }
}

/// Rows that are due: so many, all at one time.
pub(crate) fn due(count: u32, at: i64) -> Emission {
    let columns = vec![ints(vec![at; count as usize]), ints((0..i64::from(count)).collect())];
    Emission { output: DUE, rows: OutputRows::Fresh(count), columns }
}

pub(crate) fn ints(values: Vec<i64>) -> Column {
    Column { validity: None, values: Values::Ints(values) }
}
