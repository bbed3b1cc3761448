//! A host as one, whose partitions have more than one commit log: each shard notes what it does on a board of its
//! own, and here they become one state. That of the only shard is what it is.

use std::collections::BTreeMap;

use super::status::{LogStatus, RECENT, Refused, Status, TransformState, TransformStatus};

/// Commits of all shards together that are kept, in multiples of what one keeps.
const TOGETHER: usize = 4;

/// The state of a host from those of its shards, in the order of their numbers.
pub(super) fn whole(shards: Vec<Status>) -> Status {
    let mut shards = shards.into_iter();
    let mut whole = shards.next().unwrap_or_default();
    let rest: Vec<Status> = shards.collect();
    if rest.is_empty() {
        return whole;
    }
    whole.logs.push(log(&whole));
    let mut transforms = Transforms { all: vec![], shards: 0 };
    transforms.take(std::mem::take(&mut whole.transforms), !whole.partitions.is_empty());
    for shard in rest {
        whole.logs.push(log(&shard));
        transforms.take(shard.transforms, !shard.partitions.is_empty());
        // A host has started when all of it has.
        whole.set = whole.set.filter(|_| shard.set.is_some());
        refuse(&mut whole.refused, shard.refused);
        whole.partitions.extend(shard.partitions);
        for (reason, events) in shard.rejects {
            *whole.rejects.entry(reason).or_default() += events;
        }
        whole.recent.extend(shard.recent);
        whole.commits += shard.commits;
        whole.events += shard.events;
        whole.abandoned += shard.abandoned;
        whole.stalled_us = whole.stalled_us.max(shard.stalled_us);
    }
    whole.transforms = transforms.done();
    whole.recent.sort_by_key(|commit| commit.at);
    let old = whole.recent.len().saturating_sub(TOGETHER * RECENT);
    whole.recent.drain(..old);
    whole.last_commit = whole.recent.last().cloned();
    whole.attention = whole.needs();
    whole
}

fn log(shard: &Status) -> LogStatus {
    let partitions = shard.partitions.keys().copied().collect();
    LogStatus { set: shard.set, partitions, last_record: shard.last_commit.as_ref().map(|last| last.record) }
}

/// All shards look at the same directory: what each of them refuses is told once.
fn refuse(known: &mut Vec<Refused>, more: Vec<Refused>) {
    for refused in more {
        if known.iter().all(|one| (&one.file, &one.reason) != (&refused.file, &refused.reason)) {
            known.push(refused);
        }
    }
}

struct Transforms {
    /// Each with the shards with partitions that have it.
    all: Vec<(TransformStatus, usize)>,
    /// Shards with partitions.
    shards: usize,
}

impl Transforms {
    fn take(&mut self, transforms: Vec<TransformStatus>, counts: bool) {
        self.shards += usize::from(counts);
        for one in transforms {
            let same = |known: &TransformStatus| (&known.file, &known.digest) == (&one.file, &one.digest);
            match self.all.iter_mut().find(|(known, _)| same(known)) {
                Some((known, of)) => {
                    join(known, one, *of > 0, counts);
                    *of += usize::from(counts);
                }
                None => self.all.push((one, usize::from(counts))),
            }
        }
    }

    fn done(self) -> Vec<TransformStatus> {
        let shards = self.shards;
        let one = |(mut one, of): (TransformStatus, usize)| {
            // Some shards are not there yet, or have gone on already.
            if of < shards && one.state == TransformState::Live {
                (one.state, one.since) = (TransformState::GoingOver, None);
            }
            one
        };
        self.all.into_iter().map(one).collect()
    }
}

/// Takes what a transform is in another shard into what it is in those before. A shard without partitions says
/// nothing of how it is.
fn join(known: &mut TransformStatus, other: TransformStatus, before: bool, counts: bool) {
    known.rows += other.rows;
    known.busy_ns += other.busy_ns;
    known.ns_per_row = known.busy_ns.checked_div(known.rows.input);
    known.memory_bytes += other.memory_bytes;
    known.state_bytes += other.state_bytes;
    known.poison_rows += other.poison_rows;
    known.partitions.extend(other.partitions);
    known.partitions.sort_unstable();
    match (before, counts) {
        (true, true) => {
            known.state = worse(known.state, other.state);
            known.since = known.since.zip(other.since).map(|(one, other)| one.max(other));
        }
        (false, true) => (known.state, known.since) = (other.state, other.since),
        (_, false) => {}
    }
    let newer = |one: &super::Trouble| known.last_error.as_ref().is_none_or(|known| known.at < one.at);
    if other.last_error.as_ref().is_some_and(newer) {
        known.last_error = other.last_error;
    }
}

fn worse(one: TransformState, other: TransformState) -> TransformState {
    let weight: BTreeMap<TransformState, u8> = [
        (TransformState::Live, 0),
        (TransformState::GoingOver, 1),
        (TransformState::Old, 2),
        (TransformState::FellBack, 3),
        (TransformState::StandsStill, 4),
    ]
    .into();
    if weight.get(&other) > weight.get(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::super::{At, LastCommit, PartitionStatus};
    use super::*;
    use crate::batch::Counts;

    fn transform(digest: &str, partitions: &[i32], rows: u64) -> TransformStatus {
        TransformStatus {
            name: "clean".into(),
            file: "clean".into(),
            digest: digest.into(),
            partitions: partitions.to_vec(),
            rows: Counts { input: rows, emitted: rows, ..Counts::default() },
            busy_ns: 10 * rows,
            ns_per_row: Some(10),
            since: Some(At(i64::try_from(rows).unwrap())),
            ..TransformStatus::default()
        }
    }

    fn shard(number: u32, set: Option<u64>, partitions: &[i32], digest: &str) -> Status {
        let commit = LastCommit {
            log: Some(number),
            record: 7,
            at: At(100 - i64::from(number)),
            ..LastCommit::default()
        };
        Status {
            set,
            transforms: vec![transform(digest, partitions, 100)],
            partitions: partitions.iter().map(|p| (*p, PartitionStatus { set, ..<_>::default() })).collect(),
            refused: vec![Refused { file: "broken".into(), reason: "why".into(), at: At(1) }],
            rejects: [("late".to_owned(), 3)].into(),
            recent: vec![commit.clone()],
            last_commit: Some(commit),
            commits: 1,
            events: 100,
            ..Status::default()
        }
    }

    #[test]
    fn the_only_shard_is_the_host() {
        let alone = shard(0, Some(3), &[0, 1], "a");
        assert_eq!(whole(vec![alone.clone()]), alone);
        assert_eq!(alone.set_of(1), Some(3));
    }

    #[test]
    fn sums_are_over_all_shards_and_what_they_agree_on_is_told_once() {
        let all = whole(vec![shard(0, Some(3), &[0, 2], "a"), shard(1, Some(5), &[1], "a")]);
        assert_eq!(all.partitions.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((all.set_of(0), all.set_of(1)), (Some(3), Some(5)));
        assert_eq!((all.commits, all.events, all.rejects["late"]), (2, 200, 6));
        assert_eq!((all.refused.len(), all.attention.len()), (1, 1));
        let [one] = &all.transforms[..] else { panic!("{:?}", all.transforms) };
        assert_eq!((one.rows.input, one.ns_per_row, one.state), (200, Some(10), TransformState::Live));
        assert_eq!((&one.partitions[..], one.since), (&[0, 1, 2][..], Some(At(100))));
        let last = all.last_commit.unwrap();
        assert_eq!((last.log, last.label().as_str()), (Some(0), "0/7"), "the newest, not the last one's");
        assert_eq!(all.logs[1].partitions, [1]);
    }

    #[test]
    fn where_shards_differ_both_are_told() {
        let parts = vec![shard(0, Some(9), &[0], "new"), shard(1, Some(5), &[1], "old")];
        let all = whole(parts);
        let told: Vec<_> =
            all.transforms.iter().map(|t| (t.digest.as_str(), t.state, &t.partitions[..])).collect();
        let over = TransformState::GoingOver;
        assert_eq!(told, [("new", over, &[0][..]), ("old", over, &[1][..])]);
        let spare = whole(vec![shard(0, Some(9), &[0], "new"), shard(1, Some(5), &[], "old")]);
        assert_eq!(spare.transforms[0].state, TransformState::Live, "no partition runs the old one");
    }

    #[test]
    fn a_host_has_started_when_all_of_it_has() {
        assert_eq!(whole(vec![shard(0, Some(3), &[], "a"), shard(1, None, &[], "a")]).set, None);
    }
}
