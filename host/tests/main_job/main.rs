//! The main job in one process: the embedded broker, the shipped transforms, a lake on local disk.
//!
//! `tests/real.sh` proves the same on Apache Kafka, S3 and Glue with DuckDB as the reader; this needs
//! nothing but cargo.

#![allow(clippy::unwrap_used)]

mod compile;
mod rejects;
mod shards;
mod status;
mod support;
mod swaps;
mod windows;

use std::fs;
use std::time::Duration;

use support::{House, clean_rows, offsets};

const GOOD: &str = r#"{"user_id":"u1","event_type":" Click ","timestamp":"2025-12-02T10:00:00Z","page":"/","device":"TABLET"}"#;

#[test]
fn every_event_is_in_one_table_or_rejected() {
    let house = House::new("one-or-rejected");
    house.send(&[Some(GOOD); 50]);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    house.send(&[None, Some(""), Some("{"), Some(&deep), Some(r#"{"user_id":5}"#)]);
    house.send(&[Some(GOOD); 50]);

    let done = house.run_until_end();
    assert_eq!(done.events, 105);
    let (raw, good, bad) = (offsets(&house, "user_events_raw"), clean_rows(&house), support::rejects(&house));
    assert_eq!(raw.len(), 105);
    assert_eq!(good.len(), 100);
    assert!(good.iter().all(|row| row.event_type == "click" && row.device == "tablet"));
    assert_eq!(bad.len(), 5);
    assert!(bad.iter().any(|(_, reason)| reason.contains("tombstone")), "{bad:?}");
    let mut all: Vec<_> = good.iter().map(|row| row.at).chain(bad.iter().map(|(at, _)| *at)).collect();
    all.sort_unstable();
    assert_eq!(all, raw, "an event is in neither, or in both");
    assert_eq!(support::events_per_minute(&house), 100);
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let house = House::new("goes-on");
    house.send(&[Some(GOOD); 30]);
    assert_eq!(house.run_until_end().events, 30);
    house.send(&[Some(GOOD); 12]);
    assert_eq!(house.run_until_end().events, 12);
    assert_eq!(offsets(&house, "user_events_raw").len(), 42);
}

#[test]
fn an_epoch_that_cannot_be_stored_is_read_again() {
    let house = House::new("read-again");
    house.send(&[Some(GOOD); 30]);
    let host = house.start();
    host.wait("the first commit", |s| s.events == 30);

    // A file where the staging folder was: nothing can be staged in the processed zone.
    let staging = house.lake().join("processed/_tidemill/read-again/staging");
    fs::remove_dir_all(&staging).unwrap();
    fs::write(&staging, "in the way").unwrap();
    house.send(&[Some(GOOD); 20]);
    let failed = host.wait("an epoch is abandoned", |s| s.abandoned > 0);
    assert_eq!(failed.events, 30, "nothing of it may count");

    fs::remove_file(&staging).unwrap();
    host.wait("the events again", |s| s.events == 50);
    host.stop(Duration::from_secs(10)).unwrap();
    assert_eq!(offsets(&house, "user_events_raw").len(), 50);
    assert_eq!(clean_rows(&house).len(), 50);
    assert_eq!(support::events_per_minute(&house), 50);
}

#[test]
fn files_that_vanish_before_they_are_visible_are_made_again() {
    let house = House::new("made-again");
    house.send(&[Some(GOOD); 30]);
    house.send(&[Some("{"); 3]);
    assert_eq!(house.run_until_end().events, 33);
    // As a bucket's rule would do that aborts uploads too early: the last record's files are gone.
    let gone = support::remove_files(&house, "raw") + support::remove_files(&house, "processed");
    assert!(gone >= 4, "raw, clean, minutes and rejects");

    let host = house.begin(support::transforms(), &[("until-end", "true")]);
    host.ended(Duration::from_secs(60)).unwrap();
    assert_eq!(offsets(&house, "user_events_raw").len(), 33);
    assert_eq!(clean_rows(&house).len(), 30);
    assert_eq!(support::rejects(&house).len(), 3);
    assert_eq!(support::events_per_minute(&house), 30);
    let log = support::log(&house, "made-again");
    assert!(log.last().unwrap().contains(r#""kind":"repair""#), "{log:?}");
}

#[test]
fn an_epoch_ends_early_by_events_and_by_bytes() {
    for (group, setting, value) in
        [("by-events", "commit-events", "10"), ("by-bytes", "commit-bytes", "1KiB")]
    {
        let house = House::new(group);
        house.send(&[Some(GOOD); 400]);
        let host = house.begin(support::transforms(), &[("commit-interval", "1h"), (setting, value)]);
        host.wait("a commit long before the interval", |s| s.events == 400);
        host.stop(Duration::from_secs(10)).unwrap();
        assert_eq!(offsets(&house, "user_events_raw").len(), 400);
    }
}

#[test]
fn nothing_to_do_writes_no_record() {
    let house = House::new("nothing");
    house.send(&[Some(GOOD); 3]);
    let host = house.start();
    host.wait("the events", |s| s.events == 3);
    let before = support::log(&house, "nothing").len();
    let commits = host.wait("the events", |s| s.events == 3).commits;
    std::thread::sleep(Duration::from_millis(1500)); // several intervals: nothing can be waited for here
    assert_eq!(support::log(&house, "nothing").len(), before);
    assert_eq!(host.stop(Duration::from_secs(10)).unwrap().commits, commits);
}

#[test]
fn a_lake_without_its_log_and_a_table_of_others_are_refused() {
    let house = House::new("no-log");
    house.send(&[Some(GOOD); 3]);
    assert_eq!(house.run_until_end().events, 3);
    let other = house
        .begin(support::transforms(), &[("until-end", "true"), ("pipeline", "other"), ("group", "other")]);
    let error = other.ended(Duration::from_secs(60)).unwrap_err().to_string();
    assert!(error.contains("belongs to pipeline no-log"), "{error}");

    fs::remove_dir_all(house.lake().join("processed/_tidemill/no-log/log")).unwrap();
    let host = house.begin(support::transforms(), &[("until-end", "true")]);
    let error = host.ended(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), tidemill::Kind::Stop);
    assert!(error.to_string().contains("there is no commit log"), "{error}");
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let house = House::new("no-end");
    house.send(&[Some(GOOD); 3]);
    assert_eq!(house.run_until_end().events, 3);
    let folder = house.lake().join("processed/_tidemill/no-end/log");
    let last = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    fs::remove_file(last).unwrap();
    let host = house.begin(support::transforms(), &[("until-end", "true")]);
    let error = host.ended(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), tidemill::Kind::Stop);
    assert!(error.to_string().contains("has lost its last records"), "{error}");
}

#[test]
fn a_file_that_is_no_transform_is_refused_by_name() {
    let house = House::new("refused");
    let transforms = house.lake().join("transforms");
    fs::create_dir_all(&transforms).unwrap();
    for (content, found) in [
        (&b"hello"[..], "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "core module"),
        (b"\0asm\x0d\0\x01\0", "without exports"),
    ] {
        fs::write(transforms.join("wrong.wasm"), content).unwrap();
        let error = house.refusal(&transforms);
        assert_eq!(error.kind(), tidemill::Kind::Usage);
        let text = error.to_string();
        assert!(text.contains("wrong.wasm") && text.contains("expected") && text.contains(found), "{text}");
    }
}

#[test]
fn a_transform_may_print_anywhere() {
    let house = House::new("prints");
    house.send(&[Some(r#"{"event_type":"click"}"#); 5]);
    let host = house.begin(support::chatty(), &[("until-end", "true")]);
    let done = host.ended(Duration::from_secs(60)).unwrap();
    assert_eq!(done.rows["heard"], 5);
}

#[test]
fn a_row_on_which_a_transform_traps_is_rejected_and_the_rest_goes_through() {
    let house = House::new("boom");
    let click = |n| format!(r#"{{"event_type":"click","n":{n}}}"#);
    let mut events: Vec<String> = (0..3000).map(click).collect();
    for at in [0, 1001, 1002, 2999] {
        events[at] = r#"{"event_type":"boom"}"#.into();
    }
    house.send(&events.iter().map(|event| Some(event.as_str())).collect::<Vec<_>>());
    let host = house.begin(support::chatty(), &[("lanes", "1"), ("until-end", "true")]);
    let done = host.ended(Duration::from_secs(60)).unwrap();
    assert_eq!((done.events, done.rows["heard"]), (3000, 2996));
    assert!(done.abandoned >= 1, "no epoch was abandoned: the rows were found in another way?");
    let mut rejected = support::rejects(&house);
    rejected.sort_unstable();
    let reason = "poison: trapped: wasm `unreachable` instruction executed".to_string();
    let at = [(0, 0), (0, 334), (2, 333), (2, 999)];
    assert_eq!(rejected, at.map(|at| (at, reason.clone())));
    assert_eq!(offsets(&house, "user_events_raw").len(), 3000);
}

#[test]
fn a_transform_that_fails_on_everything_ends_a_run_that_ends_by_itself() {
    let house = House::new("booms");
    house.send(&[Some(r#"{"event_type":"boom"}"#); 600]);
    let host = house.begin(support::chatty(), &[("lanes", "1"), ("until-end", "true")]);
    let error = host.ended(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), tidemill::Kind::Stop);
    let text = error.to_string();
    assert!(text.contains("chatty") && text.contains("fails on more than 100 rows"), "{text}");
    // Nothing of it is visible: all of it will be read again.
    let visible = house.lake().join("raw/user_events_raw");
    assert!(!visible.exists() || offsets(&house, "user_events_raw").is_empty());
}

#[test]
fn starting_at_the_latest_has_nothing_to_do() {
    let house = House::new("latest");
    house.send(&[Some(GOOD); 9]);
    let host = house.begin(support::transforms(), &[("until-end", "true"), ("start", "latest")]);
    assert_eq!(host.ended(Duration::from_secs(60)).unwrap().events, 0);
}
