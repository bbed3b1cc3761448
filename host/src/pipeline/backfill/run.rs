//! The way from one portion to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use tokio::runtime::Handle;

use super::chain::{Lanes, forget, forget_new, store};
use super::feed::Stream;
use super::lane::Load;
use super::plan::{Files, Next, Partitions, Work};
use super::portion::{From as Rows, Portion, Task};
use super::report::{Report, Told};
use super::{From, Order, topic};
use crate::audit::Progress;
use crate::commit::record::{Backfilled, Source};
use crate::commit::{Covered, Filled, Record};
use crate::config::Config;
use crate::env::busy_all;
use crate::failpoint::failpoint;
use crate::history::write_views;
use crate::past::Reader;
use crate::pipeline::offline::Lake;
use crate::pipeline::program::Program;
use crate::pipeline::stages::{staged, stored};
use crate::table;
use crate::wait::blocking;
use crate::{Error, Kind, Result};

/// How often a portion is made anew because the log has moved on.
const TRIES: u32 = 20;
/// How often those who wait look.
const LOOK: Duration = Duration::from_millis(500);

/// Where rows come from, and what is to be done of it.
pub(super) enum Sources {
    Files(Files),
    Topic(Partitions),
}

/// A backfill under way.
pub(super) struct Run<'a> {
    config: &'a Config,
    pub(super) order: &'a Order,
    /// A name that no other run has.
    pub(super) holder: String,
    pub(super) sources: Sources,
    stream: Stream,
    /// A file that goes on.
    reader: Option<(usize, Reader)>,
    /// What is true; of a dry run, what would be.
    pub(super) assumed: Option<Covered>,
    /// Of a dry run: what would be remembered, by chain.
    pub(super) memories: BTreeMap<String, Lanes>,
    /// The last maintenance record whose hours the catalog has.
    pub(super) told: Option<u64>,
    /// When claims of others were first seen: a clock that is wrong is not believed for ever.
    pub(super) seen: BTreeMap<u64, Instant>,
    /// Rows on which a transform fails are looked for.
    careful: bool,
    /// Sources of which it has brought something.
    touched: BTreeSet<Source>,
    report: Report,
    far: Told,
    /// Rows of portions that are done, and those that are under way.
    load: Arc<Load>,
}

/// Brings history. The log was read. What was done, and what went wrong after it.
pub async fn backfill(
    config: &Config,
    lake: &mut Lake,
    order: &Order,
    progress: Progress<'_>,
) -> (Report, Option<Error>) {
    let (begun, busy) = (Instant::now(), busy_all());
    let mut run = match Run::new(config, lake, order).await {
        Ok(run) => run,
        Err(e) => return (Report::default(), Some(e)),
    };
    let done = run.all(lake, progress).await;
    run.report.took = begun.elapsed();
    run.report.busy = busy_all().saturating_sub(busy);
    (run.report, done.err())
}

impl<'a> Run<'a> {
    async fn new(config: &'a Config, lake: &Lake, order: &'a Order) -> Result<Run<'a>> {
        let view = lake.log.view();
        let (Some(topic), Some(_)) = (view.topic().cloned(), view.transforms()) else {
            return Err(Error::stop(format!(
                "no record in {} names transforms, so nobody has said what history is to go through: let a host begin \
                 with this lake (tidemill run), and give it transforms (tidemill deploy-transform)",
                lake.place()
            )));
        };
        let starts = lake.log.starts().await?;
        let (sources, all) = match &order.from {
            From::Files(files) => {
                let files = Files::new(files.clone());
                let bytes = files.files.iter().map(|file| file.bytes).sum();
                (Sources::Files(files), bytes)
            }
            From::Topic(begin) => {
                let settings = Config { topic: topic.name.clone(), ..config.clone() }.source();
                let (begin, starts, known) = (*begin, starts.clone(), topic.clone());
                let looked = move || topic::ranges(settings, &known, begin, &starts);
                let ranges = blocking("asking the brokers", looked).await??;
                let partitions = Partitions { topic: topic.clone(), ranges, abreast: config.lanes };
                let left = u64::try_from(partitions.left(view.covered())).unwrap_or_default();
                (Sources::Topic(partitions), left)
            }
        };
        let count = match &sources {
            Sources::Files(files) => files.files.len(),
            Sources::Topic(partitions) => partitions.ranges.len(),
        };
        let report = Report { sources: count, ..Report::default() };
        Ok(Run {
            config,
            order,
            holder: lake.env.fresh_id(),
            sources,
            stream: Stream { topic: topic.name, starts },
            reader: None,
            assumed: order.dry.then(|| view.covered().clone()),
            memories: BTreeMap::new(),
            told: None,
            seen: BTreeMap::new(),
            careful: false,
            touched: BTreeSet::new(),
            report,
            far: Told::new(all),
            load: Arc::default(),
        })
    }

    async fn all(&mut self, lake: &mut Lake, progress: Progress<'_>) -> Result<()> {
        let (mut program, mut tries) = (None, 0);
        loop {
            lake.log.refresh().await?;
            if !self.order.dry {
                // What is true must be visible before what comes after it.
                lake.log.roll_forward(None).await.map_err(stored)?;
            }
            let now = lake.program(self.config, program.take()).await?;
            let next = self.next(lake, &now).await?;
            let done = match next {
                Next::Done => {
                    self.report.known = self.known(lake);
                    if !self.report.records.is_empty() && !lake.log.view().generations().is_empty() {
                        // Who reads by them must hear of folders that are new.
                        write_views(lake, &now.tables).await?;
                    }
                    return Ok(());
                }
                Next::Wait { who, until } => {
                    let left = Duration::from_micros(
                        u64::try_from(until.saturating_sub(lake.env.now())).unwrap_or_default(),
                    );
                    progress(format!(
                        "waiting for {who}, who works on what is left (for {left:.0?} at most)"
                    ));
                    lake.env.sleep(LOOK).await;
                    program = Some(now);
                    continue;
                }
                Next::Work(work) => self.portion(lake, &now, work, progress).await?,
            };
            program = Some(now);
            tries = if done { 0 } else { tries + 1 };
            self.report.again += u64::from(!done);
            if tries > TRIES {
                return Err(Error::stop(
                    "the log moves on again and again while a portion is made; what was done so far is in it, try later",
                ));
            }
        }
    }

    /// What is true, or would be.
    pub(super) fn covered<'b>(&'b self, lake: &'b Lake) -> &'b Covered {
        self.assumed.as_ref().unwrap_or(lake.log.view().covered())
    }

    /// Sources of which nothing was left to do.
    fn known(&self, lake: &Lake) -> usize {
        let covered = self.covered(lake);
        match &self.sources {
            Sources::Files(files) => files.done(covered, &self.touched),
            Sources::Topic(partitions) => partitions.done(covered, &self.touched),
        }
    }

    /// Does a portion. False: it came to nothing, because the log has moved on.
    async fn portion(
        &mut self,
        lake: &mut Lake,
        program: &Program,
        mut work: Work,
        progress: Progress<'_>,
    ) -> Result<bool> {
        if !self.order.dry && !self.claim(lake, &work).await? {
            // Others have got on with it: what is left is looked for again.
            return Ok(true);
        }
        failpoint!("backfill-claimed");
        self.number(lake, &mut work.takes);
        let Some(before) = self.before(lake, &work).await? else { return Ok(false) };
        let memories = before.values().flat_map(|lanes| lanes.clone()).collect();
        let epoch = lake.env.fresh_id();
        let mut portion = match self.made(lake, program, &work, memories, &epoch, progress).await {
            Ok(portion) => portion,
            // Now the rows that are to blame are looked for.
            Err(e) if e.kind() == Kind::Abandon && !self.careful => {
                tracing::debug!("a portion is made again with care: {e}");
                self.careful = true;
                return Ok(false);
            }
            Err(e) => {
                let kind = if e.kind() == Kind::Usage { Kind::Usage } else { Kind::Stop };
                return Err(Error::new(kind, format!("nothing of this portion became true: {e}")));
            }
        };
        self.careful = false;
        self.reader = portion.reader.take();
        self.short(&portion);
        let rows = portion.read.parts.iter().map(|part| part.events).sum();
        if portion.read.parts.is_empty() && !portion.ended {
            self.discard(portion).await;
            return Ok(true);
        }
        failpoint!("backfill-made");
        let sources: Vec<Source> = portion.read.parts.iter().map(|part| part.source.clone()).collect();
        let mut links = self.links(&work, &portion, self.covered(lake), &before);
        if self.order.dry {
            self.touched.extend(sources);
            self.assume(lake, before, &portion, links);
            self.report.add(&portion.made, rows, portion.read.skipped);
            return Ok(true);
        }
        let files =
            staged(std::mem::take(&mut portion.made.files).into_iter().map(|file| (epoch.clone(), file)))
                .await?;
        let kept = store(lake, &epoch, &mut links, &portion.made.memories, &before).await?;
        let backfilled = Backfilled {
            epoch,
            set: program.set,
            parts: portion.read.parts.clone(),
            skipped: portion.read.skipped,
            undecoded: portion.made.undecoded,
            transforms: portion.made.works.clone(),
            chains: links,
        };
        match lake.log.backfill(files, backfilled, self.told).await.map_err(stored)? {
            Filled::True(record) => {
                self.report.add(&portion.made, rows, portion.read.skipped);
                self.touched.extend(sources);
                self.report.records.push(record.seq);
                self.report.untold = self.register(lake, program, &record).await;
                failpoint!("backfill-told");
                forget(lake, &before, &kept).await;
                Ok(true)
            }
            Filled::Done | Filled::Moved => {
                forget_new(lake, &before, &kept).await;
                // It is read again from where the log stands.
                self.reader = None;
                Ok(false)
            }
            Filled::Twice(why) => {
                forget_new(lake, &before, &kept).await;
                Err(Error::stop(why))
            }
        }
    }

    /// Makes a portion, and keeps the claim meanwhile.
    async fn made(
        &mut self,
        lake: &mut Lake,
        program: &Program,
        work: &Work,
        memories: Lanes,
        epoch: &str,
        progress: Progress<'_>,
    ) -> Result<Portion> {
        let from = match &self.sources {
            Sources::Files(files) => {
                let types = program.graph.fields().iter().filter(|field| !field.path.starts_with('/'));
                let types: BTreeMap<String, DataType> =
                    types.map(|field| (field.path.clone(), field.data_type.clone())).collect();
                Rows::Files(files.files.clone(), Arc::new(types), self.reader.take())
            }
            Sources::Topic(partitions) => {
                let topic = partitions.topic.name.clone();
                Rows::Topic(Box::new(Config { topic, ..self.config.clone() }.source()))
            }
        };
        let threads = self.config.lanes;
        self.load.files.store(0, Ordering::Relaxed);
        let task = Task {
            graph: program.graph.clone(),
            raw: Arc::new(table::raw(&self.stream.topic)),
            rejected: Arc::new(table::rejected()),
            stores: lake.stores.clone(),
            keys: lake.keys.clone(),
            env: lake.env.clone(),
            settings: self.config.sink(),
            threads,
            largest: self.config.max_event_size,
            time: self.order.time.clone(),
            now: lake.env.now(),
            epoch: epoch.to_owned(),
            dry: self.order.dry,
            careful: self.careful,
            chained: !work.chains.is_empty(),
            memories,
            takes: work.takes.clone(),
            last: work.last,
            ends: self.ends(lake, work),
            bounds: self.order.bounds.clone(),
            stream: self.stream.clone(),
            load: self.load.clone(),
            from,
        };
        let runtime = Handle::current();
        let mut making = tokio::task::spawn_blocking(move || task.run(&runtime));
        let mut claimed = Instant::now();
        loop {
            tokio::select! {
                made = &mut making => {
                    return made.map_err(|e| Error::stop(format!("making a portion failed: {e}")))?;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            progress(self.line());
            if !self.order.dry && claimed.elapsed() > self.order.claim / 3 {
                // Whoever has claimed it meanwhile does it, too: the log decides.
                self.claim(lake, work).await?;
                claimed = Instant::now();
            }
        }
    }

    /// For each take whether its chain ends with it.
    fn ends(&self, lake: &Lake, work: &Work) -> Vec<bool> {
        match &self.sources {
            Sources::Files(_) => vec![],
            Sources::Topic(partitions) => {
                let covered = self.covered(lake);
                work.takes.iter().map(|take| partitions.ends(covered, take, take.to)).collect()
            }
        }
    }

    fn line(&self) -> String {
        let rows = self.load.rows.load(Ordering::Relaxed);
        match &self.sources {
            Sources::Files(files) => {
                let read = files.files.first().map_or(0, |file| file.read.load(Ordering::Relaxed));
                self.far.line(read, rows, &format!("{} files", files.files.len()))
            }
            Sources::Topic(partitions) => {
                self.far.line(rows, rows, &format!("{} partitions", partitions.ranges.len()))
            }
        }
    }

    /// Remembers where files end that had less than was asked of them.
    fn short(&mut self, portion: &Portion) {
        if let Sources::Files(files) = &mut self.sources {
            files.ends.extend(portion.read.short.iter().copied());
        }
    }

    async fn discard(&self, portion: Portion) {
        for file in portion.made.files {
            // What is left is clean-up's.
            let _ = file.discard().await;
        }
    }

    /// Tells the catalog. What it does not take is said, and stands in the log for hosts to go on with.
    async fn register(&mut self, lake: &mut Lake, program: &Program, record: &Record) -> Option<String> {
        let untold = lake.tell(&program.tables, record).await;
        if untold.is_none() {
            self.told = Some(record.seq);
        }
        untold
    }
}
