//! Transforms: sandboxed WebAssembly components that turn rows into rows.
//!
//! [`compile`] makes machine code of a component and `cache` keeps it. [`registry`] reads the components of a directory,
//! [`trust`] says which are taken, [`graph`] puts them in order and plans which column comes from where, [`run`] runs that plan for one partition. A component gets typed columns
//! and returns typed columns; everything it returns is checked before it is used (`spec`, `outcome`,
//! `columns`), and what it may take is bounded for every call (`limits`).

pub mod again;
pub mod anew;
mod bindings;
pub(crate) mod cache;
mod careful;
mod clock;
mod columns;
pub(crate) mod compile;
mod component;
mod dictionary;
mod engine;
pub mod event_time;
mod fault;
mod flush;
mod given;
pub mod graph;
mod guest;
mod instance;
pub mod limits;
mod outcome;
pub(crate) mod package;
mod pass;
pub mod registry;
mod roles;
pub mod run;
pub mod sidecar;
pub mod spec;
mod state;
pub mod trust;
mod view;
mod voice;
pub mod watch;

pub use compile::{Caps, Compiling};
pub use component::Component;
pub use engine::Engine;
pub use package::Package;
pub use trust::Trust;
