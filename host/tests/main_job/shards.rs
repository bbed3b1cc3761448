//! A pipeline with several commit logs.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidemill::Kind;
use tidemill::observe::Status;

use super::support::{self, House, clean_rows, directory, log, offsets, put};

const GOOD: &str = r#"{"user_id":"u","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;
const BLANK: &str = r#"{"user_id":" ","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;

/// What a command of the house prints as one JSON object; it must succeed. No command is told how many logs there are.
fn said(house: &House, arguments: &[&str]) -> Value {
    let done = house.tidemill(arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The findings of `tidemill verify`.
fn findings(house: &House) -> Vec<(String, String)> {
    let done = house.tidemill(&["verify", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|finding| (text(&finding["kind"]), text(&finding["what"]))).collect()
}

fn run_until_end(house: &House, logs: &str) -> tidemill::Result<tidemill::observe::Snapshot> {
    let host = house.begin(support::transforms(), &[("logs", logs), ("lanes", "2"), ("until-end", "true")]);
    host.ended(Duration::from_secs(60))
}

#[test]
fn logs_have_their_partitions_and_together_every_event_once() {
    let house = House::new("sharded");
    house.send(&[Some(GOOD); 90]);
    house.send(&[Some(BLANK), None, Some("{")]);
    assert_eq!(run_until_end(&house, "2").unwrap().events, 93);
    house.send(&[Some(GOOD); 12]);
    assert_eq!(run_until_end(&house, "2").unwrap().events, 12, "each log goes on where it stood");
    assert_eq!((offsets(&house, "user_events_raw").len(), clean_rows(&house).len()), (105, 102));

    for (number, wanted) in [(0, BTreeSet::from([0, 2])), (1, BTreeSet::from([1]))] {
        let records: Vec<Value> = log(&house, &format!("sharded@{number}"))
            .iter()
            .map(|record| serde_json::from_str(record).unwrap())
            .collect();
        let partitions = records.iter().filter_map(|record| record["partitions"].as_array()).flatten();
        let found: BTreeSet<i64> = partitions.map(|p| p["partition"].as_i64().unwrap()).collect();
        assert_eq!(found, wanted, "log {number}");
    }
    assert!(!house.lake().join("processed/_tidemill/sharded/log").exists());

    let report = said(&house, &["verify", "--json"]);
    assert_eq!((&report["ok"], &report["logs"], &report["events"]), (&true.into(), &2.into(), &105.into()));
    assert_eq!(report["partitions"], 3);
    assert_eq!(said(&house, &["gc", "--json"])["leftovers"], Value::Array(vec![]));

    let lines = |arguments: &[&str]| {
        let done = house.tidemill(arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let all = lines(&["log", "--last", "100", "--json"]);
    let one = lines(&["log", "--shard", "1", "--last", "100", "--json"]);
    assert_eq!(all.len(), log(&house, "sharded@0").len() + log(&house, "sharded@1").len());
    assert!(!one.is_empty() && one.iter().all(|line| all.contains(line) && line.contains("\"sharded@1\"")));
    assert!(lines(&["log"])[0].starts_with("log  seq"), "which log a record is of is said");
    assert_eq!(lines(&["log", "0", "--shard", "1"])[0], "record 0: transforms");
    for wrong in [&["log", "0"][..], &["log", "--shard", "2"]] {
        assert_eq!(house.tidemill(wrong).status.code(), Some(2), "{wrong:?}");
    }

    // What was rejected in both logs, for the same reason or not, is one list, and goes back into the log it came from.
    let rejects = said(&house, &["rejects", "--json"]);
    assert_eq!(rejects["rows"], 3);
    let blank = rejects["reasons"].as_array().unwrap().iter().find(|r| r["transform"] == "clean").unwrap();
    let again = said(&house, &["rejects", "replay", "--json", "--reason", blank["reason"].as_str().unwrap()]);
    assert_eq!((&again["rows"], &again["again"]), (&1.into(), &1.into()));
    assert_eq!(again["records"].as_array().unwrap().len(), 1);
    assert!(again["records"][0].as_str().unwrap().starts_with("0/"), "{again}");
    assert_eq!(findings(&house), []);
}

#[test]
fn a_lake_keeps_its_number_of_logs() {
    let house = House::new("keeps");
    house.send(&[Some(GOOD); 9]);
    run_until_end(&house, "3").unwrap();
    for other in ["1", "2", "4"] {
        let refused = run_until_end(&house, other).unwrap_err();
        assert_eq!(refused.kind(), Kind::Usage);
        let text = refused.to_string();
        assert!(text.contains("3 logs") && text.contains(&format!("{other} log")), "{text}");
        assert!(text.contains("set `logs` to 3"), "{text}");
    }
    // One that was made before there were several, and any other that has one.
    let house = House::new("before");
    house.send(&[Some(GOOD); 9]);
    house.run_until_end();
    let owner = house.lake().join("processed/_tidemill/@owners/user_events.json");
    assert_eq!(fs::read_to_string(owner).unwrap(), r#"{"pipeline":"before"}"#);
    let refused = run_until_end(&house, "2").unwrap_err().to_string();
    assert!(refused.contains("1 log,") && refused.contains("2 logs"), "{refused}");
    assert_eq!(run_until_end(&house, "1").unwrap().events, 0);
}

#[test]
fn damage_to_one_of_the_logs_is_found() {
    let house = House::new("damaged");
    house.send(&[Some(GOOD); 30]);
    run_until_end(&house, "2").unwrap();
    assert_eq!(findings(&house), []);

    // A partition in the wrong log.
    let folder = house.lake().join("processed/_tidemill/damaged@1/log");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let last = paths.last().unwrap();
    let record = fs::read_to_string(last).unwrap();
    fs::write(last, record.replace(r#""partition":1,"#, r#""partition":2,"#)).unwrap();
    let found = findings(&house);
    let wrong = "with 2 logs the partition is of log 0";
    let of = |kind: &str, part: &str| found.iter().any(|(k, what)| k == kind && what.contains(part));
    assert!(of("shard", wrong) && of("shard", "log 1: record"), "{found:#?}");
    fs::write(last, record).unwrap();

    // A log that is gone.
    fs::rename(&folder, folder.with_extension("away")).unwrap();
    let found = findings(&house);
    let gone: Vec<_> = found.iter().filter(|(_, what)| what.contains("there is no log in")).collect();
    assert!(
        !gone.is_empty() && gone.iter().all(|(k, what)| k == "stray" && what.contains("damaged@1")),
        "{found:#?}"
    );
    assert!(found.iter().all(|finding| gone.contains(&finding) || finding.0 == "catalog"), "{found:#?}");
    // No host begins it anew: its events would come again.
    let refused = run_until_end(&house, "2").unwrap_err().to_string();
    assert!(refused.contains("there is no commit log (_tidemill/damaged@1/log"), "{refused}");
    fs::rename(folder.with_extension("away"), &folder).unwrap();
    assert_eq!(run_until_end(&house, "2").unwrap().events, 0);
    assert_eq!(findings(&house), []);
}

/// All partitions run the set of their log, and all logs have these transforms.
fn live(status: &Status, names: &[&str]) -> bool {
    let found: Vec<&str> = status.transforms.iter().map(|one| one.file.as_str()).collect();
    let on = status.partitions.iter().all(|(number, p)| p.set == status.set_of(*number) && !p.paused);
    found == names && on && status.transforms.iter().all(|one| one.partitions.len() == 3)
}

#[test]
fn transforms_go_over_in_every_log() {
    let house = House::new("sets");
    let folder = directory(&["clean"]);
    let host = house.begin(folder.path(), &[("logs", "3"), ("lanes", "1")]);
    let first = host.until("clean is live", |now| live(now, &["clean"]));
    assert_eq!(first.logs.iter().map(|log| log.partitions.clone()).collect::<Vec<_>>(), [[0], [1], [2]]);
    house.send(&[Some(GOOD); 30]);
    host.wait("all events are committed", |now| now.events == 30);
    let busy = host.until("all are counted", |now| now.transforms[0].rows.input == 30);
    assert_eq!(
        busy.recent.iter().filter_map(|commit| commit.log).collect::<BTreeSet<u32>>(),
        [0, 1, 2].into()
    );

    put(folder.path(), "activity_per_minute");
    let second = host.until("it is live", |now| live(now, &["activity_per_minute", "clean"]));
    assert!((0..3).all(|log| second.logs[log].set > first.logs[log].set), "{:?}", second.logs);
    fs::write(folder.path().join("broken.wasm"), "no WebAssembly").unwrap();
    let refused = host.until("it is refused", |now| !now.refused.is_empty());
    assert_eq!(refused.refused.len(), 1, "by all logs, and told once: {:?}", refused.refused);
    fs::remove_file(folder.path().join("broken.wasm")).unwrap();
    host.until("nothing is refused", |now| now.refused.is_empty());
    house.send(&[Some(GOOD); 30]);
    host.wait("all events are committed", |now| now.events == 60);
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!((support::events_per_minute(&house), clean_rows(&house).len()), (30, 60));
    for number in 0..3 {
        let sets = log(&house, &format!("sets@{number}"));
        assert_eq!(sets.iter().filter(|r| r.contains(r#""kind":"transforms""#)).count(), 2, "log {number}");
    }
    assert_eq!(findings(&house), []);
}
