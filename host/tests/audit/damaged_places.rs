//! What readers see and the log does not say, and what the catalog shows.

use std::fs;

use tidemill::catalog::Catalog;
use tidemill::env::machine;
use tidemill::table::{Hour, Zone};

use crate::support::{House, finds, found, keys};

#[tokio::test(flavor = "multi_thread")]
async fn files_that_no_record_names() {
    let house = House::with(2).await;
    let record = house.log.read(1).await.unwrap().unwrap();
    let ours = keys().file_name(&machine().fresh_id(), 0, 0);
    for (table, zone, name, why) in [
        ("user_events_raw", Zone::Raw, ours.as_str(), "no record names it"),
        ("rejected_events", Zone::Processed, ours.as_str(), "no record names it"),
        ("user_events", Zone::Processed, "part-0.parquet", "it is no file of pipeline tests"),
    ] {
        let path = house.file(&record, table);
        let stray = path.with_file_name(name);
        fs::copy(&path, &stray).unwrap();
        let address = house.stores.of(zone).location().join(table);
        let found = found(&house, &[]);
        assert!(found.len() == 1 && found[0].0 == "stray", "{found:#?}");
        assert!(found[0].1.starts_with(&address) && found[0].1.contains(why), "{found:#?}");
        fs::remove_file(&stray).unwrap();
    }
    // In an hour, and in a folder, that the log does not know.
    for folder in ["date=2024-01-01/hour=00", "more"] {
        let folder = house.path(Zone::Raw, "user_events_raw").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(house.file(&record, "user_events_raw"), folder.join(&ours)).unwrap();
    }
    finds(&house, &[("stray", "date=2024-01-01/hour=00"), ("stray", "/more/")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_any_log() {
    let house = House::with(1).await;
    fs::remove_dir_all(house.path(Zone::Processed, &keys().log())).unwrap();
    finds(&house, &[("stray", "user_events_raw"), ("stray", "but there is no log in")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_shows_something_else() {
    let house = House::with(1).await;
    let catalog = house.path(Zone::Processed, &keys().catalog()).join("user_events");
    let nine = catalog.join("partitions/date=2025-12-02,hour=09.json");
    let description = fs::read_to_string(&nine).unwrap();

    fs::remove_file(&nine).unwrap();
    finds(
        &house,
        &[("catalog", "table user_events: the catalog lacks date=2025-12-02/hour=09, which has files")],
    );
    fs::write(&nine, description.replace("hour=09", "hour=08")).unwrap();
    finds(&house, &[("catalog", "table user_events: the catalog has date=2025-12-02/hour=09 at file://")]);
    fs::write(&nine, description).unwrap();
    let events = house.specs().pop().unwrap();
    house.catalog().register(&events, &[Hour(0).into()]).await.unwrap();
    finds(&house, &[("catalog", "the catalog shows date=1970-01-01/hour=00, which has no files")]);
    fs::remove_dir_all(&catalog).unwrap();
    finds(&house, &[("catalog", "table `user_events` is not in the catalog")]);

    assert_eq!(found(&house, &["--catalog", "none"]), []);
    let out = house.tidemill(&["verify", "--catalog", "none"]).out;
    assert!(out.contains("proved: nothing of the catalog"), "{out}");
}
