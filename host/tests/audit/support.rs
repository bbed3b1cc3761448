//! A small lake, made by the real commit code without Kafka, and the command line on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use tempfile::TempDir;
use tidemill::batch::Rows;
use tidemill::catalog::{Catalog, Local, TableSpec};
use tidemill::commit::record::{Advance, DataFile, Remains, Work};
use tidemill::commit::{CannotRemake, Ends, LanePart, Log, Policy, Record, Topic};
use tidemill::env::machine;
use tidemill::sink::{Aws, EpochWriter, Keys, Location, PendingFile, Publish, Settings, Stores, ZoneStore};
use tidemill::table::{PROVENANCE, Table, Zone, no_headers, raw, rejected, timestamp_type};

/// 2025-12-02T09:00:00Z
const NINE: i64 = 1_764_666_000_000_000;
/// Events of each partition in an epoch. One of ten cannot be decoded, another is refused by the transform.
pub(crate) const EVENTS: i64 = 20;

/// A lake in a folder.
pub(crate) struct House {
    /// Removed at the end.
    _folder: Option<TempDir>,
    root: PathBuf,
    /// Where the zones lie.
    zones: [String; 2],
    pub(crate) stores: Stores,
    pub(crate) log: Log,
    pub(crate) topic: Topic,
    /// How far partitions 0 and 1 are.
    at: i64,
}

/// An epoch before it becomes true: to be spoilt by a test.
pub(crate) struct Epoch {
    pub(crate) id: String,
    /// Raw events by partition and offset.
    pub(crate) raw: Vec<(i32, i64)>,
    /// Rows of `user_events`.
    pub(crate) emitted: Vec<(i32, i64)>,
    /// Rows of `rejected_events`: the transform that refused it, or none: it could not be decoded.
    pub(crate) rejected: Vec<(i32, i64, Option<&'static str>)>,
    pub(crate) advances: Vec<Advance>,
}

pub(crate) fn keys() -> Keys {
    Keys::new("tests").unwrap()
}

impl House {
    /// A lake with the record in which two partitions begin at offset 0.
    pub(crate) async fn new() -> House {
        let folder = TempDir::new().unwrap();
        let mut house = House::at(folder.path()).await;
        house._folder = Some(folder);
        house.catalog().ensure(&house.specs()).await.unwrap();
        house.begun().await
    }

    /// With the record in which its partitions begin.
    async fn begun(mut self) -> House {
        let house = &mut self;
        let ends: Ends = [(0, (0, 0)), (1, (0, 0))].into();
        house.log.take(&house.topic, &[0, 1], &ends, Policy::default()).await.unwrap();
        self
    }

    /// The lake in a folder, seen by another host.
    pub(crate) async fn at(root: &Path) -> House {
        let zone = |name| format!("file://{}/{name}", root.display());
        House::open(root, [zone("raw"), zone("processed")], None).await
    }

    /// A lake without a catalog under an address on S3.
    pub(crate) async fn on_s3(address: &str) -> House {
        let (folder, zone) = (TempDir::new().unwrap(), |name| format!("{address}/{name}"));
        let aws = Aws::load(None).await;
        let mut house = House::open(folder.path(), [zone("raw"), zone("processed")], Some(&aws)).await;
        house._folder = Some(folder);
        house.begun().await
    }

    async fn open(root: &Path, zones: [String; 2], aws: Option<&Aws>) -> House {
        let stores = lake(&zones, aws);
        let store = Arc::new(stores.clone());
        let mut log = Log::new(store, machine(), &keys(), "house", Arc::new(CannotRemake));
        log.open().await.unwrap();
        let topic = Topic { name: "user-events".into(), id: "t1".into() };
        House { _folder: None, root: root.into(), zones, stores, log, topic, at: 0 }
    }

    /// One with so many epochs that are committed, published and registered.
    pub(crate) async fn with(epochs: u64) -> House {
        let mut house = House::new().await;
        for _ in 0..epochs {
            let epoch = house.epoch();
            house.commit(epoch).await;
        }
        house
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The next epoch, as it should be.
    pub(crate) fn epoch(&self) -> Epoch {
        let id = machine().fresh_id();
        let offsets = self.at..self.at + EVENTS;
        let all = || [0, 1].into_iter().flat_map(|p| offsets.clone().map(move |offset| (p, offset)));
        let fate = |offset: i64| offset % 10;
        let rejected = all().filter_map(|(p, offset)| match fate(offset) {
            3 => Some((p, offset, None)),
            7 => Some((p, offset, Some("clean"))),
            _ => None,
        });
        let events = EVENTS.cast_unsigned();
        let work = Work {
            name: "clean".into(),
            version: "1".into(),
            digest: "c1ea4".into(),
            tables: vec!["user_events".into()],
            input: events - events / 10,
            emitted: events - events / 10 * 2,
            rejected: events / 10,
            ..Work::default()
        };
        let advance = |partition: i32| Advance {
            newest: None,
            set: None,
            partition,
            epoch: id.clone(),
            prev: self.log.view().last(&self.topic, partition),
            from: offsets.start,
            to: offsets.end,
            events,
            undecoded: events / 10,
            transforms: vec![work.clone()],
        };
        Epoch {
            raw: all().collect(),
            emitted: all().filter(|(_, offset)| ![3, 7].contains(&fate(*offset))).collect(),
            rejected: rejected.collect(),
            advances: vec![advance(0), advance(1)],
            id,
        }
    }

    /// Stages the files of an epoch.
    pub(crate) async fn stage(&self, epoch: &Epoch) -> Vec<DataFile> {
        let rows = vec![raw_rows(&epoch.raw), event_rows(&epoch.emitted), rejected_rows(&epoch.rejected)];
        self.stage_rows(&epoch.id, rows).await
    }

    pub(crate) async fn stage_rows(&self, id: &str, rows: Vec<Rows>) -> Vec<DataFile> {
        let (stores, epoch) = (self.stores.clone(), id.to_owned());
        let staged = tokio::task::spawn_blocking(move || {
            let mut writer = EpochWriter::new(stores, &keys(), 0, Settings::default());
            writer.begin(&epoch, vec![]);
            rows.iter().filter(|rows| rows.batch.num_rows() > 0).for_each(|rows| writer.write(rows).unwrap());
            writer.finish(&[]).unwrap()
        });
        let pending: Vec<PendingFile> = staged.await.unwrap();
        let mut files = Vec::new();
        for file in pending {
            let file = file.staged().await.unwrap();
            files.push(DataFile { epoch: id.into(), generation: 1, file });
        }
        files
    }

    /// Makes an epoch true, but publishes nothing.
    pub(crate) async fn write(&mut self, epoch: Epoch, files: Vec<DataFile>) -> Arc<Record> {
        self.at = epoch.advances.iter().map(|advance| advance.to).max().unwrap();
        let part = LanePart { lane: 0, epoch: epoch.id, partitions: epoch.advances, files };
        let done = self.log.commit(&self.topic, vec![part], vec![]).await.unwrap();
        done.record.unwrap()
    }

    /// Makes an epoch true, publishes and registers it.
    pub(crate) async fn commit(&mut self, epoch: Epoch) -> Arc<Record> {
        let files = self.stage(&epoch).await;
        let record = self.write(epoch, files).await;
        self.log.publish(&record).await.unwrap();
        let on_disk = self.zones[0].starts_with("file:");
        for file in record.files.iter().filter(|_| on_disk) {
            let spec = self.specs().into_iter().find(|spec| spec.table.name == file.file.table).unwrap();
            self.catalog().register(&spec, &[file.file.hour.into()]).await.unwrap();
        }
        record
    }

    /// Cleans up the first of these files, which are staged and will never become true.
    pub(crate) async fn leftovers(&mut self, files: &[DataFile]) -> Remains {
        let DataFile { epoch, file, .. } = files[0].clone();
        let Publish::Rename { staging } = file.how else { panic!("a lake on a disk") };
        let remains = Remains { epoch, zone: file.zone, key: file.key, upload: None, staging: Some(staging) };
        self.log.clean_up(vec![remains.clone()]).await.unwrap().unwrap();
        for file in &files[1..] {
            self.stores.discard(&file.file).await.unwrap();
        }
        remains
    }

    /// So many records in which nothing happens.
    pub(crate) async fn idle(&mut self, records: usize) {
        for _ in 0..records {
            let mut epoch = self.epoch();
            for advance in &mut epoch.advances {
                (advance.to, advance.events, advance.undecoded) = (advance.from, 0, 0);
                advance.transforms.clear();
            }
            self.write(epoch, vec![]).await;
        }
    }

    pub(crate) fn catalog(&self) -> Local {
        Local::new(self.root().join("processed").join(keys().catalog()), machine())
    }

    pub(crate) fn specs(&self) -> Vec<TableSpec> {
        let tables = [Arc::new(raw("user-events")), Arc::new(rejected()), user_events()];
        let spec = |table: Arc<Table>| {
            TableSpec::new(table.clone(), self.stores.of(table.zone).table_address(&table))
        };
        tables.map(spec).into()
    }

    /// The path of what lies at a key.
    pub(crate) fn path(&self, zone: Zone, key: &str) -> PathBuf {
        self.root().join(if zone == Zone::Raw { "raw" } else { "processed" }).join(key)
    }

    /// The path of a record's file of a table.
    pub(crate) fn file(&self, record: &Record, table: &str) -> PathBuf {
        let file = record.files.iter().find(|file| file.file.table == table).unwrap();
        self.path(file.file.zone, &file.file.key)
    }

    /// Changes what a record says, as no host ever would.
    pub(crate) fn rewrite(&self, seq: u64, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path(Zone::Processed, &keys().record(seq));
        let mut record = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    }

    /// Runs the program on this lake.
    pub(crate) fn tidemill(&self, arguments: &[&str]) -> Ran {
        let [raw, processed] = &self.zones;
        let output = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(arguments)
            .args(["--pipeline", "tests"])
            .args(["--raw", raw, "--processed", processed])
            .env_remove("TIDEMILL_TEST_S3")
            .current_dir(self.root())
            .output()
            .unwrap();
        Ran::of(&output)
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn lake([raw, processed]: &[String; 2], aws: Option<&Aws>) -> Stores {
    let store = |zone, address: &str| {
        let location = Location::parse(address, "raw").unwrap();
        Arc::new(ZoneStore::open(zone, location, "raw", &keys(), aws, &machine()).unwrap())
    };
    Stores { raw: store(Zone::Raw, raw), processed: store(Zone::Processed, processed) }
}

pub(crate) fn user_events() -> Arc<Table> {
    let schema = Schema::new(vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new(PROVENANCE[0], DataType::Int32, false),
        Field::new(PROVENANCE[1], DataType::Int64, false),
    ]);
    let schema = Arc::new(schema);
    Arc::new(Table { name: "user_events".into(), zone: Zone::Processed, schema, event_time: 1, sorted: true })
}

/// Half of an epoch's events lie in another hour.
fn times(at: impl Iterator<Item = i64>) -> ArrayRef {
    let times = at.map(|offset| NINE + offset % 2 * 3_600_000_000 + offset);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn rows(table: Arc<Table>, columns: Vec<ArrayRef>) -> Rows {
    let batch = RecordBatch::try_new(table.schema.clone(), columns).unwrap();
    Rows { table, batch }
}

pub(crate) fn raw_rows(at: &[(i32, i64)]) -> Rows {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["user-events"; at.len()])),
        Arc::new(Int32Array::from_iter_values(at.iter().map(|(p, _)| *p))),
        Arc::new(Int64Array::from_iter_values(at.iter().map(|(_, offset)| *offset))),
        times(at.iter().map(|(_, offset)| *offset)),
        Arc::new(BinaryArray::from_opt_vec(vec![None; at.len()])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"{}".as_slice()); at.len()])),
        Arc::new(no_headers(at.len())),
    ];
    rows(Arc::new(raw("user-events")), columns)
}

pub(crate) fn event_rows(at: &[(i32, i64)]) -> Rows {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["u"; at.len()])),
        times(at.iter().map(|(_, offset)| *offset)),
        Arc::new(Int32Array::from_iter_values(at.iter().map(|(p, _)| *p))),
        Arc::new(Int64Array::from_iter_values(at.iter().map(|(_, offset)| *offset))),
    ];
    rows(user_events(), columns)
}

pub(crate) fn rejected_rows(at: &[(i32, i64, Option<&'static str>)]) -> Rows {
    let stage = |transform: &Option<&str>| if transform.is_some() { "transform" } else { "decode" };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["user-events"; at.len()])),
        Arc::new(Int32Array::from_iter_values(at.iter().map(|(p, _, _)| *p))),
        Arc::new(Int64Array::from_iter_values(at.iter().map(|(_, offset, _)| *offset))),
        times(at.iter().map(|(_, offset, _)| *offset)),
        Arc::new(StringArray::from_iter_values(at.iter().map(|(_, _, transform)| stage(transform)))),
        Arc::new(StringArray::from_iter(at.iter().map(|(_, _, transform)| *transform))),
        Arc::new(StringArray::from_iter(at.iter().map(|(_, _, transform)| transform.map(|_| "c1ea4")))),
        Arc::new(StringArray::from(vec!["because"; at.len()])),
        Arc::new(BinaryArray::from_opt_vec(vec![None; at.len()])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"{}".as_slice()); at.len()])),
        Arc::new(no_headers(at.len())),
    ];
    rows(Arc::new(rejected()), columns)
}

/// All files under a folder, sorted, relative to it.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, into: &mut BTreeMap<String, ()>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, into);
            } else {
                into.insert(path.strip_prefix(root).unwrap().display().to_string(), ());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(root, root, &mut files);
    files.into_keys().collect()
}

/// Kinds and texts of what `verify` finds, and that it ends accordingly.
pub(crate) fn found(house: &House, arguments: &[&str]) -> Vec<(String, String)> {
    let ran = house.tidemill(&[&["verify", "--json"], arguments].concat());
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let list = json["findings"].as_array().unwrap();
    let found: Vec<_> = list.iter().map(|f| (text(f, "kind"), text(f, "what"))).collect();
    assert_eq!(
        (json["ok"].as_bool(), ran.code),
        (Some(found.is_empty()), i32::from(!found.is_empty())),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), usize::from(!found.is_empty()), "{ran:?}");
    found
}

/// That exactly this is found: for each finding its kind and a part of its text.
pub(crate) fn finds(house: &House, wanted: &[(&str, &str)]) {
    let found = found(house, &[]);
    let right = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|((kind, what), (k, part))| kind == k && what.contains(part));
    assert!(right, "expected {wanted:#?}, found {found:#?}");
}
