use std::collections::{BTreeMap, BTreeSet};

use tidemill_sdk::testing::{InputRow, Outcome, Tested, open, row};
use tidemill_sdk::timestamp;

use super::*;

const TABLE: &str = "user_activity_per_minute";

fn event(at: &str, event_type: &str, device: &str, user: &str) -> InputRow {
    let row = row().set("timestamp", timestamp(at)).set("event_type", event_type).set("device", device);
    row.set("user_id", user).set("session_id", format!("session of {user}"))
}

fn lines<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Vec<String> {
    outcomes.into_iter().flat_map(|outcome| outcome.rows(TABLE).lines()).collect()
}

fn new() -> Tested<Windowed<ActivityPerMinute>> {
    open(&[]).watermark_by("timestamp", Duration::from_hours(1))
}

#[test]
fn events_users_and_sessions_are_counted_by_minute_type_and_device() {
    let mut activity = new();
    let outcome = activity.process([
        event("2025-12-02T10:01:00Z", "click", "mobile", "u1"),
        event("2025-12-02T10:00:00Z", "click", "mobile", "u1"),
        event("2025-12-02T10:00:59.999999Z", "click", "mobile", "u1"),
        event("2025-12-02T10:00:01Z", "click", "mobile", "u2").null("session_id"),
        event("2025-12-02T10:00:30Z", "click", "desktop", "u1"),
        event("2025-12-02T10:00:30Z", "buy", "mobile", "u1").null("session_id"),
    ]);
    assert!(outcome.is_empty());
    let flushed = activity.flush_now();
    assert_eq!(
        lines(&flushed),
        [
            "2025-12-02T10:00:00Z, buy, mobile, 1, 1, 0",
            "2025-12-02T10:00:00Z, click, desktop, 1, 1, 1",
            "2025-12-02T10:00:00Z, click, mobile, 3, 2, 1",
            "2025-12-02T10:01:00Z, click, mobile, 1, 1, 1",
        ]
    );
    assert_eq!(flushed[0].rows(TABLE).origins(), None);
    assert!(flushed[0].rows(TABLE).is_additive());
}

#[test]
fn a_flush_hands_out_the_changes_since_the_last() {
    let mut activity = new();
    assert!(lines(&activity.flush_now()).is_empty());
    let click = |user| event("2025-12-02T10:00:00Z", "click", "mobile", user);
    for (users, change) in
        [(vec!["u1", "u2"], "2, 2, 2"), (vec!["u1"], "1, 0, 0"), (vec!["u2", "u3", "u3"], "3, 1, 1")]
    {
        activity.process(users.into_iter().map(click));
        activity.restart();
        assert_eq!(lines(&activity.flush_now()), [format!("2025-12-02T10:00:00Z, click, mobile, {change}")]);
        assert!(lines(&activity.flush_now()).is_empty());
    }
}

#[test]
fn a_minute_is_forgotten_after_an_hour_and_late_events_count_still() {
    let mut activity = new();
    let first = event("2025-12-02T10:00:10Z", "click", "mobile", "u1");
    activity.process([first.clone(), event("2025-12-02T11:00:59Z", "click", "mobile", "u1")]);
    activity.flush_now();
    activity.process([first.clone()]);
    assert_eq!(lines(&activity.flush_now()), ["2025-12-02T10:00:00Z, click, mobile, 1, 0, 0"]);

    let closing = event("2025-12-02T11:01:00Z", "click", "mobile", "u1");
    let outcome = activity.process([closing.clone(), first.clone(), first.clone()]);
    assert!(outcome.rejected().is_empty());
    assert_eq!(lines([&outcome]), ["2025-12-02T10:00:00Z, click, mobile, 1, 1, 1"; 2]);

    let strict = open::<Windowed<ActivityPerMinute>>(&[("late", "reject")]);
    let mut strict = strict.watermark_by("timestamp", Duration::from_hours(1));
    assert_eq!(strict.process([closing, first]).rejected(), [("late", vec![1])]);
}

#[test]
fn nulls_are_refused() {
    let mut activity = new();
    let whole = || event("2025-12-02T10:00:00Z", "click", "mobile", "u1");
    let outcome = activity.process([whole().null("device"), whole().null("timestamp"), whole()]);
    assert_eq!(outcome.rejected(), [("device is null", vec![0]), ("timestamp is null", vec![1])]);
    assert_eq!(lines(&activity.flush_now()).len(), 1);
}

#[test]
fn a_day_of_many_users_stays_within_its_bound_and_close_to_the_truth() {
    let mut activity = new();
    let (mut users, mut sums) = (BTreeMap::<i64, BTreeSet<i64>>::new(), BTreeMap::<String, i64>::new());
    let mut largest = 0;
    for second in 0..24 * 3600_i64 {
        let rows = (0..4).map(|i| {
            let (at, user) = (Timestamp(second * Timestamp::SECOND), (second * 4 + i) * 7919 % 9973);
            users.entry(second / 60).or_default().insert(user);
            let row = row().set("timestamp", at).set("event_type", "click").set("device", "mobile");
            row.set("user_id", format!("user {user}")).set("session_id", format!("session {}", user % 5))
        });
        activity.process(rows.collect::<Vec<_>>());
        if second % 300 == 299 {
            for outcome in activity.flush_now() {
                let (minutes, changes) =
                    (outcome.rows(TABLE).column("window_start"), outcome.rows(TABLE).column("users"));
                for (minute, change) in minutes.iter().zip(changes) {
                    let tidemill_sdk::testing::Value::Int(change) = change else { panic!("an Int") };
                    *sums.entry(minute.to_string()).or_insert(0) += change;
                }
            }
            largest = largest.max(activity.snapshot().map_or(0, |state| state.len()));
        }
    }
    let exact: Vec<i64> = users.values().map(|users| i64::try_from(users.len()).expect("small")).collect();
    assert_eq!(sums.into_values().collect::<Vec<i64>>(), exact);
    assert!((60_000..400_000).contains(&largest), "an hour, not a day: {largest}");
}

/// State of version 1: two lists of minute, events, type and device.
fn before(lists: [&[(i64, i64, &str, &str)]; 2]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).expect("small").to_le_bytes();
    let mut bytes = Vec::new();
    for list in lists {
        bytes.extend(length(list.len()));
        for (minute, events, event_type, device) in list {
            bytes.extend((minute * Timestamp::MINUTE).to_le_bytes());
            bytes.extend(events.to_le_bytes());
            bytes.extend(length(event_type.len()));
            bytes.extend(length(device.len()));
            bytes.extend(event_type.bytes().chain(device.bytes()));
        }
    }
    bytes
}

#[test]
fn state_of_version_1_is_taken_over() {
    let bytes = before([&[(0, 3, "ä", "tv")], &[(1, 4, "click", ""), (1, 5, "click", "tv")]]);
    let mut activity = new();
    assert_eq!(activity.try_restore(1, &bytes), Ok(()));
    activity.restart();
    let minute = |rest: &str| format!("1970-01-01T00:0{rest}");
    assert_eq!(
        lines(&activity.flush_now()),
        ["0:00Z, ä, tv, 3, 0, 0", "1:00Z, click, , 4, 0, 0", "1:00Z, click, tv, 5, 0, 0"].map(minute)
    );
    assert_eq!(new().try_restore(1, &before([&[], &[]])), Ok(()));
    for end in 0..bytes.len() {
        let damaged = Err("the state of version 1 is damaged".into());
        assert_eq!(new().try_restore(1, &bytes[..end]), damaged, "{end}");
    }
    assert_eq!(new().try_restore(3, &[0; 8]), Err("state of version 3 is not known here".into()));
}

#[test]
fn it_says_what_it_needs() {
    let descriptor = new().descriptor();
    assert_eq!(descriptor.properties, [("lateness-us".into(), "600000000".into())]);
    let columns: Vec<&str> = descriptor.outputs[0].columns.iter().map(|column| &column.name[..]).collect();
    assert_eq!(columns, ["window_start", "event_type", "device", "events", "users", "sessions"]);
    assert_eq!(descriptor.state_version, Some(2));
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
            let row =
                row().set("timestamp", at).set("event_type", types[i % 4]).set("device", devices[i / 4 % 4]);
            let (user, session) = (i * 7919 % 50_000, i * 7919 % 60_000);
            row.set("user_id", format!("user-{user:05}")).set("session_id", format!("session-{session:08}"))
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
