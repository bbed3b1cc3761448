//! The open groups: a value for each window and key. A row whose group is there allocates nothing.
//!
//! Groups are found by a hash of key and window (of sessions: of the key alone), and leave in the order in which their
//! windows end. What the groups are, and what they cost, depends on the rows alone; where they lie in memory does not
//! matter to anybody outside.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use super::Window;
use crate::aggregate::{Aggregate, sort};
use crate::key::spread;
use crate::{Key, Timestamp};

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group<K, V> {
    hash: u64,
    pub(super) window: Window,
    pub(super) key: K,
    pub(super) value: V,
    /// Whether there is something that was not handed out.
    pub(super) changed: bool,
}

#[derive(Debug)]
struct Slot<K, V> {
    group: Option<Group<K, V>>,
    /// Tells the groups apart that lie here one after the other.
    generation: u32,
}

/// When a group may be due. It may have grown since, or be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: i64,
    slot: u32,
    generation: u32,
}

/// Where a group is; ordered by window and key.
struct Place<'a, K> {
    window: Window,
    key: &'a K,
    slot: u32,
}

impl<K: Ord> Ord for Place<'_, K> {
    fn cmp(&self, other: &Self) -> Ordering {
        order((self.window, self.key), (other.window, other.key))
    }
}

impl<K: Ord> PartialOrd for Place<'_, K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Place<'_, K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord> Eq for Place<'_, K> {}

/// The order of groups. Once in a component, not wherever it is needed.
#[inline(never)]
pub(super) fn order<K: Ord>(a: (Window, &K), b: (Window, &K)) -> Ordering {
    a.cmp(&b)
}

/// Where the group of a row was.
#[derive(Clone, Copy, Debug)]
struct Recent<C> {
    /// The code of its key, and its window; none: the slot has to be looked at.
    code: Option<(C, Window)>,
    /// How many groups were gone then.
    gone: u64,
    slot: u32,
}

#[derive(Debug)]
pub(super) struct Groups<K: Key, V> {
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    /// Where groups were that rows were added to lately, by the hints of their keys.
    recent: [Recent<K::Code>; 1 << RECENT],
    /// The number of groups that are gone: who knows where one was, knows no more.
    gone: u64,
    deadlines: BinaryHeap<Reverse<Deadline>>,
    /// No group is due before this.
    next: i64,
    /// What the groups cost to keep, about: no less than that, and as much once all are settled.
    bytes: usize,
    /// Whether all groups are settled, and each is after every row.
    settled: bool,
    /// What is between the end of a window and the watermark that closes it; none: groups do not close.
    gap: Option<i64>,
}

/// What a group costs besides what its key and value hold: between what it takes in a snapshot, some 30 bytes, and in
/// memory, some 200. Both are bounded by the host. A constant, so that tests on another machine see the same.
const OVERHEAD: usize = 96;

/// How many hints there are: 2 to this.
const RECENT: u32 = 7;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

impl<K: Key, V: Aggregate> Groups<K, V> {
    /// No groups.
    pub(super) fn new(gap: Option<i64>) -> Self {
        let (index, deadlines) = (HashTable::new(), BinaryHeap::new());
        Groups {
            slots: vec![],
            free: vec![],
            index,
            recent: [Recent { code: None, gone: 0, slot: u32::MAX }; 1 << RECENT],
            gone: 0,
            deadlines,
            next: i64::MAX,
            bytes: 0,
            settled: false,
            gap,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a watermark closes any group (or may: then `close` knows).
    #[inline]
    pub(super) fn is_due(&self, watermark: Timestamp) -> bool {
        self.next <= watermark.0
    }

    /// Adds to the group of a fixed window, which is made if there is none. How many bytes that took.
    #[inline]
    pub(super) fn add(&mut self, window: Window, key: K::Ref<'_>, add: impl FnOnce(&mut V)) -> usize {
        // Windows of some seconds to days, which may begin or end together, differ in this.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let of_window = (window.start.0 >> 24).wrapping_add(window.end.0 >> 22) as usize;
        // Places of texts have much in common: all of their bits are in the highest ones of the product.
        #[allow(clippy::cast_possible_truncation)]
        let hint = (K::hint(key).wrapping_add(of_window) as u32).wrapping_mul(0x9e37_79b1) >> (32 - RECENT);
        let hint = hint as usize;
        let recent = self.recent[hint];
        let found = if K::CODED {
            // No group came to lie there since, for none is gone: it is the one that was found for the same key.
            recent.gone == self.gone && recent.code == Some((K::code(key), window))
        } else {
            let group = self.slots.get(recent.slot as usize).and_then(|slot| slot.group.as_ref());
            group.is_some_and(|group| group.window == window && group.key.is(key))
        };
        let slot = if found { Some(recent.slot) } else { self.find(window, key, hint) };
        self.add_to(slot, seed(window), window, key, add)
    }

    /// Looks for the group of a fixed window by its hash.
    #[inline(never)]
    fn find(&mut self, window: Window, key: K::Ref<'_>, hint: usize) -> Option<u32> {
        let hash = spread(K::hash(key, seed(window)));
        let slots = &self.slots;
        let same = |&slot: &u32| {
            let group = slots[slot as usize].group.as_ref();
            group.is_some_and(|group| group.hash == hash && group.window == window && group.key.is(key))
        };
        let slot = self.index.find(hash, same).copied();
        let code = (K::CODED && slot.is_some()).then(|| (K::code(key), window));
        self.recent[hint] = Recent { code, gone: self.gone, slot: slot.unwrap_or(u32::MAX) };
        slot
    }

    /// Adds to the session of a key that a time lies in or bridges, which is made if there is none and `new` allows it.
    /// How many bytes that took; none: there is none.
    pub(super) fn add_to_session(
        &mut self,
        time: Timestamp,
        key: K::Ref<'_>,
        new: bool,
        add: impl FnOnce(&mut V),
    ) -> Option<usize> {
        let gap = self.gap.unwrap_or(0);
        let hash = spread(K::hash(key, SEED));
        let near = |&slot: &u32| {
            let group = self.slots[slot as usize].group.as_ref().filter(|group| group.key.is(key))?;
            let Window { start, end } = group.window;
            let near = time.0.saturating_add(gap) > start.0 && end.0.saturating_add(gap) > time.0;
            near.then_some(slot)
        };
        let mut found = self.index.iter_hash(hash).copied().filter_map(|slot| near(&slot));
        let slot = match (found.next(), found.next()) {
            (one, None) => one,
            (first, second) => {
                let slots = first.into_iter().chain(second).chain(found).collect();
                Some(self.unite(slots))
            }
        };
        if slot.is_none() && !new {
            return None;
        }
        if let Some(Group { window, .. }) = slot.and_then(|slot| self.slots[slot as usize].group.as_mut()) {
            (window.start, window.end) = (window.start.min(time), window.end.max(time));
        }
        Some(self.add_to(slot, SEED, Window { start: time, end: time }, key, add))
    }

    #[inline]
    fn add_to(
        &mut self,
        slot: Option<u32>,
        seed: u64,
        window: Window,
        key: K::Ref<'_>,
        add: impl FnOnce(&mut V),
    ) -> usize {
        let (slot, cost) = match slot {
            Some(slot) => (slot, 0),
            None => self.make(seed, window, key),
        };
        let Some(group) = self.slots[slot as usize].group.as_mut() else { return cost };
        let before = group.value.most();
        add(&mut group.value);
        if self.settled {
            group.value.settle();
        }
        group.changed = true;
        let after = group.value.most();
        self.bytes = self.bytes + after - before;
        cost + after.saturating_sub(before)
    }

    /// Makes a group. Where it is, and how many bytes it takes.
    #[inline(never)]
    fn make(&mut self, seed: u64, window: Window, key: K::Ref<'_>) -> (u32, usize) {
        let hash = spread(K::hash(key, seed));
        let group = Group { hash, window, key: K::own(key), value: V::default(), changed: true };
        let cost = Self::cost(&group);
        (self.insert(group), cost)
    }

    /// Makes one session of several of one key (at least one). Where it is.
    #[cold]
    fn unite(&mut self, slots: Vec<u32>) -> u32 {
        let slots = self.ordered(slots);
        let mut whole = self.remove(slots[0]).expect("what is near was found");
        for slot in &slots[1..] {
            let Some(later) = self.remove(*slot) else { continue };
            whole.window.end = whole.window.end.max(later.window.end);
            whole.changed |= later.changed;
            whole.value.merge(later.value);
        }
        self.insert(whole)
    }

    /// Takes a group up again. Its key and window must not be there.
    pub(super) fn restore(&mut self, window: Window, key: K, value: V, changed: bool, sessions: bool) {
        let seed = if sessions { SEED } else { seed(window) };
        let hash = spread(K::hash(key.view(), seed));
        self.insert(Group { hash, window, key, value, changed });
    }

    /// Where it is.
    fn insert(&mut self, group: Group<K, V>) -> u32 {
        let (hash, end, cost) = (group.hash, group.window.end.0, Self::cost(&group));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { group: None, generation: 0 });
            u32::try_from(self.slots.len() - 1).expect("state is bounded far below 4 billion groups")
        });
        self.slots[slot as usize].group = Some(group);
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |&slot| hash_at(slots, slot));
        self.bytes += cost;
        if let Some(gap) = self.gap {
            self.expect(slot, end.saturating_add(gap));
        }
        slot
    }

    fn cost(group: &Group<K, V>) -> usize {
        OVERHEAD + group.key.heap() + group.value.most()
    }

    fn remove(&mut self, slot: u32) -> Option<Group<K, V>> {
        let mut group = self.slots[slot as usize].group.take()?;
        self.gone += 1;
        if let Ok(entry) = self.index.find_entry(group.hash, |&have| have == slot) {
            entry.remove();
        }
        self.slots[slot as usize].generation = self.slots[slot as usize].generation.wrapping_add(1);
        self.free.push(slot);
        self.bytes -= Self::cost(&group);
        group.value.settle();
        Some(group)
    }

    fn expect(&mut self, slot: u32, at: i64) {
        let generation = self.slots[slot as usize].generation;
        self.deadlines.push(Reverse(Deadline { at, slot, generation }));
        self.next = self.next.min(at);
        // Sessions that were united leave theirs behind.
        if self.deadlines.len() > 64 + 2 * self.index.len() {
            let slots = &self.slots;
            self.deadlines.retain(|Reverse(deadline)| {
                let slot = &slots[deadline.slot as usize];
                slot.generation == deadline.generation && slot.group.is_some()
            });
        }
    }

    /// The first time at which a group is due.
    pub(super) fn first_due(&mut self) -> Option<Timestamp> {
        while let Some(&Reverse(Deadline { at, slot, generation })) = self.deadlines.peek() {
            let place = &self.slots[slot as usize];
            let group = place.group.as_ref().filter(|_| place.generation == generation);
            let due = group.map(|group| group.window.end.0.saturating_add(self.gap.unwrap_or(0)));
            if due == Some(at) {
                self.next = at;
                return Some(Timestamp(at));
            }
            // It has grown since, or it is gone.
            self.deadlines.pop();
            if let Some(due) = due {
                self.deadlines.push(Reverse(Deadline { at: due, slot, generation }));
            }
        }
        self.next = i64::MAX;
        None
    }

    /// Hands over the groups that a watermark closes, by window and key.
    pub(super) fn close(&mut self, watermark: Timestamp, mut each: impl FnMut(Group<K, V>)) {
        let mut due = Vec::new();
        while self.first_due().is_some_and(|due| due <= watermark) {
            due.extend(self.deadlines.pop().map(|Reverse(deadline)| deadline.slot));
        }
        for slot in self.ordered(due) {
            if let Some(group) = self.remove(slot) {
                each(group);
            }
        }
    }

    /// Hands over all groups, by window and key; none are left.
    pub(super) fn take(&mut self, mut each: impl FnMut(Group<K, V>)) {
        for slot in self.ordered(self.all()) {
            if let Some(group) = self.remove(slot) {
                each(group);
            }
        }
    }

    /// Hands over the groups that changed, by window and key.
    pub(super) fn changed(&mut self, mut each: impl FnMut(&mut Group<K, V>)) {
        let mut slots = self.all();
        slots.retain(|&slot| self.slots[slot as usize].group.as_ref().is_some_and(|group| group.changed));
        for slot in self.ordered(slots) {
            let Some(group) = self.slots[slot as usize].group.as_mut() else { continue };
            let before = group.value.most();
            group.value.settle();
            each(group);
            group.changed = false;
            self.bytes = self.bytes + group.value.most() - before;
        }
    }

    /// Shows all groups, by window and key.
    pub(super) fn sorted(&self, mut each: impl FnMut(&Group<K, V>)) {
        for slot in self.ordered(self.all()) {
            if let Some(group) = &self.slots[slot as usize].group {
                each(group);
            }
        }
    }

    fn all(&self) -> Vec<u32> {
        self.index.iter().copied().collect()
    }

    /// The places of groups, by window and key.
    fn ordered(&self, mut slots: Vec<u32>) -> Vec<u32> {
        // Loops, not `collect`: half as large in a component.
        let mut places = Vec::with_capacity(slots.len());
        for slot in slots.iter().copied() {
            if let Some(Group { window, key, .. }) = &self.slots[slot as usize].group {
                places.push(Place { window: *window, key, slot });
            }
        }
        sort(&mut places);
        slots.clear();
        for place in places {
            slots.push(place.slot);
        }
        slots
    }

    /// Memory is short: sets of at least so many values may become estimates.
    pub(super) fn shrink(&mut self, least: usize) {
        for group in self.slots.iter_mut().filter_map(|slot| slot.group.as_mut()) {
            let before = group.value.most();
            group.value.shrink(least);
            self.bytes = self.bytes + group.value.most() - before;
        }
    }

    /// Settles all groups: what they cost is known then. If that is near to what they may cost, they stay so, for to settle
    /// all of them with every row would take long.
    pub(super) fn settle(&mut self, memory: usize) {
        if !self.settled {
            for group in self.slots.iter_mut().filter_map(|slot| slot.group.as_mut()) {
                let before = group.value.most();
                group.value.settle();
                self.bytes = self.bytes + group.value.most() - before;
            }
        }
        self.settled = self.bytes > memory - memory / 16;
    }
}

/// What the hashes of keys in a fixed window begin with.
#[inline]
fn seed(window: Window) -> u64 {
    i64::hash(window.start.0, SEED)
}

fn hash_at<K, V>(slots: &[Slot<K, V>], slot: u32) -> u64 {
    slots[slot as usize].group.as_ref().map_or(0, |group| group.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Count;
    use crate::{Coded, Term};

    fn window(start: i64) -> Window {
        Window { start: Timestamp(start), end: Timestamp(start + 60) }
    }

    #[test]
    fn who_knows_a_group_by_its_number_does_not_know_it_once_it_is_gone() {
        let mut groups = Groups::<i64, Count>::new(None);
        let mut counts = |adds: &[(i64, i64)]| {
            for (start, key) in adds {
                groups.add(window(*start), *key, Count::add);
            }
            let mut counts = Vec::new();
            groups.take(|group| counts.push((group.window.start.0, group.key, group.value.get())));
            counts
        };
        assert_eq!(counts(&[(0, 2), (60, 2), (0, 1), (0, 1), (0, 1)]), [(0, 1, 3), (0, 2, 1), (60, 2, 1)]);
        // The same ones, at places where others were or nobody is.
        assert_eq!(counts(&[(0, 1)]), [(0, 1, 1)]);
        assert_eq!(counts(&[(0, 3), (0, 3), (0, 3)]), [(0, 3, 3)]);
        assert_eq!(counts(&[(0, 2), (0, 4), (0, 1), (0, 3)]), [(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1)]);
    }

    #[test]
    fn texts_are_told_apart_whoever_gave_their_numbers() {
        let mut groups = Groups::<Coded, Count>::new(None);
        // Each of its own: the number is that of another one, given by somebody else.
        for text in ["a", "b", "a", "b", "a"] {
            groups.add(window(0), Term::from(text), Count::add);
        }
        let term = Term::from("b");
        for _ in 0..3 {
            groups.add(window(0), term, Count::add);
            groups.add(window(60), term, Count::add);
        }
        let mut counts = Vec::new();
        groups.sorted(|group| counts.push((group.window.start.0, group.key.0.clone(), group.value.get())));
        assert_eq!(counts, [(0, "a".into(), 3), (0, "b".into(), 5), (60, "b".into(), 3)]);
    }
}
