//! What a demo says at its end: what is where, and what to try next.

use std::path::{Path, PathBuf};

use crate::env::Micros;
use crate::observe::Snapshot;
use crate::source::produce::Sent;
use crate::table::{RAW, REJECTED};

pub(super) fn print(dir: &Path, sent: &Sent, done: &Snapshot) {
    println!(
        "{} events went through the embedded broker, {} of them bad on purpose; {} are in the lake.",
        sent.delivered,
        sent.delivered - sent.kinds.get("good").copied().unwrap_or_default().min(sent.delivered),
        done.events
    );
    println!("\n  {:<10} {:<26} {:>10} {:>6}", "zone", "table", "rows", "files");
    for (zone, table, rows) in tables(done) {
        println!("  {zone:<10} {table:<26} {rows:>10} {:>6}", done.files.get(table).unwrap_or(&0));
    }
    println!("\nRejected, by reason:");
    for (reason, count) in &done.rejects {
        println!("  {count:>8}  {reason}");
    }
    if let Some(freshness) = done.freshness {
        println!(
            "\nAt the last commit the oldest event in it was {} old, with one commit a second.",
            seconds(freshness)
        );
    }
    println!("\nThe files are plain Parquet by date and hour, for example:");
    let folder = dir.join("processed").join("user_events");
    println!("  {}", first_file(&folder).unwrap_or(folder).display());
    println!("\nAsk DuckDB:");
    println!(
        "  duckdb -c \"SELECT event_type, device, sum(events) AS events FROM read_parquet('{}/processed/user_activity_per_minute/*/*/*.parquet', hive_partitioning = true) GROUP BY ALL ORDER BY events DESC\"",
        dir.display()
    );
    println!(
        "\nProve that each event is there exactly once:
  tidemill verify --raw {dir}/raw --processed {dir}/processed

Try next:
  tidemill graph --transforms transforms     how the components fit together
  transforms/clean/src/lib.rs                change a rule, and run the demo again
  tidemill run --help                        the same with your Kafka, S3 and Glue",
        dir = dir.display()
    );
}

/// Tables with their zones and rows, in the order in which events go through them.
pub(super) fn tables(done: &Snapshot) -> Vec<(&'static str, &str, u64)> {
    let zone = |table: &str| match table {
        RAW => (0, "raw"),
        REJECTED => (2, "rejected"),
        _ => (1, "processed"),
    };
    let mut tables: Vec<_> = done.rows.iter().map(|(t, rows)| (zone(t).1, t.as_str(), *rows)).collect();
    // The more rows, the earlier on the way: a table that sums up comes after what it reads.
    tables.sort_by_key(|(_, table, rows)| (zone(table).0, std::cmp::Reverse(*rows)));
    tables
}

pub(super) fn seconds(micros: Micros) -> String {
    format!("{:.1} s", micros as f64 / 1e6)
}

/// Any file of a table.
fn first_file(folder: &Path) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.into_iter().find_map(|path| if path.is_dir() { first_file(&path) } else { Some(path) })
}
