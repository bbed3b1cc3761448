//! Hours merged over a lake on a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Handle;

use super::*;
use crate::batch::Rows;
use crate::env::{HOUR, machine};
use crate::generations::Place;
use crate::sink::{EpochWriter, Keys, Location, Settings, Stores, ZoneStore};
use crate::table::{self, Table, Zone, timestamp_type};

const AT: table::Hour = table::Hour(490_185);

fn lake(root: &std::path::Path) -> (Stores, Keys) {
    let keys = Keys::new("t").unwrap();
    let zone = |zone| {
        let place = Location::Local(root.join(format!("{zone:?}")));
        Arc::new(ZoneStore::open(zone, place, "raw", &keys, None, &machine()).unwrap())
    };
    (Stores { raw: zone(Zone::Raw), processed: zone(Zone::Processed) }, keys.clone())
}

fn events() -> Arc<Table> {
    let schema = Schema::new(vec![
        Field::new("timestamp", timestamp_type(), false),
        Field::new("user_id", DataType::Utf8, true),
        Field::new("kafka_partition", DataType::Int32, false),
        Field::new("kafka_offset", DataType::Int64, false),
    ]);
    let (name, schema) = ("events".to_owned(), Arc::new(schema));
    Arc::new(Table { name, zone: Zone::Processed, schema, event_time: 0, sorted: true })
}

/// Rows `offsets` of a partition; the time of each follows from its offset.
fn batch(table: &Arc<Table>, partition: i32, offsets: &[i64], time: impl Fn(i64) -> i64) -> Rows {
    let times = TimestampMicrosecondArray::from_iter_values(offsets.iter().map(|o| AT.0 * HOUR + time(*o)));
    let users = StringArray::from_iter(offsets.iter().map(|o| (o % 5 > 0).then(|| format!("user-{o}"))));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(users),
        Arc::new(Int32Array::from_iter_values(offsets.iter().map(|_| partition))),
        Arc::new(Int64Array::from_iter_values(offsets.iter().copied())),
    ];
    let batch = RecordBatch::try_new(table.schema.clone(), columns).unwrap();
    Rows { table: table.clone(), batch }
}

/// Stages rows as an epoch, and makes them visible.
async fn visible(stores: &Stores, keys: &Keys, epochs: Vec<Vec<Rows>>) -> Vec<DataFile> {
    let mut files = Vec::new();
    for rows in epochs {
        let (stores_of, keys, epoch) = (stores.clone(), keys.clone(), machine().fresh_id());
        let id = epoch.clone();
        let pending = tokio::task::spawn_blocking(move || {
            let mut writer = EpochWriter::new(stores_of, &keys, 0, Settings::default());
            writer.begin(&id, vec![]);
            rows.iter().for_each(|rows| writer.write(rows).unwrap());
            writer.finish(&[]).unwrap()
        });
        for file in pending.await.unwrap() {
            let file = file.staged().await.unwrap();
            stores.publish(&file).await.unwrap();
            files.push(DataFile::new(&epoch, file));
        }
    }
    files
}

/// Merges files; gives back what was read, and the rows of the new files, in order.
async fn merged(
    stores: &Stores,
    keys: &Keys,
    spec: TableSpec,
    files: Vec<DataFile>,
    memory: usize,
    largest: u64,
) -> Result<(Compacted, Vec<Vec<RecordBatch>>)> {
    let source = Source { stores: stores.clone(), env: machine(), runtime: Handle::current(), rate: None };
    let (store, keys) = (stores.of(spec.table.zone).clone(), keys.clone());
    let work = tokio::task::spawn_blocking(move || {
        let place = Place { hour: AT, generation: 2 };
        let mut to = HourWriter::new(&store, &keys, &spec.table, place, &machine().fresh_id(), largest)?;
        let compacted = Merge { spec, files, memory }.merge(&source, &mut to)?;
        Ok::<_, Error>((compacted, to.finish()?))
    });
    let (compacted, pending) = work.await.unwrap()?;
    let mut found = Vec::new();
    for file in pending {
        let file = file.staged().await.unwrap();
        stores.publish(&file).await.unwrap();
        assert!(file.key.contains("/_gen/2/date=2025-12-02/hour=09/"), "{}", file.key);
        let bytes = stores.of(file.zone).read(&file.key).await.unwrap().unwrap();
        let rows =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        found.push(rows.map(|batch| batch.unwrap()).collect());
    }
    Ok((compacted, found))
}

fn times(files: &[Vec<RecordBatch>]) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    files.iter().flatten().flat_map(column).collect()
}

fn prints(table: &Table, files: &[Vec<RecordBatch>]) -> Prints {
    let mut prints = Prints::default();
    files.iter().flatten().for_each(|batch| prints.add(batch, Prints::columns(&table.schema)));
    prints
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_once_and_in_order_however_little_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, keys) = lake(folder.path());
    let table = events();
    // Files of seconds each, some with a row from the hour's beginning, and some of one and the same time.
    let offsets: Vec<i64> = (0..20_000).collect();
    let time = |o: i64| {
        if o % 1000 == 7 {
            0
        } else if (5_000..9_000).contains(&o) {
            900_000_000
        } else {
            o * 100_000 + o % 3
        }
    };
    let epochs = offsets.chunks(700).enumerate();
    let epochs =
        epochs.map(|(n, some)| vec![batch(&table, i32::try_from(n % 3).unwrap(), some, time)]).collect();
    let files = visible(&stores, &keys, epochs).await;
    assert!(files.len() > 25);
    let spec = TableSpec::new(table.clone(), "file:///t");
    let mut before = Prints::default();
    for file in &files {
        let bytes = stores.processed.read(&file.file.key).await.unwrap().unwrap();
        let rows =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        rows.for_each(|batch| before.add(&batch.unwrap(), Prints::columns(&table.schema)));
    }
    let mut all = Vec::new();
    for (memory, largest) in
        [(64 << 20, u64::MAX), (200_000, u64::MAX), (20_000, u64::MAX), (64 << 20, 20_000)]
    {
        let (compacted, found) =
            merged(&stores, &keys, spec.clone(), files.clone(), memory, largest).await.unwrap();
        assert_eq!((compacted.rows, compacted.merged), (20_000, false));
        assert_eq!(compacted.print.as_deref(), Some(&*before.text()), "with {memory} bytes");
        assert_eq!(prints(&table, &found), before, "with {memory} bytes");
        assert!(times(&found).is_sorted(), "with {memory} bytes");
        assert_eq!(found.len() > 1, largest < u64::MAX, "{} files", found.len());
        all.push(found.concat().iter().map(RecordBatch::num_rows).sum::<usize>());
    }
    assert_eq!(all, [20_000; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_additive_table_are_summed_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, keys) = lake(folder.path());
    let schema = Schema::new(vec![
        Field::new("minute", timestamp_type(), false),
        Field::new("device", DataType::Utf8, true),
        Field::new("events", DataType::Int64, false),
    ]);
    let (name, schema) = ("minutes".to_owned(), Arc::new(schema));
    let table = Arc::new(Table { name, zone: Zone::Processed, schema, event_time: 0, sorted: true });
    let epoch = |n: i64| {
        let rows: Vec<(i64, String, i64)> =
            (0..300).map(|row| (row % 60, format!("device-{}", row % 7), n + row)).collect();
        let minutes = rows.iter().map(|row| AT.0 * HOUR + row.0 * 60_000_000);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(minutes).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        vec![Rows {
            table: table.clone(),
            batch: RecordBatch::try_new(table.schema.clone(), columns).unwrap(),
        }]
    };
    let files = visible(&stores, &keys, (0..20).map(epoch).collect()).await;
    let merge = [("minute", "key"), ("device", "key"), ("events", "sum")];
    let merge: BTreeMap<String, String> = merge.map(|(column, how)| (column.into(), how.into())).into();
    let spec = TableSpec { merge, ..TableSpec::new(table.clone(), "file:///t") };
    let sums = |files: &[Vec<RecordBatch>]| {
        let mut sums: BTreeMap<(i64, String), i64> = BTreeMap::new();
        for batch in files.iter().flatten() {
            let minutes = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let (devices, events) =
                (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let key = (minutes.value(row), devices.value(row).to_owned());
                *sums.entry(key).or_default() += events.value(row);
            }
        }
        sums
    };
    let (compacted, found) =
        merged(&stores, &keys, spec.clone(), files.clone(), 64 << 20, u64::MAX).await.unwrap();
    assert_eq!((compacted.rows, compacted.print, compacted.merged), (6_000, None, true));
    let rows: usize = found.iter().flatten().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, sums(&found).len(), "a row a key");
    assert!(times(&found).is_sorted());
    // What does not fit is written before, which sums to the same.
    let (_, little) = merged(&stores, &keys, spec, files, 5_000, u64::MAX).await.unwrap();
    let more: usize = little.iter().flatten().map(RecordBatch::num_rows).sum();
    assert!(more > rows);
    assert_eq!(sums(&little), sums(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_column_is_lost_and_what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, keys) = lake(folder.path());
    let table = events();
    let epoch = |from: i64| vec![batch(&table, 0, &(from..from + 10).collect::<Vec<_>>(), |o| o)];
    let files = visible(&stores, &keys, vec![epoch(0), epoch(10)]).await;
    // The transform has lost a column since.
    let fields: Vec<_> = table.schema.fields().iter().filter(|f| f.name() != "user_id").cloned().collect();
    let (name, schema) = (table.name.clone(), Arc::new(Schema::new(fields)));
    let narrow = Table { name, zone: table.zone, schema, event_time: 0, sorted: true };
    let spec = TableSpec::new(Arc::new(narrow), "file:///t");
    let error = merged(&stores, &keys, spec, files.clone(), 1 << 20, u64::MAX).await.unwrap_err().to_string();
    assert!(error.contains("it has a column `user_id`, which its table has not any more"), "{error}");
    // A file that is gone is no empty one.
    std::fs::remove_file(folder.path().join("Processed").join(&files[0].file.key)).unwrap();
    let spec = TableSpec::new(table, "file:///t");
    assert!(
        merged(&stores, &keys, spec, files, 1 << 20, u64::MAX)
            .await
            .unwrap_err()
            .to_string()
            .contains("is gone")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_any_size_are_held_a_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, keys) = lake(folder.path());
    let table = events();
    // 50 KB a row: each another, and all the same, which a file holds once.
    let wide = |offsets: std::ops::Range<i64>, text: &dyn Fn(i64) -> String| {
        let offsets: Vec<i64> = offsets.collect();
        let Rows { table, batch } = batch(&table, 0, &offsets, |o| o * 1000);
        let mut columns = batch.columns().to_vec();
        columns[1] = Arc::new(StringArray::from_iter_values(offsets.iter().map(|o| text(*o))));
        Rows { batch: RecordBatch::try_new(batch.schema(), columns).unwrap(), table }
    };
    let different = |o: i64| {
        (0..50_000).map(|n| char::from(b'a' + u8::try_from((o * 7 + n * n) % 26).unwrap())).collect()
    };
    let files = visible(
        &stores,
        &keys,
        vec![vec![wide(0..1_000, &different)], vec![wide(1_000..2_000, &|_| "x".repeat(50_000))]],
    )
    .await;
    assert_eq!(files.len(), 2);
    assert!(files[1].file.bytes < 1 << 20, "{} bytes", files[1].file.bytes);
    let source = Source { stores: stores.clone(), env: machine(), runtime: Handle::current(), rate: None };
    let (spec, wanted) = (TableSpec::new(table.clone(), "file:///t"), files.clone());
    let found = tokio::task::spawn_blocking(move || {
        let (mut read, mut ordered) = (vec![], vec![]);
        let held = |batch: &RecordBatch| (batch.num_rows(), batch.get_array_memory_size());
        source.read(&table, &wanted, |batch| {
            read.push(held(&batch));
            Ok(())
        })?;
        let sorted = Sorted { table: &table, files: &wanted, memory: 64 << 20 };
        sorted.read(&source, &mut |batch| {
            ordered.push(held(&batch));
            Ok(())
        })?;
        Ok::<_, Error>([read, ordered])
    });
    for batches in found.await.unwrap().unwrap() {
        assert_eq!(batches.iter().map(|(rows, _)| rows).sum::<usize>(), 2_000);
        // A buffer that has grown may be twice as large as what is in it.
        let most = batches.iter().map(|(_, bytes)| *bytes).max().unwrap();
        assert!(most <= 2 * super::super::width::BYTES, "{most} bytes at a time: {batches:?}");
        assert!(batches.len() < 40, "and not row by row: {batches:?}");
    }
    let (compacted, _) = merged(&stores, &keys, spec, files, 20 << 20, u64::MAX).await.unwrap();
    assert_eq!(compacted.rows, 2_000);
}
