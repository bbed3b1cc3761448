use std::sync::Arc;

use super::*;
use crate::observe::{Advanced, Stats, Worked};

fn deployed(name: &str, version: &str) -> Deployed {
    let digest = format!("digest of {name} {version}");
    Deployed { file: name.into(), name: name.into(), version: version.into(), digest, ..Deployed::default() }
}

fn identity(deployed: &Deployed) -> Arc<Identity> {
    let Deployed { name, version, digest, .. } = deployed.clone();
    Arc::new(Identity { name, version, digest })
}

fn states(board: &Board) -> Vec<(String, TransformState, Vec<i32>)> {
    let transforms = board.status().transforms.into_iter();
    transforms.map(|t| (format!("{} {}", t.name, t.version), t.state, t.partitions)).collect()
}

#[test]
fn a_set_goes_over_falls_back_and_is_forgotten() {
    use TransformState::*;
    let (a, b1, b2) = (deployed("a", "1"), deployed("b", "1"), deployed("b", "2"));
    let (old, new) = ([a.clone(), b1], [a, b2]);
    let board = Board::default();
    board.set(Some(0), &old);
    (0..3).for_each(|p| board.runs(p, 0, Some(0), &old));
    let since = board.status().transforms[0].since;
    assert!(since.is_some());

    board.set(Some(4), &new);
    board.runs(0, 0, Some(4), &new);
    let all = vec![0, 1, 2];
    let going = [
        ("a 1".to_owned(), Live, all.clone()),
        ("b 2".to_owned(), GoingOver, vec![0]),
        ("b 1".to_owned(), Old, vec![1, 2]),
    ];
    assert_eq!(states(&board), going);
    assert_eq!(board.status().transforms[0].since, since, "the same transform goes on");
    assert_eq!(board.status().transforms[1].since, None);
    assert_eq!(board.status().attention, Vec::<String>::new());

    // One would not go over, one trapped and went back.
    board.refuses(1, Some(4), "it does not open");
    board.runs(2, 0, Some(4), &new);
    board.paused(2, "it trapped");
    assert_eq!(states(&board)[1].1, StandsStill);
    board.fell_back(2, Some(4), (Some(0), &old));
    assert_eq!(states(&board)[1], ("b 2".into(), FellBack, vec![0]));
    let said = board.status().attention;
    let went = "fell back to the transforms of record 0, those of record 4 do not run there";
    assert_eq!(
        said,
        [format!("partition 1 {went}: it does not open"), format!("partition 2 {went}: it trapped")]
    );
    // It is opened again after some other failure: nothing is better for that.
    board.runs(2, 0, Some(0), &old);
    assert_eq!(board.status().attention, said);

    // A mended one.
    let mended = [deployed("b", "3")];
    board.set(Some(9), &mended);
    (0..3).for_each(|p| board.runs(p, 0, Some(9), &mended));
    assert_eq!(states(&board), [("b 3".to_owned(), Live, all)]);
    assert_eq!(board.status().attention, Vec::<String>::new());
}

#[test]
fn what_is_committed_is_counted_where_it_belongs() {
    let stats = Stats::default();
    let (board, clean) = (stats.board(), deployed("clean", "1"));
    board.set(Some(0), std::slice::from_ref(&clean));
    board.runs(7, 1, Some(0), std::slice::from_ref(&clean));
    board.stands(7, 100);
    board.failed(7, "once");
    let rows = Counts { input: 40, emitted: 30, rejected: 6, filtered: 4, absorbed: 0 };
    let worked = |partition| Worked {
        partition,
        identity: identity(&clean),
        counts: rows,
        busy: Duration::from_micros(20),
        vitals: Vitals { memory: 1000, state: 30, poison: 2 },
    };
    let commit = Commit {
        events: 44,
        record: 3,
        at: 5_000_000,
        advances: vec![
            Advanced { partition: 7, to: 144, freshness: Some(1_500_000) },
            Advanced { partition: 8, to: 9, freshness: None },
        ],
        works: vec![worked(7), worked(8)],
        files: vec![("t".into(), 30, 1000), ("t".into(), 6, 24)],
        took: Duration::from_millis(70),
        ..Commit::default()
    };
    stats.committed(&commit);
    stats.abandoned();
    let mut status = board.status();
    let one = &status.transforms[0];
    assert_eq!((one.rows.input, one.rows.rejected, one.busy_ns, one.ns_per_row), (80, 12, 40_000, Some(500)));
    assert_eq!((status.commits, status.events, status.abandoned), (1, 44, 1));
    let held = (one.memory_bytes, one.state_bytes, one.poison_rows);
    assert_eq!(held, (1000, 30, 4), "8 holds nothing here any more");
    assert_eq!(status.recent.len(), 1);
    let last = LastCommit {
        record: 3,
        at: At(5_000_000),
        events: 44,
        files: 2,
        bytes: 1024,
        took_ms: 70,
        ..LastCommit::default()
    };
    assert_eq!(status.last_commit, Some(last));
    assert_eq!(status.partitions.len(), 1, "8 is another member's");
    status.ends(&[(7, 150), (8, 9)].into());
    let partition = &status.partitions[&7];
    assert_eq!((partition.committed, partition.end, partition.lag), (Some(144), Some(150), Some(6)));
    assert_eq!((partition.freshness_ms, partition.error.as_deref()), (Some(1500), None));
    status.ends(&BTreeMap::new());
    assert_eq!(status.partitions[&7].lag, None, "the brokers did not answer");
}

#[test]
fn whatever_grows_has_a_bound() {
    let board = Board::default();
    for n in 0..1000 {
        board.refused(&format!("file-{n}"), "no transform");
        board.refused("same", "no transform");
        board.paused(n, &format!("a line\n{}", "ü".repeat(10_000)));
        let transform = identity(&deployed("t", &n.to_string()));
        board.troubled(&transform, 0, "trapped");
    }
    let status = board.status();
    assert_eq!(status.refused.len(), REFUSED);
    assert_eq!(status.attention.len(), REFUSED + 21);
    assert!(
        status.attention.last().unwrap().contains("980 more partitions"),
        "{:?}",
        status.attention.last()
    );
    let error = status.partitions[&0].error.clone().unwrap();
    assert_eq!((error.chars().count(), error.contains('\n')), (LETTERS + 1, false));
    assert_eq!(board.0.lock().unwrap().totals.len(), COUNTED);
}

#[test]
fn a_status_is_the_same_when_it_was_read_back() {
    let board = Board::default();
    let clean = deployed("clean", "1");
    board.set(Some(0), std::slice::from_ref(&clean));
    board.runs(0, 0, Some(0), std::slice::from_ref(&clean));
    board.refused("broken", "no transform");
    board.troubled(&identity(&clean), 0, "trapped");
    let status = board.status();
    let text = serde_json::json!(status).to_string();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    assert!(text.contains(r#""state":"live""#), "{text}");
    // What another version leaves out is no reason to fail.
    assert_eq!(serde_json::from_str::<Status>("{\"more\":1}").unwrap(), Status::default());
}
