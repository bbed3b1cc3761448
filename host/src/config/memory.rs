//! The setting `memory`, shared out.
//!
//! | share | for | where it is kept |
//! | --- | --- | --- |
//! | a quarter | messages that were fetched ahead, by all partitions of the topic together | librdkafka, `queued.max.messages.kbytes` |
//! | an eighth | batches that fill, and their columns on the way through the stages | `source/collect.rs` |
//! | three eighths | rows and encoders, by all lanes together | `sink/encode.rs` |
//! | a quarter | files on their way, half of it for each zone | `sink/zone.rs` |
//! | an eighth more | rows of an hour whose files are merged beside the stream, if `compact` is set | `history/merge.rs` |

/// The fewest bytes that are fetched ahead of a partition: one answer of a broker.
const PREFETCH: (usize, usize) = (1 << 20, 8 << 20);
/// The fewest and the most bytes of a batch.
const BATCH: (usize, usize) = (128 << 10, 4 << 20);

/// Bytes that fetched messages, rows, encoders and files on their way may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub usize);

impl Memory {
    /// What may be fetched ahead of a partition, if the topic has so many.
    pub fn prefetch(self, partitions: usize) -> usize {
        (self.0 / 4 / partitions.max(1)).clamp(PREFETCH.0, PREFETCH.1)
    }

    /// The size at which a batch of a partition is full.
    pub fn batch(self, partitions: usize) -> usize {
        (self.0 / 8 / partitions.max(1)).clamp(BATCH.0, BATCH.1)
    }

    /// What the rows and encoders of one of so many lanes may hold.
    pub fn encoders(self, lanes: usize) -> usize {
        self.0 / 8 * 3 / lanes.max(1)
    }

    /// What rows of an hour that is merged may hold: beside the shares above, and only while it is.
    pub fn merging(self) -> usize {
        self.0 / 8
    }

    /// What may be on its way to one zone.
    pub fn uploads(self) -> usize {
        self.0 / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_not_more_than_all_of_it() {
        for (memory, partitions, lanes) in
            [(64 << 20, 3, 2), (256 << 20, 3, 2), (256 << 20, 64, 8), (4 << 30, 100, 8)]
        {
            let of = Memory(memory);
            let fetched = of.prefetch(partitions) * partitions;
            let batches = of.batch(partitions) * partitions;
            let all = fetched + batches + of.encoders(lanes) * lanes + 2 * of.uploads();
            assert!(all <= memory, "{all} of {memory}");
        }
        // What is usual has all that it can use.
        assert_eq!((Memory(256 << 20).prefetch(8), Memory(256 << 20).batch(8)), (8 << 20, 4 << 20));
    }

    #[test]
    fn a_part_of_a_file_is_always_let_through() {
        // The least that the setting takes.
        assert!(Memory(64 << 20).uploads() >= 8 << 20);
    }
}
