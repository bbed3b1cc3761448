//! Memory and files stay under their bounds, and no row is lost when a bound makes itself felt.

use tidemill::sink::{EpochWriter, Pressure, Settings};

use crate::support::{Read, at, event_rows, events, keys, lake, lane, read, staged};

/// Files end early for want of memory below this; otherwise for their size.
const FEW: usize = 1 << 20;

/// Writes batches of 1,000 rows that go round `hours` hours; returns what readers find, file by file.
async fn written(settings: Settings, batches: i64, hours: i64) -> (Vec<Read>, Pressure) {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = lake(folder.path());
    let to = stores.clone();
    let (files, pressure) = lane(move || {
        let table = events();
        let bound = settings.buffer_bytes;
        let mut writer = EpochWriter::new(to, &keys(), 3, settings);
        writer.begin("e1", Vec::new());
        assert!(!writer.pressed());
        for batch in 0..batches {
            let times: Vec<i64> = (0..1000).map(|n| at(batch % hours, n)).collect();
            writer.write(&event_rows(&table, batch * 1000, &times)).expect("good rows");
            assert!(writer.held() <= bound, "{} bytes are held", writer.held());
        }
        assert!(writer.bytes() > 0);
        // Smaller row groups are no reason to commit, files that end early are.
        assert_eq!(writer.pressed(), writer.pressure().files > 0 && bound < FEW);
        let files = writer.finish(&[]).expect("good rows");
        (files, writer.pressure())
    })
    .await;
    let mut found = Vec::new();
    for file in staged(files).await {
        stores.publish(&file).await.expect("staged");
        found.push(read(folder.path().join("processed").join(&file.key)));
    }
    let mut numbers: Vec<i64> = found.iter().flat_map(Read::numbers).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..batches * 1000), "each row once");
    (found, pressure)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pressure_there_is_one_file_an_hour() {
    let (files, pressure) = written(Settings::default(), 12, 4).await;
    assert_eq!((files.len(), pressure), (4, Pressure::default()));
    assert!(files.iter().all(|file| file.meta.num_row_groups() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_make_smaller_row_groups() {
    let settings = Settings { buffer_bytes: 200_000, ..Settings::default() };
    let (files, pressure) = written(settings, 40, 4).await;
    assert_eq!(files.len(), 4);
    assert!(pressure.row_groups > 4 && pressure.files == 0, "{pressure:?}");
    assert!(files.iter().all(|file| file.meta.num_row_groups() > 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bound_is_too_small_to_get_on() {
    let settings =
        Settings { buffer_bytes: 0, open_files: 0, run_rows: 0, row_group_rows: 0, ..Settings::default() };
    let (files, pressure) = written(settings, 2, 2).await;
    assert_eq!(files.len(), 2);
    assert!(pressure.files > 0, "{pressure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_beyond_the_open_files_are_gathered() {
    let settings = Settings { open_files: 2, ..Settings::default() };
    let (files, pressure) = written(settings, 12, 4).await;
    // Round and round four hours with room for two, and still a file for each.
    assert_eq!((files.len(), pressure), (4, Pressure::default()));
    assert!(files.iter().all(|file| file.numbers().len() == 3000 && file.times().is_sorted()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gathered_is_within_the_bound() {
    let settings = Settings { open_files: 1, buffer_bytes: 100_000, ..Settings::default() };
    let (files, pressure) = written(settings, 40, 10).await;
    assert!(files.len() > 10 && pressure.files > 0, "{} files, {pressure:?}", files.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_ends() {
    let settings = Settings { run_rows: 1000, file_bytes: 2000, ..Settings::default() };
    let (files, pressure) = written(settings, 3, 1).await;
    assert!(files.len() > 1 && pressure.files > 0, "{pressure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_becomes_a_row_group() {
    let settings = Settings { run_rows: 2500, ..Settings::default() };
    let (files, _) = written(settings, 6, 1).await;
    let rows: Vec<_> = files[0].meta.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows, [2500, 2500, 1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_lose_their_dictionary_once_it_proved_useless() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = lake(folder.path());
    let to = stores.clone();
    let files = lane(move || {
        let (table, mut files) = (events(), Vec::new());
        let mut writer = EpochWriter::new(to, &keys(), 0, Settings::default());
        for epoch in ["e1", "e2"] {
            writer.begin(epoch, Vec::new());
            for batch in 0..100 {
                let times: Vec<i64> = (0..1000).map(|n| at(0, n)).collect();
                writer.write(&event_rows(&table, batch * 1000, &times)).expect("good rows");
            }
            files.extend(writer.finish(&[]).expect("good rows"));
        }
        files
    });
    let mut dictionaries = Vec::new();
    for file in staged(files.await).await {
        stores.publish(&file).await.expect("staged");
        let found = read(folder.path().join("processed").join(&file.key));
        dictionaries.push(found.meta.row_group(0).column(0).dictionary_page_offset().is_some());
    }
    assert_eq!(dictionaries, [true, false]);
}
