//! Rows that are not what their record says, and files that are not what they were.

use std::fs;

use serde_json::json;
use tidemill::commit::Memory;
use tidemill::commit::Record;
use tidemill::commit::record::StateRef;

use crate::support::{Epoch, House, finds, found};

/// A lake whose second epoch was spoilt before it became true.
async fn spoilt(spoil: impl FnOnce(&mut Epoch)) -> House {
    let mut house = House::with(1).await;
    let mut epoch = house.epoch();
    spoil(&mut epoch);
    house.commit(epoch).await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_lost_doubled_or_elsewhere() {
    let house = spoilt(|epoch| epoch.raw.retain(|at| *at != (0, 25))).await;
    let lost = "record 2, partition 0: the raw table has 19 of 20 events; without offsets 25";
    finds(&house, &[("offsets", lost)]);

    let house = spoilt(|epoch| epoch.raw.push((1, 30))).await;
    finds(
        &house,
        &[("offsets", "record 2, partition 1: the raw table has events more than once: offsets 30")],
    );

    let house = spoilt(|epoch| epoch.raw.push((1, 5))).await;
    let found = found(&house, &[]);
    assert!(
        found[0].1.contains("partition 1: the raw table has events outside of 20..40: offsets 5"),
        "{found:#?}"
    );

    let house = spoilt(|epoch| epoch.raw.push((7, 5))).await;
    finds(
        &house,
        &[("offsets", "the raw table has rows of partition 7, which does not go ahead: offsets 5")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_with_holes_are_right_where_the_counts_are() {
    let house = spoilt(|epoch| {
        epoch.raw.retain(|at| *at != (0, 25));
        epoch.emitted.retain(|at| *at != (0, 25));
        let advance = &mut epoch.advances[0];
        advance.events -= 1;
        (advance.transforms[0].input, advance.transforms[0].emitted) = (17, 15);
    });
    finds(&house.await, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_that_are_not_there() {
    let house = spoilt(|epoch| epoch.rejected.retain(|(p, offset, _)| (*p, *offset) != (0, 23))).await;
    let lost = "partition 0: 2 events could not be decoded, the table of rejected events has 1 rows of them";
    finds(&house, &[("rejects", lost)]);

    let house = spoilt(|epoch| epoch.rejected.retain(|(p, offset, _)| (*p, *offset) != (0, 27))).await;
    let lost = "partition 0: transform clean refused 2 rows, the table of rejected events has 1 of them";
    finds(&house, &[("rejects", lost)]);

    let house = spoilt(|epoch| epoch.rejected.push((0, 21, Some("stranger")))).await;
    finds(&house, &[("rejects", "1 events were refused by stranger (c1ea4), which was not at work")]);

    // The same event twice instead of another.
    let house =
        spoilt(|epoch| epoch.rejected.iter_mut().for_each(|(_, offset, _)| *offset = (*offset).min(27)));
    let found = found(&house.await, &[]);
    assert!(
        found.iter().any(|(kind, what)| kind == "rejects" && what.contains("transform clean")),
        "{found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_that_reads_another_may_refuse_more_rows_than_events() {
    let house = spoilt(|epoch| {
        for advance in &mut epoch.advances {
            let mut work = advance.transforms[0].clone();
            (work.name, work.reads) = ("split".into(), Some("clean".into()));
            work.tables.clear();
            (work.input, work.emitted, work.rejected) = (40, 30, 10);
            advance.transforms.push(work);
        }
        // It refused one row of an event that it emitted other rows of, and rows of a flush.
        epoch.rejected.push((0, 24, Some("split")));
    });
    finds(&house.await, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_rejected_and_emitted() {
    let house = spoilt(|epoch| {
        epoch.emitted.push((0, 27));
        epoch.advances[0].transforms[0].emitted += 1;
        epoch.advances[0].transforms[0].input += 1;
    });
    let found = found(&house.await, &[]);
    let both = "record 2, partition 0: events that clean refused are in its tables, too: offsets 27";
    assert!(found.iter().any(|(kind, what)| kind == "both" && what == both), "{found:#?}");

    let house = spoilt(|epoch| epoch.emitted.push((1, 33))).await;
    let found = self::found(&house, &[]);
    let both = "record 2, partition 1: events that could not be decoded are in tables of clean: offsets 33";
    assert!(found.iter().any(|(kind, what)| kind == "both" && what == both), "{found:#?}");
    assert!(
        found.iter().any(|(kind, what)| kind == "counts" && what.contains("its tables have 17")),
        "{found:#?}"
    );

    let house = spoilt(|epoch| epoch.emitted.push((1, 3))).await;
    let found = self::found(&house, &[]);
    let strange = "record 2, partition 1: user_events has offsets that are not among its events: 3";
    assert!(found.iter().any(|(kind, what)| kind == "offsets" && what == strange), "{found:#?}");
}

async fn first(house: &House) -> Record {
    house.log.read(1).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_what_they_were() {
    let house = House::with(2).await;
    let record = first(&house).await;
    let path = house.file(&record, "user_events");
    let bytes = fs::read(&path).unwrap();

    fs::remove_file(&path).unwrap();
    finds(&house, &[("missing", "is missing, with 20 rows")]);
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    finds(&house, &[("unreadable", "cannot be read")]);
    fs::write(&path, &bytes[..100]).unwrap();
    finds(&house, &[("size", "has 100 bytes instead of"), ("unreadable", "")]);
    // A good file, but not this one.
    let other = record.files.iter().rfind(|file| file.file.table == "user_events").unwrap();
    let other = house.path(other.file.zone, &other.file.key);
    fs::copy(&other, &path).unwrap();
    assert_ne!(found(&house, &[]), []);
    fs::write(&path, &bytes).unwrap();
    finds(&house, &[]);
    house.rewrite(1, |record| {
        let files = record["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["table"] == "user_events").unwrap();
        file["rows"] = json!(17);
    });
    finds(&house, &[("rows", "has 20 rows instead of 17")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_gone_or_another() {
    let mut house = House::with(1).await;
    let mut epoch = house.epoch();
    let memory = Memory { transform: "clean".into(), version: 1, bytes: b"state".into() };
    let state: StateRef = house.log.store_state(&epoch.id, 0, &memory).await.unwrap();
    epoch.advances[0].transforms[0].state = Some(state.clone());
    house.commit(epoch).await;
    finds(&house, &[]);
    let path = house.path(tidemill::table::Zone::Processed, &state.key);
    fs::write(&path, b"other").unwrap();
    finds(&house, &[("state", "has SHA-256")]);
    fs::remove_file(&path).unwrap();
    finds(&house, &[("state", "record 2, partition 0: what clean remembers")]);
}
