use std::collections::BTreeMap;

use tidemill_sdk::testing::{InputRow, Outcome, Tested, open, row};
use tidemill_sdk::timestamp;

use super::*;

const TABLE: &str = "user_activity_per_minute";

fn event(at: &str, event_type: &str, device: &str) -> InputRow {
    row().set("timestamp", timestamp(at)).set("event_type", event_type).set("device", device)
}

fn lines(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().flat_map(|outcome| outcome.rows(TABLE).lines()).collect()
}

fn new() -> Tested<ActivityPerMinute> {
    open(&[])
}

#[test]
fn events_are_counted_by_minute_type_and_device() {
    let mut activity = new();
    let outcome = activity.process([
        event("2025-12-02T10:01:00Z", "click", "mobile"),
        event("2025-12-02T10:00:00Z", "click", "mobile"),
        event("2025-12-02T10:00:59.999999Z", "click", "mobile"),
        event("2025-12-02T10:00:30Z", "click", "desktop"),
        event("2025-12-02T10:00:30Z", "buy", "mobile"),
        event("1969-12-31T23:59:59.999999Z", "click", "mobile"),
    ]);
    assert!(outcome.is_empty());
    let flushed = activity.flush(None);
    assert_eq!(
        lines(&flushed),
        [
            "1969-12-31T23:59:00Z, click, mobile, 1",
            "2025-12-02T10:00:00Z, buy, mobile, 1",
            "2025-12-02T10:00:00Z, click, desktop, 1",
            "2025-12-02T10:00:00Z, click, mobile, 2",
            "2025-12-02T10:01:00Z, click, mobile, 1",
        ]
    );
    assert_eq!(flushed[0].rows(TABLE).origins(), None);
    assert!(flushed[0].rows(TABLE).is_additive());
}

#[test]
fn a_flush_hands_out_the_increments_since_the_last() {
    let mut activity = new();
    assert!(lines(&activity.flush(None)).is_empty());
    for count in 1..=3 {
        activity.process((0..count).map(|_| event("2025-12-02T10:00:00Z", "click", "mobile")));
        assert_eq!(lines(&activity.flush(None)), [format!("2025-12-02T10:00:00Z, click, mobile, {count}")]);
        assert!(lines(&activity.flush(timestamp("2025-12-02T11:00:00Z"))).is_empty());
    }
}

#[test]
fn keys_with_the_same_letters_are_told_apart() {
    let mut activity = new();
    let pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("12345678", "9"), ("123456789", "")];
    activity.process(pairs.map(|(event_type, device)| event("2025-12-02T10:00:00Z", event_type, device)));
    assert_eq!(lines(&activity.flush(None)).len(), pairs.len());
}

#[test]
fn nulls_are_refused() {
    let mut activity = new();
    let whole = event("2025-12-02T10:00:00Z", "click", "mobile");
    let outcome = activity.process([whole.clone().null("device"), whole.clone().null("timestamp"), whole]);
    assert_eq!(outcome.rejected(), [("device is null", vec![0]), ("timestamp is null", vec![1])]);
    assert_eq!(lines(&activity.flush(None)).len(), 1);
}

/// `count` events, each with a counter of its own.
fn distinct(count: i64) -> impl Iterator<Item = InputRow> {
    (0..count).map(|i| {
        let at = Timestamp(i % 7 * Timestamp::MINUTE);
        row().set("timestamp", at).set("event_type", format!("type {i}")).set("device", "mobile")
    })
}

#[test]
fn a_large_flush_comes_in_pieces() {
    let mut activity = new();
    activity.process(distinct(20_000));
    let flushed = activity.flush(None);
    assert!(flushed.len() >= 3);
    assert!(flushed.iter().all(|outcome| outcome.rows(TABLE).len() <= ROWS));
    let minutes: Vec<_> =
        flushed.iter().flat_map(|outcome| outcome.rows(TABLE).column("window_start")).collect();
    assert_eq!(minutes.len(), 20_000);
    assert!(minutes.is_sorted());

    let long = "x".repeat(100_000);
    activity.process((0..20).map(|i| event("2025-12-02T10:00:00Z", &format!("{long}{i}"), "mobile")));
    let flushed = activity.flush(None);
    assert!(flushed.len() >= 4, "bounded by bytes too");
    assert_eq!(lines(&flushed).len(), 20);
}

#[test]
fn a_snapshot_is_only_taken_of_what_changed() {
    let mut activity = new();
    assert_eq!(activity.snapshot(), None, "there is nothing, and there never was");
    activity.process([event("2025-12-02T10:00:00Z", "click", "mobile")]);
    activity.flush(None);
    assert_eq!(activity.snapshot(), None, "all was flushed");

    activity.process([event("2025-12-02T10:00:00Z", "click", "mobile")]);
    let state = activity.snapshot().expect("a counter waits");
    let mut restored = new();
    restored.restore(&state);
    restored.process([event("2025-12-02T10:00:01Z", "click", "mobile")]);
    assert_eq!(lines(&restored.flush(None)), ["2025-12-02T10:00:00Z, click, mobile, 2"]);
    let empty = restored.snapshot().expect("the last state had a counter");
    assert_eq!(restored.snapshot(), None);
    let mut restored = new();
    restored.restore(&empty);
    assert!(lines(&restored.flush(None)).is_empty());
    assert_eq!(restored.snapshot(), None);
}

#[test]
fn state_that_is_not_its_own_is_refused() {
    assert!(new().try_restore(2, &[0; 8]).is_err());
    assert_eq!(new().try_restore(1, &[1]), Err("the state is damaged".into()));
}

/// The rows of these events with a small bound on state, in batches of `size`: in order, with those of the last flush.
fn bounded(events: &[(i64, String)], size: usize) -> Vec<(Timestamp, Box<str>, i64)> {
    let mut activity = ActivityPerMinute::with_limit(2000);
    let mut out = Vec::new();
    let mut take = |activity: &mut ActivityPerMinute| {
        // The queue is what `emit` hands out, in order.
        out.extend(activity.queue.drain(..).map(|count| (count.minute, count.event_type, count.events)));
    };
    for batch in events.chunks(size) {
        for (minute, event_type) in batch {
            let mut none = <UserActivity as tidemill_sdk::Output>::with_capacity(0);
            let timestamp = Timestamp(minute * Timestamp::MINUTE);
            let event = Event { event_type, timestamp, device: "mobile" };
            activity.row(event, &mut none).expect("never refused");
            assert!(activity.counts.bytes() <= 2000 + 200);
        }
        take(&mut activity);
    }
    activity.queue.extend(activity.counts.take());
    take(&mut activity);
    out
}

#[test]
fn state_is_bounded_and_how_events_are_cut_into_batches_changes_no_row() {
    let events: Vec<(i64, String)> = (0..1000).map(|i| (i % 3, format!("type {}", i * 7919 % 101))).collect();
    let rows = bounded(&events, 1000);
    for size in [1, 7, 64, 999] {
        assert_eq!(bounded(&events, size), rows, "{size}");
    }
    let mut sums = BTreeMap::new();
    for (minute, event_type, count) in &rows {
        *sums.entry((*minute, event_type.clone())).or_insert(0) += count;
    }
    assert!(sums.len() < rows.len(), "the bound was reached");
    assert_eq!(sums.values().sum::<i64>(), 1000);
    assert_eq!(sums.len(), 303);
}

#[test]
fn what_exceeds_the_bound_is_emitted_after_the_batch() {
    let mut activity = new();
    let (mut emitted, mut most) = (0, 0);
    for batch in 0..8 {
        let rows = distinct((batch + 1) * 20_000).skip(usize::try_from(batch * 20_000).expect("small"));
        let count = activity.process(rows).rows(TABLE).len();
        emitted += count;
        most = most.max(count);
    }
    assert!(emitted > 50_000, "{emitted}");
    assert!(most <= 20_000 + ROWS);
    let rest = lines(&activity.flush(None)).len();
    assert_eq!(emitted + rest, 160_000);
}

/// `cargo test --profile wasm -p activity_per_minute -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let (types, devices) =
        (["page_view", "click", "add_to_cart", "purchase"], ["mobile", "desktop", "tablet", "other"]);
    let rows: Vec<InputRow> = (0..8192_usize)
        .map(|i| {
            let at = Timestamp(i64::try_from(i * 7919 % 120).expect("small") * Timestamp::SECOND);
            row().set("timestamp", at).set("event_type", types[i % 4]).set("device", devices[i / 4 % 4])
        })
        .collect();
    let mut activity = new();
    let columns = activity.columns(rows);
    let best = (0..200).map(|_| {
        let start = std::time::Instant::now();
        activity.process_columns(8192, &columns).expect("an outcome");
        start.elapsed()
    });
    println!(
        "activity_per_minute: {:.1} ns an event",
        best.min().unwrap_or_default().as_secs_f64() * 1e9 / 8192.0
    );
    assert_eq!(lines(&activity.flush(None)).len(), 32);
}
