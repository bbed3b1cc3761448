//! What can be said in a few rows: late rows, idle partitions, pieces, snapshots, states of others.

use tidemill_sdk::testing::{InputRow, Outcome, Tested, open, row, try_open};
use tidemill_sdk::window::{Sessions, Sliding, Tumbling, Windowed};
use tidemill_sdk::{Timestamp, Transform};

use crate::aggregations::{Additive, Once, Retained};

const MUCH: usize = 6 << 20;
type Tumble = Windowed<Once<Tumbling, MUCH>>;
type Slide = Windowed<Once<Sliding, MUCH>>;
type Session = Windowed<Once<Sessions, MUCH>>;
type Bits = Windowed<Retained<Tumbling, MUCH>>;
type Sums = Windowed<Additive<Tumbling>>;

/// A row at a second, and the second of its watermark.
fn at(second: i64, mark: i64) -> InputRow {
    let time = |second: i64| Timestamp(second * Timestamp::SECOND);
    let row = row().set("at", time(second)).set("mark", time(mark));
    row.set("key", "k").set("user", format!("u{second}")).set("amount", 1)
}

/// Start, end, rows and users of what was handed out.
fn spans<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Vec<String> {
    let span = |line: String| {
        let parts: Vec<&str> = line.split(", ").collect();
        format!("{} {} {} {}", &parts[0][11..19], &parts[1][11..19], parts[3], parts[4])
    };
    outcomes.into_iter().flat_map(|outcome| outcome.rows("table").lines()).map(span).collect()
}

fn seconds(second: i64) -> Option<Timestamp> {
    Some(Timestamp(second * Timestamp::SECOND))
}

#[test]
fn a_window_is_handed_out_once_when_the_watermark_has_reached_its_end() {
    let mut once = open::<Tumble>(&[]);
    assert!(spans(&[once.process([at(0, 0), at(599, 599)])]).is_empty());
    assert!(spans(&once.flush_now()).is_empty());
    // The row at 600 is in the next window; a batch hands out what its rows have closed.
    assert_eq!(spans(&[once.process([at(600, 600)])]), ["00:00:00 00:10:00 2 2"]);
    assert!(spans(&once.flush_now()).is_empty());
    assert_eq!(spans(&once.flush(seconds(5000))), ["00:10:00 00:20:00 1 1"]);
}

#[test]
fn a_flush_that_closes_nothing_leaves_no_trace() {
    let mut once = open::<Tumble>(&[]);
    once.process([at(0, 0)]);
    assert!(spans(&once.flush(seconds(0))).is_empty());
    assert!(once.snapshot().is_some());
    // The partition is quiet, and its time goes on by the clock: no record is to say so again and again.
    assert!(spans(&once.flush(seconds(300))).is_empty());
    assert_eq!(once.snapshot(), None);
    assert_eq!(spans(&once.flush(seconds(600))), ["00:00:00 00:10:00 1 1"]);
    assert!(once.snapshot().is_some());
    assert!(spans(&once.flush(seconds(900))).is_empty());
    assert_eq!(once.snapshot(), None);
    // What was not closed is open, whatever the clock had said.
    assert!(once.process([at(700, 0)]).rejected().is_empty());
    assert_eq!(once.process([at(599, 0)]).rejected(), [("late", vec![0])]);
}

#[test]
fn a_late_row_is_refused_or_corrects() {
    let rows = || [at(0, 0), at(600, 600), at(599, 600), at(599, 600)];
    let mut once = open::<Tumble>(&[]);
    let outcome = once.process(rows());
    assert_eq!(outcome.rejected(), [("late", vec![2, 3])]);
    assert_eq!(spans(&[outcome]), ["00:00:00 00:10:00 1 1"]);

    let mut corrects = open::<Tumble>(&[("late", "correct")]);
    let outcome = corrects.process(rows());
    assert!(outcome.rejected().is_empty());
    assert_eq!(spans(&[outcome]), ["00:00:00 00:10:00 1 1"; 3]);

    let error = try_open::<Tumble>(&[("late", "never")]).err();
    assert_eq!(error.as_deref(), Some("config: `late` cannot be \"never\": it is `reject` or `correct`"));
}

#[test]
fn increments_of_distinct_values_are_late_too_and_of_sums_never() {
    let rows = || [at(0, 0), at(600, 600), at(0, 600)];
    let mut bits = open::<Bits>(&[]);
    assert_eq!(bits.process(rows()).rejected(), [("late", vec![2])]);
    let mut bits = open::<Bits>(&[("late", "correct")]);
    let outcome = bits.process(rows());
    // The user counts once more: who was in a closed window is forgotten.
    assert_eq!(spans(&[outcome]), ["00:00:00 00:10:00 1 1", "00:00:00 00:10:00 1 1"]);

    let mut sums = open::<Sums>(&[]);
    assert!(sums.process(rows()).is_empty());
    assert_eq!(spans(&sums.flush_now()), ["00:00:00 00:10:00 2 0", "00:10:00 00:20:00 1 0"]);
    let error = try_open::<Sums>(&[("late", "reject")]).err();
    assert_eq!(error.as_deref(), Some("config: unknown key `late`; known are `memory_mib`"));
}

#[test]
fn a_row_that_is_left_out_or_refused_tells_the_time_all_the_same() {
    let mut once = open::<Tumble>(&[]);
    let outcome = once.process([
        at(0, 0),
        at(599, 599).set("amount", 1000),
        at(600, 600).set("amount", 1001),
        at(1, 600),
    ]);
    assert_eq!(outcome.rejected(), [("amount is too large", vec![2]), ("late", vec![3])]);
    assert_eq!(spans(&[outcome]), ["00:00:00 00:10:00 1 1"]);
}

#[test]
fn a_row_goes_to_those_of_its_windows_that_are_open() {
    let mut sliding = open::<Slide>(&[]);
    // 500 is in the windows from 0, 240 and 480; the first of them is closed.
    let outcome = sliding.process([at(500, 700)]);
    assert!(outcome.rejected().is_empty());
    let rest = spans(&sliding.flush(seconds(5000)));
    assert_eq!(rest, ["00:04:00 00:14:00 1 1", "00:08:00 00:18:00 1 1"]);
}

#[test]
fn sessions_are_joined_and_end_after_the_gap() {
    let mut sessions = open::<Session>(&[]);
    sessions.process([at(0, 0), at(500, 0), at(1000, 0), at(250, 0)]);
    // 250 joins 0 and 500; 1000 is 300 or more from all, and stays alone.
    assert!(spans(&sessions.flush(seconds(799))).is_empty());
    assert_eq!(spans(&sessions.flush(seconds(800))), ["00:00:00 00:08:20 3 3"]);
    // 750 would have been in a session that is closed; it joins the one that is not.
    sessions.process([at(750, 800)]);
    assert_eq!(spans(&sessions.flush(seconds(1300))), ["00:12:30 00:16:40 2 2"]);
    assert_eq!(sessions.process([at(1000, 1300)]).rejected(), [("late", vec![0])]);
    assert!(sessions.process([at(1001, 1300)]).rejected().is_empty());
}

#[test]
fn what_an_idle_flush_has_closed_stays_closed() {
    let mut once = open::<Tumble>(&[]);
    once.process([at(0, 0)]);
    assert_eq!(spans(&once.flush(seconds(600))).len(), 1);
    once.restart();
    assert_eq!(once.process([at(1, 1)]).rejected(), [("late", vec![0])]);
}

#[test]
fn a_snapshot_is_only_taken_of_what_changed() {
    let mut once = open::<Tumble>(&[]);
    assert_eq!(once.snapshot(), None, "there is nothing, and there never was");
    once.process([at(0, 0)]);
    let first = once.snapshot().expect("a group");
    assert_eq!(once.snapshot(), None);
    assert_eq!(once.process([at(-600, 0)]).rejected(), [("late", vec![0])]);
    assert_eq!(once.snapshot(), None, "a refused row changes nothing");
    once.flush(seconds(0));
    assert_eq!(once.snapshot(), None, "nor does a flush that has nothing to hand out");
    once.flush(seconds(1));
    assert_eq!(once.snapshot(), None, "nor one that closes nothing");
    let mut restored = open::<Tumble>(&[]);
    restored.restore(&first);
    assert_eq!(restored.snapshot(), None);
    restored.process([at(1, 0)]);
    assert!(restored.snapshot().is_some());
}

#[test]
fn the_state_of_increments_of_sums_is_empty_after_a_flush() {
    let mut sums = open::<Sums>(&[]);
    sums.process([at(0, 0)]);
    sums.flush_now();
    assert_eq!(sums.snapshot(), None);
    sums.process([at(0, 0)]);
    assert!(sums.snapshot().is_some(), "care");
    sums.flush_now();
    assert!(sums.snapshot().is_some(), "the last one had something");
    sums.process([at(0, 0)]);
    sums.flush_now();
    assert_eq!(sums.snapshot(), None);
}

#[test]
fn the_same_state_has_the_same_bytes() {
    let state = |order: [i64; 4]| {
        let mut once = open::<Session>(&[]);
        once.process(order.map(|second| at(second, -9000).set("key", format!("k{}", second % 2))));
        once.snapshot().expect("groups")
    };
    assert_eq!(state([0, 1001, 2000, 3001]), state([3001, 2000, 1001, 0]));
}

/// If this fails, states that were written before cannot be read: format and `STATE_VERSION` say so then.
#[test]
fn the_format_of_states_does_not_change() {
    const BEFORE: &str =
        "010180989abc0480989abc0480989abc040180989abc0480b0b4f808016b02000101a63f5fd5c1f18c9302010201020100";
    let mut bits = open::<Bits>(&[]);
    bits.process([at(0, 0), at(1, 1), at(600, 600)]);
    let state = bits.snapshot().expect("groups");
    let hex: String = state.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, BEFORE);
    bits.restart();
    assert_eq!(spans(&bits.flush_now()), ["00:10:00 00:20:00 1 1"]);
}

#[test]
fn states_of_others_are_refused() {
    let state = |mut of: Tested<Tumble>| {
        of.process([at(0, 0)]);
        of.snapshot().expect("a group")
    };
    let state = state(open::<Tumble>(&[]));
    let refused = |result: Result<(), String>| result.expect_err("refused");
    assert_eq!(
        refused(open::<Slide>(&[]).try_restore(1, &state)),
        "the state has windows of other lengths: what is open cannot be carried over"
    );
    assert!(
        refused(open::<Session>(&[]).try_restore(1, &state))
            .starts_with("the state has windows of other lengths")
    );
    assert_eq!(
        refused(open::<Tumble>(&[]).try_restore(7, &state)),
        "tested 1 cannot read state of version 7"
    );
    for end in 0..state.len() {
        assert!(
            refused(open::<Tumble>(&[]).try_restore(1, &state[..end])).starts_with("the state is damaged")
        );
    }
}

/// Rows of so many keys.
fn keys(from: i64, count: i64, mark: i64) -> impl Iterator<Item = InputRow> {
    (from..from + count).map(move |i| at(mark, mark).set("key", format!("key {i}")))
}

#[test]
fn a_large_flush_comes_in_pieces_and_in_order() {
    type Large = Windowed<Once<Tumbling, { 64 << 20 }>>;
    for pieces in [pieces::<Large>(), pieces::<Bits>(), pieces::<Sums>()] {
        assert!(pieces.len() >= 3, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() <= 8192));
        let all = pieces.concat();
        assert_eq!(all.len(), 20_000);
        assert!(all.is_sorted());
    }
}

fn pieces<T: Transform>() -> Vec<Vec<String>> {
    let mut tested = open::<T>(&[]);
    tested.process(keys(0, 20_000, 0));
    let lines = |outcome: &Outcome| outcome.rows("table").lines();
    tested.flush(seconds(600)).iter().map(lines).collect()
}

#[test]
fn what_waits_to_be_handed_out_is_saved() {
    let mut sums = open::<Sums>(&[]);
    sums.process(keys(0, 20_000, 0));
    let (first, more) = sums.flush_once(seconds(600));
    assert!(more);
    let mut all = first.rows("table").lines();
    sums.restart();
    sums.flush(seconds(600)).iter().for_each(|outcome| all.extend(outcome.rows("table").lines()));
    assert_eq!(all.len(), 20_000);
    assert!(all.is_sorted());
}

#[test]
fn the_queue_cannot_grow_for_ever() {
    // Each batch closes the window of the one before.
    let mut once = open::<Tumble>(&[]);
    let mut handed_out = 0;
    for batch in 0..6 {
        handed_out += once.process(keys(batch * 12_000, 12_000, batch * 600)).rows("table").len();
    }
    assert_eq!(handed_out, 5 * 12_000);
}

#[test]
fn memory_is_bounded_and_old_windows_go_first() {
    type Little = Windowed<Once<Tumbling, 100_000>>;
    let mut once = open::<Little>(&[]);
    let mut rejected = 0;
    let mut most = 0;
    for minute in 0..40 {
        let rows = (0..50).map(|i| at(minute * 60, -9999).set("key", format!("key {i}")));
        let outcome = once.process(rows);
        rejected += outcome.rejected().iter().map(|(_, rows)| rows.len()).sum::<usize>();
        once.flush_now();
        most = most.max(once.snapshot().map_or(0, |state| state.len()));
    }
    assert!(most < 100_000, "{most}");
    assert_eq!(rejected, 0, "it is the old windows that are closed");
    assert_eq!(once.process([at(0, -9999)]).rejected(), [("late", vec![0])]);
}
