//! What is expected of each behaviour of the evil guest. One line each, and a test of that name.
//!
//! An expectation is about one partition without a pipeline around it: which call fails, and with which words.

use std::collections::BTreeSet;
use std::time::Instant;

use tidemill::Kind;
use tidemill::transform::Component;

use super::support::{
    Call, EVENTS, LONG, Life, SHORT, SOON, clean, engine, innocent_goes_on, live, readable, told,
};

/// What a behaviour comes to.
enum Expected {
    /// This call fails, and the message says this. Load and plan are wrong usage; anything later leads back to the
    /// last commit.
    Fails(Call, &'static str),
    /// The same, because it takes too long.
    Late(Call, &'static str),
    /// Nothing fails, and this holds.
    Goes(fn(&Life)),
}

use Call::{Flush, Load, Plan, Process, Restore, Snapshot};
use Expected::{Fails, Goes, Late};

/// Two batches, one row for each event.
const ALL: usize = 2 * EVENTS;

// The host's words, where many behaviours come to the same.
const SLOW: &str = "it took longer than 500ms (limits.call-ms)";
const TRAPPED: &str = "it trapped";
const TOO_MUCH: &str = "it makes the host hold more than one call may";

fn all(life: &Life) {
    assert_eq!(life.count("evil"), ALL);
    assert!(life.rejects.is_empty());
}

/// All rows, and a log that somebody can read.
fn quiet(life: &Life) {
    all(life);
    // Loaded, opened twice, two batches, flush, snapshot, restore: 100 lines each and one that says so.
    assert!(life.log.lines().count() <= 1000, "{} lines", life.log.lines().count());
    assert!(life.log.len() <= 1 << 20, "{} bytes", life.log.len());
    assert!(life.log.contains("dropped"), "{}", life.log.chars().take(1000).collect::<String>());
}

fn unspoiled(life: &Life) {
    all(life);
    assert!(!life.log.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{:?}", life.log);
    assert!(!life.log.lines().any(|line| line.starts_with("ERROR")), "{:?}", life.log);
}

fn rejected(life: &Life) {
    assert_eq!((life.count("evil"), life.rejects.len()), (0, ALL));
}

macro_rules! behaviours {
    ($($(#[$attribute:meta])* $name:ident: $expected:expr;)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                check(stringify!($name), &$expected);
            }
        )*

        /// The behaviours with an expectation.
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

behaviours! {
    honest: Goes(all);

    // What it takes: time, memory, the log, the world outside.
    loop_in_open: Late(Load, SLOW);
    loop_in_process: Late(Process, SLOW);
    slow_on_value: Goes(all);
    loop_in_flush: Late(Flush, SLOW);
    loop_in_snapshot: Late(Snapshot, SLOW);
    loop_in_restore: Late(Restore, SLOW);
    loop_in_alloc: Late(Process, SLOW);
    lie_in_alloc: Fails(Process, "realloc return");
    loop_in_free: Late(Process, SLOW);
    sleep_in_open: Goes(all);
    sleep_in_process: Goes(all);
    memory_bomb_in_open: Fails(Load, TRAPPED);
    memory_bomb: Fails(Process, TRAPPED);
    memory_hoard: Fails(Process, TRAPPED);
    stack_overflow: Fails(Process, "call stack exhausted");
    log_flood_in_open: Goes(quiet);
    log_flood: Goes(quiet);
    log_flood_of_megabytes: Goes(quiet);
    print_flood: Goes(quiet);
    print_flood_of_megabytes: Goes(quiet);
    print_for_ever: Late(Process, SLOW);
    print_escapes: Goes(unspoiled);
    print_backwards: Goes(unspoiled);
    open_files: Goes(all);
    open_sockets: Goes(all);
    read_environment: Goes(all);
    exit: Fails(Process, "exit");
    chance_in_open: Goes(all);

    // How it ends.
    trap_in_open: Fails(Load, TRAPPED);
    trap_every_nth_row: Fails(Process, TRAPPED);
    trap_on_value: Fails(Process, TRAPPED);
    trap_in_flush: Fails(Flush, TRAPPED);
    trap_in_snapshot: Fails(Snapshot, TRAPPED);
    trap_in_restore: Fails(Restore, TRAPPED);
    error_in_open: Fails(Load, "it does not open: it does not like its settings");
    error_on_value: Fails(Process, "it gave up: it does not like /poison");
    error_in_flush: Fails(Flush, "it gave up in flush: it has lost its rows");
    error_in_snapshot: Fails(Snapshot, "it gave up in snapshot: it has no state");
    error_in_restore: Fails(Restore, "it refuses its state: it cannot read this");
    error_huge: Fails(Process, TOO_MUCH);
    error_long: Fails(Process, "it gave up:  [2J");
    error_not_utf8: Fails(Process, "utf-8");

    // What it says of itself.
    describe_many_columns: Fails(Load, "output evil: 1 to 1000 columns are possible");
    describe_a_million_columns: Fails(Load, TOO_MUCH);
    describe_long_names: Fails(Load, "an output's name is \"nnnn");
    describe_aliases: Fails(Load, TOO_MUCH);
    name_traversal: Fails(Load, "the transform's name is \"../../evil\"");
    output_traversal: Fails(Load, "an output's name is \"../_tidemill/log\"");
    column_traversal: Fails(Load, "a column's name is \"page/../\\u{1b}[2J\\n\"");
    version_with_escapes: Fails(Load, "its version must be 1 to 64 printable characters");
    unknown_property: Fails(Load, "this host does not know the property \"trusted\"");
    event_time_that_is_none: Fails(Load, "its event time `page` must be a timestamp column");
    table_of_the_host: Fails(Plan, "its output rejected_events has the name of a table of the host");
    table_of_another: Fails(Plan, "both make the output user_events");
    name_of_another: Fails(Plan, "both call themselves clean");

    // What it answers: columns.
    offsets_descend: Fails(Process, "output evil: column page: its offsets descend at 1");
    offsets_beyond_data: Fails(Process, "the length of its data");
    offsets_not_from_zero: Fails(Process, "its offsets must begin at 0");
    offsets_none: Fails(Process, "its offsets must begin at 0");
    offsets_split_a_character: Fails(Process, "not UTF-8, or an offset splits a character");
    not_utf8: Fails(Process, "not UTF-8");
    validity_too_short: Fails(Process, "its validity has 0 bytes for 1000 rows");
    validity_too_long: Fails(Process, "its validity has 1048576 bytes for 1000 rows");
    null_where_none_may_be: Fails(Process, "column length: 1000 of its values are null, and it is not nullable");
    null_with_wild_offsets: Fails(Process, "its offsets descend");
    null_with_wild_index: Goes(all);
    wrong_column_type: Fails(Process, "column page: its layout is not that of utf8");
    wrong_column_count: Fails(Process, "output evil: it has 1 columns, not 2");
    wrong_row_count: Fails(Process, "column length: it has 1001 values for 1000 rows");
    dictionary_of_duplicates: Goes(all);
    dictionary_index_out_of_range: Fails(Process, "its index 3 in row 0 is beyond its 3 values");
    dictionary_bomb: Fails(Process, "all its rows have more than 5218304 bytes (limits.bytes-per-row)");
    dictionary_bomb_within_bounds: Fails(Process, "(limits.bytes-per-row)");
    memory_beyond_its_own: Fails(Process, "out of bounds");
    time_before_time: Goes(|life| assert_eq!((life.count("evil"), life.count("evil_due")), (ALL, 8)));

    // What it answers: rows.
    selection_out_of_range: Fails(Process, "output evil: it selects row 1000 of 1000");
    selection_descends: Fails(Process, "output evil: its selected rows descend at 0");
    selection_repeats: Goes(|life| assert_eq!(life.count("evil"), 2 * ALL));
    selection_without_bounds: Fails(Process, TOO_MUCH);
    copy_bomb: Fails(Process, "its repeated rows copy 280000000 bytes of one column");
    copy_bomb_within_bounds: Fails(Process, "are the most");
    giant_column: Fails(Process, TOO_MUCH);
    fresh_with_copies: Fails(Process, "a fresh row has no input row to copy columns from");
    fresh_without_columns: Fails(Process, "it emits more than 524288 rows for 1000 (limits.rows-per-row, limits.rows-per-call)");
    output_out_of_range: Fails(Process, "it has no output number 4294967295");
    emission_twice: Fails(Process, "output evil: it comes twice");
    emissions_by_the_million: Fails(Process, TOO_MUCH);
    emitted_and_rejected: Fails(Process, "it emits and rejects row 0");
    reject_out_of_range: Fails(Process, "it rejects row 1000 of 1000");
    reject_twice: Fails(Process, "it rejects row 0 twice");
    reason_huge: Fails(Process, "a reason has 100000 bytes; expected 1 to 200");
    reason_empty: Fails(Process, "a reason has 0 bytes");
    reason_with_escapes: Fails(Process, "a reason has control characters");
    reasons_for_every_row: Goes(rejected);
    reasons_that_alias: Fails(Process, TOO_MUCH);

    // What it hands out and remembers.
    flush_more_for_ever: Late(Flush, "it still has more to flush after 0 rows");
    flush_rows_for_ever: Fails(Flush, "it still has more to flush after 1");
    flush_giant: Fails(Flush, "it emits more than 524288 rows");
    flush_selected: Fails(Flush, "output evil_due: a flush has only fresh rows");
    snapshot_too_large: Fails(Snapshot, "its state has 8388609 bytes; 8388608 are the most");
    snapshot_giant: Fails(Snapshot, TOO_MUCH);
}

/// Lets the guest do it, beside an innocent one.
fn check(behaviour: &str, expected: &Expected) {
    let package = told(behaviour, if matches!(expected, Late(..)) { SHORT } else { LONG });
    let beside = if matches!(expected, Fails(Plan, _)) { vec![clean()] } else { vec![] };
    let begun = Instant::now();
    let life = std::thread::scope(|scope| {
        let evil = scope.spawn(|| live(&package, beside));
        innocent_goes_on();
        evil.join().expect("the host must not panic")
    });
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    if let Some((call, error)) = &life.failed {
        println!("{call:?}: {error}"); // for a reader of `--nocapture`
    }
    match (expected, &life.failed) {
        (Goes(holds), None) => holds(&life),
        (Fails(call, says) | Late(call, says), Some((failed, error))) => {
            let kind = if matches!(call, Load | Plan) { Kind::Usage } else { Kind::Abandon };
            readable(error, kind, says);
            assert_eq!(failed, call, "{error}");
        }
        (Goes(_), Some((call, error))) => panic!("{call:?} failed: {error}"),
        (Fails(call, _) | Late(call, _), None) => panic!("{call:?} did not fail; {:?}", life.counts),
    }
    innocent_goes_on();
}

#[test]
fn every_behaviour_is_expected_to_come_to_something() {
    let list = Component::load(engine(), &told("list", LONG)).unwrap();
    let columns = &list.spec.outputs[0].columns;
    let shown: BTreeSet<&str> =
        columns.iter().map(|c| c.name.as_str()).filter(|name| *name != "at").collect();
    assert!(shown.len() > 90, "{shown:?}");
    assert_eq!(shown, TESTED.iter().copied().collect());
}
