//! What the shipped transforms cost an event, crossing included: `cargo bench -p tidemill --bench transforms`.
//!
//! A million generated events in batches of 8,192 go through the graph of one partition, with a flush and a snapshot
//! for each hundred thousand. Times are of this thread's processor, medians of five rounds. `in the guest` is the calls
//! alone, with lifting and lowering; `in the host` is what remains: columns picked, answers checked, rows made.
//!
//! Every other round it is a `clean` that has its columns as texts, not as dictionaries: the two take turns, so that both
//! see the same machine.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod generated;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use generated::{delivered, thread_time};
use tidemill::decode::Decoder;
use tidemill::source::generate::Generator;
use tidemill::transform::event_time::Due;
use tidemill::transform::graph::{Graph, Surroundings};
use tidemill::transform::run::Runner;
use tidemill::transform::{Compiling, Component, Engine, Package, registry};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 8192;
const COMMIT: usize = 100_000;

/// What makes the shipped `clean` one without dictionaries.
const PLAIN: [(&str, &str); 10] = [
    (
        "use tidemill_sdk::{Coded, Config, Reject, Result, Terms,",
        "use tidemill_sdk::{Config, Memo, Reject, Result,",
    ),
    ("event_type: Coded,\n", "event_type: Text,\n"),
    ("device: Option<Coded>", "device: Option<Text>"),
    (
        "{ event_type: Coded, timestamp: Timestamp, device: Coded }",
        "{ event_type: Text, timestamp: Timestamp, device: Text }",
    ),
    ("event_types: Terms,", "event_types: Memo<String>,"),
    ("listed: Terms,", "listed: Memo<String>,"),
    ("(Terms::default(), Terms::default())", "(Memo::default(), Memo::default())"),
    ("self.listed.get_option(event.device,", "self.listed.get(event.device.unwrap_or(OTHER),"),
    ("lower(device.unwrap_or(OTHER))", "lower(device)"),
    (
        "Cleaned { event_type, timestamp, device }",
        "Cleaned { event_type: event_type.into(), timestamp, device: device.into() }",
    ),
];
const ROUNDS: usize = 5;

/// Nanoseconds an event, by what takes them.
type Figures = BTreeMap<String, f64>;

fn main() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-transforms");
    tidemill::cli::build::build(&shipped, &built).unwrap();
    let engine = Arc::new(Engine::new(Compiling::Here, None).unwrap());
    let packages = registry::read(&built).unwrap();
    for package in &packages {
        println!("{:24} {:7} bytes", package.name, package.wasm.len());
    }
    let graphs = [None, Some(plain(&shipped))].map(|plain| {
        let clean =
            |package: &Package| plain.clone().filter(|_| package.name == "clean").unwrap_or(package.clone());
        let components = packages.iter().map(|p| Component::load(&engine, &clean(p)).unwrap()).collect();
        let provenance = BTreeMap::new();
        let around = Surroundings { topic: "user-events", taken: &[], provenance: &provenance };
        Arc::new(Graph::plan(components, &around).unwrap())
    });
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        rounds[round % 2].push(run(&graphs[round % 2]));
    }
    let [shipped, plain] = rounds.map(|rounds| medians(&rounds));
    for (what, figure) in &shipped {
        println!("{what:48} {figure:7.1} ns an event");
        if let Some(figure) = plain.get(what) {
            println!("{:48} {figure:7.1} ns an event", "  … without dictionary columns in clean");
        }
    }
}

/// A `clean` without dictionary columns: its source, with other words.
fn plain(shipped: &Path) -> Package {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-plain");
    let (from, to) = (shipped.join("clean"), folder.join("clean"));
    std::fs::create_dir_all(to.join("src")).unwrap();
    let mut source = std::fs::read_to_string(from.join("src/lib.rs")).unwrap();
    source.truncate(source.find("#[cfg(test)]").unwrap());
    for (coded, plain) in PLAIN {
        assert_eq!(source.matches(coded).count(), 1, "{coded}");
        source = source.replace(coded, plain);
    }
    std::fs::write(to.join("src/lib.rs"), source).unwrap();
    let sdk = shipped.join("../guest-sdk").canonicalize().unwrap();
    let manifest = format!(
        "[package]\nname = \"clean\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\ntidemill-sdk = {{ path = {sdk:?} }}\n\
         [profile.wasm]\ninherits = \"release\"\ncodegen-units = 1\nlto = true\npanic = \"abort\"\nstrip = true\n[workspace]\n"
    );
    std::fs::write(to.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(shipped.join("../Cargo.lock"), to.join("Cargo.lock")).unwrap();
    let built = tidemill::cli::build::build(&folder, &folder).unwrap();
    Package::read(&built[0].path).unwrap()
}

/// All events through the graph.
fn run(graph: &Arc<Graph>) -> Figures {
    let mut runner = Runner::open(graph, 0, &[]).unwrap();
    let mut decoder = Decoder::new(graph.fields(), 1 << 20);
    let mut generator = Generator::new(7, 0.0);
    let (mut whole, mut calls, mut since) = (Duration::ZERO, Duration::ZERO, 0);
    let mut figures = Figures::new();
    for first in (0..EVENTS).step_by(BATCH) {
        let batch = decoder.decode(delivered(&mut generator, first, BATCH.min(EVENTS - first)));
        let began = thread_time();
        runner.batch(&batch).unwrap();
        since += batch.rows.len();
        let commit = since >= COMMIT || first + BATCH >= EVENTS;
        if commit {
            runner.flush(Due::Rows(Duration::ZERO)).unwrap();
            runner.snapshot().unwrap();
        }
        let done = if commit { runner.take_work() } else { Vec::new() };
        whole += thread_time() - began;
        if commit {
            since = 0;
            runner.committed();
        }
        for done in done {
            calls += done.busy;
            *figures.entry(format!("{}, in the guest", done.identity.name)).or_default() +=
                per_event(done.busy);
        }
    }
    figures.insert("~ all of them, in guests".into(), per_event(calls));
    figures.insert("~ all of them, in the host".into(), per_event(whole.saturating_sub(calls)));
    figures.insert("~ the whole".into(), per_event(whole));
    figures
}

fn per_event(time: Duration) -> f64 {
    time.as_nanos() as f64 / EVENTS as f64
}

fn medians(rounds: &[Figures]) -> Figures {
    let median = |what: &String| {
        let mut figures: Vec<f64> = rounds.iter().map(|figures| figures[what]).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    rounds[0].keys().map(|what| (what.clone(), median(what))).collect()
}
