//! When a window is handed out: bit by bit, or once.

use std::fmt::Debug;

use super::{Fixed, Windows};
use crate::Stored;
use crate::aggregate::{Aggregate, Incremental};

/// When windows are handed out: as [`Increments`] or [`Final`].
pub trait Mode<V: Aggregate, W: Windows>: sealed::Sealed + 'static {
    /// What `emit` is given.
    type Emitted: Clone + Debug + Stored + 'static;

    /// Whether groups are kept until their window closes. If not, nothing is ever late.
    #[doc(hidden)]
    const CLOSES: bool;
    /// Whether a flush hands out what changed.
    #[doc(hidden)]
    const INCREMENTS: bool;

    /// What is handed out of a value.
    #[doc(hidden)]
    fn emit(value: &mut V) -> Self::Emitted;
    /// What it costs to keep and to hand out, beyond one row without texts.
    #[doc(hidden)]
    fn heap(emitted: &Self::Emitted) -> usize;
}

/// Each flush hands out what was added to each group since the last one: `emit` is given changes.
///
/// For tables with `[key]`, `[sum]`, `[min]` and `[max]` columns: fresh within a commit, and whoever reads them merges.
/// What needs no memory of what was handed out (counts, sums, extremes) is forgotten at once and is never late;
/// `Distinct` and `Tally` stay until their window closes.
#[derive(Clone, Copy, Debug)]
pub enum Increments {}

/// Each group is handed out once, when the watermark has reached the end of its window: `emit` is given the value.
#[derive(Clone, Copy, Debug)]
pub enum Final {}

impl<V: Incremental, W: Fixed> Mode<V, W> for Increments {
    type Emitted = V::Change;

    const CLOSES: bool = !V::ADDITIVE;
    const INCREMENTS: bool = true;

    fn emit(value: &mut V) -> V::Change {
        value.change()
    }

    fn heap(change: &V::Change) -> usize {
        V::weight(change)
    }
}

impl<V: Aggregate, W: Windows> Mode<V, W> for Final {
    type Emitted = V;

    const CLOSES: bool = true;
    const INCREMENTS: bool = false;

    fn emit(value: &mut V) -> V {
        std::mem::take(value)
    }

    fn heap(value: &V) -> usize {
        value.heap()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Increments {}
    impl Sealed for super::Final {}
}
