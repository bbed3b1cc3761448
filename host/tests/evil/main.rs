//! Transforms that mean harm: whatever one does, the host goes on, and a person is told what happened.
//!
//! The guest `tests/guests/evil` shows a behaviour for each test of `behaviours`; what no Rust
//! compiles to is made from text in `files`. `memory` runs some of them in a process of their own and
//! reads what that took. `host` puts it into a whole host.

#![allow(clippy::unwrap_used)]

mod behaviours;
mod files;
mod graft;
mod host;
#[path = "../main_job/support.rs"]
#[allow(dead_code)]
mod house;
#[cfg(target_os = "linux")]
mod memory;
mod patience;
mod support;
