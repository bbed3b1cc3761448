//! Transforms that mean harm: whatever one does, the host goes on, and a person is told what happened.
//!
//! The guest `tests/guests/evil` shows a behaviour for each test of `behaviours`.

#![allow(clippy::unwrap_used)]

mod behaviours;
mod support;
