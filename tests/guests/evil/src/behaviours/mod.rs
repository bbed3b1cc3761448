//! The table of behaviours. Each is honest except for the part that is named.

mod columns;
mod open;
mod outcome;
mod state;
mod taking;

use crate::Result;
use crate::bindings::tidemill::transform::types::{Descriptor, Flushed, Outcome};
use crate::honest::Rows;

pub(crate) use taking::spin;

/// What a transform answers, part by part: each is given the honest answer.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) open: fn(Descriptor) -> Result<Descriptor>,
    pub(crate) process: fn(&Rows, Outcome) -> Result<Outcome>,
    pub(crate) flush: fn(Flushed) -> Result<Flushed>,
    pub(crate) snapshot: fn(Vec<u8>) -> Result<Vec<u8>>,
    pub(crate) restore: fn() -> Result<()>,
}

const HONEST: Behaviour =
    Behaviour { open: Ok, process: |_, outcome| Ok(outcome), flush: Ok, snapshot: Ok, restore: || Ok(()) };

const fn open(open: fn(Descriptor) -> Result<Descriptor>) -> Behaviour {
    Behaviour { open, ..HONEST }
}

const fn process(process: fn(&Rows, Outcome) -> Result<Outcome>) -> Behaviour {
    Behaviour { process, ..HONEST }
}

const fn flush(flush: fn(Flushed) -> Result<Flushed>) -> Behaviour {
    Behaviour { flush, ..HONEST }
}

const fn snapshot(snapshot: fn(Vec<u8>) -> Result<Vec<u8>>) -> Behaviour {
    Behaviour { snapshot, ..HONEST }
}

const fn restore(restore: fn() -> Result<()>) -> Behaviour {
    Behaviour { restore, ..HONEST }
}

/// All behaviours. `host/tests/evil` has an expectation for each, or fails.
pub(crate) const BEHAVIOURS: &[(&str, Behaviour)] = &[
    ("honest", HONEST),
    // What it takes: time, memory, the log, the world outside.
    ("loop_in_open", open(|_| taking::spin())),
    ("loop_in_process", process(|_, _| taking::spin())),
    ("slow_on_value", process(taking::slow_on_value)),
    ("loop_in_flush", flush(|_| taking::spin())),
    ("loop_in_snapshot", snapshot(|_| taking::spin())),
    ("loop_in_restore", restore(|| taking::spin())),
    ("loop_in_alloc", process(taking::loop_in_alloc)),
    ("lie_in_alloc", process(taking::lie_in_alloc)),
    ("loop_in_free", process(taking::loop_in_free)),
    ("sleep_in_open", open(taking::sleep)),
    ("sleep_in_process", process(|_, outcome| taking::sleep(outcome))),
    ("memory_bomb_in_open", open(|_| taking::memory())),
    ("memory_bomb", process(|_, _| taking::memory())),
    ("memory_hoard", process(|_, outcome| Ok(taking::hoard(outcome)))),
    ("stack_overflow", process(taking::stack)),
    ("log_flood_in_open", open(|honest| Ok(taking::log_lines(honest)))),
    ("log_flood", process(|_, outcome| Ok(taking::log_lines(outcome)))),
    ("log_flood_of_megabytes", process(|_, outcome| Ok(taking::log_megabytes(outcome)))),
    ("print_flood", process(|_, outcome| Ok(taking::print_lines(outcome)))),
    ("print_flood_of_megabytes", process(|_, outcome| Ok(taking::print_megabytes(outcome)))),
    ("print_for_ever", process(|_, _| taking::print_for_ever())),
    ("print_escapes", process(|_, outcome| Ok(taking::print_escapes(outcome)))),
    ("print_backwards", process(|_, outcome| Ok(taking::print_backwards(outcome)))),
    ("open_files", open(taking::files)),
    ("open_sockets", open(taking::sockets)),
    ("read_environment", open(taking::environment)),
    ("exit", process(|_, _| std::process::exit(0))),
    ("chance_in_open", open(taking::chance)),
    // How it ends.
    ("trap_in_open", open(|_| panic!("it was told to"))),
    ("trap_every_nth_row", process(taking::trap_every_nth_row)),
    ("trap_on_value", process(taking::trap_on_value)),
    ("trap_in_flush", flush(|_| panic!("it was told to"))),
    ("trap_in_snapshot", snapshot(|_| panic!("it was told to"))),
    ("trap_in_restore", restore(|| panic!("it was told to"))),
    ("error_in_open", open(|_| Err("it does not like its settings".into()))),
    ("error_on_value", process(taking::error_on_value)),
    ("error_in_flush", flush(|_| Err("it has lost its rows".into()))),
    ("error_in_snapshot", snapshot(|_| Err("it has no state".into()))),
    ("error_in_restore", restore(|| Err("it cannot read this".into()))),
    ("error_huge", process(|_, _| Err("e".repeat(4 << 20)))),
    ("error_long", process(|_, _| Err("\u{1b}[2J\n".repeat(1 << 16)))),
    ("error_not_utf8", process(|_, _| Err(crate::memory::not_utf8()))),
    // What it says of itself.
    ("describe_many_columns", open(open::many_columns)),
    ("describe_a_million_columns", open(open::million_columns)),
    ("describe_long_names", open(open::long_names)),
    ("describe_aliases", open(open::aliases)),
    ("name_traversal", open(open::name)),
    ("output_traversal", open(open::output)),
    ("column_traversal", open(open::column)),
    ("version_with_escapes", open(open::version)),
    ("unknown_property", open(open::property)),
    ("event_time_that_is_none", open(open::event_time)),
    ("table_of_the_host", open(open::table_of_the_host)),
    ("table_of_another", open(open::table_of_another)),
    ("name_of_another", open(open::name_of_another)),
    // What it answers: columns.
    ("offsets_descend", process(columns::offsets_descend)),
    ("offsets_beyond_data", process(columns::offsets_beyond_data)),
    ("offsets_not_from_zero", process(columns::offsets_not_from_zero)),
    ("offsets_none", process(columns::offsets_none)),
    ("offsets_split_a_character", process(columns::offsets_split_a_character)),
    ("not_utf8", process(columns::not_utf8)),
    ("validity_too_short", process(columns::validity_too_short)),
    ("validity_too_long", process(columns::validity_too_long)),
    ("null_where_none_may_be", process(columns::null_where_none_may_be)),
    ("null_with_wild_offsets", process(columns::null_with_wild_offsets)),
    ("null_with_wild_index", process(columns::null_with_wild_index)),
    ("wrong_column_type", process(columns::wrong_type)),
    ("wrong_column_count", process(columns::wrong_column_count)),
    ("wrong_row_count", process(columns::wrong_row_count)),
    ("dictionary_of_duplicates", process(columns::dictionary_of_duplicates)),
    ("dictionary_index_out_of_range", process(columns::dictionary_index)),
    ("dictionary_bomb", process(columns::dictionary_bomb)),
    ("dictionary_bomb_within_bounds", process(columns::dictionary_bomb_within_bounds)),
    ("memory_beyond_its_own", process(columns::beyond)),
    ("time_before_time", process(columns::time_before_time)),
    // What it answers: rows.
    ("selection_out_of_range", process(outcome::selection_out_of_range)),
    ("selection_descends", process(outcome::selection_descends)),
    ("selection_repeats", process(outcome::selection_repeats)),
    ("selection_without_bounds", process(outcome::selection_without_bounds)),
    ("copy_bomb", process(outcome::copy_bomb)),
    ("copy_bomb_within_bounds", process(outcome::copy_bomb_within_bounds)),
    ("giant_column", process(outcome::giant_column)),
    ("fresh_with_copies", process(outcome::fresh_with_copies)),
    ("fresh_without_columns", process(outcome::fresh_without_columns)),
    ("output_out_of_range", process(outcome::output_out_of_range)),
    ("emission_twice", process(outcome::emission_twice)),
    ("emissions_by_the_million", process(outcome::emissions_by_the_million)),
    ("emitted_and_rejected", process(outcome::emitted_and_rejected)),
    ("reject_out_of_range", process(outcome::reject_out_of_range)),
    ("reject_twice", process(outcome::reject_twice)),
    ("reason_huge", process(outcome::reason_huge)),
    ("reason_empty", process(outcome::reason_empty)),
    ("reason_with_escapes", process(outcome::reason_with_escapes)),
    ("reasons_for_every_row", process(outcome::reasons_for_every_row)),
    ("reasons_that_alias", process(outcome::reasons_that_alias)),
    // What it hands out and remembers.
    ("flush_more_for_ever", flush(state::more_for_ever)),
    ("flush_rows_for_ever", flush(state::rows_for_ever)),
    ("flush_giant", flush(state::giant)),
    ("flush_selected", flush(state::selected)),
    ("snapshot_too_large", snapshot(state::too_large)),
    ("snapshot_giant", snapshot(state::giant_snapshot)),
];
