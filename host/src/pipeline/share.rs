//! What a lane may hold of the memory for rows and files: what all of them may hold together, by as many as the
//! setting `lanes` says, or as are at work. A host with several commit logs has lanes for each of them, of which
//! those without a partition hold nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Memory;

/// The lanes' memory.
pub(super) struct Share {
    memory: Memory,
    lanes: usize,
    at_work: AtomicUsize,
}

impl Share {
    /// For so many lanes or more.
    pub(super) fn new(memory: Memory, lanes: usize) -> Share {
        Share { memory, lanes, at_work: AtomicUsize::new(0) }
    }

    /// A lane got its first partition, or gave up its last.
    pub(super) fn works(&self, works: bool) {
        match works {
            true => self.at_work.fetch_add(1, Ordering::Relaxed),
            false => self.at_work.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// What each may hold now.
    pub(super) fn bytes(&self) -> usize {
        self.memory.encoders(self.lanes.max(self.at_work.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lanes_together_hold_no_more_than_there_is() {
        // Three eighths of it are for them.
        let share = Share::new(Memory(3200), 3);
        (0..3).for_each(|_| share.works(true));
        assert_eq!(share.bytes(), 400);
        (0..3).for_each(|_| share.works(true));
        assert_eq!(share.bytes(), 200);
        share.works(false);
        assert_eq!(share.bytes(), 240);
    }
}
