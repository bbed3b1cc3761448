use super::*;
use crate::batch::Counts;
use crate::observe::{About, LastCommit, Refused, Trouble};

const SECOND: i64 = 1_000_000;

fn before(seconds: i64) -> At {
    At(1_000_000 * SECOND - seconds * SECOND)
}

fn host() -> Status {
    let host = About {
        name: "host-1".into(),
        pipeline: "tidemill".into(),
        topic: "user-events".into(),
        transforms: "transforms".into(),
        pid: 4711,
        version: "0.1.0".into(),
        dashboard: "http://127.0.0.1:8080".into(),
        started: before(3 * 3600 + 60),
    };
    Status { at: before(0), host, ..Status::default() }
}

fn busy() -> Status {
    let clean = TransformStatus {
        file: "clean".into(),
        name: "clean".into(),
        version: "0.2.0".into(),
        digest: "4b3accc834dd4b3accc834dd".into(),
        state: TransformState::FellBack,
        partitions: vec![0],
        rows: Counts { input: 60_000, emitted: 59_000, rejected: 900, filtered: 100, absorbed: 0 },
        busy_ns: 60_000 * 812,
        ns_per_row: Some(812),
        last_error: Some(Trouble {
            at: before(75),
            partition: 1,
            error: "transform clean 0.2.0 (clean.wasm), partition 1: trapped".into(),
        }),
        ..TransformStatus::default()
    };
    let old = TransformStatus {
        version: "0.1.0".into(),
        digest: "00ff00ff00ff00ff".into(),
        state: TransformState::Old,
        partitions: vec![1],
        rows: Counts::default(),
        ns_per_row: None,
        last_error: None,
        ..clean.clone()
    };
    let minutes = TransformStatus {
        file: "minutes".into(),
        name: "minutes".into(),
        version: "0.1.0".into(),
        digest: "acae9d93f3b5".into(),
        partitions: vec![0, 1],
        since: Some(before(3600)),
        rows: Counts { input: 59_000, absorbed: 59_000, ..Counts::default() },
        ns_per_row: Some(1_530),
        ..TransformStatus::default()
    };
    let well = PartitionStatus {
        lane: 0,
        set: Some(5),
        committed: Some(40_000),
        end: Some(40_000),
        lag: Some(0),
        last_commit: Some(before(2)),
        freshness_ms: Some(1_234),
        ..PartitionStatus::default()
    };
    let back = PartitionStatus {
        lane: 1,
        set: Some(3),
        fell_back_from: Some(5),
        committed: Some(20_000),
        error: Some("transform clean 0.2.0 (clean.wasm), partition 1: trapped".into()),
        last_commit: Some(before(120)),
        ..PartitionStatus::default()
    };
    let refused = Refused { file: "broken".into(), reason: "no\x1b[2J WebAssembly".into(), at: before(30) };
    let last = LastCommit {
        record: 17,
        at: before(2),
        events: 1_000,
        files: 4,
        bytes: 3 << 19,
        took_ms: 120,
        ..LastCommit::default()
    };
    let mut status = Status {
        set: Some(5),
        transforms: vec![clean, minutes, old],
        refused: vec![refused],
        partitions: [(0, well), (1, back)].into(),
        last_commit: Some(last),
        commits: 9,
        events: 60_000,
        abandoned: 3,
        ..host()
    };
    status.attention = vec![
        "broken.wasm was not taken in: no\x1b[2J WebAssembly".into(),
        "partition 1 fell back to the transforms of record 3, those of record 5 do not run there: trapped"
            .into(),
    ];
    status
}

#[test]
fn a_host_is_shown_with_what_needs_a_person_on_top() {
    let wanted = "\
tidemill 0.1.0, pipeline tidemill, topic user-events, host host-1, process 4711, up 3h1m
dashboard: http://127.0.0.1:8080
! broken.wasm was not taken in: no [2J WebAssembly
! partition 1 fell back to the transforms of record 3, those of record 5 do not run there: trapped

transforms, of record 5 (transforms)
name     version  digest        state                since     rows in  emitted  rejected  filtered  absorbed  per row
clean    0.2.0    4b3accc834dd  fell back in 1 of 2  -           60000    59000       900       100         0   812 ns
minutes  0.1.0    acae9d93f3b5  live                 1h0m ago    59000        0         0         0     59000   1.5 us
clean    0.1.0    00ff00ff00ff  old, 1 of 2 run it   -               0        0         0         0         0        -
last error of clean, 1m15s ago, partition 1: transform clean 0.2.0 (clean.wasm), partition 1: trapped

partitions
partition  lane  set  state      committed      lag  freshness  last commit
        0     0    5  runs           40000        0      1.2 s       2s ago
        1     1    3  fell back      20000  unknown          -     2m0s ago

last commit: record 17, 2s ago: 1000 events, 4 files, 1.5 MiB, took 120 ms
since the start: 9 commits, 60000 events, 3 epochs abandoned
";
    assert_eq!(report(&busy(), false), wanted);
    let coloured = report(&busy(), true);
    assert_eq!(coloured.replace("\x1b[1;31m", "").replace("\x1b[0m", ""), wanted);
    assert_eq!(coloured.matches("\x1b[1;31m! ").count(), 2);
}

#[test]
fn a_host_that_starts_says_so() {
    let wanted = "\
tidemill 0.1.0, pipeline tidemill, topic user-events, host host-1, process 4711, up 3h1m
dashboard: http://127.0.0.1:8080
it is starting: brokers, zones or catalog have not answered yet (its log says which)
";
    assert_eq!(report(&host(), false), wanted);
}

#[test]
fn times_are_short() {
    let nanos = [0, 999, 1_000, 12_345, 123_456, 999_900_000, 59_900_000_000, 61_000_000_000];
    let shown = nanos.map(|nanos| short(Duration::from_nanos(nanos)));
    assert_eq!(shown, ["0 ns", "999 ns", "1.0 us", "12.3 us", "123 us", "1000 ms", "59.9 s", "1m1s"]);
}
