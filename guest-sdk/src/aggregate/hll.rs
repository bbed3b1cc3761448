//! A HyperLogLog sketch, in the bytes of Apache DataSketches (HLL_6).
//!
//! DataSketches' own crate would make each component 70 KB larger, half of it tables of an estimator that is needed
//! after merges only: this is the part that a guest needs. Tests hold it to the crate: the same registers, and bytes that
//! the crate reads.
//!
//! Values are counted as they come (HIP: each change of a register counts as many values as it takes for one on
//! average), which is closer than what registers alone tell. After a merge the registers have to do (Ertl, "New
//! cardinality estimation algorithms for HyperLogLog sketches", 2017).

/// A sketch of `2^lg_k` registers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hll {
    lg_k: u8,
    /// Six bits each, least significant first; a byte more, so that each register lies within two bytes.
    registers: Box<[u8]>,
    /// About how many values there were, if they came one by one; none: after a merge.
    counted: Option<f64>,
    /// The sum of `2^-register`. Registers of 32 and more apart: so both sums are exact.
    sums: [f64; 2],
    zeros: u32,
}

/// How many values are added at a time.
const AT_ONCE: usize = 16;
/// Bytes before the registers: sizes, flags, the number and both sums.
const HEAD: usize = 40;
/// What tells the layout: the first bytes, and the kind of registers.
const LIST: [u8; 3] = [2, 1, 7];
const SET: [u8; 3] = [3, 1, 7];
const REGISTERS: [u8; 3] = [10, 1, 7];
const HLL_6: u8 = 1 << 2;
/// Flags.
const EMPTY: u8 = 4;
const COMPACT: u8 = 8;
const MERGED: u8 = 16;
/// A coupon is a value's register (26 bits) and what that is raised to (6 bits).
const SLOT_BITS: u32 = 26;

impl Hll {
    /// Of no value. `lg_k` is 4 to 16.
    fn new(lg_k: u8) -> Self {
        let k = 1_u32 << lg_k;
        let registers = vec![0; k as usize * 3 / 4 + 1].into();
        Hll { lg_k, registers, counted: Some(0.0), sums: [f64::from(k), 0.0], zeros: k }
    }

    /// Of values by their hashes, each once.
    pub(super) fn of(lg_k: u8, hashes: impl Iterator<Item = u64>) -> Self {
        let (mut hll, mut number) = (Hll::new(lg_k), 0);
        let mut some = [0; AT_ONCE];
        for hash in hashes {
            some[number % AT_ONCE] = hash;
            number += 1;
            if number.is_multiple_of(AT_ONCE) {
                hll.add_all(&some);
            }
        }
        hll.add_all(&some[..number % AT_ONCE]);
        // This is known, and better than an estimate.
        hll.counted = Some(count(number));
        hll
    }

    /// Bytes that it takes.
    pub(super) const fn size(lg_k: u8) -> usize {
        (1 << lg_k) * 3 / 4 + 1 + 88
    }

    /// Whether few values raise a register, at most one of sixteen. Once it is so, it stays so.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.sums[0] * 16.0 <= f64::from(1_u32 << self.lg_k)
    }

    /// Adds a value by its hash.
    #[inline]
    pub(super) fn add(&mut self, hash: u64) {
        self.take(coupon(hash));
    }

    #[inline]
    fn take(&mut self, coupon: u32) {
        self.raise(coupon & ((1 << self.lg_k) - 1), u16::from((coupon >> SLOT_BITS).to_le_bytes()[0]));
    }

    /// Adds values by their hashes. Whether one raises its register, nobody can predict, and what is computed beyond a
    /// wrong guess is lost: so the coupons of several come first.
    #[inline(never)]
    pub(super) fn add_all(&mut self, hashes: &[u64]) {
        let mut coupons = [0; AT_ONCE];
        for hashes in hashes.chunks(AT_ONCE) {
            for (coupon, hash) in coupons.iter_mut().zip(hashes) {
                *coupon = self::coupon(*hash);
            }
            let coupons = &coupons[..hashes.len()];
            coupons.iter().for_each(|coupon| self.take(*coupon));
        }
    }

    /// Raises a register to a value, unless it is as high already, as most are.
    #[inline]
    fn raise(&mut self, slot: u32, value: u16) {
        let old = self.register(slot);
        if value > old {
            self.set(slot, old, value);
        }
    }

    #[inline(never)]
    fn set(&mut self, slot: u32, old: u16, value: u16) {
        let (at, shift) = ((slot * 6 / 8) as usize, slot * 6 % 8);
        let Some([low, high]) = self.registers.get_mut(at..at + 2) else { return };
        let both = u16::from_le_bytes([*low, *high]);
        [*low, *high] = (both & !(63 << shift) | value << shift).to_le_bytes();
        if let Some(counted) = &mut self.counted {
            *counted += f64::from(1_u32 << self.lg_k) / (self.sums[0] + self.sums[1]);
        }
        self.sums[usize::from(old >= 32)] -= power(old);
        self.sums[usize::from(value >= 32)] += power(value);
        self.zeros -= u32::from(old == 0);
    }

    #[inline]
    fn register(&self, slot: u32) -> u16 {
        let (at, shift) = ((slot * 6 / 8) as usize, slot * 6 % 8);
        let both = self.registers.get(at..at + 2).map_or(0, |both| u16::from_le_bytes([both[0], both[1]]));
        both >> shift & 63
    }

    /// Takes in the values of another one of the same size.
    pub(super) fn merge(&mut self, other: &Hll) {
        self.counted = None;
        for slot in 0..1 << self.lg_k {
            self.raise(slot, other.register(slot));
        }
    }

    /// How many values there were, about.
    pub(super) fn estimate(&self) -> f64 {
        self.counted.unwrap_or_else(|| self.by_registers())
    }

    fn by_registers(&self) -> f64 {
        let mut of_each = [0_u32; 64];
        (0..1 << self.lg_k).for_each(|slot| of_each[usize::from(self.register(slot))] += 1);
        let k = f64::from(1_u32 << self.lg_k);
        let mut z = k * tau(1.0 - f64::from(of_each[63]) / k);
        for number in of_each[1..63].iter().rev() {
            z = 0.5 * (z + f64::from(*number));
        }
        z += k * sigma(f64::from(of_each[0]) / k);
        k * k / (2.0 * std::f64::consts::LN_2 * z)
    }

    /// The sketch as bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.registers.len());
        let flags = if self.counted.is_some() { 0 } else { MERGED };
        bytes.extend(REGISTERS);
        bytes.extend([self.lg_k, 0, flags, 0, HLL_6 | 2]);
        for number in [self.counted.unwrap_or(0.0), self.sums[0], self.sums[1]] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.zeros.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.registers);
        bytes
    }

    /// A sketch from its [`bytes`](Self::bytes); none if they are not. (Not from all that DataSketches writes.)
    pub(super) fn read(lg_k: u8, bytes: &[u8]) -> Option<Self> {
        let (head, registers) = bytes.split_at_checked(HEAD)?;
        let mut hll = Hll::new(lg_k);
        if registers.len() != hll.registers.len() {
            return None;
        }
        hll.registers.copy_from_slice(registers);
        // What follows from the registers is not believed.
        (hll.sums, hll.zeros) = ([0.0; 2], 0);
        for slot in 0..1 << lg_k {
            let value = hll.register(slot);
            hll.sums[usize::from(value >= 32)] += power(value);
            hll.zeros += u32::from(value == 0);
        }
        let counted = f64::from_le_bytes(*head[8..].first_chunk()?);
        hll.counted = (head[5] & MERGED == 0).then_some(counted);
        (hll.bytes() == bytes && counted.is_finite() && registers.last() == Some(&0)).then_some(hll)
    }
}

/// The bytes of a sketch of values by their hashes, which are sorted: few are listed.
pub(super) fn sketch(lg_k: u8, hashes: &[u64]) -> Vec<u8> {
    let mut coupons: Vec<u32> = hashes.iter().map(|hash| coupon(*hash)).collect();
    super::sort(&mut coupons);
    coupons.dedup();
    let number = coupons.len();
    // A set is kept in a table that is at most three quarters full.
    let table = (5..lg_k.saturating_sub(2)).find(|lg_size| number * 4 <= 3 << lg_size);
    let mut bytes = Vec::new();
    match (number, table) {
        (0..8, _) => {
            bytes.extend(LIST);
            let flags = COMPACT | if number == 0 { EMPTY } else { 0 };
            bytes.extend([lg_k, 3, flags, number.to_le_bytes()[0], HLL_6]);
        }
        (_, Some(lg_size)) => {
            bytes.extend(SET);
            bytes.extend([lg_k, lg_size, COMPACT, 0, HLL_6 | 1]);
            bytes.extend(&number.to_le_bytes()[..4]);
        }
        _ => return Hll::of(lg_k, hashes.iter().copied()).bytes(),
    }
    bytes.extend(coupons.iter().flat_map(|coupon| coupon.to_le_bytes()));
    bytes
}

/// The register of a value, and what that is raised to: as DataSketches does with a 64-bit number (MurmurHash3, 128
/// bits, seed 9001).
#[inline]
fn coupon(hash: u64) -> u32 {
    const SEED: u64 = 9001;
    let k = hash.wrapping_mul(0x87c3_7b91_1142_53d5).rotate_left(31).wrapping_mul(0x4cf5_ad43_2745_937f);
    let (low, high) = (SEED ^ k ^ 8, SEED ^ 8);
    let low = low.wrapping_add(high);
    let high = high.wrapping_add(low);
    let (low, high) = (spread(low), spread(high));
    let low = low.wrapping_add(high);
    let high = high.wrapping_add(low);
    #[allow(clippy::cast_possible_truncation)]
    let slot = low as u32 & ((1 << SLOT_BITS) - 1);
    (high.leading_zeros().min(62) + 1) << SLOT_BITS | slot
}

#[inline]
fn spread(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// `2^-register`.
#[inline]
fn power(register: u16) -> f64 {
    f64::from_bits(u64::from(1023 - register) << 52)
}

#[allow(clippy::cast_precision_loss)]
fn count(number: usize) -> f64 {
    number as f64
}

/// Corrects for registers that are zero.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let last = z;
        z += x * y;
        y += y;
        if z <= last {
            return z;
        }
    }
}

/// Corrects for registers that can rise no more.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let last = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= last {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use datasketches::hll::{HllSketch, HllType, HllUnion};

    use super::super::Stable;
    use super::*;

    fn hashes(range: std::ops::Range<i64>) -> Vec<u64> {
        range.map(|value| value.hash()).collect()
    }

    fn theirs(lg_k: u8, hashes: &[u64]) -> HllSketch {
        let mut sketch = HllSketch::new(lg_k, HllType::Hll6).expect("registers");
        hashes.iter().for_each(|hash| sketch.update(*hash));
        sketch
    }

    #[test]
    fn it_has_the_registers_and_the_bytes_of_the_library() {
        for (lg_k, number) in [(4, 100), (8, 3000), (11, 1000), (12, 100_000), (16, 300_000)] {
            let hashes = hashes(0..number);
            let (mut ours, theirs) = (Hll::new(lg_k), theirs(lg_k, &hashes));
            ours.add_all(&hashes);
            let (bytes, want) = (ours.bytes(), theirs.serialize());
            // All but the number: the library estimates the first values otherwise.
            assert_eq!(
                (bytes[..5].to_vec(), bytes[16..].to_vec()),
                (want[..5].to_vec(), want[16..].to_vec())
            );
            let read = HllSketch::deserialize(&bytes).expect("a sketch");
            assert!((read.estimate() - ours.estimate()).abs() < 1e-6);
            assert!((ours.estimate() / theirs.estimate() - 1.0).abs() < 0.02, "{lg_k}");
        }
    }

    #[test]
    fn few_values_are_listed_as_the_library_does() {
        for number in [0, 1, 7, 8, 24, 25, 100, 190, 383, 384, 385, 2000] {
            let hashes = hashes(0..number);
            let bytes = sketch(12, &hashes);
            let read = HllSketch::deserialize(&bytes).expect("a sketch");
            let number = f64::from(i32::try_from(number).expect("small"));
            assert!((read.estimate() - number).abs() <= number * 0.01, "{number}: {}", read.estimate());
            assert!(bytes.len() <= theirs(12, &hashes).serialize().len() + 64, "{number}");
            // The library goes on with it, and unites it with others.
            let mut union = HllUnion::new(12).expect("registers");
            union.update(&read);
            union.update(&theirs(12, &self::hashes(100_000..110_000)));
            let both = number + 10_000.0;
            assert!((union.estimate() / both - 1.0).abs() < 0.03, "{number}: {}", union.estimate());
        }
    }

    #[test]
    fn merged_sketches_have_the_values_of_both() {
        for number in [0, 10, 500, 5000, 50_000, 500_000] {
            let mut ours = Hll::of(12, hashes(0..number).into_iter());
            ours.merge(&Hll::of(12, hashes(number / 2..number / 2 * 3).into_iter()));
            let want = f64::from(i32::try_from(number / 2 * 3).expect("small"));
            let read = HllSketch::deserialize(&ours.bytes()).expect("a sketch");
            for estimate in [ours.estimate(), read.estimate()] {
                assert!((estimate - want).abs() <= want * 0.04, "{want}: {estimate}");
            }
            assert_eq!(Hll::read(12, &ours.bytes()), Some(ours));
        }
    }

    #[test]
    fn it_is_as_close_as_it_should_be() {
        // Of many sketches, the mean error is that of the estimator.
        let (mut one_by_one, mut merged) = (0.0, 0.0);
        let runs = 60;
        for run in 0..runs {
            let begin = run * 1_000_000;
            let mut hll = Hll::new(10);
            hll.add_all(&hashes(begin..begin + 20_000));
            one_by_one += (hll.estimate() / 20_000.0 - 1.0).powi(2);
            hll.merge(&Hll::new(10));
            merged += (hll.estimate() / 20_000.0 - 1.0).powi(2);
        }
        let error = |sum: f64| (sum / 60.0).sqrt() * 32.0;
        assert!((0.65..1.0).contains(&error(one_by_one)), "0.83 / sqrt(k): {}", error(one_by_one));
        assert!((0.85..1.25).contains(&error(merged)), "1.04 / sqrt(k): {}", error(merged));
    }

    #[test]
    fn bytes_that_are_no_sketch_are_refused() {
        let hll = Hll::of(11, hashes(0..5000).into_iter());
        let bytes = hll.bytes();
        assert_eq!(Hll::read(11, &bytes), Some(hll));
        assert_eq!(Hll::read(12, &bytes), None);
        for at in (0..bytes.len()).filter(|at| !(8..16).contains(at)) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            assert_eq!(Hll::read(11, &changed), None, "{at}");
            assert_eq!(Hll::read(11, &bytes[..at]), None);
        }
    }
}
