//! The shards of a pipeline: groups of partitions with a commit log each ([ADR 0014](../../docs/adr/0014-shards.md)).
//!
//! Partition *p* is of shard *p* mod their number, which stays so when the topic gets more partitions. A shard is in
//! effect a pipeline of its own, with a name of its own for its log, its keys and its files. Shards share the tables,
//! and with them what says whose the tables are (rule L7), and nothing else. The one shard of a pipeline with one log
//! is the pipeline itself.

use std::collections::BTreeMap;

/// The most logs of a pipeline.
pub const MOST: u32 = 256;

/// A shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    number: u32,
    of: u32,
}

impl Shard {
    /// The one shard of a pipeline with one log.
    pub const WHOLE: Shard = Shard { number: 0, of: 1 };

    /// All shards of a pipeline with so many logs.
    pub fn all(logs: u32) -> impl Iterator<Item = Shard> + Clone {
        let of = logs.max(1);
        (0..of).map(move |number| Shard { number, of })
    }

    /// Its number, from 0 on.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub fn logs(self) -> u32 {
        self.of
    }

    /// Its number, where there are others.
    pub fn label(self) -> Option<u32> {
        (self.of > 1).then_some(self.number)
    }

    /// The number of the shard that a partition is of, if there are so many.
    pub fn number_of(partition: i32, logs: u32) -> u32 {
        partition.unsigned_abs() % logs.max(1)
    }

    /// Whether a partition is of this one.
    pub fn has(self, partition: i32) -> bool {
        Shard::number_of(partition, self.of) == self.number
    }

    /// What is its own of what is said of all partitions.
    pub fn ours<T: Clone>(self, of: &BTreeMap<i32, T>) -> BTreeMap<i32, T> {
        of.iter()
            .filter(|(partition, _)| self.has(**partition))
            .map(|(at, value)| (*at, value.clone()))
            .collect()
    }

    /// What it is called in its records: the pipeline's name, and its number where there are others.
    pub fn name(self, pipeline: &str) -> String {
        match self.label() {
            Some(number) => format!("{pipeline}{MARK}{number}"),
            None => pipeline.into(),
        }
    }

    /// What stands before a sentence about it, for people: nothing where there is one log.
    pub fn prefix(self) -> String {
        self.label().map_or_else(String::new, |number| format!("log {number}: "))
    }
}

/// Between a pipeline's name and the number of a shard. In a key it would be escaped if it were a name's, so no
/// pipeline can be called like another one's shard there.
pub const MARK: char = '@';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_of_one_shard_and_stays_there() {
        for logs in [1, 2, 3, 64] {
            for partition in 0..200 {
                let of: Vec<u32> = Shard::all(logs).filter(|s| s.has(partition)).map(Shard::number).collect();
                assert_eq!(of, [u32::try_from(partition).expect("small") % logs]);
            }
        }
        assert_eq!(Shard::all(0).collect::<Vec<_>>(), [Shard::WHOLE]);
    }

    #[test]
    fn the_only_one_is_the_pipeline() {
        let names = |logs| Shard::all(logs).map(|shard| shard.name("p")).collect::<Vec<_>>();
        assert_eq!((names(1), names(2)), (vec!["p".to_owned()], vec!["p@0".to_owned(), "p@1".to_owned()]));
        assert_eq!((Shard::WHOLE.label(), Shard::WHOLE.prefix().as_str()), (None, ""));
    }
}
