//! A host in this process, and a reader of what it wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tempfile::TempDir;
use tidemill::config::{Config, Flags, Layers};
use tidemill::observe::{Snapshot, Stats, Status};
use tidemill::source::embedded::Broker;
use tidemill::{Error, Result, env, pipeline};
use tokio::sync::watch;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};

/// A broker with a topic, and a place for a lake.
pub(super) struct House {
    group: &'static str,
    broker: Broker,
    lake: TempDir,
}

/// The shipped transforms, built once for all tests.
pub(super) fn transforms() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("transforms"))
}

/// The guest that prints and panics, likewise.
pub(super) fn chatty() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Not the folder of all guests: every component in it would run.
        let alone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chatty");
        std::fs::create_dir_all(&alone).unwrap();
        std::fs::copy(build("tests/guests").join("chatty.wasm"), alone.join("chatty.wasm")).unwrap();
        alone
    })
}

/// A `clean` that says who made a row, of another version for each mark of nine characters; one that ends in `p`
/// fails on every row.
pub(super) fn marked(mark: &str) -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let made = BUILT.get_or_init(|| std::fs::read(build("tests/guests").join("marked.wasm")).unwrap());
    let (old, new) = (b"mark:0000", mark.as_bytes());
    assert_eq!(old.len(), new.len());
    let mut bytes = made.clone();
    let places: Vec<usize> =
        (0..bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + old.len()].copy_from_slice(new));
    bytes
}

/// Puts a component of that folder into a directory of transforms.
pub(super) fn put_from(from: &Path, folder: &Path, name: &str) {
    let file = format!("{name}.wasm");
    std::fs::copy(from.join(&file), folder.join(&file)).unwrap();
}

/// Puts a shipped transform into a directory.
pub(super) fn put(folder: &Path, name: &str) {
    put_from(transforms(), folder, name);
}

/// A directory with some of the shipped transforms.
pub(super) fn directory(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    names.iter().for_each(|name| put(folder.path(), name));
    folder
}

/// All partitions run this set, and none stands still.
pub(super) fn all_on(status: &Status, set: Option<u64>) -> bool {
    status.partitions.len() == 3 && status.partitions.values().all(|p| p.set == set && !p.paused)
}

/// All partitions run the set of the log, which has these files.
pub(super) fn live(status: &Status, names: &[&str]) -> bool {
    let found: Vec<&str> = status.transforms.iter().map(|t| t.file.as_str()).collect();
    found == names && all_on(status, status.set)
}

fn build(crates: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(crates);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crates);
    tidemill::cli::build::build(&crates, &out).unwrap();
    out
}

impl House {
    pub(super) fn new(group: &'static str) -> House {
        House { group, broker: Broker::start("user-events", 3).unwrap(), lake: TempDir::new().unwrap() }
    }

    pub(super) fn lake(&self) -> &Path {
        self.lake.path()
    }

    /// Sends values, spread over the partitions, and waits until the broker has them.
    pub(super) fn send(&self, values: &[Option<&str>]) {
        let mut config = ClientConfig::new();
        let producer: BaseProducer = config.set("bootstrap.servers", self.broker.address()).create().unwrap();
        for (partition, value) in (0..3).cycle().zip(values) {
            let mut record = BaseRecord::to("user-events").partition(partition).key("k");
            if let Some(value) = value {
                record = record.payload(*value);
            }
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    /// Where its hosts can be asked how they are.
    pub(super) fn sockets(&self) -> PathBuf {
        self.lake().join("sockets")
    }

    pub(super) fn config(&self, transforms: &Path, settings: &[(&'static str, &str)]) -> Config {
        let lake = self.lake().display();
        let values = [
            ("http", "off".into()),
            ("brokers", self.broker.address()),
            ("group", self.group.into()),
            ("raw", format!("file://{lake}/raw")),
            ("processed", format!("file://{lake}/processed")),
            ("transforms", transforms.display().to_string()),
            ("commit-interval", "200ms".into()),
        ];
        let mut values = std::collections::BTreeMap::from(values);
        values.extend(settings.iter().map(|(key, value)| (*key, value.to_string())));
        let flags = Flags { values, ..Flags::default() };
        let config = Config::of(&Layers::only(&flags).unwrap()).unwrap();
        Config { sockets: vec![self.sockets()], ..config }
    }

    /// Runs a host until what is in the topic now is committed.
    pub(super) fn run_until_end(&self) -> Snapshot {
        self.begin(transforms(), &[("until-end", "true")]).ended(Duration::from_secs(60)).unwrap()
    }

    /// Runs a host until it is stopped.
    pub(super) fn start(&self) -> Host {
        self.begin(transforms(), &[])
    }

    /// Runs a command on this lake.
    pub(super) fn tidemill(&self, arguments: &[&str]) -> Output {
        let lake = self.lake().display();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(arguments).args(["--group", self.group]);
        command.args(["--raw", &format!("file://{lake}/raw")]);
        command.args(["--processed", &format!("file://{lake}/processed")]);
        command.output().unwrap()
    }

    /// The error of a host with these transforms.
    pub(super) fn refusal(&self, transforms: &Path) -> Error {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        match runtime.block_on(pipeline::graph(&self.config(transforms, &[]))) {
            Err(e) => e,
            Ok(_) => panic!("{} was accepted", transforms.display()),
        }
    }

    /// Runs a host with these transforms and settings.
    pub(super) fn begin(&self, transforms: &Path, settings: &[(&'static str, &str)]) -> Host {
        let config = self.config(transforms, settings);
        let stats = Arc::new(Stats::default());
        let (stop, stopped) = watch::channel(false);
        let shared = stats.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(pipeline::run(&config, env::machine(), shared, stopped))
        });
        Host { stats, stop, thread }
    }
}

/// A running host.
pub(super) struct Host {
    stats: Arc<Stats>,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Host {
    /// Waits until the counters are as wanted.
    pub(super) fn wait(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.stats.snapshot();
            if wanted(&now) {
                return now;
            }
            assert!(!self.thread.is_finished(), "the host ended before: {what}");
            assert!(Instant::now() < deadline, "not within a minute: {what}; {now:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the host is as wanted.
    pub(super) fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.stats.status();
            if wanted(&now) {
                return now;
            }
            assert!(!self.thread.is_finished(), "the host ended before: {what}");
            assert!(Instant::now() < deadline, "not within a minute: {what}; {now:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(self, most: Duration) -> Result<Snapshot> {
        self.stop.send(true).unwrap();
        self.ended(most)
    }

    /// Waits until it ends.
    pub(super) fn ended(self, most: Duration) -> Result<Snapshot> {
        let deadline = Instant::now() + most;
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "the host did not end within {most:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.thread.join().unwrap()?;
        Ok(self.stats.snapshot())
    }
}

/// All rows of a table that a reader of the folder sees.
fn rows(house: &House, zone: &str, table: &str) -> Vec<RecordBatch> {
    let mut rows = Vec::new();
    files(&house.lake().join(zone).join(table), &mut |path| {
        let file = std::fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        rows.extend(reader.map(|batch| batch.unwrap()));
    });
    rows
}

fn files(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, each) } else { each(&path) }
    }
}

/// The records of the commit log, in order.
pub(super) fn log(house: &House, pipeline: &str) -> Vec<String> {
    let folder = house.lake().join("processed/_tidemill").join(pipeline).join("log");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Removes all that a reader sees of a zone; how many files.
pub(super) fn remove_files(house: &House, zone: &str) -> usize {
    let mut gone = 0;
    files(&house.lake().join(zone), &mut |path| {
        if !path.to_string_lossy().contains("_tidemill") {
            std::fs::remove_file(path).unwrap();
            gone += 1;
        }
    });
    gone
}

/// An event's place in the topic.
pub(super) type At = (i32, i64);

fn at(batch: &RecordBatch, partition: &str, offset: &str) -> Vec<At> {
    let partition = batch.column_by_name(partition).unwrap().as_primitive::<Int32Type>();
    let offset = batch.column_by_name(offset).unwrap().as_primitive::<Int64Type>();
    partition.values().iter().copied().zip(offset.values().iter().copied()).collect()
}

fn text(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|v| v.unwrap().to_string()).collect()
}

/// The events in the raw zone, sorted; each as often as it is there.
pub(super) fn offsets(house: &House, table: &str) -> Vec<At> {
    let mut all: Vec<At> =
        rows(house, "raw", table).iter().flat_map(|b| at(b, "partition", "offset")).collect();
    all.sort_unstable();
    let unique = all.len();
    all.dedup();
    assert_eq!(all.len(), unique, "an event is twice in {table}");
    all
}

/// A row of `user_events`.
pub(super) struct Clean {
    pub(super) at: At,
    pub(super) event_type: String,
    pub(super) device: String,
}

pub(super) fn clean_rows(house: &House) -> Vec<Clean> {
    let batches = rows(house, "processed", "user_events");
    let all = batches.iter().flat_map(|b| {
        let values = text(b, "event_type").into_iter().zip(text(b, "device"));
        at(b, "kafka_partition", "kafka_offset")
            .into_iter()
            .zip(values)
            .map(|(at, (event_type, device))| Clean { at, event_type, device })
    });
    all.collect()
}

/// Rejected events with their reasons.
pub(super) fn rejects(house: &House) -> Vec<(At, String)> {
    let batches = rows(house, "processed", "rejected_events");
    batches.iter().flat_map(|b| at(b, "partition", "offset").into_iter().zip(text(b, "reason"))).collect()
}

/// The sum of all counters per minute.
pub(super) fn events_per_minute(house: &House) -> i64 {
    let batches = rows(house, "processed", "user_activity_per_minute");
    let sum = |b: &RecordBatch| {
        b.column_by_name("events").unwrap().as_primitive::<Int64Type>().values().iter().sum::<i64>()
    };
    batches.iter().map(sum).sum()
}
