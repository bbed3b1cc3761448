use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill_sdk::testing::{InputRow, Outcome, Tested, Value, open, row};
use tidemill_sdk::timestamp;

use super::*;

const PAGES: &str = "user_pages_per_minute";
const LOCATIONS: &str = "user_locations_per_minute";
const ACTIVE: &str = "active_users";

type Transform = Windowed<Overview>;

/// An event of 2025-12-02.
fn event(at: &str, user: &str, page: &str, location: &str) -> InputRow {
    at_time(timestamp(&format!("2025-12-02T{at}Z")).expect("a time"), user, page, location)
}

fn at_time(at: Timestamp, user: &str, page: &str, location: &str) -> InputRow {
    let row = row().set("timestamp", at).set("user_id", user).set("session_id", format!("session of {user}"));
    row.set("page", page).set("location", location)
}

fn lines<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>, table: &str) -> Vec<String> {
    let lines = outcomes.into_iter().flat_map(|outcome| outcome.rows(table).lines());
    lines.map(|line| line.replace("2025-12-02T", "")).collect()
}

/// What a reader of a table has: its last columns summed by the others.
type Sums = BTreeMap<Vec<String>, Vec<i64>>;

fn add(sums: &mut Sums, outcome: &Outcome, table: &str) {
    let columns: &[&str] = match table {
        PAGES => &["window_start", "page", "events"],
        LOCATIONS => &["window_start", "location", "events"],
        _ => &["window_start", "period", "events", "users", "sessions"],
    };
    let columns: Vec<Vec<Value>> = columns.iter().map(|name| outcome.rows(table).column(name)).collect();
    for row in 0..outcome.rows(table).len() {
        let (keys, numbers) = columns.split_at(2);
        let key = keys.iter().map(|column| column[row].to_string()).collect();
        let sums = sums.entry(key).or_insert_with(|| vec![0; numbers.len()]);
        for (sum, column) in sums.iter_mut().zip(numbers) {
            let Value::Int(number) = column[row] else { panic!("an Int") };
            *sum += number;
        }
    }
}

fn new() -> Tested<Transform> {
    open(&[]).watermark_by("timestamp", Duration::from_mins(10))
}

#[test]
fn pages_locations_and_active_users_are_counted() {
    let mut overview = new();
    let outcome = overview.process([
        event("10:00:01", "u1", "/home", "DE"),
        event("10:00:59.999999", "u1", "/cart", "DE"),
        event("10:00:00", "u2", "/home", "FR").null("session_id"),
        event("10:01:00", "u1", "/home", "").null("page").null("location"),
        event("11:00:00", "u3", "/home", "DE"),
    ]);
    assert_eq!(lines([&outcome], ACTIVE), ["10:00:00Z, minute, 3, 2, 1", "10:01:00Z, minute, 1, 1, 1"]);
    let flushed = overview.flush_now();
    let pages = lines([&outcome].into_iter().chain(&flushed), PAGES);
    assert_eq!(
        pages,
        ["10:00:00Z, /home, 2", "10:00:00Z, /cart, 1", "10:01:00Z, unknown, 1", "11:00:00Z, /home, 1",]
    );
    let locations = lines([&outcome].into_iter().chain(&flushed), LOCATIONS);
    assert_eq!(
        locations,
        ["10:00:00Z, DE, 2", "10:00:00Z, FR, 1", "10:01:00Z, unknown, 1", "11:00:00Z, DE, 1"]
    );
    assert_eq!(
        lines(&flushed, ACTIVE),
        [
            "00:00:00Z, day, 5, 3, 2",
            "10:00:00Z, hour, 4, 2, 1",
            "11:00:00Z, minute, 1, 1, 1",
            "11:00:00Z, hour, 1, 1, 1",
        ]
    );
    for table in [PAGES, LOCATIONS, ACTIVE] {
        assert!(flushed[0].rows(table).is_additive());
        assert_eq!(flushed[0].rows(table).origins(), None);
    }
}

#[test]
fn a_flush_hands_out_the_changes_since_the_last_also_after_a_restart() {
    let mut overview = new();
    let visit = |user, page| event("10:00:00", user, page, "DE");
    let steps = [
        (vec![visit("u1", "/a"), visit("u2", "/a")], "2, 2, 2", vec!["/a, 2"]),
        (vec![visit("u1", "/b")], "1, 0, 0", vec!["/b, 1"]),
        (vec![visit("u3", "/b"), visit("u2", "/a")], "2, 1, 1", vec!["/a, 1", "/b, 1"]),
    ];
    for (events, change, pages) in steps {
        overview.process(events);
        overview.restart();
        let flushed = overview.flush_now();
        let active =
            ["00:00:00Z, day", "10:00:00Z, minute", "10:00:00Z, hour"].map(|at| format!("{at}, {change}"));
        assert_eq!(lines(&flushed, ACTIVE), active);
        assert_eq!(
            lines(&flushed, PAGES),
            pages.iter().map(|page| format!("10:00:00Z, {page}")).collect::<Vec<_>>()
        );
        assert!(overview.flush_now().iter().all(Outcome::is_empty));
    }
}

#[test]
fn a_late_event_corrects_what_is_closed_and_counts_in_what_is_open() {
    let mut overview = new();
    let first = event("10:58:00", "u1", "/a", "DE");
    overview.process([first.clone(), event("11:09:00", "u1", "/a", "DE")]);
    overview.flush_now();
    // The minute from 10:58 is closed at 10:59 and ten minutes, its hour and its day are open.
    let outcome = overview.process([first.clone(), first.clone()]);
    assert!(outcome.rejected().is_empty());
    assert_eq!(lines([&outcome], ACTIVE), ["10:58:00Z, minute, 1, 1, 1"; 2]);
    assert_eq!(lines([&outcome], PAGES), ["10:58:00Z, /a, 1"; 2]);
    assert_eq!(lines(&overview.flush_now(), ACTIVE), ["00:00:00Z, day, 2, 0, 0", "10:00:00Z, hour, 2, 0, 0"]);
    // With the next day everything of it is closed.
    let next = event("10:00:00", "u9", "/a", "DE").set("timestamp", timestamp("2025-12-03T00:10:00Z"));
    let outcome = overview.process([next.clone(), first.clone()]);
    assert_eq!(
        lines([&outcome], ACTIVE).iter().filter(|line| line.ends_with(", 1, 1, 1")).count(),
        3,
        "a row for the minute, the hour and the day"
    );

    let strict = open::<Transform>(&[("late", "reject")]);
    let mut strict = strict.watermark_by("timestamp", Duration::from_mins(10));
    let outcome = strict.process([event("11:09:00", "u1", "/a", "DE"), first.clone(), next, first]);
    assert_eq!(outcome.rejected(), [("late", vec![3])]);
    assert_eq!(lines([&outcome], ACTIVE).iter().filter(|line| line.starts_with("10:58")).count(), 0);
}

#[test]
fn nulls_of_what_is_needed_are_refused() {
    let whole = || event("10:00:00", "u1", "/a", "DE");
    let outcome = new().process([whole().null("user_id"), whole().null("timestamp"), whole()]);
    assert_eq!(outcome.rejected(), [("user_id is null", vec![0]), ("timestamp is null", vec![1])]);
}

#[test]
fn long_names_are_cut_at_a_character() {
    let mut overview = new();
    let long = format!("{}äöü", "x".repeat(199));
    let exact = "y".repeat(200);
    overview.process([
        event("10:00:00", "u1", &long, &exact),
        event("10:00:00", "u1", &long[..199], &format!("{exact}z")),
    ]);
    let flushed = overview.flush_now();
    assert_eq!(lines(&flushed, PAGES), [format!("10:00:00Z, {}, 2", &long[..199])]);
    assert_eq!(lines(&flushed, LOCATIONS), [format!("10:00:00Z, {exact}, 2")]);
}

#[test]
fn the_first_names_of_a_minute_have_rows_and_the_others_one_together() {
    let mut overview = new();
    let many = |at: &str| {
        let one = |i: usize| event(at, "u1", &format!("/products/{i}"), &format!("city {}", i % 7));
        (0..NAMES + 20).map(one).collect::<Vec<_>>()
    };
    let mut sums = Sums::new();
    for _ in 0..3 {
        overview.process(many("10:00:00"));
        overview.flush_now().iter().for_each(|outcome| add(&mut sums, outcome, PAGES));
        overview.restart();
    }
    assert_eq!(sums.len(), NAMES + 1);
    let key = |page: &str| vec!["2025-12-02T10:00:00Z".to_owned(), page.to_owned()];
    assert_eq!((&sums[&key("/products/0")], &sums[&key("/products/499")]), (&vec![3], &vec![3]));
    assert_eq!(sums[&key(OTHER)], [60]);
    // Each minute has its own.
    overview.process(many("10:01:00"));
    let flushed = overview.flush_now();
    assert_eq!((lines(&flushed, PAGES).len(), lines(&flushed, LOCATIONS).len()), (NAMES + 1, 7));
}

/// A day of events: one a second, of 9,973 users, 400 pages and 60 places. A flush and a restart each five minutes.
#[test]
fn a_day_is_exact_where_it_can_be_and_its_state_stays_small() {
    let mut overview = new();
    let mut sums = Sums::new();
    let mut users = BTreeMap::<(i64, &str), BTreeSet<i64>>::new();
    let mut largest = 0;
    for begin in (0..24 * 3600_i64).step_by(300) {
        let rows = (begin..begin + 300).map(|second| {
            let (at, user) = (Timestamp(second * Timestamp::SECOND), second * 7919 % 9973);
            let periods = [("minute", Timestamp::MINUTE), ("hour", Timestamp::HOUR), ("day", Timestamp::DAY)];
            for (period, length) in periods {
                users.entry((at.floor(length).0, period)).or_default().insert(user);
            }
            let (page, place) = (format!("/page/{}", user % 400), format!("place {}", user % 60));
            at_time(at, &format!("user {user}"), &page, &place)
        });
        let outcome = overview.process(rows.collect::<Vec<_>>());
        add(&mut sums, &outcome, ACTIVE);
        overview.flush_now().iter().for_each(|outcome| add(&mut sums, outcome, ACTIVE));
        largest = largest.max(overview.snapshot().map_or(0, |state| state.len()));
        overview.restart();
    }
    assert_eq!(sums.len(), 24 * 60 + 24 + 1);
    for ((start, period), users) in users {
        let sum = sums[&vec![Timestamp(start).to_string(), period.to_owned()]][1];
        let exact = i64::try_from(users.len()).expect("small");
        let error = (sum - exact).abs() * 1000 / exact;
        assert!(
            if exact <= 4096 { sum == exact } else { error <= 40 },
            "{start} {period}: {sum}, not {exact}"
        );
    }
    let events = |period: &str| -> i64 {
        sums.iter().filter(|(key, _)| key[1] == period).map(|(_, numbers)| numbers[0]).sum()
    };
    assert_eq!([events("minute"), events("hour"), events("day")], [24 * 3600; 3]);
    assert!((30_000..200_000).contains(&largest), "{largest}");
}

/// As much as it can be: nobody comes twice, and each event is on a long page of its own and at a long place of its own.
#[test]
fn what_is_too_much_is_estimated_and_bounded() {
    let mut overview = new();
    let (mut largest, mut sums) = (0, Sums::new());
    for minute in 0..14_i64 {
        // Just below and just above what is exact.
        let rows = (0..if minute < 12 { 4_000 } else { 8_000 }).map(|i| {
            let (at, n) = (Timestamp(minute * Timestamp::MINUTE), minute * 10_000 + i);
            let (page, place) = (format!("/{n}/{}", "long".repeat(60)), format!("{n}{}", "x".repeat(200)));
            at_time(at, &format!("user {n}"), &page, &place)
        });
        let outcome = overview.process(rows.collect::<Vec<_>>());
        add(&mut sums, &outcome, ACTIVE);
        overview.flush_now().iter().for_each(|outcome| add(&mut sums, outcome, ACTIVE));
        largest = largest.max(overview.snapshot().map_or(0, |state| state.len()));
    }
    assert!((2 << 20..4 << 20).contains(&largest), "well below the 8 MiB that a host allows: {largest}");
    let sum = |at: &str, period: &str| &sums[&vec![format!("1970-01-01T00:{at}:00Z"), period.to_owned()]];
    assert_eq!(sum("11", "minute"), &[4_000; 3]);
    for (at, period, exact) in [("13", "minute", 8_000), ("00", "hour", 64_000), ("00", "day", 64_000)] {
        let [events, users, sessions] = sum(at, period)[..] else { panic!("three numbers") };
        assert_eq!(events, exact);
        assert!(
            (users - exact).abs().max((sessions - exact).abs()) * 20 < exact,
            "{period}: {users}, {sessions}"
        );
    }
}

#[test]
fn where_there_is_no_room_the_oldest_windows_close_early_and_events_still_add_up() {
    let overview = open::<Transform>(&[("memory_mib", "1")]);
    let mut overview = overview.watermark_by("timestamp", Duration::from_hours(3));
    let (mut sums, mut largest) = (Sums::new(), 0);
    for minute in 0..120_i64 {
        let rows = (0..600).map(|i| {
            let (at, n) = (Timestamp(minute * Timestamp::MINUTE), minute * 600 + i);
            at_time(at, &format!("user {n}"), &format!("/{}/{n}", "long".repeat(30)), "DE")
        });
        let outcome = overview.process(rows.collect::<Vec<_>>());
        add(&mut sums, &outcome, ACTIVE);
        overview.flush_now().iter().for_each(|outcome| add(&mut sums, outcome, ACTIVE));
        largest = largest.max(overview.snapshot().map_or(0, |state| state.len()));
    }
    assert!(largest < 1 << 20, "{largest}");
    let minutes: Vec<i64> =
        sums.iter().filter(|(key, _)| key[1] == "minute").map(|(_, sums)| sums[0]).collect();
    assert_eq!(minutes, [600; 120]);
}

/// An event of a property test: seconds, and small numbers for the rest.
type Small = (i64, u8, Option<u8>, Option<u8>);

/// What a plain program makes of events in their order.
fn model(events: &[Small], lateness: i64) -> [Sums; 3] {
    let [mut pages, mut locations, mut active] = [Sums::new(), Sums::new(), Sums::new()];
    let mut seen = BTreeMap::<(i64, &str), BTreeSet<u8>>::new();
    let mut newest = i64::MIN;
    for (second, user, page, location) in events {
        newest = newest.max(*second);
        for (period, length) in [("minute", 60), ("hour", 3600), ("day", 86_400)] {
            let start = second.div_euclid(length) * length;
            let late = start + length <= newest - lateness;
            let new = i64::from(late || seen.entry((start, period)).or_default().insert(*user));
            let start = Timestamp(start * Timestamp::SECOND).to_string();
            let sums = active.entry(vec![start.clone(), period.into()]).or_insert_with(|| vec![0; 3]);
            (sums[0], sums[1], sums[2]) = (sums[0] + 1, sums[1] + new, sums[2] + new);
            if period == "minute" {
                for (table, name) in [(&mut pages, page), (&mut locations, location)] {
                    let name = name.map_or("unknown".into(), |name| format!("n{name}"));
                    table.entry(vec![start.clone(), name]).or_insert_with(|| vec![0])[0] += 1;
                }
            }
        }
    }
    [pages, locations, active]
}

/// What happens after an event: the batch goes on, ends, or ends with a commit, or another instance goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Go,
    Cut,
    Commit,
    Restart,
}

fn run(events: &[(Small, Then)]) -> [Sums; 3] {
    let mut overview = new();
    let mut sums = [Sums::new(), Sums::new(), Sums::new()];
    let mut take = |outcome: &Outcome| {
        assert!(outcome.rejected().is_empty());
        for (sums, table) in sums.iter_mut().zip([PAGES, LOCATIONS, ACTIVE]) {
            add(sums, outcome, table);
        }
    };
    for batch in events.split_inclusive(|(_, then)| *then != Then::Go) {
        let rows = batch.iter().map(|((second, user, page, location), _)| {
            let name = |name: &Option<u8>| name.map(|name| format!("n{name}"));
            let row = at_time(Timestamp(second * Timestamp::SECOND), &format!("u{user}"), "", "");
            row.set("page", name(page)).set("location", name(location))
        });
        take(&overview.process(rows));
        match batch[batch.len() - 1].1 {
            Then::Commit => {
                overview.flush_now().iter().for_each(&mut take);
                overview.snapshot();
            }
            Then::Restart => overview.restart(),
            Then::Go | Then::Cut => {}
        }
    }
    overview.flush_now().iter().for_each(&mut take);
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_what_a_plain_program_makes_of_it(
        // Two hours around a midnight, late ones among them.
        events in prop::collection::vec(
            ((82_800..90_000_i64, 0..6_u8, prop::option::of(0..4_u8), prop::option::of(0..3_u8)), prop_oneof![
                6 => Just(Then::Go), 2 => Just(Then::Cut), 1 => Just(Then::Commit), 1 => Just(Then::Restart),
            ]), 1..60),
        in_order: bool,
    ) {
        let mut events = events;
        if in_order {
            events.sort_by_key(|((second, ..), _)| *second);
        }
        let plain: Vec<Small> = events.iter().map(|(event, _)| *event).collect();
        prop_assert_eq!(run(&events), model(&plain, 600));
    }
}

#[test]
fn it_says_what_it_needs() {
    let descriptor = new().descriptor();
    assert_eq!(descriptor.properties, [("lateness-us".into(), "600000000".into())]);
    let columns = |output: usize| -> Vec<&str> {
        descriptor.outputs[output].columns.iter().map(|column| &column.name[..]).collect()
    };
    assert_eq!(columns(0), ["window_start", "page", "events"]);
    assert_eq!(columns(1), ["window_start", "location", "events"]);
    assert_eq!(columns(2), ["window_start", "period", "events", "users", "sessions"]);
    let names: Vec<&str> = descriptor.outputs.iter().map(|output| &output.name[..]).collect();
    assert_eq!(names, [PAGES, LOCATIONS, ACTIVE]);
    assert!(descriptor.outputs.iter().all(|output| output.event_time.as_deref() == Some("window_start")));
}

/// `cargo test --profile wasm -p overview -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let rows: Vec<InputRow> = (0..8192_usize)
        .map(|i| {
            let at = Timestamp(i64::try_from(i * 7919 % 120).expect("small") * Timestamp::SECOND);
            let (user, page) = (format!("user-{:05}", i * 7919 % 50_000), format!("/products/{}", i % 40));
            let row = at_time(at, &user, &page, ["DE", "FR", "US", "JP"][i % 4]);
            row.set("session_id", format!("session-{:08}", i * 7919 % 60_000))
        })
        .collect();
    let mut overview = new();
    let columns = overview.columns(rows);
    let best = (0..200).map(|_| {
        let start = std::time::Instant::now();
        overview.process_columns(8192, &columns).expect("an outcome");
        start.elapsed()
    });
    println!("overview: {:.1} ns an event", best.min().unwrap_or_default().as_secs_f64() * 1e9 / 8192.0);
    assert_eq!(lines(&overview.flush(None), ACTIVE).len(), 4);
}
