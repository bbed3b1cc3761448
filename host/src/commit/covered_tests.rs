use super::*;
use crate::commit::record::tests::empty;
use crate::commit::record::{Claimed, RecordKind, Topic};

fn file(name: &str) -> Source {
    Source::File(name.into())
}

fn topic(partition: i32) -> Source {
    Source::Partition(Topic { name: "t".into(), id: "1".into() }, partition)
}

fn part(source: Source, from: i64, to: i64) -> Brought {
    let events = u64::try_from(to - from).unwrap();
    Brought { source, name: "n".into(), number: None, from, to, ends: false, events, offsets: vec![] }
}

fn portion(parts: Vec<Brought>) -> Backfilled {
    Backfilled { parts, ..Backfilled::default() }
}

/// Rows of a raw zone with these offsets.
fn raw(name: &str, from: i64, to: i64, events: u64) -> Brought {
    let offsets = vec![Offsets { topic: "t".into(), partition: 0, from, to, events }];
    Brought { offsets, events, ..part(file(name), 0, i64::try_from(events).unwrap()) }
}

#[test]
fn a_row_of_a_source_is_true_once_and_runs_that_meet_are_one() {
    let mut covered = Covered::default();
    assert!(covered.is_empty());
    for (from, to) in [(0, 10), (20, 30), (10, 20), (40, 50)] {
        assert_eq!(covered.check(&portion(vec![part(file("a"), from, to)])), Ok(()));
        covered.assume(0, &portion(vec![part(file("a"), from, to)]));
    }
    assert_eq!(covered.gaps(&file("a"), 0, 60), [(30, 40), (50, 60)]);
    assert_eq!(covered.gaps(&file("b"), 0, 60), [(0, 60)]);
    for (from, to) in [(0, 1), (29, 31), (39, 41), (0, 60), (35, 45)] {
        let done = covered.check(&portion(vec![part(file("b"), 0, 5), part(file("a"), from, to)]));
        assert_eq!(done, Err(Overlap::Done), "{from}..{to}");
    }
    let end = Brought { ends: true, ..part(file("a"), 50, 55) };
    assert!(!covered.source(&file("a")).unwrap().whole());
    covered.assume(1, &portion(vec![part(file("a"), 30, 40), end.clone()]));
    let cover = covered.source(&file("a")).unwrap();
    assert!(cover.whole() && cover.rows() == 55 && cover.gaps(0, i64::MAX).is_empty());
    // What lies behind the end is none of it; that it ends there may be said once more.
    assert_eq!(covered.check(&portion(vec![part(file("a"), 55, 60)])), Err(Overlap::Done));
    assert_eq!(covered.check(&portion(vec![Brought { ends: true, ..part(file("a"), 55, 55) }])), Ok(()));
}

#[test]
fn the_same_events_do_not_come_out_of_a_topic_and_a_raw_zone() {
    let mut covered = Covered::default();
    covered.assume(0, &portion(vec![part(topic(0), 0, 100)]));
    let twice = |covered: &Covered, part: Brought| match covered.check(&portion(vec![part])) {
        Err(Overlap::Twice(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(twice(&covered, raw("a", 90, 120, 30)).contains("backfilled out of the topic"));
    assert_eq!(covered.check(&portion(vec![raw("a", 100, 120, 20)])), Ok(()));
    covered.assume(1, &portion(vec![raw("a", 100, 120, 20)]));
    assert!(twice(&covered, part(topic(0), 110, 130)).contains("files of a raw zone"));
    assert_eq!(covered.check(&portion(vec![part(topic(1), 110, 130), part(topic(0), 120, 130)])), Ok(()));
}

#[test]
fn more_events_than_offsets_are_the_same_events_twice() {
    let mut covered = Covered::default();
    // Files of two hours, whose events do not come in the order of their times.
    covered.assume(0, &portion(vec![raw("a", 0, 60, 50)]));
    assert_eq!(covered.check(&portion(vec![raw("b", 40, 100, 50)])), Ok(()));
    covered.assume(1, &portion(vec![raw("b", 40, 100, 50)]));
    // What a compaction made of both.
    let Err(Overlap::Twice(why)) = covered.check(&portion(vec![raw("c", 0, 100, 100)])) else { panic!() };
    assert!(why.contains("200 events would stand at the offsets 0 to 100"), "{why}");
    assert_eq!(covered.check(&portion(vec![raw("c", 100, 200, 100)])), Ok(()));
}

#[test]
fn a_chain_has_one_next_link() {
    let mut covered = Covered::default();
    let link = |previous, ends, source: Option<&str>, at| Backfilled {
        chains: vec![Link { chain: "c".into(), previous, source: source.map(file), at, ends, lanes: vec![] }],
        ..Backfilled::default()
    };
    assert_eq!(covered.check(&link(None, false, Some("a"), 5)), Ok(()));
    covered.assume(7, &link(None, false, Some("a"), 5));
    let stands =
        |covered: &Covered| covered.chain("c").map(|chain| (chain.seq, chain.source.clone(), chain.at));
    assert_eq!(stands(&covered), Some((7, file("a"), 5)));
    assert_eq!(covered.check(&link(None, false, Some("a"), 9)), Err(Overlap::Done));
    assert_eq!(covered.check(&link(Some(6), false, Some("a"), 9)), Err(Overlap::Done));
    assert_eq!(covered.check(&link(Some(7), false, None, 0)), Ok(()));
    // One that has read nothing stands where the one before did.
    covered.assume(8, &link(Some(7), false, None, 0));
    assert_eq!(stands(&covered), Some((8, file("a"), 5)));
    covered.assume(9, &link(Some(8), true, Some("b"), 3));
    assert_eq!((stands(&covered), covered.chains().count()), (None, 0));
}

#[test]
fn claims_are_those_of_the_log_and_run_out() {
    let mut covered = Covered::default();
    let mut claim = |seq: u64, holder: &str, time: Micros, parts: Vec<Claimed>| {
        let mut record = empty(RecordKind::Claim, seq);
        record.time = time;
        record.claim = Some(Claim { holder: holder.into(), seconds: 10, parts, chains: vec![] });
        covered.fold(&record);
        covered.clone()
    };
    let part =
        |source: &str, number| Claimed { source: file(source), name: "n".into(), number, from: 0, to: 5 };
    claim(0, "one", 0, vec![part("a", Some(0))]);
    let now = claim(1, "two", 5_000_000, vec![part("b", Some(1)), part("c", None)]);
    let holders =
        |covered: &Covered, at| covered.claims(at).map(|held| held.claim.holder.clone()).collect::<Vec<_>>();
    assert_eq!(holders(&now, 9_999_999), ["one", "two"]);
    assert_eq!((holders(&now, 10_000_000), holders(&now, 15_000_000)), (vec!["two".to_owned()], vec![]));
    // Numbers stay, claims are replaced; what had run out is forgotten.
    assert_eq!((now.number(&file("a"), 0), now.number(&file("c"), 1)), ((0, false), (3, true)));
    let now = claim(2, "two", 12_000_000, vec![]);
    assert_eq!((holders(&now, 0), now.number(&file("b"), 0)), (vec![], (1, false)));
}

#[test]
fn what_is_known_stands_in_summaries() {
    let mut covered = Covered::default();
    covered.assume(3, &portion(vec![part(topic(0), 0, 5), raw("a", 10, 20, 7)]));
    let text = serde_json::to_string(&covered).unwrap();
    assert_eq!(serde_json::from_str::<Covered>(&text).unwrap(), covered);
}
