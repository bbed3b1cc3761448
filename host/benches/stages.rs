//! What each stage of the main job costs an event, alone: `cargo bench -p tidemill --bench stages`.
//!
//! Generated events like those of the reference deployment, a million of them in batches of 8,192, in epochs of 131,072.
//! `ns` are of the thread that does the work (a lane's), `others` of all other threads of the process meanwhile: those of
//! librdkafka for `fetch`, of the runtime for files. Medians of five rounds. GB/s are bytes of values that went in.
//!
//! | variable | what it adds |
//! | --- | --- |
//! | `TIDEMILL_BENCH_BROKERS` | `fetch`, of partition 0 of the topic in `TIDEMILL_BENCH_TOPIC` (`user-events`); half a million events are read |
//! | `TIDEMILL_BENCH_S3` | files that go to a bucket, `s3://bucket/prefix`, instead of a disk; they are not made visible |
//! | `TIDEMILL_BENCH_JSON` | a file that gets the figures, a line of JSON each |

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod generated;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use generated::{clock, delivered, thread_time};
use serde_json::json;
use tidemill::batch::{Batch, Delivered, Rows};
use tidemill::decode::Decoder;
use tidemill::env::machine;
use tidemill::pipeline::raw_rows;
use tidemill::sink::{Aws, Codec, EpochWriter, Keys, Location, Settings, Stores, ZoneStore};
use tidemill::source::generate::Generator;
use tidemill::source::{self, replay};
use tidemill::table::{self, Zone};
use tidemill::transform::event_time::Due;
use tidemill::transform::graph::{Graph, Surroundings};
use tidemill::transform::run::Runner;
use tidemill::transform::{Compiling, Component, Engine, registry};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 8192;
const EPOCH: usize = 16;
const ROUNDS: usize = 5;
/// The transforms of the job.
const JOB: [&str; 2] = ["clean", "activity_per_minute"];
const CODECS: [Codec; 5] = [Codec::Zstd(1), Codec::Zstd(-3), Codec::Lz4, Codec::Snappy, Codec::None];

fn main() {
    let delivered = events();
    let bytes: usize = delivered.iter().map(|batch| batch.value.value_data().len()).sum();
    println!("{:44} {:>7} {:>7} {:>6} {:>12}", "stage", "ns", "others", "GB/s", "bytes/event");
    fetch();
    let graph = graph();
    let mut decoder = Decoder::new(graph.fields(), 1 << 20);
    let decoded = measure("decode", bytes, || {
        (delivered.iter().map(|batch| decoder.decode(batch.clone())).collect::<Vec<_>>(), None)
    });
    let rows = measure("transforms, crossing included", bytes, || (transformed(&graph, &decoded), None));
    let table = Arc::new(table::raw("user-events"));
    let raw: Vec<Rows> = delivered.iter().map(|batch| raw_rows(&table, batch).unwrap()).collect();
    let processed: BTreeMap<&str, Vec<&Rows>> = rows.iter().fold(BTreeMap::new(), |mut tables, rows| {
        tables.entry(rows.table.name.as_str()).or_insert_with(Vec::new).push(rows);
        tables
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _within = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (stores, place) = runtime.block_on(lake(folder.path()));
    for codec in CODECS {
        let name = format!("files of {} on {place}, {codec}", table.name);
        let raw: Vec<&Rows> = raw.iter().collect();
        measure(&name, bytes, || ((), Some(write(&runtime, &stores, codec, &raw))));
    }
    for (table, rows) in processed {
        for codec in [Codec::Zstd(1), Codec::Lz4] {
            let name = format!("files of {table} on {place}, {codec}");
            measure(&name, bytes, || ((), Some(write(&runtime, &stores, codec, &rows))));
        }
    }
}

/// Times some work over all events; it may say how many bytes it made.
fn measure<T>(stage: &str, bytes: usize, mut work: impl FnMut() -> (T, Option<u64>)) -> T {
    let (mut own, mut others, mut last) = (Vec::new(), Vec::new(), None);
    for _ in 0..ROUNDS {
        let (thread, process) = (thread_time(), process_time());
        let done = work();
        let (thread, process) = (thread_time() - thread, process_time() - process);
        own.push(thread);
        others.push(process.saturating_sub(thread));
        last = Some(done);
    }
    let (result, made) = last.unwrap();
    say(stage, median(own), median(others), (EVENTS, bytes), made);
    result
}

fn say(stage: &str, own: Duration, others: Duration, (events, bytes): (usize, usize), made: Option<u64>) {
    let per_event = |time: Duration| time.as_nanos() as f64 / events as f64;
    let (ns, others, gigabytes) = (per_event(own), per_event(others), bytes as f64 / own.as_nanos() as f64);
    let size = made.map(|made| made as f64 / events as f64);
    let shown = size.map_or(String::new(), |size| format!("{size:.1}"));
    println!("{stage:44} {ns:7.0} {others:7.0} {gigabytes:6.2} {shown:>12}");
    if let Ok(path) = std::env::var("TIDEMILL_BENCH_JSON") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let line = json!({ "bench": "stage", "stage": stage, "ns": ns, "others_ns": others, "gb_per_s": gigabytes, "bytes_per_event": size });
        writeln!(file, "{line}").unwrap();
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Reads events of a real topic and drops them: what librdkafka does, and the copy into columns.
fn fetch() {
    let Ok(brokers) = std::env::var("TIDEMILL_BENCH_BROKERS") else { return };
    let topic = std::env::var("TIDEMILL_BENCH_TOPIC").unwrap_or("user-events".into());
    let settings = source::Settings {
        brokers,
        topic,
        group: "tidemill-bench".into(),
        prefetch: 8 << 20,
        ..source::Settings::default()
    };
    let (mut own, mut others, mut seen) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..ROUNDS {
        let (thread, process, mut bytes) = (thread_time(), process_time(), 0);
        let events = replay(&settings, &machine(), (0, 0, 500_000), |delivered| {
            bytes += delivered.value.value_data().len();
            Ok(true)
        });
        let (thread, process) = (thread_time() - thread, process_time() - process);
        own.push(thread);
        others.push(process - thread);
        seen = (usize::try_from(events.unwrap().events).unwrap(), bytes);
    }
    say("fetch, the client's start included", median(own), median(others), seen, None);
}

fn graph() -> Arc<Graph> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-transforms");
    tidemill::cli::build::build(&shipped, &built).unwrap();
    let engine = Arc::new(Engine::new(Compiling::Here, None).unwrap());
    let packages = registry::read(&built).unwrap();
    let job = packages.iter().filter(|package| JOB.contains(&package.name.as_str()));
    let components = job.map(|package| Component::load(&engine, package).unwrap()).collect();
    let provenance = BTreeMap::new();
    let around = Surroundings { topic: "user-events", taken: &[], provenance: &provenance };
    Arc::new(Graph::plan(components, &around).unwrap())
}

/// All events through the transforms, with a flush and a snapshot for each epoch.
fn transformed(graph: &Arc<Graph>, batches: &[Batch]) -> Vec<Rows> {
    let mut runner = Runner::open(graph, 0, &[]).unwrap();
    let mut rows = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        rows.extend(runner.batch(batch).unwrap().rows);
        if (at + 1) % EPOCH == 0 || at + 1 == batches.len() {
            rows.extend(runner.flush(Due::Rows(Duration::ZERO)).unwrap().rows);
            runner.snapshot().unwrap();
            runner.take_work();
            runner.committed();
        }
    }
    rows
}

async fn lake(folder: &Path) -> (Stores, &'static str) {
    let keys = Keys::new("bench").unwrap();
    let (aws, place) = match std::env::var("TIDEMILL_BENCH_S3") {
        Ok(_) => (Some(Aws::load(None).await), "S3"),
        Err(_) => (None, "disk"),
    };
    let zone = |zone, name: &str| {
        let location = match std::env::var("TIDEMILL_BENCH_S3") {
            Ok(bucket) => Location::parse(&format!("{bucket}/{name}"), "TIDEMILL_BENCH_S3").unwrap(),
            Err(_) => Location::Local(folder.join(name)),
        };
        Arc::new(ZoneStore::open(zone, location, name, &keys, aws.as_ref(), &machine()).unwrap())
    };
    (Stores { raw: zone(Zone::Raw, "raw"), processed: zone(Zone::Processed, "processed") }, place)
}

/// Writes rows in epochs, waits until their files are stored, and throws them away; how many bytes they had.
fn write(runtime: &tokio::runtime::Runtime, stores: &Stores, codec: Codec, rows: &[&Rows]) -> u64 {
    let keys = Keys::new("bench").unwrap();
    let settings = Settings { raw_codec: codec, processed_codec: codec, ..Settings::default() };
    let stores = stores.clone();
    // What blocks may not run on the runtime's own threads, and this is none.
    let mut writer = EpochWriter::new(stores.clone(), &keys, 0, settings);
    let mut bytes = 0;
    let each = (rows.len() * EPOCH * BATCH).div_ceil(EVENTS).max(1);
    for rows in rows.chunks(each) {
        writer.begin(&machine().fresh_id(), vec![]);
        rows.iter().for_each(|rows| writer.write(rows).unwrap());
        for file in writer.finish(&[]).unwrap() {
            let staged = runtime.block_on(file.staged()).unwrap();
            bytes += staged.bytes;
            runtime.block_on(stores.of(staged.zone).discard(&staged)).unwrap();
        }
    }
    bytes
}

fn process_time() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

/// All events.
fn events() -> Vec<Arc<Delivered>> {
    let mut generator = Generator::new(7, 0.0);
    (0..EVENTS)
        .step_by(BATCH)
        .map(|first| delivered(&mut generator, first, BATCH.min(EVENTS - first)))
        .collect()
}
