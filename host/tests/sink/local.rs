//! A lake in a folder: what is visible when, and what the files hold.

use arrow::array::{Array, AsArray};
use tidemill::Kind;
use tidemill::env::machine;
use tidemill::sink::{EpochWriter, Location, Settings, ZoneStore};
use tidemill::table::Zone;

use crate::support::{NINE, at, event_rows, events, keys, lake, lane, raw_rows, read, revised, stage, tree};

type Test = tidemill::Result<()>;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_invisible_until_it_is_published_and_publishing_again_is_success() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = lake(folder.path());
    stores.check().await?;
    assert_eq!(tree(folder.path()), [""; 0], "the check leaves nothing");

    let files = stage(&stores, "e1", vec![raw_rows()]).await;
    assert_eq!(tree(folder.path()), ["raw/_tidemill/tests/staging/tests-e1-0-0.parquet"]);

    for _ in 0..2 {
        stores.publish(&files[0]).await?;
        assert_eq!(tree(folder.path()), ["raw/user_events_raw/date=2025-12-02/hour=09/tests-e1-0-0.parquet"]);
    }
    let file = &files[0];
    assert_eq!((file.rows, file.first, file.last), (3, NINE + 1, NINE + 3));
    let path = folder.path().join("raw").join(&file.key);
    assert_eq!(file.bytes, std::fs::metadata(&path).expect("published").len());

    stores.discard(file).await?;
    assert_eq!(tree(folder.path()).len(), 1, "discarding what is published does nothing");
    for _ in 0..2 {
        stores.remove(file).await?;
        assert_eq!(tree(folder.path()), [""; 0]);
    }
    assert_eq!(stores.publish(file).await.expect_err("it is gone").kind(), Kind::Abandon);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_come_back_as_they_were() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = lake(folder.path());
    let files = stage(&stores, "e1", vec![raw_rows()]).await;
    stores.publish(&files[0]).await?;
    let found = read(folder.path().join("raw").join(&files[0].key));
    let wanted = raw_rows().batch;
    for (column, field) in wanted.columns().iter().zip(wanted.schema().fields()) {
        let read = found.batch.column_by_name(field.name()).expect("the column");
        if field.name() == "headers" {
            let (read, wanted) = (read.as_list::<i32>(), column.as_list::<i32>());
            assert_eq!(read.offsets(), wanted.offsets());
            assert_eq!(read.values(), wanted.values());
        } else {
            assert_eq!((read, read.data_type()), (column, field.data_type()), "{}", field.name());
        }
    }
    for (key, value) in
        [("tidemill.pipeline", "tests"), ("tidemill.epoch", "e1"), ("early", "1"), ("late", "2")]
    {
        assert_eq!(found.footer(key).as_deref(), Some(value), "{key}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_filed_by_hour_and_sorted_within_a_row_group() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let (stores, table) = (lake(folder.path()), events());
    // 100,000 rows over two hours, out of order, with many equal times.
    let times: Vec<i64> = (0..100_000).map(|n: i64| at((n / 7) % 2, (n * 7919) % 1000)).collect();
    let rows = times.chunks(8192).scan(0, |first, times| {
        let rows = event_rows(&table, *first, times);
        *first += i64::try_from(times.len()).expect("few rows");
        Some(rows)
    });
    let files = stage(&stores, "e1", rows.collect()).await;
    let keys: Vec<_> = files.iter().map(|file| file.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "events/date=2025-12-02/hour=09/tests-e1-0-0.parquet",
            "events/date=2025-12-02/hour=10/tests-e1-0-1.parquet"
        ]
    );
    let mut seen = 0;
    for (hour, file) in (0..).zip(&files) {
        stores.publish(file).await?;
        let found = read(folder.path().join("processed").join(&file.key));
        let (times, numbers) = (found.times(), found.numbers());
        seen += times.len();
        assert_eq!(file.rows, times.len() as u64);
        let mut from = 0;
        for group in found.meta.row_groups() {
            let rows = usize::try_from(group.num_rows()).expect("few rows");
            let pairs: Vec<_> = times[from..from + rows].iter().zip(&numbers[from..from + rows]).collect();
            assert!(pairs.is_sorted(), "by time, and rows of one time in the order in which they came");
            assert!(pairs.iter().all(|(time, _)| (at(hour, 0)..at(hour + 1, 0)).contains(*time)));
            from += rows;
        }
    }
    assert_eq!(seen, 100_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_time_is_too_absurd() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let (stores, table) = (lake(folder.path()), events());
    let times = [i64::MIN, i64::MAX, 0, -1, NINE];
    let files = stage(&stores, "e1", vec![event_rows(&table, 0, &times)]).await;
    assert_eq!(files.len(), 5);
    for file in &files {
        stores.publish(file).await?;
        assert_eq!(read(folder.path().join("processed").join(&file.key)).times(), [file.first]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_epoch_leaves_nothing() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let (stores, table) = (lake(folder.path()), events());
    let writer = lane(move || {
        let settings = Settings { open_files: 1, run_rows: 1000, file_bytes: 2000, ..Settings::default() };
        let mut writer = EpochWriter::new(stores, &keys(), 0, settings);
        writer.begin("e1", Vec::new());
        let full: Vec<_> = (0..1000).map(|n| at(0, n)).collect();
        for times in [&full[..], &[at(1, 0), at(1, 1), at(2, 0)]] {
            writer.write(&event_rows(&table, 0, times)).expect("good rows");
        }
        assert_eq!(
            (writer.rows(), writer.files(), writer.pressure().files),
            (1003, 3, 1),
            "one ended, one open, one gathered"
        );
        writer
    });
    let mut writer = writer.await;
    assert_eq!(tree(folder.path()).len(), 2);
    writer.abandon().await.expect("no panic");
    assert_eq!(tree(folder.path()), [""; 0]);
    assert_eq!((writer.rows(), writer.bytes()), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_dropped_leaves_nothing() -> Test {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = lake(folder.path());
    let store = stores.raw;
    lane(move || {
        use std::io::Write;
        let mut file = store.stage("t", tidemill::table::Hour(0), "x-0-0.parquet").expect("a folder");
        file.write_all(b"half").expect("room");
        assert_eq!(file.written(), 4);
    })
    .await;
    assert_eq!(tree(folder.path()), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_cannot_be_written_to_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("room");
    let location = Location::Local(file.join("lake"));
    let store = ZoneStore::open(Zone::Raw, location.clone(), "raw", &keys(), None, &machine())
        .expect("not looked at");
    let text = store.check().await.expect_err("a file is no folder").to_string();
    assert!(text.contains(&location.to_string()) && text.contains("(setting `raw`)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_over_what_it_has_not_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    revised(lake(folder.path()).processed).await;
}
