//! A power cut at any moment, on a local disk.
//!
//! The real code runs on a real folder; a recording layer notes each step. Then every moment is cut: what was made
//! durable by an fsync is there, of the names that were changed since any selection may be. Whatever is left must be
//! a lake that the protocol can go on from (COMMIT.md, "Local disk").

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Advance, DataFile, Remains};
use super::{CannotRemake, Ends, LanePart, Log, Policy, Topic};
use crate::env::machine;
use crate::sink::{Keys, Location, Noted, Steps, Stores, Summary, ZoneStore};
use crate::table::{Hour, Zone};

const TABLE: &str = "events";

fn topic() -> Topic {
    Topic { name: "t".into(), id: "1".into() }
}

/// A lake in a folder whose steps are noted.
fn lake(root: &Path, steps: &Steps) -> (Stores, Keys) {
    let keys = Keys::new("p").expect("a plain name");
    let zone = |zone, name: &str| {
        let location = Location::Local(root.join(name));
        let store = ZoneStore::open(zone, location, name, &keys, None, &machine()).expect("a folder");
        Arc::new(store.traced(steps))
    };
    (Stores { raw: zone(Zone::Raw, "raw"), processed: zone(Zone::Processed, "processed") }, keys)
}

fn host(stores: &Stores, keys: &Keys, name: &str) -> Log {
    Log::new(Arc::new(stores.clone()), machine(), keys, name, Arc::new(CannotRemake))
}

async fn staged(stores: &Stores, keys: &Keys, epoch: &str) -> DataFile {
    let (store, name) = (stores.raw.clone(), keys.file_name(epoch, 0, 0));
    let pending = tokio::task::spawn_blocking(move || {
        let mut writer = store.stage(TABLE, Hour(0), &name).expect("room");
        writer.write_all(b"rows").expect("room");
        writer.finish(Summary { rows: 1, first: 0, last: 0 }).expect("room")
    });
    let file = pending.await.expect("no panic").staged().await.expect("room");
    DataFile { epoch: epoch.into(), generation: 1, file }
}

fn epoch(n: u64) -> String {
    format!("{n:032}")
}

async fn part(stores: &Stores, keys: &Keys, log: &Log, n: i64) -> LanePart {
    let epoch = epoch(u64::try_from(n).expect("small"));
    let file = staged(stores, keys, &epoch).await;
    let prev = log.view().last(&topic(), 0);
    let advance = Advance { epoch: epoch.clone(), prev, from: n, to: n + 1, events: 1, ..Advance::default() };
    LanePart { lane: 0, epoch, partitions: vec![advance], files: vec![file] }
}

/// One host commits and dies before it publishes; another rolls forward, commits, publishes, and cleans up what a
/// third one left.
async fn story(root: &Path, steps: &Steps) {
    let (stores, keys) = lake(root, steps);
    let ends = Ends::from([(0, (0, 10))]);
    let mut one = host(&stores, &keys, "one");
    one.open().await.expect("empty");
    one.take(&topic(), &[0], &ends, Policy::default()).await.expect("new");
    let first = part(&stores, &keys, &one, 0).await;
    one.commit(&topic(), vec![first], vec![]).await.expect("room").record.expect("nobody else");
    drop(one);

    let left = staged(&stores, &keys, &epoch(77)).await;
    let mut two = host(&stores, &keys, "two");
    two.open().await.expect("a log");
    two.take(&topic(), &[0], &ends, Policy::default()).await.expect("known");
    let second = part(&stores, &keys, &two, 1).await;
    let record = two.commit(&topic(), vec![second], vec![]).await.expect("room").record.expect("nobody else");
    two.publish(&record).await.expect("room");
    let crate::sink::Publish::Rename { staging } = left.file.how else { panic!("a disk renames") };
    let remains = Remains {
        epoch: epoch(77),
        zone: Zone::Raw,
        key: left.file.key,
        upload: None,
        staging: Some(staging),
    };
    two.clean_up(vec![remains]).await.expect("room").expect("there is a victim");
}

/// What a disk holds after a power cut: names, and which contents are whole.
#[derive(Clone, Default)]
struct Image {
    /// Path to the file behind it.
    names: BTreeMap<PathBuf, usize>,
    whole: BTreeSet<usize>,
    /// Names that were taken away for good.
    unlinked: BTreeSet<PathBuf>,
}

/// The change of one step to the names, which are durable once `folder` is.
struct Pending {
    folder: PathBuf,
    add: Option<(PathBuf, usize)>,
    remove: Option<PathBuf>,
}

impl Image {
    fn apply(&mut self, change: &Pending) {
        if let Some(path) = &change.remove {
            self.names.remove(path);
            if change.add.is_none() {
                self.unlinked.insert(path.clone());
            }
        }
        if let Some((path, file)) = &change.add {
            self.names.insert(path.clone(), *file);
        }
    }
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).into()
}

/// Every image that a cut after these steps can leave.
fn images(steps: &[Noted]) -> Vec<Image> {
    let (mut durable, mut pending): (Image, Vec<Pending>) = (Image::default(), Vec::new());
    // The file behind each name as a running system sees it.
    let mut now: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (number, (what, path, other)) in steps.iter().enumerate() {
        match *what {
            "create" => {
                now.insert(path.clone(), number);
                pending.push(Pending {
                    folder: folder(path),
                    add: Some((path.clone(), number)),
                    remove: None,
                });
            }
            "sync file" => drop(durable.whole.insert(now[path])),
            "link" => {
                now.insert(other.clone(), now[path]);
                pending.push(Pending {
                    folder: folder(other),
                    add: Some((other.clone(), now[path])),
                    remove: None,
                });
            }
            "rename" => {
                let file = now.remove(path).expect("it was there");
                now.insert(other.clone(), file);
                // One transaction of the file system's journal.
                let (add, remove) = (Some((other.clone(), file)), Some(path.clone()));
                pending.push(Pending { folder: folder(other), add, remove });
            }
            "unlink" => {
                now.remove(path);
                pending.push(Pending { folder: folder(path), add: None, remove: Some(path.clone()) });
            }
            "sync folder" => {
                let (done, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|p| p.folder == *path);
                done.iter().for_each(|change| durable.apply(change));
                pending = rest;
            }
            other => panic!("unknown step {other}"),
        }
    }
    let chosen = |selection: u32| {
        let mut image = durable.clone();
        let kept = pending.iter().enumerate().filter(|(at, _)| selection & (1 << at) != 0);
        kept.for_each(|(_, change)| image.apply(change));
        image
    };
    assert!(pending.len() < 16, "{} names are not durable", pending.len());
    (0..1 << pending.len()).map(chosen).collect()
}

/// What is wrong with an image, by the rules. `records` are the contents of the log as they were written.
fn wrong(image: &Image, root: &Path, records: &BTreeMap<PathBuf, super::Record>) -> BTreeSet<&'static str> {
    let mut wrong = BTreeSet::new();
    let here: BTreeMap<u64, &super::Record> =
        records.iter().filter(|(path, _)| image.names.contains_key(*path)).map(|(_, r)| (r.seq, r)).collect();
    for path in records.keys() {
        if image.names.get(path).is_some_and(|file| !image.whole.contains(file)) {
            wrong.insert("a record whose bytes may be gone");
        }
    }
    if here.keys().enumerate().any(|(at, seq)| at as u64 != *seq) {
        wrong.insert("a hole in the log");
    }
    let removed: BTreeSet<&str> = here
        .values()
        .filter_map(|r| r.cleanup.as_ref())
        .flat_map(|c| c.remains.iter().map(|remains| remains.key.as_str()))
        .collect();
    let mut named = BTreeSet::new();
    for record in here.values() {
        for file in &record.files {
            let visible = root.join("raw").join(&file.file.key);
            let crate::sink::Publish::Rename { staging } = &file.file.how else { continue };
            let waits = root.join("raw").join(staging);
            named.insert(visible.clone());
            let found = image.names.get(&visible).or_else(|| image.names.get(&waits));
            match found {
                None => {
                    wrong.insert("a record names a file that has no name");
                }
                Some(file) if !image.whole.contains(file) => {
                    wrong.insert("a record names a file whose bytes may be gone");
                }
                Some(_) => {}
            }
            let later = here.values().any(|r| r.seq > record.seq && !r.partitions.is_empty());
            if later && !image.names.contains_key(&visible) {
                wrong.insert("a later record is durable, this file is not in its place");
            }
        }
    }
    for path in image.names.keys().filter(|path| path.starts_with(root.join("raw").join(TABLE))) {
        if !named.contains(path) {
            wrong.insert("visible without its record");
        }
    }
    let left = root.join("raw").join(format!("_tidemill/p/staging/p-{}-0-0.parquet", epoch(77)));
    if removed.is_empty() && image.unlinked.contains(&left) {
        wrong.insert("removed before its record");
    }
    wrong
}

async fn run() -> (tempfile::TempDir, Vec<Noted>, BTreeMap<PathBuf, super::Record>) {
    let folder = tempfile::tempdir().expect("a folder");
    let steps = Steps::default();
    story(folder.path(), &steps).await;
    let log = folder.path().join("processed/_tidemill/p/log");
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(log).expect("a log") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("readable");
        records.insert(path.clone(), super::Record::decode("log", &bytes).expect("a record"));
    }
    assert_eq!(records.len(), 4, "start, two epochs, a clean-up");
    let steps = std::mem::take(&mut *steps.lock().expect("no panic"));
    (folder, steps, records)
}

fn all_wrong(
    steps: &[Noted],
    root: &Path,
    records: &BTreeMap<PathBuf, super::Record>,
) -> BTreeSet<&'static str> {
    let cuts = (0..=steps.len()).flat_map(|cut| images(&steps[..cut]));
    cuts.flat_map(|image| wrong(&image, root, records)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_leaves_a_lake_to_go_on_from() {
    let (folder, steps, records) = run().await;
    let cuts: usize = (0..=steps.len()).map(|cut| images(&steps[..cut]).len()).sum();
    println!("{} steps, {cuts} images", steps.len());
    assert_eq!(all_wrong(&steps, folder.path(), &records), BTreeSet::new());
    // Each folder up to the root was made durable after the file came into its place.
    let place = steps.iter().position(|(what, ..)| *what == "rename").expect("a file was published");
    let target = steps[place].2.clone();
    for above in target.ancestors().skip(1).take_while(|path| path.starts_with(folder.path().join("raw"))) {
        let synced = steps[place..].iter().any(|(what, path, _)| *what == "sync folder" && path == above);
        assert!(synced, "{} was not made durable", above.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fsync_is_needed() {
    let (folder, steps, records) = run().await;
    let root = folder.path();
    // What is left out, and what then goes wrong.
    type Skip = fn(&Noted) -> bool;
    let cases: [(&str, Skip, &str); 5] = [
        (
            "a data file",
            |(w, p, _)| *w == "sync file" && ends(p, "parquet"),
            "a record names a file whose bytes may be gone",
        ),
        (
            "the staging folder",
            |(w, p, _)| *w == "sync folder" && ends(p, "staging"),
            "a record names a file that has no name",
        ),
        ("a record", |(w, p, _)| *w == "sync file" && ends(p, "tmp"), "a record whose bytes may be gone"),
        ("the log", |(w, p, _)| *w == "sync folder" && ends(p, "log"), "visible without its record"),
        (
            "the place",
            |(w, p, _)| *w == "sync folder" && ends(p, "hour=00"),
            "a later record is durable, this file is not in its place",
        ),
    ];
    for (name, skip, expected) in cases {
        let rest: Vec<Noted> = steps.iter().filter(|step| !skip(step)).cloned().collect();
        assert!(rest.len() < steps.len(), "{name} was never made durable");
        let found = all_wrong(&rest, root, &records);
        println!("without fsync of {name}: {found:?}");
        assert!(found.contains(expected), "without fsync of {name}: {found:?}");
    }
}

fn ends(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}
