//! Rejected events that go back through the transforms.

use std::fs;
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::env::machine;
use tidemill::pipeline::offline::Lake;
use tidemill::pipeline::replay::{self, Bounds, Order, Report};
use tidemill::rejects::{Filter, Reason};

use super::support::{self, Host, House, all_on, clean_rows, directory, log, offsets, rejects};

const GOOD: &str = r#"{"user_id":"u","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;
const OTHER: &str = r#"{"event_type":"Click","timestamp":"2025-12-02T11:59:59Z","page":"/a"}"#;

fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn replayed(house: &House, arguments: &[&str]) -> serde_json::Value {
    let output = house.tidemill(&[&["rejects", "replay", "--json", "--reason"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    json(&output)
}

fn proven(house: &House) {
    let output = house.tidemill(&["verify", "--json"]);
    assert!(output.status.success(), "{}", json(&output));
}

/// A host whose `clean` refuses 30 good events, and 3 others for another reason; 3 cannot be decoded. Then its sidecar
/// goes.
fn refused(name: &'static str) -> (House, TempDir, Host) {
    let (house, folder) = (House::new(name), directory(&["clean", "activity_per_minute"]));
    fs::write(folder.path().join("clean.toml"), "[config]\nmax_length = 1\n").unwrap();
    let host = house.begin(folder.path(), &[]);
    let first = host.until("they are live", |now| all_on(now, now.set));
    house.send(&[Some(GOOD); 30]);
    house.send(&[Some(OTHER); 3]);
    house.send(&[Some("{"); 3]);
    host.wait("all events are committed", |now| now.events >= 36);
    fs::remove_file(folder.path().join("clean.toml")).unwrap();
    host.until("the sidecar is gone", |now| now.set > first.set && all_on(now, now.set));
    (house, folder, host)
}

#[test]
fn refused_events_go_back_once_beside_a_host() {
    let (house, _folder, host) = refused("replays");
    let reasons = json(&house.tidemill(&["rejects", "--json", "--samples", "1"]));
    assert_eq!(reasons["rows"], 36, "{reasons}");
    let reason = reasons["reasons"][0]["reason"].as_str().unwrap().to_owned();
    assert_eq!(reasons["reasons"][0]["rows"], 30, "{reasons}");

    let before = log(&house, "replays").len();
    let dry = replayed(&house, &[&reason, "--dry-run"]);
    assert_eq!((&dry["rows"], &dry["tables"]["user_events"]), (&30.into(), &30.into()), "{dry}");
    assert_eq!((log(&house, "replays").len(), rejects(&house).len()), (before, 36), "nothing was written");

    let done = replayed(&house, &[&reason]);
    assert_eq!(
        (&done["rows"], &done["again"], &done["left"]),
        (&30.into(), &0.into(), &serde_json::json!({}))
    );
    assert_eq!(done["records"].as_array().unwrap().len(), 1, "{done}");
    let mut rows: Vec<_> = clean_rows(&house).iter().map(|row| row.at).collect();
    rows.sort_unstable();
    rows.dedup();
    let rejected = rejects(&house);
    assert_eq!((rows.len(), clean_rows(&house).len(), rejected.len()), (30, 30, 6));
    assert!(rejected.iter().all(|(at, why)| *why != reason && rows.binary_search(at).is_err()));
    assert_eq!(support::events_per_minute(&house), 30, "those that read it have them too");
    assert_eq!(offsets(&house, "user_events_raw").len(), 36);

    // There is nothing more, and what is refused again stays with what refused it.
    assert_eq!(replayed(&house, &[&reason])["rows"], 0);
    let again = replayed(&house, &["user_id is null", "--transform", "clean"]);
    assert_eq!((&again["rows"], &again["again"], &again["undecoded"]), (&3.into(), &3.into(), &0.into()));
    let broken = rejected.iter().find(|(_, reason)| reason.contains("JSON")).unwrap().1.clone();
    let again = replayed(&house, &[&broken]);
    assert_eq!((&again["rows"], &again["again"], &again["undecoded"]), (&3.into(), &3.into(), &3.into()));
    assert_eq!(rejects(&house).len(), 6);

    // The host goes on beside it.
    house.send(&[Some(GOOD); 30]);
    host.wait("all events are committed", |now| now.events >= 66);
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!((clean_rows(&house).len(), support::events_per_minute(&house)), (60, 60));
    proven(&house);
    let seq = done["records"][0].to_string();
    let shown = String::from_utf8(house.tidemill(&["log", &seq]).stdout).unwrap();
    for part in
        ["replay", "30 rejected rows went through the transforms", "0 rows were rejected again", "30 emitted"]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let wrong = house.tidemill(&["rejects", "replay"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn portions_and_two_at_a_time_send_each_row_once() {
    let (house, folder, host) = refused("portions");
    let set = host.until("it runs", |now| all_on(now, now.set)).set;
    fs::write(folder.path().join("clean.toml"), "[config]\nmax_length = 1\n").unwrap();
    host.until("the sidecar is back", |now| now.set > set && all_on(now, now.set));
    for turn in 1..=3 {
        house.send(&[Some(GOOD); 30]);
        host.wait("all events are committed", |now| now.events >= 36 + 30 * turn);
    }
    let reasons = json(&house.tidemill(&["rejects", "--json"]));
    let (group, files) = (&reasons["reasons"][0], reasons["files"].as_u64().unwrap());
    let reason = group["reason"].as_str().unwrap().to_owned();
    assert!(group["rows"] == 120 && files >= 4, "{reasons}");
    let set = host.until("it runs", |now| all_on(now, now.set)).set;
    fs::remove_file(folder.path().join("clean.toml")).unwrap();
    host.until("the sidecar is gone", |now| now.set > set && all_on(now, now.set));

    // A portion for each file, by two at the same time.
    let portion = Bounds { rows: 1, ..Bounds::default() };
    let wanted = Filter { reason: Some(Reason::Exactly(reason.clone())), ..Filter::default() };
    let order = Order { wanted, dry: false, portion };
    let config = house.config(folder.path(), &[]);
    let one = |order: &Order| -> Report {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(async {
            let mut lakes = Lake::open(&config, &machine(), "replay").await.unwrap();
            let mut lake = lakes.remove(0);
            lake.log.open().await.unwrap();
            replay::replay(&config, &mut lake, order, &|_| {}).await.unwrap()
        })
    };
    let dry = one(&Order { dry: true, ..order.clone() });
    assert_eq!((dry.rows, dry.tables["user_events"], dry.records.len()), (120, 120, 0));
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(&order));
        (one(&order), other.join().unwrap())
    });
    assert_eq!((a.rows + b.rows, a.again + b.again), (120, 0), "{a:#?} {b:#?}");
    assert!(a.records.len() + b.records.len() >= 4, "{a:#?} {b:#?}");
    host.stop(Duration::from_secs(20)).unwrap();
    let mut rows: Vec<_> = clean_rows(&house).iter().map(|row| row.at).collect();
    assert_eq!((rows.len(), rejects(&house).len(), support::events_per_minute(&house)), (120, 6, 120));
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 120);
    proven(&house);
}
