//! Aggregations by windows: whatever batches, flushes, commits, restarts and crashes there are between rows, the tables
//! are the same, and the same as those of a simple model.

mod aggregations;
mod behaviour;
mod memory;
mod model;
mod per_minute;
mod properties;
mod run;

#[test]
fn the_example_in_the_docs_is_the_one_that_runs() {
    let docs = include_str!("../../../docs/writing-transforms.md");
    let example = include_str!("per_minute.rs");
    assert!(docs.contains(example), "docs/writing-transforms.md has another one");
    assert!(example.lines().count() <= 40);
}
