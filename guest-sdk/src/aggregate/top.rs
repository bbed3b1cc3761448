//! The most frequent values, with a bounded number of counters (the Space-Saving algorithm).

use std::cmp::Reverse;

use hashbrown::HashTable;

use super::Aggregate;
use crate::Key;
use crate::key::spread;
use crate::stored::{Input, Stored};

/// The most frequent values, kept with `N` counters.
///
/// A value that is not counted yet takes over the counter of the least frequent one, and its count. So a count is never
/// too low, and too high by at most the `error` beside it, which is at most 1/N of all that was added. A value that makes
/// up more than 1/N of all is among the counters. For the k most frequent ones of data with a long tail, 10 k counters
/// do well. After sessions were merged the same holds.
///
/// Not for increments: which values are frequent is known at the end.
///
/// ```
/// let mut pages = tidemill_sdk::aggregate::TopK::<String, 20>::default();
/// for page in ["/home", "/a", "/home"] {
///     pages.add(page);
/// }
/// assert_eq!(pages.top(1), [("/home", 2, 0)]);
/// ```
#[derive(Clone, Debug)]
pub struct TopK<K: Key, const N: usize> {
    /// In the order in which counters were first taken: of the least frequent ones, the oldest counter is taken over.
    counters: Vec<Counter<K>>,
    index: HashTable<u32>,
    /// What the counters cost.
    heap: usize,
}

#[derive(Clone, Debug)]
struct Counter<K: Key> {
    value: K,
    count: i64,
    /// How much of the count may be of values that had this counter before.
    error: i64,
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

impl<K: Key, const N: usize> Default for TopK<K, N> {
    fn default() -> Self {
        const { assert!(N > 0 && N <= 65_536, "there are 1 to 65,536 counters") };
        TopK { counters: Vec::new(), index: HashTable::new(), heap: 0 }
    }
}

impl<K: Key, const N: usize> TopK<K, N> {
    /// Counts a value.
    pub fn add(&mut self, value: K::Ref<'_>) {
        let hash = spread(K::hash(value, SEED));
        if let Some(&at) = self.index.find(hash, |&at| self.counters[at as usize].value.is(value)) {
            self.counters[at as usize].count += 1;
        } else if self.counters.len() < N {
            self.push(Counter { value: K::own(value), count: 1, error: 0 });
        } else if let Some((at, least)) = self.least() {
            let old = spread(K::hash(self.counters[at as usize].value.view(), SEED));
            if let Ok(entry) = self.index.find_entry(old, |&have| have == at) {
                entry.remove();
            }
            let counter = Counter { value: K::own(value), count: least + 1, error: least };
            self.heap += counter.value.heap();
            self.heap -= std::mem::replace(&mut self.counters[at as usize], counter).value.heap();
            self.insert(at);
        }
    }

    /// The most frequent values, with their counts and by how much these may be too high: most frequent first, equally
    /// frequent ones in the order of the values.
    pub fn top(&self, most: usize) -> Vec<(K::Ref<'_>, i64, i64)> {
        let mut counters: Vec<&Counter<K>> = self.counters.iter().collect();
        counters.sort_unstable_by(|a, b| (Reverse(a.count), &a.value).cmp(&(Reverse(b.count), &b.value)));
        counters.truncate(most);
        counters.into_iter().map(|counter| (counter.value.view(), counter.count, counter.error)).collect()
    }

    /// The first of the least frequent ones, and how frequent it is.
    fn least(&self) -> Option<(u32, i64)> {
        (0..).zip(&self.counters).map(|(at, counter)| (at, counter.count)).min_by_key(|&(_, count)| count)
    }

    /// What a value that is not counted may have been counted as.
    fn missed(&self) -> i64 {
        if self.counters.len() < N { 0 } else { self.least().map_or(0, |(_, least)| least) }
    }

    fn push(&mut self, counter: Counter<K>) {
        let at = u32::try_from(self.counters.len()).expect("`default` has checked how many there are");
        self.heap += 48 + counter.value.heap();
        self.counters.push(counter);
        self.insert(at);
    }

    fn insert(&mut self, at: u32) {
        let hash = |&at: &u32| spread(K::hash(self.counters[at as usize].value.view(), SEED));
        self.index.insert_unique(hash(&at), at, hash);
    }
}

impl<K: Key, const N: usize> Aggregate for TopK<K, N> {
    fn merge(&mut self, later: Self) {
        let (missed, missed_later) = (self.missed(), later.missed());
        let mut all = std::mem::take(&mut self.counters);
        for counter in &mut all {
            let hash = spread(K::hash(counter.value.view(), SEED));
            let same = |&at: &u32| later.counters[at as usize].value == counter.value;
            let (count, error) = match later.index.find(hash, same) {
                Some(&at) => (later.counters[at as usize].count, later.counters[at as usize].error),
                None => (missed_later, missed_later),
            };
            (counter.count, counter.error) = (counter.count + count, counter.error + error);
        }
        let had = |value: &K| {
            let hash = spread(K::hash(value.view(), SEED));
            self.index.find(hash, |&at| all[at as usize].value == *value).is_some()
        };
        let new: Vec<_> = later.counters.into_iter().filter(|counter| !had(&counter.value)).collect();
        all.extend(new.into_iter().map(|counter| Counter {
            count: counter.count + missed,
            error: counter.error + missed,
            ..counter
        }));
        all.sort_by(|a, b| (Reverse(a.count), &a.value).cmp(&(Reverse(b.count), &b.value)));
        all.truncate(N);
        self.index.clear();
        self.heap = 0;
        all.into_iter().for_each(|counter| self.push(counter));
    }

    #[inline]
    fn heap(&self) -> usize {
        self.heap
    }
}

impl<K: Key> Stored for Counter<K> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.value.write(bytes);
        (self.count, self.error).write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (value, count, error) = Stored::read(input)?;
        Some(Counter { value, count, error })
    }
}

impl<K: Key, const N: usize> Stored for TopK<K, N> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.counters.write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let mut top = TopK::default();
        for counter in Vec::<Counter<K>>::read(input)? {
            let hash = spread(K::hash(counter.value.view(), SEED));
            let twice =
                top.index.find(hash, |&at| top.counters[at as usize].value == counter.value).is_some();
            if twice || top.counters.len() == N {
                return None;
            }
            top.push(counter);
        }
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::saved;
    use super::*;

    /// Values of which few are frequent.
    fn values(count: u64) -> impl Iterator<Item = u64> {
        let mut random = 1_u64;
        std::iter::repeat_with(move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (a, b) = (random >> 33, random >> 13 & 0xfffff);
            if a % 4 == 0 { b % 1000 } else { b % 4 }
        })
        .take(usize::try_from(count).expect("small"))
    }

    fn check(top: &TopK<u64, 40>, exact: &BTreeMap<u64, i64>) {
        let all: i64 = exact.values().sum();
        for (value, count, error) in top.top(40) {
            let exact = exact.get(&value).copied().unwrap_or(0);
            assert!(count >= exact && count - error <= exact && error * 40 <= all, "{value}");
        }
        let mut frequent: Vec<u64> = top.top(4).into_iter().map(|(value, ..)| value).collect();
        frequent.sort_unstable();
        assert_eq!(frequent, [0, 1, 2, 3]);
    }

    #[test]
    fn frequent_values_are_found_and_errors_are_bounded() {
        let (mut whole, mut first, mut second) = (TopK::default(), TopK::default(), TopK::default());
        let mut exact = BTreeMap::new();
        for (i, value) in values(20_000).enumerate() {
            *exact.entry(value).or_insert(0) += 1;
            whole.add(value);
            if i < 7_000 { &mut first } else { &mut second }.add(value);
            if i % 5_000 == 0 {
                whole = saved(&whole);
            }
        }
        check(&whole, &exact);
        first.merge(second);
        check(&first, &exact);
        check(&saved(&first), &exact);
    }

    #[test]
    fn few_values_are_counted_exactly() {
        let mut top = TopK::<String, 3>::default();
        for value in ["b", "a", "b", "c", "a"] {
            top.add(value);
        }
        assert_eq!(top.top(9), [("a", 2, 0), ("b", 2, 0), ("c", 1, 0)]);
        top.add("d");
        assert_eq!(top.top(9), [("a", 2, 0), ("b", 2, 0), ("d", 2, 1)]);
        let mut later = TopK::default();
        later.add("e");
        top.merge(later);
        assert_eq!(top.top(1), [("e", 3, 2)]);
        assert_eq!(TopK::<String, 3>::default().top(3), []);
    }
}
