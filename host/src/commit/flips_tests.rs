use super::*;
use crate::commit::record::{Advance, Remains};
use crate::commit::replay::tests::{Memory, begun, commit, topic};
use crate::commit::{EVERY, LanePart};
use crate::generations::Standing;
use crate::table::REJECTED;

fn rewritten(old: &[DataFile], new: &DataFile) -> Rewritten {
    let compacted = Compacted { rows: old.len() as u64, ..Compacted::default() };
    let generation = old.iter().map(|file| file.generation).max().unwrap_or(1) + 1;
    let flips = vec![Flip { table: REJECTED.into(), hour: 0, generation }];
    let (supersedes, files) = (old.to_vec(), vec![new.clone()]);
    Rewritten { flips, supersedes, files, deed: Deed::Compacted(compacted) }
}

#[tokio::test]
async fn of_two_compactions_of_an_hour_one_comes_to_nothing() {
    let store = Arc::new(Memory::default());
    let (mut first, old) = begun(&store).await;
    let mut second = store.log().await;
    let (one, two) = (store.stage_at(1, 2), store.stage_at(2, 2));
    let record =
        first.rewrite_once(&rewritten(std::slice::from_ref(&old), &one), None).await.unwrap().unwrap();
    assert_eq!((record.flips[0].generation, record.format), (2, 3));
    assert!(second.rewrite_once(&rewritten(std::slice::from_ref(&old), &two), None).await.unwrap().is_none());
    // What was there stays for readers that have not heard of it.
    assert_eq!(store.visible(), [one.file.key.as_str(), old.file.key.as_str()]);
    assert_eq!(
        second.live_in(REJECTED, Hour(0)).await.unwrap().into_keys().collect::<Vec<_>>(),
        vec![one.file.key.clone()]
    );
    // The next one rewrites what the first has made, and is told what the catalog is owed.
    let three = store.stage_at(3, 3);
    let next =
        second.rewrite_once(&rewritten(std::slice::from_ref(&one), &three), None).await.unwrap().unwrap();
    assert_eq!((next.previous, next.owed.len()), (Some(record.seq), 1));
    assert_eq!(second.view().retired().len(), 2);
    second.sweep(&[record.seq].into(), None).await.unwrap().unwrap();
    assert_eq!(store.visible(), [one.file.key.as_str(), three.file.key.as_str()]);
    assert!(second.sweep(&[record.seq].into(), None).await.unwrap().is_none(), "it was done");
}

#[tokio::test]
async fn a_flip_over_an_hour_that_has_changed_comes_to_nothing() {
    let store = Arc::new(Memory::default());
    let (mut compactor, old) = begun(&store).await;
    let mut host = store.log().await;
    let late = store.stage(7);
    let record = commit(&mut host, 1, vec![late.clone()]).await;
    host.publish(&record).await.unwrap();
    let new = store.stage_at(1, 2);
    assert!(
        compactor.rewrite_once(&rewritten(std::slice::from_ref(&old), &new), None).await.unwrap().is_none()
    );
    assert!(!store.visible().contains(&new.file.key));
    assert!(compactor.expire(vec![old.clone()], 1, None).await.unwrap().is_none(), "it knows one of two");
    let both = [old, late];
    let new = store.stage_at(2, 2);
    assert!(compactor.rewrite_once(&rewritten(&both, &new), None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_late_file_of_a_rewritten_hour_goes_to_its_new_generation_only() {
    let store = Arc::new(Memory::default());
    let (mut compactor, old) = begun(&store).await;
    let mut host = store.log().await;
    let new = store.stage_at(1, 2);
    compactor.rewrite_once(&rewritten(&[old], &new), None).await.unwrap().unwrap();
    // It was staged before the host heard of it.
    let late = store.stage(2);
    let part = |file: DataFile, log: &Log| {
        let (at, prev) = (log.view().position(&topic(), 1).unwrap(), log.view().last(&topic(), 1));
        let epoch = file.epoch.clone();
        let advance = Advance {
            partition: 1,
            prev,
            epoch: epoch.clone(),
            from: at,
            to: at + 1,
            events: 1,
            ..Advance::default()
        };
        LanePart { lane: 0, epoch, partitions: vec![advance], files: vec![file] }
    };
    let one = part(late, &host);
    let outcome = host.commit(&topic(), vec![one], vec![]).await.unwrap();
    assert!(
        outcome.record.is_none() && outcome.lost[0].1.contains("its generation is 2, not 1"),
        "{}",
        outcome.lost[0].1
    );
    let two = part(store.stage_at(3, 2), &host);
    assert!(host.commit(&topic(), vec![two], vec![]).await.unwrap().record.is_some());
}

#[tokio::test]
async fn a_summary_knows_generations_and_what_was_not_swept() {
    let store = Arc::new(Memory::default());
    let (mut log, old) = begun(&store).await;
    let new = store.stage_at(1, 2);
    let compact =
        log.rewrite_once(&rewritten(std::slice::from_ref(&old), &new), None).await.unwrap().unwrap();
    let expire = log.expire(vec![new.clone()], 5, None).await.unwrap().unwrap();
    assert_eq!((expire.flips[0].generation, expire.before), (3, Some(5)));
    assert_eq!(log.view().generations().get(REJECTED, Hour(0)), Standing { generation: 3, empty: true });
    while log.view().next() % EVERY != 1 || log.view().next() < EVERY {
        commit(&mut log, 1, vec![]).await;
    }
    let mut other = store.log().await;
    assert_eq!(other.view().generations(), log.view().generations());
    assert_eq!(*other.view().retired(), [compact.seq, expire.seq].into());
    let swept = other.sweep(&[compact.seq, expire.seq].into(), None).await.unwrap().unwrap();
    assert_eq!(swept.sweeps, [compact.seq, expire.seq]);
    assert!(store.visible().is_empty());
    // Something late comes, where nothing was taken away.
    let late = store.stage_at(9, 3);
    commit(&mut other, 0, vec![late]).await;
    assert_eq!(other.view().generations().get(REJECTED, Hour(0)), Standing { generation: 3, empty: false });
}

#[tokio::test]
async fn another_host_finishes_a_compaction_and_a_sweep() {
    let store = Arc::new(Memory::default());
    let (mut log, old) = begun(&store).await;
    let new = store.stage_at(1, 2);
    let mut body = Body::new(&log.env, RecordKind::Compact);
    body.record.flips = vec![Flip { table: REJECTED.into(), hour: 0, generation: 2 }];
    body.record.supersedes = vec![old.clone()];
    body.record.files = vec![new.clone()];
    // The host dies here.
    let record = log.append(&mut FlipDraft { body, told: None, seen: None }).await.unwrap().unwrap();
    assert_eq!(store.visible(), [old.file.key.as_str()]);
    let mut other = store.log().await;
    other.roll_forward(Some(&[])).await.unwrap();
    assert_eq!(store.visible(), [new.file.key.as_str(), old.file.key.as_str()]);
    let body = Body::new(&log.env, RecordKind::Sweep);
    log.append(&mut SweepDraft::new(body, None, &[record.seq].into())).await.unwrap().unwrap();
    other.refresh().await.unwrap();
    other.roll_forward(Some(&[])).await.unwrap();
    assert_eq!(store.visible(), [new.file.key.as_str()]);
}

#[tokio::test]
async fn a_sweep_of_many_files_is_many_records_whoever_writes_them() {
    let store = Arc::new(Memory::default());
    let (mut log, first) = begun(&store).await;
    let mut old = vec![first];
    for n in 1..5 {
        let file = store.stage(n);
        let record = commit(&mut log, 1, vec![file.clone()]).await;
        log.publish(&record).await.unwrap();
        old.push(file);
    }
    let new = store.stage_at(9, 2);
    let flip = log.rewrite_once(&rewritten(&old, &new), None).await.unwrap().unwrap();
    let last = log.expire(vec![new.clone()], 5, None).await.unwrap().unwrap();
    let there = |store: &Memory| store.visible().len();
    assert_eq!((log.sizes.swept, there(&store)), (2, 6));
    let stretch = |from, to| Stretch { flip: flip.seq, from, to, of: 5 };
    let one = log.sweep(&[flip.seq, last.seq].into(), None).await.unwrap().unwrap();
    assert_eq!((one.sweeps.clone(), one.stretches.clone()), (vec![flip.seq], vec![stretch(0, 2)]));
    assert_eq!(there(&store), 4);
    // Nobody can put the hour back any more, and clean-up leaves the rest alone.
    assert_eq!(
        (log.view().retired().clone(), log.view().sweeping().clone()),
        ([last.seq].into(), [(flip.seq, 2)].into())
    );
    let rest = Remains {
        epoch: old[3].epoch.clone(),
        zone: old[3].file.zone,
        key: old[3].file.key.clone(),
        upload: None,
        staging: None,
    };
    assert!(log.victims(std::slice::from_ref(&rest)).await.unwrap().is_empty());
    // Its writer dies; another, which starts from a summary, goes on with what was begun, and asks for nothing itself.
    while log.view().next() % EVERY != 1 {
        commit(&mut log, 1, vec![]).await;
    }
    let mut other = store.log().await;
    assert_eq!(other.view().sweeping(), log.view().sweeping());
    let two = other.sweep(&BTreeSet::new(), None).await.unwrap().unwrap();
    assert_eq!((two.stretches.clone(), there(&store)), (vec![stretch(2, 4)], 2));
    let three = other.sweep(&[last.seq].into(), None).await.unwrap().unwrap();
    assert_eq!(
        (three.sweeps.clone(), three.stretches.clone()),
        (vec![flip.seq, last.seq], vec![stretch(4, 5)])
    );
    assert!(
        store.visible().is_empty() && other.view().sweeping().is_empty() && other.view().retired().is_empty()
    );
    assert!(other.sweep(&[flip.seq, last.seq].into(), None).await.unwrap().is_none(), "it was done");
}
