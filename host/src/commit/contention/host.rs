//! What a committer of a host does, in time: its loop over the real log. The lanes' work is a constant.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};

use super::super::log::Log;
use super::super::record::{DataFile, Topic};
use super::super::stage::advances;
use super::super::summary::Sizes;
use super::super::{CannotRemake, Ends, LanePart, Memory, PartitionKey, Policy, Progress, TransformWork};
use super::store::{Client, Kind, World};
use crate::batch::{Counts, Identity, Span, Vitals};
use crate::env::{Micros, World as _};
use crate::shard::Shard;
use crate::sink::{Publish, StagedFile};
use crate::table::{Hour, Zone};

/// Partitions of a host, and of a lane where there is one log.
pub(super) const PARTITIONS: i32 = 4;
const LANE: usize = 2;
/// Files that a lane writes in an epoch: raw, rejected, and two tables.
const TABLES: [&str; 4] = ["user_events_raw", "rejected_events", "user_events", "user_activity_per_minute"];
/// Transforms with a state, of the four that ship.
const STATEFUL: [&str; 3] = ["activity_per_minute", "overview", "sessions"];
/// From the barrier until the lanes have encoded the rest of their files.
const BARRIER: Micros = 50_000;
/// As in the committer.
const IDLE: Micros = 10_000_000;
const HOUR: Hour = Hour(480_000);

/// An epoch, as its host saw it.
pub(super) struct Epoch {
    /// Its events came between these moments.
    pub(super) from: Micros,
    pub(super) barrier: Micros,
    /// Its files and states were stored, it was written down, readers could see it.
    pub(super) staged: Micros,
    pub(super) recorded: Micros,
    pub(super) published: Micros,
    pub(super) events: i64,
    pub(super) partitions: usize,
}

/// A host's committer for one log.
pub(super) struct Host {
    pub(super) world: Arc<World>,
    pub(super) number: i32,
    pub(super) shard: Shard,
    /// Its partitions in this log, by lane.
    pub(super) lanes: Vec<Vec<i32>>,
    /// Partitions of the topic.
    pub(super) partitions: i32,
    pub(super) interval: Micros,
    /// When it starts.
    pub(super) start: Micros,
}

fn topic() -> Topic {
    Topic { name: "user-events".into(), id: "1".into() }
}

/// Lanes for partitions: two of each, or one for those of each shard.
pub(super) fn lanes(partitions: &[i32], logs: u32) -> Vec<(Shard, Vec<Vec<i32>>)> {
    let of = |shard: Shard| {
        let ours: Vec<i32> = partitions.iter().copied().filter(|p| shard.has(*p)).collect();
        let lane = if logs == 1 { LANE } else { usize::MAX };
        (shard, ours.chunks(lane).map(<[i32]>::to_vec).collect::<Vec<_>>())
    };
    Shard::all(logs).map(of).filter(|(_, lanes)| !lanes.is_empty()).collect()
}

impl Host {
    /// Commits every interval, for ever. Events come one a millisecond and partition.
    pub(super) async fn live(self, mut done: impl FnMut(Epoch) + Send) {
        let clock = self.world.clock.clone();
        clock.until(self.start).await;
        let client = Arc::new(Client(self.world.clone()));
        let name = format!("host-{}", self.number);
        let keys = self.world.keys.shard(self.shard);
        let mut log = Log::new(client.clone(), client, &keys, &name, Arc::new(CannotRemake));
        log.sizes = Sizes::PRODUCT;
        log.open().await.expect("a log");
        let mine: Vec<i32> = self.lanes.concat();
        let all = (0..self.partitions).filter(|partition| self.shard.has(*partition));
        let ends: Ends = all.map(|partition| (partition, (0, 1 << 40))).collect();
        log.take(&topic(), &mine, &ends, Policy::default()).await.expect("new partitions");
        // The committers of a host take turns.
        let turn = self.interval * i64::from(self.shard.logs() - self.shard.number());
        let first = clock.now() + turn / i64::from(self.shard.logs());
        let (mut from, mut due, mut looked) = (clock.now(), first, clock.now());
        loop {
            clock.until(due).await;
            let barrier = clock.now();
            // As tokio's interval does with `MissedTickBehavior::Delay`.
            due = if barrier > due + 5_000 { barrier } else { due } + self.interval;
            clock.sleep(BARRIER).await;
            let parts =
                join_all((0..self.lanes.len()).map(|lane| self.stage(&log, lane, barrier - from))).await;
            let staged = clock.now();
            let outcome = log.commit(&topic(), parts, vec![]).await.expect("a store that answers");
            assert!(outcome.lost.is_empty(), "no other host has these partitions");
            let record = outcome.record.expect("nothing was lost");
            let recorded = clock.now();
            log.publish(&record).await.expect("a store that answers");
            let events = record.partitions.iter().map(|a| a.to - a.from).sum();
            let published = clock.now();
            done(Epoch { from, barrier, staged, recorded, published, events, partitions: mine.len() });
            from = barrier;
            if clock.now() - looked >= IDLE {
                looked = clock.now();
                let keys: Vec<PartitionKey> = mine.iter().map(|p| (topic(), *p)).collect();
                log.refresh().await.expect("a store that answers");
                log.roll_forward(Some(&keys)).await.expect("a store that answers");
            }
        }
    }

    /// What a lane sends up, stored.
    async fn stage(&self, log: &Log, lane: usize, time: Micros) -> LanePart {
        let client = Client(self.world.clone());
        let epoch = client.fresh_id();
        let files = TABLES.iter().enumerate().map(|(n, table)| {
            let name =
                log.keys.file_name(&epoch, u32::try_from(lane).expect("few"), u32::try_from(n).expect("few"));
            self.upload(&epoch, table, name)
        });
        let progress = self.lanes[lane].iter().map(|&partition| {
            let from = log.view().position(&topic(), partition).expect("it was begun");
            Progress {
                span: Span { partition, from, to: from + time / 1000, oldest: None, events: 0 },
                prev: log.view().last(&topic(), partition),
                set: None,
                undecoded: 0,
                newest: None,
                works: STATEFUL.iter().map(|name| work(name)).collect(),
            }
        });
        // As `stage` does.
        let (files, partitions) = join(join_all(files), advances(log, &epoch, progress.collect())).await;
        let partitions = partitions.expect("a store that answers");
        LanePart { lane, epoch, partitions, files }
    }

    /// A file of one part: what is sent while the epoch lasts is not waited for at its end.
    async fn upload(&self, epoch: &str, table: &str, name: String) -> DataFile {
        self.world.write(Kind::File).await;
        self.world.write(Kind::File).await;
        let file = StagedFile {
            zone: if table.ends_with("_raw") { Zone::Raw } else { Zone::Processed },
            table: table.into(),
            hour: HOUR,
            key: crate::sink::Keys::data(table, HOUR, &name),
            rows: 1,
            bytes: 1,
            first: 0,
            last: 0,
            how: Publish::Upload { id: name, parts: vec!["d41d8cd98f00b204e9800998ecf8427e".into()] },
        };
        DataFile { epoch: epoch.into(), generation: 1, file }
    }
}

/// What a transform did that remembers something.
fn work(name: &str) -> TransformWork {
    let identity = Identity { name: name.into(), version: "0.1.0".into(), digest: "0".repeat(64) };
    TransformWork {
        identity: Arc::new(identity),
        reads: None,
        tables: vec![name.into()],
        counts: Counts::default(),
        busy: Duration::ZERO,
        state: Some(Memory { transform: name.into(), version: 1, bytes: vec![0] }),
        reached: None,
        watermark: None,
        vitals: Vitals::default(),
    }
}
