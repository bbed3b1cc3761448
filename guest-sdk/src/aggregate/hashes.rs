//! A set of hashes. They are spread already, so that this is all it takes: in a component it is smaller than a
//! general one.

/// A set of 64-bit hashes.
///
/// Somebody who makes values whose hashes have the same high bits makes it slow; `Distinct` bounds how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashes {
    /// None, or a power of two of them, at most three quarters taken. A hash lies where its high bits say, or after those
    /// that were there first: so they lie nearly in order. 0 is free.
    slots: Vec<u64>,
    len: usize,
    /// Whether the hash 0, which marks what is free, is in it.
    zero: bool,
}

impl Hashes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether all of it is likely at hand.
    #[inline]
    pub(super) fn is_small(&self) -> bool {
        self.slots.len() <= 128
    }

    /// Fetches the places of hashes, all at a time: no load waits for another one.
    #[inline]
    pub(super) fn fetch(&self, hashes: &[u64]) {
        let at = |hash: &u64| self.slots.get(home(&self.slots, *hash)).copied().unwrap_or(0);
        std::hint::black_box(hashes.iter().fold(0, |any, hash| any | at(hash)));
    }

    /// Adds a hash. Whether it is new.
    #[inline]
    pub(super) fn add(&mut self, hash: u64) -> bool {
        if hash == 0 {
            self.len += usize::from(!self.zero);
            return !std::mem::replace(&mut self.zero, true);
        }
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let new = put(&mut self.slots, hash);
        self.len += usize::from(new);
        new
    }

    #[cold]
    fn grow(&mut self) {
        // Small ones grow fast: most of what it costs is the allocation.
        let more = if self.slots.len() < 128 { 4 } else { 2 };
        let mut slots = vec![0; (self.slots.len() * more).max(8)];
        for hash in self.slots.iter().filter(|hash| **hash != 0) {
            put(&mut slots, *hash);
        }
        self.slots = slots;
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let others = self.slots.iter().copied().filter(|hash| *hash != 0);
        self.zero.then_some(0).into_iter().chain(others)
    }

    /// All of them, in order.
    pub(super) fn sorted(&self) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(self.len);
        if self.zero {
            hashes.push(0);
        }
        // Those at the beginning that belong to the end, where there was no room for them, go there.
        let free = self.slots.iter().position(|hash| *hash == 0).unwrap_or(0);
        let (head, rest) = self.slots.split_at(free);
        let astray = |at: usize, hash: u64| home(&self.slots, hash) > at;
        for (at, hash) in head.iter().enumerate() {
            if !astray(at, *hash) {
                hashes.push(*hash);
            }
        }
        for hash in rest {
            if *hash != 0 {
                hashes.push(*hash);
            }
        }
        for (at, hash) in head.iter().enumerate() {
            if astray(at, *hash) {
                hashes.push(*hash);
            }
        }
        settle(&mut hashes);
        hashes
    }
}

/// Where a hash lies if there is room, of any number of slots.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn home(slots: &[u64], hash: u64) -> usize {
    // Their number is 2^n: these are its n highest bits.
    (hash >> (64 - slots.len().trailing_zeros())) as usize
}

/// Puts a hash where there is room, if it is not there. Whether it was not.
#[inline]
fn put(slots: &mut [u64], hash: u64) -> bool {
    let mask = slots.len().wrapping_sub(1);
    let mut at = home(slots, hash);
    loop {
        let Some(slot) = slots.get_mut(at & mask) else { return false };
        if *slot == 0 {
            *slot = hash;
            return true;
        }
        if *slot == hash {
            return false;
        }
        at = at.wrapping_add(1);
    }
}

/// Sorts what is nearly sorted: each moves by as few places as it was from home.
fn settle(hashes: &mut [u64]) {
    for at in 1..hashes.len() {
        let mut at = at;
        while at > 0 && hashes[at - 1] > hashes[at] {
            hashes.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_set() {
        let (mut hashes, mut model) = (Hashes::default(), BTreeSet::new());
        let mut random = 1_u64;
        for i in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Some that are close, some with the same high bits, some of both ends.
            let hash = match i % 4 {
                0 => random >> 48,
                1 => u64::MAX - (random >> 56 << 32),
                2 => u64::MAX - i % 7,
                _ => random,
            };
            assert_eq!(hashes.add(hash), model.insert(hash));
            assert_eq!(hashes.len(), model.len());
            if i < 100 || i % 500 == 0 {
                assert_eq!(hashes.sorted(), model.iter().copied().collect::<Vec<_>>());
            }
        }
        assert_eq!(hashes.sorted(), model.into_iter().collect::<Vec<_>>());
    }
}
