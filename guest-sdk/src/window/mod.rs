//! Aggregates by windows of event time: what a transform with state mostly is.
//!
//! An [`Aggregation`] says how time is cut ([`Tumbling`], [`Sliding`], [`Nested`], [`Sessions`]), by which key rows are grouped, what
//! is made of a group (an [aggregate](crate::aggregate) or a tuple of them), and when it is handed out: bit by bit
//! ([`Increments`]) or once ([`Final`]). [`Windowed`] does the rest: it finds the groups, closes windows, keeps memory
//! within its bound, writes and reads the state. All of it, with its test:
//!
#![doc = "```"]
#![doc = include_str!("../../tests/windows/per_minute.rs")]
#![doc = "```"]
//!
//! # Time
//! A row's own watermark decides, not the moment of a flush: it says up to which event time all rows are there, and
//! windows that end up to it are closed before the row is added. Therefore any cut of the rows into batches and commits,
//! any restart and any replay gives the same tables. A row all of whose windows are closed is late, and [`Late`] says
//! what comes of it. The start of a fixed window is in it, its end is in the next one. A session takes in each row of its
//! key that is less than the gap away from one of its rows, also if that joins it with another session.
//!
//! # Memory
//! Groups take at most about [`Aggregation::MEMORY`] bytes. Beyond, exact distinct sets of 256 values or more become
//! sketches, the largest first; if that is not enough, the oldest windows are closed early, as by a later watermark, and
//! a warning is logged. Both follow from the rows, like all else. What was closed waits until a batch or a flush hands it
//! out, in the order of windows and keys, some thousand rows a call.

// It is run, too: tests/windows.
#![allow(clippy::test_attr_in_doctest)]

mod aggregation;
mod groups;
mod kinds;
mod mode;
mod state;
mod windowed;

pub use aggregation::{Aggregation, Emitted, KeyRef, Late, StateOf};
pub use kinds::{Fixed, Nested, Sessions, Sliding, Tumbling, Window, Windows};
pub use mode::{Final, Increments, Mode};
pub use state::{Open, Ready, State};
pub use windowed::Windowed;
