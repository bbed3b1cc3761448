//! The format on the store: golden files that must be read for ever, and what is refused.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Kind;
use crate::sink::Publish;
use crate::table::Hour;

/// Compares bytes with the golden file of that name, and answers with those. To write a new one:
/// `TIDEMILL_GOLDEN=write cargo test -p tidemill golden`. An old one is never changed: readers meet it for ever.
pub(in crate::commit) fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log").join(name);
    if std::env::var("TIDEMILL_GOLDEN").is_ok_and(|what| what == "write") && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(
        String::from_utf8_lossy(bytes),
        String::from_utf8_lossy(&found),
        "{name}: what is written is another format now: that is a new FORMAT, and a new golden file beside this one"
    );
    found
}

/// A record with the members that all kinds have.
pub(in crate::commit) fn empty(kind: RecordKind, seq: u64) -> Record {
    Record {
        format: kind.format(),
        seq,
        id: format!("0198a0000000700080000000000000{seq:02x}"),
        kind,
        pipeline: "line".into(),
        time: 1_764_669_599_999_999,
        writer: Writer { host: "host-1".into(), version: "0.1.0".into() },
        topic: None,
        partitions: vec![],
        files: vec![],
        supersedes: vec![],
        repairs: None,
        cleanup: None,
        previous: None,
        owed: vec![],
        transforms: None,
        replayed: None,
        flips: vec![],
        compacted: None,
        erased: None,
        reprocessed: None,
        restored: None,
        claim: None,
        backfilled: None,
        before: None,
        sweeps: vec![],
        stretches: vec![],
    }
}

/// A file of an epoch.
pub(in crate::commit) fn file(epoch: &str, n: u32, how: Publish) -> DataFile {
    let file = StagedFile {
        zone: Zone::Processed,
        table: "activity".into(),
        hour: Hour(490_185),
        key: format!("activity/date=2025-12-02/hour=09/line-{epoch}-0-{n}.parquet"),
        rows: 3,
        bytes: 1234,
        first: 1_764_669_000_000_000,
        last: 1_764_669_599_999_999,
        how,
    };
    DataFile { epoch: epoch.into(), generation: 1, file }
}

const FIRST: &str = "0198a000000070008000000000000e01";
const SECOND: &str = "0198a000000070008000000000000e02";

fn upload(id: &str) -> Publish {
    Publish::Upload { id: id.into(), parts: vec!["\"etag-1\"".into(), "\"etag-2\"".into()] }
}

fn topic() -> Option<Topic> {
    Some(Topic { name: "user-events".into(), id: "b2Zm".into() })
}

/// One record of each kind, as the first version wrote it.
pub(in crate::commit) fn samples() -> Vec<Record> {
    let mut start = empty(RecordKind::Start, 0);
    start.topic = topic();
    start.partitions = vec![
        Advance { partition: 0, from: 40, to: 40, ..Advance::default() },
        Advance { partition: 1, ..Advance::default() },
    ];
    let work = Work {
        name: "activity_per_minute".into(),
        version: "1.2.0".into(),
        digest: "ab".repeat(32),
        reads: Some("clean".into()),
        tables: vec!["activity".into()],
        input: 9,
        emitted: 3,
        rejected: 1,
        filtered: 2,
        absorbed: 3,
        state: Some(StateRef {
            key: format!("_tidemill/line/state/{FIRST}/0-activity_per_minute.bin"),
            version: 2,
            bytes: 17,
            sha256: "cd".repeat(32),
        }),
        reached: None,
        watermark: None,
    };
    let advance = Advance {
        partition: 0,
        epoch: FIRST.into(),
        prev: Some(0),
        set: None,
        from: 40,
        to: 50,
        events: 10,
        undecoded: 1,
        newest: None,
        transforms: vec![work.clone()],
    };
    let mut epoch = empty(RecordKind::Epoch, 1);
    epoch.topic = topic();
    epoch.partitions = vec![advance.clone()];
    epoch.files =
        vec![file(FIRST, 0, upload("u-1")), file(FIRST, 1, Publish::Rename { staging: "s/1".into() })];
    epoch.owed = vec![Owed { table: "activity".into(), hours: vec![490_184, 490_185] }];
    let mut repair = empty(RecordKind::Repair, 2);
    repair.supersedes = vec![epoch.files[0].clone()];
    repair.files = vec![file(SECOND, 0, upload("u-2"))];
    let mut cleanup = empty(RecordKind::Cleanup, 3);
    cleanup.previous = Some(2);
    cleanup.cleanup = Some(Cleanup {
        epochs: vec!["0198a000000070008000000000000e00".into()],
        remains: vec![Remains {
            epoch: "0198a000000070008000000000000e00".into(),
            zone: Zone::Raw,
            key: "user_events_raw/date=2025-12-02/hour=09/line-x-0-0.parquet".into(),
            upload: Some("u-0".into()),
            staging: None,
        }],
    });
    let mut gap = empty(RecordKind::Gap, 4);
    gap.topic = topic();
    let carried = Work { input: 0, emitted: 0, rejected: 0, filtered: 0, absorbed: 0, ..work };
    gap.partitions = vec![Advance {
        epoch: String::new(),
        prev: Some(1),
        from: 50,
        to: 70,
        events: 0,
        undecoded: 0,
        transforms: vec![carried],
        ..advance
    }];
    let mut transforms = empty(RecordKind::Transforms, 5);
    transforms.transforms = Some(TransformSet {
        previous: Some(4),
        components: vec![Deployed {
            file: "activity".into(),
            name: "activity_per_minute".into(),
            version: "1.2.0".into(),
            digest: "ab".repeat(32),
            sidecar: Some("[config]\nlongest = 3\n".into()),
            signature: None,
        }],
    });
    let mut under = empty(RecordKind::Epoch, 6);
    under.topic = topic();
    under.partitions =
        vec![Advance { partition: 1, prev: Some(0), set: Some(5), to: 3, ..Advance::default() }];
    let mut replay = empty(RecordKind::Replay, 7);
    replay.previous = Some(3);
    replay.supersedes = vec![file(FIRST, 1, upload("u-3"))];
    replay.files = vec![file(SECOND, 1, upload("u-4"))];
    replay.owed = vec![Owed { table: "activity".into(), hours: vec![490_185] }];
    replay.replayed = Some(Replayed {
        reason: "user_id is null".into(),
        set: Some(5),
        rows: 3,
        kept: 1,
        undecoded: 1,
        again: 2,
        transforms: vec![Work {
            name: "clean".into(),
            version: "1.0.0".into(),
            digest: "ef".repeat(32),
            tables: vec!["user_events".into()],
            input: 2,
            emitted: 1,
            rejected: 1,
            ..Work::default()
        }],
    });
    let mut compact = empty(RecordKind::Compact, 8);
    compact.previous = Some(7);
    compact.supersedes = vec![file(FIRST, 2, upload("u-5")).taken_away()];
    let rewritten = file(SECOND, 2, upload("u-6"));
    let key = rewritten.file.key.replace("/date=", "/_gen/2/date=");
    compact.files = vec![DataFile::new(SECOND, StagedFile { key, ..rewritten.file })];
    compact.flips = vec![Flip { table: "activity".into(), hour: 490_185, generation: 2 }];
    compact.compacted = Some(Compacted { rows: 3, print: Some("0123456789abcdef".into()), merged: true });
    let mut expire = empty(RecordKind::Expire, 9);
    expire.previous = Some(8);
    expire.supersedes = compact.files.iter().cloned().map(DataFile::taken_away).collect();
    expire.flips = vec![Flip { table: "activity".into(), hour: 490_185, generation: 3 }];
    expire.before = Some(1_764_669_600_000_000);
    let mut sweep = empty(RecordKind::Sweep, 10);
    sweep.previous = Some(9);
    sweep.sweeps = vec![8];
    let mut stretch = empty(RecordKind::Sweep, 16);
    stretch.previous = Some(15);
    stretch.sweeps = vec![9];
    stretch.stretches = vec![Stretch { flip: 9, from: 1000, to: 2000, of: 7001 }];
    let mut reprocess = empty(RecordKind::Reprocess, 11);
    reprocess.previous = Some(10);
    reprocess.supersedes = compact.files.iter().cloned().map(DataFile::taken_away).collect();
    reprocess.files = vec![file(FIRST, 4, upload("u-7"))];
    reprocess.flips = vec![Flip { table: "activity".into(), hour: 490_185, generation: 4 }];
    reprocess.reprocessed = Some(Reprocessed {
        set: Some(5),
        events: 12,
        undecoded: 1,
        carried: 2,
        fills: Some(Brought {
            source: Source::Hours("ab".repeat(32)),
            name: "clean".into(),
            number: None,
            from: 490_185,
            to: 490_186,
            ends: false,
            events: 1,
            offsets: vec![],
        }),
        transforms: replay.replayed.iter().flat_map(|replayed| replayed.transforms.clone()).collect(),
    });
    let mut restore = empty(RecordKind::Restore, 12);
    restore.previous = Some(11);
    restore.supersedes = reprocess.files.iter().cloned().map(DataFile::taken_away).collect();
    restore.files = vec![file(SECOND, 5, upload("u-8"))];
    restore.flips = vec![Flip { table: "activity".into(), hour: 490_185, generation: 5 }];
    restore.restored = Some(Restored {
        record: 11,
        empties: reprocess.reprocessed.as_ref().and_then(|done| done.fills.clone()),
        carried: 2,
    });
    let of_file = Source::File("12".repeat(32));
    let mut claim = empty(RecordKind::Claim, 13);
    claim.previous = Some(12);
    claim.claim = Some(Claim {
        holder: FIRST.into(),
        seconds: 60,
        parts: vec![Claimed {
            source: of_file.clone(),
            name: "s3://archive/1.json.gz".into(),
            number: Some(0),
            from: 0,
            to: i64::MAX,
        }],
        chains: vec!["files 0123".into()],
    });
    let mut backfill = empty(RecordKind::Backfill, 14);
    (backfill.previous, backfill.topic) = (Some(13), topic());
    backfill.files = vec![file(FIRST, 6, upload("u-9"))];
    let brought = |source, name: &str, number, offsets| Brought {
        source,
        name: name.into(),
        number,
        from: 0,
        to: 4,
        ends: number.is_some(),
        events: 4,
        offsets,
    };
    let partition = Source::Partition(topic().unwrap_or_default(), 1);
    let offsets = vec![Offsets { topic: "user-events".into(), partition: 0, from: 10, to: 30, events: 4 }];
    backfill.backfilled = Some(Backfilled {
        epoch: FIRST.into(),
        set: Some(5),
        parts: vec![
            brought(of_file.clone(), "s3://archive/1.json.gz", Some(0), vec![]),
            brought(partition, "user-events/1", None, vec![]),
            brought(Source::File("34".repeat(32)), "file:///lake/raw/1.parquet", None, offsets),
        ],
        skipped: 2,
        undecoded: 1,
        transforms: replay.replayed.iter().flat_map(|replayed| replayed.transforms.clone()).collect(),
        chains: vec![Link {
            chain: "files 0123".into(),
            previous: None,
            source: Some(of_file),
            at: 4,
            ends: false,
            lanes: vec![Kept {
                lane: "user-events/0".into(),
                newest: Some(1_764_669_599_999_999),
                transforms: vec![Remembers {
                    name: "activity_per_minute".into(),
                    state: epoch.partitions[0].transforms[0].state.clone(),
                    reached: Some(1_764_669_500_000_000),
                }],
            }],
        }],
    });
    let mut erase = empty(RecordKind::Erase, 15);
    erase.previous = Some(14);
    erase.supersedes = restore.files.iter().cloned().map(DataFile::taken_away).collect();
    erase.files = vec![file(FIRST, 6, upload("u-9"))];
    erase.flips = vec![Flip { table: "activity".into(), hour: 490_185, generation: 6 }];
    erase.erased = Some(Erased {
        field: "user_id".into(),
        salt: "5a".repeat(32),
        hash: "c0".repeat(32),
        rows: 1,
        kept: 2,
        print: Some("0123456789abcdef".into()),
    });
    vec![
        start, epoch, repair, cleanup, gap, transforms, under, replay, compact, expire, sweep, reprocess,
        restore, claim, backfill, erase, stretch,
    ]
}

#[test]
fn golden_records_are_read_and_written_as_ever() {
    for sample in samples() {
        let under = if sample.partitions.iter().any(|a| a.set.is_some()) { "-under-a-set" } else { "" };
        let some = if sample.stretches.is_empty() { "" } else { "-of-a-stretch" };
        let name = format!("format-{}-{}{under}{some}.json", sample.kind.format(), sample.kind.name());
        let bytes = golden(&name, &sample.encode().unwrap());
        assert_eq!(Record::decode(&name, &bytes).unwrap(), sample, "{name}");
    }
}

#[test]
fn an_old_version_is_read() {
    // The first version at its barest, with a member that it did not know.
    let bytes = br#"{"format":1,"seq":7,"id":"i","kind":"epoch","pipeline":"line","time":"2025-12-02T09:59:59Z",
        "writer":{"host":"h","version":"0.1.0"},"topic":{"name":"t"},
        "partitions":[{"partition":3,"from":1,"to":2}],
        "files":[{"epoch":"e","zone":"raw","table":"t_raw","hour":1,"key":"k","rows":1,"bytes":1,"first":0,"last":0,
            "how":{"rename":{"staging":"s"}}}],
        "later":{"anything":1}}"#;
    let record = Record::decode("log/7.json", bytes).unwrap();
    assert_eq!(record.partitions, [Advance { partition: 3, from: 1, to: 2, ..Advance::default() }]);
    assert_eq!((record.files[0].generation, record.time), (1, 1_764_669_599_000_000));
    assert_eq!(record.topic, Some(Topic { name: "t".into(), id: String::new() }));
}

#[test]
fn a_newer_format_is_refused() {
    // Nothing but the format can be relied on.
    let bytes = format!(r#"{{"format":{},"what":"nobody knows yet"}}"#, FORMAT + 1);
    let error = Record::decode("_tidemill/line/log/000000000007.json", bytes.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), Kind::Stop);
    assert_eq!(
        error.to_string(),
        "_tidemill/line/log/000000000007.json has format 5, this version of tidemill reads up to 4: a newer version \
         wrote to this log; run that one or a newer one"
    );
}

#[test]
fn what_is_no_record_is_named() {
    for (bytes, expected) in [
        (&b""[..], "log/7.json is damaged: expected a JSON object with a `format`"),
        (b"[]", "log/7.json is damaged"),
        (
            br#"{"format":1}"#,
            "log/7.json is no commit record that this version can read: missing field `seq`",
        ),
    ] {
        let error = Record::decode("log/7.json", bytes).unwrap_err();
        assert!(error.kind() == Kind::Stop && error.to_string().starts_with(expected), "{error}");
    }
}

fn some_file() -> impl Strategy<Value = DataFile> {
    let how = prop_oneof![
        (any::<String>(), vec(any::<String>(), 0..3)).prop_map(|(id, parts)| Publish::Upload { id, parts }),
        any::<String>().prop_map(|staging| Publish::Rename { staging }),
    ];
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<bool>());
    let numbers = (any::<i64>(), any::<u64>(), any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>());
    (names, numbers, how).prop_map(|(names, (hour, rows, bytes, first, last, generation), how)| {
        let (epoch, table, key, raw) = names;
        let zone = if raw { Zone::Raw } else { Zone::Processed };
        let file = StagedFile { zone, table, hour: Hour(hour), key, rows, bytes, first, last, how };
        DataFile { epoch, generation, file }
    })
}

fn some_work() -> impl Strategy<Value = Work> {
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<Option<String>>());
    let state = proptest::option::of((any::<String>(), any::<u32>(), any::<u64>(), any::<String>()));
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (names, vec(any::<String>(), 0..3), counts, state, any::<[Option<i64>; 2]>()).prop_map(
        |((name, version, digest, reads), tables, counts, state, [reached, watermark])| {
            let (input, emitted, rejected, filtered, absorbed) = counts;
            let state = state.map(|(key, version, bytes, sha256)| StateRef { key, version, bytes, sha256 });
            Work {
                name,
                version,
                digest,
                reads,
                tables,
                input,
                emitted,
                rejected,
                filtered,
                absorbed,
                state,
                reached,
                watermark,
            }
        },
    )
}

fn some_advance() -> impl Strategy<Value = Advance> {
    let numbers =
        (any::<i32>(), any::<Option<u64>>(), any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>());
    let sets = (any::<Option<u64>>(), any::<Option<i64>>());
    (any::<String>(), numbers, vec(some_work(), 0..3), sets).prop_map(
        |(epoch, numbers, transforms, (set, newest))| {
            let (partition, prev, from, to, events, undecoded) = numbers;
            Advance { partition, epoch, prev, set, from, to, events, undecoded, newest, transforms }
        },
    )
}

fn some_remains() -> impl Strategy<Value = Remains> {
    (any::<String>(), any::<bool>(), any::<String>(), any::<Option<String>>(), any::<Option<String>>())
        .prop_map(|(epoch, raw, key, upload, staging)| {
            let zone = if raw { Zone::Raw } else { Zone::Processed };
            Remains { epoch, zone, key, upload, staging }
        })
}

fn some_deployed() -> impl Strategy<Value = Deployed> {
    let beside = any::<(Option<String>, Option<String>)>();
    (any::<String>(), any::<String>(), any::<String>(), any::<String>(), beside).prop_map(
        |(file, name, version, digest, (sidecar, signature))| Deployed {
            file,
            name,
            version,
            digest,
            sidecar,
            signature,
        },
    )
}

fn some_replayed() -> impl Strategy<Value = Replayed> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (any::<String>(), any::<Option<u64>>(), counts, vec(some_work(), 0..3)).prop_map(
        |(reason, set, counts, transforms)| {
            let (rows, kept, undecoded, again) = counts;
            Replayed { reason, set, rows, kept, undecoded, again, transforms }
        },
    )
}

prop_compose! {
    fn some_record()(
        kind in prop_oneof![
            Just(RecordKind::Start),
            Just(RecordKind::Epoch),
            Just(RecordKind::Gap),
            Just(RecordKind::Repair),
            Just(RecordKind::Cleanup),
            Just(RecordKind::Transforms),
            Just(RecordKind::Replay),
            Just(RecordKind::Compact),
            Just(RecordKind::Expire),
            Just(RecordKind::Sweep),
            Just(RecordKind::Erase),
        ],
        (seq, id, pipeline, host) in (any::<u64>(), any::<String>(), any::<String>(), any::<String>()),
        // The years 1 to 9999: others have no date of four digits.
        time in -62_135_596_800_000_000..253_402_300_800_000_000_i64,
        topic in proptest::option::of((any::<String>(), any::<String>())),
        partitions in vec(some_advance(), 0..3),
        (files, supersedes) in (vec(some_file(), 0..3), vec(some_file(), 0..3)),
        cleanup in proptest::option::of((vec(any::<String>(), 0..3), vec(some_remains(), 0..3))),
        (previous, repairs) in (any::<Option<u64>>(), any::<Option<u64>>()),
        owed in vec((any::<String>(), vec(any::<i64>(), 0..4)), 0..3),
        transforms in proptest::option::of((any::<Option<u64>>(), vec(some_deployed(), 0..3))),
        replayed in proptest::option::of(some_replayed()),
        flips in vec((any::<String>(), any::<i64>(), any::<u32>()), 0..3),
        compacted in proptest::option::of((any::<u64>(), any::<Option<String>>(), any::<bool>())),
        before in proptest::option::of(-62_135_596_800_000_000..253_402_300_800_000_000_i64),
        erased in proptest::option::of((any::<[String; 3]>(), any::<[u64; 2]>(), any::<Option<String>>())),
        sweeps in vec(any::<u64>(), 0..3),
        stretches in vec(any::<[u64; 4]>(), 0..3),
    ) -> Record {
        Record {
            format: FORMAT,
            seq,
            id,
            kind,
            pipeline,
            time,
            writer: Writer { host, version: "0.1.0".into() },
            topic: topic.map(|(name, id)| Topic { name, id }),
            partitions,
            files,
            supersedes,
            repairs,
            cleanup: cleanup.map(|(epochs, remains)| Cleanup { epochs, remains }),
            previous,
            owed: owed.into_iter().map(|(table, hours)| Owed { table, hours }).collect(),
            transforms: transforms.map(|(previous, components)| TransformSet { previous, components }),
            reprocessed: replayed.as_ref().map(|replayed| Reprocessed {
                set: replayed.set,
                events: replayed.rows,
                undecoded: replayed.undecoded,
                carried: replayed.kept,
                fills: None,
                transforms: replayed.transforms.clone(),
            }),
            restored: repairs.map(|record| Restored { record, carried: seq, empties: None }),
            claim: None,
            backfilled: None,
            replayed,
            flips: flips.into_iter().map(|(table, hour, generation)| Flip { table, hour, generation }).collect(),
            compacted: compacted.map(|(rows, print, merged)| Compacted { rows, print, merged }),
            before,
            erased: erased.map(|([field, salt, hash], [rows, kept], print)| Erased {
                field, salt, hash, rows, kept, print,
            }),
            sweeps,
            stretches: stretches.into_iter().map(|[flip, from, to, of]| Stretch { flip, from, to, of }).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_is_read_as_it_was_written(record in some_record()) {
        let bytes = record.encode().unwrap();
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        prop_assert_eq!(Record::decode("k", &bytes).unwrap(), record);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Record::decode("k", &bytes).is_err());
    }
}
