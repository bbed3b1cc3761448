//! A seeded simulation of the commit protocol: the real code of [`commit`](super) over a store that fails, with
//! hosts that die and come back from the dead.
//!
//! Everything happens on one thread, one store operation at a time, in an order that follows from the seed. So a
//! seed that fails fails again:
//!
//! ```text
//! TIDEMILL_SEED=153 TIDEMILL_VARIANT=latest cargo test -p tidemill --lib simulation -- --nocapture
//! ```
//!
//! tells what happened, step by step. `TIDEMILL_VARIANT` may be a rule's name too: then it is switched off.
//! `TIDEMILL_SEEDS` says how many seeds to try (1000).
//!
//! | file | |
//! | --- | --- |
//! | `world` | the store, Kafka, the group, the catalog, and what goes wrong |
//! | `process` | what a host runs on: each operation waits for its turn |
//! | `host` | what a host does with the log |
//! | `history` | … and with hours that are rewritten, expire and are swept |
//! | `backfill` | … and with history that did not come through the stream |
//! | `executor` | who is next, who dies |
//! | `checks`, `audit` | what must hold at every step, and in the end |
//! | `variants` | kinds of worlds, and which rule is needed against what |

mod audit;
mod backfill;
mod checks;
mod executor;
mod history;
mod host;
mod process;
mod remake;
mod variants;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use executor::{Report, run};
use variants::{NEEDED, VARIANTS};
pub(super) use world::Random;

/// What must have happened at least once in all seeds together.
const FAULTS: [&str; 34] = [
    "request lost",
    "reply lost",
    "request late",
    "read failed",
    "upload vanished",
    "200 too early",
    "catalog away",
    "crash",
    "zombie",
    "rebalance",
    "partition added",
    "offsets gone",
    "lane left out",
    "lane abandoned",
    "window closed",
    "file made again",
    "epoch",
    "gap",
    "repair",
    "cleanup",
    "replay",
    "replay lost its race",
    "claim",
    "backfill",
    "backfill lost its race",
    "compact",
    "expire",
    "sweep",
    "compaction lost its race",
    "what came meanwhile went along",
    "expiry lost its race",
    "erase",
    "late file carried",
    "erasure lost its race",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One seed that somebody wants to look into.
fn one() -> Option<Report> {
    let seed = number("TIDEMILL_SEED")?;
    let name = std::env::var("TIDEMILL_VARIANT").expect("TIDEMILL_VARIANT names a variant or a rule");
    let variant = VARIANTS.iter().find(|variant| variant.name == name);
    let needed = NEEDED.iter().find(|needed| format!("{:?}", needed.rule) == name);
    let report = match (variant, needed) {
        (Some(variant), _) => run(seed, variant, None, &[], true),
        (_, Some(needed)) => run(seed, needed.variant, Some(needed.rule), needed.broken, true),
        _ => panic!("there is no variant and no rule {name}"),
    };
    match &report.violation {
        Some(violation) => println!("seed {seed} of {name}: {violation}"),
        None => println!("seed {seed} of {name}: nothing found"),
    }
    Some(report)
}

#[test]
fn every_rule_on() {
    if let Some(report) = one() {
        let rule = NEEDED.iter().any(|n| Ok(format!("{:?}", n.rule)) == std::env::var("TIDEMILL_VARIANT"));
        assert!(rule || report.violation.is_none());
        return;
    }
    let started = Instant::now();
    let seeds = number("TIDEMILL_SEEDS").unwrap_or(1000);
    let next = AtomicU64::new(0);
    let found = Mutex::new((BTreeMap::<&str, u64>::new(), 0, Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || found.lock().expect("no panic").2.len() >= 10 {
                return;
            }
            let variant = &VARIANTS[usize::try_from(seed).expect("small") % VARIANTS.len()];
            let report = run(seed, variant, None, &[], false);
            let mut found = found.lock().expect("no panic");
            for (what, count) in report.fired {
                *found.0.entry(what).or_default() += count;
            }
            found.1 += report.steps;
            found.2.extend(report.violation.map(|violation| (seed, variant.name, violation)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let (fired, steps, mut failed) = found.into_inner().expect("no panic");
    println!("{seeds} seeds, {steps} steps in {:.1?}", started.elapsed());
    for (what, count) in &fired {
        println!("{count:>9} {what}");
    }
    failed.sort_by_key(|(seed, ..)| *seed);
    for (seed, name, violation) in &failed {
        println!(
            "seed {seed} of {name}: {violation}\n  again: TIDEMILL_SEED={seed} TIDEMILL_VARIANT={name} cargo test -p \
             tidemill --lib simulation -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "with every rule on, promises were broken: see above");
    for what in FAULTS {
        assert!(fired.contains_key(what), "{what} has never happened");
    }
}

#[test]
fn without_a_rule_something_breaks() {
    if number("TIDEMILL_SEED").is_some() {
        return;
    }
    let mut unneeded = Vec::new();
    for needed in &NEEDED {
        let started = Instant::now();
        let found = (0..1000).find_map(|seed| {
            let report = run(seed, needed.variant, Some(needed.rule), needed.broken, false);
            report.violation.map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => {
                println!("{:?} [{seed}] {violation} ({:.1?})", needed.rule, started.elapsed());
            }
            None => unneeded.push(needed.rule),
        }
    }
    assert!(unneeded.is_empty(), "nothing breaks without these rules: {unneeded:?}");
}
