//! The first and the last value by event time.

use super::Aggregate;
use crate::stored::{Input, Stored};
use crate::{Key, Timestamp};

macro_rules! edge {
    ($name:ident, $beats:tt, $merges:tt, $text:literal, $ties:literal) => {
        #[doc = $text]
        #[doc = $ties]
        ///
        /// What is kept is a [`Key`]; it is looked at in its borrowed form, and only a value that is kept is copied.
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name<K: Key>(Option<(Timestamp, K)>);

        impl<K: Key> Default for $name<K> {
            fn default() -> Self {
                $name(None)
            }
        }

        impl<K: Key> $name<K> {
            /// Adds a value and the time at which it was so.
            #[inline]
            pub fn add(&mut self, time: Timestamp, value: K::Ref<'_>) {
                if self.0.as_ref().is_none_or(|(best, _)| time $beats *best) {
                    self.0 = Some((time, K::own(value)));
                }
            }

            /// It, if anything was added.
            pub fn get(&self) -> Option<K::Ref<'_>> {
                self.0.as_ref().map(|(_, value)| value.view())
            }
        }

        impl<K: Key> Stored for $name<K> {
            fn write(&self, bytes: &mut Vec<u8>) {
                self.0.write(bytes);
            }

            fn read(input: &mut Input<'_>) -> Option<Self> {
                Stored::read(input).map($name)
            }
        }

        impl<K: Key> Aggregate for $name<K> {
            fn merge(&mut self, later: Self) {
                if let Some((time, _)) = &later.0
                    && self.0.as_ref().is_none_or(|(best, _)| time $merges best)
                {
                    *self = later;
                }
            }

            #[inline]
            fn heap(&self) -> usize {
                self.0.as_ref().map_or(0, |(_, value)| value.heap())
            }
        }
    };
}

edge!(First, <, <, "The first value by event time.", "Of several at one time, the one whose row came first.");
edge!(Last, >=, >=, "The last value by event time.", "Of several at one time, the one whose row came last.");

#[cfg(test)]
mod tests {
    use super::super::testing::saved;
    use super::*;

    #[test]
    fn time_decides_and_then_order() {
        let (mut first, mut last) = (First::<Option<String>>::default(), Last::<String>::default());
        assert_eq!((first.get(), last.get()), (None, None));
        for (time, value) in [(5, "a"), (5, "b"), (9, "c"), (9, "d"), (7, "e")] {
            first.add(Timestamp(time), Some(value));
            last.add(Timestamp(time), value);
        }
        assert_eq!((saved(&first).get(), saved(&last).get()), (Some(Some("a")), Some("d")));
        first.add(Timestamp(4), None);
        assert_eq!(first.get(), Some(None));
        assert_eq!((first.heap(), last.heap()), (0, 9));
    }

    #[test]
    fn of_two_sessions_the_right_edge_is_kept() {
        let edge = |time, value: &str| {
            let (mut first, mut last) = (First::<String>::default(), Last::<String>::default());
            first.add(Timestamp(time), value);
            last.add(Timestamp(time), value);
            (first, last)
        };
        let mut both = edge(1, "a");
        both.merge(edge(2, "b"));
        both.merge(Default::default());
        assert_eq!((both.0.get(), both.1.get()), (Some("a"), Some("b")));
        let mut none = <(First<String>, Last<String>)>::default();
        none.merge(both);
        assert_eq!((none.0.get(), none.1.get()), (Some("a"), Some("b")));
    }
}
