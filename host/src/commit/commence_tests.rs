//! Logs of one topic that begin together: over a store in memory.

use std::sync::Arc;

use super::cleanup::tests::Memory;
use super::record::RecordKind;
use super::{CannotRemake, Ends, Log, Policy, Topic};
use crate::env::machine;
use crate::shard::Shard;
use crate::sink::Keys;

fn topic() -> Topic {
    Topic { name: "t".into(), id: "1".into() }
}

/// The log of shard 2 of 3, opened.
async fn log(store: &Arc<Memory>) -> Log {
    let shard = Shard::all(3).last().expect("the last of three");
    let keys = Keys::new("p").unwrap().shard(shard);
    let mut log = Log::new(store.clone(), machine(), &keys, "h", Arc::new(CannotRemake));
    log.open().await.unwrap();
    log
}

const LATEST: Policy = Policy { latest: true, skip_lost: false };

#[tokio::test]
async fn a_partition_that_comes_to_an_empty_log_later_begins_at_its_beginning() {
    let store = Arc::new(Memory::default());
    let (mut one, mut other) = (log(&store).await, log(&store).await);
    // The topic has two partitions: neither is of this shard.
    one.commence(&topic(), &Ends::new(), LATEST).await.unwrap();
    other.commence(&topic(), &Ends::new(), LATEST).await.unwrap();
    one.refresh().await.unwrap();
    assert_eq!((one.view().next(), one.view().topic()), (1, Some(&topic())), "it is written once");
    assert_eq!(one.read(0).await.unwrap().unwrap().kind, RecordKind::Start);
    // Another one, after a restart: partition 2 has come, with events that nobody has read.
    let mut later = log(&store).await;
    let bases = later.take(&topic(), &[2], &[(2, (0, 40))].into(), LATEST).await.unwrap();
    assert_eq!(bases[0].at, 0, "its first 40 events are not to be missed");
}

#[tokio::test]
async fn what_is_there_at_the_start_begins_at_the_latest() {
    let store = Arc::new(Memory::default());
    let (mut one, mut other) = (log(&store).await, log(&store).await);
    one.commence(&topic(), &[(2, (0, 40))].into(), LATEST).await.unwrap();
    // Whoever is slower finds it written.
    other.commence(&topic(), &[(2, (0, 50))].into(), LATEST).await.unwrap();
    let bases = other.take(&topic(), &[2], &[(2, (0, 60))].into(), LATEST).await.unwrap();
    assert_eq!((bases[0].at, other.view().next()), (40, 1));
}
