//! Damage to the log itself.

use std::fs;

use serde_json::json;
use tidemill::commit::{Ends, Policy};
use tidemill::table::Zone;

use crate::support::{House, finds, found, keys};

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_and_what_is_no_record() {
    let house = House::with(4).await;
    let path = |seq| house.path(Zone::Processed, &keys().record(seq));
    let record = fs::read_to_string(path(2)).unwrap();
    for (content, kind, part) in [
        (None, "hole", "record 2 is missing, but record 3 is there"),
        (Some("{".to_owned()), "record", "000000000002.json is damaged"),
        (
            Some(record.replace("\"seq\":2", "\"seq\":7")),
            "record",
            "says that it is record 7 of pipeline tests",
        ),
        (Some(record.replace("\"format\":1", "\"format\":99")), "record", "has format 99"),
    ] {
        match content {
            None => fs::remove_file(path(2)).unwrap(),
            Some(content) => fs::write(path(2), content).unwrap(),
        }
        // Its files are now nobody's, which follows; but nothing is said of the chains that lead over it.
        let found = found(&house, &[]);
        assert!(found[0].0 == kind && found[0].1.contains(part), "{found:#?}");
        assert!(found[1..].iter().all(|(kind, _)| kind == "stray" || kind == "catalog"), "{found:#?}");
        assert_eq!(found.iter().filter(|(kind, _)| kind == "stray").count(), 5, "{found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_that_are_broken() {
    let house = House::with(3).await;
    house.rewrite(3, |record| record["partitions"][0]["prev"] = json!(1));
    finds(&house, &[("chain", "record 3, partition 0: it follows record 1 instead of 2")]);

    let house = House::with(3).await;
    house.rewrite(2, |record| record["partitions"][1]["to"] = json!(41));
    finds(&house, &[("chain", "record 3, partition 1: it begins at offset 40, the one before ended at 41")]);

    let house = House::with(1).await;
    house.rewrite(0, |record| record["partitions"] = json!([record["partitions"][0]]));
    house
        .rewrite(1, |record| record["partitions"][1].as_object_mut().unwrap().retain(|key, _| key != "prev"));
    finds(&house, &[("chain", "record 1, partition 1: no record says where the partition begins")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_out_of_its_chain() {
    let mut house = House::with(1).await;
    for _ in 0..2 {
        let epoch = house.epoch();
        let files = house.stage(&epoch).await;
        house.leftovers(&files).await;
    }
    finds(&house, &[]);
    house.rewrite(3, |record| record["previous"] = json!(0));
    finds(&house, &[("chain", "record 3 follows maintenance record 0 instead of 2")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_clean_up_had_ruled_out() {
    let mut house = House::with(1).await;
    let epoch = house.epoch();
    let id = epoch.id.clone();
    house.commit(epoch).await;
    house.rewrite(0, |record| record["cleanup"] = json!({"epochs": [id], "remains": []}));
    finds(&house, &[("fenced", "makes epoch")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_of_what_is_true() {
    let mut house = House::with(1).await;
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    let mut remains = house.leftovers(&files).await;
    let record = house.log.read(1).await.unwrap().unwrap();
    (remains.key, remains.epoch) = (record.files[0].file.key.clone(), record.files[0].epoch.clone());
    house.rewrite(2, |record| record["cleanup"]["remains"][0] = json!(remains));
    finds(&house, &[("fenced", "which record 1 made true")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_named_twice() {
    let house = House::with(2).await;
    let record = house.log.read(1).await.unwrap().unwrap();
    let rejected = record.files.iter().find(|file| file.file.table == "rejected_events").unwrap();
    house.rewrite(2, |record| record["files"].as_array_mut().unwrap().push(json!(rejected)));
    let found = found(&house, &[]);
    assert!(found[0].0 == "twice" && found[0].1.contains("which record 1 made true"), "{found:#?}");
    house.rewrite(2, |record| {
        let files = record["files"].as_array_mut().unwrap();
        files.pop();
        files.push(files[0].clone());
    });
    let found = self::found(&house, &[]);
    assert!(found[0].0 == "twice" && found[0].1.contains("record 2 names"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_do_not_add_up() {
    let house = House::with(2).await;
    let work = |record: &mut serde_json::Value, key: &str, value: u64| {
        record["partitions"][0]["transforms"][0][key] = json!(value);
    };
    house.rewrite(2, |record| work(record, "filtered", 1));
    finds(
        &house,
        &[("counts", "received 18 rows, but 16 emitted, 2 rejected, 1 filtered and 0 absorbed are 19")],
    );
    house.rewrite(2, |record| work(record, "input", 19));
    finds(&house, &[("counts", "transform clean received 19 rows of 18 events that could be decoded")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_another() {
    let house = House::with(1).await;
    house.rewrite(0, |record| drop(record["topic"].as_object_mut().unwrap().remove("id")));
    let found = found(&house, &[]);
    assert!(
        found[0].0 == "topic" && found[0].1.contains("with id \"t1\", those before it with id \"\""),
        "{found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_a_note_and_no_finding() {
    let mut house = House::with(1).await;
    let ends: Ends = [(0, (25, 30)), (1, (20, 30))].into();
    let policy = Policy { skip_lost: true, ..Policy::default() };
    house.log.take(&house.topic, &[0, 1], &ends, policy).await.unwrap();
    finds(&house, &[]);
    let out = house.tidemill(&["verify"]).out;
    assert!(out.contains("note: record 2, partition 0: offsets 20..25 were gone and were skipped"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_true_files_that_are_wrong() {
    let mut house = House::with(2).await;
    house.idle(100).await;
    finds(&house, &[]);
    let folder = house.path(Zone::Processed, "_tidemill/tests/inventory/user_events/2025-12-02");
    let path = folder.join("000000000099.json");
    let mut list: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    list["files"].as_array_mut().unwrap().pop();
    fs::write(&path, list.to_string()).unwrap();
    finds(
        &house,
        &[("inventory", "user_events, 2025-12-02, have 3 files, which are not the 4 of its records")],
    );
    fs::remove_file(&path).unwrap();
    finds(&house, &[("inventory", "is missing, though a summary of the commit log points to it")]);
}
