//! What is under way, what another record repaired, and what `verify --repair` does.

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use tidemill::commit::record::DataFile;
use tidemill::commit::{Log, Record, Remade, Remake};
use tidemill::env::machine;
use tidemill::pipeline::offline::Lake;
use tidemill::shard::Shard;
use tidemill::table::Zone;
use tidemill::{Result, audit};

use crate::support::{House, finds, found, keys, tree};

async fn repair(house: &House) -> Vec<String> {
    let stores = house.stores.clone();
    let writer = Arc::new(stores.clone());
    let log = Log::new(writer, machine(), &keys(), "repair", Arc::new(tidemill::commit::CannotRemake));
    let catalog = Arc::new(house.catalog());
    let lake = Lake { stores, catalog, keys: keys(), shard: Shard::WHOLE, log, env: machine() };
    audit::repair(&mut [lake], &house.specs()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unpublished_and_unregistered_is_found_and_put_right() {
    let mut house = House::with(1).await;
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    house.write(epoch, files).await;
    fs::remove_dir_all(house.path(Zone::Processed, &keys().catalog()).join("rejected_events")).unwrap();
    let found = found(&house, &[]);
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["unpublished", "unpublished", "unpublished", "unpublished", "unpublished", "catalog"]);

    let done = repair(&house).await;
    assert_eq!(
        done,
        [
            "published what last records name",
            "registered table rejected_events: 1 hours",
            "registered table user_events: 2 hours",
            "registered table user_events_raw: 2 hours"
        ]
    );
    finds(&house, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_deletes_nothing_and_says_what_it_cannot_do() {
    let mut house = House::with(1).await;
    let first = house.log.read(1).await.unwrap().unwrap();
    let stray = house.file(&first, "user_events").with_file_name("stray.parquet");
    fs::copy(house.file(&first, "user_events"), &stray).unwrap();
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    let record = house.write(epoch, files).await;
    let lost = record.files.iter().find(|file| file.file.table == "rejected_events").unwrap();
    house.stores.discard(&lost.file).await.unwrap();
    let before = tree(house.root()).len();
    let done = repair(&house).await;
    assert!(done[0].starts_with("not published: record 2 names files that have vanished"), "{done:#?}");
    assert_eq!(tree(house.root()).len(), before);
    let wanted =
        "is neither visible nor staged any more, with 8 rows; a running host makes it again from kafka";
    finds(&house, &[("missing", wanted), ("stray", "stray.parquet")]);
}

/// Stages what is missing anew: here it still lies somewhere.
struct Again(House, Vec<(i32, i64)>);

#[async_trait]
impl Remake for Again {
    async fn remake(&self, _: &tidemill::commit::Log, _: &Record, missing: &[DataFile]) -> Result<Remade> {
        let rows = vec![crate::support::raw_rows(&self.1)];
        Ok(Remade { replaced: missing.to_vec(), files: self.0.stage_rows(&machine().fresh_id(), rows).await })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_its_repair_is_whole() {
    let mut house = House::with(1).await;
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    let odd: Vec<(i32, i64)> = epoch.raw.iter().copied().filter(|(_, offset)| offset % 2 == 1).collect();
    let record = house.write(epoch, files).await;
    let raw = record.files.iter().filter(|file| file.file.table == "user_events_raw").nth(1).unwrap().clone();
    house.stores.discard(&raw.file).await.unwrap();
    let (same, writer) = (House::at(house.root()).await, Arc::new(house.stores.clone()));
    let mut log = Log::new(writer, machine(), &keys(), "other", Arc::new(Again(same, odd)));
    log.open().await.unwrap();
    log.roll_forward(None).await.unwrap();
    assert_eq!(log.view().next(), 4, "the repair is a record");
    finds(&house, &[]);

    // What it superseded may not be seen any more.
    let path = house.path(Zone::Raw, &raw.file.key);
    fs::write(&path, b"late").unwrap();
    finds(&house, &[("stray", "record 3 put another in its place")]);
    fs::remove_file(&path).unwrap();
    house.rewrite(3, |record| {
        let key = record["supersedes"][0]["key"].as_str().unwrap().replace("-0-", "-9-");
        record["supersedes"][0]["key"] = key.into();
    });
    let found = found(&house, &[]);
    assert!(found[0].0 == "chain" && found[0].1.contains("which no record made true"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_repairs_with_the_tables_of_its_transforms() {
    let mut house = House::with(1).await;
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    house.write(epoch, files).await;
    fs::remove_dir_all(house.path(Zone::Processed, &keys().catalog())).unwrap();
    let transforms = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit-transforms");
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms");
    tidemill::cli::build::build(&crates, &transforms).unwrap();

    let ran = house.tidemill(&["verify", "--repair", "--transforms", "nowhere"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_ne!(found(&house, &[]), [], "nothing was done");
    let ran = house.tidemill(&["verify", "--repair", "--transforms", transforms.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.starts_with("repair: published what last records name\nrepair: registered table"),
        "{ran:?}"
    );
    assert_eq!(found(&house, &[]), []);
}
