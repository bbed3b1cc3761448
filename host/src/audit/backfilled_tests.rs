use std::sync::Arc;

use super::*;
use crate::audit::rows::{Content, Shape};
use crate::commit::record::{Offsets, Work};
use crate::commit::{Record, Topic};

fn content(at: &[(i32, i64)], by: &[Option<&str>]) -> Content {
    let by = by.iter().map(|who| who.map(|who| Arc::new((who.to_owned(), "d".to_owned()))));
    Content { rows: at.len() as u64, at: Some(at.to_vec()), by: by.collect() }
}

/// A portion with rows 3..6 of a file, offsets of a partition, and events of a raw zone.
fn record() -> Record {
    let part = |source, number, from, to, events, offsets| Brought {
        source,
        name: "n".into(),
        number,
        from,
        to,
        ends: false,
        events,
        offsets,
    };
    let topic = Topic { name: "t".into(), id: "i".into() };
    let offsets = vec![Offsets { topic: "u".into(), partition: 7, from: 10, to: 20, events: 2 }];
    let parts = vec![
        part(Source::File("a".into()), Some(0), 3, 6, 3, vec![]),
        part(Source::Partition(topic, 2), None, 100, 110, 2, vec![]),
        part(Source::File("b".into()), None, 0, 2, 2, offsets),
    ];
    let work = Work { name: "w".into(), digest: "d".into(), rejected: 1, ..Work::default() };
    let portion = Backfilled { parts, undecoded: 1, transforms: vec![work], ..Backfilled::default() };
    let text = r#"{"format":4,"seq":9,"id":"i","kind":"backfill","pipeline":"p","time":"2025-12-02T09:59:59Z",
        "writer":{"host":"h","version":"0"}}"#;
    Record { backfilled: Some(portion), ..Record::decode("log/9.json", text.as_bytes()).unwrap() }
}

const RAW: [(i32, i64); 7] = [(-1, 3), (-1, 4), (-1, 5), (2, 101), (2, 105), (7, 10), (7, 19)];

/// What is found where raw and the rejected rows are these.
fn found(raw: &[(i32, i64)], undecoded: &[(i32, i64)], refused: &[(i32, i64)], gone: &Gone) -> Vec<String> {
    let (mut tally, mut findings) = (Tally::default(), Findings::default());
    tally.add("t_raw", Shape::Raw, content(raw, &[]));
    tally.add("rejected_events", Shape::Rejected, content(undecoded, &vec![None; undecoded.len()]));
    tally.add("rejected_events", Shape::Rejected, content(refused, &vec![Some("w"); refused.len()]));
    tally.add("made", Shape::Made, content(&[(-1, 5)], &[]));
    tally.check_backfill(&record(), gone, &mut findings);
    findings.list().iter().map(|finding| format!("{}: {}", finding.kind, finding.what)).collect()
}

#[test]
fn a_portion_that_is_what_it_says_is_well() {
    assert_eq!(found(&RAW, &[(-1, 3)], &[(2, 101)], &Gone::default()), Vec::<String>::new());
    // What was compacted is counted.
    let gone = Gone { raw: 5, rejected: true };
    assert_eq!(found(&RAW[..2], &[], &[], &gone), Vec::<String>::new());
}

#[test]
fn what_is_missing_twice_or_strange_is_found() {
    let without =
        |at: usize| RAW.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, row)| *row).collect::<Vec<_>>();
    let (well, none) = ([(-1, 3)], Gone::default());
    let first = |raw: &[(i32, i64)]| found(raw, &well, &[(2, 101)], &none);
    let missing = first(&without(1));
    assert!(
        missing.iter().any(|text| text.contains("partition -1: the raw table is without offsets 4")),
        "{missing:?}"
    );
    assert!(missing.iter().any(|text| text.contains("the raw table has 6 of 7 events")), "{missing:?}");
    let mut twice = RAW.to_vec();
    twice[4] = (2, 101);
    assert_eq!(
        first(&twice),
        ["offsets: record 9, partition 2: the raw table has rows more than once: offsets 101"]
    );
    let mut outside = RAW.to_vec();
    outside[6] = (7, 20);
    assert_eq!(
        first(&outside),
        ["offsets: record 9, partition 7: the raw table has rows outside of its parts: offsets 20"]
    );
    let mut strange = RAW.to_vec();
    strange[6] = (8, 19);
    let strange = first(&strange);
    assert!(
        strange
            .iter()
            .any(|text| text.contains("partition 8: the raw table has rows that the record does not name")),
        "{strange:?}"
    );
    let rejects = found(&RAW, &[], &[(2, 102)], &none);
    assert!(
        rejects
            .iter()
            .any(|text| text.contains("1 rows could not be decoded, the table of rejected events has 0")),
        "{rejects:?}"
    );
    assert!(
        rejects.iter().any(|text| text.contains("offsets that are not among its rows: 102")),
        "{rejects:?}"
    );
    let refused = found(&RAW, &well, &[(2, 101), (2, 105)], &none);
    assert_eq!(
        refused,
        ["rejects: record 9: transform w refused 1 rows, the table of rejected events has 2 of them"]
    );
}
