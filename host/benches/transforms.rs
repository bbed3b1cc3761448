//! What the shipped transforms cost an event, crossing included: `cargo bench -p tidemill --bench transforms`.
//!
//! A million generated events in batches of 8,192 go through the graph of one partition, with a flush and a snapshot
//! for each hundred thousand. Times are of this thread's processor. `guest` is the calls alone, with lifting and
//! lowering; `host` is what remains: columns picked, answers checked, rows made.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array, TimestampMicrosecondArray};
use tidemill::batch::Delivered;
use tidemill::decode::Decoder;
use tidemill::source::generate::Generator;
use tidemill::table;
use tidemill::transform::event_time::Due;
use tidemill::transform::graph::{Graph, Surroundings};
use tidemill::transform::run::Runner;
use tidemill::transform::{Compiling, Component, Engine, registry};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 8192;
const COMMIT: usize = 100_000;
const BEGIN: i64 = 1_764_669_600_000_000;

fn main() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-transforms");
    tidemill::cli::build::build(&shipped, &built).unwrap();
    let engine = Arc::new(Engine::new(Compiling::Here, None).unwrap());
    let packages = registry::read(&built).unwrap();
    for package in &packages {
        println!("{:24} {:7} bytes", package.name, package.wasm.len());
    }
    let components = packages.iter().map(|package| Component::load(&engine, package).unwrap()).collect();
    let provenance = BTreeMap::new();
    let around = Surroundings { topic: "user-events", taken: &[], provenance: &provenance };
    let graph = Arc::new(Graph::plan(components, &around).unwrap());
    let mut runner = Runner::open(&graph, 0, &[]).unwrap();
    let mut decoder = Decoder::new(graph.fields(), 1 << 20);
    let mut generator = Generator::new(7, 0.0);
    let (mut whole, mut states) = (Duration::ZERO, BTreeMap::<String, usize>::new());
    let mut guests = BTreeMap::<String, (Duration, u64)>::new();
    let mut since = 0;
    for first in (0..EVENTS).step_by(BATCH) {
        let batch = decoder.decode(delivered(&mut generator, first, BATCH.min(EVENTS - first)));
        let began = busy();
        runner.batch(&batch).unwrap();
        since += batch.rows.len();
        if since >= COMMIT || first + BATCH >= EVENTS {
            since = 0;
            runner.flush(Due::Rows(Duration::ZERO)).unwrap();
            runner.snapshot().unwrap();
            let done = runner.take_work();
            whole += busy() - began;
            for done in done {
                let guest = guests.entry(done.identity.name.clone()).or_default();
                *guest = (guest.0 + done.busy, guest.1 + done.counts.input);
                states.insert(done.identity.name.clone(), done.state.map_or(0, |(_, bytes)| bytes.len()));
            }
            runner.committed();
        } else {
            whole += busy() - began;
        }
    }
    let mut calls = Duration::ZERO;
    for (name, (busy, rows)) in &guests {
        calls += *busy;
        let per = busy.as_nanos() as f64 / (*rows).max(1) as f64;
        println!("{name:24} {per:7.1} ns a row in the guest, state of {} bytes at the end", states[name]);
    }
    let per = |time: Duration| time.as_nanos() as f64 / EVENTS as f64;
    println!(
        "all of them              {:7.1} ns an event, {:.1} in guests, {:.1} in the host",
        per(whole),
        per(calls),
        per(whole.saturating_sub(calls))
    );
}

fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Events of 10,000 a second.
fn delivered(generator: &mut Generator, first: usize, rows: usize) -> Arc<Delivered> {
    let (mut key, mut value) = (String::new(), String::new());
    let (mut keys, mut values, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for at in first..first + rows {
        let time = BEGIN + i64::try_from(at).unwrap() * 100;
        generator.next(time, &mut key, &mut value);
        keys.push(key.clone());
        values.push(value.clone());
        times.push(time);
    }
    let from = i64::try_from(first).unwrap();
    Arc::new(Delivered {
        topic: "user-events".into(),
        partition: 0,
        from,
        to: from + i64::try_from(rows).unwrap(),
        offset: (from..).take(rows).collect::<Int64Array>(),
        timestamp: TimestampMicrosecondArray::from(times).with_timezone("UTC"),
        key: BinaryArray::from_iter_values(keys),
        value: BinaryArray::from_iter_values(values),
        headers: table::no_headers(rows),
    })
}
