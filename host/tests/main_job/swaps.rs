//! Transforms that come, change and go while the host runs.

use std::fs;
use std::time::Duration;

use super::support::{self, Host, House, all_on, clean_rows, directory, live, log, offsets, put};

const GOOD: &str = r#"{"user_id":"u","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;

fn events(host: &Host, count: u64) {
    host.wait("all events are committed", |now| now.events >= count);
}

#[test]
fn transforms_come_change_and_go() {
    let house = House::new("swaps");
    let folder = directory(&["clean"]);
    let host = house.begin(folder.path(), &[]);
    let first = host.until("clean is live", |now| live(now, &["clean"]));
    house.send(&[Some(GOOD); 30]);
    events(&host, 30);

    // One that reads the other's output comes.
    put(folder.path(), "activity_per_minute");
    let second = host.until("it is live", |now| live(now, &["activity_per_minute", "clean"]));
    assert!(second.set > first.set);
    house.send(&[Some(GOOD); 30]);
    events(&host, 60);
    assert_eq!(support::events_per_minute(&house), 30, "it begins where it came");

    // A sidecar is a new set.
    fs::write(folder.path().join("clean.toml"), "[config]\nmax_length = 1\n").unwrap();
    host.until("the sidecar is live", |now| {
        now.set > second.set && live(now, &["activity_per_minute", "clean"])
    });
    house.send(&[Some(GOOD); 3]);
    events(&host, 63);
    assert_eq!(clean_rows(&house).len(), 60, "texts of more than one letter are refused");
    fs::remove_file(folder.path().join("clean.toml")).unwrap();
    let third = host.until("the sidecar is gone", |now| {
        now.set > second.set.map(|set| set + 1) && live(now, &["activity_per_minute", "clean"])
    });

    // What is no transform changes nothing, and says so; what others need cannot go.
    fs::write(folder.path().join("broken.wasm"), "no WebAssembly").unwrap();
    let refused = host.until("it is refused", |now| !now.refused.is_empty());
    assert!(refused.refused[0].reason.contains("broken.wasm"), "{:?}", refused.refused);
    assert_eq!((refused.set, live(&refused, &["activity_per_minute", "clean"])), (third.set, true));
    fs::remove_file(folder.path().join("broken.wasm")).unwrap();
    host.until("nothing is refused", |now| now.refused.is_empty());
    fs::remove_file(folder.path().join("clean.wasm")).unwrap();
    let refused = host.until("it is needed", |now| !now.refused.is_empty());
    assert!(refused.refused[0].reason.contains("reads output user_events"), "{:?}", refused.refused);

    // Both may go together with the file that needs it, one after the other.
    put(folder.path(), "clean");
    fs::remove_file(folder.path().join("activity_per_minute.wasm")).unwrap();
    let last = host.until("it is retired", |now| live(now, &["clean"]));
    house.send(&[Some(GOOD); 30]);
    events(&host, 93);
    let done = host.stop(Duration::from_secs(20)).unwrap();
    assert!(done.swaps >= 4 && done.refusals >= 2, "{done:?}");
    assert_eq!(support::events_per_minute(&house), 30, "neither the 3 that were refused nor what came later");
    assert_eq!((clean_rows(&house).len(), offsets(&house, "user_events_raw").len()), (90, 93));
    let records = log(&house, "swaps");
    let sets: Vec<&String> = records.iter().filter(|r| r.contains(r#""kind":"transforms""#)).collect();
    assert_eq!(sets.len(), 5, "{sets:#?}");
    assert!(records.last().unwrap().contains(&format!(r#""set":{}"#, last.set.unwrap())));
}

#[test]
fn two_broken_sets_in_a_row_lead_back_to_the_good_one() {
    let house = House::new("back");
    let folder = directory(&["clean"]);
    fs::write(folder.path().join("clean.toml"), "[limits]\npoison-rows = 3\n").unwrap();
    let host = house.begin(folder.path(), &[]);
    let good = host.until("clean is live", |now| live(now, &["clean"]));
    house.send(&[Some(GOOD); 30]);
    events(&host, 30);
    let mut sent = 30;
    for mark in ["mark:trap", "mark:1pap"] {
        let before = host.until("it goes on", |now| now.set >= good.set);
        fs::write(folder.path().join("clean.wasm"), support::marked(mark)).unwrap();
        let broken = host.until("it is live", |now| now.set > before.set);
        host.until("all go over", |now| all_on(now, broken.set) || all_on(now, good.set));
        house.send(&[Some(GOOD); 30]);
        sent += 30;
        events(&host, sent);
        host.until("the good one has taken over", |now| all_on(now, good.set));
    }
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(clean_rows(&house).len() as u64, sent);
}

#[test]
fn a_proposal_that_the_catalog_does_not_take_is_made_again() {
    let house = House::new("again");
    let folder = directory(&["clean"]);
    let host = house.begin(folder.path(), &[]);
    host.until("clean is live", |now| live(now, &["clean"]));
    let table = house.lake().join("processed/_tidemill/again/catalog/user_activity_per_minute");
    fs::write(&table, "in the way").unwrap();
    put(folder.path(), "activity_per_minute");
    let refused = host.until("it is refused", |now| !now.refused.is_empty());
    assert!(refused.refused[0].reason.contains("user_activity_per_minute"), "{:?}", refused.refused);
    fs::remove_file(&table).unwrap();
    let now = host.until("it is live", |now| live(now, &["activity_per_minute", "clean"]));
    assert_eq!(now.refused, []);
    host.stop(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_rename_beside_a_broken_file_keeps_the_state() {
    let house = House::new("rename");
    let folder = directory(&["clean", "activity_per_minute"]);
    let host = house.begin(folder.path(), &[]);
    let first = host.until("both are live", |now| live(now, &["activity_per_minute", "clean"]));
    // The watcher sees all three at once, since they come within its rest.
    fs::write(folder.path().join("broken.wasm"), "no WebAssembly").unwrap();
    fs::rename(folder.path().join("activity_per_minute.wasm"), folder.path().join("per_minute.wasm"))
        .unwrap();
    let renamed = host.until("it has its new name", |now| live(now, &["clean", "per_minute"]));
    assert!(renamed.refused.iter().any(|refused| refused.file == "broken"), "{:?}", renamed.refused);
    host.stop(Duration::from_secs(20)).unwrap();
    let records = log(&house, "rename");
    let sets = records.iter().filter(|r| r.contains(r#""kind":"transforms""#)).count();
    assert_eq!((sets, first.set < renamed.set), (2, true), "it was never retired in between");
}
