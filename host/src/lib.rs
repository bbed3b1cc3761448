//! Tidemill: a Kafka topic in your lake.
//!
//! Data goes one way, and a stage is a folder:
//!
//! ```text
//! source ──> decode ──> transform ──> sink ──> commit ──> catalog
//! lanes      columns    rows,         staged   record,    tables and
//!                       rejects       Parquet  publish    partitions
//! ```
//!
//! The types that stages hand to each other are in [`batch`]; [`pipeline`] is the only module that
//! names two stages. `docs/ARCHITECTURE.md` draws the whole picture.

pub mod activity;
pub mod audit;
pub mod batch;
pub mod catalog;
pub mod cli;
pub mod commit;
pub mod config;
pub mod decode;
mod digest;
pub mod doctor;
pub mod env;
pub mod error;
mod failpoint;
pub mod generations;
pub mod history;
mod keep;
pub mod observe;
pub mod past;
pub mod pipeline;
pub mod rejects;
pub mod shard;
pub mod sink;
pub mod source;
pub mod table;
pub mod transform;
mod wait;

pub use error::{Error, Kind, Result};
