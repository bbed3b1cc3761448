//! One transform at work on a partition, call by call, beside one that is innocent.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tidemill::batch::{Counts, Delivered, Outcome, Reject};
use tidemill::decode::Decoder;
use tidemill::transform::event_time::Due;
use tidemill::transform::graph::{Graph, Surroundings};
use tidemill::transform::run::Runner;
use tidemill::transform::{Caps, Compiling, Component, Engine, Package};
use tidemill::{Error, Kind, Result, table};

use super::house::transforms;

/// What is called, in the order of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `open`, for the first time: the component is loaded.
    Load,
    /// None: it is given its place among the others.
    Plan,
    Process,
    Flush,
    Snapshot,
    /// `open` again, then `restore`.
    Restore,
}

/// What became of a transform.
pub(super) struct Life {
    /// What failed, and with which words.
    pub(super) failed: Option<(Call, Error)>,
    /// The rows of each table.
    pub(super) rows: BTreeMap<String, Vec<RecordBatch>>,
    pub(super) rejects: Vec<Reject>,
    pub(super) counts: Counts,
    /// What the host logged meanwhile.
    pub(super) log: String,
}

impl Life {
    pub(super) fn count(&self, table: &str) -> usize {
        self.rows.get(table).into_iter().flatten().map(RecordBatch::num_rows).sum()
    }
}

/// Events in a batch.
pub(super) const EVENTS: usize = 1000;
/// Where the event with the page `/poison` lies in each batch.
pub(super) const POISON: usize = 500;
/// How long a call may take that is to take too long.
pub(super) const SHORT: Duration = Duration::from_millis(500);
/// How long another may take on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// After this, something hangs. Compiling takes most of it: unoptimized, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// The one engine, as in a host.
pub(super) fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // As a host does it: in a child, and each component once.
        let program = env!("CARGO_BIN_EXE_tidemill").into();
        let caps = Caps { cpu: 8, memory: 1 << 30, ..Caps::default() };
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evil-cache");
        Arc::new(Engine::new(Compiling::Child { program, caps }, Some(&cache)).unwrap())
    })
}

/// The bytes of the evil component, built once.
pub(super) fn evil() -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tests/guests");
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests");
        tidemill::cli::build::build(&crates, &out).unwrap();
        std::fs::read(out.join("evil.wasm")).unwrap()
    };
    BUILT.get_or_init(build).clone()
}

/// Bytes and a sidecar as if they lay in a file of this name.
pub(super) fn package(name: &str, wasm: Vec<u8>, sidecar: &str) -> Package {
    Package {
        name: name.into(),
        file: format!("transforms/{name}.wasm"),
        wasm,
        sidecar: Some(sidecar.into()),
        ..Package::default()
    }
}

/// The evil component, told what to do.
pub(super) fn told(behaviour: &str, call: Duration) -> Package {
    package("evil", evil(), &format!("[config]\ndo = \"{behaviour}\"\n{}", limited(call)))
}

/// The part of a sidecar that limits calls.
pub(super) fn limited(call: Duration) -> String {
    format!("[limits]\ncall-ms = {}\n", call.as_millis())
}

/// The shipped transform that everything else runs beside.
pub(super) fn clean() -> Component {
    let package = Package::read(&transforms().join("clean.wasm")).unwrap();
    Component::load(engine(), &package).unwrap()
}

/// The graph of these.
pub(super) fn plan(components: Vec<Component>) -> Result<Arc<Graph>> {
    let taken = [table::RAW, table::REJECTED];
    let provenance = BTreeMap::new();
    let around = Surroundings { topic: "user-events", taken: &taken, provenance: &provenance };
    Graph::plan(components, &around).map(Arc::new)
}

/// The same thousand events in every batch, but for their offsets.
pub(super) fn delivered(first: i64) -> Arc<Delivered> {
    events(first, Some(POISON))
}

/// The same with the poisonous one elsewhere, or nowhere.
pub(super) fn events(first: i64, poison: Option<usize>) -> Arc<Delivered> {
    let value = |row: usize| {
        let page = match row {
            row if Some(row) == poison => r#""/poison""#,
            _ if row % 7 == 3 => "null",
            _ => r#""/grüße""#,
        };
        // One long value: what is copied of it many times is much.
        let user = "u".repeat(if row == 0 { 4000 } else { 8 });
        format!(
            r#"{{"user_id":"{user}","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":{page}}}"#
        )
    };
    let values: Vec<String> = (0..EVENTS).map(value).collect();
    Arc::new(Delivered {
        topic: "user-events".into(),
        partition: 0,
        from: first,
        to: first + i64::try_from(EVENTS).unwrap(),
        offset: (first..).take(EVENTS).collect::<Int64Array>(),
        timestamp: TimestampMicrosecondArray::from(vec![1_764_669_600_000_000; EVENTS]).with_timezone("UTC"),
        key: BinaryArray::from_opt_vec(vec![None; EVENTS]),
        value: BinaryArray::from_vec(values.iter().map(String::as_bytes).collect()),
        headers: table::no_headers(EVENTS),
    })
}

/// Loads a transform, gives it two batches, lets it flush and remember, and opens it again with what it remembered.
pub(super) fn live(package: &Package, beside: Vec<Component>) -> Life {
    live_and(package, beside, || ())
}

/// The same; told when it is loaded.
pub(super) fn live_and(package: &Package, beside: Vec<Component>, loaded: impl FnOnce()) -> Life {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let mut life = Life {
        failed: None,
        rows: BTreeMap::new(),
        rejects: vec![],
        counts: Counts::default(),
        log: "".into(),
    };
    let failed =
        tracing::subscriber::with_default(subscriber, || through(package, beside, loaded, &mut life).err());
    life.failed = failed;
    life.log = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    life
}

fn through(
    package: &Package,
    mut beside: Vec<Component>,
    loaded: impl FnOnce(),
    life: &mut Life,
) -> std::result::Result<(), (Call, Error)> {
    let at = |call: Call| move |error: Error| (call, error);
    beside.push(Component::load(engine(), package).map_err(at(Call::Load))?);
    loaded();
    let graph = plan(beside).map_err(at(Call::Plan))?;
    let mut runner = Runner::open(&graph, 0, &[]).map_err(at(Call::Restore))?;
    let mut decoder = Decoder::new(graph.fields(), 1 << 20);
    for first in [0, 1000] {
        let batch = decoder.decode(delivered(first));
        take(life, runner.batch(&batch).map_err(at(Call::Process))?);
    }
    take(life, runner.flush(Due::Rows(Duration::ZERO)).map_err(at(Call::Flush))?);
    runner.snapshot().map_err(at(Call::Snapshot))?;
    let mut states = Vec::new();
    for done in runner.take_work() {
        life.counts += done.counts;
        states.extend(done.state.map(|(version, state)| (done.identity.name.clone(), version, state)));
    }
    Runner::open(&graph, 0, &states).map(drop).map_err(at(Call::Restore))
}

fn take(life: &mut Life, outcome: Outcome) {
    for rows in outcome.rows {
        life.rows.entry(rows.table.name.clone()).or_default().push(rows.batch);
    }
    life.rejects.extend(outcome.rejects);
}

/// The innocent one has all rows of a batch, here and now.
pub(super) fn innocent_goes_on() {
    static CLEAN: OnceLock<Arc<Graph>> = OnceLock::new();
    let graph = CLEAN.get_or_init(|| plan(vec![clean()]).unwrap());
    let begun = Instant::now();
    let mut runner = Runner::open(graph, 0, &[]).unwrap();
    let batch = Decoder::new(graph.fields(), 1 << 20).decode(delivered(0));
    let outcome = runner.batch(&batch).unwrap();
    assert_eq!(outcome.rows.iter().map(|rows| rows.batch.num_rows()).sum::<usize>(), EVENTS);
    assert!(outcome.rejects.is_empty(), "{:?}", outcome.rejects);
    assert!(begun.elapsed() < SOON, "the innocent one took {:?}", begun.elapsed());
}

/// A message for a person: it names the file, says what is wrong, is one line and not long.
pub(super) fn readable(error: &Error, kind: Kind, says: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains("evil.wasm"), "no file in: {text}");
    assert!(text.contains(says), "expected `{says}` in: {text}");
    assert!(text.len() < 1000, "{} bytes: {}…", text.len(), text.chars().take(300).collect::<String>());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap();
        // More than anybody asks for, and little enough not to count as the host's memory.
        if log.len() < 4 << 20 {
            log.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
