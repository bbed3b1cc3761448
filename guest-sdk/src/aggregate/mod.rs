//! What rows of a group become: counts, sums, extremes, distinct values, the most frequent ones, the first and last.
//!
//! A tuple of aggregates is an aggregate, so a transform that needs several writes `type Value = (Count, Distinct);`.
//!
//! | aggregate | adds | gives | as increments |
//! | --- | --- | --- | --- |
//! | [`Count`] | rows | `i64` | `[sum]` |
//! | [`Sum<T>`] | `i64`, `f64`, `Decimal` | `T` | `[sum]` |
//! | [`Min<T>`], [`Max<T>`] | what has an order | `Option<T>` | `[min]`, `[max]` |
//! | [`Distinct`] | anything [`Stable`] | `i64`, or the bytes of a sketch | `[sum]`, kept until the window closes |
//! | [`Tally<K, N>`] | a [`Key`](crate::Key) | each of the first `N` keys and its count | `[sum]`, kept until the window closes |
//! | [`Mean`] | `f64` | `Option<f64>` | no: emit sum and count |
//! | [`First<K>`], [`Last<K>`] | a [`Key`](crate::Key) and its time | `Option` of it | no |
//! | [`TopK<K, N>`] | a [`Key`](crate::Key) | the most frequent keys and counts | no |
//!
//! What an aggregate holds and what it costs depends on the rows that were added and on their order only, never on when
//! it was emitted, saved or restored. Both are needed to get the same tables again from the same rows.

mod distinct;
mod edge;
mod hash;
mod hashes;
mod hll;
mod numbers;
mod tally;
mod top;

use std::collections::BinaryHeap;
use std::fmt::Debug;

use crate::Stored;

pub use distinct::Distinct;
pub use edge::{First, Last};
pub use hash::Stable;
pub use numbers::{Count, Max, Mean, Min, Number, Sum};
pub use tally::Tally;
pub use top::TopK;

/// Something that rows are added to, one by one.
pub trait Aggregate: Clone + Debug + Default + Stored + 'static {
    /// Takes in what `later` has seen: two sessions turned out to be one, and its events are the later ones.
    fn merge(&mut self, later: Self);

    /// Bytes that it holds beyond its own size, about. Must follow from what was added.
    #[inline]
    fn heap(&self) -> usize {
        0
    }

    /// No less than [`heap`](Self::heap), and as much once it is settled: what is quick to tell.
    #[inline]
    fn most(&self) -> usize {
        self.heap()
    }

    /// What was put off when values were added, is done now. Nobody sees a difference but in how long it takes.
    #[inline]
    fn settle(&mut self) {}

    /// Memory is short: sets of at least so many values may become estimates.
    fn shrink(&mut self, least: usize) {
        let _ = least;
    }
}

/// An [`Aggregate`] that can be handed out bit by bit: whoever reads the table puts the changes together again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed out as increments",
    label = "no increments of this",
    note = "Count, Sum, Min, Max, Distinct, Tally and tuples of them can; for the others, `type Mode = Final` hands out each window once, when it closes"
)]
pub trait Incremental: Aggregate {
    /// A change.
    type Change: Clone + Debug + Stored + 'static;

    /// Whether changes need nothing of what was handed out before: then it is forgotten.
    const ADDITIVE: bool;

    /// What changed since the last call.
    fn change(&mut self) -> Self::Change;

    /// What a change weighs beyond a row without texts, in bytes, about: by it, calls are kept short.
    #[inline]
    fn weight(change: &Self::Change) -> usize {
        let _ = change;
        0
    }
}

/// Sorts. `slice::sort` is faster, and adds ten to twenty-five kilobytes to a component for each type that is sorted.
pub(crate) fn sort<T: Ord>(values: &mut Vec<T>) {
    *values = BinaryHeap::from(std::mem::take(values)).into_sorted_vec();
}

macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Aggregate),+> Aggregate for ($($part,)+) {
            fn merge(&mut self, later: Self) {
                $(self.$index.merge(later.$index);)+
            }

            #[inline]
            fn heap(&self) -> usize {
                0 $(+ self.$index.heap())+
            }

            #[inline]
            fn most(&self) -> usize {
                0 $(+ self.$index.most())+
            }

            #[inline]
            fn settle(&mut self) {
                $(self.$index.settle();)+
            }

            fn shrink(&mut self, least: usize) {
                $(self.$index.shrink(least);)+
            }
        }

        impl<$($part: Incremental),+> Incremental for ($($part,)+) {
            type Change = ($($part::Change,)+);

            const ADDITIVE: bool = $($part::ADDITIVE)&&+;

            fn change(&mut self) -> Self::Change {
                ($(self.$index.change(),)+)
            }

            #[inline]
            fn weight(change: &Self::Change) -> usize {
                0 $(+ $part::weight(&change.$index))+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::stored::Input;

    /// What is written is read again, as the same bytes, and no shorter text is read.
    pub(crate) fn saved<A: Aggregate>(aggregate: &A) -> A {
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        aggregate.write(&mut bytes);
        let mut input = Input::new(&bytes);
        let restored = A::read(&mut input).expect("its own bytes");
        assert_eq!(input.rest(), []);
        restored.write(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(restored.heap(), aggregate.heap());
        assert!(restored.most() >= restored.heap() && aggregate.most() >= aggregate.heap());
        let mut settled = aggregate.clone();
        settled.settle();
        assert_eq!((settled.heap(), settled.most()), (aggregate.heap(), aggregate.heap()));
        bytes.clear();
        settled.write(&mut bytes);
        assert_eq!(bytes, again);
        for end in 0..bytes.len() {
            assert!(A::read(&mut Input::new(&bytes[..end])).is_none(), "{end}");
        }
        restored
    }

    #[test]
    fn a_tuple_is_all_of_its_parts() {
        let mut value = <(Count, Distinct, Max<i64>)>::default();
        value.0.add();
        value.1.add("u1");
        value.2.add(7);
        let mut later = saved(&value);
        assert_eq!(value.change(), (1, 1, Some(7)));
        assert_eq!(value.change(), (0, 0, None));
        later.1.add("u2");
        value.merge(later);
        assert_eq!(value.change(), (1, 1, Some(7)));
        assert_eq!(value.heap(), value.1.heap());
        const { assert!(<(Count, Max<i64>)>::ADDITIVE && !<(Count, Distinct)>::ADDITIVE) };
    }
}
