use super::*;
use crate::commit::record::{Backfilled, Brought, Claim, Link};
use crate::past::{Packing, Place};

fn bounds(rows: u64) -> Bounds {
    Bounds { rows, ..Bounds::default() }
}

/// Files with some text each, in a folder that goes with them.
fn files(texts: &[&str]) -> (tempfile::TempDir, Files, Vec<Source>) {
    let folder = tempfile::TempDir::new().unwrap();
    let one = |(at, text): (usize, &&str)| {
        let path = folder.path().join(format!("{at}.json"));
        std::fs::write(&path, text).unwrap();
        let (name, read) = (format!("{at}.json"), Arc::default());
        let (bytes, place) = (text.len() as u64, Place::Disk(path));
        File { name, place, bytes, format: Format::Json, packing: Packing::Plain, read }
    };
    let files: Vec<File> = texts.iter().enumerate().map(one).collect();
    let sources = texts.iter().map(|text| Source::File(crate::digest::sha256(text.as_bytes()))).collect();
    (folder, Files::new(files), sources)
}

fn brought(source: &Source, from: i64, to: i64, ends: bool) -> Brought {
    Brought {
        source: source.clone(),
        name: "n".into(),
        number: None,
        from,
        to,
        ends,
        events: 0,
        offsets: vec![],
    }
}

fn held(holder: &str, parts: &[(&Source, i64, i64)], chains: &[&str], until: Micros) -> Held {
    let part = |(source, from, to): &(&Source, i64, i64)| Claimed {
        source: (*source).clone(),
        name: "n".into(),
        number: None,
        from: *from,
        to: *to,
    };
    let (parts, chains) =
        (parts.iter().map(part).collect(), chains.iter().map(|chain| (*chain).to_owned()).collect());
    Held { seq: 1, until, claim: Claim { holder: holder.into(), seconds: 1, parts, chains } }
}

/// The places and rows of what is to be done.
fn takes(next: &Next) -> Vec<(usize, i64, i64)> {
    match next {
        Next::Work(work) => work.takes.iter().map(|take| (take.at, take.from, take.to)).collect(),
        other => panic!("{other:?}"),
    }
}

const END: i64 = i64::MAX;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_works_on_comes_next() {
    let (_folder, mut files, sources) = files(&["{\"a\":1}", "{\"b\":1}", "{\"c\":1}"]);
    let (mut covered, large, small, none) = (Covered::default(), bounds(1000), bounds(1), bounds(0));
    fn around<'a>(covered: &'a Covered, others: &'a [&'a Held], bounds: &'a Bounds) -> Around<'a> {
        Around { covered, others, serial: false, bounds }
    }
    let all = files.next(&around(&covered, &[], &large)).await.unwrap();
    assert_eq!(takes(&all), [(0, 0, END), (1, 0, END), (2, 0, END)]);
    // No more than a portion holds is taken from others.
    assert_eq!(takes(&files.next(&around(&covered, &[], &none)).await.unwrap()), [(0, 0, END)]);
    let theirs = held("x", &[(&sources[0], 0, END)], &[], 9);
    let next = files.next(&around(&covered, &[&theirs], &large)).await.unwrap();
    assert_eq!(takes(&next), [(1, 0, END), (2, 0, END)]);
    // One that was begun goes on a portion at a time, between what others have.
    covered.assume(
        0,
        &Backfilled {
            parts: vec![brought(&sources[0], 0, 7, true), brought(&sources[1], 0, 4, false)],
            ..Backfilled::default()
        },
    );
    assert_eq!(takes(&files.next(&around(&covered, &[], &small)).await.unwrap()), [(1, 4, 5)]);
    let theirs = held("x", &[(&sources[1], 4, 5), (&sources[1], 8, 9)], &[], 9);
    assert_eq!(takes(&files.next(&around(&covered, &[&theirs], &large)).await.unwrap()), [(1, 5, 8)]);
    files.ends.insert(1, 5);
    let sooner = held("y", &[(&sources[2], 0, END)], &[], 5);
    let next = files.next(&around(&covered, &[&theirs, &sooner], &large)).await.unwrap();
    assert_eq!(next, Next::Wait { who: "y".into(), until: 5 });
    let rest = vec![brought(&sources[1], 4, 5, true), brought(&sources[2], 0, 1, true)];
    covered.assume(1, &Backfilled { parts: rest, ..Backfilled::default() });
    assert_eq!(files.next(&around(&covered, &[], &large)).await.unwrap(), Next::Done);
    assert_eq!(files.done(&covered, &BTreeSet::from([sources[1].clone()])), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_done_in_order_and_by_one() {
    let (_folder, mut files, sources) = files(&["{\"a\":1}", "{\"b\":1}"]);
    let (mut covered, bounds) = (Covered::default(), bounds(1000));
    fn around<'a>(covered: &'a Covered, others: &'a [&'a Held], bounds: &'a Bounds) -> Around<'a> {
        Around { covered, others, serial: true, bounds }
    }
    let next = files.next(&around(&covered, &[], &bounds)).await.unwrap();
    assert_eq!(takes(&next), [(0, 0, END), (1, 0, END)]);
    let Next::Work(work) = next else { panic!() };
    let chain = work.chains[0].0.clone();
    assert!(work.last && work.chains == [(chain.clone(), vec![0, 1])]);
    let theirs = held("x", &[], &[&chain], 7);
    let waits = files.next(&around(&covered, &[&theirs], &bounds)).await.unwrap();
    assert_eq!(waits, Next::Wait { who: "x".into(), until: 7 });
    // It goes on where it stands; behind the last row its windows are left to be closed.
    let link = |previous, at: i64, source: &Source, ends| Link {
        chain: chain.clone(),
        previous,
        source: Some(source.clone()),
        at,
        ends,
        lanes: vec![],
    };
    let first = Backfilled {
        parts: vec![brought(&sources[0], 0, 3, false)],
        chains: vec![link(None, 3, &sources[0], false)],
        ..Backfilled::default()
    };
    covered.assume(4, &first);
    assert_eq!(
        takes(&files.next(&around(&covered, &[], &bounds)).await.unwrap()),
        [(0, 3, END), (1, 0, END)]
    );
    let rest = vec![brought(&sources[0], 3, 4, true), brought(&sources[1], 0, 1, true)];
    covered.assume(
        5,
        &Backfilled {
            parts: rest,
            chains: vec![link(Some(4), 1, &sources[1], false)],
            ..Backfilled::default()
        },
    );
    let next = files.next(&around(&covered, &[], &bounds)).await.unwrap();
    assert!(matches!(&next, Next::Work(work) if work.takes.is_empty() && work.last), "{next:?}");
    let ends = Backfilled { chains: vec![link(Some(5), 1, &sources[1], true)], ..Backfilled::default() };
    covered.assume(6, &ends);
    // Whoever has done it may have claimed it for a while yet: there is nothing to wait for.
    for others in [&[][..], &[&theirs]] {
        assert_eq!(files.next(&around(&covered, others, &bounds)).await.unwrap(), Next::Done);
    }
    // A file that a chain of other files has begun is left to that one.
    let mut other = Covered::default();
    let begun = Link { chain: "another".into(), ..link(None, 3, &sources[0], false) };
    let parts = vec![brought(&sources[0], 0, 3, false)];
    other.assume(8, &Backfilled { parts, chains: vec![begun], ..Backfilled::default() });
    let error = files.next(&around(&other, &[], &bounds)).await.unwrap_err().to_string();
    assert!(
        error.contains("was begun by a backfill of other files") && error.contains("record 8"),
        "{error}"
    );
}

#[test]
fn partitions_go_side_by_side_each_with_a_chain_of_its_own() {
    let topic = Topic { name: "t".into(), id: "i".into() };
    let source = |partition| Source::Partition(topic.clone(), partition);
    let ranges = BTreeMap::from([(0, (0, 100)), (1, (5, 10)), (2, (0, 0))]);
    let partitions = Partitions { topic: topic.clone(), ranges, abreast: 2 };
    let (mut covered, bounds) = (Covered::default(), bounds(40));
    fn around<'a>(
        covered: &'a Covered,
        others: &'a [&'a Held],
        serial: bool,
        bounds: &'a Bounds,
    ) -> Around<'a> {
        Around { covered, others, serial, bounds }
    }
    assert_eq!(partitions.left(&covered), 105);
    for serial in [false, true] {
        let next = partitions.next(&around(&covered, &[], serial, &bounds));
        assert_eq!(takes(&next), [(0, 0, 20), (1, 5, 10)]);
        let Next::Work(work) = next else { panic!() };
        assert_eq!(work.chains.len(), if serial { 2 } else { 0 });
        let ends: Vec<bool> =
            work.takes.iter().map(|take| partitions.ends(&covered, take, take.to)).collect();
        assert_eq!(ends, [false, true]);
    }
    let theirs = held("x", &[], &["t/0 i from 0"], 3);
    let next = partitions.next(&around(&covered, &[&theirs], true, &bounds));
    assert_eq!(takes(&next), [(1, 5, 10)]);
    let link = Link { chain: "t/0 i from 0".into(), source: Some(source(0)), at: 20, ..Link::default() };
    let parts = vec![brought(&source(0), 0, 20, false), brought(&source(1), 5, 10, false)];
    covered.assume(1, &Backfilled { parts, chains: vec![link], ..Backfilled::default() });
    let next = partitions.next(&around(&covered, &[], true, &bounds));
    assert!(matches!(&next, Next::Work(work) if work.chains[0].0 == "t/0 i from 0"), "{next:?}");
    assert_eq!(takes(&next), [(0, 20, 40)]);
    assert_eq!(
        partitions.next(&around(&covered, &[&theirs], true, &bounds)),
        Next::Wait { who: "x".into(), until: 3 }
    );
    assert_eq!((partitions.left(&covered), partitions.done(&covered, &BTreeSet::new())), (80, 2));
}
