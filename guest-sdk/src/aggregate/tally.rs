//! How often each value came, with a bounded number of values.

use super::{Aggregate, Incremental};
use crate::Key;
use crate::key::spread;
use crate::stored::{Input, Stored};

/// How often each value came: of the first `N` different ones, and of all others together.
///
/// Which values are the first follows from the rows alone. A value that comes often is hardly ever among the others:
/// for the most frequent ones of a long stream, see [`TopK`](super::TopK).
///
/// As increments, a group becomes several rows: `emit` is given the values that came since the last time, in the order
/// in which they first came, and at the end, as `None`, the others.
///
/// ```
/// let mut pages = tidemill_sdk::aggregate::Tally::<String, 2>::default();
/// for page in ["/home", "/a", "/home", "/b"] {
///     pages.add(page);
/// }
/// assert_eq!(pages.iter().collect::<Vec<_>>(), [(Some("/home"), 2), (Some("/a"), 1), (None, 1)]);
/// ```
#[derive(Clone, Debug)]
pub struct Tally<K: Key, const N: usize>(Option<Box<Counters<K>>>);

/// Apart, so that a group without any is small.
#[derive(Clone, Debug)]
struct Counters<K> {
    /// In the order in which they first came. Those whose count was handed out stay, so that it does not matter when
    /// that was.
    counters: Vec<(K, i64)>,
    /// Where the counters are, by hash: one more than the place, 0 is free. A power of two, at most half taken. A general
    /// table makes a component two kilobytes larger.
    index: Vec<u32>,
    others: i64,
    /// What the counters cost.
    heap: usize,
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a counter costs besides its value: in memory, and as a row.
const COUNTER: usize = 48;

impl<K: Key, const N: usize> Default for Tally<K, N> {
    fn default() -> Self {
        const { assert!(N > 0 && N <= 65_536, "there are 1 to 65,536 counters") };
        Tally(None)
    }
}

impl<K: Key, const N: usize> Tally<K, N> {
    /// Counts a value.
    #[inline]
    pub fn add(&mut self, value: K::Ref<'_>) {
        self.counters().add(value, 1, N);
    }

    /// The values that were counted since the last change, in the order in which they first came, and the others.
    pub fn iter(&self) -> impl Iterator<Item = (Option<K::Ref<'_>>, i64)> {
        let counters = self.0.iter().flat_map(|all| all.counters.iter());
        let counters = counters.map(|(value, count)| (Some(value.view()), *count));
        let others = self.0.iter().map(|all| (None, all.others));
        counters.chain(others).filter(|(_, count)| *count > 0)
    }

    #[inline]
    fn counters(&mut self) -> &mut Counters<K> {
        self.0.get_or_insert_with(|| {
            Box::new(Counters { counters: Vec::new(), index: vec![0; 16], others: 0, heap: 0 })
        })
    }
}

impl<K: Key> Counters<K> {
    /// Counts a value, or the others if it is not among the first `most`. Once in a component, not wherever it is needed.
    #[inline(never)]
    fn add(&mut self, value: K::Ref<'_>, times: i64, most: usize) {
        let free = match self.find(value) {
            Ok(counter) => return self.counters[counter].1 += times,
            Err(free) => free,
        };
        if self.counters.len() >= most {
            self.others += times;
            return;
        }
        let value = K::own(value);
        self.heap += COUNTER + value.heap();
        self.counters.push((value, times));
        self.index[free] = number(self.counters.len());
        if self.counters.len() * 2 > self.index.len() {
            self.grow();
        }
    }

    /// The counter of a value, or the place in the index where it would be.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn find(&self, value: K::Ref<'_>) -> Result<usize, usize> {
        let mut at = spread(K::hash(value, SEED)) as usize;
        loop {
            at &= self.index.len() - 1;
            match self.index[at] {
                0 => return Err(at),
                counter if self.counters[counter as usize - 1].0.is(value) => return Ok(counter as usize - 1),
                _ => at += 1,
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.index = vec![0; self.index.len() * 2];
        for counter in 0..self.counters.len() {
            if let Err(free) = self.find(self.counters[counter].0.view()) {
                self.index[free] = number(counter + 1);
            }
        }
    }
}

fn number(counter: usize) -> u32 {
    u32::try_from(counter).expect("`default` has checked how many there are")
}

impl<K: Key, const N: usize> Aggregate for Tally<K, N> {
    fn merge(&mut self, later: Self) {
        let Some(later) = later.0 else { return };
        let all = self.counters();
        later.counters.iter().for_each(|(value, count)| all.add(value.view(), *count, N));
        all.others += later.others;
    }

    #[inline]
    fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.heap)
    }
}

impl<K: Key, const N: usize> Incremental for Tally<K, N> {
    type Change = Vec<(Option<K>, i64)>;

    const ADDITIVE: bool = false;

    fn change(&mut self) -> Self::Change {
        let mut change = Vec::new();
        let Some(all) = &mut self.0 else { return change };
        for (value, count) in &mut all.counters {
            if *count > 0 {
                change.push((Some(value.clone()), std::mem::take(count)));
            }
        }
        if all.others > 0 {
            change.push((None, std::mem::take(&mut all.others)));
        }
        change
    }

    fn weight(change: &Self::Change) -> usize {
        let mut weight = 0;
        for (value, _) in change {
            weight += COUNTER + value.as_ref().map_or(0, K::heap);
        }
        weight
    }
}

impl<K: Key, const N: usize> Stored for Tally<K, N> {
    fn write(&self, bytes: &mut Vec<u8>) {
        match &self.0 {
            None => (0_u64, 0_i64).write(bytes),
            Some(all) => {
                all.counters.write(bytes);
                all.others.write(bytes);
            }
        }
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let mut tally = Tally::default();
        for different in 1..=u64::read(input)? {
            let (value, count) = <(K, i64)>::read(input)?;
            let all = tally.counters();
            all.add(value.view(), count, N);
            // Neither twice nor too many.
            if all.counters.len() as u64 != different {
                return None;
            }
        }
        let others = i64::read(input)?;
        if others != 0 {
            tally.counters().others = others;
        }
        Some(tally)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::saved;
    use super::*;

    type Texts<const N: usize> = Tally<String, N>;

    fn of<const N: usize>(values: &[&str]) -> Texts<N> {
        let mut tally = Tally::default();
        values.iter().copied().for_each(|value| tally.add(value));
        tally
    }

    fn text(change: &[(Option<String>, i64)]) -> Vec<String> {
        change.iter().map(|(value, count)| format!("{}={count}", value.as_deref().unwrap_or("?"))).collect()
    }

    #[test]
    fn the_first_values_are_counted_and_the_others_together() {
        let tally = saved(&of::<2>(&["b", "a", "c", "b", "d"]));
        assert_eq!(tally.iter().collect::<Vec<_>>(), [(Some("b"), 2), (Some("a"), 1), (None, 2)]);
        assert_eq!(of::<2>(&[]).iter().count(), 0);
        assert_eq!(saved(&of::<1>(&["", ""])).iter().collect::<Vec<_>>(), [(Some(""), 2)]);
    }

    #[test]
    fn a_change_is_what_came_since_the_last_and_the_first_values_stay() {
        let mut tally = of::<2>(&["a", "b", "c"]);
        assert_eq!(text(&tally.change()), ["a=1", "b=1", "?=1"]);
        assert!(tally.change().is_empty());
        let heap = tally.heap();
        let mut tally = saved(&tally);
        ["c", "b", "b"].into_iter().for_each(|value| tally.add(value));
        assert_eq!(tally.heap(), heap, "what it costs does not depend on when it was handed out");
        let change = tally.change();
        assert_eq!(text(&change), ["b=2", "?=1"]);
        assert_eq!(Texts::<2>::weight(&change), 2 * COUNTER + "b".len() + 8);
    }

    #[test]
    fn changes_add_up_to_the_counts_however_they_are_cut() {
        let values = || (0..2000_u64).map(|i| i * i * 7919 % 61 % 40);
        let whole = {
            let mut whole = Tally::<u64, 20>::default();
            values().for_each(|value| whole.add(value));
            whole.change().into_iter().collect::<BTreeMap<_, _>>()
        };
        assert!(whole.len() == 21 && whole.values().sum::<i64>() == 2000);
        for every in [1, 7, 100] {
            let (mut tally, mut sums) = (Tally::<u64, 20>::default(), BTreeMap::new());
            for (i, value) in values().enumerate() {
                tally.add(value);
                if i % every == 0 {
                    tally
                        .change()
                        .into_iter()
                        .for_each(|(value, count)| *sums.entry(value).or_insert(0) += count);
                    tally = saved(&tally);
                }
            }
            tally.change().into_iter().for_each(|(value, count)| *sums.entry(value).or_insert(0) += count);
            assert_eq!(sums, whole);
        }
    }

    #[test]
    fn merged_tallies_have_the_values_of_both() {
        let mut tally = of::<3>(&["a", "b"]);
        tally.merge(of(&["b", "c", "d", "d", "e"]));
        assert_eq!(text(&tally.change()), ["a=1", "b=2", "c=1", "?=3"]);
    }

    #[test]
    fn bytes_that_are_no_tally_are_refused() {
        let read = |counters: Vec<(u64, i64)>| {
            let mut bytes = Vec::new();
            (counters, 0_i64).write(&mut bytes);
            Tally::<u64, 2>::read(&mut Input::new(&bytes)).is_some()
        };
        assert!(read(vec![(1, 1), (2, 0)]));
        assert!(!read(vec![(1, 1), (1, 1)]), "a value twice");
        assert!(!read(vec![(1, 1), (2, 1), (3, 1)]), "too many");
    }
}
