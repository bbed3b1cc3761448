//! How many different values there were: exact while there are few, then a HyperLogLog sketch.

use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use hashbrown::HashTable;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Aggregate, Incremental, Stable};

/// How many different values there were.
///
/// Up to `EXACT` values it keeps a 64-bit hash of each, and the number is exact (of a million values, two have the same
/// hash with a chance of 1 in 30 million). Beyond, or if memory is short, the hashes become an Apache DataSketches HLL
/// sketch of `2^LG_K` registers of four bits: the number then is off by more than `1.04 / sqrt(2^LG_K)` of it in one of
/// three cases (1.6 % of it by default, 3.2 % in one of twenty), and the sketch takes `2^LG_K / 2` bytes and some.
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
    /// The number when the last change was handed out.
    emitted: i64,
}

#[derive(Clone)]
enum Seen {
    /// The hashes themselves; being hashes they need no other in the table.
    Exact(HashTable<u64>),
    Sketch(Box<HllSketch>),
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
        const { assert!(LG_K >= 4 && LG_K <= 21, "a sketch has 2^4 to 2^21 registers") };
        Distinct { seen: Seen::Exact(HashTable::new()), emitted: 0 }
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
            Seen::Exact(hashes) => {
                if hashes.find(hash, |have| *have == hash).is_some() {
                    return;
                }
                hashes.insert_unique(hash, hash, |hash| *hash);
                if hashes.len() > EXACT {
                    self.estimate();
                }
            }
            Seen::Sketch(sketch) => sketch.update_with_coupon(Coupon::from_value(hash)),
        }
    }

    /// How many different values there were, about.
    pub fn get(&self) -> i64 {
        match &self.seen {
            Seen::Exact(hashes) => i64::try_from(hashes.len()).unwrap_or(i64::MAX),
            Seen::Sketch(sketch) => number(sketch),
        }
    }

    /// Whether the number is exact.
    pub fn is_exact(&self) -> bool {
        matches!(self.seen, Seen::Exact(_))
    }

    /// An Apache DataSketches HLL sketch of the values, in the bytes that all its libraries, DuckDB (extension
    /// `datasketches`), Spark (`hll_sketch_estimate`, `hll_union_agg`) and Druid read and unite.
    ///
    /// Its items are the 64-bit hashes of the values: unite it with sketches made by this SDK, not with sketches that
    /// were made elsewhere of the values themselves.
    pub fn sketch(&self) -> Vec<u8> {
        match &self.seen {
            Seen::Exact(hashes) => bytes(&sketch_of(hashes, LG_K)),
            Seen::Sketch(sketch) => bytes(sketch),
        }
    }

    /// Goes on with a sketch.
    #[cold]
    fn estimate(&mut self) {
        if let Seen::Exact(hashes) = &self.seen {
            self.seen = Seen::Sketch(Box::new(sketch_of(hashes, LG_K)));
        }
    }
}

/// Sorted, because the estimate depends on the order in which values came.
fn sorted(hashes: &HashTable<u64>) -> Vec<u64> {
    let mut hashes: Vec<u64> = hashes.iter().copied().collect();
    hashes.sort_unstable();
    hashes
}

fn sketch_of(hashes: &HashTable<u64>, lg_k: u8) -> HllSketch {
    let mut sketch =
        HllSketch::new(lg_k, HllType::Hll4).expect("`default` has checked the number of registers");
    for hash in sorted(hashes) {
        sketch.update_with_coupon(Coupon::from_value(hash));
    }
    sketch
}

#[allow(clippy::cast_possible_truncation)]
fn number(sketch: &HllSketch) -> i64 {
    sketch.estimate().round() as i64
}

/// The sketch's bytes, the same for the same content: what it keeps in tables is sorted.
fn bytes(sketch: &HllSketch) -> Vec<u8> {
    let mut bytes = sketch.serialize();
    // The first byte tells the layout: few values as a list, more as a set, else registers and those that need
    // more than four bits.
    let table = match bytes[0] {
        2 => 8,
        3 => 12,
        _ => 40 + (1 << sketch.lg_config_k() >> 1),
    };
    if let Some(table) = bytes.get_mut(table..) {
        table.as_chunks_mut::<4>().0.sort_unstable();
    }
    bytes
}

impl<const EXACT: usize, const LG_K: u8> Aggregate for Distinct<EXACT, LG_K> {
    fn merge(&mut self, later: Self) {
        match (&mut self.seen, later.seen) {
            (_, Seen::Exact(hashes)) => sorted(&hashes).into_iter().for_each(|hash| self.add_hash(hash)),
            (Seen::Exact(hashes), Seen::Sketch(mut sketch)) => {
                for hash in sorted(hashes) {
                    sketch.update_with_coupon(Coupon::from_value(hash));
                }
                self.seen = Seen::Sketch(sketch);
            }
            (Seen::Sketch(sketch), Seen::Sketch(later)) => {
                let mut union = HllUnion::new(LG_K).expect("`default` has checked the number of registers");
                union.update(sketch);
                union.update(&later);
                **sketch = union.to_sketch(HllType::Hll4);
            }
        }
        self.emitted += later.emitted;
    }

    #[inline]
    fn heap(&self) -> usize {
        match &self.seen {
            // A table has up to twice the room, and a byte beside each hash.
            Seen::Exact(hashes) => hashes.len() * 16,
            Seen::Sketch(_) => 128 + (1 << LG_K >> 1),
        }
    }

    fn shrink(&mut self, least: usize) {
        if let Seen::Exact(hashes) = &self.seen
            && hashes.len() >= least
            && self.heap() > 128 + (1 << LG_K >> 1)
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
        let now = self.get();
        now - std::mem::replace(&mut self.emitted, now)
    }
}

impl<const EXACT: usize, const LG_K: u8> Serialize for Distinct<EXACT, LG_K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (exact, bytes) = match &self.seen {
            Seen::Exact(hashes) => (true, sorted(hashes).into_iter().flat_map(u64::to_le_bytes).collect()),
            Seen::Sketch(sketch) => (false, bytes(sketch)),
        };
        (self.emitted, exact, bytes).serialize(serializer)
    }
}

impl<'de, const EXACT: usize, const LG_K: u8> Deserialize<'de> for Distinct<EXACT, LG_K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (emitted, exact, bytes) = <(i64, bool, &[u8])>::deserialize(deserializer)?;
        if !exact {
            let sketch = HllSketch::deserialize(bytes).map_err(D::Error::custom)?;
            if sketch.lg_config_k() != LG_K || sketch.target_type() != HllType::Hll4 {
                return Err(D::Error::custom("a sketch of another size"));
            }
            return Ok(Distinct { seen: Seen::Sketch(Box::new(sketch)), emitted });
        }
        let (hashes, rest) = bytes.as_chunks::<8>();
        let hashes = || hashes.iter().copied().map(u64::from_le_bytes);
        if !rest.is_empty() || !hashes().is_sorted_by(|a, b| a < b) || hashes().len() > EXACT {
            return Err(D::Error::custom("a set of values that is none"));
        }
        let mut seen = HashTable::with_capacity(hashes().len());
        hashes().for_each(|hash| {
            seen.insert_unique(hash, hash, |hash| *hash);
        });
        Ok(Distinct { seen: Seen::Exact(seen), emitted })
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
        assert_eq!((exact.get(), exact.is_exact(), exact.heap()), (4096, true, 65_536));
        assert_eq!(saved(&of(0..300)).get(), 300);
        for many in [4097, 20_000, 300_000] {
            let estimate = of((0..many).chain(0..many));
            assert!(!estimate.is_exact() && estimate.heap() < 2500);
            let error = (estimate.get() - many).abs();
            assert!(error * 100 < many * 3, "{many}: {error}");
        }
    }

    #[test]
    fn a_sketch_goes_on_after_it_was_saved_as_if_it_was_not() {
        for shrink in [260, 1000, 3000] {
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
    fn a_sketch_is_what_the_library_reads() {
        for distinct in [of([]), of(0..5), of(0..200), of(0..100_000)] {
            let sketch = HllSketch::deserialize(&distinct.sketch()).expect("a sketch");
            assert_eq!((sketch.lg_config_k(), sketch.target_type()), (12, HllType::Hll4));
            let error = (number(&sketch) - distinct.get()).abs();
            assert!(error * 100 <= distinct.get(), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_set_are_refused() {
        let read = |exact: bool, bytes: &[u8]| {
            let bytes = postcard::to_allocvec(&(0_i64, exact, bytes)).expect("memory grows");
            postcard::from_bytes::<Distinct<4, 12>>(&bytes).is_ok()
        };
        let set = |hashes: &[u64]| hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect::<Vec<u8>>();
        assert!(read(true, &set(&[1, 2, 3, 4])));
        for bytes in [set(&[2, 1]), set(&[1, 1]), set(&[1, 2, 3, 4, 5]), vec![0; 9]] {
            assert!(!read(true, &bytes));
        }
        let sketch = |lg_k: u8| bytes(&HllSketch::new(lg_k, HllType::Hll4).expect("registers"));
        assert!(read(false, &sketch(12)) && !read(false, &sketch(11)) && !read(false, &[1, 2, 3]));
    }
}
