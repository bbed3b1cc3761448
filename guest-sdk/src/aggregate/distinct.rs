//! How many different values there were: exact while there are few, then a HyperLogLog sketch.

use std::borrow::Cow;

use super::hashes::Hashes;
use super::hll::{Hll, sketch};
use super::{Aggregate, Incremental, Stable};
use crate::stored::{Input, Stored, write_bytes};

/// How many different values there were.
///
/// Up to `EXACT` values it keeps a 64-bit hash of each, and the number is exact (of a million values, two have the same
/// hash with a chance of 1 in 30 million). Beyond, or if memory is short, the hashes become a HyperLogLog sketch of
/// `2^LG_K` registers of six bits. The number then has a relative standard error of `0.83 / sqrt(2^LG_K)` (1.3 % by
/// default: in one of twenty cases it is off by more than 2.6 %), after a merge of `1.04 / sqrt(2^LG_K)` (1.6 %).
///
/// ```
/// let mut users: tidemill_sdk::aggregate::Distinct = Default::default();
/// for user in ["u1", "u2", "u1"] {
///     users.add(user);
/// }
/// assert_eq!(users.get(), 2);
/// ```
///
/// Numbers of different windows, keys or partitions do not add up to the number of all of them: a user who is in two
/// counts twice. Where that is needed, hand out [`sketch`](Self::sketch) in a `Bytes` column of a table that is not
/// merged, and let the reader unite the sketches.
#[derive(Clone, Debug)]
pub struct Distinct<const EXACT: usize = 4096, const LG_K: u8 = 12> {
    seen: Seen,
    /// Hashes that were added to what is large, and not looked at yet: where they lie is not at hand, and to fetch it for
    /// several at a time takes hardly longer than for one.
    waiting: Option<Box<Waiting>>,
    /// The number when the last change was handed out.
    emitted: i64,
}

/// How many hashes wait at most.
const WAITING: usize = 16;

/// Hashes that wait, apart: what is small has none.
#[derive(Clone, Debug, Default)]
struct Waiting {
    len: usize,
    hashes: [u64; WAITING],
}

#[derive(Clone)]
enum Seen {
    /// The hashes themselves.
    Exact(Hashes),
    Sketch(Box<Hll>),
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Exact(hashes) => write!(f, "{} values", hashes.len()),
            Seen::Sketch(sketch) => write!(f, "about {} values", number(sketch)),
        }
    }
}

impl<const EXACT: usize, const LG_K: u8> Default for Distinct<EXACT, LG_K> {
    fn default() -> Self {
        const { assert!(LG_K >= 4 && LG_K <= 16, "a sketch has 2^4 to 2^16 registers") };
        Distinct { seen: Seen::Exact(Hashes::default()), waiting: None, emitted: 0 }
    }
}

impl<const EXACT: usize, const LG_K: u8> Distinct<EXACT, LG_K> {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: impl Stable) {
        self.add_hash(value.hash());
    }

    /// Adds a value by its [`Stable`] hash.
    #[inline]
    pub fn add_hash(&mut self, hash: u64) {
        match &mut self.seen {
            Seen::Exact(hashes) if hashes.is_small() => {
                if hashes.add(hash) && hashes.len() > EXACT {
                    self.estimate();
                }
            }
            // It became so when what waited was taken in: nothing waits.
            Seen::Sketch(sketch) if sketch.is_quiet() => sketch.add(hash),
            _ => {
                let waiting = self.waiting.get_or_insert_default();
                waiting.hashes[waiting.len % WAITING] = hash;
                waiting.len += 1;
                if waiting.len == WAITING {
                    self.take_in();
                }
            }
        }
    }

    /// Looks at what waits, in the order in which it came.
    #[inline(never)]
    fn take_in(&mut self) {
        let Some(all) = &mut self.waiting else { return };
        let mut waiting = &all.hashes[..all.len];
        if let Seen::Exact(hashes) = &mut self.seen {
            hashes.fetch(waiting);
            while let [hash, rest @ ..] = waiting {
                waiting = rest;
                if hashes.add(*hash) && hashes.len() > EXACT {
                    self.seen = Seen::Sketch(Box::new(Hll::of(LG_K, hashes.iter())));
                    break;
                }
            }
        }
        if let Seen::Sketch(sketch) = &mut self.seen {
            sketch.add_all(waiting);
        }
        all.len = 0;
    }

    /// How many hashes wait.
    #[inline]
    fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len)
    }

    /// The same, with nothing that waits.
    fn settled(&self) -> Cow<'_, Self> {
        if self.waiting() == 0 {
            return Cow::Borrowed(self);
        }
        let mut settled = self.clone();
        settled.settle();
        Cow::Owned(settled)
    }

    /// How many different values there were, about.
    pub fn get(&self) -> i64 {
        match &self.settled().seen {
            Seen::Exact(hashes) => i64::try_from(hashes.len()).unwrap_or(i64::MAX),
            Seen::Sketch(sketch) => number(sketch),
        }
    }

    /// Whether the number is exact.
    pub fn is_exact(&self) -> bool {
        matches!(self.settled().seen, Seen::Exact(_))
    }

    /// A sketch of the values in the bytes of Apache DataSketches (HLL_6), which its libraries, DuckDB (extension
    /// `datasketches`), Spark (`hll_sketch_estimate`, `hll_union_agg`) and Druid read and unite.
    ///
    /// Its items are the 64-bit hashes of the values: unite it with sketches made by this SDK, not with sketches that
    /// were made elsewhere of the values themselves.
    pub fn sketch(&self) -> Vec<u8> {
        match &self.settled().seen {
            Seen::Exact(hashes) => sketch(LG_K, &hashes.sorted()),
            Seen::Sketch(sketch) => sketch.bytes(),
        }
    }

    /// Goes on with a sketch.
    #[cold]
    fn estimate(&mut self) {
        if let Seen::Exact(hashes) = &self.seen {
            self.seen = Seen::Sketch(Box::new(Hll::of(LG_K, hashes.iter())));
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn number(sketch: &Hll) -> i64 {
    sketch.estimate().round() as i64
}

impl<const EXACT: usize, const LG_K: u8> Aggregate for Distinct<EXACT, LG_K> {
    fn merge(&mut self, mut later: Self) {
        self.settle();
        later.settle();
        match (&mut self.seen, later.seen) {
            (_, Seen::Exact(hashes)) => hashes.sorted().into_iter().for_each(|hash| self.add_hash(hash)),
            (Seen::Exact(hashes), Seen::Sketch(mut sketch)) => {
                sketch.add_all(&hashes.sorted());
                self.seen = Seen::Sketch(sketch);
            }
            (Seen::Sketch(sketch), Seen::Sketch(later)) => sketch.merge(&later),
        }
        self.settle();
        self.emitted += later.emitted;
    }

    #[inline]
    fn heap(&self) -> usize {
        self.settled().most()
    }

    #[inline]
    fn most(&self) -> usize {
        match &self.seen {
            // Eight in a snapshot; in memory, a table is between three eighths and three quarters full.
            Seen::Exact(hashes) => {
                let most = hashes.len() + self.waiting();
                let sketch = if most > EXACT { Hll::size(LG_K) } else { 0 };
                sketch.max(most * 12)
            }
            Seen::Sketch(_) => Hll::size(LG_K),
        }
    }

    #[inline]
    fn settle(&mut self) {
        if self.waiting() > 0 {
            self.take_in();
        }
    }

    fn shrink(&mut self, least: usize) {
        self.settle();
        if let Seen::Exact(hashes) = &self.seen
            && hashes.len() >= least
            && self.heap() > Hll::size(LG_K)
        {
            self.estimate();
        }
    }
}

impl<const EXACT: usize, const LG_K: u8> Incremental for Distinct<EXACT, LG_K> {
    /// May be negative, when the number becomes an estimate: the sum is the number.
    type Change = i64;

    const ADDITIVE: bool = false;

    fn change(&mut self) -> i64 {
        self.settle();
        let now = self.get();
        now - std::mem::replace(&mut self.emitted, now)
    }
}

impl<const EXACT: usize, const LG_K: u8> Stored for Distinct<EXACT, LG_K> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let settled = self.settled();
        (self.emitted, settled.is_exact()).write(bytes);
        match &settled.seen {
            Seen::Exact(hashes) => {
                (hashes.len() as u64).write(bytes);
                hashes.sorted().into_iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
            }
            Seen::Sketch(sketch) => write_bytes(&sketch.bytes(), bytes),
        }
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (emitted, exact) = <(i64, bool)>::read(input)?;
        if !exact {
            let sketch = Hll::read(LG_K, input.bytes()?)?;
            return Some(Distinct { seen: Seen::Sketch(Box::new(sketch)), waiting: None, emitted });
        }
        let length = usize::try_from(u64::read(input)?).ok().filter(|length| *length <= EXACT)?;
        let (hashes, _) = input.take(length * 8)?.as_chunks::<8>();
        let (mut seen, mut last) = (Hashes::default(), None);
        for hash in hashes {
            let hash = u64::from_le_bytes(*hash);
            if Some(hash) <= last {
                return None;
            }
            last = Some(hash);
            seen.add(hash);
        }
        Some(Distinct { seen: Seen::Exact(seen), waiting: None, emitted })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::saved;
    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Distinct {
        let mut distinct = Distinct::default();
        values.into_iter().for_each(|value| distinct.add(value));
        distinct
    }

    #[test]
    fn it_is_exact_up_to_its_bound_and_then_close() {
        assert_eq!(of([]).get(), 0);
        assert_eq!(saved(&of([])).get(), 0);
        let exact = of((0..4096).chain(0..4096));
        assert_eq!((exact.get(), exact.is_exact(), exact.heap()), (4096, true, 49_152));
        assert_eq!(saved(&of(0..300)).get(), 300);
        let waiting = of(0..307);
        assert!(waiting.waiting() > 0);
        assert_eq!((waiting.get(), waiting.is_exact(), waiting.heap()), (307, true, 307 * 12));
        assert_eq!((waiting.clone().change(), saved(&waiting).get()), (307, 307));
        for many in [4097, 20_000, 300_000] {
            let estimate = of((0..many).chain(0..many));
            assert!(!estimate.is_exact() && estimate.heap() < 3500);
            let error = (estimate.get() - many).abs();
            assert!(error * 100 < many * 3, "{many}: {error}");
        }
    }

    #[test]
    fn a_sketch_goes_on_after_it_was_saved_as_if_it_was_not() {
        for shrink in [300, 1000, 3000] {
            let mut whole = of(0..shrink);
            whole.shrink(256);
            assert!(!whole.is_exact());
            let mut restored = saved(&whole);
            for value in shrink..shrink * 20 {
                whole.add(value);
                restored.add(value);
                if value % 1000 == 0 {
                    restored = saved(&restored);
                }
            }
            assert_eq!((restored.get(), restored.sketch()), (whole.get(), whole.sketch()));
        }
    }

    /// The same values, looked at one by one, and whenever somebody asks: whoever asks sees the same.
    fn when_values_are_looked_at_does_not_matter<const EXACT: usize, const LG_K: u8>(
        values: usize,
        bound: u64,
    ) {
        let (mut eager, mut lazy) = (Distinct::<EXACT, LG_K>::default(), Distinct::<EXACT, LG_K>::default());
        let mut random = 7_u64;
        for added in 0..values {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (random >> 33) % bound;
            eager.add(value);
            eager.settle();
            lazy.add(value);
            assert!(lazy.most() >= eager.heap() && eager.most() == eager.heap());
            let ask = if added < 1000 { random >> 60 } else { random >> 50 };
            match ask {
                0 => lazy = saved(&lazy),
                1 => assert_eq!(lazy.change(), eager.change()),
                2 => {
                    lazy.shrink(200);
                    eager.shrink(200);
                }
                3 => {
                    let other = lazy.clone();
                    lazy.merge(other.clone());
                    eager.merge(other);
                }
                4 => assert_eq!((lazy.get(), lazy.is_exact()), (eager.get(), eager.is_exact())),
                5 => lazy.settle(),
                _ => {}
            }
            if ask < 6 || added % 512 == 0 {
                let bytes = |distinct: &Distinct<EXACT, LG_K>| {
                    let mut bytes = Vec::new();
                    distinct.write(&mut bytes);
                    bytes
                };
                assert_eq!((bytes(&lazy), lazy.heap()), (bytes(&eager), eager.heap()), "{added}");
                assert_eq!(lazy.sketch(), eager.sketch());
            }
        }
    }

    #[test]
    fn when_values_are_looked_at_makes_no_difference() {
        for bound in [50, 150, 1000, 20_000] {
            when_values_are_looked_at_does_not_matter::<4096, 12>(12_000, bound);
            when_values_are_looked_at_does_not_matter::<300, 6>(12_000, bound);
            // A sketch that is larger than the set.
            when_values_are_looked_at_does_not_matter::<140, 14>(2000, bound);
        }
    }

    #[test]
    fn shrinking_takes_large_sets_only() {
        let mut distinct = of(0..100);
        distinct.shrink(0);
        assert!(distinct.is_exact(), "a sketch would be larger");
        let mut distinct = of(0..1000);
        distinct.shrink(1001);
        assert!(distinct.is_exact());
        distinct.shrink(1000);
        assert!(!distinct.is_exact());
    }

    #[test]
    fn changes_add_up_to_the_number() {
        let mut distinct = Distinct::<64, 8>::default();
        let mut sum = 0;
        for value in 0..500 {
            distinct.add(value);
            if value % 7 == 0 {
                distinct = saved(&distinct);
                sum += distinct.change();
                assert_eq!(sum, distinct.get());
                assert_eq!(distinct.change(), 0);
            }
        }
    }

    #[test]
    fn merged_sets_have_the_values_of_both() {
        let few = || of(0..100);
        let many = || of(50..10_000);
        let merged = |mut a: Distinct, b: Distinct| {
            a.merge(b);
            saved(&a).get()
        };
        assert_eq!(merged(few(), of(50..150)), 150);
        assert_eq!(merged(of(0..4000), of(2000..4096)), 4096);
        for number in [merged(few(), many()), merged(many(), few()), merged(many(), of(0..10_000))] {
            assert!((number - 10_000).abs() < 300, "{number}");
        }
    }

    #[test]
    fn bytes_that_are_no_set_are_refused() {
        let read = |bytes: &[u8]| Distinct::<4, 12>::read(&mut Input::new(bytes)).is_some();
        let set = |hashes: &[u64]| {
            let mut bytes = vec![0, 1, hashes.len().to_le_bytes()[0]];
            hashes.iter().for_each(|hash| bytes.extend(hash.to_le_bytes()));
            bytes
        };
        assert!(read(&set(&[0, 2, 3, u64::MAX])));
        for hashes in [&[2, 1][..], &[1, 1], &[1, 2, 3, 4, 5]] {
            assert!(!read(&set(hashes)));
        }
        let sketch = |bytes: &[u8]| {
            let mut state = vec![0, 0];
            write_bytes(bytes, &mut state);
            read(&state)
        };
        let of = |lg_k: u8| Hll::of(lg_k, [1, 2].into_iter()).bytes();
        assert!(sketch(&of(12)) && !sketch(&of(11)) && !sketch(&[1, 2, 3]));
    }
}
