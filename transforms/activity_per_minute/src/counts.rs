//! Counters by minute, event type and device. An event whose counter exists allocates nothing.

use hashbrown::HashTable;
use tidemill_sdk::Timestamp;

/// A counter. Ordered by its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Count {
    /// The start of the minute.
    pub(crate) minute: Timestamp,
    pub(crate) event_type: Box<str>,
    pub(crate) device: Box<str>,
    /// How many events there were. Never none.
    pub(crate) events: i64,
}

impl Count {
    /// What it costs to keep, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Entry>() + 16 + self.event_type.len() + self.device.len()
    }
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    count: Count,
}

/// The counters since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    table: HashTable<Entry>,
    bytes: usize,
}

impl Counts {
    /// Counts events. Returns the bytes of state that this added: none if there was a counter already.
    #[inline]
    pub(crate) fn add(&mut self, minute: Timestamp, event_type: &str, device: &str, events: i64) -> usize {
        let hash = hash(minute, event_type, device);
        let same = |entry: &Entry| {
            let count = &entry.count;
            entry.hash == hash
                && count.minute == minute
                && *count.event_type == *event_type
                && *count.device == *device
        };
        if let Some(entry) = self.table.find_mut(hash, same) {
            entry.count.events += events;
            return 0;
        }
        let count = Count { minute, event_type: event_type.into(), device: device.into(), events };
        let bytes = count.bytes();
        self.table.insert_unique(hash, Entry { hash, count }, |entry| entry.hash);
        self.bytes += bytes;
        bytes
    }

    /// What the counters cost to keep, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All counters, by key; none are left.
    pub(crate) fn take(&mut self) -> Vec<Count> {
        self.bytes = 0;
        let mut counts: Vec<Count> = self.table.drain().map(|entry| entry.count).collect();
        counts.sort_unstable();
        counts
    }

    /// All counters, by key.
    pub(crate) fn sorted(&self) -> Vec<Count> {
        let mut counts: Vec<Count> = self.table.iter().map(|entry| entry.count.clone()).collect();
        counts.sort_unstable();
        counts
    }
}

/// Spreads a key over 64 bits, eight bytes at a time.
///
/// Its keys are known, so somebody who may write events can make them collide. That costs time, which the host bounds,
/// and the number of counters in one table is bounded; what std offers against it costs three times as much a row.
#[inline]
fn hash(minute: Timestamp, event_type: &str, device: &str) -> u64 {
    let hash = mix(0x9e37_79b9_7f4a_7c15, minute.0.cast_unsigned());
    // The length ends a text: `ab` + `c` is not `a` + `bc`.
    text(text(hash, event_type), device)
}

#[inline]
fn text(mut hash: u64, text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(text.len() as u64, |word, &byte| word << 8 | u64::from(byte));
    mix(hash, rest)
}

/// The two halves of a product, folded.
#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    // Wasm has no 128-bit product: two of 64 bits, the high half turned down, do as well here.
    let product = (hash ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (product ^ product >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ hash.rotate_left(23)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_that_differ_have_different_hashes() {
        let texts = [
            "",
            "\0",
            "a",
            "b",
            "ab",
            "ba",
            "aaaaaaaa",
            "aaaaaaaab",
            "aaaaaaaaaaaaaaaa",
            "page_view",
            "page_viex",
        ];
        let mut hashes = HashSet::new();
        for minute in 0..100 {
            for first in texts {
                for second in texts {
                    hashes.insert(hash(Timestamp(minute * Timestamp::MINUTE), first, second));
                }
            }
        }
        assert_eq!(hashes.len(), 100 * texts.len() * texts.len());
        // The table uses the low bits to place and the high bits to tell apart.
        let spread =
            |shift: u32| hashes.iter().map(|hash| hash >> shift & 0x7f).collect::<HashSet<_>>().len();
        assert_eq!((spread(0), spread(57)), (128, 128));
    }
}
