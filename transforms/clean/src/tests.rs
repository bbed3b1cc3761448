use tidemill_sdk::testing::{InputRow, Outcome, open, row, try_open};
use tidemill_sdk::timestamp;

use super::*;

/// A row that is fine.
fn event() -> InputRow {
    row()
        .set("user_id", "u1")
        .set("event_type", "page_view")
        .set("timestamp", "2025-12-02T10:30:00Z")
        .set("page", "/home")
        .set("session_id", "s1")
        .set("device", "mobile")
        .set("location", "Berlin")
        .set("kafka_timestamp", timestamp("2025-12-02T10:30:01Z"))
}

fn process(rows: impl IntoIterator<Item = InputRow>) -> Outcome {
    open::<Clean>(&[]).process(rows)
}

/// The only reason for which one row is refused, if it is.
fn reason(row: InputRow) -> Option<String> {
    let outcome = process([row]);
    let reason = outcome.rejected().first().map(|(reason, _)| (*reason).to_owned());
    assert_eq!(outcome.rows("user_events").is_empty(), reason.is_some());
    reason
}

fn lines(row: InputRow) -> Vec<String> {
    process([row]).rows("user_events").lines()
}

#[test]
fn a_row_that_is_fine() {
    assert_eq!(lines(event()), ["page_view, 2025-12-02T10:30:00Z, mobile"]);
    let minimal = ["page", "session_id", "device", "location", "kafka_timestamp"];
    let minimal = minimal.iter().fold(event(), |row, column| row.null(column));
    assert_eq!(lines(minimal), ["page_view, 2025-12-02T10:30:00Z, other"]);
}

#[test]
fn event_types_and_devices_are_trimmed_and_lower_cased() {
    let both =
        |event_type: &str, device: &str| lines(event().set("event_type", event_type).set("device", device));
    assert_eq!(both(" Page_View\t", "\u{a0}DESKTOP "), ["page_view, 2025-12-02T10:30:00Z, desktop"]);
    assert_eq!(both("ÄÖÜ", "Tablet"), ["äöü, 2025-12-02T10:30:00Z, tablet"]);
    assert_eq!(both("ΟΔΟΣ", "tv"), ["οδος, 2025-12-02T10:30:00Z, other"]);
    assert_eq!(both("click", "  "), ["click, 2025-12-02T10:30:00Z, other"]);
    assert_eq!(both("click", "mobile phone"), ["click, 2025-12-02T10:30:00Z, other"]);
    // The Kelvin sign is a `k` in lower case.
    assert_eq!(both("click", "des\u{212a}top"), ["click, 2025-12-02T10:30:00Z, desktop"]);
}

#[test]
fn a_buffer_keeps_nothing_of_the_row_before() {
    let row = |event_type: &str, device: &str| event().set("event_type", event_type).set("device", device);
    let outcome =
        process([row("LONG_EVENT", "DESKTOP"), row("short", "TV"), row("Ab", "Mobile"), row("x", "")]);
    assert_eq!(
        outcome.rows("user_events").lines(),
        [
            "long_event, 2025-12-02T10:30:00Z, desktop",
            "short, 2025-12-02T10:30:00Z, other",
            "ab, 2025-12-02T10:30:00Z, mobile",
            "x, 2025-12-02T10:30:00Z, other",
        ]
    );
}

#[test]
fn timestamps_become_utc() {
    let at = |text: &str| process([event().set("timestamp", text)]).rows("user_events").column("timestamp");
    let want = |text: &str| [timestamp(text).expect("a timestamp")];
    assert_eq!(at("2025-12-02 10:30:00"), want("2025-12-02T10:30:00Z"));
    assert_eq!(at("2025-12-02T10:30:00.1234567+01:00"), want("2025-12-02T09:30:00.123456Z"));
    assert_eq!(at("2025-12-02T00:30:00-0800"), want("2025-12-02T08:30:00Z"));
    assert_eq!(at("2000-01-01T00:00:00Z"), [EARLIEST]);
    assert_eq!(at("2025-12-03T10:30:01Z"), want("2025-12-03T10:30:01Z"));
}

#[test]
fn every_reason() {
    let set = |column: &str, value: &str| reason(event().set(column, value));
    for (field, blank) in
        [("user_id", ""), ("user_id", " \t\u{2003}"), ("event_type", ""), ("event_type", "\n ")]
    {
        assert_eq!(set(field, blank), Some(format!("{field} is blank")));
    }
    for field in ["user_id", "event_type", "timestamp"] {
        assert_eq!(reason(event().null(field)), Some(format!("{field} is null")));
    }
    for text in
        ["", "soon", "2025-12-02", "2025-02-30T10:30:00Z", "2025-12-02T10:30:00Z.", " 2025-12-02T10:30:00Z"]
    {
        assert_eq!(set("timestamp", text).as_deref(), Some("timestamp is not ISO 8601"), "{text}");
    }
    for text in ["1999-12-31T23:59:59.999999Z", "2000-01-01T00:59:59+01:00", "0000-01-01T00:00:00Z"] {
        assert_eq!(set("timestamp", text).as_deref(), Some("timestamp is before 2000-01-01"), "{text}");
    }
    for text in ["2025-12-03T10:30:01.000001Z", "9999-12-31T23:59:59Z"] {
        let ahead = "timestamp is more than a day ahead of Kafka's";
        assert_eq!(set("timestamp", text).as_deref(), Some(ahead), "{text}");
        assert_eq!(reason(event().set("timestamp", text).null("kafka_timestamp")), None);
    }
    for field in ["user_id", "event_type", "timestamp", "page", "session_id", "device", "location"] {
        assert_eq!(set(field, &"x".repeat(4097)), Some(format!("{field} is too long")));
        // Bytes, not letters.
        assert_eq!(set(field, &"ä".repeat(2049)), Some(format!("{field} is too long")));
        if field != "timestamp" {
            assert_eq!(set(field, &"ä".repeat(2048)), None, "{field}");
        }
    }
}

#[test]
fn rejected_rows_leave_no_trace_among_the_others() {
    let outcome = process([
        event(),
        event().null("user_id"),
        event().set("timestamp", "x"),
        event().set("event_type", "b"),
    ]);
    let rows = outcome.rows("user_events");
    assert_eq!(rows.origins(), Some(vec![0, 3]));
    assert_eq!(rows.column("event_type"), ["page_view", "b"]);
    assert_eq!(outcome.rejected(), [("user_id is null", vec![1]), ("timestamp is not ISO 8601", vec![2])]);
}

#[test]
fn devices_and_max_length_are_settings() {
    let mut clean = open::<Clean>(&[("devices.0", "TV "), ("devices.1", "watch"), ("max_length", "20")]);
    let outcome = clean.process([
        event().set("device", "tv"),
        event().set("device", "mobile"),
        event().set("location", "x".repeat(20)),
        event().set("location", "x".repeat(21)),
    ]);
    assert_eq!(outcome.rows("user_events").column("device"), ["tv", "other", "other"]);
    assert_eq!(outcome.rejected(), [("location is too long", vec![3])]);

    let error = |config| try_open::<Clean>(config).err();
    assert_eq!(
        error(&[("device", "tv")]),
        Some("config: unknown key `device`; did you mean `devices`?".into())
    );
    assert!(
        error(&[("max_length", "-1")])
            .is_some_and(|error| error.starts_with("config: `max_length` cannot be"))
    );
}

#[test]
fn the_host_copies_what_is_not_computed() {
    let descriptor = open::<Clean>(&[]).descriptor();
    let [output] = &descriptor.outputs[..] else { panic!("one output") };
    let columns: Vec<&str> = output.columns.iter().map(|column| &column.name[..]).collect();
    assert_eq!(columns, ["event_type", "timestamp", "device", "user_id", "page", "session_id", "location"]);
    assert_eq!(output.event_time.as_deref(), Some("timestamp"));
    assert_eq!(descriptor.reads.len(), 8);
    assert_eq!(descriptor.state_version, None);
}

/// `cargo test --profile wasm -p clean -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let (types, devices) =
        (["Page_View", "click", "add_to_cart", "purchase"], ["mobile", "Desktop", "tablet", "tv"]);
    let rows: Vec<InputRow> = (0..8192_usize)
        .map(|i| {
            event()
                .set("user_id", format!("user-{:05}", i * 7919 % 50_000))
                .set("event_type", types[i % 4])
                .set("timestamp", format!("2025-12-02T10:{:02}:{:02}.{:03}Z", i % 60, i * 7 % 60, i % 1000))
                .set("device", devices[i / 4 % 4])
        })
        .collect();
    let mut clean = open::<Clean>(&[]);
    let columns = clean.columns(rows);
    let best = (0..200).map(|_| {
        let start = std::time::Instant::now();
        let outcome = clean.process_columns(8192, &columns).expect("an outcome");
        let elapsed = start.elapsed();
        assert_eq!(outcome.rows("user_events").len(), 8192);
        elapsed
    });
    println!("clean: {:.1} ns an event", best.min().unwrap_or_default().as_secs_f64() * 1e9 / 8192.0);
}
