//! How many hosts one log carries, or several: the real code of [`commit`](super) over a store that takes as long as S3, in
//! virtual time.
//!
//! Hosts that share nothing but the log commit every interval. What comes of it is printed as a table: it stands
//! in `docs/scaling.md`, which also says where the figures of the store come from.
//!
//! ```text
//! cargo test -p tidemill --lib contention -- --nocapture                  # a short form, with bounds
//! cargo test -p tidemill --lib contention -- --nocapture --ignored        # the table
//! ```

mod clock;
mod host;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clock::Life;
use host::{Epoch, Host, PARTITIONS, lanes};
use store::{Kind, Latency, World};

use super::record::{Record, RecordKind};
use super::simulation::Random;
use crate::env::Micros;
use crate::shard::Shard;

const SECOND: Micros = 1_000_000;
/// Figures are taken after this: hosts have started, and what they wait for each other has settled.
const WARM: Micros = 10 * SECOND;
/// How far apart the events are that freshness is taken of.
const STEP: usize = 5_000;

/// As published by turbopuffer for S3: GET 63 and 118 ms, PUT 100 and 274 ms (p50 and p99.9).
const MEASURED: Latency = Latency { name: "measured", get: (63.0, 118.0), put: (100.0, 274.0) };
/// A bucket that answers small requests fast: AWS speaks of tens of milliseconds, Quickwit of 30 with a tail of 80.
const FAST: Latency = Latency { name: "fast", get: (30.0, 80.0), put: (50.0, 137.0) };

/// What came of a run.
struct Figures {
    latency: &'static str,
    hosts: i32,
    logs: u32,
    /// Pairs of a host and a log to which it commits.
    committers: usize,
    interval: Micros,
    seconds: f64,
    epochs: Vec<Epoch>,
    lost: u64,
    requests: BTreeMap<Kind, u64>,
}

/// The partitions of each host. With one log it does not matter which those are; with several any host may have any.
fn assigned(hosts: i32, logs: u32) -> Vec<Vec<i32>> {
    let mut all: Vec<i32> = (0..hosts * PARTITIONS).collect();
    if logs > 1 {
        let mut random = Random::new(u64::from(logs));
        for at in (1..all.len()).rev() {
            all.swap(at, random.below(at + 1));
        }
    }
    all.chunks(usize::try_from(PARTITIONS).expect("few")).map(<[i32]>::to_vec).collect()
}

/// Hosts at work for so long, on one log. With `together` all start at the same moment, else whenever.
fn run(latency: Latency, hosts: i32, interval: Micros, time: Micros, together: bool) -> Figures {
    sharded(latency, hosts, 1, interval, time, together)
}

/// The same on so many logs.
fn sharded(
    latency: Latency,
    hosts: i32,
    logs: u32,
    interval: Micros,
    time: Micros,
    together: bool,
) -> Figures {
    let world = Arc::new(World::new(u64::try_from(hosts).expect("some"), latency));
    let epochs = Arc::new(Mutex::new(Vec::new()));
    let mut lives: Vec<Life> = Vec::new();
    for (number, partitions) in (0..).zip(assigned(hosts, logs)) {
        // One has begun the topic before the others come.
        let late = if together { 0 } else { world.within(interval) };
        let start = if number == 0 { 0 } else { 2 * SECOND + late };
        for (shard, lanes) in lanes(&partitions, logs) {
            let partitions = hosts * PARTITIONS;
            let host = Host { world: world.clone(), number, shard, lanes, partitions, interval, start };
            let epochs = epochs.clone();
            lives.push(Box::pin(host.live(move |epoch| epochs.lock().expect("no panic").push(epoch))));
        }
    }
    let committers = lives.len();
    let before = (0, BTreeMap::new());
    let before = Arc::new(Mutex::new(before));
    let mark: Life = {
        let (world, before) = (world.clone(), before.clone());
        Box::pin(async move {
            world.clock.until(WARM).await;
            let state = world.state();
            *before.lock().expect("no panic") = (state.lost, state.requests.clone());
        })
    };
    let lives: Vec<Life> = std::iter::once(mark).chain(lives).collect();
    clock::run(&world.clock, lives, WARM + time);
    let epochs = std::mem::take(&mut *epochs.lock().expect("no panic"));
    complete(&world, logs, &epochs);
    let (lost, requests) = before.lock().expect("no panic").clone();
    let state = world.state();
    let since = |(kind, n): (&Kind, &u64)| (*kind, n - requests.get(kind).unwrap_or(&0));
    Figures {
        latency: latency.name,
        hosts,
        logs,
        committers,
        interval,
        seconds: time as f64 / SECOND as f64,
        epochs: epochs.into_iter().filter(|epoch| epoch.published >= WARM).collect(),
        lost: state.lost - lost,
        requests: state.requests.iter().map(since).collect(),
    }
}

/// No commit is lost: the logs are dense and have the partitions of their shards, each partition goes on where it stood, and what a host was told is
/// published is in the log and to be seen.
fn complete(world: &World, logs: u32, epochs: &[Epoch]) {
    let state = world.state();
    let mut at: BTreeMap<i32, (Option<u64>, i64)> = BTreeMap::new();
    let (mut seen, mut waiting) = (0, 0);
    let all = Shard::all(logs).flat_map(|shard| {
        let (keys, state) = (world.keys.shard(shard), &state);
        (0..).map_while(move |seq| {
            let key = keys.record(seq);
            let bytes = state.objects.get(&key)?;
            Some((shard, seq, Record::decode(&key, bytes).expect("a record")))
        })
    });
    for (shard, seq, record) in all {
        assert!(record.partitions.iter().all(|advance| shard.has(advance.partition)), "{shard:?} {seq}");
        for advance in &record.partitions {
            let before = at.insert(advance.partition, (Some(seq), advance.to)).unwrap_or_default();
            assert_eq!((advance.prev, advance.from), before, "record {seq}, partition {}", advance.partition);
        }
        if record.kind == RecordKind::Epoch {
            let visible = record.files.iter().all(|file| state.visible.contains(&file.file.key));
            *(if visible { &mut seen } else { &mut waiting }) +=
                record.partitions.iter().map(|a| a.to - a.from).sum::<i64>();
        }
    }
    let told: i64 = epochs.iter().map(|epoch| epoch.events).sum();
    assert!(told > 0 && seen >= told && seen - told <= waiting + seen / 10, "{told} {seen} {waiting}");
}

fn percentile(sorted: &[Micros], of: usize) -> f64 {
    let at = (sorted.len() * of / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| *time as f64 / SECOND as f64)
}

impl Figures {
    /// How old events are when readers see them, sorted.
    fn freshness(&self) -> Vec<Micros> {
        let ages = |epoch: &Epoch| {
            let Epoch { published, partitions, .. } = *epoch;
            let ages = (epoch.from..epoch.barrier).step_by(STEP).map(move |at| published - at);
            // Each partition has as many events as any other.
            ages.flat_map(move |age| std::iter::repeat_n(age, partitions))
        };
        let mut ages: Vec<Micros> = self.epochs.iter().flat_map(ages).collect();
        ages.sort_unstable();
        ages
    }

    fn half(&self, of: impl Fn(&Epoch) -> Micros) -> f64 {
        let mut times: Vec<Micros> = self.epochs.iter().map(of).collect();
        times.sort_unstable();
        percentile(&times, 500)
    }

    fn each_second(&self, kinds: &[Kind]) -> f64 {
        kinds.iter().filter_map(|kind| self.requests.get(kind)).sum::<u64>() as f64 / self.seconds
    }

    fn commits(&self) -> f64 {
        self.epochs.len() as f64 / self.seconds
    }

    fn p99(&self) -> f64 {
        percentile(&self.freshness(), 990)
    }

    fn heading() {
        println!(
            "| store | interval | hosts | logs | commits/s | a host commits to a log every | lost slots a commit | stage, record, \
             publish (p50) | freshness p50 | p99 | PUT record/s | other PUT, POST/s | GET/s | HEAD/s |"
        );
        println!("|{}", " --- |".repeat(14));
    }

    fn print(&self) {
        let ages = self.freshness();
        let commits = self.commits();
        println!(
            "| {} | {} s | {} | {} | {commits:.1} | {:.1} s | {:.2} | {:.2}, {:.2}, {:.2} s | {:.2} s | {:.2} s | {:.1} | {:.0} | {:.0} | {:.0} |",
            self.latency,
            self.interval / SECOND,
            self.hosts,
            self.logs,
            self.committers as f64 / commits,
            self.lost as f64 / self.epochs.len() as f64,
            self.half(|e| e.staged - e.barrier),
            self.half(|e| e.recorded - e.staged),
            self.half(|e| e.published - e.recorded),
            percentile(&ages, 500),
            percentile(&ages, 990),
            self.each_second(&[Kind::Record]),
            self.each_second(&[Kind::State, Kind::Summary, Kind::File]),
            self.each_second(&[Kind::Get]),
            self.each_second(&[Kind::Head]),
        );
    }
}

/// Hosts that hold an interval, and how fresh their events are then. What `docs/scaling.md` promises.
#[test]
fn a_few_hosts_hold_a_second() {
    Figures::heading();
    for (latency, hosts, p99) in [(MEASURED, 2, 2.0), (MEASURED, 4, 2.4), (FAST, 8, 2.0)] {
        let figures = run(latency, hosts, SECOND, 30 * SECOND, false);
        figures.print();
        let commits = figures.commits() / f64::from(hosts);
        assert!(commits > 0.85, "{hosts} hosts commit {commits:.2} times a second, each");
        assert!(figures.p99() < p99, "{hosts} hosts: freshness p99 is {:.2} s", figures.p99());
    }
}

/// All start at the same moment, as after a deployment.
#[test]
fn hosts_that_start_together_hold_it_too() {
    Figures::heading();
    let figures = run(MEASURED, 4, SECOND, 30 * SECOND, true);
    figures.print();
    assert!(figures.p99() < 2.6, "{}", figures.p99());
}

/// Where one log does not carry all hosts, several do, whatever partitions each host has.
#[test]
fn sixteen_hosts_hold_a_second_with_a_log_for_every_two_partitions() {
    Figures::heading();
    let one = run(MEASURED, 16, SECOND, 30 * SECOND, false);
    one.print();
    assert!(one.p99() > 4.0, "one log carries them: there is no need for more; {}", one.p99());
    for (latency, logs) in [(MEASURED, 32), (MEASURED, 64), (FAST, 32), (FAST, 64)] {
        let figures = sharded(latency, 16, logs, SECOND, 30 * SECOND, false);
        figures.print();
        assert!(figures.p99() <= 2.0, "{logs} logs: freshness p99 is {:.2} s", figures.p99());
    }
}

#[test]
#[ignore = "the whole table of several logs: some minutes"]
fn table_of_logs() {
    Figures::heading();
    for latency in [MEASURED, FAST] {
        for (hosts, logs) in [(16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (32, 128), (64, 256)] {
            sharded(latency, hosts, logs, SECOND, 60 * SECOND, false).print();
        }
    }
    for (hosts, logs) in [(16, 64), (64, 256)] {
        sharded(MEASURED, hosts, logs, 5 * SECOND, 60 * SECOND, false).print();
    }
}

#[test]
#[ignore = "the whole table: some minutes"]
fn table() {
    Figures::heading();
    for (latency, intervals) in [(MEASURED, &[1, 5][..]), (FAST, &[1])] {
        for interval in intervals {
            for hosts in [1, 2, 4, 8, 16, 32, 64] {
                run(latency, hosts, interval * SECOND, 60 * SECOND, false).print();
            }
        }
    }
}
