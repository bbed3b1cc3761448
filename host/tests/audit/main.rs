//! `log`, `verify` and `gc` on a lake that the real commit code made: they need no Kafka. Each kind of damage is
//! planted once and must be found.

#![allow(clippy::unwrap_used)]

mod damaged_log;
mod damaged_places;
mod damaged_rows;
mod gc;
mod log;
mod rejects;
mod repair;
mod s3;
mod support;
mod verify;
