use tidemill_sdk::testing::{InputRow, Outcome, Tested, open, row, try_open};
use tidemill_sdk::timestamp;

use super::*;

const TABLE: &str = "user_sessions";

/// An event at a time of 2025-12-02.
fn event(at: &str, user: &str, session: &str, page: &str) -> InputRow {
    let time = timestamp(&format!("2025-12-02T{at}Z")).expect("a time");
    let row = row().set("timestamp", time).set("user_id", user).set("session_id", session).set("page", page);
    row.set("device", "mobile").set("location", "Berlin")
}

fn lines<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Vec<String> {
    let lines = outcomes.into_iter().flat_map(|outcome| outcome.rows(TABLE).lines());
    lines.map(|line| line.replace("2025-12-02T", "")).collect()
}

fn new(config: &[(&str, &str)]) -> Tested<Windowed<UserVisits>> {
    open(config).watermark_by("timestamp", Duration::from_hours(1))
}

fn end(sessions: &mut Tested<Windowed<UserVisits>>) -> Vec<String> {
    lines(&sessions.flush(timestamp("2025-12-03T00:00:00Z")))
}

#[test]
fn a_session_is_handed_out_once_when_it_has_ended() {
    let mut sessions = new(&[]);
    assert!(
        sessions
            .process([
                event("10:00:00", "u1", "s1", "/a"),
                event("10:29:59", "u1", "s1", "/b"),
                event("10:20:00", "u1", "s1", "/a"),
                event("11:00:00", "u1", "s1", "/c"),
                event("10:10:00", "u2", "s2", "/a"),
            ])
            .is_empty()
    );
    assert!(lines(&sessions.flush_now()).is_empty());
    sessions.restart();
    // 10:29:59 and half an hour, and an hour later.
    let outcome = sessions.process([event("11:59:58", "u3", "s3", "/a")]);
    assert_eq!(lines([&outcome]), ["u2, s2, 10:10:00Z, 10:10:00Z, 1, 1, mobile, Berlin"]);
    let outcome = sessions.process([event("11:59:59", "u3", "s3", "/a")]);
    assert_eq!(lines([&outcome]), ["u1, s1, 10:00:00Z, 10:29:59Z, 3, 2, mobile, Berlin"]);
    assert_eq!(
        end(&mut sessions),
        [
            "u1, s1, 11:00:00Z, 11:00:00Z, 1, 1, mobile, Berlin",
            "u3, s3, 11:59:58Z, 11:59:59Z, 2, 1, mobile, Berlin",
        ]
    );
    assert!(end(&mut sessions).is_empty());
}

#[test]
fn the_first_event_says_device_and_location() {
    let mut sessions = new(&[]);
    sessions.process([
        event("10:05:00", "u1", "s1", "/a"),
        event("10:01:00", "u1", "s1", "/a").set("device", "desktop").null("location"),
        event("10:01:00", "u1", "s1", "/a").set("device", "tablet"),
        event("10:02:00", "u1", "s1", "/a").set("device", "other"),
    ]);
    assert_eq!(end(&mut sessions), ["u1, s1, 10:01:00Z, 10:05:00Z, 4, 1, desktop, null"]);
}

#[test]
fn an_event_may_join_two_sessions() {
    let mut sessions = new(&[]);
    sessions.process([
        event("10:00:00", "u1", "s1", "/a"),
        event("10:50:00", "u1", "s1", "/b").set("device", "tv"),
    ]);
    sessions.restart();
    sessions.process([event("10:25:00", "u1", "s1", "/a")]);
    assert_eq!(end(&mut sessions), ["u1, s1, 10:00:00Z, 10:50:00Z, 3, 2, mobile, Berlin"]);
}

#[test]
fn users_sessions_and_nulls_are_told_apart() {
    let mut sessions = new(&[]);
    let outcome = sessions.process([
        event("10:00:00", "u1", "s1", "/a"),
        event("10:00:00", "u1", "s2", "/a").null("page"),
        event("10:00:00", "u2", "s1", "/a"),
        event("10:00:00", "u1", "", "/a").null("session_id"),
        event("10:00:01", "u1", "", "/a").null("session_id"),
        event("10:00:00", "u1", "", "/a"),
        event("10:00:00", "u1", "s1", "/a").null("user_id"),
        event("10:00:00", "u1", "s1", "/a").null("device"),
    ]);
    assert_eq!(outcome.rejected(), [("user_id is null", vec![6]), ("device is null", vec![7])]);
    assert_eq!(
        end(&mut sessions),
        [
            "u1, , 10:00:00Z, 10:00:00Z, 1, 1, mobile, Berlin",
            "u1, s1, 10:00:00Z, 10:00:00Z, 1, 1, mobile, Berlin",
            "u1, s2, 10:00:00Z, 10:00:00Z, 1, 0, mobile, Berlin",
            "u2, s1, 10:00:00Z, 10:00:00Z, 1, 1, mobile, Berlin",
            "u1, null, 10:00:00Z, 10:00:01Z, 2, 1, mobile, Berlin",
        ]
    );
}

#[test]
fn late_events_are_refused_or_correct() {
    let rows = || {
        [
            event("10:00:00", "u1", "s1", "/a"),
            event("12:00:00", "u2", "s2", "/a"),
            event("10:10:00", "u1", "s1", "/b"),
        ]
    };
    let outcome = new(&[]).process(rows());
    assert_eq!(outcome.rejected(), [("late", vec![2])]);
    assert_eq!(lines([&outcome]), ["u1, s1, 10:00:00Z, 10:00:00Z, 1, 1, mobile, Berlin"]);

    let outcome = new(&[("late", "correct")]).process(rows());
    assert!(outcome.rejected().is_empty());
    assert_eq!(
        lines([&outcome]),
        [
            "u1, s1, 10:00:00Z, 10:00:00Z, 1, 1, mobile, Berlin",
            "u1, s1, 10:10:00Z, 10:10:00Z, 1, 1, mobile, Berlin",
        ]
    );
}

#[test]
fn the_gap_is_a_setting() {
    let mut sessions = new(&[("gap_minutes", "5")]);
    sessions.process([event("10:00:00", "u1", "s1", "/a"), event("10:05:00", "u1", "s1", "/a")]);
    assert_eq!(end(&mut sessions).len(), 2);
    // What is open goes on with another gap.
    let state = |gap: &str| {
        let mut sessions = new(&[("gap_minutes", gap)]);
        sessions.process([event("10:00:00", "u1", "s1", "/a")]);
        sessions.snapshot().expect("a session")
    };
    let mut sessions = new(&[("gap_minutes", "60")]);
    sessions.restore(&state("5"));
    sessions.process([event("10:50:00", "u1", "s1", "/a")]);
    assert_eq!(end(&mut sessions), ["u1, s1, 10:00:00Z, 10:50:00Z, 2, 1, mobile, Berlin"]);
    for gap in ["0", "10081"] {
        let error = try_open::<Windowed<UserVisits>>(&[("gap_minutes", gap)]).err();
        assert_eq!(error, Some("config: `gap_minutes` is 1 to 10080".into()));
    }
}

#[test]
fn it_says_what_it_needs() {
    let descriptor = new(&[]).descriptor();
    assert_eq!(descriptor.properties, [("lateness-us".into(), "600000000".into())]);
    let columns: Vec<&str> = descriptor.outputs[0].columns.iter().map(|column| &column.name[..]).collect();
    let want =
        ["user_id", "session_id", "session_start", "session_end", "events", "pages", "device", "location"];
    assert_eq!(columns, want);
    assert_eq!(descriptor.outputs[0].event_time.as_deref(), Some("session_start"));
}

/// `cargo test --profile wasm -p sessions -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let rows: Vec<InputRow> = (0..8192_usize)
        .map(|i| {
            let at = Timestamp(i64::try_from(i).expect("small") * Timestamp::SECOND);
            let (user, page) = (format!("user-{:05}", i * 7919 % 1000), format!("/products/{}", i % 40));
            let row = row().set("timestamp", at).set("user_id", user).set("page", page);
            row.set("session_id", format!("session-{:08}", i * 7919 % 1000))
                .set("device", "mobile")
                .set("location", "Berlin")
        })
        .collect();
    let mut sessions = new(&[]);
    let columns = sessions.columns(rows);
    let best = (0..200).map(|_| {
        let start = std::time::Instant::now();
        sessions.process_columns(8192, &columns).expect("an outcome");
        start.elapsed()
    });
    println!("sessions: {:.1} ns an event", best.min().unwrap_or_default().as_secs_f64() * 1e9 / 8192.0);
    assert!(sessions.snapshot().is_some());
}
