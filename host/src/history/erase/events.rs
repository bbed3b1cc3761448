//! The events of a subject, by partition and offset: what joins the tables to the raw zone.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// An event: its partition and its offset.
pub(super) type Event = (i32, i64);

/// Events, each once.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Offsets in order, once [`Events::sorted`] was called.
    offsets: BTreeMap<i32, Vec<i64>>,
    count: usize,
}

impl Events {
    /// Takes events in. More than `most` are not held.
    pub(super) fn add(&mut self, events: &[Event], most: usize) -> Result<()> {
        self.count += events.len();
        if self.count > most {
            return Err(Error::stop(format!(
                "there are more than {most} events to take out, which do not fit: do it in parts (--since, --until), or with \
                 more `memory`"
            )));
        }
        for (partition, offset) in events {
            self.offsets.entry(*partition).or_default().push(*offset);
        }
        Ok(())
    }

    /// The same in order, ready to be asked.
    pub(super) fn sorted(mut self) -> Events {
        for offsets in self.offsets.values_mut() {
            offsets.sort_unstable();
            offsets.dedup();
        }
        self.count = self.offsets.values().map(Vec::len).sum();
        self
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    /// Whether an event is among them.
    pub(super) fn has(&self, (partition, offset): Event) -> bool {
        self.offsets.get(&partition).is_some_and(|offsets| offsets.binary_search(&offset).is_ok())
    }

    /// Whether some event has an offset from the first to the last, in whatever partition.
    pub(super) fn within(&self, first: i64, last: i64) -> bool {
        self.offsets.values().any(|offsets| {
            let at = offsets.partition_point(|offset| *offset < first);
            offsets.get(at).is_some_and(|offset| *offset <= last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_by_partition_and_offset() {
        let mut events = Events::default();
        events.add(&[(0, 7), (1, 3), (0, 2), (0, 7)], 4).unwrap();
        assert!(events.add(&[(0, 9)], 4).unwrap_err().to_string().contains("more than 4 events"));
        let events = events.sorted();
        assert!(events.has((0, 7)) && events.has((1, 3)) && !events.has((1, 7)) && !events.has((2, 7)));
        for ((first, last), found) in
            [((0, 1), false), ((2, 2), true), ((4, 6), false), ((4, 9), true), ((10, 99), false)]
        {
            assert_eq!(events.within(first, last), found, "{first}..={last}");
        }
    }
}
