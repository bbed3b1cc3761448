use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::*;
use crate::commit::record::{Advance, Remains};
use crate::commit::{CannotRemake, EVERY, LanePart, Policy, Published, Store, Topic};
use crate::env::machine;
use crate::generations::Place;
use crate::sink::{Keys, Publish, StagedFile};
use crate::table::{Hour, REJECTED, Zone};

/// Objects, and files that are staged or visible, by key.
#[derive(Default)]
pub(in crate::commit) struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    staged: Mutex<BTreeSet<String>>,
    visible: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Store for Memory {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let mut objects = self.objects.lock().unwrap();
        Ok(!objects.contains_key(key) && objects.insert(key.into(), bytes.into()).is_none())
    }
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects.lock().unwrap().get(key).cloned())
    }
    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.objects.lock().unwrap().contains_key(key))
    }
    async fn publish(&self, file: &StagedFile) -> Result<Published> {
        let mut visible = self.visible.lock().unwrap();
        if self.staged.lock().unwrap().remove(&file.key) {
            visible.insert(file.key.clone());
        }
        Ok(if visible.contains(&file.key) { Published::Visible } else { Published::Missing })
    }
    async fn remove(&self, file: &StagedFile) -> Result<()> {
        self.staged.lock().unwrap().remove(&file.key);
        self.visible.lock().unwrap().remove(&file.key);
        Ok(())
    }
    async fn clear(&self, _: &Remains) -> Result<()> {
        Ok(())
    }
}

impl Memory {
    pub(in crate::commit) fn stage(&self, n: u32) -> DataFile {
        self.stage_at(n, 1)
    }

    pub(in crate::commit) fn stage_at(&self, n: u32, generation: u32) -> DataFile {
        let place = Place { hour: Hour(0), generation };
        let (epoch, keys) = (machine().fresh_id(), Keys::new("t").unwrap());
        let file = StagedFile {
            zone: Zone::Processed,
            table: REJECTED.into(),
            hour: Hour(0),
            key: Keys::data(REJECTED, place, &keys.file_name(&epoch, 0, n)),
            rows: 1,
            bytes: 1,
            first: 0,
            last: 0,
            how: Publish::Upload { id: "u".into(), parts: vec![] },
        };
        self.staged.lock().unwrap().insert(file.key.clone());
        DataFile::new(&epoch, file)
    }

    pub(in crate::commit) fn visible(&self) -> Vec<String> {
        self.visible.lock().unwrap().iter().cloned().collect()
    }

    pub(in crate::commit) async fn log(self: &Arc<Self>) -> Log {
        let keys = Keys::new("t").unwrap();
        let mut log = Log::new(self.clone(), machine(), &keys, "h", Arc::new(CannotRemake));
        log.open().await.unwrap();
        log
    }
}

pub(in crate::commit) fn topic() -> Topic {
    Topic { name: "t".into(), id: String::new() }
}

/// One more record of a partition.
pub(in crate::commit) async fn commit(log: &mut Log, partition: i32, files: Vec<DataFile>) -> Arc<Record> {
    let epoch = files.first().map_or_else(|| machine().fresh_id(), |file| file.epoch.clone());
    let at = log.view().position(&topic(), partition).unwrap();
    let prev = log.view().last(&topic(), partition);
    let advance = Advance {
        partition,
        prev,
        epoch: epoch.clone(),
        from: at,
        to: at + 1,
        events: 1,
        ..Advance::default()
    };
    let part = LanePart { lane: 0, epoch, partitions: vec![advance], files };
    log.commit(&topic(), vec![part], vec![]).await.unwrap().record.unwrap()
}

/// A log in which the last record of partition 0 has this file, published.
pub(in crate::commit) async fn begun(store: &Arc<Memory>) -> (Log, DataFile) {
    let mut log = store.log().await;
    log.take(&topic(), &[0, 1], &[(0, (0, 0)), (1, (0, 0))].into(), Policy::default()).await.unwrap();
    let file = store.stage(0);
    let record = commit(&mut log, 0, vec![file.clone()]).await;
    log.publish(&record).await.unwrap();
    (log, file)
}

fn portion(old: &DataFile, new: &DataFile) -> Portion {
    let replayed = Replayed { rows: 1, again: 1, ..Replayed::default() };
    Portion { supersedes: vec![old.clone()], files: vec![new.clone()], replayed }
}

#[tokio::test]
async fn of_two_replays_of_a_file_one_comes_to_nothing() {
    let store = Arc::new(Memory::default());
    let (mut first, old) = begun(&store).await;
    // It does not know yet what the other does.
    let mut second = store.log().await;
    let (one, two) = (store.stage(1), store.stage(2));
    let record = first.replay(portion(&old, &one), None).await.unwrap().unwrap();
    assert!(second.replay(portion(&old, &two), None).await.unwrap().is_none());
    assert_eq!(store.visible(), [one.file.key.as_str()]);
    assert!(store.staged.lock().unwrap().is_empty(), "what came to nothing is removed");
    assert_eq!(second.view().next(), record.seq + 1, "there is one record");

    // The next one follows it, and takes over what the catalog is owed.
    let three = store.stage(3);
    let next = second.replay(portion(&one, &three), None).await.unwrap().unwrap();
    assert_eq!((next.previous, next.owed.len()), (Some(record.seq), 1));
    let four = store.stage(4);
    let told = second.replay(portion(&three, &four), Some(next.seq)).await.unwrap().unwrap();
    assert_eq!((told.previous, told.owed.len()), (Some(next.seq), 0));
    assert_eq!(store.visible(), [four.file.key.as_str()]);
}

#[tokio::test]
async fn what_clean_up_took_or_another_set_made_old_comes_to_nothing() {
    let store = Arc::new(Memory::default());
    let (mut log, old) = begun(&store).await;
    let new = store.stage(1);
    let remains = Remains {
        epoch: new.epoch.clone(),
        zone: Zone::Processed,
        key: new.file.key.clone(),
        upload: Some("u".into()),
        staging: None,
    };
    log.clean_up(vec![remains]).await.unwrap().unwrap();
    assert!(log.replay(portion(&old, &new), None).await.unwrap().is_none());
    let mut other = portion(&old, &store.stage(2));
    other.replayed.set = Some(0);
    assert!(log.replay(other, None).await.unwrap().is_none());
    assert_eq!(store.visible(), [old.file.key.as_str()]);
}

#[tokio::test]
async fn a_last_record_does_not_bring_back_what_a_replay_took_away() {
    let store = Arc::new(Memory::default());
    let (mut log, old) = begun(&store).await;
    let new = store.stage(1);
    log.replay(portion(&old, &new), None).await.unwrap().unwrap();
    // Its record is the last of its partition for long: other partitions go ahead, and a summary is written.
    loop {
        let mut other = store.log().await;
        let last = other.view().partition(&topic(), 0).map(|(record, _)| record.clone()).unwrap();
        assert!(other.view().superseded.contains_key(&old.file.key), "at {}", other.view().next());
        assert!(!other.view().is_live(&old.file.key));
        // Nothing is made again, which would be an error here, and nothing comes back.
        other.publish(&last).await.unwrap();
        assert_eq!(store.visible(), [new.file.key.as_str()]);
        if log.view().next() > 2 * EVERY {
            break;
        }
        let record = commit(&mut log, 1, vec![]).await;
        log.publish(&record).await.unwrap();
    }
    // When the partition goes on nobody needs to know any more.
    let record = commit(&mut log, 0, vec![]).await;
    log.publish(&record).await.unwrap();
    while log.view().next() % EVERY != 1 {
        commit(&mut log, 1, vec![]).await;
    }
    assert!(log.view().superseded.is_empty());
    let live = log.live(REJECTED, "1970-01-01").await.unwrap();
    assert_eq!(live.into_keys().collect::<Vec<_>>(), [new.file.key.as_str()]);
}

#[tokio::test]
async fn another_host_finishes_a_replay() {
    let store = Arc::new(Memory::default());
    let (mut log, old) = begun(&store).await;
    let new = store.stage(1);
    let Portion { supersedes, files, replayed } = portion(&old, &new);
    let mut body = Body::new(&log.env, RecordKind::Replay);
    (body.record.supersedes, body.record.files, body.record.replayed) = (supersedes, files, Some(replayed));
    // The host dies here.
    log.append(&mut ReplayDraft { body, told: None }).await.unwrap().unwrap();
    assert_eq!(store.visible(), [old.file.key.as_str()]);
    let mut other = store.log().await;
    assert!(other.waiting_for(&new), "clean-up leaves it alone");
    other.roll_forward(Some(&[])).await.unwrap();
    assert_eq!(store.visible(), [new.file.key.as_str()]);
}

impl Log {
    fn waiting_for(&self, file: &DataFile) -> bool {
        self.view.maintenance().is_some_and(|record| record.files.contains(file))
    }
}
