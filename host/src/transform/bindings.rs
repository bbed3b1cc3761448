//! The contract `tidemill:transform@0.1.0` as Rust types, generated from `wit/transform.wit`.
//!
//! What goes in is borrowed, so that Arrow buffers cross as slices; what comes out is owned and not
//! to be trusted before `outcome` and `columns` have looked at it.

#![allow(missing_docs)]

wasmtime::component::bindgen!({
    world: "transform",
    path: "../wit",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub(super) use self::tidemill::transform::{log, types};

/// What a component that speaks this contract exports, up to its version.
pub(super) const EXPORT: &str = "tidemill:transform/api@";
/// The version of the contract that the host speaks.
pub(super) const VERSION: &str = "0.1.0";
