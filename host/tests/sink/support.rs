//! Tables, rows and lakes for the tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use tidemill::Kind;
use tidemill::batch::Rows;
use tidemill::env::{HOUR, machine};
use tidemill::sink::{EpochWriter, Keys, Location, PendingFile, Settings, StagedFile, Stores, ZoneStore};
use tidemill::table::{Table, Zone, header_fields, headers_type, raw, timestamp_type};

/// 2025-12-02T09:00:00Z
pub(crate) const NINE: i64 = 1_764_666_000_000_000;

pub(crate) fn keys() -> Keys {
    Keys::new("tests").expect("a plain name")
}

/// A lake in a folder.
pub(crate) fn lake(root: &Path) -> Stores {
    let store = |zone, name: &str| {
        let location = Location::Local(root.join(name));
        Arc::new(ZoneStore::open(zone, location, name, &keys(), None, &machine()).expect("a folder"))
    };
    Stores { raw: store(Zone::Raw, "raw"), processed: store(Zone::Processed, "processed") }
}

/// Runs what a lane does on a thread that may block.
pub(crate) async fn lane<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the lane does not panic")
}

pub(crate) async fn staged(files: Vec<PendingFile>) -> Vec<StagedFile> {
    let mut staged = Vec::new();
    for file in files {
        staged.push(file.staged().await.expect("it can be staged"));
    }
    staged
}

/// Writes one epoch and waits until its files are staged.
pub(crate) async fn stage(stores: &Stores, epoch: &str, rows: Vec<Rows>) -> Vec<StagedFile> {
    let (stores, epoch) = (stores.clone(), epoch.to_owned());
    let files = lane(move || {
        let mut writer = EpochWriter::new(stores, &keys(), 0, Settings::default());
        writer.begin(&epoch, vec![("early".into(), "1".into())]);
        for rows in &rows {
            writer.write(rows).expect("good rows");
        }
        writer.finish(&[("late".into(), "2".into())]).expect("good rows")
    });
    staged(files.await).await
}

/// `events(at, n)`: a processed table, sorted by time.
pub(crate) fn events() -> Arc<Table> {
    let schema = Schema::new(vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new("n", DataType::Int64, true),
    ]);
    Arc::new(Table {
        name: "events".into(),
        zone: Zone::Processed,
        schema: Arc::new(schema),
        event_time: 1,
        sorted: true,
    })
}

/// Rows of `events` at these times; `n` counts them from `first`.
pub(crate) fn event_rows(table: &Arc<Table>, first: i64, times: &[i64]) -> Rows {
    let count = i64::try_from(times.len()).expect("few rows");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values((first..first + count).map(|n| format!("user-{n:012}")))),
        Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(first..first + count)),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&table.schema), columns).expect("the table's columns");
    Rows { table: Arc::clone(table), batch }
}

/// Three raw rows, one of them a tombstone with a header.
pub(crate) fn raw_rows() -> Rows {
    let table = Arc::new(raw("user-events"));
    let headers = StructArray::new(
        header_fields(),
        vec![
            Arc::new(StringArray::from(vec!["trace"])) as ArrayRef,
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x00\xff".as_slice())])),
        ],
        None,
    );
    let DataType::List(item) = headers_type() else { panic!("headers are a list") };
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([0, 0, 1]), Arc::new(headers), None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["user-events"; 3])),
        Arc::new(Int32Array::from(vec![0, 0, 0])),
        Arc::new(Int64Array::from(vec![7, 8, 10])),
        Arc::new(TimestampMicrosecondArray::from(vec![NINE + 2, NINE + 1, NINE + 3]).with_timezone("UTC")),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"k"), None, Some(b"k")])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"{}".as_slice()), Some(b"\xff\xfe"), None])),
        Arc::new(lists),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&table.schema), columns).expect("the table's columns");
    Rows { table, batch }
}

/// A time in the n-th hour after nine.
pub(crate) fn at(hour: i64, micros: i64) -> i64 {
    NINE + hour * HOUR + micros
}

/// All files under a folder, sorted, relative to it.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, into: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, into);
            } else {
                into.push(path.strip_prefix(root).expect("below the root").display().to_string());
            }
        }
    }
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort();
    files
}

/// What a reader finds in a file.
pub(crate) struct Read {
    pub(crate) batch: RecordBatch,
    pub(crate) meta: Arc<ParquetMetaData>,
}

pub(crate) fn read(path: PathBuf) -> Read {
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let (meta, schema) = (Arc::clone(reader.metadata()), Arc::clone(reader.schema()));
    let batches: Vec<_> = reader.build().expect("readable").map(|batch| batch.expect("readable")).collect();
    Read { batch: arrow::compute::concat_batches(&schema, &batches).expect("one schema"), meta }
}

impl Read {
    pub(crate) fn times(&self) -> Vec<i64> {
        let column = self.batch.column_by_name("timestamp").expect("a timestamp");
        column.as_primitive::<TimestampMicrosecondType>().values().to_vec()
    }

    pub(crate) fn numbers(&self) -> Vec<i64> {
        let column = self.batch.column_by_name("n").expect("a number");
        column.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    }

    pub(crate) fn footer(&self, key: &str) -> Option<String> {
        let entries = self.meta.file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.clone())
    }
}

/// Many count up at the same time, each by what it saw: none may be lost.
pub(crate) async fn revised(store: Arc<ZoneStore>) {
    let key = format!("_tidemill/tests/views/{}.sql", machine().fresh_id());
    let count = |store: Arc<ZoneStore>, key: String| async move {
        for _ in 0..10 {
            let next = |there: Option<&[u8]>| {
                let number: u32 = there.map_or(0, |b| String::from_utf8_lossy(b).parse().expect("a number"));
                Some((number + 1).to_string().into_bytes())
            };
            while store.revise(&key, next).await.map_or_else(|e| e.kind() == Kind::Retry, |done| !done) {}
        }
    };
    let work: Vec<_> = (0..8).map(|_| tokio::spawn(count(store.clone(), key.clone()))).collect();
    for task in work {
        task.await.expect("it counts");
    }
    assert_eq!(store.read(&key).await.expect("it answers").as_deref(), Some(b"80".as_slice()));
    assert!(!store.revise(&key, |_| None).await.expect("it answers"), "nothing is to be written");
    store.clear(&key, None, None).await.expect("it can go");
}
