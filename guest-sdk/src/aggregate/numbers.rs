//! Counts, sums, extremes and means.

use std::fmt::Debug;

use super::{Aggregate, Incremental};
use crate::Decimal;
use crate::stored::{Input, Stored};

/// How many rows there were.
///
/// ```
/// let mut events = tidemill_sdk::aggregate::Count::default();
/// events.add();
/// assert_eq!(events.get(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(i64);

impl Count {
    /// Counts one.
    #[inline]
    pub fn add(&mut self) {
        self.0 += 1;
    }

    /// How many there were.
    pub fn get(&self) -> i64 {
        self.0
    }
}

impl Aggregate for Count {
    fn merge(&mut self, later: Self) {
        self.0 += later.0;
    }
}

impl Incremental for Count {
    type Change = i64;

    const ADDITIVE: bool = true;

    fn change(&mut self) -> i64 {
        std::mem::take(self).0
    }
}

/// What can be summed up: `i64` and `Decimal` (which stop at the ends of their range), `f64`.
pub trait Number: Copy + Debug + Default + PartialEq + Stored + 'static {
    /// The sum.
    fn plus(self, other: Self) -> Self;
}

impl Number for i64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Number for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl<const P: u8, const S: u8> Number for Decimal<P, S> {
    fn plus(self, other: Self) -> Self {
        Decimal(self.0.saturating_add(other.0))
    }
}

/// The sum of a column. Of floats, the last digits depend on the order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum<T: Number>(T);

impl<T: Number> Sum<T> {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: T) {
        self.0 = self.0.plus(value);
    }

    /// The sum; 0 of nothing.
    pub fn get(&self) -> T {
        self.0
    }
}

impl<T: Number> Aggregate for Sum<T> {
    fn merge(&mut self, later: Self) {
        self.add(later.0);
    }
}

impl<T: Number> Incremental for Sum<T> {
    type Change = T;

    const ADDITIVE: bool = true;

    fn change(&mut self) -> T {
        std::mem::take(&mut self.0)
    }
}

macro_rules! stored {
    ([$($generics:tt)*] $type:ty, |$value:ident| $fields:expr, |$read:pat_param| $made:expr) => {
        impl<$($generics)*> Stored for $type {
            fn write(&self, bytes: &mut Vec<u8>) {
                let $value = self;
                $fields.write(bytes);
            }

            fn read(input: &mut Input<'_>) -> Option<Self> {
                let $read = Stored::read(input)?;
                Some($made)
            }
        }
    };
}

stored!([] Count, |count| count.0, |count| Count(count));
stored!([T: Number] Sum<T>, |sum| sum.0, |sum| Sum(sum));
stored!([T: Stored] Min<T>, |min| min.0, |min| Min(min));
stored!([T: Stored] Max<T>, |max| max.0, |max| Max(max));
stored!([] Mean, |mean| (mean.sum, mean.count), |(sum, count)| Mean { sum, count });

macro_rules! extreme {
    ($name:ident, $text:literal, $beats:tt) => {
        #[doc = $text]
        ///
        /// None, if nothing was added; as increments it is none if nothing was added since the last one, so the column
        /// is an `Option`, unless every row adds a value. A float that is no number is left out.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name<T>(Option<T>);

        impl<T> Default for $name<T> {
            fn default() -> Self {
                $name(None)
            }
        }

        impl<T: Copy + PartialOrd> $name<T> {
            /// Adds a value.
            #[inline]
            #[allow(clippy::eq_op)]
            pub fn add(&mut self, value: T) {
                // Not equal to itself: no number.
                if value == value && self.0.is_none_or(|best| value $beats best) {
                    self.0 = Some(value);
                }
            }

            /// It, if anything was added.
            pub fn get(&self) -> Option<T> {
                self.0
            }
        }

        impl<T: Copy + Debug + PartialOrd + Stored + 'static> Aggregate for $name<T> {
            fn merge(&mut self, later: Self) {
                if let Some(value) = later.0 {
                    self.add(value);
                }
            }
        }

        impl<T: Copy + Debug + PartialOrd + Stored + 'static> Incremental for $name<T> {
            type Change = Option<T>;

            const ADDITIVE: bool = true;

            fn change(&mut self) -> Option<T> {
                self.0.take()
            }
        }
    };
}

extreme!(Min, "The least value of a column.", <);
extreme!(Max, "The greatest value of a column.", >);

/// The mean of a column. Its last digits depend on the order of rows.
///
/// Not for increments, for means do not add up: hand out [`Sum`] and [`Count`], and let the reader divide.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean, if anything was added.
    #[allow(clippy::cast_precision_loss)]
    pub fn get(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Aggregate for Mean {
    fn merge(&mut self, later: Self) {
        self.sum += later.sum;
        self.count += later.count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::saved;
    use super::*;
    use crate::Timestamp;

    #[test]
    fn sums_stop_at_the_ends_of_their_range() {
        let mut sum = Sum::<i64>::default();
        sum.add(i64::MAX);
        sum.add(1);
        assert_eq!(saved(&sum).get(), i64::MAX);
        assert_eq!((sum.change(), sum.change()), (i64::MAX, 0));
        let mut price = Sum::<Decimal<9, 2>>::default();
        price.add(Decimal(150));
        price.merge(saved(&price));
        assert_eq!(price.get(), Decimal(300));
    }

    #[test]
    fn extremes_of_nothing_are_none() {
        let (mut min, mut max) = (Min::default(), Max::default());
        assert_eq!((min.get(), max.get()), (None, None));
        for value in [f64::NAN, 2.0, f64::NAN, 1.0, 3.0] {
            min.add(value);
            max.add(value);
        }
        assert_eq!((min.get(), max.get()), (Some(1.0), Some(3.0)));
        min.merge(Min(Some(0.5)));
        min.merge(Min(None));
        assert_eq!((min.change(), min.change()), (Some(0.5), None));
        let mut last = Max::default();
        last.add(Timestamp(1));
        assert_eq!(saved(&last), last);
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(), None);
        mean.add(1.0);
        mean.add(2.0);
        let mut all = saved(&mean);
        all.merge(mean);
        assert_eq!(all.get(), Some(1.5));
    }
}
