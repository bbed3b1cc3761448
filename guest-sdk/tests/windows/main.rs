//! Aggregations by windows: whatever batches, flushes, commits, restarts and crashes there are between rows, the tables
//! are the same, and the same as those of a simple model.

mod aggregations;
mod behaviour;
mod memory;
mod model;
mod per_minute;
mod properties;
mod run;
