//! What a simulated host does with the real [`Log`]: what the committer and its lanes do, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::log::Log;
use super::super::record::{Advance, DataFile, Record, Replayed, StateRef, Topic, Work};
use super::super::registrar::Registrar;
use super::super::rules::Rule;
use super::super::store::Store;
use super::super::{Base, Ends, LanePart, Memory, PartitionKey, Policy, Portion};
use super::checks::{Category, absorbed, emitted, read_state, write_state};
use super::process::Process;
use super::remake::Again;
use super::world::{Request, Row, What};
use crate::catalog::TableSpec;
use crate::env::Env;
use crate::generations::Place;
use crate::sink::{Keys, Publish, StagedFile};
use crate::table::{self, Hour, Table, Zone};
use crate::{Error, Kind, Result};

/// Lanes of a host: partition `p` belongs to lane `p % LANES`.
const LANES: i32 = 2;
/// Two hours on both sides of midnight.
pub(super) const HOURS: [Hour; 2] = [Hour(480_023), Hour(480_024)];
/// The tables.
pub(super) const TABLES: [&str; 2] = ["sim_raw", "windows"];

/// How far a lane has come with a partition.
struct Position {
    prev: Option<u64>,
    at: i64,
    offsets: Vec<i64>,
    windows: i64,
}

/// A host at work.
pub(super) struct Host {
    pub(super) process: Process,
    pub(super) env: Env,
    pub(super) keys: Keys,
    pub(super) log: Log,
    pub(super) registrar: Registrar,
    /// The maintenance record whose hours the catalog has.
    pub(super) told: Option<u64>,
    topic: Topic,
    policy: Policy,
    /// States by partition: of the last record, and of the one before.
    states: BTreeMap<i32, [Vec<StateRef>; 2]>,
    positions: BTreeMap<i32, Position>,
}

/// Tables as the catalog is told of them.
fn tables() -> Vec<TableSpec> {
    let windows = Table { name: TABLES[1].into(), ..table::rejected() };
    [table::raw("sim"), windows].map(|t| TableSpec::new(Arc::new(t), "s3://sim")).into()
}

/// A log as a host opens it.
pub(super) fn log(process: &Process) -> Log {
    let (keys, rules) = {
        let state = process.world.state();
        (state.pipelines[process.pipeline].keys.clone(), state.rules)
    };
    let shared = Arc::new(process.clone());
    let remake = Arc::new(Again(process.clone()));
    let mut log = Log::new(shared.clone(), shared, &keys, &format!("host-{}", process.host), remake);
    log.rules = rules;
    log
}

/// A host's life. With `last` it goes on until everything is done, and ends.
pub(super) async fn live(process: Process, last: bool) -> Result<()> {
    let mut log = log(&process);
    log.open().await?;
    let (keys, variant) = {
        let state = process.world.state();
        (state.pipelines[process.pipeline].keys.clone(), state.variant)
    };
    let mut host = Host {
        env: Arc::new(process.clone()),
        keys,
        log,
        registrar: Registrar::new(Arc::new(process.clone()), tables()),
        told: None,
        topic: Topic { name: "sim".into(), id: "1".into() },
        policy: Policy { latest: variant.latest, skip_lost: variant.retention },
        states: BTreeMap::new(),
        positions: BTreeMap::new(),
        process,
    };
    if last {
        return host.finish().await;
    }
    loop {
        let what = host.process.world.state().random.below(100);
        let done = match what {
            what if what >= 100 - variant.backfills => host.backfill().await,
            what if what < variant.replays => host.replay().await,
            what if what < variant.replays + variant.compacts => host.compact().await,
            what if what < variant.replays + variant.compacts + variant.expires => host.expire().await,
            what if what < variant.replays + 2 * variant.compacts + variant.expires => host.sweep().await,
            what if what < variant.maintains() => host.erase().await,
            0..75 => host.stream(false).await,
            75..85 if variant.clean_up < u64::MAX => host.clean_up().await,
            85..90 => host.look_around().await,
            _ => {
                host.process.turn().await;
                Ok(())
            }
        };
        match done {
            Err(e) if matches!(e.kind(), Kind::Stop | Kind::Usage) => return Err(e),
            _ => {}
        }
    }
}

impl Host {
    /// Takes what it owns and makes a few epochs true.
    async fn stream(&mut self, last: bool) -> Result<()> {
        let (mine, epochs) = {
            let mut state = self.process.world.state();
            let greedy = state.variant.greedy;
            let count = state.pipelines[self.process.pipeline].owner.len();
            let mut mine = Vec::new();
            for p in 0..count {
                let owner = state.pipelines[self.process.pipeline].owner[p];
                // Greedy: it has not heard yet that somebody else has it now.
                if owner == self.process.host || last || state.random.chance(greedy) {
                    mine.push(i32::try_from(p).expect("few"));
                }
            }
            (mine, 1 + state.random.below(4))
        };
        self.process.turn().await;
        if mine.is_empty() {
            return Ok(());
        }
        self.log.refresh().await?;
        let ends = self.ends();
        self.process.turn().await;
        let bases = self.log.take(&self.topic, &mine, &ends, self.policy).await?;
        self.positions.clear();
        for partition in &mine {
            if let Some((record, advance)) = self.log.view().partition(&self.topic, *partition) {
                self.registrar.inherit(record);
                self.states.insert(*partition, [states(advance), vec![]]);
            }
        }
        self.go_back(bases);
        for _ in 0..if last { 1 } else { epochs } {
            self.epoch(last).await?;
        }
        Ok(())
    }

    fn ends(&self) -> Ends {
        let state = self.process.world.state();
        let ends = &state.pipelines[self.process.pipeline].ends;
        (0..).zip(ends.iter().copied()).collect()
    }

    /// Where lanes go on from.
    fn go_back(&mut self, bases: Vec<Base>) {
        let mut state = self.process.world.state();
        for base in bases {
            let bytes = base.states.first().map(|memory| memory.bytes.as_slice());
            let (offsets, windows) = read_state(bytes.unwrap_or_default());
            let truth = &mut state.pipelines[self.process.pipeline].truth;
            truth.started.entry(base.partition).or_insert(base.at);
            let position = Position { prev: base.prev, at: base.at, offsets, windows };
            self.positions.insert(base.partition, position);
        }
    }

    /// One epoch of all lanes.
    async fn epoch(&mut self, last: bool) -> Result<()> {
        let mut parts = Vec::new();
        let mut back = Vec::new();
        for lane in 0..LANES {
            match self.lane(lane, last).await {
                Ok(part) => parts.extend(part),
                Err(e) if matches!(e.kind(), Kind::Stop | Kind::Usage) => return Err(e),
                Err(_) => {
                    self.process.world.state().fire("lane left out");
                    back.extend(self.positions.keys().filter(|p| **p % LANES == lane));
                }
            }
        }
        if !parts.is_empty() {
            let owed = match self.process.world.state().rules.on(Rule::Owed) {
                true => self.registrar.owed(),
                false => vec![],
            };
            let outcome = self.log.commit(&self.topic, parts, owed).await?;
            for (part, why) in outcome.lost {
                self.lost(&part, &why);
                for file in &part.files {
                    // Whatever it says: what is left over is clean-up's.
                    let _ = self.process.remove(&file.file).await;
                }
                back.extend(part.partitions.iter().map(|advance| advance.partition));
            }
            if let Some(record) = outcome.record {
                let done: Vec<&Advance> = outcome.done.iter().flat_map(|part| &part.partitions).collect();
                for advance in &done {
                    if let Some(position) = self.positions.get_mut(&advance.partition) {
                        position.prev = Some(record.seq);
                    }
                }
                if last || self.process.world.state().random.below(10) > 0 {
                    self.log.publish(&record).await?;
                }
                // What the catalog does not take is carried on.
                let _ = self.registrar.register(&record.files, self.log.shown().await?).await;
                self.drop_states(&record).await;
            }
        }
        if back.is_empty() {
            return Ok(());
        }
        // The one way back, as in the committer.
        self.log.refresh().await?;
        let bases = self.log.bases(&self.topic, &back, &BTreeMap::new(), self.policy).await?;
        for partition in &back {
            if let Some((record, _)) = self.log.view().partition(&self.topic, *partition) {
                self.registrar.inherit(record);
            }
        }
        self.go_back(bases);
        Ok(())
    }

    /// One lane's epoch: what is delivered, its files and states; none: nothing has happened.
    async fn lane(&mut self, lane: i32, last: bool) -> Result<Option<LanePart>> {
        let epoch = self.env.fresh_id();
        let mut advances = Vec::new();
        let mut rows: BTreeMap<(usize, usize), Vec<Row>> = BTreeMap::new();
        let mut changed = Vec::new();
        let partitions: Vec<i32> = self.positions.keys().copied().filter(|p| p % LANES == lane).collect();
        for partition in partitions {
            if let Some(advance) = self.deliver(partition, &epoch, last, &mut rows, &mut changed)? {
                advances.push(advance);
            }
        }
        if advances.is_empty() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for ((table, hour), rows) in rows {
            let split = rows.len() > 1 && self.process.world.state().random.chance(200);
            let pieces = if split { rows.len().div_ceil(2) } else { rows.len() };
            for rows in rows.chunks(pieces) {
                let n = u32::try_from(files.len()).expect("few");
                let name = self.keys.file_name(&epoch, u32::try_from(lane).expect("few"), n);
                let now = self.generation(table, hour);
                files.push(stage(&self.process, &epoch, (table, now), hour, &name, rows).await?);
            }
        }
        for (partition, memory) in changed {
            let state = self.log.store_state(&epoch, partition, &memory).await?;
            let advance = advances.iter_mut().find(|a| a.partition == partition).expect("it has changed");
            advance.transforms[0].state = Some(state);
        }
        Ok(Some(LanePart { lane: usize::try_from(lane).expect("few"), epoch, partitions: advances, files }))
    }

    /// What a partition delivers, and what becomes of it.
    fn deliver(
        &mut self,
        partition: i32,
        epoch: &str,
        last: bool,
        rows: &mut BTreeMap<(usize, usize), Vec<Row>>,
        changed: &mut Vec<(i32, Memory)>,
    ) -> Result<Option<Advance>> {
        let mut state = self.process.world.state();
        let pipeline = self.process.pipeline;
        let position = self.positions.get_mut(&partition).expect("it is ours");
        let (low, high) = state.pipelines[pipeline].ends[usize::try_from(partition).expect("small")];
        if position.at < low {
            return Err(Error::retry("offsets are gone"));
        }
        let most = if last { 3 } else { i64::try_from(state.random.below(3)).expect("small") };
        let (from, to) = (position.at, high.min(position.at + most));
        let flush = !last && state.variant.flush && to == from && state.random.chance(300);
        if to == from && !flush {
            return Ok(None);
        }
        let before = (position.offsets.clone(), position.windows);
        let mut work = Work { name: "sim".into(), tables: vec![TABLES[1].into()], ..Work::default() };
        let row = |what: What, at: i64| Row { pipeline, what, partition, at };
        for offset in from..to {
            let hour = usize::try_from((i64::from(partition) * 7 + offset) % 2).expect("0 or 1");
            rows.entry((0, hour)).or_default().push(row(What::Event, offset));
            if !state.rules.on(Rule::CountAll) && state.random.chance(100) {
                continue;
            }
            work.input += 1;
            if absorbed(offset) {
                work.absorbed += 1;
                position.offsets.push(offset);
            } else if emitted(offset) {
                work.emitted += 1;
                rows.entry((1, hour)).or_default().push(row(What::Emitted, offset));
            } else {
                work.filtered += 1;
            }
        }
        if flush {
            rows.entry((1, 0)).or_default().push(row(What::Window, position.windows));
            position.windows += 1;
            state.fire("window closed");
        }
        position.at = to;
        if (&position.offsets, position.windows) != (&before.0, before.1) {
            let stale = !state.rules.on(Rule::StateWithOffsets) && state.random.chance(100);
            let bytes = match stale {
                true => write_state(&before.0, before.1),
                false => write_state(&position.offsets, position.windows),
            };
            changed.push((partition, Memory { transform: "sim".into(), version: 1, bytes }));
        }
        Ok(Some(Advance {
            set: None,
            partition,
            epoch: epoch.into(),
            prev: position.prev,
            from,
            to,
            events: work.input,
            undecoded: 0,
            newest: None,
            transforms: vec![work],
        }))
    }

    /// A lane is told that it came to nothing: there must be a reason (rule L5).
    fn lost(&self, part: &LanePart, why: &str) {
        let mut state = self.process.world.state();
        state.fire("lane abandoned");
        let truth = &state.pipelines[self.process.pipeline].truth;
        if !truth.moved_on(&part.partitions) && !truth.rewritten(&part.files) {
            state.violate(Category::Abandoned, format!("epoch {}: {why}", part.epoch));
        }
    }

    /// Removes states that two later records have made useless, as the committer does.
    async fn drop_states(&mut self, record: &Record) {
        let mut useless = Vec::new();
        for advance in &record.partitions {
            let kept = self.states.entry(advance.partition).or_default();
            let before = std::mem::replace(&mut kept[0], states(advance));
            let old = std::mem::replace(&mut kept[1], before);
            useless.extend(old.into_iter().filter(|state| !kept.iter().flatten().any(|k| k == state)));
        }
        for state in useless {
            let key = state.key;
            let _ = self.process.send(Request::Delete { pipeline: self.process.pipeline, key }).await;
        }
    }

    async fn clean_up(&mut self) -> Result<()> {
        self.process.turn().await;
        let staged = self.process.world.state().remains(self.process.pipeline);
        let victims = self.log.victims(&staged).await?;
        if victims.is_empty() {
            return Ok(());
        }
        self.log.clean_up(staged).await.map(drop)
    }

    /// Takes a file away and brings its rows in others, as a replay does of which nothing comes.
    async fn replay(&mut self) -> Result<()> {
        self.log.refresh().await?;
        self.log.roll_forward(None).await?;
        let mut files = Vec::new();
        for date in self.log.dates(TABLES[1]) {
            files.extend(self.log.live(TABLES[1], &date).await?.into_values());
        }
        self.process.turn().await;
        let old = {
            let mut state = self.process.world.state();
            files.retain(|file| state.visible.contains_key(&file.file.key));
            if files.is_empty() {
                return Ok(());
            }
            let at = state.random.below(files.len());
            files.swap_remove(at)
        };
        let rows = self.process.world.state().rows[&old.file.key].clone();
        let hour = HOURS.iter().position(|one| *one == old.file.hour).expect("one of them");
        let (epoch, mut made) = (self.env.fresh_id(), Vec::new());
        for rows in rows.chunks(2) {
            let name = self.keys.file_name(&epoch, 9, u32::try_from(made.len()).expect("few"));
            made.push(stage(&self.process, &epoch, (1, self.generation(1, hour)), hour, &name, rows).await?);
        }
        let portion = Portion { supersedes: vec![old], files: made, replayed: Replayed::default() };
        match self.log.replay(portion, None).await? {
            // Whoever comes next tells the catalog.
            Some(_) => {}
            None => self.process.world.state().fire("replay lost its race"),
        }
        Ok(())
    }

    async fn look_around(&mut self) -> Result<()> {
        self.log.refresh().await?;
        if self.process.world.state().rules.on(Rule::PublishOnTake) {
            let mine: Vec<PartitionKey> = self.positions.keys().map(|p| (self.topic.clone(), *p)).collect();
            self.log.roll_forward(Some(&mine)).await?;
        }
        if let Some(record) = self.log.view().maintenance() {
            self.registrar.inherit(record);
        }
        let _ = self.registrar.register(&[], self.log.shown().await?).await;
        Ok(())
    }

    /// Reads everything to its end, and leaves nothing undone.
    async fn finish(&mut self) -> Result<()> {
        loop {
            self.stream(true).await?;
            let ends = self.ends();
            let at = |p: &i32| self.log.view().position(&self.topic, *p).or(Some(self.positions.get(p)?.at));
            if ends.iter().all(|(p, (_, high))| at(p) == Some(*high)) {
                break;
            }
        }
        self.look_around().await?;
        while self.registrar.waiting() > 0 {
            let _ = self.registrar.register(&[], self.log.shown().await?).await;
        }
        while self.process.world.state().rules.on(Rule::Reconcile)
            && !self.registrar.reconcile(self.log.shown().await?).await?.is_empty()
        {}
        Ok(())
    }
}

fn states(advance: &Advance) -> Vec<StateRef> {
    advance.transforms.iter().filter_map(|work| work.state.clone()).collect()
}

/// Stores rows in a file that nobody can see yet.
pub(super) async fn stage(
    process: &Process,
    epoch: &str,
    (table, generation): (usize, u32),
    hour: usize,
    name: &str,
    rows: &[Row],
) -> Result<DataFile> {
    let key = Keys::data(TABLES[table], Place { hour: HOURS[hour], generation }, name);
    let upload = {
        let mut state = process.world.state();
        state.rows.insert(key.clone(), rows.into());
        format!("upload-{}", state.fresh_id().trim_start_matches('0'))
    };
    let request =
        Request::Stage { upload: upload.clone(), key: key.clone(), epoch: epoch.into(), rows: rows.into() };
    process.send(request).await?;
    let file = StagedFile {
        zone: if table == 0 { Zone::Raw } else { Zone::Processed },
        table: TABLES[table].into(),
        hour: HOURS[hour],
        key,
        rows: rows.len() as u64,
        bytes: rows.len() as u64,
        first: 0,
        last: 0,
        how: Publish::Upload { id: upload, parts: vec![] },
    };
    Ok(DataFile { epoch: epoch.into(), generation, file })
}
