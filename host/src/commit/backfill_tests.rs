use super::super::cleanup::tests::{Memory as Store, log};
use super::super::record::{Brought, Claimed, Kept, Link, Remembers, Source, TransformSet};
use super::super::replay::tests::Memory as Files;
use super::*;
use crate::commit::{Policy, Topic};
use crate::generations::Place;
use crate::table::{Hour, REJECTED};

fn claimed(source: &str, number: Option<u32>, from: i64, to: i64) -> Claimed {
    Claimed { source: Source::File(source.into()), name: source.into(), number, from, to }
}

fn claim(holder: &str, parts: Vec<Claimed>, chains: &[&str]) -> Claim {
    let chains = chains.iter().map(|chain| (*chain).to_owned()).collect();
    Claim { holder: holder.into(), seconds: 60, parts, chains }
}

fn portion(set: Option<u64>, source: &str, from: i64, to: i64) -> Backfilled {
    let part = Brought {
        source: Source::File(source.into()),
        name: source.into(),
        number: None,
        from,
        to,
        ends: false,
        events: 0,
        offsets: vec![],
    };
    Backfilled { set, epoch: "e".into(), parts: vec![part], ..Backfilled::default() }
}

#[tokio::test]
async fn claims_do_not_meet_and_sources_get_numbers() {
    let store = Arc::new(Store::default());
    let (mut one, _) = log(&store).await;
    let (mut two, _) = log(&store).await;
    let none = BTreeSet::new();
    let wants = |source, from, to| vec![claimed(source, Some(u32::MAX), from, to)];
    let first = one.claim(claim("one", wants("a", 0, 10), &[]), &none, None).await.unwrap().unwrap();
    assert_eq!(first.claim.as_ref().unwrap().parts[0].number, Some(0));
    // The other has not heard of it, and hears at its slot.
    assert!(two.claim(claim("two", wants("a", 9, 20), &[]), &none, None).await.unwrap().is_none());
    let mut parts = wants("a", 10, 20);
    parts.extend(wants("b", 0, 5));
    let second = two.claim(claim("two", parts, &["c"]), &none, None).await.unwrap().unwrap();
    let numbers: Vec<_> = second.claim.as_ref().unwrap().parts.iter().map(|part| part.number).collect();
    assert_eq!(numbers, [Some(0), Some(1)]);
    assert!(one.claim(claim("one", vec![], &["c"]), &none, None).await.unwrap().is_none());
    // One's own, and what is taken for run out, are free.
    assert!(two.claim(claim("two", wants("b", 0, 5), &["c"]), &none, None).await.unwrap().is_some());
    let ignored = BTreeSet::from([two.view().next() - 1]);
    assert!(one.claim(claim("one", vec![], &["c"]), &ignored, None).await.unwrap().is_some());
}

#[tokio::test]
async fn of_two_portions_with_the_same_rows_one_comes_to_nothing() {
    let files = Arc::new(Files::default());
    let mut one = files.log().await;
    let topic = Topic { name: "t".into(), id: String::new() };
    one.take(&topic, &[0], &[(0, (3, 9))].into(), Policy { latest: true, skip_lost: false }).await.unwrap();
    let set = one.desire(TransformSet::default()).await.unwrap();
    let mut two = files.log().await;
    assert_eq!(two.starts().await.unwrap(), [(0, 9)].into());
    let (mine, theirs) = (files.stage(1), files.stage(2));
    let filled = one.backfill(vec![mine.clone()], portion(set, "a", 0, 10), None).await.unwrap();
    let Filled::True(record) = filled else { panic!("{filled:?}") };
    assert_eq!((record.topic.as_ref(), record.files.len()), (Some(&topic), 1));
    let lost = two.backfill(vec![theirs], portion(set, "a", 5, 15), None).await.unwrap();
    assert!(matches!(lost, Filled::Done), "{lost:?}");
    assert_eq!(files.visible(), [mine.file.key], "what it had staged is gone");
    // For another set of transforms it is to be made anew.
    let other = two.backfill(vec![files.stage(3)], portion(None, "b", 0, 10), None).await.unwrap();
    assert!(matches!(other, Filled::Moved), "{other:?}");
    // So it is if an hour was rewritten.
    let place = Place { hour: Hour(0), generation: 2 };
    assert_eq!(two.view().generations().place(REJECTED, Hour(0)).generation, place.generation - 1);
    let moved = two.backfill(vec![files.stage_at(4, 2)], portion(set, "b", 0, 10), None).await.unwrap();
    assert!(matches!(moved, Filled::Moved), "{moved:?}");
}

#[tokio::test]
async fn a_chain_goes_on_from_what_its_last_link_remembers() {
    let store = Arc::new(Store::default());
    let (mut log, _) = log(&store).await;
    let set = log.desire(TransformSet::default()).await.unwrap();
    let memory = Memory { transform: "w".into(), version: 3, bytes: b"state".to_vec() };
    let state = log.store_state(&"0".repeat(32), 0, &memory).await.unwrap();
    let one = Remembers { name: "w".into(), state: Some(state.clone()), reached: Some(17) };
    let lanes = vec![Kept { lane: "t/0".into(), newest: Some(20), transforms: vec![one] }];
    let link =
        Link { chain: "c".into(), source: Some(Source::File("a".into())), at: 10, lanes, ..Link::default() };
    let first = Backfilled { chains: vec![link.clone()], ..portion(set, "a", 0, 10) };
    let Filled::True(record) = log.backfill(vec![], first, None).await.unwrap() else { panic!() };
    let lanes = log.chain(record.seq, "c").await.unwrap().unwrap();
    let lane = &lanes["t/0"];
    assert_eq!((&lane.states, &lane.places), (&vec![memory], &vec![state.clone()]));
    assert_eq!((lane.time.newest, lane.time.reached["w"]), (Some(20), 17));
    // Clean-up knows that it is needed, until the chain has ended.
    assert!(log.chained_states().await.unwrap().contains(&state.key));
    assert!(log.chain(record.seq, "d").await.is_err());
    let end = Link { previous: Some(record.seq), ends: true, lanes: vec![], ..link };
    let last = Backfilled { chains: vec![end.clone()], ..portion(set, "a", 10, 12) };
    assert!(matches!(log.backfill(vec![], last, None).await.unwrap(), Filled::True(_)));
    assert!(log.chained_states().await.unwrap().is_empty());
    let late = Backfilled { chains: vec![end], ..portion(set, "a", 12, 13) };
    assert!(matches!(log.backfill(vec![], late, None).await.unwrap(), Filled::Done));
}
