//! Which things that are staged may be removed: over a store in memory, whose objects are the log's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::commit::record::{Advance, DataFile, StateRef, Work};
use crate::commit::{CannotRemake, LanePart, Policy, Published, Store, Topic};
use crate::env::machine;
use crate::sink::{Keys, StagedFile};
use crate::table::Hour;

/// Objects by key, and what was cleared. Everything that is published is there.
#[derive(Default)]
pub(in crate::commit) struct Memory(Mutex<BTreeMap<String, Vec<u8>>>, Mutex<Vec<Remains>>);

#[async_trait]
impl Store for Memory {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let mut objects = self.0.lock().unwrap();
        Ok(!objects.contains_key(key) && objects.insert(key.into(), bytes.into()).is_none())
    }
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(key))
    }
    async fn publish(&self, _: &StagedFile) -> Result<Published> {
        Ok(Published::Visible)
    }
    async fn remove(&self, _: &StagedFile) -> Result<()> {
        Ok(())
    }
    async fn clear(&self, remains: &Remains) -> Result<()> {
        self.1.lock().unwrap().push(remains.clone());
        Ok(())
    }
}

fn epoch() -> String {
    machine().fresh_id()
}

fn keys() -> Keys {
    Keys::new("t").expect("a plain name")
}

fn file(epoch: &str, n: u32, how: Publish) -> DataFile {
    let key = Keys::data("t_raw", Hour(0), &keys().file_name(epoch, 0, n));
    let file = StagedFile {
        zone: Zone::Raw,
        table: "t_raw".into(),
        hour: Hour(0),
        key,
        rows: 1,
        bytes: 1,
        first: 0,
        last: 0,
        how,
    };
    DataFile { epoch: epoch.into(), generation: 1, file }
}

fn upload(epoch: &str, n: u32) -> DataFile {
    file(epoch, n, Publish::Upload { id: "u".into(), parts: vec![] })
}

fn in_staging(epoch: &str, n: u32) -> DataFile {
    let staging = keys().staging(&keys().file_name(epoch, 0, n));
    file(epoch, n, Publish::Rename { staging })
}

/// What a listing of a store says of a file: a disk does not know its key.
fn listed(file: &DataFile) -> Remains {
    let (epoch, zone) = (file.epoch.clone(), file.file.zone);
    match &file.file.how {
        Publish::Upload { id, .. } => {
            Remains { epoch, zone, key: file.file.key.clone(), upload: Some(id.clone()), staging: None }
        }
        Publish::Rename { staging } => {
            Remains { epoch, zone, key: staging.clone(), upload: None, staging: Some(staging.clone()) }
        }
    }
}

/// A log in which partition 0 was begun.
pub(in crate::commit) async fn log(store: &Arc<Memory>) -> (Log, Topic) {
    let mut log = Log::new(store.clone(), machine(), &keys(), "h", Arc::new(CannotRemake));
    let topic = Topic { name: "t".into(), id: String::new() };
    log.open().await.unwrap();
    log.take(&topic, &[0], &[(0, (0, 0))].into(), Policy::default()).await.unwrap();
    (log, topic)
}

/// One more record with these files and that state.
async fn commit(log: &mut Log, topic: &Topic, files: Vec<DataFile>, state: Option<&str>) {
    let epoch = files.first().map_or_else(epoch, |file| file.epoch.clone());
    let at = log.view().position(topic, 0).unwrap();
    let state = state.map(|key| StateRef { key: key.into(), ..StateRef::default() });
    let advance = Advance {
        prev: log.view().last(topic, 0),
        epoch: epoch.clone(),
        from: at,
        to: at + 1,
        events: 1,
        transforms: vec![Work { name: "w".into(), state, ..Work::default() }],
        ..Advance::default()
    };
    let part = LanePart { lane: 0, epoch, partitions: vec![advance], files };
    assert!(log.commit(topic, vec![part], vec![]).await.unwrap().record.is_some());
}

#[tokio::test]
async fn what_a_record_names_is_no_victim_wherever_it_waits() {
    let store = Arc::new(Memory::default());
    let (mut log, topic) = log(&store).await;
    for make in [upload, in_staging] {
        let (true_epoch, dead) = (epoch(), epoch());
        let (named, forgotten, left) = (make(&true_epoch, 0), make(&true_epoch, 1), make(&dead, 0));
        let staged = [&named, &forgotten, &left].map(listed);
        commit(&mut log, &topic, vec![named], None).await;
        assert_eq!(log.victims(&staged).await.unwrap(), staged[1..]);
        // Later the key is known from a summary's lists. What still waits on a disk then is nothing: the file was
        // published before the next record.
        while log.view().next() % super::super::EVERY != 1 {
            commit(&mut log, &topic, vec![], None).await;
        }
        let upload = staged[0].upload.is_some();
        assert_eq!(log.victims(&staged).await.unwrap()[..], staged[usize::from(upload)..]);
    }
}

#[tokio::test]
async fn another_upload_to_the_key_of_a_true_file_is_left_alone() {
    let store = Arc::new(Memory::default());
    let (mut log, topic) = log(&store).await;
    let file = upload(&epoch(), 0);
    let other = Remains { upload: Some("another".into()), ..listed(&file) };
    assert_eq!(log.victims(std::slice::from_ref(&other)).await.unwrap(), std::slice::from_ref(&other));
    commit(&mut log, &topic, vec![file], None).await;
    assert_eq!(log.victims(&[other]).await.unwrap(), []);
}

#[tokio::test]
async fn the_last_two_states_are_needed_and_others_are_removed_once() {
    let store = Arc::new(Memory::default());
    let (mut log, topic) = log(&store).await;
    let names: Vec<String> = (0..4).map(|_| keys().state(&epoch(), 0, "w")).collect();
    let state = |key: &String| {
        let epoch = key.split('/').nth(3).unwrap_or_default().to_owned();
        Remains { epoch, zone: Zone::Processed, key: key.clone(), upload: None, staging: None }
    };
    let staged: Vec<Remains> = names.iter().map(state).collect();
    for name in &names[..3] {
        commit(&mut log, &topic, vec![], Some(name)).await;
    }
    let useless = [staged[0].clone(), staged[3].clone()];
    let record = log.clean_up(staged).await.unwrap().unwrap();
    assert_eq!(record.cleanup.as_ref().unwrap().remains, useless);
    assert_eq!(*store.1.lock().unwrap(), useless);
    assert!(log.clean_up(vec![]).await.unwrap().is_none());
}
