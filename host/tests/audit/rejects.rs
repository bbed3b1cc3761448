//! `tidemill rejects`

use serde_json::json;
use tidemill::commit::Portion;
use tidemill::commit::record::{DataFile, Replayed, Work};

use crate::support::{Epoch, House, event_rows, finds, found, rejected_rows};

fn list(house: &House, arguments: &[&str]) -> serde_json::Value {
    let ran = house.tidemill(&[&["rejects", "--json"], arguments].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_counted_by_reason_and_shown() {
    let mut house = House::with(2).await;
    // Beyond a summary, the lists of files lie elsewhere.
    house.idle(100).await;
    let epoch = house.epoch();
    house.commit(epoch).await;
    let all = list(&house, &["--samples", "2"]);
    assert_eq!((&all["rows"], &all["files"], &all["unseen"]), (&24.into(), &3.into(), &0.into()), "{all}");
    let groups = all["reasons"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert_eq!(group["rows"], 12, "{group}");
        assert_eq!((&group["reason"], group["partitions"].to_string()), (&"because".into(), "[0,1]".into()));
        assert_eq!(group["samples"].as_array().unwrap().len(), 2);
        assert_eq!((&group["samples"][0]["value"], &group["samples"][0]["key"]), (&"{}".into(), &().into()));
    }
    let refused = list(&house, &["--transform", "clean"]);
    assert_eq!(refused["reasons"][0]["samples"].to_string(), "[]");
    assert_eq!((&refused["rows"], &refused["reasons"][0]["version"]), (&12.into(), &"1".into()), "{refused}");
    assert_eq!(list(&house, &["--date", "2025-12-02"])["rows"], 24);
    for nothing in [["--date", "2025-12-03"], ["--reason", "why"], ["--since", "24h"]] {
        assert_eq!(list(&house, &nothing)["rows"], 0, "{nothing:?}");
    }
    assert_eq!(list(&house, &["--reason", "caus"])["rows"], 24);

    let ran = house.tidemill(&["rejects", "--samples", "1"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 6), "{}", ran.out);
    assert!(lines[1].trim_start().starts_with("12  "), "{}", ran.out);
    assert!(lines[2].contains("0:3  ") || lines[2].contains("0:7  "), "{}", ran.out);
    assert_eq!(lines[5], "24 rejected events, 2 reasons, 3 files");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_rejected_is_no_error_and_wrong_usage_is() {
    let mut house = House::new().await;
    let ran = house.tidemill(&["rejects"]);
    assert!(ran.code == 0 && ran.out.starts_with("there are no rejected events in file://"), "{ran:?}");
    for wrong in [&["--date", "yesterday"][..], &["--since", "5"], &["--date", "2025-12-02", "--since", "1h"]]
    {
        assert_eq!(house.tidemill(&[&["rejects"], wrong].concat()).code, 2, "{wrong:?}");
    }
    // True, but not visible yet.
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    house.write(epoch, files).await;
    let ran = house.tidemill(&["rejects"]);
    assert!(ran.code == 0 && ran.out.contains("not counted: 8 rows"), "{ran:?}");
}

/// A lake whose first epoch was replayed: of the 4 events that `clean` refused, two are emitted now, one is filtered
/// and one is refused again. Spoilt before it became true.
async fn replayed(spoil: impl FnOnce(&mut Epoch, &mut Replayed)) -> House {
    let mut house = House::with(2).await;
    let first = house.log.read(1).await.unwrap().unwrap();
    let supersedes: Vec<DataFile> =
        first.files.iter().filter(|file| file.file.table == "rejected_events").cloned().collect();
    let mut rows = house.epoch();
    rows.emitted = vec![(0, 7), (1, 7)];
    rows.rejected = [0, 1].into_iter().flat_map(|p| [(p, 3, None), (p, 13, None)]).collect();
    rows.rejected.push((1, 17, Some("clean")));
    let work = Work {
        name: "clean".into(),
        version: "1".into(),
        digest: "c1ea4".into(),
        tables: vec!["user_events".into()],
        input: 4,
        emitted: 2,
        rejected: 1,
        filtered: 1,
        ..Work::default()
    };
    let mut replayed = Replayed {
        reason: "because".into(),
        rows: 4,
        kept: 4,
        again: 1,
        transforms: vec![work],
        ..Replayed::default()
    };
    spoil(&mut rows, &mut replayed);
    let files =
        house.stage_rows(&rows.id, vec![event_rows(&rows.emitted), rejected_rows(&rows.rejected)]).await;
    house.log.replay(Portion { supersedes, files, replayed }, None).await.unwrap().unwrap();
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_proved_and_what_is_wrong_with_it_is_found() {
    let mut house = replayed(|_, _| {}).await;
    finds(&house, &[]);
    // Beyond a summary it is the same, and the record that it took rows from is the last of no partition.
    house.idle(100).await;
    finds(&house, &[]);
    let ran = house.tidemill(&["log", "3"]);
    for part in
        ["record 3: replay", "4 rejected rows went through the transforms again: because", "supersedes:"]
    {
        assert!(ran.out.contains(part), "{part} is not in {}", ran.out);
    }

    let house = replayed(|_, replayed| replayed.kept = 5).await;
    let (taken, come) = (
        "it takes 8 rejected rows away, but 4 went and 5 stay",
        "its files have 5 rejected rows, but 5 stay",
    );
    finds(&house, &[("counts", taken), ("counts", come)]);
    let house = replayed(|_, replayed| replayed.transforms[0].filtered = 0).await;
    finds(
        &house,
        &[("counts", "received 4 rows, but 2 emitted, 1 rejected, 0 filtered and 0 absorbed are 3")],
    );
    let house = replayed(|rows, _| rows.emitted.push((1, 17))).await;
    let found = found(&house, &[]);
    let both = "record 3, partition 1: rejected events are in tables of clean, too: offsets 17";
    assert!(found.iter().any(|(kind, what)| kind == "both" && what == both), "{found:#?}");
    assert!(found.iter().any(|(_, what)| what.contains("its tables have 3 different ones")), "{found:#?}");

    // A file that it took away and that is there again; one that it brought and that is gone.
    let house = replayed(|_, _| {}).await;
    let record = house.log.read(3).await.unwrap().unwrap();
    let (old, new) = (&record.supersedes[0].file, house.file(&record, "user_events"));
    let bytes = std::fs::read(&new).unwrap();
    std::fs::write(house.path(old.zone, &old.key), &bytes).unwrap();
    finds(&house, &[("stray", "record 3 put another in its place")]);
    std::fs::remove_file(house.path(old.zone, &old.key)).unwrap();
    std::fs::remove_file(&new).unwrap();
    finds(&house, &[("missing", "their events are in the raw table")]);
    std::fs::write(&new, &bytes).unwrap();
    house.rewrite(3, |record| record["previous"] = json!(1));
    finds(&house, &[("chain", "record 3 follows maintenance record 1 instead of none")]);
}
