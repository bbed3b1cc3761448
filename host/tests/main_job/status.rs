//! What a running host says of itself to who asks at its socket.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidemill::observe::hosts;
use tidemill::observe::{Status, TransformState, TransformStatus};

use super::support::{self, House, directory, put_from};

const GOOD: &str = r#"{"user_id":"u","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;
const BOOM: &str = r#"{"user_id":"u","event_type":"boom","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;
const BLANK: &str = r#"{"user_id":" ","event_type":"Click","timestamp":"2025-12-02T09:59:59Z","page":"/a"}"#;

/// What the only host of a house says, as soon as it is as wanted.
fn until(house: &House, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut hosts = runtime.block_on(hosts::ask(&[house.sockets()], None));
        if let Some(host) = hosts.pop() {
            let status = host.status.unwrap();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "not within a minute: {what}; {status:#?}");
        }
        assert!(Instant::now() < deadline, "not within a minute: {what}; no host");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn transform<'a>(status: &'a Status, name: &str) -> &'a TransformStatus {
    status.transforms.iter().find(|transform| transform.name == name).unwrap()
}

/// All of so many events is committed, and the brokers say that there is no more.
fn done(status: &Status, events: u64) -> bool {
    let idle = status.partitions.values().filter(|partition| partition.lag == Some(0)).count();
    status.events == events && idle == 3
}

fn live(status: &Status, names: &[&str]) -> bool {
    let found: Vec<&str> = status.transforms.iter().map(|transform| transform.name.as_str()).collect();
    let on = status.transforms.iter().all(|transform| transform.partitions.len() == 3);
    found == names && on && status.partitions.values().all(|partition| !partition.paused)
}

#[test]
fn a_swap_a_refused_file_and_a_poison_row_are_seen() {
    let house = House::new("status");
    let folder = directory(&["clean"]);
    let host = house.begin(folder.path(), &[("lanes", "2")]);
    let first = until(&house, "clean is live", |now| live(now, &["clean"]));
    assert_eq!((first.host.pipeline.as_str(), first.host.topic.as_str()), ("status", "user-events"));
    assert_eq!(
        (first.host.pid, first.host.version.as_str()),
        (std::process::id(), env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((first.attention.len(), first.last_commit.clone()), (0, None));
    house.send(&[Some(GOOD); 30]);
    house.send(&[Some(BLANK), Some("{"), None]);
    let before = until(&house, "the events are committed", |now| done(now, 33));
    let clean = transform(&before, "clean");
    assert_eq!((clean.rows.input, clean.rows.emitted, clean.rows.rejected), (31, 30, 1));
    assert!(clean.busy_ns > 0 && clean.ns_per_row == Some(clean.busy_ns / 31), "{clean:?}");
    assert!(clean.last_error.is_none() && clean.since.is_some_and(|since| since >= first.host.started));

    // Another one comes, and fails on one row.
    put_from(support::chatty(), folder.path(), "chatty");
    until(&house, "it is live", |now| live(now, &["chatty", "clean"]));
    let mut events = [Some(GOOD); 29].to_vec();
    events.push(Some(BOOM));
    house.send(&events);
    let after = until(&house, "all is committed", |now| done(now, 63));
    let (chatty, clean) = (transform(&after, "chatty"), transform(&after, "clean"));
    assert_eq!((chatty.rows.input, chatty.rows.emitted, chatty.rows.rejected), (30, 29, 1));
    assert_eq!((clean.rows.input, clean.rows.emitted, clean.rows.rejected), (61, 60, 1));
    assert_eq!((clean.state, chatty.state), (TransformState::Live, TransformState::Live));
    assert_eq!(clean.since, transform(&before, "clean").since, "it went on");
    assert!(chatty.since > clean.since && chatty.digest.len() == 64);
    let trouble = chatty.last_error.as_ref().unwrap();
    assert!(trouble.partition == 2 && trouble.error.contains("unreachable"), "{trouble:?}");
    assert_eq!(clean.last_error, None);
    assert!(after.abandoned > 0 && after.stalled_us.is_some());
    // It was found and rejected: nobody has to do anything.
    assert_eq!(after.attention, Vec::<String>::new());

    fs::write(folder.path().join("broken.wasm"), "no WebAssembly").unwrap();
    let refused = until(&house, "it is refused", |now| done(now, 63) && !now.refused.is_empty());
    assert_eq!((refused.refused[0].file.as_str(), refused.set), ("broken", after.set));
    let said = &refused.attention;
    assert!(said.len() == 1 && said[0].starts_with("broken.wasm was not taken in: transform "), "{said:?}");
    assert!(live(&refused, &["chatty", "clean"]));

    for (number, partition) in &refused.partitions {
        assert_eq!((partition.lane, partition.set), (usize::try_from(*number).unwrap() % 2, refused.set));
        assert_eq!((partition.committed, partition.end), (Some(21), Some(21)));
        assert!(partition.last_commit.is_some() && partition.freshness_ms.is_some_and(|ms| ms < 60_000));
    }
    let last = refused.last_commit.unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&support::log(&house, "status")[usize::try_from(last.record).unwrap()]).unwrap();
    let sum = |list: &str, member: &str| {
        let all = record[list].as_array().unwrap().iter();
        all.map(|one| one[member].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((last.events, last.bytes), (sum("partitions", "events"), sum("files", "bytes")));
    assert_eq!(last.files, record["files"].as_array().unwrap().len() as u64);
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(fs::read_dir(house.sockets()).unwrap().count(), 0, "the socket goes with its host");
}

#[test]
fn a_partition_that_goes_back_to_the_set_before_stays_there_and_says_why() {
    let house = House::new("falls-back");
    let folder = directory(&["clean"]);
    let host = house.begin(folder.path(), &[]);
    let first = until(&house, "clean is live", |now| live(now, &["clean"]));
    fs::write(folder.path().join("chatty.toml"), "[limits]\npoison-rows = 0\n").unwrap();
    put_from(support::chatty(), folder.path(), "chatty");
    let second = until(&house, "it is live", |now| live(now, &["chatty", "clean"]));
    house.send(&[Some(GOOD), Some(BOOM)]);
    let fell_back = |now: &Status| {
        let partition = &now.partitions[&1];
        !partition.paused && partition.set == first.set && partition.fell_back_from == second.set
    };
    let found = until(&house, "the partition goes on without it", |now| done(now, 2) && fell_back(now));
    let chatty = transform(&found, "chatty");
    assert_eq!((chatty.state, &chatty.partitions), (TransformState::FellBack, &vec![0, 2]));
    assert_eq!(transform(&found, "clean").state, TransformState::Live);
    let why = "partition 1 fell back to the transforms of record";
    assert!(found.attention.len() == 1 && found.attention[0].starts_with(why), "{:?}", found.attention);
    assert!(found.attention[0].contains("poison"), "{:?}", found.attention);

    // Commits come and go: it stays where it runs.
    for round in 1..=3 {
        house.send(&[Some(GOOD); 30]);
        let now = until(&house, "the events are committed", |now| done(now, 2 + 30 * round));
        assert!(fell_back(&now), "{now:#?}");
        assert_eq!(now.attention, found.attention);
    }
    fs::remove_file(folder.path().join("chatty.wasm")).unwrap();
    fs::remove_file(folder.path().join("chatty.toml")).unwrap();
    let mended = until(&house, "it is gone", |now| live(now, &["clean"]));
    assert_eq!(mended.attention, Vec::<String>::new());
    let done = host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!((done.events, done.rows["user_events"]), (92, 92));
}

#[test]
fn a_partition_that_stands_still_says_why_until_it_goes_on() {
    let house = House::new("stands-still");
    let folder = TempDir::new().unwrap();
    put_from(support::chatty(), folder.path(), "chatty");
    fs::write(folder.path().join("chatty.toml"), "[limits]\npoison-rows = 0\n").unwrap();
    let host = house.begin(folder.path(), &[]);
    until(&house, "it is live", |now| live(now, &["chatty"]));
    house.send(&[Some(GOOD), Some(BOOM), Some(GOOD)]);
    let still = until(&house, "a partition stands still", |now| {
        now.events == 2 && now.partitions.get(&1).is_some_and(|one| one.paused && one.lag == Some(1))
    });
    assert_eq!(transform(&still, "chatty").state, TransformState::StandsStill);
    let said = &still.attention;
    assert!(said.len() == 1 && said[0].starts_with("partition 1 stands still: transform chatty"), "{said:?}");

    fs::remove_file(folder.path().join("chatty.toml")).unwrap();
    let mended = until(&house, "it goes on", |now| done(now, 3) && live(now, &["chatty"]));
    assert_eq!(mended.attention, Vec::<String>::new());
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(support::rejects(&house).len(), 1);
}
