//! What a behaviour makes the host's memory grow to, read from a process in which nothing else happens.

use std::cell::Cell;
use std::process::Command;

use tidemill::transform::Package;

use super::files::table_bomb;
use super::support::{LONG, evil, live_and, package, told};

/// Tells the test `child` what to do.
const CHILD: &str = "TIDEMILL_TEST_EVIL";
/// MiB that a guest may have, and what the host may spend on top.
const LIMIT: u64 = 64 + 16;

/// What tries to make the host grow.
const BOUNDED: &[&str] = &[
    "memory_bomb_in_open",
    "memory_bomb",
    "memory_hoard",
    "log_flood_of_megabytes",
    "print_flood_of_megabytes",
    "error_huge",
    "describe_a_million_columns",
    "describe_aliases",
    "copy_bomb",
    "giant_column",
    "fresh_without_columns",
    "selection_without_bounds",
    "emissions_by_the_million",
    "reasons_that_alias",
    "flush_giant",
    "flush_rows_for_ever",
    "snapshot_too_large",
    "snapshot_giant",
    "dictionary_bomb",
    "dictionary_bomb_within_bounds",
    "copy_bomb_within_bounds",
    "tables",
];

/// Peaks of the resident set in MiB: while it was loaded, and afterwards.
#[derive(Debug)]
struct Peaks {
    loading: u64,
    life: u64,
}

/// Not a test: what runs in the other process.
#[test]
fn child() {
    let Ok(behaviour) = std::env::var(CHILD) else { return };
    let package: Package = match behaviour.as_str() {
        "tables" => package("evil", table_bomb(), ""),
        told_to => told(told_to, LONG),
    };
    let _ = evil(); // built before anything is measured
    reset();
    let loading = Cell::new(None);
    live_and(&package, vec![], || {
        loading.set(Some(peak()));
        reset();
    });
    let life = peak();
    // What is not even loaded has no life of its own.
    println!("peaks {} {life}", loading.get().unwrap_or(life));
}

/// Forgets the peak so far.
fn reset() {
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
}

/// The peak of the resident set since then, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024
}

fn peaks(behaviour: &str) -> Peaks {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, behaviour)
        // What is freed goes back at once, so that it does not hide what is taken later.
        .envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "65536")])
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.lines().find_map(|line| Some(line.split_once("peaks ")?.1));
    let Some(numbers) = numbers else {
        panic!("{behaviour}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    };
    let mut numbers = numbers.split(' ').map(|n| n.parse().unwrap());
    Peaks { loading: numbers.next().unwrap(), life: numbers.next().unwrap() }
}

/// All of them stay within the limit above an innocent one.
fn stay_below(behaviours: &[&str]) {
    let innocent = peaks("honest");
    println!("honest: {innocent:?} MiB");
    let mut beyond = Vec::new();
    for behaviour in behaviours {
        let found = peaks(behaviour);
        println!("{behaviour}: {found:?} MiB");
        if found.loading > innocent.loading + LIMIT || found.life > innocent.life + LIMIT {
            beyond.push((behaviour, found));
        }
    }
    assert!(beyond.is_empty(), "more than {LIMIT} MiB above {innocent:?}: {beyond:?}");
}

#[test]
fn memory_stays_below_its_limit() {
    stay_below(BOUNDED);
}
